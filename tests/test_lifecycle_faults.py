"""The n-th system call fails in what makes a file or directory: it is there whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import ptrarray
from ptrarray.storage.system import files
from tests.support.disk import materialise, read_tree
from tests.support.failing import BEFORE, N_LIMIT, A, caught, check_named, hash_of, n_descriptors
from tests.support.failing import prepared as prepared_store
from tests.support.faults import each_way, injected
from tests.support.story import Content, Tree, look, repeatable, with_attrs
from tests.test_shards_faults import SHARD_NBYTES
from tests.test_shards_faults import prepared as prepared_shards

NOTHING = with_attrs({}, {})
OBJECT = {"a": A, "text": "x" * 5000}
# Repairs three shards one after the other, each as `repair` does a store: of its many calls the normal run has
# one in so many fail.
LONG = "repair_shards"
EVERY = 5
# After which something may stay that was to be removed; once, there is nothing to remove it for.
REMOVING = {"unlink", "rmtree"}


@cache
def before() -> Tree:
    """Return a directory with a store, one of shards, and a pack."""
    with TemporaryDirectory() as name:
        place = Path(name) / "place"
        materialise(prepared_store(), place)
        materialise(prepared_shards(), place / "shards")
        ptrarray.pack(place / "store.ptr", place / "store.tar")
        (place / "old.tar").write_bytes(b"something else")
        return read_tree(place)


MAKERS: dict[str, tuple[str, Callable[[Path], object], Content]] = {
    "create": (
        "new.ptr",
        lambda place: ptrarray.create(place / "new.ptr", dtype="i4", rows=9).close(),
        NOTHING,
    ),
    "create_shards": (
        "new.ptr",
        lambda place: ptrarray.create(
            place / "new.ptr", dtype="i4", shard_size=SHARD_NBYTES
        ).close(),
        NOTHING,
    ),
    "repair": (
        "new.ptr",
        lambda place: ptrarray.repair(place / "store.ptr", place / "new.ptr"),
        BEFORE,
    ),
    "repair_shards": (
        "new.ptr",
        lambda place: ptrarray.repair(place / "shards" / "store.ptr", place / "new.ptr"),
        BEFORE,
    ),
    "pack": (
        "new.tar",
        lambda place: ptrarray.pack(place / "store.ptr", place / "new.tar"),
        BEFORE,
    ),
    "pack_over": (
        "old.tar",
        lambda place: ptrarray.pack(place / "store.ptr", place / "old.tar", overwrite=True),
        BEFORE,
    ),
    "unpack": (
        "new.ptr",
        lambda place: ptrarray.unpack(place / "store.tar", place / "new.ptr"),
        BEFORE,
    ),
    "dump": ("new.ptr", lambda place: ptrarray.dump(OBJECT, place / "new.ptr"), None),
}


@each_way
@pytest.mark.parametrize("name", MAKERS)
def test_failing_call(name: str, code: int, is_lasting: bool, memory: Path) -> None:
    check_failing(name, code, memory, is_lasting=is_lasting, every=EVERY if name == LONG else 1)


@pytest.mark.slow
@each_way
def test_each_failing_call(code: int, is_lasting: bool, memory: Path) -> None:
    check_failing(LONG, code, memory, is_lasting=is_lasting, every=1)


def check_failing(name: str, code: int, memory: Path, *, is_lasting: bool, every: int) -> None:
    """Let the n-th system call fail; from each different state that this leaves, go on once."""
    target, make, content = MAKERS[name]
    n_before = n_descriptors()
    left = set()
    for n in range(1 + is_lasting * (every // 2), N_LIMIT, every):
        place = memory / str(n)
        materialise(before(), place)
        with repeatable(), injected() as faults:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(lambda _: make(place), None)  # noqa: B023
            faults.disarm()
        if error is not None:
            assert error.errno == code
            check_named(error, str(place))
        may_leave = not faults.failed.isdisjoint(REMOVING)
        state = hash_of(place), error is None, may_leave
        if state not in left:
            left.add(state)
            if not check_place(place, target, content, may_leave=may_leave):
                assert error is not None
                make(place)  # nothing is in its way
            check_made(place / target, content)
        shutil.rmtree(place)
        if not faults.n_failed:
            break
    assert n < N_LIMIT - every
    assert n_descriptors() == n_before


def test_removal_stops_at_links(tmp_path: Path) -> None:
    """A shard may be a link to another disk; what is there is not ours to remove."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"rows")
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    (doomed / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for path in (doomed, tmp_path / "link", tmp_path / "absent"):
        files.remove_tree(path)
    assert read_tree(tmp_path) == {"kept": None, "kept/file": b"rows"}
    assert sorted(tmp_path.iterdir()) == [tmp_path / "kept"]


def check_place(place: Path, target: str, content: Content, *, may_leave: bool) -> bool:
    """Check that what was there is as it was; tell whether what is new is there, and whole."""
    found: dict[str, Any] = read_tree(place)
    new = {path for path, raw in found.items() if before().get(path, 0) != raw}
    assert before().keys() <= found.keys()
    is_made = any(path.split("/")[0] == target for path in new)
    if is_made:
        check_made(place / target, content)
    left = {path.split("/")[0] for path in new} - {target}
    assert not left or (may_leave and all(map(is_hidden, left))), left
    return is_made


def is_hidden(name: str) -> bool:
    return name.startswith(".") and name.endswith(".new")


def check_made(path: Path, content: Content) -> None:
    if content is None:
        assert ptrarray.load(path).keys() == OBJECT.keys()
    assert content in (None, look(path))
