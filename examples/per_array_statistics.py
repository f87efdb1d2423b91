"""Compute one number for each array, and numbers for all, without a Python loop.

The data is read once from the mapping, in blocks, so the store may be larger than memory.
"""

import tempfile
from pathlib import Path

import numpy as np

import ptrarray

if __name__ == "__main__":
    random = np.random.default_rng(0)
    walks = {f"walk{i}": random.normal(i, 1, 1 + i % 50).cumsum() for i in range(1000)}

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walks.ptr"
        with ptrarray.create(path, dtype="f8") as writer:
            writer.write(walks)

        with ptrarray.open(path) as store:
            print(f"all {store.shape[0]} rows: mean {np.mean(store):.1f}, max {np.max(store):.1f}")
            peaks = store.reduce_each(np.maximum)
            means = store.mean_each()
            spreads = store.std_each()
            best = int(peaks.argmax())
            print(f"highest: {store.names[best]} with {peaks[best]:.1f}, mean {means[best]:.1f}")

            loop = [(walk.max(), walk.mean(), walk.std()) for walk in store.values()]
            assert np.allclose(np.stack([peaks, means, spreads], axis=1), loop)
