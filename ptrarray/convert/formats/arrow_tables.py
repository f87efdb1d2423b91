"""A store as batches of Arrow of bounded size, for files of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ptrarray.convert.formats.arrow_columns import VALUES
from ptrarray.convert.formats.arrow_values import import_pyarrow
from ptrarray.convert.report import Report
from ptrarray.errors import BadInputError
from ptrarray.progress import bar
from ptrarray.reader import PointerArray, meta_keys
from ptrarray.rows.copying import cut
from ptrarray.rows.portable import portable

_BATCH_NBYTES = 1 << 26
_ARRAY_NBYTES = 64  # about what an array needs beside its rows


class Table:
    """A store as a file of Arrow has it.

    Attributes
    ----------
    schema : pyarrow.Schema
        Columns ``name``, ``values`` and those of metadata.
    report : Report
        What is not kept.
    dtype : dtype
        Of all arrays.

    Raises
    ------
    BadInputError
        If the arrays are no column of Arrow, or would not come back as they are.
    """

    def __init__(self, store: PointerArray) -> None:
        self.report = Report()
        keys = self._kept(store)
        self._store, self._table = store, store.arrow(meta=keys)
        self.schema = import_pyarrow().schema(self._table)
        self._kind = self.schema.field(VALUES).type.value_type
        self._check(store)
        self.meta_paths = keys
        self.dtype = _dtype_of(store) if store.layout == "mixed" else store.dtype
        self._note(store)

    @property
    def unit(self) -> str:
        """Of moments and durations."""
        return np.datetime_data(portable(self.dtype))[0]

    def _kept(self, store: PointerArray) -> list[str]:
        """Return the keys of metadata that are columns."""
        kept = []
        for key in meta_keys(store):
            try:
                store.arrow(meta=[key])
            except BadInputError as error:
                self.report.notes.append(f"metadata {key!r:.80} is not kept: {error}")
            else:
                kept.append(key)
        return kept

    def _check(self, store: PointerArray) -> None:
        """Refuse rows of nothing, which Parquet is written with, and nobody can read."""
        kind, types = self._kind, import_pyarrow("pyarrow.types")
        while types.is_nested(kind):
            if types.is_fixed_size_list(kind) and not kind.list_size:
                raise BadInputError(
                    f"{store.path} has rows of no elements, which come back from such files as "
                    "something else, or not at all",
                    path=store.path,
                    found=0,
                    expected="rows with elements",
                )
            kind = kind.value_type

    def _note(self, store: PointerArray) -> None:
        notes, types = self.report.notes, import_pyarrow("pyarrow.types")
        if store.masked:
            notes.append("masked elements are null; fill values are not kept")
        if portable(self.dtype) != self.dtype:
            notes.append(
                f"{self.dtype} is kept as {portable(self.dtype)}, as Arrow has no such type"
            )
        if types.is_large_list(self._kind):
            notes.append(
                "arrays with shapes of their own are lists in lists: of those without rows only "
                "that is kept"
            )
        if portable(self.dtype).kind == "V":  # those of ml_dtypes are of this kind, too
            notes.append("bytes of numpy's kind V are fixed_size_binary, and come back as kind S")

    def put(self, write: Callable[[Any], object], progress: bool) -> Report:
        """Write all of it, batch by batch."""
        with bar(progress=progress, total=len(self._store), unit=" arrays") as shown:
            for batch in self._batches():
                write(batch)
                self.report.converted += batch.num_rows
                shown.update(batch.num_rows)
        return self.report

    def _batches(self) -> Iterator[Any]:
        reader = import_pyarrow().RecordBatchReader.from_stream(self._table)
        width = _width(self._kind)
        for batch in reader:
            lengths = np.diff(batch.column(VALUES).offsets.to_numpy())
            for low, high in cut(lengths * width + _ARRAY_NBYTES, _BATCH_NBYTES):
                yield batch.slice(low, high - low)


def _width(kind: Any) -> int:
    """Return how many bytes a row has; of lists of any length, a guess."""
    types = import_pyarrow("pyarrow.types")
    sizes: list[int] = []
    while types.is_nested(kind):
        sizes.append(kind.list_size if types.is_fixed_size_list(kind) else 64)
        kind = kind.value_type
    return math.prod(sizes) * max(int(kind.bit_width) // 8, 1)


def _dtype_of(store: PointerArray) -> np.dtype[Any]:
    return next((array.dtype for array in store.values()), np.dtype("f8"))
