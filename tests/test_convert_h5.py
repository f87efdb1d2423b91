"""Importing HDF5: elements of variable length, names and attributes of any kind, netCDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from ptrarray.convert.formats import h5_values
from tests.support.imports import check_content, content

pytestmark = pytest.mark.usefixtures("limits")

h5py = pytest.importorskip("h5py")
ORDERS = ("<", ">")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(path: Path, store: Path, **options: Any) -> Report:
    return convert.from_h5(path, store, progress=False, **options)


def meta_of(store: Path, name: str) -> dict[str, Any]:
    with ptrarray.open(store) as opened:
        return dict(opened.meta[name])


# Elements of variable length ----------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_elements_keep_their_byte_order(folder: Path, store: Path, order: str) -> None:
    values = {kind: np.array([1, 2, 300], f"{order}{kind}") for kind in ("i2", "u8", "i4", "f8")}
    values |= {kind: np.array([1, 2.5], f"{order}{kind}") for kind in ("f2", "f4", "c16")}
    values["flags"] = np.array([True, False])
    values["text"] = np.array([b"ab", b"c"], "S3")
    values["records"] = np.array([(1, 2.5)], [("x", f"{order}i4"), ("y", f"{order}f8")])
    with h5py.File(folder / "x.h5", "w") as file:
        for name, array in values.items():
            file.create_dataset(name, 1, h5py.vlen_dtype(array.dtype))[0] = array
        file.create_dataset("none", 1, h5py.vlen_dtype(np.dtype(f"{order}i4")))
    assert run(folder, store).ok
    expected = {f"{name}/0": array for name, array in values.items()}
    check_content(store, expected | {"none/0": np.array([], f"{order}i4")})


@pytest.mark.parametrize("order", ORDERS)
def test_enumerations_and_elements_in_elements(folder: Path, store: Path, order: str) -> None:
    whole = np.dtype(f"{order}i4")
    enum = h5py.enum_dtype({"A": 1, "B": 2}, basetype=f"{order}i2")
    outer = np.empty(2, object)
    outer[:] = [np.array([1, 2], whole), np.array([3], whole)]
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("enum", data=np.array([1, 2], enum))
        file.create_dataset("enums", 1, h5py.vlen_dtype(enum))[0] = np.array([2, 1], enum)
        file.create_dataset("deep", 1, h5py.vlen_dtype(h5py.vlen_dtype(whole)))[0] = outer
    assert run(folder, store).ok
    expected = {"enum": np.array([1, 2], f"{order}i2"), "enums/0": np.array([2, 1], f"{order}i2")}
    expected |= {f"deep/0/{i}": array for i, array in enumerate(outer)}
    found = content(store)
    assert {name: (a.dtype.str, a.tolist()) for name, a in found.items()} == {
        name: (a.dtype.str, a.tolist()) for name, a in expected.items()
    }


@pytest.mark.parametrize("order", ORDERS)
def test_records_with_elements(folder: Path, store: Path, order: str) -> None:
    number, of_numbers = np.dtype(f"{order}i4"), h5py.vlen_dtype(np.dtype(f"{order}f8"))
    dtype = np.dtype([("id", number), ("v", of_numbers), ("t", h5py.string_dtype())])
    with h5py.File(folder / "x.h5", "w") as file:
        made = file.create_dataset("r", 2, dtype)
        made[0] = (7, np.array([1, 2.5]), "text")
        file.create_dataset("one", (), dtype)[()] = (8, np.array([4.5]), "text")
    report = run(folder, store)
    problems = {failure.source.rpartition(":")[2]: failure.problem for failure in report.failures}
    assert problems == dict.fromkeys(("r/t", "one/t"), "it holds text of variable length")
    expected = {"r/id": np.array([7, 0], number), "r/v/0": np.array([1, 2.5], f"{order}f8")}
    expected |= {"r/v/1": np.array([], f"{order}f8"), "one/id": np.array(8, number)}
    check_content(store, expected | {"one/v": np.array([4.5], f"{order}f8")})


def test_shapes(folder: Path, store: Path) -> None:
    kind = h5py.vlen_dtype(np.dtype(">i4"))
    with h5py.File(folder / "x.h5", "w") as file:
        made = file.create_dataset("grid", (2, 2), kind)
        made[0, 1], made[1, 0] = [1, 2], [3]
        file.create_dataset("alone", (), kind)[()] = [4, 5]
        file.create_dataset("none", (0,), kind)
        file.create_dataset("text", (1, 1), h5py.string_dtype())
        file["refs"] = np.array([file["grid"].ref], h5py.ref_dtype)
    problems = {f.source.rpartition(":")[2]: f.problem for f in run(folder, store).failures}
    assert problems == {
        "none": "it has no elements, each of which would be an array",
        "text": "it holds text of variable length",
        "refs": "it holds references into its file",
    }
    grid: dict[str, list[int]] = {"0/0": [], "0/1": [1, 2], "1/0": [3], "1/1": []}
    expected = {f"grid/{key}": np.array(array, ">i4") for key, array in grid.items()}
    check_content(store, expected | {"alone": np.array([4, 5], ">i4")})


def test_attributes_of_elements(folder: Path, store: Path) -> None:
    kind = h5py.vlen_dtype(np.dtype(">i4"))
    lists = np.empty(2, object)
    lists[:] = [np.array([1, 2]), np.array([3])]
    with h5py.File(folder / "x.h5", "w") as file:
        file["a"] = [0]
        file["a"].attrs.create("some", lists, dtype=kind)
        file["a"].attrs.create("big", np.array([1, 2]), dtype=">i4")
        file["a"].attrs["words"] = np.array(["a", "b"], object)
        file["a"].attrs["to"] = file["a"].ref
    assert run(folder, store) == Report(converted=1)
    assert meta_of(store, "a") == {"some": [[1, 2], [3]], "big": [1, 2], "words": ["a", "b"]}


def test_an_h5py_that_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is turned around twice."""
    native, other = np.array([1, 2], "=i4"), np.dtype("i4").newbyteorder("S")
    assert h5_values._in_its_order(native.astype(other), other).tolist() == [1, 2]
    pairs = np.zeros((1, 2), other)  # which it reads in their order
    assert h5_values._in_its_order(pairs, np.dtype((other, (2,)))) is pairs
    monkeypatch.setattr(h5_values, "_takes_all_for_native", lambda _: False)
    assert h5_values._in_its_order(native, other).tolist() == [1, 2]


# What cannot be read, and the rest ----------------------------------------------------------------


def test_names_that_are_no_utf8(folder: Path, store: Path) -> None:
    with h5py.File(folder / "x.h5", "w") as file:
        file["a"], file["z"], file["é"] = [1], [2], [3]
        space = h5py.h5s.create_simple((2,))
        h5py.h5g.create(file.id, b"gr\xf6\xdfe")
        h5py.h5d.create(file.id, b"gr\xf6\xdfe/\xe9", h5py.h5t.STD_I32LE, space)
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(file["a"].id, b"caf\xe9", h5py.h5t.STD_I32LE, scalar)
    report = run(folder, store)
    assert report.ok
    assert report.notes == [
        f"2 names are no UTF-8, and read as Latin-1: {folder / 'x.h5'}:größe, …"
    ]
    assert sorted(content(store)) == ["a", "größe/é", "z", "é"]
    assert meta_of(store, "a") == {"café": 0}


def test_what_cannot_be_read_leaves_the_rest(folder: Path, store: Path) -> None:
    time, scalar = h5py.h5t.UNIX_D32LE, h5py.h5s.create(h5py.h5s.SCALAR)
    with h5py.File(folder / "x.h5", "w") as file:
        file["a"], file["z"] = [1], [2]
        h5py.h5a.create(file["a"].id, b"when", time, scalar)
        file["a"].attrs.update({"unit": "m", "none": h5py.Empty("f4"), "z": 1j})
        h5py.h5d.create(file.id, b"m", time, scalar)
        file["gone"], file["outside"] = h5py.SoftLink("/x"), h5py.ExternalLink("o.h5", "/x")
        file.attrs["title"] = "all"
    report = run(folder, store)
    label = folder / "x.h5"
    problem = "TypeError: No NumPy equivalent for TypeTimeID exists"
    assert [tuple(failure) for failure in report.failures] == [
        (f"{label}:a", f"its attribute 'when' cannot be read: {problem}"),
        (f"{label}:m", problem),
    ]
    assert report.notes == [
        f"2 attributes are of a kind that metadata cannot hold: {label}:a, none, …",
        f"groups have attributes, which no array keeps: {label}",
        f"links to other files are not followed: {label}:outside",
    ]
    assert sorted(content(store)) == ["a", "z"]
    assert meta_of(store, "a") == {"unit": "m"}


def test_an_object_that_is_damaged_leaves_the_rest(folder: Path, store: Path) -> None:
    path = folder / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"], file["c"] = [1], [2], [3]
        address = h5py.h5o.get_info(file["b"].id).addr
    raw = bytearray(path.read_bytes())
    raw[address : address + 8] = b"\xff" * 8
    path.write_bytes(raw)
    (failure,) = run(folder, store).failures
    assert failure.source == f"{path}:b"
    assert failure.problem.startswith("it cannot be opened: ")
    assert sorted(content(store)) == ["a", "c"]


@pytest.mark.parametrize("owner", ["b", "/"])
def test_attributes_that_are_damaged_leave_the_rest(folder: Path, store: Path, owner: str) -> None:
    path = folder / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"], file["c"] = [1], [2], [3]
        file[owner].attrs["an attribute"] = 5
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"an attribute") - 8] = 0xFF  # the version of its message
    path.write_bytes(raw)
    report = run(folder, store)
    if owner == "b":
        (failure,) = report.failures
        assert failure.source == f"{path}:b"
        assert failure.problem.startswith("its attributes cannot be read: ")
    else:
        assert report.notes == [f"groups have attributes, which no array keeps: {path}"]
    check_content(store, {name: np.array([i + 1]) for i, name in enumerate("abc")})


def test_metadata_that_is_no_json(folder: Path, store: Path) -> None:
    with h5py.File(folder / "x.h5", "w") as file:
        for name, text in (("a", '{"k": 1}'), ("b", "[1"), ("c", "[1]")):
            file[name] = [1]
            file[name].attrs["ptrarray_meta"] = text
    assert run(folder, store) == Report(converted=3)
    expected = [{"k": 1}, {"ptrarray_meta": "[1"}, {"ptrarray_meta": "[1]"}]
    assert [meta_of(store, name) for name in "abc"] == expected


# netCDF -------------------------------------------------------------------------------------------


def test_netcdf(folder: Path, store: Path) -> None:
    """As netCDF4 1.7 and h5netcdf 1.8 write it."""
    with h5py.File(folder / "x.h5", "w") as file:
        file.attrs["_NCProperties"] = "version=2,netcdf=4.10.1,hdf5=2.2.0"
        for name, text in (("time", "This is a netCDF dimension but not a netCDF variable.   3"),
                           ("x", "x")):  # fmt: skip
            made = file.create_dataset(name, 3, "f4")
            made.attrs["CLASS"], made.attrs["NAME"] = np.bytes_("DIMENSION_SCALE"), np.bytes_(text)
        file["t"] = np.array([1, 2, -999], "i2")
        file["t"].attrs.update({"scale_factor": np.array([0.1]), "_FillValue": np.array([-999])})
        file["u"] = np.array([1.5, 2, np.nan])
        file["u"].attrs["_FillValue"] = np.array([np.nan])
        file["t"].dims[0].attach_scale(file["time"])
    report = run(folder, store)
    label = folder / "x.h5"
    assert report.ok
    dimensions, packed = report.notes
    assert dimensions == f"dimensions of netCDF have no values, and are left out: {label}:time"
    assert packed.startswith("sets come as they are stored: scale_factor, add_offset, ")
    assert packed.endswith(f"{label}:t")
    found = content(store)
    assert sorted(found) == ["t", "u", "x"]
    assert found["t"].tolist() == [1, 2, -999]
    assert meta_of(store, "t") == {"scale_factor": [0.1], "_FillValue": [-999]}
