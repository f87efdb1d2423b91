"""`MmapArray` and `PointerArray`: the flat array of a store as an ndarray."""

from __future__ import annotations

import weakref
from typing import Any, Self

import numpy as np

from ptrarray import reader
from ptrarray.bigarray.paths import StrPath, filesize, open_store
from ptrarray.rows.types import Array
from ptrarray.storage.system.mapping import Mode
from ptrarray.views.mappings import Pointers


# An ndarray, though that is not how this package is built elsewhere, because bigarray's is one:
# programs hand it to libraries that ask for an ndarray and take nothing else.
class MmapArray(np.ndarray[Any, np.dtype[Any]]):
    """The flat array of a store, mapped; `bigarray.MmapArray` on a store.

    Parameters
    ----------
    path : path-like
        The store.
    mode : {'r', 'r+', 'c'}
        As for `ptrarray.open`. bigarray's default was ``"r+"``; here an array
        is only changed on the disk by who asks for it.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `path`.
    BadInputError
        For another mode, ``"w+"`` among them.

    Notes
    -----
    What is made of it, by an index, a function or an operator, is a plain
    ndarray or a scalar. It pickles to its path and mode. In mode ``"r+"`` all
    rows are read once more when it is forgotten, for their checksums.

    Examples
    --------
    >>> from ptrarray.bigarray import MmapArray
    >>> x = MmapArray("corpus.ptr")
    >>> x.shape, x[2:4], np.sum(x)
    ((6,), array([3., 4.], dtype=float32), np.float32(21.0))
    """

    # numpy.memmap has the same: what is made of several arrays is no mapped one.
    __array_priority__ = -100.0

    _store: reader.PointerArray | None = None
    _rows: Array

    def __new__(cls, path: StrPath, mode: Mode = "r") -> Self:  # noqa: D102 the class tells
        store = open_store(path, mode)
        rows = store.rows
        self = rows.view(cls)
        self._store, self._rows = store, rows
        if mode == "r+":  # numpy.memmap writes its changes when it is forgotten, too
            weakref.finalize(self, store.close)
        return self

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._store is None:
            return self.view(np.ndarray).__reduce__()
        return type(self), (self._store.path, self._store.mode)

    def __array_wrap__(
        self, array: Any, context: Any = None, return_scalar: bool = False, /
    ) -> Any:
        if array is self:
            return array
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def __getitem__(self, key: Any) -> Any:
        """Return rows as plain numpy does; views where it gives views."""
        return super().__getitem__(key) if self._store is None else self._rows[key]

    @property
    def _opened(self) -> reader.PointerArray:
        if self._store is None:
            raise AttributeError("only the array that was opened has this, not what is made of it")
        return self._store

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return self._opened.path

    @property
    def mode(self) -> Mode:
        """Mode it was opened with."""
        return self._opened.mode

    @property
    def filesize(self) -> int:
        """Bytes of all files of the store."""
        return filesize(self.path)

    def flush(self) -> None:
        """In mode ``"r+"``: put what was changed on the disk, and renew the checksums."""
        self._opened.flush()


class PointerArray(MmapArray):
    """The flat array of a store with its names; `bigarray.PointerArray` on a store.

    Parameters
    ----------
    path, mode
        As for `MmapArray`.

    Examples
    --------
    >>> from ptrarray.bigarray import PointerArray
    >>> x = PointerArray("corpus.ptr")
    >>> x["utt2"], x[1:3], len(x)
    (array([4., 5.], dtype=float32), array([2., 3.], dtype=float32), 6)
    >>> dict(x.indices)["utt2"]
    Pointer(start=3, end=5)
    """

    def __getitem__(self, key: Any) -> Any:
        """Return the array of a name, or rows for any other index."""
        return self._opened[key] if isinstance(key, str) else super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return key in self._opened if isinstance(key, str) else super().__contains__(key)

    @property
    def indices(self) -> Pointers:
        """Mapping from name to ``(start, end)``, in data order; read-only."""
        return self._opened.pointers
