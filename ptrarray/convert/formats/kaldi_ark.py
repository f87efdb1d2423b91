"""An ``.ark`` of kaldi: opened, its headers, and its entries from front to back."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.found import Refused
from ptrarray.errors import BadInputError, import_extra
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
COMPRESSED = {b"\0BCM ": 1, b"\0BCM2": 2, b"\0BCM3": 1}  # bytes an element has
_GLOBAL_NBYTES = 16  # lowest value, range, rows, columns
_COMPRESSED_LIMIT = (1 << 31) - 1  # bytes
SOUNDS = (b"RIFF", b"RIFX", b"fLaC", b"OggS", b"NIST", b"AUDIO", b"ID3")
_EMPTY_LIMIT = 1 << 24  # what a matrix without elements may have of the other axis


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

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Yield key and offset of each."""
        return zip(self.keys, self.offsets.tolist(), strict=True)

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


def heads_of(ark: Ark, offsets: Int64s) -> Any:
    """Return the first bytes of entries as headers; behind the end of the file, any bytes."""
    at = offsets[:, np.newaxis] + np.arange(HEAD.itemsize)
    found = ark.flat[np.minimum(at, len(ark.flat) - 1)]
    return found.view(HEAD).reshape(len(offsets))


def fits_in(ark: Ark, heads: Any, n_axes: int, starts: Int64s, itemsize: int) -> Bools:
    """Tell of which headers the numbers can be true."""
    n, m = heads["n"], heads["m"] if n_axes == 2 else np.ones_like(heads["n"])
    # As floats, for what is forged is beyond integers.
    ends = starts + n.astype(float) * m * itemsize
    is_fit = (heads["a"] == 4) & (n >= 0) & (m >= 0) & (ends <= len(ark.flat))
    is_fit &= (n.astype(float) * m > 0) | (np.maximum(n, m) < _EMPTY_LIMIT)
    fit: Bools = is_fit & ((heads["b"] == 4) | (n_axes == 1))
    return fit


def no_room(ark: Ark, offset: int, what: str) -> str:
    """Return what is said of a header that cannot be true."""
    return str(ark.problem(offset, f"a header says {what}, for which the file has no room"))


# Entries ------------------------------------------------------------------------------------------

_KEY = re.compile(rb"[ \t\n\r\f\v]*+([^ \t\n\r\f\v]{1,65536})([ \t]?)")
_SPACES = re.compile(rb"[ \t]*")
_REST = re.compile(rb"[ \t]*\r?\n?")
_BEHIND = "; what is behind it cannot be found, but by an .scp"


def entries(ark: Ark) -> Iterator[tuple[str, int] | Refused]:
    """Yield key and offset of each entry, from front to back; at last what cannot be read."""
    at, raw, size = 0, ark.raw, len(ark.flat)
    while (found := _KEY.match(raw, at)) is not None:
        offset = found.end()
        key = found[1].decode(errors="surrogateescape")
        if offset == size or (not found[2] and raw[offset] not in b" \t\n\r\f\v"):
            yield Refused(shown(key), f"the file ends, or goes on for long, in a key at byte {at}")
            return
        try:
            at = _end(ark, offset)
        except BadInputError as error:
            yield Refused(shown(key), f"{error}{_BEHIND}")
            return
        if not (key.isascii() or is_text(key)):
            yield Refused(shown(key), f"its key at byte {found.start(1)} is not UTF-8")
        else:
            yield key, offset


def shown(key: str) -> str:
    """Return a key, or what it begins with, as text for a message."""
    return key[:200].encode(errors="replace").decode()


def is_text(text: str) -> bool:
    """Tell whether what was read with ``surrogateescape`` is UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _end(ark: Ark, offset: int) -> int:
    """Return where an entry ends.

    Raises
    ------
    BadInputError
        If it is not whole, or of a kind that does not say.
    """
    raw = ark.raw
    head = raw[offset : offset + 5]
    if head in FLOATS:
        dtype, n_axes = FLOATS[head]
        end = _end_of_floats(raw, offset, n_axes, dtype.itemsize)
    elif head[:3] == INTEGERS:
        numbers = raw[offset + 3 : offset + 7]
        end = offset + 7 + ELEMENT.itemsize * int.from_bytes(numbers, "little", signed=True)
    elif head in (b"\0BCM ", b"\0BCM2", b"\0BCM3"):
        end = end_of_compressed(ark, offset)
    elif head.startswith((b"NPY", b"AUDIO")):
        _, end = end_of_blob(ark, offset, 3 if head.startswith(b"NPY") else 5)
    elif head.startswith(b"RIFF"):
        end = _end_of_wav(ark, offset)
    elif head.startswith((b"\0B", b"PKL", *SOUNDS)):
        raise ark.problem(offset, f"something is that does not say how long it is: {head!r}")
    else:
        end = end_of_text(ark, offset)
    if not offset <= end <= len(ark.flat):
        raise ark.problem(offset, "a header says more than the file has room for")
    return end


def _end_of_floats(raw: Any, offset: int, n_axes: int, itemsize: int) -> int:
    try:
        if n_axes == 1:
            four, n = struct.unpack_from("<Bi", raw, offset + 5)
            return offset + 10 + n * itemsize if four == 4 <= n + 4 else -1
        four, n, also, m = struct.unpack_from("<BiBi", raw, offset + 5)
    except struct.error:
        return -1
    return offset + 15 + n * m * itemsize if four == also == 4 and n >= 0 <= m else -1


def _end_of_wav(ark: Ark, offset: int) -> int:
    """Return where a sound ends: kaldiio has no byte behind one of an odd number, others have."""
    n_bytes = int.from_bytes(ark.raw[offset + 4 : offset + 8], "little")
    if n_bytes in (0, 0xFFFFFFFF):
        raise ark.problem(offset, "a sound is that does not say how long it is")
    end = offset + 8 + n_bytes
    return end + (n_bytes % 2 == 1 and ark.raw[end : end + 1] == b"\0")


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
        raise BadInputError(no_room(ark, offset, "that it is compressed"))
    n, m = map(int, struct.unpack_from("<ii", ark.raw, start + 8))
    end += n * m * COMPRESSED[kind] + (8 * m if kind == b"\0BCM " else 0)
    if n < 0 or m < 0 or end > len(ark.flat) or (not n) != (not m):
        raise BadInputError(no_room(ark, offset, f"{n} by {m}, compressed"))
    if end - start > _COMPRESSED_LIMIT:  # kaldi counts in 32 bits, without a look
        raise ark.problem(
            offset, f"{n} by {m} are compressed, more than the 2 GiB that kaldi reads"
        )
    # Of one without elements kaldi writes four bytes more than it reads.
    return end if n or ark.raw[end : end + 4] != bytes(4) else end + 4


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
        raise BadInputError(no_room(ark, offset, f"{end - start:,} bytes"))
    return start, end
