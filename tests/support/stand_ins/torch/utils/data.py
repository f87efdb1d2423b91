"""A data set, and a loader that has worker processes fetch batches from it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Dataset:
    """What data sets derive from."""


class DataLoader:
    """Loads batches in worker processes, which get the data set as torch's do."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool,
        num_workers: int,
        collate_fn: Callable[[Any], Any],
    ) -> None:
        self._dataset = dataset
        self._collate = collate_fn
        self._num_workers = num_workers
        order = (
            np.random.default_rng().permutation(len(dataset)) if shuffle else range(len(dataset))
        )
        positions = [int(position) for position in order]
        self._batches = [
            positions[first : first + batch_size] for first in range(0, len(positions), batch_size)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        with multiprocessing.Pool(self._num_workers) as pool:
            for batch in pool.imap(self._dataset.__getitems__, self._batches):
                yield self._collate(batch)
