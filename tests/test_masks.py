"""Masked arrays: mask, fill value, hardness and what is under the mask come back, in each layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.backends import mapped
from tests.support.layouts import LAYOUTS, filled, same

ma: Any = np.ma  # most of which has no types
pytestmark = pytest.mark.usefixtures("backend")
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


# round trips --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_of_batches(tmp_path: Path, layout: str) -> None:
    arrays = {name: array for name, array in MASKED.items() if len(array)}
    path = filled(tmp_path / "s.ptr", arrays, masked=True, **LAYOUTS[layout])
    with ptrarray.open(path) as store:
        for batch in (store.take(list(arrays)), store.arrays[:]):
            for found, wanted in zip(batch, arrays.values(), strict=True):
                assert ma.getmaskarray(found).tolist() == ma.getmaskarray(wanted).tolist()
                # Bytes, as what is under the mask of `masked_all` may be NaN.
                assert ma.getdata(found).tobytes() == ma.getdata(wanted).tobytes()


# views --------------------------------------------------------------------------------------------


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


# files --------------------------------------------------------------------------------------------


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
