"""Checks that a writer refuses a call, says why, and changes no byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, PointerArrayWriter
from tests.support.checks import unchanged


def make(path: Path, dtype: Any = "i4", row_shape: tuple[int, ...] = ()) -> PointerArrayWriter:
    """Make a store with an array in it."""
    writer = ptrarray.create(path, dtype=dtype, row_shape=row_shape)
    writer["there"] = np.zeros((2, *row_shape), writer.dtype)
    return writer


def check_refused(
    writer: PointerArrayWriter, call: Callable[[], object], *parts: str
) -> BadInputError:
    """Check that a call is refused with a message of these parts, and changes no byte."""
    with unchanged(Path(writer.path)), pytest.raises(BadInputError) as raised:
        call()
    message = str(raised.value)
    for part in (*parts, writer.path):
        assert part in message
    assert raised.value.path == writer.path
    assert isinstance(raised.value, (TypeError, ValueError))
    writer.close()
    ptrarray.verify(writer.path)
    return raised.value
