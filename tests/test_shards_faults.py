"""The n-th system call fails in what is done to a store of shards, once and for ever."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import ptrarray
from tests.support.disk import read_tree
from tests.support.failing import (
    BEFORE,
    LARGE,
    A,
    B,
    C,
    D,
    Step,
    Writer,
    check_failing,
    check_files,
)
from tests.support.faults import each_way
from tests.support.story import Content, Tree, look, with_attrs

SHARD_NBYTES = 4000


@cache
def prepared() -> Tree:
    """Return the files of a store with three shards, the first with a hole, the last with room."""
    with TemporaryDirectory() as name:
        path = Path(name) / "store.ptr"
        writer = ptrarray.create(path, dtype="i4", attrs={"k": 1}, shard_size=SHARD_NBYTES)
        writer.write({"a": A, "gone": np.arange(700, dtype="i4")})
        writer.write({"b": B, "doomed": np.arange(700, dtype="i4")})
        ptrarray.checkpoint(path)
        writer.write({"c": C, "also": np.arange(300, dtype="i4")})
        del writer["gone"], writer["doomed"], writer["also"]
        writer.flush()
        assert len(ptrarray.open(path).shards) == 3
        return read_tree(Path(name))


def replace_store(writer: Writer) -> None:
    ptrarray.create(writer.path, dtype="i4", mode="w", shard_size=SHARD_NBYTES).close()


def roll_over(writer: Writer, name: str = "d") -> None:
    writer.write({name: np.arange(900, dtype="i4")})


def without(name: str) -> Content:
    return {key: raw for key, raw in BEFORE.items() if key != name}


def renamed(old: str, new: str) -> Content:
    after = {key: raw for key, raw in BEFORE.items() if key != old}
    return after | {new: BEFORE[old]}


def check_clean(path: Path, content: Content) -> None:
    """Check that nothing is left over when the next writer has made a shard."""
    with ptrarray.append(path) as writer:
        roll_over(writer, "more")
        roll_over(writer, "still more")
        ptrarray.checkpoint(path)
        del writer["more"], writer["still more"]
    assert look(path) == content
    shards = {Path(shard).name for shard in ptrarray.open(path).shards}
    assert {p.name for p in path.iterdir()} == shards | {"shards.msgpack", "catalog.msgpack"}
    for shard in shards:
        check_files(path / shard)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


ROLLED = BEFORE | {"d": np.arange(900, dtype="i4").tobytes()}
STEPS = {
    "write": Step(lambda w: w.write({"d": D}), BEFORE | {"d": D.tobytes()}),
    "roll_over": Step(roll_over, ROLLED),
    "roll_over_large": Step(lambda w: w.write({"d": LARGE}), BEFORE | {"d": LARGE.tobytes()}),
    "replace_in_older": Step(lambda w: w.update({"a": D}), BEFORE | {"a": D.tobytes()}),
    "delete_in_older": Step(lambda w: w.__delitem__("a"), without("a")),
    "delete_in_last": Step(lambda w: w.__delitem__("c"), without("c")),
    "rename_in_older": Step(lambda w: w.rename("a", "d"), renamed("a", "d")),
    "rename_in_last": Step(lambda w: w.rename("c", "d"), renamed("c", "d")),
    "rename_over_older": Step(lambda w: w.rename("c", "a", overwrite=True), renamed("c", "a")),
    "rename_over_last": Step(lambda w: w.rename("a", "c", overwrite=True), renamed("a", "c")),
    "point": Step(lambda w: w.point("d", 1, 3), BEFORE | {"d": A[1:3].tobytes()}),
    "attrs": Step(lambda w: w.attrs.update(k=2), with_attrs(BEFORE, {"k": 2})),
    "flush": Step(lambda w: w.flush()),
    "read": Step(lambda w: w["b"]),
    "checkpoint": Step(lambda w: ptrarray.checkpoint(w.path)),
    "compact": Step(lambda w: ptrarray.compact(w.path)),
    "replace_store": Step(replace_store, with_attrs({}, {}), is_one=False),
}


# Of the calls, the normal run has some fail, other ones of each step; fewer where the same calls are made in each
# of three shards, or what `roll_over` does. Neighbouring calls do much the same, in another shard or file.
IN_EACH = ("checkpoint", "compact", "replace_store", "roll_over", "roll_over_large")
EVERY, EVERY_IN_EACH = 3, 11


@each_way
@pytest.mark.parametrize("name", STEPS)
def test_failing_call(name: str, code: int, is_lasting: bool, memory: Path) -> None:
    every = EVERY_IN_EACH if name in IN_EACH else EVERY
    check(name, code, memory, is_lasting=is_lasting, every=every)


@pytest.mark.slow
@each_way
@pytest.mark.parametrize("name", STEPS)
def test_each_failing_call(name: str, code: int, is_lasting: bool, memory: Path) -> None:
    check(name, code, memory, is_lasting=is_lasting, every=1)


def check(name: str, code: int, folder: Path, *, is_lasting: bool, every: int) -> None:
    step = STEPS[name]._replace(tree=prepared)
    first = 1 + (list(STEPS).index(name) + is_lasting) % every
    check_failing(
        step,
        code,
        folder,
        is_lasting=is_lasting,
        every=every,
        first=first,
        check_clean=check_clean,
    )
