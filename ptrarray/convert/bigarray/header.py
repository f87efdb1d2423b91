"""The header of a file of bigarray: its dtype and shape, and where its rows begin.

The file begins with ``mmapdata``, the length of what follows as eight ASCII
digits, and ``marshal.dumps([dtype, shape])``. `marshal.loads` would do but for
hostile files, which make it crash.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from typing import Any, NamedTuple

import numpy as np

from ptrarray.bigarray.paths import MAGIC
from ptrarray.errors import BadInputError
from ptrarray.format import dtypes
from ptrarray.format.layouts import ROWS, Layout

# The rows begin at the first multiple of the item size from here on.
HEADER_NBYTES = 502
_START = struct.Struct("<8s8s")
# As str() and .name tell dtypes; numpy parses more than that.
_DTYPE = re.compile(r"[<>|=]?[A-Za-z]{1,20}\d{0,9}(\[\d{0,9}[A-Za-z]{1,4}\])?", re.ASCII)
_TEXTS = {"z": "<B", "Z": "<B", "a": "<I", "A": "<I", "u": "<I", "t": "<I"}
_FLAG_REF = 0x80


class RefusedHeaderError(ValueError):
    """A header is not one of bigarray; the message goes on from "it"."""


class OldHeader(NamedTuple):
    """What a file of bigarray says of its rows.

    Attributes
    ----------
    layout : Layout
        The dtype and the shape of a row.
    n_rows : int
        Rows there are.
    start_byte, end_byte : int
        Where the rows lie in the file.
    """

    layout: Layout
    n_rows: int
    start_byte: int
    end_byte: int


def read_header(raw: bytes) -> OldHeader:
    """Read the header in the first bytes of a file.

    Raises
    ------
    RefusedHeaderError
        If they are not one.
    """
    if len(raw) < HEADER_NBYTES:
        raise RefusedHeaderError(
            f"has {len(raw)} bytes, fewer than the {HEADER_NBYTES} of a header"
        )
    magic, digits = _START.unpack_from(raw)
    if magic != MAGIC:
        raise RefusedHeaderError(f"begins with {magic!r}, not with {MAGIC!r}")
    if not re.fullmatch(rb" *\d+", digits) or int(digits) > HEADER_NBYTES - _START.size:
        raise RefusedHeaderError(f"has a header of {digits!r} bytes")
    text, shape = _Marshalled(raw[_START.size : _START.size + int(digits)]).read()
    dtype = _dtype(text)
    if not shape or min(shape) < 0:
        raise RefusedHeaderError(f"has the shape {shape}")
    start_byte = -(-HEADER_NBYTES // dtype.itemsize) * dtype.itemsize
    end_byte = start_byte + math.prod(shape) * dtype.itemsize
    return OldHeader(Layout(ROWS, dtype, shape[1:], masked=False), shape[0], start_byte, end_byte)


def _dtype(text: str) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(text):
        raise RefusedHeaderError(f"has no dtype for a store: {text!r:.80}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that numpy will no longer take some day
            return dtypes.normalize(text)[0]
    except BadInputError as error:
        raise RefusedHeaderError(f"has no dtype for a store: {error}") from error


class _Marshalled:
    """Reads a list of a text and a tuple of integers, and nothing else."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0
        self._refs: list[int | None] = []  # what may be named again by its number

    def read(self) -> tuple[str, tuple[int, ...]]:
        """Return the text and the integers."""
        try:
            if self._code() != "[" or self._number("<i") != 2:
                raise RefusedHeaderError("has a header that is no pair")
            text = self._text()
            shape = self._shape()
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise RefusedHeaderError(f"has a header that ends at byte {self._at}") from error
        return text, shape

    def _code(self) -> str:
        code = self._raw[self._at]
        self._at += 1
        if code & _FLAG_REF:
            self._refs.append(None)
        return chr(code & ~_FLAG_REF)

    def _number(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._raw, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def _text(self) -> str:
        code = self._code()
        if code not in _TEXTS:
            raise RefusedHeaderError(f"has a header with {code!r} for a dtype")
        nbytes = self._number(_TEXTS[code])
        start, self._at = self._at, self._at + nbytes
        return self._raw[start : self._at].decode("utf-8")

    def _shape(self) -> tuple[int, ...]:
        code = self._code()
        if code not in (")", "("):
            raise RefusedHeaderError(f"has a header with {code!r} for a shape")
        n_axes = self._number("<B" if code == ")" else "<i")
        return tuple(self._integer() for _ in range(n_axes))

    def _integer(self) -> int:
        n_refs = len(self._refs)
        code = self._code()
        if code == "r":
            known = self._refs[self._number("<I")]
            if known is None:
                raise RefusedHeaderError("has a header with something else for a length")
            return known
        if code == "i":
            number = self._number("<i")
        elif code == "l":
            number = self._long()
        else:
            raise RefusedHeaderError(f"has a header with {code!r} for a length")
        if len(self._refs) > n_refs:
            self._refs[-1] = number
        return number

    def _long(self) -> int:
        n_digits = self._number("<i")
        if not 0 <= n_digits <= 5:  # of 15 bits: more than any file has rows
            raise RefusedHeaderError(f"has a header with a length of {n_digits} digits")
        return sum(self._number("<H") << 15 * i for i in range(n_digits))
