"""The journal's changes laid over an index."""

from __future__ import annotations

from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.format.entries import DELETED, Entries, Entry, RaggedColumn
from ptrarray.format.journal import Changes
from ptrarray.format.names import hash_all
from ptrarray.rows.copying import in_blocks
from ptrarray.rows.types import Int64s
from ptrarray.storage.store.folding import Order, name_blocks
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.runs import Growing, Run

# Entries in the dict, of 200 bytes each. When there are more, they become a run.
_FRESH_LIMIT = 1 << 14
_GROWTH = 4
_DIGEST_NBYTES = 16


class Overlay:
    """What the records of a journal change in an index.

    Each name in each record is an *entry*, and entries are numbered from 0 in the order of commits.
    The last few are in a dict, those before them in columns: some 66 bytes a name (see `Run`).

    Attributes
    ----------
    entries : mapping of bytes to int
        The last entry of each name, in the order of commits; ``~entry`` where that deletes the name.
        A dict while they are few.
    few : Fresh or None
        All entries, while they are few.
    laid : Laid
        The same as `entries`, however many there are.
    attrs : dict or None
        The user's attrs, if the journal changed them.
    n_rows : int
        Rows of the flat array, in the index or as committed since.
    end_byte : int
        Byte of the journal up to which it was read.

    Notes
    -----
    Runs are at least `_GROWTH` times as long as the next, as those of a writer are
    (`ptrarray.storage.writing.recent`), so that what was read before is seldom copied when more
    records come. Overlays of the same journal share them.
    """

    # With a limit of 4, records of 6, 1 and 2 names and one that deletes one of the 6 are
    #
    #     run 0: entries 0 to 5       dict: entries 6, 7, 8, and ~9 for the name that is gone
    #
    # and after another record of 3 names, which does not fit any more, run 0 has the entries 0 to 9
    # and the dict 10 to 12. No entry has ever another number, so that what was found stays right.

    def __init__(self, index: Index, end_byte: int) -> None:
        self._index = index
        self.end_byte = end_byte
        self.attrs: dict[str, Any] | None = None
        self.n_rows = index.header.n_rows
        self.laid = Laid()
        self.few: Fresh | None
        self.entries: Mapping[bytes, int]
        self._set((), Fresh(0))
        self._order: Order | None = None
        self._entries: Entries  # all of them, as long as there is an order

    def _set(self, runs: tuple[Run, ...], fresh: Fresh) -> None:
        """Take other runs, and what is in a dict."""
        self.laid.parts = runs, fresh
        self.few, self.entries = (None, self.laid) if runs else (fresh, fresh.entries)

    def extended(self, changes: Changes, end_byte: int) -> Overlay:
        """Return a new overlay with more records applied."""
        return self.extended_by([(changes, end_byte)])

    def extended_by(self, pieces: Iterable[tuple[Changes, int]]) -> Overlay:
        """Return a new overlay with more records applied, as `extend_by`."""
        overlay = Overlay(self._index, self.end_byte)
        runs, fresh = self.laid.parts
        overlay._set(runs, fresh.copy())
        overlay.attrs, overlay.n_rows = self.attrs, self.n_rows
        overlay.extend_by(pieces)
        return overlay

    def extend(self, changes: Changes, end_byte: int) -> None:
        """Apply more records in place, up to a byte of the journal."""
        self.extend_by([(changes, end_byte)])

    def extend_by(self, pieces: Iterable[tuple[Changes, int]]) -> None:
        """Apply more records in place, piece by piece, each up to a byte of the journal.

        Looks at nothing but these, unless there are so many that runs are laid end to end.
        """
        self._order = None
        grown = Growing()
        for changes, end_byte in pieces:
            for entries in changes.records:
                self._append(entries, grown)
            if changes.attrs is not None:
                self.attrs = changes.attrs
            self.end_byte = end_byte
        if len(grown):
            self._settle(grown)

    def _append(self, added: Entries, grown: Growing) -> None:
        """Apply a record: put it into the dict, or to what becomes a run."""
        self.n_rows = max(self.n_rows, added.n_rows)
        runs, fresh = self.laid.parts
        if len(fresh.starts) + added.n_names > _FRESH_LIMIT:
            if len(fresh.starts):
                grown.append(fresh.columns())
            is_long = added.n_names > _FRESH_LIMIT
            if is_long:
                grown.append(added)
            self._set(runs, Fresh(self._n_known(runs) + len(grown)))
            if is_long:
                return
        self.laid.parts[1].append(added)

    @staticmethod
    def _n_known(runs: Sequence[Run]) -> int:
        """Return how many entries runs have."""
        return runs[-1].first + len(runs[-1]) if runs else 0

    def _settle(self, grown: Growing) -> None:
        """Make a run of new entries, and of those runs before it that are not much longer."""
        runs, fresh = self.laid.parts
        n_known, n_names = len(runs), len(grown)
        while n_known and len(runs[n_known - 1]) < _GROWTH * n_names:
            n_known -= 1
            n_names += len(runs[n_known])
        if n_known < len(runs):
            new, grown = grown, Growing()
            for run in runs[n_known:]:
                grown.append(run.entries)
            grown.append(new.entries())
        runs = runs[:n_known]
        self._set((*runs, Run(self._n_known(runs), grown.entries())), fresh)

    def delete(self, name: bytes, name_hash: int, end_byte: int) -> None:
        """Apply a record that deletes one name, in place, up to a byte of the journal."""
        self._order = None
        fresh = self.laid.parts[1]
        if len(fresh.starts) >= _FRESH_LIMIT:
            self.extend(Changes([Entries.of([name])]), end_byte)
            return
        deletion = name_hash, DELETED, DELETED, 0, 0
        for column, number in zip(fresh.numbers(), deletion, strict=True):
            column.append(number)
        fresh.names.append(name)
        fresh.entries.pop(name, None)  # a dict keeps the place of a key that is set again
        fresh.entries[name] = ~(fresh.first + len(fresh.starts) - 1)
        self.end_byte = end_byte

    def digest(self) -> bytes:
        """Return a hash of all entries, column by column: the same however they came here."""
        from hashlib import blake2b

        runs, fresh = self.laid.parts
        parts = [*(run.entries for run in runs), fresh.columns()]
        # No CRC-32, which a name with its own CRC-32 behind it does not change.
        found = blake2b(digest_size=_DIGEST_NBYTES)
        for column in chain.from_iterable(zip(*parts, strict=True)):
            flat = column.joined if isinstance(column, RaggedColumn) else column
            if flat is not None:
                found.update(flat)
        return found.digest()

    # entries by name -----------------------------------------------------------------------------

    def last_of_each(self, names: list[bytes]) -> tuple[Int64s, Int64s, Int64s]:
        """Return the last entry of each name, -1 where there is none, and starts and ends. Vectorised."""
        runs, fresh = self.laid.parts
        found, starts, ends = (np.full(len(names), -1, np.int64) for _ in range(3))
        column, hashes = RaggedColumn.of(names), np.frombuffer(hash_all(names), np.uint32)
        for run in runs:  # the newest comes last
            at = run.find_many(column, hashes)
            there = np.flatnonzero(at >= 0)
            at = at[there]
            found[there] = at + run.first
            starts[there], ends[there] = run.entries.starts[at], run.entries.ends[at]
        for which, name in enumerate(names) if fresh.entries else ():
            entry = fresh.entries.get(name)
            if entry is not None:
                entry = ~entry if entry < 0 else entry
                found[which] = entry
                starts[which], ends[which] = fresh.pointer(entry)
        return found, starts, ends

    def first_of(self, start: int, end: int) -> int | None:
        """Return the first entry that gives a name this pointer, of which no later one takes it."""
        runs, fresh = self.laid.parts
        parts: list[Run | Fresh] = [*runs, fresh]
        for part in parts:
            for entry, name in part.with_pointer(start, end):
                if self.laid.last(name) == entry:
                    return entry
        return None

    def newest(self) -> Iterator[bytes]:
        """Yield the names that are there, those that were committed last first."""
        runs, fresh = self.laid.parts
        yield from (name for name, entry in reversed(fresh.entries.items()) if entry >= 0)
        for run in reversed(runs):
            for at in reversed(range(len(run))):
                name = run.entries.names.item(at)
                if self.laid.last(name) == run.first + at:
                    yield name

    # entries by number ---------------------------------------------------------------------------

    def _run(self, entry: int) -> tuple[Run, int] | None:
        """Return the run that has an entry, and where it is there; None if the dict has it."""
        runs, fresh = self.laid.parts
        if entry >= fresh.first:
            return None
        run = next(run for run in reversed(runs) if run.first <= entry)
        return run, entry - run.first

    def pointer(self, entry: int) -> tuple[int, int]:
        """Return the pointer that an entry gives its name."""
        fresh = self.laid.parts[1]
        if entry >= fresh.first:
            return fresh.pointer(entry)
        found = self._run(entry)
        assert found is not None
        return found[0].starts[found[1]], found[0].ends[found[1]]

    def name(self, entry: int) -> bytes:
        """Return the name of an entry."""
        found = self._run(entry)
        if found is None:
            fresh = self.laid.parts[1]
            return fresh.names[entry - fresh.first]
        name: bytes = found[0].entries.names.item(found[1])
        return name

    def info(self, entry: int) -> bytes:
        """Return how the array of an entry differs from plain rows, packed."""
        return self._item(entry, "infos")

    def meta(self, entry: int) -> bytes:
        """Return the metadata of the array of an entry, packed."""
        return self._item(entry, "metas")

    def _item(self, entry: int, which: str) -> bytes:
        found = self._run(entry)
        if found is None:
            of_fresh: bytes = getattr(self.laid.parts[1], which).get(entry, b"")
            return of_fresh
        column = getattr(found[0].entries, which)
        return b"" if column is None else column.item(found[1])

    @property
    def has_infos(self) -> bool:
        """Whether any entry has an info."""
        runs, fresh = self.laid.parts
        return bool(fresh.infos) or any(run.entries.infos is not None for run in runs)

    @property
    def has_metas(self) -> bool:
        """Whether any entry has metadata."""
        runs, fresh = self.laid.parts
        return bool(fresh.metas) or any(run.entries.metas is not None for run in runs)

    def entry(self, at: int, name: bytes) -> Entry:
        """Return all that an entry, which is of this name, says."""
        found = self._run(at)
        if found is None:
            fresh = self.laid.parts[1]
            numbers = [column[at - fresh.first] for column in fresh.numbers()[1:]]
        else:
            columns = found[0].entries[2:6]
            numbers = [int(column[found[1]]) for column in columns]
        return Entry._make([name, *numbers, self.info(at), self.meta(at)])

    @property
    def n_entries(self) -> int:
        """How many entries there are."""
        fresh = self.laid.parts[1]
        return fresh.first + len(fresh.starts)

    def is_deletion(self, entry: int) -> bool:
        """Tell whether an entry takes its array from a name."""
        return self.pointer(entry)[0] == DELETED

    def newest_entries(self, n: int) -> list[int]:
        """Return the entries of the `n` names that were committed last, the newest first.

        Looks no name up, for which a table of all of them may have to be made first.
        """
        seen, found = set[bytes](), list[int]()
        for entry in reversed(range(self.n_entries)):
            name = self.name(entry)
            if name not in seen and not self.is_deletion(entry):
                found.append(entry)
            seen.add(name)
            if len(found) == n or len(seen) >= 8 * n:
                break
        return found

    # everything in data order --------------------------------------------------------------------

    @property
    def is_in_order(self) -> bool:
        """Whether `order` is there, or made in a moment."""
        return self.few is not None or self._order is not None

    @property
    def order(self) -> Order:
        """Where everything is by position; made when it is first asked for.

        Its changes are the entries.
        """
        if self._order is None:
            self._entries, starts, names = self._all()
            self._order = Order(self._index, names, self._entries.hashes, starts)
        return self._order

    def _all(self) -> tuple[Entries, Int64s, Any]:
        """Return all entries, their starts or `DELETED` if not the last of their names, and names."""
        runs, fresh = self.laid.parts
        if not runs:
            entries = fresh.columns()
            starts = np.full(entries.n_names, DELETED, np.int64)
            last = np.fromiter(fresh.entries.values(), np.int64, len(fresh.entries))
            last = last[last >= 0]
            starts[last] = entries.starts[last]
            return entries, starts, fresh.names
        if len(runs) > 1 or len(fresh.starts):
            grown = Growing()
            for run in runs:
                grown.append(run.entries)
            grown.append(fresh.columns())
            runs = (Run(0, grown.entries()),)
            self._set(runs, Fresh(len(runs[0])))
        entries = runs[0].entries
        return entries, runs[0].last_starts(), entries.names

    def committed(self) -> Int64s | slice:
        """Return positions in the order of commits; those of the index, which come first, in data order."""
        if not self.entries:
            return slice(None)
        order = self.order
        indexed = np.ones(len(order), bool)
        indexed[order.finals] = False
        # Entries are numbered in the order of commits.
        since = order.finals[np.argsort(order.kept)]
        return np.concatenate([np.flatnonzero(indexed), since])

    def merged(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the index; a copy, if there are entries to be folded in."""
        column: npt.NDArray[Any] = getattr(self._index, name)
        if not self.entries:
            return column
        order, entries = self.order, self._entries
        return order.merged(column, getattr(entries, name))

    def merged_blocks(
        self, names: Sequence[str], size: int
    ) -> Iterator[tuple[int, list[npt.NDArray[Any]]]]:
        """Yield columns as `merged` returns them in blocks, each with its first position.

        Of an index without changes, views; else memory for the changes and one block.
        """
        columns = [getattr(self._index, name) for name in names]
        if not self.entries:
            for first in range(0, len(self._index.starts), size):
                yield first, [column[first : first + size] for column in columns]
            return
        order = self.order
        changes = [getattr(self._entries, name) for name in names]
        for first in range(0, len(order), size):
            last = min(first + size, len(order))
            pairs = zip(columns, changes, strict=True)
            yield first, [order.part(column, changed, first, last) for column, changed in pairs]

    def merged_items(self, name: str) -> RaggedColumn:
        """Return a column of infos or metadata of the index, or a blank one; as `merged`."""
        column: RaggedColumn | None = getattr(self._index, name)
        if column is None:
            column = RaggedColumn.blank(self._index.header.n_arrays)
        if not self.entries:
            return column
        order, entries = self.order, self._entries
        changed = getattr(entries, name)
        if changed is None:
            changed = RaggedColumn.blank(entries.n_names)
        return order.merged_items(column, changed)

    def name_blocks(self, first: int, last: int) -> Iterator[RaggedColumn]:
        """Yield the names at positions ``first <= p < last`` in columns that follow each other."""
        if self.entries:
            return self.order.name_blocks(first, last)
        return name_blocks(self._index, first, last)

    def merged_names(self) -> RaggedColumn:
        """Return all names in data order, end to end; as `merged`."""
        names = self._index.sound_names()
        if not self.entries:
            return names
        order, entries = self.order, self._entries
        return order.merged_items(names, entries.names)

    def folded(self) -> Entries:
        """Copy all columns of the index, with the journal folded in."""
        order, entries = self.order, self._entries
        return order.folded(self._index.entries(), entries)


class Fresh:
    """The last entries of a journal, in a dict and columns that grow.

    Attributes
    ----------
    first : int
        Number of the first entry.
    entries : dict of bytes to int
        The last entry of each name in the columns, in the order of commits; ``~entry`` where that
        deletes the name.
    names, hashes, starts, ends, crcs, pointed : list or array
        As in `Entries`.
    infos, metas : dict of int to bytes
        Of the entries that have any.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.entries: dict[bytes, int] = {}
        self.names: list[bytes] = []
        self.hashes, self.crcs, self.pointed = array("I"), array("I"), array("B")
        self.starts, self.ends = array("q"), array("q")
        self.infos: dict[int, bytes] = {}
        self.metas: dict[int, bytes] = {}

    def numbers(self) -> tuple[array[int], ...]:
        """Return the columns of numbers, in the order that `Entries` has them."""
        return self.hashes, self.starts, self.ends, self.crcs, self.pointed

    def copy(self) -> Fresh:
        """Return the same, to be changed apart from this."""
        other = Fresh(self.first)
        other.entries, other.names = dict(self.entries), list(self.names)
        for column, known in zip(other.numbers(), self.numbers(), strict=True):
            column.extend(known)
        other.infos, other.metas = dict(self.infos), dict(self.metas)
        return other

    def append(self, added: Entries) -> None:
        """Add the entries of a record."""
        first = self.first + len(self.starts)
        self.hashes.frombytes(added.hashes.tobytes())
        self.starts.frombytes(added.starts.tobytes())
        self.ends.frombytes(added.ends.tobytes())
        self.crcs.frombytes(added.crcs.tobytes())
        self.pointed.frombytes(added.pointed.tobytes())
        for extras, items in ((self.infos, added.infos), (self.metas, added.metas)):
            if items is not None:
                extras.update((at, item) for at, item in enumerate(items.split(), first) if item)
        numbers = np.arange(first, self.first + len(self.starts))
        numbers = np.where(added.starts == DELETED, ~numbers, numbers)
        names = added.names.split()
        self.names += names
        changes = dict(zip(names, numbers.tolist(), strict=True))
        if len(changes) < len(names):  # of several records
            changes = dict(sorted(changes.items(), key=_entry_of))
        # A dict keeps the place of a key that is set again; commits have an order.
        for name in changes.keys() & self.entries.keys():
            del self.entries[name]
        self.entries.update(changes)

    def pointer(self, entry: int) -> tuple[int, int]:
        """Return the pointer that an entry gives its name."""
        at = entry - self.first
        return self.starts[at], self.ends[at]

    def with_pointer(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the numbers and names of entries that have a pointer."""
        for at, pointer in enumerate(zip(self.starts, self.ends, strict=True)):
            if pointer == (start, end):
                yield self.first + at, self.names[at]

    def columns(self) -> Entries:
        """Copy the entries into columns."""
        numbers = (np.array(column, column.typecode) for column in self.numbers())
        infos, metas = map(self._extras, (self.infos, self.metas))
        return Entries._make([RaggedColumn.of(self.names), *numbers, infos, metas])

    def _extras(self, extras: dict[int, bytes]) -> RaggedColumn | None:
        if not extras:
            return None
        numbers = range(self.first, self.first + len(self.starts))
        return RaggedColumn.of([extras.get(entry, b"") for entry in numbers])


def _entry_of(item: tuple[bytes, int]) -> int:
    return ~item[1] if item[1] < 0 else item[1]


class Laid(Mapping[bytes, int]):
    """`Overlay.entries` where most of them are in columns.

    Attributes
    ----------
    parts : (tuple of Run, Fresh)
        All entries. Replaced as one, since other threads may be looking.
    """

    def __init__(self) -> None:
        self.parts: tuple[tuple[Run, ...], Fresh] = (), Fresh(0)

    def last(self, name: bytes) -> int | None:
        """Return the last entry of a name, or ``~entry``; None if there is none."""
        runs, fresh = self.parts
        entry = fresh.entries.get(name)
        if entry is not None:
            return entry
        for run in reversed(runs):
            at = run.find(name)
            if at >= 0:
                return ~(run.first + at) if run.starts[at] == DELETED else run.first + at
        return None

    get: Any = last

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and self.last(name) is not None

    def __getitem__(self, name: bytes) -> int:
        entry = self.last(name)
        if entry is None:
            raise KeyError(name)
        return entry

    def __bool__(self) -> bool:
        return True  # there is no run without entries

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[bytes]:
        return map(itemgetter(0), self.pairs())

    def items(self) -> ItemsView[bytes, int]:
        """Return names and entries."""
        return _Pairs(self)

    def pairs(self) -> Iterator[tuple[bytes, int]]:
        """Yield names and entries, without a look at a name table for each."""
        runs, fresh = self.parts
        for number, run in enumerate(runs):
            names, first, is_superseded = run.entries.names, run.first, run.is_superseded
            for block in in_blocks(0, len(run)):
                some = names[block]
                is_last = ~is_superseded[block]
                for newer in runs[number + 1 :]:
                    is_last &= newer.find_many(some, run.entries.hashes[block]) < 0
                columns = some.split(), is_last.tolist(), run.entries.starts[block].tolist()
                each = zip(*columns, strict=True)
                for entry, (name, is_one, start) in enumerate(each, first + block.start):
                    if is_one and name not in fresh.entries:
                        yield name, ~entry if start == DELETED else entry
        yield from fresh.entries.items()


class _Pairs(ItemsView[bytes, int]):
    _mapping: Laid

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        return self._mapping.pairs()
