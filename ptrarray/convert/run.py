"""Running an import: files in worker processes, or one file in this one."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from numpy.typing import DTypeLike

from ptrarray.convert import sources
from ptrarray.convert.conversion import Comparison, Conversion, names_in
from ptrarray.convert.found import Found, Kind
from ptrarray.convert.report import Failure, Report
from ptrarray.convert.sink import Tally
from ptrarray.convert.sources import Paths, Source
from ptrarray.creation import check_free, is_store, plan
from ptrarray.intake.paths import absolute
from ptrarray.jobs.run import count_workers, prepare, run_job
from ptrarray.jobs.worker import Report as ChunkReport
from ptrarray.jobs.worker import Task
from ptrarray.progress import bar
from ptrarray.writer import append

_FIRST_FILES, _FIRST_NBYTES = 64, 1 << 22  # of each of the first chunks, at the most
_FIRST_PART = 8  # of what there is for a worker, that is one in so many


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
    verify: bool


def run(
    kind: Kind,
    paths: Paths,
    store: str | os.PathLike[str],
    options: Options,
    *,
    remove: bool = False,
) -> Report:
    """Import files of one kind into a store.

    Parameters
    ----------
    kind : Kind
        What the files are.
    paths, store, options
        As for `ptrarray.convert.from_pickles`.
    remove : bool
        Whether to verify, and remove each file that is in the store as it is.
    """
    place = absolute(store)  # which may be no path
    left_out = Counter[str]()
    files = sources.find(paths, kind.suffixes, left_out, kind.is_one)
    report = _run(kind, files, place, options, remove)
    beside = Counter({end: left_out.pop(end, 0) for end in (f"*{end}" for end in kind.beside)})
    if +beside:
        end = kind.suffixes[0]
        report.notes.append(f"read where an {end} says so: {sources.counted(beside)}")
    if +left_out:
        report.notes.append(f"left out: {sources.counted(left_out)}")
    return report


def run_here(
    members: Callable[[str], Iterator[Found]],
    label: str,
    store: str | os.PathLike[str],
    options: Options,
) -> Report:
    """Import what an object in memory has, which messages call by a label; in this process."""
    here: Options = {**options, "executor": None, "processes": 1}
    kind = Kind(members, (), many=True)
    return _run(kind, [(label, label)], absolute(store), here, remove=False)


def _run(
    kind: Kind,
    files: list[tuple[str, str]],
    place: Path,
    options: Options,
    remove: bool,
) -> Report:
    check_options(options)
    n_workers = count_workers(options.get("processes"), options.get("executor"))
    template = options.get("name") or sources.default_template(len(files), many=kind.many)
    named = _in_parts(sources.name_all(files, template), kind)
    settings = _planned(place, options)
    keep_index = options.get("keep_index", True)
    job = Conversion(str(place), settings, kind.members, options.get("convert"), keep_index)
    with names_in(str(place)) as before:
        job = job._replace(is_new=not len(before))
        progress = _Progress(before, options)
        pending = [source for source in named if kind.many or not progress.is_done(source)]
        progress.run(job, pending, n_workers)
        if is_store(place):  # which is not there if nothing came
            with append(place) as writer:
                writer.flush()
            if remove or options.get("verify", False):
                # From the disk, where a source that is removed must be.
                progress.run(Comparison(job, remove), named, n_workers)
    return progress.finished()


def _in_parts(named: list[Source], kind: Kind) -> list[Source]:
    """Return files of a kind that can be cut as their parts."""
    if kind.parts is None:
        return named
    found = []
    for source in named:
        parts = []
        with suppress(Exception):  # which is raised again, and reported, where the file is read
            parts = list(kind.parts(source.path))
        found += [source._replace(part=part) for part in parts] or [source]
    return found


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


def check_options(options: Options) -> None:
    """Raise `TypeError` for what no import takes."""
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
            self.report.note(about, len(labels), min(labels))
        if self._n_attrs:
            is_one = self._n_attrs == 1
            what = "entry that is no array is" if is_one else "entries that are no arrays are"
            self.report.notes.append(f"{self._n_attrs:,} {what} now among the attrs of the store")
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
