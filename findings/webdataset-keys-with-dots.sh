#!/usr/bin/env bash
# webdataset 1.0.2 (numpy 2.4.6): samples whose keys have a dot are merged when they are read, two that are
# written with the same writer are one, without an error; a sample with an empty key is not read at all.
#
# The writer makes a name of a member from key, dot and field, and takes any key. The reader takes what is
# before the first dot of the last part of a name for the key. So "utt.1" and "utt.2" are one sample "utt" with
# fields "1.npy" and "2.npy", and of "v1.0" the key is "v1". Where a field is in both samples under one name, it is
# an error instead. Dots in folders are left alone. Output:
#
#   written: ['utt.1', 'utt.2', 'v1.0', '', 'd.x/a']
#   read:    utt ['1.npy', '2.npy']
#   read:    v1 ['0.npy']
#   read:    d.x/a ['npy']
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet webdataset==1.0.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import webdataset

keys = ["utt.1", "utt.2", "v1.0", "", "d.x/a"]
with webdataset.TarWriter("samples.tar") as writer:
    for number, key in enumerate(keys):
        writer.write({"__key__": key, "npy": np.full(2, number)})
print("written:", keys)
read = {}
for sample in webdataset.WebDataset("samples.tar", shardshuffle=False):
    read[sample["__key__"]] = sorted(field for field in sample if not field.startswith("__"))
    print("read:   ", sample["__key__"], read[sample["__key__"]])
as_seen = {"utt": ["1.npy", "2.npy"], "v1": ["0.npy"], "d.x/a": ["npy"]}
sys.exit(0 if read == as_seen else 1)
PYTHON
