"""A store as CF's contiguous ragged arrays: what goes into the file, and writing it by h5netcdf."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.export import parts
from ptrarray.convert.formats.h5_values import import_h5py
from ptrarray.convert.report import Failure, Report
from ptrarray.errors import BadInputError
from ptrarray.progress import bar
from ptrarray.reader import PointerArray
from ptrarray.rows.copying import cut
from ptrarray.rows.types import Array

INSTANCE, OBS, COUNTS, NAME, DATA = "instance", "obs", "rowsize", "name", "data"

_BLOCK_NBYTES = 1 << 24
_NAME = re.compile(r"[A-Za-z_][\w.@+-]*", re.ASCII)  # what every reader takes for one
_NUMBERS = {"missing_value", "valid_min", "valid_max", "valid_range", "actual_range", "flag_values"}
_ATTRIBUTES = _NUMBERS | {
    *("_FillValue", "_Unsigned", "scale_factor", "add_offset", "units", "calendar", "axis"),
    *("standard_name", "long_name", "positive", "flag_meanings", "flag_masks", "comment"),
}
_Kind = tuple[np.dtype[Any], tuple[int, ...]]


class Plan(NamedTuple):
    """What goes into a file.

    Attributes
    ----------
    ids : list of str
        Names of the instances.
    lengths : list of int
        Of each.
    kinds : dict from str to pair
        Dtype and row shape of each variable.
    names : dict from str to list of str
        Of its arrays in the store, one for each instance.
    """

    ids: list[str]
    lengths: list[int]
    kinds: dict[str, _Kind]
    names: dict[str, list[str]]


def planned(store: PointerArray, variables: tuple[str, ...] | None) -> tuple[Report, Plan]:
    """Return a report of what cannot be kept, and what can.

    Parameters
    ----------
    store : PointerArray
        To be exported.
    variables : tuple of str, optional
        The ends of names. By default every name is that of an instance.
    """
    for name in variables or ():
        if not _NAME.fullmatch(name) or name in (INSTANCE, OBS, COUNTS, NAME):
            what = f"the variable {name!r} cannot be called so: expected letters, digits and _"
            raise BadInputError(
                f"{what}, and not {INSTANCE}, {OBS}, {COUNTS} or {NAME}", found=name
            )
    report = Report()
    kinds: dict[str, _Kind] = {}
    found: dict[str, dict[str, int]] = {}  # of each instance, the length of each variable
    for name, array in store.items():
        one, variable = (name, DATA) if variables is None else _split(name)
        problem = _problem(array, one)
        if variables is not None and (variable not in variables or not one):
            problem = f"its name does not end in a slash and one of {', '.join(variables)}"
        kind = kinds.setdefault(variable, _kind_of(array)) if problem is None else None
        if kind is not None and _kind_of(array) != kind:
            problem = f"its rows are {_said(_kind_of(array))}, and those before it {_said(kind)}"
        if problem is not None:
            report.failures.append(Failure(name, problem))
        else:
            found.setdefault(one, {})[variable] = len(array)
    whole = _whole(found, kinds if variables is None else variables, report)
    named = {key: [one if variables is None else f"{one}/{key}" for one in whole] for key in kinds}
    return report, Plan([*whole], [*whole.values()], kinds, named)


def _split(name: str) -> tuple[str, str]:
    one, _, variable = name.rpartition("/")
    return one, variable


def _kind_of(array: Any) -> _Kind:
    return array.dtype, array.shape[1:]


def _said(kind: _Kind) -> str:
    return f"{kind[0]} of shape {kind[1]}"


def _problem(array: Any, name: str) -> str | None:
    """Return why netCDF, as all read it, cannot have an array."""
    dtype = array.dtype
    if not array.ndim:
        return "it has no rows: a number of its own is no ragged array"
    # The library of C crashes on float16 and on long doubles in a file, reads bools as int8 and
    # complex numbers as records.
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
        return f"not every reader of netCDF takes {dtype}: expected integers, float32 or float64"
    if "\0" in name:
        return "its name has a NUL, with which text of netCDF ends"
    if 0 in array.shape[1:]:
        return (
            f"its rows have the shape {array.shape[1:]}, and a length of 0 is unlimited in netCDF"
        )
    if isinstance(array, np.ma.MaskedArray) and any(end for end, _ in parts(array)):
        return "it has masked values: fill them, as netCDF has no masks"
    return None


def _whole(
    found: Mapping[str, Mapping[str, int]], variables: Iterable[str], report: Report
) -> dict[str, int]:
    """Return instances that have all variables, with their length."""
    whole = {}
    names = set(variables)
    for one, lengths in found.items():
        if lengths.keys() == names and len(set(lengths.values())) == 1:
            whole[one] = next(iter(lengths.values()))
            continue
        missing = [name for name in variables if name not in lengths]
        if missing:
            report.failures.append(Failure(one, f"there is no {one}/{missing[0]} in the store"))
        else:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            report.failures.append(Failure(one, f"its variables differ in length: {said}"))
    return whole


def put(
    store: PointerArray, target: Any, plan: Plan, report: Report, progress: bool
) -> Iterator[None]:
    """Write what is planned into a file of h5netcdf that is new, and yield after each block."""
    text = import_h5py().string_dtype()
    target.attrs["Conventions"], target.attrs["featureType"] = "CF-1.11", "trajectory"
    target.dimensions = {INSTANCE: len(plan.ids), OBS: sum(plan.lengths)}
    counts = target.create_variable(COUNTS, (INSTANCE,), "i8", data=np.array(plan.lengths, "i8"))
    counts.attrs["sample_dimension"] = OBS
    names = target.create_variable(NAME, (INSTANCE,), text, data=np.array(plan.ids, object))
    names.attrs["cf_role"] = "trajectory_id"
    table = _Table(store, plan)
    for key, column in table.columns():
        target.create_variable(
            key, (INSTANCE,), column.dtype if column.dtype != object else text, data=column
        )
    with bar(progress=progress, total=sum(map(len, plan.names.values())), unit=" arrays") as shown:
        for variable, kind in plan.kinds.items():
            made = _created(target, variable, kind, table)
            row_nbytes = kind[0].itemsize * math.prod(kind[1])
            at = 0
            for block, n_arrays in _blocks(store, plan.names[variable], plan.lengths, row_nbytes):
                made[at : at + len(block)] = block
                at += len(block)
                shown.update(n_arrays)
                yield
    report.converted += sum(map(len, plan.names.values()))
    if table.lost:
        shown_keys = ", ".join(sorted(table.lost)[:5])
        report.notes.append(
            f"metadata of {len(table.lost)} keys is not kept in netCDF: {shown_keys}"
        )


def _created(target: Any, variable: str, kind: _Kind, table: _Table) -> Any:
    dtype, row_shape = kind
    axes = [f"{variable}_axis{i}" for i in range(1, len(row_shape) + 1)]
    for axis, length in zip(axes, row_shape, strict=True):
        target.dimensions[axis] = length
    attributes = dict(table.attributes(variable, dtype))
    fill = attributes.pop("_FillValue", None)
    made = target.create_variable(variable, (OBS, *axes), dtype, fillvalue=fill)
    for key, value in attributes.items():
        made.attrs[key] = value
    return made


def _blocks(
    store: PointerArray, names: list[str], lengths: list[int], row_nbytes: int
) -> Iterator[tuple[Array, int]]:
    """Yield the rows of arrays, as many together as make a block, and how many those are."""
    for low, high in cut(np.array(lengths, np.int64) * row_nbytes, _BLOCK_NBYTES):
        yield np.ma.getdata(store.take(names[low:high]).values), high - low


class _Table:
    """The metadata of what is planned: attributes of variables, columns of instances, and the rest.

    Attributes
    ----------
    lost : set of str
        Keys that a file cannot have.
    """

    def __init__(self, store: PointerArray, plan: Plan) -> None:
        self._n_instances = len(plan.ids)
        self._same: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, dict[int, Any]] = {}
        self.lost: set[str] = set()
        for variable, names in plan.names.items():
            metas = [store.meta[name] for name in names]
            self._same[variable] = _same_in_all(metas)
            for i, meta in enumerate(metas):
                for key in meta.keys() - self._same[variable].keys():
                    kept = self._rows.setdefault(key, {}).setdefault(i, meta[key])
                    if not _equal(kept, meta[key]):  # another variable's
                        self.lost.add(key)
        self._taken = {INSTANCE, OBS, COUNTS, NAME, *plan.kinds}

    def columns(self) -> Iterator[tuple[str, Array]]:
        """Yield those that are variables of instances, text as objects."""
        for key, by_number in self._rows.items():
            values = [by_number.get(i) for i in range(self._n_instances)]
            column = _column_of(values)
            if key in self.lost or key in self._taken or not _NAME.fullmatch(key) or column is None:
                self.lost.add(key)
            else:
                yield key, column

    def attributes(self, variable: str, dtype: np.dtype[Any]) -> Iterator[tuple[str, Any]]:
        """Yield what is an attribute of a variable, in its dtype where it has to be."""
        for key, value in self._same[variable].items():
            plain = value if isinstance(value, str) else _numbers(value)
            if plain is not None and (key in _NUMBERS or key == "_FillValue"):
                plain = _cast(plain, dtype)
            if plain is None or (isinstance(plain, str) and "\0" in plain):
                self.lost.add(key)
            else:
                yield key, plain


def _same_in_all(metas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what CF has for attributes, and has one value in all metadata."""
    if not metas:
        return {}
    first = {key: value for key, value in metas[0].items() if key in _ATTRIBUTES}
    return {
        key: value
        for key, value in first.items()
        if all(key in meta and _equal(meta[key], value) for meta in metas)
    }


def _equal(one: Any, other: Any) -> bool:
    is_nan = one != one and other != other  # noqa: PLR0124 NaN, which netCDF fills with
    return type(one) is type(other) and (one == other or is_nan)


def _column_of(values: list[Any]) -> Array | None:
    """Return a column of one type, if the values make one."""
    kinds = set(map(type, values))
    if kinds == {str} and not any("\0" in value for value in values):
        return np.array(values, object)
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return np.array(values, np.int64)
    return np.array(values, np.float64) if kinds == {float} else None


def _numbers(value: Any) -> Array | None:
    items = value if isinstance(value, list) else [value]
    column = _column_of(items) if items else None
    if column is None or column.dtype == object:
        return None
    return column if isinstance(value, list) else column[0]


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return numbers in the dtype of a variable; None if they would not be the same."""
    if isinstance(value, str):
        return None
    with np.errstate(all="ignore"):
        cast = np.asarray(value).astype(dtype)
    is_same = np.array_equal(cast.astype(np.asarray(value).dtype), value, equal_nan=True)
    return cast[()] if is_same else None
