"""Records of the journal that have one name each, many of them decoded together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.format import journal
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import DELETED, Entries, RaggedColumn
from ptrarray.format.journal import DELETE, POINT, POINT_UNJUDGED, Changes
from ptrarray.rows.copying import copy_ranges
from ptrarray.rows.types import Bools, Int64s, UInt8s

_FEW = 16  # records, of which each is decoded alone
# Of a record as `journal.encode_one` packs it: bytes up to its name, of start, end and CRC, and up
# to an info or metadata; and which byte of these is what.
_HEAD_NBYTES, _NUMBERS_NBYTES, _TO_ITEM_NBYTES = 30, 26, 12
_HEAD = {11: 0, 12: 0xC4, 13: 4, 18: 0xC4, 19: 8, 28: 0xC4}
_NUMBERS = {0: 0xC4, 1: 8, 10: 0xC4, 11: 8, 20: 0xC4, 21: 4}
_TO_ITEM = {0: 0xC4, 1: 8, 10: 0xC4}
_DELETION, _PLAIN, _WITH_ITEMS = 0x95, 0x98, 0x9C  # as which a record of 5, 8 or 12 fields begins

Bytes = npt.NDArray[np.uint8]


class _Singles(NamedTuple):
    """What records begin with that have one name each: one row of bytes for each."""

    at: Int64s  # where they begin
    head: Bytes
    numbers: Bytes  # zeros where the name is deleted
    lengths: Int64s  # of the name, the info and the metadata, shape (n, 3)


def changes_in(raw: bytes, start_byte: int, seed: int, where: str) -> Changes:
    """Return what the records in `raw` change, as `journal.decode_all` does; raises as it does.

    Those of one name that follow each other come as one table, in a thirtieth of the time. The same
    name may be there several times, and others be deleted.
    """
    ends = list(journal.ends_of_records(raw))
    if len(ends) < _FEW or ends[-1] < len(raw) or not _match(raw, ends, seed):
        return journal.decode_all(journal.frames(raw, start_byte, seed, where), where)
    starts = np.array([0, *ends[:-1]], np.int64)
    is_single, singles = _singles(np.frombuffer(raw, np.uint8), starts, np.array(ends) - starts)
    number = np.cumsum(is_single)  # of the singles up to each record
    records, attrs = [], None
    edges = np.flatnonzero(is_single[1:] != is_single[:-1]) + 1
    for first, last in pairwise([0, *edges.tolist(), len(ends)]):
        if is_single[first]:
            some = slice(int(number[first]) - 1, int(number[last - 1]))
            records.append(_decoded(raw, _Singles._make(column[some] for column in singles)))
            continue
        start, end = int(starts[first]), ends[last - 1]
        frames = journal.frames(raw[start:end], start_byte + start, seed, where)
        between = journal.decode_all(frames, where)
        records += between.records
        attrs = attrs if between.attrs is None else between.attrs
    return Changes(records, attrs)


def _match(raw: bytes, ends: list[int], seed: int) -> bool:
    """Tell whether all records match their checksums."""
    view, prefix = memoryview(raw), journal.RECORD_PREFIX_NBYTES
    return all(
        crc32(view[start + prefix : end], seed).to_bytes(4, "little") == raw[start + 5 : start + 9]
        for start, end in pairwise([0, *ends])
    )


def _singles(raw: Bytes, at: Int64s, nbytes: Int64s) -> tuple[Bools, _Singles]:
    """Find the records that have one name, and are packed as here."""
    found = np.flatnonzero(nbytes >= _HEAD_NBYTES)
    head = _taken(raw, at[found], _HEAD_NBYTES)
    array, kind = head[:, 9], head[:, 10]
    is_kind = np.where(
        array == _DELETION,
        kind == DELETE,
        ((array == _PLAIN) | (array == _WITH_ITEMS)) & np.isin(kind, journal.POINTER_KINDS),
    )
    is_right = is_kind & _has(head, _HEAD) & (_numbers(head, 20, "<u8") == head[:, 29])
    found, head = found[is_right], head[is_right]
    lengths = np.zeros((len(found), 3), np.int64)
    lengths[:, 0] = head[:, 29]
    left = nbytes[found] - _HEAD_NBYTES - lengths[:, 0]
    # What is left of each is taken step by step, and has to be there as it is looked at.
    is_put = head[:, 9] != _DELETION
    numbers = np.zeros((len(found), _NUMBERS_NBYTES), np.uint8)
    is_right = ~is_put | (left >= _NUMBERS_NBYTES)
    puts = np.flatnonzero(is_put & is_right)
    numbers[puts] = _taken(raw, at[found[puts]] + _HEAD_NBYTES + lengths[puts, 0], _NUMBERS_NBYTES)
    start, end = (_numbers(numbers, byte, "<i8") for byte in (2, 12))
    is_right &= ~is_put | (_has(numbers, _NUMBERS) & (start >= 0) & (start <= end))
    left -= np.where(is_put, _NUMBERS_NBYTES, 0)
    for which in (1, 2):
        is_right &= (head[:, 9] != _WITH_ITEMS) | (left >= _TO_ITEM_NBYTES)
        some = np.flatnonzero(is_right & (head[:, 9] == _WITH_ITEMS))
        item = _taken(raw, at[found[some]] + nbytes[found[some]] - left[some], _TO_ITEM_NBYTES)
        lengths[some, which] = item[:, 11]
        is_right[some] &= _has(item, _TO_ITEM) & (_numbers(item, 2, "<u8") == item[:, 11])
        left[some] -= _TO_ITEM_NBYTES + lengths[some, which]
    is_right &= left == 0
    is_single = np.zeros(len(at), np.bool_)
    is_single[found[is_right]] = True
    columns = at[found], head, numbers, lengths
    return is_single, _Singles._make(column[is_right] for column in columns)


def _taken(raw: Bytes, at: Int64s, nbytes: int) -> Bytes:
    taken: Bytes = raw[at[:, None] + np.arange(nbytes)]
    return taken


def _has(rows: Bytes, marks: dict[int, int]) -> Bools:
    """Tell which rows have the bytes that msgpack puts between the fields."""
    is_right: Bools = (rows[:, list(marks)] == list(marks.values())).all(axis=1)
    return is_right


def _numbers(rows: Bytes, byte: int, dtype: str) -> npt.NDArray[Any]:
    """Return the number that begins at some byte of each row."""
    width = np.dtype(dtype).itemsize
    return np.ascontiguousarray(rows[:, byte : byte + width]).view(dtype)[:, 0]


def _decoded(raw: bytes, singles: _Singles) -> Entries:
    """Return records of one name each as a table."""
    at, head, numbers, lengths = singles
    joined = np.frombuffer(raw, np.uint8)
    is_deleted = head[:, 9] == _DELETION
    names_at = at + _HEAD_NBYTES
    infos_at = names_at + lengths[:, 0] + _NUMBERS_NBYTES + _TO_ITEM_NBYTES
    metas_at = infos_at + lengths[:, 1] + _TO_ITEM_NBYTES
    items = []
    for which, first in enumerate((names_at, infos_at, metas_at)):
        has_any = not which or (head[:, 9] == _WITH_ITEMS).any()
        items.append(_items(joined, first, lengths[:, which]) if has_any else None)
    start, end = (np.where(is_deleted, DELETED, _numbers(numbers, byte, "<i8")) for byte in (2, 12))
    pointed = np.isin(head[:, 10], (POINT, POINT_UNJUDGED)).astype(np.uint8)
    names, infos, metas = items
    assert names is not None
    return Entries(
        names,
        _numbers(head, 14, "<u4"),
        start,
        end,
        _numbers(numbers, 22, "<u4"),
        pointed,
        infos,
        metas,
    )


def _items(raw: UInt8s, starts: Int64s, lengths: Int64s) -> RaggedColumn:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = np.where(lengths > 0, starts, 0)
    return RaggedColumn(offsets[1:], copy_ranges(raw, starts, starts + lengths, offsets))
