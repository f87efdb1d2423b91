"""Shuffled batches for training, from a store and from others, and the memory of workers.

All make padded tensors of batches of 256 arrays of 100 numbers on average, in one process, by the
same function of `ptrarray.torch`. The memory is what each of four forked workers of a
`DataLoader` has of its own after the last batch, less what it had after its first. N is the
number of arrays of the latter; of the former there are a tenth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import lmdb
import mmap_ninja
import numpy as np
import numpy.typing as npt
import torch

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.harness.case import expect
from benchmarks.harness.processes import in_fresh
from benchmarks.harness.system import private_kib
from benchmarks.report.results import OURS
from benchmarks.users.asking import MB, Question
from ptrarray.torch import Arrays, padded

N = 1_000_000
REPEAT = 5
SIZE, N_WORKERS, LIMIT_MB = 256, 4, 2
TOKENS, SHORT = 100, 20  # numbers of an array, on average
PARTS = 10  # of an epoch, for the chart
SEED = 1

Numbers = npt.NDArray[np.int32]
Counts = tuple[int, int]  # numbers, and the sum of the first of each array


class Written:
    """Arrays of random lengths, and a store of them.

    Parameters
    ----------
    folder : Path
        Where the store is.
    n, mean : int
        How many arrays, of how many numbers on average.
    """

    def __init__(self, folder: Path, n: int, mean: int) -> None:
        rng = np.random.default_rng(SEED)
        self.offsets = np.append(0, np.cumsum(rng.integers(1, 2 * mean, n)))
        self.values: Numbers = rng.integers(0, 50_000, self.offsets[-1], np.int32)
        self.names = [f"text{number:07}" for number in range(n)]
        self.path = folder / f"{mean}.ptr"
        with ptrarray.create(self.path, dtype="i4") as writer:
            writer.write_ragged(self.names, self.values, self.offsets)
        ptrarray.checkpoint(self.path)

    def arrays(self) -> list[Numbers]:
        """Return the arrays, as views."""
        return np.split(self.values, self.offsets[1:-1])

    @property
    def counts(self) -> Counts:
        """What an epoch has to come to."""
        return len(self.values), int(self.values[self.offsets[:-1]].sum())


# arrays of others, as a data set has them ------------------------------------------------------------


class InLmdb:
    """Values of a database, by the bytes of a name."""

    def __init__(self, written: Written, path: Path) -> None:
        self._keys = [name.encode() for name in written.names]
        pairs = zip(self._keys, (array.data for array in written.arrays()), strict=True)
        environment = lmdb.open(str(path), map_size=1 << 37, sync=False)
        with environment, environment.begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs)
        environment = lmdb.open(str(path), map_size=1 << 37, readonly=True)
        self._transaction = environment.begin(buffers=True)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitems__(self, positions: Sequence[int]) -> list[Numbers]:
        keys = [self._keys[position] for position in positions]
        found = self._transaction.cursor().getmulti(keys)
        return [np.frombuffer(raw, np.int32) for _, raw in found]


class InNinja:
    """Arrays of a ragged memory map."""

    def __init__(self, written: Written, path: Path) -> None:
        mmap_ninja.RaggedMmap.from_lists(path, written.arrays())
        self._arrays = mmap_ninja.RaggedMmap(path)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitems__(self, positions: Sequence[int]) -> list[Numbers]:
        return [self._arrays[position] for position in positions]


def in_datasets(written: Written, path: Path) -> Any:
    """Return a data set of Hugging Face, on its file, in the format of numpy."""
    lists = {"values": [array.tolist() for array in written.arrays()]}
    kinds = datasets.Features({"values": datasets.List(datasets.Value("int32"))})
    datasets.Dataset.from_dict(lists, features=kinds).save_to_disk(path)
    return datasets.load_from_disk(path).with_format("numpy")


def padded_rows(rows: Sequence[Any]) -> Any:
    """Make of rows of Hugging Face what all others are made into."""
    return padded()([row["values"] for row in rows])


# speed -----------------------------------------------------------------------------------------------


def order(n: int) -> list[list[int]]:
    """Return the positions of each batch of an epoch."""
    positions = np.random.default_rng(SEED).permutation(n)
    return [positions[first : first + SIZE].tolist() for first in range(0, n, SIZE)]


def epoch(
    data: Any, batches: list[list[int]], collate: Callable[[Any], Any], n_workers: int = 0
) -> Counts:
    """Load all batches in this process, or in workers; return what they come to."""
    loader = torch.utils.data.DataLoader(
        data, batch_sampler=batches, collate_fn=collate, num_workers=n_workers
    )
    return looked_at(loader)


def looked_at(batches: Iterable[Any]) -> Counts:
    """Return how many numbers batches have, and the sum of the first of each array."""
    n_numbers = total = 0
    for values, lengths, _ in batches:
        n_numbers += int(lengths.numpy().sum())
        total += int(values.numpy()[:, 0].sum())
    return n_numbers, total


def threaded(data: Arrays, batches: list[list[int]]) -> Counts:
    """Do the same with a thread that makes batches."""
    return looked_at(data.batches(batches, padded(), prefetch=1))


def tensors(batch: ptrarray.Ragged) -> tuple[Any, ...]:
    """Make a batch that travels as three tensors."""
    return tuple(padded()(batch))


def same(ours: Counts, theirs: Counts) -> None:
    """Compare what was loaded."""
    expect(ours == theirs, f"{ours} and {theirs}")


def travel(written: Written, batches: list[list[int]]) -> Question:
    """Load one epoch in this process, and in two workers."""
    data = Arrays(written.path)
    ways: dict[str, Callable[[], Any]] = {
        OURS: partial(threaded, data, batches),
        "two workers": partial(epoch, data, batches, padded(), 2),
        "two workers, three tensors a batch": partial(epoch, data, batches, tensors, 2),
    }
    return Question(f"{len(written.names):,} arrays by a thread, or by workers", ways, same=same)


def speed(folder: Path, written: Written, batches: list[list[int]]) -> Question:
    """Load one epoch of shuffled batches."""
    n = len(written.names)
    ours = Arrays(written.path)
    expect(epoch(ours, batches, padded()) == written.counts, "the store")
    peers = {
        "LMDB": InLmdb(written, folder / "lmdb"),
        "mmap_ninja": InNinja(written, folder / "ninja"),
    }
    ways: dict[str, Callable[[], Any]] = {OURS: partial(epoch, ours, batches, padded())}
    ways |= {name: partial(epoch, peer, batches, padded()) for name, peer in peers.items()}
    hugging = in_datasets(written, folder / "datasets")
    ways["datasets, numpy"] = partial(epoch, hugging, batches, padded_rows)
    bounds = {"datasets, numpy": 5.0, "LMDB": 2.0, "mmap_ninja": 2.0}
    return Question(f"{n:,} arrays in shuffled batches of {SIZE}", ways, bounds, same)


# memory of workers -----------------------------------------------------------------------------------


class Listed:
    """A list of arrays, as it is written first."""

    def __init__(self, path: str) -> None:
        self._arrays = [array.copy() for array in ptrarray.open(path).arrays]

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, position: int) -> Numbers:
        return self._arrays[position]


class Pointed:
    """A flat file, a list of names, and a dict of where each array is."""

    def __init__(self, path: str) -> None:
        store = ptrarray.open(path)
        self._names = list(store)
        columns = store.starts.tolist(), store.ends.tolist()
        self._pointers = dict(zip(self._names, zip(*columns, strict=True), strict=True))
        self._rows = store.rows

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: int) -> Numbers:
        start, end = self._pointers[self._names[position]]
        found: Numbers = self._rows[start:end]
        return found


KINDS: dict[str, Callable[[str], Any]] = {
    "an Arrays": Arrays,
    "a list of arrays": Listed,
    "a dict of pointers": Pointed,
}


def growing(kind: str, path: str) -> Iterator[dict[str, Any]]:
    """Tell by how much the private memory of workers grows over an epoch, in MB: the most of any."""
    data = KINDS[kind](path)
    batches = order(len(data))
    # That there are more workers than processors is no matter here.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    loader = torch.utils.data.DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=padded(),
        num_workers=N_WORKERS,
        multiprocessing_context="fork",
    )
    # Each has made a batch by then, and none has come to its end at the last look.
    looks = np.linspace(N_WORKERS, len(batches) - 3 * N_WORKERS, PARTS + 1).astype(int).tolist()
    found = []
    for number, _ in enumerate(loader):
        if number in looks:
            found.append([private_kib(child.pid or "self") for child in active_children()])
    yield {"mb": [max(np.subtract(each, found[0])) * 1024 / 1e6 for each in found]}


def grown(kind: str, path: Path) -> list[float]:
    """Return the memory at the beginning of an epoch, and after each part of it."""
    found: list[float] = in_fresh(None, growing, kind, str(path))["mb"]
    return found


def memory(folder: Path, n: int) -> Question:
    """Load one epoch in four workers, a process a kind of data set."""
    path = Written(folder, n, SHORT).path

    def last(kind: str) -> float:
        return max(grown(kind, path)[-1], 0)

    ours, *others = KINDS
    peers = {kind: partial(last, kind) for kind in others}
    title = f"{n:,} arrays in {N_WORKERS} workers: the most that one grows by"
    return at_most(title, LIMIT_MB, MB, partial(last, ours), peers)


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Load batches in this process, then in workers."""
    written, batches = Written(folder, n // 10, TOKENS), order(n // 10)
    yield speed(folder, written, batches)
    yield travel(written, batches)
    yield memory(folder, n)


# the chart in docs/torch.md --------------------------------------------------------------------------


def chart(mb_by_kind: Mapping[str, Sequence[float]]) -> str:
    """Return what workers grow by over an epoch as bars of text."""
    most = max(max(each) for each in mb_by_kind.values())
    lines = []
    for kind, each in mb_by_kind.items():
        lines += ["", kind]
        for part, mb in enumerate(each):
            if part % 2 == 0:
                bar = "█" * round(mb / most * 60)
                lines.append(f"{part * 100 // PARTS:4} % {mb:6.1f} MB {bar}".rstrip())
    return "\n".join(lines[1:])


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        million = Written(Path(made), N, SHORT).path
        print(chart({kind: grown(kind, million) for kind in KINDS}))
