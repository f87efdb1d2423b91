#!/usr/bin/env bash
# matplotlib 3.11.2 (numpy 2.4.6): several plots draw or count what a masked array masks, without an error or a warning.
#
# Of 1, 200 (masked), 3: `plot`, `step`, `bar`, `scatter`, `boxplot`, `imshow` and `pcolormesh` leave the 200 out;
# `stairs`, `stackplot`, `eventplot`, `violinplot`, `pie` and `hist2d` take it as if there were no mask. `hist` takes
# its range from what is not masked, and counts what is masked and within it (its documentation says that masked
# arrays are not supported). Copies with `compressed()`, or floats with NaN for `stairs`, are right. Output:
#
#   plot          3.0
#   boxplot       3.0
#   stairs        200.0
#   stackplot     200.0
#   eventplot     200.0
#   violinplot    200.0
#   pie           largest part 352.9 degrees
#   hist2d        3 values counted
#   hist          4 values counted of [2 -- 4 5]
#   stairs of NaN 3.0
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet matplotlib==3.11.2 numpy==2.4.6
MPLCONFIGDIR="$folder" venv/bin/python -W error - <<'PYTHON'
import sys

import numpy as np
from matplotlib.figure import Figure

masked = np.ma.array([1, 200, 3], mask=[False, True, False])
axes = Figure().subplots()
largest = {
    "plot": np.nanmax(axes.plot(masked)[0].get_ydata(orig=False)),
    "boxplot": max(line.get_ydata().max() for line in axes.boxplot(masked, whis=(0, 100))["whiskers"]),
    "stairs": axes.stairs(masked).get_path().vertices[:, 1].max(),
    "stackplot": axes.stackplot(range(3), masked)[0].get_paths()[0].vertices[:, 1].max(),
    "eventplot": max(axes.eventplot(masked)[0].get_positions()),
    "violinplot": axes.violinplot(masked)["cmaxes"].get_segments()[0][0, 1],
}
for name, value in largest.items():
    print(f"{name:13} {value}")
part = max(wedge.theta2 - wedge.theta1 for wedge in axes.pie(masked)[0])
both = axes.hist2d([1, 2, 3], masked, bins=2)[0].sum()
few = np.ma.array([2, 3, 4, 5], mask=[False, True, False, False])
counted = axes.hist(few)[0].sum()
filled = np.nanmax(axes.stairs(masked.astype(float).filled(np.nan)).get_path().vertices[:, 1])
print(f"pie           largest part {part:.1f} degrees")
print(f"hist2d        {both:.0f} values counted")
print(f"hist          {counted:.0f} values counted of {few}")
print(f"stairs of NaN {filled}")
wanted = [3, 3, 200, 200, 200, 200]
sys.exit(0 if list(largest.values()) == wanted and part > 350 and both == 3 and counted == 4 and filled == 3 else 1)
PYTHON
