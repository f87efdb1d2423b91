#!/usr/bin/env bash
# mmap_ninja 0.9.0 (numpy 2.4.6): what is appended to a RaggedMmap of empty arrays only comes back as other numbers.
#
# numpy maps no empty file, so it makes one of one byte. mmap_ninja takes that byte for none, and
# appends behind it: each element is read one byte too early. Nothing is raised. One array with an
# element among the first ones, and all are right. So a first batch of empty arrays (silence, boxes of
# images without any) spoils all that follow. Output:
#
#   size of the file of no elements  1
#   begun with []                    [[], [-3.105036184601418e+231, 3.1e-322, 3.785766995733733e-270]]
#   begun with [], [5]               [[], [5.0], [1.0, 2.0, 3.0]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet mmap_ninja==0.9.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
from mmap_ninja import RaggedMmap


def read_back(folder, first):
    store = RaggedMmap.from_lists(folder, first)
    nbytes = Path(folder, "data.ninja").stat().st_size
    store.append(np.array([1.0, 2.0, 3.0]))
    return nbytes, [array.tolist() for array in RaggedMmap(folder)[:]]


nbytes, wrong = read_back("empty", [np.array([])])
_, right = read_back("filled", [np.array([]), np.array([5.0])])
print("size of the file of no elements ", nbytes)
print("begun with []                   ", wrong)
print("begun with [], [5]              ", right)
seen = nbytes == 1 and wrong[1] != [1.0, 2.0, 3.0] and right == [[], [5.0], [1.0, 2.0, 3.0]]
sys.exit(0 if seen else 1)
PYTHON
