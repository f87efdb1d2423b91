"""Checking a store in bounded memory finds what looking at one thing after the other finds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.storage.lifecycle import naming, sums, verify
from ptrarray.storage.store import index as index_storage
from ptrarray.storage.store import snapshot
from tests.support import forging
from tests.support.checking import wanted_damage
from tests.support.damage import DATA, INDEX

COLUMNS = {"start": "<u8", "end": "<u8", "name_end": "<u8", "names": "|u1", "crc": "<u4"}
COLUMNS |= {"slot": "<u4", "pointed": "|u1"}


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all that is done in blocks done in several."""
    monkeypatch.setattr(snapshot.StoreSnapshot.in_blocks, "__kwdefaults__", {"size": 3})
    monkeypatch.setattr(naming, "_NAMES", 4)
    monkeypatch.setattr(naming, "_SLOTS", 5)
    monkeypatch.setattr(naming, "_DOUBTFUL_NBYTES", 1 << 30)
    monkeypatch.setattr(session, "CHECKPOINT_BELOW", 1 << 30)
    monkeypatch.setattr(index_storage, "_SLOTS", 7)
    monkeypatch.setattr(sums, "_BLOCK_NBYTES", 5 * sums._EACH_NBYTES)


def written(path: Path, lengths: list[int], pointed: list[int]) -> None:
    """Make a store of arrays, some names that point to others, and more in the journal."""
    with ptrarray.create(path, dtype="u1") as writer:
        for n, length in enumerate(lengths):
            writer[f"a{n}"] = np.full(length, n, "u1")
        for n in pointed:
            start = sum(lengths[:n])
            writer.point(f"p{n}", start, start + lengths[n])
    ptrarray.checkpoint(path)


def in_journal(path: Path, added: list[int], deleted: list[int]) -> None:
    with ptrarray.append(path) as writer:
        for n, length in enumerate(added):
            writer[f"j{n}"] = np.full(length, 100 + n, "u1")
        there = set(ptrarray.open(path))
        writer.delete([name for name in (f"a{n}" for n in deleted) if name in there])


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    """Draw a column, and what to put where in it."""
    column = draw(st.sampled_from(sorted(COLUMNS)))
    value = st.integers(0, 12) | st.sampled_from([0xFF, 2**32 - 1, 2**63 + 5])
    return column, draw(st.lists(st.tuples(st.integers(0, 60), value), min_size=1, max_size=3))


def forge(path: Path, forgeries: list[tuple[str, list[tuple[int, int]]]], swapped: bool) -> None:
    """Change columns of an index, under checksums that match."""
    header, found = forging.unpack_index((path / INDEX).read_bytes())
    for column, some in forgeries:
        if column in found:
            items = np.frombuffer(found[column], COLUMNS[column]).copy()
            for at, value in some if len(items) else ():
                items[at % len(items)] = value & (2 ** (8 * items.itemsize) - 1)
            found[column] = items.tobytes()
    if swapped:  # slots that follow each other, which may come behind where their search ends
        slots = np.frombuffer(found["slot"], "<u8").copy()
        slots[1:3] = slots[2:0:-1]
        found["slot"] = slots.tobytes()
    (path / INDEX).write_bytes(forging.lay_out(header, found))


def found_damage(path: Path, memory: int) -> tuple[verify.Damage, ...]:
    try:
        with ptrarray.open(path) as store:
            store.verify(memory=memory)
    except ptrarray.CorruptStoreError as error:
        assert error.damage
        return error.damage
    return ()


@pytest.mark.usefixtures("_small_blocks")
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_damage_is_that_of_looking_at_each(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, draw = tmp_path_factory.mktemp("verify") / "s.ptr", data.draw
    lengths = draw(st.lists(st.integers(0, 5), max_size=12))
    some = st.lists(st.integers(0, max(len(lengths) - 1, 0)), max_size=4, unique=True)
    written(path, lengths, draw(some) if lengths else [])
    forge(path, draw(st.lists(changes(), max_size=2)), draw(st.booleans()))
    raw = bytearray((path / DATA).read_bytes())
    for at in draw(st.lists(st.integers(0, 60), max_size=2)) if raw else ():
        raw[at % len(raw)] ^= 1
    (path / DATA).write_bytes(raw)
    with suppress(ptrarray.PtrArrayError):
        in_journal(path, draw(st.lists(st.integers(0, 4), max_size=4)), draw(some))
    try:
        wanted = wanted_damage(path)
    except ptrarray.PtrArrayError:
        return  # it cannot be opened
    assert found_damage(path, draw(st.sampled_from([1, 10_000, 512_000_000]))) == tuple(wanted)
