"""What tests of the core run in other processes, importable under every start method."""

from __future__ import annotations

import fcntl
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ptrarray
from ptrarray import PointerArray, PointerArrayWriter

Ints = NDArray[np.int64]


def content(who: int, n: int) -> Ints:
    """Return what worker `who` writes as its n-th array."""
    return np.arange(n % 7) + 1000 * who + n


def die() -> None:
    """End this process as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


# writers ------------------------------------------------------------------------------------------


def append_many(path: Path, who: int, n_arrays: int, barrier: Barrier, told: Connection) -> None:
    """Append arrays one by one, and tell after each that its write returned."""
    barrier.wait()
    with ptrarray.append(path) as writer:
        for n in range(n_arrays):
            name = f"{who}/{n}"
            writer[name] = content(who, n)
            told.send(name)
    told.close()


def append_with(task: tuple[PointerArrayWriter, int]) -> str:
    """Append one array by a writer that came with the task, and do not close it."""
    writer, n = task
    writer.write({f"n{n}": content(0, n)})
    return f"n{n}"


INHERITED: list[PointerArrayWriter] = []


def append_with_the_inherited(n: int) -> str:
    """Append one array by a writer that this process has from its parent."""
    return append_with((INHERITED[0], n))


def write_planned(task: tuple[Path, int, int]) -> None:
    """Write a block of rows where the task says."""
    path, start, n_rows = task
    with ptrarray.append(path) as writer:
        writer.write({f"from {start}": np.arange(start, start + n_rows)}, start=start)


def create_and_append(path: Path, who: int, barrier: Barrier) -> None:
    """Race to create a store, then append to it."""
    barrier.wait()
    with ptrarray.create(path, dtype="i8", mode="a", attrs={"maker": "any"}) as writer:
        writer[str(who)] = [who]


# arrays of any shape and dtype, with masks and metadata --------------------------------------------


def strange(who: int, n: int) -> Any:
    """Return what worker `who` writes as its n-th array, masked or not."""
    shape = ((n % 5,), (2, n % 3 + 1), (), (2, 1, 3))[n % 4]
    size = int(np.prod(shape))
    array = (np.arange(size) + 1000 * who + n).reshape(shape).astype(("<f8", ">i4", "<c8")[n % 3])
    array = np.asfortranarray(array) if n % 2 else array
    if n % 5 == 0:
        return array
    return np.ma.MaskedArray(array, np.arange(size).reshape(shape) % 2 == who % 2, fill_value=n)


def strange_meta(who: int, n: int) -> dict[str, Any]:
    return {} if n % 3 == 0 else {"who": who, "n": [n]}


def append_strange(path: Path, who: int, n_arrays: int, barrier: Barrier) -> None:
    """Append arrays one by one, a large one among them, and say something of a shared one."""
    barrier.wait()
    with ptrarray.append(path) as writer:
        for n in range(n_arrays):
            name = f"{who}/{n}"
            writer.write({name: strange(who, n)}, meta={name: strange_meta(who, n)})
            writer.meta["shared"] = {"who": who, "n": n}
        writer[f"{who}/large"] = np.full((90, 100), who, "f8")


def change_in_place(path: Path, told: Connection) -> None:
    """Change an array and its mask through the mapping, over and over, and flush."""
    with ptrarray.open(path, "r+") as store:
        array: Any = store["shared"]
        for n in range(20):
            array[n % 3] = np.ma.masked if n % 2 else n
            store.flush()
            told.send(n)


# writers that die ---------------------------------------------------------------------------------


def append_until_killed(path: Path, told: Connection) -> None:
    """Append without end; each name is told when its write has returned."""
    writer = ptrarray.append(path)
    n = 0
    while True:
        writer.write({f"{n}/small": content(1, n), f"{n}/large": np.full(10**4, n)})
        told.send(n)
        n += 1


def append_and_leave(path: Path, how: str) -> None:
    """Append without closing, and end in one of several ways."""
    writer = ptrarray.append(path)
    writer["acknowledged"] = [1, 2, 3]
    match how:
        case "sigkill":
            die()
        case "_exit":
            os._exit(3)
        case "exception":
            raise SystemExit("something went wrong")
        case "return":
            return


def hold_rows(path: Path, n_rows: int, told: Connection) -> None:
    """Claim rows, tell, and wait in the middle of filling them."""
    with ptrarray.append(path).allocate("held", n_rows) as rows:
        rows[...] = -1
        told.send("claimed")
        told.recv()


def hold_rows_beside_a_child(path: Path, told: Connection) -> None:
    """Claim rows, fork a child that does nothing, tell its pid, and wait."""
    with ptrarray.append(path).allocate("held", 10):
        ready, running = os.pipe()
        pid = os.fork()
        if not pid:
            os.write(running, b"!")
            while True:
                signal.pause()
        os.read(ready, 1)  # before it runs, it has not closed what it inherited
        told.send(pid)
        told.recv()


def hold_lock(path: Path, told: Connection) -> None:
    """Take the lock of a store, tell, and wait."""
    with (path / "journal.msgpack").open("r+b") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        told.send("locked")
        told.recv()


# readers ------------------------------------------------------------------------------------------


def follow(path: Path, n_arrays: int, told: Connection) -> None:
    """Refresh until all arrays are there, checking each state that is seen."""
    seen: dict[str, bytes] = {}
    with ptrarray.open(path) as store:
        told.send("open")
        while len(seen) < n_arrays:
            store.refresh()
            names = list(store)
            assert set(seen) <= set(names), "a name that was there is gone"
            for name, array in store.items():
                who, n = map(int, name.split("/"))
                assert np.array_equal(array, content(who, n)), name
                seen[name] = array.tobytes()
            assert len(names) == len(set(names)) == len(store)
    told.send(len(seen))


def sum_of(array: Any) -> tuple[int, str]:
    """Return the sum of an array, and the file behind it if it was mapped."""
    base = array
    while isinstance(getattr(base, "base", None), np.ndarray):
        base = base.base
    return int(array.sum()), str(getattr(base, "filename", None))


def read_with(store: PointerArray, told: Connection) -> None:
    """Read by a reader that came from the parent, pickled or inherited."""
    told.send({name: array.tolist() for name, array in store.items()})


def fill_and_import(task: tuple[Path, Path]) -> None:
    path, folder = task
    tasks = {f"n{n}": n for n in range(40)}
    settings: dict[str, Any] = {"dtype": "i8", "processes": 2, "progress": False}
    assert ptrarray.fill(path, np.arange, tasks, **settings) == 40
    assert ptrarray.convert.from_npy(folder, path, **settings).converted == 2


def fill_badly(path: Path) -> None:
    tasks = {"good": "1", "bad": "x", "never": "2"}
    ptrarray.fill(path, lambda text: [int(text)], tasks, dtype="i8", progress=False)
