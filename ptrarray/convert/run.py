"""Running an import: files in worker processes, or one file in this one."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import DTypeLike

from ptrarray.convert import sources
from ptrarray.convert.entries import Incomplete, Kept, Noted, Refused, entries, entries_and_attrs
from ptrarray.convert.report import Failure, Report
from ptrarray.convert.sink import Named, Sink, Tally, differences, fits
from ptrarray.convert.sources import Paths, Source
from ptrarray.creation import check_free, create, is_store, plan
from ptrarray.errors import StoreError
from ptrarray.intake.paths import absolute
from ptrarray.jobs.run import count_workers, prepare, run_job
from ptrarray.jobs.worker import JOURNAL_NBYTES, Task, summarize
from ptrarray.jobs.worker import Report as ChunkReport
from ptrarray.progress import bar
from ptrarray.reader import open_readable as open_store
from ptrarray.writer import PointerArrayWriter, append, close_leaving

_FIRST_FILES, _FIRST_NBYTES = 64, 1 << 22  # of each of the first chunks, at the most
_FIRST_PART = 8  # of what there is for a worker, that is one in so many
_WAITING = 4  # times as long as it works, at the most, a chunk may be under way


class Member(NamedTuple):
    """A value in a file that was not read yet.

    Attributes
    ----------
    key : str
        What it is called there; empty if the file is one value.
    load : callable
        Reads it.
    meta : dict
        Metadata that the file has for it.
    to_attrs : bool
        Whether what is no array, and attrs can hold, goes there.
    """

    key: str
    load: Callable[[], Any]
    meta: Mapping[str, Any] = {}
    to_attrs: bool = False


Found = Member | Refused | Noted


class Kind(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    members : callable
        Yields what is in a file, given its path; importable in a worker.
    suffixes : tuple of str
        That such files have.
    many : bool
        Whether a file holds many values with names of their own.
    """

    members: Callable[[str], Iterator[Found]]
    suffixes: tuple[str, ...]
    many: bool = False


class Options(TypedDict, total=False):
    """What every import takes; see `ptrarray.convert`."""

    name: str | None
    convert: Callable[[Any], Any] | None
    keep_index: bool
    dtype: DTypeLike | None
    row_shape: tuple[int, ...] | int | None
    masked: bool
    attrs: Mapping[str, Any] | None
    shard_size: str | int | None
    processes: int | None
    executor: Executor | None
    progress: bool
    resume: bool


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
    members: Callable[[str], Iterator[Found]]
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
        there = () if self.is_new else stack.enter_context(_names_in(self.path))
        sink, is_one = None, len(chunk) == 1
        for task in chunk:
            for entry in self.entries(task.argument, there, tally):
                if sink is None:
                    sink = self._open_sink(entry, tally, stack)
                if sink is not None:
                    sink.add(entry)
                    advance(is_one)
            advance(not is_one)
        if sink is not None:
            sink.write()

    def _open_sink(self, first: Named, tally: Tally, stack: ExitStack) -> Sink | None:
        """Return what writes to the store; nothing if there is none and this is not for it."""
        if is_store(Path(self.path)):
            return self._sink(append(self.path), tally, stack)
        header, _ = plan(**self.settings)
        if not first.attrs and not fits(first, header.layout, tally):
            return None
        return self._sink(create(self.path, mode="a", **self.settings), tally, stack)

    def _sink(self, writer: PointerArrayWriter, tally: Tally, stack: ExitStack) -> Sink:
        stack.callback(close_leaving, writer, JOURNAL_NBYTES)
        return Sink(writer, tally)

    def entries(self, source: Source, there: Container[str], tally: Tally) -> Iterator[Named]:
        """Yield what is in a file, and note what is no array or is there."""
        try:
            for found in self.members(source.path):
                if isinstance(found, Member):
                    yield from self._of_member(source, found, there, tally)
                elif isinstance(found, Refused):
                    tally.failures.append(Failure(_label(source, found.key), found.problem))
                else:
                    tally.noted.setdefault(found.about, []).append(_label(source, found.key))
        except Exception as error:  # noqa: BLE001 a file can be wrong in any way
            tally.failures.append(Failure(source.path, _problem(error)))

    def _of_member(
        self, source: Source, member: Member, there: Container[str], tally: Tally
    ) -> Iterator[Named]:
        label = _label(source, member.key)
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
            label = _label(source, entry.key)
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


def _label(source: Source, key: str) -> str:
    return f"{source.path}:{key}" if key else source.path


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


def run(
    kind: Kind, paths: Paths, store: str | os.PathLike[str], options: Options, verify: str = ""
) -> Report:
    """Import files of one kind into a store.

    Parameters
    ----------
    kind : Kind
        What the files are.
    paths, store, options
        As for `ptrarray.convert.from_pickles`.
    verify : {'', 'compare', 'remove'}
        What to do with each file once all is written.
    """
    _check(options)
    place = str(absolute(store))
    n_workers = count_workers(options.get("processes"), options.get("executor"))
    left_out = Counter[str]()
    files = sources.find(paths, kind.suffixes, left_out)
    template = options.get("name") or sources.default_template(len(files), many=kind.many)
    named = sources.name_all(files, template)
    settings = _planned(Path(place), options)
    keep_index = options.get("keep_index", True)
    job = Conversion(place, settings, kind.members, options.get("convert"), keep_index)
    with _names_in(place) as before:
        job = job._replace(is_new=not len(before))
        progress = _Progress(before, options)
        pending = [source for source in named if kind.many or not progress.is_done(source)]
        progress.run(job, pending, n_workers)
        if not is_store(Path(place)):  # nothing came, so there is none
            verify = ""
        else:
            with append(place) as writer:
                writer.flush()
        if verify:  # from the disk, where a source that is removed must be
            progress.run(Comparison(job, verify == "remove"), named, n_workers)
    report = progress.finished()
    if +left_out:
        report.notes.append(f"left out: {sources.counted(left_out)}")
    return report


def _n_small(sources: list[Source]) -> int:
    """Return how many of the first files are little work together, one at the least.

    A chunk of one small file is mostly the opening of the store, and new indexes that it brings
    have to reach the disk before it: better those of many files at once.
    """
    n_small = nbytes = 0
    with suppress(OSError):  # which is said where the file is read
        for source in sources[:_FIRST_FILES]:
            nbytes += Path(source.path).stat().st_size
            if nbytes > _FIRST_NBYTES:
                break
            n_small += 1
    return max(n_small, 1)


def _planned(directory: Path, options: Options) -> dict[str, Any]:
    """Return what the store is made of, once it is seen that the one that is there fits."""
    others: dict[str, Any] = {"rows": 0, "masked": options.get("masked", False)}
    others |= {key: options.get(key) for key in ("attrs", "shard_size")}
    dtype, row_shape = options.get("dtype"), options.get("row_shape", ())
    if is_store(directory):
        prepare(str(directory), dtype, row_shape, others)
    else:
        check_free(directory)
        if not directory.parent.is_dir():
            what = "no such folder to make a store in"
            raise FileNotFoundError(errno.ENOENT, what, str(directory.parent))
        plan(dtype=dtype, row_shape=row_shape, **others)
    return {"dtype": dtype, "row_shape": row_shape, **others}


@contextmanager
def _names_in(path: str) -> Iterator[Collection[str]]:
    """Yield the names in a store, open for a ``with`` block; none if there is no store."""
    if not is_store(Path(path)):
        yield ()
        return
    with open_store(path) as store:
        yield store


def _check(options: Options) -> None:
    strangers = options.keys() - Options.__annotations__.keys()
    if strangers:
        raise TypeError(f"unexpected keyword argument {min(strangers)!r}")


class _Progress:
    """Runs the jobs of one import and adds up what they come to."""

    def __init__(self, before: Collection[str], options: Options) -> None:
        self.report = Report()
        self._before = before
        self._options = options
        self._noted: dict[str, list[str]] = {}
        self._n_attrs = 0

    def finished(self) -> Report:
        """Return what it came to, in the order of the files, whichever worker was first."""
        self.report.failures.sort()
        for about, labels in sorted(self._noted.items()):
            more = ", …" if len(labels) > 1 else ""
            self.report.notes.append(f"{len(labels):,} {about}: {min(labels)}{more}")
        if self._n_attrs:
            what = "entries that are no arrays are now among the attrs of the store"
            self.report.notes.append(f"{self._n_attrs:,} {what}")
        return self.report

    def is_done(self, source: Source) -> bool:
        """Tell whether a file of one value is in the store."""
        if source.whole not in self._before:
            return False
        self._add_there(source.path, source.whole)
        return True

    def run(self, job: Conversion | Comparison, pending: list[Source], n_workers: int) -> None:
        """Run a job on files: in workers, or here if it is one file."""
        tasks = [Task(None, source) for source in pending]
        executor, progress = self._options.get("executor"), self._options.get("progress", True)
        if executor is None and tasks and 1 in (n_workers, len(tasks)):
            # Another process would only cost its start, and a store opened for every chunk.
            unit, total = (" files", len(tasks)) if len(tasks) > 1 else (" arrays", None)
            with bar(progress=progress, unit=unit, total=total) as shown:
                self._add(job.run(tasks, shown.update))
        elif tasks:
            run_job(
                job,
                iter(tasks),
                n_workers,
                executor,
                total=len(tasks),
                progress=progress,
                unit="files",
                seen=self._add,
                n_first=_n_small(pending[: len(pending) // (_FIRST_PART * n_workers)]),
            )

    def _add(self, done: ChunkReport) -> None:
        tally: Tally = done.more
        self.report.converted += tally.n_entries
        self.report.removed += tally.removed
        self._n_attrs += tally.n_attrs
        known = set(self.report.failures)  # verifying finds them once more
        self.report.failures += [item for item in tally.failures if item not in known]
        for about, labels in tally.noted.items():
            self._noted.setdefault(about, []).extend(labels)
        for label, name in tally.there:
            self._add_there(label, name)

    def _add_there(self, label: str, name: str) -> None:
        if name not in self._before:
            problem = (
                f"{name!r} was there first, from this or another file or import: give names that "
                "differ"
            )
        elif self._options.get("resume", True):
            self.report.skipped += 1
            return
        else:
            problem = f"{name!r} is in the store already; resume=True skips it"
        self.report.failures.append(Failure(label, problem))
