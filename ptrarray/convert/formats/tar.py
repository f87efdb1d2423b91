"""Archives of tar: of pickles and ``.npy`` files, compressed or not."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import Any, Unpack

from ptrarray.convert.formats.npy import NPY_MAGIC, read_stream
from ptrarray.convert.formats.pickles import first_or_all, unpickled
from ptrarray.convert.report import Report
from ptrarray.convert.run import Kind, Member, Options, run
from ptrarray.convert.sources import Paths, bare
from ptrarray.errors import BadInputError

SUFFIXES = (".tar", ".tgz", ".tbz2", ".tbz", ".txz")


def from_tar(
    paths: Paths, store: str | os.PathLike[str], *, trust: bool = False, **options: Unpack[Options]
) -> Report:
    """Import the pickles and ``.npy`` files in tar archives, without unpacking those.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default the paths in the archive
        without suffix, or with several archives ``"{stem}/{key}"``.
    trust : bool
        As for `from_pickles`.

    Returns
    -------
    Report

    Notes
    -----
    An archive is read once from front to back, one file of it in memory at a
    time. Links and whatever is no file in it are passed over.

    Examples
    --------
    >>> import tarfile
    >>> np.save("speed.npy", np.arange(3))
    >>> with tarfile.open("run.tar.gz", "w:gz") as archive:
    ...     archive.add("speed.npy")
    >>> print(ptrarray.convert.from_tar("run.tar.gz", "any.ptr", progress=False))
    1 converted
    >>> list(ptrarray.open("any.ptr"))
    ['speed']
    """
    kind = Kind(partial(_members, trust), SUFFIXES, many=True)
    return run(kind, paths, store, options)


def _members(trust: bool, path: str) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:*") as archive:
            seen: list[Any] = vars(archive)["members"]
            while (info := archive.next()) is not None:
                if info.isfile():
                    yield Member(bare(info.name), partial(_read, archive, info, trust))
                seen.clear()  # which it keeps, for looking up by name
    except (tarfile.TarError, EOFError) as error:
        reason = str(error).split(":", 1)[0]  # and what each compressor says, in lines
        raise BadInputError(f"it is no tar archive, or a damaged one: {reason}") from error


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo, trust: bool) -> Any:
    file: Any = archive.extractfile(info)  # which can look ahead
    with file:
        if file.peek(len(NPY_MAGIC)).startswith(NPY_MAGIC):
            return read_stream(file)
        return first_or_all(unpickled(file, trust=trust))
