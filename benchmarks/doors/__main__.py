"""Bring files of other formats into a store, and read them with their own libraries alone.

Prints a table a format. The results of several runs become one page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.users import page
from benchmarks.users.__main__ import add_options, run

PACKAGES = {
    "arrow": ("pyarrow", "datasets"),
    "kaldi": ("kaldi_native_io",),
    "megatron": ("megatron-core", "torch"),
    "ninja": ("mmap_ninja",),
    "safetensors": ("safetensors",),
    "lmdb": ("lmdb",),
    "webdataset": ("webdataset",),
    "netcdf": ("h5netcdf", "xarray"),
    "nwb": ("pynwb", "hdmf"),
}
INTRODUCTION = """# Files of others that become a store

Files of other formats, written by their own libraries, are brought into a store by one process, and read by the library
alone, which writes the bytes of each array to one file; in one run and in turns, in an order that moves on by one. All
bytes are compared first, which warms up. A cost is the median of the rounds, with the smallest and the largest. "ptrarray
is" tells how many times ptrarray's cost the other one's is, the median of the ratios within a round. An import has names,
checksums, and everything on the disk when it ends; so the library is shown twice, with its file only in the memory of
the system, and synced. What has to be reached as a number stands among the others as "what is to be reached", so that
above 1 it is met.
"""


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doors", description=__doc__)
    parser.add_argument("--subject", choices=[*PACKAGES], help="only this one")
    add_options(parser, "small arrays")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    subjects = [options.subject] if options.subject else [*PACKAGES]
    results = run(subjects, options, arguments, "benchmarks.doors", PACKAGES, "door")
    if options.markdown:
        found = page.load(options.out, PACKAGES, "door") if options.out else results
        options.markdown.write_text(page.page(found, INTRODUCTION), encoding="utf-8")


if __name__ == "__main__":
    main()
