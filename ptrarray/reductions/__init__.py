"""Reductions over the arrays of a store, without loading it: pure numpy.

From the ground up:

- `ptrarray.reductions.blocks`: walk rows in blocks of bounded size, on all cores
- `ptrarray.reductions.whole`: one result for all living rows
- `ptrarray.reductions.each`: one result for each array
- `ptrarray.reductions.masked`: both, without what is masked
- `ptrarray.reductions.either`: each of them, for rows with or without a mask
- `ptrarray.reductions.functions`: ``np.sum(store)`` and its like
"""

from ptrarray.reductions.either import mean, mean_each, reduce, reduce_each, std, std_each, var
from ptrarray.reductions.functions import array_function
from ptrarray.reductions.masked import MaskedRows

__all__ = [
    "MaskedRows",
    "array_function",
    "mean",
    "mean_each",
    "reduce",
    "reduce_each",
    "std",
    "std_each",
    "var",
]
