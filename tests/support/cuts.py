"""Disks as a power cut may leave them, made of the log of one.

What was flushed is there. Of each later write, what the disk had in its cache may be there or not,
in part, or be garbage, whatever becomes of the others.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.support.file_systems import FileSystem, mounted, run
from tests.support.recorder import Log, Record

BLOCK_NBYTES = 4096
WAYS = ("none", "all", "half", "few", "most", "torn", "torn", "prefix", "one", "all but one")
_CHANCES = {"half": 0.5, "few": 0.1, "most": 0.9, "torn": 0.35, "garbage": 0.7}
_GARBAGE_SHARE = 0.2

_MAP_EXTENTS, _N_EXTENTS = 0xC020660B, 256  # FS_IOC_FIEMAP
_ASKED, _EXTENT = struct.Struct("<QQIIII"), struct.Struct("<QQQ16xI12x")
_NOT_THERE = (
    0x0002 | 0x0004 | 0x0008 | 0x0200 | 0x0800
)  # unknown, delayed, encoded, inline, unwritten


class Cut(NamedTuple):
    """When the power is cut, counted in records, and in which way writes in the cache are lost."""

    at: int
    way: str

    def __str__(self) -> str:
        return f"cut after {self.at} records, {self.way}"


class Span(NamedTuple):
    """The records among which to cut: from the first call of a store to the last, with promises."""

    first: int
    last: int
    promises: Sequence[int]


def chosen(log: Log, span: Span, n_cuts: int, rng: random.Random, fs: FileSystem) -> list[Cut]:
    """Choose cuts, in order: many where the cache is full, or right after something was promised."""
    flushes = [at for at in log.flushes if span.first <= at <= span.last] or [span.last]

    def one() -> int:
        what = rng.random()
        if what < 0.4:
            some = (rng.choice(flushes) for _ in range(rng.choice((3, 10, 40))))
            return max(some, key=lambda at: at - log.flushed_before(at))
        if what < 0.5:
            return rng.choice(flushes)
        if what < 0.75 or not span.promises:
            return rng.randint(span.first, len(log.records))
        return min(len(log.records), rng.choice(span.promises) + rng.choice((0, 0, 1, 2, 5, 20)))

    # btrfs has a checksum of all data, and writes none in place: what is referred to was flushed.
    has_garbage = fs.kind != "btrfs"
    ways = ["garbage" if has_garbage and rng.random() < _GARBAGE_SHARE else rng.choice(WAYS)
            for _ in range(n_cuts)]  # fmt: skip
    return sorted(Cut(one(), way) for way in ways)


class CutDisk:
    """Rebuilds the disk of a recording, for one cut after the other.

    Parameters
    ----------
    log : Log
        What was written.
    base : Path
        The disk before that.
    folder : Path
        Where images may lie.
    """

    def __init__(
        self, log: Log, base: Path, folder: Path, fs: FileSystem, sector_nbytes: int
    ) -> None:
        self._log, self._fs, self._sector_nbytes = log, fs, sector_nbytes
        self._flushed, self.image, self._folder = folder / "flushed.img", folder / "cut.img", folder
        _copy(base, self._flushed)
        self._n_flushed = 0

    def rebuild(self, cut: Cut, rng: random.Random) -> int:
        """Make the image as it may be after a cut, no earlier one than before.

        Returns
        -------
        int
            How many writes were in the cache.
        """
        n_flushed = self._log.flushed_before(cut.at)
        _put(self._flushed, self._log.records[self._n_flushed : n_flushed])
        self._n_flushed = max(self._n_flushed, n_flushed)
        cached = [one for one in self._log.records[n_flushed : cut.at] if not one.is_flush]
        _copy(self._flushed, self.image)
        _put(self.image, self._kept(cached, cut.way, rng))
        if cut.way == "garbage":
            self._put_garbage(cached, rng)
        return len(cached)

    def _kept(self, cached: list[Record], way: str, rng: random.Random) -> Iterator[Record]:
        """Yield what of the writes in the cache has reached the disk, in order."""
        one = rng.randrange(len(cached)) if cached else 0
        for at, record in enumerate(cached):
            is_kept = {
                "all": True,
                "prefix": at <= one,
                "one": at == one,
                "all but one": at != one,
            }.get(way, rng.random() < _CHANCES.get(way, 0))
            if is_kept:
                yield record
            elif way == "torn" and record.start not in self._fs.superblocks:
                yield from self._torn(record, rng)

    def _torn(self, record: Record, rng: random.Random) -> Iterator[Record]:
        chance, unit = rng.random(), self._sector_nbytes
        for at in range(0, len(record.raw), unit):
            if rng.random() < chance:
                yield Record(record.start + at, record.raw[at : at + unit], is_flush=False)

    def _put_garbage(self, cached: list[Record], rng: random.Random) -> None:
        """Leave garbage in the files that were being written, as far as the file system knows of it.

        Bytes that a write did not change stay, but in the slots of a journal: these are promised
        to lie in blocks of their own.
        """
        with mounted(self._fs, self.image, self._folder / "mapped", self._sector_nbytes) as folder:
            found = dict(_blocks(folder))
        with self._flushed.open("rb") as before, self.image.open("r+b") as image:
            for record in cached:
                for at in range(0, len(record.raw), BLOCK_NBYTES):
                    place = record.start + at
                    if place in found and rng.random() < 0.5:
                        new = np.frombuffer(record.raw[at : at + BLOCK_NBYTES], np.uint8)
                        old = np.frombuffer(os.pread(before.fileno(), len(new), place), np.uint8)
                        now = np.frombuffer(os.pread(image.fileno(), len(new), place), np.uint8)
                        is_changed = (old != new) | (found[place] and bool(np.any(old != new)))
                        garbage = np.frombuffer(rng.randbytes(len(new)), np.uint8)
                        raw = np.where(is_changed, garbage, now).tobytes()
                        os.pwrite(image.fileno(), raw, place)


def _blocks(folder: Path) -> Iterator[tuple[int, bool]]:
    """Yield where on the disk each block of a file lies, and whether it is a slot of a journal."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "filler":
            is_journal = path.name.startswith("journal")
            for logical, physical, nbytes in _extents(path):
                for at in range(0, nbytes, BLOCK_NBYTES):
                    yield physical + at, is_journal and logical + at < 2 * BLOCK_NBYTES


def _extents(path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of a file that the disk has: where in the file, where on the disk, how long."""
    asked = bytearray(_ASKED.size + _N_EXTENTS * _EXTENT.size)
    _ASKED.pack_into(asked, 0, 0, 1 << 62, 0, 0, _N_EXTENTS, 0)
    with path.open("rb") as file:
        fcntl.ioctl(file.fileno(), _MAP_EXTENTS, asked)
    n_extents = _ASKED.unpack_from(asked)[3]
    for at in range(n_extents):
        logical, physical, nbytes, flags = _EXTENT.unpack_from(
            asked, _ASKED.size + at * _EXTENT.size
        )
        if not flags & _NOT_THERE:
            yield logical, physical, nbytes


def _put(image: Path, records: Sequence[Record] | Iterator[Record]) -> None:
    with image.open("r+b", buffering=0) as file:
        for record in records:
            os.pwrite(file.fileno(), record.raw, record.start)


def _copy(source: Path, target: Path) -> None:
    run("cp", "--sparse=auto", str(source), str(target))
