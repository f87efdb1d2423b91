#!/usr/bin/env bash
# dask 2026.8.0 and numpy 2.4.6: a call with a masked array as an argument is no call.
#
# dask hashes the arguments to name the call, and what it makes of a masked array cannot be hashed. It helps
# to name the call oneself: `pure=False`, or `key=`. Output:
#
#   array                2
#   masked array         ValueError: cannot reshape array of size 2 into shape (16,)
#   with pure=False      2
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet distributed==2026.8.0 dask==2026.8.0 numpy==2.4.6
cat > script.py <<'PYTHON'
import sys

import numpy as np
from distributed import Client

if __name__ == "__main__":
    masked = np.ma.masked_array([1, 2], [True, False])
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        print("array               ", client.submit(len, masked.data).result())
        try:
            client.submit(len, masked).result()
            failed = False
        except Exception as error:
            failed = True
            print(f"masked array         {type(error).__name__}: {error}")
        n = client.submit(len, masked, pure=False).result()
        print("with pure=False     ", n)
    sys.exit(not failed or n != 2)
PYTHON
venv/bin/python script.py 2>/dev/null
