"""A tar archive of webdataset: an ``.npy`` a sample.

The library decodes each sample, of which the array is written. N is five times the number of small arrays, as there are
so few in a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import webdataset

from benchmarks.doors.passage import Corpus, door, large, small
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5
PART = 5


def written(path: Path, corpus: Corpus) -> Path:
    """Write an archive."""
    with webdataset.TarWriter(str(path)) as writer:
        for name, array in zip(corpus.names, corpus.arrays(), strict=True):
            writer.write({"__key__": name, "npy": array})
    return path


def each(path: Path, file: BinaryIO) -> None:
    """Write the array of each sample."""
    file.writelines(
        sample["npy"] for sample in webdataset.WebDataset(str(path), shardshuffle=False).decode()
    )


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate((small(max(n // PART, 1)), large(n))):
        path = written(folder / f"{number}.tar", corpus)
        ours = partial(convert.from_webdataset, path, processes=1, progress=False)
        yield door(corpus.words, folder, ours, partial(each, path))
