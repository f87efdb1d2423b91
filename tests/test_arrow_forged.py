"""Arrow data that makes no sense: refused before it is followed, and nothing of it is committed."""

from __future__ import annotations

import dataclasses
import gc
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import Ragged
from ptrarray.errors import BadInputError
from tests.support.arrow_forging import BROKEN, Forged, Item, ints, lists, names, numbers, table
from tests.support.checks import check_exactly

pytestmark = pytest.mark.usefixtures("limits")

NAMES = names("a", "b")
FIVE = numbers(1, 2, 3, 4, 5)
GOOD = lists([0, 2, 5], FIVE)


def views(starts: Any, sizes: Any, kind: str = "+vl", **options: Any) -> Item:
    width = "i8" if kind == "+vL" else "i4"
    buffers = [None, ints(*starts, dtype=width), ints(*sizes, dtype=width)]
    return Item(kind, "values", len(starts), buffers, [FIVE], **options)


def text_views(lengths: Any, which: int = 0, start: int = 0, sizes: Any = (20,)) -> Item:
    raw = np.zeros((len(lengths), 4), "i4")
    raw[:, 0], raw[:, 2], raw[:, 3] = lengths, which, start
    more = [b"x" * size for size in sizes]
    buffers = [None, raw.tobytes(), *more, ints(*sizes, dtype="i8")]
    return Item("vu", "name", len(lengths), buffers)


def chosen(*indices: int, kind: str = "i") -> Item:
    return Item(kind, "name", len(indices), [None, ints(*indices)], dictionary=names("x", "y"))


def nested(depth: int) -> Item:
    item = numbers()
    for _ in range(depth):
        item = Item("+w:1", "values", 0, [None], [item])
    return item


LISTS = {
    "offsets that fall": lists([0, 4, 2], FIVE),
    "offsets past the values": lists([0, 2, 6], FIVE),
    "offsets far past the values": lists([0, 2, 2**31 - 1], FIVE),
    "a negative offset": lists([-1, 2, 5], FIVE),
    "large offsets that fall": lists([0, 4, 2], FIVE, "+L"),
    "large offsets past the values": lists([0, 2, 2**62], FIVE, "+L"),
    "large offsets that wrap around": lists([0, 2**63 - 1, -(2**63)], FIVE, "+L"),
    "no offsets": Item("+l", "values", 2, [None, None], [FIVE]),
    "no values": lists([0, 2, 5], numbers(1, 2, 3, 4, 5, buffers=[None, None])),
    "fewer values than it says": lists([0, 2, 5], numbers(1, 2, 3, says={"offset": 2})),
    "views past the values": views([0, 4], [2, 2]),
    "views of negative sizes": views([0, 4], [2, -1]),
    "views that begin before": views([0, -1], [2, 2]),
    "large views that wrap around": views([0, 2**63 - 1], [2, 2**63 - 1], "+vL"),
    "more lists of a size than values": Item("+w:3", "values", 2, [None], [FIVE]),
    "lists of a huge size": Item("+w:2147483647", "values", 2, [None], [FIVE]),
    "lists of a size that is no number": Item("+w:x", "values", 2, [None], [FIVE]),
    "lists of a negative size": Item("+w:-1", "values", 2, [None], [FIVE]),
    "no child": lists([0, 2, 5], None),
    "fewer children": lists([0, 2, 5], FIVE, says={"n_children": 0}),
    "more children": lists([0, 2, 5], FIVE, says={"n_children": 2}),
    "children without a list of them": lists([0, 2, 5], FIVE, says={"children": None}),
    "fewer buffers": lists([0, 2, 5], FIVE, says={"n_buffers": 1}),
    "more buffers": lists([0, 2, 5], FIVE, says={"n_buffers": 3}),
    "buffers without a list of them": lists([0, 2, 5], FIVE, says={"buffers": None}),
    "a negative length": lists([0, 2, 5], FIVE, says={"length": -1}),
    "a negative offset of all": lists([0, 2, 5], FIVE, says={"offset": -1}),
    "a huge offset of all": lists([0, 2, 5], FIVE, says={"offset": 2**62}),
    "nulls, and nothing says which": lists([0, 2, 5], FIVE, says={"null_count": 1}),
    "more nulls than lists": lists([0, 2, 5], FIVE, says={"null_count": 3}),
    "an unknown type": Item("?", "values", 2, [None, None]),
    "an unknown type of values": lists([0, 2, 5], dataclasses.replace(FIVE, format="q")),
    "no type": lists([0, 2, 5], dataclasses.replace(FIVE, schema_says={"format": None})),
    "bytes of no width": lists([0, 2, 5], dataclasses.replace(FIVE, format="w:0")),
    "types without end": nested(70),
    "a schema of a negative number of children": Item(
        "+l", "values", 2, [None], schema_says={"n_children": -1}
    ),
    "a schema of a list of nothing": Item("+l", "values", 2, [None, ints(0, 0, 0)]),
    "a schema without a list of its children": lists(
        [0, 2, 5], FIVE, schema_says={"children": None}
    ),
}
TEXTS = {
    "text offsets that fall": names("a", "b", buffers=[None, ints(0, 2, 1), b"ab"]),
    "text offsets below zero": names("a", "b", buffers=[None, ints(-1, 1, 2), b"ab"]),
    "no text": names("a", "b", buffers=[None, ints(0, 1, 2), None]),
    "no text offsets": names("a", "b", buffers=[None, None, b"ab"]),
    "text that is not UTF-8": names("a", "b", buffers=[None, ints(0, 1, 2), b"a\xff"]),
    "a character cut in two": names("a", "b", buffers=[None, ints(0, 1, 2), "ü".encode()]),
    "a lone surrogate": names("a", "b", buffers=[None, ints(0, 1, 4), b"a\xed\xa0\x80"]),
    "text in views past its buffer": text_views([20, 21]),
    "text in views from before its buffer": text_views([20, 20], start=-1),
    "text in views of no buffer": text_views([20, 20], which=1),
    "text in views of a negative buffer": text_views([20, 20], which=-1),
    "text in views of a negative length": text_views([20, -1]),
    "text in views without sizes": Item("vu", "name", 2, [None, bytes(32)]),
    "numbers past the dictionary": chosen(0, 2),
    "numbers before the dictionary": chosen(0, -1),
    "numbers that are none": chosen(0, 1, kind="f"),
    "no dictionary": Item(
        "i", "name", 2, [None, ints(0, 1)], dictionary=names("x"), says={"dictionary": None}
    ),
    "too few names": names("a", says={"offset": 0}),
}
TABLES = {
    "a table longer than its columns": table(NAMES, GOOD, says={"length": 3}),
    "a table that begins later": table(NAMES, GOOD, says={"offset": 1}),
    "a null row": Item("+s", "", 2, [b"\x01"], [NAMES, GOOD], says={"null_count": 1}),
    "a table without buffers": table(NAMES, GOOD, says={"n_buffers": 0}),
}
ALL = {
    **{what: table(NAMES, item) for what, item in LISTS.items()},
    **{what: Item("+s", "", 2, [None], [item, GOOD]) for what, item in TEXTS.items()},
    **TABLES,
}


def types_of(item: Item | None) -> Any:
    if item is None:
        return None
    return item.format, item.schema_says, item.dictionary, [*map(types_of, item.children)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer:
        writer["before"] = [7]
    return tmp_path / "a.ptr"


def test_what_is_forged_here_is_read_if_it_is_sound(path: Path) -> None:
    sound = [
        GOOD,
        views([3, 0], [2, 3]),
        views([3, 0], [2, 3], "+vL"),
        lists([0, 2, 5], FIVE, "+L"),
    ]
    with ptrarray.append(path) as writer:
        for values in sound:
            for is_stream in (False, True):
                given = Forged([table(NAMES, values)], is_stream=is_stream)
                assert writer.write_arrow(given, overwrite=True) == 2
                assert sorted(map(sum, map(np.ndarray.tolist, writer.values()))) in (
                    [3, 7, 12],
                    [6, 7, 9],
                )
        assert writer.write_arrow(Forged([table(text_views([20, 3]), GOOD)])) == 2
        assert writer.write_arrow(Forged([table(chosen(0, 1), GOOD)])) == 2
        assert sorted(writer) == ["\0\0\0", "a", "b", "before", "x", "x" * 20, "y"]


def test_a_null_row_hides_what_is_in_it() -> None:
    rows = Item("+w:2", "item", 3, [b"\x05"], [numbers(1, 2, 3, 4, 5, 6)])
    found = Ragged.from_arrow(Forged([lists([0, 1, 3], rows)]))
    assert found.values.tolist() == [[1, 2], [None, None], [5, 6]]


def test_what_lies_under_a_null_is_not_written(tmp_path: Path) -> None:
    hidden = numbers(1, 2, 3, 4, 5, buffers=[b"\x15", ints(1, 2, 3, 4, 5)])
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4", masked=True) as writer:
        writer.write_arrow(Forged([table(NAMES, lists([0, 2, 5], hidden))]))
        assert writer["b"].tolist() == [3, None, 5]
        assert np.ma.getdata(writer["b"]).tolist() == [3, 0, 5]
    times = Item("tsn:", "item", 2, [b"\x01", ints(1, 7, dtype="i8")])
    with ptrarray.create(tmp_path / "t.ptr", dtype="M8[ns]") as writer:
        writer.write_arrow(Forged([table(names("a"), lists([0, 2], times))]))
        assert np.isnat(writer["a"]).tolist() == [False, True]


@pytest.mark.parametrize("what", ALL)
def test_what_makes_no_sense_is_refused_and_nothing_is_committed(path: Path, what: str) -> None:
    good = table(names("c", "d"), GOOD)
    with ptrarray.append(path) as writer:
        for items in ([ALL[what]], [good, ALL[what]]):
            if len({str(types_of(item)) for item in items}) == 2:
                continue  # the batches of a stream have one type
            given = Forged(items, is_stream=len(items) == 2)
            with pytest.raises(BadInputError) as caught:
                writer.write_arrow(given)
            assert "a.ptr" in str(caught.value)
        assert writer["before"].tolist() == [7]
        writer["after"] = [8]
        assert writer.pointers["after"] == (1, 2)  # what was reserved was given back
    check_exactly(path, {"before": np.array([7], "i4"), "after": np.array([8], "i4")})


@pytest.mark.parametrize("what", LISTS)
def test_a_column_that_makes_no_sense_is_no_ragged(what: str) -> None:
    with pytest.raises(BadInputError):
        Ragged.from_arrow(Forged([LISTS[what]], is_stream=False))


@given(
    offsets=st.lists(st.integers(-3, 8), min_size=1, max_size=5),
    kind=st.sampled_from(["+l", "+L"]),
    start=st.integers(0, 4),
)
def test_offsets_are_followed_only_where_they_lead_somewhere(
    offsets: list[int], kind: str, start: int
) -> None:
    n = max(len(offsets) - 1 - start, 0)
    start = min(start, len(offsets) - 1)
    item = lists(offsets, FIVE, kind, says={"length": n, "offset": start})
    used = offsets[start:] if n else []
    is_sound = used == sorted(used) and all(0 <= offset <= 5 for offset in used)
    if is_sound:
        found = Ragged.from_arrow(Forged([item])).to_list()
        assert [list(one) for one in found] == [[1, 2, 3, 4, 5][i:j] for i, j in pairwise(used)]
    else:
        with pytest.raises(BadInputError):
            Ragged.from_arrow(Forged([item]))


@given(st.lists(st.tuples(st.integers(-2, 7), st.integers(-2, 7)), max_size=5))
def test_views_are_followed_only_where_they_lead_somewhere(spans: list[tuple[int, int]]) -> None:
    item = views([start for start, _ in spans], [size for _, size in spans])
    is_sound = all(
        size >= 0 and (not size or (start >= 0 and start + size <= 5)) for start, size in spans
    )
    if is_sound:
        found = Ragged.from_arrow(Forged([item])).to_list()
        assert [list(one) for one in found] == [
            [1, 2, 3, 4, 5][start : start + size] if size else [] for start, size in spans
        ]
    else:
        with pytest.raises(BadInputError):
            Ragged.from_arrow(Forged([item]))


# capsules -----------------------------------------------------------------------------------------


def other(**attributes: Any) -> Any:
    return type("Other", (), attributes)()


GIVEN: dict[str, Callable[[], Any]] = {
    "neither method": lambda: [1, 2],
    "other names of capsules": lambda: Forged([GOOD], is_stream=False, names=("x", "y", "z")),
    "another name of the stream": lambda: Forged([GOOD], names=("x", "y", "z")),
    "capsules that were used up": lambda: Forged([GOOD], is_stream=False, is_released=True),
    "a stream that was used up": lambda: Forged([GOOD], is_released=True),
    "no capsule": lambda: other(__arrow_c_stream__=lambda self: 3),
    "no capsules": lambda: other(__arrow_c_array__=lambda self: (None, None)),
    "one capsule": lambda: other(__arrow_c_array__=lambda self: Forged([GOOD]).stream()),
    "three capsules": lambda: other(__arrow_c_array__=lambda self: (1, 2, 3)),
}


@pytest.mark.parametrize("what", GIVEN)
def test_what_hands_over_no_arrow_data_is_refused(path: Path, what: str) -> None:
    with pytest.raises(BadInputError):
        Ragged.from_arrow(GIVEN[what]())
    with ptrarray.append(path) as writer, pytest.raises(BadInputError, match=r"a\.ptr"):
        writer.write_arrow(GIVEN[what]())


def test_a_stream_that_breaks_off_commits_nothing_and_says_why(path: Path) -> None:
    batches = [table(names(f"{n}a", f"{n}b"), GOOD) for n in range(4)]
    given = Forged(batches, error=BROKEN)
    with ptrarray.append(path) as writer:
        with pytest.raises(BadInputError, match="batch 3: the dog ate it"):
            writer.write_arrow(given)
        assert writer.pointers == {"before": (0, 1)}
        assert writer.reserve(0) == 1
        with pytest.raises(BadInputError, match="batch 3"):
            Ragged.from_arrow(Forged([GOOD] * 4, error=BROKEN))


def test_all_that_is_handed_over_is_released_once_it_is_used(path: Path) -> None:
    batches = [table(names(f"{n}a", f"{n}b"), GOOD) for n in range(3)]
    given = Forged(batches)
    with ptrarray.append(path) as writer:
        writer.write_arrow(given)
    gc.collect()
    assert given.n_released == 1 + len(batches)  # and the stream goes with its capsule
    column = Forged([GOOD])
    values = Ragged.from_arrow(column).values[1:]
    gc.collect()
    assert (column.n_released, values.tolist()) == (1, [2, 3, 4, 5])
    del values
    gc.collect()
    assert column.n_released == 2


def test_errors_survive_pickling(path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        Ragged.from_arrow(Forged([GOOD] * 2, error=BROKEN))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
