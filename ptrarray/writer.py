"""Writing a store: from any number of processes at once, each commit whole or not at all."""

from __future__ import annotations

import os
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError, ClosedStoreError, after
from ptrarray.format import names as naming
from ptrarray.format.helpers import Helper
from ptrarray.format.layouts import ROWS, Kind, Layout
from ptrarray.frames.library import check_kind
from ptrarray.intake.batch import Batch, from_mapping, only_one
from ptrarray.intake.numbers import count, integer
from ptrarray.intake.paths import absolute
from ptrarray.rows.types import Array
from ptrarray.storage.shards.helpers import HelperWriter
from ptrarray.storage.shards.opened import load_any, open_any
from ptrarray.storage.shards.target import open_writable
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.storage.system.files import process_id
from ptrarray.storage.system.lock import whole
from ptrarray.storage.writing import transactions
from ptrarray.storage.writing.allocation import allocated
from ptrarray.storage.writing.streamed import put_all
from ptrarray.storage.writing.target import Writable
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.arrays import Arrays, Items, Values
from ptrarray.views.helpers import check_values, flattened
from ptrarray.views.mappings import Attrs, Meta, MetaOfWriter, Pointers, encoded


def append(path: str | os.PathLike[str], durable: bool = False) -> PointerArrayWriter:
    """Open a store that is there for writing, beside any number of other writers.

    Parameters
    ----------
    path : path-like
        The store.
    durable : bool
        Whether each commit waits until it is on the disk, as `flush` does.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `path`.
    CorruptStoreError
        If what is there is damaged or of a newer version.

    Examples
    --------
    >>> with ptrarray.append("corpus.ptr") as writer:
    ...     writer["utt4"] = [7, 8]
    >>> store.refresh()
    >>> store["utt4"]
    array([7., 8.], dtype=float32)
    """
    return PointerArrayWriter(path, durable)


class PointerArrayWriter(MutableMapping[str, Array]):
    """A store open for writing: a mapping from name to array.

    Reading from it (``in``, ``len``, ``writer[name]``, `pointers`, iteration)
    gives what anyone has committed by that moment. A change is committed when
    the call returns: every process on the machine sees it from then on, and
    the death of this process does not lose it. `flush` makes it safe from a
    power cut.

    Adding: ``writer[name] = array``, `write`, `write_ragged`, `update`.
    Filling in place: `reserve`, `allocate`. Names: `rename`, `point`, ``del``, `delete`,
    `clear`.
    The store: `attrs`, `flush`, `close`.

    Parameters
    ----------
    path, durable
        As for `append`; `create` makes a store.

    Notes
    -----
    Any number of processes and threads may write to one store, and share this
    object: by pickling (then each process opens the store for itself), by
    fork (noticed and reopened), or between threads. Each call costs a few
    system calls; many arrays in one `write` are much faster than one by one.

    A store of shards (see `create`) chooses rows by itself, so that `start`
    and `reserve` are errors. What one call writes goes to one shard. Checking
    that a name is new costs about 0.2 microseconds for each shard; reading an
    array, or ``len``, about 40 for each. Deleting names of several shards is a
    commit in each of them. The call that finds the last shard full waits until
    that shard is on the disk. So does the first call that changes an older
    shard after others were written, and the first that writes after it: it is
    faster to write many arrays and then delete many than to take turns.

    Examples
    --------
    >>> writer = ptrarray.append("corpus.ptr")
    >>> writer.write({"a": [1, 2], "b": [3]})
    (6, 9)
    >>> sorted(writer)
    ['a', 'b', 'utt1', 'utt2', 'utt3']
    >>> writer.close()
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    _helper_writer: HelperWriter | None = None  # made for the first object that has helper arrays

    def __init__(self, path: str | os.PathLike[str], durable: bool = False) -> None:
        self._path = absolute(path)
        self._durable = durable
        self._opened: Writable | None = open_writable(self._path, durable=durable)
        self._mapped: Opened | None = None  # what was committed at the last look

    def __reduce__(self) -> tuple[Any, ...]:
        if self.closed:
            raise self._closed_error()
        return append, (self.path, self._durable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        with after(error, self.path):
            self.close()

    def __repr__(self) -> str:
        what = "closed" if self.closed else self._store().layout.describe()
        return f"<PointerArrayWriter {self.path!r}, {what}>"

    def _repr_html_(self) -> str:
        """Return what is committed now as HTML, for notebooks; takes no lock."""
        from ptrarray.views import shown

        return shown.writer(self)

    def _store(self) -> Writable:
        """Return the store, opened anew after a fork."""
        store = self._opened
        if store is None:
            raise self._closed_error()
        if store.pid != process_id():  # inherited by the fork, which closed the files
            store = self._opened = open_writable(self._path, durable=self._durable)
            self._mapped = None
        return store

    def _closed_error(self) -> ClosedStoreError:
        return ClosedStoreError(f"the writer of {self.path} was closed", path=self.path)

    def _checked(self, check: Callable[..., Any], *arguments: Any) -> Any:
        """Name the store in the error of a check."""
        try:
            return check(*arguments)
        except BadInputError as error:
            raise error.at(self.path) from error

    def flush(self) -> None:
        """Wait until everything committed so far, by any process, is safe on the disk."""
        self._store().flush()

    def close(self) -> None:
        """Close the store. Closing again does nothing.

        Nothing committed depends on it. If the journal has outgrown a quarter
        of the index, it is folded into the index, which makes the next open
        fast and syncs everything. If not, nothing is synced: see `flush`. On a
        full disk, say, it is left for whoever closes the store later.

        Raises
        ------
        CorruptStoreError
            If the index is damaged.
        OSError
            If what was committed could not be synced. Where a ``with`` block
            has raised an error of its own, this is a note on that one.
        """
        close_leaving(self, 0)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._opened is None

    # what it is ----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return str(self._path)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements of the flat array; uint8 in a mixed store."""
        return self._store().layout.dtype

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """Shape of one row, ``()`` for scalars; None if each array has its own shape."""
        layout = self._store().layout
        return layout.row_shape if layout.kind == ROWS else None

    @property
    def layout(self) -> Kind:
        """What `create` was asked for; as of a reader."""
        return self._store().layout.kind

    @property
    def masked(self) -> bool:
        """Whether the store keeps masks."""
        return self._store().layout.masked

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that say what is committed now; as of a reader, they grow with each commit."""
        store = self._store()
        return transactions.asked(store, lambda: store.snapshot().version)

    @property
    def attrs(self) -> Attrs:
        """What the user keeps with the store: a mapping, each change committed at once.

        Keys are str; values what msgpack keeps: None, bool, int, float, str,
        bytes, and lists and dicts of those. Numbers of numpy are kept as
        Python's, tuples as lists; dates have to be made text.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.attrs["speakers"] = 2
        ...     dict(writer.attrs)
        {'rate': 16000, 'speakers': 2}
        """
        return Attrs(self._store)

    # adding --------------------------------------------------------------------------------

    def write(
        self,
        arrays: Mapping[str, npt.ArrayLike],
        start: int | None = None,
        overwrite: bool = False,
        meta: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> tuple[int, int]:
        """Write arrays end to end, in one reservation and one commit.

        Parameters
        ----------
        arrays : mapping from str to array_like of shape (length, *row_shape)
            Of any shape in a shaped store, of any dtype and shape in a mixed
            one. Masked arrays only into a store with masks. A Series or
            DataFrame is kept whole, as by `series` and `frame`; of anything
            else nothing with labels, which would be lost. Cast as numpy's
            ``same_kind`` allows, and integers to integers of any width, but no
            integer, date or text may change. Floats may be rounded to narrower
            ones, not made infinite. C-contiguous arrays of the store's dtype
            are written from where they are, not copied.
        start : int, optional
            First row they take. By default the next free one.
        overwrite : bool
            Whether names may be there already. The rows of an array that is
            replaced become a hole, and its metadata goes.
        meta : mapping from str to mapping, optional
            Metadata of some of the arrays, as `attrs` takes it; read back by
            ``store.meta[name]``.

        Returns
        -------
        start, end : int
            Rows taken.

        Raises
        ------
        DuplicateNameError
            If a name is there and `overwrite` is false.
        OverlapError
            If rows from `start` on belong to an array, this name's own
            included, or are being written by another living writer.
        BadInputError
            For a name, dtype, shape or value that the store cannot take.
        OSError
            If the disk is full, or the like. The writer can go on after.

        Notes
        -----
        If it raises, nothing was written for any of the arrays.

        Readers see all of the arrays or none, from the return on. Costs a
        few system calls, some 30 bytes of journal a name, and the bytes.

        A writer that is killed leaves rows that it had planned free to be
        written again. A reader that still has a deleted array open sees its
        rows change if `start` leads there.

        No array is to be changed meanwhile by another thread: of a large one,
        `verify` would find another checksum.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.write({"utt4": [7, 8], "utt5": [9]})
        (6, 9)
        """
        store = self._store()
        if start is None and meta is None:
            try:  # as `_checked`, a call less
                one = only_one(arrays, store.layout)
            except BadInputError:
                one = None  # it may be a Series; if not, it is refused once more
            if one is not None:
                return transactions.put_one(store, *one, overwrite=overwrite)
        batch = self._batch(arrays, store.layout, meta)
        first = None if start is None else self._checked(count, "start", start)
        return transactions.put(store, batch, first, overwrite=overwrite)

    def _batch(
        self,
        arrays: Mapping[str, npt.ArrayLike],
        layout: Layout,
        meta: Mapping[str, Mapping[str, Any]] | None,
    ) -> Batch:
        """Make arrays ready, among them those of a Series or DataFrame, with all that it needs."""
        try:
            return from_mapping(arrays, layout, meta)
        except BadInputError as error:
            flat = self._checked(flattened, arrays, meta)
            if flat is None:
                raise error.at(self.path) from error
        self._checked(check_values, flat, layout)
        batch: Batch = self._checked(from_mapping, flat.arrays, layout, flat.metas)
        keep_helpers(self, flat.helpers)
        return batch

    def series(self, name: str, series: Any, overwrite: bool = True) -> None:
        """Write a Series: what `PointerArray.series` gives back, index, name and dtype included.

        Parameters
        ----------
        name : str
            Name of the array that has its values.
        series : pandas.Series
            Of all that `ptrarray.dump` keeps: numbers, dates, text, categories,
            … In a store of one dtype its values have to fit, as those of an
            array; the rest of it always does.
        overwrite : bool
            Whether the name may be there, as for ``writer[name] = series``,
            which is the same.

        Raises
        ------
        BadInputError
            If it is no Series, or not one that the store can keep: none of a class derived
            from Series, as what that adds would be lost.
        DuplicateNameError
            As `write`.

        Notes
        -----
        An index is kept once for all that have an equal one: in the store
        of helper arrays that lies in this one, so that names are only those
        of what you wrote. The first one that has an index waits until that is
        on the disk. If it raises, nothing was written under the name.

        Examples
        --------
        >>> import pandas as pd
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.series("speech", pd.Series([1.0, 2.0], index=["a", "b"], name="level"))
        >>> with ptrarray.open("corpus.ptr") as reader:
        ...     print(reader.series("speech"))
        a    1.0
        b    2.0
        Name: level, dtype: float32
        """
        self._checked(check_kind, name, series, "Series")
        self.write({name: series}, overwrite=overwrite)

    def frame(self, name: str, frame: Any, overwrite: bool = True) -> None:
        """Write a DataFrame, as `series` does a Series.

        One whose columns have one dtype is an array of two axes. Of several
        dtypes it is an array of records, for a store without a dtype.

        Examples
        --------
        >>> import pandas as pd
        >>> with ptrarray.create("frames.ptr") as writer:
        ...     writer.frame("x", pd.DataFrame({"a": [1, 2], "b": ["x", None]}))
        """
        self._checked(check_kind, name, frame, "DataFrame")
        self.write({name: frame}, overwrite=overwrite)

    def write_ragged(
        self,
        names: Sequence[str],
        values: npt.ArrayLike,
        offsets: npt.ArrayLike,
        start: int | None = None,
        overwrite: bool = False,
        meta: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> tuple[int, int]:
        """Write arrays that lie end to end already, as one buffer.

        Parameters
        ----------
        names : sequence of str
            All different.
        values : array_like, shape (n, *row_shape)
            Rows of all arrays.
        offsets : array_like of int, one more than names
            Array ``i`` is ``values[offsets[i]:offsets[i + 1]]``; never decrease.
        start, overwrite, meta
            As for `write`; so are what is returned and raised.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.write_ragged(["utt4", "utt5"], [7, 8, 9], [0, 2, 3])
        (6, 9)
        """
        from ptrarray.intake.joined import from_ragged

        store = self._store()
        batch = self._checked(from_ragged, names, values, offsets, store.layout, meta)
        first = None if start is None else self._checked(count, "start", start)
        return transactions.put(store, batch, first, overwrite=overwrite)

    def write_arrow(
        self,
        x: Any,
        names: str = "name",
        values: str = "values",
        meta: str | Iterable[str] | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write the arrays of a table of Arrow, as pyarrow, polars, DuckDB or pandas have it.

        Parameters
        ----------
        x : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
            A table, a query that gives one, a reader of batches.
        names : str
            Column of names: text of any kind, all different.
        values : str
            Column of lists of any kind, one for each name. Each is an array of
            rows; in it, lists of a fixed size are rows with axes. Numbers,
            bools, moments (in UTC or without a zone), durations, and
            ``fixed_size_binary`` as ``S``. Cast as by `write`.
        meta : str or iterable of str, optional
            Columns to be kept as metadata of the arrays, where they are not
            null. A column that is neither is an error.
        overwrite : bool
            As for `write`.

        Returns
        -------
        int
            Arrays written.

        Raises
        ------
        BadInputError
            If `x` is no such table, or holds what the store cannot take: null
            names and null lists; null values, unless the store keeps masks or
            they are moments or durations, which become NaT; offsets that do
            not fit the values; a stream that breaks off.
        DuplicateNameError, OSError
            As `write`.

        Notes
        -----
        All of it is one commit, when the last batch was written: if anything
        raises before, nothing was written. A stream may be larger than memory.
        Batches are written as they come, from the memory of Arrow where the
        dtype has the same bytes, and 64 MiB at a time where they have to be
        converted; some 40 bytes and the name are kept of each array.

        In a store of shards all of it goes to one shard, which may become larger
        than others. While a long stream is written, the store cannot be
        compacted. In pyarrow, ``pa.array`` cuts bytes of a fixed width at
        their first zero byte; then so are those that come here.

        Examples
        --------
        >>> import pyarrow as pa
        >>> table = pa.table({"name": ["utt4", "utt5"], "values": [[7.0, 8.0], [9.0]]})
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.write_arrow(table)
        ...     writer["utt4"]
        2
        array([7., 8.], dtype=float32)
        """
        from ptrarray.intake.arrow import from_table

        store = self._store()
        arguments = x, store.layout, names, values, meta
        batches = self._checked_all(self._checked(from_table, *arguments))
        return put_all(store, batches, overwrite=overwrite)

    def _checked_all(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Name the store in the errors of batches."""
        try:
            yield from batches
        except BadInputError as error:
            raise error.at(self.path) from error

    def __setitem__(self, name: str, array: npt.ArrayLike) -> None:
        """Write one array, replacing one that has the name."""
        self.write({name: array}, overwrite=True)

    def update(self, arrays: Any = (), /, **more: npt.ArrayLike) -> None:
        """Write arrays in one commit, replacing those that have their names.

        Parameters
        ----------
        arrays : mapping or iterable of pairs
            As for `dict.update`.
        """
        self.write(dict(arrays, **more), overwrite=True)

    def reserve(self, n_rows: int) -> int:
        """Take rows for any process to fill later with ``write(start=…)``.

        Returns
        -------
        int
            The first of them. They are a hole until arrays are written there.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     start = writer.reserve(10)
        ...     writer.write({"last": [1]}), writer.write({"planned": [2, 3]}, start=start)
        ((16, 17), (6, 8))
        """
        n_reserved = self._checked(count, "rows to reserve", n_rows)
        return transactions.reserve(self._store(), n_reserved)

    @contextmanager
    def allocate(
        self,
        name: str,
        n_rows: int | tuple[int, ...],
        overwrite: bool = False,
        dtype: npt.DTypeLike | None = None,
    ) -> Iterator[Array]:
        """Hand out new rows to be filled in place, and commit them as an array.

        Parameters
        ----------
        name : str
            Name of the array, there from when the ``with`` block ends; if it
            raises, there never was one.
        n_rows : int or tuple of int
            Rows of the array; its shape in a store where each array has its
            own. It may be larger than memory.
        overwrite : bool
            As for `write`.
        dtype : dtype, optional
            Of the array, in a mixed store.

        Yields
        ------
        ndarray, shape (n_rows, *row_shape)
            Writable, mapped, zeros at first; read-only after the block. In a
            store with masks a `numpy.ma.MaskedArray` with nothing masked.

        Raises
        ------
        OSError
            If the disk has no room for the rows, before the block begins.

        Notes
        -----
        Reads the rows once more at the end, for their checksum.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     with writer.allocate("ramp", 3) as rows:
        ...         rows[...] = [1, 2, 3]
        ...     writer["ramp"]
        array([1., 2., 3.], dtype=float32)
        """
        store = self._store()
        raw = self._checked(naming.encode, name)
        rows = allocated(store, raw, n_rows, dtype, overwrite=overwrite)
        with ExitStack() as stack:
            yield self._checked(stack.enter_context, rows)

    # names ---------------------------------------------------------------------------------

    def point(self, name: str, start: int, end: int, overwrite: bool = False) -> None:
        """Give rows that exist one more name.

        Parameters
        ----------
        name : str
            The new name.
        start, end : int
            Half-open range of rows within the flat array. That of an array,
            as ``pointers[name]``, gives the new name its dtype, shape, mask
            and metadata as of now, and of several that have it, as arrays
            without rows may, the first in data order does. Any other is rows
            alone, or in a store where each array has its shape, one axis.
        overwrite : bool
            As for `write`.

        Raises
        ------
        DuplicateNameError
            If `name` is there and `overwrite` is false.
        BadInputError
            If the store has no such rows; or if they are not those of one
            array, in a mixed store, as their dtype could not be known.

        Notes
        -----
        Reads the rows, for their checksum; copies none. Both names have the
        same rows, and what is changed through one of them (mode ``"r+"``)
        is seen through the other.

        Rows get other numbers when the store is compacted; those of a store of
        shards also when another writer finishes an array in an older shard. So
        a pointer that was asked for before is good while nobody does either.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.point("middle", 2, 4)
        ...     writer["middle"]
        array([3., 4.], dtype=float32)
        """
        raw = self._checked(naming.encode, name)
        bounds = self._checked(integer, "start", start), self._checked(integer, "end", end)
        transactions.point(self._store(), raw, *bounds, overwrite=overwrite)

    def rename(self, old: str, new: str, overwrite: bool = False) -> None:
        """Give an array another name, in one commit; copies and reads no rows.

        Rows, dtype, shape, mask and metadata stay as they are. An array that
        shares its rows with others goes on sharing them.

        Parameters
        ----------
        old, new : str
            The name it has, and the one it gets. If both are the same,
            nothing happens.
        overwrite : bool
            Whether `new` may be there already. It is then replaced.

        Raises
        ------
        UnknownNameError
            If `old` is not there: of several processes that rename one array,
            the first does, and the others get this.
        DuplicateNameError
            If `new` is there and `overwrite` is false.
        BadInputError
            If `new` cannot be a name.

        Notes
        -----
        Readers see the array under one of the names and never under both or
        neither, even if this process is killed. In a store of shards it stays
        in its shard.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.rename("utt1", "intro")
        ...     sorted(writer)
        ['intro', 'utt2', 'utt3']
        """
        raw = encoded(old)
        if raw is None:
            raise unknown(old, self.path)
        to = self._checked(naming.encode, new)
        transactions.move_name(self._store(), raw, to, overwrite=overwrite)

    def __delitem__(self, name: str) -> None:
        """Delete a name; its rows become a hole unless another name has them.

        Helper arrays that only a Series or DataFrame of this name needed, as its
        index, go with the next `compact`.
        """
        raw = encoded(name)
        if raw is None:
            raise unknown(name, self.path)
        transactions.delete(self._store(), [raw])

    def delete(self, names: Iterable[str]) -> None:
        """Delete several names in one commit, each as ``del writer[name]`` does.

        Parameters
        ----------
        names : iterable of str
            All of them there; a name that is given twice is deleted once. Not
            a single str, which is taken for a mistake.

        Raises
        ------
        UnknownNameError
            If one is not there. Then none is deleted.
        BadInputError
            If `names` is no iterable of names.

        Notes
        -----
        Readers see all of the names or none, even if this process is killed.
        Costs a few system calls, some 12 bytes of journal a name beside the
        name itself, and one to three microseconds a name, where ``del`` takes
        twenty.

        In a store of shards it is a commit in each shard that has any of the
        names, one after the other: killed between two, some stay. Each waits
        until those before it are on the disk.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer.delete(["utt1", "utt3"])
        ...     sorted(writer)
        ['utt2']
        """
        store = self._store()
        transactions.delete(store, self._checked(_raw_names, names, self.path))

    def clear(self) -> None:
        """Delete all names in one commit. The rows stay, as a hole."""
        transactions.delete_all(self._store())

    # what is committed ---------------------------------------------------------------------

    @whole
    def __getitem__(self, name: str) -> Array:
        """Return an array as a read-only view, as it is committed now."""
        raw = encoded(name)
        store = self._store()
        with store.locked():
            mapped = self._mapped = store.opened(self._mapped)
            address = None if raw is None else mapped.snapshot.locate(raw)
            if address is None:
                raise unknown(name, self.path)
            array: Array = mapped.array_at(address)
            return array

    def __contains__(self, name: object) -> bool:
        return name in self.pointers

    def __len__(self) -> int:
        return len(self.pointers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pointers)

    def items(self) -> ItemsView[str, Array]:
        """Return pairs of name and array in data order; iterated over, those of one moment.

        The lock is taken once, at the beginning, and not kept: others, and
        this writer, may change the store meanwhile. So with `values`, and
        those of `pointers`, `meta` and `attrs`.
        """
        return Items(self, self._arrays)

    def values(self) -> ValuesView[Array]:
        """Return the arrays in data order; iterated over, those of one moment."""
        return Values(self, self._arrays)

    def _arrays(self) -> Arrays:
        """Return all arrays as they are committed now."""
        store = self._store()
        return Arrays(transactions.asked(store, lambda: load_any(store.directory, "r")), None)

    @property
    def pointers(self) -> Pointers:
        """Mapping from name to `Pointer`, always as committed now."""
        committed = _Committed(self._path, self._store)
        return Pointers(committed, lambda: Pointers(committed.now()))

    @property
    def meta(self) -> MetaOfWriter:
        """Mapping from name to metadata, always as committed now.

        ``writer.meta[name] = {...}`` replaces that of an array that is there.
        """
        committed = _Committed(self._path, self._store)
        return MetaOfWriter(committed, lambda: Meta(committed.now()), self._store)


class _Committed:
    """What is committed, asked for anew each time, as other threads go on writing."""

    def __init__(self, directory: Path, store: Callable[[], Writable]) -> None:
        self.directory = directory
        self._store = store

    def find(self, name: bytes) -> tuple[int, int] | None:
        store = self._store()
        return transactions.asked(store, lambda: store.find(name))

    def meta(self, name: bytes) -> dict[str, Any] | None:
        store = self._store()
        return transactions.asked(store, lambda: store.snapshot().meta(name))

    def __len__(self) -> int:
        store = self._store()
        return transactions.asked(store, lambda: len(store.snapshot()))

    def texts(self) -> Iterator[str]:
        return open_any(self._store().directory).texts()

    def now(self) -> Snapshot:
        """Return what is committed now."""
        # A snapshot of its own, for writing goes on while it is iterated over.
        store = self._store()
        return transactions.asked(store, lambda: open_any(store.directory))


def _raw_names(names: Iterable[str], path: str) -> list[bytes]:
    """Return names to be looked for as UTF-8."""
    is_one = isinstance(names, str | bytes) or getattr(names, "ndim", 1) == 0  # of numpy
    if is_one or not isinstance(names, Iterable):
        raise BadInputError(
            f"names are {names!r:.80}, not several names: for one, use del writer[name]",
            found=type(names).__name__,
            expected="an iterable of str",
        )
    given = list(names)
    try:
        return list(map(str.encode, given))
    except (TypeError, UnicodeEncodeError):  # no name at all
        raise unknown(next(name for name in given if encoded(name) is None), path) from None


def store_of(writer: PointerArrayWriter) -> Writable:
    """Return what a writer stands on, for other modules of the package."""
    return writer._store()


def close_leaving(writer: PointerArrayWriter, journal_nbytes: int) -> None:
    """Close a writer; leave a journal of so many bytes to whoever closes the store later."""
    if not writer.closed:
        store = writer._store()
        writer._opened = writer._mapped = None
        try:
            store.close(journal_nbytes)
        finally:
            if writer._helper_writer is not None:
                writer._helper_writer.close()


def keep_helpers(writer: PointerArrayWriter, helpers: Mapping[str, Helper]) -> None:
    """Have helper arrays on the disk, before anything is written that refers to them."""
    if writer._helper_writer is None and helpers:
        writer._helper_writer = HelperWriter(store_of(writer).directory)
    if writer._helper_writer is not None:
        writer._helper_writer.keep(helpers)
