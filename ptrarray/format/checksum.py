"""CRC-32 as zlib computes it, by whatever computes it fastest."""

from __future__ import annotations

try:
    from isal.isal_zlib import crc32
except ImportError:  # the extra `fast` is not installed
    from zlib import crc32

__all__ = ["crc32"]
