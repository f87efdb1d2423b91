"""Numbers and tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

DASH = "\N{EN DASH}"  # an engine has no way to do this


def number(value: float) -> str:
    """Return three digits of a number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float], scale: float = 1) -> str:
    """Return the median, with the smallest and the largest."""
    middle, low, high = (number(of(values) * scale) for of in (median, min, max))
    return f"{middle} ({low} to {high})"


def grid(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
