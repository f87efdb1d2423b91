"""Processes of a soak that write: each knows what its part of a store must hold."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np

import ptrarray
from tests.support.soak_content import (
    LAST,
    N_SLOTS,
    Value,
    WrongReadError,
    check,
    content,
    length,
)
from tests.support.soak_role import KEPT, Role, Site


class Writing(Role):
    """A writer of a store that others share; its names begin with its number."""

    CALLS: ClassVar = {
        "write": 30, "read": 8, "delete": 5, "ragged": 3, "allocate": 3, "planned": 3, "rename": 4, "point": 4,
        "meta": 4, "attrs": 3, "durable": 0.5, "flush": 0.5, "reopen": 0.3,
    }  # fmt: skip

    def __init__(self, store: str, who: int, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._kept, self._who, self._path = KEPT[store], who, site.path(store)
        self._layout, self._ledger = self._kept.layout, site.ledger()
        self._still = site.gate(store)  # no rows move while somebody has it
        # While one store of shards is made anew, nobody writes to it.
        self._is_replaced = "shard_size" in self._kept.options
        self._there = site.gate(f"{store}-there") if self._is_replaced else None
        self._writers: dict[bool, Any] = {}
        self._has: dict[str, Value] = {}
        self._epoch = -1

    def call(self) -> None:
        with self._there.shared() if self._there else nullcontext():
            if self._is_replaced and self._epoch != self._ledger.epoch:
                self._begin_anew()
            if not self._writers:
                self._find_own()
            super().call()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _begin_anew(self) -> None:
        epoch = self._ledger.epoch
        if (
            False in self._writers and epoch % 2 == 0
        ):  # else who was to replace it may not have begun
            try:
                self._writers[False].write({self._name("w", 0): [0]}, overwrite=True)
            except ptrarray.StoreError:
                pass
            else:
                raise WrongReadError("a writer of a store that was replaced went on")
        self.close()
        self._writers, self._epoch = {}, epoch

    def _find_own(self) -> None:
        """Learn what lives before this one have left."""
        writer = self._writer()
        own = [name for name in writer if name.startswith(f"{self._who}/")]
        self._has = {name: check(name, writer[name], self._layout) for name in own}

    def _writer(self, *, durable: bool = False) -> Any:
        if durable not in self._writers:
            with self.timed("append"):
                self._writers[durable] = ptrarray.append(self._path, durable=durable)
        return self._writers[durable]

    def _name(self, kind: str, slot: int) -> str:
        return f"{self._who}/{kind}{slot}"

    def _slot(self) -> int:
        return self.rng.randrange(N_SLOTS)

    def _new(self, slot: int) -> Value:
        return Value(self._ledger.next_number(self._who), self._who, slot)

    def _some_new(self, n: int) -> dict[str, Value]:
        return {
            self._name("w", slot): self._new(slot) for slot in self.rng.sample(range(N_SLOTS), n)
        }

    def _any_own(self) -> str | None:
        return self.rng.choice([*self._has]) if self._has else None

    # the calls, by their names in `CALLS` ---------------------------------------------------------

    def _write(self, *, durable: bool = False) -> None:
        values = self._some_new(self.rng.choice((1, 1, 2, 5)))
        values[self._name("w", LAST)] = self._new(LAST)
        arrays = {name: content(value, self._layout) for name, value in values.items()}
        kept = {name: {"number": value.number} for name, value in values.items()}
        writer = self._writer(durable=durable)
        with self.timed("write durable" if durable else "write"):
            writer.write(arrays, overwrite=True, meta=kept)
        self._has |= values
        self._ledger.told[self._who] = values[self._name("w", LAST)].number

    def _durable(self) -> None:
        self._write(durable=True)

    def _planned(self) -> None:
        """Write to rows that were reserved before, unless a compaction has given them to others."""
        values = self._some_new(2)
        arrays = {name: content(value, self._layout) for name, value in values.items()}
        writer = self._writer()
        if self._kept.options.get("dtype") is None or self._is_replaced:
            return  # rows of bytes, or rows that are those of some shard
        with self.refusable(ptrarray.OverlapError):
            with self.timed("write planned"):
                start = writer.reserve(sum(map(len, arrays.values())))
                writer.write(arrays, start=start, overwrite=True)
            self._has |= values

    def _ragged(self) -> None:
        if self._layout.mixed:
            return
        values = self._some_new(8)
        ends = np.cumsum([0, *map(length, values.values())])
        rows = np.concatenate([content(value, self._layout) for value in values.values()])
        with self.timed("write_ragged"):
            self._writer().write_ragged([*values], rows, ends, overwrite=True)
        self._has |= values

    def _allocate(self) -> None:
        ((name, value),) = self._some_new(1).items()
        array = content(value, self._layout)
        dtype: Any = {"dtype": array.dtype} if self._layout.mixed else {}
        shape: Any = array.shape if self._layout.mixed else len(array)
        writer = self._writer()
        with (
            self.timed("allocate"),
            writer.allocate(name, shape, overwrite=True, **dtype) as rows,
        ):
            rows[...] = array
        self._has[name] = value

    def _read(self) -> None:
        name = self._name(self.rng.choice("wmp"), self._slot())
        with self.timed("writer[name]"):
            found = self._writer().get(name)
        value = None if found is None else check(name, found, self._layout)
        if value != self._has.get(name):
            raise WrongReadError(f"{name!r} is {value}, and was {self._has.get(name)}")

    def _delete(self) -> None:
        names = [self._name(self.rng.choice("wmp"), self._slot()) for _ in range(3)]
        there = {name for name in names if name in self._has}
        if there:
            with self.timed("delete"):
                self._writer().delete(there)
        for name in there:
            del self._has[name]

    def _rename(self) -> None:
        old, new = self._any_own(), self._name("m", self._slot())
        if old in (None, new, self._name("w", LAST)):
            return
        with self.timed("rename"):
            self._writer().rename(old, new, overwrite=True)
        self._has[new] = self._has.pop(old)

    def _point(self) -> None:
        old, new = self._any_own(), self._name("p", self._slot())
        if old is None or self._is_replaced:  # of shards rows get other numbers while others write
            return
        writer = self._writer()
        with self._still.shared():
            start, end = writer.pointers[old]
            with self.timed("point"):
                writer.point(new, start, end, overwrite=True)
        self._has[new] = self._has[old]

    def _meta(self) -> None:
        name = self._any_own()
        if name is not None:
            with self.timed("meta"):
                self._writer().meta[name] = {"number": self._has[name].number}

    def _attrs(self) -> None:
        number = self._ledger.next_number(self._who)
        with self.timed("attrs"):
            self._writer().attrs.update({f"{self._who}/a": number, f"{self._who}/b": number})

    def _flush(self) -> None:
        with self.timed("flush"):
            self._writer().flush()

    def _reopen(self) -> None:
        with self.timed("close"):
            self.close()
        self._writers = {}


def writing(store: str, who: int) -> Any:
    """Return what makes a writer, importable under every start method."""
    return partial(Writing, store, who)
