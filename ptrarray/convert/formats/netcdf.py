"""Files of netCDF with ragged arrays, as CF has them: drifters, profiles, stations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple, Unpack

from ptrarray.convert.export import Store, new_file, opened
from ptrarray.convert.formats.columns import Column, metas_of, pieces, short, sizes_of
from ptrarray.convert.formats.h5_late import written_late
from ptrarray.convert.formats.h5_values import AS_STORED, import_h5py, is_coded
from ptrarray.convert.formats.netcdf_files import Variable
from ptrarray.convert.formats.netcdf_files import opened as opened_netcdf
from ptrarray.convert.formats.netcdf_out import planned, put
from ptrarray.convert.formats.netcdf_ragged import Ragged, Wanted, notes_of, ragged_in, table_of
from ptrarray.convert.found import Found, Kind, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError, import_extra
from ptrarray.rows.copying import cut

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf")
_PART_NBYTES = 1 << 27


def from_netcdf(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    variables: Iterable[str] | None = None,
    names: str | None = None,
    counts: str | None = None,
    sample: str | None = None,
    **options: Unpack[Options],
) -> Report:
    """Import the ragged arrays of netCDF files, contiguous or indexed as CF calls them.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default ``"{id}/{variable}"``, or
        ``"{id}"`` where a file has one variable of samples, behind the path of
        the group if it is not that of the file; with several files
        ``"{stem}/"`` goes before.
    variables : iterable of str, optional
        Those to import that have the samples; all of them by default.
    names : str, optional
        Variable of the ids. By default the one with the attribute ``cf_role``;
        where there is none, and where ids repeat, arrays are numbered from 0.
    counts : str, optional
        Variable that counts the samples of each array, if it has not the
        attribute ``sample_dimension``, as in files of clouddrift: ``"rowsize"``.
    sample : str, optional
        The dimension that it counts; by default the only one of that length.

    Returns
    -------
    Report

    Notes
    -----
    Values come as they are stored, in their byte order, where xarray and
    netCDF4 would scale them, mask some, and make dates. What says what they
    stand for (``units``, ``scale_factor``, ``_FillValue`` and all other
    attributes of a variable) is metadata of each of its arrays. So is what the
    variables along the arrays have for it, by their names: an attribute that
    is called like one of those has the name of its own variable before it.
    Other attributes and variables are noted.

    Counts, and ids, of a group hold for the groups below that have none of their
    own for the same dimension.

    Counts that are negative, missing, or do not add up to the length of the
    dimension are an error of the file.

    Memory: pieces of 16 MiB, or one array, and 64 MiB for what is compressed. Where arrays are indexed and not in
    order, one variable, twice. Large files are read by several processes.

    netCDF-4 is read by h5py, netCDF-3 by scipy.

    Examples
    --------
    >>> import h5netcdf
    >>> with h5netcdf.File("drifters.nc", "w") as file:
    ...     file.dimensions = {"traj": 2, "obs": 5}
    ...     count = file.create_variable("rowsize", ("traj",), "i4", data=[3, 2])
    ...     count.attrs["sample_dimension"] = "obs"
    ...     lon = file.create_variable("lon", ("obs",), "f4", data=[1, 2, 3, 4, 5])
    ...     lon.attrs["units"] = "degree_east"
    >>> print(ptrarray.convert.from_netcdf("drifters.nc", "any.ptr", progress=False))
    2 converted
    >>> with ptrarray.open("any.ptr") as drifters:
    ...     drifters["1"], drifters.meta["1"]
    (array([4., 5.], dtype=float32), {'units': 'degree_east'})
    """
    import_h5py("netcdf")
    if isinstance(variables, str):
        raise BadInputError(
            f"variables is {variables!r}: expected several names, as ['lon', 'lat']"
        )
    wanted = Wanted(None if variables is None else tuple(variables), names, counts, sample)
    kind = Kind(partial(_members, wanted), SUFFIXES, many=True, parts=partial(_parts, wanted))
    return run(kind, paths, store, options)


class _Part(NamedTuple):
    """Some arrays of one variable: of which ragged arrays, and whether they are the first of all."""

    at: int
    variable: str
    low: int
    high: int
    is_first: bool


def _parts(wanted: Wanted, path: str) -> list[_Part]:
    """Return the parts of a large file."""
    found: list[_Part] = []
    with opened_netcdf(path) as groups:
        for at, ragged in enumerate(ragged_in(groups, wanted)):
            n_arrays = len(ragged.offsets) - 1
            for variable in _chosen(ragged, wanted):
                sizes = sizes_of(_column(ragged, variable))
                # Those that are in no order are read whole.
                bounds = cut(sizes, _PART_NBYTES) if ragged.order is None else [(0, n_arrays)]
                found += [
                    _Part(at, variable.name, low, high, not found and not low)
                    for low, high in bounds
                ]
    return found if len(found) > 1 and os.path.getsize(path) > _PART_NBYTES else []  # noqa: PTH202


def _chosen(ragged: Ragged, wanted: Wanted) -> list[Variable]:
    names = wanted.variables
    return [one for name, one in ragged.samples.items() if names is None or name in names]


def _column(ragged: Ragged, variable: Variable) -> Column:
    return Column(variable.rows, variable.row_nbytes, ragged.offsets)


def _members(wanted: Wanted, path: str, part: _Part | None = None) -> Iterator[Found]:
    with opened_netcdf(path) as groups:
        found = ragged_in(groups, wanted)
        if part is None or part.is_first:
            yield from notes_of(groups, found)
        is_one = sum(len(_chosen(ragged, wanted)) for ragged in found) == 1
        for at, ragged in enumerate(found):
            if part is None or part.at == at:
                yield from _of_ragged(ragged, wanted, part, is_one)


def _of_ragged(ragged: Ragged, wanted: Wanted, part: _Part | None, is_one: bool) -> Iterator[Found]:
    parts_of_names, table, notes = table_of(ragged, wanted)
    if part is None or part.is_first:
        yield from notes
    within = slice(0, len(ragged.offsets) - 1) if part is None else slice(part.low, part.high)
    table = {name: values[within] for name, values in table.items()}
    for variable in _chosen(ragged, wanted):
        if part is not None and part.variable != variable.name:
            continue
        at = ragged.group.at(variable.name)
        if (part is None or not part.low) and is_coded(variable.attributes):
            yield Noted(at, AS_STORED)
        end = "" if is_one else f"/{variable.name}"
        begin = ragged.group.at("")
        keys = parts_of_names[within]
        if begin or end:
            keys = [f"{begin}{one}{end}" for one in keys]
        try:
            column = _checked(ragged, variable, within)
        except BadInputError as error:
            yield Refused(at, str(error))
            continue
        attributes = short(variable.attributes)
        yield from pieces(column, keys, metas_of(table, attributes, variable.name, len(keys)))


def _checked(ragged: Ragged, variable: Variable, within: slice) -> Column:
    """Return some arrays of a variable, once it is seen that it has all that are counted."""
    total = int(ragged.offsets[-1])
    if variable.shape[0] != total:
        raise BadInputError(f"it has {variable.shape[0]} values for {total} samples")
    if variable.dtype.hasobject:
        raise BadInputError("it holds text or other things of variable length, which is no array")
    variable.check()
    column = _column(ragged, variable)
    if ragged.order is not None:
        rows = variable.read()[ragged.order]
        column = column._replace(read=lambda first, last: rows[first:last])
    return column._replace(offsets=column.offsets[within.start : within.stop + 1])


def to_netcdf(
    store: Store,
    out: str | os.PathLike[str],
    *,
    variables: Iterable[str] | None = None,
    progress: bool = True,
) -> Report:
    """Export a store as a file of netCDF-4, as one of CF's contiguous ragged arrays.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`.
    variables : iterable of str, optional
        Names of arrays end in a slash and one of these, as `from_netcdf` makes
        them: each becomes a variable of the file, and what is before the slash
        an instance. By default every array is an instance of the one variable
        ``data``.

    Returns
    -------
    Report
        Failures are: arrays of another dtype or row shape than the first of
        their variable, and those without rows; dtypes that not every reader of
        netCDF takes, which are all but integers and floats of 4 and 8 bytes;
        masked values; and with `variables`, instances of which some variable is
        missing, or has another length.

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    The dimensions are ``instance`` and ``obs``, the counts ``rowsize``, the
    names ``name``. Metadata that all arrays have becomes variables along
    ``instance``, where it is text, integers or floats; or, what CF has for
    attributes (``units``, ``scale_factor``, …) and is the same for all, of the
    variable. The rest is noted.

    xarray shows this as flat variables; ``clouddrift.RaggedArray.from_netcdf(out,
    "instance", "obs")`` and cfdm as ragged ones.

    Examples
    --------
    >>> print(ptrarray.convert.to_netcdf("corpus.ptr", "corpus.nc", progress=False))
    3 converted
    """
    h5netcdf = import_extra("h5netcdf", "netCDF needs h5netcdf: pip install 'ptrarray[netcdf]'")
    import_h5py("netcdf")
    if isinstance(variables, str):
        raise BadInputError(
            f"variables is {variables!r}: expected several names, as ['lon', 'lat']"
        )
    with opened(store) as source:
        report, plan = planned(source, None if variables is None else tuple(variables))
        with (
            new_file(out) as file,
            written_late(file) as late,
            h5netcdf.File(late, "w") as target,
        ):
            for _ in put(source, target, plan, report, progress):
                late.check()
    return report
