"""Checks that take a store, so that every kind of test asks the same of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, PointerArray, PointerArrayWriter

Array = NDArray[Any]


def ints(*values: int) -> Array:
    return np.array(values, "i4")


def check_same(found: Array, expected: Array) -> None:
    """Check that two arrays have the same dtype, shape and bytes; masks, if either has, as well."""
    check_same_elements(found, expected)
    if isinstance(found, np.ma.MaskedArray):
        wanted = np.ma.asanyarray(expected)
        assert found.hardmask == wanted.hardmask
        values = [np.asarray(array.fill_value) for array in (found, wanted)]
        assert values[0].dtype == values[1].dtype
        assert repr(values[0].tolist()) == repr(values[1].tolist())  # NaN is not equal to itself


def check_same_elements(found: Array, expected: Array) -> None:
    """Check two arrays as `check_same`, but not what they would fill masked elements with."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if isinstance(expected, np.ma.MaskedArray) or isinstance(found, np.ma.MaskedArray):
        assert isinstance(found, np.ma.MaskedArray)
        masks = [np.ma.getmaskarray(array).tobytes() for array in (found, expected)]
        assert masks[0] == masks[1]
        found, expected = np.ma.getdata(found), np.ma.getdata(expected)
    if _is_padded(found.dtype):  # numpy leaves padding behind when it copies
        assert np.array_equal(found, expected)
    else:
        assert found.tobytes() == expected.tobytes()


def check_same_order(found: Array, expected: Array) -> None:
    """Check that an array was read in Fortran order if it was written in that, else in C order."""
    if found.ndim > 1 and found.size:
        assert found.flags.fnc == expected.flags.fnc


def _is_padded(dtype: np.dtype[Any]) -> bool:
    fields = dtype.fields
    return fields is not None and sum(f[0].itemsize for f in fields.values()) < dtype.itemsize


def check_store(
    store: PointerArray,
    expected: Mapping[str, Array],
    *,
    in_order: bool = False,
    length: Callable[[Array], int] = len,
) -> None:
    """Check that a reader is the same mapping as a dict of arrays, in every way to ask it.

    With `in_order`, the order of `expected` is the data order to find; else
    only that starts never decrease. `length` tells how many rows an array has.
    """
    names = list(store)
    assert sorted(names) == sorted(expected)
    if in_order:
        assert names == list(expected)
    _check_mapping(store, names, expected)
    _check_columns(store, names, expected, length)
    if _can_be_joined(store, expected):
        _check_batches(store, names, expected)
    else:
        with pytest.raises(BadInputError, match="one by one"):
            store.take(names)
    store.verify()


def check_exactly(path: Path, expected: Mapping[str, Array]) -> None:
    """Check what a fresh reader finds at a path, of values that have its dtypes."""
    with ptrarray.open(path) as store:
        check_store(store, expected)


def check_at(path: Path, expected: Mapping[str, Any], *, in_order: bool = False) -> None:
    """Check what a fresh reader finds at a path, of values that are taken in its dtype."""
    with ptrarray.open(path) as store:
        arrays = {name: np.asarray(value, store.dtype) for name, value in expected.items()}
        check_store(store, arrays, in_order=in_order)


def check_in_order(path: Path, expected: Mapping[str, Any]) -> None:
    """Check what a fresh reader finds at a path, in data order."""
    check_at(path, expected, in_order=True)


def _check_mapping(store: PointerArray, names: list[str], expected: Mapping[str, Array]) -> None:
    assert len(store) == len(expected)
    assert list(store.keys()) == names
    for name, array in expected.items():
        assert name in store
        check_same(store[name], array)
        found = store.get(name)
        assert found is not None
        check_same(found, array)
    absent = "no such name" * 3
    assert absent not in store
    assert store.get(absent) is None
    with pytest.raises(KeyError, match="no such name"):
        store[absent]
    for found_all in (dict(store.items()), dict(zip(names, store.values(), strict=True))):
        assert list(found_all) == names
        for name, found in found_all.items():
            check_same(found, expected[name])


def _check_columns(
    store: PointerArray,
    names: list[str],
    expected: Mapping[str, Array],
    length: Callable[[Array], int],
) -> None:
    assert list(store.names) == names
    assert store.names[:] == names
    assert len(store.names) == len(names)
    for column in (store.starts, store.ends, store.lengths):
        assert (column.dtype, column.shape) == (np.dtype("i8"), (len(names),))
    assert np.all(np.diff(store.starts) >= 0)
    assert store.lengths.tolist() == [length(expected[name]) for name in names]
    bounds = list(zip(store.starts.tolist(), store.ends.tolist(), strict=True))
    assert [store.pointers[name] for name in names] == bounds
    assert dict(store.pointers) == dict(zip(names, bounds, strict=True))
    for position, (name, (start, end)) in enumerate(zip(names, bounds, strict=True)):
        assert store.names[position] == name
        assert store.names[position - len(names)] == name
        check_same(store.arrays[position], expected[name])
        check_same(store.arrays[position - len(names)], expected[name])
        if start < end and store.layout == "rows":
            check_same_elements(store.rows[start:end], expected[name])
            check_same_elements(store[start:end], expected[name])


def _can_be_joined(store: PointerArray, expected: Mapping[str, Array]) -> bool:
    kinds = {(array.dtype, array.shape[1:]) for array in expected.values()}
    is_one = len(kinds) < 2 and all(array.ndim for array in expected.values())
    return is_one or store.layout == "rows"


def _check_batches(store: PointerArray, names: list[str], expected: Mapping[str, Array]) -> None:
    assert len(store.arrays) == len(names)
    backwards = names[::-1]
    batches = {
        "take": store.take(backwards),
        "slice": store.arrays[::-1],
        "positions": store.arrays[np.arange(len(names))[::-1]],
    }
    for batch in batches.values():
        assert len(batch) == len(backwards)
        for name, found in zip(backwards, batch.to_list(), strict=True):
            check_same_elements(found, expected[name])
    everything = np.ones(len(names), np.bool_)
    assert len(store.arrays[everything]) == len(names)


def check_writer(
    writer: PointerArrayWriter,
    expected: Mapping[str, Array],
    length: Callable[[Array], int] = len,
) -> None:
    """Check that a writer tells of the same arrays."""
    assert len(writer) == len(expected)
    assert sorted(writer) == sorted(expected)
    assert sorted(writer.pointers) == sorted(expected)
    for name, array in expected.items():
        assert name in writer
        check_same(writer[name], array)
        start, end = writer.pointers[name]
        assert end - start == length(array)


def digests(directory: Path) -> dict[str, str]:
    """SHA-256 of each file below a directory, by its path in it."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@contextmanager
def unchanged(directory: Path) -> Iterator[None]:
    """Check that a ``with`` block leaves each byte of a directory as it was."""
    before = digests(directory)
    yield
    assert digests(directory) == before


def skip_without_bigarray() -> None:
    """Skip where bigarray is not there, or cannot open what it wrote, as with numpy 2.5 or later."""
    pytest.importorskip("bigarray")
    if "subtype" not in signature(np.memmap.__new__).parameters:
        pytest.skip("bigarray opens no file with this numpy")


def open_descriptors(directory: Path) -> list[str]:
    """Files in a directory that this process has open, once for each descriptor."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("only Linux tells what descriptors lead to")
    found = []
    for entry in os.listdir(folder):  # noqa: PTH208 - iterdir would hold a descriptor itself
        try:
            found.append(os.readlink(folder / entry))  # noqa: PTH115
        except OSError:  # the one that lists the folder
            continue
    return sorted(target for target in found if target.startswith(f"{directory}/"))


def root_base(array: Array) -> Any:
    """Return the array at the bottom of a chain of views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
