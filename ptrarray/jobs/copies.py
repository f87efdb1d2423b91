"""Arrays that wait to be written, in memory that is used again.

A function may use its buffer again, so what waits is a copy. Were each an array of its own, the memory
that the function itself needs would lie between them and go back to the system after each chunk: for
features of speech, that and the page faults that follow take as long as the function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrarray.format.helpers import Helper
from ptrarray.jobs.batches import BATCH_NBYTES, Group

_ALIGNMENT = 64
_MORE_NBYTES = 1 << 18  # for that of some thousand arrays

# At most one, of who was here before. A thread takes it out, and others have memory of their own.
_unused: list[NDArray[np.uint8]] = []


class Copies:
    """Room for the arrays of one batch.

    Parameters
    ----------
    memory : ndarray of uint8
        Where they lie, end to end.
    limit_nbytes : int
        Bytes that the arrays of a batch may have.
    """

    def __init__(self, memory: NDArray[np.uint8], limit_nbytes: int) -> None:
        self._memory = memory
        self._limit_nbytes = limit_nbytes
        self._nbytes = self._end = 0

    def has_room(self, group: Group) -> bool:
        """Tell whether the arrays of a task may wait beside those that do."""
        end = self._end + sum(map(_aligned_nbytes, group.arrays.values()))
        return self._nbytes + group.nbytes <= self._limit_nbytes and end <= len(self._memory)

    def clear(self) -> None:
        """Have room again, as nothing waits any more."""
        self._nbytes = self._end = 0

    def copied(self, group: Group) -> Group:
        """Return copies of the arrays of a task."""
        arrays = {name: self._copied(array) for name, array in group.arrays.items()}
        helpers: Mapping[str, Helper] = {
            name: Helper(helper.array.copy(), helper.meta) for name, helper in group.helpers.items()
        }
        return group._replace(arrays=arrays, helpers=helpers)

    def _copied(self, array: NDArray[Any]) -> NDArray[Any]:
        start, end = self._end, self._end + _aligned_nbytes(array)
        self._nbytes += array.nbytes
        if type(array) is not np.ndarray or end > len(self._memory):
            return array.copy(order="K")
        self._end = end
        strides = np.empty_like(array).strides  # as those of a copy
        copy: NDArray[Any] = np.ndarray(array.shape, array.dtype, self._memory, start, strides)
        copy[...] = array
        return copy


def _aligned_nbytes(array: NDArray[Any]) -> int:
    return -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT


@contextmanager
def copies(limit_nbytes: int) -> Iterator[Copies]:
    """Hand out room that nobody else has until the block ends."""
    try:
        memory = _unused.pop()
    except IndexError:
        memory = np.empty(BATCH_NBYTES + _MORE_NBYTES, np.uint8)
    try:
        yield Copies(memory, limit_nbytes)
    finally:
        if not _unused:
            _unused.append(memory)
