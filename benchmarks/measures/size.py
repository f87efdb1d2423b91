"""Room on the disk."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.engines import Engine
from benchmarks.measures import Figure, Measure
from benchmarks.system import disk_nbytes
from benchmarks.workloads import names_of


def size(engine: Engine, case: Case) -> tuple[float | None, ...]:
    """Return bytes on the disk that are neither rows nor names, a name."""
    source = case.stored(engine)
    name_nbytes = len(names_of(source.prefix, [0])[0])  # all names are as long
    beyond = disk_nbytes(case.store(engine)) - source.values.nbytes
    return (beyond / len(source) - name_nbytes,)


FIGURES = (Figure("size", "disk beyond rows and names", "B/name"),)

MEASURES = [Measure(FIGURES, (), size, rounds=1, fresh=True)]
