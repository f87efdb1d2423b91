"""The data file of a store, and the mask file beside it, open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ptrarray.format import infos
from ptrarray.format.checksum import crc32
from ptrarray.format.index import IndexHeader, corrupt
from ptrarray.format.layouts import MIXED
from ptrarray.intake.batch import Batch
from ptrarray.storage.system.files import IOV_MAX, READ, File
from ptrarray.storage.system.lock import CHANGING, WRITING, hold, is_held
from ptrarray.storage.system.mapping import check_size
from ptrarray.storage.system.parts import open_part
from ptrarray.storage.system.pread import PreadRows
from ptrarray.storage.system.rights import Rights
from ptrarray.storage.system.writeback import WriteBack

_READ_NBYTES = 1 << 24


class Content:
    """What the arrays of a store are made of, as files.

    Those that it makes get the rights of others, `like`, if they are given.

    Attributes
    ----------
    layout : Layout
        Of the store.
    data : File
        The data file.
    mask : File or None
        The mask file, of a store that keeps masks.
    files : list of (File, int)
        All of them, and the bytes that each has for a row.
    writeback : WriteBack or None
        What has the disk take rows while more are written; None where nobody is going to wait
        for that.
    """

    writeback: WriteBack | None = None

    def __init__(
        self, directory: Path, header: IndexHeader, flags: int = READ, like: Sequence[Rights] = ()
    ) -> None:
        self.layout = header.layout
        self._is_sealed = bool(header.sealed)
        self._n_rows = header.n_rows  # of the index
        self.data = _opened(directory, header.data_file, flags, *like[:1])
        self.mask: File | None = None
        if header.mask_file is not None:
            try:
                self.mask = _opened(directory, header.mask_file, flags, *like[-1:])
            except BaseException:
                self.data.close()
                raise
        self.files = [(self.data, self.layout.width)]
        if self.mask is not None:
            self.files.append((self.mask, self.layout.mask_width))

    @property
    def rights(self) -> Sequence[Rights]:
        """Rights of the files when they were opened."""
        return [file.as_opened for file, _ in self.files]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for file, _ in self.files:
            file.close()

    def check_size(self, n_rows: int) -> None:
        """Raise `CorruptStoreError` if a file is too short for so many rows."""
        check_size(self.data.path, self.data.nbytes, n_rows, self.layout.width)
        if self.mask is not None:
            nbytes = self.mask.nbytes
            n_mask_rows = self.layout.n_mask_rows(n_rows, nbytes)
            check_size(self.mask.path, nbytes, n_mask_rows, self.layout.mask_width)

    def extend_masks(self, n_rows: int) -> None:
        """Have the mask file reach to so many rows, if it has only masks that lie end to end.

        Under the lock, before anybody writes masks to it.
        """
        if self.mask is not None and self._ends_early:
            self.mask.truncate(self._mask_byte(n_rows))

    @property
    def _ends_early(self) -> bool:
        """Whether the mask file has only masks that lie end to end: nothing else is masked."""
        mask = self.mask
        return mask is not None and self.layout.ends_early(self._n_rows, mask.nbytes)

    def _mask_byte(self, row: int) -> int:
        """Byte of the mask file where the masks of rows from `row` on lie."""
        return self.layout.mask_start + row * self.layout.mask_width

    def holds(self, start: int, end: int) -> bool:
        """Return whether the files reach to the end of these rows."""
        if start == end:
            return True
        if end * self.layout.width > self.data.nbytes:
            return False
        return self.mask is None or self._ends_early or self._mask_byte(end) <= self.mask.nbytes

    def truncate(self, n_rows: int) -> None:
        """Set the number of rows that new files reach to: a hole.

        Where masks lie end to end, the mask file has those only.
        """
        self.data.truncate(n_rows * self.layout.width)
        if self.mask is not None:
            packed = self.layout.packed_masks
            self.mask.truncate(n_rows * self.layout.mask_width if packed is None else packed)

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        for file, _ in self.files:
            file.sync()

    def hold_for_writing(self) -> None:
        """Let others see that a writer lives, and that what it found has been settled.

        Not in a sealed store, whose data file may be that of another store, too.
        """
        if not self._is_sealed:
            hold(self.data, WRITING)

    def mask_bytes(self) -> PreadRows:
        """Return the bytes of the mask file, to be read when they are asked for."""
        assert self.mask is not None
        nbytes = self.mask.nbytes
        shape = (self.layout.mask_start if self._ends_early else nbytes,)
        return PreadRows(self.mask, np.dtype(np.uint8), shape, self.mask.start_byte)

    @property
    def has_writer(self) -> bool:
        """Whether a writer is known to live: then the machine runs since it opened the store."""
        return not self._is_sealed and is_held(self.data, WRITING) is True

    @property
    def may_be_changed(self) -> bool:
        """Whether views may be left that change rows, unless it is known that there are none."""
        return is_held(self.data, CHANGING) is not False

    def crc(self, start: int, end: int, info: bytes = b"") -> int:
        """CRC-32 of an array's rows and of its mask, as far as the files go."""
        width = self.layout.width
        crc = _file_crc(self.data, start * width, end * width, 0)
        if self.mask is None:
            return crc
        try:
            first, last = infos.mask_span(self.layout, start, end, info)
        except ValueError as error:
            raise corrupt(self.mask.path, f"has for rows {start} to {end} {error}") from error
        if self._ends_early and first >= self.layout.mask_start:
            return _crc_of_zeros(last - first, crc)
        return _file_crc(self.mask, first, last, crc)

    def write(self, data: File, batch: Batch, start: int) -> None:
        """Write arrays that begin at row `start`, and their masks, before they are committed.

        `data` is the data file, or the same as a claim has opened it.
        """
        width = self.layout.width
        pwritev = data.pwritev if self.writeback is None else self.writeback.onto(data)
        if batch.is_staged:
            end_byte = start * width
            for piece in batch.staged(batch.n_rows * width):
                end_byte = pwritev([piece], end_byte, [piece.nbytes])
            return  # such a store keeps no masks
        is_one_call = 0 < len(batch.buffers) <= IOV_MAX
        sizes = [batch.n_rows * width] if is_one_call else batch.sizes(IOV_MAX, width)
        pwritev(batch.buffers, start * width, sizes)
        if self.mask is not None:
            self._write_masks(self.mask, batch, start)

    def _write_masks(self, mask: File, batch: Batch, start: int) -> None:
        """Write masks, and have the mask file reach as far as the rows do."""
        first, end = self._mask_byte(start), self._mask_byte(start + batch.n_rows)
        if not batch.has_masks and mask.nbytes <= first:
            pass  # a hole in the file says the same
        elif self.layout.kind != MIXED:
            pwritev = mask.pwritev if self.writeback is None else self.writeback.onto(mask)
            pwritev(batch.masks, first)
        else:
            for piece, offset in zip(batch.masks, batch.offsets, strict=False):
                mask.pwritev([piece], first + offset)
        if mask.nbytes < end and batch.n_rows:
            # By writing, for another process may be writing further on.
            mask.pwrite(b"\0", end - 1)

    def clear_masks(self, start: int, end: int) -> None:
        """Set masks aside on the disk that say nothing is masked."""
        if self.mask is not None:
            clear(self.mask, self._mask_byte(start), self._mask_byte(end))


def clear(file: File, start_byte: int, end_byte: int) -> None:
    """Have the disk set bytes aside, all zero, for what will be written there."""
    if start_byte < end_byte:
        used_end = min(file.nbytes, end_byte)
        file.write_zeros(start_byte, used_end - start_byte)
        file.allocate(start_byte, end_byte - start_byte)


def _opened(directory: Path, name: str, flags: int, like: Rights | None = None) -> File:
    path = f"{directory}/{name}"
    file: Any  # one that lies elsewhere is only read
    try:
        file = open_part(directory, name)[0] if flags == READ else File(path, flags, like)
        return file  # type: ignore[no-any-return]
    except FileNotFoundError as error:
        raise corrupt(path, "is missing") from error


def _file_crc(file: File, start_byte: int, end_byte: int, crc: int) -> int:
    for at in range(start_byte, min(end_byte, file.nbytes), _READ_NBYTES):
        crc = crc32(file.pread(min(_READ_NBYTES, end_byte - at), at), crc)
    return crc


def _crc_of_zeros(nbytes: int, crc: int) -> int:
    for at in range(0, nbytes, _READ_NBYTES):
        crc = crc32(bytes(min(_READ_NBYTES, nbytes - at)), crc)
    return crc
