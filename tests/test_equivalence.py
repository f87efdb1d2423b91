"""Each fast path gives what the plain path gives."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, DuplicateNameError
from ptrarray.format import checksum, journal, table
from ptrarray.format.entries import DELETED, Entries, Entry, RaggedColumn, end_to_end
from ptrarray.format.names import encode, encode_with_ends, ends_of, hash_all
from ptrarray.intake.casting import fit
from ptrarray.storage.store.folding import fold
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.writing.recent import RecentNames
from ptrarray.storage.writing.session import Session
from tests.support import strategies
from tests.support.checks import check_same, check_store, check_writer

Array = NDArray[Any]

# Words with the same CRC-32. They are of one length, so what is made of them collides, too.
PAIR = ("plumless", "buckeroo")
COLLIDING = ["".join(words) for words in itertools.product(PAIR, repeat=3)]


def test_the_colliding_names_collide() -> None:
    assert len({crc32(name.encode()) for name in COLLIDING}) == 1
    assert len(set(COLLIDING)) == 8


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


# verifying names ----------------------------------------------------------------------------------


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


# one array a call ---------------------------------------------------------------------------------


def table_of(rows: Iterable[Entry]) -> Entries:
    return Entries.of(*zip(*rows, strict=True))


BYTES = st.binary(max_size=300) | st.integers(250, 260).map(bytes)


@given(
    st.sampled_from([journal.PUT, journal.POINT, journal.DELETE]),
    *[BYTES] * 3,
    *[st.sampled_from([0, 1, 255, 2**31, 2**32 - 1])] * 2,
    *[st.sampled_from([0, 1, 2**32, 2**62 - 1])] * 2,
)
def test_the_record_of_one_array(
    kind: int, name: bytes, info: bytes, meta: bytes, name_hash: int, crc: int, at: int, more: int
) -> None:
    entry = Entry(name, at, at + more, crc, info=info, meta=meta)
    entries = table_of([entry])._replace(hashes=np.array([name_hash], np.uint32))
    ((_, plain),) = journal.encode_records(kind, entries, seed=77)
    assert journal.encode_one(kind, entry, name_hash, seed=77) == plain


@given(st.lists(strategies.names(), max_size=4))
def test_names_with_their_ends(names: list[str]) -> None:
    encoded, ends = encode_with_ends(names)
    assert encoded == list(map(encode, names))
    assert ends == ends_of(encoded)


# checksums ----------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_checksums_are_zlibs(raw: bytes, crc: int) -> None:
    assert checksum.crc32(raw) == crc32(raw)
    assert checksum.crc32(memoryview(raw), crc) == crc32(raw, crc)


def test_checksums_of_large_arrays_are_zlibs() -> None:
    rows = np.random.default_rng(5).random((300, 777), np.float32)
    assert checksum.crc32(rows) == crc32(rows)
    assert checksum.crc32(rows[1:], 9) == crc32(rows[1:], 9)
    with pytest.raises(ValueError, match="contiguous"):
        checksum.crc32(rows[:, ::2])


WITHOUT = """
import sys
sys.modules["isal"] = None  # as if it were not installed
import zlib, numpy, ptrarray
from ptrarray.format import checksum
assert checksum.crc32 is zlib.crc32
ptrarray.verify("fast.ptr")
with ptrarray.create("plain.ptr", dtype="f4", row_shape=(3,)) as writer:
    writer.write({f"a{n}": numpy.ones((n, 3)) for n in range(2000)})
"""


def test_stores_are_the_same_without_the_faster_checksum(tmp_path: Path) -> None:
    arrays = {f"a{n}": np.ones((n, 3), np.float32) for n in range(2000)}
    with ptrarray.create(tmp_path / "fast.ptr", dtype="f4", row_shape=(3,)) as writer:
        writer.write(arrays)
    subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, check=True)
    ptrarray.verify(tmp_path / "plain.ptr")
    with ptrarray.open(tmp_path / "plain.ptr") as store:
        check_store(store, arrays)


# names since the last checkpoint ------------------------------------------------------------------

RECORDS = st.lists(st.lists(st.integers(0, 5) | st.integers(2**32 - 3, 2**32 - 1), max_size=4))


@given(RECORDS, st.sets(st.integers(0, 12)))
def test_recent_names_are_a_dict_of_lists(records: list[list[int]], looks: set[int]) -> None:
    """Also when it is asked in between, which makes it sort what it has."""
    recent, expected = RecentNames(), dict[int, list[int]]()
    everything = np.array([*range(7), *range(2**32 - 4, 2**32)], np.uint32)
    for number, hashes in enumerate(records):
        recent.add(np.array(hashes, np.uint32), 8192 + number)
        for name_hash in set(hashes):
            expected.setdefault(name_hash, []).insert(0, 8192 + number)
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
            assert recent.records(name_hash)[0] == at
    wanted = np.array([*hashes[::100], 5], np.uint32)
    assert recent.seen(wanted).tolist() == list(range(200))
    assert all(at in recent.records(hashes[at]) for at in range(0, 20_000, 100))


# journal over index -------------------------------------------------------------------------------

CHANGE = st.tuples(
    st.sampled_from(["put", "put", "planned", "delete", "point", "checkpoint"]),
    st.sampled_from([*"abcdefgh", *COLLIDING[:2]]),
    st.integers(0, 3),
    st.integers(0, 12),
)


@dataclass
class Plain:
    """Pointers in a dict, sorted when asked."""

    pointers: dict[str, tuple[int, int]]

    def put(self, name: str, start: int, end: int) -> None:
        self.pointers.pop(name, None)
        self.pointers[name] = (start, end)

    def columns(self) -> list[tuple[str, int, int]]:
        items = sorted(self.pointers.items(), key=lambda item: item[1][0])
        return [(name, start, end) for name, (start, end) in items]


def change(
    writer: ptrarray.PointerArrayWriter, plain: Plain, what: tuple[str, str, int, int]
) -> None:
    """Make one change to a store and to a dict of pointers."""
    kind, name, n_rows, start = what
    array = np.arange(n_rows, dtype="u1")
    if kind == "put":
        plain.put(name, *writer.write({name: array}, overwrite=True))
    elif kind == "planned":
        try:
            plain.put(name, *writer.write({name: array}, start=start, overwrite=True))
        except ptrarray.OverlapError:
            return
    elif kind == "delete":
        writer.pop(name, None)
        plain.pointers.pop(name, None)
    elif kind == "point" and plain.pointers:
        first, end = next(iter(plain.pointers.values()))
        if first < end:
            writer.point(name, first, end, overwrite=True)
            plain.put(name, first, end)
    elif kind == "checkpoint":
        ptrarray.checkpoint(writer.path)


def columns(store: ptrarray.PointerArray) -> list[tuple[str, int, int]]:
    starts, ends = store.starts.tolist(), store.ends.tolist()
    return list(zip(store.names, starts, ends, strict=True))


@given(st.lists(CHANGE, max_size=25))
def test_a_journal_over_an_index_is_one_plain_sort(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, int, int]]
) -> None:
    """By column and by position; opened anew, refreshed step by step, and checkpointed."""
    path = tmp_path_factory.mktemp("order") / "order.ptr"
    plain = Plain({})
    with ptrarray.create(path, dtype="u1") as writer, ptrarray.open(path) as following:
        for number, what in enumerate(changes):
            change(writer, plain, what)
            if number % 3 == 0:
                following.refresh()
        following.refresh()
        expected = plain.columns()
        assert columns(following) == expected
        with ptrarray.open(path) as store:
            assert columns(store) == expected
            for position, (name, start, end) in enumerate(expected):
                assert store.names[position] == name
                assert len(store.arrays[position]) == end - start
                assert store.pointers[name] == (start, end)
            store.verify()
        ptrarray.checkpoint(path)
        following.refresh()
        assert columns(following) == expected
        following.verify()


@given(st.lists(st.sampled_from([*"abcdefgh", "absent", *COLLIDING[:3]]), max_size=12))
def test_take_is_one_by_one(tmp_path_factory: pytest.TempPathFactory, wanted: list[str]) -> None:
    path = tmp_path_factory.mktemp("take") / "take.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({name: [at] * (at % 4) for at, name in enumerate("abcdefgh")})
        for _ in range(2):
            with ptrarray.open(path) as store:
                check_take(store, wanted)
            writer.write({COLLIDING[0]: [1, 2], "c": [9], "a": []}, overwrite=True)
            writer.pop("d", None)
        ptrarray.checkpoint(path)
        with ptrarray.open(path) as store:
            check_take(store, wanted)


def check_take(store: ptrarray.PointerArray, wanted: list[str]) -> None:
    if any(name not in store for name in wanted):
        with pytest.raises(KeyError):
            store.take(wanted)
        return
    batch = store.take(wanted)
    assert len(batch) == len(wanted)
    for name, found in zip(wanted, batch, strict=True):
        check_same(found, store[name])


# ways to write ------------------------------------------------------------------------------------


def write_at_once(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    writer.write(arrays)


def write_one_by_one(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        writer[name] = array


def write_claimed(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    """Write outside the lock, as large batches are."""
    writer.write(arrays, start=writer.reserve(sum(map(len, arrays.values()))))


def write_claimed_one_by_one(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        write_claimed(writer, {name: array})


def write_ragged(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    lengths = [len(array) for array in arrays.values()]
    values = [np.empty((0, *(writer.row_shape or ())), writer.dtype), *arrays.values()]
    writer.write_ragged(list(arrays), np.concatenate(values), np.cumsum([0, *lengths]))


def write_allocated(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        with writer.allocate(name, len(array)) as rows:
            rows[...] = array


def write_cast(writer: ptrarray.PointerArrayWriter, arrays: dict[str, Array]) -> None:
    """Write in the other byte order, which is cast back."""
    writer.write({name: a.astype(a.dtype.newbyteorder()) for name, a in arrays.items()})


WAYS: tuple[Callable[[ptrarray.PointerArrayWriter, dict[str, Array]], None], ...] = (
    write_at_once,
    write_one_by_one,
    write_claimed,
    write_claimed_one_by_one,
    write_ragged,
    write_allocated,
    write_cast,
)


def check_ways(folder: Path, dtype: Any, row_shape: Any, arrays: dict[str, Array]) -> None:
    """Check that all ways to write leave the same rows and the same columns."""
    found = set()
    for way in WAYS:
        path = folder / f"{way.__name__}.ptr"
        with ptrarray.create(path, dtype=dtype, row_shape=row_shape) as writer:
            way(writer, arrays)
        ptrarray.checkpoint(path)
        with ptrarray.open(path) as store:
            check_store(store, arrays, in_order=True)
        index = Index(path)
        found.add(
            (
                (path / "data.bin").read_bytes(),
                *(index.column(name).tobytes() for name in index.columns),
            )
        )
    assert len(found) == 1


@given(
    data=st.data(),
    dtype=st.sampled_from(strategies.PLAIN_DTYPES),
    row_shape=strategies.row_shapes(),
)
def test_all_ways_to_write_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dtype: Any,
    row_shape: tuple[int, ...],
) -> None:
    layout = (np.dtype(dtype), row_shape)
    arrays = data.draw(st.dictionaries(strategies.names(), strategies.arrays(*layout), max_size=4))
    check_ways(tmp_path_factory.mktemp("ways"), *layout, arrays)


def test_all_ways_to_write_much_are_the_same(tmp_path: Path) -> None:
    lengths = [10**5, 0, 1, 2**16 // 8, 2**16 // 8 + 1, 5]
    arrays = {str(n): np.arange(n, dtype="<i8") for n in lengths}
    check_ways(tmp_path, "<i8", (), arrays)


# casting ------------------------------------------------------------------------------------------

INTEGERS = ("i1", "u1", "<i2", ">u2", "i4", "u4", ">i8", "u8")
FLOATS = ("<f2", ">f4", "f8")
EDGES = st.sampled_from(
    [0, 1, -1, *(sign * 2**bits + d for bits in (7, 8, 11, 15, 16, 24, 31, 32, 53, 63, 64)
                 for sign in (1, -1) for d in (-1, 0, 1))]
)  # fmt: skip


def fits_integer(value: int, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return int(info.min) <= value <= int(info.max)


def cast_or_none(values: Array, dtype: Any) -> Array | None:
    try:
        return fit("a", values, np.dtype(dtype), ())
    except BadInputError:
        return None


@given(
    st.lists(EDGES | st.integers(-(2**63), 2**64 - 1), max_size=5),
    st.sampled_from(INTEGERS),
    st.sampled_from(INTEGERS),
)
def test_integers_into_integers(values: list[int], source: str, target: str) -> None:
    values = [value for value in values if fits_integer(value, np.dtype(source))]
    found = cast_or_none(np.array(values, source), target)
    if all(fits_integer(value, np.dtype(target)) for value in values):
        assert found is not None
        assert found.dtype == np.dtype(target)
        assert found.tolist() == values
    else:
        assert found is None


def is_exact(value: int, dtype: np.dtype[Any]) -> bool:
    """Tell whether a float of a dtype can be this integer."""
    with np.errstate(over="ignore"):
        as_float = float(dtype.type(value))
    return np.isfinite(as_float) and int(as_float) == value


@given(
    st.lists(EDGES | st.integers(-(2**63), 2**64 - 1), max_size=5),
    st.sampled_from(INTEGERS),
    st.sampled_from(FLOATS),
)
@example([-(2**63)], "<i8", "<f2")  # -inf, which the machine may take back for the same
def test_integers_into_floats(values: list[int], source: str, target: str) -> None:
    values = [value for value in values if fits_integer(value, np.dtype(source))]
    found = cast_or_none(np.array(values, source), target)
    if all(is_exact(value, np.dtype(target)) for value in values):
        assert found is not None
        assert [int(value) for value in found.tolist()] == values
    else:
        assert found is None


@given(st.lists(st.floats(), max_size=5), st.sampled_from(FLOATS), st.sampled_from(FLOATS))
@example([65504.0, 65519.9], "f8", "<f2")
@example([65520.0], "f8", "<f2")
def test_floats_into_floats(values: list[float], source: str, target: str) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values).astype(source)
        expected = [np.dtype(target).type(value) for value in array.tolist()]
    found = cast_or_none(array, target)
    if any(np.isinf(e) and not np.isinf(v) for e, v in zip(expected, array, strict=True)):
        assert found is None
    else:
        assert found is not None
        assert np.array_equal(found, np.array(expected, target), equal_nan=True)


UNITS = {"D": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


@given(
    st.lists(EDGES | st.integers(-(2**62), 2**62) | st.integers(-48, 48), max_size=4),
    st.sampled_from(list(UNITS)),
    st.sampled_from(list(UNITS)),
    st.sampled_from("mM"),
)
def test_times_into_times(values: list[int], source: str, target: str, kind: str) -> None:
    values = [value for value in values if -(2**63) < value < 2**63]
    array = np.array(values, "i8").view(f"{kind}8[{source}]")
    ticks = [value * UNITS[source] for value in values]
    found = cast_or_none(array, f"{kind}8[{target}]")
    scaled = [tick // UNITS[target] for tick in ticks if tick % UNITS[target] == 0]
    if len(scaled) == len(values) and all(-(2**63) < value < 2**63 for value in scaled):
        assert found is not None
        assert found.view("i8").tolist() == scaled
    else:
        assert found is None


@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS, "?", "c8", "c16", "S2", "U2", "M8[s]"])
@pytest.mark.parametrize("target", [*INTEGERS, *FLOATS, "?", "c8", "c16", "S3", "U3", "M8[s]"])
def test_an_empty_array_is_cast_as_a_full_one(source: str, target: str) -> None:
    """Whether kinds go together does not depend on there being values."""
    full = np.ones(1, source) if source[0] not in "SUM" else np.zeros(1, source)
    assert (cast_or_none(full[:0], target) is None) == (cast_or_none(full, target) is None)


@pytest.mark.parametrize("layout", strategies.MEMORY_LAYOUTS)
@pytest.mark.parametrize("dtype", strategies.DTYPES, ids=repr)
def test_what_fits_is_not_copied(dtype: Any, layout: Callable[[Array], Array]) -> None:
    array = layout(strategies.filled(dtype, (4, 2), 1))
    found = fit("a", array, array.dtype, array.shape[1:])
    assert np.shares_memory(found, array) == array.flags.c_contiguous
    assert found.flags.c_contiguous
    assert np.array_equal(found, array)


# A ragged column is a list of bytes, and a table one of rows ------------------------------------------


ITEMS = st.lists(st.binary(max_size=3), max_size=5)
NUMBERS = [st.integers(0, 9)] * 3 + [st.just(0)]
ROWS = st.lists(st.builds(Entry, st.binary(max_size=3), *NUMBERS, *[st.binary(max_size=2)] * 2))


def rows_of(entries: Entries) -> list[Entry]:
    """Take a table apart."""
    columns: list[Any] = [
        [b""] * entries.n_names if column is None else list(column) for column in entries
    ]
    assert list(hash_all(columns[0])) == columns.pop(1)
    return list(map(Entry, *columns))


@given(ITEMS, st.slices(5).map(lambda some: slice(some.start, some.stop)))
def test_a_ragged_column_is_a_list(items: list[bytes], some: slice) -> None:
    column = RaggedColumn.of(items)
    assert column.is_sound
    assert len(column) == len(items)
    assert list(column) == column.split() == items
    assert column[some].split() == items[some]
    spans = zip(column.starts.tolist(), column.ends.tolist(), strict=True)
    assert [b"".join(items)[start:end] for start, end in spans] == items


@pytest.mark.parametrize("ends", [[-1, 3], [2, 1], [1, 4], [5, 3]])
def test_a_ragged_column_that_is_not_sound(ends: list[int]) -> None:
    column = RaggedColumn(np.array(ends), np.zeros(3, np.uint8))
    assert not column.is_sound
    assert not column[:].is_sound
    with pytest.raises(ValueError, match="bytes"):
        list(column)


@given(st.lists(ROWS, max_size=3), st.integers(0, 4), st.integers(0, 4))
def test_a_table_is_a_list_of_rows(parts: list[list[Entry]], first: int, last: int) -> None:
    rows = [row for part in parts for row in part]
    joined = end_to_end(list(map(table_of, parts)))
    assert rows_of(table_of(rows)) == rows_of(joined) == rows
    assert rows_of(joined.part(slice(first, last))) == rows[first:last]
    assert joined.n_rows == max([row.end for row in rows if row.start < row.end], default=0)


@given(ROWS, st.sampled_from([journal.PUT, journal.POINT, journal.DELETE]))
def test_a_table_as_records(rows: list[Entry], kind: int) -> None:
    """Also if it does not go into one."""
    pointed = int(kind == journal.POINT)
    rows = [row._replace(end=row.start + row.end, pointed=pointed) for row in rows]
    gone = [Entry(row.name, DELETED, DELETED, 0) for row in rows]
    for limit in (1, 2, 2**22):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "RECORD_LIMIT_NAMES", limit)
            records = journal.encode_records(kind, table_of(rows), seed=3)
        frames = list(journal.frames(b"".join(raw for _, raw in records), 0, 3, "here"))
        assert len(frames) == max(1, -(-len(rows) // limit))
        assert [frame.n_more for frame in frames] == list(reversed(range(len(frames))))
        assert [frame.hashes().tolist() for frame in frames] == [list(some) for some, _ in records]
        decoded = end_to_end(journal.decode_all(frames, "here").records)
        assert rows_of(decoded) == (gone if kind == journal.DELETE else rows)


# A checkpoint folds the journal in without an overlay --------------------------------------------------


NAMES = [*COLLIDING, "a", "größe", ""]


def change_at_random(writer: ptrarray.PointerArrayWriter, rng: np.random.Generator) -> None:
    """Make one change of any kind, often to names that are there."""
    name = str(rng.choice(NAMES))
    match rng.integers(6):
        case 0 if name in writer:
            del writer[name]
        case 1 if name in writer:
            writer.meta[name] = {"n": int(rng.integers(9))}
        case 2:
            writer.point(name, 0, int(rng.integers(2)), overwrite=True)
        case 3:
            writer.attrs["n"] = int(rng.integers(9))
        case 4:
            arrays = {str(n): np.arange(rng.integers(4)) for n in rng.permutation(NAMES)[:5]}
            writer.write(arrays, overwrite=True, meta={name: {"x": 1} for name in list(arrays)[:2]})
        case _:
            writer[name] = np.ones((2, int(rng.integers(3))))


def folded_one_by_one(index: Index, records: list[Entries]) -> list[Entry]:
    rows = {row.name: row for row in rows_of(index.entries())}
    for row in itertools.chain.from_iterable(map(rows_of, records)):
        rows.pop(row.name, None)
        if row.start != DELETED:
            rows[row.name] = row
    return sorted(rows.values(), key=lambda row: row.start)


@pytest.mark.parametrize("seed", range(12))
def test_folding_a_journal_in(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    writer = ptrarray.create(tmp_path / "a.ptr")
    writer["first"] = np.zeros(64, np.uint8)
    for _ in range(rng.integers(20)):
        change_at_random(writer, rng)
    ptrarray.checkpoint(tmp_path / "a.ptr")
    for _ in range(rng.integers(30)):
        change_at_random(writer, rng)
    session = Session(tmp_path / "a.ptr")
    with session.locked(), Journal(tmp_path / "a.ptr", writable=False) as log:
        records = log.changes(session.journal_header, journal.RECORDS_START).records
        plain, folded = session.snapshot().overlay.folded(), fold(session.index, records)
        for column, other in zip(plain, folded, strict=True):
            assert type(column) is type(other)
            pair: Any = column, other
            if isinstance(column, RaggedColumn):
                assert np.array_equal(*(ragged.ends for ragged in pair))
                pair = [ragged.joined for ragged in pair]
            assert column is None or np.array_equal(*pair)
        assert rows_of(folded) == folded_one_by_one(session.index, records)
    session.release()
    writer.close()


@pytest.mark.parametrize("starts", list(itertools.permutations([0, 10, 20, 30])))
def test_an_index_that_is_not_in_data_order(starts: tuple[int, ...], tmp_path: Path) -> None:
    """Every array is there once, all the same."""
    path = tmp_path / "a.ptr"
    writer = ptrarray.create(path, dtype="u1", rows=99)
    rows = [Entry(name, at, at) for name, at in zip([b"a", b"b", b"c", b"d"], starts, strict=True)]
    session = Session(path)
    with session.locked():
        generation = session.header.generation + 1
        header = replace(session.header, generation=generation, n_rows=99)
        session.put_index(header, table_of(rows))
    session.release()
    for name, start in [("e", 25), ("f", 5), ("b", 15)]:
        writer.write({name: np.zeros(1, np.uint8)}, start=start, overwrite=True)
    pointers = {row.name.decode(): (row.start, row.end) for row in rows}
    pointers |= {"e": (25, 26), "f": (5, 6), "b": (15, 16)}
    for _ in range(2):
        with ptrarray.open(path) as store:
            assert len(store) == len(pointers)
            assert store.pointers == pointers
            columns = zip(store.starts.tolist(), store.ends.tolist(), strict=True)
            assert dict(zip(store, columns, strict=True)) == pointers
        ptrarray.checkpoint(path)
    writer.close()
