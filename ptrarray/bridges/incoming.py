"""What others hand over by Arrow's C interface: its structures, read with every check there can be.

A structure says how many buffers and children there are, and where; nothing says how large a
buffer is. So what is checked is all that is said: that one part of it fits the others, and that
nothing that is needed is missing. A pointer to memory that is not there, or a length beyond what
a buffer has, cannot be told from a good one, by nobody who reads this interface.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from ctypes import (
    CFUNCTYPE,
    POINTER,
    PYFUNCTYPE,
    addressof,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_void_p,
    cast,
    py_object,
    pythonapi,
    string_at,
)
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.bridges.structures import LIMIT, ArrowArray, ArrowSchema, ArrowStream, Field
from ptrarray.errors import BadInputError

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

_DEPTH_LIMIT = 64  # of types within types; numpy has as many axes
_METADATA_NBYTES = 2**28  # of one text

_pointer_in = PYFUNCTYPE(c_void_p, py_object, c_char_p)(("PyCapsule_GetPointer", pythonapi))
_fill = CFUNCTYPE(c_int, c_void_p, c_void_p)  # of a stream: give a schema, or the next array
_last_error = CFUNCTYPE(c_char_p, c_void_p)
_release = CFUNCTYPE(None, c_void_p)


class _Memory:
    """Bytes of somebody else, kept by their owner for as long as an array is on them."""

    def __init__(self, owner: object, address: int, nbytes: int) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "data": (address, True),
            "shape": (nbytes,),
            "typestr": "|u1",
            "version": 3,
        }


class _Released:
    """An array of a stream, and nothing to do when it goes."""

    array = ArrowArray()  # for who is interrupted before there is one

    def __init__(self) -> None:
        self.array = ArrowArray()


class _Owned(_Released):
    """An array of a stream, which is released with the last numpy array on its memory.

    What a signal raises while an object goes, Ctrl-C among it, is dropped by Python. So an array that
    nobody has any more is released by a call, and is then of a class that does nothing when it goes.
    """

    def lend(self) -> _Loan:
        """Return what keeps it."""
        loan = _Loan(self)
        self._loan = weakref.ref(loan)
        return loan

    def returned(self) -> bool:
        """Tell whether nobody has any more what `lend` gave."""
        return self._loan() is None

    def release(self) -> None:
        """Let it go at once."""
        self.__del__()
        self.__class__ = _Released  # type: ignore[assignment]

    def __del__(self, ends: Any = sys.is_finalizing, release: Any = _release) -> None:
        # At the end of the process, who made it may be gone, and all memory goes anyway.
        if self.array.release and not ends():
            release(self.array.release)(addressof(self.array))


class _Loan:
    """What numpy arrays keep, so that what they are on is there."""

    def __init__(self, owned: _Owned) -> None:
        self.owned = owned


@dataclass(frozen=True)
class Column:
    """Some of the items of a column.

    Attributes
    ----------
    field : Field
        Its type.
    raw : ArrowArray
        The structure.
    owner : object
        What keeps the memory.
    start, length : int
        Which of its items, the offset of the structure included.
    """

    field: Field
    raw: Any
    owner: object
    start: int
    length: int

    def part(self, start: int, end: int) -> Column:
        """Return items that follow each other."""
        return replace(self, start=self.start + start, length=end - start)

    def child(self, at: int, start: int, length: int) -> Column:
        """Return so many items of what is in it, from one on."""
        pointer = self.raw.children[at]
        if not pointer:
            raise _odd(self.field, "has no child where one must be")
        return _column(self.field.children[at], pointer.contents, self.owner).within(start, length)

    def dictionary(self) -> Column:
        """Return what its numbers stand for."""
        assert self.field.dictionary is not None
        if not self.raw.dictionary:
            raise _odd(self.field, "has no dictionary")
        return _column(self.field.dictionary, self.raw.dictionary.contents, self.owner)

    def within(self, start: int, length: int) -> Column:
        """Return so many items from one on, or say that there are fewer."""
        if not 0 <= start <= start + length <= self.length:
            what = f"has {self.length} items where those from {start} to {start + length} are meant"
            raise _odd(self.field, what)
        return self.part(start, start + length)

    def buffer(self, at: int, dtype: npt.DTypeLike, start: int, n: int) -> Array:
        """Return so many values of a buffer from one on, as a view."""
        kind = np.dtype(dtype)
        address = self.raw.buffers[at] if n else None
        if not n:
            return np.empty(0, kind)
        if not address:
            raise _odd(self.field, f"has no buffer {at}")
        memory = _Memory(self.owner, address + start * kind.itemsize, n * kind.itemsize)
        return np.asarray(memory).view(kind)

    def bits(self, at: int) -> Bools:
        """Return the bits of its items in a buffer."""
        first, last = self.start // 8, (self.start + self.length + 7) // 8
        raw = self.buffer(at, np.uint8, first, last - first if self.length else 0)
        bits = np.unpackbits(raw, bitorder="little").view(np.bool_)
        return bits[self.start % 8 :][: self.length]

    @property
    def n_buffers(self) -> int:
        """How many buffers it has."""
        return int(self.raw.n_buffers)

    def nulls(self) -> Bools | None:
        """Tell which items are null, or return None if none is."""
        if self.field.format == "n":
            return np.ones(self.length, np.bool_) if self.length else None
        if not self.raw.buffers[0]:
            if self.raw.null_count > 0:
                raise _odd(self.field, f"has {self.raw.null_count} nulls, and nothing says which")
            return None
        is_null = ~self.bits(0)
        return is_null if is_null.any() else None


def n_buffers_of(field: Field) -> int | None:
    """Return how many buffers a column of a type has, or None where that differs."""
    kind = field.format
    if kind in ("n", "vu", "vz", "+r") or kind.startswith("+u"):
        return None
    if kind == "+s" or kind.startswith("+w:"):
        return 1
    return 3 if kind in ("u", "U", "z", "Z", "+vl", "+vL") else 2


def _column(field: Field, raw: Any, owner: object) -> Column:
    """Return a structure as a column, after a look whether it is what the schema says."""
    sizes = raw.length, raw.offset, raw.n_buffers, raw.n_children
    if min(sizes) < 0 or max(sizes) > LIMIT or raw.null_count > raw.length:
        what = f"has length {raw.length}, offset {raw.offset} and {raw.null_count} nulls"
        raise _odd(field, what)
    if raw.n_children != len(field.children) or (raw.n_children and not raw.children):
        raise _odd(field, f"has {raw.n_children} children, {len(field.children)} by its schema")
    wanted = n_buffers_of(field)
    is_other = raw.n_buffers != wanted if wanted is not None else raw.n_buffers == 0
    if (is_other or not raw.buffers) and field.format not in ("n", "+r"):
        raise _odd(field, f"has {raw.n_buffers} buffers, {wanted} are expected")
    return Column(field, raw, owner, raw.offset, raw.length)


def _field(raw: Any, depth: int = 0) -> Field:
    """Copy a schema."""
    if depth > _DEPTH_LIMIT or raw.format is None or raw.n_children < 0:
        raise BadInputError(
            "the schema of Arrow data is nested too deep, or has no type in it",
            found=depth,
            expected=f"at most {_DEPTH_LIMIT}",
        )
    pointers = [raw.children[at] if raw.children else None for at in range(raw.n_children)]
    is_list = raw.format.startswith((b"+l", b"+L", b"+v", b"+w:"))
    if not all(pointers) or (is_list and len(pointers) != 1):
        raise BadInputError("the schema of Arrow data lacks a child", found=raw.n_children)
    return Field(
        raw.format.decode(errors="replace"),
        (raw.name or b"").decode(errors="replace"),
        tuple(_field(pointer.contents, depth + 1) for pointer in pointers if pointer),
        _field(raw.dictionary.contents, depth + 1) if raw.dictionary else None,
        _metadata(raw.metadata).get("ARROW:extension:name", ""),
    )


def _metadata(address: int | None) -> dict[str, str]:
    """Return what a schema says beside types: pairs, each text with its length before it."""
    if not address:
        return {}
    found, at = [], address + 4
    for _ in range(2 * c_int32.from_address(address).value):
        nbytes = c_int32.from_address(at).value
        if not 0 <= nbytes <= _METADATA_NBYTES:
            raise BadInputError(
                f"the schema of Arrow data has metadata of {nbytes} bytes", found=nbytes
            )
        found.append(string_at(at + 4, nbytes).decode(errors="replace"))
        at += 4 + nbytes
    return dict(zip(found[::2], found[1::2], strict=True))


def _structure(kind: Any, capsule: object, name: str) -> Any:
    """Return the structure in a capsule, which has to be kept as long as that is used."""
    try:
        raw = cast(_pointer_in(capsule, name.encode()), POINTER(kind)).contents
    except ValueError as error:
        raise BadInputError(
            f"{capsule!r:.80} is no capsule of the name {name!r}",
            found=type(capsule).__name__,
            expected=name,
        ) from error
    if not raw.release:
        raise BadInputError(f"the {name} was used up before", found="released", expected="new")
    return raw


def opened(x: Any) -> tuple[Field, Iterator[Column]]:
    """Return the type of what an object hands over, and that piece by piece, as it is made.

    Parameters
    ----------
    x : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``
        A table, a column, a query, …

    Raises
    ------
    BadInputError
        If it has neither, or hands over something else; while it is gone
        through, if what comes makes no sense.
    """
    if hasattr(x, "__arrow_c_stream__"):
        return _of_stream(x.__arrow_c_stream__())
    if not hasattr(x, "__arrow_c_array__"):
        raise BadInputError(
            f"{type(x).__name__} hands over no Arrow data: it has neither __arrow_c_stream__ nor "
            "__arrow_c_array__, as tables of pyarrow, polars, DuckDB and pandas have",
            found=type(x).__name__,
            expected="__arrow_c_stream__",
        )
    pair = x.__arrow_c_array__()
    if not isinstance(pair, tuple) or len(pair) != 2:
        what = f"__arrow_c_array__ of {type(x).__name__} gives {pair!r:.80}"
        raise BadInputError(what, found=type(pair).__name__, expected="two capsules")
    field = _field(_structure(ArrowSchema, pair[0], "arrow_schema"))
    column = _column(field, _structure(ArrowArray, pair[1], "arrow_array"), pair[1])
    return field, iter([column])


def _of_stream(capsule: object) -> tuple[Field, Iterator[Column]]:
    """Return the type of the arrays of a stream, and them."""
    stream = _structure(ArrowStream, capsule, "arrow_array_stream")
    schema = ArrowSchema()
    _ask(stream, stream.get_schema, schema, "its schema")
    try:
        field = _field(schema)
    finally:
        if schema.release:
            _release(schema.release)(byref(schema))
    return field, _arrays(capsule, stream, field)


def _arrays(capsule: object, stream: Any, field: Field) -> Iterator[Column]:
    n_done = 0
    while True:
        owned = _Owned()
        _ask(stream, stream.get_next, owned.array, f"batch {n_done}")
        if not owned.array.release:
            owned.release()
            return
        yield _column(field, owned.array, owned.lend())
        if owned.returned():
            owned.release()
        n_done += 1


def _ask(stream: Any, function: int | None, answer: Any, what: str) -> None:
    """Have a stream fill in a structure."""
    code = _fill(function)(byref(stream), byref(answer)) if function else -1
    if code:
        asked = stream.get_last_error
        message = _last_error(asked)(byref(stream)) if asked and function else None
        said = message.decode(errors="replace") if message else os.strerror(abs(code))
        raise BadInputError(
            f"the stream of Arrow data broke off at {what}: {said:.500}",
            found=code,
            expected="a stream to its end",
        )


def _odd(field: Field, what: str) -> BadInputError:
    return BadInputError(
        f"Arrow data that makes no sense: column {field.name!r:.80} of {field!s:.80} {what}",
        name=field.name,
        found=what,
        expected="what its schema says",
    )
