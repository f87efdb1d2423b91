"""Repair in bounded memory finds, keeps and leaves out what looking at each array does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ptrarray
from ptrarray import CorruptStoreError
from ptrarray.errors import Damage
from ptrarray.format.entries import RaggedColumn
from ptrarray.storage.lifecycle import salvage
from ptrarray.storage.store.index import Index
from ptrarray.storage.writing import session
from tests.support import forging
from tests.support.any_layout import KINDS, array_of, use_small_blocks
from tests.support.colliding import COLLIDING
from tests.support.damage import DATA, INDEX, JOURNAL
from tests.support.salvaging import wanted

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Any:
    """Have all that is done in blocks done in several."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_blocks(patch)
        patch.setattr(session, "_CHECKPOINT_PART", 1e-9)  # closing leaves the journal
        yield


NAMES = [*"abcdefgh", *COLLIDING]
CHANGE = st.tuples(
    st.sampled_from(["write", "write", "write", "delete", "point", "checkpoint"]),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True),
    st.integers(0, 9),
)


def written(path: Path, kind: str, changes: list[tuple[str, list[str], int]]) -> None:
    """Make a store of one kind, with all that journals have."""
    with ptrarray.create(path, **KINDS[kind]) as writer:
        writer.write({f"first {n}": array_of(kind, n) for n in range(9)})
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    seeds = itertools.count()
    for change, names, seed in changes:
        if change == "write":
            arrays = {name: array_of(kind, seed + next(seeds)) for name in names}
            meta = {names[0]: {"seed": seed}} if seed % 2 else None
            writer.write(arrays, overwrite=True, meta=meta)
        elif change == "delete":
            writer.delete([name for name in names if name in writer])
        elif change == "point":
            there = list(writer)[seed % len(writer)]
            if names[0] not in writer:
                writer.point(names[0], *writer.pointers[there])
        else:
            writer.flush()
            ptrarray.checkpoint(path)
    writer.close()


# damage ---------------------------------------------------------------------------------------------

FILES = st.sampled_from([INDEX, INDEX, INDEX, JOURNAL, DATA, "mask.bin"])
BYTE = st.integers(0, 3) | st.integers(0, 255)
# Numbers and what they are written over: in a file, or in a column of the index.
FLIPS = st.lists(st.tuples(FILES, st.integers(0, 1 << 20), BYTE), max_size=3)
COLUMNS = {"start": "<u8", "end": "<u8", "name_end": "<u8", "names": "|u1", "crc": "<u4"}
COLUMNS |= {"pointed": "|u1", "info_end": "<u8", "info": "|u1", "meta_end": "<u8", "meta": "|u1"}
VALUE = st.integers(0, 40) | st.sampled_from([2**31, 2**32 - 1, 2**62, 2**63 + 5, 2**64 - 1])
FORGERIES = st.lists(
    st.tuples(st.sampled_from(sorted(COLUMNS)), st.integers(0, 60), VALUE), max_size=3
)


def flip(path: Path, file: str, at: int, byte: int) -> None:
    """Change a byte of a file behind its header, or cut the file off there."""
    raw = bytearray((path / file).read_bytes() if (path / file).exists() else b"")
    first = {INDEX: 4096, JOURNAL: 8192}.get(file, 0)
    if len(raw) <= first:
        return
    at = first + at % (len(raw) - first)
    if byte == 3:
        del raw[at:]
    else:
        raw[at] = byte
    (path / file).write_bytes(raw)


def forge(path: Path, column: str, at: int, value: int, *, sealed: bool) -> None:
    """Change an item of a column of the index, under a checksum that matches or not."""
    raw = (path / INDEX).read_bytes()
    header, found = forging.unpack_index(raw)
    if len(found.get(column, b"")) == 0:
        return
    items = np.frombuffer(found[column], COLUMNS[column]).copy()
    items[at % len(items)] = value & (2 ** (8 * items.itemsize) - 1)
    if sealed:
        (path / INDEX).write_bytes(forging.lay_out(header, found | {column: items.tobytes()}))
        return
    start, new = header["columns"][column][1], items.tobytes()
    (path / INDEX).write_bytes(raw[:start] + new + raw[start + len(new) :])


# the same ---------------------------------------------------------------------------------------------


def found(path: Path, to: Path, memory: int) -> tuple[list[Any], list[Damage]]:
    """Repair a store; return the columns of the arrays that were kept, and what was not."""
    kept: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        made: Callable[..., Any] = vars(salvage)["without_holes"]

        def noted(source: Any, header: Any, index: Index, **more: Any) -> Any:
            kept.append(index)
            return made(source, header, index, **more)

        patch.setattr(salvage, "without_holes", noted)
        damage = salvage.salvage(path, to, memory=memory)
    return columns_of(kept[0].entries()), damage


def columns_of(entries: Any) -> list[Any]:
    """Return the columns of entries as lists; without an item there is no column."""
    columns: list[Any] = []
    for column in entries:
        items = list(column) if isinstance(column, RaggedColumn) else column
        columns.append(None if column is None or not any(items) else list(items))
    return columns


def refused(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (CorruptStoreError, FileNotFoundError) as error:
        return type(error)


@example(kind="mixed", changes=[], flips=[(DATA, 80, 3)], forgeries=[], sealed=False, memory=1)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(CHANGE, max_size=8),
    flips=FLIPS,
    forgeries=FORGERIES,
    sealed=st.booleans(),
    memory=st.sampled_from([1, 1000, 512_000_000]),
)
def test_repair_keeps_what_is_intact(
    kind: str,
    changes: list[tuple[str, list[str], int]],
    flips: list[tuple[str, int, int]],
    forgeries: list[tuple[str, int, int]],
    sealed: bool,
    memory: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path, to = (tmp_path_factory.mktemp("repair") / name for name in ("s.ptr", "t.ptr"))
    written(path, kind, changes)
    for forgery in forgeries:
        forge(path, *forgery, sealed=sealed)
    for one in flips:
        flip(path, *one)
    entries = refused(lambda: wanted(path))
    if isinstance(entries, type):
        assert refused(lambda: salvage.salvage(path, to, memory=memory)) in (
            entries,
            CorruptStoreError,
        )
        assert not to.exists()
        return
    expected, damage = entries
    assert found(path, to, memory) == (columns_of(expected), damage)
    ptrarray.verify(to)
    assert len(ptrarray.open(to)) == expected.n_names
