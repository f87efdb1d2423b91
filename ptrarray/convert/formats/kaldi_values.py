"""What kaldi's archives hold: headers, which are checked before anything is read, and values."""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.found import Found, Many, Member, Noted, Refused
from ptrarray.errors import BadInputError, import_extra
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Array, Bools, Int64s

# Of a matrix; that of a vector ends behind its first number.
HEAD = np.dtype([("tag", "S5"), ("a", "u1"), ("n", "<i4"), ("b", "u1"), ("m", "<i4")])
VECTOR_NBYTES = 10
# By tag: the dtype, and how many axes.
FLOATS: dict[bytes, tuple[np.dtype[Any], int]] = {
    b"\0BFM ": (np.dtype("<f4"), 2),
    b"\0BDM ": (np.dtype("<f8"), 2),
    b"\0BFV ": (np.dtype("<f4"), 1),
    b"\0BDV ": (np.dtype("<f8"), 1),
}
INTEGERS = b"\0B\4"
ELEMENT = np.dtype([("size", "u1"), ("value", "<i4")])  # each says that it has four bytes
_INTEGERS_NBYTES = 7
_COMPRESSED = {b"\0BCM ": 1, b"\0BCM2": 2, b"\0BCM3": 1}  # bytes an element has
_GLOBAL_NBYTES = 16  # lowest value, range, rows, columns
_COMPRESSED_LIMIT = (1 << 31) - 1  # bytes
SOUNDS = (b"RIFF", b"RIFX", b"fLaC", b"OggS", b"NIST", b"AUDIO", b"ID3")
# All that numbers are written with. Whatever else is ends it, so that no list of places makes us look
# through the file for each.
_TEXT = re.compile(
    rb"[ \t]*+(?:\[[0-9+\-.eE;\r\n\t infatyINFATY]*+\]|[0-9+\-.eE;\r\t infatyINFATY]*+\n)"
)

_PIECE_NBYTES = 1 << 22  # so much is still in the processor's cache when it is written
# It quotes bytes of the file, which may be no text.
_OF_KALDI = (RuntimeError, UnicodeDecodeError)
_FEW = 4  # that are not worth a list of their own
_ARRAY_NBYTES = 64  # about what an array needs beside its rows
_EMPTY_LIMIT = 1 << 24  # what a matrix without elements may have of the other axis
_TOLERANCE = 3  # rows that are not there, and that kaldi lets a range have: so do we

_NUMPY = b"\x93NUMPY"
_A_SOUND = "sounds are no arrays, and left out"
_CUT_OFF = "ranges end behind the last row, and are cut off there, as by kaldi"


def import_kaldi() -> Any:
    """Return kaldi_native_io, which is kaldi's own code.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    message = "archives of kaldi need kaldi_native_io: pip install 'ptrarray[kaldi]'"
    return import_extra("kaldi_native_io", message)


class Ark(NamedTuple):
    """An open file, mapped."""

    path: str
    raw: mmap.mmap
    flat: Array

    def problem(self, offset: int, what: str) -> BadInputError:
        """Return an error that says where it is."""
        return BadInputError(f"at byte {offset} of {self.path} {what}", path=self.path)


def check_file(path: str) -> None:
    """Raise `BadInputError` if there is no file: a pipe, say, would have us wait."""
    if not Path(path).is_file():
        raise BadInputError(f"{path} is not there, or no file", path=path)


def open_ark(path: str) -> Ark:
    """Open a file; by a path that is absolute, kaldi can read it, too.

    Raises
    ------
    BadInputError
        If it is not there, no file, or empty.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 a path as it was given
            raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise BadInputError(f"{path} is empty", path=path) from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be opened: {error.strerror}", path=path) from error
    return Ark(path, raw, np.frombuffer(raw, np.uint8))


class Range(NamedTuple):
    """Which rows and columns of a matrix are meant, the last ones included; None for all."""

    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None


class Wanted(NamedTuple):
    """Entries of a file.

    Attributes
    ----------
    keys : list of str
        What they are called.
    offsets : ndarray of int64
        Where in the file each begins, behind its key.
    ranges : dict from int to Range
        What is meant of those of which not all is.
    """

    keys: list[str]
    offsets: Int64s
    ranges: dict[int, Range]

    def some(self, chosen: Bools) -> Wanted:
        """Return those that are chosen."""
        if chosen.all():
            return self
        positions = np.flatnonzero(chosen)
        ranges = {}
        if self.ranges:
            at = enumerate(positions.tolist())
            ranges = {i: self.ranges[old] for i, old in at if old in self.ranges}
        return Wanted([self.keys[i] for i in positions], self.offsets[positions], ranges)


def values(ark: Ark, wanted: Wanted, text: np.dtype[Any]) -> Iterator[Found]:
    """Yield entries of a file: plain ones many at a time, without a loop in Python.

    Parameters
    ----------
    text : dtype
        Of numbers that are written as text.
    """
    there = (wanted.offsets >= 0) & (wanted.offsets < len(ark.flat))
    for key, offset in _pairs(wanted.some(~there)):
        yield Refused(key, str(ark.problem(offset, "nothing is: the file ends before")))
    wanted = wanted.some(there)
    heads = _heads(ark, wanted.offsets)
    left = np.ones(len(wanted.keys), np.bool_)
    with_columns = [i for i, one in wanted.ranges.items() if one.columns is not None]
    has_columns = np.isin(np.arange(len(left)), with_columns)
    tags = heads["tag"]
    for tag in FLOATS:
        chosen = (tags == tag) & ~has_columns
        if chosen.any():
            yield from _floats(ark, wanted.some(chosen), heads[chosen], tag)
            left &= ~chosen
    chosen = tags.astype("S3") == INTEGERS
    yield from _integers(ark, wanted.some(chosen))
    yield from _one_by_one(ark, wanted.some(left & ~chosen), text)


def _pairs(wanted: Wanted) -> Iterator[tuple[str, int]]:
    return zip(wanted.keys, wanted.offsets.tolist(), strict=True)


def _heads(ark: Ark, offsets: Int64s) -> Any:
    """Return the first bytes of entries as headers; behind the end of the file, any bytes."""
    at = offsets[:, np.newaxis] + np.arange(HEAD.itemsize)
    found = ark.flat[np.minimum(at, len(ark.flat) - 1)]
    return found.view(HEAD).reshape(len(offsets))


# Floats -------------------------------------------------------------------------------------------


def _floats(ark: Ark, wanted: Wanted, heads: Any, tag: bytes) -> Iterator[Found]:
    """Yield matrices or vectors of one dtype."""
    dtype, n_axes = FLOATS[tag]
    n_rows = heads["n"].astype(np.int64)
    n_columns = heads["m"].astype(np.int64) if n_axes == 2 else np.ones_like(n_rows)
    starts = wanted.offsets + (HEAD.itemsize if n_axes == 2 else VECTOR_NBYTES)
    fits = _fit(ark, heads, n_axes, starts, dtype.itemsize)
    for i in np.flatnonzero(~fits).tolist():
        what = f"{n_rows[i]} by {n_columns[i]}" if n_axes == 2 else f"{n_rows[i]}"
        yield Refused(wanted.keys[i], _no_room(ark, wanted.offsets[i], f"{what} of {dtype}"))
    starts, n_rows, notes = _rows_of(wanted, starts, n_rows, n_columns * dtype.itemsize, fits)
    yield from notes
    for width in np.unique(n_columns[fits]).tolist():
        chosen = np.flatnonzero(fits & (n_columns == width))
        keys = [wanted.keys[i] for i in chosen]
        row_shape = (width,) if n_axes == 2 else ()
        if width:
            ends = starts + n_rows * (width * dtype.itemsize)
            for low, high, flat, offsets in _pieces(ark, starts[chosen], ends[chosen]):
                rows = flat.view(dtype).reshape(-1, *row_shape)
                yield Many(keys[low:high], rows, offsets // (width * dtype.itemsize))
        else:
            yield from _without_elements(keys, n_rows[chosen].tolist(), dtype)


def _without_elements(keys: list[str], n_rows: list[int], dtype: Any) -> Iterator[Member]:
    for key, n in zip(keys, n_rows, strict=True):
        yield Member(key, partial(np.empty, (n, 0), dtype))


def _fit(ark: Ark, heads: Any, n_axes: int, starts: Int64s, itemsize: int) -> Bools:
    """Tell of which headers the numbers can be true."""
    n, m = heads["n"], heads["m"] if n_axes == 2 else np.ones_like(heads["n"])
    # As floats, for what is forged is beyond integers.
    ends = starts + n.astype(float) * m * itemsize
    is_fit = (heads["a"] == 4) & (n >= 0) & (m >= 0) & (ends <= len(ark.flat))
    is_fit &= (n.astype(float) * m > 0) | (np.maximum(n, m) < _EMPTY_LIMIT)
    fit: Bools = is_fit & ((heads["b"] == 4) | (n_axes == 1))
    return fit


def _no_room(ark: Ark, offset: int, what: str) -> str:
    return str(ark.problem(offset, f"a header says {what}, for which the file has no room"))


def _rows_of(
    wanted: Wanted, starts: Int64s, n_rows: Int64s, row_nbytes: Int64s, fits: Bools
) -> tuple[Int64s, Int64s, list[Found]]:
    """Return starts and numbers of the rows that are meant; what does not fit no longer `fits`."""
    found: list[Found] = []
    starts, n_rows = starts.copy(), n_rows.copy()
    for i, one in wanted.ranges.items():
        if one.rows is None or not fits[i]:
            continue
        try:
            first, last = _clipped(one.rows, int(n_rows[i]), "rows")
        except BadInputError as error:
            found.append(Refused(wanted.keys[i], str(error)))
            fits[i] = False
            continue
        if last < one.rows[1]:
            found.append(Noted(wanted.keys[i], _CUT_OFF))
        starts[i] += first * row_nbytes[i]
        n_rows[i] = last - first + 1
    return starts, n_rows, found


def _clipped(bounds: tuple[int, int], n: int, what: str) -> tuple[int, int]:
    """Return the first and last of a range within so many, by kaldi's rules.

    Which lets rows end a little too late, for what rounding does to seconds.
    """
    first, last = bounds
    limit = n + (_TOLERANCE if what == "rows" else 0)
    if not first <= last < limit or first >= n:
        raise BadInputError(f"its range of {what} is {first} to {last}, of {n:,} that there are")
    return first, min(last, n - 1)


def _pieces(ark: Ark, starts: Int64s, ends: Int64s) -> Iterator[tuple[int, int, Array, Int64s]]:
    """Yield ranges of bytes of a file end to end, in pieces: which they are, bytes and offsets."""
    for low, high in cut(ends - starts + _ARRAY_NBYTES, _PIECE_NBYTES):
        if high - low == 1:  # as it is in the file, and may be larger than memory
            start, end = int(starts[low]), int(ends[low])
            yield low, high, ark.flat[start:end], np.array([0, end - start])
        else:
            got = gather(ark.flat, starts[low:high], ends[low:high])
            yield low, high, np.asarray(got.values), got.offsets


# Integers -----------------------------------------------------------------------------------------


def _integers(ark: Ark, wanted: Wanted) -> Iterator[Found]:
    """Yield vectors of integers, which kaldi writes as many single ones."""
    heads = _heads(ark, wanted.offsets).view(np.uint8).reshape(-1, HEAD.itemsize)
    n = np.ascontiguousarray(heads[:, 3:7]).view("<i4")[:, 0].astype(np.int64)
    starts = wanted.offsets + _INTEGERS_NBYTES
    ends = starts + n * ELEMENT.itemsize
    fits = (n >= 0) & (ends <= len(ark.flat))
    for i in np.flatnonzero(~fits).tolist():
        what = f"a vector of {n[i]} integers, or a single integer"
        yield Refused(wanted.keys[i], _no_room(ark, wanted.offsets[i], what))
    # Behind one of several vectors in one entry the next begins, as no key does.
    behind = ark.flat[np.clip(ends, 0, len(ark.flat) - 1)]
    goes_on = fits & (behind == 4) & (ends < len(ark.flat))
    for i in np.flatnonzero(goes_on).tolist():
        yield Refused(wanted.keys[i], str(ark.problem(wanted.offsets[i], _OTHER_INTEGERS)))
    fits &= ~goes_on
    for i in wanted.ranges:
        if fits[i]:
            yield Refused(wanted.keys[i], "it has a range, which kaldi knows of floats only")
            fits[i] = False
    chosen = np.flatnonzero(fits)
    keys = [wanted.keys[i] for i in chosen]
    for low, high, flat, offsets in _pieces(ark, starts[chosen], ends[chosen]):
        elements = flat.view(ELEMENT)
        found = Many(keys[low:high], elements["value"].copy(), offsets // ELEMENT.itemsize)
        others = np.flatnonzero(elements["size"] != 4)
        yield from _without(ark, found, others, wanted.offsets[chosen][low:high])


_OTHER_INTEGERS = (
    "it is no vector of integers: kaldi writes several vectors, pairs, and posteriors with the "
    "same first bytes, which are not read"
)


def _without(ark: Ark, many: Many, others: Int64s, entries: Int64s) -> Iterator[Found]:
    """Yield vectors but for those with elements that say that they are something else."""
    if not len(others):
        yield many
        return
    wrong = set((np.searchsorted(many.offsets, others, "right") - 1).tolist())
    for i, key in enumerate(many.keys):
        if i in wrong:
            yield Refused(key, str(ark.problem(int(entries[i]), _OTHER_INTEGERS)))
        else:
            rows = many.values[many.offsets[i] : many.offsets[i + 1]]
            yield Many([key], rows, np.array([0, len(rows)]))


# All others ---------------------------------------------------------------------------------------


class _One(NamedTuple):
    """An array that was read by itself."""

    key: str
    values: Array


def _one_by_one(ark: Ark, wanted: Wanted, text: np.dtype[Any]) -> Iterator[Found]:
    """Yield what has to be read one by one, arrays that are alike together."""
    arrays: list[_One] = []
    nbytes = 0
    for found in _each(ark, wanted, text):
        if not isinstance(found, _One):
            yield found
            continue
        if arrays and (nbytes > _PIECE_NBYTES or not _alike(arrays[0].values, found.values)):
            yield _together(arrays)
            arrays, nbytes = [], 0
        arrays.append(found)
        nbytes += found.values.nbytes + _ARRAY_NBYTES
    if arrays:
        yield _together(arrays)


def _each(ark: Ark, wanted: Wanted, text: np.dtype[Any]) -> Iterator[Found | _One]:
    waiting: dict[str, list[int]] = {}  # for kaldi's readers
    for i, (key, offset) in enumerate(_pairs(wanted)):
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
        yield Noted(key, _CUT_OFF)
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
        first, last = _clipped(one.rows, len(array), "rows")
        array, is_cut = array[first : last + 1], last < one.rows[1]
    if one.columns is not None:
        if array.ndim != 2:
            raise BadInputError("its range has columns, and it is a vector")
        first, last = _clipped(one.columns, array.shape[1], "columns")
        array = array[:, first : last + 1]
    return np.ascontiguousarray(array), is_cut


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
    if head in _COMPRESSED:
        end_of_compressed(ark, offset)
        return "FloatMatrix"
    if head.startswith(b"PKL"):
        raise ark.problem(offset, "a pickle is, as kaldiio writes them: those are not read")
    if head.startswith(b"\0B"):
        kind = ark.raw[offset + 2 : offset + 12].split(b" ")[0]
        raise ark.problem(offset, f"something of kaldi is that is no array: {kind!r}")
    return _text(ark, offset, text)


def _matrix(ark: Ark, offset: int, dtype: np.dtype[Any], n_axes: int) -> Array:
    heads = _heads(ark, np.array([offset]))
    n, m = int(heads["n"][0]), int(heads["m"][0])
    start = offset + (HEAD.itemsize if n_axes == 2 else VECTOR_NBYTES)
    if not _fit(ark, heads, n_axes, np.array([start]), dtype.itemsize)[0]:
        raise BadInputError(_no_room(ark, offset, f"{n} by {m} of {dtype}"))
    shape = (n, m) if n_axes == 2 else (n,)
    n_bytes = n * (m if n_axes == 2 else 1) * dtype.itemsize
    return ark.flat[start : start + n_bytes].view(dtype).reshape(shape)


def end_of_compressed(ark: Ark, offset: int) -> int:
    """Return where a compressed matrix ends.

    Raises
    ------
    BadInputError
        If its header cannot be true.
    """
    kind = ark.raw[offset : offset + 5]
    start = offset + (5 if kind == b"\0BCM " else 6)
    end = start + _GLOBAL_NBYTES
    if end > len(ark.flat) or ark.raw[start - 1 : start] != b" ":
        raise BadInputError(_no_room(ark, offset, "that it is compressed"))
    n, m = map(int, struct.unpack_from("<ii", ark.raw, start + 8))
    end += n * m * _COMPRESSED[kind] + (8 * m if kind == b"\0BCM " else 0)
    if n < 0 or m < 0 or end > len(ark.flat) or (not n) != (not m):
        raise BadInputError(_no_room(ark, offset, f"{n} by {m}, compressed"))
    if end - start > _COMPRESSED_LIMIT:  # kaldi counts in 32 bits, without a look
        raise ark.problem(
            offset, f"{n} by {m} are compressed, more than the 2 GiB that kaldi reads"
        )
    # Of one without elements kaldi writes four bytes more than it reads.
    return end if n or ark.raw[end : end + 4] != bytes(4) else end + 4


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


def end_of_text(ark: Ark, offset: int) -> int:
    """Return where an entry in text ends, the end of its line included.

    Raises
    ------
    BadInputError
        If it is not whole.
    """
    raw = ark.raw
    start = _SPACES.match(raw, offset).end()  # type: ignore[union-attr]
    if raw[start : start + 1] != b"[":
        end = raw.find(b"\n", start) + 1
        if not end:
            raise ark.problem(offset, "a line is cut off, or nothing of kaldi is")
        return end
    end = raw.find(b"]", start) + 1
    if not end:
        raise ark.problem(offset, "a text begins with '[', and has no ']'")
    return _REST.match(raw, end).end()  # type: ignore[union-attr]


_SPACES = re.compile(rb"[ \t]*")
_REST = re.compile(rb"[ \t]*\r?\n?")


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


_WHOLE = re.compile(rb"[+-]?[0-9]{1,11}")


def end_of_blob(ark: Ark, offset: int, n_magic: int) -> tuple[int, int]:
    """Return where begins and ends what kaldiio wrote with its length before it.

    Raises
    ------
    BadInputError
        If the file ends before.
    """
    at = offset + n_magic
    n_length = int.from_bytes(ark.raw[at : at + 1])
    start = at + 1 + n_length
    end = start + int.from_bytes(ark.raw[at + 1 : start], "little")
    if not 0 < n_length <= 8 or end > len(ark.flat):
        raise BadInputError(_no_room(ark, offset, f"{end - start:,} bytes"))
    return start, end


def _npy(ark: Ark, offset: int, one: Range) -> Any:
    """Return what kaldiio wrote by numpy; of a forged size, numpy takes memory and does not touch it."""
    start, end = end_of_blob(ark, offset, 3)
    if ark.raw[start : start + len(_NUMPY)] != _NUMPY:  # numpy would unpack archives, too
        raise ark.problem(
            offset, f"is no array of numpy, as it says: {ark.raw[start : start + 6]!r}"
        )
    try:
        found = np.load(io.BytesIO(ark.raw[start:end]), allow_pickle=False)
    except Exception as error:  # which numpy has of many kinds
        raise ark.problem(offset, f"is no array of numpy, as it says: {error}") from error
    return _ranged(np.atleast_1d(found), one)[0] if one != Range() else found
