"""Damage to small files of HDF5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_HEAP_NBYTES = 4096


def damaged(content: bytes, n_files: int, seed: int = 7) -> Iterator[bytes]:
    """Yield contents with three bytes changed in each.

    The heap of text and other things of variable length is spared: reading from one in which the
    size of an object is wrong, HDF5 2.0.0 never ends, as h5py 3.16 has it.
    """
    heap = content.find(b"GCOL")
    spared = range(heap, heap + _HEAP_NBYTES) if heap >= 0 else ()
    places = np.setdiff1d(np.arange(len(content)), spared)
    rng = np.random.default_rng(seed)
    for _ in range(n_files):
        changed = bytearray(content)
        for at in rng.choice(places, 3):
            changed[at] = rng.integers(256)
        yield bytes(changed)
