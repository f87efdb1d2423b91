"""Measure ptrarray beside other stores: one workload, two checkouts, or a special question.

`run` measures a workload and prints tables, `report` writes the page of several results. The other
commands are studies: each asks one question and prints a table.
"""

from __future__ import annotations

import argparse
import ast
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.engines import CLASSES, AnyEngine, NotInstalledError, load
from benchmarks.engines.beside import Beside
from benchmarks.harness.case import Case
from benchmarks.harness.run import figures, figures_at
from benchmarks.harness.system import commit, machine, machine_words
from benchmarks.measures import FIGURES, chosen
from benchmarks.measures.fresh import READER
from benchmarks.report import page
from benchmarks.report.results import OURS, Result
from benchmarks.workloads import WORKLOADS

REPEAT = 5
STUDIES = sorted(Path(__file__).parent.glob("studies/[!_]*.py"))

Act = Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = command_line().parse_args(arguments)
    options.typed = shlex.join(["python", "-m", "benchmarks", *arguments])
    options.act(options)


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    sizes = argparse.ArgumentParser(add_help=False)
    sizes.add_argument("--n", type=int, help="arrays, or what else is counted")
    sizes.add_argument("--repeat", type=int, help="rounds")
    sizes.add_argument(
        "--folder", type=Path, help="where stores are made: on a disk, not in memory"
    )
    sizes.add_argument("--out", type=Path, help="folder to keep the result in, for `report`")

    def command(name: str, act: Act, text: str, **options: Any) -> argparse.ArgumentParser:
        head = text.partition("\n")[0].rstrip(".")
        added = commands.add_parser(name, help=head, description=text, **options)
        added.set_defaults(act=act, command=name)
        return added

    add = command("run", run, str(run.__doc__), parents=[sizes]).add_argument
    add("--workload", choices=WORKLOADS, default="tokens")
    add("--engines", type=_listed, default=[], metavar="A,B", help=f"of {', '.join(CLASSES)}")
    add("--measures", type=_listed, default=[], metavar="A,B", help=f"of {', '.join(FIGURES)}")
    add("--beside", type=Path, metavar="CHECKOUT", help="another ptrarray, measured in turns")
    add = command("compare", compare, str(compare.__doc__)).add_argument
    add("before", type=Path, help="a result as JSON")
    add("after", type=Path, help="another one")
    add = command("report", report, str(report.__doc__)).add_argument
    add("results", type=Path, help="folder that others had as --out")
    add("--markdown", type=Path, required=True, help="file to write")
    for path in STUDIES:  # which are not imported before one is asked for
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        command(path.stem, study, text, parents=[sizes])
    return parser


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def run(options: argparse.Namespace) -> None:
    """Measure a workload, print tables.

    Without options: everything that is measured of it, of all engines that are installed. With
    --beside: of the two checkouts and the floor.
    """
    workload = WORKLOADS[options.workload]
    measures = chosen(options.measures, options.workload)
    repeat = options.repeat or REPEAT
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder:
        engines, missing = _loaded(options, Path(folder))
        case = Case(options.workload, options.n, Path(folder))
        facts = {
            "command": options.typed,
            "commit": commit(),
            "machine": machine(),
            "versions": {engine.name: engine.version for engine in engines},
            "beside": next((each.name for each in engines if isinstance(each, Beside)), ""),
            "missing": missing,
            "workload": options.workload,
            "n_arrays": len(case.source),
            "nbytes": case.source.values.nbytes,
            "repeat": repeat,
            "figures": figures(measures, engines, case, repeat),
        }
        fewer = workload.fewer if READER in measures else ()
        facts["fewer"] = figures_at(fewer, READER, engines, case, repeat)
    result = Result(facts | {"minutes": (perf_counter() - start) / 60})
    print(page.markdown(result))
    if options.out:
        result.save(options.out)


def _loaded(options: argparse.Namespace, folder: Path) -> tuple[list[AnyEngine], dict[str, str]]:
    """Return the engines to be measured, and why others cannot be."""
    usual = ("floor", OURS) if options.beside else WORKLOADS[options.workload].engines
    able, missing = [], {}
    for name in options.engines or usual or CLASSES:
        try:
            able.append(load(name))
        except NotInstalledError as error:
            missing[name] = str(error)
    return able + ([Beside(options.beside, folder)] if options.beside else []), missing


def compare(options: argparse.Namespace) -> None:
    """Print the ratios between two results."""
    print(page.comparison(Result.load(options.before), Result.load(options.after)))


def report(options: argparse.Namespace) -> None:
    """Write the page of the results in a folder, with a plot beside it."""
    paths = [options.results / f"{workload}.json" for workload in WORKLOADS]
    results = [Result.load(path) for path in paths if path.exists()]
    plot_path = options.markdown.with_name("names.svg")
    found = {name: options.results / f"{name}.md" for name in page.STUDIES}
    studies = {name: path.read_text("utf-8") for name, path in found.items() if path.exists()}
    options.markdown.write_text(page.page(results, plot_path.name, studies), encoding="utf-8")
    if drawing := page.drawing(results):
        plot_path.write_text(drawing, encoding="utf-8")


def study(options: argparse.Namespace) -> None:
    """Ask the question of a study, print what it finds."""
    try:
        module = import_module(f"benchmarks.studies.{options.command}")
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}; try pip install '.[bench]'") from error
    print(machine_words(machine()), file=sys.stderr)
    lines = [f"`{options.typed}`", ""]
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder:
        sizes = options.n or module.N, options.repeat or module.REPEAT
        for line in module.study(Path(folder), *sizes):
            print(line, flush=True)
            lines.append(line)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{options.command}.md"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
