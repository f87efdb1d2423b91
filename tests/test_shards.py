"""A store of shards is a directory of stores of about one size, made and filled like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, DuplicateNameError, PointerArrayWriter, StoreExistsError
from tests.support.checks import check_same, check_store, unchanged
from tests.support.shards import MARKER, SHARD_NBYTES, Array, Arrays, ramps, sharded, shards_of

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def arrays() -> Arrays:
    return ramps(60)


@pytest.fixture
def writer(path: Path, arrays: Arrays) -> PointerArrayWriter:
    return sharded(path, arrays)


# the directories ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("n_together", "masked"), [(1, False), (3, False), (3, True)])
def test_no_shard_is_larger_and_none_much_smaller(
    path: Path, n_together: int, masked: bool
) -> None:
    writer = ptrarray.create(path, dtype="u1", shard_size="100kB", masked=masked)
    largest = 0
    rng = np.random.default_rng(1)
    for n in range(0, 240, n_together):
        batch = {f"n{n + k}": np.zeros(rng.integers(0, 9000), "u1") for k in range(n_together)}
        n_elements = sum(map(len, batch.values()))
        largest = max(largest, n_elements * (2 if masked else 1) + 100 * n_together)
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


# making and filling one ---------------------------------------------------------------------------


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
