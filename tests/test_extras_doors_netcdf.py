"""netCDF and NWB as netCDF4, xarray, scipy and pynwb write and read them."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from tests.support.imports import check_content, content

netCDF4 = pytest.importorskip("netCDF4")
xarray = pytest.importorskip("xarray")
pytest.importorskip("scipy")

FORMATS = ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"]
ENGINES = ["netcdf4", "h5netcdf"]
COUNTS = [3, 0, 1, 2]
NAMES = ["abc", "d", "ee", "f"]
COLUMNS = {"i1": "i1", "i2": "i2", "i4": "i4", "f4": "f4", "f8": "f8"}
RAW = np.random.default_rng(3).bytes(48)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def write(
    path: Path, version: str, n_rows: int | None = None, endian: Any = "native", **more: Any
) -> None:
    """Write a variable of each dtype, of raw bytes: among them are NaNs and fill values."""
    with netCDF4.Dataset(path, "w", format=version) as file:
        file.createDimension("traj", 4)
        file.createDimension("obs", n_rows)
        file.createDimension("letters", 3)
        rowsize = file.createVariable("rowsize", "i4", ("traj",))
        rowsize.sample_dimension = "obs"
        rowsize[:] = COUNTS
        names = file.createVariable("id", "S1", ("traj", "letters"))
        names.cf_role = "trajectory_id"
        names[:] = netCDF4.stringtochar(np.array(NAMES, "S3"))
        for name, native in COLUMNS.items():
            dtype = f">{native}" if endian == "big" and name != "i1" else native
            made = file.createVariable(
                name, dtype, ("obs",), endian=endian if name != "i1" else "native", **more
            )
            made.set_auto_maskandscale(False)
            made.scale_factor = np.float32(0.5)
            made[:] = np.frombuffer(RAW, native)[:6]


def expected(order: str) -> dict[str, Any]:
    bounds = np.cumsum([0, *COUNTS])
    found = {}
    for name, dtype in COLUMNS.items():
        values = np.frombuffer(RAW, dtype)[:6].astype(f"{order}{dtype}")
        for i, key in enumerate(NAMES):
            found[f"{key}/{name}"] = values[bounds[i] : bounds[i + 1]]
    return found


def check_bits(store: Path, arrays: dict[str, Any]) -> None:
    found = content(store)
    assert {k: (v.dtype, v.tobytes()) for k, v in found.items()} == {
        k: (v.dtype, v.tobytes()) for k, v in arrays.items()
    }


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("n_rows", [6, None])
def test_what_netcdf4_writes_comes_in(
    tmp_path: Path, store: Path, version: str, n_rows: int | None
) -> None:
    """Of netCDF-3 with the byte order of the file, which netCDF4 1.7.5 and xarray make native."""
    write(tmp_path / "x.nc", version, n_rows)
    report = convert.from_netcdf(tmp_path / "x.nc", store, progress=False, verify=True)
    assert report.failures == []
    check_bits(store, expected(">" if "3" in version else "<"))
    with ptrarray.open(store) as opened:
        assert opened.meta["ee/i2"] == {"scale_factor": 0.5}


def test_big_endian_and_compressed(tmp_path: Path, store: Path) -> None:
    write(tmp_path / "x.nc", "NETCDF4", None, "big", zlib=True, shuffle=True)
    assert convert.from_netcdf(tmp_path / "x.nc", store, progress=False, verify=True).ok
    check_bits(store, expected(">"))


@pytest.mark.parametrize("engine", [*ENGINES, "scipy"])
def test_what_xarray_writes_comes_in(tmp_path: Path, store: Path, engine: str) -> None:
    made = xarray.Dataset(
        {
            "rowsize": ("traj", np.array([2, 0, 3]), {"sample_dimension": "obs"}),
            "id": ("traj", ["a", "b", "é"], {"cf_role": "trajectory_id"}),
            "drogue": ("traj", [1.5, np.nan, 3]),
            "uv": (("obs", "two"), np.arange(10.0).reshape(5, 2)),
        },
        {"time": ("obs", np.array([0, 1, 2, 3, 4], "M8[D]").astype("M8[ns]"))},
    )
    made.to_netcdf(tmp_path / "x.nc", engine=engine)
    report = convert.from_netcdf(tmp_path / "x.nc", store, progress=False, verify=True)
    assert report.failures == []
    found = content(store)
    assert found["é/uv"].tolist() == [[4, 5], [6, 7], [8, 9]]
    assert found["a/time"].tolist() == [0, 1]
    with ptrarray.open(store) as opened:
        assert opened.meta["é/time"]["units"].startswith("days since 1970-01-01")
        assert opened.meta["é/uv"]["drogue"] == 3


def test_netcdf3_that_is_cut_off_is_an_error(tmp_path: Path, store: Path) -> None:
    """netCDF4 1.7.5 reads what is left in its buffer instead, without an error."""
    path = tmp_path / "x.nc"
    write(path, "NETCDF3_CLASSIC", None)
    whole = path.read_bytes()
    for n_bytes in range(0, len(whole) - 3, 7):
        path.write_bytes(whole[:n_bytes])
        report = convert.from_netcdf(path, store, progress=False)
        assert not report.converted
        assert len(report.failures) == 1


def test_netcdf3_that_is_damaged_is_an_error_or_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    write(path, "NETCDF3_CLASSIC", 6)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for i in range(200):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        report = convert.from_netcdf(path, tmp_path / f"{i}.ptr", progress=False)
        assert report.failures or report.converted <= len(COUNTS) * len(COLUMNS)


def test_netcdf3_with_64_bit_data_is_an_error_that_says_so(tmp_path: Path, store: Path) -> None:
    write(tmp_path / "x.nc", "NETCDF3_64BIT_DATA", 6)
    report = convert.from_netcdf(tmp_path / "x.nc", store, progress=False)
    assert "nccopy" in report.failures[0].problem


@pytest.mark.parametrize("dtype", ["<i1", "<u1", "<i2", ">i2", "<u4", ">i8", "<u8", "<f4", ">f8"])
def test_others_read_what_goes_out(tmp_path: Path, store: Path, dtype: str) -> None:
    out = tmp_path / "x.nc"
    size = np.dtype(dtype).itemsize
    data = np.frombuffer(np.random.default_rng(2).bytes(10 * size), dtype).reshape(5, 2)
    with ptrarray.create(store) as writer:
        writer.write(
            {"a": data[:3], "é": data[3:3], "b": data[3:]},
            meta={n: {"n": i, "units": "m"} for i, n in enumerate(["a", "é", "b"])},
        )
    assert convert.to_netcdf(store, out, progress=False).ok
    with netCDF4.Dataset(out) as file:
        file.set_auto_maskandscale(False)
        assert file["rowsize"][:].tolist() == [3, 0, 2]
        assert file["name"][:].tolist() == ["a", "é", "b"]
        assert file["n"][:].tolist() == [0, 1, 2]
        assert file["data"].units == "m"
        assert file["data"][:].astype(dtype).tobytes() == data.tobytes()
    for engine in ENGINES:
        with xarray.open_dataset(out, engine=engine, decode_cf=False) as found:
            assert found["rowsize"].attrs == {"sample_dimension": "obs"}
            assert found["data"].dims == ("obs", "data_axis1")
            assert found["data"].values.astype(dtype).tobytes() == data.tobytes()
            assert found["name"].values.tolist() == ["a", "é", "b"]


@pytest.mark.parametrize("dtype", ["<f4", ">i2", ">f8"])
def test_others_read_fill_values_that_go_out(tmp_path: Path, store: Path, dtype: str) -> None:
    out = tmp_path / "x.nc"
    with ptrarray.create(store) as writer:
        writer.write(
            {"a": np.array([1, -1], dtype)}, meta={"a": {"_FillValue": -1, "scale_factor": 0.5}}
        )
    assert convert.to_netcdf(store, out, progress=False).ok
    with netCDF4.Dataset(out) as file:
        assert file["data"][:].tolist() == [0.5, None]
    for engine in ENGINES:
        with xarray.open_dataset(out, engine=engine) as found:
            np.testing.assert_array_equal(found["data"].values, [0.5, np.nan])


def test_what_pynwb_writes_comes_in(tmp_path: Path, store: Path) -> None:
    """pynwb 4.2 makes spike times float64 with a warning, whatever they were."""
    pynwb = pytest.importorskip("pynwb")
    made = pynwb.NWBFile("d", "id", datetime(2020, 1, 1, tzinfo=UTC))
    device = made.create_device("probe")
    where = {"description": "d", "location": "l", "device": device}
    group = made.create_electrode_group("g", **where)
    for _ in range(3):
        made.add_electrode(group=group, location="CA1")
    made.add_unit_column("quality", "q")
    waves = [[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], [[[7.0, 8.0]]]]
    made.add_unit(
        spike_times=[1.0, 2.0], quality="good", electrodes=[0, 2], id=7, waveforms=waves[0]
    )
    made.add_unit(spike_times=[3.0], quality="bad", electrodes=[1], id=3, waveforms=waves[1])
    made.add_trial(start_time=0.0, stop_time=1.0, tags=["x", "y"])
    with pynwb.NWBHDF5IO(tmp_path / "x.nwb", "w") as io:
        io.write(made)
    report = convert.from_nwb(tmp_path / "x.nwb", store, progress=False, verify=True)
    assert report.failures == []
    check_content(
        store,
        {
            "units/7/spike_times": np.array([1.0, 2.0]),
            "units/3/spike_times": np.array([3.0]),
            "units/7/electrodes": np.array([0, 2]),
            "units/3/electrodes": np.array([1]),
            "units/7/waveforms/0": np.array([[1.0, 2.0], [3.0, 4.0]]),
            "units/7/waveforms/1": np.array([[5.0, 6.0]]),
            "units/3/waveforms/0": np.array([[7.0, 8.0]]),
        },
    )
    with ptrarray.open(store) as opened:
        assert opened.meta["units/3/waveforms/0"] == {"quality": "bad", "unit": "volts"}
    with pynwb.NWBHDF5IO(tmp_path / "x.nwb", "r") as io, ptrarray.open(store) as opened:
        units = io.read().units
        for i, one in enumerate(units.id[:]):
            np.testing.assert_array_equal(
                units["spike_times"][i], opened[f"units/{one}/spike_times"]
            )


def test_views_of_netcdf3_do_not_outlive_its_file(tmp_path: Path, store: Path) -> None:
    write(tmp_path / "x.nc", "NETCDF3_CLASSIC", 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert convert.from_netcdf(tmp_path / "x.nc", store, progress=False).ok


def test_variables_that_end_before_others(tmp_path: Path, store: Path) -> None:
    """Along a dimension without an end each is as long as the longest: netCDF reads fill values."""
    path = tmp_path / "x.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("traj", None)
        file.createDimension("obs", None)
        n = file.createVariable("n", "i4", ("traj",))
        n.sample_dimension, n[:] = "obs", [2, 3]
        file.createVariable("t", "f8", ("obs",))[:] = np.arange(5.0)
        file.createVariable("flag", "i2", ("obs",), fill_value=-9)[:3] = [1, 2, 3]
        file.createDimension("two", 2)
        file.createVariable("pair", ">f4", ("obs", "two"), endian="big")[:1] = 7
        file.createVariable("site", str, ("traj",))[0] = "north"
        file.createVariable("lat", "f4", ("traj",), fill_value=-1)[:1] = [7]
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        samples = {name: file[name][:] for name in ("t", "flag", "pair")}
        of_arrays = {name: file[name][:].tolist() for name in ("site", "lat")}
    report = convert.from_netcdf(path, store, progress=False, verify=True)
    assert report.failures == []
    bounds = {"0": slice(0, 2), "1": slice(2, 5)}
    wanted = {f"{i}/{name}": x[part] for name, x in samples.items() for i, part in bounds.items()}
    check_content(store, wanted)
    with ptrarray.open(store) as opened:
        for i in range(2):
            meta = opened.meta[f"{i}/t"]
            assert meta == {name: values[i] for name, values in of_arrays.items()}


def test_variables_of_arrays_that_metadata_cannot_hold(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "x.nc"
    write(path, "NETCDF4", 6)
    with netCDF4.Dataset(path, "a") as file:
        events = file.createVariable("events", file.createVLType("i4", "list"), ("traj",))
        for i in range(4):
            events[i] = np.arange(i, dtype="i4")
    report = convert.from_netcdf(path, store, progress=False)
    assert report.ok
    assert any("metadata cannot hold: " in note and "events" in note for note in report.notes)
    check_bits(store, expected("<"))
