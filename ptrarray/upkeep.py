"""Looking after a store that is there: checkpoint and verify."""

from __future__ import annotations

import os

from ptrarray.reader import PointerArray
from ptrarray.reader import open as open_store
from ptrarray.storage.session import Session
from ptrarray.storage.state import absolute


def checkpoint(path: str | os.PathLike[str]) -> None:
    """Fold the journal of a store into a new index, on the disk.

    Closing a writer does so when it is worth it. Readers that are open keep
    their snapshot; writers wait meanwhile.

    Parameters
    ----------
    path : path-like
        The store.

    Notes
    -----
    Time and memory grow with the number of names, not with the rows. Killed
    anywhere in the middle, the store is as before or checkpointed.

    Examples
    --------
    >>> ptrarray.checkpoint("corpus.ptr")
    """
    session = Session(absolute(path))
    try:
        session.checkpoint()
    finally:
        session.close()


def verify(store: str | os.PathLike[str] | PointerArray, progress: bool = False) -> None:
    """Check all of a store against its checksums.

    Parameters
    ----------
    store : path-like or PointerArray
        What to check.
    progress : bool
        Whether to show a bar.

    Raises
    ------
    CorruptStoreError
        If anything is wrong; its field ``damage`` lists everything that is,
        as `Damage` with the fields ``file``, ``problem``, ``name``, ``start``
        and ``end``.

    Notes
    -----
    Reads every byte, on all cores. Changes nothing.

    Examples
    --------
    >>> ptrarray.verify("corpus.ptr")
    """
    if isinstance(store, PointerArray):
        store.verify(progress=progress)
        return
    with open_store(store) as opened:
        opened.verify(progress=progress)
