"""The command ``join``: arguments and printing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ptrarray.cli.elsewhere import place
from ptrarray.cli.printing import print_json, printable
from ptrarray.joining import DUPLICATES, HOWS, join
from ptrarray.reader import open_readable


def add_command(add_parser: Any, printing: Any) -> None:
    """Add ``join`` to the parser."""
    text = "make one store of many, or add them to a store of shards"
    add = add_parser("join", _join, text, printing).add_argument
    add("path", metavar="STORE", type=place, help="the joined store")
    add(
        "stores",
        metavar="OTHER",
        nargs="*",
        type=place,
        help="what to join; by default all parts, STORE.parts/*.ptr",
    )
    add("--how", choices=HOWS, default="move", help="what becomes of the others; they move")
    add("--prefix", metavar="TEXT", help="what all names begin with; {stem} is the other's name")
    add(
        "--duplicates",
        choices=DUPLICATES,
        default="error",
        help="which array is kept of a name that several have; by default it is an error",
    )
    add("--memory", metavar="SIZE", default="512MB", help="what finding such names may take")
    add("--shard-size", metavar="SIZE", help="of the shards that later writes make, as 1GB")


def _join(options: argparse.Namespace) -> int:
    prefix = options.prefix
    join(
        options.path,
        options.stores or None,
        options.how,
        prefix=prefix and (lambda path: prefix.replace("{stem}", Path(path).stem)),
        duplicates=options.duplicates,
        progress=sys.stderr.isatty() and not options.json,
        memory=options.memory,
        shard_size=options.shard_size,
    )
    with open_readable(options.path) as store:
        n_arrays, n_shards = len(store), len(store.shards)
    if options.json:
        print_json({"path": str(options.path), "arrays": n_arrays, "shards": n_shards})
    else:
        print(printable(f"{options.path}: {n_arrays:,} arrays in {n_shards:,} shards"))
    return 0
