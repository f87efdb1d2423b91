#!/usr/bin/env bash
# distributed 2026.8.0: a call of an executor of dask's that runs is cancelled, and goes on to its end.
#
# `cancel()` of a future is False for a call that runs already, says concurrent.futures; here it is True,
# `running()` is never True, and what the call does is done all the same. Output:
#
#   running              False
#   cancelled            True
#   done all the same    True
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
import time
from pathlib import Path

from distributed import Client


def wait_for(name):
    Path(f"{name}.began").touch()
    while not Path(f"{name}.go").exists():
        time.sleep(0.01)
    Path(f"{name}.done").touch()


def is_there(path):
    for _ in range(1000):
        if path.exists():
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    name = str(Path("call").absolute())
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        future = client.get_executor().submit(wait_for, name)
        is_there(Path(f"{name}.began"))
        running, cancelled = future.running(), future.cancel()
        Path(f"{name}.go").touch()
        done = is_there(Path(f"{name}.done"))
    print("running             ", running)
    print("cancelled           ", cancelled)
    print("done all the same   ", done)
    sys.exit((running, cancelled, done) != (False, True, True))
PYTHON
venv/bin/python script.py 2>/dev/null
