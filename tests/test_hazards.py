"""What went wrong in the libraries this one grew from, one test each, named as it was found.

The first part is about bigarray, the second about mmappickle, the third about
joblib's persistence, the last is the README example of bigarray, line by line.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import multiprocessing
import os
import pickle
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    DuplicateNameError,
    OverlapError,
    StoreExistsError,
    StoreNotFoundError,
)
from tests.support import core_workers
from tests.support.checks import check_store, digests, open_descriptors, unchanged
from tests.support.core_workers import content

Array = NDArray[Any]

TIMEOUT_SECONDS = 60
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hazard.ptr"


def create(path: Path, **arguments: Any) -> ptrarray.PointerArrayWriter:
    return ptrarray.create(path, **{"dtype": "i8", **arguments})


def check(path: Path, expected: dict[str, Any]) -> None:
    with ptrarray.open(path) as store:
        check_store(store, {name: np.asarray(a, store.dtype) for name, a in expected.items()})


# bigarray: names that were lost -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_fork_pool_pickled_writer_loses_names_and_spawn_pool_hangs(path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    with create(path) as writer, context.Pool(2) as pool:
        jobs = [(writer, n) for n in range(25)]
        pool.map_async(core_workers.append_with, jobs).get(TIMEOUT_SECONDS)
    check(path, {f"n{n}": content(0, n) for n in range(25)})


def test_spawn_process_index_lost(path: Path) -> None:
    create(path).close()
    process = multiprocessing.get_context("spawn").Process(
        target=core_workers.append_and_leave, args=(path, "return")
    )
    process.start()
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode == 0
    check(path, {"acknowledged": [1, 2, 3]})


def test_writer_in_pool_worker(path: Path) -> None:
    """A pool's workers are daemons, and may not have children of their own."""
    create(path, rows=20).close()
    with FORK.Pool(2) as pool:
        tasks = [(path, 0, 10), (path, 10, 10)]
        pool.map_async(core_workers.write_planned, tasks).get(TIMEOUT_SECONDS)
    check(path, {"from 0": range(10), "from 10": range(10, 20)})


def test_flush_then_workers_lose_names(path: Path) -> None:
    with create(path) as writer:
        writer["a"] = [1]
        writer.flush()
        with FORK.Pool(1) as pool:
            pool.map_async(core_workers.append_with, [(writer, 0)]).get(TIMEOUT_SECONDS)
        writer.flush()
    check(path, {"a": [1], "n0": content(0, 0)})


@pytest.mark.parametrize("how", ["return", "exception", "_exit", "sigkill"])
def test_index_lost_no_flush(path: Path, how: str) -> None:
    create(path).close()
    process = FORK.Process(target=core_workers.append_and_leave, args=(path, how))
    process.start()
    process.join(TIMEOUT_SECONDS)
    check(path, {"acknowledged": [1, 2, 3]})


def test_index_overwritten_on_growth_crash(path: Path) -> None:
    old = {str(n): np.arange(n) for n in range(50)}
    with create(path) as writer:
        writer.write(old)
    process = FORK.Process(target=core_workers.append_and_leave, args=(path, "sigkill"))
    process.start()
    process.join(TIMEOUT_SECONDS)
    check(path, {**old, "acknowledged": [1, 2, 3]})
    ptrarray.append(path).close()


def test_concurrent_append_race(path: Path) -> None:
    with create(path) as writer:
        writer["first"] = np.arange(10)
    barrier, processes = FORK.Barrier(2), []
    listening, told = FORK.Pipe(duplex=False)
    for who in range(2):
        arguments = (path, who, 50, barrier, told)
        processes.append(FORK.Process(target=core_workers.append_many, args=arguments))
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_SECONDS)
    assert listening.poll()
    expected = {f"{who}/{n}": content(who, n) for who in range(2) for n in range(50)}
    check(path, {"first": np.arange(10), **expected})


# bigarray: wrong data -----------------------------------------------------------------------------


def test_header_shrinks(path: Path) -> None:
    with create(path) as first, ptrarray.append(path) as second:
        first.write({"late": np.arange(500)}, start=500)
        second.write({"early": np.arange(20)}, start=10)
    check(path, {"late": range(500), "early": range(20)})
    with ptrarray.open(path) as store:
        assert store.shape == (1000,)


def test_append_after_positioned(path: Path) -> None:
    with create(path) as writer:
        assert writer.write({"a": range(5)}, start=0) == (0, 5)
        assert writer.write({"b": range(100, 105)}) == (5, 10)
    check(path, {"a": range(5), "b": range(100, 105)})


def test_prealloc_reopen_append(path: Path) -> None:
    with create(path, rows=1000) as writer:
        writer["a"] = range(5)
    with ptrarray.append(path) as writer:
        assert writer.write({"b": range(5)}) == (5, 10)


def test_negative_start(path: Path) -> None:
    with create(path, rows=10) as writer, pytest.raises(ValueError, match="-3"):
        writer.write({"a": range(3)}, start=-3)
    with ptrarray.open(path) as store:
        check_store(store, {})
        assert store.shape == (10,)


def test_trailing_shape_dropped(path: Path) -> None:
    good, bad = np.zeros((1, 2)), np.zeros((1, 3))
    with create(path, row_shape=2, dtype="f8") as writer:
        with unchanged(path), pytest.raises(BadInputError, match=r"'bad' has shape \(1, 3\)"):
            writer.write({"good": good, "bad": bad, "worse": bad})
        writer["good"] = good
    check(path, {"good": good})


@pytest.mark.parametrize("value", [3.7, 2**40 + 5, 1 + 2j])
def test_silent_cast(path: Path, value: Any) -> None:
    with create(path, dtype="i4") as writer:
        with unchanged(path), pytest.raises(BadInputError, match=r"'a' .*int32"):
            writer["a"] = np.array([value])
        writer["a"] = [3]
    check(path, {"a": [3]})


def test_overlap_undetected(path: Path) -> None:
    with create(path) as writer:
        writer.write({"a": range(10)}, start=0)
        with unchanged(path), pytest.raises(OverlapError):
            writer.write({"b": range(10)}, start=5)
    check(path, {"a": range(10)})


def test_duplicate_names(path: Path) -> None:
    with create(path) as writer:
        writer.write({"a": [1]})
        with unchanged(path), pytest.raises(DuplicateNameError, match="'a'"):
            writer.write({"a": [2]})


@pytest.mark.parametrize("mask", [False, [False, True]])
def test_masked_stripped_and_masked_loses_fill_value(path: Path, mask: Any) -> None:
    with create(path) as writer, unchanged(path), pytest.raises(BadInputError, match="masked"):
        writer["a"] = np.ma.array([1, 2], mask=mask, fill_value=-99)


def test_big_endian_corrupted_on_resize(path: Path) -> None:
    with create(path, dtype=">f8") as writer:
        writer["a"] = np.array([1.0, 2.0, 3.0], ">f8")
    with ptrarray.append(path) as writer:
        writer["b"] = np.array([4.0], "<f8")
    with ptrarray.open(path) as store:
        assert store.dtype == np.dtype(">f8")
        assert store.rows.tolist() == [1, 2, 3, 4]
        assert store.rows.tobytes() == np.array([1.0, 2.0, 3.0, 4.0], ">f8").tobytes()


@pytest.mark.parametrize("layout", [{"dtype": "f8"}, {"row_shape": 4}])
def test_reopen_ignores_dtype_shape(path: Path, layout: dict[str, Any]) -> None:
    create(path, row_shape=3, dtype="f4").close()
    wanted = {"row_shape": 3, "dtype": "f4", **layout}
    with unchanged(path), pytest.raises(BadInputError, match="float32"):
        ptrarray.create(path, mode="a", **wanted)


def test_nonstr_key_accepted(path: Path) -> None:
    with create(path) as writer, unchanged(path):
        number: Any = 5
        with pytest.raises(BadInputError, match="must be a str, not int: 5"):
            writer.write({number: [1]})


def test_cwd_relative(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    writer = create(Path(path.name))
    raw = pickle.dumps(writer)
    writer["a"] = [1]
    writer.close()
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pickle.loads(raw) as copy:
        copy["b"] = [2]
    check(path, {"a": [1], "b": [2]})
    path.rename(path.with_name("gone"))
    with pytest.raises(StoreNotFoundError):
        pickle.loads(raw)
    assert list(elsewhere.iterdir()) == []
    assert not path.exists()


# bigarray: crashes and security -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [object, [("a", "i4"), ("b", "O")]])
def test_object_dtype_crash(path: Path, dtype: Any) -> None:
    with pytest.raises(BadInputError, match="Python objects"):
        create(path, dtype=dtype)
    assert list(path.parent.iterdir()) == []


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("file_name", ["index.msgpack", "journal.msgpack"])
@pytest.mark.parametrize("use", [ptrarray.open, ptrarray.append, ptrarray.verify])
def test_rce(path: Path, file_name: str, use: Callable[[Path], object]) -> None:
    create(path).close()
    exploded = path.with_name("exploded")
    (path / file_name).write_bytes(pickle.dumps(Bomb(exploded)))
    with unchanged(path), pytest.raises(CorruptStoreError):
        use(path)
    assert not exploded.exists()


def test_wplus_destroys(path: Path) -> None:
    with create(path) as writer:
        writer["a"] = [1]
    mode: Any = "w+"
    with unchanged(path), pytest.raises(BadInputError, match=r"'w\+'"):
        ptrarray.open(path, mode=mode)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_reader_default_mode_grows_file(path: Path, mode: Any, is_checkpointed: bool) -> None:
    """Nor does any mode: joblib grew a truncated file in r+, too."""
    with create(path) as writer:
        writer["a"] = range(1000)
        if is_checkpointed:
            ptrarray.checkpoint(path)
    os.truncate(path / "data.bin", 4000)
    with unchanged(path), pytest.raises(CorruptStoreError, match=r"4000 bytes.*8000"):
        ptrarray.open(path, mode=mode)


def test_reads_are_writable(path: Path) -> None:
    with create(path) as writer:
        writer["a"] = [1]
    with ptrarray.open(path) as store:
        with unchanged(path), pytest.raises(ValueError, match="read-only"):
            store["a"][:] = 0
        assert store["a"].tolist() == [1]


def test_wplus_sigbus_other_reader(path: Path) -> None:
    with create(path) as writer:
        writer["a"] = np.arange(10**5)
    store = ptrarray.open(path)
    view = store["a"]
    create(path, mode="w").close()
    assert int(view.sum()) == sum(range(10**5))
    assert int(store["a"].sum()) == sum(range(10**5))
    store.close()


@pytest.mark.parametrize("dtype", ["<U5", "S5", "V7", [("a", "i4"), ("b", ">f8")]])
def test_dtypes(path: Path, dtype: Any) -> None:
    expected = np.zeros(3, dtype)
    with create(path, dtype=dtype) as writer:
        writer["a"] = expected
    with ptrarray.append(path) as writer:
        writer["b"] = expected
    check(path, {"a": expected, "b": expected})


# bigarray: limits and costs -----------------------------------------------------------------------


def test_reader_during_append(path: Path) -> None:
    writer = create(path)
    with ptrarray.open(path) as store:
        assert len(store) == 0
        for n in range(5):
            writer[str(n)] = [n]
            store.refresh()
            assert store[str(n)].tolist() == [n]
    writer.close()


def test_index_blobs_accumulate(path: Path) -> None:
    with create(path) as writer:
        writer.write({str(n): [n] for n in range(1000)})
    before = digests(path)
    for _ in range(20):
        ptrarray.append(path).close()
    assert digests(path) == before


def test_manager_costs(path: Path) -> None:
    """No process and no thread of its own, for any number of writers."""
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir())) if tasks.exists() else 0
    with create(path) as writer:
        writer.write({str(n): [n] for n in range(1000)})
        copies = [pickle.loads(pickle.dumps(writer)) for _ in range(5)]
        assert multiprocessing.active_children() == []
        assert (len(list(tasks.iterdir())) if tasks.exists() else 0) == before
        for copy in copies:
            copy.close()


class Calls:
    """Counts system calls that read or write files, and their bytes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.n_calls = self.n_bytes = 0
        for name in ("open", "pread", "pwrite", "pwritev", "stat", "fstat"):
            patch.setattr(
                f"ptrarray.storage.system.files.os.{name}", self._counting(getattr(os, name))
            )

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.n_calls += 1
            result = call(*arguments, **more)
            if call.__name__ in ("pwrite", "pwritev"):
                self.n_bytes += result
            return result

        return counted


def count(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> tuple[int, int]:
    with monkeypatch.context() as patch:
        calls = Calls(patch)
        work()
    return calls.n_calls, calls.n_bytes


def test_open_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and reading takes the same calls and memory for 10 names and for 50,000."""
    costs = []
    for n_names in (10, 50_000):
        path = tmp_path / f"{n_names}.ptr"
        with create(path) as writer:
            writer.write({f"name {n}": [n] for n in range(n_names)})
        ptrarray.checkpoint(path)
        read = functools.partial(read_some, path, n_names)
        costs.append((count(monkeypatch, read)[0], peak_nbytes(read)))
    (n_calls, nbytes), (n_calls_of_many, nbytes_of_many) = costs
    assert n_calls == n_calls_of_many
    assert abs(nbytes_of_many - nbytes) < 100_000


def read_some(path: Path, n_names: int) -> None:
    with ptrarray.open(path) as store:
        for n in range(1000):
            assert store[f"name {n % n_names}"][0] == n % n_names


def peak_nbytes(work: Callable[[], object]) -> int:
    """Most memory that Python and numpy held at a time; mappings do not count."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_views(path: Path) -> None:
    with create(path) as writer:
        writer["a"] = np.arange(10**5)
    with ptrarray.open(path) as store:
        assert type(store["a"]) is np.ndarray
        assert "a" in store
        assert len(store) == 1
        assert len(pickle.dumps(store)) < 2000
        with pickle.loads(pickle.dumps(store)) as copy:
            assert list(copy) == ["a"]


def test_max_open(path: Path) -> None:
    before = open_descriptors(path)
    writers = [create(path, mode="a") for _ in range(130)]
    for n, writer in enumerate(writers):
        writer[str(n)] = [n]
    for writer in writers:
        writer.close()
    del writers, writer
    check(path, {str(n): [n] for n in range(130)})
    gc.collect()
    assert open_descriptors(path) == before


def test_singleton_reinit(path: Path) -> None:
    first = create(path)
    second = ptrarray.append(path)
    assert first is not second
    second.close()
    first["a"] = [1]
    with pytest.raises(StoreExistsError):
        create(path)
    first["b"] = [2]
    first.close()
    check(path, {"a": [1], "b": [2]})


@pytest.mark.parametrize("dtype", ["u1", "f2", "c16", "V7", "S5"])
def test_alignment_of_data_start(path: Path, dtype: str) -> None:
    with create(path, dtype=dtype) as writer:
        writer["a"] = np.zeros(100, dtype)
        with writer.allocate("b", 3) as rows:
            assert rows.ctypes.data % np.dtype(dtype).alignment == 0
    with ptrarray.open(path) as store:
        assert store.rows.ctypes.data % 64 == 0


def test_closed_writer(path: Path) -> None:
    writer = create(path)
    writer.close()
    with pytest.raises(ClosedStoreError, match="closed"):
        writer["a"] = [1]


def test_bad_init_del(path: Path) -> None:
    """What could not be opened is forgotten without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StoreNotFoundError):
            ptrarray.append(path)
        gc.collect()


def test_zero_len_and_misc(path: Path) -> None:
    with create(path) as writer:
        assert writer.write({}) == (0, 0)
        writer["empty"] = []
    with ptrarray.append(path) as writer:
        assert list(writer) == ["empty"]
    check(path, {"empty": []})


# mmappickle ---------------------------------------------------------------------------------------


def test_plain_pickle_promise_broken(path: Path) -> None:
    """The files name nothing of any library: msgpack and numpy.memmap read them."""
    with create(path, dtype=">f4", row_shape=(2,), attrs={"rate": 1}) as writer:
        writer["a"] = [[1, 2], [3, 4]]
    ptrarray.checkpoint(path)
    with (path / "index.msgpack").open("rb") as file:
        objects = list(msgpack.Unpacker(file, max_buffer_size=2**20))
    header, columns = objects[0], [column for column in objects[1:] if column is not None]
    assert header["format"] == "ptrarray"
    assert np.dtype(header["dtype"]) == np.dtype(">f4")
    assert header["attrs"] == {"rate": 1}
    assert b"a" in columns
    rows = np.memmap(path / "data.bin", ">f4", "r").reshape(-1, 2)
    assert rows.tolist() == [[1, 2], [3, 4]]
    for file_name in ("index.msgpack", "journal.msgpack"):
        raw = (path / file_name).read_bytes()
        assert not any(word in raw for word in (b"numpy", b"ndarray", b"ptrarray.", b"builtins"))


def test_insert_cost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding a name costs the same calls and bytes however many there are."""
    with create(path) as writer:

        def add(first: int) -> Callable[[], None]:
            def work() -> None:
                for n in range(first, first + 100):
                    writer[f"name {n:06}"] = [n]

            return work

        at_first = count(monkeypatch, add(0))
        writer.write({f"many {n}": [n] for n in range(20_000)})
        assert count(monkeypatch, add(1000)) == at_first
        ptrarray.checkpoint(path)
        writer.reserve(0)
        assert count(monkeypatch, add(2000)) == at_first


def test_fork_shared_handle(path: Path) -> None:
    with create(path) as writer:
        core_workers.INHERITED[:] = [writer]
        try:
            with FORK.Pool(4) as pool:
                pool.map_async(core_workers.append_with_the_inherited, range(80), 20).get(
                    TIMEOUT_SECONDS
                )
        finally:
            core_workers.INHERITED.clear()
        writer["last"] = [1]
    check(path, {**{f"n{n}": content(0, n) for n in range(80)}, "last": [1]})


@pytest.mark.parametrize("n_bytes", [255, 256, 5000, 65536])
def test_long_key_corrupts(path: Path, n_bytes: int) -> None:
    with create(path) as writer:
        writer["n" * n_bytes] = [1]
        with pytest.raises(BadInputError, match="65537 bytes"):
            writer["n" * 65537] = [2]
    check(path, {"n" * n_bytes: [1]})


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(5), np.array([5.5])])
def test_a_dtype_that_fails_leaves_the_store(path: Path, bad: Array) -> None:
    with create(path) as writer:
        writer["a"] = [1]
        with unchanged(path), pytest.raises(BadInputError):
            writer["a"] = bad
        writer["b"] = [2]
    check(path, {"a": [1], "b": [2]})


def test_crash_mid_write(path: Path) -> None:
    with create(path) as writer:
        writer["earlier"] = [1]
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=core_workers.hold_rows, args=(path, 10**5, theirs))
    process.start()
    assert ours.poll(TIMEOUT_SECONDS)
    process.kill()
    process.join()
    check(path, {"earlier": [1]})
    with ptrarray.append(path) as writer:
        writer["later"] = [2]
    check(path, {"earlier": [1], "later": [2]})


def test_failed_overwrite_loses_old_value(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, buffers: Sequence[Any], offset: int) -> int:
        raise OSError(28, "No space left on device")

    with create(path) as writer:
        writer["a"] = [1]
        unpicklable: Any = lambda: None
        with pytest.raises(BadInputError):
            writer["a"] = unpicklable
        monkeypatch.setattr("ptrarray.storage.system.files.os.pwritev", fail)
        with pytest.raises(OSError, match="No space"):
            writer["a"] = [2]
        monkeypatch.undo()
        assert writer["a"].tolist() == [1]
    check(path, {"a": [1]})


def test_vacuum_with_live_view(path: Path) -> None:
    with create(path) as writer:
        writer.write({"hole": np.zeros(10**5, "i8"), "a": np.arange(10**5)})
        del writer["hole"]
    with ptrarray.open(path) as store:
        view = store["a"]
        ptrarray.compact(path)
        assert np.array_equal(view, np.arange(10**5))
        assert np.array_equal(store["a"], np.arange(10**5))
        store.refresh()
        assert store.shape == (10**5,)
        assert np.array_equal(view, np.arange(10**5))


def test_one_mmap_per_read_and_mmap_fd_limit(path: Path) -> None:
    """Seventy thousand arrays held at once take as many descriptors as one."""
    with create(path, dtype="i4") as writer:
        names = list(map(str, range(70_000)))
        writer.write_ragged(names, np.arange(70_000), np.arange(70_001))
    with ptrarray.open(path) as store:
        first = store["0"]
        before = open_descriptors(path)
        held = [store[name] for name in names]
        assert open_descriptors(path) == before
        assert int(held[-1][0]) == 69_999
        assert first.base is not None


def test_flock_exclusive_readers(path: Path) -> None:
    """A reader asks for no lock, neither beside a reader nor beside a writer."""
    with create(path) as writer:
        writer["a"] = [1]
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        with (path / "journal.msgpack").open("r+b") as journal:
            fcntl.flock(journal, kind)
            with ptrarray.open(path) as store:
                assert store["a"].tolist() == [1]
                store.refresh()


def test_big_shape(path: Path) -> None:
    n_rows = 2**31 + 8
    with create(path, dtype="u1", row_shape=0) as writer:
        writer["wide"] = np.zeros((n_rows, 0), "u1")
    with ptrarray.open(path) as store:
        assert store["wide"].shape == (n_rows, 0)
        assert store.lengths.tolist() == [n_rows]
    other = path.with_name("long.ptr")
    with create(other, dtype="u1", rows=2 * n_rows) as writer:
        writer.write({"far": [1, 2]}, start=n_rows)
    with ptrarray.open(other) as store:
        assert store["far"].tolist() == [1, 2]
        assert store[n_rows : n_rows + 3].tolist() == [1, 2, 0]
        assert store.rows[: n_rows + 1][-1] == 1


def test_dict_protocol_gaps(path: Path) -> None:
    with create(path) as writer:
        writer.update(a=[1], b=[2])
        for mapping in (writer, ptrarray.open(path)):
            assert len(mapping) == 2
            assert list(mapping) == list(mapping.keys()) == ["a", "b"]
            assert [array.tolist() for array in mapping.values()] == [[1], [2]]
            assert {name: array.tolist() for name, array in mapping.items()} == {"a": [1], "b": [2]}
            assert mapping.get("c") is None


def test_vacuum_commit_aba(path: Path) -> None:
    """Compacting, also again and again, never looks to a reader like nothing happened."""
    with create(path) as writer:
        writer.write({"hole": [0, 0], "a": [1]})
        store = ptrarray.open(path)
        for n in range(5):
            del writer["hole"]
            ptrarray.compact(path)
            writer.write({"hole": [n]})
            writer["a"] = [n]
            store.refresh()
            assert store["a"].tolist() == [n]
            assert store["hole"].tolist() == [n]
        store.close()


# joblib -------------------------------------------------------------------------------------------


def test_no_random_access(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one array of many takes no system call once the store is open."""
    with create(path) as writer:
        writer.write({str(n): [n] for n in range(10_000)})
    with ptrarray.open(path) as store:
        assert count(monkeypatch, lambda: [store[str(n)] for n in range(0, 10_000, 7)]) == (0, 0)


def test_dump_over_live_memmap(path: Path) -> None:
    with create(path) as writer:
        writer["a"] = np.arange(10**5)
    with ptrarray.open(path) as store:
        view = store["a"]
        with create(path, mode="w") as writer:
            writer["a"] = view
        assert np.array_equal(view, np.arange(10**5))
    check(path, {"a": np.arange(10**5)})


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_byte_order_does_not_depend_on_the_mode(path: Path, mode: Any) -> None:
    with create(path, dtype=">f8") as writer:
        writer["a"] = [1.5]
    with ptrarray.open(path, mode=mode) as store:
        assert store["a"].dtype == np.dtype(">f8")
        assert store["a"].tolist() == [1.5]


def test_subclasses_come_back_as_plain_arrays(path: Path) -> None:
    records = np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    with create(path, dtype=records.dtype) as writer:
        writer["a"] = records
    with ptrarray.open(path) as store:
        assert type(store["a"]) is np.ndarray
        assert store["a"].tolist() == [(1, 2.5)]


def test_memory_copies(path: Path) -> None:
    """Writing takes no memory of the size of the data."""
    array = np.zeros(2**23, "i8")  # 64 MiB
    halves = {"a": array[: 2**22], "b": array[2**22 :]}
    with create(path) as writer:
        assert peak_nbytes(lambda: writer.write(halves)) < 2**20
        ragged = functools.partial(writer.write_ragged, ["c", "d"], array, [0, 5, 2**23])
        assert peak_nbytes(ragged) < 2**20


# the README example of bigarray -------------------------------------------------------------------

SAMPLES = 80 * 10
JOBS = [(i, i + 10) for i in range(0, SAMPLES // 10, 10)]
OPENED: dict[str, Any] = {}


def write_job(job: tuple[int, int]) -> None:
    start, end = job
    OPENED["writer"].write(
        {f"name{i}": np.arange(i * 10, i * 10 + 10) for i in range(start, end)},
        start=start * 10,
    )


def read_job(job: tuple[int, int]) -> int:
    start, end = job
    return sum(int(np.sum(OPENED["x"][f"name{i}"])) for i in range(start, end))


@pytest.fixture
def _forget_what_was_opened() -> Iterator[None]:
    yield
    OPENED.clear()


@pytest.mark.usefixtures("_forget_what_was_opened")
def test_the_example_of_the_ancestor(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = OPENED["writer"] = ptrarray.create(path, dtype="int32", rows=SAMPLES, mode="w")
    with FORK.Pool(2) as pool:
        pool.map(write_job, JOBS)
    writer.flush()
    writer.close()

    x = OPENED["x"] = ptrarray.open(path)
    print(x["name0"])  # noqa: T201
    print(x["name66"])  # noqa: T201
    print(x["name78"])  # noqa: T201
    for name, (start, end) in x.pointers.items():
        assert np.array_equal(x[start:end], x[name])
    for name in x.pointers:
        assert len(x[name]) == 10
    with FORK.Pool(2) as pool:
        total_sum = sum(pool.map(read_job, JOBS))
    print(np.sum(x), total_sum)  # noqa: T201

    assert capsys.readouterr().out.splitlines() == [
        "[0 1 2 3 4 5 6 7 8 9]",
        "[660 661 662 663 664 665 666 667 668 669]",
        "[780 781 782 783 784 785 786 787 788 789]",
        "319600 319600",
    ]
