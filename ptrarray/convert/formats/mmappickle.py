"""Files of mmappickle: a dict whose entries are pickles, and arrays raw among them.

The file is one pickle in frames, and is read as such: mmappickle, which fails on numpy 1.24 and
newer, is not needed, and nothing that the file names is called. ::

    PROTO 4, FRAME 13: BININT version POP, BININT commit POP, MARK
    FRAME n: SHORT_BINUNICODE key, value, BININT memo POP, NEWTRUE or (deleted) POP, POP
    ...
    FRAME 2: DICT STOP
"""

from __future__ import annotations

import ast
import io
import math
import mmap
import os
import pickle
import pickletools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from ptrarray.convert import sources
from ptrarray.convert.formats.pickles import unpickled
from ptrarray.convert.found import Kind, Member
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError

SUFFIXES = (".mmdpickle", ".mmappickle", ".mmap", ".pickle", ".pkl")

_HEADER = b"\x80\x04\x95" + (13).to_bytes(8, "little") + b"J"
_HEADER_NBYTES = 24
_TAIL_NBYTES = 8  # BININT memo POP, NEWTRUE or POP, POP
_ARRAY = b"\x8c\x16numpy.core.fromnumeric\x8c\x07reshape\x93\x8c\x15numpy.core.multiarray\x8c\x0afromstring\x93"
_MASKED = b"\x8c\x0dnumpy.ma.core\x8c\x0bMaskedArray\x93"
_LENGTH_NBYTES = {ord("C"): 1, ord("B"): 4, 0x8E: 8}  # of SHORT_BINBYTES, BINBYTES, BINBYTES8
_ABOUT_NBYTES = 1 << 16  # enough for dtype and shape behind the bytes of an array


def from_mmappickle(
    paths: Paths, store: str | os.PathLike[str], *, trust: bool = False, **options: Unpack[Options]
) -> Report:
    """Import the entries of mmappickle's dicts.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default the keys, or with several
        files ``"{stem}/{key}"``. A new store has masks if an entry has, unless
        `masked` is given.
    trust : bool
        As for `from_pickles`, for entries that are no arrays.

    Returns
    -------
    Report

    Notes
    -----
    Arrays are mapped, not read into memory. Of a file that a crash has cut
    off, what is whole is converted. Arrays of records and 0-d arrays, that
    mmappickle writes and cannot read, are.

    Numbers, lists of numbers, and dicts of those, are arrays. What has text in
    it, or is None or empty, is no array: it becomes an attr of the store under
    the name that an array would have, with dicts and lists as they are if no
    array is among them, and tuples and sets as lists. So of several files the attrs are ``"{stem}/{key}"``,
    too. An attr that is there with another value is a failure, and stays.
    """
    if "masked" not in options:
        files = sources.find(paths, SUFFIXES)
        options["masked"] = any(_has_masks(path) for path, _ in files)
    kind = Kind(partial(_members, trust), SUFFIXES, many=True)
    return run(kind, paths, store, options)


def _has_masks(path: str) -> bool:
    try:
        raw = _map(path)
        return any(raw[at : at + len(_MASKED)] == _MASKED for _, at, _ in _entries(raw))
    except (OSError, BadInputError):  # reported when it is read
        return False


def _members(trust: bool, path: str) -> Iterator[Member]:
    raw = _map(path)
    for key, start, end in _entries(raw):
        yield Member(key, partial(_read, raw, start, end, trust), to_attrs=True)


def _map(path: str) -> mmap.mmap:
    with Path(path).open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise BadInputError("it is empty")
        raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if raw[: len(_HEADER)] != _HEADER:
        raise BadInputError("it is no file of mmappickle (an ordinary pickle: import pickles)")
    return raw


def _entries(raw: mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Yield key, start and end of the entries that were not deleted."""
    at = _HEADER_NBYTES
    while True:
        if raw[at : at + 1] != pickle.FRAME or len(raw) < at + 11:
            raise BadInputError(f"it is cut off or damaged at byte {at}; what is before is whole")
        if raw[at + 9 : at + 10] == pickle.DICT:
            return
        start = at + 11 + raw[at + 10]
        end = at + 9 + int.from_bytes(raw[at + 1 : at + 9], "little")
        is_entry = raw[at + 9 : at + 10] == pickle.SHORT_BINUNICODE
        if not is_entry or end > len(raw) or end - _TAIL_NBYTES < start:
            raise BadInputError(f"it is cut off or damaged at byte {at}; what is before is whole")
        if raw[end - 2 : end - 1] == pickle.NEWTRUE:
            key = raw[at + 11 : start].decode("utf-8", "backslashreplace")
            yield key, start, end - _TAIL_NBYTES
        at = end


def _read(raw: mmap.mmap, start: int, end: int, trust: bool) -> Any:
    value = memoryview(raw)[start:end]
    try:
        if bytes(value[: len(_ARRAY)]) == _ARRAY:
            return _array(value)[0]
        if bytes(value[: len(_MASKED)]) == _MASKED:
            data, used = _array(value[len(_MASKED) :])
            mask, _ = _array(value[len(_MASKED) + used :])
            return np.ma.MaskedArray(data, mask.reshape(data.shape) if mask.ndim else bool(mask))
    except (ValueError, TypeError, SyntaxError, IndexError, KeyError) as error:
        raise BadInputError(f"its array is malformed: {error}") from error
    whole = b"".join((pickle.PROTO, b"\4", value, pickle.STOP))
    return next(unpickled(io.BufferedReader(io.BytesIO(whole)), trust=trust))


def _array(value: memoryview) -> tuple[npt.NDArray[Any], int]:
    """Return a view of an array and the bytes that it takes: ``reshape(fromstring(...), shape)``."""
    width = _LENGTH_NBYTES[value[len(_ARRAY)]]
    start = len(_ARRAY) + 1 + width
    end = start + int.from_bytes(value[len(_ARRAY) + 1 : start], "little")
    dtype, shape, used = _about(bytes(value[end : end + _ABOUT_NBYTES]))
    if dtype.hasobject or end > len(value) or math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"{end - start} bytes for shape {shape} of {dtype}")
    flat = np.frombuffer(value[start:end], dtype) if end > start else np.empty(0, dtype)
    return flat.reshape(shape), end + used


def _about(raw: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Read dtype and shape: text TUPLE2 REDUCE, integers, TUPLE2 REDUCE."""
    shape: list[int] = []
    text, n_calls = "", 0
    for opcode, argument, at in pickletools.genops(raw):
        if isinstance(argument, str) and not text:
            text = argument
        elif isinstance(argument, int) and n_calls:
            shape.append(argument)
        elif opcode.name == "REDUCE":
            n_calls += 1
        if n_calls == 2:
            return _dtype(text), tuple(shape), (at or 0) + 1
    raise ValueError("no shape")


def _dtype(text: str) -> np.dtype[Any]:
    # Of records mmappickle wrote what numpy prints.
    return np.dtype(ast.literal_eval(text) if text[:1] in ("[", "{") else text)
