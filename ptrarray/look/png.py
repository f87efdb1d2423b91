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
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    colours = _COLOUR_TYPES[channels] if palette is None else _OF_A_PALETTE
    # Each row begins with its filter: 0, none.
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0))]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette[:, :3].tobytes()))
        # Colours after the last one that is given here are opaque.
        alphas = palette[:, 3].tobytes().rstrip(b"\xff")
        parts += [_chunk(b"tRNS", alphas)] if alphas else []
    parts += [_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
