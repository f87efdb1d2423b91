"""Values that are in others again and again: some bytes of a pickle can stand for as many as never end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError

_CONTAINERS = (dict, list, tuple, deque, np.ndarray)
_FEW = 100_000  # which are read in any case
_FOLD = 100  # times as many as there are references
_MANY = 1 << 63


def check_repeats(value: Any) -> None:
    """Raise `BadInputError` for a value with far more containers in it than there are references to some.

    Whoever imports it would go through each as often as it is there.

    Examples
    --------
    >>> value = []
    >>> for _ in range(60):
    ...     value = [value, value]
    >>> check_repeats([value])
    Traceback (most recent call last):
    ...
    ptrarray.errors.BadInputError: it has lists, dicts or tuples in others again and again, which would never end
    """
    inner: dict[int, list[Any]] = {}  # what is in each container, kept so that no other gets its id
    counts: dict[int, int] = {}  # of containers that each stands for
    stack = [value] if isinstance(value, _CONTAINERS) else []
    while stack:
        key = id(stack[-1])
        if key not in inner:
            inner[key] = [item for item in _items(stack[-1]) if isinstance(item, _CONTAINERS)]
            stack += [item for item in inner[key] if id(item) not in inner]
        else:
            stack.pop()
            if key not in counts:
                counts[key] = min(1 + sum(counts.get(id(item), 1) for item in inner[key]), _MANY)
    n_references = sum(map(len, inner.values()))
    if counts and counts[id(value)] > max(_FEW, _FOLD * n_references):
        raise BadInputError(
            "it has lists, dicts or tuples in others again and again, which would never end"
        )


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype == object else ()
    return value.values() if isinstance(value, dict) else value
