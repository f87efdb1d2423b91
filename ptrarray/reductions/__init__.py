"""Reductions over the arrays of a store, without loading it: pure numpy.

From the ground up:

- `ptrarray.reductions.blocks`: walk rows in blocks of bounded size, on all cores
- `ptrarray.reductions.masked`: what is masked: neutral elements in its place, and counts
- `ptrarray.reductions.whole`: one result for all living rows
- `ptrarray.reductions.each`: one result for each array
- `ptrarray.reductions.functions`: ``np.sum(store)`` and its like
"""

from ptrarray.reductions.blocks import Living
from ptrarray.reductions.each import mean_each, reduce_each, std_each
from ptrarray.reductions.functions import array_function, no_function
from ptrarray.reductions.whole import mean, reduce, std, var
from ptrarray.rows.masked import MaskedRows

__all__ = [
    "Living",
    "MaskedRows",
    "array_function",
    "mean",
    "mean_each",
    "no_function",
    "reduce",
    "reduce_each",
    "std",
    "std_each",
    "var",
]
