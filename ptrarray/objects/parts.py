"""What stands between a store and objects of other libraries: their parts, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# Values that go into one chunk or token, if they are plain: more makes nothing faster.
RUN_LENGTH = 512


class Parts(NamedTuple):
    """An object of another library, taken apart.

    Attributes
    ----------
    kind : str
        What it is to be put together as.
    attributes : mapping
        From name to value: arrays, `Items`, lists, scalars and names, or objects of the
        library, which have parts of their own.
    """

    kind: str
    attributes: Mapping[str, Any]

    def without(self, name: str) -> Parts:
        """Return the parts but one that may be left out."""
        return Parts(self.kind, {k: v for k, v in self.attributes.items() if k != name})


class Items(NamedTuple):
    """Values that become a list, without being one.

    Attributes
    ----------
    length : int
        How many they are.
    chunks : iterator of sequences
        The values, some at a time.
    labels : sequence, optional
        What each is called in messages and names, if not by its number.
    """

    length: int
    chunks: Iterator[Sequence[Any]]
    labels: Sequence[Any] | None = None
