"""Names are found as in a dict, also those that have the same hash."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import DuplicateNameError
from ptrarray.format import table
from ptrarray.format.names import encode, encode_all, ends_of, hash_all
from ptrarray.storage.store.index import Index
from ptrarray.storage.writing.recent import FAR, RecentNames
from tests.support import strategies
from tests.support.checks import check_store, check_writer
from tests.support.colliding import COLLIDING, PAIR

Array = NDArray[Any]


def test_the_colliding_names_collide() -> None:
    assert len({crc32(name.encode()) for name in COLLIDING}) == 1
    assert len(set(COLLIDING)) == 8


@given(st.lists(strategies.names(), max_size=4))
def test_names_with_their_ends(names: list[str]) -> None:
    encoded = encode_all(names)
    assert encoded == list(map(encode, names))
    assert ends_of(encoded).tolist() == list(accumulate(map(len, encoded)))


# the name table -----------------------------------------------------------------------------------

HASHES = st.lists(
    st.one_of(st.sampled_from([0, 1, 7, 2**31, 2**32 - 1]), st.integers(0, 2**32 - 1)), max_size=60
)


@given(HASHES | st.integers(0, 2**16).map(lambda n: [h % 1000 * 65_539 for h in range(n)]))
def test_argsort_is_numpys(hashes: list[int]) -> None:
    column = np.array(hashes, np.uint32)
    assert table.argsort(column).tolist() == np.argsort(column, kind="stable").tolist()


@given(HASHES, HASHES)
@example([2**32 - 1] * 20, [2**32 - 1, 2**32 - 2])
@example([0] * 20, [0, 1])
@example([], [5])
def test_candidates_are_all_pairs_with_equal_hashes(there: list[int], wanted: list[int]) -> None:
    slots = table.build(np.array(there, np.uint32))
    n_homes = table.count_homes(len(there))
    queries, positions = table.candidates(slots, n_homes, np.array(wanted, np.uint32))
    expected = {(q, p) for q, h in enumerate(wanted) for p, other in enumerate(there) if h == other}
    assert sorted(zip(queries.tolist(), positions.tolist(), strict=True)) == sorted(expected)


@given(HASHES)
def test_build_is_linear_probing(there: list[int]) -> None:
    """Every hash is found from its home without an empty slot in between."""
    slots = table.build(np.array(there, np.uint32)).tolist()
    n_homes = table.count_homes(len(there))
    for position, name_hash in enumerate(there):
        at = name_hash * n_homes >> 32
        while slots[at] != [name_hash, position]:
            assert slots[at][1] != table.EMPTY
            at += 1
    assert sum(slot[1] != table.EMPTY for slot in slots) == len(there)
    assert slots[-1][1] == table.EMPTY


# names in the index -------------------------------------------------------------------------------


def checkpointed(path: Path, names: Iterable[str]) -> Index:
    """Make a store of empty arrays under the names, and return its index."""
    with ptrarray.create(path, dtype="u1") as writer:
        writer.write({name: [] for name in names})
    ptrarray.checkpoint(path)
    return Index(path)


def check_finds(index: Index, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that one by one, many at once and a dict find the same positions."""
    positions = {name.encode(): at for at, name in enumerate(there)}
    encoded = [name.encode() for name in wanted]
    expected = [positions.get(name, -1) for name in encoded]
    assert [index.find(name) for name in encoded] == expected
    assert index.find_many(encoded, np.array(hash_all(encoded), "u4")).tolist() == expected
    assert index.find_all(encoded).tolist() == expected


@given(
    there=st.lists(st.one_of(strategies.names(), st.sampled_from(COLLIDING)), unique=True),
    wanted=st.lists(st.one_of(strategies.names(), st.sampled_from(COLLIDING))),
)
def test_names_are_found_as_in_a_dict(
    tmp_path_factory: pytest.TempPathFactory, there: list[str], wanted: list[str]
) -> None:
    index = checkpointed(tmp_path_factory.mktemp("names") / "names.ptr", there)
    check_finds(index, there, wanted)
    check_finds(index, there, there)
    check_finds(index, there, COLLIDING)


def test_many_names_are_found_as_in_a_dict(tmp_path: Path) -> None:
    there = [*map(str, range(20_000)), *COLLIDING]
    index = checkpointed(tmp_path / "names.ptr", there)
    check_finds(index, there, there)
    check_finds(index, there, [str(n) for n in range(19_000, 30_000)])
    check_finds(index, there, ["absent", *there[:5], "absent", ""])


def test_names_are_found_as_one_by_one(tmp_path: Path) -> None:
    """Also where a name is there twice, or cannot be found from its home slot."""
    names = [*COLLIDING, *(f"n{n}" for n in range(500))]
    index = checkpointed(tmp_path / "names.ptr", names)
    encoded = index.split_names(0, len(names))
    assert encoded == [index.name(at) for at in range(len(names))]
    assert encoded == [name.encode() for name in names]
    assert index.split_names(7, 9) == encoded[7:9]
    hashes = np.array(hash_all(encoded), np.uint32)
    positions = np.arange(len(names))
    assert index.are_found(encoded, hashes, positions).all()
    swapped = positions.copy()
    swapped[[2, 3, 100, 200]] = swapped[[3, 2, 200, 100]]
    wrong = np.flatnonzero(~index.are_found(encoded, hashes, swapped))
    assert wrong.tolist() == [2, 3, 100, 200]
    twice = [*encoded[:1], *encoded[:1], *encoded[2:]]
    one_by_one = [index.find(name) == at for at, name in enumerate(twice)]
    again = np.array(hash_all(twice), np.uint32)
    assert index.are_found(twice, again, positions).tolist() == one_by_one
    assert one_by_one.count(False) == 1


# names with the same hash, anywhere ---------------------------------------------------------------

SPLITS = list(itertools.product(["index", "journal", "absent"], repeat=4))


@pytest.mark.parametrize("places", SPLITS, ids="-".join)
def test_colliding_names_are_told_apart(tmp_path: Path, places: tuple[str, ...]) -> None:
    path = tmp_path / "colliding.ptr"
    split = dict(zip(COLLIDING, places, strict=False))
    arrays = {name: np.array([at], "i4") for at, name in enumerate(split)}
    expected = {name: arrays[name] for name, place in split.items() if place != "absent"}
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({name: arrays[name] for name, place in split.items() if place == "index"})
        ptrarray.checkpoint(path)
        writer.write({name: arrays[name] for name, place in split.items() if place == "journal"})
        check_writer(writer, expected)
        with ptrarray.append(path) as other:
            for opened in (writer, other):
                check_duplicates(opened, split, arrays)
        with ptrarray.open(path) as store:
            check_store(store, expected)
            for name in COLLIDING:
                assert (name in store) == (name in expected)
        for name in list(expected):
            del writer[name], expected[name]
            check_writer(writer, expected)


def check_duplicates(
    writer: ptrarray.PointerArrayWriter, split: dict[str, str], arrays: dict[str, Array]
) -> None:
    """Check that exactly the names that are there are refused, alone and together."""
    there = {name for name, place in split.items() if place != "absent"}
    for names in (*([name] for name in there), list(split)):
        if there & set(names):
            with pytest.raises(DuplicateNameError) as raised:
                writer.write({name: arrays[name] for name in names})
            assert set(raised.value.names) == there & set(names)


def test_a_name_may_come_and_go_beside_one_with_its_hash(tmp_path: Path) -> None:
    first, second = PAIR
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer:
        for n in range(3):
            writer.write({first: [n]})
            writer.write({second: [10 + n]})
            del writer[first]
            assert second in writer
            with pytest.raises(DuplicateNameError):
                writer.write({second: [0]})
            del writer[second]
            if n == 1:
                ptrarray.checkpoint(writer.path)
        assert len(writer) == 0


# names since the last checkpoint ------------------------------------------------------------------

RECORDS = st.lists(st.lists(st.integers(0, 5) | st.integers(2**32 - 3, 2**32 - 1), max_size=4))


@given(RECORDS, st.sets(st.integers(0, 12)))
def test_recent_names_are_a_dict_of_lists(records: list[list[int]], looks: set[int]) -> None:
    """Also when it is asked in between, which makes it sort what it has."""
    recent, expected = RecentNames(), dict[int, list[tuple[int, int, int]]]()
    everything = np.array([*range(7), *range(2**32 - 4, 2**32)], np.uint32)
    for number, hashes in enumerate(records):
        at, n_names = 8192 + 100 * number, len(hashes)
        for _ in range(1 + (number in looks and n_names > 1)):  # noted twice, after an interrupt
            recent.add(np.array(hashes, np.uint32), at)
        for position, name_hash in enumerate(hashes):
            expected.setdefault(name_hash, []).insert(0, (at, position, n_names))
        if number in looks:
            seen = recent.seen(everything)
            assert everything[seen].tolist() == [h for h in everything.tolist() if h in expected]
    for name_hash in everything.tolist():
        found = list(dict.fromkeys(recent.records(name_hash)))
        assert found == expected.get(name_hash, [])


def test_recent_names_of_many_single_records() -> None:
    recent = RecentNames()
    hashes = [crc32(b"%d" % n) for n in range(20_000)]
    for at, name_hash in enumerate(hashes):
        recent.add([name_hash], at)
        if at % 5000 == 0:
            assert next(iter(recent.records(name_hash))) == (at, 0, 1)
    wanted = np.array([*hashes[::100], 5], np.uint32)
    assert recent.seen(wanted).tolist() == list(range(200))
    assert all((at, 0, 1) in list(recent.records(hashes[at])) for at in range(0, 20_000, 100))


def test_recent_names_behind_what_an_entry_can_name() -> None:
    """They are found, and that nobody knows where."""
    recent = RecentNames()
    recent.add(np.array([1, 2, 3], np.uint32), 8192)
    recent.add(np.array([2, 4], np.uint32), FAR - 1)
    recent.add([5], FAR + 7)
    recent.add(np.array([5, 6], np.uint32), FAR + 9)
    found = {h: [(at, position) for at, position, _ in recent.records(h)] for h in range(8)}
    far = (FAR, 0)
    there = {1: [(8192, 0)], 2: [far, (8192, 1)], 3: [(8192, 2)], 4: [far], 5: [far, far], 6: [far]}
    assert found == {0: [], 7: [], **there}
    assert recent.seen(np.arange(8, dtype=np.uint32)).tolist() == [1, 2, 3, 4, 5, 6]
