"""Reading without a mapping: the same answers as numpy's, from the file."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, PointerArray
from ptrarray.reductions import blocks, each, whole
from ptrarray.rows.indexing import split_index
from ptrarray.rows.ragged import gather
from ptrarray.storage.system import pread
from ptrarray.storage.system.pread import checksum_of, open_rows
from tests.support.checks import check_same, open_descriptors
from tests.support.strategies import indices

Array = NDArray[Any]
ma: Any = np.ma  # most of which has no types


def read(path: Path | str) -> PointerArray:
    return ptrarray.open(path, backend="pread")


def rows_in_file(folder: Path, rows: Array) -> Any:
    """Write rows to a file, and return what reads them."""
    path = folder / "rows.bin"
    path.write_bytes(rows.tobytes())
    return open_rows(str(path), rows.dtype, rows.shape[1:], len(rows))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of a store with holes, an empty array, and names that share rows."""
    path = tmp_path / "read.ptr"
    with ptrarray.create(path, dtype="f4", row_shape=(3,)) as writer:
        rng = np.random.default_rng(0)
        for n in range(40):
            writer[f"a{n}"] = rng.integers(1, 9, (n * n % 50 + 1, 3)).astype("f4")
        for n in range(0, 40, 3):
            del writer[f"a{n}"]
        writer.point("twice", *writer.pointers["a7"])
        writer["long"] = rng.integers(1, 9, (4000, 3)).astype("f4")
    ptrarray.checkpoint(path)
    return path


# indices ------------------------------------------------------------------------------------------

SHAPES = st.sampled_from([(7,), (5, 3), (4, 2, 3), (0,), (0, 3), (3, 0)])


@given(data=st.data(), shape=SHAPES)
def test_any_index_gives_what_numpy_gives(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, shape: tuple[int, ...]
) -> None:
    expected = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    check_index(tmp_path_factory.mktemp("rows"), expected, data.draw(indices(shape)))


KEYS = [
    *(0, -1, np.int64(2), np.array(1), slice(1, 3), slice(None, None, -1), slice(9, 0, -2)),
    *(slice(3, 1), [], [[]], [0, 3, 0], [[1], [-1]], range(3), ..., None, (), True, False),
    *((..., 0), (0, ...), (None, 1), (slice(1, 3), 0), ([0, 1], [1, 0]), (slice(None), [0, 2])),
    *((2, slice(None, None, -1)), ([1, 1], None, 0), (True, 1), (0, True), ([3, 0], ..., [0, 1])),
    *(np.arange(4) > 1, np.arange(12).reshape(4, 3) % 5 == 0, np.array([3, 0], "u1"), (..., None)),
    *(4, -5, [4], 1.5, [1.5], "a", ["a"], (0, 0, 0), [True], ([0], [0, 1, 2], [0]), (..., ...)),
    *((0, 3), {1}, NotImplemented, [[0, 1], [2]], np.zeros((4, 2), bool), slice("a")),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_special_indices(tmp_path: Path, key: Any) -> None:
    check_index(tmp_path, np.arange(12, dtype="i4").reshape(4, 3), key)


@pytest.mark.parametrize("key", ["x", ["y", "x"], [], 0, -1, [1, 0], slice(None, None, -1)])
def test_indices_of_records(tmp_path: Path, key: Any) -> None:
    check_index(tmp_path, np.array([(1, 0.5), (2, 1.5)], [("x", "i4"), ("y", "f8")]), key)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a masked store of twelve rows in two arrays, with a hole between them."""
    path = tmp_path_factory.mktemp("masked") / "masked.ptr"
    rows: Any = np.arange(12).reshape(4, 3)
    rows = ma.MaskedArray(rows, rows % 5 == 2)
    with ptrarray.create(path, dtype="i4", row_shape=(3,), masked=True) as writer:
        writer.write({"a": rows[:2], "hole": rows[2:3], "b": rows[3:]})
        del writer["hole"]
    return path


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_special_indices_of_masked_rows(masked: Path, key: Any) -> None:
    with ptrarray.open(masked) as mapped, read(masked) as store:
        try:
            wanted = mapped.rows[key]
        except Exception as error:  # noqa: BLE001 - whatever numpy raises
            with pytest.raises(type(error)):
                store._opened.rows[key]
            return
        found = store._opened.rows[key]
        assert type(found) is type(wanted)
        assert ma.getmaskarray(found).tolist() == ma.getmaskarray(wanted).tolist()
        check_same(ma.getdata(found), ma.getdata(wanted))


def test_masked_arrays_are_read(masked: Path) -> None:
    with ptrarray.open(masked) as mapped, read(masked) as store:
        asked: list[Any] = [lambda s: s["a"], lambda s: s.take(["b", "a"]).values, lambda s: s.rows]
        for ask in asked:
            found, wanted = ask(store), ask(mapped)
            assert ma.getmaskarray(found).tolist() == ma.getmaskarray(wanted).tolist()
            check_same(ma.getdata(found), ma.getdata(wanted))
            found[...] = ma.masked
        store.verify()


def test_masked_rows_are_read_from_two_files(masked: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(masked, tmp_path / "copy.ptr"))
    with read(path) as store:
        held = [store["a"], store.rows, store.take(["b"])]
        assert not mapped_files(path)
        assert [Path(name).stem for name in open_descriptors(path)] == ["data", "index", "mask"]
        del held


@pytest.mark.parametrize("options", [{"dtype": "i4"}, {"dtype": "i4", "masked": True}, {}])
def test_shards_are_read(tmp_path: Path, options: Any) -> None:
    path = tmp_path / "shards.ptr"
    arrays = {f"a{n}": np.arange(n * 17 % 90, dtype="i4") for n in range(60)}
    with ptrarray.create(path, shard_size=4000, **options) as writer:
        for name, array in arrays.items():
            writer[name] = ma.MaskedArray(array, array % 5 == 3) if "masked" in options else array
    with read(path) as store, ptrarray.open(path) as mapped:
        assert len(store.shards) > 2
        asked: list[Any] = [
            lambda s: s.take(list(arrays)[::-1]).values,
            lambda s: s.rows[:],
            lambda s: s.rows[::-3],
            lambda s: s.rows[[5, -1, 700]],
            lambda s: ma.concatenate(list(s.walk())),
            lambda s: ma.concatenate(list(s.values())),
            lambda s: s["a31"],
        ]
        if options:
            asked.append(np.sum)
        for ask in asked:
            found, wanted = ask(store), ask(mapped)
            assert ma.getmaskarray(found).tolist() == ma.getmaskarray(wanted).tolist()
            check_same(np.asarray(ma.getdata(found)), np.asarray(ma.getdata(wanted)))
        store.verify()
    del found, wanted
    with read(path) as store:
        held = [store["a31"], *store.walk()]
        assert not mapped_files(path)
        assert len(open_descriptors(path)) == 1 + len(store.shards) * (2 + store.masked)
        del held


def check_index(folder: Path, expected: Array, key: Any) -> None:
    """Check the result and that it is a copy, or the kind of error."""
    rows = rows_in_file(folder, expected)
    try:
        wanted = expected[key]
    except Exception as error:  # noqa: BLE001 - whatever numpy raises
        with pytest.raises(type(error)):
            rows[key]
        return
    found = rows[key]
    assert type(found) is type(wanted)
    check_same(np.asarray(found), np.asarray(wanted))
    if isinstance(found, np.ndarray):
        assert found.flags.writeable


@given(data=st.data(), shape=SHAPES.filter(lambda shape: 0 not in shape))
def test_an_index_asks_for_no_row_that_it_does_not_need(
    data: st.DataObject, shape: tuple[int, ...]
) -> None:
    key = data.draw(npst.integer_array_indices(shape) | npst.basic_indices(shape))
    numbers = np.broadcast_to(np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape)[key]
    rows, _ = split_index(key, shape)
    if np.size(numbers):
        assert np.unique(numbers).tolist() == list(rows)


def test_an_index_of_a_huge_file_reads_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "huge.ptr"
    ptrarray.create(path, dtype="i8", rows=2**36).close()
    with ptrarray.append(path) as writer:
        writer.write({"a": [1, 2, 3]}, start=2**35)
    with read(path) as store:
        assert store[2**35 : 2**35 + 4].tolist() == [1, 2, 3, 0]
        assert store[-1] == 0
        assert store[[2**35 + 1, 5]].tolist() == [2, 0]
        assert store[2**35 + 2 : 2**35 - 1 : -1].tolist() == [3, 2, 1]
        assert (store.shape, np.sum(store)) == ((2**36,), 6)


# many ranges --------------------------------------------------------------------------------------

RANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=20)


@given(ranges=RANGES, row_shape=st.sampled_from([(), (2,), (0,)]), is_sorted=st.booleans())
@example([(0, 0)], (), True)
@example([(5, 9), (5, 9), (0, 30), (7, 2)], (), False)
def test_many_ranges_are_read_as_they_are_copied(
    tmp_path_factory: pytest.TempPathFactory,
    ranges: list[tuple[int, int]],
    row_shape: tuple[int, ...],
    is_sorted: bool,
) -> None:
    """Whatever is near enough to be read in one go."""
    expected = np.random.default_rng(0).integers(0, 99, (340, *row_shape), "i4")
    rows = rows_in_file(tmp_path_factory.mktemp("rows"), expected)
    pairs = np.array(sorted(ranges) if is_sorted else ranges, np.int64).reshape(-1, 2)
    starts, ends = pairs[:, 0], pairs.sum(axis=1)
    plain = gather(expected, starts, ends)
    for gap_nbytes, buffer_nbytes in ((0, 1), (40, 100), (1, 10**6), (10**6, 10**6)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pread, "GAP_NBYTES", gap_nbytes)
            patch.setattr(pread, "BUFFER_NBYTES", buffer_nbytes)
            found = gather(rows, starts, ends)
        check_same(found.values, plain.values)
        assert found.offsets.tolist() == plain.offsets.tolist()


def test_neighbours_are_read_in_one_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with read(path) as store:
        names = [name for name in store if name != "long"]
        reads = []
        preadv = os.preadv

        def counting(fd: int, buffers: Any, at: int) -> int:
            reads.append(at)
            return preadv(fd, buffers, at)

        monkeypatch.setattr("ptrarray.storage.system.files.os.preadv", counting)
        store.take(names[::-1])
        assert len(reads) == 1
        _ = store.arrays[5:9].values
        assert len(reads) == 2


@pytest.mark.parametrize("row_shape", [(), (3,), (0,)])
def test_checksums_of_rows_mapped_or_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(pread, "BUFFER_NBYTES", 7)
    expected = np.random.default_rng(0).integers(0, 99, (40, *row_shape), "i4")
    for rows in (expected, rows_in_file(tmp_path, expected)):
        checksum = checksum_of(rows)
        for start, end in ((0, 40), (3, 4), (5, 5), (7, 33)):
            assert checksum(start, end) == crc32(expected[start:end].tobytes())


# the same as mapped -------------------------------------------------------------------------------


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_NBYTES", 2000)
    monkeypatch.setattr(blocks, "CELL_ROWS", 16)
    monkeypatch.setattr(whole, "VARIANCE_NBYTES", 1000)
    monkeypatch.setattr(each, "LONG_ELEMENTS", 100)


ASKED: dict[str, Any] = {
    **{name: getattr(np, name) for name in ("sum", "min", "max", "any", "mean", "std")},
    "mean of rows": lambda store: np.mean(store, axis=0),
    "var of rows": lambda store: np.var(store, axis=0, ddof=1),
    "reduce": lambda store: store.reduce(np.hypot),
    "each": lambda store: store.reduce_each(np.add),
    "each to a number": lambda store: store.reduce_each(np.add, axis=None),
    "each in order": lambda store: store.reduce_each(np.subtract),
    "mean_each": lambda store: store.mean_each(),
    "std_each": lambda store: store.std_each(),
    "asarray": np.asarray,
    "array": np.array,
    "cast": lambda store: np.asarray(store, "f8"),
    "rows": lambda store: store.rows,
    "take": lambda store: store.take(["a7", "long", "twice", "a7", "a1"]).values,
    "arrays": lambda store: store.arrays[::-2].values,
    "walk": lambda store: np.concatenate(list(store.walk())),
}


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_answers_are_those_of_a_mapping(path: Path, ask: Any) -> None:
    with ptrarray.open(path) as mapped, read(path) as store:
        found, expected = ask(store), ask(mapped)
        assert type(found) is type(expected)
        check_same(np.asarray(found), np.asarray(expected))


def test_a_copy_is_not_called_a_view(path: Path) -> None:
    with read(path) as store:
        with pytest.raises(ValueError, match="copy"):
            np.array(store, copy=False)
        with pytest.raises(ValueError, match="copy"):
            np.array(store._opened.rows, copy=False)
        assert not np.shares_memory(store.rows, store.rows)


def test_changing_what_was_read_changes_nothing(path: Path) -> None:
    for mode in ("r", "c"):
        with ptrarray.open(path, mode, backend="pread") as store:
            for array in (store["a7"], store[0:9], store.rows, store.arrays[0], store[3]):
                array[...] = -1
            assert (store.rows > -1).all()
            store.verify()


def test_mode_r_plus_needs_a_mapping(path: Path) -> None:
    with pytest.raises(BadInputError, match="maps nothing: use backend 'mmap'"):
        ptrarray.open(path, "r+", "pread")


@pytest.mark.parametrize("backend", ["read", "", None, "MMAP"])
def test_unknown_backends(path: Path, backend: Any) -> None:
    with pytest.raises(BadInputError, match="is not one of 'mmap', 'pread'") as raised:
        ptrarray.open(path, backend=backend)
    assert raised.value.expected == ("mmap", "pread")


# files --------------------------------------------------------------------------------------------


def mapped_files(folder: Path) -> list[str]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what is mapped")
    return [line for line in maps.read_text().splitlines() if f" {folder}/" in line]


def test_maps_nothing_and_holds_two_descriptors(path: Path) -> None:
    with read(path) as store, ptrarray.append(path) as writer:
        writer.close()
        held = [*store.values(), store.rows, store.take(["a7"]), np.sum(store)]
        store.refresh()
        assert not mapped_files(path)
        assert open_descriptors(path) == [str(path / "data.bin"), str(path / "index.msgpack")]
        iterator = store.walk()
    assert len(next(iterator)) == 2  # goes on, as with a mapping
    del iterator, held
    assert open_descriptors(path) == []


def test_mapping_is_what_the_other_backend_does(path: Path) -> None:
    """Or the test above would test nothing."""
    with ptrarray.open(path):
        assert len(mapped_files(path)) == 2


@pytest.mark.parametrize("n_bytes", [0, 5, 6000])
def test_a_file_that_is_cut_short_under_a_reader(path: Path, n_bytes: int) -> None:
    """Touching a mapping of it would kill the process."""
    with read(path) as store:
        os.truncate(path / "data.bin", n_bytes)
        for ask in (
            lambda: store["long"],
            lambda: store.take(["a7", "long"]),
            lambda: store.rows,
            lambda: store[-1],
            lambda: store.arrays[:],
            lambda: list(store.values()),
            lambda: np.sum(store),
            store.mean_each,
        ):
            with pytest.raises(CorruptStoreError, match="cut short") as raised:
                ask()
            assert raised.value.path == str(path / "data.bin")
        with pytest.raises(CorruptStoreError, match="cut short"):
            store.verify()
    with pytest.raises(CorruptStoreError, match="cut short"):
        read(path)


def test_short_reads_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv
    monkeypatch.setattr(
        "ptrarray.storage.system.files.os.preadv",
        lambda fd, buffers, at: preadv(fd, [buffers[0][:1000]], at),
    )
    with ptrarray.open(path) as mapped, read(path) as store:
        check_same(store.rows, mapped.rows)
        check_same(store["long"], mapped["long"])


def test_keeps_the_file_it_opened(path: Path) -> None:
    with read(path) as store:
        before = store.rows
        with ptrarray.append(path) as writer:
            del writer["a7"]
        ptrarray.compact(path)
        ptrarray.create(path, dtype="i8", mode="w").close()
        check_same(store.rows, before)
        store.refresh()
        assert (store.dtype, len(store)) == (np.dtype("i8"), 0)
        assert store.backend == "pread"
        assert not mapped_files(path)


def read_all(store: PointerArray, results: Any) -> None:
    with store:
        results.put({name: array.tobytes() for name, array in store.items()})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_another_process(path: Path, method: Any) -> None:
    with read(path) as store:
        expected = {name: array.tobytes() for name, array in store.items()}
        n = 1 if method == "spawn" else 2  # to begin takes such a process longer than to read
        if method == "fork":  # the file it has open is the one to read, whatever is there now
            ptrarray.compact(path)
            ptrarray.create(path, dtype="i8", mode="w").close()
        context = multiprocessing.get_context(method)
        results = context.Queue()
        processes = [context.Process(target=read_all, args=(store, results)) for _ in range(n)]
        for process in processes:
            process.start()
        for process in processes:
            assert results.get(timeout=60) == expected
            process.join()
        check_same(store["a7"], np.frombuffer(expected["a7"], "f4").reshape(-1, 3))


def test_no_later_index_gets_the_inode_of_the_one_that_was_read(path: Path) -> None:
    """File systems give the inode of a removed file to the next one."""
    with read(path):
        ours = (path / "index.msgpack").stat().st_ino
        for n in range(4):
            with ptrarray.append(path) as writer:
                writer[f"new{n}"] = np.ones((1, 3))
            ptrarray.checkpoint(path)
            assert (path / "index.msgpack").stat().st_ino != ours


def test_pickles_with_its_backend(path: Path) -> None:
    with read(path) as store, pickle.loads(pickle.dumps(store)) as copy:
        assert (copy.backend, copy.mode) == ("pread", "r")
        assert not mapped_files(path)


def test_threads_share_it(path: Path) -> None:
    with ptrarray.open(path) as mapped:
        expected = {name: array.copy() for name, array in mapped.items()}
    with read(path) as store:
        names = list(store)

        def look(seed: int) -> None:
            for at in np.random.default_rng(seed).integers(0, len(names), 300):
                check_same(store[names[at]], expected[names[at]])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(look, range(4)))
