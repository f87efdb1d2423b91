#!/usr/bin/env bash
# torch 2.13.0: amax, argmax, amin and argmin along the ragged axis of a nested tensor see padding.
#
# Rows of a jagged tensor are padded with the least finite number of the dtype before the maximum is
# taken, and with the greatest before the minimum. So a row of -inf has the maximum -3.4e38, an
# empty row has one, too, and argmax of a row of -inf is a position past its end. Rows as long as
# the longest are right. Output:
#
#   rows                [-inf, -inf], [], [-inf, -inf, -inf]
#   amax                [-3.4028234663852886e+38, -3.4028234663852886e+38, -inf]
#   argmax              [2, 0, 0]
#   amin of +inf        [3.4028234663852886e+38, 3.4028234663852886e+38, inf]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6
venv/bin/python - 2>/dev/null <<'PYTHON'
import math
import sys

import torch

offsets = torch.tensor([0, 2, 2, 5])


def rows_of(number):
    values = torch.full((5,), number)
    return torch.nested.nested_tensor_from_jagged(values, offsets, min_seqlen=0, max_seqlen=3)


low, high = rows_of(-math.inf), rows_of(math.inf)
amax, argmax, amin = low.amax(dim=1).tolist(), low.argmax(dim=1).tolist(), high.amin(dim=1).tolist()
print("rows               ", "[-inf, -inf], [], [-inf, -inf, -inf]")
print("amax               ", amax)
print("argmax             ", argmax)
print("amin of +inf       ", amin)
as_said = math.isfinite(amax[0]) and math.isinf(amax[2]) and argmax[0] == 2 and math.isfinite(amin[0])
sys.exit(not as_said)
PYTHON
