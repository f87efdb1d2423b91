"""Arrays out to Arrow: dtypes, shapes, masks and metadata, as types and values of Arrow."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import Ragged
from ptrarray.errors import BadInputError
from tests.support import strategies
from tests.support.arrow import by_duckdb, by_pyarrow, in_lists, is_mapped, listed

pytestmark = pytest.mark.usefixtures("no_syncs")

# Each dtype, what Arrow has for it, and whether that is the same memory.
TYPES: list[tuple[Any, pa.DataType, bool]] = [
    ("?", pa.bool_(), False),
    *((kind, pa.from_numpy_dtype(np.dtype(kind)), True) for kind in "bBhHiIqQefd"),
    ("M8[s]", pa.timestamp("s"), True),
    ("M8[ms]", pa.timestamp("ms"), True),
    ("M8[us]", pa.timestamp("us"), True),
    ("M8[ns]", pa.timestamp("ns"), True),
    ("m8[ms]", pa.duration("ms"), True),
    ("S5", pa.binary(5), True),
    ("V3", pa.binary(3), True),
    # as others
    (">f4", pa.float32(), False),
    (">M8[ns]", pa.timestamp("ns"), False),
    ("M8[D]", pa.timestamp("s"), False),
    ("M8[M]", pa.timestamp("s"), False),
    ("m8[h]", pa.duration("s"), False),
    ("M8[25us]", pa.timestamp("us"), False),
    (ml_dtypes.bfloat16, pa.float32(), False),
    (ml_dtypes.int4, pa.int8(), False),
]
NO_TYPES = ["c8", "g", "U3", "i4,f8", "M8", "m8[M]", "M8[ps]"]


def ones(dtype: np.dtype[Any]) -> Any:
    """Return an array of a dtype that has no zeros, but a zero byte in bytes."""
    if dtype.char in "SV":
        return np.frombuffer(bytes(range(3 * dtype.itemsize)), dtype)
    return np.array([1, 0, 1]).astype(dtype)


def written(path: Path, arrays: dict[str, Any], **options: Any) -> ptrarray.PointerArray:
    with ptrarray.create(path, **options) as writer:
        writer.write(arrays)
    return ptrarray.open(path)


@pytest.mark.parametrize(("dtype", "kind", "is_same"), TYPES, ids=str)
@pytest.mark.parametrize("layout", ["list", "view"])
def test_types(path: Path, dtype: Any, kind: pa.DataType, is_same: bool, layout: Any) -> None:
    array = ones(np.dtype(dtype))
    store = written(path, {"a": array}, dtype=dtype)
    table = pa.table(store.arrow(layout))
    table.validate(full=True)
    assert table["values"].type.value_type == kind
    assert is_mapped(store, table["values"]) == is_same
    values = table["values"].chunk(0).flatten()
    if array.dtype.char in "SV":  # as_py would be of other lengths
        assert values.buffers()[1].to_pybytes() == array.tobytes()
    else:
        assert (values.to_numpy(zero_copy_only=False) == array).all()
    assert pa.array(Ragged(array, [0, 3])).equals(pa.table(store)["values"].chunk(0))


@pytest.mark.parametrize("dtype", NO_TYPES)
def test_dtypes_that_arrow_lacks_are_named(path: Path, dtype: Any) -> None:
    array = np.zeros(3, dtype)
    store = written(path, {"a": array}, dtype=dtype)
    for call in (store.arrow, lambda: pa.table(store), store.__arrow_c_schema__):
        with pytest.raises(BadInputError, match="Arrow has no type") as caught:
            call()
        assert caught.value.path == store.path
        assert repr(array.dtype) in str(caught.value)
    with pytest.raises(BadInputError, match="Arrow has no type"):
        pa.array(Ragged(array, [0, 3]))


def test_dates_that_do_not_fit_are_an_error_of_the_consumer(path: Path) -> None:
    store = written(path, {"a": np.array([2**62], "M8[D]")}, dtype="M8[D]")
    with pytest.raises(OSError, match=r"\[D\] do not fit into .*\[s\] \(for .*a.ptr\)"):
        pa.table(store)


def test_what_is_no_time_is_null(path: Path) -> None:
    times = np.array(["2026-01-02", "NaT"], "M8[us]")
    masked = np.ma.MaskedArray(times[[0, 1, 0]], [True, False, False])
    expected = [datetime.datetime(2026, 1, 2, tzinfo=None), None]
    store = written(path, {"a": times}, dtype="M8[us]")
    assert by_pyarrow(store) == {"a": expected}
    assert is_mapped(store, pa.table(store)["values"])
    other = written(path.with_name("b.ptr"), {"a": masked}, dtype="M8[us]", masked=True)
    assert by_pyarrow(other) == {"a": [None, None, expected[0]]}
    days = masked.astype("M8[D]")
    np.ma.getdata(days)[0] = np.datetime64(2**62, "D")
    in_days = written(path.with_name("c.ptr"), {"a": days}, dtype="M8[D]", masked=True)
    assert by_pyarrow(in_days) == by_pyarrow(other)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "h"])
def test_durations_that_are_none_are_null_to_duckdb(path: Path, unit: str) -> None:
    times = np.array([3_600, "NaT", 7_200_000_000], f"m8[{unit}]")
    times = np.ma.MaskedArray(times, [False, False, True])
    store = written(path, {"a": times}, dtype=times.dtype, masked=True)
    assert by_pyarrow(store)["a"][1:] == [None, None]
    expected = [times[0].astype("m8[us]").item(), None, None]
    for table in (store, store.arrow("view")):  # DuckDB works out what lies under a null, too
        assert by_duckdb(table) == {"a": expected}


def test_masks_of_wide_rows(path: Path) -> None:
    array = np.ma.masked_equal(np.arange(12).reshape(2, 2, 3), 7)
    store = written(path, {"a": array, "b": array + 1}, dtype="i8", row_shape=(2, 3), masked=True)
    table = pa.table(store)
    assert by_pyarrow(store) == in_lists({"a": array, "b": array + 1})
    assert is_mapped(store, table["values"])
    batch = store.take(["b", "a"])
    assert pa.array(batch).to_pylist() == listed([array + 1, array])


@pytest.mark.parametrize("layout", ["list", "view"])
def test_rows_without_elements(path: Path, layout: Any) -> None:
    store = written(
        path, {"a": np.empty((3, 0)), "b": np.empty((1, 0))}, row_shape=(0,), dtype="f4"
    )
    assert by_pyarrow(store.arrow(layout)) == {"a": [[], [], []], "b": [[]]}


# Arrays with a dtype and a shape of their own ------------------------------------------------------


@pytest.mark.parametrize("options", [{"dtype": "f8", "row_shape": None}, {}], ids=["one", "many"])
def test_arrays_of_other_axes_are_named(path: Path, options: dict[str, Any]) -> None:
    store = written(path, {"a": np.ones((2, 3)), "b": np.ones((2, 3)), "c": np.ones(4)}, **options)
    with pytest.raises(BadInputError, match=r"'c' has 1, 'a' has 2"):
        store.arrow()
    scalars = written(path.with_name("b.ptr"), {"a": np.float64(1)}, **options)
    with pytest.raises(BadInputError, match="'a' has 0"):
        scalars.arrow()


@pytest.mark.parametrize("layout", ["list", "view"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{"dtype": "i2", "row_shape": None}, {}], ids=["one", "many"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_their_own_are_lists_in_lists(
    path: Path, options: dict[str, Any], masked: bool, order: Any, layout: Any
) -> None:
    shapes = {"a": (2, 3, 1), "b": (1, 4, 2), "": (0, 5, 7), "c": (2, 0, 2), "d": (3, 2, 0)}
    arrays: dict[str, Any] = {
        name: np.arange(np.prod(shape), dtype="i2").reshape(shape, order=order)
        for name, shape in shapes.items()
    }
    if masked:
        arrays = {name: np.ma.masked_equal(array, 4) for name, array in arrays.items()}
    store = written(path, arrays, masked=masked, **options)
    assert by_pyarrow(store.arrow(layout)) == in_lists(arrays)
    kind = pa.large_list(pa.large_list(pa.int16()))
    values = pa.table(store.arrow(layout))["values"]
    assert values.type.value_type == kind
    assert is_mapped(store, values) == ("dtype" in options and order == "C")
    nothing = written(path.with_name("c.ptr"), {"a": np.ones((3, 0))}, dtype="f8", row_shape=None)
    assert by_pyarrow(nothing.arrow(layout)) == {"a": [[], [], []]}


@pytest.mark.parametrize("shard_size", [None, 200])
@pytest.mark.parametrize("layout", ["list", "view"])
def test_one_dtype_of_several(path: Path, shard_size: int | None, layout: Any) -> None:
    arrays = {
        **{f"f{n}": np.arange(n, dtype="f8") for n in range(6)},
        **{f"s{n}": np.full((n, 2), n, "i2") for n in range(6)},
        **{f"b{n}": np.full(n, b"\0abcdefghijk", "S12") for n in range(6)},
    }
    with ptrarray.create(path, shard_size=shard_size) as writer:
        for name in sorted(arrays, key=lambda name: name[1]):
            writer.write({name: arrays[name]}, meta={name: {"name of it": name}})
    store = ptrarray.open(path)
    with pytest.raises(BadInputError, match=r"store\.of_dtype\('<f8'\)\.arrow\(\)"):
        store.arrow()
    for kind, dtype in (("f", "f8"), ("s", "i2"), ("b", "S12")):
        of_one = store.of_dtype(dtype)
        wanted = in_lists({name: array for name, array in arrays.items() if name[0] == kind})
        table = of_one.arrow(layout, meta="name of it")
        if kind == "b":  # numpy leaves out zeros at the end
            wanted = {name: [b"\0abcdefghijk"] * len(values) for name, values in wanted.items()}
        assert by_pyarrow(table) == wanted
        assert pa.table(table)["name"].to_pylist() == pa.table(table)["name of it"].to_pylist()
    views = pa.table(store.of_dtype("f8").arrow("view"))
    assert is_mapped(store, views["values"])
    assert by_pyarrow(store.of_dtype("f4").arrow()) == {}
    assert len(pa.table(store.of_dtype("f8"))) == 6


def test_one_dtype_in_a_store_of_one(path: Path) -> None:
    store = written(path, {"a": [1.0]}, dtype="f8")
    assert by_pyarrow(store.of_dtype("f8").arrow()) == {"a": [1.0]}
    assert by_pyarrow(store.of_dtype("f4").arrow()) == {}


# Metadata ------------------------------------------------------------------------------------------

META: dict[str, Any] = {
    "a": {"speaker": "Änn", "age": 7, "gain": 0.5, "good": True, "raw": b"\0", "most": 2**64 - 1},
    "b": {},
    "c": {"speaker": "", "age": -1, "gain": 1.5, "good": False, "raw": b"", "most": 0},
}
META_TYPES = {
    "speaker": pa.large_string(),
    "age": pa.int64(),
    "gain": pa.float64(),
    "good": pa.bool_(),
    "raw": pa.large_binary(),
    "most": pa.uint64(),
    "none": pa.null(),
}


@pytest.mark.parametrize("shard_size", [None, 16])
def test_metadata_become_columns(path: Path, shard_size: int | None) -> None:
    with ptrarray.create(path, dtype="f8", shard_size=shard_size) as writer:
        for name, meta in META.items():
            writer.write({name: [1.0, 2.0]}, meta={name: meta})
    table = pa.table(ptrarray.open(path).arrow(names=False, meta=META_TYPES))
    table.validate(full=True)
    assert {
        field.name: field.type for field in table.schema if field.name in META_TYPES
    } == META_TYPES
    for key in META_TYPES:
        assert table[key].to_pylist() == [meta.get(key) for meta in META.values()]
    assert table.column_names == ["values", *META_TYPES]


def test_metadata_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrarray.views.arrow.BATCH_NBYTES", 200)
    names = [f"a{n}" for n in range(30)]
    with ptrarray.create(path, dtype="?") as writer:
        meta = {name: {"n": n, "text": "x" * n, "odd": n % 2 > 0} for n, name in enumerate(names)}
        del meta["a7"]["text"], meta["a9"]["odd"]
        writer.write({name: [True] for name in names}, meta=meta)
    table = pa.table(ptrarray.open(path).arrow(meta=["n", "text", "odd"]))
    table.validate(full=True)
    assert table["n"].num_chunks > 2
    for key in ("n", "text", "odd"):
        assert table[key].to_pylist() == [meta[name].get(key) for name in names]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["a", 1], "str for 'n0' and int for 'n1'"),
        ([1, 1.5], "int for 'n0' and float for 'n1'"),
        ([None, True, 1], "bool for 'n1' and int for 'n2'"),
        ([[1]], "list for 'n0'"),
        ([{"a": 1}], "dict for 'n0'"),
        ([-1, 2**64 - 1], "int -1 for 'n0' and int 18446744073709551615 for 'n1'"),
    ],
    ids=str,
)
def test_metadata_of_several_types_are_named(path: Path, values: list[Any], found: str) -> None:
    names = [f"n{at}" for at in range(len(values))]
    with ptrarray.create(path, dtype="f8") as writer:
        meta = {name: {"key": value} for name, value in zip(names, values, strict=True)}
        writer.write({name: [0.0] for name in names}, meta=meta)
    with pytest.raises(BadInputError, match=f"metadata 'key' of .* is {found};") as caught:
        ptrarray.open(path).arrow(meta=["key"])
    assert caught.value.name == "key"


@pytest.mark.parametrize("meta", [["name"], ["values"], ["a", "a"]])
def test_columns_have_names_of_their_own(path: Path, meta: list[str]) -> None:
    store = written(path, {"a": [1.0]}, dtype="f8")
    with pytest.raises(BadInputError, match=f"of {path} would be one of two columns"):
        store.arrow(meta=meta)


def test_metadata_may_have_the_key_name(path: Path) -> None:
    with ptrarray.create(path, dtype="f8") as writer:
        writer.write({"a": [1.0]}, meta={"a": {"name": "Ann"}})
    table = pa.table(ptrarray.open(path).arrow(names=False, meta="name"))
    assert table["name"].to_pylist() == ["Ann"]


@pytest.mark.parametrize("meta", [5, True, [None], [b"a"], ["a\0b"], ["\ud800"]], ids=repr)
def test_what_is_no_name_of_a_column_is_refused(path: Path, meta: Any) -> None:
    store = written(path, {"a": [1.0]}, dtype="f8")
    with pytest.raises(BadInputError, match=f"metadata of {path} are asked for by"):
        store.arrow(meta=meta)


def test_another_layout_is_refused(path: Path) -> None:
    store = written(path, {"a": [1.0]}, dtype="f8")
    with pytest.raises(BadInputError, match="layout 'lists' is not one of 'list', 'view'"):
        store.arrow("lists")  # type: ignore[arg-type]


def test_a_schema_that_is_asked_for_is_the_consumers(path: Path) -> None:
    store = written(path, {"a": [1.0]}, dtype="f8")
    wanted = pa.schema({"name": pa.string(), "values": pa.list_(pa.float64())})
    stream = store.arrow().__arrow_c_stream__(requested_schema=wanted.__arrow_c_schema__())
    assert type(stream).__name__ == "PyCapsule"
    assert pa.schema(store.arrow()) == pa.table(store).schema


# All together --------------------------------------------------------------------------------------


@given(
    arrays=st.dictionaries(
        strategies.names(), st.lists(st.integers(0, 100), max_size=6), max_size=12
    ),
    deleted=st.sets(st.integers(0, 11)),
    row_shape=st.sampled_from([(), (2,)]),
    masked=st.booleans(),
    shard_size=st.sampled_from([None, 100]),
    backend=st.sampled_from(["mmap", "pread"]),
    layout=st.sampled_from(["list", "view"]),
    folded=st.booleans(),
    run_nbytes=st.sampled_from([1, 30, 1 << 20]),
)
def test_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: dict[str, Any],
    deleted: set[int],
    row_shape: tuple[int, ...],
    masked: bool,
    shard_size: int | None,
    backend: Any,
    layout: Any,
    folded: bool,
    run_nbytes: int,
) -> None:
    path = tmp_path_factory.mktemp("arrow") / "a.ptr"
    kept: dict[str, Any] = {
        name: np.multiply.outer(np.array(values, "i4"), np.ones(row_shape, "i4"))
        for name, values in arrays.items()
    }
    if masked:
        kept = {name: np.ma.MaskedArray(array, array % 3 == 0) for name, array in kept.items()}
    options: Any = {"dtype": "i4", "row_shape": row_shape, "masked": masked}
    with ptrarray.create(path, **options, shard_size=shard_size) as writer:
        for name, array in kept.items():
            writer[name] = array
        for at, name in enumerate(list(kept)):
            if at in deleted:
                del writer[name], kept[name]
    if folded:
        ptrarray.checkpoint(path)
    store = ptrarray.open(path, backend=backend)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptrarray.views.arrow.BATCH_NBYTES", 300)
        patch.setattr("ptrarray.views.arrow.RUN_NBYTES", run_nbytes)
        table = store.arrow(layout)
        assert by_pyarrow(table) == in_lists(kept)
        assert pa.table(table)["name"].to_pylist() == list(store)
