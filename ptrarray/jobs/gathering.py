"""The parts that a run of `fill` writes: what earlier runs have left, whether all is there, joining.

Whoever starts a run has a part of its own, always empty and open as long as the run goes on: nobody
takes the parts of a living run for those of one that was interrupted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ptrarray.creation import create, is_store
from ptrarray.errors import (
    BadInputError,
    CorruptStoreError,
    DuplicateNameError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    TaskError,
)
from ptrarray.jobs.parts import KEY, Written, is_same
from ptrarray.jobs.run import prepare
from ptrarray.jobs.worker import Report
from ptrarray.joining import (
    SHARD_SIZE,
    PartWriter,
    join,
    part,
    part_path,
    parts_of,
    remove_parts_directory,
)
from ptrarray.reader import open_readable
from ptrarray.storage.shards.doubles import find_doubles
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.merging import MEMORY_NBYTES
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot
from ptrarray.storage.system.building import remove_in_one_step
from ptrarray.writer import PointerArrayWriter, close_leaving, store_of

_IS_OF_A_RUN = re.compile(f"{KEY}[0-9a-f]{{8}}(-.*)?")
_N_THREADS = 8


class Run(NamedTuple):
    """A run whose tasks write to parts.

    Attributes
    ----------
    path : str
        The store that they will be joined in.
    run_id : str
        In the keys of all its parts.
    store : mapping
        The arrays that were there before.
    settings : dict
        What parts are made with.
    n_written : dict
        By the key of each part that has answered, how many arrays it was said to have got.
    """

    path: str
    run_id: str
    store: Mapping[str, Any]
    settings: dict[str, Any]
    n_written: dict[str, int]

    def note(self, report: Report) -> None:
        """Note what a chunk has come to."""
        written: Written = report.more
        self.n_written[written.key] = self.n_written.get(written.key, 0) + written.n_arrays

    @property
    def own(self) -> Path:
        """Where the part lies that shows that the run goes on."""
        return part_path(self.path, f"{KEY}{self.run_id}")


@contextmanager
def running(path: str, kind: dict[str, Any]) -> Generator[Run]:
    """Begin a run, which ends with the block; what its parts have stays, joined or not.

    Parameters
    ----------
    path : str
        The store, if it is there, or will be.
    kind : dict
        As for `create`: `dtype`, `row_shape`, `attrs`, `masked`.
    """
    with ExitStack() as stack:
        store: Mapping[str, Any] = {}
        if is_store(Path(path)):
            others = {"attrs": kind["attrs"], "masked": kind["masked"]}
            prepare(path, kind["dtype"], kind["row_shape"], others)
            store, kind = stack.enter_context(open_readable(path)), {}
        run_id = secrets.token_hex(4)
        own = part(path, f"{KEY}{run_id}", **kind)
        run = Run(path, run_id, store, _made_as(own), {})
        stack.callback(_end, path, own)
        _refuse_another_run(path, _parts_of_fills(path), run.own)
        yield run


def _made_as(writer: PointerArrayWriter) -> dict[str, Any]:
    """Return what a store was made with."""
    common = {"attrs": dict(writer.attrs), "masked": writer.masked}
    if writer.layout == "mixed":
        return common
    return {"dtype": writer.dtype, "row_shape": writer.row_shape, **common}


def _end(path: str, own: PointerArrayWriter) -> None:
    place = Path(own.path)
    with suppress(StoreError, OSError):  # somebody has removed it
        close_leaving(own, 0)
        remove_in_one_step(place)
    remove_parts_directory(Path(path))


def take_up(path: str, *, resume: bool, **options: Any) -> None:
    """Join what interrupted runs have left.

    Raises
    ------
    StoreExistsError
        There is something, and it was not asked for.
    StoreError
        A run goes on.
    BadInputError
        What is at the path cannot have parts.
    """
    if is_store(Path(path)) and not is_sharded(Path(path)):
        raise BadInputError(
            f"{path} is one store, to which no parts can be joined: fill another path, and join both "
            f'in a third one, as by join("all.ptr", [{path!r}, "other.ptr"])',
            path=path,
            found="one store",
            expected="a store of shards, or nothing",
        )
    found = _parts_of_fills(path)
    _refuse_another_run(path, found)
    left = [place for place in found if not _is_own(place)]
    if left and not resume:
        raise StoreExistsError(
            f"{len(left)} parts of a run of fill that was interrupted are in {left[0].parent}: "
            "resume=True joins them and goes on; or remove them",
            path=str(left[0].parent),
        )
    if left:
        _seal_all(left)
        _join(path, left, options)
    for place in filter(_is_own, found):
        if not len(open_snapshot(place)):  # else it is a user's
            remove_in_one_step(place)


def gather(run: Run, n_tasks: int | None, names: Iterator[str | None], **options: Any) -> int:
    """Join the parts of a run, once it is seen that all that was written is there.

    Parameters
    ----------
    run : Run
        Of which every task has been answered.
    n_tasks : int or None
        Tasks, each of which has the name of its array; None if they have none.
    names : iterator of str
        Those names, to say which one is missing.
    **options
        As for `join`.

    Returns
    -------
    int
        Number of arrays that the parts have.
    """
    parts = _sealed_parts(run)
    if n_tasks is None:
        _check_counts(run, parts)
    n_arrays = _count_names(run, parts.values(), compare=n_tasks is None)
    if n_tasks is not None and n_arrays != n_tasks:
        missing = next(name for name in names if name and not _is_in(parts.values(), name))
        what = f"{n_tasks - n_arrays} arrays are not there, as {missing!r}"
        raise _lost(run, what, missing)
    if parts:
        _join(run.path, [found.directory for found in parts.values()], options)
    elif not is_store(Path(run.path)):
        shard_size = options.get("shard_size", SHARD_SIZE)
        create(run.path, **run.settings, shard_size=shard_size).close()
    for place in _parts_of_fills(run.path):  # of workers that were lost: others have done all that
        if place.name.startswith(f"{KEY}{run.run_id}-"):
            remove_in_one_step(place)
    return n_arrays


def _parts_of_fills(path: str) -> list[Path]:
    """Return the parts of a store that runs have made; users may have parts of their own there."""
    return [place for place in parts_of(path) if _IS_OF_A_RUN.fullmatch(place.stem)]


def _is_own(place: Path) -> bool:
    """Tell whether a part is that of whoever started a run."""
    return place.stem.count("-") == 1


def _refuse_another_run(path: str, found: Sequence[Path], own: Path | None = None) -> None:
    for place in filter(_is_own, found):
        if place != own and _has_writer(place):
            raise StoreError(
                f"{path} is being filled already: {place} is open. Wait until that run has ended",
                path=path,
            )


def _has_writer(place: Path) -> bool:
    try:
        header = open_snapshot(place).header
        with Content(place, header) as content:
            return content.has_writer
    except (StoreNotFoundError, FileNotFoundError):  # that run has ended just now
        return False


def _seal_all(places: Sequence[Path]) -> list[StoreSnapshot]:
    with ThreadPoolExecutor(_N_THREADS) as threads:  # which wait for the disk
        return list(threads.map(_seal, places))


def _seal(place: Path) -> StoreSnapshot:
    """Put an end to what is written to a part, also by workers that nobody waits for."""
    try:
        writer = PartWriter(place)
    except CorruptStoreError as error:
        error.add_note(f"without {place}, resume=True does its tasks again")
        raise
    session: Any = store_of(writer)
    if session.is_sealed:  # its files may be those of a joined store by now
        PointerArrayWriter.close(writer)
    else:
        writer.close()
    return open_snapshot(place)


def _sealed_parts(run: Run) -> dict[str, StoreSnapshot]:
    """Return the parts that have answered, by their keys."""
    lost = [key for key in run.n_written if not is_store(part_path(run.path, key))]
    if lost:
        raise _lost(
            run,
            f"{len(lost)} parts are not in {run.own.parent}, as {lost[0]}: bring them there, if they "
            "are on a disk of another machine",
        )
    stores = _seal_all([part_path(run.path, key) for key in run.n_written])
    return dict(zip(run.n_written, stores, strict=True))


def _check_counts(run: Run, parts: Mapping[str, StoreSnapshot]) -> None:
    for key, found in parts.items():
        if len(found) < run.n_written[key]:
            what = f"{found.directory} has {len(found)} arrays of {run.n_written[key]}"
            raise _lost(run, what)


def _count_names(run: Run, parts: Iterable[StoreSnapshot], *, compare: bool) -> int:
    """Count the arrays of parts, those that several have once; these have to be the same."""
    stores = list(parts)
    n_names = sum(map(len, stores))
    for found in find_doubles(stores, MEMORY_NBYTES) if stores else ():
        for raw, having in found.items():
            n_names -= len(having) - 1
            if compare:
                _check_same(run.path, raw.decode(), [stores[number].directory for number in having])
    return n_names


def _check_same(path: str, name: str, places: Sequence[Path]) -> None:
    """Raise `DuplicateNameError` if arrays of one name differ: they are of different tasks."""
    with ExitStack() as stack:
        one, *others = [stack.enter_context(open_readable(place)) for place in places]
        for other in others:
            if not is_same(one[name], one.meta[name], other[name], other.meta[name]):
                raise DuplicateNameError(
                    f"{name!r} of {path} was returned by two tasks, or by one that was run twice "
                    f"and is not the same each time: {one.path} and {other.path} have it. "
                    "resume=True takes one of them",
                    path=path,
                    names=(name,),
                )


def _is_in(stores: Iterable[StoreSnapshot], name: str) -> bool:
    return any(store.find(name.encode()) is not None for store in stores)


def _lost(run: Run, what: str, task: Any = None) -> TaskError:
    return TaskError(
        f"parts of {run.path} were lost: {what}. What is there stays, resume=True goes on from there",
        path=run.path,
        task=task,
        worker_traceback="",
    )


def _join(path: str, places: Sequence[Path], options: Mapping[str, Any]) -> None:
    """Join parts; of the arrays with one name the first, as all of them are those of one task."""
    join(path, places, "move", duplicates="first", **options)
