"""The store is a dict of arrays: whatever is done to both, they stay the same."""

from __future__ import annotations

import itertools
import pickle
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from numpy.typing import NDArray

import ptrarray
from ptrarray import DuplicateNameError, OverlapError, StoreError, UnknownNameError
from tests.support import strategies
from tests.support.checks import check_same, check_store, check_writer

Array = NDArray[Any]


class SomethingWrongError(Exception):
    """Raised inside an ``allocate`` block."""


@dataclass
class Entry:
    start: int
    end: int
    array: Array


@dataclass
class Model:
    """What the store should be: a dict of arrays, and a list of rows."""

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    n_presized: int
    # In the order of commits: a name that is set again goes to the end.
    entries: dict[str, Entry] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    n_reserved: int = 0
    n_committed: int = 0
    written: list[tuple[int, int]] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return max(self.n_presized, self.n_committed)

    def put(self, name: str, start: int, array: Array) -> None:
        array = np.ascontiguousarray(array)
        end = start + len(array)
        self.entries.pop(name, None)
        self.entries[name] = Entry(start, end, array)
        if start < end:
            self.n_committed = max(self.n_committed, end)
            self.n_reserved = max(self.n_reserved, end)
            self.written.append((start, end))

    def in_order(self) -> dict[str, Array]:
        """Arrays by start; of those with the same start the one committed first is first."""
        pairs = sorted(self.entries.items(), key=lambda item: item[1].start)
        return {name: entry.array for name, entry in pairs}

    def is_taken(self, start: int, end: int) -> bool:
        return any(max(start, entry.start) < min(end, entry.end) for entry in self.entries.values())

    def was_written(self, start: int, end: int) -> bool:
        return any(max(start, first) < min(end, last) for first, last in self.written)

    def is_row_written(self) -> NDArray[np.bool_]:
        result = np.zeros(self.n_rows, np.bool_)
        for start, end in self.written:
            result[start:end] = True
        return result


class StoreMachine(RuleBasedStateMachine):
    """Drives a store on the disk and its model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "model.ptr"
        self.views: list[tuple[int, int, Array, bytes]] = []
        self.backends: Any = itertools.cycle(["mmap", "pread"])

    @initialize(
        layout=st.tuples(strategies.dtypes(), strategies.row_shapes()),
        n_rows=st.sampled_from([0, 0, 7]),
    )
    def create(self, layout: tuple[Any, tuple[int, ...]], n_rows: int) -> None:
        dtype, row_shape = layout
        writer = ptrarray.create(self.path, dtype=dtype, row_shape=row_shape, rows=n_rows)
        self.model = Model(writer.dtype, writer.row_shape or (), n_rows)
        self.writers = [writer, ptrarray.append(self.path)]
        self.reserved: list[tuple[int, int]] = []
        self.begin_reading()

    def teardown(self) -> None:
        for opened in (*getattr(self, "writers", []), *getattr(self, "readers", [])):
            opened.close()
        self.folder.cleanup()

    # helpers -------------------------------------------------------------------------------

    def begin_reading(self) -> None:
        """Open the reader that stays behind, and note what it should go on telling."""
        self.readers = [ptrarray.open(self.path, backend=next(self.backends))]
        self.read = self.model.in_order()
        self.read_attrs = dict(self.model.attrs)

    def draw_arrays(self, data: st.DataObject, names: list[str]) -> dict[str, Array]:
        layout = (self.model.dtype, self.model.row_shape)
        return {name: data.draw(strategies.arrays(*layout)) for name in names}

    def put_all(self, arrays: dict[str, Array], bounds: tuple[int, int]) -> None:
        """Note what a write returned for in the model."""
        start, end = bounds
        assert end - start == sum(map(len, arrays.values()))
        for name, array in arrays.items():
            self.model.put(name, start, array)
            start += len(array)

    def note_appended(self, arrays: dict[str, Array], bounds: tuple[int, int]) -> None:
        assert bounds[0] >= self.model.n_reserved
        self.put_all(arrays, bounds)

    def stop_looking_at(self, start: int, end: int) -> None:
        """Let go of deleted rows, which a planned write is about to take."""
        self.views = [view for view in self.views if view[1] <= start or view[0] >= end]
        if self.model.was_written(start, end):
            self.refresh()

    # adding --------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), max_size=3, unique=True),
        overwrite=st.booleans(),
    )
    def write(self, data: st.DataObject, who: int, names: list[str], overwrite: bool) -> None:
        arrays = self.draw_arrays(data, names)
        if not overwrite and (there := self.model.entries.keys() & arrays.keys()):
            with pytest.raises(DuplicateNameError) as raised:
                self.writers[who].write(arrays)
            assert set(raised.value.names) == there
            return
        self.note_appended(arrays, self.writers[who].write(arrays, overwrite=overwrite))

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), max_size=4, unique=True),
        n_before=st.integers(0, 2),
    )
    def write_ragged(self, data: st.DataObject, who: int, names: list[str], n_before: int) -> None:
        arrays = self.draw_arrays(data, names)
        layout = (self.model.dtype, (n_before, *self.model.row_shape))
        parts = [strategies.filled(*layout, 1), *arrays.values(), strategies.filled(*layout, 2)]
        offsets = np.cumsum([n_before, *map(len, arrays.values())])
        bounds = self.writers[who].write_ragged(
            names, np.concatenate(parts), offsets, overwrite=True
        )
        self.note_appended(arrays, bounds)

    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def set_item(self, data: st.DataObject, who: int, name: str) -> None:
        arrays = self.draw_arrays(data, [name])
        self.writers[who][name] = arrays[name]
        pointer = self.writers[1 - who].pointers[name]
        self.note_appended(arrays, pointer)

    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def write_past_the_small(self, data: st.DataObject, who: int, name: str) -> None:
        """Write enough to go to the disk outside the lock."""
        width = self.model.dtype.itemsize * max(1, int(np.prod(self.model.row_shape)))
        shape = (2**16 // width + 1, *self.model.row_shape)
        arrays = {name: strategies.filled(self.model.dtype, shape, data.draw(st.integers(0, 99)))}
        self.note_appended(arrays, self.writers[who].write(arrays, overwrite=True))

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), min_size=1, max_size=2, unique=True),
    )
    def update(self, data: st.DataObject, who: int, names: list[str]) -> None:
        arrays = self.draw_arrays(data, names)
        self.writers[who].update(arrays)
        pointers = [self.writers[1 - who].pointers[name] for name in arrays]
        self.note_appended(arrays, (pointers[0].start, pointers[-1].end))

    # rows of the caller's choosing ---------------------------------------------------------

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), min_size=1, max_size=2, unique=True),
        start=st.integers(0, 40),
    )
    def write_planned(self, data: st.DataObject, who: int, names: list[str], start: int) -> None:
        arrays = self.draw_arrays(data, names)
        end = start + sum(map(len, arrays.values()))
        assume(start < end)
        if self.model.is_taken(start, end):
            with pytest.raises(OverlapError):
                self.writers[who].write(arrays, start=start, overwrite=True)
            return
        self.stop_looking_at(start, end)
        bounds = self.writers[who].write(arrays, start=start, overwrite=True)
        assert bounds == (start, end)
        self.put_all(arrays, bounds)

    @rule(who=st.integers(0, 1), n_rows=st.integers(0, 9))
    def reserve(self, who: int, n_rows: int) -> None:
        start = self.writers[who].reserve(n_rows)
        assert start >= self.model.n_reserved
        self.model.n_reserved = start + n_rows
        self.reserved.append((start, start + n_rows))

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def fill_reserved(self, data: st.DataObject, who: int, name: str) -> None:
        start, end = self.reserved.pop()
        assume(not self.model.is_taken(start, end))
        array = strategies.filled(self.model.dtype, (end - start, *self.model.row_shape), start)
        self.stop_looking_at(start, end)
        self.writers[who].write({name: array}, start=start, overwrite=True)
        self.model.put(name, start, array)

    @rule(who=st.integers(0, 1), name=strategies.names(), n_rows=st.integers(0, 9))
    def allocate(self, who: int, name: str, n_rows: int) -> None:
        array = strategies.filled(self.model.dtype, (n_rows, *self.model.row_shape), n_rows)
        with self.writers[who].allocate(name, n_rows, overwrite=True) as rows:
            assert not any(rows.tobytes())
            rows[...] = array
            assert (name in self.writers[1 - who]) == (name in self.model.entries)
        self.note_appended({name: array}, self.writers[who].pointers[name])

    @rule(who=st.integers(0, 1), name=strategies.names(), n_rows=st.integers(0, 9))
    def allocate_and_raise(self, who: int, name: str, n_rows: int) -> None:
        writer = self.writers[who]
        start = writer.reserve(0)
        with (  # noqa: PT012 - raising is what the block does
            pytest.raises(SomethingWrongError),
            writer.allocate(name, n_rows, overwrite=True) as rows,
        ):
            rows[...] = strategies.filled(self.model.dtype, rows.shape, 5)
            raise SomethingWrongError
        self.model.written.append((start, start + n_rows))

    # names and attrs -----------------------------------------------------------------------

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), who=st.integers(0, 1), is_pop=st.booleans())
    def delete(self, data: st.DataObject, who: int, is_pop: bool) -> None:
        name = data.draw(st.sampled_from(list(self.model.entries)))
        entry = self.model.entries.pop(name)
        if is_pop:
            check_same(self.writers[who].pop(name), entry.array)
        else:
            del self.writers[who][name]

    @rule(who=st.integers(0, 1), name=strategies.names())
    def delete_absent(self, who: int, name: str) -> None:
        assume(name not in self.model.entries)
        with pytest.raises(UnknownNameError):
            del self.writers[who][name]

    @rule(who=st.integers(0, 1))
    def clear(self, who: int) -> None:
        self.writers[who].clear()
        self.model.entries.clear()

    @precondition(lambda self: self.model.n_rows)
    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def point(self, data: st.DataObject, who: int, name: str) -> None:
        start = data.draw(st.integers(0, self.model.n_rows))
        end = data.draw(st.integers(start, self.model.n_rows))
        self.writers[who].point(name, start, end, overwrite=True)
        with ptrarray.open(self.path) as store:
            array = store.rows[start:end].copy()
        is_written = self.model.is_row_written()
        for entry in self.model.entries.values():
            low, high = max(start, entry.start), min(end, entry.end)
            if low < high:
                expected = entry.array[low - entry.start : high - entry.start]
                check_same(array[low - start : high - start], expected)
        check_same(array[~is_written[start:end]], np.zeros_like(array)[~is_written[start:end]])
        self.model.put(name, start, array)

    @rule(who=st.integers(0, 1), key=st.sampled_from("kl"), value=st.sampled_from([1, "zwei", [3]]))
    def set_attr(self, who: int, key: str, value: Any) -> None:
        self.writers[who].attrs[key] = value
        self.model.attrs[key] = value

    @precondition(lambda self: self.model.attrs)
    @rule(who=st.integers(0, 1))
    def delete_attr(self, who: int) -> None:
        key, _ = self.model.attrs.popitem()
        del self.writers[who].attrs[key]

    # the store as a whole ------------------------------------------------------------------

    @rule(who=st.integers(0, 1))
    def reopen_writer(self, who: int) -> None:
        self.writers[who].close()
        self.writers[who] = ptrarray.append(self.path)

    @rule(who=st.integers(0, 1))
    def pickle_writer(self, who: int) -> None:
        copy = pickle.loads(pickle.dumps(self.writers[who]))
        self.writers[who].close()
        self.writers[who] = copy

    @rule()
    def pickle_reader(self) -> None:
        self.readers = [pickle.loads(pickle.dumps(self.readers[0]))]
        self.read, self.read_attrs = self.model.in_order(), dict(self.model.attrs)

    @rule()
    def checkpoint(self) -> None:
        ptrarray.checkpoint(self.path)

    @rule(who=st.integers(0, 1))
    def flush(self, who: int) -> None:
        self.writers[who].flush()

    @rule()
    def refresh(self) -> None:
        self.readers[0].refresh()
        self.read, self.read_attrs = self.model.in_order(), dict(self.model.attrs)

    @rule(n_rows=st.sampled_from([0, 5]))
    def replace(self, n_rows: int) -> None:
        old, model = self.writers, self.model
        layout: dict[str, Any] = {"dtype": model.dtype, "row_shape": model.row_shape}
        writer = ptrarray.create(self.path, mode="w", rows=n_rows, **layout)
        for outdated in old:
            with pytest.raises(StoreError):
                outdated.write({"late": []})
        self.model = Model(model.dtype, model.row_shape, n_rows)
        self.writers = [writer, ptrarray.append(self.path)]
        self.reserved = []

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def keep_a_view(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.read)))
        store = self.readers[0]
        view = store[name]
        self.views.append((*store.pointers[name], view, self.read[name].tobytes()))

    # what always holds ---------------------------------------------------------------------

    @invariant()
    def store_is_the_model(self) -> None:
        with ptrarray.open(self.path, backend=next(self.backends)) as store:
            check_store(store, self.model.in_order(), in_order=True)
            assert store.shape == (self.model.n_rows, *self.model.row_shape)
            assert dict(store.attrs) == self.model.attrs
            unwritten = store.rows[~self.model.is_row_written()]
            check_same(unwritten, np.zeros_like(unwritten))

    @invariant()
    def writers_tell_the_same(self) -> None:
        for writer in self.writers:
            check_writer(writer, self.model.in_order())
            assert dict(writer.attrs) == self.model.attrs

    @invariant()
    def reader_stays_behind(self) -> None:
        store = self.readers[0]
        assert list(store) == list(self.read)
        assert dict(store.attrs) == self.read_attrs
        for name, array in self.read.items():
            check_same(store[name], array)

    @invariant()
    def views_keep_their_content(self) -> None:
        for *_, view, content in self.views:
            assert view.tobytes() == content


TestModel = StoreMachine.TestCase
TestModel.settings = settings(max_examples=50, stateful_step_count=25)
