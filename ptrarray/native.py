"""The native core: the compiled module `ptrarray._native`, or None and why.

Python code does all that the core does, with the same results; whoever has a quicker way by the
core asks whether there is one. ``PTRARRAY_PURE=1`` in the environment leaves the core aside,
``PTRARRAY_REQUIRE_NATIVE=1`` makes it an error that there is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol, cast

__all__ = ["Core", "Finder", "core", "reason", "variant"]

# Both sources have it, and are changed together; a core of an older checkout has another.
INTERFACE = "interface 5"
Array = Any  # of numpy, which this module knows nothing of
Buffer = Any  # collections.abc.Buffer comes with Python 3.12


class Finder(Protocol):
    """Names of an index to positions, positions to views of its rows.

    Columns are checked against each other when it is made, and what they say is bounded whenever
    it is used. Whatever is wrong is None: "not mine".
    """

    def get(self, name: str | bytes, /) -> Array | None:
        """Return the array of a name, a view; None also if it is not there."""

    def find(self, name: str | bytes, /) -> int | None:
        """Return the position of a name, or -1."""

    def at(self, position: int, /) -> Array | None:
        """Return the array at a position, a view."""

    def find_many(
        self, names: Any, name_ends: Array | None, hashes: Array | None, /
    ) -> Array | None:
        """Return the position of each name, or -1.

        Of a list of str or bytes, or, with their ends and hashes, of names that lie end to end.
        """

    def iterate(self, pairs: bool, other: Callable[[int], Any], /) -> Iterator[Any]:
        """Yield views, or pairs of name and view, in order; `other(position)` where one is bad."""


class Core(Protocol):
    """What is in `ptrarray._native`. Whatever is not for it, it answers with None."""

    def crc32(self, buffer: Buffer, seed: int = 0, /) -> int:
        """Return the CRC-32 of a contiguous buffer as zlib computes it."""

    def prepare(
        self, arrays: dict[str, Array], like: Array, sum_limit: int, /
    ) -> tuple[bytearray, Array, Array, Array, Array | None, list[Array]] | None:
        """Make a batch ready whose arrays have rows as those of `like`.

        Returns the names end to end, where each ends, their hashes, offsets in rows, checksums,
        and the arrays. The checksums are None if there are more than `sum_limit` bytes.
        """

    def stage(
        self, arrays: list[Array], first: int, buffer: Buffer, crcs: Array | None, unit: int = 1, /
    ) -> tuple[int, int] | None:
        """Copy arrays, from the first on, end to end into a buffer, as many as fit.

        Each with zeros up to a multiple of `unit`, a power of two up to 4096. Sets the checksum
        of each copy, without those. Returns the next array, and the bytes used.
        """

    def finder(
        self,
        slots: Array,
        n_homes: int,
        name_ends: Array,
        names: Array,
        starts: Array,
        ends: Array,
        rows: Array | None,
        /,
    ) -> Finder | None:
        """Return a finder of an index's columns; without rows it gives no views."""

    def catalog(
        self, slots: Array, n_homes: int, ends: Array, parts: list[Finder | None], /
    ) -> Finder | None:
        """Return a finder of names in several indexes, by a table whose positions count through them.

        They end at `ends`. What it finds is ``number << 32 | position``, of the part and in that,
        the last one that has the name. The list may change; a part that is None is not mine, nor is
        a name of which there is only another one of the same hash.
        """

    def gather(
        self,
        rows: Array,
        starts: Array,
        ends: Array,
        out: Array | None = None,
        crcs: Array | None = None,
        unit: int = 1,
        /,
    ) -> tuple[Any, Array] | None:
        """Copy ranges of rows end to end; return them, and where each begins, and the end.

        Into `out`, if that is given, which has as many rows and lies apart. Each with rows of
        zeros up to a multiple of `unit`, as `stage` has them. Sets the checksum of each copy,
        without those; where there is no `out`, of the rows themselves, and copies nothing.
        """


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
            module = import_module("ptrarray._native")
            core = cast(Core, module) if module.__doc__ == INTERFACE else None
            reason = None if core else "it was built from another version of ptrarray"
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
    return "native core" if core else f"pure Python, without the native core: {reason}"
