"""A database of LMDB whose values are the bytes of arrays.

The library goes through it by a cursor, without a copy, and each value is written. N is the number of small arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import lmdb

from benchmarks.doors.passage import Corpus, both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5


def written(path: Path, corpus: Corpus) -> Path:
    """Write a database."""
    room = 4 * corpus.values.nbytes + 2**24
    with (
        lmdb.open(str(path), map_size=room) as database,
        database.begin(write=True) as transaction,
    ):
        for name, array in zip(corpus.names, corpus.arrays(), strict=True):
            transaction.put(name.encode(), array.tobytes())
    return path


def each(path: Path, file: BinaryIO) -> None:
    """Write each value."""
    with (
        lmdb.open(str(path), readonly=True) as database,
        database.begin(buffers=True) as transaction,
    ):
        file.writelines(value for _, value in transaction.cursor())


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate(both(n)):
        path = written(folder / f"{number}.lmdb", corpus)
        ours = partial(convert.from_lmdb, path, values="<f4", processes=1, progress=False)
        yield door(corpus.words, folder, ours, partial(each, path))
