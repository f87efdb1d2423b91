"""Files of bigarray into stores: the rows copied by the system, the index read as data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ptrarray.convert.bigarray.header import (
    HEADER_NBYTES,
    OldHeader,
    RefusedHeaderError,
    read_header,
)
from ptrarray.convert.bigarray.index import RefusedIndexError, read_index
from ptrarray.convert.report import Failure, Report
from ptrarray.creation import is_store
from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.format import names as naming
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries
from ptrarray.intake.choices import check_choice
from ptrarray.intake.paths import absolute
from ptrarray.progress import bar
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.create import create_store, new_header, replace_store, taken
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.store.content import Content
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.mapping import map_file

_STEP_NBYTES = 1 << 26  # so that a bar moves, and Ctrl-C is heard
MODES = ("x", "w")
_UNNAMED = "rows/0000000000000000"  # as `MmapArrayWriter` has for rows without a name
_SIZE_NBYTES = 8  # at the end of the file: bytes of the index before them


def from_bigarray(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    mode: str = "x",
    progress: bool = False,
) -> Report:
    """Convert a file of bigarray, of a `PointerArray` or a `MmapArray`, to a store.

    Parameters
    ----------
    old : path-like
        The file. Not changed.
    new : path-like
        Where the store goes.
    mode : {'x', 'w'}
        Where there is a store at `new`: ``"x"`` raises, ``"w"`` replaces it,
        unless it has shards.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Report
        How many arrays there are, and the failures: names that are no str,
        pointers out of the rows, and names that have rows in common. Their
        rows are in the store all the same.

    Raises
    ------
    CorruptStoreError
        If `old` is not a file of bigarray, is cut short, or its index holds
        more than names and pointers. Nothing is made.
    StoreExistsError
        If there is something at `new`.
    OSError
        If a file cannot be read or written. Nothing is made.

    Notes
    -----
    Nothing of the file is run: its index is a pickle, of which only dict, str,
    int and tuple are read. Rows stay where they are in the flat array; they are
    copied by the system, with their holes, and read once for their checksums. A
    file without an index, as a `MmapArray` has none, becomes one array.

    Examples
    --------
    >>> from marshal import dumps
    >>> meta = dumps(["float32", (3, 2)])  # as bigarray writes it, with no index
    >>> start = b"mmapdata%8d" % len(meta) + meta
    >>> with open("old", "wb") as file:
    ...     _ = file.write(start.ljust(504) + np.arange(6, dtype="f4").tobytes())
    >>> from ptrarray.convert.bigarray.convert import from_bigarray
    >>> print(from_bigarray("old", "new.ptr"))
    1 converted
    >>> ptrarray.open("new.ptr").rows.tolist()
    [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    """
    directory = absolute(new)
    check_choice("mode", mode, MODES, str(directory))
    is_there = files.exists(directory)
    is_replaceable = mode == "w" and is_store(directory) and not is_sharded(directory)
    if is_there and not is_replaceable:
        raise taken(directory)
    with File(absolute(old)) as file:
        header, items = _read(file)
        notes = []
        if items is None:
            items = [(_UNNAMED, (0, header.n_rows))]
            notes = [f"it has no index: its rows are one array, {_UNNAMED!r}"]
        entries, failures = _planned(items, header.n_rows)

        def fill(content: Content) -> Entries:
            nbytes = header.end_byte - header.start_byte
            transfer(file, header.start_byte, content.data, nbytes, progress=progress)
            return _summed(entries, content.data, header.layout.width)

        # Rows of names that failed are kept from being written over.
        n_reserved = header.n_rows if failures else int(entries.ends.max(initial=0))
        facts = replace(new_header(header.layout, header.n_rows, {}), n_reserved=n_reserved)
        (replace_store if is_there else create_store)(directory, facts, fill)
    failed = [Failure(*failure) for failure in failures.items()]
    return Report(converted=entries.n_names, failures=failed, notes=notes)


def _read(file: File) -> tuple[OldHeader, list[tuple[Any, Any]] | None]:
    """Return the header of a file, and the items of its index; None if it has no index."""
    try:
        header = read_header(file.pread(HEADER_NBYTES, 0))
        if header.n_rows > header.layout.row_limit:
            raise RefusedHeaderError(f"has {header.n_rows} rows, more than a file can hold")
    except RefusedHeaderError as error:
        raise _corrupt(file, f"is not a file of bigarray: it {error}") from error
    nbytes = file.stat().st_size
    if nbytes < header.end_byte:
        raise _corrupt(file, f"is cut short: its rows end at byte {header.end_byte} of {nbytes}")
    if nbytes == header.end_byte:
        return header, None
    size = int.from_bytes(file.pread(_SIZE_NBYTES, nbytes - _SIZE_NBYTES), "big")
    end_byte = nbytes - _SIZE_NBYTES
    if size > end_byte - header.end_byte:
        what = f"{size} bytes before byte {end_byte}, and rows up to byte {header.end_byte}"
        raise _corrupt(file, f"is damaged: its index should have {what}")
    with memoryview(map_file(file)) as raw:
        try:
            return header, read_index(raw[end_byte - size : end_byte])
        except RefusedIndexError as error:
            raise _corrupt(file, f"has an index that cannot be converted: it {error}") from error


def _corrupt(file: File, what: str) -> CorruptStoreError:
    return CorruptStoreError(f"{file.path} {what}", path=file.path)


def _summed(entries: Entries, data: File, width: int) -> Entries:
    """Return arrays with the checksums of their rows in a file."""
    bounds = zip((entries.starts * width).tolist(), (entries.ends * width).tolist(), strict=True)
    with memoryview(map_file(data)) as raw:
        crcs = [crc32(raw[start:end]) for start, end in bounds]
    return entries._replace(crcs=np.array(crcs, np.uint32))


def _planned(items: list[tuple[Any, Any]], n_rows: int) -> tuple[Entries, dict[str, str]]:
    """Sort the items of an index into arrays, in data order, and failures by name."""
    arrays: dict[bytes, tuple[int, int]] = {}
    failures: dict[str, str] = {}
    for key, pointer in items:
        try:
            name = naming.encode(key)
        except BadInputError as error:
            failures[_label(key)] = str(error)
            continue
        # Of one that is there twice, the last word counts.
        arrays.pop(name, None)
        failures.pop(key, None)
        if _leads_to_rows(pointer, n_rows):
            arrays[name] = pointer
        else:
            wanted = f"a pair of rows from 0 to {n_rows}"
            failures[key] = f"its pointer is not {wanted} but {_shown(pointer)}"
    pointers = np.array(list(arrays.values()), np.int64).reshape(-1, 2)
    order = np.argsort(pointers[:, 0], kind="stable")
    names = list(arrays)
    names = [names[at] for at in order.tolist()]
    starts, ends = pointers[order].T
    return _without_overlaps(names, starts, ends, failures), failures


def _label(key: Any) -> str:
    return key if isinstance(key, str) else f"({type(key).__name__}) {_shown(key)}"


def _shown(value: Any) -> str:
    # A dict that holds dicts may take for ever to print.
    return "a dict" if isinstance(value, list) else f"{value!r:.80}"


def _leads_to_rows(pointer: Any, n_rows: int) -> bool:
    if type(pointer) is not tuple or list(map(type, pointer)) != [int, int]:
        return False
    start, end = pointer
    return bool(0 <= start <= end <= n_rows)


def _without_overlaps(
    names: list[bytes], starts: Int64s, ends: Int64s, failures: dict[str, str]
) -> Entries:
    """Return arrays less those that have rows in common: bigarray wrote one over the other."""
    failed: set[int] = set()
    for pair in _overlaps(starts, ends):
        for at, other in (pair, pair[::-1]):
            failed.add(at)
            failures[names[at].decode()] = (
                f"its rows {starts[at]} to {ends[at]} overlap rows {starts[other]} to "
                f"{ends[other]} of {names[other].decode()!r:.80}: one was written over the other"
            )
    kept = np.delete(np.arange(len(starts)), list(failed))
    return Entries.of([names[at] for at in kept.tolist()], starts[kept], ends[kept])


def _overlaps(starts: Int64s, ends: Int64s) -> Iterator[tuple[int, int]]:
    """Yield pairs of overlapping ranges, sorted by start, such that each is in a pair."""
    filled = np.flatnonzero(starts < ends)
    starts, ends = starts[filled], ends[filled]
    highest = np.maximum.accumulate(ends)
    holders = np.maximum.accumulate(np.where(ends == highest, np.arange(len(ends)), 0))
    for at in np.flatnonzero(starts[1:] < highest[:-1]).tolist():
        yield int(filled[holders[at]]), int(filled[at + 1])


def transfer(source: File, source_start: int, target: File, nbytes: int, *, progress: bool) -> None:
    """Copy bytes of a file to the beginning of another one, of at least that size.

    Raises
    ------
    CorruptStoreError
        If the source ends before, as another process cut it short.
    """
    end = source_start + nbytes
    at = source_start
    with bar(total=nbytes, unit="B", progress=progress) as counter:
        while at < end:
            first, last = source.data_from(at, end)
            n_copied = 0
            if first < last:
                wanted = min(last - first, _STEP_NBYTES)
                n_copied = target.copy_from(source, first, first - source_start, wanted)
            if first + n_copied == at:
                break
            counter.update(first + n_copied - at)
            at = first + n_copied
    # Past the end of a file the system finds holes, too.
    n_there = source.stat().st_size
    if n_there < end:
        raise CorruptStoreError(
            f"{source.path} ended at byte {n_there} while it was read, not at {end}",
            path=source.path,
        )
