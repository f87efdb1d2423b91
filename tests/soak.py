"""Everything at once, for hours: nothing may creep, and every read is checked.

Run ``python -m tests.soak --hours 2 --out soak.jsonl``. Some twenty processes share stores of a bounded
size: writers, readers, whoever opens, checkpoints, compacts, verifies, edits in place, forks, packs,
dumps, joins, reads from a web server, looks through the viewer; some are killed now and then. Each
window of time becomes a line of the file: what every process and folder takes, and how long calls took.
Ends with status 1 if a read is wrong, a process ends, or something creeps. ``--report FILE`` prints the tables.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.soak_report import append, read, report
from tests.support.soak_watching import complaints

N_WINDOWS = 120
_MIN_SECONDS = 5.0  # of a window
# From what is free below a limit glibc gives nothing back, and it raises that limit as it sees larger
# pieces; Arrow's own allocator asks for huge pages, which Linux fills up by and by around the little that is
# in use. With limits that stay and without that allocator, memory that creeps is memory that is kept.
_ALLOCATORS = {
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second of each writer")
    parser.add_argument(
        "--kill", type=float, default=15.0, metavar="S", help="seconds between kills"
    )
    parser.add_argument("--directory", type=Path, help="where stores are made")
    parser.add_argument("--out", type=Path, default=Path("soak.jsonl"))
    parser.add_argument("--report", type=Path, metavar="FILE", help="print what a soak has found")
    asked = parser.parse_args()
    if asked.report is not None:
        sys.stdout.write(report(read(asked.report)) + "\n")
        return 0
    return soak(asked)


def soak(asked: argparse.Namespace) -> int:
    # Not above: a process that is spawned imports this module, too, and needs no crew.
    from tests.support.soak_crew import Crew

    seconds = asked.hours * 3600
    n_windows = max(1, min(N_WINDOWS, int(seconds / _MIN_SECONDS)))
    asked.out.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=asked.directory))
    with Crew(folder, asked.seed, asked.rate, asked.kill) as crew:
        for window in crew.windows(seconds / n_windows, n_windows):
            append(asked.out, window)
        wrong = window["wrong"] | crew.end()
    if wrong != window["wrong"]:  # the last window once more, with what was found at the end
        append(asked.out, window | {"wrong": wrong})
    windows = read(asked.out)
    sys.stdout.write(report(windows) + "\n")
    if wrong:
        sys.stdout.write(f"what is left is in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return bool(complaints(windows))


if __name__ == "__main__":
    if not _ALLOCATORS.keys() <= os.environ.keys():  # which are read when a process begins
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **_ALLOCATORS})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))  # so that nothing is left running
    sys.exit(main())
