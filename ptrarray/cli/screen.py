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


def coloured() -> Any:
    """Return rich's console if it shows colours; None where there are none, or they are not wanted."""
    drawn_on = console()
    if drawn_on is None or drawn_on.color_system is None or drawn_on.no_color:
        return None
    return drawn_on


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


def table(*justify: str) -> Any:
    """Return a table without a frame, of columns that are never broken into lines."""
    made = import_extra("rich.table", MISSING).Table.grid(padding=(0, 2))
    for side in justify:
        made.add_column(justify=side, no_wrap=True)
    return made


def told(head: str, rows: list[tuple[str, str]]) -> Any:
    """Return facts in two columns: what they are of, and what is broken where the terminal ends."""
    text = import_extra("rich.text", MISSING).Text
    made = table("left")
    made.add_column(overflow="fold")
    for fact, value in rows:
        made.add_row(text(f"  {fact}", "dim"), text(printable(value)))
    return stacked(text(printable(head), "bold", overflow="fold"), made)


def bars(bins: list[tuple[str, str, int]], width: int) -> Any:
    """Return a histogram as wide as the terminal: two texts of equal widths, and a number each."""
    bar = import_extra("rich.bar", MISSING).Bar
    most = max((n for *_, n in bins), default=0)
    made = table("left", "left", "left")
    for label, count, n in bins:
        # With a width of its own: rich would take it from the texts.
        left = max(width - len(label) - len(count) - 6, 1)
        made.add_row(f"  {label}", count, bar(most, 0, n, width=left, color="blue"))
    return made


def around(console: Any, style: str) -> tuple[str, str]:
    """Return what a terminal is sent before and after a text of some style, for many lines."""
    with console.capture() as captured:
        console.print("|", style=style, end="")
    before, _, after = captured.get().partition("|")
    return before, after


def stacked(*parts: Any) -> Any:
    """Return parts above each other."""
    return import_extra("rich.console", MISSING).Group(*parts)


def print_blocks(console: Any, is_drawn: Any, colours: Any) -> None:
    """Print pixels in colours, two of them above each other in each character.

    Parameters
    ----------
    console : rich.console.Console
    is_drawn : bool, shape (2 * n_lines, n_columns)
        The others are of the terminal's own background.
    colours : uint8, shape (2 * n_lines, n_columns, 3)
    """
    segments = import_extra("rich.segment", MISSING)
    parts = []
    for line in range(len(is_drawn) // 2):
        rows = slice(2 * line, 2 * line + 2)
        for drawn, pair in zip(is_drawn[rows].T, colours[rows].swapaxes(0, 1), strict=True):
            parts.append(segments.Segment(*_block(drawn.tolist(), pair.tolist())))
        parts.append(segments.Segment.line())
    console.print(segments.Segments(parts), end="")


def _block(drawn: list[bool], pair: list[list[int]]) -> tuple[str, Any]:
    rgb = import_extra("rich.color", MISSING).Color.from_rgb
    upper, lower = (
        rgb(*colour) if there else None for there, colour in zip(drawn, pair, strict=True)
    )
    style = import_extra("rich.style", MISSING).Style
    if upper is None:
        return ("▄", style(color=lower)) if lower else (" ", None)
    return "▀", style(color=upper, bgcolor=lower)
