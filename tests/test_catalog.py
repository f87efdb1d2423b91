"""The catalog of a store of shards costs time where it is wrong, and never an answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format import catalog as layout
from ptrarray.format.names import hash_all
from ptrarray.format.table import EMPTY, build
from ptrarray.storage.shards import catalog
from ptrarray.storage.shards.marker import Marker
from tests.support.catalogs import (
    Arrays,
    check,
    damage_of,
    file_of,
    known,
    made,
    some_arrays,
    unpacked,
)
from tests.test_format_doc import TEXT, tables

pytestmark = pytest.mark.usefixtures("no_syncs")
GOLDEN = Path(__file__).parent / "golden-shards" / "catalogued.ptr"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.ptr"


@pytest.fixture
def arrays() -> Arrays:
    return some_arrays()


# what is in it ------------------------------------------------------------------------------------


def test_header_and_columns_are_as_documented() -> None:
    header, columns = unpacked(file_of(GOLDEN).read_bytes())
    documented = tables(TEXT)["Header map of a catalog"]
    assert [key for key, _, _ in documented] == list(header)
    kinds = {"str": str, "int": int, "bin": bytes, "map": dict}
    assert all(type(header[key]) is kinds[kind] for key, kind, _ in documented)
    assert (header["format"], header["version"]) == (layout.FORMAT, layout.VERSION)
    assert header["columns"].keys() == layout.COLUMN_TYPES.keys()
    types = {name: kind for name, kind, _ in tables(TEXT)["Columns of a catalog"]}
    assert types == layout.COLUMN_TYPES
    assert {name: len(column) for name, column in columns.items()} == {
        "store_id": 48,
        "generation": 3,
        "n_arrays": 3,
        "crc": 3,
        "slot": len(columns["slot"]),
    }


def test_golden_catalog_leads_to_every_name() -> None:
    header, columns = unpacked(file_of(GOLDEN).read_bytes())
    slots = columns["slot"].reshape(-1, 2).tolist()
    firsts = np.append(0, np.cumsum(columns["n_arrays"])).tolist()
    names = []
    for number in range(3):
        raw = (GOLDEN / f"shard-0000{number}.ptr" / "index.msgpack").read_bytes()
        index, found = unpacked(raw)
        assert index["store_id"] == columns["store_id"].tobytes()[16 * number :][:16]
        for key in ("generation", "n_arrays", "crc"):
            assert index[key] == columns[key][number]
        ends = [0, *found["name_end"].tolist()]
        joined = found["names"].tobytes()
        names += [joined[low:high] for low, high in pairwise(ends)]
    assert firsts[-1] == header["n_arrays"] == len(names)
    for position, name in enumerate(names):
        at = crc32(name) * header["n_homes"] >> 32
        while slots[at] != [crc32(name), position]:
            assert slots[at][1] != EMPTY
            at += 1
    assert slots[-1][1] == EMPTY
    assert known(GOLDEN) == {0}  # the others have records


def test_it_is_the_table_of_all_names(path: Path, arrays: Arrays, monkeypatch: Any) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    _, columns = unpacked(raw)
    expected = build(np.array(hash_all([name.encode() for name in arrays]), np.uint32))
    assert columns["slot"].tolist() == expected.reshape(-1).tolist()
    for limit, window in ((1, 1), (7, 2), (1000, 1)):  # in parts
        monkeypatch.setattr(catalog, "_NAMES_LIMIT", limit)
        monkeypatch.setattr(catalog, "_WINDOW", window)
        file_of(path).unlink()
        catalog.renew(path)
        assert file_of(path).read_bytes() == raw
        assert not damage_of(path)


def test_memory_sets_the_size_of_parts(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    file_of(path).unlink()
    catalog.renew(path, memory=1)
    assert file_of(path).read_bytes() == raw


# when it is made ----------------------------------------------------------------------------------


def test_it_is_made_by_upkeep(path: Path, arrays: Arrays, tmp_path: Path) -> None:
    made(path, arrays)
    for call in (ptrarray.checkpoint, ptrarray.compact):
        file_of(path).unlink()
        call(path)
        assert known(path) == set(range(Marker(path).count()))
        check(path, arrays)
    ptrarray.repair(path, tmp_path / "repaired.ptr")
    assert known(tmp_path / "repaired.ptr") == set(range(Marker(path).count()))


def test_a_close_makes_it_where_a_quarter_is_not_covered(path: Path) -> None:
    def grow(first: int, last: int) -> None:
        """Add a shard for each number, of so many names that its journal is folded."""
        with ptrarray.append(path) as writer:
            for n in range(first, last):
                writer.write({f"{n}/{k}": [n] for k in range(60)})

    ptrarray.create(path, dtype="i4", shard_size=1).close()
    grow(0, 6)
    assert not file_of(path).exists()  # of a few shards
    grow(6, 20)
    raw = file_of(path).read_bytes()
    grow(20, 22)
    assert file_of(path).read_bytes() == raw
    grow(22, 40)
    assert file_of(path).read_bytes() != raw
    assert known(path) == set(range(40))
    check(path, {f"{n}/{k}": [n] for n in range(40) for k in range(60)})


def test_nothing_is_made_anew_without_need(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    before = file_of(path).stat().st_ino
    catalog.renew(path)
    assert file_of(path).stat().st_ino == before


def test_a_store_that_is_replaced_loses_it(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    ptrarray.create(path, dtype="i4", shard_size=1, mode="w").close()
    assert not file_of(path).exists()


def test_what_fails_is_no_error(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    file_of(path).unlink()
    file_of(path).mkdir()
    ptrarray.checkpoint(path)
    catalog.renew(path)
    catalog.renew(path / "nothing.ptr")
    check(path, arrays)


# outdated -----------------------------------------------------------------------------------------


def test_changes_are_seen_beside_it(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    names = list(arrays)
    with ptrarray.open(path) as before, ptrarray.append(path) as writer:
        assert before[names[0]].tolist() == arrays[names[0]]
        del writer[names[0]], writer[names[40]]
        writer[names[1]] = [7, 7]
        writer.rename(names[2], "renamed")
        writer["new"] = [8]
        expected = {name: values for name, values in arrays.items() if name not in names[:3]}
        expected |= {names[1]: [7, 7], "renamed": arrays[names[2]], "new": [8]}
        del expected[names[40]]
        for name, values in arrays.items():  # as of the moment when it was opened
            assert before[name].tolist() == values
        before.refresh()
        assert {name: array.tolist() for name, array in before.items()} == expected
        assert all(before[name].tolist() == values for name, values in expected.items())
        assert not any(name in before for name in (names[0], names[2], names[40]))
    with ptrarray.open(path) as store:
        assert all(store[name].tolist() == values for name, values in expected.items())
    assert not damage_of(path)


@pytest.mark.parametrize("change", [ptrarray.checkpoint, ptrarray.compact])
def test_one_that_was_put_back_is_of_other_indexes(
    path: Path, arrays: Arrays, change: Callable[[Path], None]
) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    with ptrarray.append(path) as writer:
        del writer["n3"]
        writer["new"] = [1]
    del arrays["n3"]
    change(path)
    file_of(path).write_bytes(raw)
    assert known(path) < set(range(len(ptrarray.open(path).shards)))
    assert not damage_of(path)
    with ptrarray.open(path) as store:
        assert "n3" not in store
        assert store["new"].tolist() == [1]
        assert all(store[name].tolist() == values for name, values in arrays.items())


def test_a_shard_put_back_that_went_on_is_another(
    path: Path, arrays: Arrays, tmp_path: Path
) -> None:
    """Of the same id, generation and number of arrays as the one in the catalog."""
    made(path, arrays)
    shard = path / "shard-00001.ptr"
    shutil.copytree(shard, tmp_path / "kept.ptr")

    def go_on(name: str) -> None:
        with ptrarray.append(shard) as writer:
            del writer[next(iter(writer))]
            writer[name] = [9]
        ptrarray.checkpoint(shard)

    go_on("first")
    catalog.renew(path)
    assert known(path) == set(range(5))
    shutil.rmtree(shard)
    shutil.copytree(tmp_path / "kept.ptr", shard)
    go_on("second")
    assert known(path) == {0, 2, 3, 4}
    with ptrarray.open(path) as store:
        assert store["second"].tolist() == [9]
        assert "first" not in store
    assert not damage_of(path)


def test_that_of_another_store_is_ignored(path: Path, arrays: Arrays, tmp_path: Path) -> None:
    made(path, arrays)
    other = made(tmp_path / "other.ptr", {name: [0] for name in arrays})
    shutil.copy(file_of(other), file_of(path))
    assert known(path) == set()
    check(path, arrays)
    assert not damage_of(path)


def test_a_name_table_that_is_read_is_that_of_its_index(path: Path, arrays: Arrays) -> None:
    """Its bytes are taken from where the header says, which was read before."""
    made(path, arrays)
    shard = Marker(path).shard(0)
    table = catalog.Table.of(shard)
    assert len(table.keys(0, 1 << 32)) == table.covered.n_arrays > 1
    fewer = table._replace(covered=table.covered._replace(n_arrays=1))
    with pytest.raises(CorruptStoreError, match="beyond its arrays"):
        fewer.keys(0, 1 << 32)
    more = table._replace(covered=table.covered._replace(n_arrays=table.covered.n_arrays + 1))
    with pytest.raises(CorruptStoreError, match="without 1 of its names"):
        catalog._Run(more, 0).until(1 << 32)
    copy = shutil.copy(shard / "index.msgpack", path / "copy")
    Path(copy).replace(shard / "index.msgpack")
    with pytest.raises(StoreError, match="was replaced"):
        table.keys(0, 1 << 32)


@pytest.mark.parametrize("n_times", [1, 100])
@pytest.mark.parametrize("step", ["_check_searches", "_runs"])
def test_what_is_replaced_while_it_is_compared_is_no_damage(
    path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, step: str, n_times: int
) -> None:
    """As by a checkpoint in another process, once or again and again."""
    made(path, arrays)
    file = {"_check_searches": file_of(path), "_runs": Marker(path).shard(0) / "index.msgpack"}[
        step
    ]
    real, n_replaced = getattr(catalog, step), 0

    def replace_first(*args: Any) -> Any:
        nonlocal n_replaced
        if n_replaced < n_times:
            Path(shutil.copy(file, path / "copy")).replace(file)
            n_replaced += 1
        return real(*args)

    monkeypatch.setattr(catalog, step, replace_first)
    assert damage_of(path) == []
    assert n_replaced == (1 if n_times == 1 else 4)


def test_a_store_that_is_replaced_while_it_is_compared_is_not_damaged(
    path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(path, arrays)
    real = catalog._compare

    def replace(*args: Any) -> None:
        monkeypatch.setattr(catalog, "_compare", real)
        with ptrarray.create(path, dtype="u1", mode="w", shard_size="1kB") as writer:
            writer["other"] = [1]
        real(*args)

    monkeypatch.setattr(catalog, "_compare", replace)
    assert damage_of(path) == []
    assert list(ptrarray.open(path)) == ["other"]
