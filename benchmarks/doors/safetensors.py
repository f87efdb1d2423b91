"""A file of safetensors.

The library gives a copy of each tensor, in the order of the file, which is written. N is the number of small ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.doors.passage import both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5


def each(path: Path, file: BinaryIO) -> None:
    """Write each tensor."""
    with safe_open(path, framework="np") as tensors:
        file.writelines(tensors.get_tensor(name) for name in tensors.offset_keys())


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    for number, corpus in enumerate(both(n)):
        path = folder / f"{number}.safetensors"
        save_file(dict(zip(corpus.names, corpus.arrays(), strict=True)), path)
        ours = partial(convert.from_safetensors, path, processes=1, progress=False)
        yield door(corpus.words, folder, ours, partial(each, path))
