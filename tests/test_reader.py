"""Every public method and property of a reader."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    Pointer,
    PointerArray,
    PointerArrayWriter,
    StoreError,
    StoreNotFoundError,
    UnknownNameError,
)
from tests.support import core_workers
from tests.support.backends import all_modes, mapped
from tests.support.checks import check_store, open_descriptors, root_base, unchanged

Array = NDArray[Any]

pytestmark = pytest.mark.usefixtures("backend")

ARRAYS = {"b": [1, 2, 3], "": [], "a": [4, 5], "größe\n\0": [6]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of a store of four arrays, half of them in the journal."""
    path = tmp_path / "read.ptr"
    with ptrarray.create(path, dtype="i4", attrs={"rate": 16000}) as writer:
        writer.write({name: ARRAYS[name] for name in list(ARRAYS)[:2]})
        ptrarray.checkpoint(path)
        writer.write({name: ARRAYS[name] for name in list(ARRAYS)[2:]})
    return path


@pytest.fixture
def store(path: Path) -> Iterator[PointerArray]:
    with ptrarray.open(path) as opened:
        yield opened


def arrays(**changes: list[int]) -> dict[str, Array]:
    return {name: np.array(value, "i4") for name, value in {**ARRAYS, **changes}.items()}


# what it is ---------------------------------------------------------------------------------------


def test_is_a_mapping(store: PointerArray) -> None:
    assert isinstance(store, Mapping)
    check_store(store, arrays(), in_order=True)
    strange: Any = 5
    assert strange not in store
    assert "\udcff" not in store
    assert store.get("absent", "default") == "default"
    assert "b" in store.keys()  # noqa: SIM118 - the view is what is asked
    assert len(store.items()) == len(store.values()) == 4


def test_properties(store: PointerArray, path: Path, backend: str) -> None:
    assert (store.path, store.mode, store.closed) == (str(path), "r", False)
    assert store.backend == backend
    assert (store.dtype, store.row_shape) == (np.dtype("i4"), ())
    assert (store.shape, store.ndim, store.size, store.nbytes) == ((6,), 1, 6, 24)
    assert dict(store.attrs) == {"rate": 16000}
    assert str(path) in repr(store)
    assert "4 arrays, 6 rows" in repr(store)


def test_properties_with_a_row_shape(tmp_path: Path) -> None:
    path = tmp_path / "wide.ptr"
    with ptrarray.create(path, dtype="u2", row_shape=(2, 3), rows=4) as writer:
        writer["a"] = np.ones((1, 2, 3), "u2")
    with ptrarray.open(path) as store:
        assert (store.shape, store.row_shape, store.ndim) == ((4, 2, 3), (2, 3), 3)
        assert (store.size, store.nbytes) == (24, 48)
        assert store["a"].shape == (1, 2, 3)


def test_attrs_are_read_only(store: PointerArray) -> None:
    attrs: Any = store.attrs
    with pytest.raises(TypeError):
        attrs["rate"] = 1


def test_equality_is_identity(store: PointerArray, path: Path) -> None:
    with ptrarray.open(path) as other:
        assert store != other
        assert len({store, other}) == 2


def test_pointers(store: PointerArray) -> None:
    pointers = store.pointers
    assert isinstance(pointers, Mapping)
    assert pointers["a"] == Pointer(3, 5)
    assert (pointers["a"].start, pointers["a"].end, pointers["a"].length) == (3, 5, 2)
    assert list(pointers) == list(store)
    assert pointers.get("absent") is None
    with pytest.raises(UnknownNameError, match="'absent'"):
        pointers["absent"]


def test_names_are_a_sequence(store: PointerArray) -> None:
    names = store.names
    assert isinstance(names, Sequence)
    assert list(names) == list(ARRAYS)
    assert (names[0], names[-1], names[1:3]) == ("b", "größe\n\0", ["", "a"])
    assert (names.index("a"), names.count("a"), "a" in names, "c" in names) == (2, 1, True, False)
    assert list(reversed(names)) == list(ARRAYS)[::-1]
    with pytest.raises(IndexError):
        names[4]


@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_columns_cannot_be_changed(path: Path, is_checkpointed: bool) -> None:
    if is_checkpointed:
        ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        for column in (store.starts, store.ends):
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 5
        assert store.lengths.tolist() == [3, 0, 2, 1]


def test_unknown_name(store: PointerArray, path: Path) -> None:
    for name in ("absent", "\udcff"):
        with pytest.raises(UnknownNameError, match="no array named") as raised:
            store[name]
        assert raised.value.name == name
        assert raised.value.path == str(path)
        assert isinstance(raised.value, KeyError)
    with pytest.raises(UnknownNameError, match="'absent'"):
        store.take(["a", "absent"])


# rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(2),
        slice(1, 4),
        slice(None, None, 2),
        slice(None, None, -1),
        [0, 5, 0],
        np.array([1, -1]),
        np.array([True, False, True, False, True, False]),
        np.arange(6) > 2,
        (slice(1, 3),),
        ...,
        None,
        [],
    ],
    ids=repr,
)
def test_rows_by_any_index_of_numpy(store: PointerArray, key: Any) -> None:
    expected = np.arange(1, 7, dtype="i4")[key]
    found = store[key]
    assert np.array_equal(found, expected)
    assert np.array_equal(store.rows[key], expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("key", [6, -7, 1.5, [9], ["a"], (0, 0)], ids=repr)
def test_rows_that_are_not_there(store: PointerArray, key: Any) -> None:
    with pytest.raises(IndexError):
        store[key]


def test_rows_with_a_row_shape(tmp_path: Path) -> None:
    path = tmp_path / "wide.ptr"
    expected = np.arange(24).reshape(4, 2, 3)
    with ptrarray.create(path, dtype="i8", row_shape=(2, 3)) as writer:
        writer.write({"a": expected[:1], "b": expected[1:]})
    with ptrarray.open(path) as store:
        assert np.array_equal(store[1:, 0, ::2], expected[1:, 0, ::2])
        assert np.array_equal(store[..., 1], expected[..., 1])
        assert np.array_equal(store["b"], expected[1:])


@mapped
def test_array_protocol(store: PointerArray) -> None:
    view = np.asarray(store)
    assert type(view) is np.ndarray
    assert np.shares_memory(view, store.rows)
    assert np.shares_memory(np.array(store, copy=False), store.rows)
    assert np.shares_memory(np.asarray(store, "i4"), store.rows)
    copy = np.array(store)
    assert not np.shares_memory(copy, store.rows)
    copy[0] = 9
    assert store[0] == 1
    cast = np.asarray(store, dtype="f8")
    assert cast.dtype == np.dtype("f8")
    assert cast.tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="copy"):
        np.array(store, dtype="f8", copy=False)


def test_reductions_are_numpy_functions(store: PointerArray) -> None:
    assert np.sum(store) == 21
    assert np.max(store) == 6
    assert store.reduce(np.add) == 21
    assert store.reduce_each(np.add).tolist() == [6, 0, 9, 6]


# batches ------------------------------------------------------------------------------------------


def test_take(store: PointerArray) -> None:
    batch = store.take(["a", "b", "", "a"])
    assert batch.values.tolist() == [4, 5, 1, 2, 3, 4, 5]
    assert batch.offsets.tolist() == [0, 2, 5, 5, 7]
    assert batch.values.flags.c_contiguous
    assert not np.shares_memory(batch.values, store.rows)
    assert len(store.take([])) == 0
    assert store.take(iter(["b"])).to_list()[0].tolist() == [1, 2, 3]
    assert store.take({"b": 1}).to_list()[0].tolist() == [1, 2, 3]


def test_take_of_one_str_is_a_mistake(store: PointerArray) -> None:
    with pytest.raises(BadInputError, match="several names"):
        store.take("ab")


def test_arrays_by_position(store: PointerArray) -> None:
    assert len(store.arrays) == 4
    assert store.arrays[0].tolist() == [1, 2, 3]
    assert store.arrays[-1].tolist() == [6]
    assert store.arrays[2].tolist() == [4, 5]
    assert [array.tolist() for array in store.arrays] == list(ARRAYS.values())
    assert [array.tolist() for array in store.walk()] == list(ARRAYS.values())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ([2, 0], [[4, 5], [1, 2, 3]]),
        ([-1], [[6]]),
        ([], []),
        (np.array([3, 3]), [[6], [6]]),
        (slice(1, 3), [[], [4, 5]]),
        (slice(None, None, -2), [[6], []]),
        (np.array([True, False, False, True]), [[1, 2, 3], [6]]),
        ([False] * 4, []),
    ],
    ids=repr,
)
def test_several_arrays_by_position(
    store: PointerArray, key: Any, expected: list[list[int]]
) -> None:
    found = store.arrays[key]
    assert [array.tolist() for array in found] == expected


@pytest.mark.parametrize("key", [4, -5, [4], [0, -5], "b", 1.5, [[0]], [True], None, ...], ids=repr)
def test_positions_that_are_not_there(store: PointerArray, key: Any) -> None:
    with pytest.raises(IndexError):
        store.arrays[key]


# views --------------------------------------------------------------------------------------------


def handed_out(store: PointerArray) -> dict[str, Array]:
    """Everything that is a view."""
    return {
        "by name": store["b"],
        "get": store.get("b", np.empty(0)),
        "items": dict(store.items())["b"],
        "values": next(iter(store.values())),
        "by position": store.arrays[0],
        "rows": store.rows,
        "slice": store[0:3],
        "asarray": np.asarray(store),
    }


@mapped
def test_views_are_plain_arrays_on_a_memmap(store: PointerArray, path: Path) -> None:
    for array in handed_out(store).values():
        assert type(array) is np.ndarray
        base = root_base(array)
        assert type(base) is np.memmap
        assert Path(str(base.filename)) == path / "data.bin"
        assert np.shares_memory(array, store.rows)


@mapped
def test_rows_begin_at_a_multiple_of_64_bytes(store: PointerArray) -> None:
    assert store.rows.ctypes.data % 64 == 0


@mapped
def test_views_are_read_only(store: PointerArray) -> None:
    for array in handed_out(store).values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_ten_thousand_arrays_take_no_more_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "many.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({str(n): [n] for n in range(10_000)})
    before = open_descriptors(path)
    store = ptrarray.open(path)
    with_reader = open_descriptors(path)
    held = [store[str(n)] for n in range(10_000)]
    held += list(store.values())
    assert open_descriptors(path) == with_reader
    assert len(with_reader) - len(before) <= 2
    assert sum(int(array[0]) for array in held) == 2 * sum(range(10_000))
    del held
    store.close()
    assert open_descriptors(path) == before


def test_a_read_changes_no_file(path: Path) -> None:
    with unchanged(path), ptrarray.open(path) as store:
        check_store(store, arrays())
        store.refresh()
        pickle.loads(pickle.dumps(store)).close()


def test_reads_from_a_store_that_is_read_only(path: Path) -> None:
    for file in (*path.iterdir(), path):
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        with ptrarray.open(path) as store:
            check_store(store, arrays())
    finally:
        path.chmod(0o755)


# a snapshot ---------------------------------------------------------------------------------------


def change_all(path: Path) -> None:
    """Do everything to a store that a writer can do."""
    with ptrarray.append(path) as writer:
        writer["b"] = [7]
        del writer["a"]
        writer["new"] = np.arange(10_000)
        writer.point("twice", 0, 2)
        writer.attrs["rate"] = 1
        ptrarray.checkpoint(path)
        writer["newer"] = [8]


def replace(path: Path) -> None:
    with ptrarray.create(path, dtype="f8", mode="w") as writer:
        writer["other"] = [0.5]


def compact_with_a_hole(path: Path) -> None:
    with ptrarray.append(path) as writer:
        del writer["a"]
    ptrarray.compact(path)


CHANGES = {"changes": change_all, "mode w": replace, "compact": ptrarray.compact}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_stays_what_it_was_until_refreshed(
    path: Path, store: PointerArray, change: Callable[[Path], None]
) -> None:
    views = handed_out(store)
    content = {name: array.tobytes() for name, array in views.items()}
    pointers, names = store.pointers, store.names
    change(path)
    check_store(store, arrays(), in_order=True)
    assert dict(store.attrs) == {"rate": 16000}
    store.refresh()
    assert {name: array.tobytes() for name, array in views.items()} == content
    assert dict(pointers)["a"] == (3, 5)
    assert list(names) == list(ARRAYS)


def test_refresh_shows_what_changed(path: Path, store: PointerArray) -> None:
    change_all(path)
    store.refresh()
    expected = arrays(b=[7], new=list(range(10_000)), twice=[1, 2], newer=[8])
    del expected["a"]
    check_store(store, expected)
    assert store.attrs["rate"] == 1


def test_refresh_goes_over_to_the_store_that_replaced_it(path: Path, store: PointerArray) -> None:
    replace(path)
    store.refresh()
    check_store(store, {"other": np.array([0.5])})
    assert store.dtype == np.dtype("f8")


def test_refresh_step_by_step(path: Path, store: PointerArray) -> None:
    expected = arrays()
    with ptrarray.append(path) as writer:
        for n in range(60):
            writer[str(n)] = expected[str(n)] = np.full(n, n, "i4")
            if n % 9 == 8:
                ptrarray.checkpoint(path)
            assert str(n) not in store
            store.refresh()
            assert store[str(n)].tolist() == [n] * n
            assert len(store) == len(expected)
    check_store(store, expected)


@mapped
def test_refresh_without_changes(path: Path, store: PointerArray) -> None:
    rows = store.rows
    before = open_descriptors(path)
    for _ in range(100):
        store.refresh()
    assert np.shares_memory(store.rows, rows)
    assert open_descriptors(path) == before


def test_refresh_holds_one_mapping(path: Path, store: PointerArray) -> None:
    before = open_descriptors(path)
    with ptrarray.append(path) as writer:
        for n in range(50):
            writer[str(n)] = [n]
            store.refresh()
        ptrarray.checkpoint(path)
        store.refresh()
    assert open_descriptors(path) == before


def test_iterators_keep_to_their_snapshot(path: Path, store: PointerArray) -> None:
    names, items, values = iter(store), iter(store.items()), iter(store.values())
    walk, batch = store.walk(), store.arrays
    change_all(path)
    store.refresh()
    assert list(names) == list(ARRAYS)
    assert {name: array.tolist() for name, array in items} == ARRAYS
    assert [array.tolist() for array in values] == list(ARRAYS.values())
    assert [array.tolist() for array in walk] == list(ARRAYS.values())
    assert batch[0].tolist() == [1, 2, 3]
    assert batch[[0]].values.tolist() == [1, 2, 3]


def test_refresh_after_the_store_was_removed(path: Path, store: PointerArray) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    with pytest.raises(StoreNotFoundError, match="no such directory"):
        store.refresh()
    assert {name: array.tolist() for name, array in store.items()} == ARRAYS


@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_refresh_goes_over_to_a_store_made_anew(path: Path, is_checkpointed: bool) -> None:
    """Also where its generation is the one of the store that was removed."""
    old = path.with_name("old.ptr")
    ptrarray.create(old, dtype="i4").close()
    with ptrarray.append(old) as writer, ptrarray.open(old) as store:
        writer["a"] = [1]
        if is_checkpointed:
            ptrarray.checkpoint(old)
        store.refresh()
        shutil.rmtree(old)
        with ptrarray.create(old, dtype="f8") as making:
            making["b"] = [0.5]
            if is_checkpointed:
                ptrarray.checkpoint(old)
            store.refresh()
            check_store(store, {"b": np.array([0.5])})


def test_a_header_that_is_half_rewritten_is_read_again(
    path: Path, store: PointerArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second slot is whole then, but older: it must not pass for the state of the store."""
    with ptrarray.append(path) as writer:
        writer["latest"] = [1]
        writer.flush()
        writer["later still"] = [2]
    n_torn = 0

    def torn(fd: int, n_bytes: int, start_byte: int) -> bytes:
        nonlocal n_torn
        raw = pread(fd, n_bytes, start_byte)
        if start_byte or n_bytes != 8192 or n_torn % 3 == 2:
            n_torn += not start_byte and n_bytes == 8192
            return raw
        n_torn += 1
        return raw[:40] + b"\xff" * 20 + raw[60:]

    pread = os.pread
    monkeypatch.setattr("ptrarray.storage.system.files.os.pread", torn)
    store.refresh()
    assert store["later still"].tolist() == [2]
    with ptrarray.open(path) as other:
        assert list(other) == list(store)
    store.refresh()
    assert len(store) == 6
    assert n_torn >= 9  # each time twice in vain


# changes in the middle of a read ------------------------------------------------------------------


def append_and_checkpoint(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["b"] = [7]
        del writer["a"]
        ptrarray.checkpoint(path)
        writer.write({"new": [8], "newer": [9]})


def checkpoint_and_fill_the_journal(path: Path) -> None:
    """Put other records where the reader has seen that there are some."""
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        writer.write({f"new {n}": [n] for n in range(50)})


READING_CALLS = ("open", "pread", "stat", "fstat", "close")
CHANGING_CALLS = ("open", "pwrite", "pwritev", "ftruncate", "replace")
INTERFERING = {
    "checkpoint": ptrarray.checkpoint,
    "append": append_and_checkpoint,
    "journal": checkpoint_and_fill_the_journal,
    "compact": ptrarray.compact,
    "mode w": replace,
}


def contents(store: PointerArray) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in store.items()}


@pytest.mark.parametrize("interfere", INTERFERING.values(), ids=INTERFERING)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_change_before_any_system_call_of_a_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, interfere: Callable[[Path], None], is_open: bool
) -> None:
    """An open or refresh sees the store as it was, or as it is by then."""
    with ptrarray.append(path) as writer:
        writer.write({"hole": [0] * 9})
        del writer["hole"]
        writer["late"] = [7]
    for n_calls_before in itertools.count():
        copy = path.with_name(f"{n_calls_before}.ptr")
        shutil.copytree(path, copy)
        with ptrarray.append(copy) as writer, ptrarray.open(copy) as store:
            writer["latest"] = [1]
            before = contents(ptrarray.open(copy))
            calls = before_call(
                monkeypatch, n_calls_before, functools.partial(interfere, copy), READING_CALLS
            )
            with calls as interfered:
                if is_open:
                    store = ptrarray.open(copy)
                else:
                    store.refresh()
            assert contents(store) in (before, contents(ptrarray.open(copy)))
            store.verify()
        if not interfered:
            break
    assert n_calls_before > 5


class KilledError(BaseException):
    """What nobody catches, as nobody catches a SIGKILL."""


def be_killed() -> None:
    raise KilledError


@pytest.mark.parametrize("change", INTERFERING.values(), ids=INTERFERING)
def test_refresh_after_a_change_that_was_killed_before_any_system_call(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """A reader that was open sees what a new one sees, and so does one after the next writer."""
    for n_calls_before in itertools.count():
        copy = path.with_name(f"{n_calls_before}.ptr")
        shutil.copytree(path, copy)
        with ptrarray.open(copy) as store:
            before = contents(store)
            killing = before_call(monkeypatch, n_calls_before, be_killed, CHANGING_CALLS)
            with suppress(KilledError), killing as killed:
                change(copy)
            assert contents(store) == before
            for _ in range(2):
                store.refresh()
                assert contents(store) == contents(ptrarray.open(copy))
                store.verify()
                ptrarray.append(copy).close()
        if not killed:
            break
    assert n_calls_before > 5


@contextmanager
def before_call(
    monkeypatch: pytest.MonkeyPatch,
    n_calls_before: int,
    interfere: Callable[[], None],
    calls: Sequence[str],
) -> Iterator[list[str]]:
    """Do something before the system call after so many; list the call if there was one."""
    names, interfered = itertools.count(), list[str]()

    def interrupted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            if not interfered and next(names) == n_calls_before:
                interfered.append(call.__name__)
                interfere()
            return call(*arguments, **more)

        return run

    with monkeypatch.context() as patch:
        for name in calls:
            patch.setattr(
                f"ptrarray.storage.system.files.os.{name}", interrupted(getattr(os, name))
            )
        yield interfered


# modes --------------------------------------------------------------------------------------------


@mapped
def test_mode_r_plus_changes_the_store(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        store["b"][0] = 10
        store.arrays[2][:] = [40, 50]
        store[5:][0] = 60
        changed = arrays(b=[10, 2, 3], a=[40, 50])
        changed["größe\n\0"] = np.array([60], "i4")
        with pytest.raises(CorruptStoreError):
            store.verify()
        store.flush()
        store.refresh()
        check_store(store, changed)
    with ptrarray.open(path) as store:
        check_store(store, changed)


CHANGING: dict[str, Callable[[PointerArray], Array]] = {
    "name": lambda store: store["b"],
    "get": lambda store: store.get("b", np.empty(0)),
    "items": lambda store: next(iter(store.items()))[1],
    "values": lambda store: next(iter(store.values())),
    "walk": lambda store: next(store.walk()),
    "arrays": lambda store: store.arrays[0],
    "iterate arrays": lambda store: next(iter(store.arrays)),
    "rows": lambda store: store.rows,
    "slice": lambda store: store[:2],
    "asarray": lambda store: np.asarray(store),
}


@mapped
@pytest.mark.parametrize("look", CHANGING.values(), ids=CHANGING)
@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_mode_r_plus_renews_checksums_at_close(
    path: Path, look: Callable[[PointerArray], Array], is_checkpointed: bool
) -> None:
    with ptrarray.append(path) as writer:
        writer.point("shares row 0", 0, 1)
    if is_checkpointed:
        ptrarray.checkpoint(path)
    with ptrarray.open(path, mode="r+") as store:
        look(store)[0] = 10
    expected = arrays(b=[10, 2, 3])
    expected["shares row 0"] = np.array([10], "i4")
    with ptrarray.open(path) as store:
        check_store(store, expected)


@mapped
def test_mode_r_plus_renews_what_is_changed_after_a_flush(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        view = store["b"]
        view[0] = 10
        store.flush()
        ptrarray.verify(path)
        view[1] = 20
    with ptrarray.open(path) as store:
        check_store(store, arrays(b=[10, 20, 3]))


@mapped
def test_mode_r_plus_without_a_change_commits_nothing(path: Path) -> None:
    before = len(ptrarray.open(path))
    with ptrarray.open(path, mode="r+") as store:
        list(store.values())
    with ptrarray.open(path) as store:
        check_store(store, arrays(), in_order=True)
        assert len(store) == before


@mapped
def test_mode_r_plus_leaves_an_array_replaced_meanwhile(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        store["b"][0] = 10
        with ptrarray.append(path) as writer:
            writer["b"] = [7]
    with ptrarray.open(path) as store:
        check_store(store, arrays(b=[7]))


@mapped
def test_mode_r_plus_renews_checksums_at_refresh(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        store["b"][0] = 10
        store.refresh()
        store.verify()
        ptrarray.verify(path)


@mapped
@pytest.mark.parametrize("lose", [replace, compact_with_a_hole])
def test_mode_r_plus_tells_when_changes_are_lost(path: Path, lose: Callable[[Path], None]) -> None:
    store = ptrarray.open(path, mode="r+")
    view = store["b"]
    lose(path)
    view[0] = 10
    with pytest.raises(StoreError, match="lost"):
        store.refresh()
    with pytest.raises(StoreError, match="lost"):
        store.close()
    assert store.closed
    assert view.tolist() == [10, 2, 3]
    ptrarray.verify(path)


@mapped
def test_mode_c_changes_memory_only(path: Path) -> None:
    with unchanged(path), ptrarray.open(path, mode="c") as store:
        store["b"][0] = 10
        assert store["b"].tolist() == [10, 2, 3]
        assert store.rows[0] == 10
    with ptrarray.open(path) as store:
        check_store(store, arrays())


@pytest.mark.parametrize("mode", ["w", "w+", "x", "", "rb", None])
def test_unknown_modes(path: Path, mode: Any) -> None:
    with unchanged(path), pytest.raises(BadInputError, match=r"is not one of 'r', 'r\+', 'c'"):
        ptrarray.open(path, mode=mode)


@all_modes
@pytest.mark.parametrize("rows", [0, 3])
def test_empty_stores_in_all_modes(tmp_path: Path, backend: str, mode: Any, rows: int) -> None:
    path = tmp_path / "empty.ptr"
    ptrarray.create(path, dtype="f4", row_shape=2, rows=rows).close()
    with unchanged(path), ptrarray.open(path, mode=mode) as store:
        check_store(store, {})
        assert store.rows.tolist() == [[0, 0]] * rows
        assert store[:].flags.writeable == (mode != "r" or backend == "pread")


# close --------------------------------------------------------------------------------------------


def test_close(store: PointerArray, path: Path) -> None:
    views = handed_out(store)
    content = {name: array.tobytes() for name, array in views.items()}
    store.close()
    store.close()
    assert store.closed
    assert "closed" in repr(store)
    assert store.path == str(path)
    assert {name: array.tobytes() for name, array in views.items()} == content


USES: dict[str, Callable[[PointerArray], object]] = {
    "getitem": lambda store: store["a"],
    "rows by index": lambda store: store[0],
    "contains": lambda store: "a" in store,
    "len": len,
    "iter": list,
    "items": lambda store: list(store.items()),
    "values": lambda store: list(store.values()),
    "walk": lambda store: list(store.walk()),
    "get": lambda store: store.get("a"),
    "take": lambda store: store.take(["a"]),
    "pointers": lambda store: store.pointers,
    "arrays": lambda store: store.arrays[0],
    "names": lambda store: store.names[0],
    "starts": lambda store: store.starts,
    "ends": lambda store: store.ends,
    "lengths": lambda store: store.lengths,
    "rows": lambda store: store.rows,
    "asarray": np.asarray,
    "sum": np.sum,
    "reduce": lambda store: store.reduce(np.add),
    "reduce_each": lambda store: store.reduce_each(np.add),
    "mean_each": lambda store: store.mean_each(),
    "std_each": lambda store: store.std_each(),
    "verify": lambda store: store.verify(),
    "refresh": lambda store: store.refresh(),
    "flush": lambda store: store.flush(),
    "dtype": lambda store: store.dtype,
    "row_shape": lambda store: store.row_shape,
    "shape": lambda store: store.shape,
    "nbytes": lambda store: store.nbytes,
    "attrs": lambda store: store.attrs,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_after_close(
    store: PointerArray, path: Path, use: Callable[[PointerArray], object]
) -> None:
    store.close()
    with pytest.raises(ClosedStoreError, match="closed") as raised:
        use(store)
    assert raised.value.path == str(path)


def test_context_manager_closes(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ptrarray.open(path) as store:
        _ = 1 // 0
    assert store.closed


# elsewhere ----------------------------------------------------------------------------------------


@all_modes
def test_pickle(path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, mode: Any) -> None:
    monkeypatch.chdir(path.parent)
    with ptrarray.open(path.name, mode=mode) as store:
        raw = pickle.dumps(store)
        monkeypatch.chdir("/")
        assert len(raw) < 2000
        with pickle.loads(raw) as copy:
            assert (copy.path, copy.mode, copy.backend) == (str(path), mode, backend)
            check_store(copy, arrays())


def test_used_after_a_fork(path: Path, store: PointerArray) -> None:
    held = store["b"]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    children = [
        context.Process(target=core_workers.read_with, args=(store, theirs)) for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        assert ours.poll(30)
        assert ours.recv() == ARRAYS
        child.join()
        assert child.exitcode == 0
    assert held.tolist() == [1, 2, 3]
    check_store(store, arrays())


@mapped
def test_joblib_ships_views_by_reference(path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    with ptrarray.append(path) as writer:
        writer["large"] = np.ones(10**6, "i4")
    with ptrarray.open(path) as store:
        work = joblib.delayed(core_workers.sum_of)
        arrays_to_sum = [store["large"], store["large"][5:], store.rows]
        with joblib.parallel_config("loky", n_jobs=2):
            found = joblib.Parallel()(work(array) for array in arrays_to_sum)
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    data_file = str(path / "data.bin")
    assert found == [(10**6, data_file), (10**6 - 5, data_file), (10**6 + 21, data_file)]


def test_threads_share_a_reader(path: Path, store: PointerArray) -> None:
    barrier = threading.Barrier(4)

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        barrier.wait()
        for _ in range(200):
            name = list(ARRAYS)[random.integers(4)]
            assert store[name].tolist() == ARRAYS[name]
            assert len(store.take([name, "b"])) == 2
            assert store.names[0] == "b"

    def follow(writer: PointerArrayWriter) -> None:
        barrier.wait()
        for n in range(100):
            writer[f"new {n}"] = [n]
            store.refresh()

    with ptrarray.append(path) as writer, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(read, seed) for seed in range(3)] + [pool.submit(follow, writer)]
        for future in futures:
            future.result()
    assert len(store) == 104


def test_verify_finds_what_changed_behind_its_back(path: Path) -> None:
    with (path / "data.bin").open("r+b") as file:
        file.seek(4 * 4)
        file.write(b"\xff")
    with ptrarray.open(path) as store, pytest.raises(CorruptStoreError, match="'a'") as raised:
        store.verify()
    (damage,) = raised.value.damage
    assert (damage.name, damage.start, damage.end) == ("a", 3, 5)
    with pytest.raises(CorruptStoreError):
        ptrarray.verify(path)


def test_verify_leaves_no_thread_behind(path: Path) -> None:
    before = threading.active_count()
    ptrarray.verify(path)
    assert threading.active_count() == before


def test_an_open_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no such directory") as raised:
        ptrarray.open(tmp_path / "absent.ptr")
    assert raised.value.path == str(tmp_path / "absent.ptr")
    assert list(tmp_path.iterdir()) == []
