"""Batches of arrays of like length: padding, the first batch, an epoch, and memory.

Lengths are lognormal. torch shuffles with its own `RandomSampler` and `BatchSampler`, in any order
of lengths. lhotse's `DynamicBucketingSampler` is what speech recognition trains with; it takes an
object for each array, so that it has a hundredth of them, and batches of a bounded number of rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import lhotse
import numpy as np
import torch.utils.data
from lhotse.dataset.sampling import DynamicBucketingSampler
from numpy.typing import NDArray

from benchmarks.bridges.limits import at_most
from benchmarks.harness.case import expect
from benchmarks.harness.processes import in_fresh
from benchmarks.harness.system import peak_kib, resident_kib
from benchmarks.report.results import OURS
from benchmarks.users.asking import Question
from ptrarray.sampling import LengthBatches

N = 10_000_000
REPEAT = 5
SIZE = 256
MEAN, SIGMA, NARROW_SIGMA = 5.0, 1.0, 0.27  # of the logarithm of lengths
ROWS = 100_000
PADDING = 1.1
MEMORY_MB = 50
TORCH, LHOTSE = "torch's BatchSampler", "lhotse's DynamicBucketingSampler"

Lengths = NDArray[np.int64]
Batches = Iterable[list[int]]


def lengths_of(n: int, sigma: float) -> Lengths:
    """Return lognormal lengths."""
    random = np.random.default_rng(1)
    lengths = random.lognormal(MEAN, sigma, n).astype(np.int64)
    return np.minimum(np.maximum(lengths, 1), ROWS)


def padding(lengths: Lengths, make: Callable[[Lengths], Batches]) -> float:
    """Return how many rows batches have when they are padded, for each one that they have."""
    n_padded = n_rows = 0
    for batch in make(lengths):
        some = lengths[batch]
        n_padded += int(some.max()) * len(some)
        n_rows += int(some.sum())
    expect(n_rows == int(lengths.sum()), "arrays that came once each")
    return n_padded / n_rows


def ours(lengths: Lengths, **bounds: int) -> Batches:
    """Return batches of like length."""
    return LengthBatches(lengths, **bounds)  # type: ignore[arg-type]


def of_torch(lengths: Lengths) -> Batches:
    """Return batches of a random order."""
    order = torch.utils.data.RandomSampler(range(len(lengths)))
    batches: Batches = torch.utils.data.BatchSampler(order, SIZE, drop_last=False)
    return batches


class OfLhotse:
    """Batches of lhotse, as positions."""

    def __init__(self, lengths: Lengths, rows: int) -> None:
        self._cuts = lhotse.CutSet.from_cuts(
            lhotse.MonoCut(str(n), start=0, duration=float(length), channel=0)
            for n, length in enumerate(lengths.tolist())
        )
        self._rows = rows

    def __iter__(self) -> Iterator[list[int]]:
        sampler = DynamicBucketingSampler(self._cuts, max_duration=self._rows, shuffle=True)
        for batch in sampler:
            yield [int(cut.id) for cut in batch]


def first_ms(batches: Callable[[], Batches]) -> Callable[[], Any]:
    """Return what makes batches and takes the first one."""
    return lambda: next(iter(batches()))


def growing(who: str, path: str) -> Iterator[dict[str, Any]]:
    """Tell by how many MB a process grows for the first hundred batches of lengths in a file."""
    lengths = np.load(path)
    make = of_torch if who == TORCH else partial(ours, size=SIZE)
    consumed(islice(make(lengths[:100_000]), 100))  # what is made once
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = resident_kib()
    consumed(islice(make(lengths), 100))
    yield {"mb": (peak_kib() - before) / 1024}


def grown(who: str, path: Path) -> float:
    """Return that, of a fresh process."""
    found: float = in_fresh(None, growing, who, str(path))["mb"]
    return found


def consumed(batches: Batches) -> int:
    """Take all batches; return how many arrays they have."""
    return sum(map(len, batches))


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for padding, time and memory."""
    warnings.filterwarnings("ignore", ".*eagerly read CutSet")
    few = max(100, n // 100)
    for sigma, what in ((NARROW_SIGMA, "narrow"), (SIGMA, "wide")):
        lengths = lengths_of(few * 10, sigma)
        yield at_most(
            f"padded rows a row, {few * 10:,} arrays of {what} lengths, {SIZE} a batch",
            PADDING,
            "padded rows a row",
            partial(padding, lengths, partial(ours, size=SIZE)),
            {TORCH: partial(padding, lengths, of_torch)},
        )
    lengths = lengths_of(few, SIGMA)
    theirs = OfLhotse(lengths, ROWS)
    yield at_most(
        f"padded rows a row, {few:,} arrays of wide lengths, {ROWS:,} rows a batch",
        PADDING,
        "padded rows a row",
        partial(padding, lengths, partial(ours, rows=ROWS)),
        {LHOTSE: lambda: padding(lengths, lambda _: theirs)},
    )
    yield Question(
        f"an epoch of {few:,} arrays, {ROWS:,} rows a batch",
        {OURS: lambda: consumed(ours(lengths, rows=ROWS)), LHOTSE: lambda: consumed(theirs)},
        same=lambda mine, other: expect(mine == other, "all arrays"),
    )
    yield from of_many(folder / "lengths.npy", lengths_of(n, SIGMA))


def of_many(path: Path, many: Lengths) -> Iterator[Question]:
    """Ask what the first batches of many arrays cost, and an epoch of them."""
    np.save(path, many)
    by_size, by_rows = partial(ours, many, size=SIZE), partial(ours, many, rows=ROWS)
    words = f"of {len(many):,} arrays"
    yield Question(
        f"the first batch {words}, {SIZE} a batch",
        {OURS: first_ms(by_size), TORCH: first_ms(partial(of_torch, many))},
    )
    yield Question(f"the first batch {words}, {ROWS:,} rows a batch", {OURS: first_ms(by_rows)})
    yield at_most(
        f"memory until the first hundred batches {words}",
        MEMORY_MB,
        "MB",
        partial(grown, OURS, path),
        {TORCH: partial(grown, TORCH, path)},
    )
    yield Question(
        f"an epoch {words}, {SIZE} a batch",
        {OURS: lambda: consumed(by_size()), TORCH: lambda: consumed(of_torch(many))},
        same=lambda mine, other: expect(mine == other == len(many), "all arrays"),
    )
