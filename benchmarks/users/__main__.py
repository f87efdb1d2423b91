"""Do what users of other tools do, with their tool and with ptrarray, and compare.

Prints a table a user. The results of several runs become one page, and figures in the pages for
users.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from time import perf_counter

import ptrarray
from benchmarks.harness.system import commit, machine
from benchmarks.users import page

PACKAGES = {
    "pickles": ("pandas", "pyarrow", "joblib", "h5py"),
    "tar": (),
    "timelapse": ("mmappickle",),
    "bigarray": ("bigarray",),
    "joblib": ("joblib",),
}


def command_line() -> argparse.ArgumentParser:
    """Return what understands the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.users", description=__doc__)
    add = parser.add_argument
    add("--user", choices=page.USERS, help="only what this one does")
    add("--pages", type=Path, help="folder of pages for users, whose figures to renew")
    add_options(parser, "Series, outputs, frames, arrays or MiB")
    return parser


def add_options(parser: argparse.ArgumentParser, counted: str) -> None:
    """Add the options that say how a benchmark of questions runs, and where results go."""
    add = parser.add_argument
    add("--n", type=int, help=counted)
    add("--repeat", type=int, help="rounds")
    add("--folder", type=Path, help="where files are made: on a disk, not in memory")
    add("--out", type=Path, help="folder to keep the results in, for --markdown")
    add("--markdown", type=Path, help="file to write all results in the folder --out to")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = command_line().parse_args(arguments)
    users = [options.user] if options.user else page.USERS
    results = run(users, options, arguments)
    results = page.load(options.out) if options.out else results
    if options.pages:
        page.renew(options.pages, results)
    if options.markdown:
        options.markdown.write_text(page.page(results), encoding="utf-8")


def run(
    users: Iterable[str],
    options: argparse.Namespace,
    arguments: Sequence[str] | None,
    package: str = "benchmarks.users",
    packages: Mapping[str, Sequence[str]] = PACKAGES,
    kind: str = "user",
) -> list[page.Facts]:
    """Return what users find, each a module of a package; print it, and keep it if that was asked."""
    typed = shlex.join(
        ["python", "-m", package, *(sys.argv[1:] if arguments is None else arguments)]
    )
    results = []
    for user in users:
        facts = measured(user, options, package, packages) | {"command": typed}
        print(page.markdown(facts), end="\n\n", flush=True)
        results.append(facts)
        if options.out:
            page.save(facts, options.out, kind)
    return results


def measured(
    user: str,
    options: argparse.Namespace,
    package: str,
    packages: Mapping[str, Sequence[str]],
) -> page.Facts:
    """Return what a user finds, who is a module of a package."""
    try:
        module = import_module(f"{package}.{user}")
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}; try pip install '.[bench]'") from error
    n, repeat = options.n or module.N, options.repeat or module.REPEAT
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.folder) as folder:
        questions = module.questions(Path(folder), n)
        entries = [entry for question in questions for entry in question.entries(repeat)]
    versions = {name: metadata.version(name) for name in packages[user]}
    return {
        "user": user,
        "words": page.words_of(Path(str(module.__file__))),
        "commit": commit(),
        "machine": machine(),
        "versions": {"ptrarray": ptrarray.__version__} | versions,
        "n": n,
        "repeat": repeat,
        "entries": entries,
        "minutes": (perf_counter() - began) / 60,
    }


if __name__ == "__main__":
    main()
