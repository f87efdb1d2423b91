"""bigarray's four classes on stores of this package: change the import, keep the program.

What they do differently, on purpose, is in ``docs/coming-from/bigarray.md``.
"""

from ptrarray.bigarray.paths import read_mmaparray_header
from ptrarray.bigarray.reading import MmapArray, PointerArray
from ptrarray.bigarray.writing import MmapArrayWriter, PointerArrayWriter, get_total_opened_mmap

__all__ = [
    "MmapArray",
    "MmapArrayWriter",
    "PointerArray",
    "PointerArrayWriter",
    "get_total_opened_mmap",
    "read_mmaparray_header",
]
