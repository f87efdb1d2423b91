#!/usr/bin/env bash
# pyarrow 26.0.1 (numpy 2.4.6): `pa.array` cuts bytes of a fixed width at their first zero byte, without an
# error.
#
# numpy fills short items with zeros, and cuts zeros at the end; those inside belong to the item. pyarrow cuts
# at the first. With the type given, as `pa.binary(3)`, or as objects, nothing is cut. Output:
#
#   numpy         [b'a\x00b', b'xyz']
#   pa.array      [b'a', b'xyz']
#   with a type   [b'a\x00b', b'xyz']
#   of objects    [b'a\x00b', b'xyz']
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import pyarrow as pa

items = np.array([b"a\0b", b"xyz"], "S3")
found = pa.array(items).to_pylist()
typed, objects = pa.array(items, pa.binary(3)).to_pylist(), pa.array(items.astype(object)).to_pylist()
print("numpy        ", items.tolist())
print("pa.array     ", found)
print("with a type  ", typed)
print("of objects   ", objects)
sys.exit(0 if found == [b"a", b"xyz"] and typed == objects == items.tolist() else 1)
PYTHON
