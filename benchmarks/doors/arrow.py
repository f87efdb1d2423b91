"""Lists of Arrow: a table in memory, Parquet, IPC, and a folder of `datasets`.

The library makes arrays of a batch by ``to_numpy``, which takes a fraction of the time that it takes one by one, and
writes each. N is the number of small arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.doors.passage import Corpus, both, door
from benchmarks.users.asking import Question
from ptrarray import convert

N = 100_000
REPEAT = 5
BATCH_ROWS = 1000  # as `datasets` has them


def table_of(corpus: Corpus) -> pa.Table:
    """Return names and lists, in batches."""
    lists = pa.ListArray.from_arrays(pa.array(corpus.offsets, pa.int32()), pa.array(corpus.values))
    table = pa.table({"name": pa.array(corpus.names), "values": lists})
    return pa.Table.from_batches(table.to_batches(BATCH_ROWS))


def write_each(file: BinaryIO, columns: Iterable[Any]) -> None:
    """Write each array of columns of lists."""
    for column in columns:
        file.writelines(column.to_numpy(zero_copy_only=False))


def of_table(table: pa.Table, file: BinaryIO) -> None:
    """Write each array of a table."""
    write_each(file, table["values"].chunks)


def of_parquet(path: Path, file: BinaryIO) -> None:
    """Write each array of a Parquet file, batch by batch."""
    with pq.ParquetFile(path) as source:
        write_each(file, (batch["values"] for batch in source.iter_batches()))


def of_ipc(path: Path, file: BinaryIO) -> None:
    """Write each array of a mapped file of Arrow."""
    with pa.memory_map(str(path)) as mapped:
        source = pa.ipc.open_file(mapped)
        found = (source.get_batch(at)["values"] for at in range(source.num_record_batches))
        write_each(file, found)


def of_datasets(path: Path, file: BinaryIO) -> None:
    """Write each array of a folder."""
    rows = datasets.load_from_disk(str(path)).with_format("arrow")
    for table in rows.iter(BATCH_ROWS):
        of_table(table, file)


def files(folder: Path, table: pa.Table) -> dict[str, Path]:
    """Write a table in each format."""
    paths = {kind: folder / f"a.{kind}" for kind in ("parquet", "arrow", "datasets")}
    pq.write_table(table, paths["parquet"])
    with pa.ipc.new_file(str(paths["arrow"]), table.schema) as writer:
        writer.write_table(table)
    datasets.disable_progress_bars()
    datasets.Dataset(table).save_to_disk(str(paths["datasets"]))
    return paths


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Read small ones, then large ones."""
    columns: dict[str, Any] = {"names": "name", "values": "values", "processes": 1}
    columns["progress"] = False
    for number, corpus in enumerate(both(n)):
        own = folder / str(number)
        own.mkdir()
        table = table_of(corpus)
        paths = files(own, table)
        ways: list[tuple[str, Any, Any, Any]] = [
            ("a table in memory", convert.from_arrow, table, of_table),
            ("Parquet", convert.from_parquet, paths["parquet"], of_parquet),
            ("IPC", convert.from_arrow, paths["arrow"], of_ipc),
            ("a folder of datasets", convert.from_datasets, paths["datasets"], of_datasets),
        ]
        for words, convert_, source, read in ways:
            ours = partial(convert_, source, **columns)
            yield door(f"{corpus.words}: {words}", folder, ours, partial(read, source))
