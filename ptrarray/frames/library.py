"""pandas, imported where there is something of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ptrarray.errors import BadInputError, import_extra


@cache
def import_pandas() -> Any:
    """Return pandas.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    return import_extra("pandas", "Series and DataFrames need pandas: pip install pandas")


def is_pandas(value: Any) -> bool:
    """Tell whether something is a Series or DataFrame, without importing pandas for it.

    Examples
    --------
    >>> is_pandas([0.5, 1.5])
    False
    """
    if type(value) is np.ndarray:  # which most values are
        return False
    return any(
        kind.__module__.split(".")[0] == "pandas" and kind.__name__ in ("Series", "DataFrame")
        for kind in type(value).__mro__
    )


def check_kind(name: str, value: Any, kind: str) -> None:
    """Raise `BadInputError` for what is not of a kind, Series or DataFrame."""
    if not is_pandas(value) or not isinstance(value, getattr(import_pandas(), kind)):
        found = type(value).__name__
        what = f"array {name!r:.80}: a {found} is no {kind}, use writer[name] = …"
        raise BadInputError(what, name=name, found=found, expected=kind)
