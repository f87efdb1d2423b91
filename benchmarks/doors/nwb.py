"""Times of spikes in a file of NWB: a ragged column of the table of units.

pynwb reads a unit at a time, which is written. N is the number of small arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from hdmf.common import VectorData, VectorIndex
from pynwb import NWBHDF5IO, NWBFile
from pynwb.misc import Units

from benchmarks.doors.passage import Corpus, both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5


def written(path: Path, corpus: Corpus) -> Path:
    """Write a file."""
    begun = datetime(2024, 1, 1, tzinfo=UTC)
    made = NWBFile(session_description="spikes", identifier="spikes", session_start_time=begun)
    times = VectorData(name="spike_times", description="times", data=corpus.values.astype("f8"))
    index = VectorIndex(name="spike_times_index", data=corpus.offsets[1:], target=times)
    ids = np.arange(len(corpus.names))
    made.units = Units(name="units", description="units", id=ids, columns=[times, index])
    with NWBHDF5IO(path, "w") as writer:
        writer.write(made)
    return path


def each(path: Path, file: BinaryIO) -> None:
    """Write the times of each unit."""
    with NWBHDF5IO(path, "r") as reader:
        times = reader.read().units["spike_times"]
        file.writelines(times[at] for at in range(len(times)))


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate(both(n)):
        path = written(folder / f"{number}.nwb", corpus)
        ours = partial(convert.from_nwb, path, processes=1, progress=False)
        yield door(corpus.words, folder, ours, partial(each, path))
