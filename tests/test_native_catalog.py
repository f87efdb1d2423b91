"""The native core's finder of names in several indexes: the same as asking each of them, or nothing."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray import native
from ptrarray.format import table
from ptrarray.format.names import hash_all
from tests.support import strategies
from tests.support.colliding import COLLIDING
from tests.support.columns import Columns
from tests.support.sanitized import in_a_block

pytestmark = [
    pytest.mark.skipif(not native.core, reason=native.variant()),
    pytest.mark.usefixtures("limits"),
]
core: Any = native.core

NAMES = st.one_of(
    strategies.names().map(str.encode),
    st.sampled_from([name.encode() for name in COLLIDING]),
    st.binary(max_size=2),
)
PARTS = st.lists(st.lists(NAMES, unique=True, max_size=8), max_size=5)


def columns_of(parts: list[list[bytes]]) -> tuple[Any, int, Any]:
    """Return the name table of all parts, its home slots, and where each of them ends."""
    names = [name for part in parts for name in part]
    slots = table.build(np.array(hash_all(names), np.uint32)).reshape(-1)
    ends = np.cumsum([len(part) for part in parts], dtype=np.uint64)
    return in_a_block(slots), table.count_homes(len(names)), in_a_block(ends)


def rows_of(number: int) -> Any:
    return in_a_block(np.arange(100, dtype="i4") + 1000 * number)


def finders_of(parts: list[list[bytes]]) -> list[Any]:
    return [Columns.of(part).finder(rows_of(number)) for number, part in enumerate(parts)]


@given(PARTS, st.lists(NAMES, max_size=5))
def test_finds_what_is_in_the_last_part_that_has_it(
    parts: list[list[bytes]], others: list[bytes]
) -> None:
    catalog = core.catalog(*columns_of(parts), finders_of(parts))
    asked = [*{name for part in parts for name in part}, *others]
    expected: list[int | None] = []
    views: list[list[int] | None] = []
    for name in asked:
        numbers = [number for number, part in enumerate(parts) if name in part]
        number = max(numbers, default=-1)
        at = parts[number].index(name) if numbers else 0
        expected.append(number << 32 | at if numbers else -1)
        views.append([1000 * number + at] if numbers else None)
    hashes = {zlib.crc32(name) for part in parts for name in part}
    may_doubt = [
        at == -1 and zlib.crc32(name) in hashes for name, at in zip(asked, expected, strict=True)
    ]
    expected = [None if doubt else at for doubt, at in zip(may_doubt, expected, strict=True)]
    assert [catalog.find(name) for name in asked] == expected
    many = catalog.find_many(asked, None, None)
    assert (None if many is None else many.tolist()) == (None if any(may_doubt) else expected)
    got = [catalog.get(name) for name in asked]
    assert [None if view is None else view.tolist() for view in got] == views


@given(PARTS, st.data())
def test_a_part_that_is_not_there_is_not_mine(parts: list[list[bytes]], data: Any) -> None:
    finders = finders_of(parts)
    catalog = core.catalog(*columns_of(parts), finders)
    for number, part in enumerate(parts):
        kept = finders[number]
        finders[number] = data.draw(st.sampled_from([None, "no finder", catalog]))
        assert all(catalog.find(name) is None and catalog.get(name) is None for name in part)
        assert not part or catalog.find_many(part, None, None) is None
        finders[number] = kept
    names = [name for part in parts for name in part]
    finders.clear()
    assert all(catalog.find(name) is None for name in names)


@given(PARTS, st.data())
def test_whatever_is_in_the_columns_names_decide(parts: list[list[bytes]], data: Any) -> None:
    """Numbers of any size: no stray read, and nothing that an index has not under this name."""
    slots, n_homes, ends = columns_of(parts)
    changed = []
    for column in (slots.copy(), ends.copy()):
        top = int(np.iinfo(column.dtype).max)
        numbers = st.sampled_from([0, 1, 2, 2**31, 2**32 - 2, top]) | st.integers(0, top)
        for _ in range(data.draw(st.integers(0, 3)) if len(column) else 0):
            column[data.draw(st.integers(0, len(column) - 1))] = data.draw(numbers)
        changed.append(in_a_block(column))
    homes = data.draw(st.integers(0, 2 * n_homes))
    catalog = core.catalog(changed[0], homes, changed[1], finders_of(parts))
    for name in {name for part in parts for name in part} if catalog else ():
        found = catalog.find(name)
        if found is not None and found >= 0:
            assert parts[found >> 32][found & 0xFFFF_FFFF] == name
        view = catalog.get(name)
        if view is not None:
            number, at = divmod(int(view[0]), 1000)
            assert parts[number][at] == name


@pytest.mark.parametrize("what", ["slots", "ends", "homes", "odd slots"])
def test_refuses_columns_that_do_not_go_together(what: str) -> None:
    slots, n_homes, ends = columns_of([[b"a"], [b"b"]])
    wrong = {
        "slots": (slots.astype(np.uint64), n_homes, ends),
        "ends": (slots, n_homes, ends.astype(np.uint32)),
        "homes": (slots, len(slots) // 2, ends),
        "odd slots": (in_a_block(slots[1:]), n_homes, ends),
    }
    assert core.catalog(*wrong[what], []) is None
    with pytest.raises(TypeError):
        core.catalog(slots, n_homes, ends, ())


def test_keeps_what_it_reads_alive() -> None:
    parts = [[b"a"], [b"b"]]
    catalog = core.catalog(*columns_of(parts), finders_of(parts))
    view = catalog.get("b")
    del catalog
    assert view.tolist() == [1000]
