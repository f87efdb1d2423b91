#!/usr/bin/env bash
# ray 2.60.0: the future of a task is cancelled, and the task goes on to its end.
#
# `ObjectRef.future()` is a concurrent.futures.Future. Its `cancel()` is True while the task runs, which nobody
# tells Ray: what the task does is done. `ray.cancel` of the reference is what ends it. Output:
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
venv/bin/pip install --quiet ray==2.60.0
cat > script.py <<'PYTHON'
import sys
import time
from pathlib import Path

import ray


def wait_for(name):
    Path(f"{name}.began").touch()
    while not Path(f"{name}.go").exists():
        time.sleep(0.01)
    Path(f"{name}.done").touch()


def is_there(path):
    for _ in range(6000):
        if path.exists():
            return True
        time.sleep(0.01)
    return False


ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
name = str(Path("call").absolute())
future = ray.remote(wait_for).remote(name).future()
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
