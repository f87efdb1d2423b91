"""Save a nested model, load it without reading its arrays, share them between processes.

No pickle is involved: the file cannot run code, and any program that reads msgpack can read it.
"""

import datetime
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray


def score(path: Path) -> float:
    """Load the model in another process: its arrays are the same pages of memory."""
    model = ptrarray.load(path)
    return float(sum(layer["weights"].sum() for layer in model["layers"]))


if __name__ == "__main__":
    shared = np.arange(10.0)
    model: dict[str, Any] = {
        "trained": datetime.datetime.now(datetime.UTC),
        "layers": [{"weights": np.full((100, 100), n), "scale": shared} for n in range(3)],
        ("any", "key"): {1, 2.5, None},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ptr"
        ptrarray.dump(model, path)
        loaded = ptrarray.load(path)
        with multiprocessing.Pool(2) as pool:
            print(f"trained {loaded['trained']:%Y-%m-%d}, scores {pool.map(score, [path] * 2)}")
        with ptrarray.open(path) as store:  # the same arrays by name, for any other program
            assert np.array_equal(store["/layers/2/weights"], model["layers"][2]["weights"])
        assert loaded["layers"][0]["scale"] is loaded["layers"][2]["scale"]
