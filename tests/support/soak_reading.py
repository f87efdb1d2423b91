"""Processes of a soak that read: long-lived readers, and those that open a store anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

import ptrarray
from ptrarray.sampling import LengthBatches
from tests.support.soak_content import (
    LAST,
    N_SLOTS,
    Layout,
    Value,
    WrongReadError,
    check,
    total,
    value_of,
)
from tests.support.soak_role import KEPT, Role, Site


class Floors:
    """What was told before somebody looks, and what he must then see."""

    def __init__(self, site: Site, store: str) -> None:
        self._kept, self._ledger = KEPT[store], site.ledger()
        self._is_replaced = "shard_size" in self._kept.options

    def seen(self, look: Callable[[], Any]) -> Any:
        """Return what a look returns, an open reader that has all that was told before."""
        epoch = self._ledger.epoch
        told = [(who, int(self._ledger.told[who])) for who in self._kept.writers]
        store = look()
        is_same = epoch == self._ledger.epoch and epoch % 2 == 0
        if is_same or not self._is_replaced:
            for who, number in told:
                name = f"{who}/w{LAST}"
                found = check(name, store[name], self._kept.layout).number if number else 0
                if found < number:
                    raise WrongReadError(f"{store.path}: {name!r} is {found}, told was {number}")
        return store


class Reading(Role):
    """Readers of one store that stay open, one mapped and one with the backend ``"pread"``."""

    CALLS: ClassVar = {
        "refresh": 12, "name": 20, "missing": 2, "rows": 5, "positions": 4, "take": 6, "atake": 1, "batches": 1,
        "reduce": 1, "items": 0.5, "meta": 4, "attrs": 2, "held_views": 4, "reopen": 0.2,
    }  # fmt: skip

    def __init__(self, store: str, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._kept, self._path, self._floors = KEPT[store], site.path(store), Floors(site, store)
        self._layout: Layout = self._kept.layout
        self._stores: list[Any] = []
        self._held: list[tuple[str, Any, Value]] = []

    def call(self) -> None:
        while len(self._stores) < 2:
            backend: Any = ("mmap", "pread")[len(self._stores)]
            with self.timed("open"):
                self._stores.append(ptrarray.open(self._path, backend=backend))
        super().call()

    def close(self) -> None:
        for store in self._stores:
            store.close()
        self._stores, self._held = [], []

    def _store(self) -> Any:
        return self._stores[self.rng.random() < 0.2]

    def _names(self, store: Any, n: int) -> list[str]:
        return [store.names[self.rng.randrange(len(store))] for _ in range(n)] if len(store) else []

    def _reopen(self) -> None:
        self.close()

    def _refresh(self) -> None:
        store = self._store()

        def look() -> Any:
            with self.timed("refresh"):
                store.refresh()
            return store

        self._floors.seen(look)

    def _name(self) -> None:
        store = self._store()
        for name in self._names(store, 1):
            with self.timed("store[name]"):
                array = store[name]
            value = check(name, array, self._layout)
            self._held = [*self._held[-20:], (name, array, value)]

    def _missing(self) -> None:
        who, slot = self.rng.choice(self._kept.writers), self.rng.randrange(N_SLOTS)
        name, store = f"{who}/w{slot}", self._store()
        is_there, found = name in set(store.names), store.get(name)
        if is_there != (found is not None) or is_there != (name in store):
            raise WrongReadError(f"{name!r} is both there and not")

    def _held_views(self) -> None:
        for name, array, value in self._held:
            if check(name, array, self._layout) != value:
                raise WrongReadError(f"the view of {name!r} has changed")

    def _rows(self) -> None:
        store = self._store()
        for name in self._names(store, 1):
            if self._layout.mixed:
                return  # rows of bytes
            start, end = store.pointers[name]
            first = self.rng.randint(start, end)
            last = self.rng.randint(first, end)
            with self.timed("store[rows]"):
                part = store[first:last]
            if not np.array_equal(part, store[name][first - start : last - start]):
                raise WrongReadError(f"rows {first} to {last} are not those of {name!r}")

    def _positions(self) -> None:
        store = self._store()
        if len(store):
            at = self.rng.randrange(len(store))
            with self.timed("store.arrays"):
                array = store.arrays[at]
            check(store.names[at], array, self._layout)

    def _alike(self, store: Any) -> list[str]:
        """Return some names whose arrays can be in one batch."""
        names = self._names(store, 6)
        if not self._layout.mixed:
            return names
        kinds = {name: (store[name].dtype, store[name].ndim) for name in names}
        return [name for name in names if kinds[name] == kinds[names[0]]]

    def _check_all(self, names: list[str], batch: Any) -> None:
        if len(batch) != len(names):
            raise WrongReadError(f"{len(batch)} arrays of {len(names)}")
        for name, array in zip(names, batch, strict=True):
            # A batch is in C order, whatever the arrays in it were.
            check(name, array, self._layout)

    def _take(self) -> None:
        store = self._store()
        names = self._alike(store)
        if names:
            with self.timed("take"):
                batch = store.take(names)
            self._check_all(names, batch)

    def _atake(self) -> None:
        store = self._store()
        names = [self._alike(store) for _ in range(4)]

        async def all_at_once() -> list[Any]:
            return list(await asyncio.gather(*map(store.atake, names)))

        if all(names):
            with self.timed("atake"):
                batches = asyncio.run(all_at_once())
            for some, batch in zip(names, batches, strict=True):
                self._check_all(some, batch)

    def _batches(self) -> None:
        store = self._stores[0]
        if self._layout.mixed or not len(store):
            return
        names = store.names
        with self.timed("batches"):
            found = [
                (at, batch)
                for at, _ in zip(LengthBatches(store, size=8), range(5), strict=False)
                for batch in [store.arrays[at]]
            ]
        for at, batch in found:
            self._check_all([names[one] for one in at], batch)

    def _reduce(self) -> None:
        store = self._stores[0]
        if self._layout.mixed:
            floats = store.of_dtype("f8")
            with self.timed("reduce_each"):
                sums = floats.reduce_each(np.add)
            if len(sums) != len(floats):
                raise WrongReadError(f"{len(sums)} sums of {len(floats)} arrays")
            return
        if not len(store):
            return
        with self.timed("reduce_each"):
            sums = store.reduce_each(np.add).tolist()
        if sums != [total(value_of(array)) for array in store.values()]:
            raise WrongReadError("the sums are not those of the arrays")
        with self.timed("max"):
            np.max(store)

    def _items(self) -> None:
        store = self._store()
        with self.timed("items"):
            found = [*store.items()]
        for name, array in found:
            check(name, array, self._layout)

    def _meta(self) -> None:
        store = self._store()
        for name in self._names(store, 1):
            with self.timed("store.meta"):
                meta = store.meta[name]
            number = value_of(store[name]).number
            if meta.get("number", number) != number:
                raise WrongReadError(f"{name!r} has the metadata {meta} and the number {number}")

    def _attrs(self) -> None:
        attrs = self._store().attrs
        for who in self._kept.writers:
            if attrs.get(f"{who}/a") != attrs.get(f"{who}/b"):
                raise WrongReadError(f"half of an update: {dict(attrs)}")


class Opening(Role):
    """Whoever opens a store for a moment, or reads all of it to verify it."""

    CALLS: ClassVar = {"open": 10, "verify": 1}

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._floors = {store: Floors(site, store) for store in KEPT}

    def _open(self) -> None:
        kept = self.rng.choice([*KEPT])
        backend: Any = self.rng.choice(("mmap", "pread"))

        def look() -> Any:
            with self.timed("open"):
                return ptrarray.open(self.site.path(kept), backend=backend)

        with self._floors[kept].seen(look) as store:
            for at in range(min(3, len(store))):
                check(store.names[at], store.arrays[at], KEPT[kept].layout)

    def _verify(self) -> None:
        with self.timed("verify"):
            ptrarray.verify(self.site.path(self.rng.choice([*KEPT])))


def reading(store: str) -> Any:
    """Return what makes a reader, importable under every start method."""
    return partial(Reading, store)
