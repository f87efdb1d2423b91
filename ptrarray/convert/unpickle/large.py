"""Large byte strings of a pickle, each read once into memory of its own.

In protocols 4 and 5 they lie between frames, where a walk from frame to frame finds them. In what
is unpickled they are buffers out of band, so that an array can be made on what was read.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

_LEAST_NBYTES = 1 << 16  # smaller ones are in frames
_LENGTH_NBYTES = {pickle.BINBYTES: 4, pickle.BINBYTES8: 8, pickle.BYTEARRAY8: 8}
# What a frame is not made for: a few bytes at the end, behind a large string.
_BARE = {code.code.encode("latin1") for code in pickletools.opcodes if code.arg is None}
_BARE -= {pickle.NEXT_BUFFER, pickle.READONLY_BUFFER}


def set_apart(file: Any) -> tuple[Any, Iterator[memoryview]]:
    """Return a file of pickles without their large strings, and those.

    Parameters
    ----------
    file : binary file that can look ahead
        Read to its end if it is a plain file, large enough, and of protocol 4 or 5;
        else it is returned as it is.

    Returns
    -------
    file
        With an instruction to take the next string in place of each.
    strings : iterator of memoryview
        In order, for all pickles of the file.

    Examples
    --------
    >>> import io, pickle
    >>> with open("large.pkl", "wb") as out:
    ...     pickle.dump([bytes(100_000), 1], out, protocol=5)
    >>> with open("large.pkl", "rb") as source:
    ...     file, strings = set_apart(source)
    >>> len(file.read()), [len(string) for string in strings]
    (20, [100000])
    """
    if not isinstance(getattr(file, "raw", None), io.FileIO):
        return file, iter(())
    n_left = os.fstat(file.fileno()).st_size - file.tell()
    head = file.peek(2)[:2]
    if n_left < _LEAST_NBYTES or head[:1] != pickle.PROTO or head[1:] < b"\4":
        return file, iter(())
    pieces: list[bytes] = []
    strings: list[memoryview] = []
    while (code := file.read(1)) and _next(code, file, n_left, pieces, strings):
        pass
    pieces.append(file.read())
    return io.BufferedReader(io.BytesIO(b"".join(pieces))), iter(strings)


def _next(
    code: bytes, file: Any, n_left: int, pieces: list[bytes], strings: list[memoryview]
) -> bool:
    """Read the argument of an instruction between frames; False for one that is not expected."""
    pieces.append(code)
    if code == pickle.FRAME:
        length = file.read(8)
        pieces.append(length)
        n_bytes = int.from_bytes(length, "little")
        if n_bytes > n_left:
            return False
        pieces.append(file.read(n_bytes))
    elif code in _LENGTH_NBYTES:
        length = file.read(_LENGTH_NBYTES[code])
        n_bytes = int.from_bytes(length, "little")
        if not _LEAST_NBYTES <= n_bytes <= n_left:  # a length that is a lie costs no memory
            pieces.append(length)
            return False
        raw = memoryview(np.empty(n_bytes, np.uint8))
        n_read = file.readinto(raw)
        if n_read < n_bytes:
            pieces += length, bytes(raw[:n_read])
            return False
        strings.append(raw)
        pieces[-1] = pickle.NEXT_BUFFER
    elif code == pickle.PROTO:
        pieces.append(file.read(1))
    else:
        return code in _BARE
    return True
