"""Arrays out to Arrow: each kind of store in libraries that know it, on the store's memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import nanoarrow
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import ptrarray
from tests.support.arrow import (
    CONSUMERS,
    KINDS,
    ORDERED,
    addresses,
    by_duckdb,
    by_pyarrow,
    in_lists,
    is_mapped,
    mappings,
)

pytestmark = pytest.mark.usefixtures("no_syncs")
READERS: list[dict[str, Any]] = [{}, {"mode": "c"}, {"backend": "pread"}]


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("kind", KINDS)
def test_libraries_see_what_is_in_a_store(path: Path, kind: str, consumer: str) -> None:
    where, arrays = KINDS[kind](path)
    assert CONSUMERS[consumer](ptrarray.open(where).arrow()) == in_lists(arrays)


@pytest.mark.parametrize("reader", READERS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_views_are_the_same(path: Path, kind: str, reader: dict[str, Any]) -> None:
    where, arrays = KINDS[kind](path)
    store = ptrarray.open(where, **reader)
    table = store.arrow("view")
    assert by_pyarrow(table) == by_duckdb(table) == in_lists(arrays)
    assert by_pyarrow(store) == in_lists(arrays)


def test_a_writable_store_is_shown(path: Path) -> None:
    where, _ = KINDS["plain"](path)
    with ptrarray.open(where, mode="r+") as store:
        table = pa.table(store)
        store["a"][0] = 77
        assert table["values"][0].as_py()[0] == 77
        assert is_mapped(store, table["values"])


# What is copied ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "c"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_copied_of_arrays_in_order(path: Path, kind: str, mode: Any) -> None:
    where, arrays = KINDS[kind](path)
    store = ptrarray.open(where, mode)
    values = pa.table(store)["values"]
    is_ordered = kind in ORDERED or not arrays
    assert is_mapped(store, values) == is_ordered
    assert values.num_chunks == sum(len(ptrarray.open(shard)) > 0 for shard in store.shards)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_copied_of_views(path: Path, kind: str) -> None:
    where, _ = KINDS[kind](path)
    store = ptrarray.open(where)
    values = pa.table(store.arrow("view"))["values"]
    # In a mixed store, arrays of 3 floats a row begin at any multiple of 64 bytes.
    assert is_mapped(store, values) == (kind not in ("turned", "mixed", "mixed_masked"))


def test_offsets_of_views_are_the_index(path: Path) -> None:
    where, _ = KINDS["plain"](path)
    store = ptrarray.open(where)
    array = pa.table(store.arrow("view"))["values"].chunk(0)
    assert array.buffers()[1].address == store.starts.ctypes.data


def test_holes_at_the_ends_are_no_reason_to_copy(path: Path) -> None:
    with ptrarray.create(path, dtype="f8", rows=100) as writer:
        writer.write({"gone": np.ones(3), "a": np.arange(3.0), "b": np.arange(2.0), "z": [1.0]})
        del writer["gone"], writer["z"]
    store = ptrarray.open(path)
    values = pa.table(store)["values"]
    (chunk,) = values.chunks
    assert list(addresses(values)) == [(store["a"].ctypes.data, 40)]
    assert chunk.offset == 0
    assert chunk.offsets.to_pylist() == [0, 3, 5]


def test_names_are_the_index(path: Path) -> None:
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write({f"name {n}": [n] for n in range(1000)})
    ptrarray.checkpoint(path)
    store = ptrarray.open(path)
    names = pa.table(store)["name"].chunk(0)
    index = store._opened.snapshot.name_column.joined  # type: ignore[attr-defined]
    assert names.buffers()[2].address == index.ctypes.data


def test_polars_and_nanoarrow_have_the_mapping(path: Path) -> None:
    where, _ = KINDS["wide"](path)
    store = ptrarray.open(where)
    frame = pl.DataFrame(store.arrow())
    assert is_mapped(store, pa.chunked_array([frame["values"].to_arrow()]))
    (chunk,) = nanoarrow.ArrayStream(store).read_all().iter_chunks()
    buffer = nanoarrow.c_array(chunk).child(1).child(0).child(0).child(0).buffers[1]
    assert buffer == store.rows.ctypes.data


@pytest.mark.parametrize("kind", ["holed", "pointed", "masked", "turned", "mixed_masked"])
@pytest.mark.parametrize("layout", ["list", "view"])
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_batches_are_bounded(
    path: Path, kind: str, layout: Any, reader: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.views.arrow.BATCH_NBYTES", 150)
    where, arrays = KINDS[kind](path)
    table = ptrarray.open(where, **reader).arrow(layout)
    is_copied = layout == "list" or kind not in ("holed", "pointed") or reader.get("backend")
    assert (pa.table(table)["name"].num_chunks > 1) == bool(is_copied)
    assert by_pyarrow(table) == in_lists(arrays)


def test_long_runs_between_holes_are_not_copied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.views.arrow.RUN_NBYTES", 1000)
    arrays = {f"a{n}": np.full(10, n) for n in range(40)}
    arrays.update((f"gone{n}", np.ones(1)) for n in range(4))
    order = [*range(10), "gone0", 10, "gone1", 11, "gone2", *range(12, 20), "gone3", *range(20, 40)]
    with ptrarray.create(path, dtype="f8") as writer:
        for one in order:
            name = one if isinstance(one, str) else f"a{one}"
            writer[name] = arrays[name]
        for n in range(4):
            del writer[f"gone{n}"], arrays[f"gone{n}"]
    store = ptrarray.open(path)
    table = pa.table(store)
    assert by_pyarrow(store) == in_lists(arrays)
    assert [chunk[0].as_py() for chunk in table["name"].chunks] == ["a0", "a10", "a12", "a20"]
    (first, last) = mappings(store)[0][0], sum(mappings(store)[0])
    are_mapped = [first <= at < last for at, _ in addresses(table["values"])]
    assert are_mapped == [True, False, True, True]


def test_memory_is_that_of_offsets(path: Path) -> None:
    n_arrays = 20_000
    with ptrarray.create(path, dtype="f8") as writer:
        names = [f"name {n}" for n in range(n_arrays)]
        writer.write_ragged(names, np.zeros(10 * n_arrays), np.arange(n_arrays + 1) * 10)
    ptrarray.checkpoint(path)
    store = ptrarray.open(path)
    pa.table(store)  # what is made once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        table = pa.table(store)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == n_arrays
    assert after - before <= 17 * n_arrays
    assert peak - before <= 20 * n_arrays


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["list", "view"])
def test_batches_have_no_null_rows_and_no_offset(path: Path, kind: str, layout: Any) -> None:
    where, arrays = KINDS[kind](path)
    table = ptrarray.open(where).arrow(layout)
    stream = nanoarrow.c_array_stream(table)
    n_rows = 0
    for batch in stream:
        columns = [batch, *batch.children]
        assert {(one.null_count, one.offset, one.length) for one in columns} == {(0, 0, len(batch))}
        n_rows += len(batch)
    assert n_rows == len(arrays)
