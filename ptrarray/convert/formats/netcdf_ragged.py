"""Ragged arrays in files of netCDF, as CF's discrete sampling geometries have them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.formats.columns import LONG, REPEATED, ids, listed, offsets_of, short
from ptrarray.convert.formats.netcdf_files import Group, Variable
from ptrarray.convert.found import Noted
from ptrarray.errors import BadInputError
from ptrarray.rows.types import Array, Int64s

_NO_COUNTS = (
    "no variable has the attribute sample_dimension or instance_dimension: name the variable of "
    "counts, as counts='rowsize'"
)


class Wanted(NamedTuple):
    """What is to be read of a file.

    Attributes
    ----------
    variables : collection of str, optional
        Of the samples; all of them by default.
    names, counts, sample : str, optional
        The variables of names and counts, and the dimension of the samples.
    """

    variables: Collection[str] | None = None
    names: str | None = None
    counts: str | None = None
    sample: str | None = None


class Ragged(NamedTuple):
    """Variables along a dimension that is cut into arrays.

    Attributes
    ----------
    group : Group
        That they are in.
    by : Variable
        Counts, or numbers of instances.
    instance : str
        The dimension of the arrays.
    offsets : ndarray of int64
        Of the arrays.
    order : ndarray of int64, optional
        Samples by the array that they belong to, where those do not lie end to end.
    samples : dict from str to Variable
        What is cut.
    """

    group: Group
    by: Variable
    instance: str
    offsets: Int64s
    order: Int64s | None
    samples: dict[str, Variable]


def ragged_in(groups: list[Group], wanted: Wanted) -> list[Ragged]:
    """Return the ragged arrays of a file.

    Raises
    ------
    BadInputError
        If there are none, or their counts are wrong.
    """
    found = []
    for group in groups:
        for variable in group.variables.values():
            if wanted.counts is None and "instance_dimension" in variable.attributes:
                found.append(_indexed(group, variable, wanted))
            elif _is_counts(variable, wanted):
                found.append(_contiguous(group, variable, wanted))
    if not found:
        names = sorted(group.at(name) for group in groups for name in group.variables)
        missing = f"no variable is called {wanted.counts!r}" if wanted.counts else _NO_COUNTS
        raise BadInputError(f"{missing}; there are {', '.join(names)[:500] or 'no variables'}")
    _check_wanted(found, wanted)
    return found


def _is_counts(variable: Variable, wanted: Wanted) -> bool:
    if wanted.counts is not None:
        return variable.name == wanted.counts
    return "sample_dimension" in variable.attributes


def _contiguous(group: Group, by: Variable, wanted: Wanted) -> Ragged:
    if len(by.shape) != 1:
        raise BadInputError(f"{by.name} has the shape {by.shape}: expected a count for each array")
    counts = by.read()
    _check_fill(counts, by)
    name = wanted.sample or by.attributes.get("sample_dimension")
    sample = _guessed(group, by, counts) if name is None else group.dimension(str(name))
    samples = _along(group, sample, by)
    total = _length(group, samples, sample, by)
    offsets = offsets_of(counts, total, by.name)
    return Ragged(group, by, by.dimensions[0], offsets, None, samples)


def _guessed(group: Group, by: Variable, counts: Array) -> str:
    """Return the one dimension that counts without an attribute can be of."""
    total = sum(counts.tolist()) if counts.dtype.kind in "iu" else None
    found = {
        variable.dimensions[0]
        for variable in group.variables.values()
        if variable.shape and variable.shape[0] == total and variable is not by
    }
    found.discard(by.dimensions[0])
    if len(found) != 1:
        raise BadInputError(
            f"{by.name} counts {total} rows, and as many has {' and '.join(sorted(found)) or 'no'} "
            "dimension: name the one that is cut, as sample='obs'"
        )
    return found.pop()


def _indexed(group: Group, by: Variable, wanted: Wanted) -> Ragged:
    if len(by.shape) != 1 or by.dtype.kind not in "iu":
        raise BadInputError(f"{by.name} is {by.dtype} of shape {by.shape}: expected integers")
    instance = group.dimension(str(by.attributes["instance_dimension"]))
    n_arrays = _n_instances(group, instance)
    numbers = by.read()
    _check_fill(numbers, by)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= n_arrays):
        at = int(np.flatnonzero((numbers < 0) | (numbers >= n_arrays))[0])
        raise BadInputError(
            f"{by.name}[{at}] is {numbers[at]}: expected 0 to {n_arrays - 1}, along {instance}"
        )
    numbers = numbers.astype(np.int64)
    samples = _along(group, by.dimensions[0], by)
    total = _length(group, samples, by.dimensions[0], by)
    if total != len(numbers):
        raise BadInputError(f"{by.name} has {len(numbers)} numbers for {total} samples")
    is_sorted = bool((np.diff(numbers) >= 0).all())
    order = None if is_sorted else np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=n_arrays)
    return Ragged(group, by, instance, offsets_of(counts, total, by.name), order, samples)


def _n_instances(group: Group, instance: str) -> int:
    """Return how long a dimension is; one without an end is as long as its longest variable."""
    lengths = [
        one.shape[0] for one in group.variables.values() if one.dimensions[:1] == (instance,)
    ]
    if instance not in group.lengths and not lengths:
        raise BadInputError(
            f"there is no dimension {instance}, so it is unknown how many arrays are"
        )
    return max(*lengths, group.lengths.get(instance, 0), 0)


def _check_fill(numbers: Array, by: Variable) -> None:
    for key in ("_FillValue", "missing_value"):
        fill = by.attributes.get(key)
        if isinstance(fill, int) and (missing := np.flatnonzero(numbers == fill)).size:
            raise BadInputError(f"{by.name}[{missing[0]}] is missing: it is its {key} {fill}")


def _along(group: Group, dimension: str, by: Variable) -> dict[str, Variable]:
    return {
        name: variable
        for name, variable in group.variables.items()
        if variable.dimensions[:1] == (dimension,) and variable is not by
    }


def _length(group: Group, samples: dict[str, Variable], dimension: str, by: Variable) -> int:
    lengths = {variable.shape[0] for variable in samples.values()}
    if not lengths:
        raise BadInputError(
            f"{by.name} is of the dimension {dimension}, along which no variable lies"
        )
    return max(lengths)


def _check_wanted(found: list[Ragged], wanted: Wanted) -> None:
    known = {name for ragged in found for name in ragged.samples}
    missing = sorted(set(wanted.variables or ()) - known)
    if missing:
        there = ", ".join(sorted(known))
        raise BadInputError(f"it has no variable {missing[0]!r} of samples; there are {there}")


def table_of(ragged: Ragged, wanted: Wanted) -> tuple[list[str], dict[str, list[Any]], list[Noted]]:
    """Return parts of names of the arrays, what else is known of each by variable, and notes."""
    n_arrays = len(ragged.offsets) - 1
    table, notes = {}, []
    for name, variable in ragged.group.variables.items():
        if variable.dimensions[:1] != (ragged.instance,) or variable is ragged.by:
            continue
        at = ragged.group.at(name)
        if variable.shape[0] != n_arrays:
            notes.append(Noted(at, "variables have no value for some arrays, and are left out"))
            continue
        rows = listed(variable.read())
        if rows is None:
            notes.append(Noted(at, "variables of arrays are of a kind that metadata cannot hold"))
        else:
            table[name] = rows
    called = _named(ragged, table, wanted)
    parts = None if called is None else ids(table[called])
    if parts is not None and called is not None:
        del table[called]
        return parts, table, notes
    if called is not None:
        notes.append(Noted(ragged.group.at(called), REPEATED))
    return [str(i) for i in range(n_arrays)], table, notes


def _named(ragged: Ragged, table: dict[str, list[Any]], wanted: Wanted) -> str | None:
    """Return the variable of names."""
    if wanted.names is not None:
        if wanted.names not in table:
            there = ", ".join(sorted(table)) or "none"
            raise BadInputError(
                f"no variable {wanted.names!r} has names; of the arrays are {there}"
            )
        return wanted.names
    variables = ragged.group.variables
    return next((name for name in table if "cf_role" in variables[name].attributes), None)


def notes_of(groups: list[Group], found: list[Ragged]) -> Iterator[Noted]:
    """Yield what of a file no array keeps."""
    for group in groups:
        if group.has_attributes:
            yield Noted(group.path, "files or groups have attributes, which no array keeps")
        for name in group.links:
            yield Noted(group.at(name), "links to other files are not followed")
        yield from _others(group, [ragged for ragged in found if ragged.group is group])


def _others(group: Group, found: list[Ragged]) -> Iterator[Noted]:
    kept = {name for ragged in found for name in (*ragged.samples, ragged.by.name)}
    instances = {ragged.instance for ragged in found}
    for name, variable in group.variables.items():
        at = group.at(name)
        is_of_arrays = bool(instances & {*variable.dimensions[:1]})
        if name not in kept and not is_of_arrays:
            yield Noted(at, "variables are neither of samples nor of arrays, and are left out")
        elif is_of_arrays and name not in kept and variable.attributes.keys() - {"cf_role"}:
            yield Noted(at, "variables of arrays have attributes, which no metadata keeps")
        elif len(short(variable.attributes)) < len(variable.attributes):
            yield Noted(at, LONG)
        if variable.lost:
            what = "attributes are of a kind that metadata cannot hold"
            yield Noted(f"{at}, {variable.lost[0]}", what)
