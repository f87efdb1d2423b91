#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6): arrays whose axes were moved round, as `images.transpose(0, 2, 3, 1)`, come back from
# an array of fixed-shape tensors in another shape and order, without an error.
#
# `from_numpy_ndarray` writes the inverse of the permutation that the specification of
# `arrow.fixed_shape_tensor` means, which is another one if three axes change places in a ring. And
# `to_numpy_ndarray` has strides of neither: of 24 values it shows fewer, some of them several times. Where two axes
# change places all is right. Output:
#
#   shape (2, 3, 4), permutation [0, 2, 1]: (2, 4, 3) is (2, 4, 3), 24 values
#   shape (2, 3, 4), permutation [2, 0, 1]: (3, 4, 2) is (4, 2, 3), 16 values
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import pyarrow as pa

images = np.arange(48, dtype="i2").reshape(2, 2, 3, 4)
results = []
for axes in ((0, 1, 3, 2), (0, 2, 3, 1)):
    given = images.transpose(axes)
    made = pa.FixedShapeTensorArray.from_numpy_ndarray(given)
    found = made.to_numpy_ndarray()
    results.append(found.shape == given.shape and bool((found == given).all()))
    said = f"shape {tuple(made.type.shape)}, permutation {made.type.permutation}"
    print(f"{said}: {given.shape[1:]} is {found.shape[1:]}, {len(np.unique(found[0]))} values")
sys.exit(0 if results == [True, False] else 1)
PYTHON
