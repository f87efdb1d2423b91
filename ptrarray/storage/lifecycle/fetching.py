"""Files that lie elsewhere, fetched piece by piece into a directory that outlives its process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ptrarray.format.checksum import crc32
from ptrarray.format.index import corrupt
from ptrarray.progress import Bar
from ptrarray.storage.remote.objects import Buffer
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.remote.transfer import Facts
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File

# As many pieces as there are requests under way are in memory.
PIECE_NBYTES = 4 << 20


class Piece(NamedTuple):
    """Some bytes of a file that came.

    Attributes
    ----------
    name : str
        Of the file, below the URL.
    start : int
        Where the bytes begin in it.
    raw : buffer
        The bytes.
    crc : int
        Their CRC-32.
    facts : Facts
        What the file is known to be, by the answer.
    """

    name: str
    start: int
    raw: Buffer
    crc: int
    facts: Facts


class Fetching:
    """Files below one URL, fetched into a directory, by whoever goes on after others were killed.

    What came is noted when it was written, piece by piece, with size and tag of the file and a
    checksum. Whoever goes on asks for size and tag, and reads each piece that was noted: neither
    a note nor a file is believed. So nothing waits for the disk before all is there.

    Parameters
    ----------
    source : RemotePath
        The URL.
    directory : Path
        Where the files go; where the file goes that lies at the URL itself.
    notes : Path
        File with what is there.
    counter : Bar
        Counts bytes.

    Attributes
    ----------
    fetched : dict of str to Facts
        Files that were fetched, or are being so.
    """

    def __init__(self, source: RemotePath, directory: Path, notes: Path, counter: Bar) -> None:
        self._source, self._directory, self._counter = source, directory, counter
        self._notes, self._noted, self._notes_end = notes, *_read_notes(notes)
        self.fetched: dict[str, Facts] = {}

    def fetch(self, names: Sequence[str]) -> None:
        """Fetch files, on the disk when this returns; ``""`` for the one at the URL itself.

        Raises
        ------
        CorruptStoreError
            If one of them is not there.
        StoreChangedError
            If one of them has changed since it was first asked for.
        """
        for piece in self._each(partial(self._read, name, 0) for name in names):
            self.fetched[piece.name] = piece.facts
            self._begin(piece)
        missing = ((name, start) for name in names for start in self._missing(name))
        for piece in self._each(
            partial(self._read, name, start, self.fetched[name]) for name, start in missing
        ):
            self._put(piece)
            self._count(len(piece.raw))
        for name in names:
            with File(self._place(name), files.CHANGE) as file:
                file.truncate(self.fetched[name].nbytes)
                file.sync()

    def check_unchanged(self) -> None:
        """Raise `StoreChangedError` unless all files are as they were: so they were all of one moment."""
        for _ in self._each(
            partial(self._read, name, 0, facts, 1) for name, facts in self.fetched.items()
        ):
            pass

    def finish(self) -> None:
        """Remove what was fetched before of files that are none any more; all is on the disk then."""
        if files.is_directory(self._directory):
            folders = {"", *(name.rpartition("/")[0] for name in self.fetched)}
            known = {*folders, *self.fetched}
            for folder in folders:
                for found in files.list_directory(self._directory / folder):
                    if f"{folder}/{found}".lstrip("/") not in known:
                        files.remove_tree(self._directory / folder / found)
                files.sync_directory(self._directory / folder)

    def _each(self, asked: Iterable[Callable[[], Piece]]) -> Iterator[Piece]:
        """Do reads, many at once, and yield what comes of each, as it comes."""
        transfer, asked = self._source.transfer, iter(asked)
        under_way: set[Future[Piece]] = set()
        try:
            while True:
                more = islice(asked, transfer.parallel - len(under_way))
                under_way |= {transfer.begin(one) for one in more}
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                while done:  # what was yielded is forgotten
                    yield done.pop().result()
        finally:
            for future in under_way:
                future.cancel()

    def _read(
        self, name: str, start: int, facts: Facts | None = None, nbytes: int | None = None
    ) -> Piece:
        """Read a piece; of a file that may be there already one byte, which tells what it is."""
        if nbytes is None:
            nbytes = 1 if facts is None and name in self._noted else PIECE_NBYTES
        there = self._source / name if name else self._source
        try:
            answer = there.transfer.read(there.key, start, start + nbytes, facts)
        except FileNotFoundError as error:
            raise corrupt(str(there), "is missing") from error
        found = Facts(answer.nbytes, answer.tag)
        return Piece(name, start, answer.raw, crc32(answer.raw), found)

    def _begin(self, piece: Piece) -> None:
        """Have room for all of a file, of which the first piece came."""
        place, nbytes = self._place(piece.name), piece.facts.nbytes
        for folder in sorted({self._directory, place.parent}) if piece.name else ():
            if not files.is_directory(folder):
                files.unlink(folder)  # of a pack that was there before
                files.make_directory(folder)
        if files.is_directory(place):  # of a store that was there before the pack
            files.remove_tree(place)
        with _opened(place) as file:
            before = file.nbytes
            try:
                if nbytes > before:
                    file.allocate(0, nbytes)
            except OSError:
                file.truncate(before)  # some file systems set aside what there is
                raise
        self._counter.total = (self._counter.total or 0) + nbytes
        if len(piece.raw) == min(PIECE_NBYTES, nbytes):
            self._put(piece)

    def _put(self, piece: Piece) -> None:
        with File(self._place(piece.name), files.CHANGE) as file:
            file.pwrite(piece.raw, piece.start)
        self._noted.setdefault(piece.name, {})[piece.start] = (piece.facts, piece.crc)
        line = json.dumps([piece.name, piece.start, *piece.facts, piece.crc])
        # A line that was cut off by the end of a process ends where the next one begins.
        raw = f"\n{line}".encode()
        with _opened(self._notes) as file:
            file.pwrite(raw, self._notes_end)
        self._notes_end += len(raw)

    def _missing(self, name: str) -> Iterator[int]:
        """Yield where the pieces of a file begin that are not there."""
        for start in range(0, self.fetched[name].nbytes, PIECE_NBYTES):
            if not self._is_there(name, start):
                yield start

    def _is_there(self, name: str, start: int) -> bool:
        """Tell whether a piece is there, as it was noted of the file as it is now; count it."""
        facts, crc = self._noted.get(name, {}).get(start, (None, 0))
        if facts != self.fetched[name]:
            return False
        with File(self._place(name)) as file:
            raw = file.pread(min(PIECE_NBYTES, facts.nbytes - start), start)
        if crc32(raw) != crc:
            return False
        self._count(len(raw))
        return True

    def _count(self, nbytes: int) -> None:
        self._counter.update(nbytes)

    def _place(self, name: str) -> Path:
        return self._directory / name


def _opened(path: Path) -> File:
    return File(path, files.CHANGE if files.exists(path) else files.MAKE)


Noted = dict[str, dict[int, tuple[Facts, int]]]


def _read_notes(path: Path) -> tuple[Noted, int]:
    """Return what is noted of each piece, and the size of the file."""
    noted: Noted = {}
    if not files.is_file(path):
        return noted, 0
    with File(path) as file:
        raw = file.pread(file.nbytes, 0)
    for line in raw.splitlines():
        try:
            name, start, nbytes, tag, crc = json.loads(line)
            noted.setdefault(name, {})[start] = (Facts(nbytes, tag), crc)
        except (ValueError, TypeError, RecursionError):  # which a power cut left
            continue
    return noted, len(raw)
