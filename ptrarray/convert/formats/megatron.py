"""Token files of Megatron-LM and fairseq: ``NAME.bin`` with its ``NAME.idx``.

Reading is by numpy, and not by megatron-core: `megatron_index` says why.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, Unpack

import numpy as np

from ptrarray.convert import sources
from ptrarray.convert.export import Store, lost_meta, new_file, opened
from ptrarray.convert.formats.megatron_documents import Told, plain, told
from ptrarray.convert.formats.megatron_index import (
    CODES,
    MAGIC,
    ORIGINS,
    VERSION,
    MegatronIndex,
    read_index,
)
from ptrarray.convert.formats.megatron_linked import link
from ptrarray.convert.formats.megatron_units import PIECE_ARRAYS, SUFFIXES, Units, Way
from ptrarray.convert.found import Found, Kind, Many
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.creation import is_store
from ptrarray.errors import BadInputError
from ptrarray.format.layouts import ROWS
from ptrarray.intake.choices import check_choice
from ptrarray.intake.paths import absolute
from ptrarray.reader import PointerArray, opened_of
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import Ragged, gather
from ptrarray.rows.types import Array, Int64s

HOWS = ("copy", "link", "move")
BY = ("sequence", "document")

_PIECE_NBYTES = 1 << 26
_PART_NBYTES, _PART_ARRAYS = 1 << 28, 1 << 20


def from_megatron(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    how: str = "copy",
    by: str = "sequence",
    origin: str | None = None,
    **options: Unpack[Options],
) -> Report:
    """Import ``.idx`` and ``.bin`` of Megatron-LM or fairseq, or make the ``.bin`` a store where it lies.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        The ``.idx`` files, each with its ``.bin`` beside it; folders and patterns as for
        `from_pickles`. With `how` other than ``"copy"``, one.
    store, **options
        As for `from_pickles`. Names are by default ``"0"``, ``"1"``, …, or with several files
        ``"{stem}/{key}"``. A new store has the dtype of the files, if they all have one and `dtype`
        is not given: arrays then lie end to end, as in the ``.bin``.
    how : {'copy', 'link', 'move'}
        ``"copy"`` copies. ``"link"`` makes a new store whose data file is the ``.bin``, by a hard link,
        and writes only an index: see Notes for what that means. ``"move"`` does the same, and when the
        store is on the disk the name ``.bin`` goes; the ``.idx`` stays, and leads nowhere.
    by : {'sequence', 'document'}
        What becomes an array. Documents are ranges of sequences.
    origin : {'megatron', 'fairseq'}, optional
        Whose dtype codes the files have, if that cannot be seen. Code 7 is float32 of megatron-core, and
        float64 of fairseq and of Megatron-LM before it. Where sequences lie end to end the size of the
        ``.bin`` tells, and else it is a failure.

    Returns
    -------
    Report

    Raises
    ------
    BadInputError
        For several files, or options that would change values, together with ``"link"`` or ``"move"``; and
        if the ``.bin`` is the data file of another store, or is to be moved and is a link itself.
    StoreExistsError
        If the file is to be linked or moved, and there is a store already; but for the one that it has
        become, with each of its arrays where it was, of which all is skipped.
    OSError
        If the ``.bin`` cannot be linked, as to another file system: use ``"copy"``.

    Notes
    -----
    Where a document is not one sequence, nothing is lost: sequences have metadata ``{"document": 3}``, and
    documents ``{"sequences": [12, 5]}``, the lengths of theirs. Multimodal data have ``{"mode": 1}``, or
    ``{"modes": [0, 1]}`` of a document.

    megatron-core is not needed. All lengths and pointers are compared with the size of the ``.bin`` first: one
    that leads out of it, or lies between two elements, is a failure of the file. Pointers that wrapped at 32
    bits, as megatron-core up to 0.12 wrote them into merged files, are computed anew where that is beyond
    doubt, and noted.

    *Linked files.* The store and the ``.bin`` are one file with two names. The store is *sealed*: it takes no
    more arrays until `compact` has given it a file of its own. But nothing keeps others from the ``.bin``: a
    program that opens it for writing, as ``preprocess_data.py`` run again for the same prefix, empties the
    store, and kills who reads it at that moment (SIGBUS). Make it read-only, or move it. What is changed
    in it shows in `verify`.

    A link reads the ``.bin`` once, for checksums, and takes some 0.3 µs and 20 bytes of memory an array, three times
    that memory where sequences are not in the order of the file; a copy, some 200 MB a process.

    Examples
    --------
    >>> import numpy as np
    >>> _ = Path("corpus.bin").write_bytes(np.array([7, 8, 9], "<u2").tobytes())
    >>> index = struct.pack("<9sQBQQ2i2q3q", b"MMIDIDX", 1, 8, 2, 3, 2, 1, 0, 4, 0, 1, 2)
    >>> _ = Path("corpus.idx").write_bytes(index)
    >>> print(ptrarray.convert.from_megatron("corpus.idx", "tokens.ptr", how="link", progress=False))
    2 converted
    >>> ptrarray.open("tokens.ptr")["0"]
    array([7, 8], dtype=uint16)
    """
    directory = str(absolute(store))
    check_choice("how", how, HOWS, directory)
    check_choice("by", by, BY, directory)
    if origin is not None:
        check_choice("origin", origin, ORIGINS, directory)
    if how != "copy":
        return link(paths, Path(directory), Way(by, origin), options, keep=how == "link")
    if options.get("dtype") is None and not is_store(Path(directory)):
        options["dtype"] = _one_dtype(paths, origin)
    way = Way(by, origin)
    parts = partial(_parts, way)
    kind = Kind(partial(_members, way), SUFFIXES, many=True, parts=parts, beside=(".bin",))
    return run(kind, paths, store, options)


class _Part(NamedTuple):
    """Arrays of a file that follow each other."""

    first: int
    last: int


def _one_dtype(paths: Paths, origin: str | None) -> np.dtype[Any] | None:
    """Return the dtype that all files have; None if they differ, or none can be read."""
    found = set()
    for path, _ in sources.find(paths, SUFFIXES):
        try:
            found.add(read_index(path, origin).dtype)
        except (BadInputError, OSError):  # which is said when it is read
            continue
    return found.pop() if len(found) == 1 else None


def to_megatron(
    store: Store, out: str | os.PathLike[str] | None = None, *, progress: bool = True
) -> Report:
    """Write a ``.idx`` beside the data file of a store, so that megatron-core reads the store as it lies.

    Parameters
    ----------
    store : path-like or PointerArray
        The store, or one that is open.
    out : path-like, optional
        Where the ``.idx`` goes, which can only be beside the data file: the store, or ``STORE/data.idx``. One
        that is there is replaced.
    progress : bool
        Nothing here takes long enough to be shown.

    Returns
    -------
    Report

    Raises
    ------
    BadInputError
        If the store is not such a file: its arrays must be scalars of uint8, int8, int16, int32, int64, uint16,
        float32 or float64, little-endian and without masks; lie end to end from row 0 on, with no hole,
        and the data file must end with the last; it must be no pack, have no shards, and have a row at all.
        `compact` removes holes.

    Notes
    -----
    The prefix for megatron-core is ``STORE/data``. Array ``i`` is that of ``store.arrays[i]``; each is a
    document. But where all arrays have the metadata that `from_megatron` has given them, documents,
    sequences and modes are what those tell. Names and other metadata are not in a ``.idx``, and noted.

    The ``.idx`` is of this moment. Arrays that are added later are not in it, a replaced array is as it was;
    write it again. A `compact` gives the store another data file (``data.2.bin``), and the ``.idx`` leads
    nowhere: write it again, and remove the old one. Nothing of the store is changed, and it ignores the file.

    Takes 30 bytes of memory an array, and 200 where they have metadata.

    Examples
    --------
    >>> with ptrarray.create("ids.ptr", dtype="u2") as writer:
    ...     _ = writer.write({"0": [7, 8], "1": [9]})
    >>> print(ptrarray.convert.to_megatron("ids.ptr"))
    2 converted
    >>> sorted(path.name for path in Path("ids.ptr").iterdir())
    ['data.bin', 'data.idx', 'index.msgpack', 'journal.msgpack']
    """
    report = Report()
    with opened(store) as source:
        target, code = _target(source)
        if out is not None and absolute(out) not in (target, target.with_suffix(""), target.parent):
            raise BadInputError(
                f"the .idx of {source.path} has to be {target}, for megatron-core finds both files by one "
                f"prefix: leave {os.fspath(out)} out",
                path=os.fspath(out),
                found=os.fspath(out),
                expected=str(target),
            )
        data_file = target.with_suffix(".bin")
        lengths = _packed_lengths(source, data_file)
        found = plain(lengths)
        if opened_of(source).snapshot.has_metas:
            found = told(lengths, (source.meta[name] for name in source))
        with new_file(target, overwrite=True, like=data_file) as file:
            _put(file, found, code, source.dtype.itemsize)
        report.converted = len(lengths)
        if any(name != str(i) for i, name in enumerate(source)):
            report.notes.append("names are not kept: array i is store.arrays[i]")
        if found.n_lost:
            report.notes.append(lost_meta(found.n_lost, "a .idx"))
    return report


def _put(file: IO[bytes], found: Told, code: int, itemsize: int) -> None:
    lengths, documents, modes, _ = found
    ends = np.cumsum(lengths)
    pointers = (ends - lengths) * itemsize
    file.write(struct.pack("<9sQBQQ", MAGIC, VERSION, code, len(lengths), len(documents)))
    columns = [lengths.astype("<i4"), pointers.astype("<i8"), documents.astype("<i8")]
    for column in columns if modes is None else [*columns, modes]:
        file.write(memoryview(column).cast("B"))


def _target(store: PointerArray) -> tuple[Path, int]:
    """Return where the ``.idx`` of a store goes, and the code of its dtype."""
    opened_store = opened_of(store)
    layout = opened_store.layout
    codes = [code for code, dtype in CODES.items() if np.dtype(dtype) == layout.dtype]
    problem = ""
    if layout.kind != ROWS or layout.row_shape != () or not codes or layout.dtype.byteorder == ">":
        problem = f"it has {layout.describe()}, expected scalars of {', '.join(CODES.values())}"
    elif layout.masked:
        problem = "it keeps masks, which a .idx does not"
    elif opened_store.limit_nbytes is not None:
        problem = "it is split into shards: write the .idx of each of store.shards"
    elif not Path(store.path).is_dir():
        problem = "it is a pack, or lies elsewhere: unpack or download it first"
    if problem:
        raise _unfit(store, problem)
    data_file = opened_store.stores[0].snapshot.header.data_file
    return Path(store.path, data_file).with_suffix(".idx"), codes[0]


def _packed_lengths(store: PointerArray, data_file: Path) -> Int64s:
    """Return the lengths of arrays that lie end to end in all of a file."""
    starts, ends = np.asarray(store.starts), np.asarray(store.ends)
    lengths: Int64s = ends - starts
    packed = np.cumsum(lengths) - lengths
    nbytes = data_file.stat().st_size
    end = int(lengths.sum()) * store.dtype.itemsize
    problem = ""
    if not end:
        problem = "it has no rows, and megatron-core opens no .bin without bytes"
    elif len(lengths) and int(lengths.max()) >= 2**31:
        problem = f"an array has {int(lengths.max())} rows, and lengths are of 32 bits"
    elif (starts != packed)[lengths > 0].any():
        problem = "its arrays do not lie end to end: compact it first (or arrays share rows)"
    elif nbytes != end:
        what = f"its data file has {nbytes} bytes, and the last array ends at byte {end}"
        problem = f"{what}: compact it first"
    if problem:
        raise _unfit(store, problem)
    return lengths


def _unfit(store: PointerArray, problem: str) -> BadInputError:
    return BadInputError(f"{store.path} cannot have a .idx: {problem}", path=store.path)


def _parts(way: Way, path: str) -> list[_Part]:
    index = read_index(path, way.origin)
    units = Units(index, way.by)
    n_parts = max(-(-index.bin_nbytes // _PART_NBYTES), -(-units.n // _PART_ARRAYS), 1)
    edges = [units.n * at // n_parts for at in range(n_parts + 1)]
    return [_Part(first, last) for first, last in pairwise(edges)]


def _members(way: Way, path: str, part: _Part | None = None) -> Iterator[Found]:
    index = read_index(path, way.origin)
    units = Units(index, way.by)
    first, last = (0, units.n) if part is None else (part.first, part.last)
    if not first:
        yield from units.notes()
    rows = _rows(index)
    for at in range(first, last, PIECE_ARRAYS):
        starts, ends = units.pointers(slice(at, min(at + PIECE_ARRAYS, last)))
        for low, high in cut((ends - starts) * index.dtype.itemsize, _PIECE_NBYTES // 2):
            keys = list(map(str, range(at + low, at + high)))
            some = _end_to_end(index, rows, starts[low:high], ends[low:high])
            yield Many(keys, some.values, some.offsets, units.metas(at + low, at + high))


def _end_to_end(index: MegatronIndex, rows: Array, starts: Int64s, ends: Int64s) -> Ragged:
    if not index.is_packed:
        return gather(rows, starts, ends)
    offsets = np.concatenate([starts[:1], ends])
    return Ragged(rows[offsets[0] : offsets[-1]], offsets - offsets[0])


def _rows(index: MegatronIndex) -> Array:
    n_rows = index.bin_nbytes // index.dtype.itemsize
    if not n_rows:  # what the system does not map, and megatron-core does not open
        return np.empty(0, index.dtype)
    return np.asarray(np.memmap(index.bin_path, index.dtype, "r", shape=(n_rows,)))
