"""The ``.idx`` beside a ``.bin`` of Megatron-LM and fairseq, read by numpy.

megatron-core has a reader, `IndexedDataset`. It is not used here: to import it takes 7 seconds, 350 MB of
memory and PyTorch, for 34 bytes of header and four columns of integers. It checks some of them by ``assert``,
which ``python -O`` leaves out: a length of -1 is an array of all that follows, an odd pointer gives values that
nobody wrote. And its arrays are views of a mapping that its ``__del__`` closes, so that whoever keeps one longer
than the data set crashes (megatron-core 0.16.1, megatron/core/datasets/indexed_dataset.py, lines 336 and 421).
Here all is compared with the sizes of both files before anything is read. Tests compare with the library.

All numbers are little-endian, and nothing is aligned:

=========================  =============================================================
``MMIDIDX`` and two zeros
u64                        version: 1
u8                         code of the dtype
u64                        n: number of sequences
u64                        d: documents and one; fairseq's files have neither this
n of i32                   lengths, in elements
n of i64                   pointers, in bytes
d of i64                   the sequence that each document begins with; nor these
n of i8                    modes, of multimodal data; only the size of the file tells
=========================  =============================================================
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.convert.sources import bare
from ptrarray.errors import BadInputError
from ptrarray.reductions.blocks import in_parallel
from ptrarray.rows.types import Int64s

MAGIC = b"MMIDIDX\0\0"
VERSION = 1
ORIGINS = ("megatron", "fairseq")
CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}
# fairseq's, which older Megatron-LM had, too: 6 was `np.float` and 7 `np.double`, both of 64 bits.
OLDER_CODES = CODES | {7: "<f8", 9: "<u4", 10: "<u8"}

_HEAD = struct.Struct("<9sQBQ")
_OTHERS = {
    b"TNTIDX\0\0": "fairseq's or an older Megatron-LM's format 'cached' or 'lazy'",
    b"HUFFIDX\0": "fairseq's format 'huffman'",
}
_LENGTH_NBYTES, _POINTER_NBYTES = 4, 8
_BLOCK = 1 << 16  # sequences that are looked at in one go


class MegatronIndex(NamedTuple):
    """A ``.idx`` that fits its ``.bin``.

    Attributes
    ----------
    path, bin_path : str
        Of both.
    bin_nbytes : int
        Size of the second.
    dtype : dtype
        Of all elements.
    lengths : ndarray of int32
        Elements of each sequence; a view of the mapped file, not aligned.
    pointers : ndarray of int64
        The byte that each begins at; as `lengths`, unless it was `mended`.
    documents : ndarray of int64
        The sequence that each document begins with, and the number of sequences; nothing
        without `has_documents`.
    modes : ndarray of int8 or None
        Of multimodal data.
    is_packed : bool
        Whether each sequence begins where the one before ends, the first at 0.
    mended : bool
        Whether pointers had wrapped, as in int32.
    has_documents : bool
        Whether any document is other than one sequence.
    """

    path: str
    bin_path: str
    bin_nbytes: int
    dtype: np.dtype[Any]
    lengths: npt.NDArray[np.int32]
    pointers: Int64s
    documents: Int64s
    modes: npt.NDArray[np.int8] | None
    is_packed: bool = True
    mended: bool = False
    has_documents: bool = False


def read_index(path: str, origin: str | None = None, bin_path: str | None = None) -> MegatronIndex:
    """Read a ``.idx``, and compare all of it with the sizes of both files.

    Parameters
    ----------
    bin_path : str, optional
        Its ``.bin``, if that is not beside it.

    Raises
    ------
    BadInputError
        If it is none, is damaged, does not fit its ``.bin``, or can be read in two ways.
    """
    index, code, is_fairseq = _read(path, bin_path or f"{bare(path)}.bin")
    if is_fairseq or origin == "fairseq":
        found = [OLDER_CODES]
    elif origin == "megatron":
        found = [CODES | {code: dtype for code, dtype in OLDER_CODES.items() if code > 8}]
    else:
        found = [CODES, OLDER_CODES]
    dtypes = list(dict.fromkeys(codes[code] for codes in found if code in codes))
    if not dtypes:
        raise BadInputError(
            f"it has dtype code {code}, expected {min(CODES)} to {max(OLDER_CODES)}"
        )
    if len(dtypes) == 1:
        return _checked(index._replace(dtype=np.dtype(dtypes[0])))
    return _told_apart(index, [np.dtype(dtype) for dtype in dtypes])


def _read(path: str, bin_path: str) -> tuple[MegatronIndex, int, bool]:
    """Map a file, and cut it into its columns; return its code, too, and whether it is fairseq's."""
    raw = np.memmap(path, np.uint8, "r") if Path(path).stat().st_size else np.empty(0, np.uint8)
    head = raw[: _HEAD.size].tobytes()
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise BadInputError(f"it is of {what}, which is not read: write it as 'mmap' once more")
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        raise BadInputError(f"it is no .idx of Megatron or fairseq: it begins with {head[:9]!r}")
    _, version, code, n = _HEAD.unpack(head)
    if version != VERSION:
        raise BadInputError(f"it is of version {version}, expected {VERSION}")
    d, has_modes = _documents(raw, n)
    try:
        bin_nbytes = Path(bin_path).stat().st_size
    except OSError as error:
        raise BadInputError(f"its .bin cannot be read: {error}") from error
    at = _HEAD.size + 8 * (d is not None)
    columns = []
    for dtype, count in (("<i4", n), ("<i8", n), ("<i8", d or 0), ("i1", n * has_modes)):
        columns.append(np.ndarray(count, dtype, raw, at))
        at += columns[-1].nbytes
    lengths, pointers, documents, modes = columns
    has_documents = d is not None and not _are_sequences(documents, n)
    documents = documents.astype(np.int64) if has_documents else np.empty(0, np.int64)
    if has_documents:
        _check_documents(documents, n)
    some = (lengths, pointers, documents, modes if has_modes else None)
    index = MegatronIndex(path, bin_path, bin_nbytes, np.dtype("u1"), *some)
    return index._replace(has_documents=has_documents), code, d is None


def _documents(raw: npt.NDArray[np.uint8], n: int) -> tuple[int | None, bool]:
    """Return the number of document indices, None for fairseq's files; and whether there are modes.

    Nothing in the file says it, but its size does: no two of these are the same.
    """
    columns = (_LENGTH_NBYTES + _POINTER_NBYTES) * n
    if len(raw) == _HEAD.size + columns:
        return None, False
    if len(raw) >= _HEAD.size + 8:
        d = int(raw[_HEAD.size : _HEAD.size + 8].view("<u8")[0])
        rest = len(raw) - (_HEAD.size + 8 + columns + 8 * d)
        if rest in (0, n):
            return d, bool(rest)
    else:
        d = 0
    raise BadInputError(
        f"it has {len(raw)} bytes, which {n} sequences and {d} document indices do not have: it was "
        "cut off, is damaged, or its writer was not finalized"
    )


def _are_sequences(documents: Int64s, n: int) -> bool:
    """Tell whether each document is one sequence, which is nearly always so."""
    if len(documents) != n + 1:
        return False
    blocks = range(0, n + 1, _BLOCK)
    return all(
        np.array_equal(documents[at : at + _BLOCK], np.arange(at, min(at + _BLOCK, n + 1)))
        for at in blocks
    )


def _check_documents(documents: Int64s, n: int) -> None:
    is_rising = bool((documents[1:] >= documents[:-1]).all())
    if not len(documents) or documents[0] != 0 or documents[-1] != n or not is_rising:
        raise BadInputError(f"its document indices do not rise from 0 to its {n} sequences")


class _Seen(NamedTuple):
    """What is seen of the pointers: the highest end, whether they are packed, and what is wrong."""

    end: int
    is_packed: bool
    problem: str = ""


def _checked(index: MegatronIndex) -> MegatronIndex:
    seen = _look(index, index.dtype.itemsize)
    if seen.problem:
        mended = _mended(index)
        if mended is None:
            raise BadInputError(seen.problem)
        return mended
    return index._replace(is_packed=seen.is_packed)


def _told_apart(index: MegatronIndex, dtypes: list[np.dtype[Any]]) -> MegatronIndex:
    """Take the dtype by which sequences lie end to end and the ``.bin`` ends with the last."""
    fitting = []
    for dtype in dtypes:
        seen = _look(index, dtype.itemsize)
        if not seen.problem and seen.is_packed and seen.end == index.bin_nbytes and seen.end:
            fitting.append(dtype)
    if len(fitting) != 1:
        first, second = dtypes
        raise BadInputError(
            f"its dtype code is {first} by megatron-core and {second} by fairseq and older "
            "Megatron-LM, and neither its pointers nor the size of its .bin tell which: say "
            "origin='megatron' or origin='fairseq'"
        )
    return index._replace(dtype=fitting[0])


def _look(index: MegatronIndex, itemsize: int) -> _Seen:
    """Look at all lengths and pointers, on all cores; stop at the first that are wrong."""
    n = len(index.lengths)
    end, is_packed = 0, True
    look = partial(_look_at, index, itemsize)
    for seen in in_parallel(look, range(0, n, _BLOCK)):
        if seen.problem:
            return seen
        end, is_packed = max(end, seen.end), is_packed and seen.is_packed
    return _Seen(end, is_packed)


def _look_at(index: MegatronIndex, itemsize: int, first: int) -> _Seen:
    lengths = index.lengths[first : first + _BLOCK].astype(np.int64)
    pointers = index.pointers[first : first + _BLOCK].astype(np.int64)
    if lengths.min() < 0:
        at = int(np.argmax(lengths < 0))
        return _Seen(0, False, f"sequence {first + at} has a length of {lengths[at]}")
    # Nothing overflows: a pointer is not above 2**63, and lengths are below 2**31.
    ends = pointers + lengths * itemsize
    is_aligned = np.bitwise_or.reduce(pointers) % itemsize == 0  # which is a power of two
    if min(pointers.min(), ends.min()) < 0 or ends.max() > index.bin_nbytes or not is_aligned:
        is_bad = (
            (pointers < 0) | (ends < 0) | (ends > index.bin_nbytes) | (pointers % itemsize != 0)
        )
        at = int(np.argmax(is_bad))
        where = f"{lengths[at]} elements of {itemsize} bytes from byte {pointers[at]} on"
        what = f"is at {where}, which do not lie in the {index.bin_nbytes} bytes of its .bin"
        return _Seen(0, False, f"sequence {first + at} {what}, or not at a multiple of {itemsize}")
    before = 0
    if first:
        length, pointer = int(index.lengths[first - 1]), int(index.pointers[first - 1])
        before = pointer + length * itemsize
    is_packed = bool(pointers[0] == before and (pointers[1:] == ends[:-1]).all())
    return _Seen(int(ends.max()), is_packed)


def _mended(index: MegatronIndex) -> MegatronIndex | None:
    """Return an index with the pointers that it should have, where those that it has have wrapped.

    megatron-core up to 0.12 computed the pointers of merged files in int32 with NumPy 2 (issue 1672
    of Megatron-LM). Beyond doubt only if all differ by multiples of 2**32, and the .bin ends with the
    last sequence.
    """
    lengths = index.lengths.astype(np.int64)
    if not len(lengths) or lengths.min() < 0:
        return None
    ends = np.cumsum(lengths) * index.dtype.itemsize
    pointers = np.concatenate([[0], ends[:-1]])
    if ends[-1] != index.bin_nbytes or ((pointers - index.pointers) & 0xFFFF_FFFF).any():
        return None
    return index._replace(pointers=pointers, is_packed=True, mended=True)
