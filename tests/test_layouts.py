"""The layouts in which arrays have shapes and dtypes of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, OverlapError, PointerArray
from tests.support.backends import mapped
from tests.support.layouts import filled, same
from tests.support.pointing import point_to_bytes

Array = NDArray[Any]
ma: Any = np.ma  # most of which has no types
pytestmark = pytest.mark.usefixtures("backend")
SHAPES: dict[str, Array] = {
    "0-d": np.array(7.5),
    "1-d": np.arange(5.0),
    "2-d": np.arange(6.0).reshape(2, 3),
    "Fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "strided": np.arange(20.0).reshape(4, 5)[::2, 1:4],
    "empty": np.zeros((0, 4)),
    "no columns": np.zeros((3, 0)),
    "9-d": np.ones((1,) * 9),
    "ümläut/\N{SNOWMAN}": np.eye(2),
}
KINDS: dict[str, Array] = {
    "bytes": np.arange(70, dtype="u1"),
    "big-endian": np.arange(3, dtype=">i4"),
    "bool": np.array([[True, False]]),
    "half": np.array([1.5], "f2"),
    "complex": np.array([1 + 2j], "c8"),
    "text": np.array(["a", "größe"]),
    "raw": np.array([b"ab", b"c"]),
    "date": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "record": np.array([(1, [2.0, 3.0])], [("n", "i4"), ("xy", "f4", (2,))]),
}


def test_shaped_round_trip(tmp_path: Path, settled: Callable[[Path], Path]) -> None:
    path = settled(filled(tmp_path / "s.ptr", SHAPES, dtype="f8", row_shape=None))
    with ptrarray.open(path) as store:
        assert {name for name, array in SHAPES.items() if same(store[name], array)} == set(SHAPES)
        assert (store.layout, store.row_shape, store.dtype) == ("shaped", None, np.dtype("f8"))
        assert store.rows.ndim == 1
        store.verify()


@pytest.mark.parametrize("masked", [False, True])
def test_mixed_round_trip(tmp_path: Path, settled: Callable[[Path], Path], masked: bool) -> None:
    arrays = SHAPES | KINDS
    path = settled(filled(tmp_path / "s.ptr", arrays, masked=masked))
    with ptrarray.open(path) as store:
        for name, array in arrays.items():
            assert same(ma.getdata(store[name]), array), name
            assert isinstance(store[name], ma.MaskedArray) == masked
        assert (store.layout, store.dtype, store.masked) == ("mixed", np.dtype("u1"), masked)
        assert all(start % 64 == 0 for start in store.starts)
        store.verify()


@mapped
def test_views_are_aligned_and_on_the_mapping(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", KINDS)
    with ptrarray.open(path) as store:
        for name in KINDS:
            assert store[name].ctypes.data % 64 == 0
            assert np.shares_memory(store[name], store.rows)
            assert not store[name].flags.writeable


def test_every_way_to_an_array_gives_the_same(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", SHAPES | KINDS)
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        for position, (name, array) in enumerate(store.items()):
            ways = [store[name], store.arrays[position], writer[name], store.get(name)]
            assert all(same(found, array) for found in ways)
        assert [array.shape for array in store.walk()] == [a.shape for a in store.values()]


@mapped
def test_modes(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", {"a": np.ones((2, 2), "f4")})
    with ptrarray.open(path, "c") as store:
        store["a"][0, 0] = 5
    with ptrarray.open(path, "r+") as store:
        assert store["a"][0, 0] == 1
        store["a"][1, 1] = 7
    ptrarray.verify(path)
    assert ptrarray.open(path)["a"].tolist() == [[1, 1], [1, 7]]


def test_take_lays_arrays_end_to_end_that_fit_together(tmp_path: Path) -> None:
    arrays = {"a": np.ones((2, 3)), "b": np.zeros((1, 3)), "other": np.ones(3), "0-d": np.array(1)}
    with ptrarray.open(filled(tmp_path / "s.ptr", arrays)) as store:
        batch = store.take(["b", "a", "b"])
        assert [len(array) for array in batch] == [1, 2, 1]
        assert batch.values.tolist() == [[0] * 3, [1] * 3, [1] * 3, [0] * 3]
        assert store.arrays[[0, 1]].values.shape == (3, 3)
        for names in (["a", "other"], ["0-d"]):
            with pytest.raises(BadInputError, match="one by one"):
                store.take(names)
        assert len(store.take([])) == 0


def test_reductions_of_a_shaped_store(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", SHAPES, dtype="f8", row_shape=None)
    with ptrarray.open(path) as store:
        assert np.sum(store) == sum(array.sum() for array in SHAPES.values())
        sums = [array.sum() for array in store.values()]
        assert store.reduce_each(np.add).tolist() == sums


def test_a_store_of_several_dtypes_has_no_sum(tmp_path: Path) -> None:
    with ptrarray.open(filled(tmp_path / "s.ptr", KINDS)) as store:
        for reduce in (np.sum, np.mean, lambda s: s.reduce(np.add), PointerArray.mean_each):
            with pytest.raises(BadInputError, match="of_dtype"):
                reduce(store)


@pytest.mark.parametrize("bad", [np.array([None]), [1, "a", None], ma.masked_equal([1], 1)])
@pytest.mark.parametrize("dtype", ["f8", None])
def test_refused_arrays_leave_nothing_behind(tmp_path: Path, bad: Any, dtype: Any) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype=dtype, row_shape=None) as writer:
        with pytest.raises(BadInputError, match="'bad'"):
            writer.write({"good": [1.0], "bad": bad})
        assert len(writer) == 0


def test_casting_is_that_of_the_store(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr", dtype="i4", row_shape=None) as writer:
        writer["a"] = np.arange(4).reshape(2, 2)
        assert writer["a"].dtype == np.int32
        with pytest.raises(BadInputError, match="cannot hold"):
            writer["b"] = [[2**40]]


def test_what_layout_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="without a dtype"):
        ptrarray.create(tmp_path / "s.ptr", row_shape=(3,))
    with pytest.raises(BadInputError, match="sub-arrays"):
        ptrarray.create(tmp_path / "s.ptr", dtype=("f4", (2,)), row_shape=None)
    asked: list[dict[str, Any]] = [
        {"dtype": "f4"},
        {"dtype": "f4", "row_shape": None},
        {},
        {"masked": True},
    ]
    for n, options in enumerate(asked):
        ptrarray.create(tmp_path / f"{n}.ptr", **options).close()
        for other in asked:
            if other == options:
                ptrarray.create(tmp_path / f"{n}.ptr", mode="a", **other).close()
            else:
                with pytest.raises(BadInputError, match="not"):
                    ptrarray.create(tmp_path / f"{n}.ptr", mode="a", **other)


def test_planned_starts_in_a_mixed_store(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        start = writer.reserve(100)
        assert writer.reserve(1) == 128
        assert writer.write({"a": np.arange(10.0)}, start=start) == (0, 128)
        with pytest.raises(BadInputError, match="multiple of 64"):
            writer.write({"b": [1]}, start=200)
        with pytest.raises(OverlapError):
            writer.write({"b": [1]}, start=0)


@pytest.mark.parametrize("masked", [False, True])
def test_allocate_an_array_of_a_shape(tmp_path: Path, masked: bool) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, masked=masked) as writer:
        with writer.allocate("cube", (2, 3, 4), dtype=">f4") as cube:
            cube[...] = np.arange(24).reshape(2, 3, 4)
            if masked:
                cube[0, 0] = ma.masked
        with pytest.raises(BadInputError, match="name the one"):
            writer.allocate("other", 3).__enter__()
    with ptrarray.open(path) as store:
        assert store["cube"].dtype == np.dtype(">f4")
        assert store["cube"].sum() == sum(range(4 if masked else 0, 24))
        store.verify()
    with ptrarray.create(tmp_path / "t.ptr", dtype="i2", row_shape=None) as writer:
        with writer.allocate("a", (2, 2)) as rows:
            rows[...] = 3
        with pytest.raises(BadInputError, match="leave out"):
            writer.allocate("other", 3, dtype="i2").__enter__()
        assert writer["a"].tolist() == [[3, 3], [3, 3]]


def test_ragged_and_point(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write_ragged(["a", "b"], np.arange(12.0).reshape(4, 3), [0, 1, 4])
        assert writer["b"].tolist() == np.arange(3.0, 12.0).reshape(3, 3).tolist()
        start, _ = writer.pointers["b"]
        point_to_bytes(writer, "first bytes", start, start + 8)
        assert writer["first bytes"].view("f8").tolist() == [3.0]


PADDED = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 16})


@pytest.mark.parametrize("given", [{"dtype": PADDED}, {"dtype": PADDED, "row_shape": None}, {}])
def test_what_was_in_memory_does_not_get_into_padding(tmp_path: Path, given: Any) -> None:
    strided = np.frombuffer(b"\xff" * 1600, PADDED)[::2]
    with ptrarray.create(tmp_path / "a.ptr", **given) as writer:
        for n in range(20):
            used_before = np.full(800, 0xEE, np.uint8)
            del used_before  # whose memory comes next
            writer[f"a{n}"] = strided
    raw = np.fromfile(tmp_path / "a.ptr" / "data.bin", np.uint8).reshape(-1, 16)
    assert not raw[:, 1:8].any()
