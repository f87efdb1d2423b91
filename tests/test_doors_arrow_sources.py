"""Where tables of Arrow come from: objects in memory, and files; and any table.

What pyarrow 26.0.1, polars 2.1.0 and DuckDB 2.0.1 hand over was seen before it was written down here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import awkward
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptrarray import convert
from ptrarray.convert.formats import arrow_columns
from ptrarray.errors import BadInputError
from ptrarray.writer import PointerArrayWriter
from tests.support.imports import check_content, content
from tests.support.tables import ARRAYS, KINDS, X, good, metas, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def write_ipc(table: pa.Table, path: Path, **options: Any) -> Path:
    new = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, 3)
    return path


# Objects in memory -------------------------------------------------------------------------------------


def test_what_hands_over_arrow_data(store: Path, tmp_path: Path) -> None:
    table = pa.table({"x": pa.array(X, KINDS["list"])})
    duck = duckdb.connect().from_arrow(table)
    batch = table.to_batches()[0]
    sources = [
        table,
        batch,
        table.to_reader(),
        pl.DataFrame(table),
        duck,
        batch["x"],
        table["x"],
        pl.DataFrame(table)["x"],
    ]
    for at, source in enumerate(sources):
        assert run(source, tmp_path / f"{at}.ptr").converted == 4, source
        check_content(tmp_path / f"{at}.ptr", ARRAYS)


def test_polars_frames_of_lists_and_arrays(store: Path) -> None:
    frame = pl.DataFrame(
        {
            "name": ["a", "b"],
            "x": [[1, 2], [3]],
            "w": np.arange(4.0).reshape(2, 2),
            "c": ["u", "v"],
        },
        schema_overrides={"c": pl.Categorical},
    )
    good(frame, store)
    assert content(store)["b/w"].tolist() == [2, 3]
    assert metas(store)["a/x"] == {"c": "u"}


def test_arrays_are_not_taken_for_paths(store: Path) -> None:
    for array in (awkward.Array([[1], [2, 3]]), np.arange(3)):
        with pytest.raises(BadInputError, match=r"neither a table .*awkward\.to_arrow"):
            run(array, store)
    assert run(awkward.to_arrow(awkward.Array([[1], [2, 3]])), store).converted == 2


def test_a_reader_that_was_used_up_is_not_taken_as_verified(store: Path) -> None:
    report = run(pa.table({"x": [[1], [2]]}).to_reader(), store, verify=True)
    assert report.converted == 2
    assert "cannot be verified" in report.failures[0].problem


def test_a_stream_that_breaks_off_keeps_what_came(store: Path) -> None:
    table = pa.table({"x": [[1]]})

    def batches() -> Any:
        yield table.to_batches()[0]
        raise ValueError("the network is gone")

    report = run(pa.RecordBatchReader.from_batches(table.schema, batches()), store)
    assert "the network is gone" in report.failures[0].problem
    check_content(store, {"0": np.array([1])})


@pytest.mark.parametrize("source", [None, 5, pl.LazyFrame({"x": [[1]]}), [pa.table({"x": [[1]]})]])
def test_what_is_neither_a_table_nor_paths(store: Path, source: Any) -> None:
    with pytest.raises(BadInputError, match="neither a table of Arrow nor paths"):
        convert.from_arrow(source, store, progress=False)


def test_again_does_what_is_missing(store: Path) -> None:
    some = pa.table({"name": ["a", "b"], "x": [[1], [2]]})
    good(some, store)
    more = pa.concat_tables([some, pa.table({"name": ["c"], "x": [[3]]})])
    report = good(more, store)
    assert (report.converted, report.skipped) == (1, 2)
    changed = pa.table({"name": ["a"], "x": [[9]]})
    assert "not the same" in run(changed, store, verify=True).failures[0].problem


# Files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".arrow", ".arrows", ".feather"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_files(folder: Path, store: Path, suffix: str, compression: str | None) -> None:
    table = pa.table({"x": pa.array(X, KINDS["list"]), "i": range(4)})  # batches of three rows
    write_ipc(table, folder / f"x{suffix}", compression=compression)
    good(folder, store)
    check_content(store, ARRAYS)
    assert metas(store)["3"] == {"i": 3}


def test_files_of_a_folder_by_their_own_schemas(folder: Path, store: Path) -> None:
    # Taken as one table, all are read by the schema of the first: as float32.
    write_ipc(pa.table({"x": pa.array([[0.5]], KINDS["list"])}), folder / "a.arrow")
    write_ipc(pa.table({"x": [[1e300]]}), folder / "b.arrow")
    assert good(folder, store).converted == 2
    check_content(store, {"a/0": np.array([0.5], "f4"), "b/0": np.array([1e300])})


def test_dictionaries_that_change_from_batch_to_batch(folder: Path, store: Path) -> None:
    # Which streams may have, and files may not (ArrowInvalid of new_file).
    parts = [pa.table({"name": pa.array([name]).dictionary_encode(), "x": [[1]]}) for name in "ab"]
    with pa.ipc.new_stream(folder / "x.arrows", parts[0].schema) as writer:
        for part in parts:
            writer.write_table(part)
    good(folder, store)
    assert list(content(store)) == ["a", "b"]


def test_feather_of_the_first_version_is_refused(folder: Path, store: Path) -> None:
    (folder / "x.feather").write_bytes(b"FEA1" + bytes(60) + b"FEA1")
    assert "version 1, which has no lists" in run(folder, store).failures[0].problem


# Batches -----------------------------------------------------------------------------------------------


def in_batches(n_batches: int, nbytes: int) -> pa.Table:
    """Return arrays of a kilobyte in batches of so many bytes, next to each other in memory."""
    n = n_batches * nbytes // 1024
    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(n * 128.0)), 128)
    table = pa.table({"name": [f"a{at:05}" for at in range(n)], "values": rows})
    return pa.Table.from_batches(table.to_batches(nbytes // 1024))


def test_small_batches_are_written_together(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, write_ragged = [], PointerArrayWriter.write_ragged

    def counted(self: Any, names: Any, *args: Any, **options: Any) -> Any:
        calls.append(len(names))
        return write_ragged(self, names, *args, **options)

    monkeypatch.setattr(PointerArrayWriter, "write_ragged", counted)
    table = in_batches(20, 300 << 10)
    good(table, store)
    assert sum(calls) == len(table)
    assert len(calls) == 2  # of four megabytes, and the rest
    assert content(store)["a05999"].tolist() == list(range(5999 * 128, 6000 * 128))


@pytest.mark.parametrize(("nbytes", "most"), [(8 << 20, 1 << 20), (1 << 20, 12 << 20)])
def test_batches_of_a_mapped_file_take_little_memory(
    folder: Path, store: Path, nbytes: int, most: int
) -> None:
    table = in_batches((32 << 20) // nbytes, nbytes)
    with pa.ipc.new_file(folder / "x.arrow", table.schema) as writer:
        for batch in table.to_batches():  # each has a small one before it
            writer.write(batch.slice(0, 1))
            writer.write(batch.slice(1))
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert run(folder, store).converted == len(table)
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < most


def test_dictionaries_that_are_too_large_together(store: Path) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    names = [f"a{at}" for at in range(200)]
    column = pa.chunked_array([pa.array(part, kind) for part in (names[:100], names[100:])])
    with pytest.raises(pa.ArrowInvalid, match="larger index type"):
        column.combine_chunks()
    good(pa.table({"name": column, "x": [[1]] * 200}), store)
    assert list(content(store)) == names


# Any table ---------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[Any]]:
    kind = draw(st.sampled_from([*KINDS.values(), pa.list_(pa.float32(), 2)]))
    size = 2 if pa.types.is_fixed_size_list(kind) else None
    number = st.one_of(st.none(), st.floats(width=32, allow_nan=False))
    row = st.lists(number, min_size=size or 0, max_size=size or 4)
    rows = draw(st.lists(st.one_of(st.none(), row), max_size=12))
    cut = draw(st.integers(0, len(rows)))
    column = pa.chunked_array([pa.array(rows[:cut], kind), pa.array(rows[cut:], kind)], kind)
    low = draw(st.integers(0, len(rows)))
    table = pa.table({"x": column}).slice(low)
    batches = table.to_batches(draw(st.integers(1, 12)))
    return pa.Table.from_batches(batches, table.schema), rows[low:]


@given(tables(), st.booleans(), st.sampled_from([1, 30, 80, 1 << 20]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[pa.Table, list[Any]],
    masked: bool,
    joined_nbytes: int,
) -> None:
    table, rows = made
    store = tmp_path_factory.mktemp("any") / "s.ptr"
    with patch.object(arrow_columns, "JOINED_NBYTES", joined_nbytes):
        report = run(table, store, masked=masked, verify=True, dtype="f4")
    is_kept = [row is not None and (masked or None not in row) for row in rows]
    assert len({label for label, _ in report.failures}) == is_kept.count(False)
    found = content(store) if any(is_kept) else {}
    expected = {
        str(i): row for i, (row, kept) in enumerate(zip(rows, is_kept, strict=True)) if kept
    }
    assert {name: array.tolist() for name, array in found.items()} == expected
