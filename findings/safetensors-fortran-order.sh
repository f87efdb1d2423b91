#!/usr/bin/env bash
# safetensors 0.8.0 (numpy 2.4.6): an array that is not in C order is saved as it lies in memory, so it comes
# back with its numbers at other places, without an error. 0.7.0 saves the same array right.
#
# Since 0.8.0 `save_file` and `save` hand over a pointer and a length for each array, and the file says nothing
# of strides. A matrix in Fortran order, as scikit-learn and scipy return them, a transposed one and every
# second column of one are all written wrong, and what is in the file cannot be told from what is right. (Also
# upstream as issue 825.) `np.ascontiguousarray` of what is saved helps. Output:
#
#   C order   [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
#   Fortran   [[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]]
#   transpose [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
#   columns   [[0.0, 1.0], [2.0, 3.0]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

matrix = np.arange(6, dtype="f4").reshape(2, 3)
arrays = {
    "C order": matrix,
    "Fortran": np.asfortranarray(matrix),
    "transpose": matrix.T,
    "columns": matrix[:, ::2],
}
save_file(arrays, "arrays.safetensors")
loaded = load_file("arrays.safetensors")
for name in arrays:
    print(f"{name:9}", loaded[name].tolist())
right = [name for name, array in arrays.items() if np.array_equal(array, loaded[name])]
same_shapes = all(array.shape == loaded[name].shape for name, array in arrays.items())
sys.exit(0 if right == ["C order"] and same_shapes else 1)
PYTHON
