"""Reductions against numpy on the living rows laid end to end, and on each array alone."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrarray import reductions
from ptrarray.errors import BadInputError
from ptrarray.reductions import Living, blocks, each, whole

NUMBERS = ["?", "u1", "<i2", ">i4", "i8", "u8", "f2", "<f4", ">f4", "f8", "g", "c8", ">c16"]
DATES = ["M8[s]", "m8[ms]"]
ROW_SHAPES = [(), (1,), (3,), (2, 2), (0,), (70,)]
COMBINABLE = sorted(blocks.COMBINABLE, key=lambda ufunc: ufunc.__name__)
# Of two arguments, but blocks of them cannot be combined.
IN_ORDER = [np.subtract, np.copysign, np.left_shift, np.fmod]
Operation = Callable[[], Any]
FEWER = settings(max_examples=30)  # of each ufunc


class Stored(Living):
    """Rows in memory, and ranges of them sorted by start."""

    rows: np.ndarray

    @property
    def arrays(self) -> list[np.ndarray]:
        return [self.rows[s:e] for s, e in zip(self.starts, self.ends, strict=True)]

    @property
    def living(self) -> np.ndarray:
        """The rows of all arrays laid end to end, each once."""
        ranges = zip(self.starts, self.ends, strict=True)
        return self.rows[sorted({row for s, e in ranges for row in range(s, e)})]


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    """Make some dozens of rows fill many blocks, of every kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_NBYTES", 200)
        patch.setattr(blocks, "GATHER_BELOW_NBYTES", 60)
        patch.setattr(blocks, "POINTERS", 5)
        patch.setattr(whole, "VARIANCE_NBYTES", 100)
        patch.setattr(whole, "FOLD_ELEMENTS", 8)
        patch.setattr(each, "LONG_ELEMENTS", 100)
        yield


@st.composite
def stored(
    draw: st.DrawFn, dtypes: list[str] | None = None, longest: int = 40, shortest: int = 0
) -> Stored:
    """Draw arrays with holes between, shared rows, empty arrays and long ones."""
    dtype = np.dtype(draw(st.sampled_from(dtypes or NUMBERS)))
    row_shape = draw(st.sampled_from(ROW_SHAPES))
    n_rows = draw(st.sampled_from([shortest, 60, 300]))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-9 if dtype.kind in "ifcm" else 0, 10, (n_rows, *row_shape))
    rows = (numbers * (1 + 2j) if dtype.kind == "c" else numbers).astype(dtype)
    if draw(st.booleans()):  # end to end
        lengths = draw(st.lists(st.integers(shortest, longest), max_size=14))
        edges = np.minimum(np.cumsum([0, *lengths]), n_rows - shortest)
        return Stored(rows, edges[:-1], np.maximum(edges[1:], edges[:-1] + shortest))
    starts = draw(st.lists(st.integers(0, n_rows - shortest), max_size=14).map(sorted))
    ends = [min(n_rows, s + draw(st.integers(shortest, longest))) for s in starts]
    return Stored(rows, np.array(starts, np.int64), np.array(ends, np.int64))


def outcome(operation: Operation) -> Any:
    """Return the result, or the kind of error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return operation()
        except TypeError as error:
            return ValueError if isinstance(error, ValueError) else TypeError
        except ValueError:
            return ValueError


def assert_same(found: Any, expected: Any) -> None:
    """Compare type, dtype, shape and values; floats up to what their type resolves."""
    assert type(found) is type(expected)
    if isinstance(expected, type):
        assert found is expected
        return
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype.kind in "fc":
        # No type hardly rounds the sums of the longest one.
        n_eps = 5000 if found.dtype.char in "gG" else 20
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1)
        tolerance = n_eps * float(np.finfo(found.dtype).eps) * float(largest)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    else:
        np.testing.assert_array_equal(found, expected)


def tamed(store: Stored, ufunc: np.ufunc) -> Stored:
    """Keep products within the range of every dtype, as numpy's own depend on the order else."""
    rows = store.rows
    if ufunc is np.multiply and rows.dtype.kind in "fc":
        rows = np.sign(rows).astype(rows.dtype)
    if ufunc is np.lcm and rows.dtype.kind in "iu":
        rows = np.abs(rows) % 5
    return store._replace(rows=rows)


def precisely(operation: Callable[..., Any], rows: np.ndarray, axis: int | None) -> Any:
    """Return numpy's result in its dtype, but computed in a type that hardly rounds."""
    result = outcome(lambda: operation(rows, axis=axis))
    if isinstance(result, type) or result.dtype.kind not in "fc" or rows.dtype.kind == "m":
        return result
    wide = rows.astype("G" if rows.dtype.kind == "c" else "g")
    return outcome(lambda: np.asarray(operation(wide, axis=axis)).astype(result.dtype)[()])


@pytest.mark.parametrize("ufunc", COMBINABLE)
@FEWER
@given(st.data(), st.sampled_from([0, None]))
def test_reduce(ufunc: np.ufunc, data: st.DataObject, axis: int | None) -> None:
    store = tamed(data.draw(stored()), ufunc)
    # numpy refuses some of these over several axes; laid out in a line they are the same.
    living = store.living.reshape(-1) if axis is None else store.living
    found = outcome(lambda: reductions.reduce(store, ufunc, axis=axis))
    assert_same(found, precisely(ufunc.reduce, living, 0))


@given(stored(DATES), st.sampled_from([np.add, np.minimum, np.fmax, np.multiply]))
def test_reduce_dates(store: Stored, ufunc: np.ufunc) -> None:
    found = outcome(lambda: reductions.reduce(store, ufunc))
    assert_same(found, outcome(lambda: ufunc.reduce(store.living, axis=0)))


@given(stored(["<i2", "f4", "u1"]), st.sampled_from(["f8", "i1", "f2", "c16"]))
def test_reduce_in_another_dtype(store: Stored, dtype: str) -> None:
    expected = np.add.reduce(
        store.living.astype("g" if dtype in ("f8", "f2") else dtype),
        axis=0,
        dtype=dtype if dtype not in ("f8", "f2") else "g",
    )
    found = reductions.reduce(store, np.add, dtype=dtype)
    assert_same(found, np.asarray(expected).astype(dtype)[()])


@pytest.mark.parametrize("dtype", ["S3", "V4", [("a", "i4")], "M8[s]"])
def test_numpys_errors_for_dtypes_pass_through(dtype: Any) -> None:
    store = Stored(np.zeros(4, dtype), np.array([0]), np.array([4]))
    operations: tuple[Operation, ...] = (
        lambda: reductions.reduce(store, np.multiply),
        lambda: reductions.reduce_each(store, np.multiply),
        lambda: reductions.std(store),
        lambda: reductions.std_each(store),
    )
    for operation in operations:
        with pytest.raises(TypeError):
            operation()


@pytest.mark.parametrize("ufunc", [np.subtract, np.power, np.arctan2, np.divmod, np.sin])
def test_reduce_refuses_what_cannot_be_combined(ufunc: np.ufunc) -> None:
    with pytest.raises(
        BadInputError, match=rf"np\.{ufunc.__name__} cannot combine.* add, "
    ) as caught:
        reductions.reduce(Living(np.arange(3), np.array([0]), np.array([3])), ufunc)
    assert caught.value.found is ufunc


@pytest.mark.parametrize("function", [reductions.mean, reductions.std, reductions.var])
def test_other_axes_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(BadInputError, match="axis 1 is not reduced over"):
        function(Living(np.zeros((3, 2)), np.array([0]), np.array([3])), axis=1)


def test_no_living_rows() -> None:
    none = Living(np.zeros((5, 2)), np.array([3]), np.array([3]))
    assert reductions.reduce(none, np.add).tolist() == [0, 0]
    assert reductions.reduce(none, np.multiply, axis=None) == 1
    with pytest.raises(ValueError, match="zero-size array to reduction operation minimum"):
        reductions.reduce(none, np.minimum)


@pytest.mark.parametrize("name", ["mean", "var", "std"])
@given(stored([*NUMBERS, "m8[ms]"]), st.sampled_from([0, None]))
def test_moments(name: str, store: Stored, axis: int | None) -> None:
    found = outcome(lambda: getattr(reductions, name)(store, axis=axis))
    assert_same(found, precisely(getattr(np, name), store.living, axis))


@pytest.mark.parametrize("name", ["var", "std"])
@given(stored(["f4", "i8", "c8"]), st.sampled_from([0, 1, 1.5, 400]))
def test_ddof(name: str, store: Stored, ddof: float) -> None:
    found = outcome(lambda: getattr(reductions, name)(store, axis=0, ddof=ddof))
    expected = outcome(lambda: getattr(np, name)(store.living, axis=0, ddof=ddof))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_warnings_are_numpys() -> None:
    none = Living(np.zeros((5, 2)), np.array([3]), np.array([3]))
    one = Living(np.zeros((5, 2)), np.array([3]), np.array([4]))
    cases: list[tuple[Callable[..., Any], Any, dict[str, Any], str]] = [
        (reductions.mean, none, {}, "Mean of empty slice"),
        (reductions.var, none, {"axis": 0}, "Degrees of freedom <= 0 for slice"),
        (reductions.std, one, {"axis": 0, "ddof": 1}, "Degrees of freedom <= 0 for slice"),
    ]
    for function, store, kwargs, message in cases:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert np.isnan(function(store, **kwargs)).all()
        assert message in [str(warning.message).rstrip(".") for warning in caught]
        assert {warning.category for warning in caught} == {RuntimeWarning}


def test_variance_does_not_cancel() -> None:
    rows = 1e9 + np.tile([0.0, 1.0], 5000)
    assert math.isclose(reductions.var(Living(rows, np.array([0]), np.array([10_000]))), 0.25)


def test_float32_sums_are_as_good_as_float64() -> None:
    rows = np.full((100_000, 2), 0.1, np.float32)
    found = reductions.reduce(Living(rows, np.array([0]), np.array([len(rows)])), np.add)
    exact = math.fsum(rows[:, 0].tolist())
    assert abs(found - np.float32(exact)).max() <= np.spacing(np.float32(exact))
    # numpy's own is off by hundreds.
    assert abs(np.add.reduce(rows, axis=0)[0] - exact) > 1


def test_float32_blocks_are_combined_in_float64() -> None:
    rows = np.zeros(400, np.float32)  # of eight blocks
    rows[[10, 60, 110, 160]] = 3e38, 3e38, -3e38, -3e38
    assert reductions.reduce(Living(rows, np.array([0]), np.array([400])), np.add) == 0


@pytest.mark.parametrize("ufunc", [*COMBINABLE, *IN_ORDER])
@FEWER
@given(data=st.data(), shuffled=st.booleans())
def test_reduce_each(ufunc: np.ufunc, data: st.DataObject, shuffled: bool) -> None:
    # In float16, numpy's loops round after each step or only at the end, depending on the shape.
    dtypes = [dtype for dtype in NUMBERS if dtype != "f2" or ufunc not in IN_ORDER]
    shortest = 0 if ufunc.identity is not None else 1
    store = tamed(data.draw(stored(dtypes, shortest=shortest)), ufunc)
    if shuffled:
        order = np.random.default_rng(0).permutation(len(store.starts))
        store = store._replace(starts=store.starts[order], ends=store.ends[order])
    found = outcome(lambda: reductions.reduce_each(store, ufunc))
    one = outcome(
        lambda: ufunc.reduce(np.ones((1, *store.rows.shape[1:]), store.rows.dtype), axis=0)
    )
    if isinstance(one, type):
        assert found is one
        return
    expected = np.empty((len(store.starts), *store.rows.shape[1:]), one.dtype)
    for i, array in enumerate(store.arrays):
        if ufunc in IN_ORDER:  # what underflows must underflow here, too
            with np.errstate(all="ignore"):
                expected[i] = ufunc.reduce(array, axis=0)
        else:
            expected[i] = precisely(ufunc.reduce, array, 0)
    assert_same(found, expected)


@pytest.mark.parametrize("row_shape", [(), (2,), (70,)])
def test_arrays_of_many_blocks(row_shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).integers(-9, 9, (2000, *row_shape)).astype("i4")
    starts, ends = np.array([1, 3, 3, 1999, 7, 0]), np.array([900, 5, 3, 2000, 1999, 2000])
    for ufunc in (np.add, np.bitwise_xor):
        found = reductions.reduce_each(Living(rows, starts, ends), ufunc)
        expected = [ufunc.reduce(rows[s:e], axis=0) for s, e in zip(starts, ends, strict=True)]
        assert_same(found, np.array(expected))
    filled = np.array([0, 1, 3, 4, 5])
    found = reductions.reduce_each(Living(rows, starts[filled], ends[filled]), np.subtract)
    assert_same(found[0], np.subtract.reduce(rows[1:900], axis=0))
    assert_same(found[4], np.subtract.reduce(rows, axis=0))
    for name in ("mean", "std"):
        found = getattr(reductions, f"{name}_each")(Living(rows, starts[filled], ends[filled]))
        np.testing.assert_allclose(found[3], getattr(np, name)(rows[7:1999], axis=0), rtol=1e-12)


@pytest.mark.parametrize("ufunc", [np.hypot, np.gcd])
def test_reduce_each_of_single_rows(ufunc: np.ufunc) -> None:
    rows, at = np.array([[-4, 4], [6, -6], [-3, 0]]), np.arange(3)
    # reduceat would hand on a single row as it is, sign and all.
    expected = np.stack([ufunc.reduce(rows[i : i + 1], axis=0) for i in range(3)])
    assert_same(reductions.reduce_each(Living(rows, at, at + 1), ufunc), expected)
    assert (expected >= 0).all()


def test_reduce_each_in_another_dtype() -> None:
    store = Living(np.array([100, 100, 100, 7], np.int8), np.array([0, 3, 3]), np.array([3, 4, 3]))
    found = reductions.reduce_each(store, np.add, dtype=np.int8)
    assert_same(found, np.array([44, 7, 0], np.int8))


def test_reduce_each_names_the_first_empty_array() -> None:
    starts = np.arange(20)
    ends = starts + 1
    ends[[11, 13, 17]] -= 1
    with pytest.raises(BadInputError, match=r"array 11 is empty, and np\.maximum has no") as caught:
        reductions.reduce_each(Living(np.zeros(30), starts, ends), np.maximum)
    assert caught.value.facts["position"] == 11


@pytest.mark.parametrize("ufunc", [np.sin, np.divmod, np.modf])
def test_reduce_each_takes_binary_ufuncs(ufunc: np.ufunc) -> None:
    with pytest.raises(BadInputError, match="expected a ufunc of two arguments and one result"):
        reductions.reduce_each(Living(np.arange(3.0), np.array([0]), np.array([3])), ufunc)


def test_reduce_each_takes_a_users_own_ufunc() -> None:
    joined = np.frompyfunc(lambda left, right: left * 10 + right, 2, 1)
    found = reductions.reduce_each(Living(np.arange(5), np.array([0, 3]), np.array([3, 5])), joined)
    assert found.tolist() == [12, 34]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 11), (4, 3)])
def test_ranges_outside_the_rows_are_refused(start: int, end: int) -> None:
    store = Living(np.arange(10), np.array([0, start]), np.array([1, end]))
    with pytest.raises(BadInputError, match="is not within the rows") as caught:
        reductions.reduce_each(store, np.add)
    assert not hasattr(caught.value, "position")
    if start < end:
        with pytest.raises(BadInputError, match="is not within the rows"):
            reductions.reduce(Living(np.arange(10), np.sort(store[1]), np.sort(store[2])), np.add)


@pytest.mark.parametrize("ddof", [None, 0, 1])
@given(store=stored([*NUMBERS, "m8[ms]"]))
def test_moments_of_each(ddof: int | None, store: Stored) -> None:
    kwargs = {} if ddof is None else {"ddof": ddof}
    name = "mean" if ddof is None else "std"
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")  # empty arrays are nan without a warning
        try:
            found = getattr(reductions, f"{name}_each")(store, **kwargs)
        except TypeError:
            assert store.rows.dtype.kind == "m"
            assert name == "std"
            return

    def numpys(rows: np.ndarray, axis: int | None) -> Any:
        return getattr(np, name)(rows, axis=axis, **kwargs)

    one = numpys(np.ones((2, *store.rows.shape[1:]), store.rows.dtype), 0)
    expected = np.empty((len(store.starts), *store.rows.shape[1:]), one.dtype)
    for i, array in enumerate(store.arrays):
        expected[i] = precisely(numpys, array, 0)
    assert_same(found, expected)


FUNCTIONS = [np.sum, np.prod, np.min, np.amin, np.max, np.amax, np.any, np.all, np.mean, np.std,
             np.var]  # fmt: skip
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((None,), {"out": None}),
    ((0,), {}),
    ((), {"axis": 0, "keepdims": True}),
    ((), {"axis": (0,)}),
    ((), {"axis": -2, "keepdims": False}),
    ((), {"axis": (1, 0), "keepdims": True}),
    ((), {"keepdims": True}),
]


@pytest.mark.parametrize("func", FUNCTIONS, ids=lambda func: func.__name__)
@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_array_function(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    rows = np.random.default_rng(0).integers(1, 5, (40, 3))
    starts, ends = np.array([2, 3, 20]), np.array([9, 5, 21])
    living = np.concatenate((rows[2:9], rows[20:21]))
    found = reductions.array_function(func, Living(rows, starts, ends), (object(), *args), kwargs)
    assert_same(found, func(living, *args, **kwargs))


def test_a_mask_is_not_dropped() -> None:
    store = Living(np.ma.MaskedArray(np.arange(4), [True] * 4), np.array([0]), np.array([4]))
    for function in (reductions.mean, reductions.var, reductions.mean_each, reductions.std_each):
        with pytest.raises(BadInputError, match="rows with a mask"):
            function(store)


def test_array_function_hands_on_dtype_and_ddof() -> None:
    store = Living(np.arange(10, dtype="i4"), np.array([0]), np.array([10]))
    for func, kwargs in (
        (np.sum, {"dtype": "f4"}),
        (np.var, {"ddof": 1}),
        (np.std, {"dtype": "f4", "ddof": 2}),
    ):
        found = reductions.array_function(func, store, ["store"], kwargs)
        assert_same(found, func(np.arange(10, dtype="i4"), **kwargs))


@pytest.mark.parametrize(
    ("func", "kwargs", "message"),
    [
        (np.sum, {"out": np.zeros(3)}, "np.sum of a store does not take 'out'; expected only axis"),
        (np.sum, {"where": [True]}, "does not take 'where'"),
        (np.max, {"initial": 3}, "does not take 'initial'"),
        (np.std, {"correction": 1}, "does not take 'correction'"),
        (np.sum, {"axis": 1}, r"axis 1 is not reduced over; expected None .* or 0"),
        (np.mean, {"axis": (1,)}, r"axis \(1,\) is not reduced over"),
        (np.mean, {"axis": 2}, "axis 2 is out of bounds"),
        (np.sum, {"nonsense": 1}, "nonsense"),
    ],
)
def test_array_function_refuses(
    func: Callable[..., Any], kwargs: dict[str, Any], message: str
) -> None:
    store = Living(np.zeros((4, 2)), np.array([0]), np.array([4]))
    with pytest.raises((ValueError, TypeError), match=message):
        reductions.array_function(func, store, ["store"], kwargs)


def test_array_function_leaves_other_functions_alone() -> None:
    store = Living(np.zeros(4), np.array([0]), np.array([4]))
    for func in (np.median, np.concatenate, np.cumsum):
        assert reductions.array_function(func, store, ["store"], {}) is NotImplemented


def test_holes_of_a_sparse_file_are_not_read(tmp_path: Path) -> None:
    n_rows = 2**33
    path = tmp_path / "data.bin"
    with path.open("wb") as file:
        file.truncate(n_rows * 4)
    rows = np.memmap(path, np.int32, "r+")
    starts = np.array([5, 2**20, 2**32, 2**32 + 1, n_rows - 3])
    ends = np.array([8, 2**20, 2**32 + 2000, 2**32 + 3, n_rows])
    for start, end in zip(starts, ends, strict=True):
        rows[start:end] = 2
    n_living = 3 + 2000 + 3
    store = Living(rows, starts, ends)
    assert reductions.reduce(store, np.add) == 2 * n_living
    assert reductions.mean(store) == 2
    assert reductions.std(store) == 0
    assert reductions.reduce_each(store, np.add).tolist() == [6, 0, 4000, 4, 6]
    np.testing.assert_array_equal(reductions.mean_each(store), [2, np.nan, 2, 2, 2])
    np.testing.assert_array_equal(reductions.std_each(store), [0, np.nan, 0, 0, 0])


@given(st.lists(st.text(max_size=2), max_size=40))
def test_fold_keeps_the_order(parts: list[str]) -> None:
    assert blocks.fold(parts, str.__add__) == ("".join(parts) if parts else None)


def test_fold_is_a_balanced_tree() -> None:
    depths = blocks.fold([0] * 1000, lambda left, right: max(left, right) + 1)
    assert depths is not None
    assert depths <= 11


def test_in_parallel_yields_in_order_and_takes_few_tasks_ahead() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(1, 201):
            taken.append(task)
            yield task

    for n_done, result in enumerate(blocks.in_parallel(lambda task: -task, tasks(), 3), 1):
        assert result == -n_done
        assert len(taken) <= n_done + 2 * 3
    assert len(taken) == 200


def test_in_parallel_uses_threads_and_the_callers_errstate() -> None:
    both = threading.Barrier(2)

    def work(task: int) -> tuple[str, float]:
        both.wait(timeout=10)
        return threading.current_thread().name, float(np.divide(np.float64(1), 0))

    with np.errstate(divide="ignore"):
        results = list(blocks.in_parallel(work, [0, 1], 2))
    assert len({name for name, _ in results}) == 2
    assert all(value == np.inf for _, value in results)


def test_in_parallel_passes_errors_on_and_stops() -> None:
    done: list[int] = []

    def work(task: int) -> int:
        if task == 3:
            raise ZeroDivisionError
        done.append(task)
        return task

    with pytest.raises(ZeroDivisionError):
        list(blocks.in_parallel(work, range(10**9), 2))
    assert max(done) < 20


def test_one_task_runs_in_the_callers_thread() -> None:
    names = blocks.in_parallel(lambda _: threading.current_thread().name, ["only"], 2)
    assert list(names) == [threading.current_thread().name]


@given(stored(["f4", "f8"]))
def test_results_do_not_depend_on_the_number_of_threads(store: Stored) -> None:
    store = store._replace(rows=np.sqrt(np.abs(store.rows)))
    results = []
    for n_threads in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "count_cores", lambda n_threads=n_threads: n_threads)
            results.append(reductions.reduce(store, np.add).tobytes())
            results.append(outcome(lambda: reductions.std(store)).tobytes())
    assert results[:2] == results[2:]
