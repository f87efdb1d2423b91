"""What tests of the command line are typed with."""

from __future__ import annotations

from collections.abc import Callable

# Takes the arguments of a command; gives its exit code, and what it printed to each stream.
Run = Callable[..., tuple[int, str, str]]
