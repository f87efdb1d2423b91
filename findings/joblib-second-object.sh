#!/usr/bin/env bash
# joblib 1.6.0 (numpy 2.4.6): of two objects in one BytesIO, load returns the first one twice.
#
# `joblib.load` looks at the first bytes for a compressor. A handle without `peek`, as a BytesIO, is
# taken back to its beginning after that, not to where it was. So whatever comes after the first
# object cannot be loaded, and no error says so: the first object is returned again. If something
# else stands before the object, that is what is read. Files have `peek`, and are read right.
# Output:
#
#   file:    first, then second
#   BytesIO: first, then first
#   BytesIO, object after a header: cannot be loaded
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet joblib==1.6.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import io
import sys

import joblib


def loaded_of_two(handle):
    joblib.dump("first", handle)
    joblib.dump("second", handle)
    handle.seek(0)
    return [joblib.load(handle), joblib.load(handle)]


def loaded_after_a_header():
    handle = io.BytesIO()
    handle.write(b"header")
    joblib.dump("object", handle)
    handle.seek(len(b"header"))
    try:
        return joblib.load(handle)
    except Exception:
        return "cannot be loaded"


with open("two", "w+b") as file:
    from_file = loaded_of_two(file)
from_memory, after = loaded_of_two(io.BytesIO()), loaded_after_a_header()
print("file:   ", ", then ".join(from_file))
print("BytesIO:", ", then ".join(from_memory))
print("BytesIO, object after a header:", after)
as_said = from_file == ["first", "second"] and from_memory == ["first", "first"]
sys.exit(not (as_said and after == "cannot be loaded"))
PYTHON
