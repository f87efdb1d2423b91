"""Arrays and metadata that are strange: kept as they are, or refused by name, and nothing between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from numpy.ma import mrecords

import ptrarray
from ptrarray import BadInputError, UnknownNameError
from ptrarray.format import attrs
from tests.support.checks import check_same, check_same_order
from tests.support.pointing import point_to_bytes

Masked: Any = np.ma.MaskedArray
from_columns: Any = mrecords.fromarrays
RECORD = [("x", "i4"), ("y", "f8")]
NESTED = [("a", [("b", "i4"), ("c", "f4", (2,))]), ("d", "S3")]
NO_FIELDS = np.dtype({"names": [], "formats": [], "offsets": [], "itemsize": 8})
NO_WIDTH = np.dtype([("a", "u1"), ("b", "S0")])


def deep(n: int) -> dict[str, Any]:
    """Return a dict that is nested so deep."""
    result: dict[str, Any] = {}
    for _ in range(n):
        result = {"a": result}
    return result


# Arrays that are kept -------------------------------------------------------------------------------

STRANGE: dict[str, Any] = {
    "as many axes as numpy has": np.arange(2.0).reshape((1,) * 63 + (2,)),
    "scalar": np.float32(3),
    "int": 3,
    "str": "größe",
    "record scalar": np.array((1, 2.0), RECORD)[()],
    "unit of 25 s": np.array(3, "m8[25s]"),
    "recarray": np.rec.array([(1, 2.0)], dtype=RECORD),
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "widest": np.array([1.5], "g"),
    "padded": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "padded at its end": np.zeros(3, np.dtype({"names": ["a"], "formats": ["i1"], "itemsize": 8})),
    "titles": np.zeros(3, np.dtype([(("title", "a"), "i4")])),
    "names without text": np.zeros(3, np.dtype([("", "i4"), (" ", "f4")])),
    "a field of no elements": np.zeros(3, [("a", "u1"), ("b", "f4", (0,))]),
    "bools that are 2": np.array([0, 1, 2, 255], "u1").view("?"),
    "dtype with metadata": np.zeros(3, np.dtype("f4", metadata={"x": 1})),
}
if np.lib.NumpyVersion(np.__version__) < "2.5.0":  # which deprecates both
    STRANGE["no unit"] = np.array(["NaT"], "M8")
    STRANGE["chararray"] = np.char.array(["ab", "c"])
EVERY_OTHER = np.arange(48).reshape(6, 8) % 3 == 0
MASKED: dict[str, Any] = {
    "mask with strides": Masked(np.arange(12.0).reshape(3, 4), EVERY_OTHER[::2, ::2]),
    "Fortran data": Masked(np.asfortranarray(np.ones((3, 4))), np.eye(3, 4)),
    "Fortran mask": Masked(np.ones((3, 4)), np.asfortranarray(np.eye(3, 4))),
    "turned axes": Masked(
        np.arange(48).reshape(2, 3, 8).transpose(1, 0, 2),
        EVERY_OTHER.reshape(2, 3, 8).transpose(1, 0, 2),
    ),
    "backwards": Masked(np.arange(8)[::-1], EVERY_OTHER[0][::-1]),
    "a record": Masked([(1, 2.0), (3, 4.0)], [(0, 1), (1, 0)], RECORD)[0],
    "masked records": from_columns([[1, 2], [3.0, 4.0]], names="x,y"),
    "sub-arrays": Masked(np.zeros(2, NESTED), [((1, (0, 1)), 0)] * 2),
    "void": Masked(np.array([b"abc", b"def"], "V3"), [1, 0]),
    "text": Masked(["a", "bc"], [1, 0], fill_value="zz"),
    "bool": Masked([True, False], [1, 0]),
    "duration": Masked(np.array([1, 2], "m8[s]"), [1, 0], fill_value=7),
    "NaN for what is masked": Masked([1.0, 2.0], [1, 0], fill_value=np.nan),
    "all of nothing": Masked(np.zeros((3, 0)), True),
}


@pytest.mark.parametrize("masked", [False, True])
def test_strange_arrays_are_kept(masked: bool, tmp_path: Path) -> None:
    arrays = STRANGE | MASKED if masked else STRANGE
    with ptrarray.create(tmp_path / "s.ptr", masked=masked) as writer:
        writer.write(arrays)
    ptrarray.compact(tmp_path / "s.ptr")
    with ptrarray.open(tmp_path / "s.ptr") as store:
        for name, array in arrays.items():
            found = store[name]
            expected = np.asanyarray(array)
            if not isinstance(expected, np.ma.MaskedArray):
                found, expected = np.ma.getdata(found), np.asarray(array)
            check_same(found, expected)
            check_same_order(found, expected)
        store.verify()


def test_a_matrix_is_an_array(tmp_path: Path) -> None:
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1, 2], [3, 4]])
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer["a"] = matrix
        assert type(writer["a"]) is np.ndarray
        assert writer["a"].shape == (2, 2)


def test_the_constant_of_numpy_that_is_masked(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr", masked=True) as writer:
        writer["a"] = np.ma.masked
        assert writer["a"].shape == ()
        assert np.ma.getmaskarray(writer["a"]).tolist() is True


# Arrays that are refused ----------------------------------------------------------------------------

REFUSED: dict[str, Any] = {
    "object field": np.array([(1, None)], [("a", "i4"), ("b", "O")]),
    "StringDType": np.array(["abc", "d"], np.dtypes.StringDType()),
    "no bytes": np.zeros(3, "V0"),
    "no fields": np.zeros(3, np.dtype([])),
    "overlapping fields": np.zeros(
        3, {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]}
    ),
    "thousands of fields": np.zeros(2, [(f"a long name {i}", "u1") for i in range(5000)]),
    "None": None,
    "dict": {},
    "int of 70 bits": 2**70,
    "list of masked": [Masked([1], True)],
    "list of lists of masked": [[np.ma.masked, 1.0]],
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", REFUSED)
def test_strange_arrays_are_refused(kind: str, masked: bool, tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, masked=masked) as writer:
        with pytest.raises(BadInputError, match="'bad'"):
            writer.write({"good": [1], "bad": REFUSED[kind]})
        assert writer.write({"first": [1]}) == (0, 64)
    ptrarray.verify(path)


def test_lists_of_what_is_masked_are_refused_in_a_batch(tmp_path: Path) -> None:
    values: Any = [np.ma.masked, 1.0]
    with (
        ptrarray.create(tmp_path / "s.ptr", masked=True) as writer,
        pytest.raises(BadInputError, match="masked"),
    ):
        writer.write_ragged(["a"], values, [0, 2])


@pytest.mark.parametrize("dtype", [NO_FIELDS, NO_WIDTH])
def test_masks_that_have_no_room_are_refused(dtype: np.dtype[Any], tmp_path: Path) -> None:
    """There is room for one byte of mask beside each byte of data."""
    for n, shape in enumerate([(), None]):
        with pytest.raises(BadInputError, match="masks"):
            ptrarray.create(tmp_path / f"{n}.ptr", dtype=dtype, row_shape=shape, masked=True)
    with ptrarray.create(tmp_path / "s.ptr", masked=True) as writer:
        writer["next"] = np.ones(70)
        with pytest.raises(BadInputError, match=r"'a'.*masks"):
            writer["a"] = np.zeros(70, dtype)
        with pytest.raises(BadInputError, match="masks"):
            writer.allocate("a", 70, dtype=dtype).__enter__()
    with ptrarray.create(tmp_path / "plain.ptr") as writer:
        writer["a"] = np.zeros(70, dtype)
        check_same(writer["a"], np.zeros(70, dtype))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.ptr", "s.ptr"]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1,) * 65, "f8"),
        ((1,) * 63, ("f8", (3, 3))),
        ((2**40, 2**40), "f8"),
        ((0, 2**62, 2**62), "f8"),
        ((-1, 3), "f8"),
        (1.5, "f8"),
        ([2, 3], "f8"),
        (3, "O"),
        (3, "S"),
    ],
    ids=str,
)
def test_strange_allocations_are_refused(shape: Any, dtype: Any, tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        with pytest.raises(BadInputError):
            writer.allocate("a", shape, dtype=dtype).__enter__()
        assert writer.write({"first": [1]}) == (0, 64)


DAY = np.datetime64("2021-01-01", "s")

# Fill values ----------------------------------------------------------------------------------------


def filled(values: Any, fill_value: Any = None, dtype: Any = None) -> Any:
    return Masked(values, [1, 0], fill_value=fill_value, dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("i1", filled([1, 2]), 999999),
        ("i1", filled([1, 2], -1), -1),
        ("u1", filled([1, 2], -1), None),
        ("f2", filled([1.0, 2.0]), 1e20),
        ("f2", filled([1.0, 2.0], np.nan), "nan"),
        ("f2", filled([1.0, 2.0], 1e5), None),
        ("S2", filled([b"a", b"bc"], b"x", "S5"), b"x"),
        ("S2", filled([b"a", b"bc"], b"xyz", "S5"), None),
        ("M8[ns]", filled(["2020-01-01"] * 2, DAY, "M8[s]"), 1609459200 * 10**9),
    ],
    ids=str,
)
def test_fill_values_are_cast_as_the_array_is(
    dtype: str, value: Any, expected: Any, tmp_path: Path
) -> None:
    with ptrarray.create(tmp_path / "s.ptr", dtype=dtype, masked=True) as writer:
        if expected is None:
            with pytest.raises(BadInputError, match=r"'a.fill_value'"):
                writer["a"] = value
            assert len(writer) == 0
        else:
            writer["a"] = value
            found = np.asarray(np.ma.asanyarray(writer["a"]).fill_value).tolist()
            assert found == expected or str(found) == expected


# Metadata -------------------------------------------------------------------------------------------

BAD_META: dict[str, Any] = {
    "a key of bytes": {b"x": 1},
    "date of numpy": {"x": np.datetime64("2020-01-01")},
    "array": {"x": np.arange(3)},
    "set": {"x": {1}},
    "int of 65 bits": {"x": 2**64},
    "date": {"x": datetime(2020, 1, 1, tzinfo=UTC)},
    "surrogate": {"x": "\udc80"},
    "None": None,
    "list": [("a", 1)],
    "deep": deep(5000),
    "as deep as msgpack goes": deep(1023),
    "more than 16 MiB": {"x": bytes(attrs.LIMIT_NBYTES)},
}


@pytest.mark.parametrize("kind", BAD_META)
def test_bad_metadata_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, attrs={"k": 1}) as writer:
        writer.write({"a": [1]}, meta={"a": {"k": 1}})
        calls: list[Callable[[], Any]] = [
            lambda: writer.meta.__setitem__("a", BAD_META[kind]),
            lambda: writer.write({"b": [2]}, meta={"b": BAD_META[kind]}),
        ]
        if BAD_META[kind] is not None and kind != "list":  # of which dict.update makes attrs
            calls.append(lambda: writer.attrs.update(BAD_META[kind]))
        for call in calls:
            with pytest.raises(BadInputError):
                call()
    with ptrarray.open(path) as store:
        assert (list(store), dict(store.attrs), store.meta["a"]) == (["a"], {"k": 1}, {"k": 1})
        store.verify()


def can_pack(value: object) -> bool:
    try:
        return bool(msgpack.packb(value))
    except ValueError:
        return False


# How deep msgpack goes, less a little: older releases go half as far.
DEEPEST = 1000 if can_pack(deep(1001)) else 500


def test_the_largest_and_deepest_metadata_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    large = {"x": bytes(attrs.LIMIT_NBYTES - 20)}
    with ptrarray.create(path, attrs=deep(DEEPEST)) as writer:
        writer.write({"a": [1], "b": [2]}, meta={"a": large, "b": deep(DEEPEST)})
        writer.attrs.update(deep(DEEPEST + 1))
    for settle in (ptrarray.verify, ptrarray.checkpoint, ptrarray.compact, ptrarray.verify):
        settle(path)
        with ptrarray.open(path) as store:
            assert store.meta["a"] == large
            # Python itself compares nothing that is so deep.
            assert msgpack.packb(store.meta["b"]) == msgpack.packb(deep(DEEPEST))
            assert msgpack.packb(dict(store.attrs)) == msgpack.packb(deep(DEEPEST + 1))


def test_metadata_goes_with_its_array(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write({"a": [1], "b": [2]}, meta={"a": {"k": 1}, "b": {"k": 2}})
        del writer["a"]
        names: list[Any] = ["a", "never", 3]
        for name in names:
            with pytest.raises(UnknownNameError):
                writer.meta[name] = {"k": 2}
        with pytest.raises(BadInputError, match="none of the arrays"):
            writer.write({"a": [1]}, meta={"b": {"k": 1}})
        writer["a"] = [3]
        start, end = writer.pointers["b"]
        writer.point("p", start, end)
        with writer.allocate("b", 3, overwrite=True, dtype="i4"):
            pass
        assert dict(writer.meta) == {"a": {}, "b": {}, "p": {"k": 2}}


def test_metadata_of_one_call_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrarray.intake.batch.NAMES_LIMIT_NBYTES", 100_000)
    metas = {str(n): {"x": bytes(9000)} for n in range(12)}
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        with pytest.raises(BadInputError, match="use several"):
            writer.write(dict.fromkeys(metas, 1), meta=metas)
        writer.write({"0": 1}, meta={"0": metas["0"]})


def test_more_metadata_than_an_index_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be folded in stays in the journal, and a commit that returned is a commit."""
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        monkeypatch.setattr("ptrarray.format.index.COLUMN_LIMIT_NBYTES", 10_000)
        monkeypatch.setattr("ptrarray.storage.writing.session._JOURNAL_LIMIT_NBYTES", 20_000)
        for n in range(5):
            writer.write({str(n): [n]}, meta={str(n): {"x": bytes(3000)}})
        with pytest.raises(BadInputError, match="use several stores"):
            ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        assert len(store) == 5
        store.verify()


# Rows -----------------------------------------------------------------------------------------------


def test_a_pointer_to_pre_sized_bytes_does_not_unalign_what_follows(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr", rows=640) as writer:
        point_to_bytes(writer, "odd", 5, 70)
        assert writer.write({"a": [1.0]}) == (128, 192)
        assert writer.write({"large": np.ones(20_000)})[0] == 192
        point_to_bytes(writer, "odd too", 3, 130)
        assert writer.reserve(1) % 64 == 0


@pytest.mark.parametrize("masked", [False, True])
def test_arrays_without_rows_take_none(masked: bool, tmp_path: Path) -> None:
    """Wherever they are, and whatever is said of them later."""
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="i4", masked=masked) as writer:
        writer.write({"far": []}, start=10**15)
        writer.meta["far"] = {"k": 1}
        assert writer.write({"a": [1, 2]}) == (0, 2)
    ptrarray.compact(path)
    assert ptrarray.open(path).shape == (2,)


def test_arrays_without_rows_keep_no_rows_when_compacting(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, rows=640) as writer:
        point_to_bytes(writer, "empty", 100, 100)
        writer["a"] = [1.0]
    ptrarray.compact(path)
    with ptrarray.open(path) as store:
        assert store.shape == (64,)
        store.verify()


def test_arrays_without_rows_go_with_the_others_when_compacting(tmp_path: Path) -> None:
    """They keep no distance from the rows before them."""
    expected = {"empty first": (0, 0), "a": (0, 2), "empty": (2, 2), "b": (2, 3), "far": (3, 3)}
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({"empty first": [], "a": [1, 2], "gone": [0] * 5, "empty": [], "b": [3]})
        writer.write({"far": []}, start=100)
        del writer["gone"]
    ptrarray.compact(path)
    with ptrarray.open(path) as store:
        assert {name: tuple(pointer) for name, pointer in store.pointers.items()} == expected
        store.verify()


def test_rows_that_compaction_gave_back_are_the_next_to_be_taken(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({"gone": np.arange(1000), "kept": [1, 2]})
        writer.reserve(50)
        del writer["gone"]
        ptrarray.compact(path)
        assert writer.write({"next": [3]}) == (2, 3)
    with ptrarray.append(path) as writer:
        assert writer.write({"last": [4]}) == (3, 4)


def test_batches_keep_a_dtype_as_it_is(tmp_path: Path) -> None:
    """Of big-endian numbers and padded records numpy makes others when it concatenates."""
    padded = np.zeros(2, np.dtype([("a", "i1"), ("b", ">f8")], align=True))
    with ptrarray.create(tmp_path / "s.ptr", masked=True) as writer:
        writer.write(
            {"a": padded, "b": padded, "c": np.ones((2, 3), ">i4"), "d": np.zeros((0, 3), ">i4")}
        )
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert store.take(["b", "a"]).values.dtype == padded.dtype
        batch = store.take(["c", "d", "c"])
        assert (batch.values.dtype, batch.values.shape) == (np.dtype(">i4"), (4, 3))
