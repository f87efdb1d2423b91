"""What becomes an array of a ``.idx``: a sequence, or a document of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert.formats.megatron_index import MegatronIndex
from ptrarray.convert.found import Noted
from ptrarray.errors import BadInputError
from ptrarray.rows.types import Int64s

SUFFIXES = (".idx",)
PIECE_ARRAYS = 1 << 16

_MENDED = "indexes had pointers that wrapped at 32 bits, which were computed anew from the lengths"
_NO_SEQUENCES = "documents have no sequences, which the metadata of sequences cannot tell"


class Way(NamedTuple):
    """How files are read."""

    by: str
    origin: str | None


class Units:
    """The arrays of a file: its sequences, or its documents.

    Raises
    ------
    BadInputError
        If a document is not one array, as its sequences do not lie end to end.
    """

    def __init__(self, index: MegatronIndex, by: str) -> None:
        self.index = index
        self.by_document = by == "document" and index.has_documents
        if self.by_document and not index.is_packed:
            raise BadInputError(
                "its sequences do not lie end to end, so a document is not one array: import by='sequence'"
            )
        documents = index.documents
        self.n = len(documents) - 1 if self.by_document else len(index.lengths)
        self.has_metas = index.has_documents or index.modes is not None
        if self.by_document:
            ends = np.cumsum(index.lengths, dtype=np.int64)
            self._edges = np.concatenate([[0], ends])[documents]

    def pointers(self, some: slice) -> tuple[Int64s, Int64s]:
        """Return first and last rows of some arrays."""
        if self.by_document:
            return self._edges[some.start : some.stop], self._edges[some.start + 1 : some.stop + 1]
        index = self.index
        starts = index.pointers[some].astype(np.int64)
        starts //= index.dtype.itemsize
        ends: Int64s = starts + index.lengths[some]
        return starts, ends

    def metas(self, first: int, last: int) -> list[Mapping[str, Any]]:
        """Return the metadata of some arrays; none at all if there are none in the file."""
        return self.metas_at(np.arange(first, last)) if self.has_metas else []

    def metas_at(self, positions: Int64s) -> list[Mapping[str, Any]]:
        """Return the metadata of arrays at some positions, in a file that has some."""
        index, modes = self.index, self.index.modes
        if self.by_document:
            edges = zip(*(index.documents[positions + k].tolist() for k in (0, 1)), strict=True)
            return [_of_document(index, slice(*span)) for span in edges]
        found: list[dict[str, Any]] = [{} for _ in positions]
        if index.has_documents:
            numbers = np.searchsorted(index.documents, positions, side="right") - 1
            for meta, document in zip(found, numbers.tolist(), strict=True):
                meta["document"] = document
        if modes is not None:
            for meta, mode in zip(found, modes[positions].tolist(), strict=True):
                meta["mode"] = mode
        return list(found)

    def changes(self) -> Int64s:
        """Return the positions of all arrays whose metadata may be other than that of the one before."""
        if self.by_document:
            return np.arange(self.n)
        index, modes = self.index, self.index.modes
        changes = [np.zeros(min(self.n, 1), np.int64), index.documents[index.documents < self.n]]
        if modes is not None:
            changes.append(np.flatnonzero(modes[1:] != modes[:-1]) + 1)
        return np.unique(np.concatenate(changes))

    def notes(self) -> Iterator[Noted]:
        """Yield what a store does not keep, or not as it is."""
        if self.index.mended:
            yield Noted("", _MENDED)
        if self.index.has_documents and not self.by_document:
            for document in np.flatnonzero(np.diff(self.index.documents) == 0).tolist():
                yield Noted(f"document {document}", _NO_SEQUENCES)


def _of_document(index: MegatronIndex, span: slice) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if span.stop - span.start != 1:
        meta["sequences"] = index.lengths[span].tolist()
    if index.modes is not None:
        meta["modes"] = index.modes[span].tolist()
    return meta
