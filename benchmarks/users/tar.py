"""Simulation outputs as pickled objects, gathered into few files: building those, reading by id.

Outputs are objects with two numbers and two arrays of 10 to 300,000 values. The tar archives are
built and read as people do who have many pickles: a loop that begins a new archive when one is
large enough, and a dict of which archive has which id. N is the number of outputs.
"""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.report.results import OURS
from benchmarks.users.asking import Question

N = 2_000
REPEAT = 5
FEWEST, MOST = 10, 300_000
TARGET_NBYTES = 50_000_000
N_READS = 100
SEED = 1

Answers = list[tuple[float, ...]]
Use = Callable[[Any, Any, Any, Any], tuple[float, ...]]


class Dummy:
    """Stand in for the output of a simulation."""

    def __init__(self, n: int, b: float, x: Any, y: Any) -> None:
        self.n, self.b, self.x, self.y = n, b, x, y


def write(folder: Path, n: int) -> None:
    """Write one pickle an output."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    sizes = np.exp(rng.uniform(np.log(FEWEST), np.log(MOST), n)).astype(int).tolist()
    for number, size in enumerate(sizes):
        output = Dummy(size, number / 2, rng.random(size), rng.random(size))
        with (folder / f"{number:06}.pkl").open("wb") as file:
            pickle.dump(output, file)


# few files of about one size ----------------------------------------------------------------------


def build_tars(source: Path, folder: Path) -> Path:
    """Add the files to archives, and keep which archive has which id."""
    discard(folder)
    folder.mkdir()
    where: dict[str, str] = {}
    files = sorted(source.iterdir())
    while files:
        path, nbytes = folder / f"{len(files):06}.tar", 0
        with tarfile.open(path, "w") as archive:
            while files and nbytes < TARGET_NBYTES:
                file = files.pop(0)
                archive.add(file, arcname=file.name)
                nbytes += file.stat().st_size
                where[file.stem] = path.name
    with (folder / "where.pkl").open("wb") as out:
        pickle.dump(where, out)
    return folder


def build_store(source: Path, path: Path) -> Path:
    """Import the pickles into shards, in this process; no code of theirs runs."""
    discard(path)
    report = ptrarray.convert.from_pickles(
        source, path, attributes=True, shard_size=TARGET_NBYTES, processes=1, progress=False
    )
    expect(not report.failures, f"the import, {report},")
    return path


# reading by id ------------------------------------------------------------------------------------


def last(n: Any, b: Any, x: Any, y: Any) -> tuple[float, ...]:
    """Look at the numbers of an output, and where its arrays end."""
    return float(n), float(b), float(x[-1]), float(y[-1])


def summed(n: Any, b: Any, x: Any, y: Any) -> tuple[float, ...]:
    """Use all of an output."""
    return float(n), float(b), float(x.sum()), float(y.sum())


def read_tars(folder: Path, ids: list[str], use: Use, *, keep_open: bool = True) -> Answers:
    """Read outputs from archives that are opened each time, or kept open."""
    with (folder / "where.pkl").open("rb") as file:
        where: dict[str, str] = pickle.load(file)
    found: Answers = []
    with ExitStack() as stack:
        opened: dict[str, tarfile.TarFile] = {}
        for name in ids:
            archive = opened.get(where[name])
            if archive is None:
                archive = stack.enter_context(tarfile.open(folder / where[name]))
                opened |= {where[name]: archive} if keep_open else {}
            member = archive.extractfile(f"{name}.pkl")
            assert member is not None  # which says so to mypy
            output = pickle.load(member)
            found.append(use(output.n, output.b, output.x, output.y))
            if not keep_open:
                stack.close()
    return found


def read_store(path: Path, ids: list[str], use: Use) -> Answers:
    """Read outputs from a store."""
    with ptrarray.open(path) as store:
        return [use(*(store[f"{name}/{part}"] for part in "nbxy")) for name in ids]


def same(ours: Answers, theirs: Answers) -> None:
    """Compare what was made of the outputs."""
    expect(len(ours) == len(theirs), "the number of outputs")
    expect(bool(np.allclose(ours, theirs, rtol=1e-12, atol=0)), "an output")


READS = (
    ("archives opened each time", last, False, 13),
    ("archives kept open", last, True, 13),
    ("archives kept open, and sums of all", summed, True, 0),
)


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Write the outputs, gather them, and ask for some."""
    source, tars, store = (folder / name for name in ("outputs", "tars", "outputs.ptr"))
    write(source, n)
    ids = [path.stem for path in sorted(source.iterdir())]
    some = np.random.default_rng(SEED).choice(ids, min(N_READS, n), replace=False).tolist()

    def built_tars() -> Any:
        build_tars(source, tars)
        return lambda: read_tars(tars, ids, summed)

    def built_store() -> Any:
        build_store(source, store)
        return lambda: read_store(store, ids, summed)

    ways = {OURS: built_store, "tar": built_tars}
    yield Question("build, in one process", ways, {"tar": 1.2}, same)
    for words, use, keep_open, bound in READS:
        ways = {
            OURS: partial(read_store, store, some, use),
            "tar": partial(read_tars, tars, some, use, keep_open=keep_open),
        }
        yield Question(f"{len(some)} by id, {words}", ways, {"tar": bound}, same)
