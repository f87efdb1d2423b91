"""The command ``watch``: what a store holds, refreshed in place until Ctrl-C."""

from __future__ import annotations

import argparse
import math
import unicodedata
from contextlib import nullcontext
from typing import Any

from ptrarray.cli import screen
from ptrarray.cli.elsewhere import title
from ptrarray.cli.printing import print_now, printable, to_json
from ptrarray.look.viewer.looks import Look, looks, rates

_NAME_WIDTH = 40  # columns of a name in a list of several


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
    following = looks(options.store, options.interval, n_names=options.names, waits=options.wait)
    try:
        with nullcontext() if options.json else screen.live() as live:
            shown = _Shown(title(options), live, as_json=options.json)
            for look in following:
                shown.show(look)
                if options.once and look is not None:
                    break
    except KeyboardInterrupt:
        pass  # which is how it ends
    return 0


class _Shown:
    """Where looks are shown: over each other in a terminal, else one after the other."""

    def __init__(self, title: str, live: Any, *, as_json: bool) -> None:
        self._title = title
        self._live = live
        self._as_json = as_json
        self._first: Look | None = None
        self._previous: Look | None = None
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
        elif self._live is not None:
            self._draw(*_drawn(self._title, look, previous, first))
        else:
            print_now(line(look, previous))

    def _show_waiting(self) -> None:
        self._first = self._previous = None  # what comes next is another store, and no growth
        if self._is_waiting or self._as_json:
            return
        self._is_waiting = True
        text = f"waiting for a store at {self._title}"  # a long path may be cut off
        if self._live is not None:
            self._draw(screen.line(text))
        else:
            print_now(printable(text))

    def _draw(self, *parts: Any) -> None:
        # An empty line below: the terminal writes ^C behind the last line, which may be full.
        self._live.update(screen.stacked(*parts, screen.line("")), refresh=True)


def _drawn(title: str, look: Look, previous: Look, first: Look) -> list[Any]:
    """Return a look and what was added since the previous and since the first one, for rich."""
    now, since = rates(previous, look), rates(first, look)
    megabytes = [f"{n:,.1f}" for n in (look.nbytes / 1e6, now.megabytes, since.megabytes)]
    table = screen.table("left", "right", "right", "right")
    table.add_row("", "total", "now/s", "start/s", style="dim")
    table.add_row("arrays", f"{look.n_arrays:,}", f"{now.arrays:,.1f}", f"{since.arrays:,.1f}")
    table.add_row("rows", f"{look.n_rows:,}")
    table.add_row("MB", *megabytes)
    head = screen.line(f"{title}  {_clock(look.seconds)}", "bold")
    return [head, table, screen.line(f"newest  {_listed(look)}")]


def line(look: Look, previous: Look) -> str:
    r"""Return a look and what was added since the previous one, on one line.

    Examples
    --------
    >>> line(Look(2, 1234, 5000, 2_500_000, ["b", "a"]), Look(1, 1200, 0, 0, []))
    '0:00:02  1,234 arrays  5,000 rows  2.5 MB  34.0 arrays/s  2.5 MB/s  newest: b, a'
    """
    now = rates(previous, look)
    facts = (
        _clock(look.seconds),
        f"{look.n_arrays:,} arrays",
        f"{look.n_rows:,} rows",
        f"{look.nbytes / 1e6:,.1f} MB",
        f"{now.arrays:,.1f} arrays/s",
        f"{now.megabytes:,.1f} MB/s",
        f"newest: {_listed(look)}",
    )
    return "  ".join(facts)


def _listed(look: Look) -> str:
    return ", ".join(clipped(printable(name), _NAME_WIDTH) for name in look.newest) or "-"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def clipped(text: str, width: int) -> str:
    """Cut a text to as many columns of a terminal.

    Examples
    --------
    >>> clipped("utterance", 6), clipped("日本語", 5), clipped("fits", 4)
    ('utter…', '日本…', 'fits')
    """
    widths = [_columns(character) for character in text]
    if sum(widths) <= width:
        return text
    used = n_kept = 0
    while used + widths[n_kept] <= width - 1:
        used += widths[n_kept]
        n_kept += 1
    return f"{text[:n_kept]}…"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
