"""What the system is told of reads to come: the right pages, only where they are cold, to no harm."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, ClosedStoreError, UnknownNameError
from ptrarray.storage.store import opened as state
from ptrarray.storage.system import advice, files
from ptrarray.storage.system.advice import PAGE_NBYTES, Source, prefetch, source_of
from ptrarray.storage.system.mapping import map_rows
from ptrarray.storage.system.pread import open_rows
from ptrarray.views import arrays
from tests.support.backends import HERE, mapped, use

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once for each backend that reads files of this machine."""
    return use(request, monkeypatch)


Told = dict[str, set[int]]  # pages, by what they are of
N_NAMES = 40
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i4", "row_shape": (3,)},
    "masked": {"dtype": "i4", "row_shape": (3,), "masked": True},
    "shaped": {"dtype": "i4", "row_shape": None},
    "mixed": {},
}


@pytest.fixture(params=LAYOUTS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Path of a store of some pages, with an empty array at its very end, partly in the journal."""
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, **LAYOUTS[request.param]) as writer:
        for n in range(N_NAMES):
            if n == N_NAMES // 2:
                ptrarray.checkpoint(path)
            writer[f"a{n}"] = np.full((n * 17 % 400, 3), n, "i4")
        writer["empty"] = np.empty((0, 3), "i4")
    return path


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Fill with the pages that the system is told of."""
    pages: Told = {}

    def recording(rows: Any) -> Source | None:
        source = source_of(rows)
        if source is None:
            return None
        kind = "mask" if rows.dtype == np.uint8 and rows.ndim == 1 and "data" in pages else "data"
        found = pages.setdefault(kind, set())

        def advise(start_byte: int, nbytes: int) -> None:
            note(found, start_byte, nbytes)
            source.advise(start_byte, nbytes)

        return source._replace(advise=advise)

    monkeypatch.setattr(state, "source_of", recording)
    return pages


def seem(monkeypatch: pytest.MonkeyPatch, *, cold: bool) -> list[int]:
    """Have all rows seem cold, or warm; list those that were touched to find out."""
    touched: list[int] = []

    def is_cold(sources: list[Source], row: int) -> bool:
        touched.append(row)
        advice_is_cold(sources, row)  # which must not fail
        return cold

    advice_is_cold = advice.is_cold
    monkeypatch.setattr(advice, "is_cold", is_cold)
    monkeypatch.setattr(arrays, "is_cold", is_cold)
    monkeypatch.setattr(arrays, "reads_little_ahead", lambda path: True)
    return touched


def pages_of(store: ptrarray.PointerArray, names: list[str]) -> set[int]:
    width = store.nbytes // store.shape[0]
    found: set[int] = set()
    for name in names:
        start, end = (row * width for row in store.pointers[name])
        found.update(range(start // PAGE_NBYTES, -(-end // PAGE_NBYTES)) if start < end else ())
    return found


def note(found: set[int], start_byte: int, nbytes: int) -> None:
    found.update(range(start_byte // PAGE_NBYTES, -(-(start_byte + nbytes) // PAGE_NBYTES)))


# which pages --------------------------------------------------------------------------------------


@given(
    ranges=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 500)), max_size=12),
    row_nbytes=st.sampled_from([1, 12, 4096, 5000]),
    first_byte=st.sampled_from([0, 64, 5000]),
)
def test_all_pages_and_no_others(
    ranges: list[tuple[int, int]], row_nbytes: int, first_byte: int
) -> None:
    told: list[tuple[int, int]] = []
    source = Source(0, 3500, row_nbytes, first_byte, lambda _: 0, lambda *piece: told.append(piece))
    pairs = np.array(ranges, np.int64).reshape(-1, 2)
    prefetch([source], pairs[:, 0], pairs.sum(axis=1))
    assert all(start % PAGE_NBYTES == 0 and n <= advice.PIECE_NBYTES for start, n in told)
    found = [at // PAGE_NBYTES for start, n in told for at in range(start, start + n, PAGE_NBYTES)]
    touched = {
        byte // PAGE_NBYTES
        for start, length in ranges
        if length
        for byte in (
            *range(
                first_byte + start * row_nbytes, first_byte + (start + length) * row_nbytes, 999
            ),
            first_byte + (start + length) * row_nbytes - 1,
        )
    }
    assert sorted(found) == sorted(touched)  # each once


def test_no_more_than_the_limit() -> None:
    told: list[tuple[int, int]] = []
    source = Source(0, 10**6, 1000, 0, lambda _: 0, lambda *piece: told.append(piece))
    starts = np.array([0, 500_000])
    prefetch([source], starts, starts + 1000, 600_000)
    assert 0 < sum(n for _, n in told) <= 600_000
    assert max(start for start, _ in told) < 10**6  # the first of the two


@pytest.mark.parametrize("start", [0, 7, 5000])
def test_the_place_in_the_file(tmp_path: Path, backend: str, start: int) -> None:
    path = tmp_path / "rows.bin"
    rows = np.arange(9000, dtype="<i4") % 251
    path.write_bytes(rows.tobytes())
    opened: Any
    if backend == "mmap":
        opened = map_rows(path, rows.dtype, (), 9000 - start, "r", start)
    else:
        opened, start = open_rows(str(path), rows.dtype, (), 9000), 0
    source = source_of(opened)
    assert source is not None
    assert (source.n_rows, source.row_nbytes) == (9000 - start, 4)
    for row in (0, 1, 3000, len(opened) - 1):
        byte = source.touch(source.first_byte + row * 4)
        assert byte in (rows[start + row], bytes([rows[start + row]]))


def test_nothing_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ptrarray.create(tmp_path / "empty.ptr", dtype="i4").close()
    with ptrarray.open(tmp_path / "empty.ptr") as store:
        store.prefetch([])
        assert list(store.walk()) == []
    assert source_of(np.arange(3)) is None
    rows = np.arange(5000, dtype="i4")
    rows.tofile(tmp_path / "rows.bin")
    monkeypatch.delattr(mmap, "MADV_WILLNEED")
    assert source_of(map_rows(tmp_path / "rows.bin", rows.dtype, (), 5000)) is None


def test_a_system_that_takes_no_advice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seem(monkeypatch, cold=True)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    monkeypatch.delattr(mmap, "MADV_WILLNEED", raising=False)
    with ptrarray.open(path) as store:
        names = list(store)
        store.prefetch(names)
        assert len(store.take(names[:-1])) == N_NAMES


# when ---------------------------------------------------------------------------------------------


def take(store: ptrarray.PointerArray, names: list[str]) -> Any:
    return store.take(names).values


def by_position(store: ptrarray.PointerArray, names: list[str]) -> Any:
    where = list(store.names)
    return store.arrays[[where.index(name) for name in names]].values


BATCHES: dict[str, Callable[..., Any]] = {"take": take, "by position": by_position}


@pytest.mark.parametrize("read", BATCHES.values(), ids=BATCHES)
def test_a_cold_batch_is_fetched(
    path: Path, monkeypatch: pytest.MonkeyPatch, told: Told, read: Callable[..., Any]
) -> None:
    with ptrarray.open(path) as store:
        names = [f"a{n}" for n in range(N_NAMES - 1, 0, -3)]
        seem(monkeypatch, cold=False)
        expected = read(store, names)
        assert not any(told.values())
        touched = seem(monkeypatch, cold=True)
        found = read(store, names)
        assert np.ma.allequal(found, expected)
        assert len(found) == sum(len(store[name]) for name in names)
        assert told["data"] == pages_of(store, names)
        assert bool(told.get("mask")) == store.masked
        assert len(touched) == 1  # the first tells


@pytest.mark.parametrize("read", BATCHES.values(), ids=BATCHES)
def test_a_warm_batch_costs_four_looks(
    path: Path, monkeypatch: pytest.MonkeyPatch, told: Told, read: Callable[..., Any]
) -> None:
    touched = seem(monkeypatch, cold=False)
    with ptrarray.open(path) as store:
        read(store, [f"a{n}" for n in range(N_NAMES - 1, 0, -1)])
        assert 0 < len(touched) <= advice.N_TOUCHED
        touched.clear()
        read(store, ["a1", "a2", "a3"])  # too few to ask
        assert touched == []


@mapped
def test_walk_fetches_window_by_window(
    path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    seem(monkeypatch, cold=True)
    monkeypatch.setattr(arrays, "_WINDOW_NBYTES", 3 * PAGE_NBYTES)
    with ptrarray.open(path) as store:
        expected = list(store.values())
        assert not any(told.values())
        walking = store.walk()
        first = next(walking)
        assert told["data"] < pages_of(store, list(store))
        found = [first, *walking]
        assert told["data"] >= pages_of(store, list(store))
        assert len(found) == len(expected) == N_NAMES + 1
        assert all(np.ma.allequal(a, b) for a, b in zip(found, expected, strict=True))
        assert [a.shape for a in found] == [a.shape for a in expected]


@mapped
def test_walk_leaves_a_disk_that_reads_far_ahead_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    seem(monkeypatch, cold=True)
    monkeypatch.setattr(arrays, "reads_little_ahead", advice.reads_little_ahead)
    monkeypatch.setattr(files, "read_ahead_nbytes", lambda path: 8 << 20)
    with ptrarray.open(path) as store:
        assert len(list(store.walk())) == N_NAMES + 1
        assert not any(told.values())
        monkeypatch.setattr(files, "read_ahead_nbytes", lambda path: 128 << 10)
        assert len(list(store.walk())) == N_NAMES + 1
        assert any(told.values())


def test_how_far_a_disk_reads_ahead(tmp_path: Path) -> None:
    found = files.read_ahead_nbytes(tmp_path)
    assert found >= 0
    assert found % 1024 == 0
    assert not advice.reads_little_ahead(tmp_path / "absent")


def test_walk_with_shared_and_nested_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shared.ptr"
    with ptrarray.create(path, dtype="u1") as writer:
        writer["long"] = np.arange(100_000) % 251
        for n in range(0, 100_000, 7000):
            writer.point(f"part{n}", n, min(100_000, n + 9000))
            writer.point(f"none{n}", n, n)
    seem(monkeypatch, cold=True)
    for window in (1, 5000, 10**9):
        monkeypatch.setattr(arrays, "_WINDOW_NBYTES", window)
        with ptrarray.open(path) as store:
            walked = [array.tobytes() for array in store.walk()]
            assert walked == [array.tobytes() for array in store.values()]
            assert walked == [store[name].tobytes() for name in store]


@pytest.mark.parametrize("masked", [False, True])
def test_shards_are_told_of_their_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    path = tmp_path / "shards.ptr"
    with ptrarray.create(path, dtype="u1", masked=masked, shard_size=20_000) as writer:
        for n in range(30):
            writer[f"a{n}"] = np.full(n * 400, n)
    told: dict[int, set[int]] = {}
    with ptrarray.open(path) as store:
        assert len(store.shards) > 3
        sources = store._opened.sources
        assert len(sources) == len(store.shards) * (1 + masked)
        for number, source in enumerate(sources):
            found = told.setdefault(number, set())
            sources[number] = source._replace(advise=partial(note, found))
        seem(monkeypatch, cold=True)
        store.prefetch(["a29"])
        assert sum(map(bool, told.values())) == 1 + masked
        store.prefetch(["a0", "a1"])
        assert sum(map(bool, told.values())) == 2 + 2 * masked
        names = list(store)[::-1]
        batch = store.take(names)
        assert all(told.values())
        for name, array in zip(names, batch, strict=True):
            assert array.tobytes() == store[name].tobytes()
        assert [a.tobytes() for a in store.walk()] == [a.tobytes() for a in store.values()]


# by name ------------------------------------------------------------------------------------------


def test_prefetch(path: Path, told: Told) -> None:
    with ptrarray.open(path) as store:
        names = ["a9", "empty", "a9", "a30", "a0"]
        store.prefetch(iter(names))
        assert told["data"] == pages_of(store, names)
        assert bool(told.get("mask")) == store.masked


def test_prefetch_in_mode_c(path: Path) -> None:
    with ptrarray.open(path, mode="c") as store:
        store.prefetch(store)
        store.verify()


def test_prefetch_refuses(path: Path) -> None:
    store = ptrarray.open(path)
    with pytest.raises(UnknownNameError, match="'absent'"):
        store.prefetch(["a1", "absent"])
    with pytest.raises(BadInputError, match="prefetch wants several names"):
        store.prefetch("a1")
    store.close()
    with pytest.raises(ClosedStoreError):
        store.prefetch(["a1"])


@pytest.fixture
def dropped(tmp_path: Path) -> Path:
    """Path of a store that is not in memory."""
    path = tmp_path / "cold.ptr"
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({str(n): np.full(50_000, n, "u1") for n in range(100)})
    ptrarray.checkpoint(path)
    if not hasattr(os, "posix_fadvise") or not Path("/proc/self/maps").exists():
        pytest.skip("only on Linux")
    with (path / "data.bin").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path).mean() > 0.1:
        pytest.skip("this file system keeps its files in memory")
    return path


def resident(path: Path) -> Any:
    """Tell for each page of the data file whether it is in memory."""
    with (path / "data.bin").open("rb") as file:
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    found = np.empty(-(-len(mapped) // PAGE_NBYTES), np.uint8)
    address, nbytes = ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped))
    assert ctypes.CDLL(None).mincore(address, nbytes, ctypes.c_void_p(found.ctypes.data)) == 0
    return found & 1


def test_what_is_prefetched_comes_to_memory(dropped: Path) -> None:
    with ptrarray.open(dropped) as store:
        names = [str(n) for n in range(40, 60)]
        pages = sorted(pages_of(store, names))
        store.prefetch(names)
        deadline = monotonic() + 30
        while not resident(dropped)[pages].all():  # the disk takes its time
            assert monotonic() < deadline
        assert resident(dropped).mean() < 0.9  # and not all of it
