#!/usr/bin/env bash
# pyarrow 26.0.1, on Linux: the first array that a process makes, of ten letters, maps 1 GiB that the kernel is
# asked to fill with huge pages (madvise, MADV_HUGEPAGE), and that stays when the array is gone.
#
# Arrow's allocator, mimalloc, asks for it. Where the kernel gives huge pages to whoever asks, each 2 MiB with a
# few bytes in use may then count whole: at once, or minutes later, when khugepaged comes by. So a process
# that keeps nothing seems to leak in steps of 2 MiB: one that made small tables for half an hour, one after the other,
# went from 80 to 90 MB, of which 14 were such pages. pandas 3 keeps texts in Arrow, so that a DataFrame with an index
# of texts is enough. `pa.total_allocated_bytes()` is 0 after each. With MIMALLOC_ALLOW_THP=0 in the environment
# nothing is asked for, nor with ARROW_DEFAULT_MEMORY_POOL=system, nor by pyarrow 22 to 24; 21 and 25 do as
# 26. Output:
#
#   26.0.1 mimalloc                              1024 MiB with an array, 1024 MiB without
#   26.0.1 mimalloc MIMALLOC_ALLOW_THP=0         0 MiB with an array, 0 MiB without
#   26.0.1 system                                0 MiB with an array, 0 MiB without
#   24.0.0 mimalloc                              0 MiB with an array, 0 MiB without
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for version in 24.0.0 26.0.1; do
    python3 -m venv $version
    $version/bin/pip install --quiet pyarrow==$version
done
cat > advised.py <<'PYTHON'
import re
import sys

import pyarrow as pa


def advised() -> int:
    """Return how many MiB of the process the kernel was asked to fill with huge pages."""
    n = size = 0
    for line in open("/proc/self/smaps"):
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            size = int(head[2], 16) - int(head[1], 16)
        elif line.startswith("VmFlags:") and "hg" in line.split():
            n += size >> 20
    return n


array = pa.array(list("abcdefghij"))
before = advised()
del array
assert pa.total_allocated_bytes() == 0
who = " ".join([pa.__version__, pa.default_memory_pool().backend_name, *sys.argv[2:]])
print(f"{who:44} {before} MiB with an array, {advised()} MiB without")
sys.exit(0 if before == advised() == int(sys.argv[1]) else 1)
PYTHON
26.0.1/bin/python advised.py 1024
MIMALLOC_ALLOW_THP=0 26.0.1/bin/python advised.py 0 MIMALLOC_ALLOW_THP=0
ARROW_DEFAULT_MEMORY_POOL=system 26.0.1/bin/python advised.py 0
24.0.0/bin/python advised.py 0
