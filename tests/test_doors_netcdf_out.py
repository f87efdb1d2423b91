"""Exporting to netCDF, as h5netcdf reads it; what came out comes in again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import convert
from ptrarray.cli import main
from tests.support.imports import check_content, content

h5netcdf = pytest.importorskip("h5netcdf")

ARRAYS = {"a": np.arange(3.0), "b": np.zeros(0), "é/1": np.array([np.nan, -0.0])}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.nc"


def fill(store: Path, arrays: Any, meta: Any = None, **settings: Any) -> Path:
    with ptrarray.create(store, **settings) as writer:
        writer.write(arrays, meta=meta)
    return store


def test_contiguous_ragged_arrays_as_cf_has_them(store: Path, out: Path) -> None:
    report = convert.to_netcdf(fill(store, ARRAYS, dtype="f8"), out, progress=False)
    assert (report.converted, report.failures, report.notes) == (3, [], [])
    with h5netcdf.File(out) as file:
        assert {**file.attrs} == {"Conventions": "CF-1.11", "featureType": "trajectory"}
        assert {name: len(one) for name, one in file.dimensions.items()} == {
            "instance": 3,
            "obs": 5,
        }
        assert file["rowsize"].attrs["sample_dimension"] == "obs"
        assert file["rowsize"][:].tolist() == [3, 0, 2]
        assert [one.decode() for one in file["name"][:]] == [*ARRAYS]
        assert file["name"].attrs["cf_role"] == "trajectory_id"
        assert file["data"].dimensions == ("obs",)
        assert file["data"][:].tobytes() == np.concatenate([*ARRAYS.values()]).tobytes()
        assert "_FillValue" not in file["data"].attrs
    with pytest.raises(FileExistsError):
        convert.to_netcdf(store, out, progress=False)


@pytest.mark.parametrize(
    "dtype", [f"{order}{kind}" for order in "<>" for kind in ("i1", "i4", "u2", "u8", "f4", "f8")]
)
def test_every_dtype_that_all_read_goes_out_and_comes_in(
    store: Path, out: Path, dtype: str
) -> None:
    data = np.frombuffer(np.random.default_rng(1).bytes(40 * np.dtype(dtype).itemsize), dtype)
    arrays = {
        "x": data[:14].reshape(7, 2),
        "y": data[14:].reshape(13, 2),
        "z": data[:0].reshape(0, 2),
    }
    fill(store, arrays)
    assert convert.to_netcdf(store, out, progress=False).ok
    again = store.with_name("again.ptr")
    assert convert.from_netcdf(out, again, progress=False, verify=True).ok
    assert {k: (v.dtype, v.tobytes()) for k, v in content(again).items()} == {
        k: (v.dtype, v.tobytes()) for k, v in arrays.items()
    }


@pytest.mark.parametrize("dtype", ["f2", "g", "?", "c8", "S3", "M8[s]", "m8[D]", "i4,f4"])
def test_dtypes_that_others_misread_are_failures(store: Path, out: Path, dtype: str) -> None:
    """netCDF4 1.7.5 is killed by signal 11 on float16 and long doubles that h5netcdf 1.8.2 has written."""
    fill(store, {"a": np.zeros(2, dtype), "b": np.arange(2)})
    report = convert.to_netcdf(store, out, progress=False)
    assert report.converted == 1
    ((name, problem),) = report.failures
    assert name == "a"
    assert "not every reader" in problem
    with h5netcdf.File(out) as file:
        assert file["data"][:].tolist() == [0, 1]


def test_other_rows_names_and_masks_are_failures(store: Path, out: Path) -> None:
    masked = np.ma.masked_array([1, 2, 3], [False, True, False])
    others = {
        "b": np.zeros((2, 2), int),
        "c": np.array(5),
        "d\0": np.arange(2),
        "e": np.zeros((1, 0)),
    }
    fill(store, {"a": np.arange(3), "m": masked, **others}, masked=True)
    report = convert.to_netcdf(store, out, progress=False)
    assert report.converted == 1
    problems = {name: problem for name, problem in report.failures}
    assert "those before it int64 of shape ()" in problems["b"]
    assert "no rows" in problems["c"]
    assert "NUL" in problems["d\0"]
    assert "unlimited" in problems["e"]
    assert "masked values" in problems["m"]


def test_variables_go_out_by_the_ends_of_names(store: Path, out: Path) -> None:
    arrays = {
        f"{i}/{key}": np.arange(i, dtype=dtype)
        for i in (3, 0, 2)
        for key, dtype in (("t", "i8"), ("x", "f4"))
    }
    fill(
        store,
        arrays
        | {"1/t": np.arange(1), "4/t": np.arange(4), "4/x": np.zeros(5, "f4"), "z": np.arange(2)},
    )
    report = convert.to_netcdf(store, out, variables=["x", "t"], progress=False)
    assert report.converted == 6
    problems = {name: problem for name, problem in report.failures}
    assert problems == {
        "1": "there is no 1/x in the store",
        "4": "its variables differ in length: t 4, x 5",
        "z": "its name does not end in a slash and one of x, t",
    }
    again = store.with_name("again.ptr")
    assert convert.from_netcdf(out, again, progress=False).ok
    check_content(again, arrays)
    for name in ("a/b", "rowsize", ""):
        with pytest.raises(ptrarray.BadInputError, match="cannot be called so"):
            convert.to_netcdf(store, store / "new.nc", variables=[name], progress=False)
    with pytest.raises(ptrarray.BadInputError, match="several names"):
        convert.to_netcdf(store, store / "new.nc", variables="x", progress=False)


def test_metadata_goes_out_and_comes_in(store: Path, out: Path) -> None:
    same = {
        "units": "m",
        "_FillValue": -1,
        "scale_factor": 0.5,
        "valid_range": [0, 9],
        "long_name": "depth",
    }
    meta = {name: {**same, "n": i, "who": name, "w": i / 2} for i, name in enumerate("abc")}
    meta["a"] |= {"some": 1, "list": [1], "bad key": 1, "name": "x"}
    fill(store, dict.fromkeys("abc", np.arange(2, dtype="i2")), meta)
    report = convert.to_netcdf(store, out, progress=False)
    assert report.ok
    assert report.notes == ["metadata of 4 keys is not kept in netCDF: bad key, list, name, some"]
    with h5netcdf.File(out) as file:
        attrs = file["data"].attrs
        assert (attrs["_FillValue"].dtype, attrs["valid_range"].dtype) == ("i2", "i2")
        assert file["who"].dimensions == ("instance",)
    again = store.with_name("again.ptr")
    assert convert.from_netcdf(out, again, progress=False, verify=True).ok
    with ptrarray.open(again) as opened:
        for i, name in enumerate("abc"):
            assert opened.meta[name] == {**same, "n": i, "who": name, "w": i / 2}


def test_nothing_and_only_empty_arrays(store: Path, out: Path) -> None:
    with ptrarray.create(store, dtype="f4"):
        pass
    assert convert.to_netcdf(store, out, progress=False).converted == 0
    again = store.with_name("again.ptr")
    for counts in (None, "rowsize"):
        report = convert.from_netcdf(out, again, progress=False, counts=counts)
        assert (report.converted, report.failures, again.exists()) == (0, [], False)
    out.unlink()
    with ptrarray.append(store) as writer:
        writer.write({"a": [], "b": []})
    assert convert.to_netcdf(store, out, progress=False).converted == 2
    assert convert.from_netcdf(out, again, progress=False).ok
    check_content(again, {"a": np.zeros(0, "f4"), "b": np.zeros(0, "f4")})


def test_on_the_command_line(store: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(store, {"a/t": np.arange(3), "a/x": np.ones(3), "b/t": np.arange(1), "b/x": np.ones(1)})
    again = str(store.with_name("again.ptr"))
    assert (
        main(
            ["export", "--to", "netcdf", "--variable", "t", "--variable", "x", str(store), str(out)]
        )
        == 0
    )
    how = ["--variable", "t", "--counts", "rowsize", "--sample", "obs", "--names", "name"]
    assert main(["import", "netcdf", *how, str(out), again]) == 0
    check_content(Path(again), {"a": np.arange(3), "b": np.arange(1)})
    assert main(["import", "netcdf", "--counts", "n", str(out), again]) == 1
    assert "no variable is called 'n'" in capsys.readouterr().err


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        arrays_of.arrays(st.sampled_from(["<f4"]), st.tuples(st.integers(0, 5), st.just(2))),
        max_size=6,
    ),
    st.data(),
)
def test_whatever_goes_out_comes_in(arrays: list[Any], data: st.DataObject) -> None:
    names = data.draw(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
            min_size=len(arrays),
            max_size=len(arrays),
            unique_by=lambda name: name.rstrip(" "),
        ).filter(lambda names: all(name.rstrip(" ") == name for name in names))
    )
    with tempfile.TemporaryDirectory() as folder:
        store, out, again = (Path(folder, name) for name in ("s.ptr", "x.nc", "again.ptr"))
        fill(store, dict(zip(names, arrays, strict=True)), dtype="f4", row_shape=2)
        assert convert.to_netcdf(store, out, progress=False).converted == len(arrays)
        report = convert.from_netcdf(out, again, progress=False)
        assert report.converted == len(arrays)
        if arrays:
            found = content(again)
            assert {n: v.tobytes() for n, v in found.items()} == {
                n: v.tobytes() for n, v in zip(names, arrays, strict=True)
            }
