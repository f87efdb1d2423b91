"""Long journals: columns in the place of a dict, and names that are looked for one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import CorruptStoreError, DuplicateNameError
from ptrarray.format import journal as journal_format
from ptrarray.format.names import hash_all
from ptrarray.storage.store import journal as journal_module
from ptrarray.storage.store import overlay as overlay_module
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.store.runs import Run
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.storage.system.files import File
from ptrarray.storage.writing import recent, recorded
from ptrarray.storage.writing.session import Session
from tests.support.checks import check_same
from tests.support.colliding import COLLIDING, PAIR

pytestmark = pytest.mark.usefixtures("limits", "no_syncs")
MANY_COLLIDING = ["".join(words) for words in itertools.product(PAIR, repeat=9)]


@pytest.fixture(scope="module", autouse=True)
def _short_dicts() -> Any:
    """Let a dict have four entries, and blocks of the journal 200 bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay_module, "_FRESH_LIMIT", 4)
        patch.setattr(journal_module, "_BLOCK_NBYTES", 200)
        patch.setattr(journal_module, "_SMALL_NBYTES", 100)
        patch.setattr(recorded, "_PEEK_NAMES", 2)
        yield


# a dict of arrays -----------------------------------------------------------------------------------

NAMES = [*"abcdefghijkl", *COLLIDING]
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=12, unique=True)
CHANGE = st.tuples(
    st.sampled_from(
        ["write", "write", "one", "meta", "delete", "delete one", "point", "checkpoint"]
    ),
    SOME,
    st.integers(0, 9),
)


class Model:
    """A dict of arrays and one of metadata, in the order of commits, and a writer of the same."""

    def __init__(self, writer: ptrarray.PointerArrayWriter) -> None:
        self.writer = writer
        self.arrays: dict[str, Any] = {}
        self.metas: dict[str, dict[str, Any]] = {}

    def change(self, kind: str, names: list[str], number: int) -> None:
        writer, there = self.writer, [name for name in names if name in self.arrays]
        arrays = {name: np.full((number % 3, 2), number, "i4") for name in names}
        if kind == "write":
            self.put(arrays, {name: {"n": number} for name in names[: number % 3]})
        elif kind == "one":
            self.put({names[0]: np.arange(number, dtype="f8")}, {})
        elif kind == "meta" and there:
            writer.meta[there[0]] = self.metas[there[0]] = {"m": number}
            self.arrays[there[0]] = self.arrays.pop(there[0])
        elif kind == "delete":
            writer.delete(there)
            for name in there:
                del self.arrays[name], self.metas[name]
        elif kind == "delete one" and there:
            del writer[there[0]], self.arrays[there[0]], self.metas[there[0]]
        elif kind == "checkpoint":
            ptrarray.checkpoint(writer.path)

    def put(self, arrays: dict[str, Any], metas: dict[str, Any]) -> None:
        self.writer.write(arrays, overwrite=True, meta=metas)
        for name, array in arrays.items():
            self.arrays.pop(name, None)
            self.arrays[name], self.metas[name] = array, metas.get(name, {})

    def check(self, store: ptrarray.PointerArray) -> None:
        """Ask for the same in each way there is, before and after all is put in order."""
        snapshot = store._opened.stores[0].snapshot
        for _ in range(2):
            for name in NAMES:
                assert (name in store) == (name in self.arrays)
                if name in self.arrays:
                    check_same(store[name], self.arrays[name])
                    assert store.meta[name] == self.metas[name]
            pointers = snapshot.find_all([name.encode() for name in NAMES]).tolist()
            found = [snapshot.find(name.encode()) or (-1, -1) for name in NAMES]
            assert list(map(tuple, pointers)) == found
            self.check_newest(snapshot)
            assert len(store) == len(self.arrays)
        self.check_in_order(store, snapshot)

    def check_newest(self, snapshot: StoreSnapshot) -> None:
        newest = [name.decode() for name in snapshot.newest_names()]
        assert sorted(newest) == sorted(self.arrays)
        changed = [name for name in newest if name.encode() in snapshot.overlay.entries]
        assert newest[: len(changed)] == changed == list(self.arrays)[::-1][: len(changed)]
        assert list(snapshot.overlay.entries) == sorted(
            snapshot.overlay.entries,
            key=lambda name: abs(snapshot.overlay.entries[name] + 0.5),
        )

    def check_in_order(self, store: ptrarray.PointerArray, snapshot: StoreSnapshot) -> None:
        names = list(store)
        assert sorted(names) == sorted(self.arrays)
        assert store.starts.tolist() == sorted(store.starts.tolist())
        columns = store.starts.tolist(), store.ends.tolist(), snapshot.metas.split()
        for position, (name, start, end, meta) in enumerate(zip(names, *columns, strict=True)):
            assert store.pointers[name] == (start, end)
            check_same(store.arrays[position], self.arrays[name])
            assert bool(meta) == bool(self.metas[name])
            address = snapshot.locate_pointer(start, end)
            assert address is not None
            assert snapshot.pointer_at(address) == (start, end)
        assert names == [name.decode() for name in snapshot.names()]
        assert names == [snapshot.name(at).decode() for at in range(len(names))]
        store.verify()


@given(st.lists(CHANGE, max_size=20))
def test_a_long_journal_is_a_dict(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, list[str], int]]
) -> None:
    """Opened anew, followed step by step, read by the writer itself, and folded in."""
    path = tmp_path_factory.mktemp("long") / "a.ptr"
    with ptrarray.create(path) as writer, ptrarray.open(path) as following:
        model = Model(writer)
        for number, what in enumerate(changes):
            model.change(*what)
            if number % 3 == 0:
                following.refresh()
            if number % 5 == 0:
                model.check(following) if number % 3 == 0 else list(writer)
        following.refresh()
        model.check(following)
        model.check(ptrarray.open(path))
        assert {name: writer[name].tolist() for name in writer} == {
            name: array.tolist() for name, array in model.arrays.items()
        }
        ptrarray.checkpoint(path)
        model.check(ptrarray.open(path))


def runs_of(store: ptrarray.PointerArray) -> tuple[Run, ...]:
    return store._opened.stores[0].snapshot.overlay.laid.parts[0]


def test_the_newest_run_counts(path: Path) -> None:
    """Where names of a long run are replaced and deleted by shorter ones, which are left apart."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"{n}": [n] for n in range(1000)})
        store = ptrarray.open(path)
        for n in range(3):
            writer.write({f"{k}": [-n] for k in range(n, n + 5)}, overwrite=True)
            writer.delete([f"{k}" for k in range(500 + 6 * n, 506 + 6 * n)])
            store.refresh()
            assert len(runs_of(store)) > 1
            assert [store[f"{k}"].tolist() for k in range(n, n + 5)] == [[-n]] * 5
            assert store.take([f"{n}", "999"])[0].tolist() == [-n]
            assert "501" not in store
            assert "999" in store
            names = store._opened.stores[0].snapshot.overlay.entries.items()
            assert len({name for name, entry in names if entry >= 0}) == 994 - 6 * n
        assert len(store) == len(ptrarray.open(path)) == 982


def test_a_refresh_looks_at_new_records_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"{n}": [n] for n in range(5000)})
        store = ptrarray.open(path)
        (run,) = runs_of(store)
        assert store["77"].tolist() == [77]
        table = run._slots
        n_read = 0
        read = File.pread

        def counted(file: Any, nbytes: int, start_byte: int) -> bytes:
            nonlocal n_read
            n_read += nbytes
            return read(file, nbytes, start_byte)

        monkeypatch.setattr(File, "pread", counted)
        for n in range(20):
            writer.write({f"new {n} {k}": [n] for k in range(6)})
            store.refresh()
            assert runs_of(store)[0] is run
            assert store[f"new {n} 5"].tolist() == [n]
            assert store["77"].tolist() == [77]
        assert run._slots is table
        assert len(runs_of(store)) <= 3
        assert n_read < 500_000  # the journal's two header slots each time


def without_checkpoint(writer: ptrarray.PointerArrayWriter) -> None:
    """Close the files of a writer as its death does."""
    writer._store().release()  # type: ignore[attr-defined]


# blocks of the journal -----------------------------------------------------------------------------


def long_journal(path: Path, n_records: int = 12) -> Path:
    """Make a store with records of many lengths in its journal, and attrs among them."""
    writer = ptrarray.create(path, dtype="i4")
    for n in range(n_records):
        writer.write({f"{n}/{k}": [n, k] for k in range(n % 5 * 4 + 1)})
        writer.attrs["n"] = n
    writer.delete(["0/0", "1/3"])
    without_checkpoint(writer)
    return path / "journal.msgpack"


@pytest.mark.parametrize("limit", [4, 100, 1000])
def test_names_that_come_again_one_by_one(
    path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In many records of one name, which are decoded together: the last commit of each counts."""
    monkeypatch.setattr(overlay_module, "_FRESH_LIMIT", limit)
    monkeypatch.setattr(journal_module, "_BLOCK_NBYTES", 1 << 16)
    which = np.random.default_rng(limit).integers(0, 40, 200).tolist()
    with ptrarray.create(path) as writer:
        for n, name in enumerate(which):
            writer[f"{name}"] = np.full(3, n)
            if n % 9 == 0:
                del writer[f"{name}"]
        store = ptrarray.open(path)
        newest = list(store._opened.stores[0].snapshot.newest_names())
        expected = {f"{name}": n for n, name in enumerate(which)}
        there = {name: n for name, n in expected.items() if n % 9}
        by_commit = sorted(there, key=there.__getitem__, reverse=True)
        assert newest == [name.encode() for name in by_commit]
        assert {name: int(array[0]) for name, array in store.items()} == there


def read_all(path: Path) -> list[Any]:
    """Read a journal in each way there is; what is raised is part of the result."""
    found: list[Any] = []
    with Journal(path.parent, writable=False) as log:
        header, start = log.read_header(), journal_format.RECORDS_START

        def records() -> Any:
            for changes, _ in log.pieces(header, start):
                yield from (list(entries.names) for entries in changes.records)

        ways: list[Callable[[], Any]] = [
            lambda: log.frames(header, start),
            lambda: ((at, kind, list(hashes)) for at, kind, hashes in log.notices(header, start)),
            records,
            lambda: log.frames_until_damage(header, start),
        ]
        for way in ways:
            try:
                found.append([])
                for one in way():
                    found[-1].append(one)
            except CorruptStoreError as error:
                found.append(str(error))
    return found


@pytest.mark.parametrize("block_nbytes", [9, 60, 200, 777])
def test_a_journal_in_blocks_is_the_same(
    path: Path, block_nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is cut short or damaged, and what comes before that."""
    journal = long_journal(path)
    raw = journal.read_bytes()
    rng = np.random.default_rng(block_nbytes)
    for at in [None, *rng.integers(journal_format.RECORDS_START, len(raw), 40).tolist()]:
        wrong = bytearray(raw)
        if at is not None and at % 2:
            wrong[at] ^= 1 << at % 8
        elif at is not None:
            del wrong[at:]
        journal.write_bytes(wrong)
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "_SMALL_NBYTES", 1 << 16)
            patch.setattr(journal_module, "_BLOCK_NBYTES", 1 << 16)
            expected = read_all(journal)
        monkeypatch.setattr(journal_module, "_BLOCK_NBYTES", block_nbytes)
        found = read_all(journal)
        if at is None:
            assert found[0]
            assert found[:4] == expected[:4]
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert isinstance(one, list) or one == other
            # A block is looked at as a whole before its first record is given.
            assert not isinstance(one, list) or one[: len(other)] == other[: len(one)]


# names of the same hash ----------------------------------------------------------------------------


def outcome(session: Session, names: list[bytes]) -> Any:
    """Return which names are there, or the error."""
    try:
        return session.existing(names, hash_all(names))
    except CorruptStoreError as error:
        return str(error)


def test_names_are_read_one_by_one_of_a_long_record(path: Path) -> None:
    """The same as decoding all of it; any bit that is wrong is seen, or changes nothing."""
    names = [*COLLIDING, *(f"{n}" * (n % 70) for n in range(1, 140)), "größe"]
    writer = ptrarray.create(path)
    writer.write(dict.fromkeys(names, 1))
    writer.write(dict.fromkeys(names, 2), overwrite=True, meta={names[0]: {"x": 1}})
    writer.delete(names)
    writer.write(dict.fromkeys(names, 3))
    without_checkpoint(writer)
    with Journal(path, writable=False) as log:
        header = log.read_header()
        for frame in list(log.frames(header, journal_format.RECORDS_START)):
            column = journal_format.decode(frame, "here").names
            found = log.some_names(frame.start_byte, range(len(column)))
            assert found == (frame.kind, list(column))
            assert log.some_names(frame.start_byte, [len(column)]) is None
        last = frame
    journal = path / "journal.msgpack"
    raw = journal.read_bytes()
    encoded = [name.encode() for name in names[:3]]
    for at in range(last.start_byte, last.start_byte + 700, 7):
        wrong = bytearray(raw)
        wrong[at] ^= 1 << at % 8
        journal.write_bytes(raw)
        changed = Session(path)
        with changed.locked():
            assert changed.existing(encoded, hash_all(encoded)) == encoded
            journal.write_bytes(wrong)
            found = outcome(changed, encoded)
            assert found == encoded or f"record at byte {last.start_byte}" in found
        changed.release()
        journal.write_bytes(raw)


@pytest.mark.parametrize("n_a_call", [1, 7, 256])
def test_writing_many_names_of_one_hash(path: Path, n_a_call: int) -> None:
    """A name is there if it was written, whatever names have its hash."""
    there, absent = MANY_COLLIDING[:256], MANY_COLLIDING[256:]
    if n_a_call == 1:
        there, absent = there[:60], absent[:60]
    with ptrarray.create(path, dtype="i4") as writer:
        for first in range(0, len(there), n_a_call):
            some = there[first : first + n_a_call]
            writer.write({name: [first + at] for at, name in enumerate(some)})
        with pytest.raises(DuplicateNameError) as raised:
            writer.write({name: [1] for name in [absent[0], *there[7:9], absent[1]]})
        assert raised.value.names == tuple(there[7:9])
        writer.delete(there[:20])
        writer.write({name: [-1] for name in [there[3], *absent]})
    for _ in range(2):
        store = ptrarray.open(path)
        assert sorted(store) == sorted([there[3], *there[20:], *absent])
        assert [store[name].tolist() for name in there[20:]] == [
            [at] for at in range(20, len(there))
        ]
        assert store.take([there[3], absent[-1]])[1].tolist() == [-1]
        assert there[0] not in store
        store.verify()
        ptrarray.checkpoint(path)


def test_names_that_nobody_knows_the_record_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a journal has more than four gigabytes, which a checkpoint that fails may leave."""
    monkeypatch.setattr(recent, "FAR", 8400)
    monkeypatch.setattr(recorded, "FAR", 8400)
    with ptrarray.create(path, dtype="i4") as writer:
        for name in "abcde":
            writer.write({f"{name}{n}": [n] for n in range(6)})
        for name in ("a3", "c0", "e5"):
            with pytest.raises(DuplicateNameError):
                writer.write({name: [1], "new": [2]})
            with pytest.raises(DuplicateNameError):
                writer.write({name: [1]})
        del writer["e5"]
        writer.write({"e5": [7], COLLIDING[0]: [1]})
        writer.write({COLLIDING[1]: [2]})
        assert writer["e5"].tolist() == [7]


def test_a_name_that_is_written_over_and_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the newest record says all, however many there are."""
    n_looks = 0
    found = recent.RecentNames._found

    def counted(self: recent.RecentNames, at: int) -> recent.Found:
        nonlocal n_looks
        n_looks += 1
        return found(self, at)

    monkeypatch.setattr(recent, "_FRESH_LIMIT", 20)
    monkeypatch.setattr(recent.RecentNames, "_found", counted)
    with ptrarray.create(path, dtype="u1") as writer:
        for n in range(60):
            writer.write({"a": [n], f"{n}": [n]} if n % 2 else {"a": [n]})
            with pytest.raises(DuplicateNameError):
                writer.write({"a": [n]})
            del writer["a"]
            writer[f"b{n}"] = [n]
    assert n_looks < 60 * 8
