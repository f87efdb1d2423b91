"""Processes that share a store, each noting what it asks for, when, and what it is told.

Notes go into memory that is shared with the parent, so that they outlive a kill. All processes
are at rest between two windows of operations.
"""

from __future__ import annotations

import marshal
import mmap
import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import monotonic_ns
from typing import Any, NamedTuple

import ptrarray
from tests.support.history_states import N_NAMES, NAMES, Error, Has, State, content, identify
from tests.support.linearizing import Operation

LOG_NBYTES = 1 << 21
SHARD_NBYTES = 1 << 14  # so that there are some new ones in each window
_END = struct.Struct("<Q")
_MAX_VALUES = 1 << 10  # of one process and window


class Kind(NamedTuple):
    """What the store is.

    Of one of shards less is promised, and less is asked: a deletion is of one name, and where rows lie
    is not looked at, as shards are compacted one after the other.
    """

    mixed: bool = False
    masked: bool = False
    shards: bool = False

    @property
    def options(self) -> dict[str, bool]:
        """What tells how arrays look."""
        return {"mixed": self.mixed, "masked": self.masked}

    @property
    def empty(self) -> State:
        return State((None,) * N_NAMES, 0, None if self.shards else 0)

    def create(self, path: Path) -> None:
        dtype = None if self.mixed else "i8"
        shard_size = SHARD_NBYTES if self.shards else None
        ptrarray.create(path, dtype=dtype, masked=self.masked, shard_size=shard_size).close()


class Log:
    """Memory that one process writes notes to, and its parent reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, LOG_NBYTES)
        self.clear()

    def clear(self) -> None:
        self._end = _END.size
        _END.pack_into(self._memory, 0, self._end)

    def add(self, note: Any) -> None:
        """Add a note; of a process that is killed meanwhile it is not there."""
        raw = marshal.dumps(note)
        self._memory[self._end : self._end + len(raw)] = raw
        self._end += len(raw)
        _END.pack_into(self._memory, 0, self._end)

    def operations(self, process: int) -> list[Operation]:
        """Return what was noted since it was cleared last."""
        (end,) = _END.unpack_from(self._memory, 0)
        file, found = BytesIO(self._memory[_END.size : end]), []
        while file.tell() < end - _END.size:
            kind, arguments, invoked = marshal.load(file)
            returned = result = None
            if file.tell() < end - _END.size:
                returned, result = marshal.load(file)
            found.append(
                Operation(process, kind, arguments, invoked, returned, _told(kind, result))
            )
        return found


def _told(kind: str, result: Any) -> Any:
    """Make of a note again what a state has."""
    if isinstance(result, list):
        return Error(*result)
    if kind != "read" or result is None:
        return result
    entries, attrs, n_rows = result
    return tuple(has and Has(*has) for has in entries), attrs, n_rows


class Worker:
    """One process.

    Parameters
    ----------
    weights : dict from str to int
        How often it does what; the names are those of its methods.
    """

    def __init__(
        self, path: Path, kind: Kind, who: int, seed: int, log: Log, weights: dict[str, int]
    ) -> None:
        self._path, self._kind, self._who, self._seed, self._log = path, kind, who, seed, log
        left_out = ("clear", "point") if kind.shards else ()
        self._weights = [weight for name, weight in weights.items() if name not in left_out]
        self._does = [getattr(self, f"_{name}") for name in weights if name not in left_out]
        self._value, self._rng = 0, random.Random(seed)
        self._writer: Any = None
        self._reader: Any = None
        self._held: list[tuple[Any, Any]] = []  # arrays of the last look, and what they were

    def serve(self, pipe: Any, n_processes: int) -> None:
        """Do so many operations whenever the parent says so, until it ends."""
        while True:
            try:
                window, n_operations = pipe.recv()
            except (EOFError, ConnectionResetError):
                return
            self._value = (window * n_processes + self._who) * _MAX_VALUES
            self._log.clear()
            self._rng = rng = random.Random(f"{self._seed}/{self._who}/{window}")
            for does in rng.choices(self._does, self._weights, k=n_operations):
                with suppress(AttributeError):  # of None, where there is no writer: that is noted
                    does()
            pipe.send(window)

    def note(self, kind: str, arguments: Any, operation: Callable[[], Any]) -> Any:
        """Call, and note it."""
        self._log.add((kind, arguments, monotonic_ns()))
        try:
            result = operation()
        except Exception as error:  # noqa: BLE001 - whoever reads the notes finds what is wrong
            result = [type(error).__name__, str(error)]
        self._log.add((monotonic_ns(), result))
        return result

    def _opened(self) -> Any:
        """Return a writer, mostly the same one."""
        if self._writer is not None and self._rng.random() < 0.004:
            self.note("close", None, self._writer.close)
            self._writer = None
        if self._writer is None:
            self.note("append", None, self._append)
        return self._writer

    def _append(self) -> None:
        self._writer = ptrarray.append(self._path)

    def _new(self) -> int:
        self._value += 1
        return self._value

    def _some(self) -> int:
        return int(self._rng.random() * N_NAMES)

    def _names(self) -> tuple[int, ...]:
        return tuple(self._rng.sample(range(N_NAMES), self._rng.choice((1, 1, 1, 2, 3))))

    def _any(self) -> bool:
        return self._rng.random() < 0.5

    # writing ------------------------------------------------------------------------------------

    def _write(self) -> None:
        names, overwrite, writer = self._names(), self._rng.random() < 0.7, self._opened()
        values = tuple(self._new() for _ in names)
        metas = tuple(self._new() for _ in names) if self._any() else (0,) * len(names)
        arrays = {
            NAMES[name]: content(value, **self._kind.options)
            for name, value in zip(names, values, strict=True)
        }
        kept = {NAMES[name]: {"meta": meta} for name, meta in zip(names, metas, strict=True)}
        meta = kept if any(metas) else None
        self.note(
            "write",
            (names, values, metas, overwrite),
            lambda: self._start(writer.write(arrays, overwrite=overwrite, meta=meta)),
        )

    def _start(self, rows: tuple[int, int]) -> int | None:
        return None if self._kind.shards else rows[0]

    def _delete(self) -> None:
        names, writer = self._names()[: 1 if self._kind.shards else None], self._opened()
        self.note("delete", names, lambda: writer.delete([NAMES[name] for name in names]))

    def _clear(self) -> None:
        self.note("clear", None, self._opened().clear)

    def _rename(self) -> None:
        (old, new), overwrite = self._rng.sample(range(N_NAMES), 2), self._any()
        writer = self._opened()
        self.note(
            "rename",
            (old, new, overwrite),
            lambda: writer.rename(NAMES[old], NAMES[new], overwrite=overwrite),
        )

    def _meta(self) -> None:
        name, meta, writer = self._some(), self._new(), self._opened()
        self.note(
            "meta", (name, meta), lambda: writer.meta.__setitem__(NAMES[name], {"meta": meta})
        )

    def _attrs(self) -> None:
        attrs, writer = self._new(), self._opened()
        self.note("attrs", attrs, lambda: writer.attrs.update(one=attrs, other=attrs))

    def _point(self) -> None:
        old, new, overwrite, writer = self._some(), self._some(), self._any(), self._opened()
        found = self.note("find", old, lambda: tuple(writer.pointers[NAMES[old]]))
        if isinstance(found, tuple):
            self.note(
                "point",
                (new, *found, overwrite),
                lambda: writer.point(NAMES[new], *found, overwrite=overwrite),
            )

    def _get(self) -> None:
        name, writer = self._some(), self._opened()
        self.note("get", name, lambda: identify(writer[NAMES[name]], **self._kind.options))

    # reading ------------------------------------------------------------------------------------

    def _open(self) -> None:
        self.read("mmap" if self._any() else "pread")

    def read(self, backend: Any = "mmap") -> None:
        """Open the store and read all of it."""
        self._log.add(("read", None, monotonic_ns()))
        try:
            with ptrarray.open(self._path, backend=backend) as store:
                returned = monotonic_ns()
                result, _ = look(store, self._kind, by_name=self._rng.random() < 0.9)
        except Exception as error:  # noqa: BLE001 - as in `note`
            returned, result = monotonic_ns(), [type(error).__name__, str(error)]
        self._log.add((returned, result))

    def _refresh(self) -> None:
        """Have a reader that was open see what the store is now, and read all of it.

        What it had read before stays as it was.
        """
        self._log.add(("read", None, monotonic_ns()))
        try:
            if self._reader is None:
                self._reader = ptrarray.open(self._path)
            self._reader.refresh()
            returned = monotonic_ns()
            self._check_held()
            result, self._held = look(self._reader, self._kind, by_name=self._rng.random() < 0.9)
        except Exception as error:  # noqa: BLE001 - as in `note`
            returned, result = monotonic_ns(), [type(error).__name__, str(error)]
        self._log.add((returned, result))

    def _check_held(self) -> None:
        for array, value in self._held:
            found = identify(array, **self._kind.options)
            if found != value:
                raise ValueError(f"the view of {value} has become {found}")

    # upkeep -------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        self.note("checkpoint", None, lambda: ptrarray.checkpoint(self._path))

    def _compact(self) -> None:
        self.note("compact", None, lambda: ptrarray.compact(self._path))


def look(store: Any, kind: Kind, *, by_name: bool) -> tuple[Any, list[tuple[Any, Any]]]:
    """Read all of a store; also return the arrays, each with what it is."""
    entries: list[Any] = [None] * N_NAMES
    held = []
    for name, array in _named(store) if by_name else store.items():
        value = identify(array, **kind.options)
        start, end = (None, None) if kind.shards else store.pointers[name]
        entries[NAMES.index(name)] = value, start, end, store.meta[name].get("meta", 0)
        held.append((array, value))
    if len(store) != len(held):
        raise ValueError(f"{len(store)} names, of which {len(held)} are found")
    attrs = {store.attrs.get(key, 0) for key in ("one", "other")}
    is_whole = len(attrs) == 1
    n_rows = None if kind.shards else store.shape[0]
    return (tuple(entries), attrs.pop() if is_whole else str(attrs), n_rows), held


def _named(store: Any) -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        with suppress(KeyError):
            yield name, store[name]


def serve(
    path: Path,
    kind: Kind,
    who: int,
    seed: int,
    log: Log,
    weights: dict[str, int],
    pipe: Any,
    n_processes: int,
    not_its: Sequence[Any],
    fault: Callable[[], None] | None,
) -> None:
    """Be one of the processes, until the parent closes the pipe; others' pipes are closed."""
    for other in not_its:
        other.close()
    if fault is not None:
        fault()
    Worker(path, kind, who, seed, log, weights).serve(pipe, n_processes)
    os._exit(0)
