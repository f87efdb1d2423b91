"""Parts of a store that other processes read: `PointerArray.partitions`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.names import encode_all
from ptrarray.intake.choices import several
from ptrarray.intake.numbers import integer
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.shares import even_shares
from ptrarray.rows.types import Array
from ptrarray.storage.shards.partition import Portion
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.arrays import Arrays, joined, walk
from ptrarray.views.helpers import StoredHelpers, objects_with
from ptrarray.views.mappings import encoded
from ptrarray.views.stored import StoredArrays


def partitions_of(opened: Opened, helpers: StoredHelpers | None, n: int) -> list[Partition]:
    """Cut an open store into at most `n` parts: see `PointerArray.partitions`."""
    if integer("n", n) < 1:
        raise BadInputError(f"n must be at least 1: {n}", found=n, expected=">= 1")
    columns = [store.columns() for store in opened.stores]
    bounds = even_shares(columns, opened.layout.width, n)
    return [Partition(Portion(opened, low, high), helpers) for low, high in bounds]


class Partition(StoredArrays):
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

    def _repr_html_(self) -> str:
        """Return these arrays as HTML, for notebooks; opens nothing for that."""
        from ptrarray.views import shown

        portion = self._portion
        about = f"{self.path}, arrays {portion.low} to {portion.high - 1}"
        return shown.partition(self, about, is_open=portion.is_open)

    @property
    def _opened(self) -> Opened:  # type: ignore[override] # opened when it is first asked for
        return self._portion.opened

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return str(self._portion.path)

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

    def __len__(self) -> int:
        return self._portion.high - self._portion.low

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
