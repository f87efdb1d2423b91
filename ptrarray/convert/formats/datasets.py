"""Folders that Hugging Face's datasets saves: streams of Arrow, and what says which of them count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ptrarray.convert.files import read_json
from ptrarray.convert.formats.arrow import opened_file
from ptrarray.convert.formats.arrow_columns import Columns, Some, found_in, planned, said
from ptrarray.convert.formats.arrow_values import import_pyarrow
from ptrarray.convert.found import Found, Kind, Member, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError

_STATE, _SPLITS, _INFO = "state.json", "dataset_dict.json", "dataset_info.json"
_JSON_NBYTES = 1 << 26
_INDICES = ("_indices_files", "_indices_data_files")  # of old versions


def from_datasets(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    names: str | None = None,
    values: Some = None,
    meta: Some = None,
    **options: Unpack[Options],
) -> Report:
    """Import folders of Hugging Face datasets, which ``save_to_disk`` of a Dataset or DatasetDict wrote.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Such folders, or folders of those.
    store, **options
        As for `from_pickles`.
    names, values, meta
        As for `from_arrow`. Numbers are those of the row in the data set. Of a DatasetDict, names
        begin with that of the split: ``"train/0"``.

    Returns
    -------
    Report

    Notes
    -----
    The folder's ``state.json`` says which files count, and in which order: others that lie there,
    from earlier saves or caches, are not read. Nothing but Arrow data and JSON is read, and the
    library datasets is not needed. Labels are the numbers that they are in the files; what they
    are called becomes an attr of the store, under the name of the column.

    Memory: as of `from_arrow`; the files are not compressed.

    Examples
    --------
    >>> print(ptrarray.convert.from_datasets("speech", "speech.ptr"))  # doctest: +SKIP
    10,000 converted
    """
    import_pyarrow()
    columns = said(names, values, meta, options)
    kind = Kind(
        partial(_members, columns=columns),
        (_STATE, _SPLITS),
        many=True,
        parts=_parts,
        is_one=_is_one,
    )
    return run(kind, paths, store, options)


class _File(NamedTuple):
    """A file of a data set.

    Attributes
    ----------
    path : str
        Where it lies.
    prefix : str
        The split that it is of, with a slash.
    first : int or None
        Number of its first row; None if nobody knows.
    is_first : bool
        Whether it is the first of its data set.
    """

    path: str
    prefix: str
    first: int | None
    is_first: bool


def _is_one(folder: str) -> bool:
    return any(Path(folder, name).is_file() for name in (_STATE, _SPLITS))


def _json(path: Path) -> dict[str, Any]:
    return read_json(path, _JSON_NBYTES)


def _inside(folder: Path, name: Any, said_by: str) -> Path:
    """Return what lies in a folder under a name, which must not lead elsewhere."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise BadInputError(
            f"{said_by} names {name!r:.80}, which is no file of the folder", found=name
        )
    return folder / name


def _data_sets(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the folders of data sets, each with what names in it begin with."""
    if not (folder / _SPLITS).is_file():
        yield "", folder
        return
    splits = _json(folder / _SPLITS).get("splits")
    if not isinstance(splits, list):
        raise BadInputError(f"{_SPLITS} has no list of splits")
    for split in splits:
        yield f"{split}/", _inside(folder, split, _SPLITS)


def _files_of(folder: Path) -> list[Path]:
    """Return the files of a data set, in order."""
    state = _json(folder / _STATE)
    if any(state.get(key) for key in _INDICES):
        raise BadInputError(
            f"{folder.name} is a choice of rows by an old version of datasets: load it and save it again"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise BadInputError(f"{_STATE} of {folder.name} has no list of files")
    return [_inside(folder, file.get("filename"), _STATE) for file in files]


def _parts(path: str) -> list[_File]:
    """Return the files of all splits."""
    return [file for prefix, folder in _data_sets(Path(path)) for file in _numbered(prefix, folder)]


def _numbered(prefix: str, folder: Path) -> Iterator[_File]:
    """Yield the files of a data set, which are numbered up to the first that is damaged."""
    first: int | None = 0
    for at, path in enumerate(_files_of(folder)):
        yield _File(str(path), prefix, first, at == 0)
        try:
            first = None if first is None else first + _n_rows(path)
        except (BadInputError, OSError):
            first = None


def _n_rows(path: Path) -> int:
    return sum(batch.num_rows for batch in opened_file(str(path)).batches)


def _members(path: str, part: _File | None = None, *, columns: Columns) -> Iterator[Found]:
    if part is not None:
        yield from _of_file(Path(path), part, columns)
        return
    for prefix, folder in _data_sets(Path(path)):
        try:
            for file in _numbered(prefix, folder):
                yield from _of_file(Path(path), file, columns)
        except (BadInputError, OSError) as error:
            yield Refused(prefix.removesuffix("/"), str(error))


def _of_file(whole: Path, file: _File, columns: Columns) -> Iterator[Found]:
    pyarrow = import_pyarrow()
    key = str(Path(file.path).relative_to(whole))
    try:
        schema, batches = opened_file(file.path)
        plan = planned(schema, columns)
        if file.is_first:
            yield from plan.notes
            yield from _labels(Path(file.path).parent, file.prefix, plan.metas)
        if plan.names is None and file.first is None:
            raise BadInputError(
                "a file before it is damaged, so nobody knows the numbers of its rows"
            )
        yield from found_in(batches, plan, first=file.first or 0, prefix=file.prefix)
    except (BadInputError, pyarrow.ArrowException, OSError) as error:
        yield Refused(key, str(error))


def _labels(folder: Path, prefix: str, metas: tuple[str, ...]) -> Iterator[Member]:
    """Yield what labels are called that are numbers in metadata."""
    if not (folder / _INFO).is_file():
        return
    features = _json(folder / _INFO).get("features")
    for name in metas:
        about = features.get(name) if isinstance(features, dict) else None
        if isinstance(about, dict) and about.get("_type") == "ClassLabel":
            yield Member(f"{prefix}{name}", partial(_called, about.get("names")), to_attrs=True)


def _called(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInputError(f"{_INFO} does not say what the labels are called")
    return names
