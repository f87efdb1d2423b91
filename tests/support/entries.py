"""Tables of entries, put together from rows and taken apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from ptrarray.format.entries import Entries, Entry
from ptrarray.format.names import hash_all

NUMBERS = [st.integers(0, 9)] * 3 + [st.just(0)]
ROWS = st.lists(st.builds(Entry, st.binary(max_size=3), *NUMBERS, *[st.binary(max_size=2)] * 2))


def table_of(rows: Iterable[Entry]) -> Entries:
    return Entries.of(*zip(*rows, strict=True))


def rows_of(entries: Entries) -> list[Entry]:
    """Take a table apart."""
    columns: list[Any] = [
        [b""] * entries.n_names if column is None else list(column) for column in entries
    ]
    assert list(hash_all(columns[0])) == columns.pop(1)
    return list(map(Entry, *columns))
