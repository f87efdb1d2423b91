#!/usr/bin/env bash
# uniplot 0.23.2 (numpy 2.4.6): what is masked is drawn; an infinity, or large integers side by side, end in an OverflowError.
#
# NaN is a gap in a line, but one infinity ends the drawing. So do two integers that are the same
# float64, with a message about infinity where the array holds none. A masked array is drawn by its
# data without an error: what is masked shows. Output:
#
#   nan: drawn
#   inf: OverflowError: cannot convert float infinity to integer
#   [2**62, 2**62 + 1]: OverflowError: cannot convert float infinity to integer
#   masked 40 in 1, 2, 3: drawn up to 40
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet uniplot==0.23.2 numpy==2.4.6
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import uniplot


def drawn(values):
    try:
        return uniplot.plot_to_string(ys=values, lines=True, width=40, height=5)
    except OverflowError as error:
        return f"OverflowError: {error}"


cases = {
    "nan": np.array([1, np.nan, 2]),
    "inf": np.array([1, np.inf, 2]),
    "[2**62, 2**62 + 1]": np.array([2**62, 2**62 + 1]),
}
found = {label: drawn(values) for label, values in cases.items()}
for label, text in found.items():
    print(f"{label}: {text if text.startswith('Overflow') else 'drawn'}")
masked = drawn(np.ma.MaskedArray([1.0, 40.0, 2.0, 3.0], [False, True, False, False]))
shows = "40" in masked or "30" in masked
print("masked 40 in 1, 2, 3:", "drawn up to 40" if shows else "left out")
failed = [text.startswith("Overflow") for text in found.values()]
sys.exit(failed != [False, True, True] or not shows)
PYTHON
