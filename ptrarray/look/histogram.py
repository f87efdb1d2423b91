"""Lengths as counts in bins: how many arrays are how long."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

# Where the longest is so many times the shortest, bins grow with their lengths.
_SPREAD = 50
_N_BINS = 24


class Histogram(NamedTuple):
    """Lengths, counted.

    Attributes
    ----------
    edges : int64, shape (n_bins + 1,)
        Bin ``i`` has lengths ``edges[i] <= length < edges[i + 1]``, none of them 0.
    counts : int64, shape (n_bins,)
        How many arrays each bin has.
    n_empty : int
        Arrays without rows, which are in no bin.
    n_counted : int
        Arrays that were looked at, empty ones included.
    n_arrays : int
        Arrays that there are.
    is_logarithmic : bool
        Whether bins grow with the lengths.
    """

    edges: Counts
    counts: Counts
    n_empty: int
    n_counted: int
    n_arrays: int
    is_logarithmic: bool

    @property
    def is_sample(self) -> bool:
        """Whether there are arrays that were not looked at."""
        return self.n_counted < self.n_arrays

    def label(self, number: int) -> str:
        """Return which lengths a bin has.

        Examples
        --------
        >>> counted = histogram(np.array([3, 3, 4, 90]), 4)
        >>> [counted.label(number) for number in range(len(counted.counts))]
        ['3 to 24', '25 to 46', '47 to 68', '69 to 90']
        """
        first, last = int(self.edges[number]), int(self.edges[number + 1]) - 1
        return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def histogram(
    lengths: npt.NDArray[np.integer], n_bins: int = _N_BINS, n_arrays: int | None = None
) -> Histogram:
    """Count lengths in bins.

    Parameters
    ----------
    lengths : ndarray of integers
        Rows of arrays, those of a sample if there are many.
    n_bins : int
        About how many bins; one for each length, if these are fewer.
    n_arrays : int, optional
        How many arrays there are, of which `lengths` has a sample.

    Returns
    -------
    Histogram
        Bins of equal widths; if the longest is more than fifty times the shortest, which has a
        row, of widths that grow. Arrays without rows are counted apart.

    Notes
    -----
    Time O(lengths), 10 ms a million; memory for as many integers.

    Examples
    --------
    >>> counted = histogram(np.array([0, 1, 1, 3]))
    >>> counted.edges, counted.counts, counted.n_empty
    (array([1, 2, 3, 4]), array([2, 0, 1]), 1)
    """
    found = np.asarray(lengths, np.int64)
    n_counted = len(found)
    rest = found[found > 0]
    n_empty = n_counted - len(rest)
    n_arrays = n_counted if n_arrays is None else n_arrays
    if not len(rest):
        nothing = np.zeros(0, np.int64)
        return Histogram(np.ones(1, np.int64), nothing, n_empty, n_counted, n_arrays, False)
    low, high = int(rest.min()), int(rest.max())
    is_logarithmic = high - low >= n_bins and high > _SPREAD * low
    edges = _growing(low, high, n_bins) if is_logarithmic else _even(low, high, n_bins)
    bins = np.searchsorted(edges, rest, "right") - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return Histogram(edges, counts, n_empty, n_counted, n_arrays, is_logarithmic)


def _even(low: int, high: int, n_bins: int) -> Counts:
    """Return edges at equal distances, whole numbers of rows."""
    width = max(-(-(high - low) // n_bins), 1)
    first = np.arange((high - low) // width + 1, dtype=np.int64) * width + low
    return np.append(first, high + 1)


def _growing(low: int, high: int, n_bins: int) -> Counts:
    """Return edges of which each is about as many times the one before, two digits and zeros."""
    between = np.geomspace(low, high, n_bins + 1)[1:-1]
    digits = 10 ** np.maximum(np.floor(np.log10(between)) - 1, 0).astype(np.int64)
    rounded = (between / digits).round().astype(np.int64) * digits
    inner = rounded[(rounded > low) & (rounded < high)]
    # As sorted as they are; np.unique would load numpy.ma, which takes as long as all the rest.
    return np.array(sorted({low, *inner.tolist(), high + 1}), np.int64)
