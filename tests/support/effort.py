"""How much of what is much alike is tried: some in the normal run, the rest in the slow one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(
    n: int, cases: Iterable[Any], others: pytest.MarkDecorator = pytest.mark.slow
) -> list[Any]:
    """Return the parameters of a test, of which the normal run has each n-th, the slow one the others.

    Of tuples, which are several parameters at once, each value is met with some of each other where
    `n` has no divisor in common with the numbers of values behind the first parameter.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else [case]), marks=others if at % n else ())
        for at, case in enumerate(cases)
    ]


def all_but(long: str, names: Iterable[str]) -> list[Any]:
    """Return the parameters of a test, of which one takes so long that the slow run has it."""
    return [pytest.param(name, marks=pytest.mark.slow if name == long else ()) for name in names]
