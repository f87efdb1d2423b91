"""Folders of mmap_ninja's ``RaggedMmap``: arrays of one dtype and any shapes, end to end in one file.

The library maps whatever the folder says. So all of it is compared before the library is asked: a dtype
of Python objects, which it maps without a word, kills the process that looks at an element (mmap_ninja 0.9.0,
numpy.py); pointers that lead out of the file are cut off, negative ones count from its end.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from ptrarray.convert.found import Found, Kind, Many, Member
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError, import_extra
from ptrarray.rows.copying import cut
from ptrarray.rows.types import Array, Bools, Int64s

FLAG = "shapes_are_flat.ninja"
_MESSAGE = "importing folders of mmap_ninja needs mmap_ninja: pip install 'ptrarray[mmap-ninja]'"
_KINDS = "biufcmM"
_TEXT_NBYTES = 1 << 10
_PIECE_NBYTES, _PIECE_ARRAYS = 1 << 25, 1 << 16
_PART_NBYTES, _PART_ARRAYS = 1 << 28, 1 << 18
_MAX_NDIM = 64
_SHIFTED = (
    "an append was killed, was refused, or came from a second handle, or the first call gave only "
    "empty arrays: mmap_ninja reads other values than were written"
)


def from_mmap_ninja(
    paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]
) -> Report:
    """Import folders of mmap_ninja's ``RaggedMmap``.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        The folders, or folders that they lie in.
    store, **options
        As for `from_pickles`. Names are by default ``"0"``, ``"1"``, …, or with several folders
        ``"{stem}/{key}"``.

    Returns
    -------
    Report

    Raises
    ------
    ImportError
        Without mmap_ninja, which the extra ``mmap-ninja`` installs.

    Notes
    -----
    Shapes are kept, those of empty and of 0-d arrays among them. A folder whose parts do not fit each
    other is a failure, as mmap_ninja leaves it after an append that failed: what it reads then is not what
    was written. Folders of ``StringsMmap`` have no arrays.

    Arrays are mapped and checked before the library is called; memory as for `from_megatron`.

    Examples
    --------
    >>> from mmap_ninja.ragged import RaggedMmap
    >>> _ = RaggedMmap.from_lists("images", [np.zeros((2, 3)), np.ones((1, 3))])
    >>> print(ptrarray.convert.from_mmap_ninja("images", "any.ptr", progress=False))
    2 converted
    >>> ptrarray.open("any.ptr")["1"]
    array([[1., 1., 1.]])
    """
    import_extra("mmap_ninja", _MESSAGE)
    kind = Kind(_members, (f"/{FLAG}",), many=True, parts=_parts, is_one=_is_one)
    return run(kind, paths, store, options)


def _is_one(folder: str) -> bool:
    path = Path(folder)
    kind = path / "type.ninja"
    is_ragged = (path / FLAG).is_file() and (path / "starts").is_dir()
    return is_ragged or (kind.is_file() and _text(kind) in ("ragged", "string"))


class _Ragged(NamedTuple):
    """What a folder has, every pointer checked.

    Attributes
    ----------
    rows : ndarray, shape (n_rows,)
        Elements of all arrays.
    starts, ends : ndarray of int64
        Where those of each begin and end.
    lengths : ndarray of int64
        Lengths of the axes of all arrays, end to end.
    edges : ndarray of int64, one more than arrays
        Where those of each begin among them.
    """

    rows: Array
    starts: Int64s
    ends: Int64s
    lengths: Int64s
    edges: Int64s

    @classmethod
    def of(cls, path: str) -> _Ragged:
        """Open a folder.

        Raises
        ------
        BadInputError
            If anything in it does not fit.
        """
        is_flat = _check_folder(Path(path))
        opened = import_extra("mmap_ninja.ragged", _MESSAGE).RaggedMmap(path)
        rows, starts, ends = _flat(opened)
        if is_flat:
            shapes = np.asarray(opened.shapes)
            lengths, edges = shapes.reshape(-1), np.arange(len(shapes) + 1)
        else:
            lengths, firsts, lasts = _flat(opened.shapes)
            edges = np.concatenate([firsts[:1], lasts])
            if not np.array_equal(np.asarray(opened.shapes.shapes).reshape(-1), lasts - firsts):
                raise BadInputError(f"its shapes have other lengths than pointers: {_SHIFTED}")
        if len(starts) != len(edges) - 1:
            what = f"{len(starts)} arrays and {len(edges) - 1} shapes"
            raise BadInputError(f"it has {what}: {_SHIFTED}")
        found = cls(rows, starts, ends, lengths, edges)
        found.check()
        return found

    def check(self) -> None:
        """Compare shapes with the numbers of elements."""
        n_axes, sizes = np.diff(self.edges), (self.ends - self.starts).astype(np.float64)
        if len(n_axes) and (n_axes.min() < 1 or n_axes.max() > _MAX_NDIM):
            raise BadInputError(f"it has shapes of {n_axes.min()} to {n_axes.max()} axes")
        # As floats, which do not wrap: a product that is beyond them is no size of a file.
        products = np.multiply.reduceat(self.lengths.astype(np.float64), self.edges[:-1])
        is_bad = (products != sizes) & ~self.are_scalars(slice(0, len(sizes)))
        is_bad |= np.minimum.reduceat(self.lengths, self.edges[:-1]) < 0
        if is_bad.any():
            at = int(np.argmax(is_bad))
            shape = tuple(self.lengths[self.edges[at] : self.edges[at + 1]].tolist())
            what = f"array {at} has {int(sizes[at])} elements and the shape {shape}"
            raise BadInputError(f"{what}: {_SHIFTED}")

    def are_scalars(self, some: slice) -> Bools:
        """Tell which arrays are 0-d: mmap_ninja writes the shape (0,) for one element."""
        edges = self.edges[some.start : some.stop + 1]
        is_one = self.ends[some] - self.starts[some] == 1
        found: Bools = (np.diff(edges) == 1) & (self.lengths[edges[:-1]] == 0) & is_one
        return found

    def shape(self, at: int) -> tuple[int, ...]:
        """Return the shape of one array."""
        if self.are_scalars(slice(at, at + 1))[0]:
            return ()
        return tuple(self.lengths[self.edges[at] : self.edges[at + 1]].tolist())

    def array(self, at: int) -> Array:
        """Return one array, a view."""
        return self.rows[self.starts[at] : self.ends[at]].reshape(self.shape(at))

    def alike(self, some: slice) -> list[tuple[int, int]]:
        """Cut arrays where they have other axes but for the first than the one before."""
        edges = self.edges[some.start : some.stop + 1]
        n_axes = np.diff(edges)
        # One line for each array: number of axes, then all lengths but the first; 0-d is of its own.
        table = np.zeros((len(n_axes), int(n_axes.max(initial=1)) + 1), np.int64)
        table[:, 0] = np.where(self.are_scalars(some), 0, n_axes)
        for axis in range(1, table.shape[1] - 1):
            has = n_axes > axis
            table[has, axis] = self.lengths[edges[:-1][has] + axis]
        changes = np.flatnonzero((table[1:] != table[:-1]).any(1)) + some.start + 1
        return list(pairwise([some.start, *changes.tolist(), some.stop]))


def _flat(opened: Any) -> tuple[Array, Int64s, Int64s]:
    """Return elements and pointers of an open folder, once these are such as it writes."""
    columns = (opened.memmap, opened.starts, opened.ends, opened.flattened_shapes)
    rows, starts, ends, sizes = map(np.asarray, columns)
    is_packed = (
        len(starts) == len(ends) == len(sizes)
        and bool((ends - starts == sizes).all())
        and bool((starts <= ends).all())
        and bool((starts[1:] == ends[:-1]).all())
        and (not len(starts) or (starts[0] == 0 and ends[-1] == len(rows)))
        and (len(starts) > 0 or not len(rows))
    )
    if not is_packed:
        raise BadInputError(f"its {len(starts)} arrays do not lie end to end: {_SHIFTED}")
    return rows, starts, ends


def _check_folder(folder: Path, *, only: str = "") -> bool:
    """Compare all files of a folder with what they say; return whether all its shapes are flat."""
    if (folder / "type.ninja").is_file() and _text(folder / "type.ninja") == "string":
        raise BadInputError("it is a StringsMmap, which has texts and no arrays")
    flag = _bytes(folder / FLAG)
    if flag not in (b"\0\0\0\0", b"\1\0\0\0"):
        raise BadInputError(f"{FLAG} has {flag!r:.40}, expected a number of 32 bits, 0 or 1")
    _check_flat(folder, 1, only)
    for name in ("starts", "ends", "flattened_shapes"):
        _check_flat(folder / name, 1, "int64")
    is_flat = flag != b"\0\0\0\0"
    if is_flat:
        _check_flat(folder / "shapes", 2, "int64")
    elif only:
        raise BadInputError(f"{folder.name} has shapes of shapes")
    elif not _check_folder(folder / "shapes", only="int64"):
        raise BadInputError("its shapes have more than one axis")
    return is_flat


def _check_flat(folder: Path, n_axes: int, only: str) -> None:
    """Compare the size of a flat array with its dtype and shape."""
    dtype = _dtype(_text(folder / "dtype.ninja"), folder.name, only)
    raw, order = _bytes(folder / "shape.ninja"), _text(folder / "order.ninja")
    shape = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
    is_fitting = len(raw) == 8 * n_axes and order == "C" and shape[1:] in ([], [1])
    if not is_fitting:
        raise BadInputError(f"{folder.name} has the shape {shape} in order {order!r:.20}")
    nbytes = (folder / "data.ninja").stat().st_size
    expected = shape[0] * dtype.itemsize
    # Of nothing numpy makes a file of one byte, as the system maps none without.
    if nbytes != expected and not (expected == 0 and nbytes == 1):
        what = f"data.ninja of {folder.name} has {nbytes} bytes, and its shape {expected}"
        raise BadInputError(f"{what}: {_SHIFTED}")


def _dtype(text: str, where: str, only: str) -> np.dtype[Any]:
    """Return the dtype of a name, if it is plain: others are not mapped, or run what is there."""
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype(object)
    if dtype.kind not in _KINDS or dtype.name != text or text not in (only or text):
        raise BadInputError(
            f"{where} has the dtype {text!r:.40}, expected {only or 'numbers or dates'}"
        )
    return dtype


def _text(file: Path) -> str:
    return _bytes(file).decode("ascii", "backslashreplace")


def _bytes(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # a pipe, say, would have us wait
        raise BadInputError(f"{file.name} is no file")
    try:
        with file.open("rb") as opened:
            return opened.read(_TEXT_NBYTES)
    except OSError as error:
        raise BadInputError(f"{file.name} cannot be read: {error.strerror}") from error


def _parts(path: str) -> list[tuple[int, int]]:
    ragged = _Ragged.of(path)
    n = len(ragged.starts)
    n_parts = max(-(-ragged.rows.nbytes // _PART_NBYTES), -(-n // _PART_ARRAYS), 1)
    return list(pairwise(n * at // n_parts for at in range(n_parts + 1)))


def _members(path: str, part: tuple[int, int] | None = None) -> Iterator[Found]:
    ragged = _Ragged.of(path)
    first, last = (0, len(ragged.starts)) if part is None else part
    for at in range(first, min(last, len(ragged.starts)), _PIECE_ARRAYS):
        for low, high in ragged.alike(slice(at, min(at + _PIECE_ARRAYS, last))):
            yield from _of_alike(ragged, low, high)


def _of_alike(ragged: _Ragged, low: int, high: int) -> Iterator[Found]:
    shape = ragged.shape(low)
    row_size = math.prod(shape[1:])
    if not shape or not row_size or high - low == 1:
        for at in range(low, high):
            yield Member(str(at), partial(ragged.array, at))
        return
    sizes = ragged.ends[low:high] - ragged.starts[low:high]
    for first, last in cut(sizes * ragged.rows.itemsize, _PIECE_NBYTES):
        start, end = int(ragged.starts[low + first]), int(ragged.ends[low + last - 1])
        values = ragged.rows[start:end].reshape(-1, *shape[1:])
        offsets = np.concatenate([[start], ragged.ends[low + first : low + last]]) - start
        yield Many([*map(str, range(low + first, low + last))], values, offsets // row_size)
