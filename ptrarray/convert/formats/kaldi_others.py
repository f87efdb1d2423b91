"""Entries of kaldi's archives that are read one by one: compressed, in text, of numpy, and with columns."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.formats.kaldi_ark import (
    COMPRESSED,
    FLOATS,
    HEAD,
    SOUNDS,
    VECTOR_NBYTES,
    Ark,
    Range,
    Wanted,
    end_of_blob,
    end_of_compressed,
    fits_in,
    heads_of,
    import_kaldi,
    no_room,
)
from ptrarray.convert.formats.npy import read_header
from ptrarray.convert.found import Found, Many, Member, Noted, Refused
from ptrarray.convert.room import PIECE_NBYTES
from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array

ARRAY_NBYTES = 64  # about what an array needs beside its rows
# All that numbers are written with. Whatever else is ends it, so that no list of places makes us look
# through the file for each.
_TEXT = re.compile(
    rb"[ \t]*+(?:\[[0-9+\-.eE;\r\n\t infatyINFATY]*+\]|[0-9+\-.eE;\r\t infatyINFATY]*+\n)"
)
# It quotes bytes of the file, which may be no text.
_OF_KALDI = (RuntimeError, UnicodeDecodeError)
_FEW = 4  # that are not worth a list of their own
_TOLERANCE = 3  # rows that are not there, and that kaldi lets a range have: so do we
_NUMPY = b"\x93NUMPY"
_A_SOUND = "sounds are no arrays, and left out"
CUT_OFF = "ranges end behind the last row, and are cut off there, as by kaldi"
_WHOLE = re.compile(rb"[+-]?[0-9]{1,11}")


class _One(NamedTuple):
    """An array that was read by itself."""

    key: str
    values: Array


def one_by_one(ark: Ark, wanted: Wanted, text: np.dtype[Any]) -> Iterator[Found]:
    """Yield what has to be read one by one, arrays that are alike together."""
    arrays: list[_One] = []
    nbytes = 0
    for found in _each(ark, wanted, text):
        if not isinstance(found, _One):
            yield found
            continue
        if arrays and (nbytes > PIECE_NBYTES or not _alike(arrays[0].values, found.values)):
            yield _together(arrays)
            arrays, nbytes = [], 0
        arrays.append(found)
        nbytes += found.values.nbytes + ARRAY_NBYTES
    if arrays:
        yield _together(arrays)


def _each(ark: Ark, wanted: Wanted, text: np.dtype[Any]) -> Iterator[Found | _One]:
    waiting: dict[str, list[int]] = {}  # for kaldi's readers
    for i, (key, offset) in enumerate(wanted.pairs()):
        one = wanted.ranges.get(i, Range())
        head = ark.raw[offset : offset + HEAD.itemsize]
        if head.startswith(SOUNDS):
            yield Noted(key, _A_SOUND)
        elif head.startswith(b"NPY"):
            yield Member(key, partial(_npy, ark, offset, one))
        else:
            value = _value_or_reader(ark, offset, text)
            if isinstance(value, str):
                waiting.setdefault(value, []).append(i)
            else:
                yield from _meant(key, value, one)
    for reader, positions in waiting.items():
        offsets = wanted.offsets[positions].tolist()
        for i, value in zip(positions, _by_kaldi(ark, offsets, reader), strict=True):
            yield from _meant(wanted.keys[i], value, wanted.ranges.get(i, Range()))


def _meant(key: str, value: Array | BadInputError, one: Range) -> Iterator[Found | _One]:
    """Yield what is meant of an array, or what is wrong with it."""
    try:
        if isinstance(value, BadInputError):
            raise value
        array, is_cut = _ranged(value, one)
    except BadInputError as error:
        yield Refused(key, str(error))
        return
    if is_cut:
        yield Noted(key, CUT_OFF)
    yield _One(key, array)


def _alike(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape[1:] == other.shape[1:] and 0 not in one.shape[1:]


def _together(arrays: list[_One]) -> Found:
    parts = [one.values for one in arrays]
    if 0 in parts[0].shape[1:]:
        return Member(arrays[0].key, partial(np.asarray, parts[0]))
    rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return Many([one.key for one in arrays], rows, np.cumsum([0, *map(len, parts)]))


def _ranged(array: Array, one: Range) -> tuple[Array, bool]:
    """Return what is meant of an array, and whether the range ended too late."""
    is_cut = False
    if one.rows is not None:
        first, last = clipped(one.rows, len(array), "rows")
        array, is_cut = array[first : last + 1], last < one.rows[1]
    if one.columns is not None:
        if array.ndim != 2:
            raise BadInputError("its range has columns, and it is a vector")
        first, last = clipped(one.columns, array.shape[1], "columns")
        array = array[:, first : last + 1]
    return np.ascontiguousarray(array), is_cut


def clipped(bounds: tuple[int, int], n: int, what: str) -> tuple[int, int]:
    """Return the first and last of a range within so many, by kaldi's rules.

    Which lets rows end a little too late, for what rounding does to seconds.
    """
    first, last = bounds
    limit = n + (_TOLERANCE if what == "rows" else 0)
    if not first <= last < limit or first >= n:
        raise BadInputError(f"its range of {what} is {first} to {last}, of {n:,} that there are")
    return first, min(last, n - 1)


def _value_or_reader(ark: Ark, offset: int, text: np.dtype[Any]) -> Array | BadInputError | str:
    """Return an entry, what is wrong with it, or which of kaldi's readers may read it."""
    try:
        return _seen(ark, offset, text)
    except BadInputError as error:
        return error


def _seen(ark: Ark, offset: int, text: np.dtype[Any]) -> Array | str:
    head = ark.raw[offset : offset + 5]
    if head in FLOATS:
        return _matrix(ark, offset, *FLOATS[head])
    if head in COMPRESSED:
        end_of_compressed(ark, offset)
        return "FloatMatrix"
    if head.startswith(b"PKL"):
        raise ark.problem(offset, "a pickle is, as kaldiio writes them: those are not read")
    if head.startswith(b"\0B"):
        kind = ark.raw[offset + 2 : offset + 12].split(b" ")[0]
        raise ark.problem(offset, f"something of kaldi is that is no array: {kind!r}")
    return _text(ark, offset, text)


def _matrix(ark: Ark, offset: int, dtype: np.dtype[Any], n_axes: int) -> Array:
    heads = heads_of(ark, np.array([offset]))
    n, m = int(heads["n"][0]), int(heads["m"][0])
    start = offset + (HEAD.itemsize if n_axes == 2 else VECTOR_NBYTES)
    if not fits_in(ark, heads, n_axes, np.array([start]), dtype.itemsize)[0]:
        raise BadInputError(no_room(ark, offset, f"{n} by {m} of {dtype}"))
    shape = (n, m) if n_axes == 2 else (n,)
    n_bytes = n * (m if n_axes == 2 else 1) * dtype.itemsize
    return ark.flat[start : start + n_bytes].view(dtype).reshape(shape)


def _by_kaldi(ark: Ark, offsets: list[int], reader: str) -> Iterator[Array | BadInputError]:
    """Yield entries as one of kaldi's readers reads them, and of others what is wrong with them.

    It is given paths that it takes for no command: what ends in an offset never is one.
    """
    n_read = 0
    if len(offsets) > _FEW and "\n" not in ark.path:
        for array in _in_a_row(ark, offsets, reader):
            n_read += 1
            yield array
    for offset in offsets[n_read:]:
        try:
            # As bytes, for a path need not be UTF-8.
            found = getattr(import_kaldi(), reader).read(os.fsencode(f"{ark.path}:{offset}"))
            yield np.array(found.numpy())  # which has rows of another length, and an owner
        except _OF_KALDI as error:
            said = re.search(r"\[E\] (.*)", str(error))
            hint = "; if a number is too large, see text_dtype" if "number" in str(error) else ""
            yield ark.problem(offset, f"kaldi reads nothing: {said[1] if said else error}{hint}")


def _in_a_row(ark: Ark, offsets: list[int], reader: str) -> Iterator[Array]:
    """Yield entries as kaldi reads them by a list, up to the first that it does not read.

    That opens the file once, and not for each.
    """
    open_list = getattr(import_kaldi(), f"Sequential{reader}Reader")
    # Without room for the list, too, they are read one by one.
    with suppress(OSError, *_OF_KALDI), NamedTemporaryFile(suffix=".scp") as file:
        lines = (f"{i} {ark.path}:{offset}\n" for i, offset in enumerate(offsets))
        file.writelines(map(os.fsencode, lines))
        file.flush()
        with open_list(f"scp:{file.name}") as entries:
            for i, (key, array) in enumerate(entries):
                if key != str(i):
                    return
                yield np.array(array)


def _text(ark: Ark, offset: int, text: np.dtype[Any]) -> Array | str:
    found = _TEXT.match(ark.raw, offset)
    if found is None:
        raise ark.problem(offset, "is nothing of kaldi, neither a header nor numbers in text")
    inside = found[0].strip()
    if not inside.startswith(b"["):
        return _whole_numbers(ark, offset, inside)
    is_matrix = b"\n" in inside or b";" in inside
    kind = "Float" if text.itemsize == 4 else "Double"
    return kind + ("Matrix" if is_matrix else "Vector")


def _whole_numbers(ark: Ark, offset: int, written: bytes) -> Array:
    """Return the integers of a line, of which kaldi_native_io leaves out what it cannot read."""
    words = written.split()
    if not all(map(_WHOLE.fullmatch, words)):
        what = "a line has other words than whole numbers"
        raise ark.problem(offset, f"{what}, which no array of kaldi has")
    try:
        return np.array([int(word) for word in words], np.int32)
    except OverflowError as error:
        raise ark.problem(offset, "a number is too large for int32") from error


def _npy(ark: Ark, offset: int, one: Range) -> Any:
    """Return what kaldiio wrote by numpy."""
    start, end = end_of_blob(ark, offset, 3)
    if ark.raw[start : start + len(_NUMPY)] != _NUMPY:  # numpy would unpack archives, too
        raise ark.problem(
            offset, f"is no array of numpy, as it says: {ark.raw[start : start + 6]!r}"
        )
    file = io.BytesIO(ark.raw[start:end])
    try:
        shape, _, dtype = read_header(file)
        if math.prod(shape) * dtype.itemsize > end - start:  # for which numpy would ask for memory
            raise ValueError(f"it has {end - start} bytes, and the shape {shape}")
        file.seek(0)
        found = np.load(file, allow_pickle=False)
    except Exception as error:  # which numpy has of many kinds
        raise ark.problem(offset, f"is no array of numpy, as it says: {error}") from error
    return _ranged(np.atleast_1d(found), one)[0] if one != Range() else found
