"""How many examples hypothesis tries of a test that takes more than others."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100  # the most of a profile but `thorough`; in workers, which import tests, there is none


def some(n: int, of: int) -> int:
    """Return `n`, or `of` with the profile ``thorough``."""
    return of if settings().max_examples > _USUAL else n
