"""Arrays with names in pyarrow, polars, DuckDB and awkward: a store beside lists of arrays, and a Parquet file.

The store is opened anew each time, which is not counted, as nothing is of making lists of arrays and the
file; values have to be at the address of the store's rows. N is the number of arrays in Arrow, of 100
float32 on average; awkward has five times as many, of 20.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import ptrarray
from benchmarks.bridges.limits import at_most
from benchmarks.harness.case import expect
from benchmarks.harness.processes import in_fresh
from benchmarks.harness.system import anonymous_kib
from benchmarks.users.asking import CPU, Question, processor_seconds

N = 200_000
REPEAT = 5
ROWS, AWKWARD_ROWS, AWKWARD_TIMES = 100, 20, 5
IN_ARROW_MS, AWKWARD_MS, NBYTES = 30, 2, 20
SEED = 1

Answer = tuple[int, int]  # arrays, and rows of all
Arrays = dict[str, Any]


def written(path: Path, n: int, mean_rows: int) -> Path:
    """Write n arrays of random lengths."""
    rng = np.random.default_rng(SEED)
    lengths = np.maximum(rng.lognormal(0, 0.5, n) * mean_rows / 1.133, 1).astype(int)
    offsets = np.append(0, np.cumsum(lengths))
    names = [f"recording{number:07}" for number in range(n)]
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write_ragged(names, rng.random(offsets[-1], "f4"), offsets)
    ptrarray.checkpoint(path)
    return path


def address(store: ptrarray.PointerArray) -> int:
    """Return where the rows are mapped."""
    found: int = store.rows.__array_interface__["data"][0]
    return found


# what each library makes of a store, and of what people have today: their answer is what is compared ---------


def in_pyarrow(store: ptrarray.PointerArray) -> Any:
    """Make a table."""
    return pa.table(store)


def in_polars(store: ptrarray.PointerArray) -> Any:
    """Make a frame."""
    return pl.DataFrame(store.arrow())


def in_duckdb(store: Any) -> Any:
    """Ask a store, or a table, for what needs names and lengths."""
    return duckdb.execute("SELECT count(name), sum(len(values)) FROM store").fetchall()[0]


def listed_in_pyarrow(arrays: Arrays) -> Any:
    """Make a table of a list of arrays."""
    return pa.table({"name": list(arrays), "values": pa.array(list(arrays.values()))})


def listed_in_polars(arrays: Arrays) -> Any:
    """Make a frame of a list of arrays."""
    return pl.DataFrame({"name": list(arrays), "values": list(arrays.values())})


def listed_in_duckdb(arrays: Arrays) -> Any:
    """Ask the same of a table of a list of arrays, as DuckDB takes no list."""
    return in_duckdb(listed_in_pyarrow(arrays))


MAKERS = {"pyarrow": in_pyarrow, "polars": in_polars, "DuckDB": in_duckdb}
PEERS = {
    "pyarrow": ("pa.array of a list of arrays", listed_in_pyarrow),
    "polars": ("pl.DataFrame of a list of arrays", listed_in_polars),
    "DuckDB": ("a table of pyarrow of a list of arrays", listed_in_duckdb),
}


def answer(made: Any) -> Answer:
    """Return how many arrays and rows there are."""
    if isinstance(made, pl.DataFrame):
        made = made.to_arrow()
    if isinstance(made, pa.Table):
        return made.num_rows, sum(len(chunk.flatten()) for chunk in made["values"].chunks)
    if isinstance(made, ak.Array):
        return len(made), int(ak.sum(ak.num(made, axis=1)))
    return int(made[0]), int(made[1])


def values_at(made: Any) -> int | None:
    """Return where the values lie; None where that cannot be seen."""
    if isinstance(made, pl.DataFrame):
        made = made.to_arrow()
    if isinstance(made, pa.Table):
        found: int = made["values"].chunk(0).values.buffers()[1].address
        return found
    if isinstance(made, ak.Array):
        return int(made.layout.content.data.__array_interface__["data"][0])
    return None


def cost(make: Callable[[], Any], wanted: Answer) -> tuple[float, Any]:
    """Return the milliseconds of the processor that it takes, and what was made."""
    gc.collect()
    began = processor_seconds()
    made = make()
    taken = (processor_seconds() - began) * 1e3
    expect(answer(made) == wanted, "what was made of the arrays")
    return taken, made


def ours(make: Callable[[ptrarray.PointerArray], Any], path: Path, wanted: Answer) -> float:
    """Return what it takes to make something of a store that was just opened, on its memory."""
    with ptrarray.open(path) as store:
        taken, made = cost(partial(make, store), wanted)
        expect(values_at(made) in (None, address(store)), "the address of the values")
    return taken


def theirs(make: Callable[[Any], Any], source: Any, wanted: Answer) -> float:
    """Return what it takes to make it of something else."""
    return cost(partial(make, source), wanted)[0]


# memory of its own ----------------------------------------------------------------------------------


def holding(library: str, path: str, small: str) -> Iterator[dict[str, Any]]:
    """Tell by how much the memory of a process grows, file pages left out."""
    make = MAKERS[library]
    warm = ptrarray.open(small)
    kept: list[Any] = [make(warm)]
    store = ptrarray.open(path)
    gc.collect()
    before = anonymous_kib()
    kept.append(make(store))
    gc.collect()
    yield {"nbytes": (anonymous_kib() - before) * 1024}


def nbytes_each(library: str, path: Path, small: Path, n: int) -> float:
    """Return the bytes an array that something has beside the mapping."""
    found: float = in_fresh(None, holding, library, str(path), str(small))["nbytes"]
    return max(found, 0) / n


# questions ------------------------------------------------------------------------------------------


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Make tables, then arrays of awkward."""
    path, small = (written(folder / f"{size}.ptr", size, ROWS) for size in (n, 1_000 + n // 50))
    with ptrarray.open(path) as store:
        wanted = n, int(store.lengths.sum())
        arrays = {name: array.copy() for name, array in store.items()}
    for library, make in MAKERS.items():
        words, peer = PEERS[library]
        title = f"{n:,} arrays with names in {library}"
        yield at_most(
            title,
            IN_ARROW_MS,
            CPU,
            partial(ours, make, path, wanted),
            {words: partial(theirs, peer, arrays, wanted)},
            warms_up=True,
        )
        memory = partial(nbytes_each, library, path, small, n)
        words = f"{title}: memory of its own"
        yield at_most(words, NBYTES, "bytes an array", memory)
    del arrays
    yield in_awkward(folder, n * AWKWARD_TIMES)


def in_awkward(folder: Path, n: int) -> Question:
    """Make an array of awkward, beside a list of arrays and a Parquet file."""
    path, file = written(folder / "awkward.ptr", n, AWKWARD_ROWS), folder / "a.parquet"
    with ptrarray.open(path) as store:
        wanted = n, int(store.lengths.sum())
        lists = [array.tolist() for array in store.values()]
        pq.write_table(pa.table(store.arrow(names=False)), file)
    return at_most(
        f"{n:,} arrays in awkward",
        AWKWARD_MS,
        CPU,
        partial(ours, ptrarray.PointerArray.awkward, path, wanted),
        {
            "ak.from_iter of lists": partial(theirs, ak.from_iter, lists, wanted),
            "ak.from_parquet": partial(theirs, parquet, file, wanted),
        },
        warms_up=True,
    )


def parquet(file: Path) -> Any:
    """Read a column."""
    return ak.from_parquet(file)["values"]
