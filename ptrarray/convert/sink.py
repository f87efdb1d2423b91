"""Writing entries to a store in batches, and comparing them with it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

import numpy as np

from ptrarray.convert.held import Held
from ptrarray.convert.instances import WORD
from ptrarray.convert.named import Named, NamedMany
from ptrarray.convert.report import Failure
from ptrarray.errors import BadInputError, DuplicateNameError
from ptrarray.format import metadata
from ptrarray.format.layouts import MIXED, ROWS, Layout
from ptrarray.intake.batch import from_mapping
from ptrarray.jobs.batches import Batches, Group
from ptrarray.reader import PointerArray, has_helper
from ptrarray.rows.types import Array
from ptrarray.views.helpers import Flat, check_values
from ptrarray.writer import PointerArrayWriter, store_of

# So much is still in the processor's cache when it is written.
_BATCH_NBYTES = 1 << 22
_MANY_NBYTES = 1 << 24  # of those that lie end to end, which have left it: the fewer commits
_KEPT_NBYTES = 1 << 24


class Tally:
    """What a part of an import came to, as it travels from the worker.

    Attributes
    ----------
    n_entries, nbytes : int
        Written.
    n_attrs : int
        Attrs that were set.
    there : list of pairs
        Label and name of what was in the store already.
    failures : list of Failure
        What could not be converted.
    removed : int
        Files removed.
    noted : dict from str to list of str
        What stores do not keep, and the labels of what is so.
    """

    def __init__(self) -> None:
        self.n_entries = 0
        self.nbytes = 0
        self.n_attrs = 0
        self.there: list[tuple[str, str]] = []
        self.failures: list[Failure] = []
        self.removed = 0
        self.noted: dict[str, list[str]] = {}


class Sink:
    """Commits entries to a store, many at a time."""

    def __init__(self, writer: PointerArrayWriter, tally: Tally) -> None:
        # From the size of what is freed, glibc learns how much to keep for what comes: memory that
        # is given back has to be cleared by the system, page by page, when it is taken again.
        np.empty(_KEPT_NBYTES, np.uint8)
        self._layout = store_of(writer).layout
        self._tally = tally
        self._batches = Batches(
            writer, self._refused, without=self._without, limit_nbytes=_BATCH_NBYTES
        )
        is_small = self._batches.limit_nbytes < _BATCH_NBYTES  # as shards are
        self._held = Held(self._batches.limit_nbytes if is_small else _MANY_NBYTES)
        self._writer = writer
        self._attrs: list[Named] = []

    def add(self, entry: Named | NamedMany) -> int:
        """Take an entry or many, write if that makes enough, and return how many it was."""
        if isinstance(entry, NamedMany):
            self._batches.write()  # in the order in which they came
            for piece in self._held.add(entry):
                self._add_many(piece)
            return len(entry.names)
        self._write_held()
        if entry.attrs:
            self._attrs.append(entry)
        else:
            self._add_one(entry)
        return 1

    def _write_held(self) -> None:
        for piece in self._held.taken():
            self._add_many(piece)

    def _add_one(self, entry: Named) -> None:
        try:
            entry = fitting(entry, self._layout)
        except BadInputError as error:
            self._tally.failures.append(Failure(entry.label, str(error)))
            return
        metas = entry.metas if entry.meta else {}
        self._batches.add(Group(entry, {entry.name: entry.values}, metas, entry.helpers))

    def _add_many(self, piece: NamedMany) -> None:
        """Commit a piece at once; if it is refused, one by one, to find out which array it is."""
        while piece.names:
            many = piece.many
            try:
                self._writer.write_ragged(
                    piece.names, many.values, many.offsets, meta=piece.metas or None
                )
            except DuplicateNameError as error:
                piece, there = piece.without(frozenset(error.names))
                self._tally.there += there
            except BadInputError:
                for entry in piece.one_by_one():
                    self._add_one(entry)
                self._batches.write()
                return
            else:
                self._tally.n_entries += len(piece.names)
                row_nbytes = many.values[:1].nbytes
                self._tally.nbytes += int(many.offsets[-1] - many.offsets[0]) * row_nbytes
                return

    def write(self) -> None:
        """Commit what waits."""
        self._write_held()
        self._batches.write()
        self._tally.n_entries += self._batches.n_groups
        self._tally.nbytes += self._batches.nbytes
        if self._attrs:
            self._set_attrs(dict(self._writer.attrs))

    def _set_attrs(self, known: dict[str, Any]) -> None:
        """Set all attrs in one commit; those that are there with another value are failures."""
        new: dict[str, Any] = {}
        for entry in self._attrs:
            if entry.name not in known:
                new[entry.name] = known[entry.name] = entry.attrs[entry.name]
            elif known[entry.name] != entry.attrs[entry.name]:
                problem = f"the store has another attr {entry.name!r}"
                self._tally.failures.append(Failure(entry.label, problem))
        try:
            self._writer.attrs.update(new)
            self._tally.n_attrs = len(new)
        except BadInputError as error:
            failed = [entry for entry in self._attrs if entry.name in new]
            self._tally.failures += [Failure(entry.label, str(error)) for entry in failed]

    def _refused(self, group: Group, error: Exception) -> None:
        self._tally.failures.append(Failure(group.label.label, str(error)))

    def _without(self, group: Group, there: Container[str]) -> Group | None:
        """Leave out an entry whose name is in the store."""
        entry: Named = group.label
        if entry.name not in there:
            return group
        self._tally.there.append((entry.label, entry.name))
        return None


def fitting(entry: Named, layout: Layout) -> Named:
    """Return an entry with arrays as a store of this layout has them.

    Raises
    ------
    BadInputError
        If it cannot have them.
    """
    values = entry.values
    if isinstance(values, np.ma.MaskedArray) and not layout.masked:
        if _has_mask(values):
            raise BadInputError(
                "it has masked values, and the store keeps no masks: import into a store with "
                "masked=True (--masked)",
                name=entry.name,
            )
        values = np.ma.getdata(values)
    if WORD in entry.meta and layout.kind != MIXED:  # nothing, as rows of the store
        values = np.empty((0, *(layout.row_shape if layout.kind == ROWS else ())), layout.dtype)
    if layout.kind == ROWS and layout.row_shape == () and not values.ndim:  # an array of one
        is_masked = isinstance(values, np.ma.MaskedArray)
        values = np.ma.atleast_1d(values) if is_masked else np.atleast_1d(values)
    if entry.meta:
        check_values(Flat({entry.name: values}, entry.metas, {}), layout)
    return entry if values is entry.values else entry._replace(values=values)


def fits(entry: Named, layout: Layout, tally: Tally) -> bool:
    """Tell whether a store of this layout would take an entry; if not, it is a failure."""
    try:
        entry = fitting(entry, layout)
        from_mapping({entry.name: entry.values}, layout, entry.metas or None)
    except BadInputError as error:
        tally.failures.append(Failure(entry.label, str(error)))
        return False
    return True


def _has_mask(array: np.ma.MaskedArray[Any, Any]) -> bool:
    mask: Array = np.ma.getmaskarray(array)
    # As bytes, for the masks of records are records, of any depth.
    return bool(np.ascontiguousarray(mask).reshape(-1).view(np.uint8).any())


def differences(store: PointerArray, entries: Iterable[Named | NamedMany]) -> list[Failure]:
    """Return in what entries are not what the store holds under their names.

    Notes
    -----
    Values are compared as they are, so one that was rounded by a smaller
    dtype of the store is a difference.
    """
    found = []
    for entry in _apart(entries):
        if entry.attrs:
            found += _other_attrs(store, entry)
            continue
        if entry.name not in store:
            found.append(Failure(entry.label, f"{entry.name!r} is not in the store"))
            continue
        if WORD not in entry.meta and not _same(store[entry.name], entry.values):
            found.append(Failure(entry.label, f"{entry.name!r} is not the same in the store"))
        if entry.meta and not _same_meta(store.meta[entry.name], entry.meta):
            found.append(Failure(entry.label, f"{entry.name!r} has other metadata in the store"))
        missing = next((name for name in entry.helpers if not has_helper(store, name)), None)
        if missing is not None:
            what = f"{entry.name!r} has lost its index, or another part: helper array {missing}"
            found.append(Failure(entry.label, f"{what} is not in the store"))
    return found


def _apart(entries: Iterable[Named | NamedMany]) -> Iterator[Named]:
    for entry in entries:
        if isinstance(entry, NamedMany):
            yield from entry.one_by_one()
        else:
            yield entry


def _other_attrs(store: PointerArray, entry: Named) -> list[Failure]:
    """Return which attrs of an entry a store has not."""
    return [
        Failure(entry.label, f"attr {key!r} of the store is not the same")
        for key, value in entry.attrs.items()
        if key not in store.attrs or store.attrs[key] != value
    ]


def _same_meta(kept: dict[str, Any], given: dict[str, Any]) -> bool:
    """Tell whether metadata are the same; NaN, which is not equal to itself, as it is kept."""
    return kept == given or metadata.encode("", kept) == metadata.encode("", given)


def _same(kept: Any, given: Any) -> bool:
    is_number = given.ndim == 0 and kept.shape == (1,)
    if kept.shape != given.shape and not is_number:
        return False
    if not np.array_equal(np.ma.getmaskarray(kept), np.ma.getmaskarray(given).reshape(kept.shape)):
        return False
    ours, theirs = np.ma.getdata(kept), np.ma.getdata(given).reshape(kept.shape)
    if ours.dtype == theirs.dtype:  # bytes, for NaN is not equal to itself
        return ours.tobytes() == theirs.tobytes()
    if ours.dtype.kind in "fc" and theirs.dtype.kind in "iu":  # which numpy compares as floats
        theirs = theirs.astype(object)
        ours = ours.astype(object)
    return bool(np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fc"))
