"""A store of shards is a store like any other, in directories of about one size."""

from __future__ import annotations

import gc
import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    DuplicateNameError,
    PointerArray,
    PointerArrayWriter,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    UnknownNameError,
)
from ptrarray.cli import main
from ptrarray.storage.shards.finder import Finder
from ptrarray.storage.shards.snapshot import open_shards
from tests.support.checks import (
    check_same,
    check_store,
    check_writer,
    open_descriptors,
    root_base,
    unchanged,
)
from tests.support.story import without_syncs

Array = NDArray[Any]
Arrays = dict[str, Array]

SHARD_NBYTES = 4000
MARKER = "shards.msgpack"


def ramps(n_arrays: int, seed: int = 0) -> Arrays:
    """Return arrays of 0 to 400 bytes."""
    lengths = np.random.default_rng(seed).integers(0, 100, n_arrays).tolist()
    return {f"n{n}": np.arange(length, dtype="i4") + 1000 * n for n, length in enumerate(lengths)}


def fill_one_by_one(writer: PointerArrayWriter, arrays: Arrays) -> None:
    for name, array in arrays.items():
        writer.write({name: array})


@pytest.fixture(autouse=True)
def _no_syncs() -> Iterator[None]:
    """Spare the disk what only a power cut could tell."""
    with without_syncs():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "corpus.ptr"


@pytest.fixture
def arrays() -> Arrays:
    return ramps(60)


@pytest.fixture
def writer(path: Path, arrays: Arrays) -> PointerArrayWriter:
    """Writer of a store of four or more shards."""
    writer = ptrarray.create(path, dtype="i4", shard_size=SHARD_NBYTES, attrs={"rate": 8000})
    fill_one_by_one(writer, arrays)
    assert len(shards_of(path)) >= 4
    return writer


def shards_of(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name != MARKER)


def first_of(path: Path, number: int) -> str:
    """Return the first name in a shard."""
    with ptrarray.open(path / shards_of(path)[number]) as shard:
        return shard.names[0]


# the directories ---------------------------------------------------------------------------------


def test_a_marker_and_shards_that_open_alone(
    path: Path, writer: PointerArrayWriter, arrays: Arrays, tmp_path: Path
) -> None:
    names = shards_of(path)
    assert names == [f"shard-{number:05d}.ptr" for number in range(len(names))]
    assert (path / MARKER).is_file()
    found: Arrays = {}
    for name in names:
        copy = tmp_path / "elsewhere" / name
        shutil.copytree(path / name, copy)
        with ptrarray.open(copy) as shard:
            shard.verify()
            assert shard.attrs == {"rate": 8000}
            assert found.keys().isdisjoint(shard)
            found |= {name: array.copy() for name, array in shard.items()}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        check_same(found[name], array)
    assert ptrarray.open(path).shards == [str(path / name) for name in names]


@pytest.mark.parametrize("n_together", [1, 3])
def test_no_shard_is_larger_and_none_much_smaller(path: Path, n_together: int) -> None:
    writer = ptrarray.create(path, dtype="u1", shard_size="100kB")
    largest = 0
    rng = np.random.default_rng(1)
    for n in range(0, 240, n_together):
        batch = {f"n{n + k}": np.zeros(rng.integers(0, 9000), "u1") for k in range(n_together)}
        largest = max(largest, sum(map(len, batch.values())) + 100 * n_together)
        writer.write(batch)
    writer.close()
    sizes = [
        sum(file.stat().st_size for file in (path / name).iterdir()) for name in shards_of(path)
    ]
    assert len(sizes) > 5
    # The fixed part of a journal and an index is not counted.
    assert max(sizes) <= 100_000 + 16_384
    assert min(sizes[:-1]) >= 100_000 - largest


def test_an_array_larger_than_a_shard_has_one_of_its_own(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", shard_size=1000) as writer:
        writer["small"] = [1]
        writer["large"] = np.arange(5000)
        writer["next"] = [2]
    assert [list(ptrarray.open(path / name)) for name in shards_of(path)] == [
        ["small"],
        ["large"],
        ["next"],
    ]


def test_the_first_array_may_be_larger_than_a_shard(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", shard_size=1000, attrs={"a": 1}) as writer:
        writer.attrs["b"] = 2
        writer["large"] = np.arange(5000)
    assert shards_of(path) == ["shard-00000.ptr"]


def test_arrays_without_rows_fill_shards_by_their_names(path: Path) -> None:
    with ptrarray.create(path, dtype="i4", shard_size="12kB") as writer:
        for n in range(0, 1000, 20):
            writer.write({f"n{n + k}": [] for k in range(20)})
    assert 3 <= len(shards_of(path)) <= 6


@pytest.mark.parametrize(
    ("size", "nbytes"),
    [(1, 1), ("10", 10), ("7 b", 7), ("200MB", 2 * 10**8), ("1.5 GiB", 3 * 2**29), ("2tb", 2e12)],
)
def test_sizes(path: Path, size: str | int, nbytes: int) -> None:
    ptrarray.create(path, dtype="i4", shard_size=size).close()
    assert ptrarray.open(path).shard_nbytes == nbytes


@pytest.mark.parametrize("size", [0, -1, "", "MB", "1 XB", "1,5MB", "-3kB", 1.5, "0.1", 2**63, []])
def test_bad_sizes_leave_nothing_behind(tmp_path: Path, size: Any) -> None:
    with pytest.raises(BadInputError, match="shard_size"):
        ptrarray.create(tmp_path / "new.ptr", dtype="i4", shard_size=size)
    assert not list(tmp_path.iterdir())


# the same face -----------------------------------------------------------------------------------

LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f4"},
    "wide": {"dtype": ">i2", "row_shape": (2, 3)},
    "shaped": {"dtype": "f8", "row_shape": None},
    "mixed": {},
    "masked": {"dtype": "f4", "row_shape": (2,), "masked": True},
    "masked and mixed": {"masked": True},
}


def arrays_for(layout: str) -> Arrays:
    rng = np.random.default_rng(5)
    arrays: Arrays = {}
    for n in range(40):
        shape: tuple[int, ...] = (
            int(rng.integers(0, 40)),
            *(LAYOUTS[layout].get("row_shape") or ()),
        )
        if layout in ("shaped", "mixed", "masked and mixed") and n % 3 == 0:
            shape = (n % 5, 2)
        array: Array = np.asarray(rng.integers(0, 100, shape)).astype(
            LAYOUTS[layout].get("dtype", "i4")
        )
        if "masked" in layout and n % 4:
            array = np.ma.MaskedArray(array, rng.random(shape) < 0.3)
        arrays[f"n{n}"] = array
    return arrays


@pytest.fixture(scope="module", params=LAYOUTS)
def twins(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PointerArray, PointerArray]:
    """Return two stores with the same arrays, one of them of shards."""
    stores, tmp_path = [], tmp_path_factory.mktemp("twins")
    for name, shard_size in (("whole.ptr", None), ("sharded.ptr", 3000)):
        path = tmp_path / name
        options = LAYOUTS[request.param] | {"shard_size": shard_size}
        with ptrarray.create(path, **options) as writer:
            for n, (key, array) in enumerate(arrays_for(request.param).items()):
                writer.write({key: array}, meta={key: {"n": n}} if n % 2 else None)
        ptrarray.checkpoint(path)
        with ptrarray.append(path) as writer:
            writer["last"] = np.ones_like(arrays_for(request.param)["n1"])
        stores.append(ptrarray.open(path))
    assert len(stores[1].shards) > 2
    return stores[0], stores[1]


def outcome(ask: Callable[[PointerArray], Any], store: PointerArray) -> Any:
    """Return what a store answers in a form that can be compared; an error by its class."""
    try:
        with np.errstate(all="ignore"):
            return plain(ask(store))
    except (TypeError, ValueError, IndexError) as error:
        return type(error)


def plain(answer: Any) -> Any:
    match answer:
        case np.ma.MaskedArray():
            filled = answer.filled(-1) if answer.ndim or answer is not np.ma.masked else -1
            return "masked", plain(np.asarray(filled)), np.ma.getmaskarray(answer).tolist()
        case ptrarray.Ragged():
            return plain(answer.values), answer.offsets.tolist()
        case np.ndarray() | np.generic():
            return answer.dtype.str, answer.shape, answer.tobytes()
        case dict():
            return {key: plain(value) for key, value in answer.items()}
        case list() | tuple():
            return [plain(item) for item in answer]
    return answer


def rounded(ask: Callable[[PointerArray], Any]) -> Callable[[PointerArray], Any]:
    """Return a float result without its last bits, which depend on where blocks end."""

    def result(store: PointerArray) -> Any:
        found = ask(store)
        return np.round(found, 3) if np.asarray(found).dtype.kind == "f" else found

    return result


READS: dict[str, Callable[[PointerArray], Any]] = {
    "items": lambda store: dict(store.items()),
    "values": lambda store: list(store.values()),
    "names": lambda store: [*store.names, store.names[3], *store.names[::-7]],
    "iterate": list,
    "by name": lambda store: [store[name] for name in store],
    "by position": lambda store: [store.arrays[n] for n in (0, 7, -1, len(store) - 2)],
    "get": lambda store: [store.get("n7"), store.get("absent"), "n1" in store, "" in store],
    "walk": lambda store: list(store.walk()),
    "len and lengths": lambda store: [len(store), store.lengths],
    "take": lambda store: store.take(["n31", "n1", "n1", "last", "n2"]),
    "take nothing": lambda store: store.take([]),
    "take all": lambda store: store.take(list(store)[::-1]),
    "some arrays": lambda store: store.arrays[[5, 31, -1, 5]],
    "a slice of arrays": lambda store: store.arrays[3:20:2],
    "masked arrays": lambda store: store.arrays[np.arange(len(store)) % 3 == 1],
    "meta": lambda store: dict(store.meta),
    "facts": lambda store: [
        store.dtype.str,
        store.row_shape,
        store.layout,
        store.masked,
        store.ndim,
    ],
    "sum": rounded(np.sum),
    "sum of rows": rounded(lambda store: np.sum(store, axis=0)),
    "max": np.max,
    "min with keepdims": lambda store: np.min(store, axis=0, keepdims=True),
    "any": np.any,
    "mean": rounded(np.mean),
    "std": rounded(lambda store: np.std(store, ddof=1)),
    "var": rounded(lambda store: np.var(store, axis=0)),
    "reduce": rounded(lambda store: store.reduce(np.add)),
    "reduce to one": lambda store: store.reduce(np.maximum, axis=None),
    "reduce_each": lambda store: store.reduce_each(np.add),
    "mean_each": rounded(lambda store: store.mean_each()),
    "std_each": rounded(lambda store: store.std_each()),
    "no identity": lambda store: store.reduce_each(np.minimum),
    "median": np.median,
}

ROW_READS: dict[str, Callable[[PointerArray], Any]] = {
    "shape": lambda store: [store.shape, store.size, store.nbytes],
    "rows": lambda store: store.rows,
    "asarray": np.asarray,
    "as other type": lambda store: np.asarray(store, "c16"),
    "a slice": lambda store: store[200:600],
    "all": lambda store: store[:],
    "backwards": lambda store: store[::-3],
    "a row": lambda store: [store[0], store[-1], store[300]],
    "rows by number": lambda store: store[[5, 500, 5, -1]],
    "rows by mask": lambda store: store[np.arange(len(store.rows)) % 7 == 2],
    "pointers": lambda store: dict(store.pointers),
    "columns": lambda store: [store.starts, store.ends],
    "out of range": lambda store: store[10**6],
}


@pytest.mark.parametrize("ask", READS.values(), ids=READS.keys())
def test_reads_as_a_store_without_shards(
    ask: Callable[[PointerArray], Any], twins: tuple[PointerArray, PointerArray]
) -> None:
    whole, sharded = twins
    assert outcome(ask, sharded) == outcome(ask, whole)


@pytest.mark.parametrize("ask", ROW_READS.values(), ids=ROW_READS.keys())
def test_rows_are_numbered_through(
    ask: Callable[[PointerArray], Any], twins: tuple[PointerArray, PointerArray]
) -> None:
    whole, sharded = twins
    if whole.layout == "mixed":
        pytest.skip("arrays are aligned in each shard, so rows differ")
    assert outcome(ask, sharded) == outcome(ask, whole)


def test_a_view_in_one_shard_and_a_copy_across(path: Path, writer: PointerArrayWriter) -> None:
    store = ptrarray.open(path)
    border = ptrarray.open(path / "shard-00000.ptr").shape[0]
    assert np.shares_memory(store[border - 5 : border], store[border - 3 : border])
    across = store[border - 5 : border + 5]
    assert not np.shares_memory(across, store[border : border + 5])
    assert not across.flags.writeable
    assert isinstance(root_base(store["n0"]), np.memmap)
    with pytest.raises(ValueError, match="copies"):
        np.asarray(store, copy=False)
    whole = np.array(store)
    whole[...] = 0
    assert store[5] != 0


def test_every_check_of_a_store(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    check_writer(writer, arrays)
    with ptrarray.open(path) as store:
        check_store(store, arrays, in_order=True)
        assert dict(store.attrs) == dict(writer.attrs) == {"rate": 8000}
    writer.close()
    with ptrarray.open(path) as store:
        check_store(store, arrays, in_order=True)


def test_pickled_and_used_by_threads(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    store = pickle.loads(pickle.dumps(ptrarray.open(path)))
    again = pickle.loads(pickle.dumps(writer))
    more = ramps(80, seed=3)

    def write(item: tuple[str, Array]) -> None:
        again.write({"t" + item[0]: item[1]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, more.items()))
        found = list(pool.map(store.get, arrays))
    for array, expected in zip(found, arrays.values(), strict=True):
        check_same(array, expected)
    store.refresh()
    check_store(store, arrays | {"t" + name: array for name, array in more.items()})


def test_descriptors(path: Path, writer: PointerArrayWriter) -> None:
    """A reader has two for each shard, as Python keeps one for each mapping; a writer one."""
    writer.close()
    n_shards = len(shards_of(path))
    store = ptrarray.open(path)
    n_open = 2 * n_shards + 1
    assert len(open_descriptors(path)) <= n_open
    for name in store:
        store[name].sum()
    assert len(open_descriptors(path)) <= n_open
    store.close()
    assert open_descriptors(path) == []
    with ptrarray.append(path) as again:
        for number in range(n_shards):
            again[first_of(path, number)] = [1]
        again.flush()
        assert len(open_descriptors(path)) <= n_shards + 1 + 5 * 4
    del again
    gc.collect()
    assert open_descriptors(path) == []


def test_reads_change_no_file(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    writer["n0"] = [7]  # which leaves a note
    with unchanged(path), ptrarray.open(path) as store:
        check_store(store, arrays | {"n0": np.array([7], "i4")})
        store.refresh()


def test_closed(path: Path, writer: PointerArrayWriter) -> None:
    store = ptrarray.open(path)
    view = store["n1"]
    store.close()
    writer.close()
    writer.close()
    assert view.sum() >= 0
    asks: list[Callable[[], Any]] = [
        lambda: store["n1"],
        lambda: store.shards,
        lambda: store.shard_nbytes,
        store.refresh,
        lambda: writer.write({"x": []}),
        lambda: writer.pointers["n1"],
    ]
    for ask in asks:
        with pytest.raises(ClosedStoreError):
            ask()


# names in several shards -------------------------------------------------------------------------


def test_duplicates_are_found_in_any_shard(path: Path, writer: PointerArrayWriter) -> None:
    other = ptrarray.append(path)
    for number in range(len(shards_of(path))):
        name = first_of(path, number)
        for one in (writer, other):
            with pytest.raises(DuplicateNameError) as raised:
                one.write({"new": [1], name: [2]})
            assert raised.value.names == (name,)
            assert raised.value.path == str(path)
            with pytest.raises(DuplicateNameError):
                one.write_ragged(["new", name], [1, 2], [0, 1, 2])
            with pytest.raises(DuplicateNameError), one.allocate(name, 3):
                pass
    assert "new" not in writer


def test_replacing_arrays_of_older_shards(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    store = ptrarray.open(path)
    views = {name: store[name] for name in arrays}
    replaced = {first_of(path, number): np.arange(number + 1, dtype="i4") for number in range(4)}
    writer.update(replaced)
    for name, array in views.items():
        check_same(array, arrays[name])
    store.refresh()
    check_store(store, arrays | replaced)
    check_writer(writer, arrays | replaced)
    check_writer(ptrarray.append(path), arrays | replaced)
    writer.flush()
    check_store(ptrarray.open(path), arrays | replaced)
    for number in range(4):  # each is in one shard only
        name = list(replaced)[number]
        found = [name in ptrarray.open(shard) for shard in ptrarray.open(path).shards]
        assert sum(found) == 1


def test_what_a_dead_writer_replaced_is_there_once(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    """The older copy is deleted later; until then it is not to be seen."""
    writer["n0"] = [7, 8]
    expected = arrays | {"n0": np.array([7, 8], "i4")}
    del writer  # without closing, as if killed
    with ptrarray.open(path) as store:
        assert sum("n0" in ptrarray.open(shard) for shard in store.shards) == 2
        check_store(store, expected)
    with ptrarray.append(path) as other:
        check_writer(other, expected)
        with pytest.raises(DuplicateNameError):
            other.write({"n0": [1]})
        del other["n0"]
        expected.pop("n0")
        check_writer(other, expected)
        check_store(ptrarray.open(path), expected)
        other.write({"n0": [3]})
    with ptrarray.open(path) as store:
        check_store(store, expected | {"n0": np.array([3], "i4")})
        assert sum("n0" in ptrarray.open(shard) for shard in store.shards) == 1


def test_many_replaced_in_one_call(path: Path) -> None:
    arrays = ramps(300)
    with ptrarray.create(path, dtype="i4", shard_size="10kB") as writer:
        fill_one_by_one(writer, arrays)
        replaced = {name: array + 1 for name, array in arrays.items()}
        writer.update(replaced)
        check_store(ptrarray.open(path), replaced)
        # So many were settled at once.
        assert not [name for name in arrays if name in ptrarray.open(path / "shard-00000.ptr")]


def test_deleting_in_any_shard(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    other = ptrarray.append(path)
    for number in range(4):
        name = first_of(path, number)
        del writer[name]
        arrays.pop(name)
        for one in (writer, other):
            check_writer(one, arrays)
            with pytest.raises(UnknownNameError) as raised:
                del one[name]
            assert raised.value.path == str(path)
        other.write({name: [number]})
        arrays[name] = np.array([number], "i4")
        check_writer(writer, arrays)
    check_store(ptrarray.open(path), arrays)
    writer.clear()
    assert len(other) == len(writer) == len(ptrarray.open(path)) == 0
    other.write({"n1": [1]})
    check_store(ptrarray.open(path), {"n1": np.array([1], "i4")})


def test_points_stay_in_the_shard_of_their_rows(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    other = ptrarray.append(path)
    other.write({"seen": [1]})  # it has read the names of older shards
    expected = arrays | {"seen": np.array([1], "i4")}
    for number, (name, length) in enumerate([("n3", 2), ("n50", 5), ("n20", 0)]):
        start, _ = writer.pointers[name]
        writer.point(f"p{number}", start, start + length)
        expected[f"p{number}"] = arrays[name][:length]
        with pytest.raises(DuplicateNameError):
            other.write({f"p{number}": [1]})
    check_store(ptrarray.open(path), expected)
    start, end = writer.pointers["n3"]
    writer.point("n50", start, end, overwrite=True)
    expected["n50"] = arrays["n3"]
    check_store(ptrarray.open(path), expected)
    check_writer(other, expected)
    border = ptrarray.open(path / "shard-00000.ptr").shape[0]
    with pytest.raises(BadInputError, match="not in one shard"):
        writer.point("across", border - 1, border + 1)
    with pytest.raises(BadInputError, match=r"has \d+ rows"):
        writer.point("beyond", 0, 10**6)
    check_writer(writer, expected)


def test_metadata_in_any_shard(path: Path, writer: PointerArrayWriter) -> None:
    writer.meta["n0"] = {"speaker": "Ann"}
    writer.write({"new": [1]}, meta={"new": {"k": 2}})
    store = ptrarray.open(path)
    assert writer.meta["n0"] == store.meta["n0"] == {"speaker": "Ann"}
    assert store.meta["new"] == {"k": 2}
    assert store.meta["n30"] == {}
    writer["n0"] = [1]
    store.refresh()
    assert store.meta["n0"] == writer.meta["n0"] == {}
    with pytest.raises(UnknownNameError):
        writer.meta["absent"] = {}


def test_attrs_are_those_of_the_first_shard(path: Path, writer: PointerArrayWriter) -> None:
    writer.attrs["later"] = [1, 2]
    with ptrarray.append(path) as other:
        other["n0"] = [1]  # which leaves a note in the last shard
        del other.attrs["rate"]
        assert dict(other.attrs) == dict(writer.attrs) == {"later": [1, 2]}
        n_shards = len(shards_of(path))
        while len(shards_of(path)) == n_shards:
            other.write({f"more{len(other)}": np.zeros(90, "i4")})
    assert ptrarray.open(path).attrs == {"later": [1, 2]}
    assert ptrarray.open(path / shards_of(path)[-1]).attrs == {"later": [1, 2]}


def test_allocated_rows(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    n_shards = len(shards_of(path))
    with writer.allocate("large", 3000) as rows:
        rows[...] = np.arange(3000)
        writer.write({f"m{n}": np.zeros(90, "i4") for n in range(5)})
        writer.write({f"k{n}": np.zeros(90, "i4") for n in range(7)})
        assert len(shards_of(path)) >= n_shards + 2  # it is not in the last shard any more
        with pytest.raises(DuplicateNameError):
            writer.write({"n0": []})
    for one in (writer, ptrarray.append(path)):
        with pytest.raises(DuplicateNameError):
            one.write({"large": [1]})
    with writer.allocate("n1", 2, overwrite=True) as rows:
        rows[...] = 5
    expected = arrays | {"large": np.arange(3000, dtype="i4"), "n1": np.full(2, 5, "i4")}
    expected |= {f"{k}{n}": np.zeros(90, "i4") for k, m in (("m", 5), ("k", 7)) for n in range(m)}
    check_store(ptrarray.open(path), expected)


@pytest.mark.parametrize("name", ["n0", "late", "new"])
def test_a_name_that_comes_while_rows_are_filled(
    path: Path, writer: PointerArrayWriter, arrays: Arrays, name: str
) -> None:
    """An array that is committed to an older shard replaces what is in the others, or fails."""
    other = ptrarray.append(path)

    def go_on() -> None:
        for n in range(2):
            other.write({f"m{n}": np.zeros(990, "i4")})
        other.write({"late": [1, 2]})
        arrays.update({f"m{n}": np.zeros(990, "i4") for n in range(2)})
        arrays["late"] = np.array([1, 2], "i4")

    with writer.allocate(name, 3, overwrite=True) as rows:
        rows[...] = 9
        go_on()
    expected = arrays | {name: np.full(3, 9, "i4")}
    check_store(ptrarray.open(path), expected)
    check_writer(other, expected)
    check_writer(writer, expected)
    writer.flush()
    check_store(ptrarray.open(path), expected)


def test_an_array_that_was_replaced_comes_back_to_its_shard(path: Path) -> None:
    """Two notes that tell each of the other's array that it is outdated would hide both."""
    with ptrarray.create(path, dtype="i4", shard_size="20kB") as writer:
        other = ptrarray.append(path)
        writer.write({"x": [1]})
        with writer.allocate("x", 3, overwrite=True) as rows:
            rows[...] = 9
            other.write({"m": np.zeros(4990, "i4")})
            other.write({"x": [2]}, overwrite=True)
            check_same(ptrarray.open(path)["x"], np.array([2], "i4"))
        expected = {"m": np.zeros(4990, "i4"), "x": np.full(3, 9, "i4")}
        check_store(ptrarray.open(path), expected)
        check_writer(other, expected)
        with ptrarray.open(path / shards_of(path)[0]) as first:
            check_same(first["x"], expected["x"])
        del other["x"]
        check_store(ptrarray.open(path), {"m": expected["m"]})


def test_a_duplicate_that_comes_while_rows_are_filled(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    other = ptrarray.append(path)
    with pytest.raises(DuplicateNameError), writer.allocate("late", 3) as rows:  # noqa: PT012
        rows[...] = 9
        other.write({"m": np.zeros(990, "i4")})
        other.write({"late": [1, 2]})
    arrays |= {"m": np.zeros(990, "i4"), "late": np.array([1, 2], "i4")}
    check_store(ptrarray.open(path), arrays)


# upkeep ------------------------------------------------------------------------------------------


def test_checkpoint_and_compact(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    other = ptrarray.append(path)
    other.write({"early": [1]})  # it knows how many rows older shards have
    arrays["early"] = np.array([1], "i4")
    reader = ptrarray.open(path)
    for number in range(3):
        name = first_of(path, number)
        del writer[name]
        arrays.pop(name)
    name = first_of(path, 3)
    writer[name] = arrays[name] = np.array([5], "i4")
    ptrarray.checkpoint(path)
    check_store(ptrarray.open(path), arrays)
    before = ptrarray.open(path).nbytes
    ptrarray.compact(path)
    store = ptrarray.open(path)
    check_store(store, arrays)
    assert store.nbytes == sum(array.nbytes for array in arrays.values()) < before
    start, end = other.write({"new": [1, 2, 3]})
    store.refresh()
    assert store.pointers["new"] == (start, end)
    assert len(reader) == 61
    ptrarray.verify(path)
    ptrarray.verify(store)


def test_a_copy_is_the_same_store(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    writer.close()
    copy = path.with_name("copy.ptr")
    shutil.copytree(path, copy)
    shutil.rmtree(path)
    with ptrarray.append(copy) as again:
        again.write({"more": [1]})
    check_store(ptrarray.open(copy), arrays | {"more": np.array([1], "i4")})


def test_replacing_a_store(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    reader = ptrarray.open(path)
    with ptrarray.create(path, dtype="f8", shard_size="1kB", mode="w") as new:
        assert shards_of(path) == ["shard.2-00000.ptr"]
        for n in range(20):
            new.write({f"new{n}": np.full(20, n)})
        assert len(shards_of(path)) > 2
    for use in (lambda: writer.write({"x": [1]}), lambda: writer["n1"], writer.flush):
        with pytest.raises(StoreError, match="replaced"):
            use()
    writer.close()
    for name, array in arrays.items():
        check_same(reader[name], array)
    reader.refresh()
    assert reader.dtype == np.float64
    assert len(reader) == 20
    with ptrarray.create(path, dtype="f8", shard_size="1kB", mode="w"):
        assert shards_of(path) == ["shard.3-00000.ptr"]


def test_a_journal_that_is_folded_before_the_commit_to_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting what another writer has replaced may fold the journal of the very shard."""
    monkeypatch.setattr("ptrarray.storage.writing.session._JOURNAL_LIMIT_NBYTES", 8200)
    path = path.with_name("new.ptr")
    writer = ptrarray.create(path, dtype="u1", shard_size=20_000)
    other = ptrarray.append(path)
    writer["x"] = np.zeros(10, "u1")
    with writer.allocate("x", 100, overwrite=True) as rows:
        rows[...] = 7
        for name in "ab":
            other[name] = np.zeros(15_000, "u1")
        other["x"] = [1]  # in another shard
    check_store(ptrarray.open(path), {"x": rows, **dict.fromkeys("ab", np.zeros(15_000, "u1"))})


def test_replaced_by_a_process_that_was_killed_then(
    path: Path, writer: PointerArrayWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old shards are there still, and nothing may be lost in them."""
    monkeypatch.setattr("ptrarray.storage.shards.create.remove_leftovers", lambda marker: None)
    ptrarray.create(path, dtype="i4", shard_size="1kB", mode="w").close()
    assert len(shards_of(path)) > 4
    with pytest.raises(StoreError, match="replaced"):
        writer.write({"x": [1]})
    monkeypatch.undo()
    with ptrarray.append(path) as new:
        fill_one_by_one(new, ramps(20))
    assert all(name.startswith("shard.2-") for name in shards_of(path))
    check_store(ptrarray.open(path), ramps(20))


def test_create_in_each_mode(path: Path, writer: PointerArrayWriter, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dtype": "i4", "shard_size": SHARD_NBYTES}
    with pytest.raises(StoreExistsError):
        ptrarray.create(path, **options)
    with ptrarray.create(path, **options, mode="a", attrs={"more": 1}) as again:
        assert len(again) == 60
        assert dict(again.attrs) == {"rate": 8000, "more": 1}
    with ptrarray.create(path, dtype="i4", mode="a") as again:
        assert len(again) == 60
    refused: list[tuple[dict[str, Any], str]] = [
        ({"dtype": "f4"}, "not rows of float32"),
        ({"shard_size": 5000}, "shards of 4000 bytes"),
        ({"rows": 5}, "leave out"),
    ]
    for other, why in refused:
        with pytest.raises(BadInputError, match=why):
            ptrarray.create(path, **{**options, **other}, mode="a")
    whole = tmp_path / "whole.ptr"
    ptrarray.create(whole, dtype="i4").close()
    with pytest.raises(BadInputError, match="not split into shards"):
        ptrarray.create(whole, **options, mode="a")
    for place, other in ((whole, options), (path, {"dtype": "i4"})):
        with unchanged(place), pytest.raises(BadInputError, match="in one step"):
            ptrarray.create(place, **other, mode="w")


def test_shards_choose_their_own_rows(path: Path, writer: PointerArrayWriter) -> None:
    with unchanged(path):
        with pytest.raises(BadInputError, match="choose their own rows"):
            writer.write({"x": [1]}, start=5)
        with pytest.raises(BadInputError, match="choose their own rows"):
            writer.write_ragged(["x"], [1], [0, 1], start=5)
        with pytest.raises(BadInputError, match="choose their own rows"):
            writer.reserve(5)


def test_bad_input_makes_no_shard(path: Path, writer: PointerArrayWriter) -> None:
    large = np.zeros(SHARD_NBYTES, "i4")
    with unchanged(path):
        for arrays in ({"x": large, "y": ["text"]}, {"x": large, "y": [[1]]}, {5: large}):
            with pytest.raises(BadInputError):
                writer.write(arrays)  # type: ignore[arg-type]


def test_changes_through_views(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    writer.close()
    names = [first_of(path, number) for number in (0, 2)]
    with ptrarray.open(path, "r+") as store:
        for name in names:
            store[name][...] = 3
            arrays[name] = np.full_like(arrays[name], 3)
        assert not store.rows.flags.writeable  # a copy, which would keep what is written to it
    check_store(ptrarray.open(path), arrays)
    with ptrarray.open(path, "c") as store:
        store[names[0]][...] = 9
        assert (store[names[0]] == 9).all()
    check_store(ptrarray.open(path), arrays)


# damage ------------------------------------------------------------------------------------------


def test_every_byte_of_the_marker_counts(path: Path, writer: PointerArrayWriter) -> None:
    marker = path / MARKER
    raw = marker.read_bytes()
    for at in range(len(raw)):
        marker.write_bytes(raw[:at] + bytes([raw[at] ^ 0x5A]) + raw[at + 1 :])
        for use in (ptrarray.open, ptrarray.append):
            with pytest.raises(CorruptStoreError):
                use(path)
    for cut in range(len(raw)):
        marker.write_bytes(raw[:cut])
        with pytest.raises(CorruptStoreError):
            ptrarray.open(path)
    marker.write_bytes(raw + b"\0")
    with pytest.raises(CorruptStoreError):
        ptrarray.open(path)


def test_a_missing_shard_is_named(path: Path, writer: PointerArrayWriter, tmp_path: Path) -> None:
    writer.close()
    shutil.move(path / "shard-00001.ptr", tmp_path / "away.ptr")
    for use in (ptrarray.open, ptrarray.verify):
        with pytest.raises(CorruptStoreError, match=r"shard-00001.ptr is missing: put it back"):
            use(path)
    with ptrarray.append(path) as again, pytest.raises(CorruptStoreError, match="missing"):
        again.write({"x": [1]})
    shutil.move(tmp_path / "away.ptr", path / "shard-00001.ptr")
    ptrarray.verify(path)
    for name in shards_of(path):
        shutil.rmtree(path / name)
    with pytest.raises(CorruptStoreError, match=r"shard-00000.ptr is missing"):
        ptrarray.open(path)
    (path / MARKER).unlink()
    with pytest.raises(StoreNotFoundError):
        ptrarray.open(path)


def test_a_shard_of_another_kind_is_refused(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    shutil.rmtree(path / "shard-00001.ptr")
    ptrarray.create(path / "shard-00001.ptr", dtype="f8").close()
    with pytest.raises(CorruptStoreError, match="not rows of int32"):
        ptrarray.open(path)


def test_verify_tells_of_damage_in_all_shards(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    writer.close()
    names = [first_of(path, number) for number in (0, 2)]
    for number in (0, 2):
        with (path / shards_of(path)[number] / "data.bin").open("r+b") as file:
            file.write(b"\xff\xff\xff\xff")
    with pytest.raises(CorruptStoreError) as raised:
        ptrarray.verify(path)
    assert [damage.name for damage in raised.value.damage] == names
    repaired = path.with_name("repaired.ptr")
    assert [damage.name for damage in ptrarray.repair(path, repaired)] == names
    check_store(ptrarray.open(repaired), {n: a for n, a in arrays.items() if n not in names})
    assert ptrarray.open(repaired).shard_nbytes == SHARD_NBYTES


def test_verify_finds_a_name_in_two_shards(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    with ptrarray.append(path / "shard-00001.ptr") as alone:  # which nobody should do here
        alone["n0"] = [4]
    store = ptrarray.open(path)
    assert store["n0"].tolist() == [4]
    with pytest.raises(CorruptStoreError, match=r"'n0'.* which is in .*shard-00001.ptr, too"):
        store.verify()
    with ptrarray.append(path) as again:
        again["n0"] = [5]
    check_same(ptrarray.open(path)["n0"], np.array([5], "i4"))
    ptrarray.verify(path)


@pytest.mark.parametrize("lost", ["marker", "shard", "index", "first index"])
def test_repair_without_some_of_it(
    path: Path, writer: PointerArrayWriter, arrays: Arrays, lost: str
) -> None:
    writer.close()
    number = 0 if lost == "first index" else 1
    shard = path / shards_of(path)[number]
    gone = set(ptrarray.open(shard)) if lost != "marker" else set()
    if lost == "marker":
        (path / MARKER).write_bytes(b"junk")
    elif lost == "shard":
        shutil.rmtree(shard)
    else:
        (shard / "index.msgpack").write_bytes(b"junk")
    repaired = path.with_name("repaired.ptr")
    left_out = ptrarray.repair(path, repaired)
    assert len(left_out) == 1
    store = ptrarray.open(repaired)
    assert store.attrs == {"rate": 8000}
    check_store(store, {name: array for name, array in arrays.items() if name not in gone})
    with ptrarray.append(repaired) as again:
        again.write({"more": [1]})
    with pytest.raises(StoreExistsError):
        ptrarray.repair(path, repaired)


def test_repair_of_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        ptrarray.repair(tmp_path / "absent.ptr", tmp_path / "new.ptr")
    empty = tmp_path / "empty.ptr"
    empty.mkdir()
    (empty / MARKER).write_bytes(b"junk")
    with pytest.raises((CorruptStoreError, StoreNotFoundError)):
        ptrarray.repair(empty, tmp_path / "new.ptr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.ptr"]


def test_a_damaged_name_table_is_told(path: Path, writer: PointerArrayWriter) -> None:
    writer.close()
    ptrarray.checkpoint(path)
    finder = Finder(open_shards(path).shards)
    number, slots, n_homes, entries = finder._newest_first[0]
    finder._newest_first[0] = (number, slots[:0], n_homes, entries)
    with pytest.raises(IndexError):
        finder.find(b"n0")


# fill and the command line -----------------------------------------------------------------------


def ramp(n: int) -> Array:
    return np.arange(n, dtype="i4")


def test_fill(path: Path) -> None:
    tasks = {f"n{n}": n % 700 for n in range(1500)}
    n_arrays = ptrarray.fill(
        path, ramp, tasks, dtype="i4", shard_size="200kB", processes=2, progress=False
    )
    assert n_arrays == 1500
    check_store(ptrarray.open(path), {name: ramp(n) for name, n in tasks.items()})
    sizes = [ptrarray.open(shard).nbytes for shard in ptrarray.open(path).shards]
    assert len(sizes) > 8
    assert max(sizes) <= 200_000
    assert min(sizes[:-1]) >= 200_000 * 3 // 4
    more = tasks | {"more": 5}
    with pytest.raises(DuplicateNameError):
        ptrarray.fill(path, ramp, more, processes=1, progress=False)
    assert ptrarray.fill(path, ramp, more, processes=1, progress=False, resume=True) == 1


def test_command_line(
    path: Path, writer: PointerArrayWriter, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    writer.close()
    n_shards = len(shards_of(path))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"shards     {n_shards}\n" in out
    assert "shard nbytes  4,000" in out
    assert main(["ls", str(path), "n1?"]) == 0
    assert capsys.readouterr().out.split() == [f"n1{n}" for n in range(10)]
    assert main(["get", str(path), "n40"]) == 0
    assert capsys.readouterr().out.startswith("n40: int32")
    repaired = str(tmp_path / "repaired.ptr")
    for command in (["verify"], ["checkpoint"], ["compact"], ["repair", "--to", repaired]):
        assert main([command[0], str(path), *command[1:]]) == 0
    assert "60 arrays" in capsys.readouterr().out
    shutil.rmtree(path / "shard-00001.ptr")
    assert main(["verify", str(path)]) == 1
    assert "shard-00001.ptr" in capsys.readouterr().out
