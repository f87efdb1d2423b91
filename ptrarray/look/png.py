"""Pixels as a PNG file."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_OF_A_PALETTE = 3


def png(pixels: Pixels, palette: Pixels | None = None) -> bytes:
    r"""Return pixels as the bytes of a PNG file.

    Parameters
    ----------
    pixels : uint8
        (height, width) grey, or numbers of colours in `palette`; (height, width, 1 to 4)
        grey, grey and alpha, RGB, or RGBA. Neither side is 0.
    palette : uint8, shape (up to 256, 4), optional
        Colours as RGBA.

    Examples
    --------
    >>> png(np.zeros((2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    image = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
    height, width, channels = image.shape
    colours = _COLOUR_TYPES[channels] if palette is None else _OF_A_PALETTE
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0))]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette[:, :3].tobytes()))
        # Colours after the last one that is given here are opaque.
        alphas = palette[:, 3].tobytes().rstrip(b"\xff")
        parts += [_chunk(b"tRNS", alphas)] if alphas else []
    # Differences of numbers of colours are of no use.
    rows = _filtered(image, 3 if palette is None else 1)
    parts += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _filtered(image: Pixels, n_filters: int) -> Pixels:
    """Return each row as it is, or less what is left of it, or above: whichever is the least."""
    height, width, channels = image.shape
    candidates = np.zeros((n_filters, height, width, channels), np.uint8)
    candidates[:] = image
    candidates[1:2, :, 1:] -= image[:, :-1]
    candidates[2:3, 1:] -= image[:-1]
    sizes = np.abs(candidates.view(np.int8).astype(np.int16)).sum(axis=(2, 3))
    # A row begins with the number of its filter.
    chosen = sizes.argmin(axis=0)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = chosen
    rows[:, 1:] = candidates[chosen, np.arange(height)].reshape(height, -1)
    return rows


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
