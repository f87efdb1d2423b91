"""Each reduction for rows with or without a mask."""

from __future__ import annotations

from typing import Any

from ptrarray.reductions import each, masked, whole
from ptrarray.reductions.masked import MaskedRows


def reduce(rows: Any, *args: Any, **options: Any) -> Any:
    """One result for all living rows: see `ptrarray.reductions.whole.reduce`."""
    return _over_all(rows).reduce(rows, *args, **options)


def mean(rows: Any, *args: Any, **options: Any) -> Any:
    """Return the mean of all living rows: see `ptrarray.reductions.whole.mean`."""
    return _over_all(rows).mean(rows, *args, **options)


def var(rows: Any, *args: Any, **options: Any) -> Any:
    """Return their variance: see `ptrarray.reductions.whole.var`."""
    return _over_all(rows).var(rows, *args, **options)


def std(rows: Any, *args: Any, **options: Any) -> Any:
    """Return their standard deviation: see `ptrarray.reductions.whole.std`."""
    return _over_all(rows).std(rows, *args, **options)


def reduce_each(rows: Any, *args: Any, **options: Any) -> Any:
    """One result for each array: see `ptrarray.reductions.each.reduce_each`."""
    return _for_each(rows).reduce_each(rows, *args, **options)


def mean_each(rows: Any, *args: Any) -> Any:
    """Return the mean of each array: see `ptrarray.reductions.each.mean_each`."""
    return _for_each(rows).mean_each(rows, *args)


def std_each(rows: Any, *args: Any, **options: Any) -> Any:
    """Return its standard deviation: see `ptrarray.reductions.each.std_each`."""
    return _for_each(rows).std_each(rows, *args, **options)


def _over_all(rows: Any) -> Any:
    return masked if isinstance(rows, MaskedRows) else whole


def _for_each(rows: Any) -> Any:
    return masked if isinstance(rows, MaskedRows) else each
