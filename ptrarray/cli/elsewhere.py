"""Stores that lie elsewhere: how they are named on the command line, and the command ``download``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ptrarray.cli.parser import Parser
from ptrarray.cli.printing import print_json, printable
from ptrarray.downloading import download
from ptrarray.reader import PointerArray, open_readable
from ptrarray.storage.remote.objects import shown
from ptrarray.storage.remote.options import PARALLEL, is_url

_STORAGE = "what the library that reads URLs is to know, as region=eu-west-1; as often as needed"


def on_readable() -> Parser:
    """Return a parser of what commands take that only read: a directory or a URL."""
    parser = Parser(add_help=False)
    parser.add_argument("store", metavar="STORE", type=place, help="the store's directory, or URL")
    _add_storage(parser)
    parser.add_argument(
        "--cache", metavar="DIR", help="folder that keeps what was read of the indexes of URLs"
    )
    return parser


def add_command(add_parser: Any, printing: Any) -> None:
    """Add ``download`` to the parser."""
    command = add_parser("download", _download, "copy a store from a URL, checked", printing)
    command.add_argument("url", metavar="URL", help="the store, as https://host/corpus.ptr")
    command.add_argument("directory", metavar="DIR", type=place, help="the copy to make")
    command.add_argument(
        "--no-resume",
        action="store_true",
        help="fetch all anew, and keep nothing where it fails",
    )
    command.add_argument(
        "--parallel",
        type=int,
        default=PARALLEL,
        metavar="N",
        help=f"requests that are under way at the most; by default {PARALLEL}",
    )
    _add_storage(command)


def opened(options: argparse.Namespace) -> PointerArray:
    """Open the store that a command is to read."""
    if isinstance(options.store, Path):
        return open_readable(options.store)
    how = {"storage": _storage(options), "immutable": options.immutable}
    return open_readable(options.store, cache=options.cache, **how)


def title(options: argparse.Namespace) -> str:
    """Return what a command prints as the path of its store: nothing secret."""
    return str(options.store) if isinstance(options.store, Path) else shown(options.store)


def place(text: str) -> Path | str:
    """Return the path of a store, or its URL as it was typed: a path would lose one of its slashes."""
    return text if is_url(text) else Path(text)


def _add_storage(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--storage", action="append", default=[], type=_pair, metavar="KEY=VALUE", help=_STORAGE)
    add("--immutable", action="store_true", help="the files at the URL are known never to change")


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError("what is given is not of the form KEY=VALUE")  # a secret?
    return key, value


def _storage(options: argparse.Namespace) -> dict[str, str] | None:
    return dict(options.storage) or None


def _download(options: argparse.Namespace) -> int:
    download(
        options.url,
        options.directory,
        progress=sys.stderr.isatty() and not options.json,
        resume=not options.no_resume,
        parallel=options.parallel,
        storage=_storage(options),
        immutable=options.immutable,
    )
    with open_readable(options.directory) as store:
        n_arrays = len(store)
    if options.json:
        print_json({"path": str(options.directory), "arrays": n_arrays})
    else:
        print(printable(f"{options.directory}: {n_arrays:,} arrays, no damage"))
    return 0
