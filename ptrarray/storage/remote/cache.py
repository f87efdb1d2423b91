"""Blocks of files that lie elsewhere, kept in a folder of this machine, for later and for others.

A file elsewhere is known by its URL, size, tag and first bytes, which are asked for each time it is
opened. Those of an index have the checksums of all of it in them, of which one is that of the checksums
of all arrays; so for rows they count, too. All of that makes the names of files in the folder: what was
kept of another content is never found.

Each file has room for some blocks that follow each other, and a mark for each block, which says that
it is there and has its CRC-32. Processes write to it without a lock: the same bytes to the same
places, the mark last. What is torn, cut short or changed does not match its mark, and is as if it were
not there. So is a file of another user, who could make marks that match, or read what is written to
it; unless the folder is that user's, who could do anything to it. No file is renamed, locked or kept open.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ptrarray.format.checksum import crc32
from ptrarray.storage.remote import objects
from ptrarray.storage.remote.objects import Buffer
from ptrarray.storage.remote.options import Caching

BLOCK_NBYTES = objects.BLOCK_NBYTES
_LAYOUT = 1  # of what is kept: another one finds nothing of it
# Blocks of one file, and where the first of them begins: behind the marks, at a page of its own.
_N_BLOCKS = 256
_BLOCKS_START = 4096
_MARK_NBYTES = 8
_IS_THERE = 1 << 32  # in a mark, beside the CRC-32
_NAME = re.compile(r"[0-9a-f]{32}-\d+\.blocks")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe would wait for its other end
_WRITE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
# Which file was used last is told from the times of files, as exact as this.
_FRESH_SECONDS = 60
# What a process may add before it looks how large the folder is, as a part of the limit.
_SHARE = 16

_Ask = Callable[[int, int, memoryview], object]


class Cache:
    """A folder of blocks, which may be that of other processes, too.

    Parameters
    ----------
    caching : Caching
        Which folder, and how much may be in it.
    """

    def __init__(self, caching: Caching) -> None:
        self.folder, self._limit_nbytes, self.has_data = caching
        self._n_added = self._limit_nbytes  # so that the first block has the folder looked at
        self._has_warned = False
        self._heads: dict[str, bytes] = {}  # of indexes, by where they lie

    def blocks_of(
        self, url: str, nbytes: int, tag: str | None, head: Buffer, *, is_data: bool = False
    ) -> Blocks:
        """Return what is kept of a file; of an index before that of the rows beside it.

        Parameters
        ----------
        url : str
            Where it lies, without anything secret.
        nbytes, tag
            Size of the file, and what tells its content from any other.
        head : buffer
            Its first bytes.
        is_data : bool
            Whether it has rows, and no index.
        """
        folder = url.rpartition("/")[0]
        if not is_data:
            self._heads[folder] = blake2b(head).digest()
        index = self._heads.get(folder) if is_data else None
        facts = (_LAYOUT, BLOCK_NBYTES, _N_BLOCKS, url, nbytes, tag, index)
        known = repr(facts).encode()
        digest = blake2b(len(known).to_bytes(8, "little") + known, digest_size=16)
        digest.update(head)
        return Blocks(self, digest.hexdigest(), nbytes)

    def write(self, name: str, parts: list[tuple[Buffer, int]]) -> None:
        """Write to a file, which is made if there is none; if that fails, say so once."""
        try:
            with self._made(name) as file:
                for raw, at in parts:
                    while raw:
                        n_written = os.pwrite(file.fileno(), raw, at)
                        raw, at = raw[n_written:], at + n_written
                        self._n_added += n_written
            if self._n_added > self._limit_nbytes // _SHARE:
                self._n_added = 0
                self._shrink()
        except OSError as error:
            self._warn(error)

    def _made(self, name: str) -> Any:
        path = f"{self.folder}/{name}"
        try:
            return opened(path, _WRITE)
        except FileNotFoundError:
            Path(self.folder).mkdir(0o700, parents=True, exist_ok=True)
            return opened(path, _WRITE)

    def _shrink(self) -> None:
        """Remove what was not used for the longest time, until there is room for some more."""
        with os.scandir(self.folder) as entries:
            paths = [entry.path for entry in entries if _NAME.fullmatch(entry.name)]
        found = []
        for path in paths:
            with suppress(OSError):  # another process has removed it
                stat = os.lstat(path)
                found.append((stat.st_mtime_ns, path, 512 * stat.st_blocks))
        n_left = sum(n_taken for _, _, n_taken in found)
        for _, path, n_taken in sorted(found):
            if n_left <= self._limit_nbytes - self._limit_nbytes // _SHARE:
                break
            with suppress(PermissionError):  # it is another user's
                Path(path).unlink(missing_ok=True)
                n_left -= n_taken

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            what = f"what is read elsewhere cannot be kept in {self.folder} ({error.strerror})"
            warnings.warn(f"{what}: it is asked for again", RuntimeWarning, stacklevel=2)


class Blocks:
    """What is kept of one file that lies elsewhere.

    Threads and processes may share it.

    Parameters
    ----------
    cache : Cache
        Where.
    digest : str
        Tells the content of the file from any other.
    nbytes : int
        Size of the file.
    """

    def __init__(self, cache: Cache, digest: str, nbytes: int) -> None:
        self._cache, self._digest, self._nbytes = cache, digest, nbytes
        self._seed = crc32(digest.encode())

    def read(self, start: int, end: int, into: memoryview | None, ask: _Ask) -> memoryview:
        """Return some bytes of the file: what is kept, and all from the first to the last that is not.

        Parameters
        ----------
        start, end : int
            Which bytes, ``0 <= start <= end``.
        into : memoryview or None
            Where they go, if that is given, which has room for them.
        ask : callable
            Called at most once with the first byte that is to be asked for, the last one, and where
            they go. Whole blocks, so they may be some more than were asked for.
        """
        end = min(end, self._nbytes)
        first, past = start // BLOCK_NBYTES, -(-end // BLOCK_NBYTES)
        low, high = first * BLOCK_NBYTES, min(past * BLOCK_NBYTES, self._nbytes)
        # Others may look at `into`, and never see what does not match its mark.
        raw = memoryview(bytearray(max(high - low, 0)))
        kept = self._load(first, raw)
        missing = [block for block in range(first, past) if block not in kept]
        if missing:
            at, last = missing[0] * BLOCK_NBYTES, min((missing[-1] + 1) * BLOCK_NBYTES, high)
            room = raw[at - low : last - low]
            ask(at, last, room)
            self._save(missing[0], room)
        asked = raw[start - low : end - low]
        if into is None:
            return asked
        into[: len(asked)] = asked
        return into[: len(asked)]

    def _load(self, first: int, raw: memoryview) -> set[int]:
        """Fill in the blocks from the first on that are kept; return which."""
        found = set()
        for name, at, block, room in self._parts(first, raw):
            with suppress(OSError), opened(f"{self._cache.folder}/{name}", _READ) as file:
                marks = _marks_in(file.fileno(), at, len(room))
                if any(marks):
                    _fill(file.fileno(), room, _BLOCKS_START + at * BLOCK_NBYTES)
                    pairs = zip(marks, self._marks(block, room), strict=False)
                    found |= {block + i for i, (mark, own) in enumerate(pairs) if mark == own}
                    _use(file.fileno())
        return found

    def _save(self, first: int, raw: memoryview) -> None:
        for name, at, block, room in self._parts(first, raw):
            marks = struct.pack(f"<{-(-len(room) // BLOCK_NBYTES)}Q", *self._marks(block, room))
            places = _BLOCKS_START + at * BLOCK_NBYTES, at * _MARK_NBYTES
            self._cache.write(name, list(zip((room, marks), places, strict=True)))

    def _parts(self, first: int, raw: memoryview) -> Iterator[tuple[str, int, int, memoryview]]:
        """Yield for each file: its name; which of its blocks is the first, and of all; their bytes."""
        block, past = first, first - (-len(raw) // BLOCK_NBYTES)
        while block < past:
            number, at = divmod(block, _N_BLOCKS)
            n_blocks = min(_N_BLOCKS - at, past - block)
            start = (block - first) * BLOCK_NBYTES
            room = raw[start : start + n_blocks * BLOCK_NBYTES]
            yield f"{self._digest}-{number}.blocks", at, block, room
            block += n_blocks

    def _marks(self, first: int, raw: memoryview) -> Iterator[int]:
        """Yield the mark that each of some blocks has to have."""
        for at in range(0, len(raw), BLOCK_NBYTES):
            seed = crc32(b"%d" % (first + at // BLOCK_NBYTES), self._seed)
            yield _IS_THERE | crc32(raw[at : at + BLOCK_NBYTES], seed)


def opened(path: str, flags: int) -> Any:
    """Open a file that only its owner may read and write, if it is made.

    Raises
    ------
    PermissionError
        If it is another user's than this one's or that of the folder, or has another name elsewhere.
    """
    return open(path, "rb", buffering=0, opener=lambda name, _: _own(name, flags))


def _own(path: str, flags: int) -> int:
    fd = os.open(path, flags, 0o600)
    try:
        found = os.fstat(fd)
        is_own = found.st_uid == os.geteuid() or found.st_uid == Path(path).parent.stat().st_uid
        if not is_own or found.st_nlink > 1:
            what = "a file in it is another user's, or has another name elsewhere"
            raise PermissionError(errno.EPERM, what, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _marks_in(fd: int, at: int, nbytes: int) -> tuple[int, ...]:
    n_marks = -(-nbytes // BLOCK_NBYTES)
    raw = os.pread(fd, n_marks * _MARK_NBYTES, at * _MARK_NBYTES)
    n_marks = len(raw) // _MARK_NBYTES
    return struct.unpack_from(f"<{n_marks}Q", raw)


def _fill(fd: int, room: memoryview, start: int) -> None:
    """Read until there is no more room, or nothing more to read."""
    while room:
        n_read = os.preadv(fd, [room], start)
        if not n_read:
            break
        room, start = room[n_read:], start + n_read


def _use(fd: int) -> None:
    """Note that a file was used."""
    if abs(time.time() - os.fstat(fd).st_mtime) > _FRESH_SECONDS:
        os.utime(fd)
