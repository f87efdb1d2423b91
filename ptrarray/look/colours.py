"""The few colours of drawings: readable on white and on black, as nobody tells a picture which it is on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.look.numbers import shares

LINE = "#3f87d4"
LINES = (LINE, "#d0732a", "#389a5c", "#b05fc4", "#8d8a2c", "#d2527f")
QUIET = "#808080"

# Viridis, which is even to the eye and in grey, at nine of its 256 colours.
_ANCHORS = [
    "440154",
    "472d7b",
    "3b528b",
    "2c728e",
    "21918c",
    "28ae80",
    "5ec962",
    "addc30",
    "fde725",
]


def palette(n_levels: int) -> npt.NDArray[np.uint8]:
    """Return colours as RGBA: the first one clear, then `n_levels` from low to high.

    Examples
    --------
    >>> palette(3).tolist()
    [[0, 0, 0, 0], [68, 1, 84, 255], [33, 145, 140, 255], [253, 231, 37, 255]]
    """
    anchors = np.array([list(bytes.fromhex(anchor)) for anchor in _ANCHORS])
    at = np.linspace(0, len(anchors) - 1, n_levels)
    colours = np.full((n_levels + 1, 4), 255, np.uint8)
    colours[0] = 0
    for channel in range(3):
        interpolated = np.interp(at, np.arange(len(anchors)), anchors[:, channel])
        colours[1:, channel] = np.round(interpolated)
    return colours


def levels(
    numbers: npt.NDArray[Any], low: float, high: float, n_levels: int
) -> npt.NDArray[np.uint8]:
    """Return which colour of the palette each number has; 0 for NaN.

    Examples
    --------
    >>> levels(np.array([0.0, 5.0, 10.0, np.nan]), 0, 10, 3)
    array([1, 2, 3, 0], dtype=uint8)
    """
    found = 1 + np.round(shares(numbers, low, high) * (n_levels - 1))
    return np.where(np.isnan(numbers), 0, found).astype(np.uint8)
