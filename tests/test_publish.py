"""Publishing a store: nothing in the journal, no holes, and numbers side by side, for who reads elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError, PointerArray
from ptrarray.format.index import entry_dtype
from ptrarray.storage.store import blocks
from ptrarray.storage.store.blocks import Sizes
from ptrarray.storage.store.index import Index
from tests.support import forging
from tests.support.any_layout import KINDS, array_of, use_small_blocks
from tests.support.checks import check_same, check_store, unchanged
from tests.support.command_line import Run
from tests.support.damage import INDEX, JOURNAL
from tests.support.remote import URL, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")
RECORDS_START = 8192


def stores_in(path: Path) -> list[Path]:
    """Return the directories of all stores that one consists of, helper arrays among them."""
    return sorted(index.parent for index in path.rglob(INDEX))


def records_of(path: Path) -> Any:
    """Return the records of an index, and its columns by name."""
    index = Index(path)
    dtype = entry_dtype(index.columns)
    columns = {name: index.column(name) for name in dtype.names or ()}
    return index.column("entry").view(dtype), columns


def check_published(path: Path) -> None:
    for store in stores_in(path):
        assert (store / JOURNAL).stat().st_size == RECORDS_START
        records, columns = records_of(store)
        assert records.dtype.names == tuple(columns)
        for name, column in columns.items():
            assert np.array_equal(records[name], column)
    ptrarray.verify(path)


def written(path: Path, kind: str, **options: Any) -> dict[str, Any]:
    """Make a store with holes, names that share rows, metadata and a journal; return its arrays."""
    with ptrarray.create(path, **KINDS[kind], **options) as writer:
        arrays = {f"a{n}": array_of(kind, n) for n in range(30)}
        writer.write(arrays, meta={f"a{n}": {"n": n} for n in range(0, 30, 4)})
        writer.point("twice", *writer.pointers["a7"])
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        for n in range(0, 30, 5):
            del writer[f"a{n}"]
        writer["a8"] = array_of(kind, 7)
        return dict(ptrarray.open(path))


def as_written(file: Path) -> tuple[int, ...]:
    """Return what is another when a file was written to, or is another one."""
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


# What becomes of a store --------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_store(path: Path, kind: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        use_small_blocks(monkeypatch)
    arrays, metas = written(path, kind), dict(ptrarray.open(path).meta)
    ptrarray.publish(path, memory=1 if small else "512MB")
    check_published(path)
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(arrays)
        for name, array in arrays.items():
            check_same(store[name], array)
        assert dict(store.meta) == metas
        living = sum(len(set(range(*pointer))) for pointer in set(store.pointers.values()))
        n_rows = store.shape[0]
        assert n_rows - living < 64 * len(store) if "mixed" in kind else n_rows == living
        assert (
            path / store._opened.stores[0].snapshot.header.data_file
        ).stat().st_size == store.nbytes


def test_shards(path: Path) -> None:
    with ptrarray.create(path, dtype="u1", shard_size=5000) as writer:
        for part in range(3):
            writer.write({f"a{part}/{n}": np.full(n, n) for n in range(80)})
        del writer["a0/3"]
    arrays = dict(ptrarray.open(path))
    ptrarray.publish(path)
    assert len(stores_in(path)) == 3
    check_published(path)
    assert (path / "catalog.msgpack").exists()
    with ptrarray.open(path) as store:
        check_store(store, arrays)


def test_helper_arrays(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    series = {f"s{n}": pd.Series([n, n + 1.0], index=["a", "b"]) for n in range(5)}
    with ptrarray.create(path) as writer:
        writer.write({**series, "gone": pd.Series([1], index=["only here"])})
        del writer["gone"]
    ptrarray.publish(path)
    assert len(stores_in(path)) == 2
    check_published(path)
    with unchanged(path):
        ptrarray.publish(path)
    for name, one in ptrarray.open(path).series().items():
        pd.testing.assert_series_equal(one, series[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard_size", [None, 3000])
def test_once_more_changes_nothing(path: Path, kind: str, shard_size: int | None) -> None:
    written(path, kind, shard_size=shard_size)
    for _ in range(1 if shard_size is None else 2):  # shards are flushed, which is noted once
        ptrarray.publish(path)
    before = {file: as_written(file) for file in path.rglob("*.*") if file.is_file()}
    with unchanged(path):
        ptrarray.publish(path)
    for file, written_then in before.items():
        is_written = shard_size and file.name in ("catalog.msgpack", JOURNAL)  # as it was
        assert is_written or as_written(file) == written_then


def test_without_holes_the_data_file_stays(path: Path) -> None:
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write({"a": [1.0, 2.0], "b": [3.0], "none": []})
    data = as_written(path / "data.bin")
    ptrarray.publish(path)
    check_published(path)
    assert as_written(path / "data.bin") == data


def leave_a_hole(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["a"]


def reserve(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer.reserve(5)


def leave_rows_of_a_killed_writer(path: Path) -> None:
    with (path / "data.bin").open("ab") as file:
        file.write(bytes(100))


@pytest.mark.parametrize("leave", [leave_a_hole, reserve, leave_rows_of_a_killed_writer])
def test_nothing_is_published_that_nobody_has(path: Path, leave: Callable[[Path], None]) -> None:
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write({"a": [1.0, 2.0], "b": [3.0]})
    leave(path)
    ptrarray.publish(path)
    check_published(path)
    (data,) = path.glob("data*.bin")
    with ptrarray.open(path) as store:
        assert data.stat().st_size == 8 * sum(store.lengths) == store.nbytes


def test_it_is_refused_while_rows_are_filled(path: Path) -> None:
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write({"a": [1.0, 2.0], "b": [3.0]})
        del writer["a"]
        with writer.allocate("c", 3), pytest.raises(ptrarray.StoreError, match="filling"):
            ptrarray.publish(path)
    ptrarray.publish(path)
    check_published(path)


def test_a_writer_goes_on_and_a_checkpoint_drops_the_records(path: Path) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer["a"] = [1, 2]
        ptrarray.publish(path)
        reader = ptrarray.open(path)
        writer["b"] = [3]
        assert "entry" in Index(path).columns
        reader.refresh()
        assert reader["b"].tolist() == [3]
        ptrarray.checkpoint(path)
        assert "entry" not in Index(path).columns
        reader.refresh()
        assert reader["b"].tolist() == [3]
        ptrarray.publish(path)
        ptrarray.compact(path)
        assert "entry" not in Index(path).columns


def test_records_that_fit_in_no_column_are_left_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Sizes(150_000_000, 10).with_entry().entry
    assert not Sizes(160_000_000, 10).with_entry().entry
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": [n] for n in range(10)})
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "COLUMN_LIMIT_NBYTES", 200)
        ptrarray.publish(path)
    assert "entry" not in Index(path).columns
    ptrarray.publish(path)
    check_published(path)


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(ptrarray.StoreNotFoundError):
        ptrarray.publish(tmp_path / "nothing.ptr")
    assert list(tmp_path.iterdir()) == []


def test_a_pack_is_refused(path: Path) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer["a"] = [1]
    pack = path.with_suffix(".tar")
    ptrarray.pack(path, pack)
    with pytest.raises(ptrarray.BadInputError, match="unpack"):
        ptrarray.publish(pack)


def test_from_the_command_line(path: Path, run: Run) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({"a": [1, 2], "b": [3]})
        del writer["a"]
    code, out, _ = run("publish", str(path))
    assert (code, out) == (0, f"{path}: 1 arrays, 4 bytes of rows without holes\n")
    check_published(path)


# What is wrong with records -----------------------------------------------------------------------


def forge(path: Path, position: int, field: str, value: int) -> None:
    """Give an array another number in its record alone, under right checksums."""
    header, columns = forging.unpack_index((path / INDEX).read_bytes())
    records = np.frombuffer(columns["entry"], entry_dtype(columns)).copy()
    records[field][position] = value
    columns["entry"] = records.tobytes()
    (path / INDEX).write_bytes(forging.lay_out(header, columns))


@pytest.fixture
def published(path: Path) -> Path:
    with ptrarray.create(path, masked=True) as writer:
        arrays = {f"a{n}": array_of("masked mixed", n + 1) for n in range(40)}
        writer.write(arrays, meta={"a3": {"k": 1}})
    ptrarray.publish(path)
    return path


FIELDS = ["start", "end", "name_end", "info_end", "meta_end", "crc"]


@pytest.mark.parametrize("field", FIELDS)
def test_a_record_unlike_its_columns_is_found(published: Path, field: str) -> None:
    arrays = dict(ptrarray.open(published))
    forge(published, 6, field, 12_345)
    with pytest.raises(CorruptStoreError, match=f"12345 as '{field}' of array 6") as raised:
        ptrarray.verify(published)
    (damage,) = raised.value.damage
    assert damage.file == str(published / INDEX)
    # Here nobody looks at it, and what is made anew has none.
    check_all(published, arrays)
    ptrarray.compact(published)
    check_all(published, arrays)
    ptrarray.verify(published)


def check_all(path: Path, arrays: dict[str, Any]) -> None:
    store = ptrarray.open(path)
    for name, array in arrays.items():
        check_same(store[name], array)


@pytest.mark.parametrize("field", FIELDS)
def test_a_record_unlike_its_columns_never_gives_other_arrays(
    published: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.storage.store.probed.WHOLE_NBYTES", 0)
    arrays = dict(ptrarray.open(published))
    for value in (0, 1, 64, 12_345, 1 << 31, (1 << 32) - 1):
        forge(published, 6, field, value)
        with folder_elsewhere(published.parent):
            store = ptrarray.open(f"{URL}/{published.name}")
            for name, array in arrays.items():
                check_unless_refused(store, name, array)
            with pytest.raises(CorruptStoreError):
                store.verify()


def check_unless_refused(store: PointerArray, name: str, array: Any) -> None:
    try:
        found = store[name]
    except (CorruptStoreError, KeyError):
        return
    assert np.ma.getdata(found).tobytes() == np.ma.getdata(array).tobytes()


def test_what_does_not_match_its_checksum_is_repaired(published: Path) -> None:
    raw, index = bytearray((published / INDEX).read_bytes()), Index(published)
    raw[index.columns["entry"].start_byte + 50] ^= 1
    del index
    (published / INDEX).write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="column 'entry' with CRC-32"):
        ptrarray.verify(published)
    repaired = published.with_name("repaired.ptr")
    left_out = ptrarray.repair(published, repaired)
    assert all("'entry'" in damage.problem for damage in left_out)
    assert len(ptrarray.open(repaired)) == 40
    ptrarray.verify(repaired)
