"""Targets that give the native core columns, batches and ranges that do not fit.

Each column is a block of its own, so that a core built with AddressSanitizer sees where it ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray import native
from tests.support.columns import Columns
from tests.support.fuzzing import Target
from tests.support.sanitized import in_a_block


class Data:
    """Bytes that are taken for choices, one after the other; behind their end, for zeros."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, nbytes: int) -> bytes:
        """Return so many bytes."""
        self._at += nbytes
        return self._raw[self._at - nbytes : self._at].ljust(nbytes, b"\0")

    def number(self, nbytes: int = 1) -> int:
        """Return a number of so many bytes."""
        return int.from_bytes(self.take(nbytes), "little")

    def up_to(self, most: int, least: int = 0) -> int:
        """Return a number of a small range."""
        return least + self.number() % (most - least + 1)

    def one_of(self, choices: Sequence[Any]) -> Any:
        """Return one of some things."""
        return choices[self.number() % len(choices)]

    def text(self) -> str:
        """Return a short text."""
        return self.take(self.up_to(5)).decode("utf-8", "ignore")


NUMBERS = [0, 1, 2, 7, 8, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
COLUMNS = ["slots", "name_ends", "names", "starts", "ends", "n_homes"]
DTYPES = ["u1", "<i2", "<f8", "S3", ">u4"]
KINDS: list[Any] = [np.uint8, np.uint32, np.int64, np.uint64]
core: Any = native.core


def number(data: Data) -> int:
    """Return one of those that lie at some edge, or any."""
    return int(data.one_of(NUMBERS)) if data.number() & 1 else data.number(8)


def name(data: Data) -> bytes:
    return data.take(data.up_to(5))


def rows_of(data: Data) -> Any:
    dtype = np.dtype(data.one_of(DTYPES))
    shape = (data.up_to(20), *([2] * data.up_to(2)))
    return in_a_block(np.zeros(shape, dtype))


def find(data: Data) -> None:
    """Damage columns, and ask for names and views."""
    names = list({name(data) for _ in range(data.up_to(8, 1))})
    columns = Columns.of(names, [data.up_to(4) for _ in names])
    for _ in range(data.up_to(6)):
        column, at = data.one_of(COLUMNS), data.up_to(200)
        columns = columns.changed(column, at, number(data))
    cut = {
        column: in_a_block(getattr(columns, column)[: data.up_to(20)])
        for column in COLUMNS[:5]
        if data.up_to(9) == 0
    }
    finder = columns.finder(rows_of(data), **cut)
    if finder is None:
        return
    asked = [*names, *(name(data) for _ in range(5))]
    found = [finder.find(one) for one in asked]
    many = finder.find_many(asked, None, None)
    assert (many is None) == (None in found)
    assert many is None or many.tolist() == found
    of = Columns.of(asked)
    hashes = in_a_block(np.array([zlib.crc32(one) for one in asked], np.uint32))
    ends = of.changed("name_ends", data.up_to(9), number(data)).name_ends
    finder.find_many(of.names, of.name_ends, hashes)
    finder.find_many(of.names, ends, hashes)
    views = [finder.get(one) for one in asked] + [finder.at(at) for at in range(len(names) + 1)]
    for pairs in (False, True):
        views += list(finder.iterate(pairs, lambda at: at))
    for view in views:
        if isinstance(view, np.ndarray):
            view.tobytes()


def batch(data: Data) -> None:
    """Prepare and stage arrays, some of which do not fit."""
    like = rows_of(data)
    arrays = {}
    for _ in range(data.up_to(12)):
        rows = np.zeros((data.up_to(9), *like.shape[1:]), like.dtype)
        if data.up_to(30) == 0:
            rows = data.one_of([rows[::2], rows[..., None], rows_of(data), None, 3])
        arrays[data.text()] = rows
    got = core.prepare(arrays, like, number(data) % 2**62)
    listed = list(arrays.values())
    if got is not None:
        encoded = [one.encode() for one in arrays]
        assert got[0] == b"".join(encoded)
        assert got[1].tolist() == list(accumulate(map(len, encoded)))
        assert got[2].tolist() == list(map(zlib.crc32, encoded))
        assert got[3].tolist() == list(accumulate(map(len, listed), initial=0))
    buffer, crcs = np.zeros(number(data) % 500, np.uint8), np.zeros(len(listed), np.uint32)
    first = number(data) % 16
    unit = 1 << data.up_to(6)
    after, used = core.stage(listed, first, buffer, crcs, unit)
    staged = [array.tobytes() for array in listed[first:after]]
    assert buffer[:used].tobytes() == b"".join(raw + bytes(-len(raw) % unit) for raw in staged)
    assert crcs[first:after].tolist() == list(map(zlib.crc32, staged))


def copy(data: Data) -> None:
    """Gather ranges that may lead anywhere, and search a table of any slots."""
    rows, n = rows_of(data), data.up_to(10)
    pairs = np.array([number(data) for _ in range(2 * n)], np.uint64)
    kind = data.one_of(KINDS) if data.up_to(9) == 0 else np.uint64
    starts, ends = in_a_block(pairs[:n].astype(kind)), in_a_block(pairs[n:])
    if data.number() & 1:
        n_rows = np.uint64(len(rows) + 1)
        starts, ends = in_a_block(starts % n_rows), in_a_block(ends % n_rows)
    out = data.one_of([None, rows_of(data)])
    crcs = data.one_of([None, np.zeros(data.up_to(12), "u4")])
    core.gather(rows, starts, ends, out, crcs, data.one_of([1, 1, 2, 64, 3]))
    catalog = core.catalog(
        in_a_block(pairs.astype(np.uint32)), number(data) % max(n, 1), starts, [None]
    )
    assert catalog is None or catalog.find("a") in (None, -1)


def _attempt(try_it: Callable[[Data], None]) -> Callable[[bytes, Path], object]:
    def attempt(raw: bytes, folder: Path) -> None:
        if core is not None:
            try_it(Data(raw))

    return attempt


NATIVE = {
    f"native-{name}": Target(
        _attempt(try_it), lambda: [bytes(60), bytes(range(200))], ("ptrarray.native",), 1024
    )
    for name, try_it in (("find", find), ("batch", batch), ("copy", copy))
}
