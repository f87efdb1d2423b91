"""The arrays: of each number a name of 20 bytes, and 1 to 4 numbers of 4 bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.harness.case import expect

NAME_NBYTES = 20
MOST_NAMES = 1_000_000_000  # nine digits
BATCH = 100_000
DTYPE = np.dtype(np.int32)

Int64s = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

_DIGITS = np.array([f"{number:03}" for number in range(1000)], "S3").view("u1").reshape(-1, 3)
_HEX = np.array([f"{number:02x}" for number in range(256)], "S2").view("u1").reshape(-1, 2)


class Batch(NamedTuple):
    """Arrays that are written in one go, end to end."""

    names: bytes
    values: Array
    offsets: Int64s


def names_of(numbers: Int64s) -> bytes:
    """Return names end to end, as `000000041-73d1…`.

    They rise with the number, so that LMDB can append. What comes after the digits is mixed, so
    that hashes are the same as often as those of any names.
    """
    raw = np.empty((len(numbers), NAME_NBYTES), np.uint8)
    for at, unit in ((0, 10**6), (3, 10**3), (6, 1)):
        raw[:, at : at + 3] = _DIGITS[numbers // unit % 1000]
    raw[:, 9] = ord("-")
    mixed = _mixed(numbers)
    for at in range(5):
        raw[:, 10 + 2 * at : 12 + 2 * at] = _HEX[mixed >> np.uint64(8 * at + 24) & np.uint64(255)]
    return raw.tobytes()


def _mixed(numbers: Int64s) -> npt.NDArray[np.uint64]:
    """Return 64 bits that look random: the finish of splitmix64."""
    bits = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return bits ^ bits >> np.uint64(31)


def texts(names: bytes) -> list[str]:
    """Return names one by one."""
    text = names.decode("ascii")
    return [text[at : at + NAME_NBYTES] for at in range(0, len(text), NAME_NBYTES)]


def keys(names: bytes) -> list[bytes]:
    """Return names one by one, as bytes."""
    return [names[at : at + NAME_NBYTES] for at in range(0, len(names), NAME_NBYTES)]


def batch_of(numbers: Int64s) -> Batch:
    """Return the arrays of some numbers: a number 5 stands for 5, 10005, 20005 and so on."""
    lengths = 1 + (_mixed(numbers) >> np.uint64(62)).astype(np.int64)
    offsets = np.append(0, np.cumsum(lengths))
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    values = np.repeat(numbers, lengths) + 10_000 * within
    return Batch(names_of(numbers), values.astype(DTYPE), offsets)


def batches(first: int, last: int) -> Iterator[Batch]:
    """Yield the arrays of the numbers from the first up to the last."""
    for start in range(first, last, BATCH):
        yield batch_of(np.arange(start, min(start + BATCH, last)))


def drawn(n_names: int, n_drawn: int, seed: int) -> Int64s:
    """Draw numbers, in any order."""
    return np.random.default_rng(seed).integers(0, n_names, n_drawn)


def check(arrays: list[Array], numbers: Int64s) -> None:
    """Raise an error unless these are the arrays of some numbers."""
    wanted = batch_of(numbers)
    lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
    expect(bool((np.diff(wanted.offsets) == lengths).all()), "the lengths of arrays")
    expect(bool((np.concatenate(arrays) == wanted.values).all()), "the numbers in arrays")
