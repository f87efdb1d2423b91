"""A large index that lies elsewhere: the same as one here, in few requests, fetched block by block."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError, PointerArray
from ptrarray.errors import RemoteError, StoreChangedError
from ptrarray.storage.remote import sparse
from ptrarray.storage.remote.faults import Fault
from ptrarray.storage.remote.objects import Coming
from ptrarray.storage.remote.sparse import SparseBytes
from ptrarray.storage.store import probed
from ptrarray.storage.store.probed import ProbedIndex
from tests.support.any_layout import KINDS, array_of
from tests.support.checks import check_same, check_store
from tests.support.colliding import COLLIDING
from tests.support.damage import INDEX
from tests.support.effort import one_in
from tests.support.forging import unpack_index
from tests.support.remote import URL, FolderObjects, Request, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")
KB = 1 << 10
N_PARTS = 4  # the bytes that are damaged are shared out over so many tests


@pytest.fixture(autouse=True)
def _probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", 0)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[FolderObjects]:
    with folder_elsewhere(tmp_path) as objects:
        yield objects


def opened(path: Path) -> PointerArray:
    return ptrarray.open(f"{URL}/{path.name}", gap=1)


def index_of(store: PointerArray) -> ProbedIndex:
    (only,) = store._opened.stores
    assert isinstance(only.snapshot.index, ProbedIndex)
    return only.snapshot.index


def use_tiny_blocks(patch: pytest.MonkeyPatch) -> None:
    """Have nearly each number fetched by itself, and nothing known from the beginning of the file."""
    patch.setattr(sparse, "BLOCK_NBYTES", 64)
    patch.setattr(sparse, "HEAD_NBYTES", 64)
    patch.setattr(probed, "_WINDOW", 2)


# The same as here ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("kind", "publish", "has_journal"), one_in(5, product(KINDS, (False, True), (False, True)))
)
def test_it_is_the_same(
    path: Path, kind: str, publish: bool, has_journal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_blocks(monkeypatch)
    names = ["", "größe", "x" * 300, *COLLIDING, *(f"a{n}" for n in range(40))]
    with ptrarray.create(path, **KINDS[kind]) as writer:
        metas = {name: {"n": at} for at, name in enumerate(names) if at % 3}
        writer.write({name: array_of(kind, at) for at, name in enumerate(names)}, meta=metas)
    (ptrarray.publish if publish else ptrarray.checkpoint)(path)
    if has_journal:
        with ptrarray.append(path) as writer:
            del writer["a7"]
            writer["a8"], writer["new"] = array_of(kind, 7), array_of(kind, 11)
    here = ptrarray.open(path)
    store = opened(path)
    assert ("entry" in index_of(store).columns) == publish
    check_store(store, dict(here), in_order=True, length=_rows_of(here))
    assert dict(opened(path).meta) == dict(here.meta)
    assert list(opened(path).names.newest(9)) == here.names.newest(9)
    fresh = opened(path)
    assert [fresh.names[at] for at in (30, 3, -1)] == [here.names[at] for at in (30, 3, -1)]
    assert fresh.names[20:40] == here.names[20:40]
    assert list(fresh.pointers.items()) == list(here.pointers.items())
    for name in (*COLLIDING, "a0", "a13", "a26", "a39"):
        check_same(opened(path)[name], here[name])
    for name in COLLIDING:  # a run of slots that goes on in the next block
        found = opened(path)._opened.snapshot.find_all([name.encode()])
        assert found.tolist() == [list(here.pointers[name])]
    asked = [name.encode() for name in (*names, "none", "nothing")]
    found = opened(path)._opened.snapshot.find_all(asked)
    assert np.array_equal(found, here._opened.snapshot.find_all(asked))


def _rows_of(store: PointerArray) -> Any:
    layout = store.layout

    def length(array: Any) -> int:
        if layout == "rows":
            return len(array)
        return int(array.size * (array.itemsize if layout == "mixed" else 1))

    return length


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("n_shards", [1, 3])
def test_shards_are_the_same(path: Path, n_shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_blocks(monkeypatch)
    with ptrarray.create(path, dtype="u1", shard_size=5000) as writer:
        for part in range(n_shards):
            writer.write({f"a{part}/{n}": np.full(n, n) for n in range(80)})
    ptrarray.publish(path)
    here, store = ptrarray.open(path), opened(path)
    assert len(store.shards) == n_shards
    check_store(store, dict(here), in_order=True)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("kind", ["rows", "masked mixed"])
def test_a_pack_is_the_same(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_blocks(monkeypatch)
    with ptrarray.create(path, **KINDS[kind]) as writer:
        writer.write({f"a{n}": array_of(kind, n) for n in range(60)})
    pack = path.with_suffix(".tar")
    ptrarray.pack(path, pack)
    here, store = ptrarray.open(pack), opened(pack)
    assert index_of(store).pack is not None
    check_store(store, dict(here), in_order=True, length=_rows_of(here))


@pytest.mark.usefixtures("elsewhere")
def test_without_an_array_there_is_nothing_to_find(path: Path) -> None:
    ptrarray.create(path, dtype="f4").close()
    ptrarray.publish(path)
    store = opened(path)
    assert "a" not in store
    assert list(store) == []
    assert len(store.take([])) == 0


# Few requests -------------------------------------------------------------------------------------

N_NAMES = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of many names and metadata, copied as it is, and one that is published."""
    folder = tmp_path_factory.mktemp("folder")
    arrays = {f"utt{n:06d}": np.full(100, n, "f4") for n in range(N_NAMES)}
    metas = {name: {"n": int(array[0])} for name, array in arrays.items()}
    with ptrarray.create(folder / "copied.ptr", dtype="f4") as writer:
        writer.write(arrays, meta=metas)
    ptrarray.checkpoint(folder / "copied.ptr")
    shutil.copytree(folder / "copied.ptr", folder / "published.ptr")
    ptrarray.publish(folder / "published.ptr")
    return folder


@pytest.fixture
def asked(folder: Path) -> Iterator[FolderObjects]:
    with folder_elsewhere(folder) as objects:
        yield objects


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests went out together, each time that the index was asked for blocks."""
    found: list[int] = []
    fetch = SparseBytes._fetch

    def counted(content: SparseBytes, runs: Any) -> None:
        found.append(len(runs))
        fetch(content, runs)

    monkeypatch.setattr(SparseBytes, "_fetch", counted)
    return found


def of_index(asked: list[Request]) -> list[Request]:
    """Return the requests that fetch some of an index, and do not only look whether it is there."""
    some = [one for one in asked if one.key.endswith(INDEX) and "helpers" not in one.key]
    return [one for one in some if one.nbytes > 1]


def nbytes(asked: list[Request]) -> int:
    return sum(one.nbytes for one in asked)


def test_a_lookup(asked: FolderObjects, rounds: list[int]) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    asked.take()
    for n in np.random.default_rng(0).integers(0, N_NAMES, 20).tolist():
        assert store[f"utt{n:06d}"].tolist() == [n] * 100
        found = asked.take()
        assert len(found) <= 4
        assert nbytes(found) <= 512 * KB
        assert len(rounds) <= 3
        rounds.clear()


def test_a_lookup_in_a_copy_takes_as_many_rounds(asked: FolderObjects, rounds: list[int]) -> None:
    store = ptrarray.open(f"{URL}/copied.ptr")
    asked.take()
    assert store["utt033333"].tolist() == [33_333] * 100
    assert len(rounds) == 3
    assert rounds[1] == 5  # of five columns
    assert nbytes(asked.take()) <= 512 * KB


def test_a_name_that_is_not_there_is_one_request(asked: FolderObjects) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    asked.take()
    for n in range(20):
        assert f"no{n}" not in store
        assert len(asked.take()) <= 1


@pytest.mark.parametrize("name", ["published", "copied"])
def test_many_names_take_the_rounds_of_one(
    asked: FolderObjects, rounds: list[int], name: str
) -> None:
    store = ptrarray.open(f"{URL}/{name}.ptr")
    chosen = np.random.default_rng(1).choice(N_NAMES, 256, replace=False)
    batch = store.take([f"utt{n:06d}" for n in chosen.tolist()])
    assert np.array_equal(batch.values.reshape(-1, 100)[:, 0], chosen)
    assert len(rounds) == 3


def test_many_names_of_which_some_are_not_there(asked: FolderObjects, rounds: list[int]) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    names = [f"utt{n:06d}" for n in range(0, 2 * N_NAMES, 1000)]
    found = store._opened.snapshot.find_all([name.encode() for name in names])
    assert np.array_equal(found[:, 0] >= 0, np.arange(len(names)) < len(names) / 2)
    assert len(rounds) == 3


@pytest.mark.parametrize("name", ["published", "copied"])
def test_positions_take_one_round(asked: FolderObjects, rounds: list[int], name: str) -> None:
    store = ptrarray.open(f"{URL}/{name}.ptr")
    chosen = np.random.default_rng(2).integers(-N_NAMES, N_NAMES, 100)
    batch = store.arrays[chosen]
    assert np.array_equal(batch.values.reshape(-1, 100)[:, 0], chosen % N_NAMES)
    assert store.arrays[7].tolist() == [7] * 100
    assert len(rounds) <= 2
    with pytest.raises(IndexError):
        store.arrays[[0, N_NAMES]]


def test_names_by_position(asked: FolderObjects, rounds: list[int]) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    assert store.names[54_321] == "utt054321"
    assert len(rounds) == 2
    assert store.names[30_000:30_100] == [f"utt{n:06d}" for n in range(30_000, 30_100)]


def test_metadata(asked: FolderObjects, rounds: list[int]) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    asked.take()
    assert store.meta["utt044444"] == {"n": 44_444}
    assert len(asked.take()) == len(rounds) == 4


def test_names_in_order(asked: FolderObjects) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    asked.take()
    names = iter(store)
    assert next(names) == "utt000000"
    assert nbytes(asked.asked) <= 32 * KB
    assert sum(1 for _ in names) == N_NAMES - 1
    found = asked.take()
    assert len(found) <= 20
    assert nbytes(found) <= (8 + 9) * N_NAMES + 64 * KB  # with nothing beyond the two columns


def test_all_of_a_column_is_a_request_for_each_piece(asked: FolderObjects) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    asked.take()
    assert store.lengths.sum() == 100 * N_NAMES
    assert len(asked.take()) == 2
    store["utt000001"]
    assert store.lengths.sum() == 100 * N_NAMES
    assert len(of_index(asked.take())) <= 3


def test_what_came_is_not_asked_for_again(asked: FolderObjects) -> None:
    store = ptrarray.open(f"{URL}/published.ptr")
    names = [f"utt{n:06d}" for n in range(0, N_NAMES, 600)]
    store.take(names)
    asked.take()
    store.take(names)
    assert all(name in store for name in names)
    assert of_index(asked.take()) == []


def test_a_small_index_is_fetched_whole(
    asked: FolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probed, "WHOLE_NBYTES", 64 << 20)
    store = ptrarray.open(f"{URL}/copied.ptr")
    found = of_index(asked.take())
    assert len(found) == 2
    assert "utt000001" in store
    assert len(list(store)) == N_NAMES
    assert asked.take() == []


def test_what_is_there_twice_is_left_out_of_what_is_fetched(
    asked: FolderObjects, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    nbytes_of = {"published": 0, "copied": 0}
    for name in nbytes_of:
        nbytes_of[name] = (folder / f"{name}.ptr" / INDEX).stat().st_size
    monkeypatch.setattr(probed, "WHOLE_NBYTES", nbytes_of["copied"] + 200)
    store = ptrarray.open(f"{URL}/published.ptr")
    found = of_index(asked.take())
    assert nbytes_of["copied"] <= nbytes(found) <= nbytes_of["copied"] + 100 * KB
    assert len(list(store)) == len(store.lengths) == N_NAMES
    assert "utt000007" in store
    assert store.meta["utt012345"] == {"n": 12_345}
    assert of_index(asked.take()) == []
    store.verify()


# What is wrong ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("kind", "publish", "part"),
    one_in(3, product(("rows", "masked mixed"), (False, True), range(N_PARTS))),
)
def test_a_damaged_index_never_gives_other_arrays(
    path: Path, kind: str, publish: bool, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_blocks(monkeypatch)
    with ptrarray.create(path, **KINDS[kind]) as writer:
        writer.write({f"name {n}": array_of(kind, n + 1) for n in range(12)})
    (ptrarray.publish if publish else ptrarray.checkpoint)(path)
    right, raw = dict(ptrarray.open(path, backend="pread")), (path / INDEX).read_bytes()
    n_read = 0
    for at in range(19 * part, len(raw), 19 * N_PARTS):
        damaged = bytearray(raw)
        damaged[at] ^= 0x11
        (path / INDEX).write_bytes(damaged)
        try:
            store = opened(path)
        except CorruptStoreError:
            continue
        for name, array in right.items():
            try:
                found = store[name]
            except (CorruptStoreError, KeyError):
                continue
            assert np.ma.getdata(found).tobytes() == np.ma.getdata(array).tobytes()
            n_read += 1
        try:
            store.verify()
        except CorruptStoreError:
            continue
        assert at < len(raw)
        assert _is_framing(raw, at)
    assert n_read > 50


def _is_framing(raw: bytes, at: int) -> bool:
    """Tell whether no column has a byte of an index: a header has a checksum, too."""
    header, _ = unpack_index(raw)
    return all(
        not start <= at < start + nbytes for _, start, nbytes, _ in header["columns"].values()
    )


@pytest.mark.usefixtures("elsewhere")
def test_a_column_that_is_asked_for_whole_is_compared(path: Path) -> None:
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({f"a{n}": np.full(3, n) for n in range(100)})
    ptrarray.publish(path)
    raw = bytearray((path / INDEX).read_bytes())
    at = raw.index(
        bytes([33, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 39])
    )  # among the starts
    raw[at] = 32
    (path / INDEX).write_bytes(raw)
    store = opened(path)
    with pytest.raises(CorruptStoreError, match=r"column 'start' with CRC-32"):
        _ = store.starts


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("publish", [False, True])
@pytest.mark.parametrize("old", [b"name 77", b"name 149"])
def test_names_that_are_damaged_never_come(path: Path, old: bytes, publish: bool) -> None:
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({f"name {n}": np.full(3, n) for n in range(150)})
    (ptrarray.publish if publish else ptrarray.checkpoint)(path)
    raw = (path / INDEX).read_bytes()
    assert raw.count(old) == 1
    (path / INDEX).write_bytes(raw.replace(old, old[:-1] + b"x"))
    reads: list[Any] = [list, lambda store: [*store.items()], lambda store: store.names[:]]
    reads += [lambda store: store[old.decode()], lambda store: store.take(["name 1", old.decode()])]
    for read in [*reads, lambda store: old.decode() in store]:
        with pytest.raises(CorruptStoreError, match=r"CRC-32|another hash"):
            read(opened(path))
    assert opened(path).take(["name 1", "name 90"]).lengths.tolist() == [3, 3]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("publish", [False, True])
@pytest.mark.parametrize("read", [lambda store: [*store.values()], lambda store: [*store.walk()]])
def test_shapes_that_are_damaged_never_come(path: Path, read: Any, publish: bool) -> None:
    with ptrarray.create(path, dtype="u1", row_shape=None) as writer:
        writer.write({f"a{n}": np.full((2, 3), n) for n in range(20)})
    (ptrarray.publish if publish else ptrarray.checkpoint)(path)
    raw = (path / INDEX).read_bytes()
    index = raw.rindex(b"shape\x92\x02\x03")  # of all that have this one, the last
    (path / INDEX).write_bytes(raw[:index] + b"shape\x92\x03\x02" + raw[index + 8 :])
    with pytest.raises(CorruptStoreError, match=r"column 'info' with CRC-32"):
        read(opened(path))


def test_a_store_that_is_replaced_meanwhile(path: Path, elsewhere: FolderObjects) -> None:
    def make(value: int) -> None:
        with ptrarray.create(path, dtype="i4", mode="w") as writer:
            writer.write({f"a{n}": np.full(5, value) for n in range(20_000)})
        ptrarray.publish(path)

    make(1)
    store = opened(path)
    assert store["a7"].tolist() == [1] * 5
    make(2)
    with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
        store.take([f"a{n}" for n in range(0, 20_000, 100)])
    store.refresh()
    assert store["a7"].tolist() == [2] * 5


class Huge(FolderObjects):
    """Tells of an index that it has more bytes than there are."""

    nbytes = 1 << 60

    def get(self, key: str, start: int, end: int, tag: str | None) -> Coming:
        came = super().get(key, start, end, tag)
        return came._replace(nbytes=self.nbytes) if key.endswith(INDEX) else came


@pytest.mark.parametrize("nbytes", [1 << 60, (1 << 63) - 1, 1 << 39])
def test_a_size_that_cannot_be(path: Path, nbytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": [n] for n in range(2000)})
    ptrarray.checkpoint(path)
    monkeypatch.setattr(Huge, "nbytes", nbytes)
    with (
        folder_elsewhere(path.parent, objects=Huge) as _,
        pytest.raises(CorruptStoreError, match="more than an index can"),
    ):
        opened(path)


def test_threads_share_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "BLOCK_NBYTES", 256)
    with folder_elsewhere(folder), ThreadPoolExecutor(8) as pool:
        store = ptrarray.open(f"{URL}/published.ptr")
        chosen = np.random.default_rng(3).integers(0, N_NAMES, 200).tolist()
        for n, array in zip(chosen, pool.map(lambda n: store[f"utt{n:06d}"], chosen), strict=True):
            assert array.tolist() == [n] * 100


def test_a_server_that_refuses_in_the_middle(folder: Path) -> None:
    with folder_elsewhere(folder) as objects:
        store = ptrarray.open(f"{URL}/published.ptr")
        get = objects.get

        def refuse(key: str, start: int, end: int, tag: str | None) -> Coming:
            raise Fault("denied", "the server refuses it", 403)

        for n in range(3):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(objects, "get", refuse)
                with pytest.raises(RemoteError, match="refuses"):
                    store["utt012345"]
            assert objects.get == get
            assert store[f"utt00{n}000"].tolist() == [n * 1000] * 100
        assert store["utt012345"].tolist() == [12_345] * 100
