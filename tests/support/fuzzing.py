"""What all targets of fuzzing are made of: a try, good inputs to begin with, and checksums made to fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

TESTS = Path(__file__).parent.parent
GOLDEN = TESTS / "golden" / "v1"
CORPUS = TESTS / "corpus" / "fuzz"


class Target(NamedTuple):
    """Code that reads bytes which anybody may have made up.

    Attributes
    ----------
    attempt : callable
        Reads some bytes, with a folder for files of its own. Whatever the bytes are, it has to end
        as the code promises: in values, or in an error of those that it says.
    seeds : callable
        Returns good inputs to begin with.
    modules : tuple of str
        What the names of the modules begin with whose branches lead the fuzzer.
    max_nbytes : int
        What an input may have.
    """

    attempt: Callable[[bytes, Path], object]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...]
    max_nbytes: int = 4096


def forged(raw: bytes, how: int) -> bytes:
    """Return a file that begins with a header map, with checksums that fit, so that what is behind them is reached.

    Parameters
    ----------
    how : int
        Of its two lowest bits, the first says that the header's checksum is to fit, the second that
        those of all columns are, too; for that the map is packed anew.
    """
    if how & 2:
        return _resealed(raw)
    at = raw.find(b"\xa3crc\xce") + 4
    if not how & 1 or at < 4:
        return raw
    return raw[:at] + b"\xce" + crc32(raw[:at]).to_bytes(4, "big") + raw[at + 5 :]


def _resealed(raw: bytes) -> bytes:
    unpacker: Any = msgpack.Unpacker(max_buffer_size=len(raw) + 1, strict_map_key=False)
    unpacker.feed(raw)
    try:
        fields = unpacker.unpack()
        columns = fields.get("columns", {})
        for name, (kind, start, nbytes, _) in columns.items():
            columns[name] = [kind, start, nbytes, crc32(raw[start : start + nbytes])]
        fields.pop("crc", None)
        packed: bytes = msgpack.packb({**fields, "crc": 0xFFFF_FFFF})[:-5]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return raw
    except msgpack.UnpackException:
        return raw
    head = packed + b"\xce" + crc32(packed).to_bytes(4, "big")
    rest = raw[unpacker.tell() :]
    if not rest:
        return head
    return head + raw[len(head) :].rjust(max(0, len(raw) - len(head)), b"\xc0")
