"""What is measured: a module a store, each with a class that says what the store can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from benchmarks.harness.system import sync_files
from benchmarks.workloads import Array, Int64s, Layout, Source, concatenated, names_of

CLASSES = {
    "floor": "Floor",
    "ptrarray": "PtrArray",
    "ptrarray_pure": "Pure",
    "bigarray": "BigArray",
    "lmdb": "Lmdb",
    "mmap_ninja": "MmapNinja",
    "h5py": "H5py",
    "pyarrow": "PyArrow",
    "safetensors": "Safetensors",
    "joblib": "Joblib",
    "npz": "Npz",
    "zarr": "Zarr",
}
N_LOOKUPS = 100_000

Handle = TypeVar("Handle")  # a store being written
Store = TypeVar("Store")  # a store open for reading
Method = Callable[..., Any]


class NotInstalledError(Exception):
    """The library of an engine is not there to be measured."""


class Engine(ABC, Generic[Handle, Store]):
    """A store to be measured.

    A class has to define the four abstract methods, and `get` or `at`. Of the others it defines
    those for which its library has a sensible way; a measure that needs another one shows a dash
    in the tables. All that is returned is compared with the source.
    """

    name: str  # in tables; for a class, the name that `load` knows
    package = ""  # the distribution whose version is shown, if it is not numpy
    library_path: Path | None = None  # a folder to import the library from before all others
    environment: ClassVar[Mapping[str, str]] = {}  # variables of the processes that import it
    is_parallel = False  # several processes may `write` to one handle after a fork
    caps: ClassVar[Mapping[str, int]] = {}  # most arrays, by `Measure.kind` or "all"
    n_lookups = N_LOOKUPS  # fewer where 100,000 would take minutes
    notes: ClassVar[Mapping[str, str]] = {}  # words under the tables, by figure

    # Writing -----------------------------------------------------------------

    @abstractmethod
    def create(self, path: Path, source: Source) -> Handle:
        """Begin a store that will hold these arrays."""

    @abstractmethod
    def write(self, handle: Handle, part: Source) -> None:
        """Write all arrays, `part.batches` being what goes into one call."""

    def write_each(self, handle: Handle, part: Source) -> None:
        """Write one array a call."""
        raise NotImplementedError

    def write_ragged(self, handle: Handle, part: Source) -> None:
        """Write the arrays as one buffer with offsets."""
        raise NotImplementedError

    def finish(self, handle: Handle) -> None:
        """Do what is missing until other processes can read the store."""

    def sync(self, handle: Handle, path: Path) -> None:
        """Wait until everything is on the disk, and close."""
        sync_files(path)

    def close(self, handle: Handle) -> None:
        """Let go of the handle; not timed."""

    def complete(self, path: Path, source: Source) -> None:
        """Add what the engine does not write but reads; not timed."""

    def make(self, path: Path, source: Source) -> None:
        """Make a store to read from; not timed."""
        handle = self.create(path, source)
        self.write(handle, source)
        self.finish(handle)
        self.close(handle)

    def fill(
        self, path: Path, function: Callable[[Any], Array], tasks: dict[str, Any], n_processes: int
    ) -> None:
        """Write what a function returns for each task, float32 rows of 80, from processes."""
        raise NotImplementedError

    # Reading -----------------------------------------------------------------

    @abstractmethod
    def open(self, path: Path, layout: Layout) -> Store:
        """Open a store for reading."""

    def shut(self, store: Store) -> None:
        """Close a store that was opened for reading."""

    def get(self, store: Store, names: list[str]) -> list[Array]:
        """Return arrays by name."""
        raise NotImplementedError

    def at(self, store: Store, positions: list[int]) -> list[Array]:
        """Return arrays by position."""
        raise NotImplementedError

    @abstractmethod
    def walk(self, store: Store) -> Iterator[Array]:
        """Iterate over all arrays."""

    def items(self, store: Store) -> Iterable[tuple[str, Array]]:
        """Iterate over all names and arrays."""
        raise NotImplementedError

    def take(self, store: Store, keys: list[Any]) -> tuple[Array, Int64s]:
        """Return values and offsets of a batch of names; of positions without `get`."""
        return concatenated(self.find(store, keys))

    def slices(self, store: Store, starts: list[int], n_rows: int) -> list[Array]:
        """Return runs of rows of the flat array."""
        raise NotImplementedError

    def whole(self, store: Store, function: Method) -> Any:
        """Return `numpy.sum`, `numpy.mean` or `numpy.max` of everything."""
        raise NotImplementedError

    def whole_in_threads(self, store: Store, function: Method) -> Any:
        """Return the same, computed in a thread for each core."""
        raise NotImplementedError

    def each(self, store: Store) -> Array:
        """Return the sum of each array."""
        raise NotImplementedError

    def totals(self, store: Store) -> Array:
        """Return the sum of each array as one number, whatever its rows are."""
        raise NotImplementedError

    # Upkeep ------------------------------------------------------------------

    def append(self, path: Path, part: Source) -> None:
        """Add arrays to a store."""
        raise NotImplementedError

    def change(self, path: Path) -> Handle:
        """Open a store that is there to change it; not timed."""
        raise NotImplementedError

    def delete(self, handle: Handle, names: list[str]) -> None:
        """Remove arrays, all in one step."""
        raise NotImplementedError

    def delete_each(self, handle: Handle, names: list[str]) -> None:
        """Remove arrays one by one, each gone for others before the next."""
        raise NotImplementedError

    def compact(self, path: Path) -> None:
        """Give back the space that removed arrays took."""
        raise NotImplementedError

    def checkpoint(self, path: Path) -> None:
        """Fold a log into an index."""
        raise NotImplementedError

    def index_nbytes(self, path: Path) -> int:
        """Return the size of that index."""
        raise NotImplementedError

    def verify(self, path: Path) -> None:
        """Check everything."""
        raise NotImplementedError

    # What the harness asks of each -------------------------------------------

    def can(self, *methods: Method) -> bool:
        """Tell whether the class defines all of these methods: ``can(Engine.get)``."""
        return all(getattr(type(self), each.__name__) is not each for each in methods)

    def cap(self, kind: str) -> int | None:
        """Return the most arrays that a kind of measure is taken at."""
        return self.caps.get(kind, self.caps.get("all"))

    def note(self, figure: str) -> str:
        """Return what has to be said about a figure."""
        return self.notes.get(figure, "")

    @property
    def version(self) -> str:
        """Version of the library, if it has one of its own."""
        try:
            return version(self.package) if self.package else ""
        except PackageNotFoundError:
            return "unknown"

    def keys(self, source: Source, numbers: Iterable[int]) -> list[Any]:
        """Return what the engine finds arrays by: names, or positions if it has no names."""
        return names_of(source.prefix, numbers) if self.can(Engine.get) else list(numbers)

    def find(self, store: Store, keys: list[Any]) -> list[Array]:
        """Return arrays by their `keys`."""
        return self.get(store, keys) if self.can(Engine.get) else self.at(store, keys)

    @contextmanager
    def opened(self, path: Path, layout: Layout) -> Iterator[Store]:
        """Open a store for a moment."""
        store = self.open(path, layout)
        try:
            yield store
        finally:
            self.shut(store)


AnyEngine = Engine[Any, Any]


def load(name: str) -> AnyEngine:
    """Return an engine by name.

    Raises
    ------
    NotInstalledError
        If its library is not installed.
    """
    if name not in CLASSES:
        raise SystemExit(f"no engine {name!r}; there are {', '.join(CLASSES)}")
    try:
        engine: AnyEngine = getattr(import_module(f"{__name__}.{name}"), CLASSES[name])()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("benchmarks"):
            raise
        raise NotInstalledError(f"{name} is not installed ({error})") from error
    return engine
