"""What a fresh process runs: a generator, one step for each line of input.

`benchmarks.harness.processes.Fresh` starts it and says which; answers are lines of JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

# Python's table of all names grows by half a MiB at the 21,846th, which is about where a process is
# that has imported an engine. With these it has grown before any memory is measured.
SPARE_NAMES = [sys.intern(f"spare {i}") for i in range(10_000)]


def main() -> None:
    """Run one generator function."""
    module, function, arguments = sys.argv[1:]
    steps = getattr(import_module(module), function)(*json.loads(arguments))
    for _ in sys.stdin:
        print(json.dumps(next(steps, {})), flush=True)


if __name__ == "__main__":
    main()
