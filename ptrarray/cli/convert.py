"""The commands ``import`` and ``export``: arguments and printing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptrarray.cli.elsewhere import place
from ptrarray.cli.kinds import EXPORTS, IMPORTS, Choice, KindOfFile, row_shape
from ptrarray.cli.printing import complain, in_options, print_json, printable
from ptrarray.errors import BadInputError

if TYPE_CHECKING:
    from ptrarray.convert import Report

_SHOWN_FAILURES = 20


def add_commands(commands: Any, on_store: Any, printing: Any) -> None:
    """Add ``import`` and ``export`` to the parser."""
    text = "write what files of others hold into a store; run again, it does what is missing"
    kinds = commands.add_parser("import", help=text, description=text).add_subparsers(
        metavar="KIND", required=True
    )
    for kind, known in IMPORTS.items():
        _add_import(kinds, kind, known, printing)
    about = "a PointerArray or MmapArray of bigarray"
    text = f"import {about}"
    old = kinds.add_parser("bigarray", help=about, description=text, parents=[printing])
    old.add_argument("old", metavar="OLD", type=Path, help="bigarray's file")
    old.add_argument("store", metavar="NEW", type=place, help="the new store")
    old.set_defaults(run=_import_bigarray)
    text = "write the arrays of a store into files of others"
    out = commands.add_parser(
        "export",
        help=text,
        description=text,
        parents=[on_store, printing],
        epilog="\n".join(["kinds:", *(f"  {k:12} {known.about}" for k, known in EXPORTS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument(
        "--to", required=True, choices=[*EXPORTS], metavar="KIND", help="what to write: see below"
    )
    text = "file or folder, not there yet; none for megatron"
    out.add_argument("out", metavar="OUT", type=Path, nargs="?", help=text)
    for choice, kind_names in _of_exports().values():
        text = f"{', '.join(kind_names)}: {choice.text}"
        out.add_argument(choice.flag, help=text, **choice.settings)
    out.set_defaults(run=_export)


def _of_exports() -> dict[str, tuple[Choice, list[str]]]:
    """Return what can be said of any kind, and the kinds that it can be said of."""
    flags: dict[str, tuple[Choice, list[str]]] = {}
    for kind, known in EXPORTS.items():
        for choice in known.choices:
            flags.setdefault(choice.flag, (choice, []))[1].append(kind)
    return flags


def _add_import(kinds: Any, kind: str, known: KindOfFile, printing: Any) -> None:
    text = f"import {known.about}"
    add = kinds.add_parser(
        kind, help=known.about, description=text, parents=[printing]
    ).add_argument
    add("sources", metavar="SOURCE", nargs="+", help="file, folder or pattern")
    add("store", metavar="STORE", type=place, help="the store; created if it is not there")
    add("--name", metavar="TEMPLATE", help="of the names, as '{stem}', '{parent}/{stem}', '{key}'")
    add("--processes", type=int, metavar="N", help="number of worker processes")
    add("--dtype", help="one dtype for all arrays; by default each keeps its own")
    add("--row-shape", type=row_shape, default=(), metavar="N,N", help="of rows, or 'any'")
    add("--masked", action="store_true", default=None, help="the store keeps masks")
    add("--shard-size", metavar="SIZE", help="split the store into shards of about that, as 200MB")
    add("--no-resume", action="store_true", help="names that are there are failures")
    add("--verify", action="store_true", help="compare the files with the store afterwards")
    for choice in known.choices:
        add(choice.flag, help=choice.text, **choice.settings)
    kinds.choices[kind].set_defaults(run=_import, kind=kind)


def _function(name: str) -> Any:
    from ptrarray import convert  # no other command waits for it

    return getattr(convert, name)


def _import(options: argparse.Namespace) -> int:
    given: dict[str, Any] = {
        "name": options.name,
        "processes": options.processes,
        "dtype": options.dtype,
        "row_shape": options.row_shape,
        "shard_size": options.shard_size,
        "resume": not options.no_resume,
        "verify": options.verify,
        "progress": sys.stderr.isatty() and not options.json,
    }
    if options.masked is not None:
        given["masked"] = options.masked
    for choice in IMPORTS[options.kind].choices:
        given |= choice.given(options)
    function = _function(f"from_{options.kind}")
    return _tell(function(options.sources, options.store, **given), options.store, options)


def _import_bigarray(options: argparse.Namespace) -> int:
    progress = sys.stderr.isatty() and not options.json
    report = _function("from_bigarray")(options.old, options.store, progress=progress)
    return _tell(report, options.store, options)


def _export(options: argparse.Namespace) -> int:
    if options.out is None and not EXPORTS[options.to].is_beside:
        raise BadInputError(f"OUT is missing: the file or folder for --to {options.to}")
    given: dict[str, Any] = {"progress": sys.stderr.isatty() and not options.json}
    for choice, kinds in _of_exports().values():
        said = choice.given(options)
        if said and options.to not in kinds:
            raise BadInputError(f"{choice.flag} is for {', '.join(kinds)}, not for {options.to}")
        given |= said
    report = _function(f"to_{options.to}")(options.store, options.out, **given)
    return _tell(report, options.out or options.store, options)


def _tell(report: Report, target: Path, options: argparse.Namespace) -> int:
    if options.json:
        facts = {key: getattr(report, key) for key in ("converted", "skipped", "removed", "notes")}
        failures = [
            {"source": source, "problem": in_options(problem)}
            for source, problem in report.failures
        ]
        print_json({"path": str(target), **facts, "failures": failures})
        return 0 if report.ok else 1
    for source, problem in report.failures[:_SHOWN_FAILURES]:
        complain(f"{source}: {problem}")
    if len(report.failures) > _SHOWN_FAILURES:
        complain(f"and {len(report.failures) - _SHOWN_FAILURES:,} more, which --json lists")
    for note in report.notes:
        print(printable(f"note: {in_options(note)}"))
    print(printable(f"{target}: {report}"))
    return 0 if report.ok else 1
