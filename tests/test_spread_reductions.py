"""Reductions over an executor are those without, to the last bit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, StoreError
from ptrarray.reductions.blocks import COMBINABLE
from ptrarray.views import spread
from tests.support.checks import check_same_elements
from tests.support.examples import some
from tests.support.reductions import outcome
from tests.support.strategies import hidden

UFUNCS = sorted(COMBINABLE, key=lambda ufunc: ufunc.__name__)


class Engine(Executor):
    """Runs what it is given at once, from its bytes to its bytes, as if it had been far away."""

    def __init__(self) -> None:
        self.n_tasks = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.n_tasks += 1
        future: Future[Any] = Future()
        raw = pickle.dumps((work, args))
        assert len(raw) < 2500
        try:
            work, args = pickle.loads(raw)
            future.set_result(pickle.loads(pickle.dumps(work(*args))))
        except Exception as error:  # noqa: BLE001 the future raises it
            future.set_exception(pickle.loads(pickle.dumps(error)))
        return future


@pytest.fixture(autouse=True)
def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "TASKS", 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ptr"


def check_equal(call: Callable[..., Any], executor: Executor) -> None:
    """Check that something gives the same with an executor as without, be it an error."""
    found, wanted = outcome(lambda: call(executor=executor)), outcome(call)
    if isinstance(wanted, type) or wanted is np.ma.masked:
        assert found is wanted
        return
    assert type(found) is type(wanted)
    check_same_elements(found, wanted)


@st.composite
def written(draw: st.DrawFn, path: Path) -> ptrarray.PointerArray:
    """Write a store with holes, arrays that overlap, empty ones, masks or shards."""
    kind = draw(st.sampled_from(["rows", "shaped", "mixed"]))
    dtype = draw(st.sampled_from(["f4", ">f8", "i4", "f2", "c8", "?"]))
    row_shape = draw(st.sampled_from([(), (3,), (0,)])) if kind == "rows" else ()
    size = draw(st.sampled_from([None, 300]))
    masked = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kinds: dict[str, dict[str, Any]] = {
        "rows": {"dtype": dtype, "row_shape": row_shape},
        "shaped": {"dtype": dtype, "row_shape": None},
        "mixed": {},
    }
    options = kinds[kind]
    with ptrarray.create(path, masked=masked, shard_size=size, **options) as writer:
        for number, length in enumerate(draw(st.lists(st.integers(0, 60), max_size=12))):
            array: Any = (rng.standard_normal((length, *row_shape)) * 9).astype(dtype)
            writer[f"n{number}"] = hidden(array, number) if masked and number % 2 else array
        names = sorted(writer)
        for name in names[1::4]:
            del writer[name]
        if kind == "rows" and size is None:
            for name in names[2::4]:
                writer.point(f"{name}/part", *writer.pointers[name])
    return ptrarray.open(path)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=some(20, of=40))
@given(data=st.data(), axis=st.sampled_from([0, None]), ufunc=st.sampled_from(UFUNCS))
def test_equal_those_without(data: st.DataObject, axis: Any, ufunc: np.ufunc) -> None:
    with TemporaryDirectory() as folder, data.draw(written(Path(folder) / "a.ptr")) as store:
        whole: list[Any] = [store, *store.partitions(2)]
        if len(store):
            whole.append(store.of_dtype(store.arrays[0].dtype))
        for one in whole:
            options = {"axis": axis, "dtype": data.draw(st.sampled_from([None, "f8"]))}
            check_equal(partial(one.reduce, ufunc, **options), Engine())
            check_equal(partial(one.reduce_each, ufunc, **options), Engine())


def large(path: Path, n: int = 400) -> ptrarray.PointerArray:
    rng = np.random.default_rng(0)
    with ptrarray.create(path, dtype="f4", shard_size="512KB") as writer:
        for first in range(0, n, 40):
            batch = {
                f"n{at}": rng.standard_normal(at * 3).astype("f4")
                for at in range(first, first + 40)
            }
            writer.write(batch)
    return ptrarray.open(path)


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, get_context("fork")) as executor:
        yield executor


@pytest.mark.usefixtures("small_blocks")
def test_in_processes_and_threads(path: Path, pool: Executor) -> None:
    with large(path, 80) as store, ThreadPoolExecutor(2) as threads:
        for executor in (pool, threads, Engine()):
            for ufunc in (np.add, np.maximum, np.multiply):
                check_equal(partial(store.reduce, ufunc), executor)
            check_equal(partial(store.reduce_each, np.add), executor)


@pytest.mark.usefixtures("measured_blocks")
def test_with_blocks_as_they_are(path: Path, pool: Executor) -> None:
    rng = np.random.default_rng(1)
    with ptrarray.create(path, dtype="f4", row_shape=(64,)) as writer:
        for number in range(6):
            writer[f"{number}"] = rng.standard_normal((30_000, 64)).astype("f4")
    with ptrarray.open(path) as store:
        check_equal(partial(store.reduce, np.add), pool)
        engine = Engine()
        store.reduce(np.add, executor=engine)
        assert engine.n_tasks == 3  # of two blocks each


def test_parts_are_many_more_than_workers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with large(path) as store:
        engine = Engine()
        store.reduce_each(np.add, executor=engine)
        assert engine.n_tasks == spread.TASKS == 256


def test_an_empty_array_without_a_result_is_named(path: Path) -> None:
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write({f"n{at}": np.ones(int(at != 7)) for at in range(12)})
    with ptrarray.open(path) as store, pytest.raises(BadInputError, match="'n7'") as raised:
        store.reduce_each(np.maximum, executor=Engine())
    assert raised.value.name == "n7"


def test_what_cannot_be_done_is_refused(path: Path) -> None:
    with large(path, 40) as store:
        for ufunc, axis in ((np.subtract, 0), (np.add, 1)):
            with pytest.raises(BadInputError):
                store.reduce(ufunc, executor=Engine(), axis=axis)
        with pytest.raises(BadInputError, match=r"a\.ptr"):
            store.reduce_each(np.sin, executor=Engine())
        own: Any = np.frompyfunc(lambda a, b: a, 2, 1)
        with pytest.raises(BadInputError, match="cannot be sent"):
            store.reduce_each(own, executor=Engine())


def test_a_store_that_has_changed_is_an_error(path: Path) -> None:
    with large(path, 40) as store:
        wanted = store.reduce(np.add)
        with ptrarray.append(path) as writer:
            writer["n1"] = np.ones(5)
            del writer["n2"]
        assert store.reduce(np.add, executor=Engine()) == wanted
        ptrarray.compact(path)
        with pytest.raises(StoreError, match="cut it anew"):
            store.reduce(np.add, executor=Engine())
        store.refresh()
        check_equal(partial(store.reduce, np.add), Engine())
