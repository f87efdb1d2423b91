"""A store compacted block by block is what it is when all is done at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.format.entries import Entries, Entry
from ptrarray.format.layouts import Kind, Layout
from ptrarray.storage.lifecycle import compaction, masks
from ptrarray.storage.lifecycle.compaction import living_runs, moved_columns, runs_of
from ptrarray.storage.lifecycle.create import new_header
from ptrarray.storage.lifecycle.masks import PackedMasks
from ptrarray.storage.store import merging
from ptrarray.storage.store.index import Index, write_index
from ptrarray.storage.store.merging import blocks_of, contents_like
from ptrarray.storage.system.files import File
from tests.support.disk import materialise, read_tree
from tests.support.entries import table_of
from tests.support.folding import columns_of, tiny
from tests.support.story import hidden, look

POINTERS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 90), st.booleans()), max_size=12)


def index_of(directory: Path, layout: Layout, pointers: Sequence[tuple[int, int, bool]]) -> Index:
    """Return an index of arrays, some of them empty, in data order."""
    rows = [
        Entry(b"%d" % at, start, start + n_rows * is_full, at)
        for at, (start, n_rows, is_full) in enumerate(sorted(pointers))
    ]
    entries = table_of(rows) if rows else Entries.of()
    write_index(directory, new_header(layout, 400, {}), entries)
    return Index(directory)


@given(POINTERS, st.sampled_from(["rows", "mixed"]), st.integers(1, 4), st.sampled_from([1, 200]))
def test_where_arrays_are_moved_to(
    tmp_path_factory: pytest.TempPathFactory,
    pointers: list[tuple[int, int, bool]],
    kind: Kind,
    part: int,
    limit: int,
) -> None:
    directory = tmp_path_factory.mktemp("moved")
    layout = Layout(kind, np.dtype("u1"), (), False)
    index = index_of(directory, layout, pointers)
    columns = index.entries()
    runs = living_runs(layout, columns.starts, columns.ends)
    with tiny(limit, part):
        found = [np.concatenate(some) for some in zip(*runs_of(index, layout), strict=True)]
        assert [some.tolist() for some in found or [np.empty(0)] * 2] == [r.tolist() for r in runs]
        move = compaction._Move(runs_of(index, layout))
        write_index(directory, index.header, contents_like(index, move))
    expected = directory / "at once"
    expected.mkdir()
    write_index(expected, index.header, moved_columns(columns, runs))
    assert columns_of(Index(directory)) == columns_of(Index(expected))


ARRAYS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), min_size=1, max_size=8
)


@given(
    ARRAYS, st.sampled_from([{"dtype": None}, {"dtype": "f4"}, {"row_shape": None, "dtype": "i2"}])
)
def test_masks_and_holes(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: list[tuple[int, int, bool]],
    kind: dict[str, Any],
) -> None:
    """Of arrays that share rows, are replaced and deleted; compacted twice."""
    path = tmp_path_factory.mktemp("masks") / "a.ptr"
    with ptrarray.create(path, masked=True, **kind) as writer:
        for at, (name, n_rows, is_hidden) in enumerate(arrays):
            array = hidden((n_rows,), at) if is_hidden and n_rows else np.arange(n_rows)
            writer.write({f"{name}": array.astype(kind["dtype"] or array.dtype)}, overwrite=True)
            if at % 3 == 1:
                writer.rename(f"{name}", f"r{at}")
    before = look(path)
    for memory in ("64MB", 1):
        with tiny(200, 3):
            ptrarray.compact(path, memory=memory)
        ptrarray.verify(path)
        assert look(path) == before
        with ptrarray.open(path) as store:
            at_once = living_runs(store._opened.layout, store.starts, store.ends)
            assert int(np.sum(at_once[1] - at_once[0])) == len(store.rows)


@given(POINTERS, st.integers(1, 4))
def test_masks_block_by_block(
    tmp_path_factory: pytest.TempPathFactory, pointers: list[tuple[int, int, bool]], part: int
) -> None:
    """Masks go where they go when all arrays are one block, and arrays share them as they did."""
    layout = Layout("mixed", np.dtype("u1"), (), True)
    index = index_of(tmp_path_factory.mktemp("packed"), layout, pointers)
    mask = np.random.default_rng(len(pointers)).integers(0, 2, 500).astype(np.uint8)
    mask[100:300] = 0
    whole = [index.entries()]
    at_once = PackedMasks(layout, lambda: whole, mask, "")
    with tiny(64, part):
        found = PackedMasks(layout, lambda: blocks_of(index), mask, "")
        assert (found.nbytes, found.infos_nbytes) == (at_once.nbytes, at_once.infos_nbytes)
        assert b"".join(found.pieces()) == b"".join(at_once.pieces())
        packed = [masks._infos(block) for block in map(found.packing(), blocks_of(index))]
    assert [info for some in packed for info in some] == masks._infos(at_once.packing()(*whole))


@pytest.mark.parametrize("what", [ptrarray.checkpoint, ptrarray.compact])
@pytest.mark.parametrize("call", ["pwrite", "pwritev"])
def test_a_disk_that_gets_full_in_some_round(
    what: Callable[..., None], call: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is as before, or has its new index; of what could not be written nothing is left."""
    writer = ptrarray.create(path, dtype="u1")
    for n in range(6):
        writer.write({f"{n}/{k}": [n] for k in range(5)})
    writer._store().release()  # type: ignore[attr-defined]
    tree, write = read_tree(path), getattr(File, call)
    monkeypatch.setattr(merging, "_CHANGE_NBYTES", 1 << 20)  # a round for each record
    n_left, n_failed = 0, 0

    def failing(*arguments: Any) -> None:
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise OSError(ENOSPC, "no space left")
        write(*arguments)

    for n_whole in range(50):
        shutil.rmtree(path)
        materialise(tree, path)
        n_left = n_whole
        with monkeypatch.context() as patch, suppress(OSError):
            patch.setattr(File, call, failing)
            what(path, memory=1)
        if n_left >= 0:
            break
        n_failed += 1
        with ptrarray.open(path) as store:
            assert store["5/4"].tolist() == [5]
            store.verify()
        is_new = read_tree(path)["index.msgpack"] != tree["index.msgpack"]
        assert len(read_tree(path)) == len(tree) + (is_new and what is ptrarray.compact)
    assert 0 < n_failed < 49
