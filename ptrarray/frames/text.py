"""Text as UTF-8 bytes that lie end to end, and where each value ends in them; and back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ptrarray.frames.library import import_pandas
from ptrarray.objects.parts import Parts
from ptrarray.rows.types import Array

_SHORT_NBYTES = 40  # of a text, on average
_NAN = struct.pack("d", np.nan)


def packed(texts: Sequence[str]) -> dict[str, Array]:
    """Return text as its bytes, and where each value ends in them.

    Examples
    --------
    >>> packed(["ab", "", "ä"])
    {'values': array([ 97,  98, 195, 164], dtype=uint8), 'ends': array([2, 2, 4], dtype=uint8)}
    """
    joined = "".join(texts)
    raw = np.frombuffer(joined.encode("utf-8", "surrogatepass"), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    if len(raw) != len(joined):
        first_bytes = np.flatnonzero(~_goes_on(raw))
        ends = np.append(first_bytes, len(raw))[ends]
    return {"values": raw, "ends": narrowed(ends, len(raw))}


def narrowed(ends: Array, nbytes: int) -> Array:
    """Return ends in the narrowest dtype that has them all, so that equal text is kept alike."""
    return ends.astype(np.min_scalar_type(nbytes), copy=False)


def _goes_on(raw: Array) -> Array:
    """Tell of each byte whether it is in a character that began before it."""
    is_inner: Array = (raw & 0xC0) == 0x80
    return is_inner


def object_parts(values: Array) -> Parts | None:
    """Return the parts of Python objects that are all str, or else one kind of missing value.

    None for any others.
    """
    items = values.tolist()
    kinds = set(map(type, items))
    others = kinds - {str}
    if str not in kinds or len(others) > 1:
        return None
    if not others:
        return Parts("strings", {**packed(items), "storage": "object", "na_value": "None"})
    na_value = _na_value(others.pop(), items)
    if na_value is None:
        return None
    mask = np.fromiter((type(item) is not str for item in items), np.bool_, len(items))
    texts = packed([item if type(item) is str else "" for item in items])
    return Parts("strings", {**texts, "mask": mask, "storage": "object", "na_value": na_value})


def _na_value(kind: type, items: list[Any]) -> str | None:
    """Return what the only values are called that are not text, or None if they are others."""
    if kind is type(None):
        return "None"
    if kind is type(import_pandas().NA):
        return "NA"
    if kind is not float:
        return None
    bits = {struct.pack("d", item) for item in items if type(item) is float}
    return "nan" if bits == {_NAN} else None


def string_parts(array: Any) -> dict[str, Any]:
    """Return text of a dtype of pandas, whatever holds its characters."""
    missing = np.asarray(array.isna())
    has_missing = bool(missing.any())
    values = np.asarray(array.fillna("") if has_missing else array, object).tolist()
    # pandas leaves a str of a class derived from it as it is, a numpy.str_ too.
    texts = packed(values if set(map(type, values)) <= {str} else [*map(str.__str__, values)])
    return {**texts, "mask": missing} if has_missing else dict(texts)


def checked_ends(values: Any, ends: Any) -> Array:
    """Return ends as integers of 64 bits that never fall and lead from 0 to the last byte.

    Raises
    ------
    TypeError, ValueError
        For others.
    """
    if (
        values.dtype != np.uint8
        or values.ndim != 1
        or ends.ndim != 1
        or ends.dtype.kind not in "ui"
    ):
        raise TypeError(f"text in {values.dtype} {values.shape}, ends in {ends.dtype} {ends.shape}")
    found: Array = ends.astype(np.int64)  # what is beyond becomes negative
    bounds = np.concatenate([[0], found, [len(values)]])
    if (bounds[:-1] > bounds[1:]).any() or bounds[-2] != len(values):
        raise ValueError(f"ends that do not lead through {len(values)} bytes of text")
    return found


def checked_mask(mask: Any, n: int) -> Array | None:
    """Return where values are missing, or None if there are none.

    Raises
    ------
    TypeError
        For what is no mask of so many values.
    """
    if mask is None:
        return None
    if mask.dtype != np.bool_ or mask.shape != (n,):
        raise TypeError(f"a mask of {mask.dtype} {mask.shape} for {n} values")
    found: Array = mask
    return found


def unpacked(values: Any, ends: Any) -> list[str]:
    """Return text of its bytes, and where each value ends in them.

    Raises
    ------
    TypeError, ValueError
        For bytes that are no UTF-8, and ends that are not of them.
    """
    bounds, values = checked_ends(values, ends), np.ascontiguousarray(values)
    is_short = len(values) <= _SHORT_NBYTES * len(bounds)
    return _split(values, bounds) if is_short and values.all() else _sliced(values, bounds)


def _split(values: Array, ends: Array) -> list[str]:
    """Return text in which there is no NUL: that makes it half as slow as `_sliced` if it is short."""
    if not len(ends):
        return []
    is_text = np.ones(len(values) + len(ends) - 1, np.bool_)
    is_text[ends[:-1] + np.arange(len(ends) - 1)] = False
    joined = np.zeros(len(is_text), np.uint8)
    joined[is_text] = values
    return str(joined.data, "utf-8", "surrogatepass").split("\0")


def _sliced(values: Array, ends: Array) -> list[str]:
    text = str(values.data, "utf-8", "surrogatepass")
    if len(text) != len(values):
        inner = np.flatnonzero(_goes_on(values))
        if np.isin(ends, inner).any():
            raise ValueError("text that ends within a character")
        ends = ends - np.searchsorted(inner, ends)
    bounds = ends.tolist()
    return [text[start:end] for start, end in zip([0, *bounds[:-1]], bounds, strict=False)]


def make_objects(values: Any, ends: Any, mask: Any, na_value: Any) -> Array:
    """Return text as an array of Python objects."""
    texts = np.fromiter(unpacked(values, ends), object, len(ends))
    missing = checked_mask(mask, len(texts))
    if missing is not None:
        texts[missing] = {"None": None, "nan": np.nan, "NA": import_pandas().NA}[na_value]
    return texts
