#!/usr/bin/env bash
# kaldiio 2.18.1 (numpy 2.4.6): values a compression method has no room for are written as others from somewhere
# else in its range, without an error or a warning; kaldi takes the nearest there is.
#
# `float_to_uint` of compression_header.py casts to uint8 or uint16, which wraps: by method 7 (0 to 1) 2.0 becomes
# 0.996 and 300.0 becomes 0.83, by method 6 (0 to 255) 300.0 becomes 44. By kaldi_native_io 1.23.0 (kaldi's
# own code) they are 1.0 and 255. Besides, one nan or infinity makes all values of its matrix nan by the methods that
# look for the range themselves (2, 3, 5). Output (values 0.5, 2, 300):
#
#   method 7  kaldiio [0.498, 0.996, 0.831]  kaldi [0.498, 1.0, 1.0]
#   method 6  kaldiio [0.0, 2.0, 44.0]  kaldi [0.0, 2.0, 255.0]
#   one nan   [[nan, nan], [nan, nan]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet kaldiio==2.18.1 kaldi_native_io==1.23.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import kaldi_native_io as kaldi
import kaldiio
import numpy as np

warnings.simplefilter("ignore")
values = np.array([[0.5, 2, 300]], np.float32)
methods = {7: kaldi.CompressionMethod.kOneByteZeroOne, 6: kaldi.CompressionMethod.kOneByteUnsignedInteger}
found = []
for method, name in methods.items():
    kaldiio.save_ark("some.ark", {"a": values}, compression_method=method)
    ours = kaldiio.load_mat("some.ark:2")[0].round(3)
    with kaldi.CompressedMatrixWriter("ark:some.ark") as out:
        out.write("a", values, name)
    theirs = kaldiio.load_mat("some.ark:2")[0].round(3)
    shown = [[round(float(each), 3) for each in row] for row in (ours, theirs)]
    print(f"method {method}  kaldiio {shown[0]}  kaldi {shown[1]}")
    found += [ours[2] < theirs[2], theirs[2] == {7: 1, 6: 255}[method]]
kaldiio.save_ark("some.ark", {"a": np.array([[np.nan, 1], [2, 3]], np.float32)}, compression_method=3)
all_of_it = kaldiio.load_mat("some.ark:2")
print("one nan  ", all_of_it.tolist())
found.append(np.isnan(all_of_it).all())
sys.exit(0 if all(found) else 1)
PYTHON
