"""The two jobs of an import: writing what is in files to a store, and comparing it with the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.entries import Incomplete, Kept, entries, entries_and_attrs
from ptrarray.convert.found import Found, Many, Member, Refused
from ptrarray.convert.named import Named, NamedMany, one_by_one
from ptrarray.convert.report import Failure
from ptrarray.convert.sink import Sink, Tally, differences, fits
from ptrarray.convert.sources import Source
from ptrarray.creation import create, is_store, plan
from ptrarray.errors import StoreError
from ptrarray.jobs.worker import JOURNAL_NBYTES, Task, summarize
from ptrarray.jobs.worker import Report as ChunkReport
from ptrarray.reader import open_readable as open_store
from ptrarray.writer import PointerArrayWriter, append, close_leaving

_WAITING = 4  # times as long as it works, at the most, a chunk may be under way


@contextmanager
def names_in(path: str) -> Iterator[Collection[str]]:
    """Yield the names in a store, open for a ``with`` block; none if there is no store."""
    if not is_store(Path(path)):
        yield ()
        return
    with open_store(path) as store:
        yield store


class Conversion(NamedTuple):
    """The job of an import: what happens to each file.

    Attributes
    ----------
    path : str
        The store.
    settings : dict
        What `create` makes it of, once there is an array for it.
    members, convert, keep_index
        As of `Kind` and `Options`.
    is_new : bool
        Whether there were no names before: what is there then is found when it is written, and
        not looked for by every chunk.
    """

    path: str
    settings: dict[str, Any]
    members: Callable[..., Iterator[Found]]
    convert: Callable[[Any], Any] | None
    keep_index: bool
    is_new: bool = False

    def run(
        self, chunk: list[Task], advance: Callable[[int], object] = lambda n: None
    ) -> ChunkReport:
        """Write what is in the files of a chunk; call `advance` for each, or each array of one."""
        began, worked = time.perf_counter(), time.thread_time()
        tally = Tally()
        with ExitStack() as stack:
            self._write(chunk, tally, advance, stack)
        # Where others keep it waiting, larger chunks waste less on opening the store.
        seconds = max(time.thread_time() - worked, (time.perf_counter() - began) / _WAITING)
        return ChunkReport(len(chunk), tally.n_entries, tally.nbytes, seconds, None, tally)

    def _write(
        self, chunk: list[Task], tally: Tally, advance: Callable[[int], object], stack: ExitStack
    ) -> None:
        there = () if self.is_new else stack.enter_context(names_in(self.path))
        sink, is_one = None, len(chunk) == 1
        for task in chunk:
            for entry in self.entries(task.argument, there, tally):
                if sink is None:
                    sink = self._open_sink(entry, tally, stack)
                if sink is not None:
                    n_entries = sink.add(entry)
                    advance(n_entries if is_one else 0)
            advance(not is_one)
        if sink is not None:
            sink.write()

    def _open_sink(self, first: Named | NamedMany, tally: Tally, stack: ExitStack) -> Sink | None:
        """Return what writes to the store; nothing if there is none and this is not for it."""
        if is_store(Path(self.path)):
            return self._sink(append(self.path), tally, stack)
        header, _ = plan(**self.settings)
        ones = first.one_by_one() if isinstance(first, NamedMany) else (first,)
        misfits = Tally()
        if not any(one.attrs or fits(one, header.layout, misfits) for one in ones):
            tally.failures += misfits.failures
            return None
        return self._sink(create(self.path, mode="a", **self.settings), tally, stack)

    def _sink(self, writer: PointerArrayWriter, tally: Tally, stack: ExitStack) -> Sink:
        stack.callback(close_leaving, writer, JOURNAL_NBYTES)
        return Sink(writer, tally)

    def entries(
        self, source: Source, there: Container[str], tally: Tally
    ) -> Iterator[Named | NamedMany]:
        """Yield what is in a file, and note what is no array or is there."""
        try:
            part = () if source.part is None else (source.part,)
            for found in self.members(source.path, *part):
                if isinstance(found, Member):
                    yield from self._of_member(source, found, there, tally)
                elif isinstance(found, Many):
                    yield from self._of_many(source, found, there, tally)
                elif isinstance(found, Refused):
                    tally.failures.append(Failure(source.label(found.key), found.problem))
                else:
                    tally.noted.setdefault(found.about, []).append(source.label(found.key))
        except Exception as error:  # noqa: BLE001 a file can be wrong in any way
            tally.failures.append(Failure(source.path, _problem(error)))

    def _of_many(
        self, source: Source, many: Many, there: Container[str], tally: Tally
    ) -> Iterator[Named | NamedMany]:
        """Yield many arrays as they are, or one by one where each is to be converted."""
        if self.convert is None:
            if len(many.keys):
                yield NamedMany.of(many, source)
            return
        for key, array, meta in one_by_one(many):
            # Its own memory: that of the file is read-only, or used again for the next ones.
            member = Member(key, partial(np.array, array, subok=True), meta)
            yield from self._of_member(source, member, there, tally)

    def _of_member(
        self, source: Source, member: Member, there: Container[str], tally: Tally
    ) -> Iterator[Named]:
        label = source.label(member.key)
        name = source.name(member.key)
        if name in there:
            tally.there.append((label, name))
            return
        try:
            value = member.load()
            value = value if self.convert is None else _converted(self.convert, value)
        except Exception as error:  # noqa: BLE001 a file can be wrong in any way
            tally.failures.append(Failure(label, _problem(error)))
            return
        find = entries_and_attrs if member.to_attrs else entries
        for entry in find(value, member.key, keep_index=self.keep_index):
            label = source.label(entry.key)
            if isinstance(entry, Refused):
                tally.failures.append(Failure(label, entry.problem))
                continue
            if isinstance(entry, Kept):
                name = source.name(entry.key)
                yield Named(label, name, np.empty(0), {}, {}, {name: entry.value})
                continue
            name = source.name(entry.key) + entry.below
            if name in there:
                tally.there.append((label, name))
            else:
                meta = {**member.meta, **entry.meta}
                yield Named(label, name, entry.values, meta, entry.helpers)


def _converted(convert: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Incomplete):
        return value._replace(value=convert(value.value))
    return convert(value)


def _problem(error: BaseException) -> str:
    return str(error) if isinstance(error, StoreError) else summarize(error)


class Comparison(NamedTuple):
    """The job of verifying: each file once more, against what the store holds."""

    conversion: Conversion
    remove: bool

    @property
    def path(self) -> str:
        """The store."""
        return self.conversion.path

    def run(
        self, chunk: list[Task], advance: Callable[[int], object] = lambda n: None
    ) -> ChunkReport:
        """Compare the files of a chunk, and remove those that are in the store."""
        began = time.perf_counter()
        tally = Tally()
        with open_store(self.path) as store:
            for task in chunk:
                n_failed = len(tally.failures)
                tally.noted.clear()
                found = self.conversion.entries(task.argument, (), tally)
                tally.failures += differences(store, found)
                if self.remove and len(tally.failures) == n_failed and not tally.noted:
                    Path(task.argument.path).unlink()
                    tally.removed += 1
                advance(1)
        tally.noted.clear()  # the import has noted it
        seconds = time.perf_counter() - began
        return ChunkReport(len(chunk), 0, 0, seconds, None, tally)
