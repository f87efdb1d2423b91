"""Hand the arrays of a store to other libraries, in the way people do today and with ptrarray.

Prints a table a subject. The results of several runs become one page.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.users import page
from benchmarks.users.__main__ import measured

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
    add = parser.add_argument
    add("--subject", choices=[*PACKAGES], help="only this one")
    add("--n", type=int, help="arrays")
    add("--repeat", type=int, help="rounds")
    add("--folder", type=Path, help="where files are made: on a disk, not in memory")
    add("--out", type=Path, help="folder to keep the results in, for --markdown")
    add("--markdown", type=Path, help="file to write all results in the folder --out to")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = command_line().parse_args(arguments)
    typed = shlex.join(["python", "-m", "benchmarks.bridges", *arguments])
    results = []
    for subject in [options.subject] if options.subject else PACKAGES:
        facts = measured(subject, options, "benchmarks.bridges", PACKAGES) | {"command": typed}
        print(page.markdown(facts), end="\n\n", flush=True)
        results.append(facts)
        if options.out:
            page.save(facts, options.out, "bridge")
    if options.markdown:
        found = page.load(options.out, PACKAGES, "bridge") if options.out else results
        options.markdown.write_text(page.page(found, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
