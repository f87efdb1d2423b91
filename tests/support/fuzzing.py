"""One try at a store with a file in it that somebody made up."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

import ptrarray

SEEDS = Path(__file__).parent.parent / "golden" / "v1"
CORPUS = Path(__file__).parent.parent / "corpus" / "fuzz"
FILES = ("index.msgpack", "journal.msgpack")
STORES = ("changed.ptr", "structured.ptr", "masked-mixed.ptr", "metadata.ptr")


def attempt(raw: bytes, store: Path) -> None:
    """Put made-up bytes in the place of a file of a good store, and use the store.

    The first byte says of which file and store. Whatever happens has to be right data or an
    error of ours: anything else that is raised is a bug.
    """
    choice = raw[0] if raw else 0
    name, seed = FILES[choice & 1], STORES[choice >> 1 & 3]
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(SEEDS / seed, store)
    (store / name).write_bytes(raw[1:])
    with suppress(ptrarray.StoreError), ptrarray.open(store) as opened:
        _read(opened)
    with suppress(ptrarray.StoreError):
        ptrarray.verify(store)
    with suppress(ptrarray.StoreError), ptrarray.append(store) as writer:
        empty = np.empty((0, *(writer.row_shape or ())), writer.dtype)
        writer.write({"\0fuzz": empty}, overwrite=True, meta={"\0fuzz": {"k": 1}})


def _read(store: ptrarray.PointerArray) -> None:
    names = store.names[:100]
    for name in names:
        with suppress(ptrarray.StoreError):
            store[name]
        with suppress(ptrarray.StoreError):
            store.meta[name]
    with suppress(ptrarray.StoreError):
        store.take(names)
    for array in store.values():
        array.tobytes()
    if store.dtype.kind in "iuf":
        np.sum(store)
        store.reduce_each(np.add)


def seeds() -> list[bytes]:
    """Return good inputs to begin with."""
    return [
        bytes([at_file | at_store << 1]) + (SEEDS / seed / name).read_bytes()
        for at_store, seed in enumerate(STORES)
        for at_file, name in enumerate(FILES)
    ]
