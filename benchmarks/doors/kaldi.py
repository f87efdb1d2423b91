"""Matrices of kaldi, by their list: an ark and an scp.

kaldi_native_io reads by the list as well, and writes each matrix. N is the number of small ones; a row has 20 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import kaldi_native_io
import numpy as np

from benchmarks.doors.passage import Corpus, both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5
ROW = 20


def written(folder: Path, corpus: Corpus) -> Path:
    """Write an ark and an scp."""
    ark, scp = folder / "feats.ark", folder / "feats.scp"
    with kaldi_native_io.FloatMatrixWriter(f"ark,scp:{ark},{scp}") as writer:
        for name, array in zip(corpus.names, corpus.arrays(), strict=True):
            writer.write(name, array)
    return scp


def each(scp: Path, file: BinaryIO) -> None:
    """Write each matrix."""
    with kaldi_native_io.SequentialFloatMatrixReader(f"scp:{scp}") as reader:
        file.writelines(np.ascontiguousarray(matrix) for _, matrix in reader)


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate(both(n, ROW)):
        own = folder / str(number)
        own.mkdir()
        scp = written(own, corpus)
        ours = partial(convert.from_kaldi, scp, processes=1, progress=False)
        yield door(f"{corpus.words}: scp", folder, ours, partial(each, scp))
