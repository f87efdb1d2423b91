"""Folding a journal into an index all at once: what folding it block by block is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptrarray.format.entries import DELETED, Entries, end_to_end
from ptrarray.format.index import IndexHeader
from ptrarray.storage.store.folding import Order
from ptrarray.storage.store.index import Index, column_bytes


def fold(index: Index, records: Sequence[Entries]) -> Entries:
    """Return the columns of an index with the records of a journal folded in."""
    changes = end_to_end(records)
    last = {name: at for at, name in enumerate(changes.names.split())}
    starts = np.full(changes.n_names, DELETED, np.int64)
    some = list(last.values())
    starts[some] = changes.starts[some]
    order = Order(index, changes.names, changes.hashes, starts)
    return order.folded(index.entries(), changes)


def raw_columns(directory: Path, header: IndexHeader, entries: Entries) -> dict[str, bytes]:
    """Return the bytes of each column of an index of entries."""
    _, raw = column_bytes(header, entries)
    return {name: bytes(column) for name, column in raw.items()}


def columns_of(index: Index) -> dict[str, bytes]:
    """Return the bytes of each column of an index, when they match their checksums."""
    index.check()
    return {name: index.column(name).tobytes() for name in index.columns}
