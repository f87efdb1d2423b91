"""Fuzzing, led by coverage, of all that reads bytes which a stranger may have made up.

::

    python -m tests.fuzz TARGET... [--seconds S | --runs N] [--corpus FOLDER] [--log FILE]
    python -m tests.fuzz --sum FILE

With atheris installed. `tests/support/fuzz_targets.py` has the targets; ``all`` stands for all of
them. Each runs in a process of its own, for so many seconds or inputs, with a limit to its address space
and to the time that an input takes. What breaks a promise is left in ``FOLDER/found``, once for each place in
the code; it is to be mended, and the input goes to ``tests/corpus/fuzz/TARGET``, which `tests/test_fuzz.py` tries
for ever. What led to new branches is kept in ``FOLDER/TARGET``, where the next run goes on. A line for each run is
added to the log; ``--sum`` adds them up.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

from tests.support.fuzz_targets import TARGETS
from tests.support.limits import mapped_nbytes

MEMORY = Path("/dev/shm")
ADDRESS_NBYTES = 2 << 30  # beyond what the process has when it begins
LIMITS = ["-timeout=20", "-rss_limit_mb=3000"]
_N_INPUTS = re.compile(r"stat::number_of_executed_units: (\d+)|^#(\d+)\t", re.MULTILINE)


class Run(NamedTuple):
    """One run of one target, a line of the log."""

    when: str
    target: str
    n_inputs: int
    seconds: int
    n_found: int

    def __str__(self) -> str:
        return "\t".join(map(str, self))


def main() -> int:
    """Fuzz, or add up what was fuzzed; return how many new findings there are, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[*TARGETS, "all", []])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="inputs, in place of --seconds")
    parser.add_argument("--corpus", type=Path, default=None)
    parser.add_argument("--log", type=Path, default=None)
    parser.add_argument("--sum", type=Path, default=None)
    parser.add_argument("--here", type=Path, help="one target in this process, in that folder")
    options = parser.parse_args()
    if options.sum is not None:
        print(table(options.sum))  # noqa: T201
        return 0
    if options.corpus is None:
        options.corpus = Path(tempfile.mkdtemp(prefix="fuzz"))
    if options.here is not None:
        fuzz(options.targets[0], options)
    n_found = 0
    for target in TARGETS if "all" in options.targets else options.targets:
        done = run(target, options)
        n_found += done.n_found
        print(done, flush=True)  # noqa: T201
        if options.log is not None:
            with options.log.open("a") as log:
                print(done, file=log)
    return min(n_found, 1)


def run(target: str, options: Any) -> Run:
    """Fuzz one target in a process of its own; again, where an input has ended that."""
    began, n_inputs = time.monotonic(), 0
    found = options.corpus / "found"
    found.mkdir(parents=True, exist_ok=True)
    before = _findings(found, target)
    scratch = Path(tempfile.mkdtemp(prefix="fuzz", dir=MEMORY if MEMORY.is_dir() else None))
    while True:
        seconds = options.seconds - int(time.monotonic() - began)
        n_left = options.runs - n_inputs
        if (n_left <= 0) if options.runs >= 0 else (seconds <= 0):
            break
        command = [sys.executable, "-m", "tests.fuzz", target, f"--corpus={options.corpus}"]
        command += [f"--here={scratch}"]
        command += [f"--runs={n_left}"] if options.runs >= 0 else [f"--seconds={seconds}"]
        said = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, errors="replace", check=False
        )
        counts = [int(one or other) for one, other in _N_INPUTS.findall(said.stderr)]
        n_inputs += counts[-1] if counts else 0
        if said.returncode == 0 or not counts:  # else a hang, a crash or too much memory
            sys.stderr.write(said.stderr[-3000:] if said.returncode else "")
            break
    shutil.rmtree(scratch)
    new = _findings(found, target) - before
    return Run(
        time.strftime("%Y-%m-%d %H:%M:%S"),
        target,
        n_inputs,
        round(time.monotonic() - began),
        len(new),
    )


def _findings(folder: Path, target: str) -> set[Path]:
    return {file for file in folder.glob(f"{target}-*") if file.suffix != ".txt"}


def fuzz(name: str, options: Any) -> NoReturn:
    """Fuzz one target in this process, which then ends."""
    import atheris

    target = TARGETS[name]
    for function in functions(target.modules):
        atheris.instrument_func(function)
    seeds, work, kept = options.here / "seeds", options.here / "work", options.corpus / name
    for folder in (seeds, work, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for number, raw in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(raw)
    known: set[str] = set()

    def one_input(raw: bytes) -> None:
        try:
            target.attempt(raw, work)
        except BaseException as error:  # noqa: BLE001 whatever it is, it is a finding
            place = _place(error)
            if place not in known:
                known.add(place)
                _note(options.corpus / "found", name, place, raw, error)

    limits = [*LIMITS, f"-max_len={target.max_nbytes}", "-print_final_stats=1"]
    end = f"-runs={options.runs}" if options.runs >= 0 else f"-max_total_time={options.seconds}"
    prefix = f"-artifact_prefix={options.corpus}/found/{name}-"
    _limit_memory()
    atheris.Setup([sys.argv[0], *limits, end, prefix, str(kept), str(seeds)], one_input)
    atheris.Fuzz()
    sys.exit()


def functions(modules: tuple[str, ...]) -> Iterator[Any]:
    """Yield the functions of modules whose names begin with some text."""
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and str(thing.__module__).startswith(modules):
            yield thing


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    return " ".join([type(error).__name__, *where])


def _note(folder: Path, name: str, place: str, raw: bytes, error: BaseException) -> None:
    """Keep an input that has broken a promise, and what was raised."""
    file = folder / f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    if not file.exists():
        file.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))
        file.write_bytes(raw)


def _limit_memory() -> None:
    """Let what is asked for beyond reason be a `MemoryError`; AddressSanitizer needs all of the space."""
    if "asan" not in os.environ.get("LD_PRELOAD", ""):
        limit = mapped_nbytes() + ADDRESS_NBYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def table(log: Path) -> str:
    """Return what a log adds up to, as a table."""
    n_inputs, seconds, n_found = Counter[str](), Counter[str](), Counter[str]()
    for line in log.read_text().splitlines():
        _, target, inputs, took, found = line.split("\t")
        n_inputs[target] += int(inputs)
        seconds[target] += int(took)
        n_found[target] += int(found)
    lines = [
        f"{target:16} {n_inputs[target]:>14,} inputs {seconds[target]:>8,} s {n_found[target]:>4} found"
        for target in sorted(n_inputs)
    ]
    total = f"{'in all':16} {n_inputs.total():>14,} inputs {seconds.total():>8,} s {n_found.total():>4} found"
    return "\n".join([*lines, total])


if __name__ == "__main__":
    sys.exit(main())
