"""Making a store of a file of rows that is there: the file gets one more name, and an index beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.format import journal as journal_format
from ptrarray.format.checksums import crc32_each
from ptrarray.format.entries import Entries
from ptrarray.format.index import IndexHeader
from ptrarray.reductions.blocks import in_parallel
from ptrarray.rows.copying import cut
from ptrarray.rows.types import UInt8s
from ptrarray.storage.lifecycle.create import taken
from ptrarray.storage.store import journal
from ptrarray.storage.store.blocks import Contents, Sizes
from ptrarray.storage.store.index import write_index
from ptrarray.storage.store.recovery import fresh_header
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_directory
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import check_new_lock
from ptrarray.storage.system.mapping import forget, map_or_read

_BLOCK_NAMES = 50_000
_BLOCK_NBYTES = 16 << 20
_FORGOTTEN_NBYTES = 1 << 28  # of the file that may be in memory
_NAMES_NBYTES = 1 << 29  # of memory, for the name table


class Arrays(NamedTuple):
    """The arrays of a file of rows.

    Attributes
    ----------
    sizes : Sizes
        How much their index has.
    part : callable
        Given a slice of their positions, returns these in data order; their checksums mean nothing.
        Called in several threads.
    """

    sizes: Sizes
    part: Callable[[slice], Entries]


def adopt_store(
    directory: Path, header: IndexHeader, source: Path, arrays: Arrays, *, keep: bool
) -> None:
    """Make a store whose data file is one that is there, on the disk; it appears all at once.

    Parameters
    ----------
    directory : Path
        Where.
    header : IndexHeader
        Its facts. It becomes sealed, if the file keeps another name.
    source : Path
        The file, no link, on the same file system. It is read once, and not changed.
    arrays : Arrays
        What is in it.
    keep : bool
        Whether its name stays. Else it goes when the store is on the disk: whoever is killed before
        leaves both.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    BadInputError
        If the file is shorter than the rows that there are to be.
    CorruptStoreError
        If it becomes shorter meanwhile.
    OSError
        Where the file cannot have one more name, as on another file system.
    """
    with new_directory(directory, taken) as building:
        files.link(source, building / header.data_file)
        with File(building / header.data_file) as file:
            _check_size(file, header, source)
            others = 1 if keep else 2  # names, beside that of the store
            header = replace(header, sealed=True if file.n_names > others else None)
            _make_journal(building, header)
            write_index(building, header, _contents(file, building, header, arrays))
            if file.nbytes != file.as_opened.st_size:
                raise CorruptStoreError(f"{source} was changed meanwhile", path=str(source))
            # The rows are somebody else's work, and nobody knows whether they are on the disk.
            file.sync()
    if not keep:
        files.unlink(source)
        files.sync_directory(source.parent)


def _check_size(file: File, header: IndexHeader, source: Path) -> None:
    nbytes = header.n_rows * header.layout.width
    if file.nbytes < nbytes:
        raise BadInputError(
            f"{source} has {file.nbytes} bytes, and its arrays end at byte {nbytes}",
            path=str(source),
            found=file.nbytes,
            expected=nbytes,
        )


def _make_journal(building: Path, header: IndexHeader) -> None:
    with File(building / journal.FILE_NAME, files.MAKE) as file:
        fresh = fresh_header(header, files.boot_id())
        file.pwrite(journal_format.encode_fresh(fresh), 0)
        check_new_lock(file)
        file.sync()


def _contents(file: File, building: Path, header: IndexHeader, arrays: Arrays) -> Contents:
    """Return the contents of the index: names and checksums are made in threads, some at a time."""
    blocks = _summed(file, header.layout.width, arrays)
    return Contents.hashed(arrays.sizes, blocks, building, _NAMES_NBYTES)


def _summed(file: File, width: int, arrays: Arrays) -> Iterator[Entries]:
    mapped = map_or_read(file)
    raw = np.frombuffer(mapped, np.uint8)
    n_arrays = arrays.sizes.n_arrays
    slices = [
        slice(at, min(at + _BLOCK_NAMES, n_arrays)) for at in range(0, n_arrays, _BLOCK_NAMES)
    ]
    n_read = 0
    for block in in_parallel(partial(_sum, raw, width, arrays), slices):
        yield block
        n_read += int((block.ends - block.starts).sum()) * width
        if n_read > _FORGOTTEN_NBYTES:
            forget(mapped)
            n_read = 0


def _sum(raw: UInt8s, width: int, arrays: Arrays, some: slice) -> Entries:
    block = arrays.part(some)
    starts, ends = block.starts * width, block.ends * width
    # An empty array may begin anywhere, and has no bytes there.
    is_empty = starts == ends
    starts[is_empty] = ends[is_empty] = 0
    crcs = np.empty(len(starts), np.uint32)
    for low, high in cut(ends - starts, _BLOCK_NBYTES):
        crcs[low:high] = crc32_each(raw, starts[low:high], ends[low:high])
    return block._replace(crcs=crcs)
