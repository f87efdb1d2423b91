"""Watch a store that another process is still filling.

An open reader is a snapshot; `refresh` shows what was committed since. Views handed out before
stay valid, with the same content.
"""

import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import ptrarray


def acquire(path: Path, viewer: Connection) -> None:
    """Append one measurement after the other and say so."""
    with ptrarray.append(path) as writer:
        for i in range(5):
            writer[f"scan{i}"] = np.full(10 * i, i)
            viewer.send(f"scan{i}")
    viewer.send(None)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scans.ptr"
        ptrarray.create(path, dtype="f8").close()
        ours, theirs = multiprocessing.Pipe()
        writer = multiprocessing.Process(target=acquire, args=(path, theirs))
        with ptrarray.open(path) as store:
            writer.start()
            theirs.close()  # so that `recv` ends if the writer dies
            while (name := ours.recv()) is not None:
                store.refresh()  # what the writer announced is there, and maybe more
                print(f"{name}: {len(store[name])} rows, {len(store)} arrays so far")
            writer.join()
            assert [len(array) for array in store.values()] == [0, 10, 20, 30, 40]
