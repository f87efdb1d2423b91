"""Histories of processes that share a store: the checker, what it accepts, and what it finds."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptrarray.storage.shards.session import Shards
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system import lock
from tests.histories import Histories, described
from tests.support.history_states import N_NAMES, Error, Has, Store
from tests.support.history_workers import Kind, Log
from tests.support.linearizing import Operation, Unexplained, explain

KINDS = {
    "plain": Kind(),
    "masked": Kind(masked=True),
    "mixed": Kind(mixed=True),
    "mixed and masked": Kind(mixed=True, masked=True),
    "shards": Kind(shards=True),
}
A, B, C = 1, 2, 3  # what is written, each with as many rows more one


# the checker --------------------------------------------------------------------------------------


def write(process: int, name: int, value: int, at: tuple[int, int | None], start: Any) -> Operation:
    return write_all(process, (name,), (value,), at, start)


def write_all(
    process: int, names: Any, values: Any, at: tuple[int, int | None], start: Any
) -> Operation:
    return Operation(process, "write", (names, values, (0,) * len(names), True), *at, start)


def read(
    process: int, at: tuple[int, int], n_rows: int | None, **found: tuple[int, int]
) -> Operation:
    """Return a look that found numbers, each with its first row, under the names `a`, `b`, …"""
    entries: list[Any] = [None] * N_NAMES
    for name, (value, start) in found.items():
        entries["abcdef".index(name)] = Has(value, start, start + 1 + value, 0)
    return Operation(process, "read", None, *at, (tuple(entries), 0, n_rows))


def found_in(*operations: Operation, told: Any = ()) -> Unexplained | None:
    store = Store(mixed=False, masked=False, told=told)
    return explain(operations, Kind().empty, store.specification)


def test_one_after_the_other() -> None:
    written = write(0, 0, A, (1, 2), 0)
    assert found_in(written, read(1, (3, 4), 2, a=(A, 0))) is None
    stale = read(1, (3, 4), 0)
    found = found_in(written, stale)
    assert found is not None
    assert found.culprit == stale
    assert [state.entries[0] for state in found.states] == [Has(A, 0, 2, 0)]
    assert found.operations == [written, stale]
    assert "read" in described(found)


def test_while_it_is_written_both_states_may_be_read_but_not_backwards() -> None:
    written = write(0, 0, A, (1, 20), 0)
    old, new = read(1, (2, 3), 0), read(1, (4, 5), 2, a=(A, 0))
    assert found_in(written, old, new) is None
    back = found_in(
        written, new._replace(invoked=2, returned=3), old._replace(invoked=4, returned=5)
    )
    assert back is not None
    assert back.culprit.invoked == 4


def test_two_readers_see_one_order() -> None:
    both = write(0, 0, A, (1, 20), 0), write(1, 1, B, (1, 20), 2)
    first = read(2, (2, 5), 2, a=(A, 0))
    assert found_in(*both, first, read(3, (6, 8), 5, a=(A, 0), b=(B, 2))) is None
    assert found_in(*both, first, read(3, (6, 8), 5, b=(B, 2))) is not None


def test_half_of_a_call_is_never_read() -> None:
    both = write_all(0, (0, 1), (A, B), (1, 20), 0)
    assert found_in(both, read(1, (2, 3), 5, a=(A, 0), b=(B, 2))) is None
    assert found_in(both, read(1, (2, 3), 5, a=(A, 0))) is not None


def test_rows_are_nobody_elses() -> None:
    both = write(0, 0, A, (1, 5), 0), write(1, 1, B, (2, 6), 1)
    assert found_in(*both) is not None
    assert found_in(both[0], both[1]._replace(result=2)) is None


def test_who_was_killed_did_it_or_not() -> None:
    killed = write(0, 0, A, (1, None), None)
    assert found_in(killed, read(1, (2, 3), 0), read(1, (4, 5), 2, a=(A, 0))) is None
    assert found_in(killed, read(1, (2, 3), 2, a=(A, 0)), read(1, (4, 5), 0)) is not None


def test_a_refusal_needs_a_reason() -> None:
    refused = Operation(1, "delete", (0,), 3, 4, Error("UnknownNameError", ""))
    assert found_in(refused) is None
    assert found_in(write(0, 0, A, (1, 2), 0), refused) is not None
    assert found_in(write(0, 0, A, (1, 4), 0), refused) is None
    assert found_in(refused._replace(result=Error("CorruptStoreError", ""))) is not None


def test_point_finds_what_was_deleted_and_compact_moves() -> None:
    history = [
        write(0, 0, A, (1, 2), 0),
        write(0, 1, C, (3, 4), 2),
        Operation(0, "delete", (0,), 5, 6, None),
        Operation(0, "point", (2, 0, 2, False), 7, 8, None),
        read(1, (9, 10), 6, b=(C, 2), c=(A, 0)),
        Operation(0, "delete", (2,), 11, 12, None),
        Operation(0, "compact", None, 13, 14, None),
        read(1, (15, 16), 4, b=(C, 0)),
    ]
    assert found_in(*history, told=[(0, 2)]) is None
    wrong = read(1, (9, 10), 6, b=(C, 2), c=(B, 0))
    assert found_in(*history[:4], wrong, told=[(0, 2)]) is not None


def test_point_may_lead_to_rows_of_several_and_to_rows_that_nobody_knows_of() -> None:
    history = [write(0, 0, A, (1, 2), 0), write(0, 1, B, (3, 4), 4)]
    parts = [Operation(0, "point", (2, 4, 6, False), 5, 6, None), get(2, (7, 8), ((B, 2),))]
    assert found_in(*history, *parts, told=[(4, 6)]) is None
    assert found_in(*history, parts[0], get(2, (7, 8), B), told=[(4, 6)]) is not None
    unknown = [
        Operation(0, "point", (2, 1, 5, False), 5, 6, None),
        get(2, (7, 8), ((A, 1), (7, 2), (B, 1))),
    ]
    again = [
        Operation(0, "point", (3, 1, 5, False), 9, 10, None),
        get(3, (11, 12), ((A, 1), (7, 2), (B, 1))),
    ]
    assert found_in(*history, *unknown, *again, told=[(1, 5)]) is None


def test_rows_that_nobody_looked_at_are_not_compared() -> None:
    compacted, unseen = Operation(0, "compact", None, 1, 2, None), read(1, (3, 4), None)
    assert found_in(compacted, unseen) is None
    assert found_in(compacted, unseen._replace(result=(unseen.result[0], 7, None))) is not None


def get(name: int, at: tuple[int, int], value: Any) -> Operation:
    return Operation(0, "get", name, *at, value)


def test_notes_are_read_as_they_were_made() -> None:
    log, has = Log(), Has(A, 0, 2, 0)
    runs = (A, 1), (B, 1), (C, 1)
    found = (tuple(has), None), 0, 2
    got: list[Any] = [("get", 0, 1), (2, runs), ("get", 1, 3), (4, ["KeyError", "?"])]
    looked: list[Any] = [("read", None, 5), (6, found), ("read", None, 7)]
    for note in got + looked:
        log.add(note)
    results = [one.result for one in log.operations(process=0)]
    assert results == [runs, Error("KeyError", "?"), ((has, None), 0, 2), None]


# processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_order_explains_what_processes_tell(kind: Kind, tmp_path: Path) -> None:
    histories = Histories(tmp_path / "shared.ptr", kind, seed=1, share=0.5, kill_every=2)
    found = histories.run(400)
    assert found is None, described(found)
    assert histories.n_kills


def lock_nobody_out() -> None:
    def flock(_: Any, kind: int) -> None:
        if kind & fcntl.LOCK_NB:
            raise BlockingIOError  # a store whose locks are known not to work is refused

    module: Any = lock
    module.fcntl = SimpleNamespace(**{**vars(fcntl), "flock": flock})


def do_not_look_when_refreshed() -> None:
    counter, original = count(), StoreSnapshot.refreshed

    def refreshed(snapshot: StoreSnapshot) -> StoreSnapshot:
        return snapshot if next(counter) % 8 == 7 else original(snapshot)

    snapshots: Any = StoreSnapshot
    snapshots.refreshed = refreshed


def do_not_look_when_locked() -> None:
    counter, original = count(), Journal.look

    def look(journal: Journal) -> Any:
        known = getattr(journal, "_header", None)
        return known if known and next(counter) % 8 == 7 else original(journal)

    journals: Any = Journal
    journals.look = look


def tear_headers() -> None:
    counter, original = count(), Journal._write

    def write(journal: Journal, records: Any, at: int, header: Any) -> None:
        before = journal._file.pread(100, 0)
        original(journal, records, at, header)
        if next(counter) % 8 == 7:
            journal._file.pwrite(before[55:], 55)

    journals: Any = Journal
    journals._write = write


def do_not_look_at_older_shards() -> None:
    original = Shards._look

    def look(store: Shards) -> None:
        if len(store._older) != store.last.number or not store.last.number:
            original(store)

    sessions: Any = Shards
    sessions._look = look


FAULTS = {
    lock_nobody_out: Kind(),
    do_not_look_when_refreshed: Kind(),
    do_not_look_when_locked: Kind(),
    do_not_look_at_older_shards: Kind(shards=True),
    tear_headers: Kind(),
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.items())
def test_a_fault_is_found(fault: Callable[[], None], kind: Kind, tmp_path: Path) -> None:
    found = Histories(tmp_path / "shared.ptr", kind, seed=1, share=0.25, fault=fault).run(20_000)
    assert found is not None
    assert "\n> " in described(found)
