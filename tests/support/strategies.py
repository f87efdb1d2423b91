"""What hypothesis tries: dtypes, row shapes, names and arrays that a store must take."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

Array = NDArray[Any]

PLAIN_DTYPES = (
    "?",
    *("i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">u8"),
    *("<f2", ">f4", "<f8", ">f8", "g"),
    *("<c8", ">c16"),
    *("<M8[s]", ">M8[ns]", "<m8[ms]", ">m8[D]"),
    *("S5", "<U3", ">U3", "V7"),
)
STRUCTURED_DTYPES: tuple[Any, ...] = (
    [("time", "<M8[s]"), ("xyz", ">f4", (3,)), ("label", "S3")],
    [("inner", [("a", "?"), ("b", "<U2")]), ("größe", "<i8")],
    np.dtype([("a", "i1"), ("b", "<f8")], align=True),
)
SUB_ARRAY_DTYPES: tuple[Any, ...] = (("<f4", (3,)), (">i2", (2, 2)))
DTYPES = (*PLAIN_DTYPES, *STRUCTURED_DTYPES, *SUB_ARRAY_DTYPES)
ROW_SHAPES = ((), (1,), (0,), (3,), (2, 3))
STRANGE_NAMES = (
    "",
    " ",
    "a/b\\c",
    "two\nlines\r\n",
    "nul\0inside",
    "\0",
    "größe",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "日本語",
    "\N{SNOWMAN}\N{PILE OF POO}",
    "\N{RIGHT-TO-LEFT OVERRIDE}olleh",
    "n" * 5000,
    "ü" * 5000,
    "0",
    "-1",
)


def dtypes() -> st.SearchStrategy[Any]:
    """Everything `numpy.dtype` takes and a store must."""
    return st.sampled_from(DTYPES)


def row_shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.sampled_from(ROW_SHAPES)


def names() -> st.SearchStrategy[str]:
    """A few short names that come again, strange ones, and any that UTF-8 can encode."""
    return st.one_of(
        st.sampled_from("abcdef"),
        st.sampled_from(STRANGE_NAMES),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    )


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Anything that numpy takes as an index of an array of this shape."""
    kinds: list[Any] = [npst.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if 0 not in shape:
        kinds.append(npst.integer_array_indices(shape))
        kinds.append(npst.integer_array_indices(shape[:1], dtype=np.dtype("i2")))
    for n_axes in range(len(shape) + 1):
        kinds.append(npst.arrays(np.bool_, shape[:n_axes]))
    index = draw(st.one_of(kinds))
    if isinstance(index, np.ndarray) and index.ndim and draw(st.booleans()):
        index = index.tolist()
    if draw(st.booleans()) and not isinstance(index, tuple):
        index = draw(st.sampled_from([(index,), (index, ...), (None, index), (..., index)]))
    return index


def filled(dtype: Any, shape: tuple[int, ...], seed: int) -> Array:
    """Return an array of any dtype with values that depend on the seed.

    Never NaN or NaT, so that equal bytes are equal values.
    """
    dtype = np.dtype(dtype)
    if dtype.subdtype is not None:
        base, inner_shape = dtype.subdtype
        return filled(base, (*shape, *inner_shape), seed)
    result = np.zeros(shape, dtype)
    if dtype.fields is not None:
        for number, (name, (field, *_)) in enumerate(dtype.fields.items()):
            result[name] = filled(field, shape, seed + number)
        return result
    numbers = np.random.default_rng(seed).integers(0, 100, shape)
    match dtype.kind:
        case "S" | "U":
            result[...] = numbers.astype("U")
        case "V":
            result.reshape(-1).view("u1")[:] = np.resize(numbers, result.nbytes)
        case "b":
            result[...] = numbers % 2
        case "c":
            result[...] = numbers - 0.5j * numbers
        case _:
            result[...] = numbers.astype(dtype)
    return result


def in_c_order(array: Array) -> Array:
    return array


def strided(array: Array) -> Array:
    """Return the same rows as every second one of an array twice as long."""
    doubled = np.repeat(array, 2, axis=0)
    return doubled[::2]


def reversed_twice(array: Array) -> Array:
    """Return the same rows with a negative stride."""
    return array[::-1].copy()[::-1]


def fortran(array: Array) -> Array:
    return np.asfortranarray(array)


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(array: Array) -> Array:
    """Return the same rows at an odd address."""
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    copy: Array = np.ndarray(array.shape, array.dtype, raw)
    copy[...] = array
    return copy


MEMORY_LAYOUTS = (in_c_order, strided, reversed_twice, fortran, read_only, misaligned)


@st.composite
def arrays(draw: st.DrawFn, dtype: Any, row_shape: tuple[int, ...], max_length: int = 6) -> Array:
    """Arrays of a store's dtype in every memory layout; length zero comes often."""
    length = draw(st.one_of(st.just(0), st.integers(0, max_length)))
    array = filled(dtype, (length, *row_shape), draw(st.integers(0, 2**16)))
    return draw(st.sampled_from(MEMORY_LAYOUTS))(array)


# of any shape and dtype, and masked ----------------------------------------------------------

SHAPES = ((), (0,), (1,), (5,), (2, 3), (0, 4), (3, 0), (2, 1, 3), (1,) * 6)
FILL_DTYPES = (*PLAIN_DTYPES, *STRUCTURED_DTYPES)


def hidden(array: Array, seed: int) -> Array:
    """Return an array masked here and there, in each field by itself, some with more to keep."""
    rng = np.random.default_rng(seed)
    descr = np.dtype(np.ma.make_mask_descr(array.dtype))
    raw = rng.integers(0, 2, array.size * descr.itemsize).astype(np.bool_)
    mask: Any = raw.view(descr).reshape(array.shape)
    if array.flags.fnc and seed % 2:
        mask = np.asfortranarray(mask)
    masked: Any = np.ma.MaskedArray(array, mask, hard_mask=seed % 3 == 0)
    if seed % 5 < 2:
        masked.fill_value = filled(array.dtype, (), seed)[()]
    return masked  # type: ignore[no-any-return]


@st.composite
def maybe_hidden(draw: st.DrawFn, array: Array, masked: bool) -> Array:
    """Mask some of the arrays for a store that keeps masks."""
    return hidden(array, draw(st.integers(0, 999))) if masked and draw(st.booleans()) else array


@st.composite
def shaped_arrays(draw: st.DrawFn, dtype: Any) -> Array:
    """Arrays of any shape in every memory layout; of one dtype, or of any if that is None."""
    dtype = np.dtype(draw(st.sampled_from(FILL_DTYPES)) if dtype is None else dtype)
    array = filled(dtype, draw(st.sampled_from(SHAPES)), draw(st.integers(0, 2**16)))
    layouts = MEMORY_LAYOUTS if array.ndim else (in_c_order, read_only)
    return draw(st.sampled_from(layouts))(array)
