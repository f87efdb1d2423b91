"""Files of netCDF as groups of variables that are read by ranges of rows: netCDF-4 by h5py, netCDF-3 by scipy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.formats.h5_columns import (
    CACHE_NBYTES,
    check_sizes,
    groups,
    is_read,
    kept_attributes,
    read_rows,
)
from ptrarray.convert.formats.h5_values import decoded, import_h5py, is_only_dimension, opened_h5
from ptrarray.errors import BadInputError, import_extra
from ptrarray.rows.types import Array

_SCIPY = "files of netCDF-3 need scipy: pip install 'ptrarray[netcdf]'"
_CLASSIC, _CDF5 = (b"CDF\1", b"CDF\2"), b"CDF\5"
# What variables of netCDF-4 have in HDF5 that is no attribute of theirs.
_OF_HDF5 = {"CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict"}
_OF_FILES = {"_NCProperties", "_nc3_strict", "Conventions", "featureType"}
# Before the name of a variable that is called like a dimension it does not lie along.
_NOT_COORDINATE = "_nc4_non_coord_"


class Variable(NamedTuple):
    """A variable that was not read yet.

    Attributes
    ----------
    name : str
        In its group.
    dimensions : tuple of str
        Each with the path of its group before it.
    shape, dtype
        As stored.
    attributes : dict
        Those that metadata can hold.
    lost : tuple of str
        Names of the others.
    check : callable
        Raises if the file cannot hold what it claims.
    rows : callable
        Reads a range of rows.
    """

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    lost: tuple[str, ...]
    check: Callable[[], object]
    rows: Callable[[int, int], Array]

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def is_read(self) -> bool:
        """Whether its values are of a kind that is read."""
        return is_read(self.dtype)

    def read(self) -> Array:
        """Return all rows."""
        self.check()
        return self.rows(0, self.shape[0])


class Group(NamedTuple):
    """A group of variables.

    Attributes
    ----------
    path : str
        Empty for that of the file.
    variables : dict from str to Variable
        By name.
    lengths : dict from str to int
        Of dimensions of the file, as far as they are known.
    has_attributes : bool
        Whether it has some that say more than what kind of file this is.
    links : tuple of str
        Names of what is in other files.
    """

    path: str
    variables: Mapping[str, Variable]
    lengths: Mapping[str, int]
    has_attributes: bool
    links: tuple[str, ...] = ()

    def dimension(self, name: str) -> str:
        """Return a dimension by its name, of the nearest group that has it."""
        known = {one for variable in self.variables.values() for one in variable.dimensions}
        known |= self.lengths.keys()
        parts = self.path.split("/")
        places = ("/".join(parts[:n]) for n in range(len(parts), -1, -1))
        wanted = [f"{place}/{name}".lstrip("/") for place in places]
        return next((one for one in wanted if one in known), wanted[-1])

    def at(self, name: str) -> str:
        """Return the path of what has a name in the group."""
        return f"{self.path}/{name}" if self.path else name


@contextmanager
def opened(path: str) -> Iterator[list[Group]]:
    """Open a file of netCDF for a ``with`` block, whose variables can be read in it.

    Raises
    ------
    BadInputError
        If it is none.
    ImportError
        If a library is missing for it.
    """
    with open(path, "rb") as raw:  # noqa: PTH123 a path as it was given
        magic = raw.read(4)
    if magic == _CDF5:
        what = "it is of netCDF's 64-bit data format (CDF-5), which scipy cannot read"
        raise BadInputError(f"{what}: make it netCDF-4, as by nccopy -k nc4")
    if magic in _CLASSIC:
        with _opened_classic(path) as file:
            yield [_classic_group(file)]
    else:
        with opened_h5(path, rdcc_nbytes=CACHE_NBYTES) as file:
            yield list(_groups(file))


class _Scales:
    """The dimensions of a file of netCDF-4: data sets that others are attached to.

    Attributes
    ----------
    lengths : dict from str to int
        By their paths: of one without an end, the most that any variable has.
    """

    def __init__(self, found: list[tuple[str, Any, dict[str, Any]]]) -> None:
        self._info = import_h5py().h5o.get_info
        self.lengths: dict[str, int] = {}
        self._at: dict[int, str] = {}  # by address
        self._numbered: dict[int, str] = {}
        for path, _, sets in found:
            for name, item in sets.items():
                if item is not None and item.is_scale and item.ndim:
                    at = f"{path}/{name}".lstrip("/")
                    self.lengths[at] = item.shape[0]
                    self._at[self._info(item.id).addr] = at
                    self._numbered[int(item.attrs.get("_Netcdf4Dimid", -1))] = at
        for item in (item for _, _, sets in found for item in sets.values() if item is not None):
            for at, length in zip(self.of(item), item.shape or (), strict=False):
                if at in self.lengths:
                    self.lengths[at] = max(self.lengths[at], length)

    def of(self, item: Any) -> tuple[str, ...]:
        """Return the dimensions of a data set."""
        if "_Netcdf4Coordinates" in item.attrs:  # a scale that has others itself
            ids = np.atleast_1d(item.attrs["_Netcdf4Coordinates"]).tolist()
            return tuple(self._numbered.get(one, "") for one in ids)
        if item.is_scale and item.ndim == 1:
            return (self._path(item),)
        return tuple(self._path(axis[0]) if len(axis) else "" for axis in item.dims)

    def shape(self, item: Any, dimensions: tuple[str, ...]) -> tuple[int, ...]:
        """Return the shape of a data set, each axis as long as its dimension is."""
        own: tuple[int, ...] = item.shape or ()
        along = [*dimensions, *[""] * len(own)]  # there are fewer in a damaged file
        return tuple(self.lengths.get(at, n) for n, at in zip(own, along, strict=False))

    def _path(self, scale: Any) -> str:
        return self._at.get(self._info(scale.id).addr, "")


def _groups(file: Any) -> Iterator[Group]:
    found = list(groups(file))
    scales = _Scales(found)
    for path, group, sets in found:
        made = {}
        for key, item in sets.items():
            if item is None:
                continue
            kept, lost = kept_attributes(item)
            if is_only_dimension(kept):
                continue
            name, dimensions = key.removeprefix(_NOT_COORDINATE), scales.of(item)
            shape = scales.shape(item, dimensions)
            made[name] = Variable(
                name,
                dimensions,
                shape,
                item.dtype,
                {key: value for key, value in kept.items() if key not in _OF_HDF5},
                tuple(lost),
                partial(check_sizes, item, shape),
                partial(_filled_rows, item, shape),
            )
        links = tuple(name for name, item in sets.items() if item is None)
        has_attributes = bool(group.attrs.keys() - _OF_FILES)
        yield Group(path, made, scales.lengths, has_attributes, links)


def _filled_rows(item: Any, shape: tuple[int, ...], first: int, last: int) -> Array:
    """Return rows of a variable; where others in its file are longer, it is as if it was filled."""
    if item.shape == shape:
        return read_rows(item, first, last)
    fill = b"" if item.dtype.hasobject else item.fillvalue
    rows = np.full((last - first, *shape[1:]), fill, item.dtype)
    there = read_rows(item, min(first, len(item)), min(last, len(item)))
    rows[tuple(map(slice, there.shape))] = there
    return rows


@contextmanager
def _opened_classic(path: str) -> Iterator[Any]:
    scipy = import_extra("scipy.io", _SCIPY)
    try:
        file = scipy.netcdf_file(path, "r", mmap=True)
    except Exception as error:  # whatever it meets
        problem = f"{type(error).__name__}: {error}"
        raise BadInputError(
            f"it is damaged, scipy cannot read it as netCDF-3: {problem}"
        ) from error
    try:
        yield file
    finally:
        with warnings.catch_warnings():  # it warns of views that are left where a block has failed
            warnings.simplefilter("ignore", RuntimeWarning)
            file.close()


def _classic_group(file: Any) -> Group:
    made = {}
    for name, variable in file.variables.items():
        shape, dtype = tuple(variable.shape), variable.data.dtype
        attributes = {key: _plain(value) for key, value in variable._attributes.items()}
        read = partial(_classic_rows, file, name)
        dimensions = tuple(variable.dimensions)
        made[name] = Variable(name, dimensions, shape, dtype, attributes, (), _nothing, read)
    lengths = {name: length for name, length in file.dimensions.items() if length is not None}
    return Group("", made, lengths, bool(file._attributes.keys() - _OF_FILES))


def _nothing() -> None:
    """Do nothing: scipy has seen that the file is long enough."""


def _classic_rows(file: Any, name: str, first: int, last: int) -> Array:
    # A copy, for its arrays are views of a mapping that goes when the file is closed.
    return np.array(file.variables[name].data[first:last], order="C")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return decoded(value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
