#!/usr/bin/env bash
# scipy 1.17.1 (numpy 2.4.6): filtfilt, sosfiltfilt and decimate give other values at the ends of an array of
# integers, without an error or a warning, though all that they return are floats.
#
# They lengthen the signal at both ends before they filter, by the samples there turned round: twice the first one less
# those that follow. That is worked out in the dtype of the array, and wraps. Sound of int16 that begins at 20000 and
# falls to 7000 goes on before its beginning with 33000, which is -32536; pixels of uint8 that begin at 10 and rise to
# 30, with -10, which is 246. The filter runs over that edge into the signal. The middle is right; so are the same
# values as floats, `padtype="even"`, for which nothing is worked out, and lfilter. Output:
#
#   int16 filtfilt       begins with 22556, and that of floats with 19861
#   int16 sosfiltfilt    begins with 22556, and that of floats with 19861
#   int16 decimate       begins with 19383, and that of floats with 19774
#   int16 filtfilt, even begins with 17242, and that of floats with 17242
#   int16 lfilter        begins with 8, and that of floats with 8
#   uint8 filtfilt       begins with 0, and that of floats with 11
#   uint8 sosfiltfilt    begins with 0, and that of floats with 11
#   uint8 decimate       begins with 12, and that of floats with 10
#   uint8 filtfilt, even begins with 9, and that of floats with 9
#   uint8 lfilter        begins with 0, and that of floats with 0
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet scipy==1.17.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
from scipy import signal

ratio, sections = signal.butter(4, 0.1), signal.butter(4, 0.1, output="sos")
filters = {
    "filtfilt": lambda x: signal.filtfilt(*ratio, x),
    "sosfiltfilt": lambda x: signal.sosfiltfilt(sections, x),
    "decimate": lambda x: signal.decimate(x, 4),
    "filtfilt, even": lambda x: signal.filtfilt(*ratio, x, padtype="even"),
    "lfilter": lambda x: signal.lfilter(*ratio, x),
}
n = np.arange(4000)
signals = {
    "int16": np.round(30000 * np.cos(2 * np.pi * n / 100 + 0.84)).astype("int16"),
    "uint8": np.round(120 - 110 * np.cos(2 * np.pi * n / 100)).astype("uint8"),
}
as_said = True
for kind, values in signals.items():
    for name, function in filters.items():
        floats = values.astype("f8")
        got, right = function(values), function(floats)
        off = np.abs(got - right) / np.ptp(floats)  # as a share of what the signal spans
        is_wrong = name not in ("filtfilt, even", "lfilter")
        as_said = as_said and got.dtype == np.float64 and off[len(off) // 2] < 1e-6
        as_said = as_said and (off[:20].max() > 0.005) == is_wrong and (off.max() == 0) != is_wrong
        print(f"{kind} {name:14} begins with {got[0]:.0f}, and that of floats with {right[0]:.0f}")
sys.exit(not as_said)
PYTHON
