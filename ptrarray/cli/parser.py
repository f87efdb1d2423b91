"""A parser of arguments in any order."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser that takes options before, between and after what they are about.

    That of Python hands out an argument that may be missing before it has seen what comes behind
    the next option: ``ls STORE --long PATTERN`` is an error to it.

    Examples
    --------
    >>> parser = Parser()
    >>> _ = parser.add_argument("store"), parser.add_argument("pattern", nargs="?")
    >>> _ = parser.add_argument("--long", action="store_true")
    >>> parser.parse_args(["a.ptr", "--long", "b*"])
    Namespace(store='a.ptr', pattern='b*', long=True)
    """

    # The parser of a command is called so by the one above it.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return what the arguments say, and those that are not known."""
        args = sys.argv[1:] if args is None else args
        if not any(action.nargs == argparse.PARSER for action in self._actions):
            args = self._options_first(args)
        return super().parse_known_args(args, namespace)

    def _options_first(self, args: Sequence[str]) -> list[str]:
        options: list[str] = []
        others: list[str] = []
        left = iter(args)
        for arg in left:
            if arg == "--":
                others += left
            elif arg == "-" or not arg.startswith("-"):
                others.append(arg)
            else:
                options.append(arg)
                options += islice(left, self._takes_next(arg))
        return [*options, "--", *others] if others else options

    def _takes_next(self, option: str) -> bool:
        """Return whether what comes after an option, which may be cut short, is its value."""
        known = self._option_string_actions
        found = [option] if option in known else [name for name in known if name.startswith(option)]
        return len(found) == 1 and known[found[0]].nargs != 0
