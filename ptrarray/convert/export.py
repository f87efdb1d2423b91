"""Stores as files of others: one array in memory at a time, and nothing there until all of it is."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ptrarray.convert.escape import archive_path, file_name
from ptrarray.convert.formats.h5 import LAYOUT, META, import_h5py
from ptrarray.convert.report import Failure, Report
from ptrarray.errors import BadInputError
from ptrarray.frames.flat import companions_of
from ptrarray.frames.series import to_pandas
from ptrarray.progress import bar
from ptrarray.reader import PointerArray
from ptrarray.reader import open as open_store

_Put = Callable[[str, Any], None]
_Store = str | os.PathLike[str] | PointerArray

MASK = "/.mask"


def to_npz(store: _Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as one file that `numpy.load` reads, as of `numpy.savez`.

    Parameters
    ----------
    store : path-like or PointerArray
        What to export.
    out : path-like
        The file; there must be nothing.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Report
        Its `notes` tell what the format cannot keep.

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Keys are the names. Only ``%`` and what leads out of a folder is written
    in hexadecimal, as in URLs: ``a/../b`` becomes ``a/%2E%2E/b``. Masks go
    under ``NAME/.mask``.

    Examples
    --------
    >>> print(ptrarray.convert.to_npz("corpus.ptr", "corpus.npz", progress=False))
    3 converted
    >>> np.load("corpus.npz")["utt2"]
    array([4., 5.], dtype=float32)
    """
    with _opened(store) as opened, _new_file(out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:

            def put(name: str, array: Any) -> None:
                with archive.open(f"{archive_path(name)}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

            report = _export(opened, put, progress)
        _note_meta(report, opened, "npz")
    return report


def to_npy(store: _Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as a folder of ``.npy`` files.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`; `out` is the folder.

    Returns
    -------
    Report

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Files are named as arrays are. Slashes, ``%``, a dot in front and what
    cannot be seen are written in hexadecimal, as in URLs: ``utt1/word``
    becomes ``utt1%2Fword.npy``. Imported with ``name="{unquoted}"`` they have
    their names again. Masks go to ``NAME%2F.mask.npy``.

    Examples
    --------
    >>> print(ptrarray.convert.to_npy("corpus.ptr", "corpus", progress=False))
    3 converted
    >>> np.load("corpus/utt2.npy")
    array([4., 5.], dtype=float32)
    """
    with _opened(store) as opened, _new_folder(out) as folder:

        def put(name: str, array: Any) -> None:
            with _new_member(folder, f"{file_name(name)}.npy") as file:
                np.save(file, np.asarray(array), allow_pickle=False)

        report = _export(opened, put, progress)
        _note_meta(report, opened, "npy files")
    return report


def to_pickles(store: _Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as a folder of pickles, one for each array, Series or DataFrame.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`; `out` is the folder, its files are named as by `to_npy`.

    Returns
    -------
    Report

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Examples
    --------
    >>> print(ptrarray.convert.to_pickles("corpus.ptr", "corpus", progress=False))
    3 converted
    """
    with _opened(store) as opened, _new_folder(out) as folder:
        report = Report()
        companions = _companions(opened)
        names = [name for name in opened if name not in companions]
        n_lost = 0
        with bar(progress=progress, total=len(names), unit=" arrays") as shown:
            for name in names:
                try:
                    with _new_member(folder, f"{file_name(name)}.pkl") as file:
                        value = to_pandas(opened, name)
                        pickle.dump(_owned(value), file, protocol=5)
                    report.converted += 1
                except (BadInputError, OSError, ImportError) as error:
                    _raise_if_disk(error)
                    report.failures.append(Failure(name, str(error)))
                n_lost += bool(opened.meta[name].keys() - {"pandas"})
                shown.update(1)
        if n_lost:
            report.notes.append(f"metadata of {n_lost:,} arrays is not kept in pickles")
    return report


def _owned(value: Any) -> Any:
    """Return a value whose pickle has nothing of the store's file in it."""
    return np.array(value, subok=True) if isinstance(value, np.ndarray) else value


def to_h5(
    store: _Store, out: str | os.PathLike[str], *, flat: bool = False, progress: bool = True
) -> Report:
    """Export a store as a file of HDF5.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`.
    flat : bool
        Whether all arrays go end to end into one data set ``rows``, beside
        ``names``, ``starts`` and ``ends``: much faster for many, and only for
        stores of one dtype and row shape without masks. Else each is a data
        set of its own.

    Returns
    -------
    Report
        Dtypes that HDF5 has not (dates, text of numpy) are failures.

    Raises
    ------
    FileExistsError
        If there is something at `out`.
    BadInputError
        For `flat` and a store that is not.

    Notes
    -----
    Data sets are named as by `to_npy`, metadata is an attribute in JSON; both
    are turned back by `from_h5`.

    Examples
    --------
    >>> print(ptrarray.convert.to_h5("corpus.ptr", "corpus.h5", progress=False))
    3 converted
    """
    h5py = import_h5py()
    with _opened(store) as opened, _new_file(out) as file, h5py.File(file, "w") as target:
        if flat:
            return _put_flat(opened, target, h5py, progress)
        target.attrs[LAYOUT] = "named"
        lost = []

        def put(name: str, array: Any) -> None:
            try:
                made = target.create_dataset(file_name(name), data=np.asarray(array))
            except TypeError as error:
                raise BadInputError(f"HDF5 has no dtype {array.dtype}: {error}") from error
            meta = opened.meta[name] if name in opened else {}
            try:
                if meta:
                    made.attrs[META] = json.dumps(meta, allow_nan=False)
            except (TypeError, ValueError, OSError):  # bytes, NaN, or more than an attribute holds
                lost.append(name)

        report = _export(opened, put, progress)
        if lost:
            report.notes.append(f"metadata of {len(lost):,} arrays is not kept in HDF5")
        return report


def _put_flat(store: PointerArray, target: Any, h5py: Any, progress: bool) -> Report:
    if store.layout != "rows" or store.masked:
        kind = "has masks" if store.masked else f"is {store.layout}"
        raise BadInputError(
            f"{store.path} {kind}; flat is for stores of one dtype and row shape, without masks",
            path=store.path,
            found=store.layout,
            expected="rows",
        )
    rows = store.rows
    made = target.create_dataset("rows", shape=rows.shape, dtype=rows.dtype)
    block = max(1, (1 << 24) // max(1, rows[:1].nbytes))
    with bar(progress=progress, total=len(rows), unit=" rows") as shown:
        for start in range(0, len(rows), block):
            made[start : start + block] = rows[start : start + block]
            shown.update(min(block, len(rows) - start))
    target["starts"], target["ends"] = store.starts, store.ends
    names = np.array(list(store.names), object)
    target.create_dataset("names", data=names, dtype=h5py.string_dtype())
    target.attrs[LAYOUT] = "flat"
    report = Report(converted=len(store))
    _note_meta(report, store, "flat HDF5")
    return report


# What they have in common -------------------------------------------------------------------------


@contextmanager
def _opened(store: _Store) -> Iterator[PointerArray]:
    if isinstance(store, PointerArray):
        yield store
        return
    with open_store(store) as opened:
        yield opened


def _export(store: PointerArray, put: _Put, progress: bool) -> Report:
    """Put every array of a store, and its mask if it has one, where `put` puts it."""
    report = Report()
    with bar(progress=progress, total=len(store), unit=" arrays") as shown:
        for name, array in store.items():
            try:
                put(name, np.ma.getdata(array))
                mask = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
                if mask is not None and mask.any():
                    put(name + MASK, mask)
                report.converted += 1
            except (BadInputError, OSError, ValueError) as error:
                _raise_if_disk(error)
                report.failures.append(Failure(name, str(error)))
            shown.update(1)
    if store.masked:
        report.notes.append(f"masks are arrays of their own, NAME{MASK}; fill values are not kept")
    return report


def _raise_if_disk(error: Exception) -> None:
    """Go on only after what is wrong with one name."""
    if isinstance(error, OSError) and error.errno not in (errno.EEXIST, errno.ENAMETOOLONG):
        raise error


def _note_meta(report: Report, store: PointerArray, what: str) -> None:
    n_lost = sum(1 for name in store if store.meta[name])
    if n_lost:
        report.notes.append(f"metadata of {n_lost:,} arrays is not kept in {what}")


def _companions(store: PointerArray) -> set[str]:
    """Return the names of arrays that belong to a Series or DataFrame."""
    found: set[str] = set()
    for name in store:
        about = store.meta[name].get("pandas")
        if about is not None:
            found.update(name + end for end in companions_of(about))
    return found


@contextmanager
def _new_file(out: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when all is written."""
    path = _free(out)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w+b") as file:  # noqa: PTH123 a handle
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        # A link and not a rename, which would replace what came there meanwhile.
        os.link(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def _new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a folder that gets its name when all is written."""
    path = _free(out)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        temporary.rename(path)  # fails if there is a folder by now that is not empty
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _free(out: str | os.PathLike[str]) -> Path:
    path = Path(out).absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to write in", str(path.parent))
    if os.path.lexists(path):
        raise FileExistsError(
            errno.EEXIST, "there is something already, and it is not replaced", str(path)
        )
    return path


def _new_member(folder: Path, name: str) -> IO[bytes]:
    # "x", as file systems may take two names for one: those that differ in case only.
    return (folder / name).open("xb")
