"""Archives of tar: of pickles and ``.npy`` files, compressed or not."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, Unpack

from ptrarray.convert.archives import SUFFIXES, opened
from ptrarray.convert.files import unpacked
from ptrarray.convert.formats.npy import NPY_MAGIC, read_all
from ptrarray.convert.formats.pickles import check_trust, first_or_all, unpickled
from ptrarray.convert.found import Found, Kind, Member, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths, bare
from ptrarray.errors import BadInputError

_PASSED_OVER = {
    True: "symbolic links are not followed",
    False: "devices, pipes and the like in archives are no arrays",
}


def from_tar(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    trust: bool = False,
    attributes: bool = False,
    **options: Unpack[Options],
) -> Report:
    """Import the pickles and ``.npy`` files in tar archives, without unpacking those.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default the paths in the archive
        without suffix, or with several archives ``"{stem}/{key}"``.
    trust, attributes : bool
        As for `from_pickles`.

    Returns
    -------
    Report

    Notes
    -----
    An archive is read from front to back, one file of it in memory at a time;
    twice more if it has hard links, which become arrays of their own. What is
    intact of one that is cut off or damaged is imported, and that it is so is a
    failure. The report has a note on symbolic links and whatever else is no file.

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
    check_trust(trust=trust, attributes=attributes)
    kind = Kind(partial(_members, trust, attributes), SUFFIXES, many=True)
    return run(kind, paths, store, options)


def _members(trust: bool, attributes: bool, path: str) -> Iterator[Found]:
    how = {"trust": trust, "attributes": attributes}
    n_members, linked = 0, set()
    try:
        with opened(path) as archive:
            for info in archive.infos():
                n_members += 1
                if info.isfile():
                    yield Member(bare(info.name), partial(_read, archive, info, how))
                elif info.islnk():
                    linked.add(info.linkname)
                elif not info.isdir():
                    yield Noted(info.name, _PASSED_OVER[info.issym()])
        if problem := archive.problem(n_members):
            yield Refused("", problem)
        if linked:
            yield from _linked(path, how, linked)
    except (tarfile.TarError, EOFError) as error:
        reason = str(error).split(":", 1)[0]  # and what each compressor says, in lines
        raise BadInputError(f"it is no tar archive, or a damaged one: {reason}") from error


def _linked(path: str, how: dict[str, bool], wanted: set[str]) -> Iterator[Found]:
    """Yield the hard links, read once more from front to back: a link names what came before it.

    Parameters
    ----------
    how : dict
        How pickles are read, see `unpickled`.
    wanted : set of str
        What links name.
    """
    latest: dict[str, int] = {}  # where the member of a name begins
    links: dict[int, list[str]] = {}
    with opened(path) as archive:
        for info in archive.infos():
            if info.isfile() and info.name in wanted:
                latest[info.name] = info.offset
            elif info.islnk() and info.linkname in latest:
                links.setdefault(latest[info.linkname], []).append(info.name)
                latest[info.name] = latest[info.linkname]
            elif info.islnk():
                problem = f"it is a link to {info.linkname!r}, which is no file before it"
                yield Refused(bare(info.name), problem)
    with opened(path) as archive:
        for info in archive.infos():
            read = lru_cache(1)(partial(_read, archive, info, how))  # a stream, only once
            for name in links.get(info.offset, ()):
                yield Member(bare(name), read)


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo, how: dict[str, bool]) -> Any:
    member: Any = archive.extractfile(info)  # which can look ahead
    with member, unpacked(member) as file:
        if file.peek(len(NPY_MAGIC)).startswith(NPY_MAGIC):
            return read_all(file)
        return first_or_all(unpickled(file, **how))
