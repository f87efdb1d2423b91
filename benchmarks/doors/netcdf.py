"""Contiguous ragged arrays of CF in a file of netCDF, as of drifters.

xarray reads the whole variable, which is faster than a slice an array, and each array of it is written. N is the number
of small arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xarray

from benchmarks.doors.passage import Corpus, both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5


def written(path: Path, corpus: Corpus) -> Path:
    """Write a file."""
    counts = np.diff(corpus.offsets)
    made = xarray.Dataset(
        {
            "rowsize": ("drifter", counts, {"sample_dimension": "obs"}),
            "speed": ("obs", corpus.values),
            "name": ("drifter", np.array(corpus.names, object), {"cf_role": "trajectory_id"}),
        },
        attrs={"Conventions": "CF-1.11", "featureType": "trajectory"},
    )
    made.to_netcdf(path, engine="h5netcdf")
    return path


def each(path: Path, file: BinaryIO) -> None:
    """Write each array."""
    with xarray.open_dataset(path, decode_cf=False, engine="h5netcdf") as opened:
        values = opened["speed"].to_numpy()
        ends = np.cumsum(opened["rowsize"].to_numpy()).tolist()
        file.writelines(values[start:end] for start, end in zip([0, *ends], ends, strict=False))


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate(both(n)):
        path = written(folder / f"{number}.nc", corpus)
        ours = partial(convert.from_netcdf, path, processes=1, progress=False)
        yield door(corpus.words, folder, ours, partial(each, path))
