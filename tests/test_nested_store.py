"""`dump` and `load` as seen from the store: modes, readers, failures, memory, descriptors."""

from __future__ import annotations

import errno
import gc
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, StoreError, StoreExistsError, StoreNotFoundError
from ptrarray.nested.pages import Pages
from ptrarray.objects.encoder import encode
from ptrarray.objects.tokens import LARGE
from ptrarray.storage.store.index import write_index
from ptrarray.storage.store.snapshot import open_snapshot
from ptrarray.storage.system.files import File
from tests.support.checks import digests, open_descriptors, unchanged
from tests.support.faults import CALLS, SHORT, injected
from tests.support.memory import peak_nbytes
from tests.support.nested import MEBI, assert_same, encoded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "object.ptr"


# byte order ---------------------------------------------------------------------------------------

OTHER = ">" if sys.byteorder == "little" else "<"
SWAPPED = [
    np.arange(6, dtype=f"{OTHER}i4").reshape(2, 3),
    np.asfortranarray(np.eye(3, dtype=f"{OTHER}f8")),
    np.array(["2020", "NaT"], f"{OTHER}M8[s]"),
    np.array(["größe", ""], f"{OTHER}U5"),
    np.array([(1, 2.5)], [("a", f"{OTHER}i2"), ("b", "=f4")]),
    np.ma.MaskedArray([1, 2], [True, False], f"{OTHER}i8", fill_value=7),
    np.zeros(0, f"{OTHER}c16"),
    np.array(3, f"{OTHER}u2"),
]


@pytest.mark.parametrize("mode", ["r", "c"])
def test_arrays_in_the_byte_order_of_the_machine(path: Path, mode: Any) -> None:
    plain = np.arange(3)
    ptrarray.dump({"swapped": SWAPPED, "plain": plain, "again": SWAPPED[0]}, path)
    as_it_is = ptrarray.load(path, mode)
    loaded = ptrarray.load(path, mode, native=True)
    for original, array in zip(SWAPPED, loaded["swapped"], strict=True):
        assert array.dtype == original.dtype.newbyteorder("=")
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, original)
        np.testing.assert_array_equal(np.ma.getmaskarray(array), np.ma.getmaskarray(original))
        assert array.flags.writeable == (mode == "c")
        assert array.flags.f_contiguous == original.flags.f_contiguous
    assert loaded["swapped"][5].fill_value == 7
    assert loaded["again"] is loaded["swapped"][0]
    assert not as_it_is["swapped"][0].dtype.isnative
    assert not loaded["plain"].flags.owndata  # nothing is copied that need not be


def test_copies_in_another_byte_order_are_not_changed_in_the_store(path: Path) -> None:
    ptrarray.dump(SWAPPED, path)
    with unchanged(path), pytest.raises(BadInputError, match="changes of copies are not in"):
        ptrarray.load(path, "r+", native=True)


# modes, and who reads meanwhile -------------------------------------------------------------------


def test_x_refuses_and_w_replaces_only_stores(path: Path) -> None:
    ptrarray.dump([1], path)
    with unchanged(path), pytest.raises(StoreExistsError, match="mode='w' to replace it"):
        ptrarray.dump([2], path)
    ptrarray.dump([2], path, mode="w")
    assert ptrarray.load(path) == [2]
    for taken in (path.with_name("file"), path.with_name("folder")):
        taken.mkdir() if taken.name == "folder" else taken.write_text("mine")
        for mode in ("x", "w"):
            with pytest.raises(StoreExistsError, match="not a store"):
                ptrarray.dump([1], taken, mode=mode)
    assert path.with_name("file").read_text() == "mine"
    ptrarray.dump([3], path.with_name("new.ptr"), mode="w")
    assert ptrarray.load(path.with_name("new.ptr")) == [3]


def test_a_link_leads_to_where_the_store_is(path: Path, tmp_path: Path) -> None:
    """The new store is built beside the old one, which may be on another disk than the link."""
    real = tmp_path / "real" / "object.ptr"
    real.parent.mkdir()
    ptrarray.dump([1], real)
    path.symlink_to(real)
    ptrarray.dump([2], path, mode="w")
    assert path.is_symlink()
    assert ptrarray.load(real) == [2]
    for folder in (tmp_path, real.parent):
        assert not list(folder.glob(".*"))


def test_a_pack_can_be_loaded(path: Path, tmp_path: Path) -> None:
    obj = {"a": np.arange(5), "m": np.ma.masked_array([1, 2], [False, True])}
    ptrarray.dump(obj, path)
    ptrarray.pack(path, tmp_path / "object.tar")
    assert_same(obj, ptrarray.load(tmp_path / "object.tar"))


def test_an_array_that_no_store_keeps_is_told_by_its_place(path: Path) -> None:
    many = np.dtype([(f"field {i}", "f4") for i in range(5000)])
    with pytest.raises(BadInputError, match=rf"array '/a/0': dtype.*\(for {path}\)") as caught:
        ptrarray.dump({"a": [np.zeros(1, many)]}, path)
    assert caught.value.path == str(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", ["a", "r", "", None])
def test_other_modes_are_refused(path: Path, mode: Any) -> None:
    with pytest.raises(BadInputError, match="mode"):
        ptrarray.dump([1], path, mode=mode)
    ptrarray.dump([1], path)
    with pytest.raises(BadInputError, match="mode"):
        ptrarray.load(path, "w")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [5, None, ["a.ptr"]])
def test_what_is_neither_path_nor_handle(target: Any) -> None:
    with pytest.raises(BadInputError, match="a path or a binary handle to write to, not"):
        ptrarray.dump([1], target)
    with pytest.raises(BadInputError, match="a path or a binary handle to read from, not"):
        ptrarray.load(target)


def test_dump_over_live_memmap(path: Path) -> None:
    """What was loaded stays whole while it is dumped in the place that it was loaded from."""
    expected = [np.arange(10**5), np.ma.masked_array([1, 2], [False, True])]
    ptrarray.dump(expected, path)
    loaded = ptrarray.load(path)
    for _ in range(2):
        ptrarray.dump(loaded, path, mode="w")
        assert_same(expected, loaded)
        assert_same(expected, ptrarray.load(path))
    ptrarray.dump([np.zeros(3)], path, mode="w")  # without masks
    assert_same(expected, loaded)
    assert sorted(file.suffix for file in path.iterdir()) == [".bin", ".msgpack", ".msgpack"]


def test_open_readers_and_writers_of_a_replaced_store(path: Path) -> None:
    ptrarray.dump({"a": np.arange(3)}, path)
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        ptrarray.dump({"b": np.arange(4)}, path, mode="w")
        assert store["/a"].tolist() == [0, 1, 2]
        store.refresh()
        assert set(store) == {"/b", "skeleton"}
        assert set(writer) == {"/b", "skeleton"}


def test_a_writer_is_told_though_the_dump_was_killed_at_its_last_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new index is in place, but the journal is still that of the old store."""

    def write_and_die(directory: Path, *arguments: Any) -> None:
        write_index(directory, *arguments)
        if directory == path:
            raise KeyboardInterrupt

    ptrarray.dump({"old": np.arange(3)}, path)
    with ptrarray.append(path) as writer:
        monkeypatch.setattr("ptrarray.storage.writing.session.write_index", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            ptrarray.dump({"new": np.arange(4)}, path, mode="w")
        monkeypatch.undo()
        with pytest.raises(StoreError, match="replaced by another"):
            writer["mine"] = np.arange(5)
    assert_same({"new": np.arange(4)}, ptrarray.load(path))
    ptrarray.dump([1], path, mode="w")
    assert ptrarray.load(path) == [1]


def test_modes_of_load(path: Path) -> None:
    obj = {"a": np.arange(3), "m": np.ma.masked_array([1, 2], [False, True])}
    ptrarray.dump(obj, path)
    loaded = ptrarray.load(path)
    assert type(loaded["a"]) is np.ndarray
    assert isinstance(memmap_below(loaded["a"]), np.memmap)
    for read_only in (loaded["a"], loaded["m"]):
        with pytest.raises(ValueError, match="read-only"):
            read_only[0] = 1
    before = digests(path)
    private = ptrarray.load(path, "c")
    private["a"][0] = private["m"][0] = 7
    assert digests(path) == before
    shared = ptrarray.load(path, "r+")
    shared["a"][0] = 7
    shared["m"].data[0] = 8
    assert loaded["a"].tolist() == [7, 1, 2]
    assert ptrarray.load(path)["m"].tolist() == [8, None]
    with ptrarray.open(path, "r+") as store:
        store.rows  # noqa: B018 hands all rows out, so that closing renews all checksums
    ptrarray.verify(path)


@pytest.mark.parametrize("others", [[], [np.ma.masked_array([1], [True])]], ids=["alone", "beside"])
def test_what_is_masked_in_an_array_without_a_mask_is_in_the_store(path: Path, others: Any) -> None:
    """numpy made a mask in memory, of which the store knew nothing."""
    ptrarray.dump([np.ma.masked_array(np.arange(4)), *others], path)
    for mode in ("r", "c", "r+"):
        assert not np.ma.getmaskarray(ptrarray.load(path, mode)[0]).any()
    shared = ptrarray.load(path, "r+")
    shared[0][1] = np.ma.masked
    assert ptrarray.load(path)[0].tolist() == [0, None, 2, 3]
    shared[0][1] = 7
    assert ptrarray.load(path)[0].mask is np.ma.nomask
    assert ptrarray.load(path)[0].tolist() == [0, 7, 2, 3]


def memmap_below(array: Any) -> Any:
    while not isinstance(array, np.memmap) and array is not None:
        array = array.base
    return array


def test_is_on_the_disk_when_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    original = File.sync

    def sync(self: Any) -> None:
        synced.append(Path(self.path).name)
        original(self)

    monkeypatch.setattr(File, "sync", sync)
    ptrarray.dump([np.arange(10)], path)
    assert {"data.bin", "journal.msgpack"} <= set(synced)
    assert not open_snapshot(path).overlay.entries  # checkpointed


# errors leave nothing -----------------------------------------------------------------------------

READING = {"open", "pread", "stat", "fstat"}
OLD = {"old": np.arange(5)}
NEW = {"a": np.arange(10), "t": "x" * (LARGE + 1), "m": np.ma.masked_array([1], [True])}


@pytest.mark.parametrize(
    ("code", "is_lasting"),
    [(errno.EIO, False), (errno.ENOSPC, True), (SHORT, False)],
    ids=["once", "for ever", "short"],
)
@pytest.mark.parametrize("mode", ["x", "w"])
def test_failing_call(memory: Path, mode: str, code: int, is_lasting: bool) -> None:
    """The n-th system call fails: what is there is the old object, the new one, or nothing."""
    old = memory / "old.ptr"
    ptrarray.dump(OLD, old)
    with injected() as faults:
        for n in range(1, 1000):
            path = memory / str(n) / "object.ptr"
            path.parent.mkdir()
            if mode == "w":
                shutil.copytree(old, path)
            faults.arm(n, code, is_lasting=is_lasting, only=CALLS.keys() - READING)
            error = failure(lambda: ptrarray.dump(NEW, path, mode=mode))  # noqa: B023
            faults.disarm()
            if error is None:
                assert_same(NEW, ptrarray.load(path))
            else:
                assert str(path.parent) in str(error.filename)
                check_old_or_new(path, mode)
            if not faults.n_failed:
                break
    assert n > 10


def failure(call: Callable[[], object]) -> OSError | None:
    try:
        call()
    except OSError as error:
        return error
    return None


def check_old_or_new(path: Path, mode: str) -> None:
    """Look that an object is there whole, and nothing beside it."""
    if path.exists():
        found = ptrarray.load(path)
        assert_same(OLD if "old" in found else NEW, found)
        ptrarray.dump(NEW, path, mode="w")  # the next one finds nothing in its way
        assert_same(NEW, ptrarray.load(path))
        assert len(list(path.iterdir())) == 4
    assert [file.name for file in path.parent.iterdir()] == [path.name] * path.exists()
    assert path.exists() or mode == "x"


def test_no_such_folder(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ptrarray.dump([1], path / "deeper" / "object.ptr")
    with pytest.raises(StoreNotFoundError):
        ptrarray.load(path)


# memory and descriptors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros(64 * MEBI, "u1"),
        lambda: np.zeros((64, MEBI), "u1").T,
        lambda: np.zeros((2, 64 * MEBI), "u1")[:, ::2],
        lambda: np.ma.masked_array(np.zeros(64 * MEBI, "u1"), np.ones(64 * MEBI, "?")),
        lambda: "ü" * 32 * MEBI,
        lambda: b"x" * 64 * MEBI,
        lambda: [np.zeros((2, MEBI), "u1")[:, ::2] for _ in range(64)],
        lambda: ["x" * 60_000 + str(i) for i in range(1000)],
        lambda: ["x" * 60_000 + str(i) for i in range(100)] * 10,
    ],
    ids=["plain", "fortran", "strided", "masked", "str", "bytes", "many", "strings", "again"],
)  # fmt: skip
def test_memory_beside_the_object(path: Path, make: Callable[[], Any]) -> None:
    obj = {"a": [make()]}
    assert peak_nbytes(lambda: ptrarray.dump(obj, path)) < 40 * MEBI
    if isinstance(obj["a"][0], np.ndarray):
        assert peak_nbytes(lambda: ptrarray.load(path)) < 2 * MEBI


RSS_SCRIPT = """
import resource, sys
import numpy as np, ptrarray
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
rng = np.random.default_rng(0)
obj = {"layers": [{"weights": rng.random(2**21), "bias": rng.random(100)} for _ in range(6)],
       "vocabulary": {str(i): i for i in range(10_000)}}
ptrarray.dump([1], sys.argv[1] + ".first")
before = peak()
ptrarray.dump(obj, sys.argv[1])
print(peak() - before)
del obj
obj = ptrarray.load(sys.argv[1])
print(peak() - before)
"""


def test_memory_of_the_process(path: Path) -> None:
    """An object of 96 MiB takes a few more to be dumped."""
    command = [sys.executable, "-c", RSS_SCRIPT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    dumped, loaded = map(int, done.stdout.split())
    assert dumped < 24 * MEBI
    assert loaded < 24 * MEBI


def test_a_skeleton_too_large_to_be_kept_is_made_again(path: Path) -> None:
    obj: list[Any] = [str(n) for n in range(5000)]
    pages = Pages(lambda put: encode(obj, put), limit_nbytes=100)
    put: list[bytes] = []
    pages.put_to(put.append)
    assert b"".join(put) == b"".join(encoded(obj)[0])
    for other in ("longer than before", "other"[: len("4999")]):
        obj[-1] = other
        with pytest.raises(BadInputError, match="obj changed while it was being dumped"):
            pages.put_to(put.append)


GRID = np.arange(120).reshape(4, 6, 5)
PADDED = np.dtype([("a", "u1"), ("b", ">f8")], align=True)


@pytest.mark.parametrize(
    "array",
    [
        GRID[:, ::2],
        GRID[::-1, :, ::-2],
        GRID[:, ::2].transpose(2, 0, 1),
        GRID[::2].astype(">i2")[..., ::2].T,
        np.broadcast_to(GRID[0], (3, 6, 5)),
        GRID[:0, ::2],
        np.array([(n, n / 2) for n in range(40)], PADDED)[::-2],
    ],
    ids=["steps", "turned", "axes", "order", "again", "empty", "fields"],
)
def test_arrays_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch, array: Any) -> None:
    monkeypatch.setattr("ptrarray.nested.contents._PIECE_NBYTES", 100)
    ptrarray.dump([array, array.T], path)
    for found, given in zip(ptrarray.load(path), (array, array.T), strict=True):
        assert found.dtype == given.dtype
        np.testing.assert_array_equal(found, given, strict=True)


def test_text_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrarray.nested.contents._PIECE_NBYTES", 4000)
    text = ("aü\ud800€😀\n" * 15_000)[:74_001]
    ptrarray.dump([text], path)
    assert ptrarray.load(path) == [text]


def test_padding_of_pieces_is_zero(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrarray.nested.contents._PIECE_NBYTES", 100)
    strided = np.frombuffer(b"\xff" * 1600, PADDED)[::2]
    ptrarray.dump(strided, path)
    with ptrarray.open(path) as store:
        (name,) = store.keys() - {"skeleton"}
        assert not store[name].view("u1").reshape(-1, 16)[:, 1:8].any()


def test_many_arrays_take_one_descriptor(path: Path) -> None:
    """Any number of arrays that are loaded take no more descriptors than a few."""
    values = np.arange(70_000)
    obj = {str(i): values[i : i + 2] for i in range(len(values))}
    ptrarray.dump(obj, path)
    loaded = ptrarray.load(path)
    gc.collect()
    assert len(open_descriptors(path)) <= 1
    assert list(loaded) == list(obj)
    assert all(map(np.array_equal, loaded.values(), obj.values()))
    del loaded
    gc.collect()
    assert open_descriptors(path) == []


def test_joblib_ships_arrays_by_reference(path: Path, joblib: Any) -> None:
    ptrarray.dump({"a": np.arange(300_000)}, path)
    loaded = ptrarray.load(path)
    files = joblib.Parallel(2)(joblib.delayed(file_below)(loaded["a"]) for _ in range(2))
    assert set(files) == {str(path / "data.bin")}


def file_below(array: Any) -> str:
    return str(memmap_below(array).filename)


def test_threads_may_load_and_dump_at_once(path: Path) -> None:
    obj = {"a": [np.arange(1000), {"b": (1, 2)}]}
    ptrarray.dump(obj, path)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                assert_same(obj, ptrarray.load(path))
                ptrarray.dump(obj, path.with_name(f"{number}.ptr"), mode="w")
        except BaseException as error:  # noqa: BLE001 shown below
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_compacting_and_repairing_keep_the_object(path: Path) -> None:
    obj = {"a": np.arange(10), "b": [np.ones((2, 2), order="F"), "text"]}
    ptrarray.dump(obj, path)
    with ptrarray.append(path) as writer:  # one's own arrays beside those of the object
        writer["mine"] = np.zeros(1000)
        del writer["mine"]
        writer["skeleton of mine"] = [1]
    ptrarray.compact(path)
    assert_same(obj, ptrarray.load(path))
    copy = path.with_name("copy.ptr")
    ptrarray.repair(path, copy)
    assert_same(obj, ptrarray.load(copy))
