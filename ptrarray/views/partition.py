"""Parts of a store that other processes read: `PointerArray.partitions`."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, ValuesView
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray import reductions
from ptrarray.errors import BadInputError
from ptrarray.format.dtypes import known
from ptrarray.format.layouts import MIXED, ROWS, Kind
from ptrarray.format.names import encode_all
from ptrarray.intake.choices import several
from ptrarray.intake.numbers import integer
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.shares import even_shares
from ptrarray.rows.types import Array, Bools, Int64s
from ptrarray.storage.shards.partition import Portion
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.alike import Alike, alike
from ptrarray.views.arrays import Arrays, Items, Values, joined, walk
from ptrarray.views.helpers import StoredHelpers, objects_with
from ptrarray.views.mappings import Meta, Names, Pointers, encoded
from ptrarray.views.one_dtype import (
    ONE_AWKWARD,
    ONE_TABLE,
    OneDtype,
    as_ranges,
    living_of,
    the_only_dtype,
)
from ptrarray.views.reducible import Reducible
from ptrarray.views.spread import Spread
from ptrarray.views.tabular import Tabular


def partitions_of(opened: Opened, helpers: StoredHelpers | None, n: int) -> list[Partition]:
    """Cut an open store into at most `n` parts: see `PointerArray.partitions`."""
    if integer("n", n) < 1:
        raise BadInputError(f"n must be at least 1: {n}", found=n, expected=">= 1")
    columns = [store.columns() for store in opened.stores]
    bounds = even_shares(columns, opened.layout.width, n)
    return [Partition(Portion(opened, low, high), helpers) for low, high in bounds]


class Partition(Reducible, Tabular):
    """Arrays of a store that follow each other in data order, as of one commit: read-only.

    A mapping from name to array, which other names are not in. By position,
    counted from its first array: `arrays`, `names`, `starts`, `ends`, `lengths`.
    In all, as of a store: ``np.sum(partition)`` and its like, `reduce`,
    `reduce_each`, `arrow`, `awkward`, `series`, `frame`. Rows are numbered as
    those of the store.

    `PointerArray.partitions` makes these.

    Parameters
    ----------
    portion : Portion
        The store, the commit, and the positions.
    helpers : StoredHelpers, optional
        What arrays of the store refer to, where it is open.

    Notes
    -----
    Pickled, it is a path, a commit and two positions; nothing is opened before
    arrays or names are asked for. Whatever needs them raises a `StoreError`
    then, if this commit is not to be had any more; `len` and `repr` do not.

    dask knows equal ones of one commit by their token.

    Examples
    --------
    >>> first, second = store.partitions(2)
    >>> list(second), second["utt3"], second.row_range, second.nbytes
    (['utt2', 'utt3'], array([6.], dtype=float32), range(3, 6), 12)
    >>> import pickle
    >>> sum(float(array.sum()) for array in pickle.loads(pickle.dumps(second)).values())
    15.0
    """

    def __init__(self, portion: Portion, helpers: StoredHelpers | None = None) -> None:
        self._portion = portion
        self._helpers = helpers
        self._by_position: Arrays | None = None
        self._objects_of: Callable[[Arrays], Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Partition, (self._portion,)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return what dask takes for the content: the same for equal parts of one commit."""
        portion = self._portion
        return (
            self.path,
            *portion.moment[:3],
            *portion.moment.ends.items(),
            portion.low,
            portion.high,
        )

    def __repr__(self) -> str:
        portion = self._portion
        return f"<Partition of {self.path!r}: arrays {portion.low} to {portion.high - 1}>"

    @property
    def _opened(self) -> Opened:
        return self._portion.opened

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return str(self._portion.path)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements, as of the store."""
        return self._opened.data.dtype

    @property
    def layout(self) -> Kind:
        """What the store was made of: ``"rows"``, ``"shaped"`` or ``"mixed"``."""
        return self._opened.layout.kind

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """Shape of one row; None if each array has its own shape."""
        layout = self._opened.layout
        return layout.row_shape if layout.kind == ROWS else None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return int(np.sum(self.lengths)) * self._opened.layout.width

    @property
    def row_range(self) -> range:
        """Rows of the store from the first of the first array to the last of the last one.

        Holes are in it, and so are rows of arrays that lie over these, as those of `point` may.
        """
        starts, ends = self._opened.columns()
        return range(int(starts[0]), int(ends.max()))

    def partitions(self, n: int) -> list[Partition]:
        """Cut these once more: see `PointerArray.partitions`."""
        return partitions_of(self._opened, self._helpers, n)

    # by name -------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
        """Return the array of a name, a read-only view.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array of this part has this name.
        """
        raw = encoded(name)
        address = None if raw is None else self._opened.snapshot.locate(raw)
        if address is None:
            raise unknown(name, self.path)
        return self.arrays.at(address)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return self._portion.high - self._portion.low

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def values(self) -> ValuesView[Array]:
        """Return the arrays in data order, as views."""
        return Values(self, lambda: self.arrays)

    def items(self) -> ItemsView[str, Array]:
        """Return the pairs of name and array in data order, the arrays as views."""
        return Items(self, lambda: self.arrays)

    def walk(self) -> Iterator[Array]:
        """Yield the arrays in data order, as views: see `PointerArray.walk`."""
        return walk(self._opened, None, ahead=True)

    def take(self, names: Iterable[str], out: Array | None = None) -> Ragged:
        """Copy several arrays into one contiguous batch: see `PointerArray.take`."""
        opened, wanted = self._opened, list(several(names, "take"))
        snapshot = opened.snapshot
        addresses = [snapshot.locate(raw) for raw in encode_all(wanted)]
        if None in addresses:
            raise unknown(wanted[addresses.index(None)], self.path)
        found = [address for address in addresses if address is not None]
        pointers = np.array([snapshot.pointer_at(address) for address in found], np.int64)
        starts, ends = np.minimum(pointers, len(opened.data)).reshape(-1, 2).T
        return joined(opened, starts, ends, lambda: found, out)

    @property
    def meta(self) -> Meta:
        """Mapping from name to the metadata that was written with the array."""
        return Meta(self._opened.snapshot)

    @property
    def pointers(self) -> Pointers:
        """Mapping from name to `Pointer`."""
        return Pointers(self._opened.snapshot)

    def series(self, names: str | Iterable[str] | None = None) -> Any:
        """Return pandas Series on the store's memory: see `PointerArray.series`."""
        return self._objects.series(names)

    def frame(
        self, names: str | Iterable[str] | None = None, how: str = "long", *, label: str = "name"
    ) -> Any:
        """Return a DataFrame, or several Series as one: see `PointerArray.frame`."""
        return self._objects.frame(names, how, label)

    @property
    def _objects(self) -> Any:
        if self._objects_of is None:
            helpers = self._helpers or StoredHelpers(self.path, self._portion.helpers())
            self._objects_of = objects_with(self.path, helpers)
        return self._objects_of(self.arrays)

    # by position ---------------------------------------------------------------------------

    @property
    def arrays(self) -> Arrays:
        """Arrays by position, in data order: see `PointerArray.arrays`."""
        if self._by_position is None:
            self._by_position = Arrays(self._opened, None)
        return self._by_position

    @property
    def names(self) -> Names:
        """Names by position, decoded when asked for."""
        return Names(self._opened.snapshot)

    @property
    def starts(self) -> Int64s:
        """First row of each array, int64, in data order, read-only."""
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
        """Return the arrays of one dtype: see `PointerArray.of_dtype`."""
        return OneDtype(self.arrays, known(dtype))
