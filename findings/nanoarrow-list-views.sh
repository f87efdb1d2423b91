#!/usr/bin/env bash
# nanoarrow 0.9.0 (pyarrow 26.0.1): an array of list views cannot be looked into.
#
# Of a list view, `c_array(x).view()` raises `RuntimeError: ArrowArrayView buffer 2 has size_bytes < 0`,
# whatever is in it, be they views of 32 or 64 bits, sliced or whole. Lists and text in views are read. So who
# wants the buffers of list views by nanoarrow has to take their addresses, and what they are from the schema.
# Output:
#
#   list<item: int32>             reads
#   string_view                   reads
#   list_view<item: int32>        ArrowArrayView buffer 2 has size_bytes < 0
#   large_list_view<item: int32>  ArrowArrayView buffer 2 has size_bytes < 0
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet nanoarrow==0.9.0 pyarrow==26.0.1
venv/bin/python - <<'PYTHON'
import sys

import nanoarrow
import pyarrow as pa

lists = [[1, 2], [], [3]]
found = []
for values, kind in (
    (lists, pa.list_(pa.int32())),
    (["a", "of more than twelve bytes"], pa.string_view()),
    (lists, pa.list_view(pa.int32())),
    (lists, pa.large_list_view(pa.int32())),
):
    try:
        list(nanoarrow.c_array(pa.array(values, kind)).view().buffers)
        said = "reads"
    except RuntimeError as error:
        said = str(error)
    print(f"{kind!s:29} {said}")
    found.append(said == "reads")
sys.exit(0 if found == [True, True, False, False] else 1)
PYTHON
