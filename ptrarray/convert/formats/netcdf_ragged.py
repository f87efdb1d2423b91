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
        Counts, or numbers of instances, of this group or one above.
    beside : dict from str to pair of Group and Variable
        Others along the dimension of the arrays, of this group or that of `by`.
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
    beside: dict[str, tuple[Group, Variable]]
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
    cuts = list(_cuts(groups, wanted))
    if not cuts:
        names = sorted(group.at(name) for group in groups for name in group.variables)
        missing = f"no variable is called {wanted.counts!r}" if wanted.counts else _NO_COUNTS
        raise BadInputError(f"{missing}; there are {', '.join(names)[:500] or 'no variables'}")
    found = [ragged for cut in cuts for ragged in _cut_by(cut, cuts, groups, wanted)]
    _check_wanted(found, wanted)
    return found


def _is_counts(variable: Variable, wanted: Wanted) -> bool:
    if wanted.counts is not None:
        return variable.name == wanted.counts
    return "sample_dimension" in variable.attributes


class _Cut(NamedTuple):
    """A dimension that is cut, by a variable of a group; which all groups in it see."""

    group: Group
    by: Variable
    sample: str


def _cuts(groups: list[Group], wanted: Wanted) -> Iterator[_Cut]:
    for group in groups:
        for by in group.variables.values():
            if wanted.counts is None and "instance_dimension" in by.attributes:
                if len(by.shape) != 1 or by.dtype.kind not in "iu":
                    what = f"{by.name} is {by.dtype} of shape {by.shape}"
                    raise BadInputError(f"{what}: expected integers")
                yield _Cut(group, by, by.dimensions[0])
            elif _is_counts(by, wanted):
                if len(by.shape) != 1:
                    what = f"{by.name} has the shape {by.shape}"
                    raise BadInputError(f"{what}: expected a count for each array")
                name = wanted.sample or by.attributes.get("sample_dimension")
                yield _Cut(
                    group, by, _guessed(group, by) if name is None else group.dimension(str(name))
                )


def _cut_by(cut: _Cut, cuts: list[_Cut], groups: list[Group], wanted: Wanted) -> Iterator[Ragged]:
    """Yield what is cut so, for each group that has some of it and sees nothing nearer."""
    group, by, sample = cut
    others = [one.group.path for one in cuts if one.sample == sample]
    samples = []
    for one in groups:
        above = [path for path in others if f"{one.path}/".startswith(f"{path}/" if path else "")]
        if above and max(above, key=len) == group.path:
            samples.append((one, _along(one, sample, by)))
    places = [(one, some) for one, some in samples if some]
    values = by.read()
    _check_fill(values, by)
    total = max((one.shape[0] for _, some in places for one in some.values()), default=None)
    if total is None and (len(values) or not _is_counts(by, wanted)):
        raise BadInputError(f"{by.name} is of the dimension {sample}, along which no variable lies")
    # A file of no arrays has no variables of samples either.
    instance, offsets, order = _bounds(cut, values, total or 0, wanted)
    for one, some in places or [(group, {})]:
        beside = {
            name: (place, variable)
            for place in (group, one)
            for name, variable in place.variables.items()
            if variable.dimensions[:1] == (instance,) and variable is not by
        }
        yield Ragged(one, by, beside, instance, offsets, order, some)


def _guessed(group: Group, by: Variable) -> str:
    """Return the one dimension that counts without an attribute can be of."""
    counts = by.read()
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


def _bounds(
    cut: _Cut, values: Array, total: int, wanted: Wanted
) -> tuple[str, Int64s, Int64s | None]:
    """Return the dimension of the arrays, where they begin and end, and the order of samples."""
    group, by, _ = cut
    if _is_counts(by, wanted):
        return by.dimensions[0], offsets_of(values, total, by.name), None
    instance = group.dimension(str(by.attributes["instance_dimension"]))
    n_arrays = _n_instances(group, instance)
    if len(values) and (values.min() < 0 or values.max() >= n_arrays):
        at = int(np.flatnonzero((values < 0) | (values >= n_arrays))[0])
        raise BadInputError(
            f"{by.name}[{at}] is {values[at]}: expected 0 to {n_arrays - 1}, along {instance}"
        )
    numbers = values.astype(np.int64)
    if total != len(numbers):
        raise BadInputError(f"{by.name} has {len(numbers)} numbers for {total} samples")
    is_sorted = bool((np.diff(numbers) >= 0).all())
    order = None if is_sorted else np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=n_arrays)
    return instance, offsets_of(counts, total, by.name), order


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
    for name, (group, variable) in ragged.beside.items():
        at = group.at(name)
        if variable.shape[0] != n_arrays:
            notes.append(Noted(at, "variables have no value for some arrays, and are left out"))
            continue
        rows = listed(variable.read()) if variable.is_read else None
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
        notes.append(Noted(ragged.beside[called][0].at(called), REPEATED))
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
    return next((name for name in table if "cf_role" in ragged.beside[name][1].attributes), None)


def notes_of(groups: list[Group], found: list[Ragged]) -> Iterator[Noted]:
    """Yield what of a file no array keeps."""
    for group in groups:
        if group.has_attributes:
            yield Noted(group.path, "files or groups have attributes, which no array keeps")
        for name in group.links:
            yield Noted(group.at(name), "links to other files are not followed")
        yield from _others(group, found)


def _others(group: Group, found: list[Ragged]) -> Iterator[Noted]:
    kept = {id(one) for ragged in found for one in (*ragged.samples.values(), ragged.by)}
    of_arrays = {id(one) for ragged in found for _, one in ragged.beside.values()}
    for name, variable in group.variables.items():
        at = group.at(name)
        is_kept, is_of_arrays = id(variable) in kept, id(variable) in of_arrays
        if not is_kept and not is_of_arrays:
            yield Noted(at, "variables are neither of samples nor of arrays, and are left out")
        elif is_of_arrays and not is_kept and variable.attributes.keys() - {"cf_role"}:
            yield Noted(at, "variables of arrays have attributes, which no metadata keeps")
        elif len(short(variable.attributes)) < len(variable.attributes):
            yield Noted(at, LONG)
        if variable.lost:
            what = "attributes are of a kind that metadata cannot hold"
            yield Noted(f"{at}, {variable.lost[0]}", what)
