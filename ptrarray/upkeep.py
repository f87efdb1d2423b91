"""Looking after a store that is there: checkpoint, compact, publish, verify, repair."""

from __future__ import annotations

import os

from ptrarray.errors import CorruptStoreError, Damage
from ptrarray.intake.numbers import nbytes
from ptrarray.intake.paths import absolute
from ptrarray.reader import PointerArray
from ptrarray.reader import open_readable as open_store
from ptrarray.storage.shards import upkeep as sharded_upkeep
from ptrarray.storage.store.absent import not_found
from ptrarray.storage.system.files import is_file
from ptrarray.storage.system.parts import why_not


def checkpoint(path: str | os.PathLike[str], memory: str | int = "512MB") -> None:
    """Fold the journal of a store into a new index, on the disk.

    Closing a writer does this when the journal is large. Readers that are open
    keep their snapshot; writers wait meanwhile.

    Parameters
    ----------
    path : path-like
        The store.
    memory : str or int
        What the process may take if it has done nothing yet, ``"64MB"`` say.
        Less than that is as fast for a small journal. Of a longer one as much
        is folded in at a time as fits, each time into a new index, so a journal
        ten times as long as what fits is written some five times.

    Notes
    -----
    Time grows with the number of names, not with the rows. Memory grows with
    neither, on file systems that can map files. On the disk it takes the size
    of the new index, and of another one where the journal does not fit in
    memory. Killed anywhere in the middle, the store is as before or
    checkpointed. Of a store of shards, each in turn.

    Examples
    --------
    >>> ptrarray.checkpoint("corpus.ptr")
    """
    sharded_upkeep.checkpoint(absolute(path), nbytes("memory", memory))


def compact(
    path: str | os.PathLike[str], progress: bool = False, memory: str | int = "512MB"
) -> None:
    """Rewrite the data file of a store without holes.

    Arrays keep their names, order and content; names that share rows keep
    sharing them. Pre-sized and reserved rows that nobody wrote go, too. So do
    indexes of pandas objects that no array refers to any more, and other
    helper arrays, unless a writer is open that may be about to.

    Parameters
    ----------
    path : path-like
        The store.
    progress : bool
        Whether to show a bar.
    memory : str or int
        What the process may take if it has done nothing yet, as for `checkpoint`.

    Raises
    ------
    StoreError
        If a writer is filling rows at this moment: inside `allocate`, or in
        a large `write`; or if arrays are left of a store that was opened with
        mode ``r+``, whose changes would be lost. Nothing was done; try again.

    Notes
    -----
    Needs as much disk as the living rows take, and as much time as to copy
    them. Writers that are open and not filling rows wait until it is done,
    and go on. Readers that are open keep their snapshot until they refresh.
    Killed anywhere in the middle, the store is as before or compacted, and
    the next writer removes what was left over.

    It refuses rather than waits for a writer that is filling rows, because
    that writer may be a process that takes hours for one array.

    Of a store of shards, each in turn: they get smaller, not fewer.

    Examples
    --------
    >>> with ptrarray.append("corpus.ptr") as writer:
    ...     del writer["utt1"]
    >>> ptrarray.compact("corpus.ptr")
    >>> ptrarray.open("corpus.ptr").rows
    array([4., 5., 6.], dtype=float32)
    """
    sharded_upkeep.compact(absolute(path), nbytes("memory", memory), progress=progress)


def publish(
    path: str | os.PathLike[str], progress: bool = False, memory: str | int = "512MB"
) -> None:
    """Bring a store to what is best read from a web server or bucket, where its files are then copied.

    Nothing is left in the journal, as after `checkpoint`, and no holes, as after
    `compact`. The index has the numbers of each array side by side, too, which
    saves requests to one that is too large to be fetched: some 28 bytes an array.

    Parameters
    ----------
    path : path-like
        The store.
    progress : bool
        Whether to show a bar.
    memory : str or int
        What the process may take if it has done nothing yet, as for `checkpoint`.

    Raises
    ------
    StoreError
        As from `compact`, if there are holes.

    Notes
    -----
    Arrays are as before, and so is the store: what is written to it later makes
    it need this again. Costs no more than a look where there is nothing to do.
    The data file is rewritten if there are holes. Killed anywhere in the middle,
    the store is as before or published. Of a store of shards, each in turn. Any
    copy of a store can be read elsewhere; without this, it takes more requests.

    Examples
    --------
    >>> ptrarray.publish("corpus.ptr")
    """
    sharded_upkeep.publish(absolute(path), nbytes("memory", memory), progress=progress)


def verify(
    store: str | os.PathLike[str] | PointerArray,
    progress: bool = False,
    memory: str | int = "512MB",
) -> None:
    """Check all of a store against its checksums.

    Parameters
    ----------
    store : path-like or PointerArray
        What to check.
    progress : bool
        Whether to show a bar.
    memory : str or int
        Bytes of memory that this takes at the most, or a number with a unit such as ``"64MB"``.
        Pages of the store's files that were read count, too, and so do some 40 MB that Python and
        numpy take themselves.

    Raises
    ------
    CorruptStoreError
        If anything is wrong; its field ``damage`` lists everything that is,
        as `Damage` with the fields ``file``, ``problem``, ``name``, ``start``
        and ``end``.

    Notes
    -----
    Reads every byte, on all cores. Changes nothing. Where the journal is long, what it changes
    takes memory beside that, as in any open store.

    Examples
    --------
    >>> ptrarray.verify("corpus.ptr")
    """
    if isinstance(store, PointerArray):
        store.verify(progress=progress, memory=memory)
        return
    try:
        with open_store(store) as opened:
            opened.verify(progress=progress, memory=memory)
    except CorruptStoreError as error:
        if error.damage:
            raise
        # It could not even be opened.
        damage = (Damage(error.path, str(error)),)
        raise CorruptStoreError(str(error), path=error.path, damage=damage) from error


def repair(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    progress: bool = False,
    memory: str | int = "512MB",
) -> list[Damage]:
    """Copy what is intact of a damaged store into a new one.

    Parameters
    ----------
    path : path-like
        The damaged store. Not changed.
    to : path-like
        Where the new store goes; there must be nothing.
    progress : bool
        Whether to show a bar.
    memory : str or int
        What the process may take if it has done nothing yet, as for `checkpoint`.

    Returns
    -------
    list of Damage
        What was left out, as `verify` tells it.

    Raises
    ------
    CorruptStoreError
        If the header of the index cannot be read, for nothing else tells
        what the rows are.
    StoreExistsError
        If there is something at `to`.

    Notes
    -----
    An array is intact if its name, its pointer and its rows match their
    checksums. Arrays keep their order; names that share rows keep sharing
    them. No writer must have the damaged store open. Memory grows with the
    number of names.

    A shard of which nothing can be read, or that is missing, becomes an empty
    one.

    Examples
    --------
    >>> ptrarray.repair("corpus.ptr", "repaired.ptr")
    []
    >>> len(ptrarray.open("repaired.ptr"))
    3
    """
    if is_file(absolute(path)):
        raise why_not(absolute(path))
    try:
        limit = nbytes("memory", memory)
        return sharded_upkeep.repair(absolute(path), absolute(to), limit, progress=progress)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise not_found(absolute(path)) from error
