"""CRC-32 as zlib computes it, by whatever computes it fastest."""

from __future__ import annotations

from ptrarray import native

try:
    from isal.isal_zlib import crc32
except ImportError:  # the extra `fast` is not installed
    if native.core is not None:
        crc32 = native.core.crc32
    else:
        from zlib import crc32

__all__ = ["crc32"]
