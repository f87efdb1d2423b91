"""Pages of LMDB, checked before the library maps them: what it reads there it trusts.

The library follows numbers of pages and offsets in them without a look, so that a file that was
cut off or damaged ends the process. This goes over all pages that a reader of one database gets to,
many at a time, and over nothing that only a writer needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array, Int64s

_HEADER, _NODE, _META, _DB = 16, 8, 136, 48
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _IS_META = 1, 2, 4, 8
_BIG, _SUB = 1, 2  # flags of nodes
_LONGEST_KEY = 511
_AT_ONCE = 1 << 10  # pages, that are looked at again and again while they are in the cache
_NO_PAGE = (1 << 64) - 1
_LARGE_PAGES = 4  # a value

DUPSORT, INTEGER_KEYS = 0x04, 0x08  # flags of databases

_database = np.dtype(
    {
        "names": ["psize", "flags", "overflows", "entries", "root"],
        "formats": ["u4", "u2", "u8", "u8", "u8"],
        "offsets": [0, 4, 24, 32, 40],
        "itemsize": _DB,
    }
)
_meta = np.dtype(
    {
        "names": ["page_flags", "magic", "version", "free", "main", "last", "transaction"],
        "formats": ["u2", "u4", "u4", _database, _database, "u8", "u8"],
        "offsets": [10, 16, 20, 40, 88, 136, 144],
        "itemsize": _HEADER + _META,
    }
)


class Database(NamedTuple):
    """A database of an environment.

    Attributes
    ----------
    flags : int
        As it was made.
    root : int
        Its first page.
    is_large : bool
        Whether its values have some pages each. It is as the file says, and a hint.
    """

    flags: int
    root: int
    is_large: bool


class Pages(NamedTuple):
    """The pages of an environment as of one transaction.

    Attributes
    ----------
    raw : ndarray of uint8, shape (n, size of a page)
        All of them, mapped.
    main : Database
        The one without a name.
    """

    raw: Array
    main: Database

    def databases(self) -> dict[bytes, Database]:
        """Check all that a reader of the main database gets to, and return those that it names.

        Raises
        ------
        BadInputError
            For anything that the library must not be given.
        """
        found: dict[bytes, Database] = {}
        for nodes in self._leaves(self.main):
            for at in np.flatnonzero(nodes.flags == _SUB):
                start = int(nodes.offsets[at]) + _NODE
                key_end = start + int(nodes.key_sizes[at])
                page = self.raw[int(nodes.pages[at])]
                about = np.frombuffer(page[key_end : key_end + _DB].tobytes(), _database)[0]
                found[page[start:key_end].tobytes()] = _database_of(about)
        return found

    def check(self, database: Database) -> None:
        """Check all that a reader of a database gets to, as `databases` does."""
        for _ in self._leaves(database):
            pass

    def _leaves(self, database: Database) -> Iterator[_Nodes]:
        """Yield the nodes on all leaves of a database, those of some pages at a time."""
        if database.root == _NO_PAGE:
            return
        if database.flags & DUPSORT:
            raise BadInputError("it keeps several values a key (dupsort): no array has such a name")
        seen = np.zeros(len(self.raw), bool)
        level = np.array([database.root], np.uint64)
        while len(level):
            pages = self._marked(level, seen)
            below = [np.empty(0, np.uint64)]
            for start in range(0, len(pages), _AT_ONCE):
                some = pages[start : start + _AT_ONCE]
                is_leaf = self._is_leaf(some)
                below.append(self._nodes(some[~is_leaf]).children())
                nodes = self._nodes(some[is_leaf])
                self._check_values(nodes, seen)
                yield nodes
            level = np.concatenate(below)

    def _marked(self, level: Array, seen: Array) -> Int64s:
        """Mark pages as seen; what is no page of this file, or has been seen, is damage."""
        if len(level) and (int(level.min()) < 2 or int(level.max()) >= len(self.raw)):
            raise _damaged(f"it refers to page {int(level.max()):,} of {len(self.raw):,}")
        pages = level.astype(np.int64)
        if len(np.unique(pages)) < len(pages) or bool(seen[pages].any()):
            raise _damaged("it refers to a page twice")
        seen[pages] = True
        return pages

    @property
    def _halves(self) -> Array:
        return self.raw.view(np.uint16)

    def _is_leaf(self, pages: Int64s) -> Array:
        kinds = self._halves[pages, 5]
        if bool((kinds != _BRANCH)[kinds != _LEAF].any()):
            raise _damaged("a page of keys is none")
        return np.asarray(kinds == _LEAF)

    def _nodes(self, pages: Int64s) -> _Nodes:
        size, halves = self.raw.shape[1], self._halves
        lower, upper = halves[pages, 6].astype(np.int64), halves[pages, 7].astype(np.int64)
        if bool(((lower <= _HEADER) | (lower > upper) | (upper > size)).any()):
            raise _damaged("a page of keys has none, or more than it has room for")
        counts = (lower - _HEADER) // 2
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        pages, upper = np.repeat(pages, counts), np.repeat(upper, counts)
        offsets = halves[pages, _HEADER // 2 + within].astype(np.int64)
        if bool(((offsets < upper) | (offsets > size - _NODE) | (offsets % 2 > 0)).any()):
            raise _damaged("a key is not on its page")
        at = pages * (size // 2) + offsets // 2
        flat = halves.reshape(-1)
        low, high, flags, keys = (flat[at + i].astype(np.int64) for i in range(4))
        if sys.byteorder == "big":
            low, high = high, low
        if bool(((offsets + _NODE + keys > size) | (keys > _LONGEST_KEY)).any()):
            raise _damaged("a key does not end on its page")
        return _Nodes(pages, offsets, low | high << 16, flags, keys)

    def _check_values(self, nodes: _Nodes, seen: Array) -> None:
        size = self.raw.shape[1]
        starts = nodes.offsets + _NODE + nodes.key_sizes
        is_big = nodes.flags == _BIG
        here = np.where(is_big, 8, nodes.low)
        if bool((nodes.flags > _SUB).any()) or bool((starts + here > size).any()):
            raise _damaged("a value does not end on its page")
        if bool((nodes.low[nodes.flags == _SUB] != _DB).any()):
            raise _damaged("a database in it is not described")
        if not is_big.any():
            return
        rows = starts[is_big][:, None] + np.arange(8)
        first = self.raw[nodes.pages[is_big][:, None], rows].view(np.uint64).ravel()
        pages = self._marked(first, seen)
        counts = (nodes.low[is_big] + (_HEADER + size - 1)) // size
        if bool((pages + counts > len(self.raw)).any()):
            raise _damaged("a value does not end in the file")
        if bool((self._halves[pages, 5] != _OVERFLOW).any()):
            raise _damaged("a large value is not where it should be")


class _Nodes(NamedTuple):
    """All nodes on some pages: on which, where, and what they say."""

    pages: Array
    offsets: Array
    low: Array  # 32 bits: of a value its size, of a page most of its number
    flags: Array
    key_sizes: Array

    def children(self) -> Array:
        """Return the pages below, of those of a branch."""
        found: Array = self.low.astype(np.uint64) | self.flags.astype(np.uint64) << np.uint64(32)
        return found


def check_head(path: str) -> None:
    """Check what the library reads when it opens a file.

    Raises
    ------
    BadInputError
        For what is no environment, or one that is cut off.
    """
    for meta in _metas(path):
        if not int(meta["last"]) > 0:
            raise _damaged("it has no pages")


def pages_of(path: str, transaction: int) -> Pages | None:
    """Return the pages of a file as of a transaction; None if that is not the last or next to last."""
    for meta in _metas(path):
        if int(meta["transaction"]) == transaction:
            size, n_pages = int(meta["free"]["psize"]), int(meta["last"]) + 1
            raw: Any = np.memmap(path, np.uint8, "r", 0, (n_pages, size))
            return Pages(np.asarray(raw), _database_of(meta["main"]))
    return None


def _database_of(about: Any) -> Database:
    is_large = int(about["overflows"]) > _LARGE_PAGES * int(about["entries"])
    return Database(int(about["flags"]), int(about["root"]), is_large)


def _metas(path: str) -> list[Any]:
    """Return the two pages that say what is in an environment."""
    with open(path, "rb") as file:  # noqa: PTH123 a path as it was given
        found = [_read_meta(file)]
        size = int(found[0]["free"]["psize"])
        if size not in (1 << power for power in range(8, 16)):
            raise _damaged(f"its pages have {size:,} bytes")
        file.seek(size)
        found.append(_read_meta(file))
        there = file.seek(0, 2)
    if int(found[1]["free"]["psize"]) != size:
        raise _damaged("its first two pages differ in the size of pages")
    needed = max((int(meta["last"]) + 1) * size for meta in found)
    if needed > there:
        raise BadInputError(f"it is cut off: {there:,} of {needed:,} bytes are there")
    return found


def _read_meta(file: Any) -> Any:
    raw = file.read(_meta.itemsize)
    if len(raw) < _meta.itemsize:
        raise BadInputError("it is no environment of LMDB, or is cut off")
    meta = np.frombuffer(raw, _meta)[0]
    if int(meta["magic"]) != _MAGIC or not int(meta["page_flags"]) & _IS_META:
        raise BadInputError("it is no environment of LMDB, or of another kind of machine")
    if int(meta["version"]) != _VERSION:
        what = f"it is of version {int(meta['version'])} of LMDB's files, expected {_VERSION}"
        raise BadInputError(what)
    return meta


def _damaged(what: str) -> BadInputError:
    return BadInputError(f"it is damaged: {what}")
