"""What all exports share: one array in memory at a time, and nothing there until all of it is."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

from ptrarray.convert.escape import MARK, file_name
from ptrarray.convert.report import Failure, Report
from ptrarray.errors import BadInputError
from ptrarray.format.named import without_names
from ptrarray.intake.paths import absolute
from ptrarray.progress import bar
from ptrarray.reader import PointerArray, check_whole
from ptrarray.reader import open_readable as open_store
from ptrarray.storage.system import building, files
from ptrarray.storage.system.streams import stream_of

Store = str | os.PathLike[str] | PointerArray

MASK = "/.mask"
_Put = Callable[[str, Any], None]
# What file systems say to a name: taken, too long, with a character that they do not keep.
_OF_A_NAME = {errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}


@contextmanager
def opened(store: Store) -> Iterator[PointerArray]:
    """Open a store for a ``with`` block, unless it is open already.

    Raises
    ------
    CorruptStoreError
        If it cannot be read, as what was cut short since it was opened.
    """
    if isinstance(store, PointerArray):
        check_whole(store)
        yield store
        return
    with open_store(store) as source:
        yield source


def export(store: PointerArray, put: _Put, progress: bool, *, named: bool = False) -> Report:
    """Put every array of a store, and its mask if it has one, where `put` puts it.

    Those of ml_dtypes as bytes, unless the format has names for them, as `named` says.
    """
    report = Report()
    with bar(progress=progress, total=len(store), unit=" arrays") as shown:
        for name, array in store.items() if named else _without_names(store, report):
            try:
                for end, part in parts(array):
                    put(name + end, part)
                report.converted += 1
            except (BadInputError, OSError, ValueError) as error:
                raise_if_disk(error)
                report.failures.append(Failure(name, str(error)))
            shown.update(1)
    if store.masked:
        report.notes.append(f"masks are arrays of their own, NAME{MASK}; fill values are not kept")
    return report


def parts(array: Any) -> Iterator[tuple[str, Any]]:
    """Yield an array without its mask, and its mask if anything is masked, each with its ending."""
    yield "", np.ma.getdata(array)
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        # That of records is of records itself, which know no `any`.
        if np.frombuffer(mask.tobytes(), np.uint8).any():
            yield MASK, mask


def raise_if_disk(error: Exception) -> None:
    """Go on only after what is wrong with one name."""
    if isinstance(error, OSError) and error.errno not in _OF_A_NAME:
        raise error


def note_meta(report: Report, store: PointerArray, what: str) -> None:
    """Note how many arrays have metadata, which the format cannot keep."""
    n_lost = sum(1 for name in store if store.meta[name])
    if n_lost:
        report.notes.append(lost_meta(n_lost, what))


def lost_meta(n_arrays: int, what: str) -> str:
    """Return the note that metadata of so many arrays, one at least, is not kept in a format."""
    return f"metadata of {n_arrays:,} array{'s' if n_arrays > 1 else ''} is not kept in {what}"


def arrays_are(n_arrays: int, what: str) -> str:
    """Return the start of a note on so many arrays of some kind.

    Examples
    --------
    >>> arrays_are(1, "of bool"), arrays_are(2_000, "of bool")
    ('1 array of bool is', '2,000 arrays of bool are')
    """
    return f"{n_arrays:,} array {what} is" if n_arrays == 1 else f"{n_arrays:,} arrays {what} are"


@contextmanager
def new_file(
    out: str | os.PathLike[str], *, overwrite: bool = False, like: Path | None = None
) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when all is written, and the rights of another one."""
    rights = None if like is None else files.rights(like)
    made = building.new_file(_path(out), _taken, overwrite=overwrite, like=rights)
    with made as at, stream_of(at) as file:
        yield file


def save_npy(array: Any, out: Path) -> None:
    """Write an array as the ``.npy`` file at a path, also where there is one, or a pipe."""
    if out.exists() and not out.is_file() and not out.is_dir():
        with out.open("wb") as stream:
            # Of a file, numpy would ask where in it it is, which a pipe cannot say.
            to: Any = SimpleNamespace(write=stream.write)
            np.lib.format.write_array(to, np.asarray(array), allow_pickle=False)
        return
    # A link stays one: what it leads to is replaced.
    with new_file(out.resolve(), overwrite=True) as file:
        np.save(file, np.asarray(array), allow_pickle=False)


@contextmanager
def new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a folder that gets its name when all is written."""
    with building.new_directory(_path(out), _taken) as folder:
        yield folder


def new_member(folder: Path, name: str, suffix: str) -> IO[bytes]:
    """Open a file of a folder for writing, named after an array."""
    escaped = file_name(name)
    # "x", as file systems may take two names for one: those that differ in case only.
    file = (folder / f"{escaped}{suffix}").open("xb")
    if escaped != name:
        (folder / MARK).touch()
    return file


def _path(out: str | os.PathLike[str]) -> Path:
    path = absolute(out)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write in", str(path.parent))
    return path


def _without_names(store: PointerArray, report: Report) -> Iterator[tuple[str, Any]]:
    """Yield all arrays, those of ml_dtypes as bytes, for other formats have no names for them."""
    found: Counter[str] = Counter()
    for name, array in store.items():
        plain = without_names(array.dtype)
        if plain == array.dtype:
            yield name, array
        else:
            found[str(array.dtype)] += 1
            data = np.ma.getdata(array).view(plain)
            is_masked = isinstance(array, np.ma.MaskedArray)
            yield name, np.ma.MaskedArray(data, np.ma.getmaskarray(array)) if is_masked else data
    for dtype, n_arrays in found.items():
        what = f"{arrays_are(n_arrays, f'of {dtype:.80}')} written as bytes"
        report.notes.append(f"{what}: view them as that dtype, by ml_dtypes, when they are read")


def _taken(path: Path) -> FileExistsError:
    what = "there is something already, and it is not replaced"
    return FileExistsError(errno.EEXIST, what, str(path))
