"""Partitions: every array in exactly one, the same as in the store, and never another."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, StoreError
from tests.support.checks import check_same
from tests.support.examples import some
from tests.support.layouts import LAYOUTS, filled
from tests.support.memory import peak_nbytes
from tests.support.processes import in_pool
from tests.support.strategies import arrays, maybe_hidden, names, shaped_arrays

Array = Any


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ptr"


def numbered(n: int, length: int = 4) -> dict[str, Array]:
    return {f"n{i}": np.arange(i, i + length, dtype="f8") for i in range(n)}


def sent(partition: Any) -> Any:
    """Return a partition as another process gets it."""
    return pickle.loads(pickle.dumps(partition))


def check_partitions(store: Any, parts: list[Any]) -> None:
    """Check that parts have all arrays of a store, in its order, and answer as it does."""
    assert [name for part in parts for name in part] == list(store)
    assert sum(map(len, parts)) == len(store)
    position = 0
    for part in parts:
        assert len(part) > 0
        own = list(part)
        assert list(part.names) == own == [name for name, _ in part.items()]
        assert part.names[0] == own[0]
        span = slice(position, position + len(part))
        assert part.lengths.tolist() == store.lengths[span].tolist()
        assert part.starts.tolist() == store.starts[span].tolist()
        assert part.ends.tolist() == store.ends[span].tolist()
        is_filled = part.lengths > 0  # empty ones may lie past the end
        if is_filled.any():
            assert part.row_range.start <= part.starts[is_filled][0]
            assert part.row_range.stop >= part.ends[is_filled].max()
        row_nbytes = store.dtype.itemsize * math.prod(store.row_shape or ())
        assert part.nbytes == int(part.lengths.sum()) * row_nbytes
        for at, (name, array) in enumerate(part.items()):
            for found in (array, part[name], part.arrays[at], list(part.values())[at]):
                check_same(found, store[name])
            assert name in part
            assert part.meta[name] == store.meta[name]
            assert part.pointers[name] == store.pointers[name]
        for other in set(store) - set(own):
            assert other not in part
            assert part.get(other) is None
        if store.layout == "rows":
            batch, wanted = part.take(own[::-1]), store.take(own[::-1])
            check_same(batch.values, wanted.values)
            assert batch.offsets.tolist() == wanted.offsets.tolist()
        position += len(part)


@st.composite
def written(draw: st.DrawFn, path: Path, kind: str) -> None:
    """Write a store of some kind: some of it in the index, some in the journal, some replaced."""
    masked, dtype = draw(st.booleans()), draw(st.sampled_from(["f4", ">i2"]))
    row_shape = draw(st.sampled_from([(), (2,), (0,)]))
    kinds: dict[str, dict[str, Any]] = {
        "rows": {"dtype": dtype, "row_shape": row_shape},
        "shaped": {"dtype": dtype, "row_shape": None},
        "mixed": {},
    }
    options = kinds[kind]
    one = (
        arrays(dtype, row_shape)
        if kind == "rows"
        else shaped_arrays(dtype if kind == "shaped" else None)
    ).flatmap(lambda array: maybe_hidden(array, masked))
    size = draw(st.sampled_from([None, 64]))
    ptrarray.create(path, masked=masked, shard_size=size, **options).close()
    for _ in range(draw(st.integers(1, 3))):
        with ptrarray.append(path) as writer:
            batch = draw(st.dictionaries(names(), one, max_size=6))
            writer.write(batch, overwrite=True, meta={name: {"n": len(name)} for name in batch})
            for name in (
                draw(st.sets(st.sampled_from(sorted(writer)), max_size=2)) if writer else ()
            ):
                del writer[name]
            for name in draw(st.sets(names(), max_size=2)) if kind == "rows" and writer else ():
                start, end = writer.pointers[draw(st.sampled_from(sorted(writer)))]
                if name not in writer and size is None:
                    writer.point(name, start, draw(st.integers(start, end)))
        if draw(st.booleans()):
            ptrarray.checkpoint(path)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("backend", ["mmap", "pread"])
@settings(max_examples=some(6, of=12))
@given(data=st.data())
def test_each_array_is_in_one(kind: str, backend: Any, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ptr"
        data.draw(written(path, kind))
        n = data.draw(st.integers(1, 9))
        with ptrarray.open(path, backend=backend) as store:
            parts = store.partitions(n)
            assert len(parts) == min(n, len(store))
            check_partitions(store, parts)
            check_partitions(store, list(map(sent, parts)))
            for part in parts:
                check_partitions(part, part.partitions(2))


# balance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [None, "4KB"])
def test_parts_have_about_as_many_bytes(path: Path, shard_size: Any) -> None:
    lengths = np.random.default_rng(0).integers(0, 20, 2000)
    with ptrarray.create(path, dtype="f4", shard_size=shard_size) as writer:
        for first in range(0, 2000, 100):
            some = range(first, first + 100)
            writer.write({f"{at}": np.ones(lengths[at], "f4") for at in some})
        if shard_size is None:
            writer.reserve(10**6)  # holes count for nothing
        writer["last"] = np.ones(3, "f4")
    parts = ptrarray.open(path).partitions(7)
    sizes = [part.nbytes + 64 * len(part) for part in parts]
    assert max(sizes) - min(sizes) < 2 * (20 * 4 + 64)


def test_a_large_array_is_a_part_of_its_own(path: Path) -> None:
    filled(
        path,
        {"a": np.ones(3), "huge": np.ones(10**5), "b": np.ones(3), "c": np.ones(2)},
        dtype="f8",
    )
    assert [list(part) for part in ptrarray.open(path).partitions(3)] == [
        ["a"],
        ["huge"],
        ["b", "c"],
    ]


def test_empty_stores_and_bad_numbers(path: Path) -> None:
    filled(path, {}, dtype="f8")
    with ptrarray.open(path) as store:
        assert store.partitions(3) == []
        for n in (0, -1, 1.5, "2", None):
            with pytest.raises(BadInputError):
                store.partitions(n)  # type: ignore[arg-type]


def test_cutting_takes_no_memory_for_names(path: Path) -> None:
    with ptrarray.create(path, dtype="u1") as writer:
        names = [f"{n:040}" for n in range(120_000)]
        writer.write_ragged(names, np.zeros(0, "u1"), np.zeros(len(names) + 1, np.int64))
    ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        store.partitions(2)  # which imports what it needs
        assert peak_nbytes(lambda: store.partitions(1000)) < 4_000_000 < 40 * len(names)
        part = store.partitions(1000)[7]
        assert len(pickle.dumps(part)) < 1000


# other processes ----------------------------------------------------------------------------------


def summed(part: Any) -> tuple[dict[str, float], Any]:
    return {name: float(array.sum()) for name, array in part.items()}, part.__dask_tokenize__()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_their_part(path: Path, method: str) -> None:
    filled(path, numbered(20), dtype="f8")
    with ptrarray.open(path) as store:
        parts = store.partitions(4)
        wanted = {name: float(array.sum()) for name, array in store.items()}
    found = in_pool(multiprocessing.get_context(method), summed, parts)
    assert {name: total for some, _ in found for name, total in some.items()} == wanted
    tokens = [token for _, token in found]
    assert tokens == [part.__dask_tokenize__() for part in parts]
    assert len(set(tokens)) == len(parts)


CHANGES: dict[str, Callable[[Path], object]] = {}


def change(function: Callable[[Path], object]) -> Callable[[Path], object]:
    CHANGES[function.__name__] = function
    return function


@change
def added(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["new"] = np.ones(3)


@change
def deleted(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["n0"], writer["n3"]


@change
def replaced(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["n1"] = np.ones(9)


@change
def renamed(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.rename("n1", "other")


@change
def pointed(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.point("n2/part", *writer.pointers["n2"])


STAYS = set(CHANGES)


@change
def checkpointed(path: Path) -> None:
    added(path)
    ptrarray.checkpoint(path)


@change
def compacted(path: Path) -> None:
    deleted(path)
    ptrarray.compact(path)


@change
def overwritten(path: Path) -> None:
    size = ptrarray.open(path).shard_nbytes
    with ptrarray.create(path, dtype="f8", mode="w", shard_size=size) as writer:
        writer.write({f"n{i}": -np.ones(1) for i in range(20)})


@change
def moved_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


@change
def another_in_its_place(path: Path) -> None:
    shutil.rmtree(path)
    filled(path, {f"n{i}": -np.ones(4) for i in range(20)}, dtype="f8")


def indexes(path: Path) -> set[str]:
    return {f"{file}: {file.stat().st_ino}" for file in path.rglob("index.msgpack")}


@pytest.mark.parametrize("shard_size", [None, 1700])  # there is room in the last one
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("folded", [False, True])
def test_shows_the_commit_it_was_cut_from_or_nothing(
    path: Path, name: str, folded: bool, shard_size: Any
) -> None:
    with ptrarray.create(path, dtype="f8", shard_size=shard_size) as writer:
        for key, array in numbered(20).items():
            writer[key] = array
    if folded:
        ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        packed = [pickle.dumps(part) for part in store.partitions(3)]
    before = indexes(path)
    CHANGES[name](path)
    # Where an array that is replaced lay in another shard, that may be checkpointed at once.
    is_there = name in STAYS and (shard_size is None or indexes(path) == before)
    assert is_there or name not in ("added", "deleted", "renamed", "pointed")
    for raw in packed:
        part = pickle.loads(raw)
        assert len(part) in (6, 7)
        if is_there:
            for key, array in part.items():
                check_same(array, numbered(20)[key])
            assert "new" not in part
        else:
            with pytest.raises(StoreError, match=r"a\.ptr"):
                list(part)
            with pytest.raises(StoreError):
                part["n3"]
    if is_there:
        assert [key for raw in packed for key in pickle.loads(raw)] == list(numbered(20))


def test_a_damaged_store_is_called_damaged(path: Path) -> None:
    filled(path, numbered(20), dtype="f8")
    ptrarray.checkpoint(path)
    part = sent(ptrarray.open(path).partitions(2)[0])
    index = path / "index.msgpack"
    index.write_bytes(index.read_bytes()[:50])
    with pytest.raises(ptrarray.CorruptStoreError):
        list(part)


def test_open_partitions_stay_as_they_are(path: Path) -> None:
    filled(path, numbered(20), dtype="f8")
    store = ptrarray.open(path)
    part = store.partitions(2)[1]
    before = {name: array.copy() for name, array in part.items()}
    compacted(path)
    store.refresh()
    store.close()
    assert {name: array.tolist() for name, array in part.items()} == {
        name: array.tolist() for name, array in before.items()
    }


def test_of_packs(path: Path, tmp_path: Path) -> None:
    filled(path, numbered(20), dtype="f8")
    pack = tmp_path / "a.tar"
    ptrarray.pack(path, pack)
    with ptrarray.open(pack) as store:
        parts = store.partitions(3)
        check_partitions(store, list(map(sent, parts)))
    added(path)
    pack.unlink()
    ptrarray.pack(path, pack)
    with pytest.raises(StoreError):
        list(sent(parts[0]))


@pytest.mark.parametrize("shard_size", [None, 64])
def test_series_and_frames(path: Path, shard_size: Any) -> None:
    pd = pytest.importorskip("pandas")
    index = pd.date_range("2026-01-01", periods=3)
    with ptrarray.create(path, dtype="f8", shard_size=shard_size) as writer:
        for n in range(6):
            writer[f"s{n}"] = pd.Series([n, n + 1.0, n + 2.0], index=index)
    with ptrarray.open(path) as store:
        for parts in (store.partitions(3), list(map(sent, store.partitions(3)))):
            for part in parts:
                for name, series in part.series().items():
                    pd.testing.assert_series_equal(series, store.series(name), check_freq=False)
                    assert part.series(name).index.equals(index)
                assert part.frame().equals(store.frame(list(part)))
    cut = [pickle.dumps(part) for part in ptrarray.open(path).partitions(2)]
    with ptrarray.append(path) as writer:
        del writer["s0"]
    ptrarray.compact(path)
    with pytest.raises(StoreError, match="cut it anew"):
        pickle.loads(cut[0]).series()


def test_arrow_and_awkward_of_a_part(path: Path) -> None:
    pl = pytest.importorskip("polars")
    pytest.importorskip("awkward")
    filled(path, numbered(9, 3), dtype="f8")
    with ptrarray.append(path) as writer:
        del writer["n1"]
    with ptrarray.open(path) as store:
        parts = [sent(part) for part in store.partitions(3)]
        tables = [pl.DataFrame(part.arrow()) for part in parts]
        assert pl.concat(tables).equals(pl.DataFrame(store.arrow()))
        lists = [one for part in parts for one in part.awkward().to_list()]
        assert lists == store.awkward().to_list()


def test_says_what_it_is(path: Path) -> None:
    filled(path, numbered(4), dtype="f8")
    part = ptrarray.open(path).partitions(2)[1]
    assert repr(part) == f"<Partition of {str(path)!r}: arrays 2 to 3>"
    assert (part.path, part.layout, part.row_shape) == (str(path), "rows", ())
    assert part.dtype == "f8"
    with pytest.raises(KeyError, match="n0"):
        part["n0"]
    with pytest.raises(KeyError, match="n0"):
        part.take(["n3", "n0"])


@pytest.mark.parametrize("shard_size", [None, 10**6])
@pytest.mark.parametrize("is_folded", [True, False])
def test_a_store_that_was_put_back_and_went_on_is_another(
    path: Path, tmp_path: Path, is_folded: bool, shard_size: Any
) -> None:
    """Be the index of the same size, or the journal."""
    filled(path, numbered(5), dtype="f8", shard_size=shard_size)
    ptrarray.checkpoint(path)
    shutil.copytree(path, tmp_path / "backup")
    with ptrarray.append(path) as writer:
        writer["new"] = np.ones(3)
    if is_folded:
        ptrarray.checkpoint(path)
    part = sent(ptrarray.open(path).partitions(1)[0])
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "backup", path)
    with ptrarray.append(path) as writer:
        writer["abc"] = np.ones(3)
    if is_folded:
        ptrarray.checkpoint(path)
    with pytest.raises(StoreError, match="cut it anew"):
        list(part)


def test_what_the_journal_has_is_known_however_it_was_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one that has followed it in steps, and by one that reads it at once."""
    monkeypatch.setattr("ptrarray.storage.store.overlay._FRESH_LIMIT", 4)
    filled(path, numbered(5), dtype="f8")
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        for n in range(5, 40):
            writer.write({f"n{n}": np.ones(3)}, meta={f"n{n}": {"n": n}} if n % 3 else None)
            if n % 7 == 0:
                del writer[f"n{n}"]
            store.refresh()
        (part,) = store.partitions(1)
        assert list(sent(part)) == list(part)
