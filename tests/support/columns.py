"""Columns of an index that were never in a file, for the native core and for its pure twin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from ptrarray import native
from ptrarray.format import index as index_format
from ptrarray.format import table
from ptrarray.format.index import IndexHeader
from ptrarray.format.names import ends_of, hash_all
from ptrarray.storage.store.index import FILE_NAME, Index
from tests.support.sanitized import in_a_block

Array = NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """What a finder is made of, each column in a block of its own."""

    slots: Array
    name_ends: Array
    names: Array
    starts: Array
    ends: Array
    n_homes: int

    @classmethod
    def of(cls, names: Sequence[bytes], lengths: Iterable[int] = ()) -> Columns:
        """Lay names out, and arrays of so many rows end to end, one where nothing is said."""
        hashes = np.array(hash_all(names), np.uint32)
        name_ends = np.array(ends_of(names), np.uint64)
        sizes = list(lengths) or [1] * len(names)
        ends = np.cumsum(sizes, dtype=np.uint64)
        return cls(
            slots=in_a_block(table.build(hashes).reshape(-1)),
            name_ends=in_a_block(name_ends),
            names=in_a_block(np.frombuffer(b"".join(names), np.uint8)),
            starts=in_a_block(ends - np.array(sizes, np.uint64)),
            ends=in_a_block(ends),
            n_homes=table.count_homes(len(names)),
        )

    def changed(self, column: str, at: int, value: Any) -> Columns:
        """Return the same with one number changed, wherever that is in a column."""
        if column == "n_homes":
            return replace(self, n_homes=int(value))
        content = getattr(self, column).copy()
        if len(content):
            mask = np.iinfo(content.dtype).max
            content[at % len(content)] = int(value) & int(mask)
        other: dict[str, Any] = {column: in_a_block(content)}
        return replace(self, **other)

    def finder(self, rows: Any = None, **other: Any) -> Any:
        """Return the core's finder, or None, of these columns or of others."""
        of = vars(self) | other
        columns = of["name_ends"], of["names"], of["starts"], of["ends"]
        assert native.core
        return native.core.finder(of["slots"], of["n_homes"], *columns, rows)

    def index(self, directory: Path) -> Index:
        """Write an index file of them, and open it by pure Python.

        Raises
        ------
        CorruptStoreError
            If they do not go together at all.
        """
        header = IndexHeader(
            generation=1,
            store_id=b"s" * 16,
            data_file="data.bin",
            dtype=np.dtype(np.int32),
            row_shape=(),
            n_arrays=len(self.starts),
            n_rows=0,
            n_reserved=0,
            n_homes=self.n_homes,
        )
        columns = {
            "start": self.starts,
            "end": self.ends,
            "name_end": self.name_ends,
            "names": self.names,
            "crc": np.zeros(len(self.starts), np.uint32),
            "slot": self.slots,
        }
        raw = {name: column.tobytes() for name, column in columns.items()}
        (directory / FILE_NAME).write_bytes(b"".join(index_format.encode(header, dict(raw))))
        with mock.patch.object(native, "core", None):
            index = Index(directory, backend="pread")
            assert index._finder is None
        return index
