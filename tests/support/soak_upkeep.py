"""Processes of a soak that keep stores in order, that change rows in place, and that start others."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from typing import Any, ClassVar

import numpy as np

import ptrarray
from tests.support.soak_content import Layout, Value, WrongReadError, check, content
from tests.support.soak_role import KEPT, SHARD_SIZE, Role, Site

MAX_SHARDS = 5
_PLAIN = Layout()


class Checkpointing(Role):
    CALLS: ClassVar = {"checkpoint": 1}

    def _checkpoint(self) -> None:
        # Refused while another makes the store anew.
        with self.refusable(ptrarray.StoreError), self.timed("checkpoint"):
            ptrarray.checkpoint(self.site.path(self.rng.choice([*KEPT])))


class Compacting(Role):
    """Compacts, publishes, and makes the store of shards anew when it has many, which compaction leaves."""

    CALLS: ClassVar = {"compact": 6, "publish": 1, "replace": 2}

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._ledger, self._there = site.ledger(), site.gate("shards-there")
        self._stills = {store: site.gate(store) for store in KEPT}

    def _compact(self) -> None:
        self._rewrite("compact", ptrarray.compact)

    def _publish(self) -> None:
        self._rewrite("publish", ptrarray.publish)

    def _rewrite(self, kind: str, rewrite: Any) -> None:
        store = self.rng.choice([*KEPT])
        # Refused while somebody is filling rows.
        with self._stills[store].alone(), self.refusable(ptrarray.StoreError), self.timed(kind):
            rewrite(self.site.path(store))

    def _replace(self) -> None:
        path, kept = self.site.path("shards"), KEPT["shards"]
        with ptrarray.open(path) as store:
            n_shards = len(store.shards)
        if n_shards <= MAX_SHARDS:
            return
        with (
            self._there.alone(),
            self._stills["shards"].alone(),
            self._ledger.replacing([*kept.writers]),
            self.timed("replace"),
        ):
            ptrarray.create(path, mode="w", **kept.options).close()


class Editing(Role):
    """Changes rows in place, in a store of its own that others look at."""

    CALLS: ClassVar = {"edit": 10, "write": 2, "compact": 0.5}
    _N_NAMES = 10

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._path, self._number = site.path("edited"), 1
        values = {f"9/w{slot}": Value(0, 9, slot) for slot in range(self._N_NAMES)}
        with ptrarray.create(self._path, mode="w", dtype="i8") as writer:
            writer.write({name: content(value, _PLAIN) for name, value in values.items()})
        self._writer = ptrarray.append(self._path)
        self._reader = ptrarray.open(self._path)
        self._store: Any = ptrarray.open(self._path, "r+")

    def close(self) -> None:
        self._store.close()
        self._writer.close()
        self._reader.close()

    def _new(self) -> tuple[str, Value]:
        self._number += 1
        slot = self.rng.randrange(self._N_NAMES)
        return f"9/w{slot}", Value(self._number, 9, slot)

    def _edit(self) -> None:
        """Write another array over one, as much of it as there is room for."""
        name, value = self._new()
        array = np.resize(content(value, _PLAIN), 20_000)
        with self.timed("edit"):
            self._store.refresh()
            rows = self._store[name]
            rows[...] = array[: len(rows)]
        del rows
        with self.timed("edit flush"):
            self._store.flush()
        self._reader.refresh()
        found = self._reader[name]
        if not np.array_equal(found, array[: len(found)]):
            raise WrongReadError(f"{name!r} was changed in place, and is not")
        self._verify()

    def _verify(self) -> None:
        if self.rng.random() < 0.1:
            with self.timed("verify"):
                ptrarray.verify(self._path)

    def _write(self) -> None:
        name, value = self._new()
        with self.timed("write"):
            self._writer.write({name: content(value, _PLAIN)}, overwrite=True)
        check(name, self._writer[name], _PLAIN)

    def _compact(self) -> None:
        """Let go of the rows, as `compact` wants it, and take them again."""
        self._store.close()
        with self.timed("compact"):
            ptrarray.compact(self._path)
        self._store = ptrarray.open(self._path, "r+")
        self._verify()


class Forking(Role):
    """Children that use what their parent has open, or are handed it; and pools that fill a store."""

    CALLS: ClassVar = {"fork": 40, "spawn": 1, "fill": 1}
    _WHO = 8

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._path, self._ledger = site.path("forked"), site.ledger()
        self._begin()

    def call(self) -> None:
        if len(self._store.shards) > MAX_SHARDS:
            self.close()
            self._begin()
        super().call()

    def _begin(self) -> None:
        options: dict[str, Any] = {"dtype": "i8", "shard_size": SHARD_SIZE}
        self._writer = ptrarray.create(self._path, mode="w", **options)
        self._store = ptrarray.open(self._path)

    def close(self) -> None:
        self._writer.close()
        self._store.close()

    def _new(self) -> tuple[str, Value]:
        slot = self.rng.randrange(10)
        return f"{self._WHO}/w{slot}", Value(self._ledger.next_number(self._WHO), self._WHO, slot)

    def _fork(self) -> None:
        name, value = self._new()
        with self.timed("fork"):
            pid = os.fork()
            if not pid:
                self._be_a_child(name, value)
            _, status = os.waitpid(pid, 0)
        if status:
            raise WrongReadError(f"a child of a fork ended with {status}")
        self._see(name, value)

    def _be_a_child(self, name: str, value: Value) -> None:
        """Write with the writer of the parent, and read with its reader."""
        code = 1
        try:
            self._writer.write({name: content(value, _PLAIN)}, overwrite=True)
            self._see(name, value)
            code = 0
        finally:
            os._exit(code)

    def _see(self, name: str, value: Value) -> None:
        self._store.refresh()
        for found in (self._store[name], self._writer[name]):
            if check(name, found, _PLAIN) != value:
                raise WrongReadError(f"{name!r} is not {value}, which a child wrote")

    def _spawn(self) -> None:
        name, value = self._new()
        context = multiprocessing.get_context("spawn")
        arguments = (self._writer, self._store, name, value)
        with self.timed("spawn"):
            process = context.Process(target=write_and_look, args=arguments)
            process.start()
            process.join()
        if process.exitcode:
            raise WrongReadError(f"a child that was spawned ended with {process.exitcode}")
        process.close()
        self._see(name, value)

    def _fill(self) -> None:
        path = self.site.path("filled")
        shutil.rmtree(path, ignore_errors=True)
        with self.timed("fill"):
            ptrarray.fill(path, filled, range(20), dtype="i8", processes=2, progress=False)
        with ptrarray.open(path) as store:
            for slot in range(20):
                check(f"7/w{slot}", store[f"7/w{slot}"], _PLAIN)


class Measuring(Role):
    """Does what calls are made of without ptrarray, to tell how slow the machine is meanwhile."""

    CALLS: ClassVar = {"touch": 9, "sync": 1}

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._path, self._gate = site.notes / "yardstick", site.gate("yardstick")

    def _touch(self) -> None:
        with self.timed("yardstick"), self._gate.alone():
            self._write()

    def _sync(self) -> None:
        with self.timed("yardstick sync"), self._gate.alone():
            self._write(sync=True)

    def _write(self, *, sync: bool = False) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(fd, bytes(4096), 0)
            if sync:
                os.fdatasync(fd)
        finally:
            os.close(fd)


def write_and_look(writer: Any, store: Any, name: str, value: Value) -> None:
    """Use a writer and a reader that another process has handed over."""
    with writer, store:
        writer.write({name: content(value, _PLAIN)}, overwrite=True)
        store.refresh()
        check(name, store[name], _PLAIN)


def filled(slot: int) -> dict[str, Any]:
    return {f"7/w{slot}": content(Value(slot, 7, slot), _PLAIN)}
