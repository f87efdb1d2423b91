"""A file of a format, read into a store by ptrarray, and into one file of bytes by its own library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

import ptrarray
from benchmarks.harness.case import expect
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, Question
from ptrarray.format.checksum import crc32

ALONE, SYNCED = "the library alone", "the library alone, and synced"
AT_LEAST = 0.7  # times ours, what the library takes

SMALL_ROWS = 10, 100  # of a small array, from and to
LARGE_PART = 500  # small arrays for one of those
SEED = 1


class Corpus(NamedTuple):
    """Arrays of float32, end to end.

    Attributes
    ----------
    words : str
        What they are.
    values : ndarray of float32, shape (n, *row_shape)
        Rows of all.
    offsets : ndarray of int64
        Where each begins, and the end of the last one.
    """

    words: str
    values: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]

    @property
    def names(self) -> list[str]:
        """Their names, which are in order when they are sorted."""
        return [f"recording{number:07}" for number in range(len(self.offsets) - 1)]

    def arrays(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each array, a view."""
        return map(self.values.__getitem__, map(slice, self.offsets, self.offsets[1:]))


def small(n: int, *row_shape: int) -> Corpus:
    """Return n small arrays."""
    rng = np.random.default_rng(SEED)
    low, high = SMALL_ROWS
    offsets = np.append(0, np.cumsum(rng.integers(low, high + 1, n)))
    words = f"{n:,} arrays of {low} to {high} rows"
    return Corpus(words, rng.random((offsets[-1], *row_shape), "f4"), offsets)


def large(n: int, *row_shape: int) -> Corpus:
    """Return arrays of about a megabyte each, of which there are fewer: 200 for 100,000 small ones."""
    n_large = max(n // LARGE_PART, 2)
    n_rows = 250_000 // int(np.prod(row_shape, dtype=int))
    rng = np.random.default_rng(SEED)
    offsets = np.arange(n_large + 1) * n_rows
    words = f"{n_large:,} arrays of a megabyte"
    return Corpus(words, rng.random((offsets[-1], *row_shape), "f4"), offsets)


def both(n: int, *row_shape: int) -> Iterator[Corpus]:
    """Yield the small ones, then the large ones."""
    yield small(n, *row_shape)
    yield large(n, *row_shape)


def door(
    title: str,
    folder: Path,
    ours: Callable[[Path], Any],
    theirs: Callable[[BinaryIO], object],
) -> Question:
    """Return the question how long it takes to read a file with all that is in it.

    Parameters
    ----------
    title : str
        What is read.
    folder : Path
        Where the store is made, and the file of bytes.
    ours : callable
        Imports into a store, whose path it gets, and returns the report.
    theirs : callable
        Reads all arrays by the library of the format, and writes their bytes to a file.
    """
    store, file = folder / "ours.ptr", folder / "theirs.bin"

    def remove(_: str) -> None:
        shutil.rmtree(store, ignore_errors=True)
        file.unlink(missing_ok=True)

    ways = {
        OURS: partial(_imported, ours, store),
        ALONE: partial(_written, theirs, file, is_synced=False),
        SYNCED: partial(_written, theirs, file, is_synced=True),
    }
    return Question(
        title, ways, dict.fromkeys((ALONE, SYNCED), AT_LEAST), _same, before=remove, unit=CLOCK
    )


def _same(ours: int, other: int) -> None:
    expect(ours == other, "the bytes of all arrays")


def _imported(ours: Callable[[Path], Any], store: Path) -> Callable[[], int]:
    report = ours(store)
    expect(not report.failures, f"an import with failures as {report.failures[:2]}")
    return partial(_crc_of_store, store)


def _crc_of_store(path: Path) -> int:
    crc = 0
    with ptrarray.open(path) as store:
        for array in store.values():
            crc = crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), crc)
    return crc


def _written(
    theirs: Callable[[BinaryIO], object], path: Path, *, is_synced: bool
) -> Callable[[], int]:
    with path.open("wb") as file:
        theirs(file)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())
    return lambda: crc32(path.read_bytes())
