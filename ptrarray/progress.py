"""A progress bar, or nothing in its place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol


class Bar(Protocol):
    """What counts; its total may change meanwhile."""

    total: float | None

    def update(self, n: float) -> Any:
        """Add to what is done."""


class _Nothing:
    total: float | None = None

    def update(self, n: float) -> None:
        pass


def bar(*, progress: bool, unit: str, total: float | None = None) -> AbstractContextManager[Bar]:
    """Return a bar of tqdm if there shall be one: in scripts, notebooks and terminals the same.

    Parameters
    ----------
    progress : bool
        Whether there shall be one.
    unit : str
        What is counted, with a space before it; "B" for bytes, of which it
        shows thousands and millions.
    total : float, optional
        How many there are in the end, where that is known.
    """
    if not progress:
        return nullcontext(_Nothing())
    # Imported here, as it is half of what importing the package took. Not `tqdm.auto`: without
    # ipywidgets it warns in notebooks, and shows there what this one does.
    from tqdm.std import tqdm

    class _Bar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # no thread, which a later fork would leave behind

    # miniters: each update may be shown, as no thread makes up for those that were left out.
    return _Bar(total=total, unit=unit, unit_scale=unit == "B", miniters=1, dynamic_ncols=True)
