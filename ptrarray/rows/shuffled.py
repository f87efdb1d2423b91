"""Chance by arithmetic: hashes of integers, and permutations of which any part can be computed alone.

Generators of numpy may give other numbers in its next release. These are the same for ever, on any
machine: an order that a training job resumes in must be.
"""

from __future__ import annotations

import numpy as np

from ptrarray.rows.types import Int64s, UInt64s

# Of SplitMix64: the step of its counter, and its finaliser, which spreads each bit over all.
_STEP = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 30), (0x94D049BB133111EB, 27)
_LAST_SHIFT = 31
_ALL = 2**64 - 1
# Even, so that the halves end with the sizes they began with. Four would do where halves have many
# bits; of few numbers, each order comes equally often (to some percent) with eight, and six bits.
_FEWEST_BITS = 6
_ROUNDS = 8


def key_of(*numbers: int) -> int:
    """Return a key of 64 bits that each of the numbers, below 2**64, changes.

    Examples
    --------
    >>> hex(key_of(0, 1)), hex(key_of(1, 0))
    ('0x91cc7d8e626b5dfd', '0x6b473cf5f3372322')
    """
    key = 0
    for number in numbers:
        key = int(hashed(np.array([number ^ key], np.uint64), _STEP)[0])
    return key


def hashed(values: Int64s | UInt64s, key: int) -> UInt64s:
    """Return numbers of 64 bits that look random, one for each value: different for different ones.

    Parameters
    ----------
    values : ndarray of int64 or uint64
        Not negative.
    key : int
        Below 2**64; with another one, all numbers are others.

    Examples
    --------
    >>> [hex(number) for number in hashed(np.arange(2), key=0).tolist()]
    ['0x0', '0xe220a8397b1dcdaf']
    """
    mixed = values.astype(np.uint64) * np.uint64(_STEP) + np.uint64(key & _ALL)
    for factor, shift in _FACTORS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(_LAST_SHIFT))


def permuted(first: int, last: int, n: int, key: int) -> Int64s:
    """Return items ``first`` to ``last - 1`` of a permutation of the numbers below `n`.

    Parameters
    ----------
    first, last : int
        Half-open, within 0 and `n`.
    n : int
        Up to 2**62.
    key : int
        Below 2**64; chooses the permutation.

    Returns
    -------
    ndarray of int64, shape (last - first,)

    Notes
    -----
    Time and memory O(last - first), whatever `n` is. A Feistel network on the smallest power of
    two that is not below `n`: what it gives beyond `n` goes through it again until it is below.

    Examples
    --------
    >>> permuted(0, 10, 10, key=7)
    array([6, 0, 4, 7, 9, 2, 8, 5, 3, 1])
    >>> permuted(4, 6, 10, key=7)
    array([9, 2])
    """
    values = _networked(np.arange(first, last, dtype=np.uint64), n, key)
    beyond = np.flatnonzero(values >= n)
    while len(beyond):
        again = _networked(values[beyond], n, key)
        values[beyond] = again
        beyond = beyond[again >= n]
    return values.astype(np.int64)


def _networked(values: UInt64s, n: int, key: int) -> UInt64s:
    """Permute the numbers below a power of two, which `n` is not above."""
    bits = max(_FEWEST_BITS, (n - 1).bit_length())
    n_low = bits // 2
    n_high = bits - n_low
    high, low = values >> np.uint64(n_low), values & np.uint64((1 << n_low) - 1)
    for number in range(_ROUNDS):
        # As many bits as the upper half has, which becomes the lower one.
        chance = hashed(low, key + number * _STEP) >> np.uint64(64 - n_high)
        high, low = low, high ^ chance
        n_high, n_low = n_low, n_high
    return (high << np.uint64(n_low)) | low
