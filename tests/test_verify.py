"""Checking a store in bounded memory finds what looking at one thing after the other finds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import Damage
from ptrarray.format import table
from ptrarray.storage.lifecycle import naming, sums
from ptrarray.storage.store import index as index_storage
from ptrarray.storage.store import snapshot
from ptrarray.storage.store.snapshot import open_snapshot
from ptrarray.storage.writing import session
from tests.support import checking, forging
from tests.support.checking import wanted_damage
from tests.support.colliding import COLLIDING
from tests.support.damage import DATA, INDEX

pytestmark = pytest.mark.usefixtures("limits")

ROOT = Path(__file__).parent.parent
COLUMNS = {"start": "<u8", "end": "<u8", "name_end": "<u8", "names": "|u1", "crc": "<u4"}
COLUMNS |= {"slot": "<u4", "pointed": "|u1"}


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all that is done in blocks done in several."""
    monkeypatch.setattr(snapshot.StoreSnapshot.in_blocks, "__kwdefaults__", {"size": 3})
    monkeypatch.setattr(naming, "_NAMES", 4)
    monkeypatch.setattr(naming, "_SLOTS", 5)
    monkeypatch.setattr(naming, "_DOUBTFUL_NBYTES", 1 << 30)
    monkeypatch.setattr(session, "_CHECKPOINT_PART", 1e-9)
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
    value = st.integers(0, 12) | st.integers(48, 57) | st.sampled_from([0xFF, 2**32 - 1, 2**63 + 5])
    return column, draw(st.lists(st.tuples(st.integers(0, 60), value), min_size=1, max_size=3))


def forge(
    path: Path, forgeries: list[tuple[str, list[tuple[int, int]]]], swapped: bool, rebuilt: bool
) -> None:
    """Change columns of an index, under checksums that match."""
    header, found = forging.unpack_index((path / INDEX).read_bytes())
    for column, some in forgeries:
        if column in found:
            items = np.frombuffer(found[column], COLUMNS[column]).copy()
            for at, value in some if len(items) else ():
                items[at % len(items)] = value & (2 ** (8 * items.itemsize) - 1)
            found[column] = items.tobytes()
    if rebuilt:  # whatever the names are now
        found["slot"] = rebuilt_table(cut_names(found))
    if swapped:  # slots that follow each other, which may come behind where their search ends
        slots = np.frombuffer(found["slot"], "<u8").copy()
        slots[1:3] = slots[2:0:-1]
        found["slot"] = slots.tobytes()
    (path / INDEX).write_bytes(forging.lay_out(header, found))


def found_damage(path: Path, memory: int) -> tuple[Damage, ...]:
    try:
        with ptrarray.open(path) as store:
            store.verify(memory=memory)
    except ptrarray.CorruptStoreError as error:
        return error.damage or (Damage(error.path, str(error)),)
    return ()


@pytest.mark.usefixtures("_small_blocks")
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damage_is_that_of_looking_at_each(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, draw = tmp_path_factory.mktemp("verify") / "s.ptr", data.draw
    lengths = draw(st.lists(st.integers(0, 5), max_size=12))
    some = st.lists(st.integers(0, max(len(lengths) - 1, 0)), max_size=4, unique=True)
    written(path, lengths, draw(some) if lengths else [])
    forge(path, draw(st.lists(changes(), max_size=2)), draw(st.booleans()), draw(st.booleans()))
    raw = bytearray((path / DATA).read_bytes())
    for at in draw(st.lists(st.integers(0, 60), max_size=2)) if raw else ():
        raw[at % len(raw)] ^= 1
    (path / DATA).write_bytes(raw)
    with suppress(ptrarray.StoreError):
        in_journal(path, draw(st.lists(st.integers(0, 4), max_size=4)), draw(some))
    try:
        wanted = wanted_damage(path)
    except ptrarray.StoreError:
        return  # it cannot be opened
    assert found_damage(path, draw(st.sampled_from([1, 10_000, 512_000_000]))) == tuple(wanted)


MANY = """
import sys, numpy as np, ptrarray
path, n = sys.argv[1], 200_000
with ptrarray.create(path, dtype="u1") as writer:
    names = [f"{number:0100}" for number in range(n)]
    writer.write_ragged(names, np.zeros(300 * n, "u1"), np.arange(n + 1) * 300)
ptrarray.checkpoint(path)
"""
CHECKED = """
import sys, ptrarray
from benchmarks.harness.system import peak_kib, resident_kib
ptrarray.verify(sys.argv[2], memory="40MB")  # a small one, so that all is imported
before = resident_kib()
ptrarray.verify(sys.argv[1], memory="40MB")
print(peak_kib() - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is asked as Linux tells it"
)
def test_pages_that_were_read_are_let_go(tmp_path: Path) -> None:
    many, small = tmp_path / "many.ptr", tmp_path / "small.ptr"
    written(small, [1, 2, 3], [])
    in_python(MANY, many)
    nbytes = sum(file.stat().st_size for file in many.iterdir())
    assert nbytes > 85e6
    assert int(in_python(CHECKED, many, small)) * 1024 < 40e6


def in_python(code: str, *paths: Path) -> str:
    command = [sys.executable, "-c", code, *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_doubled_names_are_listed_in_order(tmp_path: Path) -> None:
    """Of each shard those that a later one has, in the order of its rows, whatever their hashes."""
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="u1", shard_size=300) as writer:
        for shard in range(3):
            writer.write({f"{shard}-{n}": np.full(9, n, "u1") for n in range(30)})
    shards = sorted(path.glob("shard-*.ptr"))
    assert len(shards) >= 3
    first, second, third = (ptrarray.append(shard) for shard in shards[:3])
    third.write({"0-7": [1], "0-3": [2], "1-4": [3]})
    second.write({"0-3": [4], "0-29": [5], "empty": []})
    first.write({"empty": []})
    for writer in (first, second, third):
        writer.close()
    for memory in (1, 512_000_000):
        found = found_damage(path, memory)
        about = [(Path(one.file).name, one.name, one.problem.split()[-2]) for one in found]
        names = [shard.name for shard in shards]
        assert [(names.index(file), name) for file, name, _ in about] == [
            (0, "0-3"), (0, "0-7"), (0, "0-29"), (0, "empty"), (1, "1-4"), (1, "0-3"),
        ]  # fmt: skip
        assert [Path(where.rstrip(",")).name for _, _, where in about] == [
            names[2], names[2], names[1], names[1], names[2], names[2],
        ]  # fmt: skip


@pytest.mark.parametrize("memory", ["much", 0, -1, 1.5, None])
def test_refuses_memory_that_is_no_size(memory: object, path: Path) -> None:
    written(path, [1], [])
    with pytest.raises((ptrarray.BadInputError, TypeError)):
        ptrarray.verify(path, memory=memory)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_small_blocks")
def test_tables_with_two_slots_swapped_and_names_that_are_equal(path: Path) -> None:
    """Of all that are left by any one of these, exactly those pass in which each name is found."""
    n_names = 14
    written(path, [1] * n_names, [])
    original = (path / INDEX).read_bytes()
    n_slots = len(forging.unpack_index(original)[1]["slot"]) // 8
    outcomes = []
    for first, second in combinations(range(n_slots), 2):
        header, found = forging.unpack_index(original)
        slots = np.frombuffer(found["slot"], "<u8").copy()
        slots[[first, second]] = slots[[second, first]]
        outcomes.append(agree(path, header, found | {"slot": slots.tobytes()}))
    assert True in outcomes
    assert False in outcomes
    for first, second in combinations(range(n_names), 2):
        header, found = forging.unpack_index(original)
        names = cut_names(found)
        names[second] = names[first]
        ends = np.cumsum(list(map(len, names))).astype("<i8").tobytes()
        found |= {"names": b"".join(names), "name_end": ends, "slot": rebuilt_table(names)}
        assert not agree(path, header, found)


@pytest.mark.parametrize("n_slots", [1, 2, 3, 4])
def test_names_of_one_hash_that_are_looked_at_apart(
    n_slots: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two equal ones with another between them; and one whose position is none."""
    monkeypatch.setattr(naming, "_SLOTS", n_slots)
    written(path, [1] * 5, [])
    header, found = forging.unpack_index((path / INDEX).read_bytes())
    one, other = (name.encode() for name in COLLIDING[:2])
    for last in (b"", one):  # another name, and the same once more
        names = [one, other, last, b"d", b"e"]
        ends = np.cumsum(list(map(len, names))).astype("<i8").tobytes()
        forged = found | {"names": b"".join(names), "name_end": ends, "slot": rebuilt_table(names)}
        (path / INDEX).write_bytes(forging.lay_out(header, forged))
        assert naming.finds_all(open_snapshot(path).index, 1) == (last == b"")
    slots = np.frombuffer(forged["slot"], "<u4").reshape(-1, 2).copy()
    slots[slots[:, 1] == 1, 1] = 5
    (path / INDEX).write_bytes(forging.lay_out(header, forged | {"slot": slots.tobytes()}))
    assert not naming.finds_all(open_snapshot(path).index, 1)


def cut_names(found: dict[str, bytes]) -> list[bytes]:
    ends = np.frombuffer(found["name_end"], "<i8").tolist()
    return [found["names"][start:end] for start, end in pairwise([0, *ends])]


def rebuilt_table(names: list[bytes]) -> bytes:
    return table.build(np.array(list(map(crc32, names)), np.uint32)).tobytes()


def agree(path: Path, header: dict[str, Any], found: dict[str, bytes]) -> bool:
    """Return whether an index finds all of its names, if both ways to tell agree."""
    (path / INDEX).write_bytes(forging.lay_out(header, found))
    opened = open_snapshot(path)
    is_right = not checking.names(opened)
    assert naming.finds_all(opened.index, 1 << 20) == is_right
    return is_right


def replaced(path: Path, shard_size: str | None) -> None:
    with ptrarray.create(path, dtype="u1", mode="w", shard_size=shard_size) as writer:
        writer["other"] = [1]


def removed(path: Path, _: str | None) -> None:
    shutil.rmtree(path)


@pytest.mark.parametrize("go", [replaced, removed])
@pytest.mark.parametrize("shard_size", [None, "1kB"])
def test_a_store_that_was_replaced_or_removed_is_what_it_was(
    go: Callable[[Path, str | None], None], shard_size: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    with ptrarray.create(path, dtype="u1", shard_size=shard_size) as writer:
        for n in range(5):
            writer[f"a{n}"] = np.full(500, n)
    (data, *_) = path.rglob("data*.bin")
    with ptrarray.open(path) as store, data.open("r+b") as file:
        go(path, shard_size)
        store.verify()
        file.write(b"x")
        file.flush()
        with pytest.raises(ptrarray.CorruptStoreError, match="1 places"):
            store.verify()
