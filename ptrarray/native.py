"""The native core: the compiled module `ptrarray._native`, or None and why.

Python code does all that the core does, with the same results; whoever has a quicker way by the
core asks whether there is one. ``PTRARRAY_PURE=1`` in the environment leaves the core aside,
``PTRARRAY_REQUIRE_NATIVE=1`` makes it an error that there is none.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Protocol, cast

__all__ = ["Core", "core", "reason", "variant"]

Buffer = Any  # collections.abc.Buffer comes with Python 3.12


class Core(Protocol):
    """What is in `ptrarray._native`."""

    def crc32(self, buffer: Buffer, seed: int = 0, /) -> int:
        """Return the CRC-32 of a contiguous buffer as zlib computes it."""


def _asked_for(variable: str) -> bool:
    """Tell whether a variable of the environment is set, and not to 0."""
    return os.environ.get(variable, "") not in ("", "0")


def _why_not() -> str | None:
    """Return why the core is not even looked for, if so; of the machine, setup.py says the same."""
    if _asked_for("PTRARRAY_PURE"):
        return "PTRARRAY_PURE is set"
    if sys.implementation.name != "cpython" or "t" in sys.abiflags:
        return "it is for CPython with its global lock"
    if sys.byteorder != "little" or sys.maxsize <= 2**32:
        return "it is for little-endian machines of 64 bits"
    return None


def _load() -> tuple[Core | None, str | None]:
    """Return the core, or None and why.

    Raises
    ------
    ImportError
        If there is none, and ``PTRARRAY_REQUIRE_NATIVE`` is set.
    """
    core, reason = None, _why_not()
    if reason is None:
        try:
            core = cast(Core, import_module("ptrarray._native"))
        except ModuleNotFoundError:
            reason = "it was not built"
        except (ImportError, RuntimeError, AttributeError) as error:  # of the linker, or of numpy
            reason = f"it cannot be loaded: {error}"
    if core is None and _asked_for("PTRARRAY_REQUIRE_NATIVE"):
        raise ImportError(
            f"PTRARRAY_REQUIRE_NATIVE is set, but ptrarray has no native core here: {reason}. "
            "Install ptrarray again where there is a C compiler, or unset the variable"
        )
    return core, reason


core, reason = _load()


def variant() -> str:
    """Return in words which of the two is in use."""
    return "native core" if core else f"pure Python: {reason}"
