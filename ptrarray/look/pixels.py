"""Arrays as pixels: heat maps, images, and several images side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ptrarray.look.colours import levels, palette
from ptrarray.look.numbers import Array, Floats
from ptrarray.look.png import Pixels, png
from ptrarray.look.reduced import cells

_COLOURS = 4  # of RGBA


class Raster(NamedTuple):
    """Pixels as a PNG file, and what they show.

    Attributes
    ----------
    png : bytes
    width, height : int
        Of the pixels.
    low, high : float
        Numbers of the first and the last colour; NaN if there are none.
    sampled : bool
    """

    png: bytes
    width: int
    height: int
    low: float
    high: float
    sampled: bool


def heat_map(
    values: Array, width: int, height: int, *, max_bytes: int | None = None, n_levels: int = 255
) -> Raster:
    """Return a table as colours: rows go to the right, columns upwards. Masked values are clear."""
    reduced = cells(values, width, height, max_bytes=max_bytes)
    return _coloured(reduced.means.T[::-1], n_levels, sampled=reduced.sampled)


def image(array: Array, width: int, height: int, *, max_bytes: int | None = None) -> Raster:
    """Return an image of uint8 in no more pixels than that; masked pixels are clear.

    Parameters
    ----------
    array : uint8, shape (H, W) or (H, W, 1 | 3 | 4)
    """
    factor = min(1.0, width / array.shape[1], height / array.shape[0])
    n_rows, n_columns = (max(round(side * factor), 1) for side in array.shape[:2])
    channels = array[:, :, np.newaxis] if array.ndim == 2 else array
    drawn = [
        cells(channels[:, :, channel], n_rows, n_columns, max_bytes=max_bytes)
        for channel in range(channels.shape[2])
    ]
    pixels = _rgba([channel.means for channel in drawn])
    sampled = any(channel.sampled for channel in drawn)
    return Raster(png(pixels), n_columns, n_rows, np.nan, np.nan, sampled)


def images(array: Array, width: int, height: int, *, max_bytes: int | None = None) -> Raster:
    """Return images side by side, evenly spaced ones if they are too many."""
    aspect = array.shape[2] / array.shape[1]
    each = max(round(min(height, array.shape[1]) * aspect), 1)
    n_shown = max(min(array.shape[0], (width + 1) // (each + 1)), 1)
    at = [array.shape[0] * k // n_shown for k in range(n_shown)]
    return image(array[at[0]], width, height, max_bytes=max_bytes)


def _coloured(means: Floats, n_levels: int, *, sampled: bool) -> Raster:
    known = means[~np.isnan(means)]
    low, high = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
    indices = levels(means, low, high, n_levels)
    height, width = indices.shape
    return Raster(png(indices, palette(n_levels)), width, height, low, high, sampled)


def _rgba(channels: list[Floats]) -> Pixels:
    missing = np.isnan(channels).any(axis=0)
    whole = [np.round(np.where(missing, 0, channel)).astype(np.uint8) for channel in channels]
    if not missing.any():
        return np.stack(whole, axis=2)
    if len(whole) == _COLOURS:
        whole[-1][missing] = 0
        return np.stack(whole, axis=2)
    return np.stack([*whole, np.where(missing, 0, 255).astype(np.uint8)], axis=2)
