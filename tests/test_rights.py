"""Who may read and write a store that several users share, after any of them has rewritten it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.effort import one_in
from tests.support.processes import FORK, TIMEOUT_SECONDS

pytestmark = pytest.mark.usefixtures("no_syncs")
TEAM, OTHERS, ANN, BEN = 54321, 54322, 54323, 54324
SIZE = 20_000


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def create(path: Path, **options: Any) -> None:
    ptrarray.create(path, **options).close()


def append(path: Path) -> None:
    with ptrarray.append(path) as writer:
        for n in range(3):
            name = secrets.token_hex(8)
            writer.write({name: np.full(SIZE // 8, n)}, meta={name: {"n": n}})
        writer.flush()


def leave_a_hole(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer[next(iter(writer))]
    ptrarray.compact(path)


def replace(path: Path) -> None:
    with ptrarray.open(path) as store:
        facts: dict[str, Any] = {"dtype": store.dtype, "masked": store.masked}
        shard_size = SIZE if (path / "shards.msgpack").exists() else None
    ptrarray.create(path, mode="w", shard_size=shard_size, **facts).close()


def dump(path: Path) -> None:
    ptrarray.dump(list(range(3)), path, mode="w")
    ptrarray.create(path, dtype="i8", mode="w").close()


def pack(path: Path) -> None:
    with TemporaryDirectory(dir=path.parent) as folder:
        packed = Path(folder) / "a.tar"
        packed.touch()
        packed.chmod(0o640)
        ptrarray.pack(path, packed, overwrite=True)
        assert rights(packed) == 0o640


CALLS: dict[str, Callable[[Path], object]] = {
    "append": append,
    "checkpoint": ptrarray.checkpoint,
    "compact": leave_a_hole,
    "replace": replace,
    "dump": dump,
    "pack": pack,
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"dtype": "i8"},
    "masked": {"dtype": "i8", "masked": True},
    "shards": {"dtype": "i8", "shard_size": SIZE},
}
CASES = [
    (kind, call)
    for kind in KINDS
    for call in CALLS
    if kind == "plain" or call in ("compact", "replace") or (kind, call) == ("shards", "append")
]


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def check_rights(path: Path, file_mode: int, folder_mode: int, group: int | None = None) -> None:
    for place in (path, *path.rglob("*")):
        assert rights(place) == (folder_mode if place.is_dir() else file_mode), place
        assert group in (None, place.stat().st_gid), place


@pytest.mark.parametrize(("kind", "call"), CASES)
@pytest.mark.parametrize(("first", "later"), [(0o002, 0o022), (0o077, 0o022)])
def test_what_replaces_a_file_has_its_mode(
    path: Path, kind: str, call: str, first: int, later: int
) -> None:
    with umask(first):
        ptrarray.create(path, **KINDS[kind]).close()
        append(path)
    with umask(later):
        CALLS[call](path)
        append(path)
        ptrarray.verify(path)
    check_rights(path, 0o666 & ~first, 0o777 & ~first)


def dump_masked(path: Path) -> None:
    ptrarray.dump([np.ma.masked_equal(range(3), 1)], path, mode="w")


@pytest.mark.parametrize("name", ["data.bin", "mask.bin", "index.msgpack"])
@pytest.mark.parametrize("call", [leave_a_hole, dump_masked])
def test_each_file_has_the_mode_of_the_one_it_replaces(
    path: Path, name: str, call: Callable[[Path], object]
) -> None:
    ptrarray.create(path, **KINDS["masked"]).close()
    append(path)
    (path / name).chmod(0o604)
    call(path)
    modes = {file.name.split(".")[0]: rights(file) for file in path.iterdir()}
    assert modes.keys() == {"data", "mask", "index", "journal"}
    assert modes.pop(name.split(".")[0]) == 0o604
    assert 0o604 not in modes.values()


# users --------------------------------------------------------------------------------------------


def as_user(user: int, groups: list[int], mask: int, *calls: Callable[[], object]) -> None:
    """Do one thing after the other as a user, or fail with what failed."""
    receiver, sender = FORK.Pipe(duplex=False)

    def run() -> None:
        os.setgroups(groups)
        os.setgid(groups[0])
        os.setuid(user)
        os.umask(mask)
        try:
            for call in calls:
                call()
        except BaseException as error:  # noqa: BLE001 - for the parent to judge
            sender.send(repr(error))
        else:
            sender.send(None)

    process = FORK.Process(target=run)
    process.start()
    process.join(TIMEOUT_SECONDS)
    assert receiver.recv() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", [None, "more/"])
def test_a_copy_of_what_nobody_may_write_to_can_be_written_to(
    shared: Path, kind: str, prefix: str | None
) -> None:
    """As archives and snapshots are; it is read by who is not its owner."""
    old, new = shared / "old.ptr", shared / "new.ptr"
    ptrarray.create(old, **KINDS[kind]).close()
    append(old)
    for place in (*old.rglob("*"), old):
        place.chmod(0o555 if place.is_dir() else 0o444)
    join = partial(ptrarray.join, new, [old], "copy", prefix=prefix, progress=False)
    as_user(ANN, [TEAM], 0o022, join, partial(append, new), partial(leave_a_hole, new))
    ptrarray.verify(new)
    assert {rights(place) for place in (new, *new.rglob("*")) if place.is_file()} == {0o644}


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder in which everybody may write, and that makes files belong to a team."""
    if os.geteuid() != 0:
        pytest.skip("no permission to be another user")
    with TemporaryDirectory() as name:
        folder = Path(name) / "shared"
        folder.mkdir()
        folder.parent.chmod(0o755)
        os.chown(folder, 0, TEAM)
        folder.chmod(0o2777)
        yield folder


@pytest.mark.parametrize(
    ("kind", "call", "is_setgid"),
    # Of two neighbours one has the group from the folder, the other from its user.
    one_in(2, [(*case, (at + n) % 2 == 0) for n, case in enumerate(CASES) for at in range(2)]),
)
def test_a_team_goes_on_after_one_of_it(
    shared: Path, kind: str, call: str, is_setgid: bool
) -> None:
    path = shared / "a.ptr"
    if not is_setgid:
        shared.chmod(0o0777)
    appended = partial(append, path)
    created = partial(create, path, **KINDS[kind])
    as_user(ANN, [TEAM, OTHERS], 0o002, created, appended)
    as_user(BEN, [OTHERS, TEAM], 0o022, lambda: CALLS[call](path), appended)
    as_user(ANN, [TEAM, OTHERS], 0o022, lambda: leave_a_hole(path))
    as_user(BEN, [OTHERS, TEAM], 0o022, lambda: append(path))
    check_rights(path, 0o664, 0o2775 if is_setgid else 0o775, TEAM)


@pytest.mark.parametrize("call", ["compact", "checkpoint", "replace"])
def test_root_leaves_a_store_to_its_owner(shared: Path, call: str) -> None:
    path = shared / "a.ptr"
    as_user(ANN, [OTHERS], 0o077, partial(create, path, dtype="i8"), partial(append, path))
    CALLS[call](path)
    as_user(ANN, [OTHERS], 0o077, lambda: append(path))
    assert {file.stat().st_uid for file in path.iterdir()} == {ANN}
    check_rights(path, 0o600, 0o2700)


def test_a_group_that_cannot_be_kept_opens_the_store_to_no_other(shared: Path) -> None:
    path = shared / "a.ptr"
    shared.chmod(0o0777)
    as_user(ANN, [OTHERS], 0o007, lambda: ptrarray.create(path, dtype="i8").close())
    as_user(ANN, [OTHERS], 0o007, lambda: append(path))
    for place in (path, *path.iterdir()):
        os.chown(place, ANN, TEAM)  # of which she is none
    as_user(ANN, [OTHERS], 0o002, lambda: leave_a_hole(path))
    for name in ("data.3.bin", "index.msgpack"):
        found = (path / name).stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (OTHERS, 0o600)
    as_user(ANN, [OTHERS], 0o022, lambda: append(path))
