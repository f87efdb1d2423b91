"""What is written, buffer after buffer: as much of it as one call gets, and what that has left over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Buffer = Any  # collections.abc.Buffer comes with Python 3.12

# Linux takes memory for a file in pages up to the size of one call, aligned as they are. Those of
# 2 MiB it has to look for, and a virtual machine has to get them from its host once more: measured,
# that took up to six times as long as the copying.
CALL_NBYTES = 1 << 20


def bytes_of(buffer: Buffer) -> memoryview:
    """Return the bytes of a C-contiguous array or memoryview."""
    # A memoryview of datetime64 or of some structured dtypes cannot be made.
    flat = buffer.reshape(-1).view("u1") if hasattr(buffer, "dtype") else buffer
    return memoryview(flat).cast("B")


def first(buffers: Sequence[Buffer], nbytes: int) -> list[Buffer]:
    """Return the first bytes of buffers, so many of them if there are.

    Examples
    --------
    >>> [bytes(some) for some in first([memoryview(b"abc"), memoryview(b"defg")], 5)]
    [b'abc', b'de']
    """
    found: list[Buffer] = []
    for buffer in buffers:
        if buffer.nbytes > nbytes:
            return [*found, bytes_of(buffer)[:nbytes]] if nbytes else found
        found.append(buffer)
        nbytes -= buffer.nbytes
    return found


def rest(buffers: Sequence[Buffer], nbytes: int) -> list[Buffer]:
    """Return what of buffers follows their first bytes.

    Examples
    --------
    >>> [bytes(some) for some in rest([memoryview(b"abc"), memoryview(b"defg")], 5)]
    [b'fg']
    """
    for at, buffer in enumerate(buffers):
        if nbytes < buffer.nbytes:
            return [bytes_of(buffer)[nbytes:], *buffers[at + 1 :]]
        nbytes -= buffer.nbytes
    return []
