"""What is stored: four kinds of arrays, made from a seed, of any number.

A `Source` holds the arrays end to end and is what every answer is compared
with. Its names follow from its numbers, so that a fresh process can ask for
arrays without being handed ten million strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SEED = 20261121
BATCH = 100_000  # names in one call of a write of many
GROUP = 1_000  # arrays that are alive at a time while they are looked up
N_TAKE = 256  # names in a batch that is gathered
CHUNK = 1_000_000  # names held at a time while a large store is made

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """What all arrays of a workload have in common."""

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.row_shape))


@dataclass(frozen=True)
class Source:
    """Arrays laid end to end; array ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Array
    offsets: Int64s  # from 0 on, whatever `first_row` is
    prefix: str = "doc"
    first: int = 0  # number of its first array, which its name tells
    first_row: int = 0  # where its rows begin in the whole

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> Array:
        return self.values[self.offsets[position] : self.offsets[position + 1]]

    @property
    def layout(self) -> Layout:
        """Dtype and shape of a row."""
        return Layout(self.values.dtype, self.values.shape[1:])

    @cached_property
    def names(self) -> list[str]:
        """Names of all arrays, in order."""
        return names_of(self.prefix, range(self.first, self.first + len(self)))

    @cached_property
    def arrays(self) -> list[Array]:
        """All arrays, as views."""
        return [self.values[start:end] for start, end in pairwise(self.offsets.tolist())]

    @cached_property
    def batches(self) -> list[dict[str, Array]]:
        """What a user has in hand who writes many arrays a call."""
        pairs = list(zip(self.names, self.arrays, strict=True))
        return [dict(some) for some in grouped(pairs, BATCH)]

    def part(self, start: int, stop: int) -> Source:
        """Return some of the arrays, as views."""
        bounds = self.offsets[start : stop + 1]
        return replace(
            self,
            values=self.values[bounds[0] : bounds[-1]],
            offsets=bounds - bounds[0],
            first=self.first + start,
            first_row=self.first_row + int(bounds[0]),
        )

    def parts(self, n_parts: int) -> list[Source]:
        """Cut into parts of about as many arrays each."""
        cuts = [len(self) * i // n_parts for i in range(n_parts + 1)]
        return [self.part(start, stop) for start, stop in pairwise(cuts)]

    def chunks(self, n_arrays: int = CHUNK) -> Iterator[Source]:
        """Yield parts of at most so many arrays, whose names go when the part does."""
        for start in range(0, len(self), n_arrays):
            yield self.part(start, min(start + n_arrays, len(self)))

    def renamed(self, prefix: str) -> Source:
        """Return the same arrays under other names."""
        return replace(self, prefix=prefix)


def names_of(prefix: str, numbers: Any) -> list[str]:
    """Return the names of arrays by their numbers."""
    return [f"{prefix}-{number:09d}" for number in numbers]


def grouped(items: list[Any], n_items: int = GROUP) -> Iterator[list[Any]]:
    """Yield runs of at most so many items of a list, each made when it is asked for."""
    return (items[at : at + n_items] for at in range(0, len(items), n_items))


def lookups(n_arrays: int, n_lookups: int, seed: int = SEED) -> list[int]:
    """Return numbers of arrays to look up, in random order."""
    numbers: list[int] = np.random.default_rng(seed).integers(0, n_arrays, n_lookups).tolist()
    return numbers


def concatenated(arrays: list[Array]) -> tuple[Array, Int64s]:
    """Return a batch as most engines make one: copied end to end, with offsets."""
    offsets = np.zeros(len(arrays) + 1, np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    return np.concatenate(arrays), offsets


def _source(lengths: Int64s, values: Callable[[int], Array], prefix: str) -> Source:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Source(values(int(offsets[-1])), offsets, prefix)


def tokens(n_arrays: int) -> Source:
    """Token ids of documents: int32, lengths lognormal with mean 100."""
    rng = np.random.default_rng(SEED)
    sigma = 1.0
    drawn = rng.lognormal(np.log(100) - sigma**2 / 2, sigma, n_arrays)
    lengths = np.maximum(drawn.round().astype(np.int64), 1)
    return _source(lengths, lambda n: rng.integers(0, 32_000, n, np.int32), "doc")


def speech(n_arrays: int) -> Source:
    """Features of utterances: float32 rows of 80, 50 to 250 rows."""
    rng = np.random.default_rng(SEED)
    lengths = rng.integers(50, 251, n_arrays)
    return _source(lengths, lambda n: rng.random((n, 80), np.float32), "utt")


def tiny(n_arrays: int) -> Source:
    """Short lists: int64, 1 to 16 of them."""
    rng = np.random.default_rng(SEED)
    lengths = rng.integers(1, 17, n_arrays)
    return _source(lengths, lambda n: rng.integers(0, 1 << 40, n), "row")


def names(n_arrays: int) -> Source:
    """Hardly more than names: one int64 each."""
    return _source(np.ones(n_arrays, np.int64), lambda n: np.arange(n), "name")


class Workload(NamedTuple):
    """A kind of arrays; unless told, how many there are, what is measured and of which engines."""

    make: Callable[[int], Source]
    n_arrays: int
    kinds: tuple[str, ...]
    engines: tuple[str, ...] = ()  # all if empty
    fewer: tuple[int, ...] = ()  # other numbers of arrays at which readers are measured


_MOST = ("write", "fresh", "cold", "read", "upkeep", "size")

WORKLOADS = {
    "tokens": Workload(tokens, 1_000_000, _MOST),
    "speech": Workload(speech, 20_000, (*_MOST, "fill")),
    "tiny": Workload(
        tiny,
        2_000_000,
        ("write", "read", "size"),
        engines=("floor", "ptrarray", "ptrarray_pure", "bigarray", "lmdb", "pyarrow"),
    ),
    "names": Workload(
        names,
        10_000_000,
        ("fresh", "size"),
        engines=("floor", "ptrarray", "ptrarray_pure", "bigarray", "lmdb"),
        fewer=(10, 1_000, 100_000, 1_000_000),
    ),
}
