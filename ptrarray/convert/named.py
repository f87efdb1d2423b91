"""What is found in files, with the names that it gets in the store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise, repeat
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.found import Many
from ptrarray.convert.sources import Source
from ptrarray.format.helpers import Helper
from ptrarray.format.metadata import Shared
from ptrarray.rows.copying import cut
from ptrarray.rows.ragged import gather
from ptrarray.rows.types import Array

ENTRY_NBYTES = 64  # about what an array needs beside its rows


class Named(NamedTuple):
    """An entry with its name in the store.

    Attributes
    ----------
    label : str
        Where it comes from, for messages.
    name : str
        Of the array itself.
    values : ndarray
        The array.
    meta : dict
        Its metadata.
    helpers : dict from str to Helper
        Helper arrays that it needs.
    attrs : dict
        What it is instead, if it is no array: an attr of the store.
    """

    label: str
    name: str
    values: Array
    meta: dict[str, Any]
    helpers: dict[str, Helper]
    attrs: Mapping[str, Any] = {}

    @property
    def metas(self) -> dict[str, Any]:
        """Its metadata by name; nothing where there is none."""
        return {self.name: self.meta} if self.meta else {}


class NamedMany(NamedTuple):
    """Many arrays that lie end to end, with their names in the store."""

    source: Source
    names: list[str]
    many: Many

    @classmethod
    def of(cls, many: Many, source: Source) -> NamedMany:
        """Name the arrays of a source."""
        return cls(source, source.names(many.keys), many)

    @property
    def metas(self) -> Mapping[str, Mapping[str, Any]]:
        """The metadata of those that have any."""
        metas = self.many.metas
        if len(metas) and metas[0] and all(map(is_, metas, repeat(metas[0]))):
            return Shared(self.names, metas[0])
        paired = zip(self.names, metas, strict=False)
        return {name: meta for name, meta in paired if meta}

    @property
    def first(self) -> Named:
        """The first array as an entry of its own."""
        return next(self.one_by_one())

    def one_by_one(self) -> Iterator[Named]:
        """Yield each array as an entry of its own."""
        arrays = one_by_one(self.many)
        for name, (key, array, meta) in zip(self.names, arrays, strict=True):
            yield Named(self.source.label(key), name, array, dict(meta), {})

    def pieces(self, limit_nbytes: int) -> Iterator[NamedMany]:
        """Yield them in pieces of bounded size, but for an array that is larger."""
        offsets = self.many.offsets
        row_nbytes = self.many.values[:1].nbytes
        sizes = np.diff(offsets) * row_nbytes + ENTRY_NBYTES
        for low, high in cut(sizes, limit_nbytes):
            keys, metas = self.many.keys[low:high], self.many.metas[low:high]
            part = Many(keys, self.many.values, offsets[low : high + 1], metas)
            yield NamedMany(self.source, self.names[low:high], part)

    def without(self, there: Collection[str]) -> tuple[NamedMany, list[tuple[str, str]]]:
        """Return those whose names are not there, and of the others label and name."""
        is_there = [name in there for name in self.names]
        left = [i for i, is_one in enumerate(is_there) if not is_one]
        found = [i for i, is_one in enumerate(is_there) if is_one]
        rows = gather(self.many.values, self.many.offsets[:-1][left], self.many.offsets[1:][left])
        metas = [self.many.metas[i] for i in left] if len(self.many.metas) else ()
        rest = Many([self.many.keys[i] for i in left], rows.values, rows.offsets, metas)
        labels = [(self.source.label(self.many.keys[i]), self.names[i]) for i in found]
        return NamedMany(self.source, [self.names[i] for i in left], rest), labels


def one_by_one(many: Many) -> Iterator[tuple[str, Array, Mapping[str, Any]]]:
    """Yield key, array and metadata of each of many arrays."""
    metas = many.metas if len(many.metas) else repeat({}, len(many.keys))
    bounds = pairwise(many.offsets.tolist())
    for key, (start, end), meta in zip(many.keys, bounds, metas, strict=True):
        yield key, many.values[start:end], meta
