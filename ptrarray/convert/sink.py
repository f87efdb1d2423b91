"""Writing entries to a store in batches, and comparing them with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.convert.report import Failure
from ptrarray.errors import BadInputError, DuplicateNameError
from ptrarray.jobs.worker import batch_limit_nbytes
from ptrarray.reader import PointerArray
from ptrarray.writer import PointerArrayWriter

Array = npt.NDArray[Any]

_BATCH_ARRAYS = 4096


class Named(NamedTuple):
    """An entry with its name in the store.

    Attributes
    ----------
    label : str
        Where it comes from, for messages.
    name : str
        Of the array itself.
    arrays : dict from str to ndarray
        It and its companions, by name.
    meta : dict
        Its metadata.
    """

    label: str
    name: str
    arrays: dict[str, Array]
    meta: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return sum(array.nbytes for array in self.arrays.values())


class Tally:
    """What a part of an import came to, as it travels from the worker.

    Attributes
    ----------
    n_entries, n_arrays, nbytes : int
        Written.
    there : list of pairs
        Label and name of what was in the store already.
    failures : list of Failure
        What could not be converted.
    removed : int
        Files removed.
    """

    def __init__(self) -> None:
        self.n_entries = 0
        self.n_arrays = 0
        self.nbytes = 0
        self.there: list[tuple[str, str]] = []
        self.failures: list[Failure] = []
        self.removed = 0


class Sink:
    """Commits entries to a store, many at a time."""

    def __init__(self, writer: PointerArrayWriter, tally: Tally) -> None:
        self._writer = writer
        self._tally = tally
        self._waiting: list[Named] = []
        self._names: set[str] = set()
        self._nbytes = 0
        self._limit_nbytes = batch_limit_nbytes(writer)

    def add(self, entry: Named) -> None:
        """Take an entry, and write if that makes enough."""
        try:
            entry = self._fitting(entry)
        except BadInputError as error:
            self._tally.failures.append(Failure(entry.label, str(error)))
            return
        if not self._names.isdisjoint(entry.arrays):
            self.write()  # the name is there then, and that is told
        self._waiting.append(entry)
        self._names.update(entry.arrays)
        self._nbytes += entry.nbytes
        if self._nbytes >= self._limit_nbytes or len(self._waiting) >= _BATCH_ARRAYS:
            self.write()

    def write(self) -> None:
        """Commit what waits; if that is refused, one by one to find out which one it is."""
        waiting, self._waiting = self._waiting, []
        self._names, self._nbytes = set(), 0
        try:
            self._commit(waiting)
        except (BadInputError, DuplicateNameError) as error:
            if len(waiting) == 1:
                self._tally.failures.append(Failure(waiting[0].label, str(error)))
                return
            for entry in waiting:
                self._waiting = [entry]
                self.write()

    def _commit(self, waiting: list[Named]) -> None:
        while waiting:
            arrays = {name: array for entry in waiting for name, array in entry.arrays.items()}
            meta = {entry.name: entry.meta for entry in waiting if entry.meta}
            try:
                self._writer.write(arrays, meta=meta or None)
            except DuplicateNameError as error:
                there = [entry for entry in waiting if entry.name in error.names]
                if not there:  # but one of a companion
                    raise
                self._tally.there += [(entry.label, entry.name) for entry in there]
                waiting = [entry for entry in waiting if entry.name not in error.names]
                continue
            self._tally.n_entries += len(waiting)
            self._tally.n_arrays += len(arrays)
            self._tally.nbytes += sum(array.nbytes for array in arrays.values())
            return

    def _fitting(self, entry: Named) -> Named:
        """Return the entry with arrays as this store has them."""
        writer = self._writer
        if len(entry.arrays) > 1 and writer.layout != "mixed":
            raise BadInputError(
                "its index or missing values do not fit a store of one dtype: leave the index out "
                "with keep_index=False (--drop-index), or import without dtype",
                name=entry.name,
            )
        masked = [a for a in entry.arrays.values() if isinstance(a, np.ma.MaskedArray)]
        if masked and not writer.masked and any(_has_mask(array) for array in masked):
            raise BadInputError(
                "it has masked values, and the store keeps no masks: import into a store with "
                "masked=True (--masked)",
                name=entry.name,
            )
        if masked and not writer.masked:
            entry = entry._replace(arrays={k: np.ma.getdata(a) for k, a in entry.arrays.items()})
        if writer.row_shape == ():  # a number is an array of one
            arrays = {
                name: np.ma.atleast_1d(a) if isinstance(a, np.ma.MaskedArray) else np.atleast_1d(a)
                for name, a in entry.arrays.items()
            }
            entry = entry._replace(arrays=arrays)
        return entry


def _has_mask(array: np.ma.MaskedArray[Any, Any]) -> bool:
    mask: Array = np.ma.getmaskarray(array)
    # As bytes, for the masks of records are records, of any depth.
    return bool(np.ascontiguousarray(mask).reshape(-1).view(np.uint8).any())


def differences(store: PointerArray, entries: Iterable[Named]) -> list[Failure]:
    """Return in what entries are not what the store holds under their names.

    Notes
    -----
    Values are compared as they are, so one that was rounded by a smaller
    dtype of the store is a difference.
    """
    found = []
    for entry in entries:
        for name, array in entry.arrays.items():
            if name not in store:
                found.append(Failure(entry.label, f"{name!r} is not in the store"))
            elif not _same(store[name], array):
                found.append(Failure(entry.label, f"{name!r} is not the same in the store"))
        if entry.meta and entry.name in store and store.meta[entry.name] != entry.meta:
            found.append(Failure(entry.label, f"{entry.name!r} has other metadata in the store"))
    return found


def _same(kept: Any, given: Any) -> bool:
    is_number = given.ndim == 0 and kept.shape == (1,)
    if kept.shape != given.shape and not is_number:
        return False
    if not np.array_equal(np.ma.getmaskarray(kept), np.ma.getmaskarray(given).reshape(kept.shape)):
        return False
    ours, theirs = np.ma.getdata(kept), np.ma.getdata(given).reshape(kept.shape)
    if ours.dtype == theirs.dtype:  # bytes, for NaN is not equal to itself
        return ours.tobytes() == theirs.tobytes()
    return bool(np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fc"))
