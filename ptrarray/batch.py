"""Arrays made ready to be written: checked, cast, hashed and summed, before any lock."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from ptrarray import names as naming
from ptrarray.casting import fit
from ptrarray.errors import BadInputError

NAMES_LIMIT_NBYTES = 2**30  # of the names in one call
_FEW = 4  # arrays that are fitted sooner one by one


@dataclass(slots=True)
class Batch:
    """Named arrays that will lie end to end.

    Attributes
    ----------
    names : list of bytes
        Encoded names.
    hashes : array of uint32
        CRC-32 of each name.
    offsets : array of uint64, one more than names
        Array ``i`` takes rows ``offsets[i]`` to ``offsets[i + 1]`` of the batch.
    buffers : list of ndarray
        C-contiguous, in order; the callers' own arrays where they fit.
    pieces : callable
        Gives the bytes of each array.
    """

    names: list[bytes]
    hashes: array[int]
    offsets: array[int]
    buffers: list[npt.NDArray[Any]]
    pieces: Callable[[], Iterable[Any]]
    _crcs: array[int] | None = None

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return self.offsets[-1]

    @property
    def crcs(self) -> array[int]:
        """CRC-32 of each array's bytes, computed when it is first asked for."""
        if self._crcs is None:
            self._crcs = array("I", map(crc32, self.pieces()))
        return self._crcs

    def bounds(self, start: int) -> array[int]:
        """Rows between the arrays when the batch begins at row `start`."""
        return array("Q", [start + offset for offset in self.offsets])


def from_mapping(
    arrays: Mapping[str, npt.ArrayLike], dtype: np.dtype[Any], row_shape: tuple[int, ...]
) -> Batch:
    """Make arrays ready that are given by name.

    Raises
    ------
    BadInputError
        For a name or array that the store cannot take.
    """
    if not isinstance(arrays, Mapping):
        raise BadInputError(
            f"arrays must be a mapping from name to array, not {type(arrays).__name__}",
            found=type(arrays).__name__,
            expected="a mapping",
        )
    encoded = naming.encode_all(list(arrays))
    _check_names_nbytes(encoded)
    buffers: list[Any] = list(arrays.values())
    if len(buffers) <= _FEW or not _all_fit(buffers, dtype, row_shape):
        buffers = [fit(name, value, dtype, row_shape) for name, value in arrays.items()]
    offsets = array("Q", accumulate(map(len, buffers), initial=0))
    return Batch(encoded, naming.hash_all(encoded), offsets, buffers, lambda: buffers)


def _all_fit(values: list[Any], dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> bool:
    """Tell whether `fit` would return each of the values as it is."""
    n_values = len(values)
    if list(map(type, values)).count(np.ndarray) < n_values:
        return False
    if row_shape:
        fitting = [value.shape[1:] for value in values].count(row_shape)
    else:
        fitting = [value.ndim for value in values].count(1)
    return (
        fitting == n_values
        and [value.dtype for value in values].count(dtype) == n_values
        and all([value.flags.c_contiguous for value in values])  # noqa: C419 a list is faster
    )


def from_ragged(
    names: Sequence[str],
    values: npt.ArrayLike,
    offsets: npt.ArrayLike,
    dtype: np.dtype[Any],
    row_shape: tuple[int, ...],
) -> Batch:
    """Make arrays ready that lie end to end already.

    Raises
    ------
    BadInputError
        For a name, values or offsets that the store cannot take, and for a
        name that is given twice.
    """
    encoded = naming.encode_all(list(names))
    _check_names_nbytes(encoded)
    _check_distinct(names)
    rows = fit("values", values, dtype, row_shape)
    bounds = _checked_offsets(offsets, len(encoded), len(rows))
    used = rows[bounds[0] : bounds[-1]]
    relative = array("Q", (bounds - bounds[0]).astype(np.uint64).tobytes())

    def pieces() -> Iterator[memoryview]:
        raw = memoryview(used.reshape(-1).view(np.uint8)) if used.size else memoryview(b"")
        width = used.nbytes // max(len(used), 1)
        bytes_at = [offset * width for offset in relative]
        return (raw[start:end] for start, end in pairwise(bytes_at))

    return Batch(encoded, naming.hash_all(encoded), relative, [used], pieces)


def _check_names_nbytes(encoded: list[bytes]) -> None:
    # A name has 64 KiB at the most, so few of them need not be counted.
    if len(encoded) < 2**14:
        return
    nbytes = sum(map(len, encoded))
    if nbytes > NAMES_LIMIT_NBYTES:
        raise BadInputError(
            f"the names have {nbytes} bytes together, at most {NAMES_LIMIT_NBYTES} can be "
            "written in one call: use several",
            found=nbytes,
            expected=NAMES_LIMIT_NBYTES,
        )


def _check_distinct(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise BadInputError(f"name {twice!r:.80} is given twice", name=twice)


def _checked_offsets(
    offsets: npt.ArrayLike, n_names: int, n_rows: int
) -> npt.NDArray[np.integer[Any]]:
    bounds = np.asarray(offsets)
    problem = None
    if bounds.ndim != 1 or bounds.dtype.kind not in "iu":
        problem = f"are {bounds.dtype} of shape {bounds.shape}, not a list of integers"
    elif len(bounds) != n_names + 1:
        problem = f"are {len(bounds)} numbers, {n_names} names need {n_names + 1}"
    elif (bounds[1:] < bounds[:-1]).any():
        at = int(np.argmax(bounds[1:] < bounds[:-1]))
        problem = f"decrease from {bounds[at]} to {bounds[at + 1]} at position {at + 1}"
    elif bounds[0] < 0 or bounds[-1] > n_rows:
        problem = f"go from {bounds[0]} to {bounds[-1]}, the values have {n_rows} rows"
    if problem is not None:
        raise BadInputError(f"offsets {problem}", found=problem, expected=f"{n_names + 1} rows")
    return bounds
