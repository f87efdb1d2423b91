"""Turn many inputs into features of different lengths, in parallel, in one call.

Each worker process writes its arrays for itself. A second call with `resume=True` skips what is
there, so a job that was interrupted is simply started again.
"""

import tempfile
from pathlib import Path

import numpy as np

import ptrarray

N_BANDS = 4


def load_features(seed: int) -> np.ndarray:
    """Stand in for reading and transforming one recording: (n_frames, N_BANDS)."""
    random = np.random.default_rng(seed)
    return random.standard_normal((random.integers(0, 200), N_BANDS), dtype="f4")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.ptr"
        tasks = {f"utt{seed}": seed for seed in range(500)}
        settings = {"dtype": "f4", "row_shape": (N_BANDS,), "processes": 2, "progress": False}

        n_first = ptrarray.fill(path, load_features, dict(list(tasks.items())[:200]), **settings)
        n_second = ptrarray.fill(path, load_features, tasks, resume=True, **settings)
        print(f"{n_first} arrays, then {n_second} more")

        with ptrarray.open(path) as store:
            batch = store.take(["utt7", "utt499", "utt7"])
            print(f"batch of {len(batch)}: values {batch.values.shape}, offsets {batch.offsets}")
            assert (n_first, n_second, len(store)) == (200, 300, 500)
            assert all(np.array_equal(store[name], load_features(tasks[name])) for name in tasks)
