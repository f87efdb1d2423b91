"""Metadata of arrays: kept in each layout, changed by a commit, free where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import BadInputError, UnknownNameError
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
