#!/usr/bin/env bash
# distributed 2026.8.0: an executor of dask's runs equal calls once, and gives all of them the one result.
#
# `Client.get_executor()` is a concurrent.futures.Executor, whose `submit` schedules a call. Of five
# equal calls that write a line, one line comes. `get_executor(pure=False)` runs each. Output:
#
#   calls                5
#   runs                 1
#   runs with pure=False 5
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet distributed==2026.8.0 dask==2026.8.0
cat > script.py <<'PYTHON'
import sys
from pathlib import Path

from distributed import Client


def note(path):
    with open(path, "a") as file:
        file.write("run\n")


def count_runs(executor, path):
    for future in [executor.submit(note, path) for _ in range(5)]:
        future.result()
    return len(Path(path).read_text().splitlines())


if __name__ == "__main__":
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        once = count_runs(client.get_executor(), str(Path("pure").absolute()))
        each = count_runs(client.get_executor(pure=False), str(Path("impure").absolute()))
    print("calls                5")
    print("runs                ", once)
    print("runs with pure=False", each)
    sys.exit((once, each) != (1, 5))
PYTHON
venv/bin/python script.py 2>/dev/null
