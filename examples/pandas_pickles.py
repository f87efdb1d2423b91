"""Turn thousands of pickled pandas Series into one store, and read them back without copies.

Workers unpickle and write for themselves, and run nothing that a file names. A second call reads
only files that are new.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import ptrarray

N_FILES = 1000


def measure(i: int) -> pd.Series:
    """Stand in for one recording: 50 to 500 values, by the second."""
    values = np.random.default_rng(i).standard_normal(50 + i % 450)
    return pd.Series(values, pd.date_range("2026", periods=len(values), freq="s"), name=f"run{i}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        pickles, path = Path(folder) / "pickles", Path(folder) / "runs.ptr"
        pickles.mkdir()
        for i in range(N_FILES):
            measure(i).to_pickle(pickles / f"{i}.pkl")

        for _ in range(2):
            print(ptrarray.convert.from_pickles(pickles, path, processes=2, progress=False))

        with ptrarray.open(path) as store:
            total = sum(array.sum() for array in store.walk())  # ndarrays, no copies
            series = store.series("471")  # index, name and dtype as they were
            print(f"{len(store)} Series, sum {total:.1f}; {series.name}: {len(series)} values")
            pd.testing.assert_series_equal(series, measure(471))
            assert np.isclose(total, sum(measure(i).sum() for i in range(N_FILES)))
