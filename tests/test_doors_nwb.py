"""Importing ragged columns of NWB, of files that hdmf has written, and of such that it would misread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.cli import main
from ptrarray.convert import Report
from tests.support.h5_damage import damaged
from tests.support.imports import check_content

pytestmark = pytest.mark.usefixtures("limits")

h5py = pytest.importorskip("h5py")
FLAT = np.array([0.5, 1.5, 2.5, 3.5], "<f4")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.nwb"


def run(path: Any, store: Path, **options: Any) -> Report:
    return convert.from_nwb(path, store, progress=False, **options)


def add_index(table: Any, name: str, ends: Any, target: Any) -> None:
    index = table.create_dataset(name, data=ends)
    index.attrs["neurodata_type"] = "VectorIndex"
    if target is not None:
        index.attrs["target"] = target.ref


def add_table(file: Any, at: str, **columns: Any) -> Any:
    """Make a table as hdmf lays it out."""
    table = file.create_group(at)
    table.attrs["colnames"] = [*columns]
    for name, data in columns.items():
        table[name] = data
    return table


def failures(path: Path, store: Path, **options: Any) -> list[str]:
    report = run(path, store, **options)
    assert not report.converted
    return [problem for _, problem in report.failures]


TIMES = [np.arange(200, dtype="f4"), np.zeros(0, "f4"), np.arange(55, dtype="f4")]
SPIKES = [np.arange(6, dtype="i2").reshape(3, 2), np.arange(2, dtype="i2").reshape(1, 2)]


def table_of_hdmf(hdmf: Any) -> Any:
    columns = []

    def add(name: str, data: Any, *ends: Any) -> None:
        columns.append(hdmf.VectorData(name=name, description="d", data=data))
        for one in ends:
            about = {"name": f"{columns[-1].name}_index", "target": columns[-1]}
            columns.append(hdmf.VectorIndex(data=np.array(one), **about))

    add("times", np.concatenate(TIMES), [200, 200, 255])
    add("waves", np.concatenate(SPIKES), [3, 4], [2, 2, 2])
    add("tags", ["x", "y", "z"], [1, 1, 3])
    add("quality", ["good", "bad", "é"])
    add("place", np.arange(6.0).reshape(3, 2))
    names = [one.name for one in columns if not one.name.endswith("index")]
    about = {"name": "units", "description": "d", "id": [7, 9, 4]}
    return hdmf.DynamicTable(**about, columns=columns, colnames=names)


def test_what_hdmf_writes_comes_in(path: Path, store: Path) -> None:
    """hdmf 6.2 makes the ends of few rows uint8, whose differences would wrap."""
    hdmf = pytest.importorskip("hdmf.common")
    io = pytest.importorskip("hdmf.backends.hdf5")
    with io.HDF5IO(str(path), manager=hdmf.get_manager(), mode="w") as file:
        file.write(table_of_hdmf(hdmf))
    with h5py.File(path) as raw:
        assert raw["times_index"].dtype == np.uint8
    report = run(path, store, verify=True)
    assert report.ok
    expected: dict[str, Any] = {
        f"{key}/times": one for key, one in zip((7, 9, 4), TIMES, strict=True)
    }
    expected |= {f"7/waves/{i}": spike for i, spike in enumerate(SPIKES)}
    check_content(store, expected)
    with ptrarray.open(store) as opened:
        assert opened.meta["4/times"] == {"quality": "é", "place": [4.0, 5.0]}
        assert opened.meta["7/waves/1"] == {"quality": "good", "place": [0.0, 1.0]}
    assert any("text or references" in note and "tags" in note for note in report.notes)
    assert run(path, store).skipped == len(expected)


def test_tables_and_columns_are_chosen(path: Path, store: Path, capsys: Any) -> None:
    with h5py.File(path, "w") as file:
        for at in ("units", "acquisition/tab"):
            table = add_table(file, at, id=[3, 3], a=FLAT, b=FLAT * 2)
            add_index(table, "a_index", [1, 4], table["a"])
            add_index(table, "b_index", np.array([4, 4], ">u4"), table["b"])
            table["b"].attrs["unit"] = "s"
            table["b"].attrs["id"] = "x"
    report = run(path, store, tables="units", columns=["b"])
    assert report.ok
    assert any("repeat" in note for note in report.notes)
    check_content(store, {"units/0/b": FLAT * 2, "units/1/b": FLAT[:0]})
    with ptrarray.open(store) as opened:
        assert opened.meta["units/1/b"] == {"unit": "s", "b.id": "x", "id": 3}
    assert (
        "no table 'trials'"
        in failures(path, store.with_name("t.ptr"), tables=["units", "trials"], columns="c")[0]
    )
    other = store.with_name("c.ptr")
    (problem,) = run(path, other, columns=["a", "c"]).failures
    assert "no ragged column 'c'; there are a, b" in problem.problem
    more = str(store.with_name("m.ptr"))
    assert (
        main(["import", "nwb", "--table", "acquisition/tab", "--column", "a", str(path), more]) == 0
    )
    check_content(Path(more), {"acquisition/tab/0/a": FLAT[:1], "acquisition/tab/1/a": FLAT[1:]})


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ([3, 9], "has the end 9, and there are 4 rows"),
        ([3, 2], "x_index[1] is 2"),
        ([-1, 4], "x_index[0] is -1"),
        ([2, 3], "ends at row 3, and there are 4"),
        ([4], "has the shape (1,): expected (2,)"),
        ([2.0, 4.0], "expected integers"),
        (np.array([2**63, 4], "u8"), "has the end 9223372036854775808"),
        ([[2, 4]], "shape"),
    ],
)
def test_wrong_ends_are_errors_of_the_column(
    path: Path, store: Path, ends: Any, problem: str
) -> None:
    """hdmf 6.2 clips ends, overlaps rows and leaves out the rest, without a word (hdmf/common/table.py)."""
    with h5py.File(path, "w") as file:
        table = add_table(file, "units", id=[1, 2], x=FLAT, y=FLAT)
        add_index(table, "x_index", ends, table["x"])
        add_index(table, "y_index", [1, 4], table["y"])
    report = run(path, store)
    assert [found for _, found in report.failures if problem in found]
    check_content(store, {"units/1/y": FLAT[:1], "units/2/y": FLAT[1:]})


def test_targets_that_are_none_are_errors(path: Path, store: Path) -> None:
    with h5py.File(path, "w") as file:
        table = add_table(file, "units", id=[1, 2], x=FLAT)
        add_index(table, "no_index", [1, 4], None)
        add_index(table, "far_index", [1, 4], file)
        file["gone"] = FLAT
        add_index(table, "gone_index", [1, 4], file["gone"])
        add_index(table, "own_index", [1, 2], None)
        table["own_index"].attrs["target"] = table["own_index"].ref
        table["text_index"] = [1, 4]
        table["text_index"].attrs["neurodata_type"] = "VectorIndex"
        table["text_index"].attrs["target"] = "x"
        del file["gone"]
    problems = failures(path, store)
    assert sum("leads to nothing" in problem for problem in problems) == 4
    assert sum("circle" in problem for problem in problems) == 1


def test_links_and_other_things_are_noted(path: Path, store: Path) -> None:
    with h5py.File(path, "w") as file:
        table = add_table(file, "units", id=[1, 2], x=FLAT, short=[1], pair=[1j, 2j])
        add_index(table, "x_index", [1, 4], table["x"])
        table.create_dataset("ref", (2,), h5py.ref_dtype)[:] = table.ref
        table["out"] = h5py.ExternalLink("other.h5", "/x")
        table["soft"] = h5py.SoftLink("/units/x")
        file["again"] = table  # one table, by two names
    report = run(path, store)
    assert report.ok
    assert report.converted == 2
    assert len(report.notes) == 3
    assert any("not followed" in note for note in report.notes)


def test_claims_beyond_the_file_take_no_memory(path: Path, store: Path) -> None:
    with h5py.File(path, "w") as file:
        table = add_table(file, "units", id=[1])
        big = table.create_dataset("x", (2**45,), "f8", chunks=(1 << 10,))
        add_index(table, "x_index", [2**45], big)
        table = add_table(file, "trials")
        table.create_dataset("id", (2**45,), "i8", chunks=(1 << 10,))
        table["x"] = FLAT
        add_index(table, "x_index", [4], table["x"])
    problems = failures(path, store)
    assert ["it claims" in problem for problem in problems] == [True, True]


def test_no_tables_and_no_file(path: Path, store: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = FLAT
    assert "no tables of hdmf" in failures(path, store)[0]
    path.write_bytes(b"no HDF5")
    assert "cannot be opened as HDF5" in failures(path, store)[0]


@pytest.fixture
def small(path: Path) -> Iterator[bytes]:
    with h5py.File(path, "w") as file:
        table = add_table(file, "units", id=[1, 2], x=FLAT)
        add_index(table, "x_index", [1, 4], table["x"])
    yield path.read_bytes()
    path.unlink()


def test_damaged_files_are_errors_or_whole(small: bytes, path: Path, tmp_path: Path) -> None:
    for n_bytes in range(0, len(small), 97):
        path.write_bytes(small[:n_bytes])
        assert len(failures(path, tmp_path / "cut.ptr")) == 1
    for i, content in enumerate(damaged(small, 60)):
        path.write_bytes(content)
        report = run(path, tmp_path / f"{i}.ptr")
        assert report.failures or report.converted <= 2
