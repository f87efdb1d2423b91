"""What there is to tell of an open store, in little time whatever its size: facts, lengths, first arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format.infos import decode as decode_info
from ptrarray.format.layouts import MIXED, ROWS
from ptrarray.format.named import described
from ptrarray.look.numbers import is_masked
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.store.opened import Opened, OpenedStore
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.storage.system.advice import prefetch

# Up to so many arrays in so many stores, all are looked at; of more, a sample.
_WHOLE = 1 << 16
_FEW_STORES = 16
# A sample is runs of arrays that follow each other, evenly spread: many short ones, or few long
# ones where each may cost the opening of a store or a request.
_RUNS, _RUN = 64, 64
_FEW_RUNS, _LONG_RUN = 16, 256
# Of one array so many bytes are read, in so few pieces, as each may be one look at the disk.
_READ_NBYTES, _PIECES = 1 << 18, 8
# Where they lie elsewhere, only arrays up to this.
_SMALL_NBYTES = 1 << 16
_NOT_READ = "not read: it is large, and not mapped"


class Shown(Protocol):
    """What is open, to be looked at: a reader, or a part of one."""

    @property
    def _opened(self) -> Opened: ...

    @property
    def _helpers(self) -> Any: ...


def facts(store: Shown, n_arrays: int | None = None) -> dict[str, Any]:
    """Return what an open store is: plain values, as JSON has them, and attrs.

    Parameters
    ----------
    store : PointerArray or Partition
        The store.
    n_arrays : int, optional
        What to say of how many arrays there are, as `Lengths` has it. By default they are
        counted, for which a long journal is put in order when it is first done.

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
    return {
        "path": str(opened.snapshot.directory),
        "arrays": len(opened.snapshot) if n_arrays is None else n_arrays,
        "rows": len(opened.data),
        "dtype": described(layout.dtype),
        "row_shape": list(layout.row_shape) if layout.kind == ROWS else None,
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
        "shards_in_catalog": snapshot.n_known,
    }


def _helpers(store: Shown) -> dict[str, int]:
    beside = None if store._helpers is None else store._helpers.opened
    if beside is None or not len(beside.snapshot):
        return {}
    return {"helper_arrays": len(beside.snapshot), "helper_nbytes": beside.data.nbytes}


def _generation(opened: Opened) -> int:
    snapshot = opened.snapshot
    if isinstance(snapshot, ShardedSnapshot):
        return sum(part.header.generation for part in snapshot.found)
    return opened.stores[0].snapshot.header.generation


# lengths -----------------------------------------------------------------------------------------


class Lengths(NamedTuple):
    """How long arrays are: all of them, or a sample.

    Attributes
    ----------
    rows : ndarray of int64
        Rows of each array that was looked at. In a mixed store, its bytes.
    n_arrays : int
        How many there are in all.
    n_hole_rows : int or None
        Rows that no array has, of a sample about so many; None if that is not known. In a mixed
        store, bytes that fill an array up to where the next one may begin are none.
    is_counted : bool
        Whether `n_arrays` is exact. Where a long journal was not put in order yet, there are at
        most so many, and some that were looked at may have been replaced since.
    """

    rows: Int64s
    n_arrays: int
    n_hole_rows: int | None
    is_counted: bool = True

    @property
    def is_sample(self) -> bool:
        """Whether there are arrays that were not looked at."""
        return len(self.rows) < self.n_arrays or not self.is_counted


def lengths(store: Shown) -> Lengths:
    """Return how long the arrays of an open store are, of many a sample.

    Notes
    -----
    Looks at up to 65,536 arrays, and of more at some 4,096: runs of neighbours, evenly spread.
    Builds no column of all, and does not put a long journal in order.

    Examples
    --------
    >>> lengths(store)
    Lengths(rows=array([3, 2, 1]), n_arrays=3, n_hole_rows=0, is_counted=True)
    """
    opened = store._opened
    parts = _parts(opened.snapshot)
    if not all(part.is_in_order for part in parts):
        return _scattered(parts)
    n_arrays, n_rows = len(opened.snapshot), len(opened.data)

    def kept(ends: Int64s) -> Int64s:
        # What an array is filled up with is no hole: it is written again when the store is compacted.
        filled: Int64s = np.minimum(opened.layout.aligned(ends), n_rows)
        return np.maximum(filled, ends)  # an empty array may begin behind the last row

    is_partial = len(parts) == 1 and opened.stores[0].snapshot.index.is_partial
    few = is_partial or len(parts) > _FEW_STORES
    if n_arrays <= _WHOLE and not few:
        starts, ends = opened.snapshot.starts, opened.snapshot.ends
        return Lengths(ends - starts, n_arrays, n_rows - _n_covered(starts, kept(ends)))
    runs = _runs(n_arrays, *((_FEW_RUNS, _LONG_RUN) if few else (_RUNS, _RUN)))
    starts, ends = _pointers(opened.snapshot, runs)
    past = kept(ends)
    spans = int((past.max(axis=1, initial=0) - starts[:, 0]).sum())
    covered = sum(map(_n_covered, starts, past))
    # Behind the last array there are holes, too: rows that were reserved.
    last = int(past.max(initial=0))
    n_holes = last * (spans - covered) // max(spans, 1) + max(n_rows - last, 0)
    return Lengths((ends - starts).ravel(), n_arrays, n_holes)


def _parts(snapshot: Snapshot) -> Sequence[Any]:
    """Return the snapshot of each store, of which those that were not needed yet are only held."""
    return snapshot.parts if isinstance(snapshot, ShardedSnapshot) else [snapshot]


def _scattered(parts: Sequence[Any]) -> Lengths:
    """Return lengths of arrays here and there, where positions are not known."""
    step = -(-len(parts) // _FEW_STORES)
    chosen = parts[::-step]  # the last one, which others write to, among them
    n_each = _RUNS * _RUN // len(chosen)
    found = []
    for part in chosen:
        starts, ends = part.complete().pointers_at(part.complete().spread(n_each)[0])
        found.append(ends - starts)
    n_most = sum(len(part) if part.is_in_order else part.spread(2)[1] for part in parts)
    return Lengths(np.concatenate(found), n_most, None, is_counted=False)


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


def _pointers(snapshot: Snapshot, positions: Int64s) -> tuple[Int64s, Int64s]:
    """Return pointers of arrays at some positions, in the shape of those."""
    located = map(snapshot.locate_position, positions.ravel().tolist())
    addresses = np.fromiter(located, np.int64, positions.size)
    starts, ends = snapshot.pointers_at(addresses)
    return starts.reshape(positions.shape), ends.reshape(positions.shape)


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
        The array, a view where the store is mapped, or pieces of it; None if it was not read.
    why : str
        If that is not all: what it is, or why it was not read.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Array | None
    why: str = ""


def first(store: Shown, n: int) -> Iterator[First]:
    """Yield the first arrays of an open store, as they are to be looked at; of `beginning`.

    Those of mode ``"r+"`` are read-only here, and not noted as handed out. Of an array larger than
    256 KiB there are pieces, evenly spread and end to end, or the first row if that is larger; of
    an image all rows. One that is damaged says so, and the others come all the same.

    Examples
    --------
    >>> [(one.name, one.shape, float(one.values.sum())) for one in first(store, 2)]
    [('utt1', (3,), 6.0), ('utt2', (2,), 9.0)]
    """
    opened = store._opened
    found = list(beginning(opened.snapshot, n))
    arrays = _read_at_once(opened, [address for _, address in found])
    for raw, address in found:
        name = raw.decode("utf-8", "backslashreplace")
        if address in arrays:
            array = arrays[address]
            yield First(name, array.dtype, array.shape, array)
            continue
        address, number = divmod(address, len(opened.stores))
        try:
            yield _at(opened.stores[number], name, address)
        except (StoreError, OSError) as error:
            yield First(name, opened.data.dtype, (), None, str(error))


def _read_at_once(opened: Opened, addresses: list[int]) -> dict[int, Array]:
    """Return small ones of some arrays that lie elsewhere, all read in one go; none if one is damaged."""
    if not opened.is_compared or not addresses:
        return {}
    try:
        starts, ends = opened.snapshot.pointers_at(np.array(addresses, np.int64))
        is_small = (ends - starts) * opened.layout.width <= _SMALL_NBYTES
        small = [at for at, one in zip(addresses, is_small.tolist(), strict=True) if one]
        return dict(zip(small, opened.arrays_at(small), strict=True))
    except CorruptStoreError:
        return {}  # then they are read one by one


def beginning(snapshot: Snapshot, n: int) -> Iterator[tuple[bytes, int]]:
    """Yield names and addresses of the first arrays; where a long journal is not in order, of the newest."""
    parts = _parts(snapshot)
    is_in_order = all(part.is_in_order for part in parts)
    for number, part in enumerate(parts) if is_in_order else [(len(parts) - 1, parts[-1])]:
        if is_in_order and not len(part):
            continue
        store = part.complete()
        for address in store.beginning(n):
            yield store.name_at(address), address * len(parts) + number
            n -= 1
        if n <= 0:
            return


def _at(opened: OpenedStore, name: str, address: int) -> First:
    snapshot, layout = opened.snapshot, opened.layout
    start, end = snapshot.pointer_at(address)
    limit = _SMALL_NBYTES if opened.is_compared else _READ_NBYTES
    is_small = (end - start) * layout.width <= limit
    if not is_small and snapshot.backend != "mmap":
        return _not_mapped(opened, name, address, start, end)
    opened.check_whole()
    array = opened.array_at(address)
    array.flags.writeable = False
    if is_small or (array.dtype == np.uint8 and array.ndim in (2, 3)):
        return First(name, array.dtype, array.shape, array)
    axis = -1 if array.flags.f_contiguous and array.ndim > 1 else 0
    turned = np.moveaxis(array, axis, 0)
    row_nbytes = array.nbytes // len(turned)
    pieces = _pieces(len(turned), row_nbytes)
    # Each piece is asked for before the first one is waited for.
    firsts, pasts = (start + rows * row_nbytes // layout.width for rows in pieces)
    prefetch(opened.sources, firsts, pasts)
    values, why = _sampled(lambda low, high: turned[low:high], *pieces, len(turned))
    return First(name, array.dtype, array.shape, np.moveaxis(values, 0, axis), why)


def _pieces(n_rows: int, row_nbytes: int) -> tuple[Int64s, Int64s]:
    """Return which rows of a large array to look at, as starts and ends."""
    n_most = max(_READ_NBYTES // max(row_nbytes, 1), 1)
    n_pieces = min(_PIECES, n_most)
    n_each = min(n_most // n_pieces, n_rows)
    starts = np.linspace(0, n_rows - n_each, n_pieces).astype(np.int64)
    return starts, starts + n_each


def _sampled(
    read: Callable[[int, int], Array], starts: Int64s, ends: Int64s, n_rows: int
) -> tuple[Array, str]:
    """Return pieces of an array end to end, and what they are."""
    pieces = [read(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    if len(pieces) == 1:
        return pieces[0], f"the first of {n_rows:,} rows"
    joined = np.ma.concatenate if is_masked(pieces[0]) else np.concatenate
    return joined(pieces), "a sample"


def _not_mapped(opened: OpenedStore, name: str, address: int, start: int, end: int) -> First:
    """Return an array that is large and not mapped: pieces of it, where each is one read."""
    layout = opened.layout
    if layout.kind == ROWS:
        shape = (end - start, *layout.row_shape)
        if opened.is_compared:
            return First(name, layout.dtype, shape, None, _NOT_READ)
        pieces = _pieces(end - start, layout.width)
        values, why = _sampled(lambda a, b: opened.rows[start + a : start + b], *pieces, shape[0])
        return First(name, layout.dtype, shape, values, why)
    info = decode_info(opened.snapshot.info_at(address))
    dtype = info.dtype or layout.dtype if layout.kind == MIXED else layout.dtype
    shape = info.shape or ((end - start) * layout.width // max(dtype.itemsize, 1),)
    return First(name, dtype, shape, None, _NOT_READ)
