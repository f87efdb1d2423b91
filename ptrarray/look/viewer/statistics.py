"""Statistics of the elements of one array, in one walk in blocks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ptrarray.look.numbers import drawable
from ptrarray.look.viewer.texts import one
from ptrarray.look.viewer.windows import ArrayRows
from ptrarray.reductions.blocks import Living, over_runs
from ptrarray.rows.types import Array
from ptrarray.rows.widened import widened

_MOST_DIGITS = 15
_BLOCK_NBYTES = 1 << 20  # so that whoever has gone is noticed soon


class Moments(NamedTuple):
    """What is known of some elements.

    Attributes
    ----------
    n_numbers, n_masked, n_missing, n_infinite : int
        How many are numbers, and how many are masked, NaN or NaT, infinite.
    low, high : element or None
        The lowest and the highest, as they are kept; None without numbers.
    mean, deviation : float
        Mean, and the root of the mean of the squares of what differs from it.
    """

    n_numbers: int
    n_masked: int
    n_missing: int
    n_infinite: int
    low: Any
    high: Any
    mean: float
    deviation: float


def statistics_of(rows: ArrayRows) -> Moments | None:
    """Return what is known of all elements; None if they are no numbers, or there are none.

    Raises
    ------
    StoppedError
        If whoever asked has gone.
    """
    if not rows.size or drawable(np.empty(0, rows.dtype)) is None:
        return None
    ends = np.array([rows.shape[0]])
    living = Living(widened(rows), ends - ends, ends)
    # On the thread of who asked, who is the one that knows whether to stop.
    return over_runs(
        living, summarise=_moments, merge=_merged, block_nbytes=_BLOCK_NBYTES, n_threads=1
    )


def _moments(block: Array) -> Moments:
    data, mask = np.ma.getdata(block), np.ma.getmask(block)
    kept = data[~mask] if mask is not np.ma.nomask else data.reshape(-1)
    missing, infinite = np.zeros(kept.shape, np.bool_), np.zeros(kept.shape, np.bool_)
    if kept.dtype.kind in "fc":
        missing, infinite = np.isnan(kept), np.isinf(kept)
    elif kept.dtype.kind in "mM":
        missing = np.isnat(kept)
    n_missing, n_infinite = int(missing.sum()), int(infinite.sum())
    known = kept[~(missing | infinite)] if n_missing or n_infinite else kept
    low, high = _extremes(known)
    mean, deviation = _spread(known)
    return Moments(
        known.size, data.size - kept.size, n_missing, n_infinite, low, high, mean, deviation
    )


def _extremes(known: Array) -> tuple[Any, Any]:
    if not known.size:
        return None, None
    if known.dtype.kind == "c":  # which have no order
        sizes = np.abs(known)
        return sizes.min(), sizes.max()
    return known.min(), known.max()


def _spread(known: Array) -> tuple[float, float]:
    numbers = drawable(known)
    if numbers is None or not known.size:
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = numbers.mean()
        if not np.isfinite(mean):  # the sum was too large
            mean = (numbers / len(numbers)).sum()
        mean = mean.clip(numbers.min(), numbers.max())  # rounded, it may be outside
        away = np.abs(numbers - mean)
        furthest = away.max()  # Squares of shares of it neither overflow nor vanish.
        share = np.sqrt(np.square(away / furthest).mean()) if furthest else 0.0
        return float(mean), float(furthest * share)


def _merged(left: Moments, right: Moments) -> Moments:
    if not left.n_numbers or not right.n_numbers:
        extremes = right[4:] if right.n_numbers else left[4:]
    else:
        share = right.n_numbers / (left.n_numbers + right.n_numbers)
        step = right.mean - left.mean
        within = math.sqrt(1 - share) * left.deviation, math.sqrt(share) * right.deviation
        deviation = math.hypot(*within, math.sqrt(share * (1 - share)) * step)
        low, high = min(left.low, right.low), max(left.high, right.high)
        extremes = low, high, left.mean + step * share, deviation
    counts = (a + b for a, b in zip(left[:4], right[:4], strict=True))
    return Moments._make((*counts, *extremes))


def as_pairs(found: Moments, dtype: np.dtype[Any]) -> list[list[str | None]]:
    """Return statistics as pairs of what it is and text, in the order in which they are shown.

    Examples
    --------
    >>> as_pairs(Moments(2, 0, 1, 0, np.int64(1), np.int64(3), 2.0, 1.0), np.dtype("i8"))
    [['lowest', '1'], ['highest', '3'], ['mean', '2'], ['deviation', '1'], ['numbers', '2'], ['missing', '1']]
    """
    of = " of magnitudes" if dtype.kind == "c" else ""
    pairs: list[list[str | None]] = []
    if found.n_numbers:
        pairs += [[f"lowest{of}", one(found.low)], [f"highest{of}", one(found.high)]]
        if dtype.kind not in "mM":
            mean = f"{found.mean:.{_digits(found)}g}"
            pairs += [[f"mean{of}", mean], [f"deviation{of}", f"{found.deviation:.6g}"]]
    pairs.append(["numbers", f"{found.n_numbers:,}"])
    left_out = {"masked": found.n_masked, "missing": found.n_missing, "infinite": found.n_infinite}
    return pairs + [[what, f"{number:,}"] for what, number in left_out.items() if number]


def _digits(found: Moments) -> int:
    """Return how many digits of a mean to show: those that its deviation leaves of interest."""
    if not found.deviation or not found.mean:
        return _MOST_DIGITS
    larger = math.log10(abs(found.mean)) - math.log10(found.deviation)
    return min(max(4 + math.ceil(larger), 6), _MOST_DIGITS)
