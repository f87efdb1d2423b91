"""What is built beside its place: nobody else takes it away, and what is left over goes."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.storage.system import building, files
from ptrarray.storage.system.lock import is_locked_by_others, try_lock_whole

pytestmark = pytest.mark.usefixtures("no_syncs")

KEY = "0123456789abcdef"
BUILDER = """
import sys
from pathlib import Path
from ptrarray.storage.system.building import directory_beside
with directory_beside(Path(sys.argv[1])) as found:
    (found / "file").write_bytes(b"x")
    print(found, flush=True)
    sys.stdin.read()
"""


def make(path: Path) -> None:
    ptrarray.create(path, dtype="i4").close()


def replace(path: Path) -> None:
    make(path)
    ptrarray.dump([1], path, mode="w")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a store of one array."""
    path = tmp_path / "elsewhere" / "source.ptr"
    path.parent.mkdir()
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({"a": np.arange(3)})
    return path


MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "create": lambda path, source: make(path),
    "create shards": lambda path, source: ptrarray.create(
        path, dtype="i4", shard_size="1kB"
    ).close(),
    "dump": lambda path, source: ptrarray.dump([1], path),
    "replace by dump": lambda path, source: replace(path),
    "repair": lambda path, source: ptrarray.repair(source, path),
    "pack": lambda path, source: ptrarray.pack(source, path),
    "export a file": lambda path, source: convert.to_npz(source, path),
    "export a folder": lambda path, source: convert.to_npy(source, path),
}


def left_over(path: Path, key: str) -> list[Path]:
    """Leave a directory, a file and a link, as processes do that are killed."""
    found = [path.with_name(f".{path.name}.{key[:-1]}{n}.new") for n in range(3)]
    found[0].mkdir()
    (found[0] / "data.bin").write_bytes(b"x")
    found[1].write_bytes(b"x")
    found[2].symlink_to(path.parent / "of a user")
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_what_others_left_is_removed(name: str, tmp_path: Path, source: Path) -> None:
    path = tmp_path / "new"
    (tmp_path / "of a user").mkdir()
    (tmp_path / "of a user" / "file").write_bytes(b"x")
    left_over(path, KEY)
    others = {
        *(found.name for found in left_over(tmp_path / "ne", KEY)),
        f".new.{KEY}.new.old",
        f".new.{KEY}0.new",
        ".new.new",
        f".new.x.{KEY}.new",
    }
    for other in others - {entry.name for entry in tmp_path.iterdir()}:
        (tmp_path / other).write_bytes(b"x")
    MAKERS[name](path, source)
    there = {entry.name for entry in tmp_path.iterdir()}
    assert there == others | {"new", "elsewhere", "of a user"}
    assert (tmp_path / "of a user" / "file").exists()


@contextmanager
def living(path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Let another process build beside a path."""
    command = [sys.executable, "-c", BUILDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().rstrip("\n"))
        process.kill()


def test_what_a_living_process_builds_stays_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with living(path) as (process, found):
        make(path)
        assert (found / "file").exists()
        process.kill()
    assert (found / "file").exists()
    ptrarray.dump([1], path, mode="w")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ptr"]


def test_where_everybody_gets_the_lock_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "try_lock_whole", lambda file: True)
    found = left_over(tmp_path / "a.ptr", KEY)
    make(tmp_path / "a.ptr")
    assert all(path.is_symlink() or path.exists() for path in found)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_things_are_built_all_the_same(
    code: int, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    convert.to_npz(source, tmp_path / "a.npz")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.npz", "elsewhere"]


@pytest.mark.parametrize("n_times", [1, 1000])
@pytest.mark.parametrize("name", MAKERS)
def test_nobody_is_waited_for_who_locks_what_is_built(
    name: str, n_times: int, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whoever sees it come can do, who may open it."""
    others = list[files.File]()

    def late(path: Path, flags: int, *how: Any, **named: Any) -> files.File:
        file = files.File(path, flags, *how, **named)
        if len(others) < n_times and path.name.startswith(".new."):
            others.append(files.File(path, files.DIRECTORY if path.is_dir() else files.READ))
            assert try_lock_whole(others[-1])
        return file

    monkeypatch.setattr(building, "File", late)
    MAKERS[name](tmp_path / "new", source)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "new"]


def test_what_is_taken_for_a_leftover_before_it_is_locked_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = list[str]()

    def late(file: files.File) -> bool:
        if len(removed) < 2:
            removed.append(file.path)
            building._remove_leftovers(tmp_path / "a.ptr")
        return is_locked_by_others(file)

    monkeypatch.setattr(building, "is_locked_by_others", late)
    make(tmp_path / "a.ptr")
    assert len({*removed}) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ptr"]
    assert len(ptrarray.open(tmp_path / "a.ptr")) == 0


def test_errors_name_the_path_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with (
        pytest.raises(OSError, match="No space") as raised,
        building.new_directory(path, Exception) as at,
    ):
        raise OSError(errno.ENOSPC, "No space", str(at / "data.bin"))
    assert raised.value.filename == str(path / "data.bin")
    with (
        pytest.raises(ptrarray.BadInputError) as refused,
        building.new_directory(path, Exception) as at,
    ):
        raise ptrarray.BadInputError(f"not in {at}", path=str(at), found=at.name)
    assert str(refused.value) == f"not in {path}"
    assert refused.value.path == str(path) == refused.value.facts["path"]
    assert not any(tmp_path.iterdir())


def test_dump_names_the_path_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.ptr"
    with pytest.raises(FileNotFoundError) as raised:
        ptrarray.dump([1], path)
    assert raised.value.filename == str(path)
