"""Archives of kaldi: ``.ark``, and the ``.scp`` that lists what is where in them."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import DTypeLike

from ptrarray.convert.escape import MARK, unescape, word
from ptrarray.convert.export import Store, arrays_are, export, new_folder, note_meta, opened
from ptrarray.convert.formats.kaldi_ark import (
    ELEMENT,
    FLOATS,
    INTEGERS,
    Wanted,
    check_file,
    entries,
    import_kaldi,
    open_ark,
)
from ptrarray.convert.formats.kaldi_lists import Listed, add, lines_of
from ptrarray.convert.formats.kaldi_values import values
from ptrarray.convert.found import Found, Kind, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError
from ptrarray.intake.paths import absolute
from ptrarray.rows.types import Array

SUFFIXES = (".scp", ".ark")

_PART_NBYTES = 1 << 17  # of an .scp: some two thousand lines
_DATA_NBYTES = 1 << 26  # that the lines of a part name, where it is quickly seen
_N_ENTRIES = 1 << 14  # of an .ark at once
_FIRST, _OTHERS = "arrays.ark", "arrays.scp"


def from_kaldi(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    text_dtype: DTypeLike = "f4",
    **options: Unpack[Options],
) -> Report:
    r"""Import the matrices and vectors of kaldi's archives.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. An ``.scp`` is read by several processes, any other
        file as an ``.ark``, from front to back. Of folders the ``.scp`` are
        taken, and where there are none the ``.ark``. Names are by default the
        keys, or with several files ``"{stem}/{key}"``.
    root : path-like, optional
        Where relative paths in an ``.scp`` begin; by default the working
        directory, as for kaldi.
    text_dtype : dtype
        Of numbers that are written as text, which does not say: float32, as kaldi
        means them, or float64.

    Returns
    -------
    Report
        It has a note on sounds, which are left out. Commands (``… |``) in an ``.scp`` are
        failures, and never run; so are pickles of kaldiio.

    Raises
    ------
    BadInputError
        For another `text_dtype`, and as `from_pickles`.

    Notes
    -----
    Matrices and vectors are float32 or float64 as they are there, compressed ones
    float32, vectors of integers int32. What kaldiio has written by numpy keeps
    its dtype. Ranges include their last row, as in kaldi, and must lie within;
    rows may end 3 too late, which is noted. The memory of a process is 16 MB for
    rows, and the lines of an ``.scp`` that it has at hand; what is compressed or text is
    read whole, an entry at a time, by kaldi's code, which takes some 30 bytes a number.

    Kaldi writes vectors of integers, single integers and some others with the
    same first bytes: what can be a vector of integers is read as one.

    Examples
    --------
    >>> with open("feats.ark", "wb") as file:
    ...     _ = file.write(b"utt1 \0BFV \4\2\0\0\0" + np.float32([1, 2]).tobytes())
    >>> print(ptrarray.convert.from_kaldi("feats.ark", "any.ptr", progress=False))
    1 converted
    >>> ptrarray.open("any.ptr")["utt1"]
    array([1., 2.], dtype=float32)
    """
    import_kaldi()
    text = np.dtype(text_dtype)
    if text not in (np.float32, np.float64):
        raise BadInputError(f"text_dtype is {text}, expected float32 or float64", found=str(text))
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    reads = _Reads(str(absolute(root or ".")), text.newbyteorder("="))
    suffixes = _suffixes(given)
    beside = (".ark",) if ".ark" not in suffixes else ()
    kind = Kind(reads.members, suffixes, many=True, parts=reads.parts, beside=beside)
    return run(kind, given, store, options)


def _suffixes(paths: list[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return what is taken of folders: an .scp lists what beside it is in the .ark."""
    folders = [Path(path) for path in paths if Path(path).is_dir()]
    has_lists = any(any(folder.rglob("*.scp")) for folder in folders)
    return (".scp",) if has_lists else SUFFIXES


class _Reads(NamedTuple):
    """Reads files, in worker processes.

    Attributes
    ----------
    root : str
        Where relative paths begin.
    text : dtype
        Of numbers in text.
    """

    root: str
    text: np.dtype[Any]

    def members(self, path: str, part: tuple[int, int] | None = None) -> Iterator[Found]:
        """Yield what is in a file, or what lines of it name that begin in a range of bytes."""
        check_file(path)
        is_named = Path(path).with_name(MARK).exists()
        name_of: Callable[[str], str] = unescape if is_named else str
        if _is_list(path):
            yield from self._of_list(path, part or (0, os.stat(path).st_size), name_of)  # noqa: PTH116
        else:
            yield from self._of_ark(os.path.join(os.getcwd(), path), name_of)  # noqa: PTH109, PTH118

    def _of_ark(self, path: str, name_of: Callable[[str], str]) -> Iterator[Found]:
        if not Path(path).stat().st_size:
            return
        ark = open_ark(path)
        if ark.raw[:2] == b"\x1f\x8b":
            raise BadInputError("it is compressed with gzip: gunzip it first")
        keys: list[str] = []
        offsets: list[int] = []
        for entry in entries(ark):
            if isinstance(entry, Refused):
                yield entry
                continue
            keys.append(name_of(entry[0]))
            offsets.append(entry[1])
            if len(keys) == _N_ENTRIES:
                yield from values(ark, Wanted(keys, np.array(offsets), {}), self.text)
                keys, offsets = [], []
        yield from values(ark, Wanted(keys, np.array(offsets, np.int64), {}), self.text)

    def _of_list(
        self, path: str, part: tuple[int, int], name_of: Callable[[str], str]
    ) -> Iterator[Found]:
        arks: dict[str, Listed] = {}
        for line in lines_of(path, part):
            wrong = add(line, arks)
            if wrong is not None:
                yield wrong
        for where, listed in arks.items():
            keys = listed.keys if name_of is str else [name_of(key) for key in listed.keys]
            try:
                ark = open_ark(os.path.join(self.root, where))  # noqa: PTH118 as the system takes it
            except BadInputError as error:
                yield from (Refused(key, str(error)) for key in keys)
                continue
            wanted = Wanted(keys, np.array(listed.offsets, np.int64), listed.ranges)
            yield from values(ark, wanted, self.text)

    def parts(self, path: str) -> list[tuple[int, int]]:
        """Return ranges of bytes of an .scp; none of an .ark."""
        if not _is_list(path) or not Path(path).is_file():
            return []
        size = Path(path).stat().st_size
        n_parts = size // _PART_NBYTES
        if size <= 8 * _PART_NBYTES:
            n_parts = max(n_parts, self._nbytes(path, size) // _DATA_NBYTES)
        bounds = np.linspace(0, size, max(2, n_parts + 1)).astype(int).tolist()
        return list(pairwise(bounds))

    def _nbytes(self, path: str, size: int) -> int:
        """Return how large the files are that an .scp names, at the most, that is."""
        arks: dict[str, Listed] = {}
        for line in lines_of(path, (0, size)):
            add(line, arks)
        there = [Path(self.root, where) for where in arks]
        return sum(one.stat().st_size for one in there if one.is_file())


def _is_list(path: str) -> bool:
    return path.lower().endswith(".scp")


def to_kaldi(store: Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as a folder with ``arrays.ark`` and ``arrays.scp`` for kaldi.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`; `out` is the folder.

    Returns
    -------
    Report
        What kaldi has no kind for is a failure: numbers alone, more than two axes, integers
        beyond int32, matrices without elements, complex numbers, text, dates.

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Matrices and vectors of float32 and float64, and vectors of int32 are written
    as they are; others where no value changes, with a note: float16 and
    matrices of integers as float32 or float64, other vectors of integers as int32.
    Keys are the names. White space and ``%`` are written in hexadecimal, as in
    URLs, for kaldi's keys have none: ``a b`` becomes ``a%20b``. Imported they have
    their names again, by an empty file ``.ptrarray``. The ``.scp`` has the
    whole path of the ``.ark``, as kaldi's have. Masks go under ``NAME/.mask``.

    Examples
    --------
    >>> print(ptrarray.convert.to_kaldi("corpus.ptr", "corpus", progress=False))
    3 converted
    >>> with open("corpus/arrays.scp") as file:
    ...     file.readline().partition("/")[0]
    'utt1 '
    """
    where = str(absolute(out) / _FIRST)
    if "\n" in where or "\r" in where:
        raise BadInputError(f"{where!r} has a line break, which no path in an .scp has", path=where)
    widened: Counter[tuple[str, str]] = Counter()
    with opened(store) as source, new_folder(out) as folder:
        with (folder / _FIRST).open("xb") as ark, (folder / _OTHERS).open("xb") as lines:

            def put(name: str, array: Any) -> None:
                header, body = _binary(np.asarray(array), widened)
                key = word(name)
                if key != name:
                    (folder / MARK).touch()
                ark.write(key.encode() + b" ")
                lines.write(f"{key} {where}:{ark.tell()}\n".encode())
                ark.write(header)
                ark.write(body)

            report = export(source, put, progress)
        note_meta(report, source, "archives of kaldi")
    report.notes += [
        f"{arrays_are(n, f'of {what}')} written as {dtype}, no value changed"
        for (what, dtype), n in widened.items()
    ]
    return report


def _binary(array: Array, widened: Counter[tuple[str, str]]) -> tuple[bytes, Any]:
    """Return an array as a header and values of kaldi.

    Raises
    ------
    BadInputError
        If kaldi has no kind for it.
    """
    if array.ndim not in (1, 2):
        raise BadInputError(f"it has {array.ndim} axes, and arrays of kaldi have 1 or 2")
    if array.ndim == 2 and not array.size and array.shape != (0, 0):
        raise BadInputError(f"its shape is {array.shape}, and kaldi knows none without elements")
    if max(array.shape) >= 1 << 31:
        raise BadInputError(f"its shape is {array.shape}, and kaldi counts to {(1 << 31) - 1:,}")
    fit = _fitting(array)
    if fit.dtype.newbyteorder("=") != array.dtype.newbyteorder("="):
        axes = "one axis" if array.ndim == 1 else "two axes"
        widened[f"{array.dtype} with {axes}", str(fit.dtype.newbyteorder("="))] += 1
    if fit.dtype.kind == "i":
        elements = np.empty(len(fit), ELEMENT)
        elements["size"], elements["value"] = 4, fit
        return INTEGERS + struct.pack("<i", len(fit)), elements
    tag = next(tag for tag, known in FLOATS.items() if known == (fit.dtype, fit.ndim))
    sizes = b"".join(struct.pack("<Bi", 4, n) for n in fit.shape)
    return tag + sizes, np.ascontiguousarray(fit)


def _fitting(array: Array) -> Array:
    """Return an array in a dtype of kaldi that keeps every value."""
    kind, wanted = array.dtype.kind, ["<f4", "<f8"]
    if kind == "f" and array.dtype.itemsize <= 8:
        return array.astype("<f8" if array.dtype.itemsize == 8 else "<f4", copy=False)
    if kind not in "iub":
        raise BadInputError(f"it is of {array.dtype}, which kaldi has no kind for")
    for dtype in wanted if array.ndim == 2 else ["<i4"]:
        with np.errstate(invalid="ignore", over="ignore"):
            fit = array.astype(dtype)
            if _is_exact(array, fit):
                return fit
    what = "float64" if array.ndim == 2 else "int32"
    raise BadInputError(
        f"it has values of {array.dtype} that {what} has not, and kaldi nothing else"
    )


def _is_exact(array: Array, fit: Array) -> bool:
    if array.dtype.kind == "b":
        return True
    if fit.dtype.kind == "i":
        bounds = np.iinfo(np.int32)
        return not array.size or (array.min() >= bounds.min and array.max() <= bounds.max)
    # Beyond these, floats leave out integers.
    limit = 1 << (24 if fit.dtype.itemsize == 4 else 53)
    return not array.size or (int(array.min()) >= -limit and int(array.max()) <= limit)
