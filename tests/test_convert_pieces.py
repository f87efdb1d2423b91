"""Many arrays of a file with their names: cut, held, and without those that are there."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.convert.found import Many
from ptrarray.convert.held import Held
from ptrarray.convert.named import NamedMany
from ptrarray.convert.sources import Source, name_all

SHAPES = st.sampled_from([(), (), (2,), (0,)])
PIECES = st.tuples(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),  # lengths
    st.sampled_from(["f4", "f4", ">f4", "i2", "i4,f8", "V3"]),
    SHAPES,
    st.sampled_from(["all", "some", "none"]),  # have metadata
    st.sampled_from([1, 1, 1, 2]),  # step, as of a column
)


def apart(many: NamedMany) -> list[Any]:
    """Return all that is known of each array, copied."""
    return [
        (each.label, each.name, each.meta, each.values.dtype, each.values.copy())
        for each in many.one_by_one()
    ]


@given(pieces=st.lists(PIECES, max_size=8), limit=st.sampled_from([300, 1000, 2**20]))
def test_small_pieces_are_held_and_come_in_as_they_were(pieces: list[Any], limit: int) -> None:
    given_: list[Any] = []
    waiting = Held(limit)
    came: list[Any] = []
    for number, (counts, dtype, row_shape, metas, step) in enumerate(pieces):
        offsets = 1 + np.cumsum([0, *counts])
        shape = (step * (int(offsets[-1]) + 1), *row_shape)
        raw = np.arange(int(np.prod(shape)) * np.dtype(dtype).itemsize, dtype="u1") + number
        values = raw.view(dtype).reshape(shape) if raw.size else np.empty(shape, dtype)
        keys = [f"{number}-{n}" for n in range(len(counts))]
        found: dict[str, Any] = {
            "all": [{"n": n} for n in keys],
            "some": [{"n": 1}] + [{}] * (len(keys) - 1),
        }
        many = Many(keys, values[::step], offsets, found.get(metas, ()))
        named = NamedMany.of(many, Source("x" if number < 2 else "y", "s"))
        given_ += apart(named)
        for piece in waiting.add(named):
            came += apart(piece)
        raw[:] = 0  # as memory that is used again
    for piece in waiting.taken():
        came += apart(piece)
    assert list(waiting.taken()) == []
    assert [item[:4] for item in came] == [item[:4] for item in given_]
    for one, other in zip(came, given_, strict=True):
        assert one[4].shape == other[4].shape
        assert one[4].tobytes() == other[4].tobytes()


@given(st.lists(st.integers(0, 3), min_size=1), st.data())
def test_those_that_are_not_there_are_left(counts: list[int], data: st.DataObject) -> None:
    offsets = 2 + np.cumsum([0, *counts])
    values = np.arange(offsets[-1] + 3)
    keys = [f"k{n}" for n in range(len(counts))]
    metas = data.draw(st.sampled_from([(), [{"n": n} for n in range(len(counts))]]))
    there = data.draw(st.sets(st.sampled_from(keys)))
    named = NamedMany.of(Many(keys, values, offsets, metas), Source("x", "s"))
    left, found = named.without({f"s/{key}" for key in there})
    assert sorted(name for _, name in found) == sorted(f"s/{key}" for key in there)
    assert sorted(label for label, _ in found) == sorted(f"x:{key}" for key in there)
    wanted = [entry for entry in named.one_by_one() if entry.label[2:] not in there]
    kept = list(left.one_by_one())
    assert [(each.label, each.name, each.meta) for each in kept] == [
        (each.label, each.name, each.meta) for each in wanted
    ]
    for one, other in zip(kept, wanted, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 2000))
def test_pieces_are_all_of_it_in_order(counts: list[int], limit: int) -> None:
    offsets = 2 + np.cumsum([0, *counts])
    keys = [f"k{n}" for n in range(len(counts))]
    many = Many(keys, np.arange(offsets[-1] + 3), offsets, [{"n": n} for n in range(len(counts))])
    named = NamedMany.of(many, Source("x", "s"))
    pieces = list(named.pieces(limit))
    assert [name for piece in pieces for name in piece.names] == named.names
    found = [each for piece in pieces for each in piece.one_by_one()]
    for one, other in zip(found, named.one_by_one(), strict=True):
        assert (one.label, one.name, one.meta) == (other.label, other.name, other.meta)
        np.testing.assert_array_equal(one.values, other.values)
    for piece in pieces:
        nbytes = sum(each.values.nbytes + 64 for each in piece.one_by_one())
        assert nbytes < 2 * limit or len(piece.names) == 1


@given(st.text(alphabet="ab/{}", max_size=6), st.lists(st.text(alphabet="ab/", max_size=3)))
def test_names_of_many_are_those_of_each(words: str, keys: list[str]) -> None:
    template = words.replace("{", "{{").replace("}", "}}") + "{key}" * (len(words) % 3)
    (source,) = name_all([("in/x.pkl", "x.pkl")], template)
    assert source.names(keys) == [source.name(key) for key in keys]


def test_pieces_of_two_files_are_not_held_together() -> None:
    waiting, many = Held(2**20), Many(["a"], np.arange(3), np.array([0, 3]))
    given_ = [NamedMany(Source(path, "s"), [path], many) for path in "xxy"]
    came = [piece for named in given_ for piece in waiting.add(named)]
    came += waiting.taken()
    assert [(piece.source.path, piece.names) for piece in came] == [("x", ["x", "x"]), ("y", ["y"])]
