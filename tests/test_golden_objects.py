"""Stored objects and packs, as each release wrote them: read here, never written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from tests.golden import objects
from tests.support.nested import assert_same
from tests.test_golden import check_same_array, expected_stores

FOLDER = objects.FOLDER
needs_pandas = pytest.mark.skipif(not find_spec("pandas"), reason="pandas is not installed")
WITHOUT_PANDAS = sorted(objects.OBJECTS.keys() - {"frames.tar"})


def test_every_golden_object_is_there() -> None:
    there = {path.name for path in FOLDER.iterdir() if path.suffix != ".md"}
    assert there == {*objects.OBJECTS, *objects.PACKS, "series.ptr"}


@pytest.mark.parametrize("name", WITHOUT_PANDAS)
def test_objects_load_as_they_were(name: str) -> None:
    assert_same(ptrarray.load(FOLDER / name), objects.OBJECTS[name]())


@needs_pandas
def test_objects_of_pandas_load_as_they_were() -> None:
    check_frames(ptrarray.load(FOLDER / "frames.tar"))


@needs_pandas
def test_objects_of_pandas_in_a_store_are_as_they_were() -> None:
    with ptrarray.open(FOLDER / "series.ptr") as store:
        check_frames({"series": store.series("series"), "frame": store.frame("frame")})
        assert store.attrs == {"made": "once"}
        store.verify()


def check_frames(found: dict[str, Any]) -> None:
    from pandas import testing

    wanted = objects.frames()
    testing.assert_series_equal(found["series"], wanted["series"])
    testing.assert_frame_equal(found["frame"], wanted["frame"])


@pytest.mark.parametrize("name", objects.PACKS)
def test_packs_hold_what_their_stores_do(name: str, tmp_path: Path) -> None:
    expected = expected_stores()[f"{objects.PACKS[name]}.ptr"]
    ptrarray.unpack(FOLDER / name, tmp_path / "unpacked.ptr")
    places = [tmp_path / "unpacked.ptr", *([FOLDER / name] if name.endswith(".tar") else [])]
    for place in places:
        with ptrarray.open(place) as store:
            assert list(store) == list(expected.arrays)
            for array, wanted in expected.arrays.items():
                check_same_array(store[array], wanted.array)
                assert store.meta[array] == wanted.meta
            store.verify()
