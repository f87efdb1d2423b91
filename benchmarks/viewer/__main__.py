"""What people wait for who look at a store of ten million names: searches, the page of the viewer, a notebook.

Prints a table a subject. The results of several runs become one page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.users import page
from benchmarks.users.__main__ import add_options, run

PACKAGES = {
    "search": (),
    "browser": ("playwright", "starlette", "uvicorn"),
    "notebook": (),
}
INTRODUCTION = """# Looking at a store, measured

What people wait for who look at a store of ten million names. Each cost is the median of the rounds, with the smallest and the
largest. What has to be reached as a number stands among the others as "what is to be reached"; "ptrarray is" tells how many times
ptrarray's cost that is, so that above 1 it is met. "ms of processor" is what the work takes by itself, "ms by the clock" what
somebody waits for on the machine that is named, with all else that runs there: what the page of one word takes tells how much that
is.
"""


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--subject", choices=[*PACKAGES], help="only this one")
    add_options(parser, "names")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    subjects = [options.subject] if options.subject else [*PACKAGES]
    results = run(subjects, options, arguments, "benchmarks.viewer", PACKAGES, "viewer")
    if options.markdown:
        found = page.load(options.out, PACKAGES, "viewer") if options.out else results
        options.markdown.write_text(page.page(found, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
