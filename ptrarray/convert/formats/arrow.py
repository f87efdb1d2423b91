"""Arrow: tables in memory, and files of its IPC format, Feather's version 2 among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ptrarray.bridges.incoming import opened as opened_here
from ptrarray.convert.export import Store, new_file, opened
from ptrarray.convert.formats.arrow_columns import VALUES, Columns, Some, found_in, planned, said
from ptrarray.convert.formats.arrow_tables import Table
from ptrarray.convert.formats.arrow_values import import_pyarrow
from ptrarray.convert.found import Found, Kind
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run, run_here
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError

SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows", ".ftr")
_FILE, _FEATHER_1 = b"ARROW1", b"FEA1"
_END = b"\xff\xff\xff\xff\0\0\0\0"


def from_arrow(
    source: Any,
    store: str | os.PathLike[str],
    *,
    names: str | None = None,
    values: Some = None,
    meta: Some = None,
    **options: Unpack[Options],
) -> Report:
    """Import lists in tables or files of Arrow, one array for each, with other columns as metadata.

    Parameters
    ----------
    source : object with ``__arrow_c_stream__`` or ``__arrow_c_array__``, or paths
        A table, query or reader of pyarrow, polars, DuckDB or pandas; or files of Arrow's IPC
        format or Feather (version 2), as one stream or with a footer, given as for `from_pickles`.
    store, **options
        As for `from_pickles`.
    names : str, optional
        Column of names: text, or integers. Empty for the number of the row, from 0, in the whole
        file. By default, the column ``name`` if there is one of text, else numbers.
    values : str or iterable of str, optional
        Columns of arrays. Those of one column are called as their row, of several
        ``"{name}/{column}"``. By default, the column ``values`` if there is one beside ``name``,
        as stores are exported, else all whose items are arrays.
    meta : str or iterable of str, optional
        Columns of metadata of the arrays; ``()`` for none. By default, all others that metadata can
        hold.

    Returns
    -------
    Report
        A null list is a failure, and so is one with a null in it, unless the store keeps masks
        (``masked=True``). Null moments and durations are NaT.

    Raises
    ------
    BadInputError
        For an array of numpy or awkward; the latter by ``awkward.to_arrow``.
    ImportError
        If pyarrow is missing.

    Notes
    -----
    Arrays are lists of any kind, lists of fixed size in them, tensors of fixed shape, and lists of
    lists that have one length in each array, as Hugging Face's ``Array2D``; an array of those
    without rows is a failure if neither its type nor ``row_shape=`` says how long they would be.
    As metadata, moments, dates, times of day and decimals are text as Arrow writes them, durations
    whole numbers of their unit; the report says so. Maps, unions and intervals are left out, which it
    says, too. All rows that are arrays come, whatever is wrong with others.

    Memory: files that are not compressed are mapped; of others, one of their batches at a time, or
    small ones that follow each other, up to 4 MB.

    Examples
    --------
    >>> import polars as pl
    >>> table = pl.DataFrame({"name": ["a", "b"], "x": [[1, 2], [3]], "speaker": ["s1", None]})
    >>> print(ptrarray.convert.from_arrow(table, "any.ptr", progress=False))
    2 converted
    >>> with ptrarray.open("any.ptr") as new:
    ...     new["a"], new.meta["a"]
    (array([1, 2]), {'speaker': 's1'})
    """
    import_pyarrow()
    columns = said(names, values, meta, options)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        what = type(source)
        here = _Here(source, columns)
        return run_here(here.members, f"{what.__module__}.{what.__name__}", store, options)
    kind = Kind(partial(_members, columns=columns), SUFFIXES, many=True)
    return run(kind, _paths(source), store, options)


def _paths(source: Any) -> Paths:
    """Return paths, once it is seen that they are such."""
    is_one = isinstance(source, str | os.PathLike) or not isinstance(source, Iterable)
    found: list[Any] = []
    for path in [source] if is_one else source:
        if not isinstance(path, str | os.PathLike):
            raise BadInputError(
                f"a {type(source).__name__} is neither a table of Arrow nor paths: collect what is "
                "lazy, give tables one by one, and arrays of awkward by awkward.to_arrow",
                found=type(source).__name__,
                expected="a table of Arrow, or paths",
            )
        found.append(path)
    return found


class _Here:
    """An object in memory that hands over Arrow data."""

    def __init__(self, source: Any, columns: Columns) -> None:
        self._source, self._columns = source, columns
        self._n_rows: int | None = None

    def members(self, label: str) -> Iterator[Found]:
        """Yield what it has; each time the same, or an error."""
        pyarrow = import_pyarrow()
        schema, batches = _handed_over(self._source)
        plan = planned(schema, self._columns)
        yield from plan.notes
        counts: list[int] = []
        try:
            yield from found_in(_counted(batches, counts), plan)
        except (pyarrow.ArrowException, OSError) as error:
            raise BadInputError(f"the stream of Arrow data broke off: {error}") from error
        n_rows = sum(counts)
        if self._n_rows not in (None, n_rows):
            raise BadInputError(
                f"it had {self._n_rows} rows, and {n_rows} when it was asked again: what gives its "
                "rows once cannot be verified; give a table",
                found=n_rows,
                expected=self._n_rows,
            )
        self._n_rows = n_rows


def _counted(batches: Iterable[Any], counts: list[int]) -> Iterator[Any]:
    """Yield batches, and note how many rows each has."""
    for batch in batches:
        counts.append(batch.num_rows)
        yield batch


def _handed_over(source: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the batches of an object; a column alone is one of arrays."""
    pyarrow = import_pyarrow()
    has_stream = hasattr(source, "__arrow_c_stream__")
    if _is_column(source):
        column = pyarrow.chunked_array(source) if has_stream else pyarrow.array(source)
        table = pyarrow.table({VALUES: column})
        return table.schema, iter(table.to_batches())
    if not has_stream:
        batch = pyarrow.record_batch(source)
        return batch.schema, iter([batch])
    reader = pyarrow.RecordBatchReader.from_stream(source)
    return reader.schema, iter(reader)


def _is_column(source: Any) -> bool:
    """Tell whether an object is a column by what it says of itself."""
    if hasattr(source, "__arrow_c_array__"):
        return opened_here(source)[0].format != "+s"
    pyarrow = import_pyarrow()
    return isinstance(source, pyarrow.ChunkedArray) or type(source).__name__ == "Series"


# Files ------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """A file of Arrow's IPC format, mapped.

    Attributes
    ----------
    schema : pyarrow.Schema
        Its columns.
    batches : iterator of pyarrow.RecordBatch
        Their values are views of the file where it is not compressed. Raises `BadInputError` in
        the end for a stream that may have been cut off.
    """

    schema: Any
    batches: Iterator[Any]


def opened_file(path: str) -> Opened:
    """Open a file of Arrow's IPC format.

    Raises
    ------
    BadInputError
        If it is none.
    """
    ipc, pyarrow = import_pyarrow("pyarrow.ipc"), import_pyarrow()
    with Path(path).open("rb") as file:
        start = file.read(8)
    if start.startswith(_FEATHER_1):
        raise BadInputError(
            "it is Feather of version 1, which has no lists: write it again by a newer library"
        )
    if len(start) < 8:
        raise BadInputError(f"it has {len(start)} bytes, and is no file of Arrow", found=len(start))
    try:
        mapped = pyarrow.memory_map(path)
        if start.startswith(_FILE):
            whole = ipc.open_file(mapped)
            batches = map(whole.get_batch, range(whole.num_record_batches))
            return Opened(whole.schema, _told(batches))
        stream = ipc.open_stream(mapped)
        return Opened(stream.schema, _of_stream(stream, mapped))
    except (pyarrow.ArrowException, OSError) as error:
        raise _no_arrow(error) from error


def _no_arrow(error: BaseException) -> BadInputError:
    return BadInputError(f"it cannot be read as Arrow's IPC format: {error}")


def _told(batches: Iterator[Any]) -> Iterator[Any]:
    pyarrow = import_pyarrow()
    try:
        yield from batches
    except (pyarrow.ArrowException, OSError) as error:
        raise _no_arrow(error) from error


def _of_stream(stream: Any, mapped: Any) -> Iterator[Any]:
    """Yield the batches of a stream, which has to end with what says so: it may be cut off."""
    yield from _told(iter(stream))
    end, size = mapped.tell(), mapped.size()
    mapped.seek(max(end - len(_END), 0))
    if mapped.read(len(_END)) != _END:
        raise BadInputError(
            "the stream ends without the mark that ends it, so it may have been cut off: all arrays up "
            "to there were read",
            found=end,
        )
    if end < size:
        raise BadInputError(
            f"there are {size - end} bytes behind the end of the stream, which were not read: another "
            "stream has to be a file of its own",
            found=size,
            expected=end,
        )


def _members(path: str, *, columns: Columns) -> Iterator[Found]:
    pyarrow = import_pyarrow()
    schema, batches = opened_file(path)
    plan = planned(schema, columns)
    yield from plan.notes
    try:
        yield from found_in(batches, plan)
    except (pyarrow.ArrowException, OSError) as error:
        raise _no_arrow(error) from error


def to_arrow(
    store: Store, out: str | os.PathLike[str], *, stream: bool = False, progress: bool = True
) -> Report:
    """Export a store as a file of Arrow's IPC format, which is Feather's version 2.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`.
    stream : bool
        Whether it is one stream, without the footer by which readers find each batch: what
        ``datasets.Dataset.from_file`` reads. polars, pandas and ``pyarrow.feather`` read the other.

    Returns
    -------
    Report
        As of `to_parquet`.

    Raises
    ------
    FileExistsError, BadInputError, ImportError
        As `to_parquet`.

    Notes
    -----
    Columns are as of `to_parquet`. Batches have 64 MB at most, but for larger arrays, one in memory
    at a time. Values are not compressed, so that others can map them.

    Examples
    --------
    >>> print(ptrarray.convert.to_arrow("corpus.ptr", "corpus.arrow", progress=False))
    3 converted
    """
    ipc = import_pyarrow("pyarrow.ipc")
    with opened(store) as source, new_file(out) as file:
        table = Table(source)
        new = ipc.new_stream if stream else ipc.new_file
        with new(file, table.schema) as writer:
            return table.put(writer.write_batch, progress)
