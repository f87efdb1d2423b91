"""A catalog that is damaged, or lies: it is left aside, and a check tells of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from errno import EACCES, EIO, EMFILE
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray.format import catalog as layout
from ptrarray.format.index import encode_map
from ptrarray.format.table import EMPTY
from ptrarray.storage.shards import catalog
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
from tests.support.colliding import COLLIDING
from tests.support.effort import one_in

pytestmark = pytest.mark.usefixtures("limits", "no_syncs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.ptr"


@pytest.fixture
def arrays() -> Arrays:
    return some_arrays()


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
# What is put in a place is shared out over so many tests, of which the normal run has some.
N_SHARES = 3
KEYS = ["format", "version", "store_id", "generation", "n_arrays", "n_homes", "columns"]


@pytest.mark.parametrize(("key", "share"), one_in(2, product(KEYS, range(N_SHARES))))
def test_each_key_wrong_or_missing(path: Path, arrays: Arrays, key: str, share: int) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    good = unpacked(raw)[0][key]
    for value in [*NUMBERS, b"", {}, {"slot": 1}, []][share::N_SHARES]:
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


@pytest.mark.parametrize(
    ("column", "field", "share"),
    one_in(5, product(layout.COLUMN_TYPES, range(4), range(N_SHARES))),
)
def test_each_column_elsewhere(
    path: Path, arrays: Arrays, column: str, field: int, share: int
) -> None:
    made(path, arrays)
    raw = file_of(path).read_bytes()
    values = [*NUMBERS, 512, 576, 640, "<u4", "<u8", "|u1", "|O", len(raw) // 64 * 64]
    for value in values[share::N_SHARES]:

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
    with ptrarray.open(path) as store:  # before any lookup has the catalog left aside
        many = [*arrays] * 5
        assert [one.tolist() for one in store.take(many)] == [arrays[name] for name in many]
    check(path, arrays)
    assert damage_of(path) == [str(file_of(path))]


def test_a_shard_that_is_gone_is_not_asked(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    shutil.rmtree(path / "shard-00004.ptr")
    with ptrarray.open(path) as store:
        there = [*store]
        assert len(there) < len(arrays)
        assert [one.tolist() for one in store.take(there * 9)] == [arrays[n] for n in there * 9]
        with pytest.raises(KeyError):
            store.take([*arrays] * 9)


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


def test_a_large_one_is_mended(path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which no open compares the table with its checksum."""
    made(path, arrays)
    right = file_of(path).read_bytes()
    monkeypatch.setattr(catalog, "_CHECKED_NBYTES", 0)
    at = layout.decode(right, "")[1]["slot"].start_byte
    file_of(path).write_bytes(right[:at] + bytes([right[at] ^ 1]) + right[at + 1 :])
    assert damage_of(path) == [str(file_of(path))]
    catalog.renew(path)
    assert file_of(path).read_bytes() == right


def test_it_is_not_needed(path: Path, arrays: Arrays) -> None:
    made(path, arrays)
    file_of(path).unlink()
    check(path, arrays)
    assert not damage_of(path)


@pytest.mark.parametrize("number", [EACCES, EIO, EMFILE])
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_one_that_cannot_be_read_is_left_aside(
    path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, number: int, backend: Any
) -> None:
    """As that of a user who keeps it to himself: shards that can be read are asked."""
    made(path, arrays)

    def refused(*_: object) -> Any:
        raise OSError(number, os.strerror(number), str(file_of(path)))

    monkeypatch.setattr(catalog, "File", refused)
    with ptrarray.open(path, backend=backend) as store, ptrarray.append(path) as writer:
        for name, values in arrays.items():
            assert store[name].tolist() == values
        assert "absent" not in store
        with pytest.raises(ptrarray.DuplicateNameError):
            writer.write({next(iter(arrays)): [1]})


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
