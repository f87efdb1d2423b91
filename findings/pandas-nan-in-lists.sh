#!/usr/bin/env bash
# pandas 3.1.1 and 2.3.3 (pyarrow 26.0.1): NaN in arrays in a column of a DataFrame is handed over as null.
#
# A DataFrame with arrays of floats in a column speaks Arrow's C interface, and hands lists over, in which
# what was NaN is null: an Inf and a NaN come as [inf, null]. Who takes no nulls refuses them, and who reads
# them as numbers cannot tell them from what was missing. `pa.array` of the same arrays keeps NaN, and so
# does a column whose dtype is an ArrowDtype. Output, for each of the two:
#
#   DataFrame   [[inf, None], [1.0]]
#   pa.array    [[inf, nan], [1.0]]
#   ArrowDtype  [[inf, nan], [1.0]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > look.py <<'PYTHON'
import sys

import numpy as np
import pandas as pd
import pyarrow as pa

arrays = [np.array([np.inf, np.nan]), np.array([1.0])]
kept = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(arrays)), name="x")
found = {
    "DataFrame": pa.table(pd.DataFrame({"x": arrays}))["x"].to_pylist(),
    "pa.array": pa.array(arrays).to_pylist(),
    "ArrowDtype": pa.table(kept.to_frame())["x"].to_pylist(),
}
for what, lists in found.items():
    print(f"{what:10}  {lists}")
nulls = [lists[0][1] is None for lists in found.values()]
sys.exit(0 if nulls == [True, False, False] else 1)
PYTHON
for version in 3.1.1 2.3.3; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet "pandas==$version" pyarrow==26.0.1 numpy==2.4.6
    "$version/bin/python" look.py
done
