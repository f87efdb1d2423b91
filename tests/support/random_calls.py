"""Random calls to one store, each noted in a `Story`: what a few lines by hand do not think of."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptrarray
from tests.support.story import ATTRS, Story, essence, with_attrs

Array = NDArray[Any]
Writer = ptrarray.PointerArrayWriter
Apart = Callable[[Callable[[], None]], None]

STORES: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i4"},
    "planned": {"dtype": "i4", "rows": 1000},
    "masked": {"dtype": None, "masked": True},
    "durable": {"dtype": "i4", "durable": True},
    "shards": {"dtype": "f4", "row_shape": (3,), "shard_size": "60kB"},
    "shards-masked": {"dtype": "f8", "masked": True, "shard_size": "60kB"},
    "shards-durable": {"dtype": "i4", "shard_size": "60kB", "durable": True},
}
# What is called, and how often. The last eight promise something, or may: some stories have few of these.
CALLS: dict[str, float] = {
    "write": 30, "write_large": 10, "delete": 8, "reuse": 5, "point": 5, "rename": 4, "set_attrs": 3,
    "set_meta": 3, "allocate": 6, "reopen": 3, "killed": 6,
    "flush": 14, "checkpoint": 5, "compact": 4, "publish": 1, "replace": 1,
}  # fmt: skip
PROMISING = ("flush", "checkpoint", "compact", "publish", "replace")
SMALL, LARGE = (0, 1, 3, 50, 200, 1000, 3000), (17_000, 22_000)  # rows of four bytes


class RandomCalls:
    """Two writers of one store, and what they do to it.

    Parameters
    ----------
    story : Story
        Whose store; it may be there.
    kind : str
        One of `STORES`.
    rng : random.Random
        What decides.
    apart : function, optional
        What calls the function that fills allocated rows, where that may end the process.
    """

    def __init__(
        self, story: Story, kind: str, rng: random.Random, *, apart: Apart | None = None
    ) -> None:
        self._story, self._kind, self._rng, self._apart = story, kind, rng, apart
        self._options = STORES[kind]
        self._values = np.random.default_rng(rng.getrandbits(32))
        self._is_durable = bool(self._options.get("durable"))
        promising = rng.choice((1, 0.3, 0.1))
        self._weights = [n * promising if c in PROMISING else n for c, n in CALLS.items()]
        self._n_names = rng.getrandbits(30) * 1000
        if story.contents[-1] is None:
            story.create(**self._options).close()
        self._open()

    def _open(self) -> None:
        self._writers = [
            ptrarray.append(self._story.path, durable=self._is_durable) for _ in range(2)
        ]

    def call(self) -> None:
        """Call one thing."""
        what = self._rng.choices([*CALLS], self._weights)[0]
        n_before = len(self._story.contents)
        getattr(self, f"_{what}")(self._rng.choice(self._writers))
        if self._is_durable and what != "killed" and len(self._story.contents) > n_before:
            self._story.promise()

    def recover(self) -> None:
        """Go on when the disk was full."""
        story = self._story
        for writer in self._writers:
            with suppress(OSError):
                writer.close()
        self._open()
        for name in self._names[:3]:
            story.delete(self._writers[0], name)
        ptrarray.compact(story.path)
        story.promise()

    @property
    def _names(self) -> list[str]:
        return sorted(name for name in self._story.now if name != ATTRS)

    @property
    def _is_one_file_of_ints(self) -> bool:
        return self._kind in ("rows", "planned", "durable")

    def _new_name(self) -> str:
        self._n_names += 1
        return f"n{self._n_names}"

    def _any_name(self, chance_of_old: float) -> str:
        names = self._names
        is_old = names and self._rng.random() < chance_of_old
        return self._rng.choice(names) if is_old else self._new_name()

    def _array(self, n_rows: int) -> Array:
        dtype, mixed = self._options["dtype"], self._options["dtype"] is None
        if self._options.get("row_shape"):
            return self._values.random((n_rows // 3, 3)).astype(dtype)
        shape = (n_rows // 2, 2) if mixed and n_rows % 2 == 0 else (n_rows,)
        numbers = self._values.integers(1, 2**30, shape)
        data = numbers.astype(self._rng.choice(("u1", "i2", "c8")) if mixed else dtype)
        if self._options.get("masked") and self._rng.random() < 0.6:
            return np.ma.MaskedArray(data, self._values.random(shape) < 0.3)
        return data

    # the calls, by their names in `CALLS` ---------------------------------------------------------

    def _write(self, writer: Writer) -> None:
        rng = self._rng
        arrays: Any = {
            self._any_name(0.3): self._array(rng.choice(SMALL))
            for _ in range(rng.choice((1, 1, 2, 5)))
        }
        some = {name: {"k": self._n_names} for name in arrays if rng.random() < 0.3}
        self._story.write(writer, None, some, **arrays)

    def _write_large(self, writer: Writer) -> None:
        one: Any = {self._any_name(0.4): self._array(self._rng.randrange(*LARGE))}
        self._story.write(writer, None, **one)

    def _delete(self, writer: Writer) -> None:
        if self._names:
            self._story.delete(writer, self._rng.choice(self._names))

    def _reuse(self, writer: Writer) -> None:
        """Write where an array was that is deleted."""
        if not (self._is_one_file_of_ints and self._names):
            return
        name = self._rng.choice(self._names)
        start, end = writer.pointers[name]
        self._story.delete(writer, name)
        one: Any = {self._new_name(): self._array(end - start)}
        try:
            self._story.write(writer, start, **one)
        except ptrarray.OverlapError:  # a `point` has part of it
            self._story.note_failure()

    def _point(self, writer: Writer) -> None:
        if not (self._is_one_file_of_ints and self._names):
            return
        name, new = self._rng.choice(self._names), self._new_name()
        start, end = writer.pointers[name]
        first = self._rng.randint(start, end)
        last = self._rng.randint(first, end)
        if (first, last) in writer.pointers.values():  # it would get the metadata of that array
            return
        rows = np.array(writer[name][first - start : last - start])
        after = self._story.now | {new: essence(rows, {})}
        self._story.commit(lambda: writer.point(new, first, last), after)

    def _rename(self, writer: Writer) -> None:
        if self._names:
            self._story.rename(writer, self._rng.choice(self._names), self._new_name())

    def _set_attrs(self, writer: Writer) -> None:
        value = self._rng.random()
        after = with_attrs(self._story.now, {"k": value})
        self._story.commit(lambda: writer.attrs.update(k=value), after)

    def _set_meta(self, writer: Writer) -> None:
        if self._names:
            self._story.set_meta(writer, self._rng.choice(self._names), {"m": self._rng.random()})

    def _allocate(self, writer: Writer) -> None:
        array, name = self._array(self._rng.choice((*SMALL, LARGE[0]))), self._new_name()
        dtype: Any = {"dtype": array.dtype} if self._options["dtype"] is None else {}

        def fill(by: Writer) -> None:
            with by.allocate(name, array.shape if dtype else len(array), **dtype) as rows:
                rows[...] = array

        path, action = self._story.path, partial(fill, writer)
        if self._apart:
            another = partial(ptrarray.append, path, durable=self._is_durable)
            action = partial(self._apart, lambda: fill(another()))
        self._story.commit(action, self._story.now | {name: essence(array, {})})

    def _reopen(self, writer: Writer) -> None:
        writer.close()
        self._writers.remove(writer)
        self._writers.append(ptrarray.append(self._story.path, durable=self._is_durable))

    def _killed(self, _: Writer) -> None:
        path, array, names = self._story.path, self._array(self._rng.choice(SMALL)), self._names
        large = self._array(LARGE[0])
        new = self._new_name()

        def write(value: Array) -> None:
            ptrarray.append(path).write({new: value})

        actions: list[Callable[[], object]] = [
            lambda: write(array),
            lambda: write(large),
            lambda: ptrarray.append(path).delete(names[:1]),
            lambda: ptrarray.append(path).flush(),
            lambda: ptrarray.checkpoint(path),
            lambda: ptrarray.compact(path),
        ]
        self._story.killed(self._rng.choice(actions), self._rng.randrange(30))

    def _flush(self, writer: Writer) -> None:
        self._story.flush(writer)

    def _checkpoint(self, _: Writer) -> None:
        ptrarray.checkpoint(self._story.path)
        self._story.promise()

    def _compact(self, _: Writer) -> None:
        ptrarray.compact(self._story.path)
        self._story.promise()

    def _publish(self, _: Writer) -> None:
        ptrarray.publish(self._story.path)
        self._story.promise()

    def _replace(self, _: Writer) -> None:
        for writer in self._writers:
            writer.close()
        self._story.create(mode="w", **self._options).close()
        self._open()
