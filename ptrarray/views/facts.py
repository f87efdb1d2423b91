"""What there is to tell of an open store, in little time whatever its size: facts, lengths, first arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import StoreError
from ptrarray.format.infos import decode as decode_info
from ptrarray.format.layouts import MIXED, ROWS
from ptrarray.format.named import described
from ptrarray.format.names import decode
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.store.opened import Opened, OpenedStore
from ptrarray.views.stored import StoredArrays

# Up to so many arrays in so many stores, all are looked at; of more, a sample.
_WHOLE = 1 << 16
_FEW_STORES = 16
# A sample is runs of arrays that follow each other, evenly spread: many short ones, or few long
# ones where each may cost the opening of a store or a request.
_RUNS, _RUN = 128, 32
_FEW_RUNS, _LONG_RUN = 16, 256
# Of an array that is not mapped, so many bytes are read.
_READ_NBYTES = 1 << 18


def facts(store: StoredArrays) -> dict[str, Any]:
    """Return what an open store, or a part of it, is: plain values, as JSON has them, and attrs.

    Returns
    -------
    dict
        ``path``, ``arrays``, ``rows``, ``dtype`` (as numpy's ``descr``), ``row_shape`` (None where
        each array has its own); ``layout``, ``masked``, ``sealed`` or ``open_part``, ``shards``,
        ``shard_nbytes``, ``shards_in_catalog``, ``helper_arrays`` and ``helper_nbytes`` where
        there is something to say; ``nbytes`` of the flat array, holes included; ``generation`` of
        the index, the sum of them in a store of shards; ``attrs``, the user's own.

    Examples
    --------
    >>> told = facts(store)
    >>> told["arrays"], told["rows"], told["dtype"], told["nbytes"], told["attrs"]
    (3, 6, '<f4', 24, {'rate': 16000})
    """
    opened = store._opened
    layout = opened.layout
    shape = store.row_shape
    return {
        "path": str(opened.snapshot.directory),
        "arrays": len(opened.snapshot),
        "rows": len(opened.data),
        "dtype": described(store.dtype),
        "row_shape": None if shape is None else list(shape),
        **({} if layout.kind == ROWS else {"layout": layout.kind}),
        **({"masked": True} if layout.masked else {}),
        **_sealed(opened),
        **_shards(opened),
        "nbytes": opened.data.nbytes,
        **_helpers(store),
        "generation": _generation(opened),
        "attrs": dict(opened.snapshot.attrs),
    }


def _sealed(opened: Opened) -> dict[str, bool]:
    if opened.limit_nbytes is not None:
        return {}
    is_sealed = opened.stores[0].snapshot.header.sealed
    return {} if is_sealed is None else {"sealed" if is_sealed else "open_part": True}


def _shards(opened: Opened) -> dict[str, int]:
    snapshot = opened.snapshot
    if opened.limit_nbytes is None or not isinstance(snapshot, ShardedSnapshot):
        return {}
    return {
        "shards": len(snapshot.parts),
        "shard_nbytes": opened.limit_nbytes,
        # Of how many a catalog has all names.
        "shards_in_catalog": snapshot.finder.n_known,
    }


def _helpers(store: Any) -> dict[str, int]:
    beside: OpenedStore | None = None if store._helpers is None else store._helpers.opened
    if beside is None or not len(beside.snapshot):
        return {}
    return {"helper_arrays": len(beside.snapshot), "helper_nbytes": beside.data.nbytes}


def _generation(opened: Opened) -> int:
    snapshot = opened.snapshot
    found = snapshot.found if isinstance(snapshot, ShardedSnapshot) else [opened.stores[0].snapshot]
    return sum(part.header.generation for part in found)


# lengths -----------------------------------------------------------------------------------------


class Lengths(NamedTuple):
    """How long arrays are: all of them, or a sample.

    Attributes
    ----------
    rows : ndarray of int64
        Rows of each array that was looked at, in data order. In a mixed store, its bytes.
    n_arrays : int
        How many there are in all.
    n_hole_rows : int
        Rows that no array has, of a sample about so many.
    """

    rows: Int64s
    n_arrays: int
    n_hole_rows: int

    @property
    def is_sample(self) -> bool:
        """Whether there are arrays that were not looked at."""
        return len(self.rows) < self.n_arrays


def lengths(store: StoredArrays) -> Lengths:
    """Return how long the arrays of an open store are, of many a sample.

    Notes
    -----
    Looks at up to 65,536 arrays, and of more at some 4,096: runs of neighbours, evenly spread.
    Builds no column of all.

    Examples
    --------
    >>> lengths(store)
    Lengths(rows=array([3, 2, 1]), n_arrays=3, n_hole_rows=0)
    """
    opened = store._opened
    n_arrays, n_rows = len(opened.snapshot), len(opened.data)
    n_stores = _n_stores(opened)
    is_partial = n_stores == 1 and opened.stores[0].snapshot.index.is_partial
    if n_arrays <= _WHOLE and n_stores <= _FEW_STORES and not is_partial:
        starts, ends = opened.snapshot.starts, opened.snapshot.ends
        return Lengths(ends - starts, n_arrays, n_rows - _n_covered(starts, ends))
    few = is_partial or n_stores > _FEW_STORES
    runs = _runs(n_arrays, *((_FEW_RUNS, _LONG_RUN) if few else (_RUNS, _RUN)))
    starts, ends = _pointers(opened, runs.ravel())
    starts, ends = starts.reshape(runs.shape), ends.reshape(runs.shape)
    spans = int((ends.max(axis=1) - starts[:, 0]).sum())
    covered = sum(map(_n_covered, starts, ends))
    # Behind the last array there are holes, too: rows that were reserved.
    last = int(ends.max(initial=0))
    n_holes = last * (spans - covered) // max(spans, 1) + max(n_rows - last, 0)
    return Lengths((ends - starts).ravel(), n_arrays, n_holes)


def _n_stores(opened: Opened) -> int:
    snapshot = opened.snapshot
    return len(snapshot.parts) if isinstance(snapshot, ShardedSnapshot) else 1


def _runs(n_arrays: int, n_runs: int, n_each: int) -> Int64s:
    """Return positions of runs of neighbours, one a row: from the first to the last array.

    Examples
    --------
    >>> _runs(100, 3, 2)
    array([[ 0,  1],
           [49, 50],
           [98, 99]])
    """
    n_each = min(n_each, max(n_arrays // n_runs, 1))
    firsts = np.linspace(0, n_arrays - n_each, min(n_runs, n_arrays)).astype(np.int64)
    runs: Int64s = firsts[:, None] + np.arange(n_each)
    return runs


def _n_covered(starts: Int64s, ends: Int64s) -> int:
    """Return how many rows arrays in data order have, those of several counted once."""
    if not len(starts):
        return 0
    past = np.maximum.accumulate(ends)
    before = np.concatenate([starts[:1], past[:-1]])
    return int(np.maximum(ends - np.maximum(starts, before), 0).sum())


def _pointers(opened: Opened, positions: Int64s) -> tuple[Int64s, Int64s]:
    """Return pointers of arrays at some positions."""
    snapshot = opened.snapshot
    located = map(snapshot.locate_position, positions.tolist())
    addresses = np.fromiter(located, np.int64, len(positions))
    return snapshot.pointers_at(addresses)


# first arrays ------------------------------------------------------------------------------------


class First(NamedTuple):
    """An array among the first, in data order.

    Attributes
    ----------
    name : str
    dtype : numpy.dtype
    shape : tuple of int
        Of the whole array.
    values : ndarray or None
        The array, a view where the store is mapped, or its first rows; None if it was not read.
    why : str
        Why some or all of it was not read: it is damaged, or large and not mapped.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Array | None
    why: str = ""


def first(store: StoredArrays, n: int) -> Iterator[First]:
    """Yield the first arrays of an open store, as they are to be looked at.

    Those of mode ``"r+"`` are read-only here, and not noted as handed out. Of an array that is
    not mapped, 256 KiB are read at the most; of those that lie elsewhere, the small ones, in one
    go. One that is damaged says so, and the others come all the same.

    Examples
    --------
    >>> [(one.name, one.shape, one.values.sum()) for one in first(store, 2)]
    [('utt1', (3,), np.float32(6.0)), ('utt2', (2,), np.float32(9.0))]
    """
    opened = store._opened
    for position in range(min(n, len(opened.snapshot))):
        try:
            yield _at(opened, position)
        except (StoreError, OSError) as error:
            name = _name(opened, position)
            yield First(name, opened.data.dtype, (), None, str(error))


def _name(opened: Opened, position: int) -> str:
    try:
        return decode(opened.snapshot.name(position))
    except (StoreError, OSError):
        return f"array {position}"


def _at(opened: Opened, position: int) -> First:
    snapshot = opened.snapshot
    name, address = decode(snapshot.name(position)), snapshot.locate_position(position)
    start, end = snapshot.pointer_at(address)
    if snapshot.backend == "mmap" or (end - start) * opened.layout.width <= _READ_NBYTES:
        array = opened.array_at(address)
        array.flags.writeable = False
        return First(name, array.dtype, array.shape, array)
    return _not_mapped(opened, name, address, start, end)


def _not_mapped(opened: Opened, name: str, address: int, start: int, end: int) -> First:
    """Return an array that is large and not mapped: its first rows, where that is one read."""
    layout = opened.layout
    if layout.kind == ROWS and not opened.is_compared:
        n_rows = max(_READ_NBYTES // max(layout.width, 1), 1)
        shape = (end - start, *layout.row_shape)
        head = opened.rows[start : min(end, start + n_rows)]
        return First(name, layout.dtype, shape, head, f"the first {len(head):,} rows")
    info = decode_info(opened.snapshot.info_at(address))
    dtype = info.dtype or layout.dtype if layout.kind == MIXED else layout.dtype
    shape = info.shape or ((end - start) * layout.width // max(dtype.itemsize, 1),)
    if layout.kind == ROWS:
        shape = (end - start, *layout.row_shape)
    return First(name, dtype, shape, None, "not read: it is large, and not mapped")
