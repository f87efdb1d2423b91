"""Files of HDF5: data sets by name, or many arrays end to end in one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Unpack

import numpy as np

from ptrarray.convert.escape import file_name, unescape
from ptrarray.convert.export import Store, export, lost_meta, new_file, note_meta, opened
from ptrarray.convert.formats.h5_late import written_late
from ptrarray.convert.formats.h5_values import (
    AS_STORED,
    DTYPE,
    attributes,
    create,
    decoded,
    import_h5py,
    is_coded,
    is_kept,
    is_only_dimension,
    linked,
    opened_h5,
    read,
    values,
)
from ptrarray.convert.found import Found, Kind, Member, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.convert.unpickle.rebuild import Unreadable
from ptrarray.errors import BadInputError
from ptrarray.progress import bar
from ptrarray.reader import PointerArray

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".nc", ".nc4")
LAYOUT = "ptrarray"  # an attribute of files that `to_h5` wrote
META = "ptrarray_meta"

_OF_FILES = {LAYOUT, "_NCProperties"}


def from_h5(paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]) -> Report:
    """Import the data sets of HDF5 files, with their attributes as metadata.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default the paths of the data sets,
        or with several files ``"{stem}/{key}"``.

    Returns
    -------
    Report

    Notes
    -----
    Of variable-length data sets each element becomes an array (``key/0``, …, or
    ``key/0/0``, … for one of two axes), and of records with such elements each
    field. A flat file of `to_h5` becomes the arrays that it was made from.
    Links to other files are not followed. Numbers come as they are stored,
    where netCDF would scale them; bit fields, as PyTables has bools, are uint8,
    as h5py reads them. The report has a note on what was left out.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("run.h5", "w") as file:
    ...     file["speed/mean"] = np.arange(3)
    >>> print(ptrarray.convert.from_h5("run.h5", "any.ptr", progress=False))
    1 converted
    >>> list(ptrarray.open("any.ptr"))
    ['speed/mean']
    """
    import_h5py()
    return run(Kind(_members, SUFFIXES, many=True), paths, store, options)


_NameOf = Callable[[str], str]


def _members(path: str) -> Iterator[Found]:
    with opened_h5(path) as file:
        if file.attrs.get(LAYOUT) == "flat":
            yield from _of_flat(file)
        else:
            name_of = unescape if file.attrs.get(LAYOUT) == "named" else str
            yield from _of_group(file, "", name_of, set())


def _of_flat(file: Any) -> Iterator[Member]:
    rows, starts, ends = file["rows"], file["starts"][()], file["ends"][()]
    for i, name in enumerate(file["names"].asstr()[()]):
        yield Member(str(name), partial(values, rows, slice(starts[i], ends[i])))


def _of_group(group: Any, path: str, name_of: _NameOf, above: set[int]) -> Iterator[Found]:
    address = import_h5py().h5o.get_info(group.id).addr
    if address in above:  # a group may be linked from below
        return
    if any(key not in _OF_FILES for key, _ in attributes(group)):
        yield Noted(path, "groups have attributes, which no array keeps")
    for raw in group.id:
        yield from _of_link(group, raw, path, name_of, above | {address})


def _of_link(
    group: Any, raw: bytes, path: str, name_of: _NameOf, above: set[int]
) -> Iterator[Found]:
    h5py = import_h5py()
    key = decoded(raw)
    whole = f"{path}/{key}" if path else key
    if raw != key.encode():
        yield Noted(whole, "names are no UTF-8, and read as Latin-1")
    try:
        item = linked(group, raw)
        if isinstance(item, h5py.Group):
            yield from _of_group(item, whole, name_of, above)
        elif item is None:
            yield Noted(whole, "links to other files are not followed")
        elif item:
            yield from _of_set(item, name_of(whole))
    except Exception as error:  # noqa: BLE001 h5py raises whatever it meets
        yield Refused(whole, f"it cannot be opened: {error}")


def _of_set(item: Any, name: str) -> Iterator[Found]:
    meta = {}
    for key, value in attributes(item):
        if isinstance(value, Unreadable):
            which = f"attribute {key!r}" if key else "attributes"
            yield Refused(name, f"its {which} cannot be read: {value.problem}")
        elif key == META:
            meta = _parsed(value)
            break
        elif is_kept(value):
            meta[key] = value
        else:
            yield Noted(f"{name}, {key}", "attributes are of a kind that metadata cannot hold")
    if is_only_dimension(meta):
        yield Noted(name, "dimensions of netCDF have no values, and are left out")
        return
    if is_coded(meta):
        yield Noted(name, AS_STORED)
    yield Member(name, partial(read, item), meta)


def _parsed(value: Any) -> dict[str, Any]:
    """Return metadata that an export wrote as JSON; as an attribute what is none."""
    with suppress(TypeError, ValueError):
        found = json.loads(value)
        if isinstance(found, dict):
            return found
    return {META: value}


def to_h5(
    store: Store, out: str | os.PathLike[str], *, flat: bool = False, progress: bool = True
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
        Text of numpy, which HDF5 has not, is a failure.

    Raises
    ------
    FileExistsError
        If there is something at `out`.
    BadInputError
        For `flat` and a store that is not.

    Notes
    -----
    Data sets are named as by `to_npy`, metadata is an attribute in JSON. Dates
    and spans of time are integers, as HDF5 has none, beside an attribute
    ``ptrarray_dtype`` that says what they count. `from_h5` turns all of this back.

    Examples
    --------
    >>> print(ptrarray.convert.to_h5("corpus.ptr", "corpus.h5", progress=False))
    3 converted
    """
    h5py = import_h5py()
    with (
        opened(store) as source,
        new_file(out) as file,
        written_late(file) as late,
        h5py.File(late, "w") as target,
    ):
        if flat:
            return _put_flat(source, target, h5py, progress)
        target.attrs[LAYOUT] = "named"
        lost = []

        def put(name: str, array: Any) -> None:
            made = create(target, file_name(name), np.asarray(array))
            meta = source.meta[name] if name in source else {}
            try:
                if meta:
                    made.attrs[META] = json.dumps(meta, allow_nan=False)
            except (TypeError, ValueError, OSError):  # bytes, NaN, or more than an attribute holds
                lost.append(name)
            late.check()

        report = export(source, put, progress)
        if lost:
            report.notes.append(lost_meta(len(lost), "HDF5"))
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
    made = create(target, "rows", rows[:0], shape=rows.shape)
    numbers = made.dtype if DTYPE in made.attrs else rows.dtype
    block = max(1, (1 << 24) // max(1, rows[:1].nbytes))
    with bar(progress=progress, total=len(rows), unit=" rows") as shown:
        for start in range(0, len(rows), block):
            made[start : start + block] = rows[start : start + block].view(numbers)
            shown.update(min(block, len(rows) - start))
    target["starts"], target["ends"] = store.starts, store.ends
    names = np.array(list(store.names), object)
    target.create_dataset("names", data=names, dtype=h5py.string_dtype())
    target.attrs[LAYOUT] = "flat"
    report = Report(converted=len(store))
    note_meta(report, store, "flat HDF5")
    return report
