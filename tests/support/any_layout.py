"""Stores of all layouts, with and without masks, and whole stores changed in small blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ptrarray.format import table
from ptrarray.storage.lifecycle import intact
from ptrarray.storage.shards import doubles
from ptrarray.storage.store import index as index_storage
from ptrarray.storage.store import merging

KINDS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "u1"},
    "wide rows": {"dtype": "i2", "row_shape": (3,)},
    "no width": {"dtype": "i2", "row_shape": (0,)},
    "shaped": {"dtype": "i2", "row_shape": None},
    "mixed": {},
    "masked rows": {"dtype": "i2", "masked": True},
    "masked mixed": {"masked": True},
}


def use_small_blocks(patch: pytest.MonkeyPatch) -> None:
    """Have all that is done in blocks done in several, though a store is small."""
    patch.setattr(intact, "_BLOCK_NBYTES", 4 * intact._EACH_NBYTES)
    patch.setattr(intact, "_JOURNAL_ENTRIES", 2)
    patch.setattr(index_storage, "_PASSED_NAMES", 5)
    patch.setattr(index_storage, "PASSED_NBYTES", 256)
    patch.setattr(merging, "_BLOCK_NBYTES", 200)
    patch.setattr(table, "_PART_NAMES", 2)
    # With a byte of memory, two ranges of hashes for each name: of 64, all but one have none.
    patch.setattr(doubles, "_NBYTES", 2)


def array_of(kind: str, seed: int) -> Any:
    """Return some array that a store of this kind may have; few values, so that some are alike."""
    length, value = seed % 4, seed % 3
    if kind == "wide rows":
        return np.full((length, 3), value, "i2")
    if kind == "no width":
        return np.empty((length, 0), "i2")
    array: Any = np.full((length, 2) if kind == "shaped" or "mixed" in kind else length, value)
    if kind == "rows":
        return array.astype("u1")
    array = array.astype("i2" if "mixed" not in kind or seed % 2 else "f4")
    if "masked" in kind and seed % 3:
        return np.ma.MaskedArray(array, np.resize([True, False, False], array.shape))
    return array
