"""What AddressSanitizer can watch: it knows where blocks of malloc end, and nothing of mappings.

`make sanitize` sets ``PTRARRAY_SANITIZED``. Then each column of an index is handed out as a copy
in a block of its own, so that the native core is stopped where it reads past the end of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ptrarray import native
from ptrarray.storage.store.index import Index

IS_SANITIZED = bool(os.environ.get("PTRARRAY_SANITIZED"))


def in_a_block(content: Any) -> np.ndarray[Any, Any]:
    """Return a read-only copy of an array or of bytes that ends where its block of memory ends."""
    array = content if isinstance(content, np.ndarray) else np.frombuffer(content, np.uint8)
    copy = array.copy()
    copy.flags.writeable = False
    return copy


@contextmanager
def columns_in_blocks() -> Iterator[None]:
    """Hand out the columns of every index as copies."""
    assert b"__asan_report_load" in Path(native.core.__file__).read_bytes()  # type: ignore[union-attr]
    mapped = Index.column
    with mock.patch.object(Index, "column", lambda index, name: in_a_block(mapped(index, name))):
        yield
