"""pandas, imported where there is something of it."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

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
    return _is_kind_of_pandas(type(value))


@lru_cache(maxsize=256)
def _is_kind_of_pandas(kind: type) -> bool:
    return any(
        base.__module__.split(".")[0] == "pandas" and base.__name__ in ("Series", "DataFrame")
        for base in kind.__mro__
    )


def check_kind(name: str, value: Any, kind: str) -> None:
    """Raise `BadInputError` for what is not of a kind, Series or DataFrame."""
    if not is_pandas(value) or not isinstance(value, getattr(import_pandas(), kind)):
        found = type(value).__name__
        what = f"array {name!r:.80}: a {found} is no {kind}, use writer[name] = …"
        raise BadInputError(what, name=name, found=found, expected=kind)
