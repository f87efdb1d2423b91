"""A file that is a disk: each write to it, and each flush, goes to a log in the order in which it came.

The file is served by a process of its own that speaks the kernel's FUSE protocol itself: of one
file these are a dozen requests. Bindings of libfuse would save little and be one more thing to
install: fusepy had its last release in 2018, mfusepy is kept well and needs libfuse all the same,
pyfuse3 needs its headers. Network block devices and dm-log-writes are in few kernels.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.file_systems import unmount

LARGEST_WRITE_NBYTES = 1 << 20

_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")  # what each message begins with
_MOVED = struct.Struct("<QQIIQII")  # what a read and a write begin with
_INIT, _OPEN, _ATTR = struct.Struct("<IIIIHHIIHH32x"), struct.Struct("<QII"), struct.Struct("<QII")
_FACTS = struct.Struct("<6Q10I")
_LOOKUP_ATTR, _OPENED, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC = 3, 14, 15, 16, 17, 18, 20
_FLUSHED, _INITIAL, _DESTROY = 25, 26, 38
_UNANSWERED = {2, 36, 42}  # forget, interrupt, batch forget
_VERSION, _BIG_WRITES, _MAX_PAGES = (7, 31), 1 << 5, 1 << 22

_RECORD, _COUNT = struct.Struct("<cQI"), struct.Struct("<Q")
_WRITTEN, _IS_FLUSH = b"w", b"f"


class Counter:
    """How many writes and flushes there have been, which all processes see."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _COUNT.size)

    @property
    def n(self) -> int:
        return int(_COUNT.unpack_from(self._shared)[0])

    def count(self) -> None:
        _COUNT.pack_into(self._shared, 0, self.n + 1)


@contextmanager
def recorded(image: Path, log: Path, place: Path, counter: Counter) -> Iterator[Path]:
    """Serve an image as a file, which is yielded, and log what becomes of it.

    A write is counted, and a flush, before whoever asked for it is told that it is done.
    """
    place.touch()
    fd = os.open("/dev/fuse", os.O_RDWR)
    facts = f"fd={fd},rootmode=100600,user_id=0,group_id=0"
    command = ["mount", "-i", "-t", "fuse", "-o", facts, "ptrarray", str(place)]
    subprocess.run(command, pass_fds=[fd], check=True)  # requests wait for who answers
    server = os.fork()
    if not server:
        _until_unmounted(fd, image, log, counter)
    os.close(fd)
    try:
        yield place
    finally:
        unmount(place)
        os.waitpid(server, 0)


def _until_unmounted(fd: int, image: Path, log: Path, counter: Counter) -> None:
    try:
        with image.open("r+b", buffering=0) as disk, log.open("wb") as records:
            served = _Served(disk.fileno(), os.fstat(disk.fileno()).st_size, records.write, counter)
            with suppress(OSError):  # ENODEV, when it is unmounted
                served.answer_all(fd)
    finally:
        os._exit(0)


class _Served:
    """Answers the kernel's requests for the one file."""

    def __init__(
        self, disk: int, nbytes: int, log: Callable[[bytes], object], counter: Counter
    ) -> None:
        self._disk, self._nbytes, self._log, self._counter = disk, nbytes, log, counter
        self._answers: dict[int, Callable[[bytes], bytes]] = {
            _INITIAL: lambda _: _INIT.pack(
                *_VERSION,
                1 << 20,
                _BIG_WRITES | _MAX_PAGES,
                16,
                12,
                LARGEST_WRITE_NBYTES,
                1,
                256,
                0,
            ),
            _LOOKUP_ATTR: lambda _: _ATTR.pack(1 << 20, 0, 0) + self._facts(),
            _OPENED: lambda _: _OPEN.pack(1, 0, 0),
            _READ: self._read,
            _WRITE: self._write,
            _FSYNC: self._flush,
            **dict.fromkeys((_FLUSHED, _RELEASE, _DESTROY), lambda _: b""),
        }

    def answer_all(self, fd: int) -> None:
        while True:
            request = os.read(fd, LARGEST_WRITE_NBYTES + 4096)
            _, kind, number, *_ = _IN.unpack_from(request)
            if kind in _UNANSWERED:
                continue
            found = self._answers.get(kind)
            answer = found(request[_IN.size :]) if found else b""
            code = 0 if found else -errno.ENOSYS
            os.writev(fd, [_OUT.pack(_OUT.size + len(answer), code, number), answer])

    def _facts(self) -> bytes:
        n_blocks = self._nbytes // 512
        return _FACTS.pack(1, self._nbytes, n_blocks, *[0] * 6, 0o100600, 1, 0, 0, 0, 4096, 0)

    def _read(self, asked: bytes) -> bytes:
        _, start, nbytes, *_ = _MOVED.unpack_from(asked)
        return os.pread(self._disk, nbytes, start)

    def _write(self, asked: bytes) -> bytes:
        _, start, nbytes, *_ = _MOVED.unpack_from(asked)
        raw = asked[_MOVED.size :]
        os.pwrite(self._disk, raw, start)
        self._log(_RECORD.pack(_WRITTEN, start, nbytes) + raw)
        self._counter.count()
        return struct.pack("<II", nbytes, 0)

    def _flush(self, _: bytes) -> bytes:
        self._log(_RECORD.pack(_IS_FLUSH, 0, 0))
        self._counter.count()
        return b""


# reading it ---------------------------------------------------------------------------------------


class Record(NamedTuple):
    """One write to the disk; a flush has no bytes."""

    start: int
    raw: memoryview
    is_flush: bool


class Log:
    """What was done to the disk, in order.

    Attributes
    ----------
    records : list of Record
    flushes : list of int
        Which of them are flushes.
    """

    def __init__(self, file: Path) -> None:
        self.records: list[Record] = []
        raw, at = memoryview(file.read_bytes()), 0
        while at < len(raw):
            kind, start, nbytes = _RECORD.unpack_from(raw, at)
            at += _RECORD.size
            self.records.append(Record(start, raw[at : at + nbytes], kind == _IS_FLUSH))
            at += nbytes
        self.flushes = [at for at, record in enumerate(self.records) if record.is_flush]

    def flushed_before(self, at: int) -> int:
        """Return how many of the first `at` records are on the disk for certain."""
        n_flushes = bisect_left(self.flushes, at)
        return self.flushes[n_flushes - 1] if n_flushes else 0
