"""Writing a store as one tar archive, without its holes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format import index as index_format
from ptrarray.format import journal as journal_format
from ptrarray.format import tar
from ptrarray.format.index import STORE_ID_NBYTES, IndexHeader
from ptrarray.progress import bar
from ptrarray.rows.copying import cut
from ptrarray.storage.lifecycle.compaction import living_runs, moved_columns
from ptrarray.storage.lifecycle.verify import Damage
from ptrarray.storage.store.index import Columns, column_bytes
from ptrarray.storage.store.opened import State
from ptrarray.storage.store.recovery import fresh_header
from ptrarray.storage.store.snapshot import Snapshot, open_snapshot
from ptrarray.storage.system.mapping import Rows

Int64s = npt.NDArray[np.int64]
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
    runs = living_runs(state.layout, snapshot.starts, snapshot.ends)
    n_rows = int(np.sum(runs[1] - runs[0]))
    header, index = _index(
        replace(
            snapshot.header,
            generation=1,
            data_file=tar.DATA,
            mask_file=tar.MASK if state.layout.masked else None,
            n_rows=n_rows,
            n_reserved=n_rows,
            attrs=snapshot.attrs,
        ),
        moved_columns(snapshot.overlay.order.columns(), runs),
    )
    # With all on the disk, nobody asks on which machine.
    journal = journal_format.encode_fresh(fresh_header(header, bytes(16)))
    members = [
        _Member(tar.INDEX, sum(map(len, index)), iter(index)),
        _Member(tar.JOURNAL, len(journal), iter([journal])),
        _Member(tar.DATA, n_rows * state.layout.width, _living(state)),
    ]
    if state.mask is not None:
        width = state.layout.mask_width
        members.append(_Member(tar.MASK, n_rows * width, _pieces(state.mask, width, runs)))
    return members


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
    layout, snapshot = state.layout, state.snapshot
    starts, ends, crcs = snapshot.starts, snapshot.ends, snapshot.crcs
    reach = 0
    for low, high in cut((ends - starts) * layout.width, _PIECE_NBYTES):
        columns = (starts[low:high].tolist(), ends[low:high].tolist(), crcs[low:high].tolist())
        for position, (start, end, crc) in enumerate(zip(*columns, strict=True), low):
            found = state.crc(start, end, position)
            if found != crc:
                problem = f"CRC-32 {found:08x}, its pointer says {crc:08x}"
                raise _changed(snapshot, position, problem)
        firsts, lasts = living_runs(layout, starts[low:high], ends[low:high])
        yield from _pieces(state.data, layout.width, (np.maximum(firsts, reach), lasts))
        reach = int(max(reach, lasts.max(initial=0)))


def _pieces(rows: Rows, width: int, runs: tuple[Int64s, Int64s]) -> Iterator[memoryview]:
    """Yield the bytes of runs of rows."""
    if not rows.nbytes:
        return
    raw = memoryview(rows.reshape(-1).view(np.uint8))
    for start, end in zip(*(column.tolist() for column in runs), strict=True):
        for at in range(start * width, end * width, _PIECE_NBYTES):
            yield raw[at : min(at + _PIECE_NBYTES, end * width)]
        # The last run may be raised to where an array could begin, past the rows there are.
        yield memoryview(bytes(max(0, (end - max(start, len(rows))) * width)))


def _changed(snapshot: Snapshot, position: int, problem: str) -> StoreError:
    """Return the error for an array that does not match its checksum."""
    raw_name, path = snapshot.name(position), snapshot.data_path
    name = raw_name.decode(errors="backslashreplace")
    start, end = snapshot.pointer(position)
    what = f"has array {name!r:.80}, rows {start} to {end}, that has {problem}"
    if open_snapshot(snapshot.directory).find(raw_name) == (start, end):
        damage = Damage(path, what, name, start, end)
        return CorruptStoreError(f"{path} {what}", path=path, damage=(damage,))
    # A writer may put other arrays at the rows of one that was deleted.
    return StoreError(
        f"{path} {what}: it was deleted or replaced and its rows written anew while the "
        "store was packed: pack it again",
        path=path,
    )
