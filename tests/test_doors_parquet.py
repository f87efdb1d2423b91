"""Parquet as arrays, row group by row group, and stores as files that everybody reads the same.

What pyarrow 26.0.1, polars 2.1.0 and DuckDB 2.0.1 do was seen before it was written down here.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from ptrarray.errors import BadInputError
from tests.support.command_line import Run
from tests.support.imports import check_content, content
from tests.support.tables import metas

pytestmark = pytest.mark.usefixtures("limits")

ROWS = [[float(j) / 3 for j in range(i % 4)] for i in range(40)]
TABLE = pa.table({"x": pa.array(ROWS, pa.list_(pa.float32())), "i": range(40)})
ARRAYS = {str(i): np.array(row, "f4") for i, row in enumerate(ROWS)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(paths: Any, store: Path, **options: Any) -> Report:
    options.setdefault("processes", 1)
    return convert.from_parquet(paths, store, progress=False, **options)


def good(paths: Any, store: Path, **options: Any) -> Report:
    report = run(paths, store, verify=True, **options)
    assert report.ok, report.failures
    return report


# In ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize(
    "settings",
    [{"row_group_size": 7}, {"use_dictionary": False, "data_page_version": "2.0"}],
    ids=str,
)
def test_files(folder: Path, store: Path, compression: str, settings: dict[str, Any]) -> None:
    pq.write_table(TABLE, folder / "x.parquet", compression=compression, **settings)
    good(folder, store, dtype="f4")
    check_content(store, ARRAYS)
    assert metas(store)["39"] == {"i": 39}


def test_rows_keep_their_numbers_in_parts(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # iter_batches crosses row groups: of those of 7 rows, batches of 4 are 4, 4, 4, ….
    pq.write_table(TABLE, folder / "x.parquet", row_group_size=7)
    assert [b.num_rows for b in pq.ParquetFile(folder / "x.parquet").iter_batches(4)] == [4] * 10
    monkeypatch.setattr("ptrarray.convert.formats.parquet._PART_NBYTES", 1)
    monkeypatch.setattr("ptrarray.convert.formats.parquet.BATCH_NBYTES", 64)
    assert good(folder, store).converted == 40
    check_content(store, ARRAYS)
    assert all(meta == {"i": int(name)} for name, meta in metas(store).items())


def test_parts_are_read_by_several_processes(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(TABLE, folder / "x.parquet", row_group_size=7)
    monkeypatch.setattr("ptrarray.convert.formats.parquet._PART_NBYTES", 1)  # in this process
    assert good(folder, store, processes=2).converted == 40
    check_content(store, ARRAYS)


def test_each_file_of_a_folder_by_its_own_schema(folder: Path, store: Path) -> None:
    # pq.read_table and ds.dataset read all by the schema of the first: 1e300 is inf, "more" is gone.
    pq.write_table(pa.table({"x": pa.array([[0.5]], pa.list_(pa.float32()))}), folder / "a.parquet")
    pq.write_table(pa.table({"x": [[1e300]], "more": ["m"]}), folder / "b.parquet")
    (folder / "readme.txt").write_text("which pyarrow takes for Parquet")
    (folder / ".hidden.parquet").write_text("no Parquet")
    report = good(folder, store)
    assert report.notes == ["left out: 1 *.txt"]
    check_content(store, {"a/0": np.array([0.5], "f4"), "b/0": np.array([1e300])})
    assert metas(store) == {"a/0": {}, "b/0": {"more": "m"}}


def test_folders_that_say_something_are_metadata_as_text(folder: Path, store: Path) -> None:
    # pyarrow and polars make the integer 7 of both speakers; DuckDB keeps text.
    for speaker in ("007", "7", "__HIVE_DEFAULT_PARTITION__"):
        below = folder / f"speaker={speaker}" / "place=a%2Fb"
        below.mkdir(parents=True)
        pq.write_table(TABLE.slice(0, 1), below / "part-0.parquet")
    with pytest.raises(BadInputError, match="name them otherwise"):
        run(folder, store)
    good(folder, store, name="{path}/{key}")
    found = [meta.get("speaker") for meta in metas(store).values()]
    assert found == ["007", "7", None]
    assert {meta["place"] for meta in metas(store).values()} == {"a/b"}


def test_folders_that_say_what_a_column_says(folder: Path, store: Path, tmp_path: Path) -> None:
    below = folder / "i=5" / "j=6"
    below.mkdir(parents=True)
    pq.write_table(TABLE.slice(1, 1), below / "x.parquet")
    report = good(folder, store)  # which pyarrow refuses, and polars and DuckDB read as 5
    assert report.notes == [
        f"folders say what a column of the file says, too, which is kept: {below}/x.parquet:i"
    ]
    assert metas(store) == {"0": {"i": 1, "j": "6"}}
    good(folder, tmp_path / "t.ptr", meta="i")
    assert metas(tmp_path / "t.ptr") == {"0": {"i": 1}}


def test_columns_with_dots_are_not_what_is_in_others(folder: Path, store: Path) -> None:
    # columns=["a.b"] reads both the column of that name and b of a.
    table = pa.table({"a.b": [[1]], "a": [{"b": [2], "c": 3}], "c": [4]})
    pq.write_table(table, folder / "x.parquet")
    good(folder, store, meta="c")
    check_content(store, {"0": np.array([1])})
    assert metas(store) == {"0": {"c": 4}}


def test_a_column_that_is_missing_is_a_failure(folder: Path, store: Path) -> None:
    # ParquetFile.read(columns=["nope"]) gives a table of no columns, and no error.
    pq.write_table(TABLE, folder / "x.parquet")
    assert "no columns 'nope'" in run(folder, store, values="nope").failures[0].problem


def test_the_index_of_pandas_can_be_names(folder: Path, store: Path) -> None:
    frame = pd.DataFrame({"x": [[1, 2], [3]]}, index=["a", "b"])
    frame.to_parquet(folder / "x.parquet")
    good(folder, store, names="__index_level_0__")
    assert list(content(store)) == ["a", "b"]


def test_files_without_rows_or_row_groups(folder: Path, store: Path) -> None:
    pq.write_table(TABLE.slice(0, 0), folder / "a.parquet")
    pq.write_table(TABLE.slice(0, 1), folder / "b.parquet")
    assert good(folder, store).converted == 1


_READ = """
import sys
import pyarrow as pa
from ptrarray import convert
from ptrarray.convert.formats import arrow_columns, parquet
parquet.BATCH_NBYTES = arrow_columns.JOINED_NBYTES = 1 << 20
report = convert.from_parquet(sys.argv[1], sys.argv[2], progress=False, processes=1)
assert report.ok, report.failures
print(pa.default_memory_pool().max_memory())
"""


def test_memory_is_that_of_pages(folder: Path, store: Path) -> None:
    # By default (pre_buffer=True) pyarrow holds the columns of all row groups that are asked for.
    n_rows, length = 100, 40_000
    offsets = np.arange(n_rows + 1, dtype="i4") * length
    rows = pa.ListArray.from_arrays(offsets, pa.array(np.random.default_rng(0).random(offsets[-1])))
    settings = {"use_dictionary": False, "compression": "none"}
    pq.write_table(pa.table({"x": rows}), folder / "x.parquet", **settings)
    assert (folder / "x.parquet").stat().st_size > 30 << 20
    command = [sys.executable, "-c", _READ, str(folder), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 12 << 20


def test_what_repeats_takes_no_more_memory(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the file it takes next to nothing, and so many rows would be a batch by its size there.
    rows = pa.ListArray.from_arrays(
        np.arange(4001, dtype="i4") * 1000, pa.array(np.zeros(4_000_000))
    )
    pq.write_table(pa.table({"x": rows}), folder / "x.parquet")
    assert (folder / "x.parquet").stat().st_size < 1 << 20
    monkeypatch.setattr("ptrarray.convert.formats.parquet.BATCH_NBYTES", 1 << 20)
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert run(folder, store).converted == 4000
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 28 << 20


# Out ---------------------------------------------------------------------------------------------------

OUT: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "f4": ({"dtype": "f4"}, [np.array([1.5, -0.0, np.nan], "f4"), np.zeros(0, "f4"), np.ones(1, "f4")]),
    "rows": ({"dtype": "f8", "row_shape": (2, 3)}, [np.arange(12.0).reshape(2, 2, 3), np.zeros((0, 2, 3))]),
    "bool": ({"dtype": "?"}, [np.array([True, False, True]), np.zeros(0, bool)]),
    "u8": ({"dtype": "u8"}, [np.array([2**64 - 1, 0], "u8")]),
    "ns": ({"dtype": "M8[ns]"}, [np.array([0, "NaT", 5], "M8[ns]")]),
    "mixed": ({}, [np.arange(6, dtype="i2").reshape(2, 3), np.arange(4, dtype="i2").reshape(1, 4)]),
    "masked": ({"dtype": "i8", "masked": True}, [np.ma.masked_equal(np.arange(3), 1), np.arange(2)]),
}  # fmt: skip


def written(path: Path, kind: str) -> dict[str, Any]:
    settings, arrays = OUT[kind]
    named = {f"n{i}": array for i, array in enumerate(arrays)}
    with ptrarray.create(path, **settings) as writer:
        writer.write(named, meta={"n0": {"speaker": "ä", "n": 7}})
    return named


def export(kind: str, store: Path, out: Path, **options: Any) -> Report:
    return getattr(convert, f"to_{kind}")(store, out, progress=False, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", OUT)
@pytest.mark.parametrize("to", ["parquet", "arrow", "stream"])
def test_what_goes_out_comes_in_again(tmp_path: Path, kind: str, to: str) -> None:
    arrays = written(tmp_path / "s.ptr", kind)
    out, back = tmp_path / f"x.{to}", tmp_path / "back.ptr"
    options = {"stream": True} if to == "stream" else {}
    format_ = "parquet" if to == "parquet" else "arrow"
    report = export(format_, tmp_path / "s.ptr", out, **options)
    assert report.ok
    assert report.converted == len(arrays)
    again = getattr(convert, f"from_{format_}")(
        out, back, progress=False, verify=True, masked=kind == "masked"
    )
    assert again.ok, again.failures
    check_content(back, arrays)
    assert metas(back)["n0"] == {"speaker": "ä", "n": 7}


@pytest.mark.parametrize("kind", ["f4", "rows", "bool", "u8", "mixed", "masked"])
def test_others_read_the_same(tmp_path: Path, kind: str) -> None:
    arrays = written(tmp_path / "s.ptr", kind)
    parquet, arrow, stream = (str(tmp_path / f"x.{end}") for end in ("parquet", "arrow", "arrows"))
    export("parquet", tmp_path / "s.ptr", Path(parquet))
    export("arrow", tmp_path / "s.ptr", Path(arrow))
    export("arrow", tmp_path / "s.ptr", Path(stream), stream=True)
    tables = {
        "pyarrow": pq.read_table(parquet),
        "ipc": pa.ipc.open_file(arrow).read_all(),
        "stream": pa.ipc.open_stream(stream).read_all(),
        "feather": pf.read_table(arrow),
        "polars": pl.read_parquet(parquet).to_arrow(),
        "polars ipc": pl.read_ipc(arrow).to_arrow(),
        "duckdb": duckdb.connect().sql(f"select * from '{parquet}'").to_arrow_table(),
    }
    expected = {name: array.tolist() for name, array in arrays.items()}
    for reader, table in tables.items():
        names, values = table["name"].to_pylist(), table["values"].to_pylist()
        assert repr(dict(zip(names, values, strict=True))) == repr(expected), reader
        assert table["speaker"].to_pylist()[0] == "ä"
        assert table["n"].to_pylist() == [7] + [None] * (len(arrays) - 1)


def test_several_dtypes_go_out_as_the_message_says(tmp_path: Path, store: Path) -> None:
    arrays = {"a": np.arange(3), "b": np.ones(2), "c": np.arange(2)}
    with ptrarray.create(store) as writer:
        writer.write(arrays)
    with pytest.raises(BadInputError, match="of 2 dtypes") as caught:
        convert.to_parquet(store, tmp_path / "x.parquet", progress=False)
    advice = str(caught.value).rpartition(": ")[2]
    with ptrarray.open(store) as opened:
        table = eval(advice, {"store": opened})
        pq.write_table(pa.table(table), tmp_path / "x.parquet")
    good(tmp_path / "x.parquet", tmp_path / "b.ptr", names="name")
    check_content(tmp_path / "b.ptr", {name: arrays[name] for name in "ac"})


def test_metadata_that_is_not_alike_is_said(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr", dtype="f4") as writer:
        writer.write(
            {"a": [1], "b": [2]}, meta={"a": {"k": 1, "values": 2, "ok": 3}, "b": {"k": "x"}}
        )
    notes = export("parquet", tmp_path / "s.ptr", tmp_path / "x.parquet").notes
    assert [note.split(" is not kept")[0] for note in notes] == [
        "metadata 'k'",
        "metadata 'values'",
    ]
    assert pq.read_schema(tmp_path / "x.parquet").names == ["name", "values", "ok"]


def test_row_groups_are_of_bounded_size_and_pages_have_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.convert.formats.arrow_tables._BATCH_NBYTES", 1000)
    arrays = {f"n{i}": np.arange(i % 50, dtype="f8") for i in range(100)}
    with ptrarray.create(tmp_path / "s.ptr", dtype="f8") as writer:
        writer.write(arrays)
    export("parquet", tmp_path / "s.ptr", tmp_path / "x.parquet")
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        assert file.num_row_groups > 20
    good(tmp_path / "x.parquet", tmp_path / "back.ptr")
    check_content(tmp_path / "back.ptr", arrays)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Parquet is written, pyarrow cannot read it, polars panics, DuckDB gives [None].
    "rows of nothing": ({"dtype": "f4", "row_shape": (0,)}, {"a": np.zeros((2, 0), "f4")}),
    "no type": ({"dtype": "c8"}, {"a": np.zeros(2, "c8")}),
    "dtypes": ({}, {"a": np.zeros(2, "f4"), "b": np.zeros(2, "f8")}),
    "axes": ({}, {"a": np.zeros(2), "b": np.zeros((2, 2))}),
}


@pytest.mark.parametrize("to", ["parquet", "arrow"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_come_back_is_refused(tmp_path: Path, case: str, to: str) -> None:
    settings, arrays = REFUSED[case]
    with ptrarray.create(tmp_path / "s.ptr", **settings) as writer:
        writer.write(arrays)
    with pytest.raises(BadInputError):
        export(to, tmp_path / "s.ptr", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["s.ptr"]


@pytest.mark.parametrize("compression", ["zipped", 3])
def test_a_compression_that_is_none(tmp_path: Path, compression: Any) -> None:
    written(tmp_path / "s.ptr", "f4")
    with pytest.raises(BadInputError, match="expected one of snappy, zstd"):
        convert.to_parquet(tmp_path / "s.ptr", tmp_path / "x", compression=compression)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("to", ["parquet", "arrow"])
def test_nothing_is_replaced(tmp_path: Path, to: str) -> None:
    written(tmp_path / "s.ptr", "f4")
    (tmp_path / "x").write_text("mine")
    with pytest.raises(FileExistsError):
        export(to, tmp_path / "s.ptr", tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


def test_a_file_that_was_not_written_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A `with` block of pyarrow's writers that ends by an error writes a footer: half looks whole.
    written(tmp_path / "s.ptr", "f4")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ptrarray.open(tmp_path / "s.ptr") as opened:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        try:
            with pytest.raises(OSError, match="large"):
                convert.to_parquet(opened, tmp_path / "x.parquet", progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "x.parquet").exists()


def test_an_empty_store(tmp_path: Path) -> None:
    ptrarray.create(tmp_path / "s.ptr", dtype="f4").close()
    export("parquet", tmp_path / "s.ptr", tmp_path / "x.parquet")
    assert pl.read_parquet(tmp_path / "x.parquet").shape == (0, 2)


@pytest.mark.parametrize(
    ("dtype", "back"), [("M8[s]", "M8[ms]"), ("M8[D]", "M8[ms]"), (">f4", "<f4")]
)
def test_what_comes_back_as_something_else_is_said(tmp_path: Path, dtype: str, back: str) -> None:
    with ptrarray.create(tmp_path / "s.ptr", dtype=dtype) as writer:
        writer["a"] = given = np.arange(3).astype(dtype)
    notes = export("parquet", tmp_path / "s.ptr", tmp_path / "x.parquet").notes
    assert notes
    good(tmp_path / "x.parquet", tmp_path / "back.ptr")
    check_content(tmp_path / "back.ptr", {"a": given.astype(back)})


@pytest.mark.parametrize("dtype", ["bfloat16", "V3"])
def test_one_thing_is_said_of_bytes(tmp_path: Path, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")  # whose dtypes are of numpy's kind of bytes
    with ptrarray.create(tmp_path / "s.ptr", dtype=dtype) as writer:
        writer["a"] = np.zeros(2, writer.dtype)
    (note,) = export("parquet", tmp_path / "s.ptr", tmp_path / "x.parquet").notes
    assert "float32" in note if dtype == "bfloat16" else "come back as kind S" in note


# Command line ------------------------------------------------------------------------------------------


def test_command_line(tmp_path: Path, run: Run) -> None:
    written(tmp_path / "s.ptr", "f4")
    store, out = str(tmp_path / "s.ptr"), str(tmp_path / "x")
    assert run("export", store, f"{out}.parquet", "--to", "parquet")[0] == 0
    assert run("export", store, f"{out}.arrow", "--to", "arrow", "--stream")[0] == 0
    back = str(tmp_path / "b.ptr")
    assert run("import", "parquet", f"{out}.parquet", back, "--verify")[0] == 0
    flags = ("--names", "name", "--values", "values", "--meta", "n", "--name", "again/{key}")
    assert run("import", "arrow", f"{out}.arrow", back, *flags)[0] == 0
    assert sorted(content(Path(back))) == ["again/n0", "again/n1", "again/n2", "n0", "n1", "n2"]
    assert metas(Path(back))["again/n0"] == {"n": 7}
    assert run("import", "parquet", f"{out}.parquet", back, "--values", "nope")[0] == 1
