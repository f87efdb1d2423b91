"""A store of shards is read and written like any other."""

from __future__ import annotations

import gc
import pickle
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import ClosedStoreError, PointerArray, PointerArrayWriter
from tests.support.checks import (
    check_same,
    check_store,
    check_writer,
    open_descriptors,
    root_base,
    unchanged,
)
from tests.support.failing import caught
from tests.support.shards import Array, Arrays, first_of, ramps, sharded, shards_of

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def arrays() -> Arrays:
    return ramps(60)


@pytest.fixture
def writer(path: Path, arrays: Arrays) -> PointerArrayWriter:
    return sharded(path, arrays)


# compared with a store without shards -------------------------------------------------------------

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
    "reduce_each to a number": lambda store: store.reduce_each(np.maximum, axis=None),
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


# by itself ----------------------------------------------------------------------------------------


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
    """A reader has two for each shard, as Python before 3.13 keeps one for each mapping."""
    writer.close()
    n_shards = len(shards_of(path))
    store = ptrarray.open(path)
    n_open = (2 * n_shards if sys.version_info < (3, 13) else 0) + 1
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


@pytest.mark.parametrize("masked", [False, True])
def test_too_few_descriptors_for_all_shards(tmp_path: Path, masked: bool) -> None:
    path = tmp_path / "many.ptr"
    n_shards = 60
    with ptrarray.create(path, dtype="u1", shard_size=1000, masked=masked) as writer:
        for n in range(n_shards):
            writer[str(n)] = np.full(1000, n)
    with ptrarray.open(path, backend="pread") as store:
        sent = pickle.dumps(store.partitions(2)[0])
    calls: list[Callable[[], object]] = [
        lambda: ptrarray.open(path, backend="pread"),
        lambda: list(pickle.loads(sent)),
        lambda: ptrarray.verify(PointerArray(path, "r", "pread")),
    ]
    if sys.version_info < (3, 13):  # since then, mappings keep no descriptor
        calls.append(lambda: list(PointerArrayWriter(path)))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_most = len(list(Path("/dev/fd").iterdir())) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_most, limits[1]))
    try:
        for call in calls:
            gc.collect()
            error = caught(lambda _, call=call: call(), None)  # type: ignore[misc]
            text, needed = str(error), n_shards * (2 + masked) + 1
            assert f"{n_shards} shards take up to {needed} descriptors" in text
            assert error is not None
            assert error.filename == str(path)
            assert all(word in text for word in ("ulimit -n", "shard_size", "setrlimit"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with ptrarray.open(path) as store:
        assert len(store) == n_shards


def test_reads_change_no_file(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    writer["n0"] = [7]  # which leaves a note
    with unchanged(path), ptrarray.open(path) as store:
        check_store(store, arrays | {"n0": np.array([7], "i4")})
        store.refresh()


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
