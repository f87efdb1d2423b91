"""numpy's functions over a whole store: ``np.sum(store)``, ``np.mean(store, axis=0)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ptrarray.errors import BadInputError
from ptrarray.reductions.blocks import Living
from ptrarray.reductions.whole import mean, reduce, std, var

# What reduces, and which arguments it takes besides axis and keepdims.
FUNCTIONS: Mapping[Callable[..., Any], tuple[Callable[..., Any], tuple[str, ...]]] = {
    np.sum: (partial(reduce, ufunc=np.add), ("dtype",)),
    np.prod: (partial(reduce, ufunc=np.multiply), ("dtype",)),
    np.min: (partial(reduce, ufunc=np.minimum), ()),
    np.amin: (partial(reduce, ufunc=np.minimum), ()),
    np.max: (partial(reduce, ufunc=np.maximum), ()),
    np.amax: (partial(reduce, ufunc=np.maximum), ()),
    np.any: (partial(reduce, ufunc=np.logical_or), ()),
    np.all: (partial(reduce, ufunc=np.logical_and), ()),
    np.mean: (mean, ("dtype",)),
    np.std: (std, ("dtype", "ddof")),
    np.var: (var, ("dtype", "ddof")),
}


def array_function(
    func: Callable[..., Any], living: Living, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Answer a numpy function that was called with a store (``__array_function__``).

    Parameters
    ----------
    func : callable
        The public numpy function, `numpy.sum` say.
    living
        As for `reduce`: ranges sorted by start.
    args, kwargs
        What the function was called with. The first argument is the store,
        and is not touched.

    Returns
    -------
    What the function returns for the living rows laid end to end. By default
    over all elements, as numpy's functions do. NotImplemented for a function
    that is not one of `FUNCTIONS`.

    Raises
    ------
    BadInputError
        For an axis other than None and 0, and for ``out``, ``where``,
        ``initial`` and other arguments that this does not support.

    Notes
    -----
    Cost as for `reduce`.

    Examples
    --------
    >>> living = Living(np.arange(8).reshape(4, 2), np.array([0, 2]), np.array([1, 4]))
    >>> array_function(np.sum, living, ["store"], {"axis": 0})
    array([10, 13])
    """
    if func not in FUNCTIONS:
        return NotImplemented
    function, takes = FUNCTIONS[func]
    given = _given(func, takes, args, kwargs)
    rows = living.rows
    axis = _axis(given.pop("axis", None), rows.ndim)
    keepdims = given.pop("keepdims", False)
    result = function(living, axis=axis, **given)
    if not keepdims:
        return result
    return np.reshape(result, (1, *(rows.shape[1:] if axis == 0 else (1,) * (rows.ndim - 1))))


def no_function(func: Callable[..., Any], path: str) -> BadInputError:
    """Return the error for a function of numpy that takes no store."""
    works = ", ".join(f"np.{name}" for name in sorted({taken.__name__ for taken in FUNCTIONS}))
    name = func.__name__
    return BadInputError(
        f"np.{name} does not take a store, such as {path}: expected one of {works}; or call it with "
        f"one array, as np.{name}(store[name]), or with all rows, unused ones included, as "
        f"np.{name}(store.rows)",
        path=path,
        found=func,
        expected=tuple(FUNCTIONS),
    )


def _given(
    func: Callable[..., Any], takes: tuple[str, ...], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments after the first by name; defaults that were spelled out are left out."""
    bound = inspect.signature(func).bind(*args, **kwargs).arguments
    given = dict(list(bound.items())[1:])
    for name, default in (("out", None), ("where", True), ("initial", None)):
        if given.get(name, np._NoValue) is default:
            del given[name]
    given = {name: value for name, value in given.items() if value is not np._NoValue}
    supported = ("axis", *takes, "keepdims")
    for name in given:
        if name not in supported:
            raise BadInputError(
                f"np.{func.__name__} of a store does not take {name!r}; "
                f"expected only {', '.join(supported)}",
                found=name,
                expected=supported,
            )
    return given


def _axis(axis: Any, n_axes: int) -> int | None:
    """Return 0 or None for any spelling of the two; raises numpy's AxisError for no axis."""
    if axis is None:
        return None
    axes = set(normalize_axis_tuple(axis, n_axes))
    if axes == {0}:
        return 0
    if axes == set(range(n_axes)):
        return None
    raise BadInputError(
        f"axis {axis!r} is not reduced over; expected None (over all elements) "
        "or 0 (over the rows)",
        found=axis,
        expected=(None, 0),
    )
