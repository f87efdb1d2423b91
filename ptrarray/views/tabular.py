"""What libraries that know Arrow ask of the arrays of an open store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ptrarray.rows.types import Bools
from ptrarray.storage.store.opened import Opened

if TYPE_CHECKING:
    from ptrarray.views.arrow import ArrowTable


class Tabular(ABC):
    """Arrays of one dtype with names, which Arrow has as a table."""

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
            lists of fixed size in ``values``.

        Raises
        ------
        BadInputError
            If Arrow has no type for the dtype, arrays have rows of different shapes or, in a mixed
            store, dtypes, or metadata are not of one type; it says what was found.
        ImportError
            If nanoarrow is missing.

        Notes
        -----
        Values are the mapping itself where arrays follow each other, all of a store, or a shard, in
        one batch: 8 bytes an array are made for ``values`` and 8 for ``name``. Where holes lie
        between arrays, runs of 4 MB and more are handed over as they are, and others copied, some
        32 MB at a time as the consumer asks for them. So are these, a batch of 32 MB at a time,
        which Arrow has in another way: bools, eight to a byte; numbers in the byte order of another
        machine; narrow floats and integers of ml_dtypes, as float32 and int8; dates and durations
        in a unit larger than a second, in seconds; arrays in Fortran order; and whatever is opened
        with the backend ``"pread"``. What is masked is null, what is not a time, too: of these the
        bits that say so are made, and the values not copied.

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

    def __arrow_c_schema__(self) -> Any:
        """Return to a library that knows Arrow the types of what `arrow` gives."""
        return self.arrow().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return to a library that knows Arrow what `arrow` gives."""
        return self.arrow().__arrow_c_stream__(requested_schema=requested_schema)
