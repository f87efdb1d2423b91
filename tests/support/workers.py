"""Functions that tests run in other processes, importable under every start method."""

from __future__ import annotations

import os
import signal
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrarray.reader import open as open_store

Ints = NDArray[np.int64]


def ramp(n: int) -> Ints:
    return np.arange(n)


def pair(n: int) -> dict[str, Ints]:
    return {f"{n}/up": np.arange(n), f"{n}/down": np.arange(n)[::-1]}


def whole_or_part(n: int) -> dict[str, Ints]:
    """Return the same name for tasks 2k and 2k + 1."""
    return {f"n{n // 2}": np.arange(n)}


def ramp_below_20(n: int) -> Ints:
    if n >= 20:
        raise ValueError(f"{n} is too much")
    return ramp(n)


class StubbornError(Exception):
    """Can be pickled, not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_stubborn(n: int) -> Ints:
    raise StubbornError("salt", "pepper")


def leave(n: int) -> Ints:
    raise SystemExit(n)


def return_none(n: int) -> None:
    return None


def return_floats(n: int) -> NDArray[np.float64]:
    return np.full(3, 0.5)


def return_list(n: int) -> list[int]:
    return [7] * n


_BUFFER = np.zeros(100, np.int64)


def number_in_one_buffer(n: int) -> Ints:
    """Return what is overwritten by the next call."""
    _BUFFER[:] = n
    return _BUFFER[:n]


def fortran_if_even(n: int) -> Ints:
    return np.arange(6).reshape(2, 3).copy(order="C" if n % 2 else "F")


def die_once(task: tuple[int, str]) -> Ints:
    """Kill this process if the marker file is not there yet."""
    n, marker = task
    if n == 10 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return ramp(n)


def block_from_4(n: int) -> Ints:
    """Announce itself and then never return."""
    if n >= 4:
        # One system call, as two processes share the pipe.
        os.write(1, f"blocked {os.getpid()}\n".encode())
        while True:
            signal.pause()
    return ramp(n)


def ramps(n_tasks: int) -> dict[str, int]:
    return {f"n{n}": n for n in range(n_tasks)}


def check_ramps(path: Path, n_tasks: int, *, holes: bool = False) -> None:
    with open_store(path) as store:
        assert sorted(store) == sorted(ramps(n_tasks))
        for name, n in ramps(n_tasks).items():
            np.testing.assert_array_equal(store[name], np.arange(n))
        assert holes or store.shape[0] == sum(range(n_tasks))
        store.verify()


def meet_first(task: tuple[int, str]) -> Ints:
    """Wait in task 0 for another process to have done one."""
    n, marker = task
    if n == 0:
        while not Path(marker).exists():
            time.sleep(0.001)
    else:
        Path(marker).touch()
    return ramp(n)


def with_meta(n: int, *, masked: bool) -> Any:
    values = np.arange(n, dtype="f4")
    mask = np.arange(n) % 2 == 1
    return np.ma.masked_array(values, mask) if masked else values, {"n": n}


def series(n: int) -> Any:
    pandas = import_module("pandas")
    return pandas.Series(np.arange(n) / 2, index=[f"row {i}" for i in range(n)], name="half")


def noise(n: int) -> Any:
    """Return something else each time."""
    return np.frombuffer(os.urandom(8 * n), np.int64)


def named_noise(n: int) -> dict[str, Any]:
    return {f"noise {n}": noise(9)}
