"""Making a store of a pack that comes as a stream: whole and checked, or not at all."""

from __future__ import annotations

from pathlib import Path

from ptrarray.errors import CorruptStoreError
from ptrarray.format import tar
from ptrarray.format.helpers import FOLDER
from ptrarray.progress import Bar, bar
from ptrarray.storage.lifecycle.create import taken
from ptrarray.storage.lifecycle.verify import check
from ptrarray.storage.store.opened import load_readable
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_directory
from ptrarray.storage.system.files import File
from ptrarray.storage.system.streams import Exact, Source

_READ_NBYTES = 1 << 20


def unpack_store(source: Source, directory: Path, *, progress: bool = False) -> None:
    """Make a store of a pack; it appears at its path all at once, on the disk.

    Parameters
    ----------
    source : Source
        The bytes of the pack, decompressed. Read to the end of the archive
        and of its last record.
    directory : Path
        Where the store goes.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    CorruptStoreError
        If it is not a pack, or one that is damaged or cut short.
    """
    with new_directory(directory, taken) as building:
        with bar(unit="B", progress=progress) as counter:
            _write_members(source, building, counter)
        _check(building, source.where)
        if files.exists(building / FOLDER):
            files.sync_directory(building / FOLDER)
        files.sync_directory(building)


def _write_members(source: Source, building: Path, counter: Bar) -> None:
    """Write every file of an archive, and read on to the end of its last record."""
    archive = Exact(source)
    for member in tar.members(archive.exactly, source.where):
        with _new_file(building, member.name) as file:
            at = 0
            while at < member.nbytes:
                raw = archive.exactly(min(member.nbytes - at, _READ_NBYTES))
                file.pwrite(raw, at)
                at += len(raw)
                counter.update(len(raw))
            file.sync()
        archive.exactly(tar.padding(member.nbytes))
    archive.finish()


def _new_file(building: Path, name: str) -> File:
    """Make a file of a store, or of the store of helper arrays in it."""
    if name.startswith(FOLDER) and not files.exists(building / FOLDER):
        files.make_directory(building / FOLDER)
    return File(building / name, files.MAKE)


def _check(building: Path, where: str) -> None:
    """Look at every byte of a store that came from elsewhere."""
    try:
        inner = building / FOLDER
        check(load_readable(building), load_readable(inner) if files.exists(inner) else None)
    except CorruptStoreError as error:
        # Nobody can look at the files that the error names.
        text = str(error).replace(f"{building}/", "").replace(str(building), "its store")
        raise CorruptStoreError(f"{where} is damaged: {text}", path=where) from error
