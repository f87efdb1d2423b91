#!/usr/bin/env bash
# numpy 2.4.6: `arange` of dates or durations in the byte order that is not the machine's gives other values, in silence.
#
# Bounds are written in the machine's order into memory of the other one. Numbers are right in both orders, and so are
# times that are made in the machine's order and then cast. Output, on a machine that is little-endian:
#
#   arange(3, dtype='>i8')     [0, 1, 2]
#   arange(3, dtype='>m8[s]')  [0, 72057594037927936, 144115188075855872]
#   cast from '<m8[s]'         [0, 1, 2]
#   arange(dates, '>M8[D]')    differs from the same days in '<M8[D]'
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.4.6
venv/bin/python -W error - <<'PYTHON'
import sys

import numpy as np

swapped = "<" if sys.byteorder == "big" else ">"
numbers = np.arange(3, dtype=f"{swapped}i8").tolist()
times = np.arange(3, dtype=f"{swapped}m8[s]").astype("i8").tolist()
cast = np.arange(3, dtype="m8[s]").astype(f"{swapped}m8[s]").astype("i8").tolist()
days = np.arange("2020-01-01", "2020-01-04", dtype="M8[D]")
others = np.arange("2020-01-01", "2020-01-04", dtype=f"{swapped}M8[D]")
print("arange(3, dtype='>i8')    ", numbers)
print("arange(3, dtype='>m8[s]') ", times)
print("cast from '<m8[s]'        ", cast)
print("arange(dates, '>M8[D]')   ", "equals" if np.array_equal(days, others) else "differs from", "the same days in '<M8[D]'")
expected = [0, 1 << 56, 2 << 56]
sys.exit(not (numbers == cast == [0, 1, 2] and times == expected and not np.array_equal(days, others)))
PYTHON
