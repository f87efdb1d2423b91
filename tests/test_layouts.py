"""The layouts in which arrays have shapes, dtypes and masks of their own, and metadata in all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, OverlapError, PointerArray, UnknownNameError
from tests.support.backends import mapped

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


def same(found: Any, wanted: Array) -> bool:
    """Tell whether two arrays are equal in all that a user can see of them."""
    return (
        found.dtype == wanted.dtype
        and found.shape == wanted.shape
        and found.tobytes() == wanted.tobytes()
        and (found.ndim < 2 or not found.size or found.flags.fnc == wanted.flags.fnc)
    )


def filled(path: Path, arrays: Mapping[str, Any], **options: Any) -> Path:
    with ptrarray.create(path, **options) as writer:
        writer.write(arrays)
    return path


@pytest.fixture(params=["journal", "index", "compacted", "repaired"])
def settled(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """Return a function that brings a store to each of the states it can be read in."""

    def settle(path: Path) -> Path:
        if request.param == "journal":
            return path
        ptrarray.checkpoint(path)
        if request.param == "compacted":
            with ptrarray.append(path) as writer:
                writer["a hole"] = np.arange(3)
                writer["behind it"] = np.arange(3)
                del writer["a hole"]
            ptrarray.compact(path)
            with ptrarray.append(path) as writer:
                del writer["behind it"]
        if request.param == "repaired":
            repaired = path.with_name("repaired.ptr")
            assert ptrarray.repair(path, repaired) == []
            return repaired
        return path

    return settle


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


def test_a_mixed_store_has_no_sum(tmp_path: Path) -> None:
    with ptrarray.open(filled(tmp_path / "s.ptr", KINDS)) as store:
        for reduce in (np.sum, np.mean, lambda s: s.reduce(np.add), PointerArray.mean_each):
            with pytest.raises(BadInputError, match="one by one"):
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
        writer.point("first bytes", start, start + 8)
        assert writer["first bytes"].view("f8").tolist() == [3.0]


# Masks ----------------------------------------------------------------------------------------------

MASKED: dict[str, Any] = {
    "some": ma.MaskedArray([1.0, -99.0, 3.0], [0, 1, 0], fill_value=-99.0),
    "none": ma.MaskedArray([4.0, 5.0]),
    "all": ma.masked_all(3),
    "hard": ma.MaskedArray([6.0, 7.0], [1, 0], hard_mask=True),
    "plain": np.array([8.0]),
    "empty": ma.MaskedArray([], bool),
}
WIDE: dict[str, Any] = {
    "2-d": ma.MaskedArray(np.arange(6.0).reshape(2, 3), np.eye(2, 3)),
    "Fortran": ma.MaskedArray(
        np.asfortranarray(np.arange(6).reshape(2, 3)), np.asfortranarray(np.eye(2, 3, dtype=bool))
    ),
    "0-d": ma.MaskedArray(3.0, True),
    "record": ma.MaskedArray([(1, 2.0), (3, 4.0)], [(0, 1), (1, 0)], "i4,f8"),
    "bytes": ma.MaskedArray(np.arange(100, dtype="u1"), np.arange(100) % 3 == 0),
    "default fill": ma.MaskedArray(np.arange(3, dtype="i1"), [1, 0, 0]),
    "date": ma.MaskedArray(np.array(["2020-01-01", "NaT"], "M8[D]"), [1, 0]),
}


def same_masked(found: Any, wanted: Any) -> bool:
    """Tell whether data, also under the mask, mask, fill value and hardness are equal."""
    wanted = ma.asanyarray(wanted)
    fills = [np.asarray(array.fill_value).tolist() for array in (found, wanted)]
    return (
        isinstance(found, ma.MaskedArray)
        and same(found.data, np.asanyarray(wanted.data))
        and ma.getmaskarray(found).tolist() == ma.getmaskarray(wanted).tolist()
        and fills[0] == fills[1]
        and found.hardmask == wanted.hardmask
    )


LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f8"},
    "shaped": {"dtype": "f8", "row_shape": None},
    "mixed": {},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_round_trip(tmp_path: Path, settled: Callable[[Path], Path], layout: str) -> None:
    arrays = MASKED | WIDE if layout == "mixed" else MASKED
    path = settled(filled(tmp_path / "s.ptr", arrays, masked=True, **LAYOUTS[layout]))
    with ptrarray.open(path) as store:
        assert {n for n, array in arrays.items() if not same_masked(store[n], array)} == set()
        store.verify()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_one_by_one_and_planned(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, masked=True, rows=640, **LAYOUTS[layout]) as writer:
        writer.write({"planned": MASKED["some"]}, start=320)
        for name, array in MASKED.items():
            writer[name] = array
            assert same_masked(writer[name], array)
    with ptrarray.open(path) as store:
        assert same_masked(store["planned"], MASKED["some"])
        store.verify()


def test_masked_rows(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", MASKED, dtype="f8", masked=True)
    with ptrarray.open(path) as store:
        whole = ma.concatenate([ma.asanyarray(array) for array in MASKED.values()])
        found: Any
        for found in (store.rows, store[:], store.take(list(MASKED)).values):
            assert ma.getmaskarray(found).tolist() == ma.getmaskarray(whole).tolist()
            assert found.compressed().tolist() == whole.compressed().tolist()
        padded, _ = store.take(["some", "none"]).to_padded()
        assert padded[1].count() == 2


@mapped
def test_masked_reads_are_views(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", MASKED, dtype="f8", masked=True)
    with ptrarray.open(path) as store:
        mask = np.memmap(path / "mask.bin", np.bool_, "r")
        assert mask.tolist() == ma.getmaskarray(store.rows).tolist()
        array, rows = store["some"], store.rows
        assert np.shares_memory(array.data, rows.data)
        assert np.shares_memory(ma.getmaskarray(array), ma.getmaskarray(rows))
        with pytest.raises(ValueError, match="read-only"):
            array[0] = ma.masked


@mapped
def test_changing_masks_in_place(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", MASKED, dtype="f8", masked=True)
    with ptrarray.open(path, "r+") as store:
        store["some"][0] = ma.masked
        store["none"].data[0] = 44
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        assert ma.getmaskarray(store["some"]).tolist() == [True, True, False]
        assert store["none"].tolist() == [44, 5]


@mapped
@pytest.mark.parametrize("layout", [{"row_shape": ()}, {"row_shape": None}, {}], ids=str)
def test_masks_of_fields_are_views_that_can_be_changed(
    layout: dict[str, Any], tmp_path: Path
) -> None:
    path, dtype = tmp_path / "s.ptr", np.dtype("i4,(2,)f8")
    kind = layout | ({"dtype": dtype} if layout else {})
    with ptrarray.create(path, masked=True, **kind) as writer:
        writer["a"] = np.zeros(3, dtype)
        with writer.allocate("b", 2, dtype=None if layout else dtype) as rows:
            rows[1] = ma.masked
    with ptrarray.open(path, "r+") as store:
        store["a"]["f1"][2, 1] = ma.masked
        if layout:
            assert np.shares_memory(ma.getmaskarray(store.rows), ma.getmaskarray(store["a"]))
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        masks = {name: ma.getmaskarray(store[name]) for name in store}
        assert [masks["a"][field].tolist() for field in ("f0", "f1")] == [
            [False] * 3,
            [[False, False], [False, False], [False, True]],
        ]
        assert [masks["b"][field].tolist() for field in ("f0", "f1")] == [
            [False, True],
            [[False, False], [True, True]],
        ]


def test_a_store_without_masked_elements_has_a_mask_file_that_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="u1", masked=True) as writer:
        for n in range(4):
            writer[f"large {n}"] = np.ones(1 << 20, np.uint8)
    found = (path / "mask.bin").stat()
    assert found.st_size == 4 << 20
    assert found.st_blocks * 512 < 1 << 17
    ptrarray.compact(path)
    (mask,) = path.glob("mask*.bin")
    assert mask.stat().st_blocks * 512 < 1 << 17


def test_rows_that_are_used_again_have_no_old_mask(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="f8", masked=True) as writer:
        writer["a"] = ma.masked_all(4)
        del writer["a"]
        writer.write({"b": np.ones(4)}, start=0)
        assert not ma.getmaskarray(writer["b"]).any()
    ptrarray.verify(path)


def test_a_flipped_mask_byte_is_damage(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", MASKED, masked=True)
    with ptrarray.open(path) as store:
        start = store.pointers["hard"].start
    with (path / "mask.bin").open("r+b") as file:
        file.seek(start)
        file.write(b"\0")
    with pytest.raises(ptrarray.CorruptStoreError, match="'hard'"):
        ptrarray.verify(path)
    damage = ptrarray.repair(path, tmp_path / "t.ptr")
    assert [item.name for item in damage] == ["hard"]


def test_a_mask_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", MASKED, dtype="f8", masked=True)
    os.truncate(path / "mask.bin", 3)
    with pytest.raises(ptrarray.CorruptStoreError, match=r"mask\.bin.*cut short"):
        ptrarray.open(path)
    (path / "mask.bin").unlink()
    with pytest.raises(ptrarray.CorruptStoreError, match=r"mask\.bin.*missing"):
        ptrarray.open(path)


def test_replacing_a_masked_store(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.ptr", MASKED, dtype="f8", masked=True)
    with ptrarray.open(path) as store:
        old = store["some"]
        filled(path, {"new": [1]}, dtype="i4", mode="w")
        assert same_masked(old, MASKED["some"])
    assert not list(path.glob("mask*"))


# Metadata -------------------------------------------------------------------------------------------

META: dict[str, Any] = {
    "a": {"speaker": "Ann", "nested": {"list": [1, 2.5, None, b"raw"]}},
    "c": {"x": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metadata(tmp_path: Path, settled: Callable[[Path], Path], layout: str) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, **LAYOUTS[layout]) as writer:
        writer.write({"a": [1.0], "b": [2.0]}, meta={"a": META["a"]})
        writer.write_ragged(["c", "d"], [3.0, 4.0], [0, 1, 2], meta={"c": META["c"]})
    with ptrarray.open(settled(path)) as store:
        assert dict(store.meta) == {name: META.get(name, {}) for name in "abcd"}
        assert "a" in store.meta
        assert "e" not in store.meta
        with pytest.raises(UnknownNameError):
            store.meta["e"]
        store.verify()


def test_metadata_is_changed_by_a_commit(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="i4") as writer, ptrarray.open(path) as store:
        writer.write({"a": [1], "b": [2]}, meta={"b": {"old": 1}})
        writer.meta["a"] = {"x": 1}
        store.refresh()
        writer.meta["a"] = {"x": 2}
        assert store.meta["a"] == {"x": 1}
        ptrarray.checkpoint(path)
        writer.meta["b"] = {}
        with pytest.raises(UnknownNameError):
            writer.meta["c"] = {}
        store.refresh()
        assert (store.meta["a"], store.meta["b"]) == ({"x": 2}, {})
        assert store["a"].tolist() == [1]
        writer["a"] = [3]
        assert writer.meta["a"] == {}
    ptrarray.verify(path)


@pytest.mark.parametrize(
    "meta", [{"x": {}}, {"a": {"o": object()}}, {"a": {1: 2}}, {"a": 3}, ["a"]]
)
def test_bad_metadata_leaves_nothing_behind(tmp_path: Path, meta: Any) -> None:
    with ptrarray.create(tmp_path / "s.ptr", dtype="i4") as writer:
        with pytest.raises(BadInputError):
            writer.write({"a": [1]}, meta=meta)
        assert len(writer) == 0


def test_unused_metadata_costs_nothing(tmp_path: Path) -> None:
    paths = [tmp_path / "with.ptr", tmp_path / "without.ptr"]
    metas: list[Any] = [{"a": {}}, None]
    for path, meta in zip(paths, metas, strict=True):
        with ptrarray.create(path, dtype="i4") as writer:
            writer.write({"a": [1]}, meta=meta)
        ptrarray.checkpoint(path)
    sizes = [(path / "index.msgpack").stat().st_size for path in paths]
    assert sizes[0] == sizes[1]


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
