"""An index written block by block is the one that is written at once."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.errors import CorruptStoreError
from ptrarray.format import index as index_format
from ptrarray.format import table
from ptrarray.format.entries import Entries, Entry, RaggedColumn
from ptrarray.format.index import IndexHeader
from ptrarray.format.layouts import Layout
from ptrarray.storage.lifecycle.create import new_header
from ptrarray.storage.store import blocks
from ptrarray.storage.store.blocks import Contents, Sizes
from ptrarray.storage.store.index import FILE_NAME, Index, column_bytes, write_index
from tests.support.colliding import COLLIDING
from tests.support.entries import ROWS, table_of

HASHES = st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1]))
LAYOUT = Layout("rows", np.dtype("f4"), (), False)


def parts_of(entries: Entries, size: int) -> list[Entries]:
    return [entries.part(slice(at, at + size)) for at in range(0, entries.n_names, size)]


@given(HASHES, st.integers(1, 9), st.integers(1, 4))
def test_a_name_table_in_parts(hashes: list[int], part: int, n_runs: int) -> None:
    """Whatever the parts, also where many names overflow from one into the next."""
    column = np.array(hashes, np.uint32)
    keys = table.keys_of(column, np.arange(len(column)))
    runs = [table.SortedRun(np.sort(keys[at::n_runs])) for at in range(n_runs)]
    with patch.object(table, "_PART_NAMES", part):
        found = np.concatenate(list(table.in_parts(runs, len(column))))
    assert found.tolist() == table.build(column).tolist()


def header() -> IndexHeader:
    return new_header(LAYOUT, 9, {})


def columns_of(directory: Path) -> dict[str, bytes]:
    index = Index(directory)
    index.check()
    return {name: index.column(name).tobytes() for name in index.columns}


@given(ROWS, st.integers(1, 5), st.sampled_from([1, 40, 300, 1 << 20]), st.booleans())
def test_an_index_in_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Entry],
    size: int,
    pending: int,
    hashed: bool,
) -> None:
    """Block by block, also where the keys of the name table do not fit in memory."""
    directory = tmp_path_factory.mktemp("blocks")
    entries = table_of(rows) if rows else Entries.of()
    some = parts_of(entries, size)
    sizes = Sizes.of(entries)
    with (
        patch.object(blocks, "_PENDING_NBYTES", pending),
        patch.object(table, "_PART_NAMES", 2),
        patch.object(blocks, "_SHARE_KEYS", 4),  # so that several are sorted at the same time
        patch.object(blocks, "count_cores", lambda: 3),
    ):
        if hashed:
            contents = Contents.hashed(sizes, some, directory, memory=pending)
        else:
            contents = Contents(sizes, some, [table.build(entries.hashes)])
        write_index(directory, header(), contents)
    _, expected = column_bytes(header(), entries)
    assert columns_of(directory) == {name: bytes(raw) for name, raw in expected.items()}
    assert [path.name for path in directory.iterdir()] == [FILE_NAME]
    assert Index(directory).header.n_arrays == len(rows)


def test_a_small_index_is_written_by_one_call(tmp_path: Path) -> None:
    """As it would be encoded at once, but that the name table comes last."""
    entries = Entries.of([b"a", b"b"], [0, 1], [1, 2])
    write_index(tmp_path, header(), entries)
    found = (tmp_path / FILE_NAME).read_bytes()
    read, _ = index_format.decode(found, "")
    assert found == b"".join(map(bytes, index_format.encode(read, column_bytes(read, entries)[1])))


def test_blocks_that_are_not_what_was_announced(tmp_path: Path) -> None:
    """Nothing gets its place then."""
    entries = Entries.of([b"a", b"b"], [0, 1], [1, 2])
    write_index(tmp_path, header(), entries)
    before = columns_of(tmp_path)
    short = Contents(Sizes.of(entries), parts_of(entries, 1)[:1], [table.build(entries.hashes)])
    with pytest.raises(CorruptStoreError, match="comes from is damaged"):
        write_index(tmp_path, header(), short)
    assert columns_of(tmp_path) == before


def test_names_of_one_hash_over_parts(tmp_path: Path) -> None:
    names = [name.encode() for name in COLLIDING]
    entries = Entries.of(names, np.arange(8), np.arange(8))
    with patch.object(table, "_PART_NAMES", 1):
        contents = Contents.hashed(Sizes.of(entries), parts_of(entries, 3), tmp_path, memory=64)
        write_index(tmp_path, header(), contents)
    index = Index(tmp_path)
    assert [index.find(name) for name in names] == list(range(8))
    assert isinstance(index.names, RaggedColumn)
