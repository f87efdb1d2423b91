"""The command ``watch``: what a store holds, refreshed in place until Ctrl-C."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from typing import Any

from ptrarray.cli.elsewhere import title
from ptrarray.cli.printing import print_now, printable, to_json
from ptrarray.look.viewer import looks as watch
from ptrarray.look.viewer.looks import Look

_UP = "\x1b[{}F"  # to the start of a line so many above
_CLEAR_LINE = "\x1b[K"  # what is right of here
_CLEAR_BELOW = "\x1b[J"


def add_command(commands: Any, on_store: Any, printing: Any) -> None:
    """Add ``watch`` to the parser."""
    text = "show what a store holds while it grows, until Ctrl-C"
    command = commands.add_parser(
        "watch", help=text, description=text, parents=[on_store, printing]
    )
    add = command.add_argument
    add("--interval", type=seconds, default=1.0, metavar="S", help="seconds between looks")
    add("--once", action="store_true", help="look once, and end")
    add("--wait", action="store_true", help="wait for a store that is not there")
    add("--names", type=_count, default=5, metavar="N", help="how many of the newest names")
    command.set_defaults(run=_watch)


def seconds(text: str) -> float:
    """Return a number of seconds between looks."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, from 0 to 86400")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000")
    return int(text)


def _watch(options: argparse.Namespace) -> int:
    screen = _Screen(title(options), as_json=options.json)
    looks = watch.looks(options.store, options.interval, n_names=options.names, waits=options.wait)
    try:
        for look in looks:
            screen.show(look)
            if options.once and look is not None:
                break
    except KeyboardInterrupt:
        pass  # which is how it ends
    return 0


class _Screen:
    """Where looks are shown: over each other in a terminal, else one after the other."""

    def __init__(self, title: str, *, as_json: bool) -> None:
        self._title = title
        self._as_json = as_json
        self._is_terminal = not as_json and sys.stdout is not None and sys.stdout.isatty()
        self._first: Look | None = None
        self._previous: Look | None = None
        self._n_lines = 0  # on the screen
        self._is_waiting = False

    def show(self, look: Look | None) -> None:
        """Show a look; None for a store that is not there."""
        if look is None:
            self._show_waiting()
            return
        first = self._first = self._first or look
        previous, self._previous, self._is_waiting = self._previous or look, look, False
        if self._as_json:
            facts = {"seconds": look.seconds, "arrays": look.n_arrays, "rows": look.n_rows}
            print_now(to_json({**facts, "nbytes": look.nbytes, "newest": look.newest}))
        elif self._is_terminal:
            self._draw(watch.block(self._title, look, previous, first, printable))
        else:
            print_now(watch.line(look, previous, printable))

    def _show_waiting(self) -> None:
        if self._is_waiting or self._as_json:
            return
        self._is_waiting = True
        text = f"waiting for a store at {printable(self._title)}"  # a long path may be cut off
        if self._is_terminal:
            self._draw([text])
        else:
            print_now(text)

    def _draw(self, lines: list[str]) -> None:
        """Draw lines over those that were drawn before."""
        columns, rows = shutil.get_terminal_size()
        lines = [watch.clipped(line, columns - 1) for line in lines[: max(1, rows - 1)]]
        up = _UP.format(self._n_lines) if self._n_lines else ""
        drawn = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        print(f"{up}{drawn}{_CLEAR_BELOW}", end="", flush=True)
        self._n_lines = len(lines)
