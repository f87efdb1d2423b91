"""Questions with a number that is not to be exceeded, beside which other tools may stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.report.results import OURS
from benchmarks.users.asking import Question

LIMIT = "what is to be reached"


def at_most(
    title: str,
    limit: float,
    unit: str,
    ours: Callable[[], float],
    peers: Mapping[str, Callable[[], float]] | None = None,
    *,
    warms_up: bool = False,
) -> Question:
    """Return a question that is answered by costs, of which ours is to stay within a limit.

    Parameters
    ----------
    title : str
        What is done.
    limit : float
        What ours may cost.
    unit : str
        What costs are counted in: "ms by the clock", or "bytes an array".
    ours, peers : callable, mapping of str to callable
        Each does it and returns what it cost.
    warms_up : bool
        Whether each is asked once before it counts.
    """
    ways = {OURS: ours, LIMIT: lambda: float(limit), **(peers or {})}
    return Question(
        title, ways, {LIMIT: 1}, _warm if warms_up else None, unit=unit, returns_cost=True
    )


def _warm(_: object, __: object) -> None:
    """Have each way be asked before it is measured, without a comparison of what it cost."""
