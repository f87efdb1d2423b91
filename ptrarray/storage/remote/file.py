"""A file that is read elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from ptrarray.errors import RemoteError
from ptrarray.format.index import corrupt
from ptrarray.rows.types import Int64s, Read, UInt8s
from ptrarray.storage.remote.faults import Fault, error_of
from ptrarray.storage.remote.objects import Buffer
from ptrarray.storage.remote.ranges import PIECE_NBYTES, grouped, in_turn, window_nbytes
from ptrarray.storage.remote.transfer import Facts, Transfer

if TYPE_CHECKING:
    from ptrarray.storage.remote.cache import Blocks

# What is read of a file at first: of most files of a store, all that is ever read of it.
HEAD_NBYTES = 64 << 10

_PAST = 416  # the status of a range that begins where a file has ended


def _nothing(_: Buffer) -> None:
    """Make nothing of what came to where it belongs."""


class RemoteFile:
    """A file that lies elsewhere, open for reading: what `File` is for those of this machine.

    Attributes
    ----------
    path : str
        Its URL, for messages.
    place : os.PathLike
        The same as a path that leads there.
    start_byte : int
        Where the part of it that this is begins.
    """

    def __init__(self, place: Any, key: str, transfer: Transfer) -> None:
        self.path, self.place = str(place), place
        self.start_byte = 0
        self._nbytes: int | None = None
        self._key, self._transfer = key, transfer
        self._facts: Facts | None = None
        self._head: Buffer = b""
        self._kept: Blocks | None = None
        self._least_nbytes = 0
        self._settle: Callable[[], object] | None = None
        self._lock = Lock()

    def read_head(self) -> None:
        """Read the beginning of the file, and with it what is known of it from now on."""
        if self._facts is None:
            begun = self._transfer.asked_ahead(self._key)
            answer = (
                begun.result() if begun else self._transfer.read(self._key, 0, HEAD_NBYTES, None)
            )
            self._head, self._facts = answer.raw, Facts(answer.nbytes, answer.tag)

    def expect(self, nbytes: int, settle: Callable[[], object]) -> None:
        """Have so many bytes at least when the file is first read, which is not now.

        Parameters
        ----------
        nbytes : int
            The bytes.
        settle : callable
            Raises `StoreChangedError` if what led here is not there any more. Called once after
            the first read, unless what comes is compared with something that was there before.
        """
        self._least_nbytes, self._settle = nbytes, settle

    def again(self) -> RemoteFile:
        """Return the same file, open once more: what is known of it is not asked for again."""
        file = RemoteFile(self.place, self._key, self._transfer)
        file._facts, file._head = self._facts, self._head
        return file

    @property
    def facts(self) -> Facts:
        """Size and tag of the file."""
        self.read_head()
        assert self._facts is not None
        return self._facts

    @property
    def nbytes(self) -> int:
        """Size of the file, or of the part of it that this is."""
        return self.facts.nbytes if self._nbytes is None else self._nbytes

    @property
    def n_here(self) -> int:
        """How many of its first bytes came when it was opened."""
        return max(0, min(len(self._head) - self.start_byte, self.nbytes))

    opened_nbytes = nbytes

    @property
    def gap_nbytes(self) -> int:
        """Ranges closer together than this are better read as one."""
        return self._transfer.gap_nbytes

    @property
    def identity(self) -> Any:
        """Tells the content from any other."""
        return self.facts

    @property
    def version(self) -> tuple[Any, ...]:
        """Others when the file has changed, as of its opening."""
        return tuple(self.facts)

    def is_in_place(self) -> bool:
        """Tell whether what is there now is still what was read, if anything was."""
        try:
            return self._facts is None or self.place.identity() == self.identity
        except FileNotFoundError:
            return False

    def keep(self, *, is_data: bool = False) -> None:
        """Have what is read from now on kept, and look there before, if the caller wants a cache."""
        cache = self._transfer.cache
        if cache is not None and (cache.has_data or not is_data):
            nbytes, tag = self.facts
            self._kept = cache.blocks_of(self.path, nbytes, tag, self._head, is_data=is_data)

    def narrow(self, start_byte: int, nbytes: int) -> None:
        """Be only a part of the file from now on: bytes count from its start."""
        self.start_byte, self._nbytes = start_byte, nbytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing, as there is nothing to close."""

    def keep_in_child(self) -> None:
        """Stay open in children of a fork, which it does in any case."""

    def pread(self, nbytes: int, start_byte: int) -> bytes:
        """Read up to `nbytes`; fewer only at the end of the file."""
        if self._nbytes is not None:
            nbytes = max(0, min(nbytes, self._nbytes - start_byte))
            start_byte += self.start_byte
        end_byte = min(start_byte + nbytes, self.facts.nbytes)
        if end_byte <= len(self._head):
            return bytes(self._head[start_byte:end_byte])
        raw = bytearray(max(end_byte - start_byte, 0))
        self.preadv(memoryview(raw), start_byte)
        return bytes(raw)

    def preadv(self, buffer: Buffer, start_byte: int) -> int:
        """Read into a buffer of bytes until it is full; less only at the end of the file."""
        return self.preadv_all([(memoryview(buffer), start_byte)])

    def preadv_all(self, asked: Sequence[tuple[memoryview, int]]) -> int:
        """Read into several buffers at once, each from its byte of the whole file on.

        Returns
        -------
        int
            Bytes read; fewer than there is room for where the file ends before.
        """
        pieces = [
            (buffer[at : at + PIECE_NBYTES], start + at)
            for buffer, start in asked
            for at in range(0, len(buffer), PIECE_NBYTES)
        ]
        reads = (self._read_into(into, at, len) for into, at in pieces)
        return sum(self.in_turn(reads))

    def reads(
        self,
        to: UInt8s,
        starts: Int64s,
        ends: Int64s,
        places: Int64s,
        *,
        is_ours: bool = False,
        is_compared: bool = False,
    ) -> Iterator[Read]:
        """Return what copies ranges of the whole file, which have to lie in it; neighbours as one.

        Parameters
        ----------
        to : ndarray of uint8
            Where they go.
        starts, ends, places : ndarray of int64, shape (n,)
            Bytes of each range, in any order, and its first byte in `to`.
        is_ours : bool
            Whether nobody else has `to` before all has come, so that other threads may write to
            it, also after an error.
        is_compared : bool
            Whether what comes will be compared with checksums.
        """
        bytes_of = partial(self._bytes, is_compared=is_compared)
        for group in grouped(starts, ends, places, self._transfer.gap_nbytes):
            if is_ours and len(group.places) == 1:
                at = int(group.places[0])
                into = memoryview(to[at : at + group.nbytes])
                yield Read(len(into), partial(bytes_of, group.start, group.end, into), _nothing)
                continue
            read = partial(bytes_of, group.start, group.end)
            yield Read(group.nbytes, read, partial(group.copy_apart, to))

    def in_turn(self, reads: Iterable[Read], *, grow: bool = False) -> Iterator[Any]:
        """Yield what is made of reads, of this file and of others beside it, in their order."""
        return in_turn(reads, self._transfer, grow=grow)

    @property
    def ahead_nbytes(self) -> int:
        """Bytes that are best asked for before any of them is there."""
        return window_nbytes(self._transfer)

    def _read_into(
        self, to: memoryview, start_byte: int, use: Callable[[Buffer], Any] = _nothing
    ) -> Read:
        return Read(len(to), partial(self._bytes, start_byte, start_byte + len(to), to), use)

    def _bytes(
        self,
        start_byte: int,
        end_byte: int,
        to: memoryview | None = None,
        *,
        is_compared: bool = False,
    ) -> Buffer:
        if self._kept is not None:
            return self._kept.read(start_byte, end_byte, to, self._asked)
        raw = self._asked(start_byte, end_byte, to)
        if self._settle is not None and not is_compared:
            self._be_settled()
        return raw

    def _asked(self, start_byte: int, end_byte: int, to: memoryview | None) -> Buffer:
        known, settle = self._facts, self._settle
        try:
            answer = self._transfer.read(self._key, start_byte, end_byte, known, to)
        except FileNotFoundError as error:
            if settle is None:
                raise
            settle()
            raise corrupt(self.path, "is missing") from error
        except RemoteError as error:
            if known is not None or settle is None or error.status != _PAST:
                raise
            settle()
            raise corrupt(self.path, f"ends before byte {start_byte}: it is cut short") from error
        if known is None:
            self._know(Facts(answer.nbytes, answer.tag), start_byte, end_byte)
        return answer.raw

    def _know(self, found: Facts, start_byte: int, end_byte: int) -> None:
        """Take what a first answer says for what the file is; of several, all have to say the same."""
        if found.nbytes < self._least_nbytes:
            settle = self._settle
            if settle is not None:
                settle()
            what = f"has {found.nbytes} bytes, {self._least_nbytes} are needed"
            raise corrupt(self.path, f"{what}: it is cut short")
        with self._lock:
            self._facts = self._facts or found
        if self._facts != found:
            fault = Fault("changed", "its size or ETag is another one")
            raise error_of(fault, self.path, start_byte, end_byte, is_known=True)

    def _be_settled(self) -> None:
        with self._lock:
            if self._settle is not None:
                self._settle()
                self._settle = None

    def advise(self, start_byte: int, nbytes: int) -> None:
        """Do nothing: who needs much at once asks for it at once."""
