"""A file of rows as the data file of a new store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptrarray.creation import plan
from ptrarray.intake.paths import absolute
from ptrarray.storage.lifecycle.adopting import Arrays, adopt_store
from ptrarray.storage.system import files


def adopt(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str],
    arrays: Arrays,
    *,
    dtype: npt.DTypeLike,
    attrs: Mapping[str, Any] | None = None,
    keep: bool = True,
) -> None:
    """Make a store whose data file is a file of rows that is there.

    Rows are scalars of one dtype, and all that the file has are rows of the store. Else as
    `storage.lifecycle.adopting.adopt_store`.
    """
    file, directory = absolute(source), absolute(path)
    nbytes, itemsize = files.size(file), np.dtype(dtype).itemsize
    header, _ = plan(dtype, (), nbytes // itemsize, attrs)
    # Of a row that is cut off in the end, no append overwrites what is there.
    header = replace(header, n_reserved=-(-nbytes // itemsize))
    adopt_store(directory, header, file, arrays, keep=keep)
