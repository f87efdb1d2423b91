"""Stores on a web server: what it costs to read them, beside other formats on the same server.

Needs nginx. Prints a table a subject. The results of several runs become one page.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.remote.servers import QUICK_VARIABLE
from benchmarks.remote.stores import KEEP_VARIABLE
from benchmarks.users import page
from benchmarks.users.__main__ import add_options, run

PACKAGES = {
    "one": ("obstore", "zarr", "h5py", "fsspec", "aiohttp", "mmappickle"),
    "take": ("obstore", "zarr", "fsspec", "aiohttp"),
    "sum": ("obstore",),
    "memory": ("obstore",),
    "shards": ("obstore",),
}
INTRODUCTION = """# Stores on a web server

All is read from one nginx on the same machine. Requests, bytes of answers and round trips are counted by a proxy before
it, which also lets each request wait where a row says so: real networks do. A round trip is what has to wait for an answer:
the longest chain of requests of which each was sent when the one before was answered. Each cost is the median of the rounds,
with the smallest and the largest; ways take turns, in an order that moves on by one. What is compared is named in the column
"unit". "ptrarray is" tells how many times ptrarray's cost the other one's is, the median of the ratios within a round: above
1, ptrarray is the better one. What has to be reached as a number stands among the others as "what is to be reached", so that
above 1 it is met.
"""


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote", description=__doc__)
    parser.add_argument("--subject", choices=[*PACKAGES], help="only this one")
    what = "folder to keep what is published in, for the next run: some 10 GB"
    parser.add_argument("--keep", type=Path, help=what)
    what = "let requests wait less: times and round trips are not right then"
    parser.add_argument("--quick", action="store_true", help=what)
    add_options(parser, "names, shards, or bytes")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    if options.keep:
        os.environ[KEEP_VARIABLE] = str(options.keep.resolve())
    if options.quick:
        os.environ[QUICK_VARIABLE] = "1"
    subjects = [options.subject] if options.subject else [*PACKAGES]
    results = run(subjects, options, arguments, "benchmarks.remote", PACKAGES, "remote")
    if options.markdown:
        found = page.load(options.out, PACKAGES, "remote") if options.out else results
        options.markdown.write_text(page.page(found, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
