"""An open store as JSON: facts, attrs as text, and how long its arrays are."""

from __future__ import annotations

from typing import Any

from ptrarray.format.layouts import MIXED
from ptrarray.look.histogram import histogram
from ptrarray.look.viewer.texts import Budget, clean, tree
from ptrarray.reader import PointerArray
from ptrarray.views.facts import facts, lengths

_ATTRS_NBYTES = 100_000
_N_BINS = 40


def overview(store: PointerArray) -> dict[str, Any]:
    """Return what there is to tell of a store, ready for `json.dumps(..., allow_nan=False)`.

    Returns
    -------
    dict
        What `facts` returns, but ``dtype`` as text (None where each array has its own), ``attrs`` as `texts.tree`; and ``lengths``:
        ``counts`` of arrays in bins, ``labels`` that say which lengths these have, how many are
        ``empty``, how many of how many ``arrays`` were ``counted``, and rows in holes.

    Notes
    -----
    Takes little time, whatever the number of arrays: of many, a sample is counted.

    Examples
    --------
    >>> told = overview(store)
    >>> told["dtype"], told["attrs"], told["lengths"]["labels"], told["lengths"]["counts"]
    ('<f4', [['rate', '16000']], ['1', '2', '3'], [1, 1, 1])
    """
    found = facts(store)
    attrs = found["attrs"]
    return {
        **found,
        "dtype": None if found.get("layout") == MIXED else clean(str(found["dtype"]), 500),
        "attrs": tree(attrs, Budget(_ATTRS_NBYTES)) if attrs else [],
        "lengths": _lengths(store),
    }


def _lengths(store: PointerArray) -> dict[str, Any]:
    found = lengths(store)
    counted = histogram(found.rows, _N_BINS, found.n_arrays)
    return {
        "counts": counted.counts.tolist(),
        "labels": [counted.label(number) for number in range(len(counted.counts))],
        "empty": counted.n_empty,
        "counted": counted.n_counted,
        "arrays": counted.n_arrays,
        "sample": counted.is_sample,
        "logarithmic": counted.is_logarithmic,
        "hole_rows": found.n_hole_rows,
    }
