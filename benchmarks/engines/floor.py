"""The least the machine allows: `pwritev`, one mapping, and a dict of pointers made beforehand.

It keeps no names while it writes, checks nothing and survives nothing. Its
dict is pickled beside the data, and opening loads it.
"""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.engines import Engine
from benchmarks.workloads import Array, Int64s, Layout, Source

IOV_MAX = os.sysconf("SC_IOV_MAX")
PWRITE_MOST = 1 << 30  # one call takes at most 2 GiB


@dataclass(frozen=True)
class Opened:
    """A mapping, and where its arrays are, by name and by position."""

    rows: Array
    pointers: dict[str, tuple[int, int]]

    @cached_property
    def starts(self) -> list[int]:
        """First rows by position."""
        return [start for start, _ in self.pointers.values()]

    @cached_property
    def ends(self) -> list[int]:
        """Rows after the last by position."""
        return [end for _, end in self.pointers.values()]

    @cached_property
    def offsets(self) -> Int64s:
        """First rows, as `reduceat` wants them."""
        return np.array(self.starts)


def _pwritev(fd: int, arrays: list[Array], at: int) -> int:
    written = os.pwritev(fd, arrays, at)
    wanted = sum(array.nbytes for array in arrays)
    if written != wanted:
        raise OSError(f"wrote {written} of {wanted} bytes")
    return written


def _write(fd: int, part: Source, at: int) -> None:
    for batch in part.batches:
        arrays = list(batch.values())
        for first in range(0, len(arrays), IOV_MAX):
            at += _pwritev(fd, arrays[first : first + IOV_MAX], at)


def _compute(path: Path, function: Any, numbered: list[tuple[int, Any]]) -> set[int]:
    """Compute and write some arrays; return how many rows they have."""
    fd = os.open(path / "data.bin", os.O_RDWR)
    lengths = set()
    for number, task in numbered:
        array = function(task)
        os.pwrite(fd, array, number * array.nbytes)
        lengths.add(len(array))
    os.close(fd)
    return lengths


def _pointers(path: Path) -> Path:
    return path / "pointers.pickle"


class Floor(Engine[int, Opened]):
    """A file of rows and a dict."""

    name = "floor"
    is_parallel = True
    # Four dicts of ten million names are 10 GB, and one is written anew with each append.
    caps: ClassVar = {"readers": 1_000_000, "upkeep": 1_000_000}
    notes: ClassVar = {
        "write": "the floor writes no names",
        "open": "the floor loads its pickled dict",
        "write_ragged": "the floor is one `pwrite` of the whole buffer",
        "lookup": "the floor asks a dict and slices the mapping",
        "position": "the floor asks two lists and slices the mapping",
        "take": "the floor looks up in a loop and calls `numpy.concatenate` once",
        "sum": "the floor is `numpy.sum` of the flat array",
        "sum_in_threads": "the floor is `numpy.sum` of a part in a thread for each core",
        "fill": "the floor knows beforehand where each array goes, and writes it there",
        "sums_each": "the floor is `numpy.add.reduceat` alone",
        "totals": "the floor is `numpy.add.reduceat` over the flat array",
        "append": "the floor loads its pickled dict",
        "append_alone": "the floor is `pwritev` at the end of the file",
        "verify": "the floor is `zlib.crc32` of the data file",
    }

    def make(self, path: Path, source: Source) -> None:
        """Write the rows, and a pickled dict of pointers."""
        fd = self.create(path, source)
        self.write_ragged(fd, source)
        os.close(fd)
        self.complete(path, source)

    def complete(self, path: Path, source: Source) -> None:
        """Pickle the dict of pointers, with those to the arrays at the end of the file."""
        known = pickle.loads(_pointers(path).read_bytes()) if _pointers(path).exists() else {}
        n_rows = (path / "data.bin").stat().st_size // source.layout.row_nbytes
        bounds = pairwise((source.offsets + (n_rows - len(source.values))).tolist())
        with _pointers(path).open("wb") as file:
            pickle.dump(known | dict(zip(source.names, bounds, strict=True)), file, protocol=5)

    def append(self, path: Path, part: Source) -> None:
        """Write arrays at the end of the file."""
        fd = os.open(path / "data.bin", os.O_RDWR)
        _write(fd, part, os.fstat(fd).st_size)
        os.close(fd)

    def create(self, path: Path, source: Source | None = None) -> int:
        """Make the data file."""
        path.mkdir()
        return os.open(path / "data.bin", os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def write(self, fd: int, part: Source) -> None:
        """Write arrays from where they are, as many a call as the system takes."""
        _write(fd, part, part.first_row * part.layout.row_nbytes)

    def write_each(self, fd: int, part: Source) -> None:
        """Write one array a call."""
        at = part.first_row * part.layout.row_nbytes
        for batch in part.batches:
            for array in batch.values():
                at += os.pwrite(fd, array, at)

    def write_ragged(self, fd: int, part: Source) -> None:
        """Write the whole buffer."""
        at = part.first_row * part.layout.row_nbytes
        raw = memoryview(part.values.reshape(-1)).cast("B")
        for first in range(0, len(raw), PWRITE_MOST):
            at += os.pwrite(fd, raw[first : first + PWRITE_MOST], at)

    def fill(self, path: Path, function: Any, tasks: dict[str, Any], n_processes: int) -> None:
        """Compute arrays of one size in worker processes, which write them where they belong."""
        os.close(self.create(path))
        numbered = list(enumerate(tasks.values()))
        work = partial(_compute, path, function)
        if n_processes == 1:
            lengths = work(numbered)
        else:
            with ProcessPoolExecutor(n_processes) as pool:
                shares = [numbered[i::n_processes] for i in range(n_processes)]
                lengths = set().union(*pool.map(work, shares))
        (n_rows,) = lengths
        pointers = {name: (i * n_rows, (i + 1) * n_rows) for i, name in enumerate(tasks)}
        _pointers(path).write_bytes(pickle.dumps(pointers, protocol=5))

    def sync(self, fd: int, path: Path) -> None:
        """Wait for the disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close the file."""
        os.close(fd)

    def open(self, path: Path, layout: Layout) -> Opened:
        """Load the dict and map the file."""
        with _pointers(path).open("rb") as file:
            pointers = pickle.load(file)
        mapped = np.memmap(path / "data.bin", layout.dtype, "r")
        rows = np.asarray(mapped).reshape(-1, *layout.row_shape)
        return Opened(rows, pointers)

    def get(self, store: Opened, names: list[str]) -> list[Array]:
        """Ask the dict, slice the mapping."""
        rows, pointers = store.rows, store.pointers
        return [rows[slice(*pointers[name])] for name in names]

    def at(self, store: Opened, positions: list[int]) -> list[Array]:
        """Ask two lists, slice the mapping."""
        rows, starts, ends = store.rows, store.starts, store.ends
        return [rows[starts[position] : ends[position]] for position in positions]

    def walk(self, store: Opened) -> Iterator[Array]:
        """Slice the mapping from front to back."""
        rows = store.rows
        return (rows[start:end] for start, end in zip(store.starts, store.ends, strict=True))

    def items(self, store: Opened) -> Iterable[tuple[str, Array]]:
        """Slice the mapping for each name of the dict."""
        rows = store.rows
        return ((name, rows[start:end]) for name, (start, end) in store.pointers.items())

    def slices(self, store: Opened, starts: list[int], n_rows: int) -> list[Array]:
        """Slice the mapping."""
        rows = store.rows
        return [rows[start : start + n_rows] for start in starts]

    def whole(self, store: Opened, function: Any) -> Any:
        """Let numpy reduce the flat array."""
        return function(store.rows)

    def whole_in_threads(self, store: Opened, function: Any) -> Any:
        """Let numpy reduce a part of the flat array in a thread for each core."""
        n_threads = len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(n_threads) as pool:
            return function(list(pool.map(function, np.array_split(store.rows, n_threads))))

    def each(self, store: Opened) -> Array:
        """Let numpy reduce the runs; they are end to end and none is empty."""
        return np.add.reduceat(store.rows, store.offsets)

    def totals(self, store: Opened) -> Array:
        """Let numpy reduce the runs of the flat array."""
        flat = store.rows.reshape(-1)
        return np.add.reduceat(flat, store.offsets * (flat.size // len(store.rows)))

    def verify(self, path: Path) -> None:
        """Read every byte once."""
        zlib.crc32(np.memmap(path / "data.bin", np.uint8, "r"))
