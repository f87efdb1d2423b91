"""Space on the disk."""

from __future__ import annotations

from benchmarks.engines import AnyEngine
from benchmarks.harness.case import Case
from benchmarks.harness.measure import Figure, one
from benchmarks.harness.system import disk_nbytes
from benchmarks.workloads import names_of


def size(engine: AnyEngine, case: Case) -> float:
    """Return bytes on the disk that are neither rows nor names, a name."""
    source = case.stored(engine)
    name_nbytes = len(names_of(source.prefix, [0])[0])  # all names are as long
    beyond = disk_nbytes(case.store(engine)) - source.values.nbytes
    return beyond / len(source) - name_nbytes


FIGURE = Figure("size", "disk beyond rows and names", "B/name")
MEASURES = [one(FIGURE, (), size, rounds=1, is_fresh=True)]
