"""Folding a journal into an index all at once: what folding it block by block is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np

from ptrarray.format import table
from ptrarray.format.entries import DELETED, Entries, end_to_end
from ptrarray.storage.store import blocks, index, merging
from ptrarray.storage.store.folding import Order
from ptrarray.storage.store.index import Index


def fold(old: Index, records: Sequence[Entries]) -> Entries:
    """Return the columns of an index with the records of a journal folded in."""
    changes = end_to_end(records)
    last = {name: at for at, name in enumerate(changes.names.split())}
    starts = np.full(changes.n_names, DELETED, np.int64)
    some = list(last.values())
    starts[some] = changes.starts[some]
    order = Order(old, changes.names, changes.hashes, starts)
    return order.folded(old.entries(), changes)


def columns_of(found: Index) -> dict[str, bytes]:
    """Return the bytes of each column of an index, when they match their checksums."""
    found.check()
    return {name: found.column(name).tobytes() for name in found.columns}


@contextmanager
def tiny(limit: int = 300, part: int = 2) -> Iterator[None]:
    """Make all that is gone through by blocks so small that each loop has several rounds."""
    with ExitStack() as stack:
        for module, name, value in (
            (table, "_PART_NAMES", part),
            (index, "PASSED_NBYTES", limit),
            (index, "_PASSED_NAMES", part),
            (blocks, "_PENDING_NBYTES", limit),
            (merging, "_BLOCK_NBYTES", limit),
            (merging, "_CHANGE_NBYTES", 1),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield
