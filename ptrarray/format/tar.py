"""Packs: a store's files as members of a tar archive, and which archives are one."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ptrarray.errors import CorruptStoreError
from ptrarray.format.helpers import FOLDER
from ptrarray.format.index import is_data_file, is_mask_file

BLOCK_NBYTES = 512
RECORD_NBYTES = 20 * BLOCK_NBYTES  # what an archive is padded to
SHOWN_NBYTES = 16  # of what is none, in messages
MAGIC = b"ustar"
MAGIC_AT = 257
INDEX, JOURNAL, DATA, MASK = "index.msgpack", "journal.msgpack", "data.bin", "mask.bin"

_INNER = f"/{FOLDER}"
_END = bytes(2 * BLOCK_NBYTES)
_EXTENDED_LIMIT = 4  # headers that add to the next one
_EXTENDED_LIMIT_NBYTES = 1 << 16
_NBYTES_LIMIT = 2**63

Read = Callable[[int], bytes]  # gives exactly so many bytes


class Member(NamedTuple):
    """One file in a pack.

    Attributes
    ----------
    folder : str
        The directory it was packed from.
    name : str
        Of the file; of one of the store of helper arrays, with the name of
        that directory before it.
    nbytes : int
        Its size.
    """

    folder: str
    name: str
    nbytes: int


def header(folder: str, name: str, nbytes: int) -> bytes:
    """Return the blocks that go before the bytes of a file.

    The same whoever packs it, and when.

    Examples
    --------
    >>> len(header("corpus.ptr", "data.bin", 2**40))
    512
    """
    info = tarfile.TarInfo(f"{folder}/{name}")
    info.size = nbytes
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padding(nbytes: int, unit: int = BLOCK_NBYTES) -> int:
    """Return how many bytes go behind so many to fill a block.

    Examples
    --------
    >>> padding(0), padding(1), padding(512)
    (0, 511, 0)
    """
    return -nbytes % unit


def trailer(nbytes: int) -> bytes:
    """Return the end of an archive that has so many bytes until then.

    Examples
    --------
    >>> len(trailer(9728))
    10752
    """
    return _END + bytes(padding(nbytes + len(_END), RECORD_NBYTES))


def is_tar(block: bytes) -> bool:
    """Tell whether a first block is one of an archive."""
    return block[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


def members(read: Read, where: str) -> Iterator[Member]:
    """Yield the files of a pack in order, up to and with the end of the archive.

    After each, whoever asks for the next has read or skipped its bytes and
    their padding.

    Parameters
    ----------
    read : callable
        Gives exactly as many bytes as it is asked for.
    where : str
        Path of the pack, for messages.

    Raises
    ------
    CorruptStoreError
        If it is damaged, or has anything but a store's files in one directory.
    """
    found: dict[str, Member] = {}
    folder: str | None = None
    for info in _headers(read, where):
        path = info.name.removesuffix("/") if info.isdir() else info.name
        # Of a directory, as of a file in it without a name.
        parent, name = _parted(f"{path}/" if info.isdir() else path, folder)
        if folder is None:
            folder = parent
        if not _is_expected(info, name, found) or parent != folder or _is_outside(parent):
            what = f"a member {info.name!r:.200}, type {info.type!r}, {info.size} bytes"
            raise _corrupt(where, f"is not a pack of one store: it has {what}")
        if name and not info.isdir():
            found[name] = Member(parent.rpartition("/")[2], name, info.size)
            yield found[name]
    inner = any(name.startswith(f"{FOLDER}/") for name in found)
    for start in ("", f"{FOLDER}/") if inner else ("",):
        lacks = [start + name for name in (INDEX, JOURNAL) if start + name not in found]
        if lacks:
            raise _corrupt(where, f"is not a pack of a store: it has no {' and no '.join(lacks)}")


def _parted(path: str, folder: str | None) -> tuple[str, str]:
    """Return the directory of a store, and the path of a file in it."""
    parent, _, name = path.rpartition("/")
    outer = "" if folder == "" and parent == FOLDER else parent.removesuffix(_INNER)
    return (parent, name) if outer == parent else (outer, f"{FOLDER}/{name}")


def _is_expected(info: tarfile.TarInfo, name: str, found: dict[str, Member]) -> bool:
    """Tell whether a member may be in a pack: a directory or a file of a store, each once.

    And once more of the store of helper arrays in it.
    """
    if not 0 <= info.size < _NBYTES_LIMIT:
        return False
    start = f"{FOLDER}/" if name.startswith(f"{FOLDER}/") else ""
    others = [other.removeprefix(start) for other in found if other.startswith(start)]
    others = [other for other in others if "/" not in other]
    if info.isdir():
        return not info.size and not (others if start else found)
    own = name.removeprefix(start)
    is_file = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
    is_new = any(
        is_such(own) and not any(map(is_such, others))
        for is_such in (INDEX.__eq__, JOURNAL.__eq__, is_data_file, is_mask_file)
    )
    return is_file and is_new


def _is_outside(folder: str) -> bool:
    return folder.startswith("/") or ".." in folder.split("/")


def _headers(read: Read, where: str) -> Iterator[tarfile.TarInfo]:
    """Yield what the blocks before each member say; those that only add to the next one, applied."""
    extended: dict[str, str] = {}
    n_extended = 0
    while n_extended <= _EXTENDED_LIMIT:
        block = read(BLOCK_NBYTES)
        if block == _END[:BLOCK_NBYTES] and not n_extended:
            if read(BLOCK_NBYTES) != block:
                raise _corrupt(where, "has a block of zeros that is not its end")
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
                extended |= _extension(info, read)
                n_extended += 1
                continue
            info.name = extended.pop("path", info.name)
            info.size = int(extended.pop("size", info.size))
            if any(key.startswith("GNU.sparse") for key in extended):
                raise ValueError("a sparse file")
        except (tarfile.TarError, ValueError) as error:
            begin = f"a header that begins with {block[:SHOWN_NBYTES]!r}: {error}"
            what = "is no store, pack or stream of ptrarray, or a damaged one"
            raise _corrupt(where, f"{what}: it has {begin}") from error
        extended, n_extended = {}, 0
        yield info
    raise _corrupt(where, "has more extended headers than any tar program writes")


def _extension(info: tarfile.TarInfo, read: Read) -> dict[str, str]:
    """Read what does not fit into the header of the next member: POSIX's way, or GNU's."""
    if not 0 <= info.size <= _EXTENDED_LIMIT_NBYTES:
        raise ValueError(f"{info.size} bytes of extended header")
    raw = read(info.size + padding(info.size))[: info.size]
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": raw.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found = {}
    while raw:
        digits, _, rest = raw.partition(b" ")
        nbytes = int(digits)
        if not len(digits) < nbytes <= len(raw):
            raise ValueError(f"a record of {nbytes} bytes in {len(raw)}")
        key, _, value = rest[: nbytes - len(digits) - 1].partition(b"=")
        found[key.decode()] = value.removesuffix(b"\n").decode("utf-8", "surrogateescape")
        raw = raw[nbytes:]
    return found


def _corrupt(where: str, what: str) -> CorruptStoreError:
    return CorruptStoreError(f"{where} {what}", path=where)
