"""Stores are created, replaced, or opened to append, as the mode says, or refused."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    PointerArrayWriter,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from ptrarray.storage.system import files
from tests.support.checks import check_at, check_in_order, check_store, unchanged


def test_create_makes_an_empty_store(path: Path) -> None:
    with ptrarray.create(path, dtype=">f4", row_shape=(2, 3), attrs={"rate": 16000}) as writer:
        assert writer.path == str(path)
        assert writer.dtype == np.dtype(">f4")
        assert writer.row_shape == (2, 3)
        assert dict(writer.attrs) == {"rate": 16000}
    with ptrarray.open(path) as store:
        assert (store.dtype, store.shape) == (np.dtype(">f4"), (0, 2, 3))
        assert dict(store.attrs) == {"rate": 16000}
        check_store(store, {})


@pytest.mark.parametrize("row_shape", [3, np.int64(3), (3,), [3], (np.int64(3),)])
def test_row_shape_is_an_integer_or_several(path: Path, row_shape: Any) -> None:
    with ptrarray.create(path, dtype="i4", row_shape=row_shape) as writer:
        assert writer.row_shape == (3,)


def test_create_takes_a_str_and_a_path(tmp_path: Path) -> None:
    ptrarray.create(str(tmp_path / "a.ptr"), dtype="i4").close()
    ptrarray.create(tmp_path / "b.ptr", dtype="i4").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ptr", "b.ptr"]


# modes --------------------------------------------------------------------------------------------


def test_mode_x_refuses_a_store(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(StoreExistsError, match="exists") as raised:
        ptrarray.create(path, dtype="i4")
    assert raised.value.path == str(path)
    assert isinstance(raised.value, FileExistsError)


@pytest.mark.parametrize("mode", ["x", "w", "a"])
@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_no_mode_takes_what_is_no_store(path: Path, mode: str, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
        (path / "data.bin").touch()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to("nowhere")
    what = "is a link that leads nowhere" if kind == "link" else "exists and is not a store"
    with pytest.raises(StoreExistsError, match=f"{what}: .*choose another path"):
        ptrarray.create(path, dtype="i4", mode=mode)


def test_mode_w_replaces_a_store(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i4")
    writer["a"] = [1]
    with ptrarray.create(path, dtype="f8", row_shape=2, rows=3, mode="w") as replacing:
        replacing["b"] = [[1, 2]]
        with pytest.raises(StoreError, match="replaced by another"):
            writer["c"] = [1]
    with ptrarray.open(path) as store:
        check_store(store, {"b": np.array([[1.0, 2.0]])})
        assert store.shape == (3, 2)
    assert len(list(path.iterdir())) == 3, "the old data file is gone"


def test_mode_w_again_and_again(path: Path) -> None:
    for n in range(5):
        with ptrarray.create(path, dtype="i4", mode="w") as writer:
            writer["a"] = [n]
    check_in_order(path, {"a": [4]})
    assert len(list(path.iterdir())) == 3


@pytest.mark.parametrize("mode", ["w", "a"])
def test_modes_w_and_a_create(path: Path, mode: str) -> None:
    with ptrarray.create(path, dtype="i4", mode=mode) as writer:
        writer["a"] = [1]
    check_in_order(path, {"a": [1]})


def test_mode_a_appends(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    with ptrarray.create(path, dtype="i4", attrs={"more": 1}, mode="a") as appending:
        appending["b"] = [2]
        assert appending.attrs["more"] == 1
    check_in_order(path, {"a": [1], "b": [2]})


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        ({"dtype": "i8"}, "i(nt)?64"),
        ({"dtype": ">i4"}, ">i4"),
        ({"dtype": "i4", "row_shape": 2}, r"\(2,\)"),
        ({"dtype": "i4", "rows": 10}, "10 rows"),
    ],
)
def test_mode_a_refuses_another_layout(
    path: Path, writer: PointerArrayWriter, layout: dict[str, Any], found: str
) -> None:
    writer["a"] = [1]
    with unchanged(path), pytest.raises(BadInputError, match=found) as raised:
        ptrarray.create(path, mode="a", **layout)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("layout", [{"dtype": "f8"}, {"row_shape": 4}])
def test_mode_a_refuses_other_rows(path: Path, layout: dict[str, Any]) -> None:
    ptrarray.create(path, row_shape=3, dtype="f4").close()
    wanted = {"row_shape": 3, "dtype": "f4", **layout}
    with unchanged(path), pytest.raises(BadInputError, match="float32"):
        ptrarray.create(path, mode="a", **wanted)


def test_a_reader_has_no_mode_that_replaces(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = [1]
    mode: Any = "w+"
    with unchanged(path), pytest.raises(BadInputError, match=r"'w\+'"):
        ptrarray.open(path, mode=mode)


@pytest.mark.parametrize("dtype", [object, [("a", "i4"), ("b", "O")]])
def test_a_dtype_of_python_objects_is_refused(path: Path, dtype: Any) -> None:
    with pytest.raises(BadInputError, match="Python objects"):
        ptrarray.create(path, dtype=dtype)
    assert list(path.parent.iterdir()) == []


# append -------------------------------------------------------------------------------------------


def test_append_wants_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no such directory") as raised:
        ptrarray.append(tmp_path / "absent.ptr")
    assert isinstance(raised.value, FileNotFoundError)
    assert list(tmp_path.iterdir()) == []


def test_each_open_gives_a_writer_of_its_own(path: Path) -> None:
    first = ptrarray.create(path, dtype="i8")
    second = ptrarray.append(path)
    assert first is not second
    second.close()
    first["a"] = [1]
    with pytest.raises(StoreExistsError):
        ptrarray.create(path, dtype="i8")
    first["b"] = [2]
    first.close()
    check_at(path, {"a": [1], "b": [2]})


def test_what_could_not_be_opened_is_forgotten_without_a_word(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StoreNotFoundError):
            ptrarray.append(path)
        gc.collect()


@pytest.mark.parametrize("opening", [ptrarray.open, ptrarray.append])
@pytest.mark.parametrize("whither", ["comes", "goes"])
def test_a_store_that_comes_or_goes_while_one_is_looked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, opening: Any, whither: str
) -> None:
    """Whatever is seen of it between two of its files, it is not taken for a damaged one."""
    ready = path.with_name("ready")
    ptrarray.create(ready, dtype="i4").close()
    real = files.is_file

    def is_file(asked: Path) -> bool:
        if whither == "goes" and asked == path / "index.msgpack" and ready.exists():
            ready.rename(path)
        found = real(asked)
        if asked == path / "index.msgpack" and found == (whither == "goes"):
            ready.rename(path) if whither == "comes" else path.rename(path.with_name("gone"))
        return found

    monkeypatch.setattr("ptrarray.storage.store.snapshot.files.is_file", is_file)
    with pytest.raises(StoreNotFoundError, match="just now" if whither == "comes" else "no such"):
        opening(path)
