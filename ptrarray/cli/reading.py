"""The commands ``info``, ``ls`` and ``get``: arguments and printing."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray.cli import elsewhere, screen
from ptrarray.cli.elsewhere import opened, title
from ptrarray.cli.printing import (
    as_list,
    as_text,
    complain,
    print_json,
    printable,
    readable,
    to_json,
)
from ptrarray.errors import BadInputError, import_extra
from ptrarray.format.layouts import ROWS, UNITS
from ptrarray.format.named import described
from ptrarray.look.histogram import histogram
from ptrarray.reader import PointerArray
from ptrarray.views.facts import Lengths, facts, lengths

_N_BINS = 10
# Of a fact on a terminal: attrs may be a megabyte, and are not to hide what is above.
_MOST_LINES_OF_FACT = 8
# Of a drawing.
_FEWEST_COLUMNS, _MOST_LINES = 10, 20


def add_commands(add: Any, printing: Any) -> None:
    """Add ``info``, ``ls`` and ``get`` to the parser."""
    readable = elsewhere.on_readable()
    add("info", _info, "show what a store holds", readable, printing)
    ls = add("ls", _ls, "list the names, in the order of their rows", readable, printing)
    ls.add_argument("pattern", metavar="PATTERN", nargs="?", help="shell pattern, as 'utt1*'")
    ls.add_argument("--long", "-l", action="store_true", help="with start and end of each array")
    get = add("get", _get, "print one array, draw it, or save it", readable, printing)
    get.add_argument("name", metavar="NAME", help="name of the array")
    get.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="save it as .npy file, its mask, if the store has masks, as FILE.mask.npy",
    )
    get.add_argument(
        "--plot",
        action="store_true",
        help="draw it as what it looks like: a line, a heat map, an image",
    )


def _info(options: argparse.Namespace) -> int:
    with opened(options) as store:
        told = facts(store) | {"path": title(options)}
        if options.json:
            print_json(told)
            return 0
        found = lengths(store)
    # First what there always was, in the same lines.
    told["generation"] = told.pop("generation")
    path = told.pop("path")
    rows = [(fact.replace("_", " "), _value(value)) for fact, value in told.items()]
    rows += _of_lengths(found, UNITS[told.get("layout", ROWS)])
    _print_info(path, rows, _bins(found))
    return 0


def _of_lengths(found: Lengths, unit: str) -> list[tuple[str, str]]:
    about, sample = "", ""
    if found.is_sample:
        about, sample = "about ", f"a sample of {len(found.rows):,} of "
    holes = "not known" if found.n_hole_rows is None else f"{about}{found.n_hole_rows:,} {unit}"
    return [("holes", holes), ("lengths", f"{unit} of {sample}{found.n_arrays:,} arrays")]


def _value(value: Any) -> str:
    return f"{value:,}" if type(value) is int else to_json(value)


def _bins(found: Lengths) -> list[tuple[str, str, int]]:
    """Return which lengths, how many arrays have them as text, and as a number."""
    counted = histogram(found.rows, _N_BINS, found.n_arrays)
    bins = [("0", counted.n_empty)] if counted.n_empty else []
    bins += [(counted.label(number), int(n)) for number, n in enumerate(counted.counts)]
    texts = [(label, f"{n:,}") for label, n in bins]
    wide, n_digits = (max(map(len, column)) for column in zip(*texts, ("", ""), strict=True))
    return [(label.rjust(wide), f"{n:>{n_digits},}", n) for label, n in bins]


def _print_info(path: str, rows: list[tuple[str, str]], bins: list[tuple[str, str, int]]) -> None:
    console = screen.console()
    if console is not None:
        most = _MOST_LINES_OF_FACT * console.width
        short = [(fact, _cut(value, most)) for fact, value in rows]
        console.print(screen.told(path, short), screen.bars(bins, console.width))
        return
    print(printable(path))
    for fact, value in rows:
        print(f"  {fact:<9}  {printable(value)}")
    for label, count, _ in bins:
        print(f"  {'':<9}  {label}  {count}")


def _cut(value: str, n_characters: int) -> str:
    return value if len(value) <= n_characters else f"{value[:n_characters]} … (all with --json)"


def _ls(options: argparse.Namespace) -> int:
    with opened(options) as store:
        width = len(str(store.shape[0]))
        before = after = ""
        if options.long and not options.json and (console := screen.console()) is not None:
            width = max(width, len("start"))
            before, after = screen.around(console, "dim")
            print(f"{before}{'start':>{width}}  {'end':>{width}}  name{after}")
        for name, start, end in _list(store, options.pattern):
            if options.json:
                print_json({"name": name, "start": start, "end": end})
            elif options.long:
                print(f"{before}{start:>{width}}  {end:>{width}}{after}  {printable(name)}")
            else:
                print(printable(name))
    return 0


def _list(store: PointerArray, pattern: str | None) -> Iterator[tuple[str, int, int]]:
    for name, (start, end) in store.pointers.items():
        if pattern is None or fnmatchcase(name, pattern):
            yield name, start, end


def _get(options: argparse.Namespace) -> int:
    if options.plot and options.json:
        return complain("JSON has no drawings: leave out --plot, or --json")
    if options.plot:
        import_extra("uniplot", screen.MISSING)  # before anything is done
    with opened(options) as store:
        array = store[options.name]
        start, end = store.pointers[options.name]
    saved = {} if options.out is None else _save(array, options.out)
    if options.json:
        told = {"name": options.name, "dtype": described(array.dtype), "shape": list(array.shape)}
        values = {} if saved else {"values": readable(as_list, array, options.name)}
        print_json({**told, **saved, **values, "start": start, "end": end})
        return 0
    where = f"saved as {' and '.join(saved.values())}" if saved else f"rows {start} to {end}"
    comma = "" if saved else ","
    print(printable(f"{options.name}: {array.dtype} {array.shape}{comma} {where}"))
    if options.plot:
        from ptrarray.cli.drawing import draw  # no other command waits for it

        n_columns, n_lines = shutil.get_terminal_size()
        draw(array, max(n_columns, _FEWEST_COLUMNS), min(max(n_lines - 6, 4), _MOST_LINES))
    elif not saved:
        print(readable(as_text, array, options.name))
    return 0


def _save(array: Any, out: Path) -> dict[str, str]:
    """Save an array as .npy file, which cannot hold a mask: that gets a file of its own."""
    from ptrarray.convert.export import save_npy  # no other command waits for it

    saved = {"out": str(out)}
    if isinstance(array, np.ma.MaskedArray):
        if out.exists() and not out.is_file():
            what = f"{out} is no file, beside which a file with the mask could be: name one"
            raise BadInputError(what, path=str(out), expected="a file")
        mask_out = out.with_name(f"{out.name.removesuffix('.npy')}.mask.npy")
        save_npy(np.ma.getmaskarray(array), mask_out)
        saved["mask_out"] = str(mask_out)
    save_npy(np.ma.getdata(array), out)
    return saved
