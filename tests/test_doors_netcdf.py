"""Importing netCDF: ragged arrays as CF has them, of files that h5netcdf has written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from tests.support.h5_damage import damaged
from tests.support.imports import check_content, content

pytestmark = pytest.mark.usefixtures("limits")

h5netcdf = pytest.importorskip("h5netcdf")
h5py = pytest.importorskip("h5py")

COUNTS = np.array([3, 0, 1, 2], "i4")
BOUNDS = np.cumsum([0, *COUNTS]).tolist()
DTYPES = [f"{order}{kind}" for order in "<>" for kind in ("i2", "i4", "i8", "u2", "u8", "f4", "f8")]
DTYPES += ["i1", "u1"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.nc"


def run(path: Any, store: Path, **options: Any) -> Report:
    return convert.from_netcdf(path, store, progress=False, **options)


def start(path: Path, counts: Any = COUNTS, n_rows: int = 6, at: str = "sample_dimension") -> Any:
    """Return a new file with counts, open."""
    file = h5netcdf.File(path, "w")
    file.dimensions = {"traj": len(counts), "obs": n_rows, "two": 2, "letters": 3}
    rowsize = file.create_variable("rowsize", ("traj",), np.asarray(counts).dtype, data=counts)
    if at:
        rowsize.attrs[at] = "obs"
    return file


def add(file: Any, name: str, data: Any, *dimensions: str, **attributes: Any) -> Any:
    data = np.asarray(data)
    made = file.create_variable(name, dimensions or ("obs",), data.dtype, data=data)
    for key, value in attributes.items():
        made.attrs[key] = value
    return made


def cut(values: Any, names: Any = ("0", "1", "2", "3"), end: str = "") -> dict[str, Any]:
    """Return what the counts make of values."""
    arrays = [values[i:j] for i, j in pairwise(BOUNDS)]
    return {f"{name}{end}": array for name, array in zip(names, arrays, strict=True)}


def failures(path: Path, store: Path, **options: Any) -> list[str]:
    report = run(path, store, **options)
    assert not report.converted
    assert not store.exists()
    return [problem for _, problem in report.failures]


# Contiguous ---------------------------------------------------------------------------------------


def test_every_dtype_comes_in_bit_for_bit(path: Path, store: Path) -> None:
    """Also in its byte order, which xarray 2026.9 makes native in every engine."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.bytes(6 * np.dtype(name).itemsize) for name in DTYPES}
    values = {f"v{i}": np.frombuffer(arrays[name], name) for i, name in enumerate(DTYPES)}
    with start(path) as file:
        for name, array in values.items():
            add(file, name, array)
    report = run(path, store, verify=True)
    assert report.ok
    expected: dict[str, Any] = {}
    for name, array in values.items():
        expected |= cut(array, end=f"/{name}")
    found = content(store)
    assert {k: (v.dtype, v.tobytes()) for k, v in found.items()} == {
        k: (v.dtype, v.tobytes()) for k, v in expected.items()
    }
    assert run(path, store).skipped == len(expected)


def test_one_variable_is_named_by_its_ids_alone(path: Path, store: Path) -> None:
    rows = np.arange(12, dtype="f4").reshape(6, 2)
    with start(path) as file:
        add(file, "uv", rows, "obs", "two")
        add(file, "other", np.arange(6))
        file.create_variable(
            "id", ("traj",), h5py.string_dtype(), data=np.array(["é/1", "b", "c", "d"], object)
        )
        file["id"].attrs["cf_role"] = "trajectory_id"
    assert run(path, store, variables=["uv"]).ok
    check_content(store, cut(rows, ("é/1", "b", "c", "d")))


def test_many_ids_of_text(path: Path, store: Path) -> None:
    names = [f"{at:0{at % 7}}" for at in range(5_000)]
    with start(path, np.ones(len(names), "i4"), len(names)) as file:
        add(file, "x", np.arange(len(names)))
        data = np.array(names, object)
        file.create_variable("id", ("traj",), h5py.string_dtype(), data=data)
        pair = np.array([names, names[::-1]], object).T
        file.create_variable("pair", ("traj", "two"), h5py.string_dtype(), data=pair)
        file["id"].attrs["cf_role"] = "trajectory_id"
    assert run(path, store).converted == len(names)
    with ptrarray.open(store) as reader:
        assert {name: array.tolist() for name, array in reader.items()} == {
            name: [at] for at, name in enumerate(names)
        }


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (np.array([7, -3, 12, 0]), ["7", "-3", "12", "0"]),
        (
            np.array([b"abc", b"d  ", b"ee", b"f"], "S3").view("S1").reshape(4, 3),
            ["abc", "d", "ee", "f"],
        ),
    ],
)
def test_ids_are_integers_or_characters(path: Path, store: Path, ids: Any, names: Any) -> None:
    """Characters along a dimension of their own are text of netCDF-3, padded by NULs or spaces."""
    with start(path) as file:
        add(file, "x", np.arange(6.0))
        add(file, "id", ids, *("traj", "letters")[: ids.ndim], cf_role="profile_id")
    assert run(path, store).ok
    check_content(store, cut(np.arange(6.0), names))


def test_metadata_is_attributes_and_variables_of_the_arrays(path: Path, store: Path) -> None:
    with start(path) as file:
        add(file, "t", np.arange(6, dtype="i2"), scale_factor=np.float32(0.5), units="K", id="own")
        file["t"].attrs["comment"] = "x" * 300
        add(file, "id", [5, 5, 6, 7], "traj", cf_role="trajectory_id")
        add(file, "place", np.arange(8.0).reshape(4, 2), "traj", "two", units="m")
        add(file, "z", np.arange(2), "two")
        file.attrs["history"] = "made"
    report = run(path, store, verify=True)
    assert report.ok
    with ptrarray.open(store) as opened:
        assert opened.meta["3"] == {"scale_factor": 0.5, "units": "K", "t.id": "own"} | {
            "id": 7,
            "place": [6.0, 7.0],
        }
    notes = "\n".join(report.notes)
    for word in (
        "history",
        "repeat",
        "256 bytes",
        "as they are stored",
        "left out",
        "attributes, which no metadata",
    ):
        assert (word in notes) == (word != "history")
    assert "x.nc:place" in notes


def test_nan_for_a_fill_value_is_the_same_when_verified(path: Path, store: Path) -> None:
    """xarray gives all floats the attribute _FillValue = NaN."""
    with start(path) as file:
        file.create_variable(
            "x", ("obs",), "f4", data=np.zeros(6, "f4"), fillvalue=np.float32(np.nan)
        )
    report = run(path, store, verify=True)
    assert report.ok
    assert not report.notes
    assert report.converted == len(COUNTS)


def test_counts_without_the_attribute_are_named(path: Path, store: Path) -> None:
    """clouddrift 0.48 writes none, and looks for ``rowsize`` (clouddrift/raggedarray.py)."""
    with start(path, at="") as file:
        add(file, "x", np.arange(6))
        add(file, "drogue", [1.5, 2.5, 3.5, 4.5], "traj")
    (problem,) = failures(path, store)
    assert "counts='rowsize'" in problem
    assert "drogue, rowsize, x" in problem
    assert run(path, store, counts="rowsize").ok
    check_content(store, cut(np.arange(6)))
    with ptrarray.open(store) as opened:
        assert opened.meta["2"] == {"drogue": 3.5}


def test_the_dimension_that_is_counted_is_named_if_there_are_two(path: Path, store: Path) -> None:
    with start(path, at="") as file:
        file.dimensions["other"] = 6
        add(file, "x", np.arange(6))
        add(file, "y", -np.arange(6), "other")
    (problem,) = failures(path, store, counts="rowsize")
    assert "obs and other" in problem
    assert run(path, store, counts="rowsize", sample="other").ok
    check_content(store, cut(-np.arange(6)))


def test_counts_of_a_group_cut_those_below(path: Path, store: Path) -> None:
    """A dimension is seen in all groups below that of it, as CF 1.8 and later has it."""
    with start(path) as file:
        add(file, "id", [7, 8, 9, 10], "traj", cf_role="trajectory_id")
        add(file, "depth", [1, 2, 3, 4], "traj")
        inner = file.create_group("ocean")
        add(inner, "temp", np.arange(6))
        add(inner, "salt", np.arange(6, 12))
        add(inner, "depth", [5, 6, 7, 8], "traj")
        add(file.create_group("ocean/deep"), "temp", np.arange(12, 18))
        other = file.create_group("air")
        add(other, "wind", np.arange(18, 24))
        own = other.create_variable("own", ("traj",), "i4", data=np.array([1, 1, 1, 3], "i4"))
        own.attrs["sample_dimension"] = "obs"
        add(file.create_group("else"), "x", np.arange(4), "traj")
    report = run(path, store, verify=True)
    assert report.failures == []
    ids = ("7", "8", "9", "10")
    expected = cut(np.arange(6), [f"ocean/{one}" for one in ids], "/temp")
    expected |= cut(np.arange(6, 12), [f"ocean/{one}" for one in ids], "/salt")
    expected |= cut(np.arange(12, 18), [f"ocean/deep/{one}" for one in ids], "/temp")
    wind = {f"air/{i}/wind": np.arange(18 + i, 19 + i) for i in range(3)}
    check_content(store, {**expected, **wind, "air/3/wind": np.arange(21, 24)})
    with ptrarray.open(store) as reader:
        assert reader.meta["ocean/8/temp"] == {"depth": 6}
        assert reader.meta["ocean/deep/8/temp"] == {"depth": 2}
    assert report.notes == [
        f"variables are neither of samples nor of arrays, and are left out: {path}:else/x"
    ]


def test_counts_by_name_cut_groups_below(path: Path, store: Path) -> None:
    with start(path, at="") as file:
        add(file.create_group("ocean"), "temp", np.arange(6))
    assert "name the one that is cut" in failures(path, store, counts="rowsize")[0]
    assert run(path, store, counts="rowsize", sample="obs").ok
    check_content(store, cut(np.arange(6), [f"ocean/{i}" for i in range(4)]))


def test_numbers_of_instances_cut_groups_below(path: Path, store: Path) -> None:
    with start(path, at="") as file:
        add(file, "index", [2, 0, 0, 3, 0, 3], instance_dimension="traj")
        add(file.create_group("ocean"), "temp", np.arange(6))
    assert run(path, store).ok
    arrays = {"ocean/0": [1, 2, 4], "ocean/1": [], "ocean/2": [0], "ocean/3": [3, 5]}
    check_content(store, {name: np.array(rows, "i8") for name, rows in arrays.items()})


def test_groups_and_several_counts(path: Path, store: Path) -> None:
    with start(path) as file:
        add(file, "x", np.arange(6))
        inner = file.create_group("deep/er")
        inner.dimensions = {"station": 2, "obs": 3}
        add(inner, "n", [1, 2], "station", sample_dimension="obs")
        add(inner, "x", [7, 8, 9])
        file.dimensions["p"], file.dimensions["q"] = 1, 2
        add(file, "m", [2], "p", sample_dimension="q")
        add(file, "y", [0.5, 1.5], "q")
    assert run(path, store, verify=True).ok
    others = {
        "deep/er/0/x": np.array([7]),
        "deep/er/1/x": np.array([8, 9]),
        "0/y": np.array([0.5, 1.5]),
    }
    check_content(store, cut(np.arange(6), end="/x") | others)


def test_compressed_unlimited_and_all_empty(path: Path, store: Path, tmp_path: Path) -> None:
    with start(path, n_rows=0) as file:
        file.resize_dimension("obs", 6)
        file.create_variable(
            "x", ("obs",), "i4", data=np.arange(6, dtype="i4"), chunks=(4,), compression="gzip"
        )
    with start(tmp_path / "e.nc", [0, 0], 0) as file:
        add(file, "x", np.zeros(0, "u1"))
    with start(tmp_path / "n.nc", np.zeros(0, "i8"), 0) as file:
        add(file, "x", np.zeros(0, "u1"))
    assert run(tmp_path, store).ok
    empty = {"e/0": np.zeros(0, "u1"), "e/1": np.zeros(0, "u1")}
    check_content(store, {f"x/{k}": v for k, v in cut(np.arange(6, dtype="i4")).items()} | empty)


def test_large_files_are_read_in_parts(path: Path, store: Path) -> None:
    n_rows, n_arrays = 17_000_000, 50
    counts = np.full(n_arrays, n_rows // n_arrays)
    with start(path, counts, n_rows) as file:
        x = file.create_variable("x", ("obs",), "f8")
        x[:] = np.arange(n_rows, dtype="f8")
        x.attrs["units"], x.attrs["add_offset"] = "m", 1.0
    report = run(path, store, processes=2)
    assert (report.converted, report.failures) == (n_arrays, [])
    assert len(report.notes) == 1
    with ptrarray.open(store) as opened:
        for i in range(n_arrays):
            assert opened[str(i)][0] == i * counts[0]
            assert len(opened[str(i)]) == counts[0]


# Indexed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [[0, 0, 2, 3, 3, 3], [3, 0, 3, 2, 0, 3]])
def test_indexed_arrays_keep_the_order_of_the_file(path: Path, store: Path, numbers: Any) -> None:
    rows = np.arange(12).reshape(6, 2)
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"station": 4, "obs": 6, "two": 2}
        add(file, "at", numbers, instance_dimension="station")
        add(file, "x", rows, "obs", "two")
        add(file, "y", np.arange(6.0))
        add(file, "name", [10, 11, 12, 13], "station", cf_role="timeseries_id")
    assert run(path, store, verify=True).ok
    expected: dict[str, Any] = {}
    for i in range(4):
        is_it = np.array(numbers) == i
        expected |= {f"{10 + i}/x": rows[is_it], f"{10 + i}/y": np.arange(6.0)[is_it]}
    check_content(store, expected)


@pytest.mark.parametrize("numbers", [[0, 1, 2], [-1, 0, 1], [0, 1, 9]])
def test_numbers_of_no_array_are_errors(path: Path, store: Path, numbers: Any) -> None:
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"station": 2, "obs": 3}
        add(file, "at", numbers, instance_dimension="station")
        add(file, "x", [1, 2, 3])
    (problem,) = failures(path, store)
    assert "expected 0 to 1" in problem


# What is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ([3, 0, 1, 3], "add up to 7 rows, and there are 6"),
        ([3, 0, 1, 1], "add up to 5 rows"),
        ([4, -1, 1, 2], "rowsize[1] is -1"),
        ([7, -1, 0, 0], "rowsize[0] is 7"),
        (np.array([2**63, 2**63, 3, 3], "u8"), "rowsize[0] is 9223372036854775808"),
        ([3.0, 0.0, 1.0, 2.0], "expected integers"),
    ],
)
def test_wrong_counts_are_errors_of_the_file(
    path: Path, store: Path, counts: Any, problem: str
) -> None:
    """xarray says nothing, clouddrift's `unpack` and cfdm read other rows (0.48.1, 1.13.3)."""
    with start(path, counts) as file:
        add(file, "x", np.arange(6))
    (found,) = failures(path, store)
    assert problem in found


def test_missing_counts_are_errors(path: Path, store: Path) -> None:
    with start(path, at="") as file:
        by = file.create_variable("n", ("traj",), "i4", data=COUNTS, fillvalue=np.int32(0))
        by.attrs["sample_dimension"] = "obs"
        add(file, "x", np.arange(6))
    (problem,) = failures(path, store)
    assert "n[1] is missing" in problem


def test_no_variable_and_no_ragged_arrays_are_errors(path: Path, store: Path) -> None:
    with start(path) as file:
        add(file, "two", [1, 2], "two")
    (problem,) = failures(path, store)
    assert "along which no variable lies" in problem
    path.unlink()
    with start(path) as file:
        add(file, "x", np.arange(6))
    assert failures(path, store, variables=["y"]) == [
        "it has no variable 'y' of samples; there are x"
    ]
    assert "no variable 'id' has names" in failures(path, store, names="id")[0]
    assert "no variable is called 'n'" in failures(path, store, counts="n")[0]
    with pytest.raises(ptrarray.BadInputError, match="several names"):
        run(path, store, variables="x")


def test_text_and_values_in_other_files_are_refused(path: Path, store: Path) -> None:
    with start(path) as file:
        add(file, "x", np.arange(6))
        file.create_variable(
            "text", ("obs",), h5py.string_dtype(), data=np.array(["a"] * 6, object)
        )
        add(file, "out", np.arange(6))
    with h5py.File(path, "r+") as raw:
        scale = raw["obs"]
        del raw["out"]
        (path.parent / "secret").write_bytes(bytes(48))
        raw.create_dataset("out", (6,), "i8", external=[(str(path.parent / "secret"), 0, 48)])
        raw["out"].dims[0].attach_scale(scale)
        raw["link"] = h5py.ExternalLink("other.h5", "/x")
    report = run(path, store)
    assert report.converted == len(COUNTS)
    assert [problem for _, problem in report.failures] == [
        "its values are in other files",
        "it holds text or other things of variable length, which is no array",
    ]
    assert any("not followed" in note for note in report.notes)


# Forged and damaged -------------------------------------------------------------------------------


def test_claims_beyond_the_file_take_no_memory(path: Path, store: Path) -> None:
    with start(path, np.array([2**45]), 2**45) as file:
        file.create_variable("x", ("obs",), "f8", chunks=(1 << 10,))
        file.create_variable("y", ("obs",), "f8")
    report = run(path, store)
    assert not report.converted
    assert [problem.partition(" bytes")[0] for _, problem in report.failures] == [
        f"it claims {2**48}"
    ] * 2
    path.unlink()
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"traj": 2**45, "obs": 6}
        file.create_variable("n", ("traj",), "i8").attrs["sample_dimension"] = "obs"
        add(file, "x", np.arange(6))
    (problem,) = failures(path, store)
    assert "it claims" in problem


def test_lengths_that_another_claims_take_no_memory(path: Path, store: Path) -> None:
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"traj": None, "obs": 6}
        add(file, "n", np.zeros(0, "i8"), "traj", sample_dimension="obs")
        add(file, "x", np.arange(6))
        file.resize_dimension("traj", 2**40)
    with h5py.File(path, "r+") as raw:
        raw["n"].resize((3,))
        raw["n"][:] = [1, 2, 3]
    (problem,) = failures(path, store)
    assert "it claims" in problem


@pytest.fixture
def small(path: Path) -> Iterator[bytes]:
    with start(path) as file:
        add(file, "x", np.arange(6), units="m")
        add(file, "id", [4, 5, 6, 7], "traj", cf_role="trajectory_id")
    yield path.read_bytes()
    path.unlink()


def test_truncated_files_are_errors(small: bytes, path: Path, store: Path) -> None:
    for n_bytes in range(0, len(small), 97):
        path.write_bytes(small[:n_bytes])
        assert len(failures(path, store)) == 1


def test_damaged_files_are_errors_or_whole(small: bytes, path: Path, tmp_path: Path) -> None:
    for i, changed in enumerate(damaged(small, 60)):
        path.write_bytes(changed)
        report = run(path, tmp_path / f"{i}.ptr")
        assert report.failures or report.converted <= len(COUNTS)
