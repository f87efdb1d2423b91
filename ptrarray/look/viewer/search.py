"""Names of an open store by prefix or pattern: some at a time, in data order, however many there are."""

from __future__ import annotations

import re
import time
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import NamedTuple

from ptrarray.errors import BadInputError
from ptrarray.format.checksum import crc32
from ptrarray.look.viewer.patterns import Pattern, readable
from ptrarray.reader import PointerArray, opened_of
from ptrarray.rows.copying import in_blocks
from ptrarray.storage.store.snapshot import StoreSnapshot

_CURSOR = re.compile(r"(?a:\d{1,19}(?:-\d{1,19}){7})\Z")
_pattern = lru_cache(32)(Pattern)


class Found(NamedTuple):
    """What one call of `search` found.

    Attributes
    ----------
    names : list of str
        Names that match, in data order.
    cursor : str
        Where the next call goes on; plain text without special characters.
    n_seen : int
        How many of the store's names lie before that, matching or not.
    is_done : bool
        Whether there are no more names now. A later call with the cursor has those that came since.
    is_anew : bool
        Whether the cursor that was given could not be followed, since the store was compacted or
        replaced: these names are from the beginning.
    """

    names: list[str]
    cursor: str
    n_seen: int
    is_done: bool
    is_anew: bool = False


class _Cursor(NamedTuple):
    """Up to where names were looked at.

    Attributes
    ----------
    number, n_before : int
        Of the store among those that are read as one, and the names in those before it.
    file : int
        Tells its data file from others: in one, arrays stay at the rows where they are.
    generation, end_byte : int
        The commit in which `position` counts.
    position : int
        Names of that store which were looked at.
    row, n_same : int
        Where the array of the last of these begins, and how many up to it begin there.
    """

    number: int
    n_before: int
    file: int
    generation: int
    end_byte: int
    position: int
    row: int
    n_same: int


def search(
    store: PointerArray,
    pattern: str,
    cursor: str | None = None,
    limit: int = 100,
    seconds: float = 0.05,
) -> Found:
    """Return some of the names that match a pattern, in data order, within a time.

    Parameters
    ----------
    store : PointerArray
        The store.
    pattern : str
        With ``*``, ``?`` or ``[ab]``: what whole names must match, as in ``ptrarray ls``. Other text:
        what they must begin with.
    cursor : str, optional
        Of the call to go on from.
    limit : int
        How many names to return at the most.
    seconds : float
        When to return with what was found up to then. Some names are looked at in any case.

    Returns
    -------
    Found
        The search is over when `Found.is_done`; until then, `Found.cursor` leads on, also where nothing
        was found yet.

    Raises
    ------
    BadInputError
        If the cursor is not one that a call returned, or `limit` is less than 1.
    CorruptStoreError
        At a name that is damaged.

    Notes
    -----
    A cursor goes on in the same store when it was refreshed or opened again meanwhile, too. Names that
    were committed since are found if their arrays lie behind those that were looked at, as new ones
    mostly do; one that was replaced may be found once more. Holds one block of names, some megabytes at
    the most.
    At a URL, a large index is read as far as it was looked at, and kept as long as the store is open.

    Examples
    --------
    >>> found = search(store, "utt", limit=2)
    >>> found.names, found.n_seen, found.is_done
    (['utt1', 'utt2'], 2, False)
    >>> search(store, "utt", found.cursor).names, search(store, "*t[13]").names
    (['utt3'], ['utt1', 'utt3'])
    """
    if limit < 1:
        raise BadInputError(f"limit must be at least 1: {limit}", found=limit, expected=">= 1")
    until, wanted = time.monotonic() + seconds, _pattern(pattern)
    stores, names = opened_of(store).stores, list[str]()
    number, n_before, position, is_anew = 0, 0, 0, False
    if cursor is not None:
        at = _Cursor(*map(int, _parts(cursor)))
        followed = None if at.number >= len(stores) else _followed(at, stores[at.number].snapshot)
        is_anew = followed is None
        if followed is not None:
            number, n_before, position = at.number, at.n_before, followed
    while True:
        snapshot, is_last = stores[number].snapshot, number == len(stores) - 1
        position = _look_through(snapshot, position, wanted, names, limit, until)
        if position < len(snapshot) or is_last:
            break
        number, n_before, position = number + 1, n_before + position, 0
        if len(names) == limit or time.monotonic() > until:
            break
    snapshot = stores[number].snapshot
    is_done = number == len(stores) - 1 and position == len(snapshot)
    following = "-".join(map(str, _cursor(snapshot, number, n_before, position)))
    return Found(names, following, n_before + position, is_done, is_anew)


def _look_through(
    snapshot: StoreSnapshot,
    position: int,
    wanted: Pattern,
    names: list[str],
    limit: int,
    until: float,
) -> int:
    """Add names that match to a list, from a position on; return up to which one was looked."""
    for column in snapshot.name_blocks(position, len(snapshot)):
        column = readable(column)
        found = wanted.among(column)
        for block in in_blocks(0, len(found)):
            some: list[int] = found[block].tolist()
            for at, name in zip(some, column.chosen(found[block]).texts(), strict=True):
                if wanted.matches(name):
                    names.append(name)
                    if len(names) == limit:
                        return position + at + 1
            if time.monotonic() > until:
                return position + some[-1] + 1
        position += len(column)
        if time.monotonic() > until:
            break
    return position


# where it goes on ----------------------------------------------------------------------------


def _parts(cursor: str) -> list[str]:
    if not isinstance(cursor, str) or not _CURSOR.match(cursor):
        what = f"{cursor!r:.80} is no cursor that a search returned: leave it out to begin anew"
        raise BadInputError(what, found=cursor, expected="Found.cursor")
    return cursor.split("-")


def _file(snapshot: StoreSnapshot) -> int:
    """Return what tells the data file of a store from those of others, and from the next one."""
    return crc32(snapshot.header.store_id + snapshot.header.data_file.encode())


def _first_row(snapshot: StoreSnapshot, position: int) -> int:
    return snapshot.kept_at(snapshot.locate_position(position))[0]


def _cursor(snapshot: StoreSnapshot, number: int, n_before: int, position: int) -> _Cursor:
    row = n_same = 0
    if position and not snapshot.index.is_partial:
        row = _first_row(snapshot, position - 1)
        first = bisect_left(range(position), row, key=lambda at: _first_row(snapshot, at))
        n_same = position - first
    generation, end_byte = snapshot.version
    file = _file(snapshot)
    return _Cursor(number, n_before, file, generation, end_byte, position, max(row, 0), n_same)


def _followed(cursor: _Cursor, snapshot: StoreSnapshot) -> int | None:
    """Return the position in a snapshot at which a cursor goes on; None if there is none."""
    if cursor.file != _file(snapshot):
        return None
    if (cursor.generation, cursor.end_byte) == snapshot.version:
        return min(cursor.position, len(snapshot))
    if snapshot.index.is_partial:  # where each of these looks would be a request
        return None
    where = range(len(snapshot)), cursor.row
    first = bisect_left(*where, key=lambda at: _first_row(snapshot, at))
    past = bisect_right(*where, key=lambda at: _first_row(snapshot, at))
    return min(first + cursor.n_same, past)
