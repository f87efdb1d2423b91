"""What a store holds while other processes fill it: looked at again and again, and as text."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ptrarray.errors import StoreNotFoundError
from ptrarray.reader import PointerArray
from ptrarray.reader import open_readable as open_store

_NAME_WIDTH = 40  # columns of a name in a list of several


class Look(NamedTuple):
    """What a store held at one moment.

    Attributes
    ----------
    seconds : float
        Since the first look.
    n_arrays, n_rows, nbytes : int
        Of the flat array, holes included.
    newest : list of str
        Names committed last, the newest first.
    """

    seconds: float
    n_arrays: int
    n_rows: int
    nbytes: int
    newest: list[str]


class Rates(NamedTuple):
    """What was added a second, or taken away; zero before any time has passed."""

    arrays: float
    megabytes: float


def looks(
    path: str | os.PathLike[str], interval: float, *, n_names: int = 5, waits: bool = False
) -> Iterator[Look | None]:
    """Yield what a store holds, now and whenever `interval` seconds have passed, for ever.

    Parameters
    ----------
    path : path-like
        The store. It may be checkpointed, compacted or replaced meanwhile.
    interval : float
        Seconds between looks.
    n_names : int
        How many of the newest names to return.
    waits : bool
        Whether to wait for a store that is not there, now or later.

    Yields
    ------
    Look, or None for a store that is waited for.

    Raises
    ------
    StoreNotFoundError
        If it is not there, and `waits` is false.

    Examples
    --------
    >>> look = next(looks("corpus.ptr", 1.0))
    >>> look.n_arrays, look.newest
    (3, ['utt3', 'utt2', 'utt1'])
    """
    store: PointerArray | None = None
    began = next_at = time.monotonic()
    try:
        while True:
            store = _seen(path, store, waits=waits)
            now = time.monotonic()
            yield None if store is None else _look(store, now - began, n_names)
            # Looks that took longer than the interval are not made up for.
            next_at = max(next_at + interval, time.monotonic())
            time.sleep(max(0.0, next_at - time.monotonic()))
    finally:
        if store is not None:
            store.close()


def _seen(
    path: str | os.PathLike[str], store: PointerArray | None, *, waits: bool
) -> PointerArray | None:
    """Open the store or refresh it; None if it is not there and waited for."""
    try:
        if store is None:
            return open_store(path)
        store.refresh()
    except StoreNotFoundError:
        if not waits:
            raise
        return None
    return store


def _look(store: PointerArray, seconds: float, n_names: int) -> Look:
    newest = store.names.newest(n_names)
    return Look(seconds, len(store), store.shape[0], store.nbytes, newest)


def rates(earlier: Look, later: Look) -> Rates:
    """Return what was added a second between two looks.

    Examples
    --------
    >>> rates(Look(0, 10, 0, 0, []), Look(2, 14, 0, 3_000_000, []))
    Rates(arrays=2.0, megabytes=1.5)
    """
    seconds = later.seconds - earlier.seconds
    if seconds <= 0:
        return Rates(0.0, 0.0)
    nbytes = later.nbytes - earlier.nbytes
    return Rates((later.n_arrays - earlier.n_arrays) / seconds, nbytes / 1e6 / seconds)


def line(look: Look, previous: Look, escape: Callable[[str], str]) -> str:
    r"""Return a look and what was added since the previous one, on one line.

    Examples
    --------
    >>> line(Look(2, 1234, 5000, 2_500_000, ["b", "a"]), Look(1, 1200, 0, 0, []), str)
    '0:00:02  1,234 arrays  5,000 rows  2.5 MB  34.0 arrays/s  2.5 MB/s  newest: b, a'
    """
    now = rates(previous, look)
    facts = (
        _clock(look.seconds),
        f"{look.n_arrays:,} arrays",
        f"{look.n_rows:,} rows",
        f"{look.nbytes / 1e6:,.1f} MB",
        f"{now.arrays:,.1f} arrays/s",
        f"{now.megabytes:,.1f} MB/s",
        f"newest: {_listed(look, escape)}",
    )
    return "  ".join(facts)


def block(
    title: str, look: Look, previous: Look, first: Look, escape: Callable[[str], str]
) -> list[str]:
    """Return a look and what was added since the previous and since the first one, as a table.

    Examples
    --------
    >>> first, last = Look(0, 0, 0, 0, []), Look(10, 50, 700, 4_000_000, ["b"])
    >>> for line in block("a.ptr", last, first, first, str):
    ...     print(line)
    a.ptr  0:00:10
                       total        now/s      start/s
      arrays              50          5.0          5.0
      rows               700
      MB                 4.0          0.4          0.4
      newest  b
    """
    now, since = rates(previous, look), rates(first, look)
    megabytes = look.nbytes / 1e6
    return [
        f"{escape(title)}  {_clock(look.seconds)}",
        f"  {'':<6}  {'total':>14}  {'now/s':>11}  {'start/s':>11}",
        f"  arrays  {look.n_arrays:>14,}  {now.arrays:>11,.1f}  {since.arrays:>11,.1f}",
        f"  rows    {look.n_rows:>14,}",
        f"  MB      {megabytes:>14,.1f}  {now.megabytes:>11,.1f}  {since.megabytes:>11,.1f}",
        f"  newest  {_listed(look, escape)}",
    ]


def _listed(look: Look, escape: Callable[[str], str]) -> str:
    return ", ".join(clipped(escape(name), _NAME_WIDTH) for name in look.newest) or "-"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def clipped(text: str, width: int) -> str:
    """Cut a text to as many columns of a terminal.

    Examples
    --------
    >>> clipped("utterance", 6), clipped("日本語", 5), clipped("fits", 4)
    ('utter…', '日本…', 'fits')
    """
    widths = [_columns(character) for character in text]
    if sum(widths) <= width:
        return text
    used = n_kept = 0
    while used + widths[n_kept] <= width - 1:
        used += widths[n_kept]
        n_kept += 1
    return f"{text[:n_kept]}…"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
