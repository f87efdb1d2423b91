"""Files of Parquet: columns of lists, row group by row group."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import PurePath
from typing import Any, NamedTuple, Unpack
from urllib.parse import unquote

from ptrarray.convert.export import Store, new_file, opened
from ptrarray.convert.formats.arrow_columns import (
    BATCH_NBYTES,
    Columns,
    Plan,
    Some,
    found_in,
    planned,
    said,
)
from ptrarray.convert.formats.arrow_tables import Table
from ptrarray.convert.formats.arrow_values import import_pyarrow
from ptrarray.convert.found import Found, Kind, Noted
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError

SUFFIXES = (".parquet", ".pq", ".parq")
_COMPRESSIONS = ("snappy", "zstd", "gzip", "lz4", "brotli", "none")
_PART_NBYTES = 1 << 26
_PAGES_NBYTES = 1 << 20
_READ_ROWS = 1 << 10
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def from_parquet(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    names: str | None = None,
    values: Some = None,
    meta: Some = None,
    **options: Unpack[Options],
) -> Report:
    """Import lists in Parquet files, one array for each, with other columns as metadata.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Each file is read by its own schema.
    names, values, meta
        As for `from_arrow`. Folders of the path that are called ``key=value`` are metadata, too:
        text, as it is there.

    Returns
    -------
    Report

    Notes
    -----
    Row groups are read by several processes, at most some 64 MB of them together by one; of a
    row group, 16 MB at a time if its arrays are of about one length. Checksums of pages are
    verified where there are any.

    Examples
    --------
    >>> _ = ptrarray.convert.to_parquet("corpus.ptr", "corpus.parquet", progress=False)
    >>> print(ptrarray.convert.from_parquet("corpus.parquet", "new.ptr", progress=False))
    3 converted
    """
    import_pyarrow("pyarrow.parquet")
    columns = said(names, values, meta, options)
    members = partial(_members, columns=columns)
    return run(Kind(members, SUFFIXES, many=True, parts=_parts), paths, store, options)


class _Part(NamedTuple):
    """Row groups that follow each other, and the number of their first row."""

    low: int
    high: int
    first: int


def _opened(path: str) -> Any:
    """Return a file of which no more than some pages are in memory at a time."""
    pyarrow = import_pyarrow()
    try:
        return import_pyarrow("pyarrow.parquet").ParquetFile(
            path,
            pre_buffer=False,  # which would hold all row groups that are asked for
            buffer_size=_PAGES_NBYTES,
            page_checksum_verification=True,
        )
    except pyarrow.ArrowException as error:
        raise BadInputError(f"it cannot be opened as Parquet: {error}") from error


def _parts(path: str) -> list[_Part]:
    """Return row groups, small ones together."""
    with _opened(path) as file:
        parts, low, first, row, nbytes = [], 0, 0, 0, 0
        for at in range(file.num_row_groups):
            group = file.metadata.row_group(at)
            nbytes += group.total_byte_size
            row += group.num_rows
            if nbytes >= _PART_NBYTES or at + 1 == file.num_row_groups:
                parts.append(_Part(low, at + 1, first))
                low, first, nbytes = at + 1, row, 0
        return parts


def _members(path: str, part: _Part | None = None, *, columns: Columns) -> Iterator[Found]:
    pyarrow = import_pyarrow()
    with _opened(path) as file:
        schema = file.schema_arrow
        folders = _of_folders(path)
        plan = planned(schema, _without(columns, folders, schema))
        low, high, first = part or _Part(0, file.num_row_groups, 0)
        if not low:
            yield from plan.notes
            for key in folders.keys() & set(schema.names):
                yield Noted(key, "folders say what a column of the file says, too, which is kept")
        wanted = columns.meta
        more = {
            key: value
            for key, value in folders.items()
            if key not in schema.names and (wanted is None or key in wanted)
        }
        try:
            batches = chain.from_iterable(_batches(file, at, plan) for at in range(low, high))
            yield from found_in(batches, plan, first=first, more=more)
        except (pyarrow.ArrowException, OSError) as error:
            raise BadInputError(f"it cannot be read as Parquet: {error}") from error


def _batches(file: Any, at: int, plan: Plan) -> Iterator[Any]:
    """Return a row group in batches of bounded size.

    The size is a number of rows for pyarrow, and what repeats takes less in the file than in
    memory, so few rows at a time are read. Of single columns the metadata would say more, but
    pyarrow 26 ends the process if what it says of one makes no sense.
    """
    group = file.metadata.row_group(at)
    n_rows = BATCH_NBYTES * max(group.num_rows, 1) // max(group.total_byte_size, 1)
    # One row group, as batches do not end where one ends. The columns are those asked for, and
    # those whose names go on behind a dot.
    batches: Iterator[Any] = file.iter_batches(
        min(max(n_rows, 1), _READ_ROWS), row_groups=[at], columns=plan.columns, use_threads=False
    )
    return batches


def _of_folders(path: str) -> dict[str, str]:
    """Return what folders say that are called key=value, as text."""
    pairs = [folder.partition("=") for folder in PurePath(path).parts[:-1]]
    found = {unquote(key): unquote(value) for key, sign, value in pairs if sign and key}
    return {key: value for key, value in found.items() if value != _NO_VALUE}


def _without(columns: Columns, folders: Mapping[str, str], schema: Any) -> Columns:
    """Return which columns of the file are asked for, those that folders have left out."""
    if columns.meta is None:
        return columns
    inside = [key for key in columns.meta if key in schema.names or key not in folders]
    return columns._replace(meta=tuple(inside))


def to_parquet(
    store: Store,
    out: str | os.PathLike[str],
    *,
    compression: str = "snappy",
    progress: bool = True,
) -> Report:
    """Export a store as a file of Parquet: columns ``name``, ``values`` and those of metadata.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`.
    compression : {'snappy', 'zstd', 'gzip', 'lz4', 'brotli', 'none'}
        Of pages.

    Returns
    -------
    Report
        With a note on each key of metadata that is no column, as its values are of several types,
        and on what comes back as something else.

    Raises
    ------
    FileExistsError
        If there is something at `out`.
    BadInputError
        If arrays are of several dtypes, or of one that Arrow has no type for, have different numbers
        of axes, or rows of no elements; it says which.
    ImportError
        If pyarrow or nanoarrow is missing.

    Notes
    -----
    Row groups have 64 MB at most, but for larger arrays, and pages have checksums. One batch is in
    memory at a time. Rows are as of `PointerArray.arrow`; masked elements are null.

    Examples
    --------
    >>> print(ptrarray.convert.to_parquet("corpus.ptr", "corpus.parquet", progress=False))
    3 converted
    >>> import polars as pl
    >>> pl.read_parquet("corpus.parquet")["values"].list.sum().to_list()
    [6.0, 9.0, 6.0]
    """
    parquet = import_pyarrow("pyarrow.parquet")
    if compression not in _COMPRESSIONS:
        raise BadInputError(
            f"compression is {compression!r:.80}: expected one of {', '.join(_COMPRESSIONS)}",
            found=compression,
            expected=_COMPRESSIONS,
        )
    with opened(store) as source, new_file(out) as file:
        table = Table(source)
        _note_units(table)
        with parquet.ParquetWriter(
            file,
            table.schema,
            compression=compression,
            use_dictionary=table.meta_paths,
            write_page_checksum=True,
        ) as writer:
            return table.put(writer.write_batch, progress)


def _note_units(table: Table) -> None:
    if table.dtype.kind == "M" and table.unit == "s":
        table.report.notes.append("moments are kept in milliseconds, as Parquet has no seconds")
