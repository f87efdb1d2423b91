"""What an unpickler reads, looked at before: numbers that would have it take memory for nothing.

An unpickler keeps what it is told to remember in a table, which is as long as the highest number
asks for: nine bytes of a file are enough for 64 GiB, which are also written to. Whoever pickles
counts from 0 or 1 on, so that a number is below that of the bytes before it. And it takes memory for
as many bytes as a string says it has, before it reads them: no more are in a file than it has left.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import re
from stat import S_ISREG
from typing import Any

from ptrarray.convert.files import read_up_to
from ptrarray.errors import BadInputError

_FEW = 1 << 20  # numbers of which a table is small
_DIGITS = 20
_CODES = frozenset(opcode.code.encode("latin1")[0] for opcode in pickletools.opcodes)
_LENGTH_NBYTES = {
    code[0]: n_bytes
    for codes, n_bytes in (
        ((pickle.SHORT_BINSTRING, pickle.SHORT_BINUNICODE, pickle.SHORT_BINBYTES, pickle.LONG1), 1),
        ((pickle.BINSTRING, pickle.BINUNICODE, pickle.BINBYTES, pickle.LONG4), 4),
        ((pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8), 8),
    )
    for code in codes
}
_STOP, _PUT, _LONG_BINPUT = pickle.STOP[0], pickle.PUT[0], pickle.LONG_BINPUT[0]
# Instructions that are passed over: by the number of bytes that their arguments have, and lines.
_PASSED = re.compile(
    rb"(?:[()012NQRabdelostu}\]\x81\x85-\x89\x8f-\x94\x97\x98]|[Khq\x80\x82].|[M\x83]..|[Jj\x84].{4}"
    rb"|[G\x95].{8}|r..[\x00-\x0f]\x00|[FILPSVg][^\n]*\n|[ci][^\n]*\n[^\n]*\n)*+",
    re.DOTALL,
)


class Guarded:
    """A file as an unpickler reads one pickle of it.

    Raises
    ------
    BadInputError
        While it is read, for a number that is too high, or a string that is too long for what is left
        of a file, or of bytes in memory; of what is compressed, that is not known.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._n_left = file, _n_left(file)
        self._n_read = self._n_seen = self._n_walked = 0
        self._n_skipped = 0  # bytes that are still to come of a string
        self._rest = b""  # the beginning of an instruction whose end was not seen
        self._is_over = False

    def read(self, n_bytes: int = -1, /) -> bytes:
        """Read so many bytes."""
        raw = self._file.read(n_bytes) if n_bytes < _FEW else bytes(read_up_to(self._file, n_bytes))
        self._pass(raw)
        return raw

    def readline(self) -> bytes:
        """Read a line."""
        raw: bytes = self._file.readline()
        self._pass(raw)
        return raw

    def readinto(self, buffer: Any, /) -> int:
        """Read into memory."""
        n_read: int = self._file.readinto(buffer)
        self._pass(memoryview(buffer)[:n_read])
        return n_read

    def peek(self, n_bytes: int, /) -> bytes:
        """Return some of the bytes to come."""
        raw: bytes = self._file.peek(n_bytes)
        self._see(raw)
        return raw

    def _pass(self, raw: Any) -> None:
        self._see(raw)
        self._n_read += len(raw)

    def _see(self, raw: Any) -> None:
        """Look at what was not seen before of the bytes that come next."""
        end = self._n_read + len(raw)
        if end <= self._n_seen or self._is_over:
            return
        new = memoryview(raw)[self._n_seen - self._n_read :]
        self._n_seen = end
        n_skipped = min(self._n_skipped, len(new))
        self._n_skipped -= n_skipped
        if n_skipped < len(new):
            self._walk(self._rest + bytes(new[n_skipped:]))

    def _walk(self, raw: bytes) -> None:
        """Go through instructions, to the last that is there whole."""
        before, at = self._n_seen - len(raw), 0
        self._rest = b""
        while at < len(raw):
            at = _PASSED.match(raw, at).end()  # type: ignore[union-attr]
            n_bytes = _instruction(raw, at, before + at) if at < len(raw) else 0
            if n_bytes is None:
                self._rest = raw[at:]
                return
            if n_bytes == 0:
                self._is_over = at < len(raw)
                return
            if n_bytes > _FEW and before + at + n_bytes > self._n_left:
                left = f"{self._n_left - before - at:,}"
                raise BadInputError(
                    f"it is damaged: it has {n_bytes:,} bytes where {left} are left"
                )
            at += n_bytes
        self._n_skipped = at - len(raw)


def _n_left(file: Any) -> float:
    """Return how many bytes a file has, as far as that is known."""
    raw = getattr(file, "raw", file)
    if isinstance(raw, io.FileIO):
        stat = os.fstat(raw.fileno())
        return stat.st_size - file.tell() if S_ISREG(stat.st_mode) else math.inf
    return raw.getbuffer().nbytes - file.tell() if isinstance(raw, io.BytesIO) else math.inf


def _instruction(raw: bytes, at: int, n_before: int) -> int | None:
    """Return how many bytes an instruction has; 0 where the unpickler stops, None if not all of it is there."""
    code = raw[at]
    end = number = 0
    if code in _LENGTH_NBYTES:
        end = at + 1 + _LENGTH_NBYTES[code]
        length = int.from_bytes(raw[at + 1 : end], "little")
        return end - at + length if end <= len(raw) else None
    if code == _LONG_BINPUT:
        end = at + 5 if at + 5 <= len(raw) else 0
        number = int.from_bytes(raw[at + 1 : end], "little")
    elif code == _PUT:
        end = raw.find(b"\n", at) + 1
        digits = raw[at + 1 : end].strip()
        number = int(digits) if digits.isdigit() and len(digits) < _DIGITS else 0
    elif code == _STOP or code not in _CODES:
        return 0
    if number > max(n_before, _FEW):
        raise BadInputError(f"it is damaged: it numbers value {number:,} of {n_before:,} bytes")
    return end - at if end else None
