#!/usr/bin/env bash
# lightgbm 4.7.0 (numpy 2.4.6, pandas 3.1.1): integers in an array are rounded to float32, to train and to predict,
# without an error or a warning; in a DataFrame they are not.
#
# An array of float32 or float64 is taken as it is. Any other becomes float32: integers of 64 bits, which float64 would
# hold up to 2**53, and float64 in the other byte order. So above 2**24 integers fall together: seconds since 1970
# become multiples of 128, and of forty in a row there is one value left, of which nothing can be learned. A
# DataFrame's columns become float64, so a model that was trained on one predicts otherwise for its own rows as
# `to_numpy()`. Output, of a label that begins in the middle of 40 seconds:
#
#   array of float64             1.0 learned, 1.0 predicted
#   array of int64               0.5 learned, 0.5 predicted
#   array of big-endian float64  0.5 learned, 0.5 predicted
#   DataFrame of int64           1.0 learned, 1.0 predicted
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet lightgbm==4.7.0 numpy==2.4.6 pandas==3.1.1
venv/bin/python - <<'PYTHON'
import sys

import lightgbm
import numpy as np
import pandas as pd

n = np.arange(2000) % 40
seconds, is_late = 1_790_000_000 + n, n >= 20
table = pd.DataFrame({"second": seconds})
inputs = {
    "array of float64": seconds.astype("f8")[:, np.newaxis],
    "array of int64": table.to_numpy(),
    "array of big-endian float64": seconds.astype(">f8")[:, np.newaxis],
    "DataFrame of int64": table,
}
assert inputs["array of int64"].dtype == np.int64
params = {"objective": "binary", "num_threads": 1, "verbose": -1}


def trained(x):
    return lightgbm.train(params, lightgbm.Dataset(x, is_late), 10)


def share(model, x):
    """Return how many rows are told right."""
    return float(np.mean((model.predict(x) > 0.5) == is_late))


good = trained(table)
found = {what: (share(trained(x), table), share(good, x)) for what, x in inputs.items()}
for what, (learned, predicted) in found.items():
    print(f"{what:27}  {learned} learned, {predicted} predicted")
sys.exit(list(found.values()) != [(1, 1), (0.5, 0.5), (0.5, 0.5), (1, 1)])
PYTHON
