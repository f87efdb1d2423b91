"""Hand the arrays of a store to other libraries, in the way people do today and with ptrarray.

Prints a table a subject. The results of several runs become one page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.users import page
from benchmarks.users.__main__ import add_options, run

PACKAGES = {
    "arrow": ("awkward", "duckdb", "nanoarrow", "polars", "pyarrow"),
    "sampling": ("torch", "lhotse"),
    "loader": ("torch", "datasets", "lmdb", "mmap_ninja"),
}
INTRODUCTION = """# The arrays of a store in other libraries

Arrays of a store are handed to other libraries by ptrarray, and in the way that people do it today, in one run and in
turns, in an order that moves on by one. A cost is the median of the rounds, with the smallest and the largest; what is
compared is named in the column "unit". "ptrarray is" tells how many times ptrarray's cost the other one's is, the median
of the ratios within a round: above 1, ptrarray is the better one. What has to be reached as a number stands among the
others as "what is to be reached", so that above 1 it is met.
"""


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridges", description=__doc__)
    parser.add_argument("--subject", choices=[*PACKAGES], help="only this one")
    add_options(parser, "arrays")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    subjects = [options.subject] if options.subject else [*PACKAGES]
    results = run(subjects, options, arguments, "benchmarks.bridges", PACKAGES, "bridge")
    if options.markdown:
        found = page.load(options.out, PACKAGES, "bridge") if options.out else results
        options.markdown.write_text(page.page(found, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
