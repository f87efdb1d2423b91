"""Terminals that rich draws on; elsewhere there are plain lines."""

from __future__ import annotations

import codecs
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ptrarray.cli.printing import printable
from ptrarray.errors import import_extra

MISSING = "what draws in a terminal is not installed: pip install 'ptrarray[cli]'"


def has_unicode() -> bool:
    """Return whether stdout takes all characters there are, also those that are drawn with."""
    encoding = None if sys.stdout is None else sys.stdout.encoding
    return codecs.lookup(encoding or "ascii").name.startswith("utf")


def console() -> Any:
    """Return rich's console; None where lines are printed: in pipes, without rich.

    rich itself also draws into a pipe, if the environment has FORCE_COLOR, and breaks off in
    the middle of a drawing at a character that the terminal does not take.
    """
    if sys.stdout is None or not sys.stdout.isatty() or not has_unicode():
        return None
    try:
        rich = import_extra("rich.console", MISSING)
    except ImportError:
        return None
    # What is printed are names and values of users: no markup, and nothing to be coloured.
    made = rich.Console(markup=False, emoji=False, highlight=False, force_jupyter=False)
    return made if made.is_interactive else None  # as a dumb terminal is not


def live() -> AbstractContextManager[Any]:
    """Return what draws over what it drew before; as None where lines are printed."""
    drawn_on = console()
    if drawn_on is None:
        return nullcontext()
    # No thread, and stdout and stderr as they are.
    how = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
    made: AbstractContextManager[Any] = import_extra("rich.live", MISSING).Live(
        console=drawn_on, vertical_overflow="crop", **how
    )
    return made


def line(text: str, style: str = "") -> Any:
    """Return a text of users as a line of its own, cut to the width of the terminal."""
    made = import_extra("rich.text", MISSING).Text
    return made(printable(text), style, no_wrap=True, overflow="ellipsis")


def folded(text: str, style: str = "") -> Any:
    """Return a text of users as a paragraph, broken where the terminal ends."""
    return import_extra("rich.text", MISSING).Text(printable(text), style, overflow="fold")


def table(*justify: str) -> Any:
    """Return a table without a frame, of columns that are never broken into lines."""
    made = import_extra("rich.table", MISSING).Table.grid(padding=(0, 2))
    for side in justify:
        made.add_column(justify=side, no_wrap=True)
    return made


def stacked(*parts: Any) -> Any:
    """Return parts above each other."""
    return import_extra("rich.console", MISSING).Group(*parts)
