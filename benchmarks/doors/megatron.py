"""Token files of Megatron: copied, beside its own reader, and linked, where only an index is written.

Its reader gives a view a sequence, which is written. N is the number of small sequences; a hundred times as many, of 5
tokens, are linked.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

import numpy as np
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.doors.passage import Corpus, both, door
from benchmarks.harness.case import expect
from benchmarks.users.asking import CLOCK, Question
from ptrarray import convert

N = 100_000
REPEAT = 5
LINKED_TIMES, LINKED_TOKENS, LINK_MS = 100, 5, 1000


def written(prefix: Path, corpus: Corpus) -> Path:
    """Write the two files, and return the index."""
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.float32)
    for array in corpus.arrays():
        builder.add_item(torch.from_numpy(array))
        builder.end_document()
    builder.finalize(f"{prefix}.idx")
    return Path(f"{prefix}.idx")


def each(prefix: Path, file: BinaryIO) -> None:
    """Write each sequence."""
    data = IndexedDataset(str(prefix))
    file.writelines(data[at] for at in range(len(data)))


def many(prefix: Path, n: int) -> Path:
    """Write very many sequences, all in one call."""
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.int32)
    tokens = torch.from_numpy(np.arange(n * LINKED_TOKENS, dtype=np.int32) % 50_000)
    builder.add_document(tokens, [LINKED_TOKENS] * n)
    builder.finalize(f"{prefix}.idx")
    return Path(f"{prefix}.idx")


def linked(index: Path, store: Path, n: int) -> float:
    """Return the milliseconds that it takes to link a file."""
    shutil.rmtree(store, ignore_errors=True)
    began = perf_counter()
    report = convert.from_megatron(index, store, how="link", progress=False)
    taken = (perf_counter() - began) * 1e3
    expect(report.converted == n, "as many arrays as there are sequences")
    with ptrarray.open(store) as reader:
        wanted = np.arange((n - 1) * LINKED_TOKENS, n * LINKED_TOKENS) % 50_000
        expect(reader[str(n - 1)].tolist() == wanted.tolist(), "the last sequence")
    return taken


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Copy small ones, then large ones; then link."""
    for number, corpus in enumerate(both(n)):
        prefix = folder / f"tokens{number}"
        index = written(prefix, corpus)
        ours = partial(convert.from_megatron, index, processes=1, progress=False)
        yield door(f"{corpus.words}: copied", folder, ours, partial(each, prefix))
    n_linked = n * LINKED_TIMES
    index = many(folder / "linked", n_linked)
    title = f"{n_linked:,} sequences, linked"
    ours_linked = partial(linked, index, folder / "linked.ptr", n_linked)
    yield at_most(title, LINK_MS, CLOCK, ours_linked, warms_up=True)
