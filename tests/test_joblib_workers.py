"""What arrives in workers of joblib, which is told of a mapped array which part of which file it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray

NUMBERS = np.arange(30_000.0).reshape(100, 300)
COLUMNS = np.asfortranarray(NUMBERS)
DATES = np.asfortranarray(np.arange(6).reshape(2, 3).astype("M8[s]"))
MASKED = np.ma.MaskedArray(COLUMNS, COLUMNS % 7 == 0)

OBJECTS: dict[str, Any] = {
    "rows": NUMBERS,
    "columns": COLUMNS,
    "columns of swapped bytes": COLUMNS.astype(">f4"),
    "dates": DATES,
    "three axes": np.asfortranarray(NUMBERS.reshape(10, 10, 300)),
    "masked": MASKED,
    "one row": COLUMNS[:1],
    "empty": COLUMNS[:0],
} | {f"small {n}": COLUMNS[:3, n : n + 4] + n for n in range(20)}


def copied(value: Any) -> Any:
    return value.copy()


def arrived(joblib: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return what workers of joblib see of some values, by name."""
    with joblib.Parallel(2, batch_size=8) as parallel:
        copies = parallel(joblib.delayed(copied)(value) for value in values.values())
    return dict(zip(values, copies, strict=True))


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(np.ma.getdata(found[name]), np.ma.getdata(value), name)
        np.testing.assert_array_equal(np.ma.getmask(found[name]), np.ma.getmask(value), name)
        # Pickles of masked arrays have the byte order of the machine.
        is_masked = np.ma.isMaskedArray(found[name])
        assert found[name].dtype == (value.dtype.newbyteorder("=") if is_masked else value.dtype)


@pytest.mark.parametrize(("file", "mode"), [("x.ptr", "r"), ("x.ptr", "c"), ("x.tar", "r")])
def test_arrays_of_objects(tmp_path: Path, joblib: Any, file: str, mode: Any) -> None:
    ptrarray.dump(OBJECTS, tmp_path / file)
    loaded = ptrarray.load(tmp_path / file, mode)
    assert loaded["columns"].flags.f_contiguous
    hidden = {"below a mask": loaded["masked"].data, "turned back": loaded["columns"].T}
    expected = OBJECTS | {"below a mask": COLUMNS, "turned back": COLUMNS.T}
    check(arrived(joblib, loaded | hidden), expected)


def test_arrays_of_stores(path: Path, joblib: Any) -> None:
    with ptrarray.create(path, masked=True) as writer:
        writer.write(OBJECTS)
    with ptrarray.open(path) as store:
        assert store["columns"].flags.f_contiguous
        check(arrived(joblib, {name: store[name] for name in OBJECTS}), OBJECTS)


def test_frames(path: Path, joblib: Any) -> None:
    pd = pytest.importorskip("pandas")
    labels = pd.MultiIndex.from_product([range(10), range(10)])
    frames = {
        "rows": pd.DataFrame(NUMBERS),
        "columns": pd.DataFrame(COLUMNS),
        "turned": pd.DataFrame(NUMBERS[:, :7], labels).T,
        "dates": pd.DataFrame(DATES),
        "of several dtypes": pd.DataFrame(NUMBERS[:, :7], labels).assign(number=range(100)),
        "parts": pd.DataFrame(NUMBERS).iloc[:, :50],
    }
    ptrarray.dump(frames, path)
    for name, found in arrived(joblib, ptrarray.load(path)).items():
        pd.testing.assert_frame_equal(found, frames[name])


def test_what_is_turned_by_hand_arrives_as_a_copy(path: Path, joblib: Any) -> None:
    """Of a view that is transposed, joblib 1.6.0 sends the place, and not the order."""
    with ptrarray.create(path, dtype="f8", row_shape=(300,)) as writer:
        writer["a"] = NUMBERS
    with ptrarray.open(path) as store:
        columns = {"turned": np.ascontiguousarray(store["a"].T), "copied": store["a"].T.copy()}
        check(arrived(joblib, columns), dict.fromkeys(columns, NUMBERS.T))
