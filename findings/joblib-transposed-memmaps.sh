#!/usr/bin/env bash
# joblib 1.6.0 (numpy 2.4.6): a transposed view of a memory-mapped array has its numbers at other places in the workers
# of `Parallel`, without an error.
#
# A worker maps the file anew. It is told the shape, and the strides only if the view is contiguous in neither order. A
# transposed one is contiguous in Fortran order, but the worker is told the order of the array that it is a view of. So
# what is stored by rows and used by columns is another array there. Views with gaps are right, and so are
# arrays that are no memory map. Output:
#
#   reshaped            [[0, 1, 2], [3, 4, 5]] arrives as [[0, 1, 2], [3, 4, 5]]
#   transposed          [[0, 3], [1, 4], [2, 5]] arrives as [[0, 1], [2, 3], [4, 5]]
#   columns             [[1, 2], [4, 5]] arrives as [[1, 2], [4, 5]]
#   a copy, transposed  [[0, 3], [1, 4], [2, 5]] arrives as [[0, 3], [1, 4], [2, 5]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet joblib==1.6.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import joblib
import numpy as np

with open("numbers", "wb") as file:
    np.arange(6).tofile(file)
memory = np.memmap("numbers", dtype=int, mode="r")
views = {
    "reshaped": memory.reshape(2, 3),
    "transposed": memory.reshape(2, 3).T,
    "columns": memory.reshape(2, 3)[:, 1:],
    "a copy, transposed": np.array(memory).reshape(2, 3).T,
}
with joblib.Parallel(n_jobs=2) as parallel:
    arrived = parallel(joblib.delayed(np.ndarray.tolist)(view) for view in views.values())
found = dict(zip(views, arrived))
for what, view in views.items():
    print(f"{what:19} {view.tolist()} arrives as {found[what]}")
seen = {what: view.tolist() for what, view in views.items()}
seen["transposed"] = [[0, 1], [2, 3], [4, 5]]
sys.exit(0 if found == seen else 1)
PYTHON
