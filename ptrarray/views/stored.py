"""What a store that is open and a part of one have in common: arrays by name, by position and in all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, ValuesView
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from ptrarray import reductions
from ptrarray.format.dtypes import known
from ptrarray.format.layouts import MIXED, ROWS, Kind
from ptrarray.intake.choices import several
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import Array, Bools, Int64s
from ptrarray.storage.store.opened import Opened
from ptrarray.views.alike import Alike, alike
from ptrarray.views.arrays import Arrays, Items, Values
from ptrarray.views.mappings import Meta, Names, Pointers
from ptrarray.views.one_dtype import (
    ONE_AWKWARD,
    ONE_TABLE,
    OneDtype,
    as_ranges,
    living_of,
    the_only_dtype,
)
from ptrarray.views.reducible import Reducible
from ptrarray.views.tabular import Tabular

if TYPE_CHECKING:
    from ptrarray.views.awaited import Threads
    from ptrarray.views.plots import Plots
    from ptrarray.views.series import AllSeries, Objects
    from ptrarray.views.spread import Spread


class StoredArrays(Reducible, Tabular):
    """The arrays of what is open: a mapping from name to array, in data order.

    Attributes
    ----------
    _opened : Opened
        What is open.
    """

    _opened: Opened

    _threads: Threads | None = None

    @property
    @abstractmethod
    def arrays(self) -> Arrays:
        """Arrays by position, in data order."""

    @abstractmethod
    def take(self, names: Iterable[str], out: Array | None = None) -> Ragged:
        """Copy several arrays into one contiguous batch."""

    async def atake(self, names: Iterable[str], out: Array | None = None) -> Ragged:
        """`take`, for an event loop, which does other things meanwhile.

        Parameters
        ----------
        names, out
            As for `PointerArray.take`.

        Returns
        -------
        Ragged
            As from `PointerArray.take`, which says what it raises.

        Notes
        -----
        A thread calls `take`: the first call begins one of up to 32 that belong to this reader,
        so that many calls may be awaited at once, as by ``asyncio.gather``; further ones wait for
        a thread. Of a store that lies elsewhere, the requests are those of `take`.

        A call that is cancelled asks for nothing more, and does not wait for answers that are
        under way. When it has ended, nothing is written to `out` any more, which may have some of
        the arrays. What is copied of this machine's own files is copied to its end before.

        Examples
        --------
        >>> import asyncio
        >>> asyncio.run(store.atake(["utt3", "utt2"])).values
        array([6., 4., 5.], dtype=float32)
        """
        wanted = list(several(names, "take"))  # an iterator stays with the thread that made it
        if self._threads is None or not self._threads.are_here:
            from ptrarray.views.awaited import Threads

            self._threads = Threads()
        return await self._threads.wait_for(partial(self.take, wanted, out))

    # what they are --------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements of the flat array; uint8 in a mixed store."""
        return self._opened.data.dtype

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """Shape of one row, ``()`` for scalars; None if each array has its own shape."""
        layout = self._opened.layout
        return layout.row_shape if layout.kind == ROWS else None

    @property
    def layout(self) -> Kind:
        """What `create` was asked for.

        ``"rows"``: one dtype and row shape; ``"shaped"``: one dtype, each
        array its own shape; ``"mixed"``: each array its own dtype and shape.
        """
        return self._opened.layout.kind

    @property
    def plot(self) -> Plots:
        """Plots on matplotlib: `lengths`, `array`, `arrays` and `growth`, as `Plots` has them.

        Needs the extra ``ptrarray[plot]``.

        Examples
        --------
        >>> ax = store.plot.array("utt2")
        >>> ax.get_title()
        'utt2'
        """
        from ptrarray.views.plots import Plots

        return Plots(self)

    # by name -------------------------------------------------------------------------------

    def __contains__(self, name: object) -> bool:
        return name in Names(self._opened.snapshot)

    def __iter__(self) -> Iterator[str]:
        return iter(Names(self._opened.snapshot))

    def values(self) -> ValuesView[Array]:
        """Return the arrays in data order, as views."""
        return Values(self, lambda: self.arrays)

    def items(self) -> ItemsView[str, Array]:
        """Return the pairs of name and array in data order, the arrays as views."""
        return Items(self, lambda: self.arrays)

    @property
    def meta(self) -> Meta:
        """Mapping from name to the metadata that was written with the array.

        Each is a new dict, empty for an array that was given none.

        Examples
        --------
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     _ = writer.write({"utt4": [7]}, meta={"utt4": {"speaker": "Ann"}})
        >>> store.refresh()
        >>> store.meta["utt4"], store.meta["utt1"]
        ({'speaker': 'Ann'}, {})
        """
        return Meta(self._opened.snapshot)

    @overload
    def series(self) -> AllSeries: ...
    @overload
    def series(self, names: str) -> Any: ...
    @overload
    def series(self, names: Iterable[str]) -> dict[str, Any]: ...
    def series(self, names: str | Iterable[str] | None = None) -> Any:
        """Return pandas Series on the store's memory: one, several, or a mapping of all.

        Parameters
        ----------
        names : str or iterable of str, optional
            Of Series that were kept, or of 1-D arrays, which have the default
            index then.

        Returns
        -------
        pandas.Series, dict or AllSeries
            The Series of one name; or a dict of those of several, in the order
            given; or, without names, a mapping from name to Series of all that
            were kept as Series, in data order, which makes each when it is asked
            for.

            Values are views of the store, read-only in mode ``"r"``. An index
            that several Series have is one object, made once.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has one of the names.
        BadInputError
            For a DataFrame, an array that is not 1-D, or one with masked values.

        Notes
        -----
        Some 10 microseconds each, most of it pandas' own. To change what an
        index is called, or its frequency, give the Series another index: the one
        that it has is that of others, too.

        Examples
        --------
        >>> store.series("utt2")
        0    4.0
        1    5.0
        dtype: float32
        >>> list(store.series(["utt3", "utt1"]))
        ['utt3', 'utt1']

        Without names, only what was kept as Series:

        >>> import pandas as pd
        >>> with ptrarray.create("prices.ptr") as writer:
        ...     writer["oil"] = pd.Series([70.5, 71.0], index=pd.to_datetime(["2026-01-02", "2026-01-05"]))
        ...     writer["gas"] = pd.Series([3.5], name="usd")
        ...     writer["weights"] = [0.5, 0.5]
        >>> prices = ptrarray.open("prices.ptr").series()
        >>> len(prices), list(prices), prices["gas"].name
        (2, ['oil', 'gas'], 'usd')
        """
        return self._objects.series(names)

    def frame(
        self,
        names: str | Iterable[str] | None = None,
        how: Literal["long", "wide"] = "long",
        *,
        label: str = "name",
    ) -> Any:
        """Return a DataFrame, or several Series as one DataFrame, without a Python loop over rows.

        Parameters
        ----------
        names : str or iterable of str, optional
            One name is that of a DataFrame that was kept, or of a 2-D or
            structured array, and is returned on the store's memory. Several, or
            None for all Series, are copied into one DataFrame.
        how : {'long', 'wide'}
            ``"long"``: one row a value, in the order given. Columns are the name
            of each, a categorical; its index, or each level of it; its value.
            They are called ``name``, what all indexes are called or ``index``, and
            what all Series are called or ``value``. A DataFrame among them has a
            row for each of its rows, and its own columns.

            ``"wide"``: a column a name, rows the union of all indexes, as
            ``pd.concat(series, axis=1)``. With a DataFrame among them, columns have
            two levels.
        label : str
            What the column of names is called in a long one.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has one of the names.
        BadInputError
            If two columns would be called the same, an array is no Series or
            DataFrame, or indexes have no union for a wide one, as where a label
            comes twice; or if the label is no text.

        Examples
        --------
        >>> store.frame(["utt2", "utt3"])
           name  index  value
        0  utt2      0    4.0
        1  utt2      1    5.0
        2  utt3      0    6.0
        >>> store.frame(["utt2", "utt3"], how="wide")
           utt2  utt3
        0   4.0   6.0
        1   5.0   NaN
        """
        return self._objects.frame(names, how, label)

    @property
    @abstractmethod
    def _objects(self) -> Objects:
        """The pandas objects among the arrays."""

    @property
    def pointers(self) -> Pointers:
        """Mapping from name to `Pointer`.

        Examples
        --------
        >>> store.pointers["utt2"]
        Pointer(start=3, end=5)
        """
        return Pointers(self._opened.snapshot)

    # by position ---------------------------------------------------------------------------

    @property
    def names(self) -> Names:
        """Names by position, decoded when asked for."""
        return Names(self._opened.snapshot)

    @property
    def starts(self) -> Int64s:
        """First row of each array, int64, in data order; a read-only view of the index.

        With commits since the last checkpoint, or of several shards, a copy
        that is made once.
        """
        return self._opened.snapshot.starts

    @property
    def ends(self) -> Int64s:
        """Row after the last one of each array; as `starts`."""
        return self._opened.snapshot.ends

    @property
    def lengths(self) -> Int64s:
        """Rows of each array, int64, in data order; a copy."""
        return self.ends - self.starts

    # in all --------------------------------------------------------------------------------

    def _reducible(self) -> reductions.Living:
        return living_of(None, self._opened)

    def _spread(self) -> Spread:
        return self._opened, partial(living_of, None), None

    def _alike(self) -> Alike:
        opened = self._opened
        if opened.layout.kind == MIXED:
            return OneDtype(self.arrays, the_only_dtype(opened, ONE_AWKWARD))._alike()
        return alike(opened, *as_ranges(opened))

    def _tabular(self) -> tuple[Opened, np.dtype[Any], Bools | None]:
        opened = self._opened
        is_mixed = opened.layout.kind == MIXED
        return opened, the_only_dtype(opened, ONE_TABLE) if is_mixed else self.dtype, None

    def of_dtype(self, dtype: npt.DTypeLike) -> OneDtype:
        """Return the arrays of one dtype, for reductions over them in a store of several.

        Parameters
        ----------
        dtype : dtype
            Byte order included: ``">f4"`` is not ``"f4"``.

        Returns
        -------
        OneDtype
            A mapping from name to array, in data order, that takes ``np.sum`` and
            its like, `reduce`, `reduce_each`, `mean_each`, `std_each` and
            `arrow`. Without arrays if there are none of this dtype.

        Raises
        ------
        BadInputError
            For what is no dtype.

        Notes
        -----
        As `meta`, it is of the moment when it was asked for. Of arrays of more
        than one axis all elements are reduced, as in any store in which each
        array has its own shape. Looks at what is kept of each array once.

        Examples
        --------
        >>> with ptrarray.create("mixed.ptr") as writer:
        ...     _ = writer.write({"a": np.array([1.5, 2.5]), "b": np.array([[3, 4]])})
        >>> mixed = ptrarray.open("mixed.ptr")
        >>> float(np.sum(mixed.of_dtype("f8"))), list(mixed.of_dtype("i8"))
        (4.0, ['b'])
        """
        return OneDtype(self.arrays, known(dtype))
