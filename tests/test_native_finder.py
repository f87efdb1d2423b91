"""The native core's name table and finder: the same as the pure index, or nothing."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptrarray import native
from ptrarray.errors import CorruptStoreError
from ptrarray.format import table
from ptrarray.storage.store.index import Index
from ptrarray.storage.system.mapping import Mode, map_rows
from tests.support import strategies
from tests.support.colliding import COLLIDING
from tests.support.columns import Columns
from tests.support.sanitized import in_a_block

pytestmark = [
    pytest.mark.skipif(not native.core, reason=native.variant()),
    pytest.mark.usefixtures("limits"),
]
core: Any = native.core
VIEWS, PAIRS = False, True
ALIKE = [name.encode() for name in COLLIDING]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


# find ---------------------------------------------------------------------------------------------

raw_names = st.one_of(
    strategies.names().map(str.encode),
    st.sampled_from(ALIKE),
    st.binary(max_size=6),
)
many_names = st.lists(raw_names, unique=True, max_size=12)


@given(many_names, many_names)
@example([b""], [b"a"])
@example(ALIKE, [b"\xff"])
def test_find_is_that_of_the_index(folder: Path, names: list[bytes], others: list[bytes]) -> None:
    columns = Columns.of(names)
    finder, index = columns.finder(), columns.index(folder)
    asked = [*names, *others]
    expected = [index.find(name) for name in asked]
    assert expected[: len(names)] == list(range(len(names)))
    assert list(map(finder.find, asked)) == expected
    assert finder.find_many(asked, None, None).tolist() == expected
    texts = [name.decode() for name in asked if is_text(name)]
    found = [position for name, position in zip(asked, expected, strict=True) if is_text(name)]
    assert list(map(finder.find, texts)) == found
    assert finder.find_many(texts, None, None).tolist() == found
    of = Columns.of(asked)
    hashes = in_a_block(np.array(list(map(zlib.crc32, asked)), np.uint32))
    got = finder.find_many(of.names, of.name_ends, hashes)
    assert got.dtype == np.int64
    assert got.tolist() == expected == index.find_many(asked, hashes).tolist()


def is_text(name: bytes) -> bool:
    try:
        return bool(name.decode()) or True
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600, 5000])
def test_find_many_in_groups(folder: Path, n: int) -> None:
    names = [f"utt{i}".encode() * (1 + i % 3) for i in range(n)]
    columns = Columns.of(names)
    asked = [name for i in range(n) for name in (names[-i], b"other%d" % i)]
    got = columns.finder().find_many(asked, None, None).tolist()
    assert got[::2] == [-i % n for i in range(n)]
    assert set(got[1::2]) == {-1}


def test_find_of_what_is_no_name() -> None:
    finder = Columns.of([b"a"]).finder()

    class Text(str):
        __slots__ = ()

    for odd in (Text("a"), bytearray(b"a"), "\udc80", None, 0, ("a",)):
        assert finder.find(odd) is None
        assert finder.get(odd) is None
        assert finder.find_many(["a", odd], None, None) is None
    assert finder.find_many([], None, None).tolist() == []
    for odd_at in (True, 1.0, -1, 2**64, None, "0", 1):
        assert finder.at(odd_at) is None


A = np.frombuffer(b"abc", np.uint8)


@pytest.mark.parametrize(
    ("names", "ends", "hashes"),
    [
        (("a",), None, None),
        (A, None, None),
        (A, np.array([3]), None),
        (A, np.array([1, 3]), np.zeros(1, np.uint32)),
        (A, np.array([4]), np.zeros(1, np.uint32)),
        (A, np.array([-1]), np.zeros(1, np.uint32)),
        (A, np.array([2, 1]), np.zeros(2, np.uint32)),
        (A[::2], np.array([1]), np.zeros(1, np.uint32)),
        (A, np.array([1], np.int32), np.zeros(1, np.uint32)),
        (A, np.array([1]), np.zeros(1, np.int64)),
        (b"abc", np.array([1]), np.zeros(1, np.uint32)),
    ],
    ids=lambda what: f"{what!r:.40}",
)
def test_find_many_of_what_does_not_go_together(names: Any, ends: Any, hashes: Any) -> None:
    assert Columns.of([b"a"]).finder().find_many(names, ends, hashes) is None


# columns that do not go together ------------------------------------------------------------------

GOOD = Columns.of([b"a", b"bc"])


@pytest.mark.parametrize("name", ["slots", "name_ends", "names", "starts", "ends"])
def test_columns_that_are_none(name: str) -> None:
    good = getattr(GOOD, name)
    as_pairs = good.reshape(1, -1)
    wider = np.dtype("u8" if good.itemsize < 8 else "u4")
    odd = [good.tobytes(), good.tolist(), None, good.astype(wider), good.astype(f"f{4}"), as_pairs]
    odd.append(np.repeat(good, 2)[::2])
    if good.itemsize > 1:
        odd += [strategies.misaligned(good), good.astype(good.dtype.newbyteorder())]
    if name in ("starts", "ends", "name_ends"):
        odd += [good[:1], np.append(good, good[:1]), good[:0]]
    for column in odd:
        assert GOOD.finder(**{name: column}) is None


def test_tables_that_are_none() -> None:
    for slots in (GOOD.slots[:-1], GOOD.slots[: 2 * GOOD.n_homes], GOOD.slots[:0]):
        assert GOOD.finder(slots=slots) is None
    for n_homes in (len(GOOD.slots) // 2, 2**32 - 1, 2**63, -1):
        assert GOOD.finder(n_homes=n_homes) is None
    with pytest.raises(TypeError):
        GOOD.finder(n_homes="4")
    assert GOOD.finder() is not None


# views --------------------------------------------------------------------------------------------


def rows_in_every_mode(tmp_path: Path, dtype: str, row_shape: tuple[int, ...]) -> Iterator[Any]:
    rows = strategies.filled(dtype, (10, *row_shape), 3)
    (tmp_path / "data.bin").write_bytes(rows.tobytes())
    modes: tuple[Mode, ...] = ("r", "r+", "c")
    for mode in modes:
        for n_rows in (10, 1, 0):
            yield map_rows(
                tmp_path / "data.bin",
                np.dtype(dtype),
                row_shape,
                n_rows,
                mode=mode,
            )
    yield rows
    yield in_a_block(rows)
    yield rows[2:9]
    yield strategies.misaligned(rows)
    yield rows[::3][:1]


def assert_same_view(got: Any, expected: Any) -> None:
    assert type(got) is type(expected) is np.ndarray
    assert got.dtype is expected.dtype
    assert (got.shape, got.strides) == (expected.shape, expected.strides)
    assert repr(got.flags) == repr(expected.flags)
    assert got.base is expected.base
    assert got.tobytes() == expected.tobytes()
    if got.size:
        assert got.ctypes.data == expected.ctypes.data


@pytest.mark.parametrize("row_shape", [(), (1,), (80,), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["<i4", ">f8", "S5", "<M8[s]", "i1,<f8"])
def test_views_are_slices(tmp_path: Path, dtype: str, row_shape: tuple[int, ...]) -> None:
    pairs = [(0, 0), (0, 1), (1, 1), (2, 7), (0, 10), (9, 10), (10, 10), (11, 11), (2**62, 2**62)]
    names = [b"%d" % i for i in range(len(pairs))]
    starts, ends = np.array(pairs, np.uint64).T.copy()
    for rows in rows_in_every_mode(tmp_path, dtype, row_shape):
        finder = Columns.of(names).finder(rows, starts=starts, ends=ends)
        others: list[int] = []
        walked = list(finder.iterate(VIEWS, others.append))
        for at, (start, end) in enumerate(pairs):
            got = finder.at(at)
            if end > len(rows) and start < end:
                assert got is finder.get(b"%d" % at) is walked[at] is None
                assert others.pop(0) == at
                continue
            for view in (got, finder.get(b"%d" % at), finder.get(str(at)), walked[at]):
                assert_same_view(view, rows[start:end])
        assert others == []


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(9)[::2],
        np.ma.masked_array(np.arange(9)),
        np.array([None]),
        np.empty((3, 0)),
        np.array(3),
        "rows",
        np.zeros((1,) * 33),
    ],
    ids=lambda what: f"{what!r:.30}",
)
def test_rows_that_give_no_views(rows: Any) -> None:
    assert GOOD.finder(rows) is None


def test_without_rows_there_are_no_views() -> None:
    finder = GOOD.finder(None)
    assert finder.get("a") is finder.at(0) is None
    assert finder.iterate(VIEWS, print) is finder.iterate(PAIRS, print) is None


def test_a_shape_that_is_set_later_changes_nothing() -> None:
    """As it would lead out of the rows."""
    rows = np.arange(8)
    finder = GOOD.finder(rows)
    rows.resize((2, 4), refcheck=False)
    assert finder.at(1).shape == (1,)


def test_views_keep_what_they_show_alive(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(np.arange(10).tobytes())
    rows: Any = map_rows(tmp_path / "data.bin", np.dtype(np.int64), (), 10)
    gone = weakref.ref(rows.base)
    finder = GOOD.finder(rows)
    iterator, view = finder.iterate(VIEWS, print), finder.get("a")
    del rows, finder
    gc.collect()
    assert next(iterator).tolist() == [0]
    assert gone() is not None
    del iterator
    assert view.tolist() == [0]
    del view
    assert gone() is None


# iterate ------------------------------------------------------------------------------------------


@given(many_names)
def test_iterate_gives_names_and_views(names: list[bytes]) -> None:
    rows = np.arange(len(names) * 2)
    finder = Columns.of(names, [2] * len(names)).finder(rows)
    texts = [name.decode(errors="backslashreplace") for name in names]
    others: list[int] = []

    def other(position: int) -> Any:
        others.append(position)
        return names[position], rows[2 * position : 2 * position + 2]

    views = list(finder.iterate(VIEWS, other))
    assert [view.tolist() for view in views] == rows.reshape(-1, 2).tolist()
    assert others == []
    raw = [position for position, name in enumerate(names) if not is_text(name)]
    expected = [name if i in raw else texts[i] for i, name in enumerate(names)]
    both = list(finder.iterate(PAIRS, other))
    assert others == raw
    assert [name for name, _ in both] == expected
    assert [view.tolist() for _, view in both] == [view.tolist() for view in views]


def test_iterate_passes_errors_on_and_ends() -> None:
    finder = Columns.of([b"a", b"\xff", b"c"]).finder(np.arange(3))
    iterator = finder.iterate(PAIRS, lambda at: 1 // (at - 1))
    assert iter(iterator) is iterator
    assert next(iterator)[0] == "a"
    with pytest.raises(ZeroDivisionError):
        next(iterator)
    assert [name for name, _ in iterator] == ["c"]
    assert list(iterator) == []


def test_nobody_makes_these_objects_or_copies_them() -> None:
    finder = GOOD.finder(np.arange(8))
    for one in (finder, finder.iterate(PAIRS, print)):
        with pytest.raises(TypeError):
            type(one)()
        with pytest.raises(TypeError):
            object.__new__(type(one))
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copied(one)
        with pytest.raises(TypeError):
            type(one).extra = 1


# damage -------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, 5, 8, 2**31, 2**32 - 2, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
damages = st.lists(
    st.tuples(
        st.sampled_from(["slots", "slots", "name_ends", "starts", "ends", "names", "n_homes"]),
        st.integers(0, 60),
        st.one_of(
            st.sampled_from(NUMBERS), st.integers(0, 9), st.sampled_from(ALIKE).map(zlib.crc32)
        ),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("astray", [2, 3, 2**31, 2**32 - 2])
def test_positions_that_lead_out(astray: int) -> None:
    for at in np.flatnonzero(GOOD.slots.reshape(-1, 2)[:, 1] != table.EMPTY).tolist():
        finder = GOOD.changed("slots", 2 * at + 1, astray).finder(np.arange(3))
        name = b"a" if GOOD.slots[2 * at + 1] == 0 else b"bc"
        assert finder.find(name) is finder.get(name) is None
        assert finder.find_many([b"a", b"bc"], None, None) is None


def test_a_table_without_an_end() -> None:
    slots = GOOD.slots.copy()
    slots[1::2][slots[1::2] == table.EMPTY] = 0
    finder = GOOD.finder(np.arange(3), slots=in_a_block(slots))
    for name in ("absent", "", "x", "y", "z"):
        assert finder.find(name) is finder.get(name) is None
    assert finder.find_many(["absent"], None, None) is None
    assert finder.find("bc") == 1


def pure_find(index: Index, name: bytes) -> int | None:
    try:
        return index.find(name)
    except CorruptStoreError:
        return None


@given(st.lists(raw_names, unique=True, min_size=1, max_size=6), damages)
@example(ALIKE[:2], [("slots", 1, 1)])
def test_damage_gives_what_pure_python_gives_or_nothing(
    folder: Path, names: list[bytes], damages: list[tuple[str, int, int]]
) -> None:
    columns = Columns.of(names, range(len(names)))
    for damage in damages:
        columns = columns.changed(*damage)
    rows = in_a_block(np.arange(len(names) ** 2 // 2))
    finder = columns.finder(rows)
    try:
        index = columns.index(folder)
    except (CorruptStoreError, ValueError, OverflowError):
        assert finder is None
        return
    assert finder is not None
    asked = [*names, b"absent", b"", *ALIKE]
    found = [finder.find(name) for name in asked]
    for name, position in zip(asked, found, strict=True):
        assert position is None or position == pure_find(index, name)
        if position is not None and position >= 0:
            assert_view_or_none(finder.get(name), rows, columns, position)
        else:
            assert finder.get(name) is None
    many = finder.find_many(asked, None, None)
    assert many is None if None in found else many.tolist() == found
    for position in range(len(names)):
        assert_view_or_none(finder.at(position), rows, columns, position)
    assert_iterates(finder, index, rows, columns)


def assert_view_or_none(view: Any, rows: Any, columns: Columns, position: int) -> None:
    start, end = int(columns.starts[position]), int(columns.ends[position])
    if 0 <= start <= end < 2**63 and (end <= len(rows) or start == end):
        assert_same_view(view, rows[start:end])
    else:
        assert view is None


def assert_iterates(finder: Any, index: Index, rows: Any, columns: Columns) -> None:
    for position, view in enumerate(finder.iterate(VIEWS, lambda _: None)):
        assert_view_or_none(view, rows, columns, position)
    for position, pair in enumerate(finder.iterate(PAIRS, lambda position: position)):
        if isinstance(pair, tuple):
            assert pair[0].encode() == index.name(position)
            assert_view_or_none(pair[1], rows, columns, position)
        elif finder.at(position) is not None:
            assert pair == position
            with suppress(CorruptStoreError):
                assert not is_text(index.name(position))
