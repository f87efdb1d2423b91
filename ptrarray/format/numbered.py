"""The names "0", "1", … and their hashes, without a step for each.

A CRC-32 is linear: of texts of equal length, that of ``p + s`` is that of ``p + "0000"``, with every bit
changed in which those of ``s`` and ``"0000"`` differ. So 10,000 numbers that begin alike take one look into
a table each.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np

from ptrarray.format.checksum import crc32
from ptrarray.format.entries import RaggedColumn
from ptrarray.rows.types import Array, UInt8s, UInt32s

_N_LAST = 4  # digits behind those that many numbers begin with
_STEP = 10**_N_LAST


def numbered(first: int, last: int, prefix: bytes = b"") -> tuple[RaggedColumn, UInt32s]:
    """Return the numbers from `first` up to `last` as names, and the hash of each.

    Examples
    --------
    >>> names, hashes = numbered(9, 11, b"x")
    >>> names.split(), int(hashes[1]) == crc32(b"x10")
    ([b'x9', b'x10'], True)
    """
    pieces = [_of_width(low, high, prefix) for low, high in _widths(first, last)]
    if not pieces:
        return RaggedColumn.blank(0), np.empty(0, np.uint32)
    columns = [
        RaggedColumn(np.arange(1, len(text) + 1) * text.shape[1], text.reshape(-1))
        for text, _ in pieces
    ]
    hashes = [hashes for _, hashes in pieces]
    return RaggedColumn.chained(columns), hashes[0] if len(hashes) == 1 else np.concatenate(hashes)


def numbered_nbytes(n_names: int, prefix: bytes = b"") -> int:
    """Return how many bytes so many names have together.

    Examples
    --------
    >>> numbered_nbytes(12), len("01234567891011")
    (14, 14)
    """
    widths = ((high - low) * len(str(low)) for low, high in _widths(0, n_names))
    return sum(widths) + n_names * len(prefix)


def _widths(first: int, last: int) -> list[tuple[int, int]]:
    """Cut a range of numbers where they get one more digit."""
    edges = [0, *(10**n for n in range(1, len(str(last)) + 1))]
    found = ((max(first, low), min(last, high)) for low, high in pairwise(edges))
    return [(low, high) for low, high in found if low < high]


def _of_width(low: int, high: int, prefix: bytes) -> tuple[UInt8s, UInt32s]:
    """Return numbers of as many digits each as text, one a row, and their hashes."""
    n_first = len(str(low)) - _N_LAST
    if n_first <= 0:
        texts = [b"%s%d" % (prefix, number) for number in range(low, high)]
        text = np.frombuffer(b"".join(texts), np.uint8).reshape(high - low, -1)
        return text, np.array([crc32(one) for one in texts], np.uint32)
    last_digits, changes = _last_digits()
    firsts = range(low // _STEP, -(-high // _STEP))
    heads = [b"%s%d" % (prefix, number) for number in firsts]
    # As fields, of which each is assigned as a whole.
    head = np.dtype(("V", len(heads[0])))
    fields: Array = np.empty((len(heads), _STEP), [("head", head), ("last", "<u4")])
    fields["head"] = np.frombuffer(b"".join(heads), head)[:, None]
    fields["last"] = last_digits.view("<u4")[:, 0]
    of_heads = np.array([crc32(head + b"0" * _N_LAST) for head in heads], np.uint32)
    hashes = np.bitwise_xor.outer(of_heads, changes).reshape(-1)
    some = slice(low - firsts.start * _STEP, high - firsts.start * _STEP)
    return fields.view(np.uint8).reshape(len(hashes), -1)[some], hashes[some]


@cache
def _last_digits() -> tuple[UInt8s, UInt32s]:
    """Return the last digits of numbers as text, and what they change in the hash of zeros."""
    texts = [b"%0*d" % (_N_LAST, number) for number in range(_STEP)]
    hashes = np.array([crc32(text) for text in texts], np.uint32)
    return np.frombuffer(b"".join(texts), np.uint8).reshape(_STEP, _N_LAST), hashes ^ hashes[0]
