#!/usr/bin/env bash
# kaldiio 2.18.1 (numpy 2.4.6): arrays of text archives come out as other arrays than were written, without an
# error: the last one can begin with a part of its key, doubles are float32, and whole numbers decide the dtype.
#
# To find out what comes next, five bytes are read and then five taken back, also where fewer than five were left
# (`read_kaldi` of matio.py). If the last vector of whole numbers is that short, the end of its key is read as its
# first number; a key that does not end in a digit raises. In `read_ascii_mat`, no text is read as float64 (1e300 is
# inf), and a vector is int32 when its first number has no point: so [1, 2] of float32 is int32, and [1, 2.5], which
# kaldi writes just like that, raises (with numpy 1.26.4 it is [1, 2], with a DeprecationWarning). kaldi_native_io
# 1.23.0 reads these texts as they stand, by the type one asks it for. Output:
#
#   last vector     kaldiio [('10', [7, 8]), ('11', [1, 3])]  kaldi [('10', [7, 8]), ('11', [3])]
#   doubles         float32 [0.10000000149011612, inf]
#   kaldi's floats  int32 [1, 2]
#   kaldi's 1, 2.5  ValueError
#   integers, 2-D   float32 [[16777216.0]]
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

import kaldi_native_io as kaldi
import kaldiio
import numpy as np


def read():
    return [(key, array) for key, array in kaldiio.load_ark("some.ark")]


vectors = {"10": [7, 8], "11": [3]}
with kaldi.Int32VectorWriter("ark,t:some.ark") as out:
    for key, vector in vectors.items():
        out[key] = vector
last = [(key, array.tolist()) for key, array in read()]
with kaldi.SequentialInt32VectorReader("ark:some.ark") as reader:
    by_kaldi = [(key, list(vector)) for key, vector in reader]
print("last vector     kaldiio", last, " kaldi", by_kaldi)
found = [by_kaldi == list(vectors.items()), last == [("10", [7, 8]), ("11", [1, 3])]]

kaldiio.save_ark("some.ark", {"a": np.array([0.1, 1e300])}, text=True)
((_, array),) = read()
print("doubles        ", array.dtype, array.tolist())
found += [array.dtype == np.float32, array[1] == np.inf]

with kaldi.FloatVectorWriter("ark,t:some.ark") as out:
    out["a"] = np.array([1, 2], np.float32)
((_, array),) = read()
print("kaldi's floats ", array.dtype, array.tolist())
found.append(array.dtype == np.int32)

with kaldi.FloatVectorWriter("ark,t:some.ark") as out:
    out["a"] = np.array([1, 2.5], np.float32)
try:
    read()
    said = "reads"
except ValueError:
    said = "ValueError"
print("kaldi's 1, 2.5 ", said)
found.append(said == "ValueError")

kaldiio.save_ark("some.ark", {"a": np.array([[2**24 + 1]], np.int32)}, text=True)
((_, array),) = read()
print("integers, 2-D  ", array.dtype, array.tolist())
found += [array.dtype == np.float32, int(array[0, 0]) == 2**24]
sys.exit(0 if all(found) else 1)
PYTHON
