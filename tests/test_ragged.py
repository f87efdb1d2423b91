"""Ragged batches and gather against lists of slices."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.errors import BadInputError
from ptrarray.rows import copying
from ptrarray.rows.ragged import Ragged, gather

DTYPES = [
    "?", "u1", "<i2", ">i4", "i8", "f2", "<f4", ">f8", "c8", ">c16", "M8[s]", ">m8[ms]",
    "S3", "<U2", ">U2", "V5", [("a", "<i2"), ("b", ">f8")],
]  # fmt: skip
ROW_SHAPES = [(), (1,), (3,), (2, 2), (0,), (2, 0)]
Copy = Callable[..., np.ndarray]


def some_rows(n_rows: int, dtype: Any, row_shape: tuple[int, ...]) -> np.ndarray:
    """Return rows that differ from each other, as far as the dtype can tell them apart."""
    dtype = np.dtype(dtype)
    numbers = np.random.default_rng(n_rows).integers(0, 100, (n_rows, *row_shape))
    if dtype.kind in "SUV":
        width = dtype.itemsize
        rows = np.zeros((n_rows, *row_shape), dtype)
        if rows.size and dtype.kind == "S":
            rows[...] = numbers.astype("S3")
        elif rows.size and dtype.kind == "U":
            rows[...] = numbers.astype("U2")
        elif rows.size:
            raw = np.random.default_rng(1).integers(0, 100, rows.size * width, np.uint8)
            rows = raw.view(dtype).reshape(rows.shape)
        return rows
    return numbers.astype(dtype)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def assert_gathers(rows: np.ndarray, ranges: list[tuple[int, int]]) -> None:
    starts, ends = np.array(ranges, np.int64).reshape(-1, 2).T
    batch = gather(rows, starts, ends)
    expected = [rows[start:end] for start, end in ranges]
    assert len(batch) == len(expected)
    for found, wanted in zip(batch, expected, strict=True):
        assert_same(found, wanted)
    total = sum(len(wanted) for wanted in expected)
    assert batch.values.shape == (total, *rows.shape[1:])
    assert batch.values.flags.c_contiguous
    assert batch.values.flags.writeable
    assert not np.shares_memory(batch.values, rows)


@st.composite
def ranges_within(draw: st.DrawFn, n_rows: int, longest: int = 200) -> list[tuple[int, int]]:
    starts = draw(st.lists(st.integers(0, n_rows), max_size=15))
    return [(s, min(n_rows, s + draw(st.integers(0, longest)))) for s in starts]


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(ROW_SHAPES), st.sampled_from([3, 900]))
def test_gather(data: st.DataObject, dtype: Any, row_shape: tuple[int, ...], longest: int) -> None:
    rows = some_rows(1000, dtype, row_shape)
    assert_gathers(rows, data.draw(ranges_within(1000, longest)))


@given(st.lists(st.integers(0, 30), max_size=10))
def test_gather_of_ranges_end_to_end(lengths: list[int]) -> None:
    edges = np.cumsum([5, *lengths]).tolist()
    assert_gathers(some_rows(400, "f4", (3,)), list(pairwise(edges)))


@pytest.mark.parametrize("copy", [copying._copy_by_index, copying._copy_by_join,
                                  copying._copy_by_slice])  # fmt: skip
@given(st.data(), st.sampled_from(DTYPES), st.sampled_from([(), (3,), (2, 2)]), st.booleans())
def test_each_way_to_copy_equals_concatenate(
    copy: Copy, data: st.DataObject, dtype: Any, row_shape: tuple[int, ...], in_groups: bool
) -> None:
    rows = some_rows(1000, dtype, row_shape)
    ranges = [(0, 1), *data.draw(ranges_within(1000, longest=60))]
    starts, ends = np.array(ranges).T
    offsets = np.concatenate(([0], np.cumsum(ends - starts)))
    with pytest.MonkeyPatch.context() as patch:
        if in_groups:
            patch.setattr(copying, "INDEX_ROWS", 16)
            patch.setattr(copying, "JOIN_NBYTES", 100)
            patch.setattr(copying, "JOIN_ALL_NBYTES", 0)
        found = copy(rows, starts, ends, offsets)
    expected = np.concatenate([rows[start:end] for start, end in ranges])
    assert_same(found, expected.astype(rows.dtype))  # concatenate loses the byte order


def test_gather_of_rows_that_are_not_contiguous() -> None:
    rows = np.asfortranarray(some_rows(500, "f4", (4,)))
    packed = np.zeros(500, [("x", "u1"), ("y", "<i4")])
    packed["y"] = np.arange(500)
    for strided in (rows, rows[::-1], rows[:, ::2], packed["y"]):
        assert_gathers(strided, [(100, 103), (7, 9), (7, 9)])
        assert_gathers(strided, [(100, 400), (7, 200)])


@pytest.mark.parametrize("mean", [1, 10, 100, 3000])
def test_gather_of_many_ranges(mean: int) -> None:
    rng = np.random.default_rng(mean)
    starts = rng.integers(0, 100_000, 200_000 // mean)
    ends = np.minimum(100_000, starts + rng.integers(0, 2 * mean + 1, len(starts)))
    rows = np.arange(100_000, dtype="<i4")
    batch = gather(rows, starts, ends)
    expected = np.concatenate([np.arange(s, e) for s, e in zip(starts, ends, strict=True)])
    np.testing.assert_array_equal(batch.values, expected)
    np.testing.assert_array_equal(batch.lengths, ends - starts)


def test_gather_of_one_long_range_among_tiny_ones_indexes_only_the_tiny_ones() -> None:
    rows = np.arange(300_000)
    starts = np.concatenate((np.arange(9000), [0], np.arange(9000)))
    ends = starts + 1
    ends[9000] = 300_000
    batch = gather(rows, starts, ends)
    np.testing.assert_array_equal(batch[9000], rows)
    np.testing.assert_array_equal(batch[9001:].values, np.arange(9000))


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 11), (4, 3), (11, 11)])
def test_gather_refuses_ranges_outside_the_rows(start: int, end: int) -> None:
    with pytest.raises(BadInputError, match=rf"range 1 is \[{start}, {end}\)") as caught:
        gather(np.arange(10), [0, start], [1, end])
    assert caught.value.found == (start, end)
    assert caught.value.expected == (0, 10)


def test_gather_keeps_masks() -> None:
    rows = np.ma.MaskedArray(np.arange(10), np.arange(10) % 2 == 1)
    batch = gather(rows, [4, 0], [7, 2])
    assert batch[0].tolist() == [4, None, 6]
    padded, mask = batch.to_padded(fill=-1)
    assert padded.tolist() == [[4, None, 6], [0, None, None]]
    assert mask.tolist() == [[True] * 3, [True, True, False]]


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 30))
def test_cut_covers_all_in_bounded_groups(lengths: list[int], limit: int) -> None:
    groups = copying.cut(np.array(lengths, np.int64), limit)
    assert [i for low, high in groups for i in range(low, high)] == list(range(len(lengths)))
    for low, high in groups:
        assert low < high
        assert high - low == 1 or sum(lengths[low:high]) < 2 * limit
        assert high - low == 1 or max(lengths[low:high]) < limit


@pytest.fixture
def batch() -> Ragged:
    return Ragged(np.arange(12), [0, 3, 3, 7, 12])


def as_lists(batch: Ragged) -> list[list[int]]:
    return [array.tolist() for array in batch]


LISTS = [[0, 1, 2], [], [3, 4, 5, 6], [7, 8, 9, 10, 11]]


@pytest.mark.parametrize("i", [0, 1, 3, -1, -4, np.int8(2), np.uint64(3), np.array(2)])
def test_one_array_is_a_view(batch: Ragged, i: Any) -> None:
    assert batch[i].tolist() == LISTS[int(i)]
    assert type(batch[i]) is np.ndarray
    assert batch[i].base is batch.values.base or batch[i].base is batch.values


@pytest.mark.parametrize("i", [4, -5, np.int64(4), [0, 4], [-5]])
def test_no_such_array(batch: Ragged, i: Any) -> None:
    with pytest.raises(IndexError, match="of a Ragged of 4 arrays"):
        batch[i]


@given(st.slices(4))
def test_slices(key: slice) -> None:
    part = Ragged(np.arange(12), [0, 3, 3, 7, 12])[key]
    assert as_lists(part) == LISTS[key]
    assert part.offsets[0] == 0
    assert part.values.shape == (part.offsets[-1],)


@pytest.mark.parametrize("key", [slice(3, 1), slice(9, None), slice(4, 2, 1), slice(1, 3, -1)])
def test_empty_slices(batch: Ragged, key: slice) -> None:
    assert as_lists(batch[key]) == []


def test_a_slice_is_a_view_and_pickles_only_itself() -> None:
    whole = Ragged(np.zeros(100_000), np.arange(100_001))
    assert np.shares_memory(whole[10:20].values, whole.values)
    assert len(pickle.dumps(whole[10:20])) < 2000


@given(st.lists(st.integers(-4, 3), max_size=8))
def test_integers(key: list[int]) -> None:
    batch = Ragged(np.arange(12), [0, 3, 3, 7, 12])
    expected = [LISTS[i] for i in key]
    assert as_lists(batch[key]) == expected
    assert as_lists(batch[np.array(key, np.int16)]) == expected


def test_masks(batch: Ragged) -> None:
    assert as_lists(batch[[True, False, True, False]]) == [LISTS[0], LISTS[2]]
    assert as_lists(batch[batch.lengths == 0]) == [[]]


@pytest.mark.parametrize("key", [[True], [0.5], [[0, 1]], "name", None, (0, 1.5), 1.0])
def test_other_keys_are_refused(batch: Ragged, key: Any) -> None:
    with pytest.raises(IndexError, match="expected"):
        batch[key]


def test_facts(batch: Ragged) -> None:
    assert len(batch) == 4
    assert batch.lengths.tolist() == [3, 0, 4, 5]
    assert batch.nbytes == 12 * 8
    assert repr(batch) == "Ragged(4 arrays, 12 rows of int64)"
    assert (
        repr(Ragged(np.zeros((3, 2), "f4"), [1, 3])) == "Ragged(1 arrays, 2 rows of float32 (2,))"
    )
    assert Ragged(np.zeros((3, 2), "f4"), [1, 3]).nbytes == 16
    assert (batch == batch[:]) is False
    assert [array.tolist() for array in batch.to_list()] == LISTS
    assert not hasattr(batch, "__dict__")


def test_pickle(batch: Ragged) -> None:
    copy = pickle.loads(pickle.dumps(batch))
    assert as_lists(copy) == LISTS
    assert copy.offsets.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        (5, [0], "values of a Ragged are a scalar"),
        ([1, 2], [], "offsets are float64 of shape"),
        ([1, 2], np.empty(0, int), "offsets are int64 of shape"),
        ([1, 2], [[0, 2]], "offsets are int64 of shape"),
        ([1, 2], [0.0, 2.0], "offsets are float64 of shape"),
        ([1, 2], 0, "offsets are int64 of shape"),
        ([1, 2], [0, 2, 1], "offsets decrease from 2 to 1 at array 1"),
        ([1, 2], np.array([2, 1], np.uint64), "offsets decrease from 2 to 1 at array 0"),
        ([1, 2], [0, 3], "offsets go from 0 to 3; expected within 0 and 2"),
        ([1, 2], [-1, 2], "offsets go from -1 to 2"),
        ([1, 2], np.array([0, 2**63], np.uint64), "offsets go from 0 to 9223372036854775808"),
    ],
)
def test_parts_that_do_not_fit(values: Any, offsets: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Ragged(values, offsets)


@given(st.sampled_from(["?", "i1", ">f4", "c8"]), st.sampled_from(ROW_SHAPES),
       st.lists(st.integers(0, 6), max_size=6), st.integers(0, 3))  # fmt: skip
def test_to_padded(dtype: str, row_shape: tuple[int, ...], lengths: list[int], skip: int) -> None:
    offsets = np.cumsum([skip, *lengths])
    values = some_rows(int(offsets[-1]) + 2, dtype, row_shape)
    padded, mask = Ragged(values, offsets).to_padded(fill=1)
    longest = max(lengths, default=0)
    assert padded.shape == (len(lengths), longest, *row_shape)
    assert padded.dtype == values.dtype
    assert mask.shape == (len(lengths), longest)
    for i, length in enumerate(lengths):
        assert mask[i].tolist() == [True] * length + [False] * (longest - length)
        np.testing.assert_array_equal(padded[i, :length], values[offsets[i] : offsets[i + 1]])
        assert (padded[i, length:] == 1).all()


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("f4", 0.1), ("f4", np.nan), ("f2", -np.inf), ("i4", 3.0), ("i4", True), ("?", 1),
        ("c8", 1j), ("u8", 2**64 - 1), ("M8[s]", np.datetime64("NaT", "s")),
        ("M8[s]", np.datetime64("2020-01-01")), ("m8[ms]", np.timedelta64(3, "s")),
        ("U3", "abc"), ("S3", b"ab"), ("V4", np.zeros((), "V4")[()]),
        ([("a", "i4")], np.zeros((), [("a", "i4")])[()]),
    ],
)  # fmt: skip
def test_fills_that_the_dtype_can_hold(dtype: Any, fill: Any) -> None:
    padded, _ = Ragged(np.zeros(1, dtype), [0, 0, 1]).to_padded(fill=fill)
    assert_same(padded[0], np.array([fill], dtype))


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("i4", 0.5), ("i4", 2**31), ("u1", -1), ("i8", np.nan), ("?", 2), ("i4", 1j), ("f4", 1j),
        ("f4", 1e300), ("f2", 10**6), ("f4", 10**400), ("U3", 0), ("U3", "abcd"), ("S3", "abc"),
        ("M8[s]", 0), ("M8[D]", np.datetime64("2020-01-01T00:00:01")), ("i4", "1"), ("i4", [1]),
        ("i4", None), ([("a", "i4")], 0),
    ],
)  # fmt: skip
def test_fills_that_the_dtype_would_change(dtype: Any, fill: Any) -> None:
    with pytest.raises(BadInputError, match="would change in an array of") as caught:
        Ragged(np.zeros(1, dtype), [0, 1]).to_padded(fill=fill)
    assert caught.value.found is fill


def test_the_reference_implementation_in_the_docstring_runs() -> None:
    lines = (Ragged.__doc__ or "").split("class is::")[1].split("Equality is")[0]
    namespace: dict[str, Any] = {}
    exec("if True:\n" + lines, namespace)  # noqa: S102 (the indented block as it stands)
    plain = namespace["Ragged"](list(range(12)), [0, 3, 3, 7, 12])
    batch = Ragged(np.arange(12), [0, 3, 3, 7, 12])
    for key in (2, -1):
        assert plain[key] == batch[key].tolist()
    for keys in (slice(1, 3), slice(None, None, -2), [3, 0, 0], [True, False, False, True]):
        assert [list(a) for a in map(plain[keys].__getitem__, range(len(plain[keys])))] == as_lists(
            batch[keys]
        )
    padded, mask = batch.to_padded(fill=9)
    assert plain.to_padded(fill=9) == (padded.tolist(), mask.tolist())
