"""The catalog of a store of shards costs time where it is wrong, and never an answer."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import CorruptStoreError, DuplicateNameError
from ptrarray.format import catalog as layout
from ptrarray.format.index import encode_map
from ptrarray.format.names import hash_all
from ptrarray.format.table import EMPTY, build
from ptrarray.storage.shards import catalog
from ptrarray.storage.shards.marker import Marker
from tests.support.colliding import COLLIDING
from tests.test_format_doc import TEXT, tables

pytestmark = pytest.mark.usefixtures("no_syncs")
GOLDEN = Path(__file__).parent / "golden-shards" / "catalogued.ptr"
Arrays = dict[str, list[int]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.ptr"


@pytest.fixture
def arrays() -> Arrays:
    """Names of five shards, some of which have the same hash."""
    names = [*COLLIDING[:6], *(f"n{n}" for n in range(60))]
    return {name: [n, n + 1] for n, name in enumerate(names)}


def made(path: Path, arrays: Arrays, n_shards: int = 5) -> Path:
    """Make a store of so many shards with a catalog."""
    with ptrarray.create(path, dtype="i4", shard_size=1) as writer:
        for part in np.array_split(np.array(list(arrays), object), n_shards):
            writer.write({name: arrays[name] for name in part})
    ptrarray.checkpoint(path)
    assert file_of(path).exists()
    return path


def file_of(path: Path) -> Path:
    return path / layout.FILE_NAME


def check(path: Path, arrays: Arrays) -> None:
    """Check all ways in which a name is looked for, in a store opened anew and by its writer."""
    absent = ["absent", "n1x", "", "\udc80"]
    with ptrarray.open(path) as store:
        for _ in range(2):  # of a shard that was not asked yet, and of one that was
            for name, values in random.sample(sorted(arrays.items()), len(arrays)):
                assert store[name].tolist() == values
                assert name in store
                pointer = store.pointers[name]
                assert store.rows[slice(*pointer)].tolist() == values
                assert store.meta[name] == {}
            assert not any(name in store or name in store.meta for name in absent)
        assert list(store) == list(arrays)
        many = list(arrays) * (300 // max(1, len(arrays)) + 1)
        assert [one.tolist() for one in store.take(many)] == [arrays[name] for name in many]
        for name in absent[:3]:
            with pytest.raises(KeyError):
                store.take([*many, name])
    with ptrarray.append(path) as writer:
        for names in [*([name] for name in [*arrays][:3]), list(arrays)]:
            with pytest.raises(DuplicateNameError) as raised:
                writer.write({name: [1] for name in [*names, "new"]})
            assert set(raised.value.names) == set(names)


def damage_of(path: Path) -> list[str]:
    try:
        ptrarray.verify(path)
    except CorruptStoreError as error:
        return [damage.file for damage in error.damage]
    return []


def known(path: Path) -> set[int]:
    """Numbers of the shards that are looked for by the catalog."""
    finder: Any = ptrarray.open(path)._opened.snapshot.finder  # type: ignore[attr-defined]
    return set(finder._known)


# what is in it ------------------------------------------------------------------------------------


def unpacked(raw: bytes, *, checked: bool = True) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a catalog as the document says, with nothing of ptrarray."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    header = unpacker.unpack()
    assert header["crc"] == crc32(raw[: unpacker.tell() - 5])
    columns = {}
    for name, (kind, start_byte, nbytes, crc) in header["columns"].items():
        assert start_byte % 64 == 0
        assert raw[start_byte - 5 : start_byte] == b"\xc6" + nbytes.to_bytes(4, "big")
        assert not checked or crc32(raw[start_byte : start_byte + nbytes]) == crc
        columns[name] = np.frombuffer(raw[start_byte : start_byte + nbytes], kind)
    return header, columns


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
        with ptrarray.append(path) as writer:
            for n in range(first, last):
                writer[f"n{n}"] = [n]

    ptrarray.create(path, dtype="i4", shard_size=1).close()
    grow(0, 6)
    assert not file_of(path).exists()  # of a few shards
    grow(6, 20)
    raw = file_of(path).read_bytes()
    grow(20, 22)
    assert file_of(path).read_bytes() == raw
    grow(22, 40)
    assert file_of(path).read_bytes() != raw
    assert known(path) == set(range(39))  # the last one has records
    check(path, {f"n{n}": [n] for n in range(40)})


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


# damaged ------------------------------------------------------------------------------------------


def test_every_byte_and_length(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    header_end = msgpack_end(raw)
    spans = [slice(0, header_end)]
    spans += [slice(at, at + n) for _, at, n, _ in unpacked(raw)[0]["columns"].values()]
    meant = {at for span in spans for at in range(len(raw))[span]}
    for at in range(0, len(raw), 23):
        file_of(path).write_bytes(raw[:at] + bytes([raw[at] ^ 0x5A]) + raw[at + 1 :])
        assert damage_of(path) == ([str(file_of(path))] if at in meant else [])
        check_some(path, arrays)
    for n in range(0, len(raw), 61):
        file_of(path).write_bytes(raw[:n])
        assert damage_of(path) == [str(file_of(path))]
        check_some(path, arrays)
    check(path, arrays)


def msgpack_end(raw: bytes) -> int:
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    unpacker.skip()
    end: int = unpacker.tell()
    return end


def check_some(path: Path, arrays: Arrays) -> None:
    with ptrarray.open(path) as store:
        for name in ["n0", "n59", COLLIDING[0]]:
            assert store[name].tolist() == arrays[name]


def changed(raw: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Change the header of a catalog, with the checksum that it then has."""
    header, _ = unpacked(raw, checked=False)
    del header["crc"]
    change(header)
    packed = encode_map(header)
    first = 512 - 5
    assert len(packed) <= first
    return packed.ljust(first, b"\xc0") + raw[first:]


NUMBERS: list[Any] = [0, 1, 2, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1, -1, "x", None, 1.0, True]
KEYS = ["format", "version", "store_id", "generation", "n_arrays", "n_homes", "columns"]


@pytest.mark.parametrize("key", KEYS)
def test_each_key_wrong_or_missing(path: Path, arrays: Arrays, key: str) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    good = unpacked(raw)[0][key]
    for value in [*NUMBERS, b"", {}, {"slot": 1}, []]:
        if value == good:
            continue
        file_of(path).write_bytes(changed(raw, _set(key, value)))
        if key != "n_homes":  # where names are hidden, a check has to find it, as in an index
            check_some(path, arrays)
        assert key in ("store_id", "generation") or damage_of(path) == [str(file_of(path))]
    file_of(path).write_bytes(changed(raw, lambda header: header.pop(key)))
    check_some(path, arrays)
    assert damage_of(path) == [str(file_of(path))]


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.__setitem__(key, value)


@pytest.mark.parametrize("column", layout.COLUMN_TYPES)
@pytest.mark.parametrize("field", range(4))
def test_each_column_elsewhere(path: Path, arrays: Arrays, column: str, field: int) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    for value in [*NUMBERS, 512, 576, 640, "<u4", "<u8", "|u1", "|O", len(raw) // 64 * 64]:

        def move(header: dict[str, Any], value: Any = value) -> None:
            header["columns"][column][field] = value

        new = changed(raw, move)
        if new[:507] != raw[:507]:
            file_of(path).write_bytes(new)
            check_some(path, arrays)
            assert damage_of(path) == [str(file_of(path))]
    for gone in (lambda h: h["columns"].pop(column), lambda h: h["columns"][column].pop()):
        file_of(path).write_bytes(changed(raw, gone))
        check_some(path, arrays)
        assert damage_of(path) == [str(file_of(path))]


def rewritten(raw: bytes, change: Callable[[NDArray[Any]], None]) -> bytes:
    """Change the slots of a catalog, with the checksums that they then have."""
    header, columns = unpacked(raw)
    slots = columns["slot"].reshape(-1, 2).copy()
    change(slots)
    _, start_byte, nbytes, _ = header["columns"]["slot"]
    new = raw[:start_byte] + slots.tobytes() + raw[start_byte + nbytes :]

    def sum_up(header: dict[str, Any]) -> None:
        header["columns"]["slot"][3] = crc32(slots.tobytes())

    return changed(new, sum_up)


@pytest.mark.parametrize("seed", range(6))
def test_hostile_positions_are_never_believed(path: Path, arrays: Arrays, seed: int) -> None:
    """Whatever position a hash has, the indexes tell: then all are asked."""
    made(path, arrays)
    rng = np.random.default_rng(seed)
    values = [0, len(arrays) - 1, len(arrays), 2**31, 2**32 - 2, *rng.integers(0, len(arrays), 5)]

    def lead_astray(slots: NDArray[Any]) -> None:
        full = np.flatnonzero(slots[:, 1] != EMPTY)
        some = rng.choice(full, rng.integers(1, len(full)), replace=False)
        slots[some, 1] = rng.choice(values, len(some))

    file_of(path).write_bytes(rewritten(file_of(path).read_bytes(), lead_astray))
    check(path, arrays)
    assert damage_of(path) == [str(file_of(path))]


def test_a_table_without_an_end_is_left_aside(path: Path, arrays: Arrays) -> None:
    made(path, arrays)

    def fill(slots: NDArray[Any]) -> None:
        slots[:] = [0, 0]

    file_of(path).write_bytes(rewritten(file_of(path).read_bytes(), fill))
    check(path, arrays)
    assert damage_of(path) == [str(file_of(path))]


def lost(slots: NDArray[Any]) -> None:
    at = int(np.argmax(slots[:, 1] != EMPTY))
    slots[at] = [0, EMPTY]


def twice(slots: NDArray[Any]) -> None:
    one, other = np.flatnonzero(slots[:, 1] != EMPTY)[:2]
    slots[one, 1] = slots[other, 1]


def behind(slots: NDArray[Any]) -> None:
    at = int(np.flatnonzero(slots[:, 1] != EMPTY)[-1])
    slots[at - 1], slots[at] = slots[at].copy(), [0, EMPTY]


@pytest.mark.parametrize("change", [lost, twice, behind])
def test_a_check_compares_it_with_the_indexes(
    path: Path, arrays: Arrays, change: Callable[[NDArray[Any]], None]
) -> None:
    made(path, arrays)
    file_of(path).write_bytes(rewritten(file_of(path).read_bytes(), change))
    assert damage_of(path) == [str(file_of(path))]
    ptrarray.checkpoint(path)


def test_it_is_not_needed(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    file_of(path).unlink()
    check(path, arrays)
    assert not damage_of(path)


def test_it_is_read_whole_where_nothing_is_mapped(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    with ptrarray.open(path, backend="pread") as store:
        for name, values in arrays.items():
            assert store[name].tolist() == values
        assert "absent" not in store


def test_more_names_than_a_table_takes_are_not_covered(
    path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_HOMES_LIMIT", 60)
    made(path, arrays)
    assert known(path) == {0, 1}
    check(path, arrays)
