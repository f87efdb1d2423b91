"""Do with a hundred million names what is done with a store, and with LMDB; print a table.

Each step runs in a process of its own, building in four. What is read is compared with what was
written.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import ptrarray
from benchmarks.harness.system import commit, files, machine
from benchmarks.hundred_million import ours, page, source
from benchmarks.hundred_million.steps import Cost, Step, run

N_NAMES = 100_000_000
N_LOOKUPS = 100_000
N_PROCESSES = 4
MORE = 100  # one of so many names is added at the end

Steps = Iterator[tuple[str, Cost]]


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hundred_million", description=__doc__
    )
    add = parser.add_argument
    add("--names", type=n_names, default=N_NAMES, help="how many, such as 1e6 for a first look")
    add("--without-lmdb", action="store_true", help="leave LMDB out")
    add("--folder", type=Path, help="where stores are made: on a disk, not in memory")
    add("--out", type=Path, help="folder to keep the results in")
    add("--markdown", type=Path, help="file to write the table to")
    return parser


def n_names(text: str) -> int:
    """Understand a number of names."""
    number = int(float(text))
    if not MORE <= number <= source.MOST_NAMES * MORE // (MORE + 1):
        raise ValueError(f"{text} names: from {MORE} to {source.MOST_NAMES // 2} can be made")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    typed = sys.argv[1:] if arguments is None else arguments
    began = perf_counter()
    costs = {"ptrarray": measured(ours, options)}
    if not options.without_lmdb:
        from benchmarks.hundred_million import peer

        costs["LMDB"] = measured(peer, options)
    facts = {
        "command": shlex.join(["python", "-m", "benchmarks.hundred_million", *typed]),
        "commit": commit(),
        "machine": machine(),
        "versions": {"ptrarray": ptrarray.__version__, "lmdb": metadata.version("lmdb")},
        "n_names": options.names,
        "costs": costs,
        "minutes": (perf_counter() - began) / 60,
    }
    print(page.table(facts))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(facts, indent=1) + "\n"
        (options.out / "hundred-million.json").write_text(text, encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(page.page(facts), encoding="utf-8")


def measured(by: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    """Do all steps with one of the two; return what each came to, and the size on the disk."""
    costs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder:
        path = Path(folder) / "store"
        for step, cost in steps(by, str(path), options.names):
            costs[step] = cost._asdict()
            print(f"{by.__name__}: {step}, {cost.seconds:.3g} s", file=sys.stderr, flush=True)
        n_blocks = sum(file.stat().st_blocks for file in files(path))
        costs["disk_mb"] = n_blocks * 512 / 1e6
        shutil.rmtree(path)
    return costs


def steps(by: ModuleType, path: str, n: int) -> Steps:
    """Do one step after the other."""
    n_more = n // MORE
    run(by.create, (path,))
    n_writers = N_PROCESSES if by is ours else 1  # LMDB has one writer at a time
    bounds = [n * at // n_writers for at in range(n_writers + 1)]
    parts = [(path, *part) for part in pairwise(bounds)]
    yield "build", run(by.write, *parts)
    yield "checkpoint", run(by.checkpoint, (path,))
    yield "open", run(by.open_store, (path, n))
    yield "lookups", run(by.look_up, (path, n, min(N_LOOKUPS, n)))
    with Step(by.refresh, (path, n, n_more)) as reader:
        yield "append", run(by.append, (path, n, n + n_more))
        yield "refresh", reader.done()
    yield "open again", run(by.open_store, (path, n + n_more))
    if by is ours:
        yield "verify", run(by.verify, (path,))
    else:
        yield "verify", run(by.verify, (path, n + n_more))


if __name__ == "__main__":
    main()
