"""What a store holds while other processes fill it: looked at again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from ptrarray.errors import StoreNotFoundError
from ptrarray.reader import PointerArray
from ptrarray.reader import open_readable as open_store


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
