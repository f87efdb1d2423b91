"""Columns of Arrow as arrays, and back: numbers, dates, decimals, text and bytes, not copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptrarray.errors import BadInputError, import_extra
from ptrarray.frames.text import checked_ends, checked_mask, narrowed
from ptrarray.rows.types import Array

# What Arrow calls each type of several arguments, and what gives them.
_ARGUMENTS = {
    "timestamp": ("unit", "tz"),
    "decimal128": ("precision", "scale"),
    "decimal256": ("precision", "scale"),
    "binary": ("byte_width",),
}
_TEXT = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")

PlainType = str | tuple[Any, ...]


def import_arrow() -> Any:
    """Return pyarrow.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    return import_extra("pyarrow", "a column of Arrow needs pyarrow: pip install pyarrow")


def column_parts(array: Any) -> dict[str, Any]:
    """Return the parts of a column of pandas that Arrow holds.

    Raises
    ------
    BadInputError
        For one of values that have others in them; the message goes on from
        what the column is called.
    """
    pa = import_arrow()
    chunks = array.__arrow_array__()
    plain = _plain_type(pa, chunks.type)
    if plain is None:
        raise BadInputError(
            f"has dtype {array.dtype}, of which numbers, dates, decimals, text and bytes are kept: "
            "convert it to object or category",
            found=str(array.dtype),
        )
    return {**contents(chunks, is_text=plain in _TEXT), "arrow_type": plain}


def contents(chunks: Any, *, is_text: bool) -> dict[str, Any]:
    """Return what is in chunks of Arrow, as arrays on the same memory if it is one chunk."""
    pa = import_arrow()
    if is_text:
        chunks = chunks.cast(
            pa.large_string() if "string" in str(chunks.type) else pa.large_binary()
        )
    array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    valid, *buffers = array.buffers()
    read = _text if is_text else _fixed
    arrays = read(pa, array, *buffers)
    if not array.null_count:
        return arrays
    return {**arrays, "mask": ~bits(np.frombuffer(valid, np.uint8), len(array), array.offset)}


def _fixed(pa: Any, array: Any, data: Any) -> dict[str, Array]:
    dtype = dtype_of(array.type)
    raw = np.frombuffer(b"" if data is None else data, np.uint8)
    return {"values": fixed_values(raw, dtype, len(array), array.offset)}


def fixed_values(raw: Array, dtype: np.dtype[Any], n: int, start: int) -> Array:
    """Return values of one width out of the bytes of a buffer.

    Raises
    ------
    ValueError
        If it has fewer.
    """
    if dtype == np.bool_:
        return bits(raw, n, start)
    values = raw[start * dtype.itemsize : (start + n) * dtype.itemsize].view(dtype)
    if len(values) != n:
        raise ValueError(f"{len(values)} values of {n}")
    return values


def _text(pa: Any, array: Any, ends: Any, data: Any) -> dict[str, Array]:
    if not len(array):
        return {"values": np.empty(0, np.uint8), "ends": np.empty(0, np.uint8)}
    bounds = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    first, last = int(bounds[0]), int(bounds[-1])
    values = np.frombuffer(b"" if data is None else data, np.uint8)[first:last]
    return {"values": values, "ends": narrowed(bounds[1:] - first, last - first)}


def bits(raw: Array, n: int, start: int) -> Array:
    """Return bits of bytes as an array of bool.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    raw = raw[start // 8 : (start + n + 7) // 8]
    found = np.unpackbits(raw, bitorder="little")[start % 8 : start % 8 + n].view(np.bool_)
    if len(found) != n:
        raise ValueError(f"{len(found)} bits of {n}")
    return found


def _plain_type(pa: Any, kind: Any) -> PlainType | None:
    """Return a type as plain values, or None if its values have others in them."""
    name = str(kind)
    word = "binary" if pa.types.is_fixed_size_binary(kind) else name.partition("[")[0]
    word = word.partition("(")[0]
    arguments = _ARGUMENTS.get(word) if word != name else None
    plain: PlainType = name
    if arguments is not None:
        plain = (word, *(getattr(kind, argument) for argument in arguments))
    try:
        return plain if make_type(pa, plain) == kind else None
    except (TypeError, ValueError, KeyError):  # pyarrow's own are derived from these
        return None


def make_type(pa: Any, plain: Any) -> Any:
    """Return a type of Arrow of plain values.

    Raises
    ------
    TypeError, ValueError, KeyError
        For other values.
    """
    if isinstance(plain, str):
        kind = pa.type_for_alias(plain)
    else:
        word, *arguments = plain
        if len(arguments) != len(_ARGUMENTS[word]):
            raise ValueError(f"{len(arguments)} arguments for {word}")
        kind = getattr(pa, word)(*arguments)
    if plain not in _TEXT:
        dtype_of(kind)
    return kind


def dtype_of(kind: Any) -> np.dtype[Any]:
    """Return the dtype of numpy that has the bytes of a type of Arrow."""
    types = import_arrow().types
    if types.is_boolean(kind):
        return np.dtype(np.bool_)
    if types.is_timestamp(kind) or types.is_duration(kind):
        return np.dtype(f"{'M' if types.is_timestamp(kind) else 'm'}8[{kind.unit}]")
    if types.is_integer(kind) or types.is_floating(kind):
        numbers: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        return numbers
    if types.is_date(kind) or types.is_time(kind):
        return np.dtype(f"i{kind.bit_width // 8}")
    if (types.is_decimal(kind) or types.is_fixed_size_binary(kind)) and kind.bit_width:
        return np.dtype(f"V{kind.bit_width // 8}")
    raise ValueError(f"values of {kind!s:.80} are not kept")


def make_column(
    pandas: Any, values: Any, arrow_type: Any, ends: Any = None, mask: Any = None
) -> Any:
    """Return a column of pandas that Arrow holds, on the memory of the arrays.

    Raises
    ------
    ImportError
        If pyarrow is missing.
    Exception
        Of any kind, for parts that do not fit.
    """
    pa = import_arrow()
    kind = make_type(pa, arrow_type)
    if (ends is not None) != (arrow_type in _TEXT):
        raise ValueError(f"values of {kind!s:.80} with ends, or text without")
    array = fixed(pa, kind, values, mask) if ends is None else text(kind, values, ends, mask)
    return pandas.ArrowDtype(kind).__from_arrow__(array)


def fixed(pa: Any, kind: Any, values: Any, mask: Any) -> Any:
    """Return an array of Arrow of values that have one width."""
    dtype, n = dtype_of(kind), len(values)
    if values.ndim != 1 or values.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{values.dtype} {values.shape} for values of {kind!s:.80}")
    values = np.ascontiguousarray(values, dtype)
    data = np.packbits(values, bitorder="little") if dtype == np.bool_ else values.view(np.uint8)
    array = pa.Array.from_buffers(kind, n, [_bitmap(pa, mask, n), pa.py_buffer(data)])
    array.validate(full=True)
    return array


def text(kind: Any, values: Any, ends: Any, mask: Any) -> Any:
    """Return an array of Arrow of text or bytes, which it checks to be UTF-8."""
    pa, n = import_arrow(), len(ends)
    bounds = np.concatenate([[0], checked_ends(values, ends)])
    buffers = [
        _bitmap(pa, mask, n),
        pa.py_buffer(bounds),
        pa.py_buffer(np.ascontiguousarray(values)),
    ]
    whole = pa.large_string() if "string" in str(kind) else pa.large_binary()
    array = pa.Array.from_buffers(whole, n, buffers)
    array.validate(full=True)
    return array if kind == whole else array.cast(kind)


def _bitmap(pa: Any, mask: Any, n: int) -> Any:
    missing = checked_mask(mask, n)
    return None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
