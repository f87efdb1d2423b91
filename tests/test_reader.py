"""A reader is a mapping of names to arrays, has rows and batches, and ends when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    Pointer,
    PointerArray,
    StoreNotFoundError,
    UnknownNameError,
)
from tests.support.backends import HERE, mapped, shown
from tests.support.checks import check_store
from tests.support.reading import ARRAYS, arrays, handed_out, make_four

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def path(path: Path) -> Path:
    return make_four(path)


# what it is ---------------------------------------------------------------------------------------


def test_is_a_mapping(store: PointerArray) -> None:
    assert isinstance(store, Mapping)
    check_store(store, arrays(), in_order=True)
    strange: Any = 5
    assert strange not in store
    assert "\udcff" not in store
    for absent in ("absent", None, 1, True, slice(2)):  # of which four are indices into the rows
        assert store.get(absent, "default") == "default"
    assert "b" in store.keys()  # noqa: SIM118 - the view is what is asked
    assert len(store.items()) == len(store.values()) == 4


def test_properties(store: PointerArray, path: Path, backend: str) -> None:
    assert (store.path, store.mode, store.closed) == (shown(path), "r", False)
    assert store.backend == (backend if backend in HERE else "pread")
    assert (store.dtype, store.row_shape) == (np.dtype("i4"), ())
    assert (store.shape, store.ndim, store.size, store.nbytes) == ((6,), 1, 6, 24)
    assert dict(store.attrs) == {"rate": 16000}
    assert shown(path) in repr(store)
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
        assert raised.value.path == shown(path)
        assert isinstance(raised.value, KeyError)
    with pytest.raises(UnknownNameError, match="'absent'"):
        store.take(["a", "absent"])


def test_opening_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"no such directory|there is no \w+://") as raised:
        ptrarray.open(tmp_path / "absent.ptr")
    assert raised.value.path == shown(tmp_path / "absent.ptr")
    assert list(tmp_path.iterdir()) == []


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
    with pytest.raises(BadInputError, match=r"axis 1 is not .* \(for .*\)") as caught:
        store.reduce_each(np.add, axis=1)
    assert caught.value.path == store.path


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


# verify -------------------------------------------------------------------------------------------


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


# close --------------------------------------------------------------------------------------------


def test_close(store: PointerArray, path: Path) -> None:
    views = handed_out(store)
    content = {name: array.tobytes() for name, array in views.items()}
    store.close()
    store.close()
    assert store.closed
    assert "closed" in repr(store)
    assert store.path == shown(path)
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
    assert raised.value.path == shown(path)


def test_context_manager_closes(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ptrarray.open(path) as store:
        _ = 1 // 0
    assert store.closed


def test_dask_is_given_another_token_after_each_commit(path: Path) -> None:
    ptrarray.create(path, dtype="i4", mode="w").close()
    with ptrarray.open(path) as old, ptrarray.open(path) as new:
        assert old.__dask_tokenize__() == new.__dask_tokenize__()
        with ptrarray.append(path) as writer:
            writer["a"] = [1]
        new.refresh()
        assert old.__dask_tokenize__() != new.__dask_tokenize__()
    with ptrarray.open(path, "c") as changed:
        assert changed.__dask_tokenize__() != changed.__dask_tokenize__()
