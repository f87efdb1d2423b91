"""The pandas objects of an open store: one, many, and a mapping of all Series."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from itertools import compress
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.names import encode_all
from ptrarray.frames.reading import Reading, find_series, is_series
from ptrarray.frames.stacking import long, wide
from ptrarray.intake.choices import check_choice, several
from ptrarray.rows.copying import in_blocks
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.arrays import Arrays
from ptrarray.views.mappings import Names, encoded

# Makes something of the name of an array, the array, and its metadata as they are kept.
Make = Callable[[str, Array, bytes], Any]


class Objects:
    """Reads pandas objects of a store.

    Parameters
    ----------
    arrays : Arrays
        The arrays of the store.
    reading : Reading
        Makes objects of them.
    """

    def __init__(self, arrays: Arrays, reading: Reading) -> None:
        self.arrays, self.reading = arrays, reading
        self.opened: Opened = arrays.opened
        self.path = str(self.opened.snapshot.directory)

    def all(self) -> AllSeries:
        """Return all Series."""
        return AllSeries(self)

    def of(self, names: list[str], make: Make) -> list[Any]:
        """Return what is made of several names.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has one of the names.
        """
        snapshot, addresses = self.opened.snapshot, []
        for name, raw in zip(names, encode_all(names), strict=True):
            address = snapshot.locate(raw)
            if address is None:
                raise unknown(name, self.path)
            addresses.append(address)
        is_far = self.opened.is_compared
        arrays = self.opened.arrays_at(addresses) if is_far else map(self.arrays.at, addresses)
        metas = map(snapshot.meta_at, addresses)
        return list(map(make, names, arrays, metas))

    def at(self, positions: Int64s, make: Make) -> Iterator[tuple[str, Any]]:
        """Yield the name and what is made of each of some positions, in rising order."""
        locate = self.opened.snapshot.locate_position
        metas = self.opened.snapshot.metas
        for block in in_blocks(0, len(positions)):
            some = positions[block]
            first, last = int(some[0]), int(some[-1]) + 1
            packed = metas[first:last].split()
            names = Names(self.opened.snapshot)[first:last]
            arrays = self.arrays.all_at(list(map(locate, some.tolist())))
            for position, array in zip(some.tolist(), arrays, strict=True):
                name = names[position - first]
                yield name, make(name, array, packed[position - first])

    def series(self, names: str | Iterable[str] | None) -> Any:
        """Return one Series; or several by name; or all of them: see `PointerArray.series`."""
        if names is None:
            return self.all()
        if isinstance(names, str):
            return self.of([names], self.reading.series)[0]
        wanted = list(several(names, "series"))
        return dict(zip(wanted, self.of(wanted, self.reading.series), strict=True))

    def frame(self, names: str | Iterable[str] | None, how: str, label: str) -> Any:
        """Return an object, or several as one DataFrame: see `PointerArray.frame`."""
        check_choice("how", how, ("long", "wide"), self.path)
        if not isinstance(label, str):
            what = f"label {label!r:.80} is no text, to call the column of names"
            raise BadInputError(what, path=self.path, found=label, expected="text")
        if isinstance(names, str):
            return self.of([names], self.reading.frame)[0]
        return self._stacked(None if names is None else list(several(names, "frame")), how, label)

    def _stacked(self, names: list[str] | None, how: str, label: str) -> Any:
        column = self.reading.column
        if names is None:
            pairs = list(self.at(AllSeries(self).positions, column))
            wanted, objects = [name for name, _ in pairs], [made for _, made in pairs]
        else:
            wanted, objects = names, self.of(names, column)
        return long(wanted, objects, label) if how == "long" else wide(wanted, objects)


class AllSeries(Mapping[str, Any]):
    """The Series of a store by name, in data order; each is made when it is asked for.

    Holds what is kept as a Series: not DataFrames, and not arrays without a
    description. As `PointerArray.meta` it is of the moment when it was asked for,
    whatever the reader sees later.

    Notes
    -----
    Finds the Series by the bytes of the metadata, once, when it is first needed.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._positions: Int64s | None = None

    @property
    def positions(self) -> Int64s:
        """Positions of the Series among the arrays, rising."""
        if self._positions is None:
            snapshot = self._objects.opened.snapshot
            self._positions = (
                find_series(self._objects.path, snapshot.metas)
                if snapshot.has_metas
                else np.empty(0, np.int64)
            )
        return self._positions

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[str]:
        snapshot = self._objects.opened.snapshot
        is_one = np.zeros(len(snapshot), np.bool_)
        is_one[self.positions] = True
        return compress(snapshot.texts(), is_one)

    def __contains__(self, name: object) -> bool:
        snapshot, raw = self._objects.opened.snapshot, encoded(name)
        address = None if raw is None else snapshot.locate(raw)
        return address is not None and is_series(self._objects.path, snapshot.meta_at(address))

    def __getitem__(self, name: str) -> Any:
        """Return a Series on the store's memory.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no Series has this name.
        """
        objects = self._objects
        snapshot, raw = objects.opened.snapshot, encoded(name)
        address = None if raw is None else snapshot.locate(raw)
        meta = b"" if address is None else snapshot.meta_at(address)
        if address is None or not is_series(objects.path, meta):
            raise unknown(name, objects.path)
        return objects.reading.series(name, objects.arrays.at(address), meta)

    def items(self) -> ItemsView[str, Any]:
        """Return the pairs of name and Series in data order, read without looking up names."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the Series in data order, read without looking up names."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Yield the pairs of name and Series in data order."""
        return self._objects.at(self.positions, self._objects.reading.series)

    def __repr__(self) -> str:
        return f"<{len(self)} Series of {self._objects.path}>"


class _Items(ItemsView[str, Any]):
    _mapping: AllSeries

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping.pairs()


class _Values(ValuesView[Any]):
    _mapping: AllSeries

    def __iter__(self) -> Iterator[Any]:
        return (series for _, series in self._mapping.pairs())
