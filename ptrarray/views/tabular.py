"""What other libraries are given of the arrays of an open store: Arrow and awkward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.entries import RaggedColumn
from ptrarray.rows.types import Array, Bools, Int64s
from ptrarray.storage.store.opened import Opened
from ptrarray.views.alike import Alike

if TYPE_CHECKING:
    from ptrarray.views.arrow import ArrowTable


class Tabular(ABC):
    """Arrays of one dtype with names, which Arrow has as a table, and awkward as an array."""

    @abstractmethod
    def _tabular(self) -> tuple[Opened, np.dtype[Any], Bools | None]:
        """Return what is open, the dtype, and which of all arrays are meant, None for all."""

    def arrow(
        self,
        layout: Literal["list", "view"] = "list",
        names: bool = True,
        meta: str | Iterable[str] | None = None,
    ) -> ArrowTable:
        """Return the arrays as a table for libraries that know Arrow, on the store's memory.

        The store itself is one, too, with the defaults: ``pa.table(store)``,
        ``duckdb.sql("from store")``. But polars takes a store for a dict of columns, as it does any
        mapping: ``pl.DataFrame(store.arrow())`` is the table.

        Parameters
        ----------
        layout : {'list', 'view'}
            What the arrays are to Arrow. ``"list"``: ``large_list``, which all libraries know.
            ``"view"``: ``large_list_view``, for pyarrow and DuckDB, whose lists may have holes
            between them and lie over each other, so that nothing is copied for that.
        names : bool
            Whether there is a column ``name``, of ``large_string``.
        meta : str or iterable of str, optional
            Keys of metadata, each of which becomes a column: of bool, int64, double, large_string
            or large_binary, as the values are; null where an array has none.

        Returns
        -------
        ArrowTable
            Columns ``name``, ``values`` and those of the metadata. Rows of more than one number are
            lists of fixed size in ``values``; arrays whose rows have shapes of their own, as images
            have, are large lists in large lists.

        Raises
        ------
        BadInputError
            If Arrow has no type for the dtype (complex, text, fields, long double, dates without a
            unit or in one finer than a nanosecond), arrays are of several dtypes (take `of_dtype`)
            or have different numbers of axes, or metadata are of several types; it says which.
        ImportError
            If nanoarrow is missing.

        Notes
        -----
        Where arrays follow each other, values are the mapping itself, a batch for each shard, and 8
        bytes an array are made for ``values`` and 8 for ``name``. Where holes lie between arrays,
        runs of 4 MB and more are handed over as they are, and others copied: some 32 MB at a time,
        when the consumer asks for them. So is what Arrow has in another way: bools, eight to a byte;
        numbers in the byte order of another machine; narrow floats and integers of ml_dtypes, as
        float32 and int8; dates and durations in a unit larger than a second, in seconds; arrays in
        Fortran order, or of a mixed store, where rows that are no array keep them apart; and whatever
        is read with the backend ``"pread"``. What is masked, or no time, is null: of that the bits
        that say so are made, for as much at a time, and values are not copied, but for durations, of
        which nulls become zero.

        Memory that a consumer has is valid for as long as it keeps that, whatever is closed, done to
        the store or deleted meanwhile. It shows what is written through views of mode ``"r+"``.

        Examples
        --------
        >>> import polars as pl
        >>> pl.DataFrame(store.arrow()).select("name", pl.col("values").list.max()).rows()
        [('utt1', 3.0), ('utt2', 5.0), ('utt3', 6.0)]
        """
        from ptrarray.views.arrow import ArrowTable

        return ArrowTable(*self._tabular(), layout, names, meta)

    @abstractmethod
    def _alike(self) -> Alike:
        """Return the arrays as ranges of one array."""

    def awkward(self, *, names: bool = False) -> Any:
        """Return all arrays as one array of awkward, on the store's memory.

        Parameters
        ----------
        names : bool
            Whether each is a record of ``name`` and ``values``; else just the
            values.

        Returns
        -------
        awkward.Array
            Of type ``n * var * float32``, with a dimension more for each axis
            of a row: ``n * var * 80 * float32``. Arrays with shapes of their own
            have as many dimensions as they have axes, ``n * var * var * uint8``.
            Masked elements are None.

        Raises
        ------
        BadInputError
            If awkward has nothing like the dtype (text, bytes, fields, another
            byte order, those of ml_dtypes), arrays are of several dtypes (take
            `of_dtype`), or have different numbers of axes.
        ImportError
            If awkward is not there: it is the extra ``awkward``.

        Notes
        -----
        Nothing is copied, and the time is the same for any number of arrays once
        their pointers were checked: values, mask and pointers stay in their
        mappings, whatever lies between the arrays. The result stays valid, with
        the same content, after `refresh`, `close` and compaction, and is
        read-only. It shows what is written through views of mode ``"r+"``.

        The arrays are copied end to end where they are not in one mapping: of
        several shards, or with the backend ``"pread"``; and where one of several
        axes lies in Fortran order. ``[ptrarray.open(shard).awkward() for shard in
        store.shards]`` copies nothing. Lists in lists take 24 bytes for each of
        the inner ones, and masks of arrays with dtypes of their own are copied
        with them. Names take 8 bytes
        each, and are read once to see that they are text.

        Examples
        --------
        >>> store.awkward()
        <Array [[1, 2, 3], [4, 5], [6]] type='3 * var * float32'>
        >>> import awkward as ak
        >>> ak.max(store.awkward(), axis=-1).to_list()
        [3.0, 5.0, 6.0]
        >>> store.awkward(names=True)["name"].to_list()
        ['utt1', 'utt2', 'utt3']
        """
        from ptrarray.bridges.awkward import lists

        values, starts, ends, shapes = self._alike()
        try:
            return lists(values, starts, ends, shapes, self._joined_names() if names else None)
        except BadInputError as error:
            raise error.at(str(self._tabular()[0].snapshot.directory)) from error

    def _joined_names(self) -> tuple[Array, Int64s]:
        """Return the names in UTF-8 end to end, and where each begins; the last number is the end."""
        opened, _, chosen = self._tabular()
        column = RaggedColumn.chained([store.snapshot.name_column for store in opened.stores])
        column = column if chosen is None else column.chosen(np.flatnonzero(chosen))
        return column.joined, np.append(0, column.ends)

    def __arrow_c_schema__(self) -> Any:
        """Return to a library that knows Arrow the types of what `arrow` gives."""
        return self.arrow().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return to a library that knows Arrow what `arrow` gives."""
        return self.arrow().__arrow_c_stream__(requested_schema=requested_schema)
