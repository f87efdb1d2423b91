"""`write_arrow` of streams: bounded memory, one commit, and nothing if it fails or is killed."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import ptrarray
from ptrarray.errors import BadInputError, DuplicateNameError, OverlapError
from ptrarray.format.journal import PUT, PUT_UNJUDGED, RECORDS_START
from ptrarray.intake import arrow as intake
from ptrarray.storage.store.journal import Journal
from tests.support.checks import check_exactly
from tests.support.faults import SHORT, injected
from tests.support.memory import peak_nbytes

LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i4"},
    "masked": {"dtype": "i4", "masked": True},
    "sharded": {"dtype": "i4", "shard_size": 2**16},
}


def reader(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(batch(0).schema, batches)


def batch(number: int, n_rows: int = 10, n_arrays: int = 4) -> pa.RecordBatch:
    values = np.full((n_arrays, n_rows), number, "i4")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), n_rows)
    return pa.record_batch({"name": [f"{number}/{at}" for at in range(n_arrays)], "values": lists})


def check_batches(path: Path, n_batches: int, others: dict[str, list[int]], **sizes: int) -> None:
    n_rows, n_arrays = sizes.get("n_rows", 10), sizes.get("n_arrays", 4)
    wanted = {
        f"{number}/{at}": np.full(n_rows, number, "i4")
        for number in range(n_batches)
        for at in range(n_arrays)
    }
    check_exactly(path, wanted | {name: np.array(one, "i4") for name, one in others.items()})


def test_a_stream_is_one_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"

    def batches() -> Iterator[pa.RecordBatch]:
        with ptrarray.open(path) as store:
            for number in range(5):
                yield batch(number)
                store.refresh()
                assert len(store) == 0

    with ptrarray.create(path, dtype="i4") as writer:
        version = writer.version
        assert writer.write_arrow(reader(batches())) == 20
        assert writer.version > version
    check_batches(path, 5, {})


def test_others_write_between_the_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(4):
            yield batch(number)
            if number < 3:
                other.write({f"other {number}": [number] * 3})
                writer.write({f"same {number}": [number] * 2})
                ptrarray.checkpoint(path)
        with ptrarray.open(path, mode="r+") as store:  # may change rows that lie between
            store["other 1"][0] = 7
            with pytest.raises(ptrarray.StoreError, match="filling rows"):
                ptrarray.compact(path)
        assert store.closed

    with ptrarray.create(path, dtype="i4") as writer, ptrarray.append(path) as other:
        assert writer.write_arrow(reader(batches())) == 16
        others = {f"other {n}": [n] * 3 for n in range(3)} | {
            f"same {n}": [n] * 2 for n in range(3)
        }
        others["other 1"][0] = 7
        check_batches(path, 4, others)
    ptrarray.compact(path)
    check_batches(path, 4, others)


def test_rows_of_all_batches_are_kept_from_others_until_they_are_committed(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            yield batch(number)
        for start in (0, 50, 119):
            with pytest.raises(OverlapError, match="being written"):
                other.write({"x": [1]}, start=start)

    with ptrarray.create(path, dtype="i4") as writer, ptrarray.append(path) as other:
        writer.write_arrow(reader(batches()))
    check_batches(path, 3, {})


def test_several_threads_write_streams_to_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i4") as writer, ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(writer.write_arrow, reader(map(batch, range(n, 20, 4)))) for n in range(4)
        ]
        assert [call.result() for call in calls] == [20] * 4
    check_batches(path, 20, {})


@pytest.mark.parametrize("is_apart", [False, True])
def test_rows_that_may_have_been_mapped_are_not_judged_by_their_checksums(
    tmp_path: Path, is_apart: bool
) -> None:
    path = tmp_path / "a.ptr"
    mapped: list[ptrarray.PointerArray] = []

    def batches() -> Iterator[pa.RecordBatch]:
        yield batch(0)
        if is_apart:
            other.write({"other": [1]})
        mapped.append(ptrarray.open(path, mode="r+"))
        yield batch(1)

    with ptrarray.create(path, dtype="i4") as writer, ptrarray.append(path) as other:
        writer.write_arrow(reader(batches()))
        with Journal(path, writable=False) as journal:
            notices = list(journal.notices(journal.read_header(), RECORDS_START))
        assert notices[-1][1] == (PUT_UNJUDGED if is_apart else PUT)
        mapped.pop().close()


def test_a_name_that_another_writer_commits_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            yield batch(number)
        other.write({"0/0": [9]})

    with ptrarray.create(path, dtype="i4") as writer, ptrarray.append(path) as other:
        with pytest.raises(DuplicateNameError, match="1 of 12 names"):
            writer.write_arrow(reader(batches()))
        assert writer["0/0"].tolist() == [9]
        del other["0/0"]
        writer.write_arrow(reader(batches()), overwrite=True)
        assert writer["0/0"].tolist() == [0] * 10


@pytest.mark.parametrize("layout", ["rows", "masked", "sharded"])
def test_a_stream_that_raises_in_the_middle_commits_nothing(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.ptr"

    def batches() -> Iterator[pa.RecordBatch]:
        yield batch(0)
        yield batch(1)
        raise RuntimeError("the disk of the others is broken")

    with ptrarray.create(path, **LAYOUTS[layout]) as writer:
        writer["before"] = [1]
        with pytest.raises(BadInputError, match="the disk of the others is broken"):
            writer.write_arrow(reader(batches()))
        assert list(writer) == ["before"]
        writer["after"] = [2]
        assert writer.pointers["after"] == (1, 2)


def test_a_stream_may_be_larger_than_memory(tmp_path: Path) -> None:
    sizes = {"n_rows": 100_000, "n_arrays": 5}
    alive: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(20):
            alive.append(pa.total_allocated_bytes())
            yield batch_of(number)

    def batch_of(number: int) -> pa.RecordBatch:
        values = pa.array(np.full(500_000, number, "i4")).cast(pa.int64())  # in memory of pyarrow
        lists = pa.FixedSizeListArray.from_arrays(values, 100_000)
        return pa.record_batch({"name": [f"{number}/{at}" for at in range(5)], "values": lists})

    source = pa.RecordBatchReader.from_batches(batch_of(0).schema, batches())
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer:
        writer.write_arrow(source)
    check_batches(tmp_path / "a.ptr", 20, {}, **sizes)
    assert max(alive) - alive[0] <= 3 * 4_000_000


def test_a_large_batch_is_converted_in_parts(tmp_path: Path) -> None:
    n = 4_000_000
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(n)), 4000)
    table = pa.table({"name": list(map(str, range(n // 4000))), "values": lists})
    with (
        pytest.MonkeyPatch.context() as patch,
        ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer,
    ):
        patch.setattr(intake, "_PIECE_NBYTES", 2**20)
        assert peak_nbytes(lambda: writer.write_arrow(table)) < 6 * 2**20
        assert np.array_equal(np.concatenate(list(writer.values())), np.arange(n))


def test_bits_of_a_large_batch_are_unpacked_in_parts(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, 10_000).astype(bool)
    offsets = np.sort(np.append([0, 10_000], np.random.default_rng(1).integers(0, 10_000, 99)))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
    table = pa.table({"name": list(map(str, range(100))), "values": lists})
    with (
        pytest.MonkeyPatch.context() as patch,
        ptrarray.create(tmp_path / "a.ptr", dtype="?") as writer,
    ):
        patch.setattr(intake, "_PIECE_NBYTES", 2**9)
        patch.setattr(intake, "_PIECE_ARRAYS", 2**5)
        writer.write_arrow(table)
        for at in range(100):
            assert np.array_equal(writer[str(at)], values[offsets[at] : offsets[at + 1]])


# shards -------------------------------------------------------------------------------------------


def test_a_stream_goes_to_one_shard_and_replaces_names_of_others(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i4", shard_size=2**12) as writer:
        for number in range(3):
            writer.write_arrow(batch(number, n_rows=200))
        n_shards = len(list(path.glob("*/index.msgpack")))
        with pytest.raises(DuplicateNameError):
            writer.write_arrow(reader(batch(number) for number in (5, 4, 0)))
        pointers = dict(writer.pointers)
        writer.write_arrow(
            reader(batch(number) for number in (0, 1, 2, *range(3, 40))), overwrite=True
        )
        assert pointers["2/0"] != writer.pointers["2/0"]
        assert n_shards > 1
    check_batches(path, 40, {})


# failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["rows", "masked", "sharded"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, SHORT])
def test_a_call_that_fails_commits_nothing_or_all(tmp_path: Path, code: int, layout: str) -> None:
    path = tmp_path / "a.ptr"
    for n in range(1, 100):
        with ptrarray.create(path, mode="w", **LAYOUTS[layout]) as writer:
            writer["before"] = [1]
            with injected() as faults:
                faults.arm(n, code, is_lasting=False)
                error = None
                try:
                    writer.write_arrow(reader(batch(number) for number in range(3)))
                except (OSError, ptrarray.StoreError) as raised:
                    error = raised
                faults.disarm()
            assert len(writer) in ((1,) if error else (13,))
            writer["after"] = [2]
        with ptrarray.open(path) as store:
            store.verify()
            assert store["after"].tolist() == [2]
        if not faults.n_failed:
            break
    assert 3 < n < 99


KILLED = """
import os, signal, sys
import numpy as np
import pyarrow as pa
import ptrarray

def batches():
    for number, n_rows in enumerate([10, 100_000]):  # the second is written outside of the lock
        values = [np.full(n_rows, number, "i4")] * 4
        yield pa.record_batch({"name": [f"{number}/{at}" for at in range(4)], "values": values})
    os.kill(os.getpid(), signal.SIGKILL)

schema = pa.schema({"name": pa.string(), "values": pa.list_(pa.int32())})
reader = pa.RecordBatchReader.from_batches(schema, batches())
ptrarray.append(sys.argv[1]).write_arrow(reader)
"""


@pytest.mark.parametrize("layout", ["rows", "masked", "sharded"])
def test_a_writer_that_is_killed_in_the_middle_leaves_nothing(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.ptr"
    ptrarray.create(path, **LAYOUTS[layout]).close()
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert done.returncode == -signal.SIGKILL
    with ptrarray.append(path) as writer:
        assert len(writer) == 0
        assert writer.write_arrow(reader(batch(number) for number in range(3))) == 12
    ptrarray.compact(path)
    with ptrarray.open(path) as store:
        assert {int(name[0]): store[name].tolist() for name in store} == {
            number: [number] * 10 for number in range(3)
        }
        store.verify()
