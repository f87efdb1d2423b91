"""What a store is, for a browser: facts, the user's attrs as text, how long its arrays are."""

from __future__ import annotations

from typing import Any

from ptrarray.format.layouts import ROWS, UNITS
from ptrarray.look.histogram import histogram
from ptrarray.look.viewer import texts
from ptrarray.reader import PointerArray, commit_of
from ptrarray.views import facts

_ATTRS_NBYTES = 50_000
_DTYPE_LENGTH = 500
_N_BINS = 40


def overview(store: PointerArray, title: str) -> dict[str, Any]:
    """Return what there is to tell of an open store, ready for JSON, in little time whatever its size.

    Parameters
    ----------
    store : PointerArray
        Open for reading.
    title : str
        What it is called: its path, or a URL without anything secret.

    Returns
    -------
    dict
        As `ptrarray.views.facts.facts`, but ``dtype`` as text, ``attrs`` as pairs of a key and text, or of more
        pairs; ``commit``, as events have it; and ``lengths``: how many arrays are how long, in which
        unit, from a sample if there are many.

    Examples
    --------
    >>> seen = overview(store, "corpus.ptr")
    >>> seen["attrs"], seen["lengths"]["labels"], seen["lengths"]["counts"]
    ([['rate', '16000']], ['1', '2', '3'], [1, 1, 1])
    """
    known = facts.facts(store)
    attrs = texts.tree(known["attrs"], texts.Budget(_ATTRS_NBYTES)) if known["attrs"] else []
    dtype = texts.clean(str(known["dtype"]), _DTYPE_LENGTH)
    more = {"path": title, "dtype": dtype, "attrs": attrs, "commit": commit_of(store)}
    return {**known, **more, "lengths": _lengths(store, UNITS[known.get("layout", ROWS)])}


def _lengths(store: PointerArray, unit: str) -> dict[str, Any]:
    found = facts.lengths(store)
    counted = histogram(found.rows, _N_BINS, found.n_arrays)
    return {
        "unit": unit,
        "counts": counted.counts.tolist(),
        "labels": [counted.label(number) for number in range(len(counted.counts))],
        "empty": counted.n_empty,
        "counted": counted.n_counted,
        "arrays": counted.n_arrays,
        "sample": counted.is_sample,
        "logarithmic": counted.is_logarithmic,
        "hole_rows": found.n_hole_rows,
    }
