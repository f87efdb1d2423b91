"""Series and DataFrames as arrays of a store.

`ptrarray.frames.flat` describes how they lie there: as arrays, helper arrays and metadata.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.frames.apart import contents, frame_parts, series_parts
from ptrarray.frames.flat import Described, Known, describe_parts
from ptrarray.frames.library import import_pandas
from ptrarray.objects.parts import Parts


def describe(value: Any, *, index: bool = True, known: Known | None = None) -> Described:
    """Return a Series or DataFrame as an array, helper arrays and a description.

    Parameters
    ----------
    value : pandas.Series or pandas.DataFrame
        Of anything that `ptrarray.dump` keeps.
    index : bool
        Whether to keep its index.
    known : dict, optional
        As for `describe_parts`.

    Raises
    ------
    BadInputError
        For values, labels or an index that are not kept; it says which.

    Examples
    --------
    >>> import pandas as pd
    >>> values, helpers, about = describe(pd.Series([1.5, 2.5], index=[10, 20], name="x"))
    >>> values, [helper.array for helper in helpers.values()]
    (array([1.5, 2.5]), [array([10, 20])])
    >>> about["name"], [about["index"]["shared"]] == list(helpers)
    ('x', True)
    """
    parts = parts_of(value)
    return describe_parts(parts if index else parts.without("index"), known)


def parts_of(value: Any) -> Parts:
    """Return the parts of a Series or DataFrame, that of its columns being one array if it can.

    Raises
    ------
    BadInputError
        For one of a class derived from these: what that adds is not kept.
    """
    _check_plain(value)
    if isinstance(value, import_pandas().Series):
        return series_parts(value)
    dtypes = set(value.dtypes) or {np.dtype(float)}
    dtype = dtypes.pop()
    is_one = isinstance(dtype, np.dtype) and not (dtypes or dtype.hasobject)
    return frame_parts(value, value.to_numpy(dtype) if is_one else contents(value))


def _check_plain(value: Any) -> None:
    kind, pandas = type(value), import_pandas()
    if kind is pandas.Series or kind is pandas.DataFrame:
        return
    plain = "Series" if isinstance(value, pandas.Series) else "DataFrame"
    own = f"{kind.__module__}.{kind.__qualname__}"
    raise BadInputError(
        f"it is a {own}, and what that class adds to a {plain} would not be kept: write "
        f"pandas.{plain}(…) of it, and what is to be kept besides as metadata, or use "
        "ptrarray.dump, with functions of yours given to ptrarray.register",
        found=own,
        expected=plain,
    )
