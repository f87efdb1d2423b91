"""A journal over an index is one plain sort, whether it is read or folded in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.format import journal
from ptrarray.format.entries import DELETED, Entries, Entry, RaggedColumn
from ptrarray.storage.store import merging
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.writing.session import Session
from tests.support.checks import check_same
from tests.support.colliding import COLLIDING
from tests.support.entries import rows_of, table_of
from tests.support.folding import fold
from tests.support.pointing import point_to_bytes

# journal over index -------------------------------------------------------------------------------

CHANGE = st.tuples(
    st.sampled_from(["put", "put", "planned", "delete", "point", "checkpoint"]),
    st.sampled_from([*"abcdefgh", *COLLIDING[:2]]),
    st.integers(0, 3),
    st.integers(0, 12),
)


@dataclass
class Plain:
    """Pointers in a dict, sorted when asked."""

    pointers: dict[str, tuple[int, int]]

    def put(self, name: str, start: int, end: int) -> None:
        self.pointers.pop(name, None)
        self.pointers[name] = (start, end)

    def columns(self) -> list[tuple[str, int, int]]:
        items = sorted(self.pointers.items(), key=lambda item: item[1][0])
        return [(name, start, end) for name, (start, end) in items]


def change(
    writer: ptrarray.PointerArrayWriter, plain: Plain, what: tuple[str, str, int, int]
) -> None:
    """Make one change to a store and to a dict of pointers."""
    kind, name, n_rows, start = what
    array = np.arange(n_rows, dtype="u1")
    if kind == "put":
        plain.put(name, *writer.write({name: array}, overwrite=True))
    elif kind == "planned":
        try:
            plain.put(name, *writer.write({name: array}, start=start, overwrite=True))
        except ptrarray.OverlapError:
            return
    elif kind == "delete":
        writer.pop(name, None)
        plain.pointers.pop(name, None)
    elif kind == "point" and plain.pointers:
        first, end = next(iter(plain.pointers.values()))
        if first < end:
            writer.point(name, first, end, overwrite=True)
            plain.put(name, first, end)
    elif kind == "checkpoint":
        ptrarray.checkpoint(writer.path)


def columns(store: ptrarray.PointerArray) -> list[tuple[str, int, int]]:
    starts, ends = store.starts.tolist(), store.ends.tolist()
    return list(zip(store.names, starts, ends, strict=True))


@given(st.lists(CHANGE, max_size=25))
def test_a_journal_over_an_index_is_one_plain_sort(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, int, int]]
) -> None:
    """By column and by position; opened anew, refreshed step by step, and checkpointed."""
    path = tmp_path_factory.mktemp("order") / "order.ptr"
    plain = Plain({})
    with ptrarray.create(path, dtype="u1") as writer, ptrarray.open(path) as following:
        for number, what in enumerate(changes):
            change(writer, plain, what)
            if number % 3 == 0:
                following.refresh()
        following.refresh()
        expected = plain.columns()
        assert columns(following) == expected
        with ptrarray.open(path) as store:
            assert columns(store) == expected
            for position, (name, start, end) in enumerate(expected):
                assert store.names[position] == name
                assert len(store.arrays[position]) == end - start
                assert store.pointers[name] == (start, end)
            store.verify()
        ptrarray.checkpoint(path)
        following.refresh()
        assert columns(following) == expected
        following.verify()


@given(st.lists(st.sampled_from([*"abcdefgh", "absent", *COLLIDING[:3]]), max_size=12))
def test_take_is_one_by_one(tmp_path_factory: pytest.TempPathFactory, wanted: list[str]) -> None:
    path = tmp_path_factory.mktemp("take") / "take.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({name: [at] * (at % 4) for at, name in enumerate("abcdefgh")})
        for _ in range(2):
            with ptrarray.open(path) as store:
                check_take(store, wanted)
            writer.write({COLLIDING[0]: [1, 2], "c": [9], "a": []}, overwrite=True)
            writer.pop("d", None)
        ptrarray.checkpoint(path)
        with ptrarray.open(path) as store:
            check_take(store, wanted)


def check_take(store: ptrarray.PointerArray, wanted: list[str]) -> None:
    if any(name not in store for name in wanted):
        with pytest.raises(KeyError):
            store.take(wanted)
        return
    batch = store.take(wanted)
    assert len(batch) == len(wanted)
    for name, found in zip(wanted, batch, strict=True):
        check_same(found, store[name])


# a checkpoint folds the journal in without an overlay ---------------------------------------------

NAMES = [*COLLIDING, "a", "größe", ""]


def change_at_random(writer: ptrarray.PointerArrayWriter, rng: np.random.Generator) -> None:
    """Make one change of any kind, often to names that are there."""
    name = str(rng.choice(NAMES))
    match rng.integers(6):
        case 0 if name in writer:
            del writer[name]
        case 1 if name in writer:
            writer.meta[name] = {"n": int(rng.integers(9))}
        case 2:
            point_to_bytes(writer, name, 0, int(rng.integers(2)))
        case 3:
            writer.attrs["n"] = int(rng.integers(9))
        case 4:
            arrays = {str(n): np.arange(rng.integers(4)) for n in rng.permutation(NAMES)[:5]}
            writer.write(arrays, overwrite=True, meta={name: {"x": 1} for name in list(arrays)[:2]})
        case _:
            writer[name] = np.ones((2, int(rng.integers(3))))


def folded_one_by_one(index: Index, records: list[Entries]) -> list[Entry]:
    rows = {row.name: row for row in rows_of(index.entries())}
    for row in itertools.chain.from_iterable(map(rows_of, records)):
        rows.pop(row.name, None)
        if row.start != DELETED:
            rows[row.name] = row
    return sorted(rows.values(), key=lambda row: row.start)


@pytest.mark.parametrize("seed", range(12))
def test_folding_a_journal_in(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    writer = ptrarray.create(tmp_path / "a.ptr")
    writer["first"] = np.zeros(64, np.uint8)
    for _ in range(rng.integers(20)):
        change_at_random(writer, rng)
    ptrarray.checkpoint(tmp_path / "a.ptr")
    for _ in range(rng.integers(30)):
        change_at_random(writer, rng)
    session = Session(tmp_path / "a.ptr")
    with session.locked(), Journal(tmp_path / "a.ptr", writable=False) as log:
        records = log.changes(session.journal_header, journal.RECORDS_START).records
        plain, folded = session.snapshot().overlay.folded(), fold(session.index, records)
        for column, other in zip(plain, folded, strict=True):
            assert type(column) is type(other)
            pair: Any = column, other
            if isinstance(column, RaggedColumn):
                assert np.array_equal(*(ragged.ends for ragged in pair))
                pair = [ragged.joined for ragged in pair]
            assert column is None or np.array_equal(*pair)
        assert rows_of(folded) == folded_one_by_one(session.index, records)
    session.release()
    writer.close()


@pytest.mark.parametrize("starts", list(itertools.permutations([0, 10, 20, 30])))
def test_an_index_that_is_not_in_data_order(starts: tuple[int, ...], tmp_path: Path) -> None:
    """Every array is there once, all the same; it is not folded, as it cannot be trusted."""
    path = tmp_path / "a.ptr"
    writer = ptrarray.create(path, dtype="u1", rows=99)
    rows = [Entry(name, at, at) for name, at in zip([b"a", b"b", b"c", b"d"], starts, strict=True)]
    session = Session(path)
    with session.locked():
        generation = session.header.generation + 1
        header = replace(session.header, generation=generation, n_rows=99)
        session.put_index(header, table_of(rows))
    session.release()
    for name, start in [("e", 25), ("f", 5), ("b", 15)]:
        writer.write({name: np.zeros(1, np.uint8)}, start=start, overwrite=True)
    pointers = {row.name.decode(): (row.start, row.end) for row in rows}
    pointers |= {"e": (25, 26), "f": (5, 6), "b": (15, 16)}
    for _ in range(2):
        with ptrarray.open(path) as store:
            assert len(store) == len(pointers)
            assert store.pointers == pointers
            columns = zip(store.starts.tolist(), store.ends.tolist(), strict=True)
            assert dict(zip(store, columns, strict=True)) == pointers
        if list(starts) == sorted(starts):
            ptrarray.checkpoint(path)
        else:
            with pytest.raises(ptrarray.CorruptStoreError, match="out of order"):
                ptrarray.checkpoint(path)


def test_folding_where_a_process_was_killed_that_folded(path: Path) -> None:
    """Also by a writer that has been there before that, and has removed nothing."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer["a"] = [1, 2]
    session = Session(path)
    (path / "index.msgpack.new").write_bytes(b"half of an index" * 1000)
    session.checkpoint()
    session.close()
    assert not (path / "index.msgpack.new").exists()
    with ptrarray.open(path) as store:
        assert store["a"].tolist() == [1, 2]
        store.verify()


def test_a_first_fold_takes_many_arrays_at_a_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of an index without arrays, whose size tells nothing of those to come."""
    n_blocks = 0
    some = merging._some

    def counted(*arguments: Any) -> Any:
        nonlocal n_blocks
        n_blocks += 1
        return some(*arguments)

    monkeypatch.setattr(merging, "_some", counted)
    with ptrarray.create(path, dtype="u1", rows=3000) as writer:
        writer.write({f"b{n}": [n % 256] for n in range(1500)}, start=1500)  # not in data order
        writer.write({f"a{n}": [n % 256] for n in range(1500)}, start=0)
    ptrarray.checkpoint(path)
    assert 0 < n_blocks < 5
    assert len(ptrarray.open(path)) == 3000
