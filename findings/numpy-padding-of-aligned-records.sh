#!/usr/bin/env bash
# numpy 2.5.5: assigning records of a dtype that is made of a list with align=True copies the bytes
# between the fields; until 2.4 it left them alone, and it still does where offsets are given.
#
# Arrays that are filled so, from zeros, had zeros there whatever was in the memory of the other
# array; checksums and hashes of equal records were equal. Copying field by field does it in all
# versions. Output:
#
#   given offsets: zeros between the fields
#   align=True:    what the other array has there
#   by fields:     zeros between the fields
#
# Ends with 0 as long as it is so, else with 1. numpy 2.5 needs Python 3.12 or newer.
set -eu
for python in python3 python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
	if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then break; fi
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$python" -m venv venv
venv/bin/pip install --quiet numpy==2.5.5
venv/bin/python - <<'PYTHON'
import sys

import numpy as np


GIVEN = np.dtype({"names": ["a", "b"], "formats": ["u1", "i8"], "offsets": [0, 8]})
ALIGNED = np.dtype([("a", "u1"), ("b", "i8")], align=True)


def between(dtype, by_fields=False):
    full = np.frombuffer(b"\xff" * 1600, dtype)[::2]
    copy = np.zeros(len(full), dtype)
    if by_fields:
        for field in dtype.names:
            copy[field] = full[field]
    else:
        copy[...] = full
    return copy.view("u1").reshape(-1, 16)[:, 1:8].any()


words = "zeros between the fields", "what the other array has there"
found = between(GIVEN), between(ALIGNED), between(ALIGNED, by_fields=True)
for how, one in zip(("given offsets:", "align=True:   ", "by fields:    "), found):
    print(how, words[int(one)])
sys.exit(found != (False, True, False))
PYTHON
