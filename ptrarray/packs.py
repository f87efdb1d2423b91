"""One file to ship: a store as a tar archive, and a store made of one again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptrarray.errors import BadInputError, StoreExistsError
from ptrarray.intake.paths import absolute
from ptrarray.storage.lifecycle.packing import write_pack
from ptrarray.storage.lifecycle.unpacking import unpack_store
from ptrarray.storage.shards.helpers import (
    open_beside,
    referred_to,
    with_those_they_refer_to,
)
from ptrarray.storage.shards.marker import is_sharded
from ptrarray.storage.store.opened import load_readable
from ptrarray.storage.system import files
from ptrarray.storage.system.building import new_file
from ptrarray.storage.system.compressors import CODECS, Codec, at_level, by_extension, named
from ptrarray.storage.system.streams import appending, compressing, reader_of, reading, writer_to

Write = Callable[[Any], None]

_PATHS = (str, bytes, os.PathLike)
_UNKNOWN = {"zip", "7z"}


def pack(
    path: str | os.PathLike[str],
    target: Any,
    compression: str | None = None,
    progress: bool = False,
    overwrite: bool = False,
    level: int | None = None,
) -> None:
    """Write a store as one file, without its holes: a tar archive.

    Parameters
    ----------
    path : path-like
        The store, or a pack. Of a store that is split into shards, a shard;
        in its pack a Series is an array, as the helper arrays of the store
        are not those of one shard.
    target : path-like or binary handle
        Where the pack goes. Of a handle only ``write`` is used, so it may be
        a pipe or what a socket's ``makefile("wb")`` gives; it is neither
        flushed nor closed.
    compression : {None, 'gz', 'bz2', 'xz', 'zst', 'lz4', 'lzma', 'zlib'}
        None compresses a path by its extension (``.tar.gz``, ``.tgz``, …),
        and nothing else; or what `register_compressor` was given. ``'zst'``
        needs Python 3.14 or the extra ``ptrarray[zstd]``, ``'lz4'`` the extra
        ``ptrarray[lz4]``.
    progress : bool
        Whether to show a bar.
    overwrite : bool
        Whether a file that is at the path is replaced; of a link, what it leads to.
    level : int, optional
        How hard to compress, as the library means it: 0 to 9 for ``'gz'`` (6
        by default), ``'xz'``, ``'lzma'`` and ``'zlib'`` (6), 1 to 9 for ``'bz2'``
        (9), 1 to 22 for ``'zst'`` (3), 0 to 16 for ``'lz4'`` (0). The extra
        ``ptrarray[fast]`` makes gzip and zlib faster at levels 1 to 3.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `path`.
    StoreExistsError
        If there is something at the target's path: with `overwrite`, if that
        is a directory.
    BadInputError
        For a level that the compression has not, or without a compression.
    CorruptStoreError
        If an array does not match its checksum. Then no file is made; a handle
        has got a part of the pack, which no reader takes for a whole one.
    StoreError
        If the rows of an array changed while they were packed: a writer may
        overwrite those of an array that was deleted meanwhile.

    Notes
    -----
    The pack is the store at one moment, as `open` sees it; writers go on
    meanwhile. A file appears at its path all at once, on the disk. Time is
    that of reading the living rows, checking and writing them; memory grows
    with the number of names, as for a checkpoint. Nothing is written to disk
    but the pack.

    What is in the pack depends only on what is in the store: packed twice,
    it is the same to the byte (compressed, by the same version of a library).
    Of indexes and other helper arrays those that nothing refers to are left out.

    Without compression `open` reads the pack where it is, as fast as the
    store. `unpack` or any ``tar`` program makes a store of it again.

    Examples
    --------
    >>> ptrarray.pack("corpus.ptr", "corpus.tar")
    >>> ptrarray.open("corpus.tar")["utt2"]
    array([4., 5.], dtype=float32)
    """
    store = absolute(path)
    codec = None if compression is None else named(compression)
    if not isinstance(target, _PATHS):
        _pack(store, writer_to(target), at_level(codec, level), progress=progress)
        return
    file = absolute(os.fsdecode(target))
    codec = at_level(codec or _codec_of(file), level)
    if overwrite and files.is_file(file):
        file = files.resolved(file)  # through a link, as all that writes a file goes
    with new_file(file, _taken, overwrite=overwrite) as made:
        _pack(store, appending(made), codec, progress=progress)


def unpack(source: Any, directory: str | os.PathLike[str], progress: bool = False) -> None:
    """Make a store of a pack.

    Parameters
    ----------
    source : path-like or binary handle
        The pack, compressed or not. Of a handle ``read`` is used, from where
        it stands, and no seeking.
    directory : path-like
        Where the store goes; there must be nothing.
    progress : bool
        Whether to show a bar.

    Raises
    ------
    StoreExistsError
        If there is something at `directory`.
    CorruptStoreError
        If the source is not a pack, or is damaged or cut short.

    Notes
    -----
    The store appears all at once, on the disk, after every byte was compared
    with its checksum; if not, nothing is left. Of a tar archive nothing is
    accepted but the files of one store in one directory, each once, and
    nothing is written elsewhere.

    Of a handle exactly the pack is read, so that several may follow each
    other: an archive ends with two blocks of 512 zeros, padded to a multiple
    of 10240 bytes from its start. A compressed one in a handle that can
    neither peek nor seek is read up to 64 KiB too far.

    Examples
    --------
    >>> ptrarray.pack("corpus.ptr", "corpus.tar.xz")
    >>> ptrarray.unpack("corpus.tar.xz", "copy.ptr")
    >>> len(ptrarray.open("copy.ptr"))
    3
    """
    place = absolute(directory)
    if not isinstance(source, _PATHS):
        name = getattr(source, "name", None)
        where = name if isinstance(name, str) else f"<{type(source).__name__}>"
        unpack_store(reader_of(source, where), place, progress=progress)
        return
    with reading(absolute(os.fsdecode(source))) as opened:
        unpack_store(opened, place, progress=progress)


def _codec_of(file: Path) -> Codec | None:
    """Return what the extension of a file promises."""
    extension = file.suffix.lower()[1:]
    if extension in _UNKNOWN:
        raise BadInputError(
            f"{file} promises a compression that packs do not have: choose one of "
            f"{', '.join(map(repr, CODECS))}, or another extension",
            path=str(file),
            found=extension,
            expected=tuple(CODECS),
        )
    return by_extension(extension)


def _pack(store: Path, write: Write, codec: Codec | None, *, progress: bool) -> None:
    if is_sharded(store):
        raise BadInputError(
            f"{store} is split into shards: pack each of them, as {store / 'shard-00000.ptr'}",
            path=str(store),
        )
    opened, helpers = open_beside(load_readable(store), "r", None)
    (state,) = opened.stores
    names = referred_to(state.snapshot)
    needed: set[bytes] = set()
    if not names:
        helpers = None
    if helpers is not None:
        needed = with_those_they_refer_to(helpers.snapshot, names)
    if codec is None:
        write_pack(state, write, helpers, needed, progress=progress)
        return
    write_compressed, finish = compressing(codec, write)
    write_pack(state, write_compressed, helpers, needed, progress=progress)
    finish()


def _taken(target: Path) -> StoreExistsError:
    if files.is_special(target):
        what = "is a device, pipe or socket: open it, and pack to the handle"
    elif files.is_directory(target):
        what = "is a directory: choose another path"
    else:
        what = "exists: pack with overwrite=True, or choose another path"
    return StoreExistsError(f"{target} {what}", path=str(target))
