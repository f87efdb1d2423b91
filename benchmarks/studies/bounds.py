"""What ptrarray is held to, beside LMDB, without its core in C and with it.

The arrays are N tokens, for sums a fortieth as many utterances, then five times as many tokens, and
fifty times as many names: nothing may grow with them. Costs are medians, with the smallest and the
largest; ratios are those within a round.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.engines import AnyEngine, Engine, NotInstalledError, load
from benchmarks.harness.case import Case, discard
from benchmarks.harness.run import figures
from benchmarks.measures import chosen
from benchmarks.report import bounds
from benchmarks.report.results import Result

N = 200_000
REPEAT = 5
MOST_REPEAT = 2  # of the most names
ENGINES = ("floor", "ptrarray", "ptrarray_pure", "lmdb", "pyarrow")
WITH_NAMES = ("open", "append_alone", "lookup", "items", "take", "delete_each", "delete")


def study(folder: Path, n: int, repeat: int) -> Iterator[str]:
    """Measure three numbers of arrays."""
    engines = list(_loaded())
    keys = sorted(bounds.keys() - {"totals"})
    tokens = measured("tokens", n, keys, engines, folder, repeat)
    speech = measured("speech", max(n // 40, 1), ["totals"], engines, folder, repeat)
    yield from _lines([tokens, speech])
    yield from _lines([measured("tokens", 5 * n, keys, engines, folder, repeat)])
    named = [engine for engine in engines if engine.can(Engine.get)]
    fewer = min(repeat, MOST_REPEAT)
    yield from _lines([measured("names", 50 * n, list(WITH_NAMES), named, folder, fewer)])
    yield from (f"- {note}." for engine in engines if (note := engine.note("write")))


def _loaded() -> Iterator[AnyEngine]:
    for name in ENGINES:
        try:
            yield load(name)
        except NotInstalledError:
            continue


def measured(
    workload: str, n: int, keys: list[str], engines: list[AnyEngine], folder: Path, repeat: int
) -> Result:
    """Return some figures of some engines."""
    stores = folder / f"{workload}-{n}"
    stores.mkdir()
    case = Case(workload, n, stores)
    facts = {
        "workload": workload,
        "n_arrays": n,
        "versions": {engine.name: engine.version for engine in engines},
        "beside": "",
        "figures": figures(chosen(keys, workload), engines, case, repeat),
        "fewer": [],
    }
    case.close_readers()
    discard(stores)
    return Result(facts)


def _lines(results: list[Result]) -> Iterator[str]:
    """Yield a table under the number of arrays."""
    yield f"{results[0].workload}: {results[0].n_arrays:,} arrays"
    yield ""
    yield from bounds.table(results).splitlines()
    yield ""
