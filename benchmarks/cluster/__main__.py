"""Many shards, many names and many machines: what they cost, beside one store and beside doing nothing.

Prints a table a subject. The results of several runs become one page.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cluster.upkeep import BEFORE_VARIABLE
from benchmarks.users import page
from benchmarks.users.__main__ import add_options, run

PACKAGES = {
    "lookups": (),
    "joining": (),
    "upkeep": (),
    "filling": ("dask", "distributed", "ray", "mpi4py", "loky"),
}
INTRODUCTION = """# Many shards, many names, many machines

Each cost is the median of the rounds, with the smallest and the largest; ways take turns, in an order that moves on by one.
What is compared is named in the column "unit". "ptrarray is" tells how many times ptrarray's cost the other one's is, the
median of the ratios within a round: above 1, ptrarray is the better one. What has to be reached as a number stands among the
others as "what is to be reached", so that above 1 it is met. Files are in memory.
"""


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--subject", choices=[*PACKAGES], help="only this one")
    what = "folder of an older checkout, built, to be measured beside this one (for upkeep)"
    parser.add_argument("--before", type=Path, help=what)
    add_options(parser, "names, names of a part, or tasks")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    if options.before:
        os.environ[BEFORE_VARIABLE] = str(options.before.resolve())
    subjects = [options.subject] if options.subject else [*PACKAGES]
    results = run(subjects, options, arguments, "benchmarks.cluster", PACKAGES, "cluster")
    if options.markdown:
        found = page.load(options.out, PACKAGES, "cluster") if options.out else results
        options.markdown.write_text(page.page(found, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
