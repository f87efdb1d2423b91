"""What bigarray's classes write, where they write it, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, DuplicateNameError, OverlapError
from ptrarray.bigarray import MmapArray, MmapArrayWriter, PointerArray, PointerArrayWriter
from tests.support.bigarray_checks import check_names


def test_flat_rows_written_once_and_appended(path: Path) -> None:
    path.touch()  # as tempfile leaves it
    rows = np.arange(100, dtype="f4").reshape(-1, 5)
    with MmapArrayWriter(str(path), rows.shape, rows.dtype, remove_exist=True) as writer:
        writer.write(rows)
    assert writer.is_closed
    assert np.all(rows == MmapArray(str(path)))
    with MmapArrayWriter(str(path), remove_exist=False) as writer:
        writer.write(rows)
    assert np.all(np.concatenate([rows, rows]) == MmapArray(str(path)))


def test_flat_rows_in_pieces_and_some_written_over(path: Path) -> None:
    rows = np.arange(1000, dtype="f4").reshape(-1, 2, 5)
    with MmapArrayWriter(path, (0, 2, 5), "f4") as writer:
        for at in range(0, len(rows), 8):
            writer.write(rows[at : at + 8])
    assert np.all(rows == MmapArray(path))
    rows[10:20] = -rows[:10]
    with MmapArrayWriter(path) as writer:
        writer.write(rows[10:20], start_position=10)
    assert np.all(rows == MmapArray(path))
    ptrarray.verify(path)


def test_names_in_two_goes(path: Path) -> None:
    data = {f"name{n}": np.random.default_rng(n).random((n % 5, 8)) for n in range(2000)}
    halves = list(data.items())[:1000], list(data.items())[1000:]
    for n, half in enumerate(halves):
        with PointerArrayWriter(path, shape=(0, 8), dtype="f8", remove_exist=n == 0) as writer:
            writer.write(dict(half))
    check_names(path, data)


def test_nothing_to_write(path: Path) -> None:
    with PointerArrayWriter(path, (0, 2), "i8") as writer:
        writer.write({}).write({"none": np.empty((0, 2), int)})
    with MmapArrayWriter(path) as flat:
        flat.write([]).write(np.empty((0, 2), int)).write(np.empty((0, 2), int), 7)
        assert flat.shape == (0, 2)
    check_names(path, {"none": np.empty((0, 2))})


# positions ----------------------------------------------------------------------------------------


def test_appending_after_planned_rows(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": np.arange(5)}, start_position=0).write({"b": np.arange(5)})
    check_names(path, {"a": np.arange(5), "b": np.arange(5)})
    with MmapArrayWriter(path.parent / "flat", (20,), "i8") as flat:
        flat.write(np.full(3, 1), 5).write(np.full(2, 2))
    assert np.flatnonzero(MmapArray(path.parent / "flat")).tolist() == [5, 6, 7, 8, 9]


def test_rows_beforehand_are_not_taken_for_written(path: Path) -> None:
    for n in range(3):
        with PointerArrayWriter(path, (1000,), "i8") as writer:
            writer.write({f"n{n}": np.full(5, n)})
    x = PointerArray(path)
    assert x.shape == (1000,)
    assert dict(x.indices) == {"n0": (0, 5), "n1": (5, 10), "n2": (10, 15)}


def test_positions_from_the_end(path: Path) -> None:
    with MmapArrayWriter(path, (10,), "i8") as writer:
        writer.write(np.arange(1, 4), start_position=-3)
        assert writer.shape == (10,)
        assert MmapArray(path)[-4:].tolist() == [0, 1, 2, 3]
        with pytest.raises(BadInputError, match="start_position -11 is before the first of 10"):
            writer.write(np.arange(3), start_position=-11)
    with PointerArrayWriter(path) as named:
        named.write({"a": [7]}, start_position=-10)
        assert named.indices["a"] == (0, 1)


@pytest.mark.parametrize("position", [1.5, "3", [1], np.float64("nan")])
def test_positions_that_are_none(path: Path, position: Any) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        with pytest.raises(BadInputError, match="start_position must be an integer"):
            writer.write({"a": [1]}, start_position=position)
        assert len(writer.indices) == 0


@pytest.mark.parametrize("position", [4, 8 / 2, np.int16(4), np.float32(4)])
def test_positions_that_are_whole(path: Path, position: Any) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        assert writer.write({"a": [1]}, position).indices["a"] == (4, 5)


# rows that are taken ------------------------------------------------------------------------------


def test_rows_that_belong_to_a_name(path: Path) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        writer.write({"a": np.arange(4)}, start_position=2)
        with pytest.raises(OverlapError):
            writer.write({"b": np.full(4, -1)}, start_position=5)
    with MmapArrayWriter(path) as flat:
        flat.write(np.full(2, 9), 6)
        with pytest.raises(OverlapError, match="those of array 'a'") as caught:
            flat.write([np.full(2, -1), np.full(3, -1)], start_position=4)
        assert (caught.value.name, caught.value.start, caught.value.end) == ("a", 4, 9)
    x = PointerArray(path)
    assert x.tolist() == [0, 0, 0, 1, 2, 3, 9, 9, 0, 0]
    ptrarray.verify(path)


def test_rows_without_a_name_written_over_in_part(path: Path) -> None:
    model = np.zeros(40, np.int64)
    with MmapArrayWriter(path, (40,), "i8") as writer:
        for n, (start, length) in enumerate(
            [(5, 5), (15, 5), (8, 10), (0, 40), (39, 1), (3, 0), (38, 4)], 1
        ):
            writer.write(np.full(length, n), start)
            model = np.concatenate([model, np.zeros(max(0, start + length - len(model)), int)])
            model[start : start + length] = n
            assert MmapArray(path).tolist() == model.tolist()
            ptrarray.verify(path)
        assert writer.shape == (42,)


def test_a_name_that_is_there(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": [1, 2]})
        with pytest.raises(DuplicateNameError):
            writer.write({"a": [3], "b": [4]})
        assert list(writer.indices) == ["a"]
        writer.write({"a": [3]}, overwrite=True)
    check_names(path, {"a": [3]})


# shapes, dtypes and names -------------------------------------------------------------------------


def test_rows_of_another_shape(path: Path) -> None:
    good, bad = np.zeros((2, 3)), np.zeros((2, 4))
    with PointerArrayWriter(path, (0, 3), "f8") as writer:
        with pytest.raises(BadInputError, match="'bad' has shape"):
            writer.write({"good": good, "bad": bad})
        assert len(writer.indices) == 0
    with MmapArrayWriter(path) as flat:
        with pytest.raises(BadInputError, match=r"'arrays\[1\]' has shape"):
            flat.write([good, bad])
        for wrong in (5, None, "abc", [1.0, 2.0], {"a": good}, [[1.0, 2.0, 3.0]]):
            with pytest.raises(BadInputError):
                flat.write(wrong)  # type: ignore[arg-type]
        assert flat.shape == (0, 3)


@pytest.mark.parametrize("value", [[3.7], [2**40], [1 + 2j], np.ma.masked_array([1], [True])])
def test_values_that_would_change(path: Path, value: Any) -> None:
    with PointerArrayWriter(path, (0,), "i4") as writer:
        with pytest.raises(BadInputError):
            writer.write({"a": value})
        assert len(writer.indices) == 0
    with MmapArrayWriter(path) as flat:
        with pytest.raises(BadInputError):
            flat.write([value])
        assert flat.shape == (0,)


def test_big_endian_and_growth(path: Path) -> None:
    with PointerArrayWriter(path, (0,), ">f8") as writer:
        writer.write({"a": [1, 2, 3]}).write({"b": [4]})
        assert writer.dtype == ">f8"
    check_names(path, {"a": [1, 2, 3], "b": [4]})


def test_another_dtype_or_shape_than_is_there(path: Path) -> None:
    PointerArrayWriter(path, (2, 3), "f4").close()
    for arguments in ({"shape": (0, 4)}, {"dtype": "f8"}, {"shape": (0,), "dtype": "f4"}):
        with pytest.raises(BadInputError, match=r"has rows of float32 \(3,\), not of"):
            PointerArrayWriter(path, **arguments)
    with PointerArrayWriter(path, shape=(50, 3), dtype="<f4") as writer:
        assert writer.shape == (2, 3), "a length is only for a new one, as in bigarray"
        with pytest.raises(BadInputError):
            PointerArrayWriter(path, dtype="f8")
        assert PointerArrayWriter(path, dtype="f4") is writer


@pytest.mark.parametrize("dtype", ["O", object, [("a", "i4"), ("b", "O")], "U", "nonsense"])
def test_dtypes_that_cannot_be(path: Path, dtype: Any) -> None:
    with pytest.raises(BadInputError):
        PointerArrayWriter(path, (0,), dtype)
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["<U5", "S5", "V7", "M8[ns]", [("a", "i4"), ("b", "f8", (2,))]])
def test_dtypes_and_growth(path: Path, dtype: Any) -> None:
    with PointerArrayWriter(path, (0,), dtype) as writer:
        for n in range(3):
            writer.write({f"n{n}": np.zeros(n, dtype)})
    check_names(path, {f"n{n}": np.zeros(n, dtype) for n in range(3)})


def test_names_that_are_no_text(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        with pytest.raises(BadInputError, match="a name must be a str, not int"):
            writer.write({5: [1]})  # type: ignore[dict-item]
        for what in ([1, 2], np.arange(3)):
            with pytest.raises(BadInputError, match="must be a mapping"):
                writer.write(what)  # type: ignore[arg-type]
        assert len(writer.indices) == 0
