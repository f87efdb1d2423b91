"""`MmapArrayWriter` and `PointerArrayWriter`: writing a store in bigarray's words."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from ptrarray import writer as core
from ptrarray.bigarray.paths import (
    Shape,
    StrPath,
    check_same,
    filesize,
    open_store,
    open_writer,
)
from ptrarray.errors import BadInputError, OverlapError, StoreError, after
from ptrarray.intake.casting import fit
from ptrarray.intake.numbers import integer
from ptrarray.intake.paths import absolute
from ptrarray.rows.types import Array
from ptrarray.storage.writing.transactions import asked
from ptrarray.views.mappings import Pointers

Writer = TypeVar("Writer", bound="MmapArrayWriter")

# Rows without a name are arrays with one that is drawn.
_UNNAMED = re.compile("rows/[0-9a-f]{16}")


class MmapArrayWriter:
    """Write rows of a flat array; `bigarray.MmapArrayWriter` on a store.

    Parameters
    ----------
    path : path-like
        The store, which is a directory. An empty file there is replaced.
    shape : tuple of int, or int, optional
        Rows beforehand, zero if None or negative, then the shape of a row.
    dtype : dtype, optional
        Of the elements. Both are needed only where a store is made.
    remove_exist : bool
        Whether to replace a store, or a file of bigarray, that is there.

    Raises
    ------
    BadInputError
        If the store that is there has another dtype or row shape, or there is
        none and `shape` or `dtype` is missing.
    StoreExistsError
        If something else is at `path`.

    Notes
    -----
    While one is open in this process, another call with its path returns the
    same object. Any number of processes may have one open. Pickled, it opens
    the store where it arrives.

    Examples
    --------
    >>> from ptrarray.bigarray import MmapArray, MmapArrayWriter
    >>> with MmapArrayWriter("flat.ptr", (0, 2), "f4") as writer:
    ...     writer.write(np.zeros((3, 2)))
    ...     writer.write([np.ones((1, 2)), np.ones((2, 2))], start_position=2)
    <MmapArrayWriter ...flat.ptr', float32 (3, 2)>
    <MmapArrayWriter ...flat.ptr', float32 (5, 2)>
    >>> MmapArray("flat.ptr")[:, 0]
    array([0., 0., 1., 1., 1.], dtype=float32)
    """

    _writer: core.PointerArrayWriter | None = None

    def __new__(  # noqa: D102 the class tells
        cls,
        path: StrPath,
        shape: Shape | None = None,
        dtype: npt.DTypeLike | None = None,
        remove_exist: bool = False,
    ) -> Self:
        there = None if remove_exist else _reusable(cls, path)
        return super().__new__(cls) if there is None else there

    def __init__(
        self,
        path: StrPath,
        shape: Shape | None = None,
        dtype: npt.DTypeLike | None = None,
        remove_exist: bool = False,
    ) -> None:
        if self._writer is not None:  # __new__ found it open
            check_same(self._writer, shape, dtype)
            return
        self._writer = open_writer(path, shape, dtype, remove_exist=remove_exist)
        replaced = _OPEN.get((type(self), self.path))
        if remove_exist and replaced is not None:
            replaced.close()
        _OPEN[type(self), self.path] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self._core)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        with after(error, self.path):
            self.flush()
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"{self.dtype} {self.shape}"
        return f"<{type(self).__name__} {self.path!r}, {state}>"

    @property
    def _core(self) -> core.PointerArrayWriter:
        assert self._writer is not None  # as __init__ left it
        return self._writer

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return self._core.path

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the flat array as of now, whoever wrote to it."""
        store = core.store_of(self._core)
        n_rows = asked(store, lambda: store.snapshot().n_rows)
        return (n_rows, *store.layout.row_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._core.dtype

    @property
    def filesize(self) -> int:
        """Bytes of all files of the store."""
        return filesize(self.path)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._core.closed

    def write(
        self, arrays: Array | Iterable[npt.ArrayLike], start_position: int | None = None
    ) -> Self:
        """Write rows, in one commit; more rows than there are extend the flat array.

        Parameters
        ----------
        arrays : ndarray, or iterable of array_like
            Each of shape ``(length, *row_shape)``; cast as `ptrarray` does,
            where no value changes.
        start_position : int, optional
            First row; counts from the end if negative. By default the rows
            after the highest that was ever taken.

        Returns
        -------
        MmapArrayWriter
            This one.

        Raises
        ------
        BadInputError
            For an array that does not fit. Nothing is written.
        OverlapError
            If rows belong to an array with a name, or another writer is
            filling them.

        Notes
        -----
        Rows that are there without a name are replaced, one array after the
        other; a process that is killed meanwhile leaves some of them new.
        """
        if not isinstance(arrays, Iterable) or isinstance(arrays, (str, bytes, Mapping)):
            raise BadInputError(
                f"arrays must be an array or several, not {type(arrays).__name__}: {self.path}",
                path=self.path,
                found=type(arrays).__name__,
                expected="an ndarray, or an iterable of arrays",
            )
        given = [arrays] if isinstance(arrays, np.ndarray) else list(arrays)
        layout = self._core.dtype, self.shape[1:]
        fitted = [fit(f"arrays[{i}]", array, *layout) for i, array in enumerate(given)]
        fitted = [array for array in fitted if len(array)]
        first = self._first(start_position)
        named = {_drawn_name(): array for array in fitted}
        try:
            self._core.write(named, start=first)
        except OverlapError:
            assert first is not None  # rows that nobody asked for are free
            self._replace(np.concatenate(fitted), first)
        return self

    def _first(self, start_position: int | None) -> int | None:
        if start_position is None:
            return None
        if isinstance(start_position, (float, np.floating)) and start_position.is_integer():
            start_position = int(start_position)  # as n / 2 may give
        first = integer("start_position", start_position)
        n_rows = self.shape[0]
        if first < -n_rows:
            raise BadInputError(
                f"start_position {first} is before the first of {n_rows} rows: {self.path}",
                path=self.path,
                found=first,
                expected=-n_rows,
            )
        return first if first >= 0 else n_rows + first

    def _replace(self, rows: Array, start: int) -> None:
        """Write rows of which some are there without a name."""
        end = start + len(rows)
        with open_store(self.path, "r+") as store:  # renews the checksums when it closes
            positions = np.flatnonzero((store.starts < end) & (store.ends > start)).tolist()
            touched = {store.names[at]: store.pointers[store.names[at]] for at in positions}
            named = [name for name in touched if not _UNNAMED.fullmatch(name)]
            if named:
                raise OverlapError(
                    f"rows {start} to {end} run into those of array {named[0]!r:.80} in "
                    f"{self.path}",
                    path=self.path,
                    name=named[0],
                    start=start,
                    end=end,
                )
            for gap, gap_end in _gaps(touched.values(), start, end):
                name = _drawn_name()
                self._core.write({name: rows[gap - start : gap_end - start]}, start=gap)
            for name, (there, there_end) in touched.items():
                low, high = max(start, there), min(end, there_end)
                store[name][low - there : high - there] = rows[low - start : high - start]

    def flush(self) -> Self:
        """Wait until all that was written, by any process, is safe on the disk."""
        self._core.flush()
        return self

    def close(self) -> None:
        """Close the store; nothing that was written depends on it."""
        self._core.close()
        if _OPEN.get((type(self), self.path)) is self:
            del _OPEN[type(self), self.path]


class PointerArrayWriter(MmapArrayWriter):
    """Write named arrays; `bigarray.PointerArrayWriter` on a store.

    Parameters
    ----------
    path, shape, dtype, remove_exist
        As for `MmapArrayWriter`; so is what it raises.

    Examples
    --------
    >>> from ptrarray.bigarray import PointerArray, PointerArrayWriter
    >>> with PointerArrayWriter("named.ptr", shape=(10,), dtype="i4") as writer:
    ...     _ = writer.write({"a": np.arange(3), "b": np.arange(2)}, start_position=5)
    ...     dict(writer.indices)
    {'a': Pointer(start=5, end=8), 'b': Pointer(start=8, end=10)}
    >>> PointerArray("named.ptr")["b"]
    array([0, 1], dtype=int32)
    """

    def write(  # type: ignore[override] # as in bigarray
        self,
        arrays: Mapping[str, npt.ArrayLike],
        start_position: int | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Write arrays end to end, in one commit that every process sees from then on.

        Parameters
        ----------
        arrays : mapping from str to array_like of shape (length, *row_shape)
            Cast as `ptrarray` does, where no value changes.
        start_position : int, optional
            First row; counts from the end if negative. By default the rows
            after the highest that was ever taken.
        overwrite : bool
            Whether names may be there already.

        Returns
        -------
        PointerArrayWriter
            This one.

        Raises
        ------
        BadInputError, DuplicateNameError, OverlapError
            As for `ptrarray.PointerArrayWriter.write`: nothing is written.
        """
        self._core.write(arrays, start=self._first(start_position), overwrite=overwrite)
        return self

    @property
    def indices(self) -> Pointers:
        """Mapping from name to ``(start, end)`` as of now, whoever wrote; read-only."""
        return self._core.pointers


# Its users rely on one writer for each path and on a count of them.
_OPEN: WeakValueDictionary[tuple[type, str], Any] = WeakValueDictionary()


def get_total_opened_mmap() -> int:
    """Count the writers that are open in this process."""
    return sum(not writer.is_closed for writer in list(_OPEN.values()))


def _reusable(kind: type[Writer], path: StrPath) -> Writer | None:
    """Return the writer that is open for a path, unless its store is gone."""
    writer: Writer | None = _OPEN.get((kind, str(absolute(path))))
    try:
        return writer if writer is not None and writer.shape else None
    except StoreError:  # removed or replaced since
        return None


def _unpickled(kind: type[Writer], writer: core.PointerArrayWriter) -> Writer:
    """Make the writer that was pickled: of its own, as bigarray's are."""
    made = object.__new__(kind)
    made._writer = writer
    return made


def _drawn_name() -> str:
    return f"rows/{secrets.token_hex(8)}"


def _gaps(pointers: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of rows from `start` to `end` that none of the pointers, sorted, covers."""
    at = start
    for there, there_end in pointers:
        if at < there:
            yield at, there
        at = max(at, there_end)
    if at < end:
        yield at, end
