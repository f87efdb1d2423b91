"""Writing a store as one tar archive, without its holes."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import CorruptStoreError, StoreError
from ptrarray.format import index as index_format
from ptrarray.format import journal as journal_format
from ptrarray.format import tar
from ptrarray.format.entries import Entries
from ptrarray.format.helpers import FOLDER
from ptrarray.format.index import STORE_ID_NBYTES, IndexHeader
from ptrarray.format.layouts import MIXED
from ptrarray.progress import bar
from ptrarray.rows.copying import cut
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.compaction import living_runs, moved_columns, named, only
from ptrarray.storage.lifecycle.masks import PackedMasks
from ptrarray.storage.lifecycle.verify import array_damage
from ptrarray.storage.store.index import column_bytes
from ptrarray.storage.store.opened import OpenedStore
from ptrarray.storage.store.recovery import fresh_header
from ptrarray.storage.store.snapshot import StoreSnapshot, open_snapshot
from ptrarray.storage.system.pread import FileRows, viewed

Write = Callable[[Any], None]

_PIECE_NBYTES = 1 << 22


class Member(NamedTuple):
    """A file to be packed.

    Attributes
    ----------
    name : str
        Its name.
    nbytes : int
        Its size.
    put : callable
        Given a function that takes all of a buffer, gives it all bytes of the file.
    """

    name: str
    nbytes: int
    put: Callable[[Write], object]

    @classmethod
    def of(cls, name: str, nbytes: int, pieces: Iterable[Any]) -> Member:
        """Make a file of its pieces."""

        def put(write: Write) -> None:
            for piece in pieces:
                write(piece)

        return cls(name, nbytes, put)


def write_pack(
    opened: OpenedStore,
    write: Write,
    helpers: OpenedStore | None = None,
    needed: Container[bytes] = (),
    *,
    progress: bool = False,
) -> None:
    """Write a store as it is in a snapshot, its living rows end to end.

    Parameters
    ----------
    opened : OpenedStore
        The snapshot and its rows.
    helpers : OpenedStore, optional
        The helper arrays beside it.
    needed : set of bytes
        Names of those that go into the pack.
    write : callable
        Takes all of a buffer.

    Raises
    ------
    CorruptStoreError
        At the first array that does not match its checksum; none of its rows
        are written.
    """
    pack = opened.snapshot.index.pack
    folder = pack.folder if pack else opened.snapshot.directory.name
    members = _members(opened)
    if helpers is not None:
        inner = _members(helpers, needed)
        members += [member._replace(name=f"{FOLDER}/{member.name}") for member in inner]
    write_members(folder or "store.ptr", members, write, progress=progress)


def write_members(
    folder: str, members: Sequence[Member], write: Write, *, progress: bool = False
) -> None:
    """Write the files of a store, in one folder, as an archive."""
    total, n_written = sum(member.nbytes for member in members), 0
    with bar(total=total, unit="B", progress=progress) as counter:

        def counted(piece: Any) -> None:
            write(piece)
            counter.update(len(piece))

        for name, nbytes, put in members:
            head = tar.header(folder, name, nbytes)
            padding = bytes(tar.padding(nbytes))
            write(head)
            put(counted)
            write(padding)
            n_written += len(head) + nbytes + len(padding)
    write(tar.trailer(n_written))


def _members(opened: OpenedStore, names: Container[bytes] | None = None) -> list[Member]:
    """Return the files of the store as if it had been compacted just now; of some names, if any."""
    snapshot = opened.snapshot
    snapshot.index.check()  # what is wrong must not be copied
    snapshot.check_pointers()
    columns, masks, kept = snapshot.overlay.folded(), None, None
    if names is not None:
        kept = named(columns, names)
        columns = only(columns, kept)
    runs = living_runs(opened.layout, columns.starts, columns.ends)
    n_rows = int(np.sum(runs[1] - runs[0]))
    if opened.mask is not None and opened.layout.kind == MIXED:
        blocks = [columns]
        masks = PackedMasks(opened.layout, lambda: blocks, opened.mask, snapshot.index.path)
        columns = masks.packing()(columns)
    first = first_members(
        replace(
            snapshot.header,
            generation=1,
            data_file=tar.DATA,
            mask_file=tar.MASK if opened.layout.masked else None,
            packed_masks=masks.nbytes if masks else None,
            n_rows=n_rows,
            n_reserved=n_rows,
            attrs=snapshot.attrs,
            sealed=None,  # a file of its own
        ),
        moved_columns(columns, runs),
    )
    members = [*first, Member.of(tar.DATA, n_rows * opened.layout.width, _living(opened, kept))]
    if masks is not None:
        members.append(Member.of(tar.MASK, masks.nbytes, masks.pieces()))
    elif opened.mask is not None:
        width = opened.layout.mask_width
        members.append(Member.of(tar.MASK, n_rows * width, _pieces(opened.mask, width, runs)))
    return members


def first_members(header: IndexHeader, columns: Entries) -> list[Member]:
    """Return the index and the journal of a pack.

    Their store id depends on nothing but what is in the store. So packs of the
    same content are the same, and never taken for the store that was packed,
    whose rows are elsewhere.
    """
    header, contents = column_bytes(replace(header, store_id=bytes(STORE_ID_NBYTES)), columns)
    head = next(index_format.encode(header, contents))  # has the checksums of all columns
    header = replace(header, store_id=blake2b(head, digest_size=STORE_ID_NBYTES).digest())
    index = list(index_format.encode(header, contents))
    # With all on the disk, nobody asks on which machine.
    journal = journal_format.encode_fresh(fresh_header(header, bytes(16)))
    return [
        Member.of(tar.INDEX, sum(map(len, index)), index),
        Member.of(tar.JOURNAL, len(journal), [journal]),
    ]


def _living(opened: OpenedStore, kept: list[int] | None) -> Iterator[memoryview]:
    """Yield the rows of all or some arrays, each once, in order, when their arrays were checked."""
    layout, snapshot = opened.layout, opened.snapshot
    starts, ends, crcs = snapshot.starts, snapshot.ends, snapshot.crcs
    positions: Sequence[int] = range(len(starts))
    if kept is not None:
        positions, starts, ends, crcs = kept, starts[kept], ends[kept], crcs[kept]
    reach = 0
    for low, high in cut((ends - starts) * layout.width, _PIECE_NBYTES):
        columns = (starts[low:high].tolist(), ends[low:high].tolist(), crcs[low:high].tolist())
        some = positions[low:high]
        for position, start, end, crc in zip(some, *columns, strict=True):
            found = opened.crc(start, end, position)
            if found != crc:
                clause = f"that has CRC-32 {found:08x}, its pointer says {crc:08x}"
                raise _changed(snapshot, position, clause)
        firsts, lasts = living_runs(layout, starts[low:high], ends[low:high])
        yield from _pieces(opened.data, layout.width, (np.maximum(firsts, reach), lasts))
        reach = int(max(reach, lasts.max(initial=0)))


def _pieces(rows: FileRows, width: int, runs: tuple[Int64s, Int64s]) -> Iterator[memoryview]:
    """Yield the bytes of runs of rows."""
    if not rows.nbytes:
        return
    raw = viewed(rows, np.dtype(np.uint8), (rows.nbytes,))
    for start, end in zip(*(column.tolist() for column in runs), strict=True):
        for at in range(start * width, end * width, _PIECE_NBYTES):
            yield memoryview(raw[at : min(at + _PIECE_NBYTES, end * width)])
        # The last run may be raised to where an array could begin, past the rows there are.
        yield memoryview(bytes(max(0, (end - max(start, len(rows))) * width)))


def _changed(snapshot: StoreSnapshot, position: int, clause: str) -> StoreError:
    """Return the error for an array that does not match its checksum."""
    name, path = snapshot.name(position), snapshot.data_path
    pointer = snapshot.pointer(position)
    damage = array_damage(path, name, *pointer, clause)
    what = damage.problem
    if open_snapshot(snapshot.directory).find(name) == pointer:
        return CorruptStoreError(f"{path} {what}", path=path, damage=(damage,))
    # A writer may put other arrays at the rows of one that was deleted.
    return StoreError(
        f"{path} {what}: it was deleted or replaced and its rows written anew while the "
        "store was packed: pack it again",
        path=path,
    )
