"""Arrays out to Arrow: how long memory lives, and what a consumer sees of errors and interrupts."""

from __future__ import annotations

import ctypes
import gc
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from operator import call
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import ptrarray
from ptrarray.bridges.capsules import Chunk, stream_of
from ptrarray.bridges.structures import ArrowArray, ArrowStream, Field
from ptrarray.errors import ClosedStoreError, CorruptStoreError
from tests.support.arrow import KINDS, by_pyarrow, in_lists, is_mapped

pytestmark = pytest.mark.usefixtures("no_syncs")

TABLES: dict[str, Callable[[Any], Any]] = {
    "pyarrow": pa.table,
    "polars": pl.DataFrame,
    "nanoarrow": lambda table: nanoarrow.ArrayStream(table).read_all(),
}


def rows_of(table: Any) -> Any:
    if isinstance(table, pl.DataFrame):
        return {name: values for name, values in table.rows()}
    return {row["name"]: row["values"] for row in table.to_pylist()}


# Memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", TABLES)
@pytest.mark.parametrize("kind", ["plain", "sharded", "masked", "holed", "overlaid"])
def test_tables_outlive_what_they_came_from(path: Path, kind: str, library: str) -> None:
    where, arrays = KINDS[kind](path)
    store = ptrarray.open(where)
    asked = store.arrow()
    tables = [TABLES[library](store.arrow())]
    with ptrarray.append(where) as writer:
        for name in arrays:
            writer[name] = [-1.0]
    ptrarray.checkpoint(where)
    store.refresh()
    tables.append(TABLES[library](asked))  # of the moment when it was asked for
    ptrarray.compact(where)
    store.refresh()
    assert by_pyarrow(store) == {name: [-1.0] for name in arrays}
    store.close()
    tables.append(TABLES[library](asked))
    del store, asked
    gc.collect()
    for table in tables:
        assert rows_of(table) == in_lists(arrays)


def test_a_store_that_is_closed_gives_no_more(path: Path) -> None:
    where, _ = KINDS["plain"](path)
    store = ptrarray.open(where)
    store.close()
    for ask in (store.arrow, store.__arrow_c_stream__, store.__arrow_c_schema__):
        with pytest.raises(ClosedStoreError):
            ask()


@pytest.mark.parametrize("library", TABLES)
@pytest.mark.parametrize("kind", ["plain", "holed", "masked", "sharded"])
def test_memory_is_let_go_of(path: Path, kind: str, library: str) -> None:
    """At once, and not when the next garbage is collected: the file may be large."""
    where, _ = KINDS[kind](path)
    gc.disable()
    try:
        store = ptrarray.open(where)
        mapping = store._opened.stores[0].mapped.data
        assert isinstance(mapping, np.ndarray)
        while isinstance(mapping.base, np.ndarray):
            mapping = mapping.base
        ended = weakref.ref(mapping)
        table = TABLES[library](store.arrow())
        begun = pa.RecordBatchReader.from_stream(store)
        begun.read_next_batch()
        capsule = store.__arrow_c_stream__()
        del store, mapping
        for last in ("table", "begun", "capsule"):
            assert ended() is not None, last
            if last == "table":
                del table
            elif last == "begun":
                del begun
            else:
                del capsule
        assert ended() is None
    finally:
        gc.enable()


def test_a_ragged_lives_as_long_as_its_array() -> None:
    batch = ptrarray.Ragged(np.arange(1000), [0, 10, 1000])
    array = pa.array(batch)
    ended = weakref.ref(batch.values)
    del batch
    gc.collect()
    assert ended() is not None
    assert array.to_pylist()[1] == list(range(10, 1000))
    del array
    assert ended() is None


def test_memory_is_let_go_of_by_any_thread_while_an_exception_is_on_its_way(path: Path) -> None:
    where, _ = KINDS["holed"](path)
    store = ptrarray.open(where)

    def use(*_: Any) -> None: ...

    def stumble() -> None:
        readers = pa.RecordBatchReader.from_stream(store), store.__arrow_c_stream__()
        use(pa.table(store), pl.DataFrame(store.arrow()), readers, store["missing"])

    for run in (stumble, partial(in_a_thread, stumble)):
        with pytest.raises(KeyError, match="missing"):
            run()


def in_a_thread(run: Callable[[], None]) -> None:
    caught: list[BaseException] = []

    def body() -> None:
        try:
            run()
        except KeyError as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    raise caught[0]


EXIT = """
import sys
import duckdb, nanoarrow, polars as pl, pyarrow as pa
import ptrarray
kept = []
for path in sys.argv[1:]:
    store = ptrarray.open(path)
    kept += pa.table(store), pl.DataFrame(store.arrow()), nanoarrow.ArrayStream(store)
    reader = pa.RecordBatchReader.from_stream(store)
    reader.read_next_batch()
    kept += reader, store.__arrow_c_stream__(), store.arrow(), duckdb.sql("from store")
    duckdb.register("registered", store.arrow())
    assert duckdb.execute("select count(*) from registered").fetchall() == [(len(store),)]
sys.modules["kept"] = kept  # is there to the end
kept.append(kept)
"""


def test_a_process_may_end_with_tables_in_its_hands(path: Path) -> None:
    paths = [KINDS[kind](path.with_name(kind))[0] for kind in ("plain", "holed")]
    run = [sys.executable, "-W", "ignore", "-c", EXIT, *map(str, paths)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Errors --------------------------------------------------------------------------------------------


class Stream:
    """A table of one column, of which each number is a batch."""

    def __init__(self, numbers: Callable[[], Iterator[int]]) -> None:
        self._numbers = numbers

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        chunks = (
            Chunk(1, (None,), (Chunk(1, (None, np.array([number]).view("u1"))),))
            for number in self._numbers()
        )
        return stream_of(Field("+s", "", (Field("l", "n"),)), chunks)


def failing() -> Iterator[int]:
    yield 1
    raise OSError(28, "nö space\0left")


def interrupted() -> Iterator[int]:
    yield 1
    signal.raise_signal(signal.SIGINT)
    yield 2


@pytest.mark.parametrize(
    "library", [pa.table, pl.DataFrame, lambda it: duckdb.execute("from it").fetchall()]
)
def test_an_error_in_the_middle_is_one_of_the_consumer(library: Any) -> None:
    with pytest.raises(Exception, match=r"OSError: .* nö space left"):
        library(Stream(failing))


@pytest.mark.parametrize("library", [pa.table, pl.DataFrame])  # which ask in this thread
def test_an_interrupt_is_an_error_of_the_consumer(library: Any) -> None:
    with pytest.raises(Exception, match="KeyboardInterrupt"):
        library(Stream(interrupted))


def test_who_has_no_nanoarrow_is_asked_to_install_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, _ = KINDS["plain"](path)
    store = ptrarray.open(where)
    monkeypatch.setitem(sys.modules, "nanoarrow", None)
    for call_ in (store.arrow, lambda: pa.table(store), lambda: pa.array(store.take(["a"]))):
        with pytest.raises(ImportError, match=r"pip install 'ptrarray\[arrow\]'"):
            call_()


def functions_of(capsule: Any) -> tuple[Any, Any]:
    """Return get_next and get_last_error of a stream, as C calls them."""
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    address = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, b"arrow_array_stream")
    struct = ArrowStream.from_address(address)
    pointers = ctypes.c_void_p, ctypes.c_void_p
    get_next = ctypes.CFUNCTYPE(ctypes.c_int, *pointers)(struct.get_next)
    get_last_error = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(struct.get_last_error)
    return partial(get_next, address), partial(get_last_error, address)


def test_a_signal_before_the_first_step_is_an_error_for_c() -> None:
    capsule = Stream(lambda: iter([1, 2])).__arrow_c_stream__()
    get_next, get_last_error = functions_of(capsule)
    array = ArrowArray()
    where = ctypes.addressof(array)
    interrupt = partial(ctypes.CDLL(None)["raise"], int(signal.SIGINT))
    # Between these calls Python has no step at which it would see the signal.
    results = list(map(call, [partial(get_next, where), interrupt, partial(get_next, where)]))
    assert results[:2] == [0, 0]
    assert results[2] != 0
    assert get_last_error().startswith(b"KeyboardInterrupt")
    assert get_next(where) != 0  # and so it stays
    assert array.length == 1  # of the first, which is not let go of here


def test_a_damaged_name_is_an_error(path: Path) -> None:
    where, _ = KINDS["plain"](path)
    ptrarray.checkpoint(where)
    index = where / "index.msgpack"
    raw = index.read_bytes()
    index.write_bytes(raw.replace("größe".encode(), b"gr\xff\xff\xc3\x9fe"))
    import ptrarray.storage.store.index as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHECKED_NBYTES", 0)  # as of a large index
        store = ptrarray.open(where)
    with pytest.raises(OSError, match=f"CorruptStoreError: {index} .*UTF-8"):
        pa.table(store)
    with pytest.raises(CorruptStoreError):
        store.verify()
    assert is_mapped(store, pa.table(store.arrow(names=False))["values"])
