"""Damaged and forged files of Arrow and Parquet: a failure of that file, whatever is wrong."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptrarray import convert
from ptrarray.convert import Report
from tests.support.imports import content

pytestmark = pytest.mark.usefixtures("limits")

NAMES = ["a", "b", "c", "d"]
ROWS = [[1, 2], [], [3], [4, 5, 6]]
TABLE = pa.table({"name": NAMES, "values": pa.array(ROWS, pa.list_(pa.int32())), "m": NAMES})
ARRAYS = dict(zip(NAMES, ROWS, strict=True))


def ipc(table: pa.Table, new: Callable[..., Any], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, 2)
    return bytes(sink.getvalue())


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=2, **options)
    return bytes(sink.getvalue())


FILES = {
    "x.arrow": ipc(TABLE, pa.ipc.new_file),
    "lz4.arrow": ipc(TABLE, pa.ipc.new_file, compression="lz4"),
    "x.arrows": ipc(TABLE, pa.ipc.new_stream),
    "x.parquet": parquet(TABLE, write_page_checksum=True, store_schema=False),
    "plain.parquet": parquet(TABLE, use_dictionary=False, compression="none", store_schema=False),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(path: Path, store: Path, **options: Any) -> Report:
    kind = convert.from_parquet if path.suffix == ".parquet" else convert.from_arrow
    return kind(path, store, progress=False, processes=1, **options)


def found(store: Path) -> dict[str, list[int]]:
    if not store.exists():
        return {}
    return {name: array.tolist() for name, array in content(store).items()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_off(folder: Path, store: Path, name: str) -> None:
    raw = FILES[name]
    for n, size in enumerate([*range(0, len(raw) - 1, len(raw) // 50), len(raw) - 1]):
        path, new = folder / name, store.with_name(f"{n}.ptr")
        path.write_bytes(raw[:size])
        report = run(path, new)
        assert [source for source, _ in report.failures] == [str(path)], size
        assert found(new).items() <= ARRAYS.items()


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_other_bytes(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    raw = bytearray(FILES[name])
    at = data.draw(st.integers(0, len(raw) - 1))
    put = data.draw(
        st.sampled_from([b"\xff", b"\0", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\0\0\0\x40"])
    )
    raw[at : at + len(put)] = put
    folder = tmp_path_factory.mktemp("damaged")
    (folder / name).write_bytes(raw[: len(FILES[name])])
    report = run(folder / name, folder / "s.ptr")
    assert report.failures or report.converted == len(found(folder / "s.ptr"))


def test_damaged_pages_are_found_by_their_checksums(folder: Path, store: Path) -> None:
    # pyarrow neither writes nor looks at them by default: of 124 flipped bits, 45 gave other values.
    values = np.arange(1000, dtype="i8")
    table = pa.table({"name": ["a"], "values": [values]})
    raw = bytearray(
        parquet(table, write_page_checksum=True, use_dictionary=False, compression="none")
    )
    raw[raw.index(values[500:510].tobytes())] ^= 1
    (folder / "x.parquet").write_bytes(raw)
    assert len(pq.read_table(folder / "x.parquet")) == 1
    assert "CRC" in run(folder / "x.parquet", store).failures[0].problem
    assert not store.exists()


def test_one_damaged_row_group_is_not_all(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.convert.formats.parquet._PART_NBYTES", 1)
    raw = bytearray(
        parquet(TABLE, write_page_checksum=True, use_dictionary=False, compression="none")
    )
    raw[raw.index(np.array([1, 2], "i4").tobytes())] ^= 1
    (folder / "x.parquet").write_bytes(raw)
    assert len(run(folder / "x.parquet", store).failures) == 1
    assert found(store) == {"c": [3], "d": [4, 5, 6]}


def test_a_stream_cut_between_batches(folder: Path, store: Path) -> None:
    # pyarrow, polars and load_from_disk read what is there, and say nothing.
    raw = FILES["x.arrows"]
    with pa.ipc.open_stream(raw) as reader:
        end = len(raw) - 8
        assert reader.read_all().num_rows == 4
    first = raw.rindex(b"\xff\xff\xff\xff", 0, end)
    for size, kept in ((end, 4), (first, 2)):
        (folder / "x.arrows").write_bytes(raw[:size])
        assert pa.ipc.open_stream(raw[:size]).read_all().num_rows == kept
        new = store.with_name(f"{size}.ptr")
        assert "may have been cut off" in run(folder / "x.arrows", new).failures[0].problem
        assert found(new) == dict(list(ARRAYS.items())[:kept])


def test_what_lies_behind_the_end_of_a_stream(folder: Path, store: Path) -> None:
    (folder / "x.arrows").write_bytes(2 * FILES["x.arrows"])
    assert "behind the end of the stream" in run(folder / "x.arrows", store).failures[0].problem
    assert found(store) == ARRAYS


def test_metadata_of_a_column_that_makes_no_sense(folder: Path, store: Path) -> None:
    # pyarrow 26.0.1 ends the process (SIGABRT) when `row_group(0).column(0)` is asked for, as what
    # libparquet throws goes through Cython: so nobody may ask. The sizes are of levels here.
    rows = pa.array([[1], [2, 3]], pa.list_(pa.int32()))
    raw = parquet(pa.table({"x": rows}), compression="none", use_dictionary=False)
    sizes = b"\x29\x26"  # how many values have each level: a list of two, in Thrift's compact form
    if sizes not in raw:
        pytest.skip("this pyarrow writes no such sizes")
    assert raw.count(sizes) == 1
    (folder / "x.parquet").write_bytes(raw.replace(sizes, b"\x29\x16"))  # of one
    assert "histogram size mismatch" in run(folder / "x.parquet", store).failures[0].problem


# Forged ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offsets", [[0, 3, 2], [0, 4, 2**30], [-1, 1, 2], [0, -(2**31), 4], [0, 2, 5]], ids=str
)
def test_offsets_that_lead_astray(folder: Path, store: Path, offsets: list[int]) -> None:
    # pyarrow reads them from a file, and looks at them when it is asked to.
    raw = ipc(pa.table({"x": [[7, 8, 9], [10]]}), pa.ipc.new_stream)
    right = np.array([0, 3, 4], "i4").tobytes()
    assert raw.count(right) == 1
    (folder / "x.arrow").write_bytes(raw.replace(right, np.array(offsets, "i4").tobytes()))
    assert len(run(folder / "x.arrow", store).failures) == 1
    assert not store.exists()


def test_names_that_are_no_text(folder: Path, store: Path) -> None:
    raw = FILES["x.arrow"].replace(b"abcd", b"\xff\xfe\xfd\xfc").replace(b"ab\0", b"\xff\xfe\0")
    (folder / "x.arrow").write_bytes(raw)
    assert "UTF8" in run(folder / "x.arrow", store).failures[0].problem


def test_batches_before_a_damaged_one_are_there(folder: Path, store: Path) -> None:
    raw = FILES["x.arrow"]
    assert raw.count(b"\0cd\0") == 2  # names and metadata of the second batch
    (folder / "x.arrow").write_bytes(raw.replace(b"\0cd\0", b"\0\xff\xfe\0"))
    (failure,) = run(folder / "x.arrow", store).failures
    assert "UTF8" in failure.problem
    assert found(store) == {"a": [1, 2], "b": []}


def test_sizes_of_compressed_buffers_take_no_memory(folder: Path, store: Path) -> None:
    values = np.arange(5000, dtype="i8")
    raw = ipc(pa.table({"x": [values]}), pa.ipc.new_file, compression="zstd")
    size = struct.pack("<q", values.nbytes)
    assert raw.count(size) >= 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for forged in (1 << 33, 1 << 50, -2, values.nbytes + 8):
        (folder / "x.arrow").write_bytes(raw.replace(size, struct.pack("<q", forged)))
        assert run(folder / "x.arrow", store).failures
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    assert not store.exists()


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.int8(), 2**31 - 1), pa.list_(pa.list_(pa.int8(), 2**31 - 1), 2**31 - 1)],
    ids=str,
)
def test_lists_of_a_forged_size_take_no_memory(folder: Path, store: Path, kind: Any) -> None:
    table = pa.table({"x": pa.array([], kind), "y": pa.array([], pa.struct([("a", kind)]))})
    (folder / "x.arrow").write_bytes(ipc(table, pa.ipc.new_stream))
    assert run(folder / "x.arrow", store).converted == 0


@pytest.mark.parametrize("name", ["x.arrow", "x.parquet"])
@pytest.mark.parametrize(
    "raw",
    [b"", b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x89HDF\r\n\x1a\n" * 9],
)
def test_what_is_something_else(folder: Path, store: Path, name: str, raw: bytes) -> None:
    (folder / name).write_bytes(raw)
    (report,) = run(folder / name, store).failures
    assert report.source == str(folder / name)
