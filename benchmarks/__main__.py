"""Measure a workload; ``compare`` two results; write the ``report`` of several."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks import engines, report
from benchmarks.case import Case
from benchmarks.measures import fresh
from benchmarks.results import Result
from benchmarks.run import chosen, figures, figures_at
from benchmarks.system import commit, machine
from benchmarks.workloads import WORKLOADS


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command:
        command(arguments[1:])
    else:
        measure(arguments)


def measure(arguments: list[str]) -> None:
    """Measure a workload, print tables, keep the result as JSON."""
    options = _options(arguments)
    workload = WORKLOADS[options.workload]
    measures = chosen(options.measures, options.workload)
    able, missing = _loaded(options.peers or workload.peers or engines.NAMES)
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder:
        case = Case(options.workload, options.n, Path(folder))
        facts = {
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
        numbers = workload.fewer if fresh.READER in measures else ()
        facts["fewer"] = figures_at(numbers, able, case, options.repeat)
    result = Result(facts | {"minutes": (perf_counter() - start) / 60})
    print(report.markdown(result))
    if options.out:
        result.save(options.out)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--workload", choices=WORKLOADS, default="tokens")
    add("--peers", type=_listed, metavar="A,B", help="; ".join(engines.NAMES))
    add("--measures", type=_listed, metavar="A,B", help="figures; all of the workload if absent")
    add("--n", type=int, help="arrays; each workload has its own number")
    add("--repeat", type=int, default=5, help="rounds")
    add("--out", type=Path, help="folder for the result as JSON")
    add("--folder", type=Path, help="where stores are made: on a disk, not in memory")
    return parser.parse_args(arguments)


def compare(arguments: list[str]) -> None:
    """Print the ratios between two results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    print(report.comparison(Result.load(options.before), Result.load(options.after)))


def write_report(arguments: list[str]) -> None:
    """Write the report of the results in a folder, with a plot beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report")
    parser.add_argument("results", type=Path, help="folder with results as JSON")
    parser.add_argument("--markdown", type=Path, required=True, help="file to write")
    options = parser.parse_args(arguments)
    paths = [options.results / f"{workload}.json" for workload in WORKLOADS]
    results = [Result.load(path) for path in paths if path.exists()]
    plot_path = options.markdown.with_name("names.svg")
    found = {script: options.results / f"{script}.md" for script in report.TABLES}
    tables = {script: path.read_text("utf-8") for script, path in found.items() if path.exists()}
    options.markdown.write_text(report.page(results, plot_path.name, tables), encoding="utf-8")
    if drawing := report.drawing(results):
        plot_path.write_text(drawing, encoding="utf-8")


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _loaded(names: Sequence[str]) -> tuple[list[engines.Engine], dict[str, str]]:
    able, missing = [], {}
    for name in names:
        try:
            able.append(engines.load(name))
        except engines.NotInstalledError as error:
            missing[name] = str(error)
    return able, missing


COMMANDS = {"compare": compare, "report": write_report}

if __name__ == "__main__":
    main()
