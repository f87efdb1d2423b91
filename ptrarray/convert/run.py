"""Running an import: files in worker processes, or one file in this one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from numpy.typing import DTypeLike

from ptrarray.convert import sources
from ptrarray.convert.entries import Refused, entries
from ptrarray.convert.report import Failure, Report
from ptrarray.convert.sink import Named, Sink, Tally, differences
from ptrarray.convert.sources import Paths, Source
from ptrarray.errors import StoreError
from ptrarray.jobs.run import count_workers, prepare, run_job
from ptrarray.jobs.worker import Report as ChunkReport
from ptrarray.jobs.worker import Task, summarize
from ptrarray.progress import bar
from ptrarray.reader import PointerArray
from ptrarray.reader import open_readable as open_store
from ptrarray.writer import append


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
    """

    key: str
    load: Callable[[], Any]
    meta: Mapping[str, Any] = {}


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

    members: Callable[[str], Iterator[Member]]
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
    """The job of an import: what happens to each file."""

    path: str
    members: Callable[[str], Iterator[Member]]
    convert: Callable[[Any], Any] | None
    keep_index: bool

    def run(
        self, chunk: list[Task], advance: Callable[[int], object] = lambda n: None
    ) -> ChunkReport:
        """Write what is in the files of a chunk, and call `advance` for each array."""
        began = time.perf_counter()
        tally = Tally()
        with append(self.path) as writer, open_store(self.path) as store:
            sink = Sink(writer, tally)
            for task in chunk:
                for entry in self.entries(task.argument, store, tally):
                    sink.add(entry)
                    advance(1)
            sink.write()
        seconds = time.perf_counter() - began
        return ChunkReport(len(chunk), tally.n_entries, tally.nbytes, seconds, None, tally)

    def entries(self, source: Source, there: Container[str], tally: Tally) -> Iterator[Named]:
        """Yield what is in a file, and note what is no array or is there."""
        try:
            for member in self.members(source.path):
                yield from self._of_member(source, member, there, tally)
        except Exception as error:  # noqa: BLE001 a file can be wrong in any way
            tally.failures.append(Failure(source.path, _problem(error)))

    def _of_member(
        self, source: Source, member: Member, there: Container[str], tally: Tally
    ) -> Iterator[Named]:
        label = f"{source.path}:{member.key}" if member.key else source.path
        name = source.name(member.key)
        if name in there:
            tally.there.append((label, name))
            return
        try:
            value = member.load()
            value = value if self.convert is None else self.convert(value)
        except Exception as error:  # noqa: BLE001 a file can be wrong in any way
            tally.failures.append(Failure(label, _problem(error)))
            return
        for entry in entries(value, member.key, keep_index=self.keep_index):
            label = f"{source.path}:{entry.key}" if entry.key else source.path
            if isinstance(entry, Refused):
                tally.failures.append(Failure(label, entry.problem))
                continue
            name = source.name(entry.key)
            if name in there:
                tally.there.append((label, name))
            else:
                arrays = {name: entry.values}
                arrays |= {name + end: array for end, array in entry.companions.items()}
                yield Named(label, name, arrays, {**member.meta, **entry.meta})


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
                found = self.conversion.entries(task.argument, (), tally)
                tally.failures += differences(store, found)
                if self.remove and len(tally.failures) == n_failed:
                    Path(task.argument.path).unlink()
                    tally.removed += 1
                advance(1)
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
    place = str(Path(store).absolute())
    n_workers = count_workers(options.get("processes"), options.get("executor"))
    files = sources.find(paths, kind.suffixes)
    named = sources.name_all(files, options.get("name") or _default_template(kind, len(files)))
    others: dict[str, Any] = {"rows": 0, "masked": options.get("masked", False)}
    others |= {key: options.get(key) for key in ("attrs", "shard_size")}
    prepare(place, options.get("dtype"), options.get("row_shape", ()), others)
    keep_index = options.get("keep_index", True)
    job = Conversion(place, kind.members, options.get("convert"), keep_index)
    with open_store(place) as before:
        progress = _Progress(before, options)
        pending = [source for source in named if kind.many or not progress.is_done(source)]
        progress.run(job, pending, n_workers)
        with append(place) as writer:
            writer.flush()
        if verify:  # from the disk, where a source that is removed must be
            progress.run(Comparison(job, verify == "remove"), named, n_workers)
    progress.report.failures.sort()  # by file, whichever worker was first
    return progress.report


def _check(options: Options) -> None:
    strangers = options.keys() - Options.__annotations__.keys()
    if strangers:
        raise TypeError(f"unexpected keyword argument {min(strangers)!r}")


def _default_template(kind: Kind, n_files: int) -> str:
    if kind.many:
        return "{key}" if n_files == 1 else "{stem}/{key}"
    return "{stem}"


class _Progress:
    """Runs the jobs of one import and adds up what they come to."""

    def __init__(self, before: PointerArray, options: Options) -> None:
        self.report = Report()
        self._before = before
        self._options = options

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
        if len(tasks) == 1 and executor is None:
            with bar(progress=progress, unit=" arrays") as shown:
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
            )

    def _add(self, done: ChunkReport) -> None:
        tally: Tally = done.more
        self.report.converted += tally.n_entries
        self.report.removed += tally.removed
        known = set(self.report.failures)  # verifying finds them once more
        self.report.failures += [item for item in tally.failures if item not in known]
        for label, name in tally.there:
            self._add_there(label, name)

    def _add_there(self, label: str, name: str) -> None:
        if name not in self._before:
            problem = (
                f"{name!r} was there first, from another file or import: give names that differ"
            )
        elif self._options.get("resume", True):
            self.report.skipped += 1
            return
        else:
            problem = f"{name!r} is in the store already; resume=True skips it"
        self.report.failures.append(Failure(label, problem))
