"""Nested objects of arrays: dumped, loaded and summed, many small arrays, and compressed.

Neither joblib nor pickle waits for the disk, so ptrarray does not either here (`sync=False`). N is
the MiB of arrays; there are ten times as many small arrays, and a tenth of N is compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.report.results import OURS
from benchmarks.studies.nested import MEBI, layers, pickle_dump, pickle_load, total
from benchmarks.users.asking import Question, Ways

N = 1024
REPEAT = 5
LEVEL = 3
PEER, PICKLE = "joblib", "pickle 5"

Dump = Callable[[Any, Path], Any]
Load = Callable[[Path], Any]
Bounds = dict[str, tuple[float, float]]  # of dumping and loading, by tool


def dump_folder(obj: Any, path: Path) -> None:
    """Dump as a store, whose arrays can be mapped."""
    ptrarray.dump(obj, path, mode="w", sync=False)


def dump_stream(obj: Any, path: Path) -> None:
    """Dump as one stream, which is one file."""
    with path.open("wb") as file:
        ptrarray.dump(obj, file)


def load_stream(path: Path) -> Any:
    """Load a stream."""
    with path.open("rb") as file:
        return ptrarray.load(file)


def dump_compressed(obj: Any, path: Path) -> None:
    """Dump as one compressed file."""
    ptrarray.dump(obj, path, mode="w", compress=("gz", LEVEL), sync=False)


def joblib_dump_compressed(obj: Any, path: Path) -> None:
    """Do the same with joblib."""
    joblib.dump(obj, path, compress=("gzip", LEVEL))


def same(ours: float, theirs: float) -> None:
    """Compare sums."""
    expect(bool(np.isclose(ours, theirs, rtol=1e-12)), "the sum")


class Tool:
    """How an object is dumped to a path, and loaded."""

    def __init__(self, path: Path, dump: Dump, load: Load) -> None:
        self.path, self._dump, self._load = path, dump, load

    def dump(self, obj: Any) -> Callable[[], float]:
        """Dump; return what loads it for a look."""
        self._dump(obj, self.path)
        return self.load_and_sum

    def load(self) -> Callable[[], float]:
        """Load; return what sums it for a look."""
        found = self._load(self.path)
        return lambda: total(found)

    def load_and_sum(self) -> float:
        """Load, and use all of it."""
        return total(self._load(self.path))


def tools(folder: Path) -> dict[str, Tool]:
    """Return the tools by name."""
    return {
        OURS: Tool(folder / "object.ptr", dump_folder, ptrarray.load),
        "stream": Tool(folder / "object.stream", dump_stream, load_stream),
        PEER: Tool(folder / "object.joblib", joblib.dump, joblib.load),
        PICKLE: Tool(folder / "object.pkl", pickle_dump, pickle_load),
    }


def asked(
    title: str, obj: Any, known: dict[str, Tool], bounds: Bounds, *, is_summed: bool = True
) -> Iterator[Question]:
    """Dump with each tool that has bounds, of dumping and loading; then load."""
    ways: Ways = {who: partial(known[who].dump, obj) for who in (OURS, *bounds)}
    yield Question(f"dump {title}", ways, {who: both[0] for who, both in bounds.items()}, same)
    loads = {who: both[1] for who, both in bounds.items()}
    if is_summed:
        ways = {who: known[who].load_and_sum for who in (OURS, *bounds)}
        yield Question(f"load {title}, and sum all", ways, loads, same)
    else:
        ways = {who: known[who].load for who in (OURS, *bounds)}
        yield Question(f"load {title}", ways, loads, same)


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Dump and load objects of a few large arrays, of many small ones, and compressed."""
    known = tools(folder)
    as_stream = known | {OURS: known["stream"]}
    obj: Any = layers(n * MEBI)
    yield from asked(f"{n} MiB", obj, known, {PEER: (0.9, 3), PICKLE: (0, 0)})
    yield from asked(f"{n} MiB as one stream", obj, as_stream, {PEER: (0, 0)})
    obj = list(np.random.default_rng(1).random((10 * n, 128)))
    title = f"{len(obj):,} small arrays"
    both = {PICKLE: (1.0, 1.0), PEER: (0.0, 0.0)}
    yield from asked(title, obj, known, both, is_summed=False)
    yield from asked(f"{title} as one stream", obj, as_stream, both, is_summed=False)
    for tool in known.values():
        discard(tool.path)
    yield from compressed(folder, max(n // 10, 8))


def compressed(folder: Path, n: int) -> Iterator[Question]:
    """Dump measured values, which have fewer digits than random bits, and pack them."""
    obj = [np.round(each["weights"], 3) for each in layers(n * MEBI)["layers"]]
    gz = {
        OURS: Tool(folder / "object.gz", dump_compressed, ptrarray.load),
        PEER: Tool(folder / "object.joblib.gz", joblib_dump_compressed, joblib.load),
    }
    title = f"{n} MiB with gzip at level {LEVEL}"
    yield from asked(title, obj, gz, {PEER: (1, 0)})
    store, target = folder / "object.ptr", folder / "object.tar.gz"
    dump_folder(obj, store)

    def pack() -> Callable[[], float]:
        ptrarray.pack(store, target, compression="gz", level=LEVEL, overwrite=True)
        return lambda: total(unpacked(target))

    ways: Ways = {OURS: pack, PEER: partial(gz[PEER].dump, obj)}
    yield Question(f"pack {title}, beside a dump", ways, {PEER: 1}, same)


def unpacked(pack: Path) -> Any:
    """Load an object from a compressed pack."""
    path = pack.with_suffix(".unpacked")
    discard(path)
    ptrarray.unpack(pack, path)
    return ptrarray.load(path)
