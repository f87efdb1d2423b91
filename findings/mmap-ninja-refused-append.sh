#!/usr/bin/env bash
# mmap_ninja 0.9.0 (numpy 2.4.6): an append to a RaggedMmap that raises stays in it by half, and what is appended later is lost.
#
# A RaggedMmap whose first arrays were all of one axis takes no array of two. It finds that out after it
# has written the rows and where they begin and end, so the refused array counts, and shapes are one
# place behind from then on. A program that skips such an array and goes on finds the next one under
# the position after its own, where it has no shape, and the refused one in its place. Output:
#
#   refused       AssertionError
#   len           4
#   store[2]      [-1.0, -1.0, -1.0]
#   store[3]      IndexError
#   store[:]      3 arrays, without [7.0, 8.0, 9.0]
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

import numpy as np
from mmap_ninja import RaggedMmap

store = RaggedMmap.from_lists("store", [np.arange(3.0), np.arange(2.0)])
refused = last = None
try:
    store.append(np.full((1, 3), -1.0))
except AssertionError as error:
    refused = type(error).__name__
store.append(np.array([7.0, 8.0, 9.0]))

store = RaggedMmap("store")
third = store[2].tolist()
try:
    store[3]
except IndexError as error:
    last = type(error).__name__
everything = [array.tolist() for array in store[:]]
lost = [7.0, 8.0, 9.0] not in everything
print("refused      ", refused)
print("len          ", len(store))
print("store[2]     ", third)
print("store[3]     ", last)
print("store[:]     ", len(everything), "arrays,", "without" if lost else "with", "[7.0, 8.0, 9.0]")
seen = refused and last and lost and len(store) == 4 and third == [-1.0, -1.0, -1.0]
sys.exit(0 if seen else 1)
PYTHON
