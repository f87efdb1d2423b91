"""What the machine tells: memory of a process, space on the disk, what is in the page cache."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
PAGE_NBYTES = os.sysconf("SC_PAGESIZE")


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the seconds a call takes, and its result."""
    start = perf_counter()
    result = function(*arguments)
    return perf_counter() - start, result


def timed_each(function: Callable[[Any], Any], items: Iterable[Any]) -> float:
    """Return the seconds it takes to call a function with one item after the other."""
    return timed(lambda: deque(map(function, items), maxlen=0))[0]


def settle() -> None:
    """Collect garbage, and keep what is there out of the collections to come."""
    gc.collect()
    gc.freeze()


def anonymous_kib(process: int | str = "self") -> int:
    """Memory that this process, or another, has allocated.

    Pages of mapped files are the system's cache.
    """
    return _fields(f"/proc/{process}/status", ("RssAnon",))


def private_kib(process: int | str = "self") -> int:
    """Memory of this process, or another, that no other has mapped, file pages included."""
    return _fields(f"/proc/{process}/smaps_rollup", ("Private_Clean", "Private_Dirty"))


def resident_kib() -> int:
    """Memory of this process now, file pages included."""
    return _fields("/proc/self/status", ("VmRSS",))


def peak_kib(process: int | str = "self") -> int:
    """Largest memory of this process, or another, so far, file pages included."""
    return _fields(f"/proc/{process}/status", ("VmHWM",))


def _fields(path: str, names: tuple[str, ...]) -> int:
    lines = Path(path).read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in names)


def files(path: Path) -> Iterator[Path]:
    """Yield the files of a store, which may be one itself."""
    return (each for each in (path, *path.rglob("*")) if each.is_file())


def disk_nbytes(path: Path) -> int:
    """Bytes that a store takes on the disk, with its folders."""
    os.sync()  # before, some blocks are not yet counted
    return sum(each.lstat().st_blocks * 512 for each in (path, *path.rglob("*")))


def sync_files(path: Path) -> None:
    """Wait until all files of a store are on the disk."""
    for each in files(path):
        with each.open("rb") as file:
            os.fsync(file.fileno())


def drop_cache(path: Path) -> float:
    """Take the files of a store out of the page cache; return the share that stayed."""
    sync_files(path)
    for each in files(path):
        with each.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    probes = [probe for each in files(path) for probe in _cached(each)]
    return sum(probes) / max(len(probes), 1)


def _cached(path: Path, n_probes: int = 64) -> Iterator[bool]:
    """Tell of some pages of a file whether they can be read without the disk."""
    with path.open("rb") as file:
        pages = -(-path.stat().st_size // PAGE_NBYTES)
        for page in np.unique(np.linspace(0, max(pages - 1, 0), n_probes).astype(int)).tolist():
            try:
                os.preadv(file.fileno(), [bytearray(1)], page * PAGE_NBYTES, os.RWF_NOWAIT)
                yield True
            except BlockingIOError:
                yield False


def machine() -> dict[str, Any]:
    """Describe where this runs."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = {line.split(":")[1].strip() for line in cpu.splitlines() if "model name" in line}
    return {
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * PAGE_NBYTES / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def machine_words(machine: dict[str, Any]) -> str:
    """Return the same in one line."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}, numpy {machine['numpy']}"
    )


def commit(checkout: Path = ROOT) -> str:
    """Name the commit that is checked out in a folder."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"
