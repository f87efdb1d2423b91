"""Plain values of Python as columns of Arrow, of the type that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ptrarray.bridges.arrow import Array, Bools, Int64s, UInt8s, raw, texts_chunk, valid_bits
from ptrarray.bridges.capsules import Chunk
from ptrarray.bridges.structures import Field

_FORMATS = {bool: "b", int: "l", float: "g", str: "U", bytes: "Z"}
_MOST = 2**63 - 1


class MixedTypesError(ValueError):
    """Values that are not of one type that Arrow has.

    Attributes
    ----------
    types : tuple of type
        Those that were found; one, if Arrow has none for it.
    positions : tuple of int
        Where each is first.
    """

    def __init__(self, types: Sequence[type], positions: Sequence[int]) -> None:
        super().__init__(" and ".join(kind.__name__ for kind in types))
        self.types, self.positions = tuple(types), tuple(positions)


class Column(NamedTuple):
    """Values of one type.

    Attributes
    ----------
    field : Field
        Its type and name.
    chunk : callable
        Returns the values at positions ``first <= p < last``.
    """

    field: Field
    chunk: Callable[[int, int], Chunk]


def column_of(name: str, values: Sequence[Any]) -> Column:
    """Return a column of bool, int, float, str or bytes; None is null.

    Raises
    ------
    MixedTypesError
        If they are of several types, or of others.
    """
    first = {type(value): at for at, value in reversed(list(enumerate(values)))}
    first.pop(type(None), None)
    if len(first) > 1 or not first.keys() <= _FORMATS.keys():
        found = sorted(first, key=lambda kind: first[kind])
        raise MixedTypesError(found, [first[kind] for kind in found])
    missing = np.fromiter((value is None for value in values), np.bool_, len(values))
    if not first:
        return Column(Field("n", name), lambda low, high: Chunk(high - low, (), (), high - low))
    (kind,) = first
    if kind in (str, bytes):
        items = [b"" if value is None else _bytes(value) for value in values]
        return Column(Field(_FORMATS[kind], name), _Items(items, missing).chunk)
    numbers = [0 if value is None else value for value in values]
    is_beyond = kind is int and max(numbers) > _MOST
    if is_beyond and min(numbers) < 0:
        at = min(range(len(numbers)), key=numbers.__getitem__), numbers.index(max(numbers))
        raise MixedTypesError((int, int), at)
    dtype = np.uint64 if is_beyond else np.int64 if kind is int else np.dtype(kind)
    fixed = _Fixed(np.array(numbers, dtype), missing)
    return Column(Field("L" if is_beyond else _FORMATS[kind], name), fixed.chunk)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


class _Fixed:
    def __init__(self, values: Array, missing: Bools) -> None:
        self._values, self._missing = values, missing

    def chunk(self, low: int, high: int) -> Chunk:
        """Return the values at positions ``low <= p < high``."""
        bits, n_nulls = valid_bits(self._missing[low:high])
        return Chunk(high - low, (bits, raw(self._values[low:high])), (), n_nulls)


class _Items:
    def __init__(self, items: Sequence[bytes], missing: Bools) -> None:
        lengths = np.fromiter(map(len, items), np.int64, len(items))
        self._bounds: Int64s = np.concatenate([[0], np.cumsum(lengths)])
        self._joined: UInt8s = np.frombuffer(b"".join(items), np.uint8)
        self._missing = missing

    def chunk(self, low: int, high: int) -> Chunk:
        """Return the values at positions ``low <= p < high``."""
        bounds = self._bounds[low : high + 1]
        bits, n_nulls = valid_bits(self._missing[low:high])
        joined = self._joined[bounds[0] : bounds[-1]]
        return texts_chunk(joined, bounds[1:] - bounds[0], bits, n_nulls)
