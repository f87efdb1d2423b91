"""A store of shards is a dict of arrays: whatever is done to both, they stay the same."""

from __future__ import annotations

import pickle
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

import ptrarray
from ptrarray import DuplicateNameError, UnknownNameError
from tests.support import strategies
from tests.support.checks import check_same, check_store, check_writer
from tests.support.examples import some
from tests.support.story import without_syncs

Array = NDArray[Any]

WHO = st.integers(0, 1)
NAMES = st.sampled_from("abcdefghij")
LENGTHS = st.integers(0, 30)


class ShardsMachine(RuleBasedStateMachine):
    """Drives a store of tiny shards on the disk, and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(without_syncs())
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.path = Path(folder) / "model.ptr"

    @initialize(
        layout=st.sampled_from([("i4", ()), ("<f8", (2,)), ("S5", ())]),
        shard_size=st.sampled_from([1, 300, 2000]),
    )
    def create(self, layout: tuple[str, tuple[int, ...]], shard_size: int) -> None:
        dtype, row_shape = layout
        writer = ptrarray.create(self.path, dtype=dtype, row_shape=row_shape, shard_size=shard_size)
        self.dtype, self.row_shape, self.shard_size = (
            writer.dtype,
            writer.row_shape or (),
            shard_size,
        )
        self.model: dict[str, Array] = {}
        self.attrs: dict[str, Any] = {}
        self.meta: dict[str, dict[str, Any]] = {}
        self.n_written = 0
        self.writers = [writer, ptrarray.append(self.path)]
        self.filling: list[tuple[Any, str, Array]] = []
        self.reader = ptrarray.open(self.path)
        self.read = dict(self.model)
        self.views: list[tuple[Array, bytes]] = []

    def teardown(self) -> None:
        for block, *_ in getattr(self, "filling", []):
            block.__exit__(None, None, None)
        for opened in (*getattr(self, "writers", []), getattr(self, "reader", None)):
            if opened is not None:
                opened.close()
        self.stack.close()

    def array(self, length: int) -> Array:
        """Return an array that no other call gives."""
        self.n_written += 1
        return strategies.filled(self.dtype, (length, *self.row_shape), self.n_written)

    def put(self, arrays: dict[str, Array]) -> None:
        self.model.update(arrays)
        for name in arrays:
            self.meta.pop(name, None)

    # adding --------------------------------------------------------------------------------

    @rule(who=WHO, lengths=st.dictionaries(NAMES, LENGTHS, max_size=4), overwrite=st.booleans())
    def write(self, who: int, lengths: dict[str, int], overwrite: bool) -> None:
        arrays = {name: self.array(length) for name, length in lengths.items()}
        there = self.model.keys() & arrays.keys()
        if there and not overwrite:
            with pytest.raises(DuplicateNameError) as raised:
                self.writers[who].write(arrays)
            assert set(raised.value.names) == there
            return
        start, end = self.writers[who].write(arrays, overwrite=overwrite)
        assert end - start == sum(map(len, arrays.values()))
        self.put(arrays)
        if arrays:
            pointers = [self.writers[1 - who].pointers[name] for name in arrays]
            assert (pointers[0].start, pointers[-1].end) == (start, end)

    @rule(who=WHO, name=NAMES)
    def write_outside_of_the_lock(self, who: int, name: str) -> None:
        array = self.array(2**16 // self.dtype.itemsize + 1)
        self.writers[who][name] = array
        self.put({name: array})

    @precondition(lambda self: len(self.filling) < 2)
    @rule(who=WHO, name=NAMES, length=LENGTHS)
    def begin_to_fill(self, who: int, name: str, length: int) -> None:
        """Leave rows to be committed after others have made shards."""
        block = self.writers[who].allocate(name, length, overwrite=True)
        rows = block.__enter__()
        rows[...] = array = self.array(length)
        self.filling.append((block, name, array))

    @precondition(lambda self: self.filling)
    @rule()
    def end_filling(self) -> None:
        block, name, array = self.filling.pop(0)
        block.__exit__(None, None, None)
        self.put({name: array})

    # names ---------------------------------------------------------------------------------

    @rule(who=WHO, name=NAMES)
    def delete(self, who: int, name: str) -> None:
        if name not in self.model:
            with pytest.raises(UnknownNameError):
                del self.writers[who][name]
            return
        del self.writers[who][name]
        del self.model[name]
        self.meta.pop(name, None)

    @rule(who=WHO, names=st.lists(NAMES, max_size=4))
    def delete_several(self, who: int, names: list[str]) -> None:
        if not set(names) <= set(self.model):
            with pytest.raises(UnknownNameError):
                self.writers[who].delete(names)
            return
        self.writers[who].delete(names)
        for name in set(names):
            del self.model[name]
            self.meta.pop(name, None)

    @rule(who=WHO, old=NAMES, new=NAMES, overwrite=st.booleans())
    def rename(self, who: int, old: str, new: str, overwrite: bool) -> None:
        if old not in self.model:
            with pytest.raises(UnknownNameError):
                self.writers[who].rename(old, new, overwrite=overwrite)
            return
        if new in self.model and new != old and not overwrite:
            with pytest.raises(DuplicateNameError):
                self.writers[who].rename(old, new)
            return
        self.writers[who].rename(old, new, overwrite=overwrite)
        self.model[new] = self.model.pop(old)
        if old != new:
            self.meta.pop(new, None)
        if old in self.meta:
            self.meta[new] = self.meta.pop(old)

    @rule(who=WHO)
    def clear(self, who: int) -> None:
        self.writers[who].clear()
        self.model.clear()
        self.meta.clear()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), who=WHO, name=NAMES)
    def point(self, data: st.DataObject, who: int, name: str) -> None:
        target = data.draw(st.sampled_from(sorted(self.model)))
        array = self.model[target]
        low = data.draw(st.integers(0, len(array)))
        pointers = dict(self.writers[1 - who].pointers)
        start, end = pointers[target][0] + low, pointers[target][1]
        equal = [self.meta.get(other, {}) for other in pointers if pointers[other] == (start, end)]
        self.writers[who].point(name, start, end, overwrite=True)
        self.put({name: array[low:]})
        meta = dict(self.writers[who].meta[name])
        # The first array that has just these rows gives its metadata; without rows, that of one shard.
        assert meta in (equal[:1] or [{}] if start < end else [*equal, {}])
        if meta:
            self.meta[name] = meta

    @precondition(lambda self: self.model)
    @rule(data=st.data(), who=WHO, value=st.integers(0, 5))
    def set_meta(self, data: st.DataObject, who: int, value: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.writers[who].meta[name] = {"v": value}
        self.meta[name] = {"v": value}

    @rule(who=WHO, value=st.integers(0, 5))
    def set_attr(self, who: int, value: int) -> None:
        self.writers[who].attrs["k"] = self.attrs["k"] = value

    # the store as a whole ------------------------------------------------------------------

    @precondition(lambda self: not self.filling)
    @rule(who=WHO, how=st.sampled_from(["close", "drop"]))
    def reopen_writer(self, who: int, how: str) -> None:
        """Open a writer anew; one that is dropped leaves what a killed one would."""
        old = self.writers[who]
        self.writers[who] = pickle.loads(pickle.dumps(old))
        if how == "close":
            old.close()

    @rule(who=WHO)
    def flush(self, who: int) -> None:
        self.writers[who].flush()

    @rule()
    def checkpoint(self) -> None:
        ptrarray.checkpoint(self.path)

    @precondition(lambda self: not self.filling)
    @rule()
    def compact(self) -> None:
        ptrarray.compact(self.path)

    @rule()
    def refresh(self) -> None:
        self.reader.refresh()
        self.read = dict(self.model)

    @precondition(lambda self: not self.filling)
    @rule()
    def replace(self) -> None:
        writer = ptrarray.create(
            self.path,
            dtype=self.dtype,
            row_shape=self.row_shape,
            shard_size=self.shard_size,
            mode="w",
        )
        self.writers = [writer, ptrarray.append(self.path)]
        self.model.clear()
        self.meta.clear()
        self.attrs.clear()

    @precondition(lambda self: self.read)
    @rule(data=st.data())
    def keep_a_view(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.read)))
        self.views.append((self.reader[name], self.read[name].tobytes()))

    # what always holds ---------------------------------------------------------------------

    @invariant()
    def store_is_the_model(self) -> None:
        with ptrarray.open(self.path) as store:
            check_store(store, self.model)
            assert dict(store.attrs) == self.attrs
            assert {name: meta for name, meta in store.meta.items() if meta} == self.meta

    @invariant()
    def writers_tell_the_same(self) -> None:
        for writer in self.writers:
            check_writer(writer, self.model)
            assert dict(writer.attrs) == self.attrs

    @invariant()
    def reader_stays_behind(self) -> None:
        assert sorted(self.reader) == sorted(self.read)
        for name, array in self.read.items():
            check_same(self.reader[name], array)

    @invariant()
    def views_keep_their_content(self) -> None:
        for view, content in self.views:
            assert view.tobytes() == content


TestShardsModel = ShardsMachine.TestCase
TestShardsModel.settings = settings(
    max_examples=some(8, of=12), stateful_step_count=25, deadline=None
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_shards_model_thoroughly() -> None:
    from_now_on = settings(max_examples=300, stateful_step_count=40, deadline=None)
    case = type("Thorough", (ShardsMachine.TestCase,), {"settings": from_now_on})
    case("runTest").runTest()
