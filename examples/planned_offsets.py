"""Write at rows planned beforehand, when all lengths are known, from a pool of processes.

Every process gets its part of the names and the row where it begins; the order of the rows is then
that of the plan, whichever process is first.
"""

import multiprocessing
import tempfile
from pathlib import Path

import numpy as np

import ptrarray

LENGTHS = np.arange(100) % 7
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])


def write_part(path: Path, first: int, last: int) -> None:
    """Write the arrays `first` to `last` in one commit, at their planned start."""
    arrays = {f"series{i}": np.full(LENGTHS[i], i) for i in range(first, last)}
    with ptrarray.append(path) as writer:
        writer.write(arrays, start=int(STARTS[first]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.ptr"
        ptrarray.create(path, dtype="i4", rows=int(STARTS[-1])).close()
        with multiprocessing.Pool(2) as pool:
            pool.starmap(write_part, [(path, first, first + 25) for first in (75, 25, 50, 0)])

        with ptrarray.open(path) as store:
            print(f"{len(store)} arrays in {store.shape[0]} rows: {store[:12]} ...")
            assert np.array_equal(store.rows, np.repeat(np.arange(100), LENGTHS))
            assert store.pointers["series26"] == (STARTS[26], STARTS[27])
