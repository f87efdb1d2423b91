"""Arrays as pixels: heat maps, images, and several images side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ptrarray.look.colours import levels, palette
from ptrarray.look.numbers import Array, Floats, shares
from ptrarray.look.png import Pixels, png
from ptrarray.look.reduced import cells

_N_LEVELS = 127  # as many as an eye tells apart, and fewer bytes than 255
_GAP = 2
_OF_RGBA = 4


class Raster(NamedTuple):
    """Pixels as a PNG file, and what they show.

    Attributes
    ----------
    png : bytes
    width, height : int
        In pixels.
    low, high : float
        Numbers of the first and the last colour; NaN if colours are no numbers.
    sampled : bool
        Whether not all values were read.
    n_shown : int
        How many images there are.
    is_whole : bool
        Whether each pixel is one of the array.
    n_left_out : int
        How many of the values that were read are masked, or no numbers.
    """

    png: bytes
    width: int
    height: int
    low: float
    high: float
    sampled: bool
    n_shown: int
    is_whole: bool
    n_left_out: int


def heat_map(values: Array, width: int, height: int, *, max_bytes: int | None = None) -> Raster:
    """Return rows as columns of colours, the first at the left, their first values at the bottom.

    What is masked, or no number, is clear.
    """
    found = cells(values, width, height, max_bytes=max_bytes)
    is_whole = (found.row_edges[-1], found.column_edges[-1]) == found.means.shape
    sheet = _Sheet(found.means.T[::-1, :, np.newaxis], found.sampled, int(found.left_out.sum()))
    return _of_numbers(sheet, 1, is_whole=is_whole)


def image(array: Array, width: int, height: int, *, max_bytes: int | None = None) -> Raster:
    """Return an image in no more pixels than that, each the mean of what it stands for.

    Parameters
    ----------
    array : ndarray or MaskedArray, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        uint8 is shown as it is. Of other dtypes, one number has a colour of the palette, and
        several are shades from 0 to 1, or from the lowest to the highest of all. Masked
        pixels are clear.
    """
    return images(array[np.newaxis], width, height, max_bytes=max_bytes)


def images(array: Array, width: int, height: int, *, max_bytes: int | None = None) -> Raster:
    """Return images side by side and below each other, evenly spaced ones if there are too many.

    Parameters
    ----------
    array : ndarray or MaskedArray, shape (n, H, W), or (n, H, W, 1 | 3 | 4)
    """
    n_down, n_across = array.shape[1:3]
    factor = min(1.0, width / n_across, height / n_down)
    tall, wide = max(round(n_down * factor), 1), max(round(n_across * factor), 1)
    per_row, n_rows = (
        max((side + _GAP) // (each + _GAP), 1) for side, each in ((width, wide), (height, tall))
    )
    n_shown = min(len(array), per_row * n_rows)
    sheet = _sheet(array, (tall, wide), (n_shown, per_row), max_bytes)
    is_whole = (tall, wide) == (n_down, n_across)
    if array.dtype != np.uint8 and sheet.means.shape[2] == 1:
        return _of_numbers(sheet, n_shown, is_whole=is_whole)
    pixels = _rgba(sheet.means if array.dtype == np.uint8 else _shades(sheet.means))
    drawn = png(pixels), pixels.shape[1], pixels.shape[0], np.nan, np.nan
    return Raster(*drawn, sheet.sampled, n_shown, is_whole, sheet.n_left_out)


class _Sheet(NamedTuple):
    """Images as means, with NaN between them; see `Raster` for the rest."""

    means: Floats
    sampled: bool
    n_left_out: int


def _sheet(
    array: Array, each: tuple[int, int], shown: tuple[int, int], max_bytes: int | None
) -> _Sheet:
    (tall, wide), (n_shown, per_row) = each, shown
    n_channels = array.shape[3] if array.ndim == 4 else 1
    n_rows, n_columns = -(-n_shown // per_row), min(n_shown, per_row)
    sides = n_rows * (tall + _GAP) - _GAP, n_columns * (wide + _GAP) - _GAP
    means, sampled, n_left_out = np.full((*sides, n_channels), np.nan), False, 0
    per_channel = None if max_bytes is None else max_bytes // (n_shown * n_channels)
    for k in range(n_shown):
        top, left = k // per_row * (tall + _GAP), k % per_row * (wide + _GAP)
        frame = array[len(array) * k // n_shown]
        for channel in range(n_channels):
            values = frame if frame.ndim == 2 else frame[:, :, channel]
            found = cells(values, tall, wide, max_bytes=per_channel)
            means[top : top + tall, left : left + wide, channel] = found.means
            sampled, n_left_out = sampled or found.sampled, n_left_out + int(found.left_out.sum())
    return _Sheet(means, sampled, n_left_out)


def _of_numbers(sheet: _Sheet, n_shown: int, *, is_whole: bool) -> Raster:
    means = sheet.means[:, :, 0]
    low, high = _ends(means)
    indices = levels(means, low, high, _N_LEVELS)
    drawn = png(indices, palette(_N_LEVELS)), indices.shape[1], indices.shape[0], low, high
    return Raster(*drawn, sheet.sampled, n_shown, is_whole, sheet.n_left_out)


def _ends(numbers: Floats) -> tuple[float, float]:
    known = numbers[~np.isnan(numbers)]
    return (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)


def _shades(numbers: Floats) -> Floats:
    low, high = _ends(numbers)
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    return shares(numbers, low, high, alone=0) * 255


def _rgba(channels: Floats) -> Pixels:
    missing = np.asarray(np.isnan(channels).any(axis=2))
    whole = np.round(np.where(missing[:, :, np.newaxis], 0, channels)).astype(np.uint8)
    if whole.shape[2] == _OF_RGBA or not missing.any():
        return whole
    clear = np.where(missing, 0, 255).astype(np.uint8)
    return np.concatenate([whole, clear[:, :, np.newaxis]], axis=2)
