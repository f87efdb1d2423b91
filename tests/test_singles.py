"""Records of one name each, decoded together, are what each of them is."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.errors import CorruptStoreError
from ptrarray.format import journal, singles
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, Entry
from ptrarray.format.journal import Changes
from tests.support.entries import ROWS, rows_of, table_of

SEED, START = 77, 8192
KINDS = [*journal.POINTER_KINDS, journal.DELETE]
LONG = st.sampled_from([b"", b"a", bytes(255), bytes(256)])
ONE = st.builds(
    Entry, LONG, *[st.integers(0, 2**40)] * 2, st.integers(0, 2**32 - 1), st.just(0), LONG, LONG
)
RECORD = st.one_of(
    *[st.tuples(st.sampled_from(KINDS), ONE)] * 4,
    st.tuples(st.sampled_from(KINDS), ROWS),
    st.tuples(st.just(journal.ATTRS), st.integers(0, 3)),
)


def encoded(kind: int, what: Any) -> bytes:
    if kind == journal.ATTRS:
        return journal.encode_attrs({"n": what}, SEED)
    if isinstance(what, Entry):
        one = what._replace(end=what.start + what.end)
        return journal.encode_one(kind, one, crc32(one.name), SEED)
    rows = [row._replace(end=row.start + row.end) for row in what]
    return bytes(journal.encode_record(kind, table_of(rows), SEED))


def outcome(raw: bytes) -> Any:
    try:
        return singles.changes_in(raw, START, SEED, "here")
    except CorruptStoreError as error:
        return str(error)


def one_by_one(raw: bytes) -> Any:
    try:
        return journal.decode_all(journal.frames(raw, START, SEED, "here"), "here")
    except CorruptStoreError as error:
        return str(error)


def facts(changes: Any) -> Any:
    """Return what changes say, whichever of them lie in one table."""
    if isinstance(changes, str):
        return changes
    assert isinstance(changes, Changes)
    return [row for entries in changes.records for row in rows_of(entries)], changes.attrs


@pytest.fixture(autouse=True, scope="module")
def _of_few() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(singles, "_FEW", 1)
        yield


@given(st.lists(RECORD, max_size=12))
def test_decoded_together(records: list[tuple[int, Any]]) -> None:
    raw = b"".join(encoded(*record) for record in records)
    assert facts(outcome(raw)) == facts(one_by_one(raw))


@given(st.lists(RECORD, min_size=1, max_size=6), st.data())
def test_any_bytes_are_the_same_or_the_same_error(
    records: list[tuple[int, Any]], data: st.DataObject
) -> None:
    """Also where the checksum is that of the wrong bytes."""
    bodies = [bytearray(encoded(*record)[9:]) for record in records]
    for _ in range(data.draw(st.integers(1, 3))):
        body = data.draw(st.sampled_from(bodies))
        at = data.draw(st.integers(0, min(len(body) - 1, 70)) | st.integers(0, len(body) - 1))
        body[at] = data.draw(st.sampled_from([0, 1, 3, 8, 127, 128, 255]) | st.integers(0, 255))
    raw = bytearray(b"".join(journal._framed(bytes(body), SEED) for body in bodies))
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 4
    del raw[len(raw) - data.draw(st.sampled_from([0, 0, 1, 40])) :]
    found, expected = outcome(bytes(raw)), one_by_one(bytes(raw))
    if isinstance(expected, Changes):
        found, expected = ([plain(one) for one in both.records] for both in (found, expected))
        found, expected = ([*chain.from_iterable(both)] for both in (found, expected))
    assert found == expected


def plain(entries: Entries) -> list[Any]:
    """Return a table as rows, hashes as they are."""
    columns = [[b""] * entries.n_names if column is None else list(column) for column in entries]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (journal.PUT, {30 + 4 + 2: 255}),  # a start beyond its end
        (journal.DELETE, {10: journal.PUT}),
        (journal.PUT, {10: journal.DELETE}),
        (journal.PUT, {9: 0x95}),
        (journal.PUT, {11: 1}),  # another record of the same commit follows
    ],
)
def test_one_that_is_not_as_it_should_be(kind: int, wrong: dict[int, int]) -> None:
    right = encoded(kind, Entry(b"name", 1, 2, 3))
    changed = bytearray(right)
    for at, value in wrong.items():
        changed[at] = value
    body = bytes(changed[9:])
    for some in (body, body + b"\0", bytes(right[9:]) + b"\0"):
        raw = right + journal._framed(some, SEED) + right
        assert facts(outcome(raw)) == facts(one_by_one(raw))


def test_each_byte_is_summed() -> None:
    raw = b"".join(encoded(kind, Entry(b"name", 1, 2, 3, 0, b"i", b"m")) for kind in KINDS)
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        found = outcome(bytes(changed))
        assert isinstance(found, str)
        assert found == one_by_one(bytes(changed))


def test_each_byte_under_a_right_checksum() -> None:
    right = encoded(journal.PUT, Entry(b"name", 1, 2, 3, 0, b"i", b"m"))
    for at in range(9, len(right)):
        body = bytearray(right[9:])
        body[at - 9] ^= 4
        raw = journal._framed(bytes(body), SEED) + right
        found, expected = outcome(raw), one_by_one(raw)
        if isinstance(expected, Changes):
            found, expected = (
                [*chain.from_iterable(map(plain, both.records))] for both in (found, expected)
            )
        assert found == expected


def test_many_come_as_one_table() -> None:
    rows = [Entry(b"name %d" % n, n, n + 2, n, 0, b"info" * (n % 2), b"m" * n) for n in range(200)]
    kinds = [KINDS[n % len(KINDS)] for n in range(200)]
    raw = b"".join(map(encoded, kinds, rows))
    (entries,) = singles.changes_in(raw, START, SEED, "here").records
    assert entries.n_names == 200
    assert np.count_nonzero(entries.starts < 0) == kinds.count(journal.DELETE)
    one = singles.changes_in(raw + encoded(journal.ATTRS, 5) + raw, START, SEED, "here")
    assert [part.n_names for part in one.records] == [200, 200]
    assert one.attrs == {"n": 5}
