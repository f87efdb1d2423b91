"""Processes that a test starts and waits for, and not for ever."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

FORK = multiprocessing.get_context("fork")
TIMEOUT_SECONDS = 60


def in_pool(
    context: Any,
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    *,
    n_workers: int = 2,
    chunk_size: int | None = None,
) -> list[Any]:
    """Run jobs in the workers of a pool, or fail rather than wait for ever."""
    with context.Pool(n_workers) as pool:
        results: list[Any] = pool.map_async(function, jobs, chunk_size).get(TIMEOUT_SECONDS)
        return results
