"""Writing a store as one tar archive, without its holes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from ptrarray.copying import cut
from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format import index as index_format
from ptrarray.format import journal as journal_format
from ptrarray.format import tar
from ptrarray.format.index import STORE_ID_NBYTES, IndexHeader
from ptrarray.pointers import merge_runs
from ptrarray.progress import bar
from ptrarray.storage.compaction import moved
from ptrarray.storage.create import fresh_state
from ptrarray.storage.index import Columns, column_bytes
from ptrarray.storage.mapping import row_nbytes
from ptrarray.storage.snapshot import open_snapshot
from ptrarray.storage.state import State
from ptrarray.storage.verify import Damage

Write = Callable[[Any], None]

_PIECE_NBYTES = 1 << 22


class _Member(NamedTuple):
    """A file to be packed, in pieces."""

    name: str
    nbytes: int
    pieces: Iterator[Any]


def write_pack(state: State, write: Write, *, progress: bool = False) -> None:
    """Write a store as it is in a snapshot, its living rows end to end.

    Parameters
    ----------
    state : State
        The snapshot and its rows.
    write : callable
        Takes all of a buffer.

    Raises
    ------
    CorruptStoreError
        At the first array that does not match its checksum; none of its rows
        are written.
    """
    pack = state.snapshot.index.pack
    folder = pack.folder if pack else state.snapshot.directory.name
    members = _members(state)
    total, n_written = sum(member.nbytes for member in members), 0
    with bar(total=total, unit="B", unit_scale=True, progress=progress) as counter:
        for name, nbytes, pieces in members:
            head = tar.header(folder or "store.ptr", name, nbytes)
            padding = bytes(tar.padding(nbytes))
            write(head)
            for piece in pieces:
                write(piece)
                counter.update(len(piece))
            write(padding)
            n_written += len(head) + nbytes + len(padding)
    write(tar.trailer(n_written))


def _members(state: State) -> list[_Member]:
    """Return the files of the store as if it had been compacted just now."""
    snapshot = state.snapshot
    snapshot.index.check()  # what is wrong must not be copied
    snapshot.check_pointers()
    columns = snapshot.overlay.order.columns()
    runs = merge_runs(columns.starts, columns.ends)
    starts, ends = moved(columns.starts, runs), moved(columns.ends, runs)
    n_rows = int(np.sum(runs[1] - runs[0]))
    header, index = _index(
        replace(
            snapshot.header,
            generation=1,
            data_file="data.bin",
            n_rows=n_rows,
            n_reserved=n_rows,
            attrs=snapshot.attrs,
        ),
        columns._replace(starts=starts, ends=ends),
    )
    # With all on the disk, nobody asks on which machine.
    journal = journal_format.encode_fresh(fresh_state(header)._replace(boot_id=bytes(16)))
    data_nbytes = n_rows * row_nbytes(header.dtype, header.row_shape)
    return [
        _Member(tar.INDEX, sum(map(len, index)), iter(index)),
        _Member(tar.JOURNAL, len(journal), iter([journal])),
        _Member(header.data_file, data_nbytes, _living(state)),
    ]


def _index(header: IndexHeader, columns: Columns) -> tuple[IndexHeader, list[Any]]:
    """Encode an index whose store id depends on nothing but what is in the store.

    So packs of the same content are the same, and never taken for the store
    that was packed, whose rows are elsewhere.
    """
    header, contents = column_bytes(replace(header, store_id=bytes(STORE_ID_NBYTES)), columns)
    head = next(index_format.encode(header, contents))  # has the checksums of all columns
    header = replace(header, store_id=blake2b(head, digest_size=STORE_ID_NBYTES).digest())
    return header, list(index_format.encode(header, contents))


def _living(state: State) -> Iterator[memoryview]:
    """Yield the rows of all arrays, each once, in order, when their arrays were checked."""
    width = row_nbytes(state.rows.dtype, state.rows.shape[1:])
    if not state.rows.nbytes:
        return
    raw = memoryview(state.rows.reshape(-1).view(np.uint8))
    starts, ends = state.snapshot.starts, state.snapshot.ends
    reach = 0
    for low, high in cut((ends - starts) * width, _PIECE_NBYTES):
        for position in range(low, high):
            _check(state, raw, position, width)
        runs = merge_runs(starts[low:high], ends[low:high])
        for start, end in zip(*(column.tolist() for column in runs), strict=True):
            for at in range(max(start, reach) * width, end * width, _PIECE_NBYTES):
                yield raw[at : min(at + _PIECE_NBYTES, end * width)]
            reach = max(reach, end)


def _check(state: State, raw: memoryview, position: int, width: int) -> None:
    """Compare an array with its checksum."""
    snapshot = state.snapshot
    start, end, crc = (
        int(column[position]) for column in (snapshot.starts, snapshot.ends, snapshot.crcs)
    )
    found = crc32(raw[start * width : end * width])
    if found == crc:
        return
    raw_name = snapshot.name(position)
    name = raw_name.decode(errors="backslashreplace")
    what = f"has array {name!r:.80}, rows {start} to {end}, with CRC-32 {found:08x}, not {crc:08x}"
    path = snapshot.data_path
    if open_snapshot(snapshot.directory).find(raw_name) != (start, end):
        # A writer may put other arrays at the rows of one that was deleted.
        raise StoreError(
            f"{path} {what}: it was deleted or replaced and its rows written anew while the "
            "store was packed: pack it again",
            path=path,
        )
    damage = Damage(path, what, name, start, end)
    raise CorruptStoreError(f"{path} {what}", path=path, damage=(damage,))
