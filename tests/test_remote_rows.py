"""Rows that lie elsewhere: the same as here, in few requests, many at once, and compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import CorruptStoreError, PointerArray
from ptrarray.errors import RemoteError, StoreChangedError
from ptrarray.storage.remote.faults import Fault
from ptrarray.storage.remote.objects import Coming
from tests.support.any_layout import KINDS, array_of
from tests.support.checks import check_same
from tests.support.effort import one_in
from tests.support.remote import URL, FolderObjects, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")
Array = NDArray[Any]
N_ARRAYS = 60
SHARD_NBYTES = 4096


ALL_KINDS = (*KINDS, "shards of rows", "shards of masked mixed")


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, kind: str) -> Path:
    """Path of a store with holes, names that share rows, and a journal that has a few records."""
    path, of = tmp_path / "store", kind.removeprefix("shards of ")
    shard_size = SHARD_NBYTES if of != kind else None
    with ptrarray.create(path, shard_size=shard_size, **KINDS[of]) as writer:
        writer.write({f"a{n}": array_of(of, n) for n in range(N_ARRAYS)})
        writer.point("twice", *writer.pointers["a7"])
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        del writer["a5"]
        writer["a8"], writer["new"] = array_of(of, 7), array_of(of, 11)
    return path


@pytest.fixture
def elsewhere(path: Path) -> Iterator[FolderObjects]:
    with folder_elsewhere(path.parent) as objects:
        yield objects


def opened(path: Path) -> PointerArray:
    return ptrarray.open(f"{URL}/{path.name}")


def transfer_of(store: PointerArray) -> Any:
    path: Any = store._path
    return path.transfer


def all_ways(store: Any) -> Iterator[list[Array]]:
    """Yield all arrays in data order, in each way in which they come whole."""
    names = list(store)
    yield [store[name] for name in names]
    yield [store.arrays[position] for position in range(len(names))]
    yield list(store.values())
    yield [array for _, array in store.items()]
    yield list(store.walk())
    yield list(store.arrays)


def test_arrays_are_those_that_are_there(path: Path, elsewhere: FolderObjects) -> None:
    with ptrarray.open(path) as here, opened(path) as store:
        assert (list(store), len(store)) == (list(here), len(here))
        wanted = list(here.values())
        for found in all_ways(store):
            for one, other in zip(found, wanted, strict=True):
                check_same(one, other)
        halves = [array for part in store.partitions(2) for array in part.values()]
        for one, other in zip(halves, wanted, strict=True):
            check_same(one, other)
        store.verify()


def test_batches_are_those_that_are_there(path: Path, kind: str, elsewhere: FolderObjects) -> None:
    names = ["a8", "twice", "new", "a31", "a30", "a8"]
    names = [name for name in names if "mixed" not in kind or name in ("a8", "new", "a31")]
    with ptrarray.open(path) as here, opened(path) as store:
        alike = {array.shape[1:] for array in here.take(names)}
        assert len(alike) == 1
        check_same(store.take(names).values, here.take(names).values)
        positions = [list(here).index(name) for name in names]
        check_same(store.arrays.take(positions).values, here.arrays.take(positions).values)
        out = np.zeros_like(here.take(names).values)
        assert store.take(names, out=out).values.base is not None
        check_same(out, here.take(names).values)
        if "mixed" not in kind:
            check_same(store.rows, here.rows)
            check_same(np.add.reduce(np.ma.getdata(store[2:9])), np.ma.getdata(here[2:9]).sum(0))
            sums = (one.reduce_each(np.add) for one in (store, here))
            check_same(*sums)


# checksums ----------------------------------------------------------------------------------------


def damaged(path: Path, name: str) -> None:
    """Change a bit of the array of a name, in a data file."""
    with ptrarray.open(path) as store:
        end = store.pointers[name].end
        number = int(np.searchsorted(np.cumsum([len(one.data) for one in stores_of(store)]), end))
        end -= sum(len(one.data) for one in stores_of(store)[:number])
        width = store._opened.layout.width
    file = sorted(path.rglob("data.bin"))[number]
    raw = bytearray(file.read_bytes())
    raw[end * width - 1] ^= 1
    file.write_bytes(raw)


def stores_of(store: PointerArray) -> list[Any]:
    return list(store._opened.stores)


def ways_to(name: str, position: int) -> list[Callable[[PointerArray], object]]:
    return [
        lambda store: store[name],
        lambda store: store.arrays[position],
        lambda store: store.take([name]),
        lambda store: store.take(["a1", name, "a4"] if "mixed" not in store.path else [name]),
        lambda store: store.arrays.take([position]),
        lambda store: list(store.values()),
        lambda store: dict(store.items()),
        lambda store: list(store.walk()),
        lambda store: list(store.arrays),
        lambda store: [dict(part) for part in store.partitions(3)],
        lambda store: store.verify(),
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    # There is nothing to damage in what has no width.
    one_in(3, product([kind for kind in ALL_KINDS if kind != "no width"], ["a31", "new"])),
    indirect=["kind"],
)
def test_an_array_that_is_damaged_never_comes(
    path: Path, kind: str, name: str, elsewhere: FolderObjects
) -> None:
    damaged(path, name)
    with opened(path) as store:
        position = list(store).index(name)
        for number, way in enumerate(ways_to(name, position)):
            if "mixed" in kind and number == 3:
                continue
            with pytest.raises(CorruptStoreError, match=f"'{name}'"):
                way(store)
        others = [store[other] for other in store if other != name]
        assert len(others) == len(store) - 1


@pytest.mark.parametrize("kind", ["masked rows", "masked mixed"])
def test_a_mask_that_is_damaged_never_comes(path: Path, elsewhere: FolderObjects) -> None:
    with ptrarray.open(path) as here:
        start, end = here.pointers["a31"]
        layout = here._opened.layout
        first, last = (start, end) if layout.kind == "mixed" else (start * 1, end * 1)
    mask = path / "mask.bin"
    raw = bytearray(mask.read_bytes())
    raw[first] ^= 1
    mask.write_bytes(raw)
    with opened(path) as store:
        for way in (lambda: store["a31"], lambda: store.take(["a31"]), lambda: list(store.walk())):
            with pytest.raises(CorruptStoreError, match="'a31'"):
                way()
    assert last > first


@pytest.mark.parametrize("kind", ["rows"])
def test_a_part_of_an_array_is_not_compared(path: Path, elsewhere: FolderObjects) -> None:
    damaged(path, "a31")
    with ptrarray.open(path) as here, opened(path) as store:
        start, end = here.pointers["a31"]
        check_same(store[start:end], here[start:end])
        assert np.sum(store) == np.sum(here)
        assert end > start


# how many requests, and how many at once -------------------------------------------------------------

N_FAR, FAR_ROWS = 256, 2048


@pytest.fixture(params=["rows", "mixed", "masked rows", "shards of rows"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, FolderObjects]]:
    """A store of 512 arrays of 16 kB, with 16 kB of holes between, and what serves it."""
    path, of = tmp_path / "far", request.param.removeprefix("shards of ")
    options = {**KINDS[of], "dtype": KINDS[of].get("dtype") and "f8"}
    shard_size = (1 << 20) if of != request.param else None
    rows = np.arange(FAR_ROWS, dtype="f8")
    if "masked" in options:
        rows = np.ma.MaskedArray(rows, rows % 3 == 0)
    with ptrarray.create(path, shard_size=shard_size, **options) as writer:
        for first in range(0, 2 * N_FAR, 64):
            writer.write({f"a{n}": rows + n for n in range(first, first + 64)})
    ptrarray.checkpoint(path)
    with folder_elsewhere(tmp_path) as objects:
        yield path, objects


def of_rows(objects: FolderObjects) -> list[Any]:
    return [one for one in objects.take() if one.key.endswith((".bin",))]


def spread_names(n: int) -> list[str]:
    """Return names of arrays that lie apart, in no order."""
    numbers = np.random.default_rng(0).permutation(n) * (2 * N_FAR // n)
    return [f"a{number}" for number in numbers.tolist()]


def test_neighbours_are_one_request(far: tuple[Path, FolderObjects]) -> None:
    path, objects = far
    with opened(path) as store:
        list(store)
        names = [f"a{n}" for n in range(40, 70)]
        objects.take()
        batch = store.take(names)
        found = of_rows(objects)
    n_files = len({one.key for one in found})
    assert len(found) == n_files <= 2
    assert batch.values[1] == 41


def test_what_is_spread_is_asked_for_at_once(
    far: tuple[Path, FolderObjects], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, objects = far
    with opened(path) as store, ptrarray.open(path) as here:
        list(store)
        monkeypatch.setattr(transfer_of(store), "gap_nbytes", 0)
        names = spread_names(32 // len(of_files(store)))
        # None of them comes before all have been asked for.
        barrier, get = threading.Barrier(32, timeout=60), objects.get

        def together(key: str, *what: Any) -> Coming:
            if key.endswith(".bin"):
                barrier.wait()
            return get(key, *what)

        monkeypatch.setattr(objects, "get", together)
        objects.take()
        batch = store.take(names)
        assert len(of_rows(objects)) == 32
        monkeypatch.setattr(objects, "get", get)
        check_same(batch.values, here.take(names).values)


def test_as_many_as_are_allowed_are_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": np.full(20, n) for n in range(2 * N_FAR)})
    with folder_elsewhere(tmp_path, parallel=N_FAR) as objects, opened(path) as store:
        list(store)
        monkeypatch.setattr(transfer_of(store), "gap_nbytes", 0)
        barrier, get = threading.Barrier(N_FAR, timeout=60), objects.get

        def together(*what: Any) -> Coming:
            barrier.wait()
            return get(*what)

        monkeypatch.setattr(objects, "get", together)
        names = spread_names(N_FAR)
        assert store.take(names).values[::20].tolist() == [int(name[1:]) for name in names]


def of_files(store: PointerArray) -> list[str]:
    """Return which files an array has rows in, or a mask."""
    return ["data", "mask"] if store.masked else ["data"]


@pytest.mark.parametrize("far", ["shards of rows"], indirect=True)
def test_rows_of_several_shards_are_asked_for_at_once(
    far: tuple[Path, FolderObjects], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, objects = far
    with opened(path) as store, ptrarray.open(path) as here:
        list(store)
        wanted = [here[:], here[1000:-1000:500], here[[5, -5, 300_000, 600_000]]]
        barrier, get = threading.Barrier(2, timeout=60), objects.get

        def in_twos(*what: Any) -> Coming:
            barrier.wait()
            return get(*what)

        monkeypatch.setattr(objects, "get", in_twos)
        assert len(store.shards) == 8
        found = [store[:], store[1000:-1000:500], store[[5, -5, 300_000, 600_000]]]
        for one, other in zip(found, wanted, strict=True):
            check_same(one, other)


def test_arrays_in_order_take_a_request_for_many(far: tuple[Path, FolderObjects]) -> None:
    path, objects = far
    with opened(path) as store:
        for iterate in (store.values, store.walk, store.arrays.__iter__, store.items):
            objects.take()
            assert sum(1 for _ in iterate()) == 2 * N_FAR
            found = of_rows(objects)
            n_shards = len(store.shards)
            n_batches = 2 * N_FAR * FAR_ROWS * 8 // (512 << 10)
            assert len(found) <= len(of_files(store)) * (n_batches * 9 // 8 + 2 + n_shards)
            objects.take()
            next(iter(iterate()))
            assert sum(one.nbytes for one in of_rows(objects)) <= 4 << 20


@pytest.mark.parametrize("far", ["rows", "masked rows", "shards of rows"], indirect=True)
def test_all_rows_take_a_request_for_many(far: tuple[Path, FolderObjects]) -> None:
    path, objects = far
    with opened(path) as store:
        list(store)
        for reduce in (np.sum, np.std, lambda one: one.reduce_each(np.add), PointerArray.verify):
            objects.take()
            reduce(store)
            found = of_rows(objects)
            n_files = len(of_files(store)) * len(store.shards)
            assert len(found) <= 12 * n_files


@pytest.mark.parametrize("shard_size", [None, 1 << 16])
def test_masks_of_a_mixed_store_take_a_request_for_many(
    tmp_path: Path, shard_size: int | None
) -> None:
    path = tmp_path / "store"
    arrays = {f"a{n}": np.ma.MaskedArray(np.arange(n % 50) + 0.5) for n in range(300)}
    with ptrarray.create(path, masked=True, shard_size=shard_size) as writer:
        for n, (name, array) in enumerate(arrays.items()):
            array[n % 7 :: 3] = np.ma.masked
            writer[name] = array.astype("f4" if n % 2 else "f8")
    ptrarray.checkpoint(path)
    with folder_elsewhere(tmp_path) as objects, opened(path) as store, ptrarray.open(path) as here:
        list(store)
        for dtype in ("f4", "f8"):
            objects.take()
            some, others = store.of_dtype(dtype), here.of_dtype(dtype)
            assert np.sum(some) == np.sum(others)
            check_same(some.reduce_each(np.add), others.reduce_each(np.add))
            assert len(of_rows(objects)) <= 4 * len(store.shards)


def test_no_more_is_under_way_than_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({f"a{n}": np.full(5000, n % 256, "u1") for n in range(400)})
    lock, counts = threading.Lock(), [0, 0]
    with folder_elsewhere(tmp_path, parallel=3) as objects, opened(path) as store:
        get = objects.get

        def counted(*what: Any) -> Coming:
            with lock:
                counts[0] += 1
                counts[1] = max(counts)
            try:
                return get(*what)
            finally:
                with lock:
                    counts[0] -= 1

        monkeypatch.setattr(objects, "get", counted)
        monkeypatch.setattr(transfer_of(store), "gap_nbytes", 0)
        names = [f"a{n}" for n in range(0, 400, 2)]
        assert store.take(names).values[::5000].tolist() == [n % 256 for n in range(0, 400, 2)]
        assert sum(len(array) for array in store.values()) == 2_000_000
        np.sum(store)
    assert counts[1] <= 3


# what goes wrong ----------------------------------------------------------------------------------


def test_nothing_is_written_to_memory_of_others_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({f"a{n}": np.full(5000, 1, "u1") for n in range(40)})
    late, done = threading.Event(), threading.Event()
    with folder_elsewhere(tmp_path) as objects, opened(path) as store:
        get = objects.get

        def one_fails(key: str, start: int, *what: Any) -> Coming:
            if start == 0:
                raise Fault("refused", "the server does not like it", 400)
            if start == 10_000:
                late.wait(60)
                done.set()
            return get(key, start, *what)

        monkeypatch.setattr(objects, "get", one_fails)
        monkeypatch.setattr(transfer_of(store), "gap_nbytes", 0)
        out = np.zeros(100_000, np.uint8)
        with pytest.raises(RemoteError, match="does not like it"):
            store.take([f"a{n}" for n in range(0, 40, 2)], out=out)
        before = out.copy()
        late.set()
        assert done.wait(60)
        assert np.array_equal(out, before)


@pytest.mark.parametrize("options", [{"dtype": "i4"}, {}, {"dtype": "i4", "shard_size": 4096}])
def test_a_store_that_is_replaced_is_never_mixed(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, names = tmp_path / "store", [f"a{n}" for n in range(12)]
    n_changed = 0
    for at_request in range(0, 14, 2):
        for value, name in enumerate(("store", "later"), 1):
            with ptrarray.create(tmp_path / name, mode="w", **options) as writer:
                for n in range(12):
                    writer[f"a{n}"] = np.full(500, value, "i4")
        with folder_elsewhere(tmp_path) as objects, opened(path) as store:
            monkeypatch.setattr(transfer_of(store), "gap_nbytes", 0)
            counter, get = count(), objects.get

            def replacing(*what: Any) -> Coming:
                if next(counter) == at_request:  # noqa: B023 of this round
                    path.rename(tmp_path / f"old{at_request}")  # noqa: B023
                    (tmp_path / "later").rename(path)
                return get(*what)  # noqa: B023

            monkeypatch.setattr(objects, "get", replacing)
            try:
                found = store.take(names).values, np.concatenate(list(store.values()))
                assert {1} == set(np.concatenate(found).tolist())
            except StoreChangedError:
                n_changed += 1
                store.refresh()
                assert {2} == set(store.take(names).values.tolist())
    assert n_changed


@pytest.mark.parametrize("kind", ["plain", "masked", "shards"])
def test_an_error_waits_for_nothing_that_is_under_way(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, shard_size = tmp_path / "store", (8 << 20) if kind == "shards" else None
    with ptrarray.create(
        path, dtype="u1", masked=kind == "masked", shard_size=shard_size
    ) as writer:
        writer.write({f"a{n}": np.ones(1 << 20, "u1") for n in range(40)})
    ptrarray.checkpoint(path)
    after = threading.Event()
    with folder_elsewhere(tmp_path) as objects, opened(path) as store:
        list(store)
        get = objects.get

        def one_fails(key: str, start: int, *what: Any) -> Coming:
            if not key.endswith(".bin"):
                return get(key, start, *what)
            if start == 0:
                raise Fault("refused", "the server does not like it", 400)
            assert after.wait(60)
            raise Fault("refused", "nobody waits for it any more", 400)

        monkeypatch.setattr(objects, "get", one_fails)
        ways: list[Any] = [np.sum, PointerArray.verify, lambda one: list(one.values())]
        ways += [lambda one: one.reduce_each(np.add), lambda one: one.take(list(one)), np.asarray]
        for way in ways:
            after.clear()
            with pytest.raises(RemoteError, match="does not like it"):
                way(store)
            after.set()
