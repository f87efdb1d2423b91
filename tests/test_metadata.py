"""Metadata of arrays: kept in each layout, changed by a commit, free where there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, UnknownNameError
from tests.support.checks import unchanged
from tests.support.layouts import LAYOUTS

pytestmark = pytest.mark.usefixtures("backend")
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


def test_metadata_that_several_arrays_share(tmp_path: Path) -> None:
    class Reused(dict[str, Any]):
        """One dict for all, filled anew for each."""

        def __getitem__(self, name: str) -> dict[str, Any]:
            same["x"] = name
            return same

    same: dict[str, Any] = {"x": 1}
    names = ["a", "b", "c", "d"]
    with ptrarray.create(tmp_path / "s.ptr", dtype="i4") as writer:
        shared = {"a": same, "b": same, "c": {"y": [2]}, "d": same}
        writer.write_ragged(names, range(4), range(5), meta=shared)
        reused: Any = Reused.fromkeys(["e", "f"])
        writer.write_ragged(["e", "f"], range(2), range(3), meta=reused)
        assert [writer.meta[name] for name in names] == [{"x": 1}, {"x": 1}, {"y": [2]}, {"x": 1}]
        assert [writer.meta[name] for name in "ef"] == [{"x": "e"}, {"x": "f"}]


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


WRONG: list[tuple[Any, str, str]] = [
    ({"day": np.datetime64("2026-01-31")}, "['day']", "it is a numpy.datetime64"),
    ({"a": [1, {"b": (date(2026, 1, 31),)}]}, "['a'][1]['b'][0]", "it is a datetime.date"),
    ({"a": {"b": 2**64}}, "['a']['b']", "it is an int of more than 64 bits"),
    ({"a": {"b": {5: 1}}}, "['a']['b']", "its key 5 is no str"),
    ({"a": np.zeros(2)}, "['a']", "it is a numpy.ndarray"),
    ({"a": {1, 2}}, "['a']", "it is a set"),
    ({"a": np.longdouble(1)}, "['a']", "it is a numpy.longdouble"),
    ({"good": 1, "a": np.complex64(1)}, "['a']", "it is a numpy.complex64"),
    ({"a": "\udcff"}, "['a']", "'utf-8' codec"),
]


@pytest.mark.parametrize(("value", "key", "why"), WRONG, ids=str)
def test_what_cannot_be_kept_is_named(tmp_path: Path, value: Any, key: str, why: str) -> None:
    path = tmp_path / "s.ptr"
    with pytest.raises(BadInputError, match=re.escape(f"attrs{key} cannot be kept: {why}")):
        ptrarray.create(path, attrs=value)
    assert not path.exists()
    writer = ptrarray.create(path, dtype="i4")
    writer["there"] = [1]
    parts = re.escape(f"metadata of array 'x': meta{key} cannot be kept: {why}")
    with unchanged(path):
        with pytest.raises(BadInputError, match=parts):
            writer.write({"x": [1], "y": [2]}, meta={"y": {"a": 1}, "x": value})
        with pytest.raises(BadInputError, match=parts.replace("'x'", "'there'")):
            writer.meta["there"] = value
        with pytest.raises(BadInputError, match=re.escape(f"attrs['k']{key} cannot be kept")):
            writer.attrs["k"] = value


def test_something_in_itself_cannot_be_kept(tmp_path: Path) -> None:
    value: dict[str, Any] = {}
    value["a"] = value
    with pytest.raises(BadInputError, match=r"^attrs\['a'\]\['a'\].* cannot be kept") as raised:
        ptrarray.create(tmp_path / "s.ptr", attrs=value)
    assert len(str(raised.value)) < 300


def test_numbers_of_numpy_are_kept_as_those_of_python(tmp_path: Path) -> None:
    given = {"i": np.int16(-3), "u": np.uint64(2**64 - 1), "b": np.True_, "t": (np.float16(0.1),)}
    given |= {"f": np.float32(0.1), "d": np.float64(0.1), "s": np.str_("x")}
    with ptrarray.create(tmp_path / "s.ptr", dtype="i4", attrs=given) as writer:
        writer.write({"x": [1]}, meta={"x": given})
        writer.attrs["more"] = np.int64(5)
    with ptrarray.open(tmp_path / "s.ptr") as store:
        for found in (dict(store.attrs), dict(store.meta["x"])):
            assert found.pop("t") == [float(np.float16(0.1))]
            assert found.pop("more", 5) == 5
            assert found == {key: given[key] for key in found}
            assert {type(value) for value in found.values()} == {int, bool, float, str}
