"""What arrays of a soak hold, so that whoever reads one knows whether it is right, and what processes tell each other.

An array stands for a value, and its elements are the value and their own places: no two arrays have an
element in common. The value tells its writer, the slot that it was written to, and the how-manieth write of
that writer it was.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N_WRITERS, N_SLOTS = 16, 24
LAST = 63  # the slot of what each plain write renews
_WHO_BITS, _SLOT_BITS, _PLACE_BITS = 4, 6, 15
_SMALL, _LARGE = 200, 20_000  # rows; large ones are written outside the lock


class WrongReadError(Exception):
    """What was read is not what it must be."""


class Value(NamedTuple):
    """What tells an array from all others."""

    number: int
    who: int
    slot: int

    def packed(self) -> int:
        return (self.number << _WHO_BITS | self.who) << _SLOT_BITS | self.slot


def unpacked(packed: int) -> Value:
    number, slot = packed >> _SLOT_BITS, packed & ((1 << _SLOT_BITS) - 1)
    return Value(number >> _WHO_BITS, number & ((1 << _WHO_BITS) - 1), slot)


class Layout(NamedTuple):
    """What the arrays of a store look like."""

    mixed: bool = False
    masked: bool = False


def length(value: Value) -> int:
    scattered = value.packed() * 2_654_435_761 % (1 << 32) >> 8
    if value.slot != LAST and scattered % 50 == 0:
        return _LARGE // 2 + scattered % (_LARGE // 2)
    return 1 + scattered % _SMALL


def content(value: Value, layout: Layout) -> Any:
    """Return the array that stands for a value."""
    n, packed = length(value), value.packed()
    array: Any = (packed << _PLACE_BITS) + np.arange(n)
    if layout.mixed and value.number % 3 == 1:
        array = array.astype("f8")
    elif layout.mixed and value.number % 3 == 2:
        array = np.asfortranarray(array[: n - n % 2].reshape(-1, 2)) if n > 1 else array
    if layout.masked and value.number % 2:
        mask = ((np.arange(array.size) + packed) % 3 == 0).reshape(array.shape)
        array = np.ma.MaskedArray(array, mask)
    return array


def value_of(array: Any) -> Value:
    """Return the value that the first element of an array tells."""
    data = np.ma.getdata(array)
    if not data.size:
        raise WrongReadError("an array without elements, which nobody wrote")
    return unpacked(int(data[(0,) * data.ndim]) >> _PLACE_BITS)


def check(name: str, array: Any, layout: Layout) -> Value:
    """Return the value of an array that was read under a name, or raise if it is not all there."""
    value = value_of(array)
    expected = content(value, layout)
    is_same = (
        array.shape == expected.shape
        and array.dtype == expected.dtype
        and np.array_equal(np.ma.getdata(array), np.ma.getdata(expected))
        and np.array_equal(np.ma.getmaskarray(array), np.ma.getmaskarray(expected))
    )
    if not is_same:
        raise WrongReadError(f"{name!r} is not all of {value}: {described(array)}")
    who, _, kind = name.partition("/")
    if value.who != int(who) or (kind[0] == "w" and value.slot != int(kind[1:])):
        raise WrongReadError(f"{name!r} has the array of another, {value}")
    return value


def described(array: Any) -> str:
    flat = np.ma.getdata(array).reshape(-1)
    places = np.flatnonzero(np.diff(flat) != 1)[:5].tolist()
    return f"{array.dtype}, {array.shape}, first {flat[:3].tolist()}, breaks at {places}"


def total(value: Value) -> int:
    """Return the sum of all elements, of a store of integers, as they come to in 64 bits."""
    n = length(value)
    exact = (value.packed() << _PLACE_BITS) * n + n * (n - 1) // 2
    return (exact + (1 << 63)) % (1 << 64) - (1 << 63)


class Ledger:
    """What processes tell each other, and what outlives them: a mapped file of numbers.

    Attributes
    ----------
    numbers : ndarray, shape (N_WRITERS,)
        The last write that each writer may have begun.
    told : ndarray, shape (N_WRITERS,)
        The last of its plain writes that has returned.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * (2 * N_WRITERS + 1)))
        self._all: NDArray[np.int64] = np.memmap(path, np.int64, "r+")
        self.numbers, self.told = self._all[:N_WRITERS], self._all[N_WRITERS : 2 * N_WRITERS]

    @property
    def epoch(self) -> int:
        """How often the store of shards was replaced, twice over; odd while it is."""
        return int(self._all[-1])

    def next_number(self, who: int) -> int:
        self.numbers[who] += 1
        return int(self.numbers[who])

    @contextmanager
    def replacing(self, writers: list[int]) -> Iterator[None]:
        """Have nobody expect anything of what these have written."""
        self._all[-1] += 1 + self._all[-1] % 2  # a killed one may have left it odd
        yield
        self.told[writers] = 0
        self._all[-1] += 1


class Gate:
    """What some must not do while others do something else; who is killed leaves it open."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)

    @contextmanager
    def held(self, kind: int) -> Iterator[None]:
        fcntl.flock(self._fd, kind)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def shared(self) -> Any:
        return self.held(fcntl.LOCK_SH)

    def alone(self) -> Any:
        return self.held(fcntl.LOCK_EX)
