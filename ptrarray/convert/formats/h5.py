"""Files of HDF5: data sets by name, or many arrays end to end in one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Unpack

import msgpack
import numpy as np

from ptrarray.convert.escape import file_name, unescape
from ptrarray.convert.export import Store, export, new_file, note_meta, opened
from ptrarray.convert.report import Report
from ptrarray.convert.run import Kind, Member, Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError, import_extra
from ptrarray.format.dtypes import decode, encode
from ptrarray.progress import bar
from ptrarray.reader import PointerArray

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
LAYOUT = "ptrarray"  # an attribute of files that `to_h5` wrote
META = "ptrarray_meta"
DTYPE = "ptrarray_dtype"  # an attribute of dates, which are integers in HDF5


def import_h5py() -> Any:
    """Return h5py.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    return import_extra("h5py", "files of HDF5 need h5py: pip install h5py")


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
    Of variable-length data sets each element becomes an array (``key/0``, …).
    A flat file of `to_h5` becomes the arrays that it was made from. Links to
    other files are not followed.

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


def _members(path: str) -> Iterator[Member]:
    h5py = import_h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise BadInputError(f"it cannot be opened as HDF5: {error}") from error
    with file:
        if file.attrs.get(LAYOUT) == "flat":
            yield from _of_flat(file)
        else:
            yield from _of_group(file, "", h5py, set())


def _of_flat(file: Any) -> Iterator[Member]:
    rows, starts, ends = file["rows"], file["starts"][()], file["ends"][()]
    for i, name in enumerate(file["names"].asstr()[()]):
        yield Member(str(name), partial(_values, rows, slice(starts[i], ends[i])))


def _of_group(group: Any, path: str, h5py: Any, above: set[int]) -> Iterator[Member]:
    address = h5py.h5o.get_info(group.id).addr
    if address in above:  # a group may be linked from below
        return
    is_escaped = group.file.attrs.get(LAYOUT) == "named"
    for key in group:
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            continue  # soft ones show what is there anyway, external ones another file
        item = group[key]
        whole = f"{path}/{key}" if path else key
        if isinstance(item, h5py.Group):
            yield from _of_group(item, whole, h5py, above | {address})
        elif isinstance(item, h5py.Dataset):
            name = unescape(whole) if is_escaped else whole
            yield Member(name, partial(_read, item, h5py), _meta_of(item))


def _read(item: Any, h5py: Any) -> Any:
    if item.is_virtual or item.external:
        raise BadInputError("its values are in other files")
    if item.shape is None:
        raise BadInputError("it is empty, without a shape")
    inner = h5py.check_vlen_dtype(item.dtype)
    if isinstance(inner, np.dtype) and item.ndim == 1:
        return dict(enumerate(item[()]))
    if item.dtype.hasobject:
        raise BadInputError(f"it holds {_described(item.dtype, h5py)}")
    return _values(item, ())


def _values(item: Any, index: Any) -> Any:
    """Return values of a data set, dates as what they are if `to_h5` wrote them."""
    if DTYPE not in item.attrs:
        return item[index]
    descr = json.loads(item.attrs[DTYPE])
    values = np.asarray(item[index])
    if values.dtype != decode(_without_dates(descr)):
        raise BadInputError(f"it holds {values.dtype}, its attribute {DTYPE} says {descr}")
    return values.view(decode(descr))


def _without_dates(descr: Any) -> Any:
    """Return the descr of a dtype with integers where dates are."""
    if isinstance(descr, str):
        return re.sub(r"^([<>])[mM]8\b.*", r"\1i8", descr)
    return [[field[0], _without_dates(field[1]), *field[2:]] for field in descr]


def _create(target: Any, name: str, array: Any, **options: Any) -> Any:
    """Make a data set like an array, of its values or empty; of dates, of integers."""
    descr = encode(array.dtype)
    numbers = _without_dates(descr)
    if numbers != descr:
        array = array.view(decode(numbers))
    options = options or {"data": array}
    try:
        made = target.create_dataset(name, dtype=array.dtype, **options)
    except TypeError as error:
        raise BadInputError(f"HDF5 has no dtype {array.dtype}: {error}") from error
    if numbers != descr:
        made.attrs[DTYPE] = json.dumps(descr)
    return made


def _described(dtype: Any, h5py: Any) -> str:
    return "text of variable length" if h5py.check_string_dtype(dtype) else "Python objects"


def _meta_of(item: Any) -> dict[str, Any]:
    """Return the attributes that metadata can hold."""
    if META in item.attrs:
        meta: dict[str, Any] = json.loads(item.attrs[META])
        return meta
    found = {}
    for key, value in item.attrs.items():
        if key == DTYPE:
            continue
        plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        try:
            msgpack.packb(plain)
        except (TypeError, ValueError, OverflowError):
            continue
        found[key] = plain
    return found


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
    with opened(store) as source, new_file(out) as file, h5py.File(file, "w") as target:
        if flat:
            return _put_flat(source, target, h5py, progress)
        target.attrs[LAYOUT] = "named"
        lost = []

        def put(name: str, array: Any) -> None:
            made = _create(target, file_name(name), np.asarray(array))
            meta = source.meta[name] if name in source else {}
            try:
                if meta:
                    made.attrs[META] = json.dumps(meta, allow_nan=False)
            except (TypeError, ValueError, OSError):  # bytes, NaN, or more than an attribute holds
                lost.append(name)

        report = export(source, put, progress)
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
    made = _create(target, "rows", rows[:0], shape=rows.shape)
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
