"""A folder of mmap_ninja.

The library gives a view an array, which is written. N is the number of small arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mmap_ninja.ragged import RaggedMmap

from benchmarks.doors.passage import both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5


def each(path: Path, file: BinaryIO) -> None:
    """Write each array."""
    found = RaggedMmap(path)
    file.writelines(found[at] for at in range(len(found)))


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate(both(n)):
        path = folder / f"{number}.ninja"
        RaggedMmap.from_lists(path, list(corpus.arrays()))
        ours = partial(convert.from_mmap_ninja, path, processes=1, progress=False)
        yield door(corpus.words, folder, ours, partial(each, path))
