"""A hyperspectral time-lapse that grows while it is looked at, and what its masked frames take.

The frames are 64 x 64 x 16 float32, one a call, as `python -m benchmarks timelapse` appends them;
for sizes they are masked, and of several dtypes. Nothing is deleted, so that nothing can be gained
by writing a store anew. N is the number of frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.harness.system import disk_nbytes
from benchmarks.report.results import OURS
from benchmarks.studies.timelapse import SHAPE, append, measure, mmapdict, view
from benchmarks.users.asking import CLOCK, MB, MEGA, Question

N = 500
REPEAT = 5
N_MASKED = 64  # frames whose sizes are asked, at most
DTYPES = ("f4", "f8", "u2", "i1")
PEER = "mmappickle"
SLACK = 0.99  # what is written anew may take as much more, for its index
SEED = 1

Frames = dict[str, Any]


def frames(n: int) -> Frames:
    """Return masked frames by name."""
    rng = np.random.default_rng(SEED)
    found = {}
    for number in range(n):
        values = (rng.random(SHAPE) * 100).astype(DTYPES[number % len(DTYPES)])
        found[f"frame{number:06}"] = np.ma.MaskedArray(values, mask=rng.random(SHAPE) < 0.1)
    return found


def lapsing(path: Path, n: int, jobs: list[Any], which: int) -> dict[str, Callable[[], float]]:
    """Return ways to append frames that tell one of the costs that are measured."""

    def cost(engine: str) -> float:
        return measure(engine, n, path, jobs)[which]

    return {who: partial(cost, who) for who in (OURS, PEER)}


# what masked frames take --------------------------------------------------------------------------


def store_of(path: Path, masked: Frames) -> Path:
    """Write frames into a store."""
    with ptrarray.create(path, masked=True, mode="w") as writer:
        for name, frame in masked.items():
            writer[name] = frame
    return path


def dict_of(path: Path, masked: Frames) -> Path:
    """Write frames into a dict of mmappickle's."""
    discard(path)
    found = mmapdict(str(path))
    for name, frame in masked.items():
        found[name] = frame
    return path


def compacted(path: Path) -> Path:
    """Rewrite a store without its holes, of which it has none."""
    ptrarray.compact(path)
    return path


def packed(path: Path) -> Path:
    """Make one file of a store."""
    target = path.with_suffix(".tar")
    ptrarray.pack(path, target, overwrite=True)
    return target


def repaired(path: Path) -> Path:
    """Copy what is intact, which is all."""
    target = path.with_suffix(".repaired")
    discard(target)
    expect(ptrarray.repair(path, target) == [], "what was repaired")
    return target


def copied(path: Path) -> Path:
    """Copy the arrays into another store."""
    target = path.with_suffix(".copy")
    with ptrarray.open(path) as store, ptrarray.create(target, masked=True, mode="w") as writer:
        writer.write(dict(store))
    return target


REWRITTEN = {"compacted": compacted, "packed": packed, "repaired": repaired, "copied": copied}


def megabytes(path: Path, masked: Frames) -> float:
    """Return what a store takes on the disk, once its frames were compared."""
    with ptrarray.open(path) as store:
        for name, frame in masked.items():
            expect(store[name].dtype == frame.dtype, f"the dtype of {name}")
            expect(np.array_equal(store[name].filled(0), frame.filled(0)), name)
            expect(np.array_equal(np.ma.getmaskarray(store[name]), frame.mask), f"mask of {name}")
    return disk_nbytes(path) / MEGA


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Append frames, then rewrite masked ones in every way."""
    alone, viewed = [append], [append, view]
    for words, jobs, which, bound in (
        ("append all frames", alone, 0, 1),
        ("append all frames under a viewer", viewed, 0, 1),
        ("age of a frame once the viewer has read it", viewed, 1, 0),
    ):
        ways = lapsing(folder / "lapse", n, jobs, which)
        yield Question(words, ways, {PEER: bound}, unit=CLOCK, returns_cost=True)
    masked = frames(min(n, N_MASKED))
    path = folder / "masked.ptr"

    def written() -> float:
        return megabytes(store_of(path, masked), masked)

    def theirs() -> float:
        return disk_nbytes(dict_of(folder / "masked.mmdpickle", masked)) / MEGA

    sizes = {"unit": MB, "returns_cost": True}
    ways = {OURS: written, PEER: theirs}
    yield Question("masked frames on the disk", ways, **sizes)
    for words, rewrite in REWRITTEN.items():

        def after(rewrite: Callable[[Path], Path] = rewrite) -> float:
            fresh = folder / "other.ptr"
            discard(fresh)
            shutil.copytree(path, fresh)
            return megabytes(rewrite(fresh), masked)

        ways = {OURS: after, "as written": written}
        yield Question(f"masked frames, {words}", ways, {"as written": SLACK}, **sizes)
