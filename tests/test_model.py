"""The store is a dict of arrays: whatever is done to both, they stay the same."""

from __future__ import annotations

import itertools
import pickle
import tempfile
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
from ptrarray import BadInputError, DuplicateNameError, OverlapError, StoreError, UnknownNameError
from tests.support import strategies
from tests.support.checks import (
    check_same,
    check_same_elements,
    check_same_order,
    check_store,
    check_writer,
)
from tests.support.examples import some
from tests.support.model import Asked, Meta, Model

Array = NDArray[Any]


class SomethingWrongError(Exception):
    """Raised inside an ``allocate`` block."""


METAS: st.SearchStrategy[Meta] = st.sampled_from(
    [{}, {"k": 1}, {"k": [1, "zwei", None]}, {"größe": {"x": b"\0"}}]
)


class StoreMachine(RuleBasedStateMachine):
    """Drives a store on the disk and its model side by side."""

    asked: st.SearchStrategy[Asked] = st.builds(
        Asked, strategies.dtypes(), strategies.row_shapes(), st.just(value=False)
    )

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "model.ptr"
        self.views: list[tuple[int, int, Array, Array]] = []
        self.backends: Any = itertools.cycle(["mmap", "pread"])

    @initialize(data=st.data(), n_rows=st.sampled_from([0, 0, 7, 100]))
    def create(self, data: st.DataObject, n_rows: int) -> None:
        asked = data.draw(self.asked)
        writer = ptrarray.create(self.path, rows=n_rows, **asked._asdict())
        self.model = Model(asked, writer.dtype, writer.row_shape or (), n_rows)
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
        self.note_read()

    def note_read(self) -> None:
        model = self.model
        self.read, self.read_attrs = model.in_order(), dict(model.attrs)
        self.read_metas = model.metas()

    def draw_arrays(self, data: st.DataObject, names: list[str]) -> dict[str, Array]:
        dtype, row_shape, masked = self.model.asked
        kind: Any = strategies.shaped_arrays(dtype)
        if dtype is not None and row_shape is not None:
            kind = strategies.arrays(self.model.dtype, self.model.row_shape)
        kind = kind.flatmap(lambda array: strategies.maybe_hidden(array, masked))
        return {name: data.draw(kind) for name in names}

    def draw_filled(self, data: st.DataObject, shape: tuple[int, ...], *, rows: bool) -> Array:
        """Return an array of a shape: with `rows` of that many rows."""
        model = self.model
        dtype = model.dtype
        if model.is_mixed:
            dtype = np.dtype(data.draw(st.sampled_from(strategies.FILL_DTYPES)))
        if rows and model.is_mixed:
            dtype = np.dtype(np.uint8)
        array = strategies.filled(
            dtype, (*shape, *model.row_shape), data.draw(st.integers(0, 2**16))
        )
        return data.draw(strategies.maybe_hidden(array, model.asked.masked))

    def draw_metas(self, data: st.DataObject, names: list[str]) -> dict[str, Meta]:
        return data.draw(st.dictionaries(st.sampled_from(names), METAS)) if names else {}

    def room(self, arrays: dict[str, Array]) -> int:
        return sum(map(self.model.room, arrays.values()))

    def put_all(
        self, arrays: dict[str, Array], bounds: tuple[int, int], metas: dict[str, Meta]
    ) -> None:
        """Note what a write returned for in the model."""
        start, end = bounds
        assert end - start == self.room(arrays)
        for name, array in arrays.items():
            self.model.put(name, start, array, metas.get(name))
            start += self.model.room(array)

    def note_appended(
        self,
        arrays: dict[str, Array],
        bounds: tuple[int, int],
        metas: dict[str, Meta] | None = None,
    ) -> None:
        assert bounds[0] == self.model.n_reserved
        self.put_all(arrays, bounds, metas or {})

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
        arrays, metas = self.draw_arrays(data, names), self.draw_metas(data, names)
        if not overwrite and (there := self.model.entries.keys() & arrays.keys()):
            with pytest.raises(DuplicateNameError) as raised:
                self.writers[who].write(arrays, meta=metas)
            assert set(raised.value.names) == there
            return
        bounds = self.writers[who].write(arrays, overwrite=overwrite, meta=metas)
        self.note_appended(arrays, bounds, metas)

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), max_size=4, unique=True),
        n_before=st.integers(0, 2),
    )
    def write_ragged(self, data: st.DataObject, who: int, names: list[str], n_before: int) -> None:
        inner = () if self.model.has_rows else data.draw(st.sampled_from([(), (2,), (0,), (1, 3)]))
        lengths = data.draw(st.lists(st.integers(0, 6), min_size=len(names), max_size=len(names)))
        offsets = np.cumsum([n_before, *lengths])
        values = self.draw_filled(data, (int(offsets[-1]) + 2, *inner), rows=False)
        arrays = {n: values[i:j] for n, i, j in zip(names, offsets, offsets[1:], strict=False)}
        metas = self.draw_metas(data, names)
        bounds = self.writers[who].write_ragged(names, values, offsets, overwrite=True, meta=metas)
        self.note_appended(arrays, bounds, metas)

    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def set_item(self, data: st.DataObject, who: int, name: str) -> None:
        arrays = self.draw_arrays(data, [name])
        self.writers[who][name] = arrays[name]
        start, _ = self.writers[1 - who].pointers[name]
        self.note_appended(arrays, (start, start + self.room(arrays)))

    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def write_past_the_small(self, data: st.DataObject, who: int, name: str) -> None:
        """Write enough to go to the disk outside the lock."""
        width = self.model.dtype.itemsize * max(1, int(np.prod(self.model.row_shape)))
        arrays = {name: self.draw_filled(data, (2**16 // width + 1,), rows=True)}
        self.note_appended(arrays, self.writers[who].write(arrays, overwrite=True))

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), min_size=1, max_size=2, unique=True),
    )
    def update(self, data: st.DataObject, who: int, names: list[str]) -> None:
        arrays = self.draw_arrays(data, names)
        self.writers[who].update(arrays)
        start, _ = self.writers[1 - who].pointers[names[0]]
        self.note_appended(arrays, (start, start + self.room(arrays)))

    # rows of the caller's choosing ---------------------------------------------------------

    @rule(
        data=st.data(),
        who=st.integers(0, 1),
        names=st.lists(strategies.names(), min_size=1, max_size=2, unique=True),
        start=st.integers(0, 40),
    )
    def write_planned(self, data: st.DataObject, who: int, names: list[str], start: int) -> None:
        arrays, metas = self.draw_arrays(data, names), self.draw_metas(data, names)
        start = self.check_odd_start_refused(who, arrays, start)
        end = start + self.room(arrays)
        assume(start < end)
        if self.model.is_taken(start, end):
            with pytest.raises(OverlapError):
                self.writers[who].write(arrays, start=start, overwrite=True)
            return
        self.stop_looking_at(start, end)
        bounds = self.writers[who].write(arrays, start=start, overwrite=True, meta=metas)
        assert bounds == (start, end)
        self.put_all(arrays, bounds, metas)

    def check_odd_start_refused(self, who: int, arrays: dict[str, Array], start: int) -> int:
        """Try a start where no array may begin; return one where it may."""
        if start % self.model.alignment:
            with pytest.raises(BadInputError, match="multiple of 64"):
                self.writers[who].write(arrays, start=start, overwrite=True)
        return start * self.model.alignment

    @rule(who=st.integers(0, 1), n_rows=st.integers(0, 9))
    def reserve(self, who: int, n_rows: int) -> None:
        start = self.writers[who].reserve(n_rows)
        assert start == self.model.n_reserved
        self.model.n_reserved = start + self.model.aligned(n_rows)
        self.reserved.append((start, start + n_rows))

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def fill_reserved(self, data: st.DataObject, who: int, name: str) -> None:
        start, end = self.reserved.pop()
        assume(not self.model.is_taken(start, end))
        array = self.draw_filled(data, (end - start,), rows=True)
        self.stop_looking_at(start, self.model.aligned(end))
        self.writers[who].write({name: array}, start=start, overwrite=True)
        self.model.put(name, start, array)

    def draw_allocation(self, data: st.DataObject) -> tuple[Array, dict[str, Any]]:
        """Return what is put into allocated rows, and how they are asked for."""
        model = self.model
        shape: tuple[int, ...] = data.draw(st.sampled_from([(0,), (1,), (9,)]))
        if not model.has_rows:
            shape = data.draw(st.sampled_from(strategies.SHAPES))
        array = self.draw_filled(data, shape, rows=False)
        if isinstance(array, np.ma.MaskedArray):  # what is beside data and mask is not asked for
            array = np.ma.MaskedArray(array.data, array.mask)
        options = {"dtype": array.dtype} if model.is_mixed else {}
        return array, {"n_rows": shape if len(shape) != 1 else shape[0], **options}

    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def allocate(self, data: st.DataObject, who: int, name: str) -> None:
        array, asked = self.draw_allocation(data)
        with self.writers[who].allocate(name, overwrite=True, **asked) as rows:
            assert not any(np.ma.getdata(rows).tobytes())
            assert not any(np.ma.getmaskarray(rows).tobytes())
            rows[...] = array
            assert (name in self.writers[1 - who]) == (name in self.model.entries)
        start, _ = self.writers[who].pointers[name]
        self.note_appended({name: array}, (start, start + self.model.room(array)))

    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def allocate_and_raise(self, data: st.DataObject, who: int, name: str) -> None:
        writer = self.writers[who]
        array, asked = self.draw_allocation(data)
        start = writer.reserve(0)
        with (  # noqa: PT012 - raising is what the block does
            pytest.raises(SomethingWrongError),
            writer.allocate(name, overwrite=True, **asked) as rows,
        ):
            rows[...] = array
            raise SomethingWrongError
        self.model.written.append((start, start + self.model.room(array)))

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

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), who=st.integers(0, 1), other=strategies.names())
    def delete_several(self, data: st.DataObject, who: int, other: str) -> None:
        """Delete names, perhaps one twice; none of them if one is not there."""
        names = data.draw(st.lists(st.sampled_from(list(self.model.entries)), max_size=4))
        if other not in self.model.entries:
            with pytest.raises(UnknownNameError):
                self.writers[who].delete([*names, other])
        self.writers[who].delete(names)
        for name in set(names):
            del self.model.entries[name]

    @rule(who=st.integers(0, 1), name=strategies.names())
    def delete_absent(self, who: int, name: str) -> None:
        assume(name not in self.model.entries)
        with pytest.raises(UnknownNameError):
            del self.writers[who][name]

    @rule(who=st.integers(0, 1))
    def clear(self, who: int) -> None:
        self.writers[who].clear()
        self.model.entries.clear()

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), who=st.integers(0, 1), new=strategies.names(), overwrite=st.booleans())
    def rename(self, data: st.DataObject, who: int, new: str, overwrite: bool) -> None:
        old = data.draw(st.sampled_from(list(self.model.entries)))
        writer = self.writers[who]
        if new not in self.model.entries:
            with pytest.raises(UnknownNameError):
                writer.rename(new, old, overwrite=overwrite)
        elif new != old and not overwrite:
            with pytest.raises(DuplicateNameError):
                writer.rename(old, new)
            return
        writer.rename(old, new, overwrite=overwrite)
        if new != old:
            self.model.rename(old, new)

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def point_to_an_array(self, data: st.DataObject, who: int, name: str) -> None:
        """Give the rows of an array another name: it is the first that has just these rows."""
        model = self.model
        chosen = model.entries[data.draw(st.sampled_from(list(model.entries)))]
        pointer = chosen.start, chosen.end
        equal = [model.entries[n] for n in model.in_order()]
        first = next(entry for entry in equal if (entry.start, entry.end) == pointer)
        self.writers[who].point(name, *pointer, overwrite=True)
        model.put(name, first.start, first.array, first.meta)

    @precondition(lambda self: self.model.n_rows)
    @rule(data=st.data(), who=st.integers(0, 1), name=strategies.names())
    def point(self, data: st.DataObject, who: int, name: str) -> None:
        start = data.draw(st.integers(0, self.model.n_rows))
        end = data.draw(st.integers(start, self.model.n_rows))
        assume(all((e.start, e.end) != (start, end) for e in self.model.entries.values()))
        if self.model.is_mixed:
            with pytest.raises(BadInputError, match="are no array"):
                self.writers[who].point(name, start, end, overwrite=True)
            return
        self.writers[who].point(name, start, end, overwrite=True)
        with ptrarray.open(self.path) as store:
            self.model.entries.pop(name, None)
            self.model.check_rows(store.rows[start:end], start)
            array = store[name].copy()
            check_same_elements(np.ma.getdata(array), np.ma.getdata(store.rows[start:end]))
        self.model.put(name, start, array)

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), who=st.integers(0, 1), meta=METAS)
    def set_meta(self, data: st.DataObject, who: int, meta: Meta) -> None:
        name = data.draw(st.sampled_from(list(self.model.entries)))
        self.writers[who].meta[name] = meta
        self.model.set_meta(name, meta)

    @rule(who=st.integers(0, 1), name=strategies.names())
    def set_meta_of_the_absent(self, who: int, name: str) -> None:
        assume(name not in self.model.entries)
        with pytest.raises(UnknownNameError):
            self.writers[who].meta[name] = {"k": 1}

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
        self.note_read()

    @rule()
    def checkpoint(self) -> None:
        ptrarray.checkpoint(self.path)

    @rule()
    def compact(self) -> None:
        ptrarray.compact(self.path)
        self.model.compact()
        self.reserved = []

    @rule(who=st.integers(0, 1))
    def flush(self, who: int) -> None:
        self.writers[who].flush()

    @rule()
    def refresh(self) -> None:
        self.readers[0].refresh()
        self.note_read()

    @rule(n_rows=st.sampled_from([0, 5]))
    def replace(self, n_rows: int) -> None:
        old, model = self.writers, self.model
        writer = ptrarray.create(self.path, mode="w", rows=n_rows, **model.asked._asdict())
        for outdated in old:
            with pytest.raises(StoreError):
                outdated.write({"late": []})
        self.model = Model(model.asked, model.dtype, model.row_shape, n_rows)
        self.writers = [writer, ptrarray.append(self.path)]
        self.reserved = []

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def keep_a_view(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.read)))
        store = self.readers[0]
        view = store[name]
        self.views.append((*store.pointers[name], view, self.read[name]))

    # what always holds ---------------------------------------------------------------------

    @invariant()
    def store_is_the_model(self) -> None:
        with ptrarray.open(self.path, backend=next(self.backends)) as store:
            check_store(store, self.model.in_order(), in_order=True, length=self.model.length)
            assert store.shape == (self.model.n_rows, *self.model.row_shape)
            assert dict(store.attrs) == self.model.attrs
            assert dict(store.meta) == self.model.metas()
            self.model.check_rows(store.rows[:], 0)
            if not self.model.has_rows:
                for name, entry in self.model.entries.items():
                    check_same_order(store[name], entry.array)

    @invariant()
    def writers_tell_the_same(self) -> None:
        for writer in self.writers:
            check_writer(writer, self.model.in_order(), self.model.length)
            assert dict(writer.attrs) == self.model.attrs
            assert dict(writer.meta) == self.model.metas()

    @invariant()
    def reader_stays_behind(self) -> None:
        store = self.readers[0]
        assert list(store) == list(self.read)
        assert dict(store.attrs) == self.read_attrs
        assert dict(store.meta) == self.read_metas
        for name, array in self.read.items():
            check_same(store[name], array)

    @invariant()
    def views_keep_their_content(self) -> None:
        for *_, view, expected in self.views:
            check_same(view, expected)


TestModel = StoreMachine.TestCase
TestModel.settings = settings(max_examples=some(13, of=20), stateful_step_count=25)


class LayoutsMachine(StoreMachine):
    """The same for arrays of any shape and dtype, and masked ones."""

    asked = st.sampled_from(
        [
            Asked(None, ()),
            Asked(None, (), masked=True),
            Asked("<f8", None),
            Asked(">i4", None, masked=True),
            Asked(strategies.STRUCTURED_DTYPES[0], None, masked=True),
            Asked("<f4", (2,), masked=True),
            Asked(strategies.STRUCTURED_DTYPES[1], (), masked=True),
        ]
    )


TestLayouts = LayoutsMachine.TestCase
TestLayouts.settings = settings(max_examples=some(10, of=16), stateful_step_count=25)
