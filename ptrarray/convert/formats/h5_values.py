"""Values and attributes of HDF5 data sets, those of variable length among them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np

from ptrarray.convert.unpickle.rebuild import Unreadable
from ptrarray.errors import BadInputError, import_extra
from ptrarray.format.dtypes import decode, encode

DTYPE = "ptrarray_dtype"  # an attribute of dates, which are integers in HDF5
CODED = {"scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"}
AS_STORED = (
    "sets come as they are stored: scale_factor, add_offset, _FillValue, missing_value or "
    "_Unsigned in their metadata says what their numbers stand for"
)

# References of dimension scales, which HDF5 itself may read for ever in a damaged file.
_OF_SCALES = {"DIMENSION_LIST", "REFERENCE_LIST"}
# What netCDF-4 calls the data set of a dimension that has no variable.
_ONLY_DIMENSION = "This is a netCDF dimension but not a netCDF variable"


def import_h5py(extra: str = "h5") -> Any:
    """Return h5py, which is in the extra.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    return import_extra("h5py", f"files of HDF5 need h5py: pip install 'ptrarray[{extra}]'")


def opened_h5(path: str, **options: Any) -> Any:
    """Return a file of HDF5 that was opened for reading.

    Raises
    ------
    BadInputError
        If it is none.
    """
    try:
        return import_h5py().File(path, "r", **options)
    except OSError as error:
        raise BadInputError(f"it cannot be opened as HDF5: {error}") from error


def linked(group: Any, raw: bytes) -> Any:
    """Return a group or data set by its bytes, False for what is there anyway, else None."""
    h5py = import_h5py()
    kind = group.id.links.get_info(raw).type
    if kind != h5py.h5l.TYPE_HARD:
        return False if kind == h5py.h5l.TYPE_SOFT else None
    opened = h5py.h5o.open(group.id, raw)
    kinds = {h5py.h5g.GroupID: h5py.Group, h5py.h5d.DatasetID: h5py.Dataset}
    return kinds[type(opened)](opened) if type(opened) in kinds else False


def is_kept(value: Any) -> bool:
    """Tell whether metadata can hold a value."""
    try:
        msgpack.packb(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_coded(meta: Mapping[str, Any]) -> bool:
    """Tell whether attributes say that numbers stand for others, or for nothing."""
    return any(not _is_nan(meta[key]) for key in CODED & meta.keys())


def _is_nan(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, float) and math.isnan(first)


def is_only_dimension(meta: Mapping[str, Any]) -> bool:
    """Tell whether a data set is there for the length of a dimension of netCDF only."""
    name = meta.get("NAME", "")
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    return text.startswith(_ONLY_DIMENSION)


def read(item: Any) -> Any:
    """Return what is in a data set: an array, or by key what is of variable length in it."""
    if item.is_virtual or item.external:
        raise BadInputError("its values are in other files")
    if item.shape is None:
        raise BadInputError("it is empty, without a shape")
    return values(item, ()) if _has_dates(item) else _apart(item[()], item.dtype, item.ndim)


def _has_dates(item: Any) -> bool:
    try:
        return bool(DTYPE in item.attrs)
    except RuntimeError:  # its attributes are damaged, which is a failure of its own
        return False


def values(item: Any, index: Any) -> Any:
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


def create(target: Any, name: str, array: Any, **options: Any) -> Any:
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


def _apart(value: Any, dtype: np.dtype[Any], n_axes: int) -> Any:
    """Return what h5py read, with fields and elements of variable length under keys of their own.

    Parameters
    ----------
    value, dtype
        As h5py has them.
    n_axes : int
        How many axes the value has that are not within one element.
    """
    h5py = import_h5py()
    if not dtype.hasobject:
        return value
    if dtype.subdtype is not None:
        return _apart(value, dtype.base, n_axes + len(dtype.shape))
    if dtype.names is not None:
        # One record is no array, and its fields would forget their byte order.
        fields = np.asarray(value)
        return {name: _apart(fields[name], dtype[name], n_axes) for name in dtype.names}
    if getattr(value, "shape", None) == ():
        value = value[()]
    inner = h5py.check_vlen_dtype(dtype)
    if not isinstance(inner, np.dtype):
        return Unreadable(f"it holds {_described(dtype)}")
    if n_axes:
        by_number = {i: _apart(item, dtype, n_axes - 1) for i, item in enumerate(value)}
        return by_number or Unreadable("it has no elements, each of which would be an array")
    return _apart(_in_its_order(value, inner), inner, 1)


def _in_its_order(element: Any, dtype: np.dtype[Any]) -> Any:
    """Return an element of variable length with the byte order that its file has."""
    plain = dtype.base
    if element.dtype == plain or plain.hasobject or not _takes_all_for_native(import_h5py()):
        return element
    return element.view(plain)


@lru_cache
def _takes_all_for_native(h5py: Any) -> bool:
    """Tell whether h5py says of every element that it is in the machine's byte order.

    It does from 3.11 to 3.16, whatever is asked for. A later one may not, so it is tried.
    """
    other = np.dtype("i2").newbyteorder("S")
    with h5py.File("probe", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("x", 1, h5py.vlen_dtype(other))
        made[0] = np.array([1], other)
        return bool(made[0][0] != 1)


def _described(dtype: np.dtype[Any]) -> str:
    h5py = import_h5py()
    if h5py.check_string_dtype(dtype):
        return "text of variable length"
    return "references into its file" if h5py.check_ref_dtype(dtype) else "Python objects"


def attributes(item: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and plain value of each attribute, or `Unreadable` for its value.

    References are left out, as they lead to other parts of the file only, and what says which
    integers are dates. Under an empty name comes that not even their names can be read.
    """
    try:
        keys = list(item.attrs)
    except Exception as error:  # noqa: BLE001 h5py raises whatever it meets
        yield "", Unreadable(str(error))
        return
    for key in keys:
        name = decoded(key) if isinstance(key, bytes) else key
        if name == DTYPE or name in _OF_SCALES:
            continue
        try:
            value = item.attrs[key]
            if isinstance(value, str | bytes):
                yield name, value
            elif isinstance(value, np.generic) and not value.dtype.hasobject:
                yield name, value.tolist()
            elif not _has_references(dtype := item.attrs.get_id(key).dtype):
                yield name, _plain(value, dtype)
        except Exception as error:  # noqa: BLE001 h5py raises whatever it meets
            yield name, Unreadable(f"{type(error).__name__}: {error}")


def decoded(name: bytes) -> str:
    """Return a name as text; one that is no UTF-8 is older, and of Latin-1."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _has_references(dtype: np.dtype[Any]) -> bool:
    h5py = import_h5py()
    if dtype.names is not None:
        return any(_has_references(dtype[name]) for name in dtype.names)
    inner = h5py.check_vlen_dtype(dtype.base)
    if isinstance(inner, np.dtype):
        return _has_references(inner)
    return h5py.check_ref_dtype(dtype.base) is not None


def _plain(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(import_h5py().check_vlen_dtype(dtype), np.dtype):
        return _listed(_apart(value, dtype, np.ndim(value) if value.dtype.hasobject else 0))
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value  # or Empty


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return [_listed(item) for item in value.values()]
    return value.tolist() if isinstance(value, np.ndarray) else value
