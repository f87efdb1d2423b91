"""The files of a store: what is in them, how large they become, and that they run nothing."""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError, PointerArrayWriter
from ptrarray.storage.system.files import File, stat
from tests.support.checks import (
    check_in_order,
    check_same,
    digests,
    ints,
    open_descriptors,
    unchanged,
)
from tests.support.convert_workers import Traitor

# what is in them ----------------------------------------------------------------------------------


def test_what_a_reader_maps_is_what_was_written(path: Path, writer: PointerArrayWriter) -> None:
    writer.write({"a": [1, 2], "b": [3]})
    raw = np.fromfile(path / "data.bin", "i4")
    check_same(raw, ints(1, 2, 3))


def test_files_name_nothing_of_any_library(path: Path) -> None:
    """What reads them are msgpack and numpy.memmap."""
    with ptrarray.create(path, dtype=">f4", row_shape=(2,), attrs={"rate": 1}) as writer:
        writer["a"] = [[1, 2], [3, 4]]
    ptrarray.checkpoint(path)
    with (path / "index.msgpack").open("rb") as file:
        objects = list(msgpack.Unpacker(file, max_buffer_size=2**20))
    header, columns = objects[0], [column for column in objects[1:] if column is not None]
    assert header["format"] == "ptrarray"
    assert np.dtype(header["dtype"]) == np.dtype(">f4")
    assert header["attrs"] == {"rate": 1}
    assert b"a" in columns
    rows = np.memmap(path / "data.bin", ">f4", "r").reshape(-1, 2)
    assert rows.tolist() == [[1, 2], [3, 4]]
    for file_name in ("index.msgpack", "journal.msgpack"):
        raw = (path / file_name).read_bytes()
        assert not any(word in raw for word in (b"numpy", b"ndarray", b"ptrarray.", b"builtins"))


@pytest.mark.parametrize("file_name", ["index.msgpack", "journal.msgpack"])
@pytest.mark.parametrize("use", [ptrarray.open, ptrarray.append, ptrarray.verify])
def test_pickles_in_the_place_of_files_run_nothing(
    path: Path, file_name: str, use: Callable[[Path], object]
) -> None:
    ptrarray.create(path, dtype="i8").close()
    exploded = path.with_name("exploded")
    (path / file_name).write_bytes(pickle.dumps(Traitor(exploded)))
    with unchanged(path), pytest.raises(CorruptStoreError):
        use(path)
    assert not exploded.exists()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_a_file_that_was_cut_is_refused_and_not_grown(
    path: Path, mode: Any, is_checkpointed: bool
) -> None:
    """In no mode, though numpy.memmap would let it grow in r+."""
    with ptrarray.create(path, dtype="i8") as writer:
        writer["a"] = range(1000)
        if is_checkpointed:
            ptrarray.checkpoint(path)
    os.truncate(path / "data.bin", 4000)
    with unchanged(path), pytest.raises(CorruptStoreError, match=r"4000 bytes.*8000"):
        ptrarray.open(path, mode=mode)


# how large they become ----------------------------------------------------------------------------


def test_rows_cost_no_disk(path: Path) -> None:
    with ptrarray.create(path, dtype="u1", rows=2**36) as writer:
        assert writer.write({"first": [1]}) == (0, 1)
        writer.write({"last": [2]}, start=2**36 - 1)
    with ptrarray.open(path) as store:
        assert store.shape == (2**36,)
        assert store["last"].tolist() == [2]
        assert store[2**35] == 0
        store.verify()
    assert sum(file.stat().st_blocks for file in path.iterdir()) * 512 < 2**20


def test_a_thousand_times_open_append_close(path: Path) -> None:
    ptrarray.create(path, dtype="i4").close()
    before = open_descriptors(path)
    largest = 0
    for n in range(1000):
        with ptrarray.append(path) as writer:
            writer[f"name {n:04}"] = [n]
        largest = max(largest, (path / "journal.msgpack").stat().st_size)
    assert open_descriptors(path) == before
    check_in_order(path, {f"name {n:04}": [n] for n in range(1000)})
    index_nbytes = (path / "index.msgpack").stat().st_size
    assert index_nbytes < 1000 * 80, "an index does not creep"
    assert largest < 3 * 8192 + index_nbytes, "a journal is folded before it outgrows the index"
    assert len(list(path.iterdir())) == 3


def test_opening_and_closing_changes_nothing(path: Path, writer: PointerArrayWriter) -> None:
    writer["a"] = [1]
    writer.close()
    before = digests(path)
    for _ in range(20):
        ptrarray.append(path).close()
    assert digests(path) == before


def test_opening_and_closing_a_thousand_arrays_changes_nothing(path: Path) -> None:
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write({str(n): [n] for n in range(1000)})
    before = digests(path)
    for _ in range(20):
        ptrarray.append(path).close()
    assert digests(path) == before


def test_replacing_one_name_keeps_the_files_bounded(path: Path) -> None:
    for n in range(300):
        with ptrarray.append(path) if n else ptrarray.create(path, dtype="i4") as writer:
            writer["same"] = [n]
    check_in_order(path, {"same": [299]})
    assert (path / "index.msgpack").stat().st_size < 4096
    assert (path / "journal.msgpack").stat().st_size < 3 * 8192


def test_a_missing_file_is_an_error_that_holds_nothing(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(FileNotFoundError) as caught:
            File(tmp_path / "none")
        assert caught.value.__cause__ is None
        with pytest.raises(FileNotFoundError) as caught:
            stat(tmp_path / "none")
        assert caught.value.__cause__ is None
    finally:
        gc.enable()


def test_a_series_that_was_let_go_is_let_go_at_once(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    with ptrarray.create(path) as new:
        new["a"] = pd.Series([1.0, 2.0])
    gc.collect()
    gc.disable()
    try:
        with ptrarray.open(path, "r+") as store:
            assert store.series("a").sum() == 3
        del store
        ptrarray.compact(path)
    finally:
        gc.enable()
