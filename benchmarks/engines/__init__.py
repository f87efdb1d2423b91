"""One module a peer, each with whatever of the following the peer can do.

A measure asks for functions by name, and a peer without one shows a dash in
the tables. What a function returns is compared with the source.

===================================  ==========================================================
`PACKAGE`                            distribution whose version is told, if not numpy
`CAPS`                               most arrays, by `Measure.kind` or ``"all"``
`N_LOOKUPS`                          how many lookups, where 100,000 would take minutes
`NOTES`                              words under the table, by figure
``make(path, source)``               make a store to read from; not timed
``create(path, source)``             begin a store, return a handle
``write(handle, part)``              write all arrays, `BATCH` names a call
``write_each(handle, part)``         write one array a call
``write_ragged(handle, part)``       write the arrays as one buffer with offsets
``finish(handle)``                   what is missing until other processes can read it
``sync(handle)``                     wait until it is on the disk, close; else all files are synced
``close(handle)``                    let go, not timed
``complete(path, source)``           what the peer does not write but reads, not timed
`PARALLEL`                           several processes may ``write`` to one handle after a fork
``fill(path, function, tasks, n)``   write what a function gives, from ``n`` processes
``open(path, layout)``               open for reading
``shut(store)``                      close it
``get(store, names)``                list of arrays by name; a peer without names has only ``at``
``at(store, positions)``             list of arrays by position
``walk(store)``                      iterate over all arrays
``slices(store, starts, n_rows)``    list of runs of rows of the flat array
``take(store, names)``               values and offsets of a batch; positions without names
``whole(store, function)``           `numpy.sum`, `numpy.mean` or `numpy.max` of everything
``whole_in_threads(…)``              the same in a thread for each core
``each(store)``                      sum of each array
``append(path, part)``               add arrays to a store
``delete(path, names)``              remove arrays
``compact(path)``                    give back the room they took
``checkpoint(path)``                 fold a log into an index
``index_nbytes(path)``               size of that index
``verify(path)``                     check everything
===================================  ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

NAMES = (
    "floor",
    "ptrarray",
    "bigarray",
    "lmdb",
    "mmap_ninja",
    "h5py",
    "pyarrow",
    "safetensors",
    "joblib",
    "npz",
    "zarr",
)


N_LOOKUPS = 100_000


class NotInstalledError(Exception):
    """A peer is not there to be measured."""


@dataclass(frozen=True)
class Engine:
    """A peer: its name, and what it can do as functions."""

    name: str
    module: ModuleType

    def __getattr__(self, function: str) -> Any:
        return getattr(self.module, function)

    def can(self, *functions: str) -> bool:
        """Tell whether the peer has all of these functions."""
        return all(hasattr(self.module, function) for function in functions)

    def cap(self, kind: str) -> int | None:
        """Return the most arrays that a kind of measure is taken at."""
        caps: dict[str, int] = getattr(self.module, "CAPS", {})
        return caps.get(kind, caps.get("all"))

    @property
    def n_lookups(self) -> int:
        """Return how many arrays are looked up."""
        return int(getattr(self.module, "N_LOOKUPS", N_LOOKUPS))

    def note(self, figure: str) -> str:
        """Return what has to be said beside this figure."""
        return str(getattr(self.module, "NOTES", {}).get(figure, ""))

    @property
    def version(self) -> str:
        """Version of the package, if it has one of its own."""
        if not hasattr(self.module, "PACKAGE"):
            return ""
        try:
            return version(self.module.PACKAGE)
        except PackageNotFoundError:
            return "unknown"


def load(name: str) -> Engine:
    """Return a peer by name.

    Raises
    ------
    NotInstalledError
        If its package is not installed.
    """
    if name not in NAMES:
        raise SystemExit(f"no peer {name!r}; there are {', '.join(NAMES)}")
    try:
        return Engine(name, import_module(f"{__name__}.{name}"))
    except ModuleNotFoundError as error:
        if str(error.name).startswith("benchmarks"):
            raise
        raise NotInstalledError(f"{name} is not installed ({error})") from error
