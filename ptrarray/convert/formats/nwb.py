"""Ragged columns of the tables of NWB, and of other files that hdmf has written as HDF5."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Unpack

import numpy as np

from ptrarray.convert.formats.columns import (
    LONG,
    REPEATED,
    Column,
    ids,
    listed,
    metas_of,
    offsets_between,
    pieces,
    short,
)
from ptrarray.convert.formats.h5_columns import (
    CACHE_NBYTES,
    check_sizes,
    groups,
    kept_attributes,
    read_all,
    reader,
)
from ptrarray.convert.formats.h5_values import AS_STORED, import_h5py, is_coded, opened_h5
from ptrarray.convert.found import Found, Kind, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError
from ptrarray.rows.types import Int64s

SUFFIXES = (".nwb", ".h5", ".hdf5")

_INDEX = "VectorIndex"
_ID = "id"
# What hdmf says of every data set, whatever is in it.
_OF_HDMF = {"namespace", "neurodata_type", "data_type", "object_id", "description"}


def from_nwb(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    tables: str | Iterable[str] | None = None,
    columns: str | Iterable[str] | None = None,
    **options: Unpack[Options],
) -> Report:
    """Import the ragged columns of the tables in NWB files, and others of hdmf in HDF5.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default ``"{table}/{id}/{column}"``,
        where the table is its path in the file: ``units/7/spike_times``; with
        several files ``"{stem}/"`` goes before.
    tables, columns : str or iterable of str, optional
        Those to import: ``tables="units"``, ``columns="spike_times"``. By
        default all that are ragged.

    Returns
    -------
    Report

    Notes
    -----
    A table is a group with the attribute ``colnames``, and a column is ragged if
    a ``VectorIndex`` has it for its target. Of one that is ragged twice, as
    waveforms of spikes, each inner list is an array, ``units/7/waveforms/0``.
    Ids that repeat, which NWB allows, are replaced by row numbers.

    What else the table has for a row is metadata of its arrays, by the name of
    the column, and so are attributes of the ragged column such as ``unit``; one
    that is called like a column has the name of its own before it. What a
    ``DynamicTableRegion`` has are row numbers of another table.

    Values come as they are stored. Columns without an index, and such of text or
    references, are no arrays of a length of their own; `from_h5` takes the former.
    Links to other files are not followed. Indexes that decrease, or do not end
    where the data ends, are an error of the column, where hdmf reads other rows.

    Memory: pieces of 16 MiB, or one array, and 64 MiB for what is compressed. Read by h5py; hdmf is not needed.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("session.nwb", "w") as file:  # as pynwb writes it
    ...     units = file.create_group("units")
    ...     units.attrs["colnames"] = ["spike_times", "quality"]
    ...     units["id"], units["quality"] = [7, 9], [b"good", b"poor"]
    ...     units["spike_times"] = [0.5, 1.5, 2.5]
    ...     units["spike_times_index"] = [2, 3]
    ...     units["spike_times_index"].attrs["neurodata_type"] = "VectorIndex"
    ...     units["spike_times_index"].attrs["target"] = units["spike_times"].ref
    >>> print(ptrarray.convert.from_nwb("session.nwb", "any.ptr", progress=False))
    2 converted
    >>> with ptrarray.open("any.ptr") as spikes:
    ...     spikes["units/7/spike_times"], spikes.meta["units/7/spike_times"]
    (array([0.5, 1.5]), {'quality': 'good'})
    """
    import_h5py()
    kind = Kind(partial(_members, _names(tables), _names(columns)), SUFFIXES, many=True)
    return run(kind, paths, store, options)


_Names = frozenset[str] | None


def _names(given: str | Iterable[str] | None) -> _Names:
    if given is None:
        return None
    return frozenset([given] if isinstance(given, str) else given)


class _Table(NamedTuple):
    """A table: its path in the file, its data sets by name, and how many rows it has."""

    path: str
    sets: Mapping[str, Any]
    n_rows: int


class _Ragged(NamedTuple):
    """A ragged column.

    Attributes
    ----------
    keys : list of str
        Names of its indexes, that of the rows of the table first, and of its data.
    data : h5py.Dataset
        Where arrays lie end to end.
    indexes : list of h5py.Dataset
        That cut it.
    """

    keys: list[str]
    data: Any
    indexes: list[Any]

    @property
    def name(self) -> str:
        """The name of its data."""
        return self.keys[-1]


def _members(tables: _Names, columns: _Names, path: str) -> Iterator[Found]:
    with opened_h5(path, rdcc_nbytes=CACHE_NBYTES) as file:
        seen: list[str] = []
        known: set[str] = set()
        for at, group, sets in groups(file):
            if "colnames" not in group.attrs:
                continue
            seen.append(at)
            if tables is None or at in tables:
                yield from _of_table(at, sets, columns, known)
        missing = sorted((tables or set()) - set(seen))
        if missing or not seen:
            if not seen:
                raise BadInputError("it has no tables of hdmf: no group has an attribute colnames")
            raise BadInputError(
                f"it has no table {missing[0]!r}: there are {', '.join(seen)[:500]}"
            )
        strangers = sorted((columns or set()) - known)
        if strangers:
            there = ", ".join(sorted(known))[:500]
            raise BadInputError(f"it has no ragged column {strangers[0]!r}; there are {there}")


def _below(path: str, name: object) -> str:
    """Return the path of what is in a table; that of the whole file has none itself."""
    return f"{path}/{name}" if path else str(name)


def _of_table(
    at: str, sets: Mapping[str, Any], columns: _Names, known: set[str]
) -> Iterator[Found]:
    """Yield what is in a table; add the names of its ragged columns to those that are known."""
    there = {name: item for name, item in sets.items() if item is not None}
    for name in sets.keys() - there.keys():
        yield Noted(_below(at, name), "links to other files are not followed")
    every, problems = _ragged(there)
    known |= {ragged.name for ragged in every}
    yield from (Refused(_below(at, name), problem) for name, problem in problems)
    found = [ragged for ragged in every if columns is None or ragged.name in columns]
    if not found:
        return
    try:
        yield from _of_columns(_Table(at, there, _n_rows(there, found)), every, found)
    except BadInputError as error:
        yield Refused(at, str(error))


def _of_columns(table: _Table, every: list[_Ragged], found: list[_Ragged]) -> Iterator[Found]:
    rows, notes = _rows(table, every)
    yield from notes
    called = _ids(rows)
    if called is not None:
        del rows[_ID]
    elif _ID in rows:
        yield Noted(_below(table.path, _ID), REPEATED)
    begin = _below(table.path, "")
    parts = [f"{begin}{one}" for one in called or range(table.n_rows)]
    for ragged in found:
        try:
            yield from _of_column(table, ragged, parts, rows)
        except BadInputError as error:
            yield Refused(_below(table.path, ragged.name), str(error))


def _ids(rows: Mapping[str, list[Any]]) -> list[str] | None:
    return ids(rows[_ID]) if _ID in rows else None


def _ragged(sets: Mapping[str, Any]) -> tuple[list[_Ragged], list[tuple[str, str]]]:
    """Return the ragged columns among the data sets of a table, and which are none, and why."""
    h5py = import_h5py()
    targets, problems = {}, []
    for name, item in sets.items():
        if _type_of(item) != _INDEX:
            continue
        target = item.attrs.get("target")
        try:
            data = item.file[target] if isinstance(target, h5py.Reference) else None
        except (ValueError, KeyError, RuntimeError, OSError):  # it leads nowhere
            data = None
        key = next((key for key, one in sets.items() if one == data), None)
        if key is None:
            problems.append((name, "its attribute target leads to nothing in its table"))
        else:
            targets[name] = key
    found = []
    for name in targets.keys() - targets.values():
        chain = [name]
        while chain[-1] in targets:
            chain.append(targets[chain[-1]])
        found.append(_Ragged(chain, sets[chain[-1]], [sets[key] for key in chain[:-1]]))
    reached = {key for ragged in found for key in ragged.keys}
    problems += [(name, "indexes lead in a circle") for name in targets if name not in reached]
    return sorted(found, key=lambda ragged: ragged.name), problems


def _type_of(item: Any) -> str:
    value = item.attrs.get("neurodata_type", item.attrs.get("data_type", ""))
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _n_rows(sets: Mapping[str, Any], found: list[_Ragged]) -> int:
    first = sets.get(_ID, found[0].indexes[0])
    if first.ndim != 1:
        raise BadInputError(f"{first.name} has the shape {first.shape}: expected one axis")
    check_sizes(first)
    n_rows: int = first.shape[0]
    return n_rows


def _rows(table: _Table, every: list[_Ragged]) -> tuple[dict[str, list[Any]], list[Noted]]:
    """Return what the table has beside the ragged columns, by column, and what is left out."""
    ragged_names = {name for ragged in every for name in ragged.keys}
    rows, notes = {}, []
    for name, item in table.sets.items():
        if name in ragged_names or _type_of(item) == _INDEX:
            continue
        at = _below(table.path, name)
        if item.shape is None or item.shape[:1] != (table.n_rows,):
            notes.append(Noted(at, "data sets are no columns of their table, and are left out"))
            continue
        values = None if _is_other(item) else listed(read_all(item))
        if values is None:
            notes.append(Noted(at, "columns are of a kind that metadata cannot hold"))
        else:
            rows[name] = values
    return rows, notes


def _is_other(item: Any) -> bool:
    """Tell whether a data set holds neither text nor anything of a known length."""
    return item.dtype.hasobject and import_h5py().check_string_dtype(item.dtype) is None


def _of_column(
    table: _Table, ragged: _Ragged, parts: list[str], rows: Mapping[str, list[Any]]
) -> Iterator[Found]:
    data, at = ragged.data, _below(table.path, ragged.name)
    if data.dtype.hasobject:
        yield Noted(at, "ragged columns of text or references are no arrays")
        return
    check_sizes(data)
    if not data.ndim:
        raise BadInputError("it is a number of its own, which no index can cut")
    offsets = _all_offsets(ragged, table.n_rows)
    attributes, _ = kept_attributes(data)
    attributes = {key: value for key, value in attributes.items() if key not in _OF_HDMF}
    if is_coded(attributes):
        yield Noted(at, AS_STORED)
    if len(short(attributes)) < len(attributes):
        yield Noted(at, LONG)
    end = f"/{ragged.name}"
    keys = [part + end for part in parts]
    metas = metas_of(rows, short(attributes), ragged.name, len(keys))
    for outer in offsets[:-1]:  # each element is a list, which is numbered
        lengths = np.diff(outer).tolist()
        metas = (
            [meta for meta, n in zip(metas, lengths, strict=True) for _ in range(n)]
            if metas
            else ()
        )
        keys = [f"{key}/{i}" for key, n in zip(keys, lengths, strict=True) for i in range(n)]
    row_nbytes = data.dtype.itemsize * int(np.prod(data.shape[1:]))
    yield from pieces(Column(reader(data), row_nbytes, offsets[-1]), keys, metas)


def _all_offsets(ragged: _Ragged, n_rows: int) -> list[Int64s]:
    """Return the offsets of each index, those of the rows first."""
    found = []
    targets = [*ragged.indexes[1:], ragged.data]
    for what, index, target in zip(ragged.keys, ragged.indexes, targets, strict=False):
        if index.shape != (n_rows,):
            raise BadInputError(f"{what} has the shape {index.shape}: expected {(n_rows,)}")
        n_rows = target.shape[0]
        found.append(offsets_between(read_all(index), n_rows, what))
    return found
