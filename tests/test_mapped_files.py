"""No file becomes shorter than any mapping of it that there was: who touches it would be killed."""

from __future__ import annotations

import mmap
import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.system import files, mapping
from tests.support.story import booted

pytestmark = pytest.mark.usefixtures("no_syncs")


class Watched:
    """What the package maps, and what it makes shorter; as the modules `os` and `mmap`."""

    def __init__(self) -> None:
        self.extents: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.cuts: list[str] = []
        self.mapped: list[mmap.mmap] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(mmap if hasattr(mmap, name) else os, name)

    def mmap(self, fd: int, nbytes: int, **options: Any) -> mmap.mmap:
        stat = os.fstat(fd)
        end = options.get("offset", 0) + (nbytes or stat.st_size)
        self.extents[stat.st_dev, stat.st_ino] = max(end, self.extents[stat.st_dev, stat.st_ino])
        # Each is kept, so that no other file gets the number of this one.
        self.mapped.append(mmap.mmap(fd, nbytes, **options))
        return self.mapped[-1]

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        assert not flags & os.O_TRUNC
        return os.open(path, flags, mode)

    def ftruncate(self, fd: int, nbytes: int) -> None:
        stat, path = os.fstat(fd), Path(f"/proc/self/fd/{fd}").readlink()
        assert nbytes >= self.extents[stat.st_dev, stat.st_ino], path
        if nbytes < stat.st_size:
            self.cuts.append(path.name)
        os.ftruncate(fd, nbytes)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    double = Watched()
    monkeypatch.setattr(files, "os", double)
    monkeypatch.setattr(mapping, "mmap", double)
    monkeypatch.setattr(mapping, "os", double)
    return double


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"dtype": "i4"},
    "planned": {"dtype": "i4", "rows": 5000},
    "masked": {"dtype": "i4", "masked": True},
    "mixed": {"masked": True},
    "shards": {"dtype": "i4", "masked": True, "shard_size": 9000},
}


def values(n: int) -> Any:
    return np.ma.masked_array(np.full(900, n, "i4"), np.arange(900) % 5 == 0)


def write(path: Path, kind: str, *names: str) -> None:
    is_masked = bool(KINDS[kind].get("masked"))
    with ptrarray.append(path) as writer:
        for n, name in enumerate(names):
            writer.write({name: values(n) if is_masked else values(n).data}, overwrite=True)


def fail(path: Path, kind: str) -> None:
    """Raise an error while rows are being filled."""
    dtype: Any = {"dtype": "i4"} if kind == "mixed" else {}
    with (
        ptrarray.append(path) as writer,
        pytest.raises(KeyError),
        writer.allocate("never", 2000, **dtype),
    ):
        raise KeyError


def delete(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["b"]


def tear(path: Path) -> None:
    """Leave what a killed writer leaves: bytes behind what is committed."""
    for file in path.rglob("*"):
        if file.name in ("journal.msgpack", "data.bin", "mask.bin"):
            with file.open("ab") as opened:
                opened.write(b"\xa7" * 5000)


def lose_power(path: Path, kind: str) -> None:
    """Leave what a power cut may leave of commits that were not flushed: not all of their rows."""
    ptrarray.checkpoint(path)
    write(path, kind, "d", "e")
    data = max(path.rglob("data*.bin"), key=lambda file: file.stat().st_mtime_ns)
    raw = bytearray(data.read_bytes())
    raw[-3000:] = bytes(3000)
    data.write_bytes(raw)


def change(path: Path) -> None:
    with ptrarray.open(path, "r+") as store:
        store["c"][:1] = 7


def steps(path: Path, kind: str) -> list[Callable[[], object]]:
    """Return what changes a store, with what killed writers and power cuts leave in between."""
    return [
        partial(write, path, kind, "a", "b", "c"),
        partial(fail, path, kind),
        partial(tear, path),
        partial(write, path, kind, "a", "d"),
        partial(delete, path),
        partial(ptrarray.checkpoint, path),
        partial(write, path, kind, *(f"more {n}" for n in range(9))),
        partial(change, path),
        partial(tear, path),
        partial(ptrarray.compact, path),
        partial(lose_power, path, kind),
        partial(write, path, kind, "f"),
        lambda: ptrarray.create(path, mode="w", **KINDS[kind]).close(),
        partial(write, path, kind, "a"),
    ]


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="which file is cut is asked of /proc"
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_becomes_shorter_than_what_is_mapped(
    kind: str, path: Path, watched: Watched
) -> None:
    ptrarray.create(path, **KINDS[kind]).close()
    for boot, step in enumerate(steps(path, kind)):
        with booted(boot // 3):
            step()
            ptrarray.open(path).close()
    assert len(watched.mapped) > 30
    assert set(watched.cuts) == {"journal.msgpack"}
