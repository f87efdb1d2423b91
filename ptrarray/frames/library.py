"""pandas, imported where there is something of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from ptrarray.errors import import_extra


@cache
def import_pandas() -> Any:
    """Return pandas.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    return import_extra("pandas", "Series and DataFrames need pandas: pip install pandas")
