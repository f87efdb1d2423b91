"""The command line: parse arguments, call the library, print.

Exit codes: 0 done, 1 it failed or damage was found, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptrarray import native
from ptrarray.cli import completion, convert, elsewhere, joins, reading, view, watch
from ptrarray.cli.elsewhere import opened, title
from ptrarray.cli.parser import Parser
from ptrarray.cli.printing import complain, print_json, print_now, printable
from ptrarray.errors import CorruptStoreError, Damage, StoreError
from ptrarray.intake.paths import absolute
from ptrarray.packs import pack, unpack
from ptrarray.reader import open_readable as open_store
from ptrarray.storage.system.compressors import CODECS
from ptrarray.upkeep import checkpoint, compact, publish, repair

_MEMORY = "take at most so much of it, as 64MB; by default 512MB"
_INTERRUPTED = 128 + 2
_BROKEN_PIPE = 128 + 13


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Examples
    --------
    >>> main(["ls", "corpus.ptr", "--long"])
    0  3  utt1
    3  5  utt2
    5  6  utt3
    0
    """
    options = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name outside the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code: int = options.run(options)
        print(end="", flush=True)  # unlike sys.stdout.flush, also where there is no stdout
    except BrokenPipeError:
        # Python flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (StoreError, OSError, ImportError) as error:
        return complain(error)
    return code


def _parser() -> Parser:
    parser = Parser(
        prog="ptrarray", description="A pointer-array database for variable-length numpy arrays."
    )
    # Not imported from the package, whose face is above this module.
    release = sys.modules["ptrarray"].__version__
    version = f"%(prog)s {release} ({native.variant()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    on_store = Parser(add_help=False)
    on_store.add_argument(
        "store", metavar="STORE", type=elsewhere.place, help="the store's directory"
    )
    printing = Parser(add_help=False)
    printing.add_argument("--json", action="store_true", help="print JSON, for programs")

    def add(name: str, run: Any, text: str, *parents: Parser) -> Any:
        command = commands.add_parser(name, help=text, description=text, parents=parents)
        command.set_defaults(run=run)
        return command

    demo = add("demo", _demo, "fill and read a store with Python's standard library", printing)
    demo.add_argument("--processes", type=_at_least_one, help="number of worker processes")
    demo.add_argument("--out", type=Path, metavar="DIR", help="keep the store in this folder")
    reading.add_commands(add, printing)
    checked = (elsewhere.on_readable(), printing, _with_memory())
    add("verify", _verify, "check every array against its checksum", *checked)
    elsewhere.add_command(add, printing)
    _add_whole_stores(add, on_store, printing)
    limited = (on_store, printing, _with_memory())
    repair = add("repair", _repair, "copy what is intact into a new store", *limited)
    repair.add_argument(
        "--to", type=elsewhere.place, metavar="NEW", required=True, help="the new store"
    )
    convert.add_commands(commands, on_store, printing)
    watch.add_command(commands, on_store, printing)
    view.add_command(add, elsewhere.on_readable())
    completion.add_commands(add, commands, parser)
    return parser


def _with_memory() -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument("--memory", metavar="SIZE", default="512MB", help=_MEMORY)
    return parser


def _add_whole_stores(add: Any, *parents: Parser) -> None:
    folding = (*parents, _with_memory())
    add("checkpoint", _checkpoint, "fold the journal into the index", *folding)
    add("compact", _compact, "rewrite the data file without holes", *folding)
    add("publish", _publish, "make it ready to be read from a web server or bucket", *folding)
    pack = add("pack", _pack, "write the store as one file, a tar archive", *parents)
    pack.add_argument("target", metavar="TARGET", help="the file to make, or - for stdout")
    pack.add_argument(
        "--compression", choices=tuple(CODECS), help="by default as TARGET's extension says"
    )
    pack.add_argument("--level", type=int, metavar="N", help="how hard to compress, as 9")
    pack.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    text = "make a store of a pack, or of a tar archive of a store"
    unpack = add("unpack", _unpack, text, *parents[1:])
    unpack.add_argument("source", metavar="SOURCE", help="the pack, or - for stdin")
    unpack.add_argument("directory", metavar="DIR", type=elsewhere.place, help="the store to make")
    joins.add_command(add, *parents[1:])


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


# The commands -------------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> int:
    from ptrarray.cli.demo import run_demo  # no other command waits for it

    if options.json:
        print_json(run_demo(options.processes, options.out, say=lambda line: None))
    else:
        run_demo(options.processes, options.out, say=print_now)
    return 0


def _verify(options: argparse.Namespace) -> int:
    damage: Sequence[Any] = ()
    n_arrays = 0
    try:
        with opened(options) as store:
            store.verify(progress=_wants_bar(options), memory=options.memory)
            n_arrays = len(store)
    except CorruptStoreError as error:
        damage = error.damage or (Damage(error.path, str(error)),)  # it cannot even be opened
    if options.json:
        found = [_as_dict(item) for item in damage]
        print_json({"path": title(options), "arrays": n_arrays, "damage": found})
    elif damage:
        _print_table(damage)
    else:
        print(printable(f"{title(options)}: {n_arrays:,} arrays, no damage"))
    if damage:
        places = "place" if len(damage) == 1 else "places"
        return complain(f"{title(options)} is damaged in {len(damage):,} {places}")
    return 0


def _print_table(damage: Sequence[Any]) -> None:
    rows = [("file", "start", "end", "name", "problem")]
    for item in damage:
        place = ("-" if fact is None else str(fact) for fact in (item.start, item.end, item.name))
        rows.append((Path(item.file).name, *place, item.problem))
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())


def _checkpoint(options: argparse.Namespace) -> int:
    checkpoint(options.store, memory=options.memory)
    with open_store(options.store) as store:
        n_arrays = len(store)
    if options.json:
        print_json({"path": str(options.store), "arrays": n_arrays})
    else:
        print(printable(f"{options.store}: {n_arrays:,} arrays in the index"))
    return 0


def _compact(options: argparse.Namespace) -> int:
    with open_store(absolute(options.store)) as store:
        before = store.nbytes
    compact(options.store, progress=_wants_bar(options), memory=options.memory)
    with open_store(options.store) as store:
        after = store.nbytes
    if options.json:
        print_json({"path": str(options.store), "nbytes_before": before, "nbytes": after})
    else:
        print(printable(f"{options.store}: {before:,} bytes of rows before, {after:,} now"))
    return 0


def _publish(options: argparse.Namespace) -> int:
    publish(options.store, progress=_wants_bar(options), memory=options.memory)
    with open_store(options.store) as store:
        n_arrays, nbytes = len(store), store.nbytes
    if options.json:
        print_json({"path": str(options.store), "arrays": n_arrays, "nbytes": nbytes})
    else:
        what = f"{n_arrays:,} arrays, {nbytes:,} bytes of rows without holes"
        print(printable(f"{options.store}: {what}"))
    return 0


def _repair(options: argparse.Namespace) -> int:
    progress = _wants_bar(options)
    left_out = repair(options.store, options.to, progress=progress, memory=options.memory)
    with open_store(options.to) as store:
        n_arrays = len(store)
    if options.json:
        found = [_as_dict(item) for item in left_out]
        print_json({"path": str(options.to), "arrays": n_arrays, "left_out": found})
    else:
        if left_out:
            _print_table(left_out)
        print(printable(f"{options.to}: {n_arrays:,} arrays, {len(left_out):,} left out"))
    return 1 if left_out else 0


def _pack(options: argparse.Namespace) -> int:
    if options.target == "-":
        if sys.stdout.isatty():
            return complain("a pack is not for a terminal: redirect stdout, or name a file")
        if options.json:
            return complain("stdout cannot take both the pack and JSON: name a file")
    target = sys.stdout.buffer if options.target == "-" else elsewhere.place(options.target)
    how = options.compression, _wants_bar(options), options.overwrite, options.level
    pack(options.store, target, *how)
    if options.json:
        nbytes = Path(options.target).stat().st_size
        print_json({"path": options.target, "nbytes": nbytes})
    return 0


def _unpack(options: argparse.Namespace) -> int:
    if options.source == "-" and sys.stdin.isatty():
        return complain("no pack comes from a terminal: redirect stdin, or name a file")
    source = sys.stdin.buffer if options.source == "-" else elsewhere.place(options.source)
    unpack(source, options.directory, _wants_bar(options))
    if options.json:
        with open_store(options.directory) as store:
            print_json({"path": str(options.directory), "arrays": len(store)})
    return 0


def _wants_bar(options: argparse.Namespace) -> bool:
    return sys.stderr.isatty() and not getattr(options, "json", False)


def _as_dict(damage: Damage) -> dict[str, Any]:
    return {key: getattr(damage, key) for key in ("name", "start", "end", "file", "problem")}
