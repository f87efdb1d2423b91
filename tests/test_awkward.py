"""Arrays of a store in awkward: the same values, on the same memory, as long as anybody holds them."""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, ClosedStoreError, CorruptStoreError, Ragged
from tests.support import forging
from tests.support.arrow import KINDS, in_lists
from tests.support.damage import INDEX
from tests.support.layouts import LAYOUTS, filled
from tests.support.strategies import hidden

ARRAYS = {"a": np.array([1.5, 2, 3]), "é": np.empty(0), "c": np.array([4.0])}


def content(array: Any) -> Any:
    """Return the innermost buffer of an array of awkward."""
    layout = array.layout
    while not isinstance(layout, ak.contents.NumpyArray):
        layout = layout.content
    return layout.data


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def lies_in(array: Any, store: ptrarray.PointerArray) -> bool:
    """Tell whether an array of awkward has its values in the mapping of a store."""
    return address(content(array)) == address(np.ma.getdata(store.rows))


def check(array: Any, expected: Mapping[str, Any]) -> None:
    """Compare item by item, numbers as numpy has them."""
    assert ak.is_valid(array)
    assert len(array) == len(expected)
    for item, (name, wanted) in zip(array, expected.items(), strict=True):
        wanted = np.asanyarray(wanted)
        if isinstance(wanted, np.ma.MaskedArray):
            assert ak.to_list(item) == wanted.tolist(), name
            continue
        if wanted.size:  # else the type has no lengths
            found = ak.to_numpy(item, allow_missing=False)
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
            assert found.tobytes() == np.ascontiguousarray(wanted).tobytes(), name
        else:
            assert ak.to_list(item) == wanted.tolist(), name


def in_order(store: ptrarray.PointerArray) -> dict[str, Any]:
    return dict(store.items())


# where it lies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_pointers_lie_in_the_mappings(path: Path, layout: str, mode: Any) -> None:
    filled(path, ARRAYS, **LAYOUTS[layout])
    with ptrarray.open(path, mode) as store:
        array = store.awkward()
        assert lies_in(array, store)
        if layout == "rows":
            assert str(array.type) == "3 * var * float64"
            assert np.shares_memory(array.layout.starts.data, store.starts)
            assert np.shares_memory(array.layout.stops.data, store.ends)
        assert not content(array).flags.writeable
        check(array, in_order(store))


def test_a_million_arrays_cost_nothing_more(path: Path) -> None:
    """What is made are views: no bytes for each array."""
    n = 50_000
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write_ragged(
            [f"{i}" for i in range(n)], np.arange(n * 3), np.arange(0, n * 3 + 1, 3)
        )
    with ptrarray.open(path) as store:
        layout = store.awkward().layout
        for index in (layout.starts, layout.stops):
            assert not index.data.flags.owndata
        assert not layout.content.data.flags.owndata
        assert len(layout.content) == len(store.rows)
        assert ak.sum(store.awkward()) == n * 3 * (n * 3 - 1) // 2


@pytest.mark.parametrize("row_shape", [(80,), (2, 3), (0,), (3, 0), (0, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_a_shape_are_lists_of_one_length(
    path: Path, row_shape: tuple[int, ...], masked: bool
) -> None:
    arrays: dict[str, Any] = {}
    for name, length in {"a": 3, "b": 0, "c": 2}.items():
        array = np.arange(length * np.prod(row_shape), dtype="f4").reshape(length, *row_shape)
        arrays[name] = hidden(array, length) if masked else array
    filled(path, arrays, dtype="f4", row_shape=row_shape, masked=masked)
    with ptrarray.open(path) as store:
        array = store.awkward()
        inside = " * ".join(map(str, row_shape))
        assert str(array.type) == f"3 * var * {inside} * {'?' * masked}float32"
        assert lies_in(array, store)
        check(array, in_order(store))


def test_holes_and_commits_since_the_checkpoint(path: Path) -> None:
    filled(path, ARRAYS, dtype="f8")
    with ptrarray.append(path) as writer, ptrarray.open(path) as store:
        before, old = store.awkward(), in_order(store)
        writer["c"] = [7, 8]  # replaces
        del writer["a"]
        writer["d"] = [9]
        writer.point("part", *writer.pointers["c"])
        store.refresh()
        array = store.awkward()
        assert lies_in(array, store)
        check(array, in_order(store))
        check(before, old)
        assert [len(item) for item in array] == store.lengths.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_an_empty_store(path: Path, layout: str, masked: bool) -> None:
    filled(path, {}, **LAYOUTS[layout], masked=masked)
    with ptrarray.open(path) as store:
        assert ak.to_list(store.awkward()) == []
        assert ak.to_list(store.awkward(names=True)) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_elements_are_none(path: Path, layout: str) -> None:
    arrays = {
        "a": np.ma.MaskedArray([1.0, 2, 3], [False, True, False]),
        "b": np.ma.MaskedArray([4.0], [True]),
    }
    filled(path, arrays, **LAYOUTS[layout], masked=True)
    with ptrarray.open(path) as store:
        array = store.awkward()
        assert ak.to_list(array) == [[1, None, 3], [None]]
        if layout != "mixed":
            mask = array.layout.content.mask.data
            assert address(mask) == address(np.ma.getmaskarray(store.rows))
            assert lies_in(array, store)
    ptrarray.compact(path)
    with ptrarray.open(path) as store:
        assert ak.to_list(store.awkward()) == [[1, None, 3], [None]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_shards_and_what_is_not_mapped_are_copied(path: Path, layout: str, masked: bool) -> None:
    arrays: dict[str, Any] = {f"n{i}": np.arange(i * 50, dtype="f8") for i in range(12)}
    if masked:
        arrays = {name: hidden(array, 3) for name, array in arrays.items()}
    filled(path, {}, **LAYOUTS[layout], masked=masked, shard_size=4096)
    with ptrarray.append(path) as writer:
        for name, wanted in arrays.items():
            writer[name] = wanted
    with ptrarray.open(path) as store:
        assert len(store.shards) > 2
        check(store.awkward(), in_order(store))
        assert store.awkward(names=True)["name"].to_list() == list(store)
        n_items = 0
        for shard in store.shards:
            with ptrarray.open(shard) as one:
                array = one.awkward()
                assert (layout == "mixed" and masked) or lies_in(array, one)
                check(array, in_order(one))
                n_items += len(array)
        assert n_items == len(store)
    with ptrarray.open(path, backend="pread") as store:
        check(store.awkward(), in_order(store))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_store(path: Path, kind: str) -> None:
    where, arrays = KINDS[kind](path)
    with ptrarray.open(where) as store:
        array = store.awkward(names=True)
        assert ak.is_valid(array)
        found = dict(zip(array["name"].to_list(), array["values"].to_list(), strict=True))
        assert found == in_lists(arrays)


def test_slices_with_masked_elements_are_right(path: Path) -> None:
    """`ak.from_arrow` of a slice of a table would have others."""
    arrays = {"a": [1.0], "b": np.ma.MaskedArray([2.0, 3], [True, False]), "c": [4.0]}
    filled(path, arrays, dtype="f8", masked=True)
    with ptrarray.open(path) as store:
        assert store.awkward()[1:].to_list() == [[None, 3], [4]]


# shapes and dtypes of their own ---------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["shaped", "mixed"])
@pytest.mark.parametrize("masked", [False, True])
def test_arrays_with_shapes_of_their_own_are_lists_in_lists(
    path: Path, layout: str, masked: bool
) -> None:
    shapes = [(2, 3, 1), (0, 4, 5), (1, 0, 2), (3, 2, 2)]
    arrays: dict[str, Any] = {
        str(shape): np.random.default_rng(1).random(shape) for shape in shapes
    }
    if masked:
        arrays = {name: hidden(array, 7) for name, array in arrays.items()}
    filled(path, arrays, **LAYOUTS[layout], masked=masked)
    with ptrarray.open(path) as store:
        array = store.awkward()
        assert str(array.type) == f"4 * var * var * var * {'?' * masked}float64"
        assert (layout == "mixed" and masked) or lies_in(array, store)
        assert ak.to_list(array) == [wanted.tolist() for wanted in store.values()]


@pytest.mark.parametrize("masked", [False, True])
def test_fortran_order_is_copied_into_c_order(path: Path, masked: bool) -> None:
    arrays: dict[str, Any] = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "c": np.arange(4.0).reshape(2, 2),
    }
    if masked:
        arrays = {name: hidden(array, 5) for name, array in arrays.items()}
    filled(path, arrays, masked=masked)
    with ptrarray.open(path) as store:
        array = store.awkward()
        assert not lies_in(array, store)
        assert ak.to_list(array) == [wanted.tolist() for wanted in store.values()]


def test_scalars_are_numbers(path: Path) -> None:
    filled(path, {"a": np.float64(3), "b": np.float64(5)})
    with ptrarray.open(path) as store:
        assert ak.to_list(store.awkward()) == [3, 5]


def test_other_numbers_of_axes_are_an_error_that_says_so(path: Path) -> None:
    filled(path, {"a": np.ones(2), "b": np.ones((2, 2)), "c": np.zeros(3)})
    with ptrarray.open(path) as store:
        with pytest.raises(BadInputError, match="1 and 2 axes") as caught:
            store.awkward()
        assert caught.value.path == store.path
        check(store.take(["c", "a"]).awkward(), {"c": np.zeros(3), "a": np.ones(2)})


def test_several_dtypes_are_an_error_with_the_way_out(path: Path) -> None:
    filled(path, {"a": np.array([1.5]), "b": np.array([[1, 2]]), "c": np.array([2.5, 3])})
    with ptrarray.open(path) as store:
        with pytest.raises(
            BadInputError, match=r"awkward: store\.of_dtype\('<[fi]8'\)\.awkward\(\)"
        ):
            store.awkward()
        some = store.of_dtype("f8")
        array = some.awkward()
        assert lies_in(array, store)
        check(array, dict(some))
        named = some.awkward(names=True)
        assert named["name"].to_list() == ["a", "c"]
        assert store.of_dtype("i8").awkward().to_list() == [[[1, 2]]]
        assert ak.to_list(store.of_dtype("c16").awkward()) == []


@pytest.mark.parametrize(
    "dtype",
    ["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16", "M8[D]", "M8[25s]", "m8[ns]"],
)
def test_dtypes_that_awkward_has(path: Path, dtype: str) -> None:
    arrays = {"a": np.arange(3).astype(dtype), "b": np.arange(2).astype(dtype)}
    filled(path, arrays, dtype=dtype)
    with ptrarray.open(path) as store:
        assert lies_in(store.awkward(), store)
        check(store.awkward(), arrays)


@pytest.mark.parametrize("dtype", [">f4", ">M8[s]", "S5", "U3", "V4", [("x", "f4"), ("y", "i2")]])
def test_dtypes_that_it_does_not_have_are_named(path: Path, dtype: Any) -> None:
    filled(path, {"a": np.zeros(2, dtype)}, dtype=dtype)
    with ptrarray.open(path) as store:
        with pytest.raises(BadInputError, match="nothing like dtype") as caught:
            store.awkward()
        assert repr(store.dtype) in str(caught.value)
        assert (caught.value.found, caught.value.path) == (repr(store.dtype), store.path)
        batch = store.take(["a"])
        with pytest.raises(BadInputError, match="nothing like dtype") as caught:
            batch.awkward()
    way_out = str(caught.value)
    if dtype in ("S5", "U3", "V4"):
        assert way_out.endswith(": read the arrays one by one")
    else:
        found = eval(way_out.partition(", as ")[2], {"Ragged": Ragged, "batch": batch})
        assert np.asarray(found[0]).astype("i8").tolist() == [0, 0]


def test_narrow_dtypes_are_refused_too(path: Path) -> None:
    narrow = pytest.importorskip("ml_dtypes").bfloat16
    filled(path, {"a": np.zeros(2, narrow)}, dtype=narrow)
    with (
        ptrarray.open(path) as store,
        pytest.raises(BadInputError, match=r"dtype\(bfloat16\)"),
    ):
        store.awkward()


# names ----------------------------------------------------------------------------------------------


def test_records_of_name_and_values(path: Path) -> None:
    filled(path, ARRAYS, dtype="f8")
    with ptrarray.append(path) as writer, ptrarray.open(path) as store:
        assert str(store.awkward(names=True).type) == "3 * {name: string, values: var * float64}"
        writer["日本"] = [5]
        store.refresh()
        array = store.awkward(names=True)
        assert array["name"].to_list() == list(store)
        check(array["values"], in_order(store))
        found = array[array["name"] == "日本"]
        assert found.to_list() == [{"name": "日本", "values": [5]}]


# how long it lasts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["close", "refresh", "compact", "replace", "garbage"])
def test_an_array_outlives_what_it_came_from(path: Path, after: str) -> None:
    filled(path, ARRAYS | {"gone": np.full(1000, 7.0)}, dtype="f8")
    store = ptrarray.open(path)
    array, expected = store.awkward(), {name: found.copy() for name, found in store.items()}
    with ptrarray.append(path) as writer:
        del writer["gone"]
        writer["more"] = np.ones(100)
    if after == "close":
        store.close()
    elif after == "refresh":
        store.refresh()
    elif after == "compact":
        ptrarray.compact(path)
        store.refresh()
        check(store.awkward(), in_order(store))
    elif after == "replace":
        ptrarray.create(path, dtype="i4", mode="w").close()
        store.refresh()
    del store
    gc.collect()
    check(array, expected)
    check(pickle.loads(pickle.dumps(array)), expected)


def test_pickles_have_only_what_is_asked_for(path: Path) -> None:
    filled(path, {"a": np.ones(100_000), "b": np.zeros(3)}, dtype="f8")
    with ptrarray.open(path) as store:
        assert len(pickle.dumps(store.awkward()[1:])) < 5_000


def test_a_closed_store_refuses(path: Path) -> None:
    filled(path, ARRAYS, dtype="f8")
    store = ptrarray.open(path)
    store.close()
    with pytest.raises(ClosedStoreError):
        store.awkward()


def test_what_awkward_works_out_changes_nothing(path: Path) -> None:
    filled(path, {"a": [3.0, 1, 2], "b": [5, 4]}, dtype="f8")
    with ptrarray.open(path, "c") as store:
        array = store.awkward()
        ak.sort(array), array + 1, ak.fill_none(ak.pad_none(array, 4), 0)
        assert store["a"].tolist() == [3, 1, 2]
        with pytest.raises(ValueError, match="read-only"):
            ak.to_numpy(array[0])[0] = 1


def test_without_awkward_the_error_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, ARRAYS, dtype="f8")
    monkeypatch.setitem(sys.modules, "awkward", None)
    with ptrarray.open(path) as store, pytest.raises(ImportError, match=r"ptrarray\[awkward\]"):
        store.awkward()
    with pytest.raises(ImportError, match=r"ptrarray\[awkward\]"):
        Ragged([1], [0, 1]).awkward()


# damage ---------------------------------------------------------------------------------------------


def forge(path: Path, **columns: tuple[bytes, bytes]) -> None:
    """Change what stands once in columns of an index, under right checksums."""
    ptrarray.checkpoint(path)
    header, found = forging.unpack_index((path / INDEX).read_bytes())
    for name, (old, new) in columns.items():
        assert found[name].count(old) == 1
        found[name] = found[name].replace(old, new)
    (path / INDEX).write_bytes(forging.lay_out(header, found))


@pytest.mark.parametrize("end", [1004, 2**40, 2**63 + 5])
def test_pointers_out_of_the_store_are_an_error(path: Path, end: int) -> None:
    """What awkward is given it does not check."""
    filled(path, {"a": np.arange(1000.0), "b": np.arange(3.0)}, dtype="f8")
    forge(path, end=(np.uint64(1003).tobytes(), np.uint64(end).tobytes()))
    with ptrarray.open(path) as store, pytest.raises(CorruptStoreError, match="pointer to rows"):
        store.awkward()


def test_shapes_that_do_not_fit_are_an_error(path: Path) -> None:
    filled(path, {"a": np.zeros((2, 3)), "b": np.zeros((1, 1))}, dtype="f8", row_shape=None)
    forge(path, info=(b"\xa5shape\x92\x02\x03", b"\xa5shape\x92\x02\x05"))
    with ptrarray.open(path) as store, pytest.raises(CorruptStoreError, match=r"shape \(2, 5\)"):
        store.awkward()


# ragged batches -------------------------------------------------------------------------------------


def test_a_batch_is_not_copied() -> None:
    batch = Ragged(np.arange(10.0), [2, 5, 5, 9])
    array = batch.awkward()
    assert address(content(array)) == address(batch.values)
    assert np.shares_memory(array.layout.starts.data, batch.offsets)
    assert array.to_list() == [[2, 3, 4], [], [5, 6, 7, 8]]
    batch.values[2] = -1
    assert array[0, 0] == -1


def test_batches_of_every_kind() -> None:
    assert Ragged(np.empty((0, 2), "i4"), [0]).awkward().to_list() == []
    masked = np.ma.MaskedArray(np.arange(6).reshape(3, 2), np.array([[0, 1], [0, 0], [1, 1]], bool))
    assert Ragged(masked, [0, 1, 3]).awkward().to_list() == [
        [[0, None]],
        [[2, 3], [None, None]],
    ]
    unmasked = np.ma.MaskedArray([1, 2])
    assert str(Ragged(unmasked, [0, 2]).awkward().type) == "1 * var * ?int64"
    strided = np.arange(20.0).reshape(5, 4)[:, ::2]
    assert Ragged(strided, [0, 2, 5]).awkward().to_list() == [
        strided[:2].tolist(),
        strided[2:].tolist(),
    ]
    assert Ragged([1, 2, 3], [0, 1, 3])[1:].awkward().to_list() == [[2, 3]]
    with pytest.raises(BadInputError):
        Ragged(np.array(["a"]), [0, 1]).awkward()


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(-1, 5), st.booleans()), max_size=12
    ),
    row_shape=st.sampled_from([(), (2,), None]),
    masked=st.booleans(),
)
def test_as_a_dict_of_arrays(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, bool]],
    row_shape: Any,
    masked: bool,
) -> None:
    """Whatever was written, replaced and deleted, with a checkpoint now and then."""
    path = tmp_path_factory.mktemp("dict") / "a.ptr"
    expected: dict[str, Any] = {}
    writer = ptrarray.create(path, dtype="i4", row_shape=row_shape, masked=masked)
    for number, (name, length, checkpoints) in enumerate(steps):
        if length < 0:
            if name in expected:
                del writer[name], expected[name]
        else:
            shape = (length, *(row_shape or ()))
            array: Any = np.arange(number, number + np.prod(shape, dtype=int), dtype="i4")
            array = array.reshape(shape)
            writer[name] = expected[name] = hidden(array, number) if masked else array
        if checkpoints:
            ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        assert set(store) == set(expected)
        array = store.awkward(names=True)
        found = dict(zip(array["name"].to_list(), array["values"].to_list(), strict=True))
        assert found == {name: wanted.tolist() for name, wanted in expected.items()}
        assert lies_in(array["values"], store) or not len(store.rows)
    writer.close()
