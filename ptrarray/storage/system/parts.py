"""Where the files of a store lie: in a directory, or all in one pack."""

from __future__ import annotations

from errno import ENOENT
from pathlib import Path
from typing import NamedTuple

from ptrarray.errors import BadInputError, RemoteError, StoreError, StoreNotFoundError
from ptrarray.format import tar
from ptrarray.format.helpers import FOLDER
from ptrarray.format.index import corrupt
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.paths import RemotePath, is_refused
from ptrarray.storage.system import files
from ptrarray.storage.system.compressors import MAGIC_NBYTES, recognised
from ptrarray.storage.system.files import AnyFile, File, StrPath


class Span(NamedTuple):
    """The bytes of a file in a pack."""

    start_byte: int
    nbytes: int


class Pack(NamedTuple):
    """What lies where in a pack.

    Attributes
    ----------
    folder : str
        The directory it was packed from.
    spans : dict of str to Span
        By name of the file.
    """

    folder: str
    spans: dict[str, Span]


def open_part(store: Path, name: str) -> tuple[AnyFile, Pack | None]:
    """Open a file of a store for reading, or its part of a pack.

    Returns
    -------
    file : File
        Of a pack only the part that is the file.
    pack : Pack or None
        Where the other parts are, if the store is a pack.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is neither: see `why_not`.
    CorruptStoreError
        If there is a pack that is damaged.
    """
    is_remote = isinstance(store, RemotePath)
    try:
        return files.opened(store / name) if is_remote else File(f"{store}/{name}"), None
    except (NotADirectoryError, FileNotFoundError) as error:
        if not is_remote and not isinstance(error, NotADirectoryError):
            raise
        is_inner = store.name == FOLDER and files.is_file(store.parent)
        if not is_inner and not is_remote and not files.is_file(store):  # something below a file
            raise
    file = opened_pack(store.parent if is_inner else store, f"{store.name}/{name}")
    try:
        if isinstance(file, RemoteFile):
            file.keep()
        pack = _read(file)
        if is_inner:
            pack = _inner(pack, file.path)
        file.narrow(*span_of(pack, name, file.path))
    except BaseException:
        file.close()
        raise
    return file, pack


def opened_pack(path: StrPath, part: str) -> AnyFile:
    """Open a pack for one of its parts; of one that lies elsewhere, its head is read once for all.

    Until a part is asked for again, as by who looks at what is there now.
    """
    if not isinstance(path, RemotePath):
        return files.opened(path)
    if path.packed is None or part in path.packed[1]:
        path.packed = _opened_elsewhere(path), set()
    path.packed[1].add(part)
    return path.packed[0].again()


def _opened_elsewhere(path: RemotePath) -> RemoteFile:
    try:
        return path.open_file()
    except RemoteError as error:
        if not is_refused(error):
            raise
        raise FileNotFoundError(ENOENT, "there is no such object", str(path)) from error


def _read(file: AnyFile) -> Pack:
    """Read what lies where in a pack: a few system calls, whatever its size."""
    if not tar.is_tar(file.pread(tar.BLOCK_NBYTES, 0)):
        raise NotADirectoryError(file.path)
    at = 0

    def read(nbytes: int) -> bytes:
        nonlocal at
        raw = file.pread(nbytes, at)
        at += nbytes
        if len(raw) < nbytes:
            raise corrupt(file.path, f"has {file.nbytes} bytes, at least {at} are needed")
        return raw

    pack = Pack("", {})
    for member in tar.members(read, file.path):
        pack.spans[member.name] = Span(at, member.nbytes)
        pack = pack._replace(folder=member.folder)
        at += member.nbytes + tar.padding(member.nbytes)
    return pack


def _inner(pack: Pack, path: str) -> Pack:
    """Return what lies where of the store of helper arrays in a pack."""
    start = f"{FOLDER}/"
    spans = {
        name.removeprefix(start): span
        for name, span in pack.spans.items()
        if name.startswith(start)
    }
    if not spans:
        raise FileNotFoundError(ENOENT, "the pack has no helper arrays", path)
    return Pack(FOLDER, spans)


def span_of(pack: Pack, name: str, path: str) -> Span:
    """Where a file lies in a pack."""
    if name not in pack.spans:
        raise corrupt(path, f"is a pack without {name}")
    return pack.spans[name]


def why_not(file: Path) -> StoreError:
    """Return the error for a file that was taken for a store, or for one that can be changed."""
    with File(file) as opened:
        head = opened.pread(tar.BLOCK_NBYTES, 0)
    makes = f"ptrarray.unpack({str(file)!r}, DIRECTORY) makes a store of it"
    codec = recognised(head[:MAGIC_NBYTES])
    if codec is not None:
        what = f"{file} is compressed ({codec.name}) and cannot be opened in place"
        return StoreError(f"{what}: if it is a pack, {makes}", path=str(file))
    if tar.is_tar(head):
        what = f"{file} is a pack, which is only read"
        return BadInputError(f"{what}: {makes} that can be changed", path=str(file))
    return StoreNotFoundError(
        f"no store at {file}: it is a file, and no pack of a store", path=str(file)
    )
