"""``python -m benchmarks``: measure, compare two results, write the report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import engines, report
from benchmarks.case import Case
from benchmarks.run import chosen, figures
from benchmarks.system import commit, machine
from benchmarks.workloads import WORKLOADS


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["compare"]:
        compare(arguments[1:])
    else:
        measure(arguments)


def measure(arguments: list[str]) -> None:
    """Measure a workload, print tables, keep the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, default="tokens")
    parser.add_argument("--peers", type=_listed, default=list(engines.NAMES), metavar="A,B")
    parser.add_argument("--measures", type=_listed, default=[], metavar="A,B", help="all if absent")
    parser.add_argument("--n", type=int, help="arrays; each workload has its own number")
    parser.add_argument("--repeat", type=int, default=5, help="rounds, after one to warm up")
    parser.add_argument("--out", type=Path, help="folder for the result as JSON")
    parser.add_argument(
        "--folder", type=Path, help="where stores are made; on a disk, not in memory"
    )
    options = parser.parse_args(arguments)
    measures = chosen(options.measures, options.workload)
    able, missing = _loaded(options.peers)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder:
        case = Case(options.workload, options.n, Path(folder))
        result = {
            "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
            "commit": commit(),
            "machine": machine(),
            "versions": {engine.name: engine.version for engine in able},
            "missing": missing,
            "workload": options.workload,
            "n_arrays": len(case.source),
            "nbytes": case.source.values.nbytes,
            "repeat": options.repeat,
            "figures": figures(measures, able, case, options.repeat),
        }
    print(report.markdown(result))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{options.workload}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(arguments: list[str]) -> None:
    """Print the ratios between two results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    both = (json.loads(path.read_text("utf-8")) for path in (options.before, options.after))
    print(report.comparison(*both))


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _loaded(names: list[str]) -> tuple[list[engines.Engine], dict[str, str]]:
    able, missing = [], {}
    for name in names:
        try:
            able.append(engines.load(name))
        except engines.NotInstalledError as error:
            missing[name] = str(error)
    return able, missing


if __name__ == "__main__":
    main()
