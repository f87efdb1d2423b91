"""Which modes files have that are made, also those that are there for a moment only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from tests.test_rights import rights, umask

pytestmark = pytest.mark.usefixtures("no_syncs")

MASKS = (0o000, 0o022, 0o027, 0o077)
SIZE = 20_000
QUIET: dict[str, Any] = {"progress": False}


class Made(NamedTuple):
    """What was made, and with which mode it began."""

    path: Path
    mode: int
    is_folder: bool


@contextmanager
def watched() -> Iterator[list[Made]]:
    """Note with which mode each file and folder begins that this process makes."""
    found: list[Made] = []
    real_open, real_mkdir = os.open, os.mkdir

    def spying_open(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        fd = real_open(path, flags, mode, **named)
        if flags & os.O_CREAT:
            found.append(Made(Path(path), os.fstat(fd).st_mode & 0o777, False))
        return fd

    def spying_mkdir(path: Any, mode: int = 0o777, **named: Any) -> None:
        real_mkdir(path, mode, **named)
        found.append(Made(Path(path), rights(Path(path)) & 0o777, True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", spying_open)
        patch.setattr(os, "mkdir", spying_mkdir)
        yield found


def fill(path: Path, **settings: Any) -> None:
    """Make a store with arrays, some metadata, and a hole."""
    with ptrarray.create(path, **settings) as writer:
        for n in range(4):
            writer.write({f"n{n}": np.full(SIZE // 16, n)}, meta={f"n{n}": {"n": n}})
        del writer["n1"]


def frames(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    fill(path)
    with ptrarray.append(path) as writer:
        writer["frame"] = pd.DataFrame({"a": [1.5, 2.5]}, index=["x", "y"])


# What is made anew, of a store, at a path.
NEW: dict[str, Callable[[Path, Path], object]] = {
    "store": lambda store, out: fill(out, dtype="i8"),
    "masks": lambda store, out: fill(out, dtype="i8", masked=True),
    "shards": lambda store, out: fill(out, dtype="i8", shard_size=SIZE),
    "helpers": lambda store, out: frames(out),
    "dump": lambda store, out: ptrarray.dump([np.arange(3)], out),
    "dump to a file": lambda store, out: ptrarray.dump([np.arange(3)], out.with_suffix(".tar")),
    "pack": lambda store, out: ptrarray.pack(store, out),
    "repair": lambda store, out: ptrarray.repair(store, out),
    "part": lambda store, out: ptrarray.part(out, "host", dtype="i8").close(),
    "download": lambda store, out: ptrarray.download(store.as_uri(), out),
    "npy": lambda store, out: convert.to_npy(store, out, **QUIET),
    "npz": lambda store, out: convert.to_npz(store, out, **QUIET),
    "pickles": lambda store, out: convert.to_pickles(store, out, **QUIET),
    "h5": lambda store, out: convert.to_h5(store, out, **QUIET),
    "kaldi": lambda store, out: convert.to_kaldi(store, out, **QUIET),
    "safetensors": lambda store, out: convert.to_safetensors(store, out, **QUIET),
    "parquet": lambda store, out: convert.to_parquet(store, out, **QUIET),
    "arrow": lambda store, out: convert.to_arrow(store, out, **QUIET),
    "webdataset": lambda store, out: convert.to_webdataset(store, out, **QUIET),
    "webdataset in shards": lambda store, out: convert.to_webdataset(
        store, out, shard_size=SIZE, **QUIET
    ),
}
LIBRARIES = {"h5": "h5py", "safetensors": "safetensors", "parquet": "pyarrow", "arrow": "pyarrow"}
LIBRARIES |= {"download": "obstore"}


@pytest.mark.parametrize("name", NEW)
def test_what_is_made_has_what_the_umask_leaves(tmp_path: Path, name: str) -> None:
    pytest.importorskip(LIBRARIES.get(name, "numpy"))
    store = tmp_path / "source.ptr"
    fill(store, dtype="i8")
    for mask in MASKS:
        folder = tmp_path / f"{mask:o}"
        folder.mkdir()
        with umask(mask), watched() as made:
            NEW[name](store, folder / "new")
        for one in made:
            assert not one.mode & ~(0o777 if one.is_folder else 0o666) & ~mask, one
        there = [*folder.rglob("*")]
        assert there
        for path in there:
            assert rights(path) == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_unpacked_and_imported_files_have_what_the_umask_leaves(tmp_path: Path) -> None:
    store = tmp_path / "source.ptr"
    fill(store, dtype="i8")
    ptrarray.pack(store, tmp_path / "a.tar")
    convert.to_npz(store, tmp_path / "a.npz", **QUIET)
    for mask in MASKS:
        folder = tmp_path / f"{mask:o}"
        folder.mkdir()
        with umask(mask), watched() as made:
            ptrarray.unpack(tmp_path / "a.tar", folder / "a.ptr")
            convert.from_npz(tmp_path / "a.npz", folder / "b.ptr", **QUIET)
        assert all(not one.mode & mask for one in made)
        for path in folder.rglob("*"):
            assert rights(path) == (0o777 if path.is_dir() else 0o666) & ~mask, path


# of a store that is there -------------------------------------------------------------------------


def add(path: Path) -> None:
    with ptrarray.append(path) as writer:
        for n in range(4):
            writer[f"more{n}"] = np.full(SIZE // 16, n)


def fold(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["folded"] = np.arange(3)
        ptrarray.checkpoint(path)


def hole(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["n0"]
    ptrarray.compact(path)


def merge(path: Path) -> None:
    """Fold a journal that does not fit into the memory that there is."""
    with ptrarray.append(path) as writer:
        for n in range(3):
            writer.write({f"{n}-{i}": np.arange(1) for i in range(3_000)})
    ptrarray.checkpoint(path, memory=1)


def replace(path: Path) -> None:
    size = SIZE if (path / "shards.msgpack").exists() else None
    ptrarray.create(path, dtype="i8", mode="w", shard_size=size).close()


def join(path: Path) -> None:
    for key in ("1", "2"):
        with ptrarray.part(path, key) as writer:
            writer[key] = np.arange(3)
    if (path / "shards.msgpack").exists():
        ptrarray.join(path, progress=False)


def pack_again(path: Path) -> None:
    packed = path / "packed.tar"
    packed.touch(0o600)
    ptrarray.pack(path, packed, overwrite=True)


def megatron(path: Path) -> None:
    with ptrarray.open(path) as store:
        names = list(store)
    with ptrarray.append(path) as writer:
        for name in names:
            del writer[name]
        writer["0"] = [1, 2]
    ptrarray.compact(path)
    convert.to_megatron(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "append": add,
    "checkpoint": fold,
    "merge": merge,
    "compact": hole,
    "publish": ptrarray.publish,
    "replace": replace,
    "dump": lambda path: ptrarray.dump([np.arange(3)], path, mode="w"),
    "pack": pack_again,
    "parts": join,
    "megatron": megatron,
}
KINDS: dict[str, Callable[[Path], None]] = {
    "plain": lambda path: fill(path, dtype="i8"),
    "masked": lambda path: fill(path, dtype="i8", masked=True),
    "shards": lambda path: fill(path, dtype="i8", shard_size=SIZE),
    "helpers": frames,
}
CASES = [
    *(("plain", name) for name in CHANGES),
    *(("masked", name) for name in ("compact", "replace", "merge")),
    *(("shards", name) for name in ("append", "compact", "publish", "replace", "parts")),
    *(("helpers", name) for name in ("compact", "publish", "merge")),
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_what_is_private_is_so_at_every_moment(path: Path, kind: str, name: str) -> None:
    """Of a store that only its user may read, nothing is made that others may open meanwhile."""
    with umask(0o077):
        KINDS[kind](path)
    with umask(0), watched() as made:
        CHANGES[name](path)
    assert made or name == "append"
    assert [one for one in made if one.mode & 0o077] == []
    for place in path.parent.rglob("*"):
        assert rights(place) == (0o700 if place.is_dir() else 0o600), place


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660])
def test_a_file_begins_with_no_more_than_it_gets(path: Path, mode: int) -> None:
    """Also where it gets less, as a group that cannot be kept."""
    fill(path, dtype="i8")
    for file in path.iterdir():
        file.chmod(mode)
    with umask(0), watched() as made:
        hole(path)
    assert len(made) >= 2
    assert [one for one in made if one.mode & ~mode] == []
    assert {rights(file) for file in path.iterdir()} == {mode}
