"""Symbolic links where files are opened or made: what they lead to is not changed unasked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.errors import StoreError, StoreExistsError
from tests.support.checks import unchanged

pytestmark = pytest.mark.usefixtures("no_syncs")

SIZE = 20_000
QUIET: dict[str, Any] = {"progress": False}
KINDS = ("file", "folder", "nothing", "itself")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder with what is to stay as it is."""
    folder = tmp_path / "outside"
    (folder / "folder").mkdir(parents=True)
    (folder / "folder" / "file").write_bytes(b"precious" * 1000)
    (folder / "file").write_bytes(b"precious" * 1000)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def fill(path: Path, **settings: Any) -> Path:
    with ptrarray.create(path, **settings) as writer:
        for n in range(4):
            writer[f"n{n}"] = np.full(SIZE // 16, n)
    return path


def link(path: Path, outside: Path, kind: str) -> None:
    """Put a link at a path, in the place of what is there."""
    targets = {"file": outside / "file", "folder": outside / "folder", "itself": path}
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(targets.get(kind, outside / "nothing"))


# inside of a store --------------------------------------------------------------------------------


def append(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["more"] = np.arange(SIZE // 8)
        writer["even more"] = np.arange(SIZE // 8)
        writer.flush()


def compact(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["n0"]
    ptrarray.compact(path)


def replace(path: Path) -> None:
    size = SIZE if (path / "shards.msgpack").exists() else None
    ptrarray.create(path, dtype="i8", mode="w", shard_size=size).close()


def change(path: Path) -> None:
    with ptrarray.open(path, "r+") as store:
        store["n2"][:] += 1


CHANGES: list[Callable[[Path], object]] = [
    append,
    compact,
    replace,
    lambda path: ptrarray.dump([np.arange(3)], path, mode="w"),
    change,
]
# Of the files that there are, and of those that there may be for a moment.
NAMES = ["data.bin", "index.msgpack", "journal.msgpack", "mask.bin"]
NAMES += [
    "data.2.bin",
    "mask.2.bin",
    "data.3.bin",
    "index.msgpack.new",
    "scratch.new",
    "helpers.ptr",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_a_store_is_never_written_through(
    tmp_path: Path, outside: Path, name: str
) -> None:
    cases = [(call, kind) for call in CHANGES for kind in ("file", "nothing")]
    for number, (call, kind) in enumerate(cases):
        path = fill(tmp_path / f"{number}.ptr", dtype="i8", masked=True)
        link(path / name, outside, kind)
        with unchanged(outside), suppress(StoreError, OSError):
            call(path)


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_file_that_was_moved_and_linked_is_read_and_never_written(
    tmp_path: Path, outside: Path, name: str
) -> None:
    for number, call in enumerate(CHANGES):
        path = fill(tmp_path / f"{number}.ptr", dtype="i8", masked=True)
        (path / name).replace(outside / "file")
        link(path / name, outside, "file")
        with unchanged(outside), suppress(StoreError, OSError):
            assert ptrarray.open(path)["n3"][0] == 3
            call(path)


SHARD_NAMES = ["shards.msgpack", "shards.msgpack.new", "catalog.msgpack", "shard-00004.ptr"]
SHARD_NAMES += ["shard-00000.ptr", "shard-00003.ptr", "shard-00000.ptr/data.bin"]


@pytest.mark.parametrize("name", SHARD_NAMES)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_among_shards_is_never_written_through(
    tmp_path: Path, outside: Path, name: str, kind: str
) -> None:
    for number, call in enumerate((append, compact, replace, change)):
        path = fill(tmp_path / f"{number}.ptr", dtype="i8", shard_size=SIZE)
        link(path / name, outside, kind)
        with unchanged(outside), suppress(StoreError, OSError):
            call(path)


def delete(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["n0"]


@pytest.mark.parametrize("call", [delete, ptrarray.checkpoint, ptrarray.compact, change])
def test_a_shard_that_leads_to_another_store_is_read(
    tmp_path: Path, call: Callable[[Path], object]
) -> None:
    path = fill(tmp_path / "a.ptr", dtype="i8", shard_size=SIZE)
    other = tmp_path / "outside" / "other.ptr"
    other.parent.mkdir()
    (path / "shard-00000.ptr").replace(other)
    (path / "shard-00000.ptr").symlink_to(other)
    with unchanged(other):
        with ptrarray.open(path) as store:
            assert store["n0"][0] == 0
        append(path)  # which changes other shards only
        with pytest.raises(OSError, match=r"symbolic link.*put the directory in its place"):
            call(path)
        with ptrarray.open(path) as store:
            assert store["n0"][0] == 0
            assert len(store["more"]) == SIZE // 8
    ptrarray.append(other).close()  # by its own path


def test_helper_arrays_of_another_store(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    for name in ("a.ptr", "b.ptr"):
        with ptrarray.create(tmp_path / name) as writer:
            writer["frame"] = pd.Series([1.5, 2.5], index=["x", name])
    other = tmp_path / "b.ptr" / "helpers.ptr"
    shutil.rmtree(tmp_path / "a.ptr" / "helpers.ptr")
    (tmp_path / "a.ptr" / "helpers.ptr").symlink_to(other)

    def write(path: Path) -> None:
        with ptrarray.append(path) as writer:
            writer["another"] = pd.Series([1.5, 2.5], index=["x", "z"])

    for call in (write, ptrarray.checkpoint, ptrarray.compact, ptrarray.publish):
        with unchanged(other), pytest.raises(OSError, match="symbolic link"):
            call(tmp_path / "a.ptr")


def test_a_link_to_a_sealed_index_is_joined_as_a_file(tmp_path: Path) -> None:
    with ptrarray.part(tmp_path / "all.ptr", "1", dtype="i8") as writer:
        writer["x"] = [1, 2]
    index = tmp_path / "all.ptr.parts" / "1.ptr" / "index.msgpack"
    index.replace(index.with_name("moved"))
    index.symlink_to("moved")
    ptrarray.join(tmp_path / "all.ptr", how="link", progress=False)
    joined = tmp_path / "all.ptr" / "shard-00000.ptr" / "index.msgpack"
    assert not joined.is_symlink()
    assert ptrarray.open(tmp_path / "all.ptr")["x"].tolist() == [1, 2]


# where something is to be made --------------------------------------------------------------------


def exporting(name: str, library: str = "numpy") -> Callable[[Path, Path], object]:
    def export(store: Path, out: Path) -> None:
        pytest.importorskip(library)
        getattr(convert, name)(store, out, progress=False)

    return export


def unpack(store: Path, out: Path) -> None:
    ptrarray.pack(store, out.with_name("packed.tar"))
    ptrarray.unpack(out.with_name("packed.tar"), out)


def download(store: Path, out: Path) -> None:
    pytest.importorskip("obstore")
    ptrarray.download(store.as_uri(), out)


MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "create": lambda store, out: fill(out, dtype="i8"),
    "create shards": lambda store, out: fill(out, dtype="i8", shard_size=SIZE),
    "replace": lambda store, out: fill(out, dtype="i8", mode="w"),
    "dump": lambda store, out: ptrarray.dump([1], out),
    "dump to a file": lambda store, out: ptrarray.dump([1], out, compress="gz"),
    "repair": lambda store, out: ptrarray.repair(store, out),
    "pack": lambda store, out: ptrarray.pack(store, out),
    "unpack": unpack,
    "join": lambda store, out: ptrarray.join(out, [store], **QUIET),
    "join copies": lambda store, out: ptrarray.join(out, [store], "copy", **QUIET),
    "download": download,
    "import": lambda store, out: (
        convert.to_npz(store, out.with_name("arrays.npz"), **QUIET),
        convert.from_npz(out.with_name("arrays.npz"), out, **QUIET),
    ),
    "npy": exporting("to_npy"),
    "npz": exporting("to_npz"),
    "pickles": exporting("to_pickles"),
    "kaldi": exporting("to_kaldi"),
    "webdataset": exporting("to_webdataset"),
    "h5": exporting("to_h5", "h5py"),
    "safetensors": exporting("to_safetensors", "safetensors"),
    "parquet": exporting("to_parquet", "pyarrow"),
    "arrow": exporting("to_arrow", "pyarrow"),
    "netcdf": exporting("to_netcdf", "h5netcdf"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_made_where_a_link_leads(place: Path, outside: Path, name: str) -> None:
    store = fill(place / "store.ptr", dtype="i8")
    for kind in KINDS:
        out = place / kind
        link(out, outside, kind)
        before = out.readlink()
        kinds = (StoreError, FileExistsError)
        with unchanged(outside), pytest.raises(kinds, match=f"{kind}|symbolic"):
            MAKERS[name](store, out)
        assert out.readlink() == before
        for other in ("packed.tar", "arrays.npz"):
            (place / other).unlink(missing_ok=True)
        there = {path.name for path in place.iterdir()}
        assert there <= {"store.ptr", *KINDS}  # nothing is left over


def test_a_link_to_a_whole_store_is_the_store(place: Path, outside: Path) -> None:
    real = fill(outside / "real.ptr", dtype="i8")
    path = place / "a.ptr"
    path.symlink_to(real)
    for call in CHANGES:
        shutil.rmtree(real)
        fill(real, dtype="i8")
        call(path)
        assert path.is_symlink()
        ptrarray.verify(real)
    assert [entry.name for entry in place.iterdir()] == ["a.ptr"]


@pytest.mark.parametrize("name", ["pack", "dump"])
def test_a_link_to_a_file_that_is_to_be_replaced_stays(
    place: Path, outside: Path, name: str
) -> None:
    store, out = fill(place / "store.ptr", dtype="i8"), place / "out.tar"
    link(out, outside, "file")
    if name == "pack":
        ptrarray.pack(store, out, overwrite=True)
        assert len(ptrarray.open(out)) == 4
    else:
        ptrarray.dump([1], out, mode="w")
        assert ptrarray.load(out) == [1]
    assert out.readlink() == outside / "file"
    assert sorted(path.name for path in outside.iterdir()) == ["file", "folder"]


def test_parts_of_a_link_lie_beside_it(place: Path, outside: Path) -> None:
    real = fill(outside / "real.ptr", dtype="i8", shard_size=SIZE)
    path = place / "a.ptr"
    path.symlink_to(real)
    with ptrarray.part(path, "1") as writer:
        writer["part"] = np.arange(3)
    assert (place / "a.ptr.parts" / "1.ptr").is_dir()
    link(place / "a.ptr.parts" / "2.ptr", outside, "nothing")
    with pytest.raises(StoreExistsError, match="leads nowhere"):
        ptrarray.part(path, "2")


# who imports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_link_that_lmdb_would_take_for_its_lock(
    place: Path, outside: Path, is_folder: bool
) -> None:
    lmdb = pytest.importorskip("lmdb")
    made = place / "made.lmdb"
    with (
        lmdb.open(str(made), subdir=is_folder) as environment,
        environment.begin(write=True) as put,
    ):
        put.put(b"utt", bytes(8))
    lock = made / "lock.mdb" if is_folder else place / "made.lmdb-lock"
    for kind in ("file", "nothing", "hard"):
        if kind == "hard":
            lock.unlink()
            lock.hardlink_to(outside / "file")
        else:
            link(lock, outside, kind)
        with unchanged(outside):
            report = convert.from_lmdb(made, place / f"{kind}.ptr", values="i8", **QUIET)
        (failure,) = report.failures
        assert f"its {lock.name} is a link, and LMDB would write" in failure.problem
    lock.unlink()
    assert convert.from_lmdb(made, place / "s.ptr", values="i8", **QUIET).ok


def test_what_is_imported_by_a_link_is_only_read(place: Path, outside: Path) -> None:
    np.save(outside / "a.npy", np.arange(3))
    (place / "a.npy").symlink_to(outside / "a.npy")
    options: dict[str, Any] = {"processes": 1, **QUIET}
    with unchanged(outside):
        assert convert.from_npy(place / "a.npy", place / "s.ptr", **options).converted == 1
