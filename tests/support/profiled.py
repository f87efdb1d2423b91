"""Seeing which functions of the package a call runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import ptrarray

PACKAGE = str(Path(ptrarray.__file__).parent)


@contextmanager
def profiled(note: Callable[[CodeType], object]) -> Iterator[None]:
    """Give `note` the code of each function of the package that runs in a ``with`` block.

    Nothing is collected meanwhile: what others left behind may close files as it goes.
    """

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            note(frame.f_code)

    was_enabled = gc.isenabled()
    gc.disable()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
        if was_enabled:
            gc.enable()
