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


def bar(*, progress: bool, **options: Any) -> AbstractContextManager[Bar]:
    """Return a `tqdm.auto.tqdm` with these options if there shall be one.

    Even a disabled one starts a thread, which a later fork would leave behind.
    """
    if not progress:
        return nullcontext(_Nothing())
    from tqdm.auto import tqdm  # with asyncio and more, half of what importing the package took

    return tqdm(**options)
