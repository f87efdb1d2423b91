"""A ragged column is a list of bytes, a table one of rows, and a record one of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.format import journal
from ptrarray.format.entries import DELETED, Entry, RaggedColumn, end_to_end
from tests.support.entries import ROWS, rows_of, table_of

ITEMS = st.lists(st.binary(max_size=3), max_size=5)


@given(ITEMS, st.slices(5).map(lambda some: slice(some.start, some.stop)))
def test_a_ragged_column_is_a_list(items: list[bytes], some: slice) -> None:
    column = RaggedColumn.of(items)
    assert column.is_sound
    assert len(column) == len(items)
    assert list(column) == column.split() == items
    assert column[some].split() == items[some]
    spans = zip(column.starts.tolist(), column.ends.tolist(), strict=True)
    assert [b"".join(items)[start:end] for start, end in spans] == items


@pytest.mark.parametrize("ends", [[-1, 3], [2, 1], [1, 4], [5, 3]])
def test_a_ragged_column_that_is_not_sound(ends: list[int]) -> None:
    column = RaggedColumn(np.array(ends), np.zeros(3, np.uint8))
    assert not column.is_sound
    assert not column[:].is_sound
    with pytest.raises(ValueError, match="bytes"):
        list(column)


@given(st.lists(ROWS, max_size=3), st.integers(0, 4), st.integers(0, 4))
def test_a_table_is_a_list_of_rows(parts: list[list[Entry]], first: int, last: int) -> None:
    rows = [row for part in parts for row in part]
    joined = end_to_end(list(map(table_of, parts)))
    assert rows_of(table_of(rows)) == rows_of(joined) == rows
    assert rows_of(joined.part(slice(first, last))) == rows[first:last]
    assert joined.n_rows == max([row.end for row in rows if row.start < row.end], default=0)


# as records ---------------------------------------------------------------------------------------

BYTES = st.binary(max_size=300) | st.integers(250, 260).map(bytes)


@given(
    st.sampled_from([journal.PUT, journal.POINT, journal.DELETE]),
    *[BYTES] * 3,
    *[st.sampled_from([0, 1, 255, 2**31, 2**32 - 1])] * 2,
    *[st.sampled_from([0, 1, 2**32, 2**62 - 1])] * 2,
)
def test_the_record_of_one_array(
    kind: int, name: bytes, info: bytes, meta: bytes, name_hash: int, crc: int, at: int, more: int
) -> None:
    entry = Entry(name, at, at + more, crc, info=info, meta=meta)
    entries = table_of([entry])._replace(hashes=np.array([name_hash], np.uint32))
    ((_, plain),) = journal.encode_records(kind, entries, seed=77)
    assert journal.encode_one(kind, entry, name_hash, seed=77) == plain


@given(ROWS, st.sampled_from([journal.PUT, journal.POINT, journal.DELETE]))
def test_a_table_as_records(rows: list[Entry], kind: int) -> None:
    """Also if it does not go into one."""
    pointed = int(kind == journal.POINT)
    rows = [row._replace(end=row.start + row.end, pointed=pointed) for row in rows]
    gone = [Entry(row.name, DELETED, DELETED, 0) for row in rows]
    for limit in (1, 2, 2**22):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "RECORD_LIMIT_NAMES", limit)
            records = journal.encode_records(kind, table_of(rows), seed=3)
        frames = list(journal.frames(b"".join(bytes(raw) for _, raw in records), 0, 3, "here"))
        assert len(frames) == max(1, -(-len(rows) // limit))
        assert [frame.n_more for frame in frames] == list(reversed(range(len(frames))))
        assert [frame.hashes().tolist() for frame in frames] == [list(some) for some, _ in records]
        decoded = end_to_end(journal.decode_all(frames, "here").records)
        assert rows_of(decoded) == (gone if kind == journal.DELETE else rows)


KINDS = [journal.PUT, journal.POINT_UNJUDGED, journal.DELETE]


@given(ROWS, st.sampled_from(KINDS), st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_what_a_writer_notes_of_a_record(
    rows: list[Entry], kind: int, changed: list[tuple[int, int]]
) -> None:
    """The same as is in its frame, or the same error, whatever bytes there are."""
    for some in (rows, rows[:1]):
        whole = b"".join(bytes(record) for _, record in journal.encode_rows(kind, some, seed=77))
        body = bytearray(whole[9:])
        for at, value in changed:
            body[at % min(len(body), 70)] = value
        raw = journal._framed(bytes(body), 77)
        found: list[Any] = []
        read: Any
        for read in (journal.frames, journal.notices):
            try:
                found.append(list(read(raw, 8192, 77, "journal")))
            except ptrarray.CorruptStoreError as error:
                found.append(str(error))
        frames, notices = found
        if isinstance(frames, str):
            assert notices == frames
        else:
            assert [(at, kind, [*hashes]) for at, kind, hashes in notices] == [
                (frame.start_byte, frame.kind, frame.hashes().tolist()) for frame in frames
            ]
