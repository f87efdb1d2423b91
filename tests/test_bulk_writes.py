"""Many arrays a call: the fast ways give what the slow ones do."""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import native
from ptrarray.errors import BadInputError
from ptrarray.format import entries as entries_format
from ptrarray.format import journal, names
from ptrarray.format.entries import Entry, RaggedColumn
from ptrarray.format.layouts import ROWS as PLAIN
from ptrarray.format.layouts import Layout
from ptrarray.intake import batch
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.writing import kept, session
from tests.support import strategies
from tests.support.checks import check_store
from tests.support.entries import ROWS, rows_of, table_of
from tests.support.faults import SHORT, injected
from tests.support.story import look

ITEMS = st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"ba", b"a" * 200]), min_size=1)


@given(st.data(), ITEMS, ITEMS, st.integers(1, 300))
def test_items_of_two_columns_are_compared(
    data: st.DataObject, ours: list[bytes], theirs: list[bytes], limit: int
) -> None:
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, len(ours) - 1), st.integers(0, len(theirs) - 1)))
    )
    columns = RaggedColumn.of(ours), RaggedColumn.of(theirs)
    left, right = np.array(pairs, np.int64).reshape(-1, 2).T
    with patch.object(entries_format, "_COMPARED_NBYTES", limit):
        found = columns[0].are_same(left, columns[1], right)
    assert found.tolist() == [ours[i] == theirs[j] for i, j in pairs]


@pytest.mark.parametrize("ends", [[-1, 3], [2, 1], [1, 4], [5, 3]])
def test_items_that_do_not_lie_in_their_column_are_not_compared(ends: list[int]) -> None:
    unsound = RaggedColumn(np.array(ends), np.zeros(3, np.uint8))
    both = np.arange(2)
    for one, other in ((unsound, RaggedColumn.of([b"a", b"b"])), (unsound, unsound)):
        with pytest.raises(ValueError, match="bytes"):
            one.are_same(both, other, both)
        with pytest.raises(ValueError, match="bytes"):
            other.are_same(both, one, both)


# batches ------------------------------------------------------------------------------------------

FITTING = st.integers(0, 5).map(lambda n: np.arange(n, dtype="f4"))
OTHERS = st.sampled_from(
    [
        np.arange(6, dtype="f4")[::2],
        np.arange(3, dtype="i2"),
        np.arange(3, dtype=">f4"),
        np.ones((2, 2), "f4"),
        np.float32(3),
        np.ma.masked_array(np.arange(2, dtype="f4"), [True, False]),
        np.arange(2, dtype="f4").view(np.recarray),
        [1.5, 2],
        ["x"],
        None,
    ]
)
NAMES = strategies.names() | st.sampled_from(["\ud800", "x" * 70_000, 3, b"bytes"])


def outcome(arrays: dict[Any, Any], layout: Layout) -> Any:
    try:
        made = batch.from_mapping(arrays, layout)
    except BadInputError as error:
        return str(error)
    entries = made.entries(7)
    columns = [column if column is None else list(column) for column in entries]
    return columns, made.n_rows, [buffer.tobytes() for buffer in made.buffers]


@given(
    fitting=st.dictionaries(strategies.names(), FITTING, min_size=5),
    others=st.dictionaries(NAMES, FITTING | OTHERS, max_size=1),
    row_shape=st.sampled_from([(), (), (2,)]),
    is_large=st.booleans(),
)
def test_a_batch_by_columns_is_the_one_made_array_by_array(
    fitting: dict[str, Any], others: dict[str, Any], row_shape: tuple[int, ...], is_large: bool
) -> None:
    layout = Layout(PLAIN, np.dtype("f4"), row_shape, masked=False)
    if row_shape:
        fitting = {name: np.ones((len(value), 2), "f4") for name, value in fitting.items()}
    arrays = fitting | others
    with patch.object(batch, "pays_a_thread", lambda *_: is_large):
        by_columns = outcome(arrays, layout)
    with patch.object(batch, "columns_of", lambda *_: None):
        assert by_columns == outcome(arrays, layout)


def test_a_batch_by_columns_takes_the_callers_own_arrays() -> None:
    arrays = {str(n): np.arange(n, dtype="i4") for n in range(9)}
    columns = batch.columns_of(arrays, np.dtype("i4"), ())
    assert columns is not None
    assert all(map(np.shares_memory, columns.buffers[1:], list(arrays.values())[1:]))
    refused = {**arrays, "strided": np.arange(9, dtype="i4")[::3]}
    for is_large in (False, True):
        with patch.object(batch, "pays_a_thread", lambda *_, answer=is_large: answer):
            assert batch.columns_of(refused, np.dtype("i4"), ()) is None


@pytest.mark.parametrize("error", [ValueError, TypeError])
def test_what_the_handler_of_a_signal_raises_is_not_taken_for_an_array_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def interrupted(*_: object) -> int:
        raise error("too late")

    monkeypatch.setattr(native, "core", None)  # in which no handler runs
    if error is ValueError:
        monkeypatch.setattr(batch, "crc32", interrupted)
    else:
        monkeypatch.setattr(names, "list", interrupted, raising=False)
    arrays = {str(n): np.arange(n, dtype="i4") for n in range(9)}
    with pytest.raises(error, match="too late"):
        batch.from_mapping(arrays, Layout(PLAIN, np.dtype("i4"), (), masked=False))


@pytest.mark.skipif(native.core is None, reason="the native core stages arrays")
@pytest.mark.parametrize("n_rows", [0, 3000])
def test_an_array_that_is_resized_while_it_is_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    core = native.core
    assert core is not None
    stage, arrays = core.stage, {f"a{n}": np.ones(1000) for n in range(100)}

    def resizing(*asked: Any) -> Any:
        arrays["a9"].resize(n_rows, refcheck=False)  # as another thread could
        return stage(*asked)

    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="f8") as writer:
        monkeypatch.setattr(core, "stage", resizing)
        with pytest.raises(BadInputError, match="resized while"):
            writer.write(arrays)
        monkeypatch.undo()
        writer.write({f"a{n}": np.ones(1000) for n in range(100)})
    ptrarray.verify(path)
    assert ptrarray.open(path)["a99"].tolist() == [1] * 1000


# records ------------------------------------------------------------------------------------------


@given(ROWS, st.sampled_from([journal.PUT, journal.POINT, journal.DELETE]))
def test_a_long_record_is_the_short_one_in_pieces(rows: list[Entry], kind: int) -> None:
    rows = [row._replace(end=row.start + row.end) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        short = journal.encode_record(kind, table_of(rows), 3, n_more=200)
        patch.setattr(journal, "_LONG_NBYTES", 0)
        long = journal.encode_record(kind, table_of(rows), 3, n_more=200)
    assert isinstance(short, bytes)
    assert isinstance(long, journal.LongRecord)
    assert bytes(long) == short
    assert len(long) == len(short)
    (frame,) = journal.frames(short, 0, 3, "here")
    fields = msgpack.unpackb(short[journal.FRAME_PREFIX_NBYTES + 4 :])
    assert msgpack.packb(fields) == short[journal.FRAME_PREFIX_NBYTES + 4 :]
    decoded = rows_of(journal.decode(frame, "here"))
    if kind == journal.DELETE:
        assert [row.name for row in decoded] == [row.name for row in rows]
    else:
        assert rows_of(long.entries) == decoded


# records that a session keeps ---------------------------------------------------------------------

POOL = [f"n{n}" for n in range(12)]
SOME = st.lists(st.sampled_from(POOL), min_size=1, max_size=7, unique=True)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.tuples(st.just("write"), SOME),
            st.tuples(st.just("delete"), SOME.map(lambda names: names[:1])),
            st.tuples(
                st.sampled_from(["attrs", "checkpoint", "checkpoint here", "reserve"]), st.just([])
            ),
        ),
    ),
    max_size=12,
)


@pytest.fixture
def _every_record_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LONG_NBYTES", 0)


def change(writer: Any, kind: str, some: list[str], model: dict[str, Any], at: int) -> None:
    if kind == "write":
        arrays = {name: np.full(at % 4, at + n, "i4") for n, name in enumerate(some)}
        writer.write(arrays, overwrite=True)
        model.update(arrays)
    elif kind == "delete" and some[0] in model:
        del writer[some[0]], model[some[0]]
    elif kind == "attrs":
        writer.attrs["at"] = at
    elif kind == "reserve":
        writer.reserve(1)
    elif kind == "checkpoint":
        ptrarray.checkpoint(writer.path)
    elif kind == "checkpoint here":
        checkpoint(writer)


def checkpoint(writer: Any) -> None:
    writer._store().checkpoint()


def check_kept(writer: Any) -> None:
    store = writer._store()
    with store.locked():
        known = list(store._kept.changes(store._journal, store.journal_header))
        read = store._journal.changes(store.journal_header, journal.RECORDS_START)
    records = [rows_of(entries) for changes in known for entries in changes.records]
    assert records == list(map(rows_of, read.records))
    attrs = [changes.attrs for changes in known if changes.attrs is not None]
    assert attrs[-1:] == [read.attrs] * (read.attrs is not None)


@pytest.mark.usefixtures("_every_record_is_long")
@given(steps=STEPS, limit=st.sampled_from([0, 300, 2**20]))
def test_two_writers_keep_what_the_journal_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], limit: int
) -> None:
    path = tmp_path_factory.mktemp("kept") / "a.ptr"
    model: dict[str, Any] = {}
    with patch.object(kept, "_LIMIT_NBYTES", limit):
        writers = ptrarray.create(path, dtype="i4"), ptrarray.append(path)
        for at, (number, (kind, some)) in enumerate(steps):
            change(writers[number], kind, some, model, at)
            check_kept(writers[number])
        checkpoint(writers[0])
    for writer in writers:
        writer.close()
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        check_store(store, model)


def many(first: int, n: int = 3000) -> dict[str, Any]:
    return {f"name {n}": np.arange(n % 3, dtype="i4") for n in range(first, first + n)}


def test_a_large_batch_is_not_read_back_by_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ptr"
    writer = ptrarray.create(path, dtype="i4")
    for first in (0, 3000):
        writer.write(many(first))

    def read(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Journal, "changes", read)
    checkpoint(writer)
    monkeypatch.undo()
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        check_store(store, many(0, 6000), in_order=True)


@pytest.mark.parametrize(
    "later", [{"last": np.array([7], "i4")}, many(6000)], ids=["shorter", "of the same length"]
)
def test_a_journal_that_was_put_back_is_folded_as_it_is(
    tmp_path: Path, later: dict[str, Any]
) -> None:
    path = tmp_path / "a.ptr"
    writer = ptrarray.create(path, dtype="i4")
    writer.write(many(0))
    journal_file = path / "journal.msgpack"
    earlier = journal_file.read_bytes()
    writer.write(many(3000))
    journal_file.write_bytes(earlier)
    other = ptrarray.append(path)  # which would fold it by itself when it is closed
    other.write(later)
    checkpoint(writer)
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        check_store(store, many(0) | later)


@pytest.mark.usefixtures("_every_record_is_long")
@pytest.mark.parametrize("code", [errno.EIO, SHORT])
def test_what_is_kept_of_a_commit_that_fails(tmp_path: Path, code: int) -> None:
    """At whatever call: what readers saw before the checkpoint is what they see after it."""
    for at in itertools.count(1):
        path = tmp_path / f"{at}.ptr"
        writer = ptrarray.create(path, dtype="i4")
        writer.write({"a": [1], "b": [2]})
        with injected() as faults:
            faults.arm(at, code, is_lasting=False)
            for batch_of in ({"c": [3], "d": [4]}, {"e": [5], "f": [6]}):
                with suppress(OSError, ptrarray.StoreError):
                    writer.write(batch_of)
            faults.disarm()
        before = look(path)
        with suppress(ptrarray.StoreError):  # a sync that failed was the last it did
            checkpoint(writer)
        assert look(path) == before
        if not faults.n_failed:
            break
    assert at > 5


@pytest.mark.parametrize("function", ["write_index", "fold_all"])
def test_a_writer_killed_in_its_checkpoint(tmp_path: Path, function: str) -> None:
    path = tmp_path / "a.ptr"
    writer = ptrarray.create(path, dtype="i4")
    writer.write(many(0))
    writer.close()
    child = os.fork()
    if not child:
        with suppress(BaseException), patch.object(session, function, lambda *_: os._exit(9)):
            writer = ptrarray.append(path)
            writer.write(many(3000))
            checkpoint(writer)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with ptrarray.open(path) as store:
        check_store(store, many(0, 6000))
    ptrarray.checkpoint(path)
    ptrarray.verify(path)
