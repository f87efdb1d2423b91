"""Checkpoint or compact a store, and print what that cost: with whatever ptrarray is imported first."""

import json
import sys
import time
from pathlib import Path

import ptrarray


def main(action: str, path: str) -> None:
    """Do it, and print JSON."""
    began = time.process_time()
    getattr(ptrarray, action)(path)
    milliseconds = (time.process_time() - began) * 1e3
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"cpu": milliseconds, "kib": kib, "package": ptrarray.__file__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
