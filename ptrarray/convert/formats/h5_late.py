"""A file for HDF5 to write in, which tells what went wrong only when HDF5 is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


class Late:
    """A file whose errors of writing wait.

    On a full disk, HDF5 cannot write what it still has when a file is closed; then it keeps the
    file, and 2.0.0 ends the process by a fault of memory when it comes to it again.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._raw: Any = getattr(file, "raw", file)  # a buffer would meet its errors later
        self._error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def write(self, data: Any) -> int:
        """Write all, unless something could not be written before."""
        left = memoryview(data).cast("B")
        n_bytes = len(left)
        try:
            while len(left) and self._error is None:
                left = left[self._raw.write(left) :]
        except OSError as error:
            self._error = error
        return n_bytes

    def truncate(self, size: int) -> int:
        """Set the size, unless something could not be written before."""
        try:
            if self._error is None:
                self._raw.truncate(size)
        except OSError as error:
            self._error = error
        return size

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error


@contextmanager
def written_late(file: IO[bytes]) -> Iterator[Late]:
    """Yield a file for a ``with`` block in which HDF5 writes in it, and raise what went wrong then."""
    late = Late(file)
    yield late
    late.check()
