"""A journal folded into an index block by block gives what it gives at once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.errors import CorruptStoreError
from ptrarray.format import index as index_format
from ptrarray.format import table
from ptrarray.format.entries import DELETED, Entries, Entry
from ptrarray.format.index import IndexHeader
from ptrarray.format.layouts import Layout
from ptrarray.storage.lifecycle.create import new_header
from ptrarray.storage.store import merging
from ptrarray.storage.store.blocks import Contents, write_contents
from ptrarray.storage.store.folding import Order
from ptrarray.storage.store.index import FILE_NAME, Index, write_index
from ptrarray.storage.store.merging import fold_all, gathered, superseded
from ptrarray.storage.system.files import File
from tests.support.colliding import COLLIDING
from tests.support.entries import rows_of, table_of
from tests.support.folding import columns_of, fold, tiny

NAMES = [name.encode() for name in [*COLLIDING[:3], *"abcdefgh", "", "größe"]]
ITEMS = st.binary(max_size=3)
STARTS = st.integers(0, 20)


def entry(name: bytes, start: int, n_rows: int, rest: tuple[int, int, bytes, bytes]) -> Entry:
    return Entry(name, start, start + n_rows, *rest)


REST = st.tuples(st.integers(0, 9), st.sampled_from([0, 0, 1]), ITEMS | st.just(b""), ITEMS)
PUT = st.builds(entry, st.sampled_from(NAMES), STARTS, st.integers(0, 3), REST)
DELETION = st.sampled_from(NAMES).map(Entry)
RECORD = st.lists(PUT, max_size=6, unique_by=lambda row: row.name).map(table_of) | st.lists(
    DELETION, max_size=3, unique_by=lambda row: row.name
).map(table_of)


def header() -> IndexHeader:
    return new_header(Layout("rows", np.dtype("f4"), (), False), 99, {})


def written(directory: Path, entries: Entries | Contents) -> Index:
    write_index(directory, header(), entries)
    return Index(directory)


def sorted_table(rows: list[Entry]) -> Entries:
    return table_of(sorted(rows, key=lambda row: row.start))


@given(
    st.lists(PUT, max_size=12, unique_by=lambda row: row.name).map(sorted_table),
    st.lists(RECORD, max_size=8),
    st.sampled_from([1, 60, 500, 1 << 20]),
    st.integers(1, 4),
    st.sampled_from([1, 100, 1000, 1 << 20]),
)
def test_any_journal_over_any_index(
    tmp_path_factory: pytest.TempPathFactory,
    entries: Entries,
    records: list[Entries],
    limit: int,
    part: int,
    memory: int,
) -> None:
    """In one round or several, with blocks and parts of any size."""
    directory = tmp_path_factory.mktemp("merging")
    old = written(directory, entries)
    expected = fold(old, [*records, Entries.of()])
    with tiny(limit, part):
        found = written(directory, fold_all(old, iter(records), directory, memory * 8))
    assert columns_of(found) == columns_of(written(directory, expected))
    assert rows_of(found.entries()) == rows_of(expected)
    assert [path.name for path in directory.iterdir()] == [FILE_NAME]


def test_a_large_index_is_gone_through_once(tmp_path: Path) -> None:
    """However many rounds there are: what they change is folded into an index of its own first."""
    rows, new = np.arange(1000), np.arange(1000, 1080)
    old = written(tmp_path, Entries.of([b"%d" % at for at in rows], rows, rows + 1))
    names = [b"%d" % at for at in [*rows[:5], *new[5:]]]  # of which five replace others
    changes = Entries.of(names, new, new + 1)
    records = [
        Entries.of(names[at : at + 10], new[at : at + 10], new[at : at + 10] + 1)
        for at in range(0, 80, 10)
    ]
    counted: list[int] = []

    def noted(file: File, header: IndexHeader, contents: Contents) -> IndexHeader:
        counted.append(contents.sizes.n_arrays)
        return write_contents(file, header, contents)

    with patch.object(merging, "write_contents", noted), patch.object(merging, "_CHANGE_NBYTES", 8):
        folded = fold_all(old, iter(records), tmp_path, 4 * 2000)
    assert counted == [0, 20, 40, 60, 80]  # the next one is the one in place
    assert columns_of(written(tmp_path, folded)) == columns_of(
        written(tmp_path, fold(old, [changes]))
    )


@given(st.lists(RECORD, max_size=8), st.integers(1, 400))
def test_records_in_rounds(records: list[Entries], memory: int) -> None:
    """Each is in one of them, in order, and no round has more than fits but for one record alone."""
    rounds = list(gathered(iter(records), memory))
    assert [is_last for _, is_last in rounds] == [False] * (len(rounds) - 1) + [True]
    found = [row for entries, _ in rounds for row in rows_of(entries)]
    assert found == [row for record in records for row in rows_of(record)]


# memory -----------------------------------------------------------------------------------------


def numbered(first: int, last: int) -> Entries:
    rows = np.arange(first, last)
    return Entries.of([b"%d" % at for at in rows], rows, rows + 1)


def test_no_round_has_more_than_fits() -> None:
    records = [numbered(first, first + 10) for first in range(0, 500, 10)]
    rounds = [entries for entries, _ in gathered(iter(records), 5000)]
    nbytes = [merging._nbytes(entries) + 48 * entries.n_names for entries in rounds]
    assert 4000 < max(nbytes) <= 5000


def test_no_more_changes_wait_than_fit(tmp_path: Path) -> None:
    """Of those that are folded into an index of their own first."""
    old, waiting = written(tmp_path, numbered(0, 5000)), []
    folded = merging._Aside.folded

    def noted(aside: merging._Aside) -> Contents:
        waiting.append(aside._changes.header.n_arrays)
        return folded(aside)

    memory = 48 * 1000 * 8 // 5
    records = [numbered(first, first + 100) for first in range(5000, 15000, 100)]
    with patch.object(merging._Aside, "folded", noted):
        contents = fold_all(old, iter(records), tmp_path, 4 * memory)
    assert len(written(tmp_path, contents).starts) == 15000
    assert 500 < max(waiting) <= 1000


def test_where_old_arrays_go_is_computed_where_a_table_does_not_fit(tmp_path: Path) -> None:
    n_old, change = 20000, Entries.of([b"new"], 7, 8)
    old = written(tmp_path, numbered(0, n_old))
    order = Order(old, change.names, change.hashes, change.starts, passing=True)
    tracemalloc.start()
    moves = merging._moves(order, old, 4 * n_old - 1)
    assert moves is not None
    assert moves(np.array([0, 7, 8, n_old - 1])).tolist() == [0, 7, 9, n_old]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n_old


def test_blocks_of_long_items_are_short(tmp_path: Path) -> None:
    """However few of all the arrays have them."""
    rows = [Entry(b"%d" % at, at, at + 1, meta=b"m" * (2000 * (at > 1000))) for at in range(1050)]
    old = written(tmp_path, table_of(rows))
    with patch.object(merging, "_BLOCK_NBYTES", 1000):
        blocks = list(merging.blocks_of(old))
    nbytes = [0 if block.metas is None else len(block.metas.joined) for block in blocks]
    assert sum(nbytes) == 2000 * 49
    assert 4000 <= max(nbytes) <= 8000


# what comes between -----------------------------------------------------------------------------


def test_changes_of_which_only_the_ends_are_where_they_were(tmp_path: Path) -> None:
    rows = np.array([10, 12, 11, 13])
    old, changes = (
        written(tmp_path, numbered(0, 1)),
        Entries.of([b"b", b"d", b"c", b"e"], rows, rows + 1),
    )
    found = written(tmp_path, fold_all(old, iter([changes]), tmp_path, 1 << 30))
    assert found.split_names(0, 5) == [b"0", b"b", b"c", b"d", b"e"]


@given(st.lists(st.sampled_from(NAMES), max_size=20))
def test_superseded_names(names: list[bytes]) -> None:
    last = {name: at for at, name in enumerate(names)}
    expected = [at for at, name in enumerate(names) if last[name] != at]
    assert superseded(Entries.of(names)).tolist() == expected


@given(st.data(), st.integers(0, 30), st.integers(1, 7), st.booleans())
def test_where_old_arrays_go(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, n_old: int, part: int, fits: bool
) -> None:
    """By a table of all positions, and without it."""
    directory = tmp_path_factory.mktemp("moves")
    names = [f"{at}".encode() for at in range(n_old)]
    old = written(directory, Entries.of(names, np.arange(n_old), np.arange(n_old)))
    gone = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    new = data.draw(st.lists(st.integers(-1, n_old + 1)))
    changed = [*gone, *(b"new%d" % at for at in range(len(new)))]
    starts = np.array([DELETED] * len(gone) + [max(at, 0) for at in new], np.int64)
    changes = Entries.of(changed, starts, starts)
    order = Order(old, changes.names, changes.hashes, starts)
    with tiny(1 << 20, part):
        moves = merging._moves(order, old, 4 * n_old if fits else 0)
    positions = np.arange(n_old) if moves is None else moves(np.arange(n_old)).astype(np.int64)
    left = [at for at in range(n_old) if names[at] not in gone]
    expected = np.full(n_old, table.EMPTY)
    expected[left] = [at for at in range(len(order)) if at not in order.finals]
    assert positions.tolist() == expected.tolist()


def test_a_name_table_that_is_not_in_order(tmp_path: Path) -> None:
    """Names would get lost in it, and it would look good."""
    old = written(tmp_path, Entries.of([b"a", b"b", b"c"], [0, 1, 2], [1, 2, 3]))
    slots = old.column("slot").reshape(-1, 2).copy()
    beyond = np.where(slots == 2, 3, slots)  # by one
    for damaged in (slots[::-1], np.full_like(slots, table.EMPTY), slots % 4, beyond):
        with (
            patch.object(Index, "column", lambda *_, column=damaged: column.reshape(-1).copy()),
            pytest.raises(CorruptStoreError, match="table"),
        ):
            list(fold_all(old, iter([Entries.of([b"d"], 0, 1)]), tmp_path, 1 << 30).slots)


@pytest.mark.parametrize("part", [1, 2, 1 << 15])
def test_a_name_table_whose_pieces_are_not_in_order(tmp_path: Path, part: int) -> None:
    """Also where one piece of it ends and the next one begins."""
    old = written(tmp_path, Entries.of([b"%d" % at for at in range(8)], range(8), range(1, 9)))
    slots = old.column("slot").reshape(-1, 2)
    full = np.flatnonzero(slots[:, 1] != table.EMPTY)
    for at, other in zip(full[:-1].tolist(), full[1:].tolist(), strict=True):
        damaged = slots.copy()
        damaged[[at, other]] = damaged[[other, at]]
        with (
            tiny(1, part),
            patch.object(Index, "column", lambda *_, column=damaged: column.reshape(-1).copy()),
            pytest.raises(CorruptStoreError, match="table"),
        ):
            list(merging.contents_like(old, lambda block: block).slots)


@pytest.mark.parametrize("column", ["start", "names", "crc"])
def test_an_index_of_a_round_that_is_not_read_as_it_was_written(
    tmp_path: Path, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never folded into one that looks good."""
    old = written(tmp_path, Entries.of([b"a", b"b", b"c"], [0, 1, 2], [1, 2, 3]))
    write = write_contents

    def damaging(file: File, *rest: Any) -> IndexHeader:
        header = write(file, *rest)
        _, columns = index_format.decode(file.pread(file.nbytes, 0), file.path)
        at = columns[column].start_byte
        file.pwrite(bytes([file.pread(1, at)[0] ^ 1]), at, 1)
        return header

    monkeypatch.setattr(merging, "write_contents", damaging)
    records = [Entries.of([b"%d" % n], n, n + 1) for n in range(3)]
    with tiny(), pytest.raises(CorruptStoreError):
        fold_all(old, iter(records), tmp_path, 1)
