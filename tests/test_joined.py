"""Arrays that lie end to end are written by columns: what lies on the disk is what it would be array by array."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import BadInputError, StoreError
from ptrarray.format import metadata
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.intake import batch, joined
from ptrarray.intake.staging import staged
from ptrarray.rows.ragged import Ragged
from ptrarray.storage.system import files
from ptrarray.storage.writing import transactions

pytestmark = pytest.mark.usefixtures("no_syncs")

ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)
DTYPES: list[Any] = [
    *("f4", "f4", "f8", "i2"),
    *("u1", "i2", ">i4", "f4", "f8", ">f8", "?", "f2", "c8", "S3", "U2", "M8[s]", "V5"),
    ALIGNED,
    ml_dtypes.bfloat16,
]
LAYOUTS: list[dict[str, Any]] = [
    {},
    {},
    {"masked": True},
    {"dtype": "f4", "row_shape": None},
    {"dtype": "f4", "row_shape": None, "masked": True},
    {"dtype": "f8", "row_shape": (2,), "masked": True},
    {"dtype": "i2", "masked": True},
    {"dtype": "i2"},
    {"dtype": ">f4", "row_shape": (2,)},
    {"dtype": ALIGNED, "row_shape": None},
]
ORDERS: dict[str, Callable[[Any], Any]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda values: np.repeat(values, 2, axis=0)[::2],
    "read-only": lambda values: np.frombuffer(values.tobytes(), values.dtype).reshape(values.shape),
    "list": lambda values: values.tolist(),
    "memmap": lambda values: mapped(values),
    "subclass": lambda values: values.view(np.recarray),
    "masked": lambda values: np.ma.MaskedArray(values),
}


def mapped(values: Any) -> Any:
    """Return values in a file that is mapped."""
    if not values.size:
        return values
    with tempfile.TemporaryFile() as file:
        made = np.memmap(file, values.dtype, "w+", shape=values.shape)
    made[:] = values
    return made


ROW_SHAPES = st.sampled_from([(), (), (2,), (2, 3), (0,), (1,)])


@st.composite
def ragged(draw: st.DrawFn) -> tuple[list[str], Any, Any]:
    """Draw names, values and offsets, of which some make no sense."""
    n_names = draw(st.sampled_from([3, 9, 9, 0, 1]))
    counts = draw(
        st.lists(st.sampled_from([0, 1, 2, 5, 16, 64, 200]), min_size=n_names, max_size=n_names)
    )
    before, behind = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    offsets: Any = before + np.cumsum([0, *counts])
    offsets = offsets.astype(draw(st.sampled_from(["i8", "i4", "u8"])))
    shape = (before + sum(counts) + behind, *draw(ROW_SHAPES))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    nbytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2, nbytes, np.uint8)
    values = raw.view(dtype).reshape(shape) if nbytes else np.empty(shape, dtype)
    if dtype.kind == "U" or (dtype.kind in "iuf" and draw(st.integers(0, 9)) < 9):
        values = (np.arange(values.size) % 120).astype(dtype).reshape(shape)
    order = draw(st.sampled_from(["C", "C", "F", *ORDERS]))
    names = [f"n{n}" for n in range(n_names)]
    if n_names > 1 and draw(st.integers(0, 9)) == 9:
        names[-1] = names[0]
    if n_names and draw(st.integers(0, 9)) == 9:
        offsets = offsets[::-1]
    return names, ORDERS[order](values), offsets


METAS = st.none() | st.dictionaries(
    st.sampled_from([f"n{n}" for n in range(3)]), st.sampled_from([{}, {"a": 1}, {"b": [1, "x"]}])
)


def outcome(path: Path, items: Any, meta: Any, *, is_slow: bool, is_large: bool) -> Any:
    """Write to a store, and return all that is in its files, or what was raised."""
    counter = itertools.count()
    with ExitStack() as stack:
        # The id of a shard, with which checksums begin.
        ids = stack.enter_context(patch.object(files, "random_bytes"))
        ids.side_effect = lambda n: next(counter).to_bytes(n, "big")
        if is_slow:
            stack.enter_context(patch.object(joined, "_by_columns", lambda *_: None))
        if is_large:
            for module in (joined, transactions):
                stack.enter_context(patch.object(module, "pays_a_thread", lambda *_: True))
        error = ""
        with ptrarray.append(path) as writer:
            writer.write({"first": np.zeros((1, *(writer.row_shape or ())), writer.dtype or "u1")})
            try:
                names, values, offsets = items
                writer.write_ragged(names, values, offsets, meta=meta)
            except StoreError as raised:
                error = str(raised).replace(str(path), "PATH")
    found = sorted(file for file in path.rglob("*") if file.is_file())
    ptrarray.verify(path)
    return error, [(file.relative_to(path), file.read_bytes()) for file in found]


WHOLE_F = np.asfortranarray(np.arange(12.0).reshape(6, 2))


@example(
    items=(["n0", "n1"], WHOLE_F, [0, 2, 6]), layout={}, shard_size=None, meta=None, is_large=False
)
@example(
    items=(["n0", "n1"], WHOLE_F, [2, 2, 3]), layout={}, shard_size=None, meta=None, is_large=True
)
@given(
    items=ragged(),
    layout=st.sampled_from(LAYOUTS),
    shard_size=st.sampled_from([None, None, 1000]),
    meta=METAS,
    is_large=st.booleans(),
)
def test_files_are_those_of_arrays_that_were_looked_at_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    items: tuple[Any, ...],
    layout: dict[str, Any],
    shard_size: int | None,
    meta: Any,
    is_large: bool,
) -> None:
    folder = tmp_path_factory.mktemp("joined")
    ptrarray.create(folder / "a.ptr", shard_size=shard_size, **layout).close()
    shutil.copytree(folder / "a.ptr", folder / "b.ptr")  # of one id, too
    slow = outcome(folder / "a.ptr", items, meta, is_slow=True, is_large=False)
    fast = outcome(folder / "b.ptr", items, meta, is_slow=False, is_large=is_large)
    shutil.rmtree(folder)
    assert fast == slow


@pytest.mark.parametrize("layout", LAYOUTS[:4])
def test_thousands_come_back_as_they_were(tmp_path: Path, layout: dict[str, Any]) -> None:
    counts = np.arange(5000) % 7
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = np.arange(offsets[-1] * 3, dtype="f4").reshape(-1, 3)
    names = [f"array {n}" for n in range(len(counts))]
    metas = {name: {"n": n} for n, name in enumerate(names)}
    with ptrarray.create(tmp_path / "a.ptr", **layout) as writer:
        writer.write_ragged(names, values, offsets, meta=metas)
    ptrarray.verify(tmp_path / "a.ptr")
    with ptrarray.open(tmp_path / "a.ptr") as store:
        assert list(store) == names
        for n, array in enumerate(store.values()):
            assert np.array_equal(array, values[offsets[n] : offsets[n + 1]])
        assert store.meta[names[-1]] == {"n": 4999}


def test_small_arrays_of_a_mixed_store_are_not_made_ready_one_by_one() -> None:
    layout = Layout(MIXED, np.dtype("u1"), (), masked=False)
    names, values = [str(n) for n in range(100)], np.arange(1000, dtype="f4")
    with patch.object(batch, "fit_shaped", side_effect=AssertionError):
        made = joined.from_ragged(names, values, np.arange(0, 1001, 10), layout)
    assert made.is_staged
    assert made.n_rows == 100 * 64
    assert all(np.shares_memory(piece, values) for piece in made.buffers)


@given(
    st.lists(st.integers(0, 40), max_size=12),
    st.sampled_from([1, 16, 64]),
    st.sampled_from([64, 100, 1000]),
)
def test_what_lies_end_to_end_is_staged_as_it_is_array_by_array(
    counts: list[int], alignment: int, piece_nbytes: int
) -> None:
    """Also those that are larger than a piece."""
    offsets = np.concatenate([[0], np.cumsum(np.array(counts, np.int64) * 4)])
    arrays = Ragged(np.arange(offsets[-1], dtype="u4").view("u1")[: offsets[-1]], offsets)
    of_each, of_all = np.zeros((2, len(counts)), np.uint32)
    slow = b"".join(map(bytes, staged(list(arrays), of_each, piece_nbytes, alignment)))
    fast = b"".join(map(bytes, staged(arrays, of_all, piece_nbytes, alignment)))
    assert fast == slow
    assert of_all.tolist() == of_each.tolist()


# metadata -----------------------------------------------------------------------------------------

VALUES: Any = st.recursive(
    st.sampled_from(
        [
            *(None, True, 0, -1, 2**63, 2**64, -(2**63) - 1, 1.5, float("nan")),
            *("x", "\ud800", b"\xff", np.float32(0.5), np.int8(3), np.str_("x")),
            *(np.longdouble(1), 1j, {1}, msgpack.Timestamp(1)),
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner)
        | st.dictionaries(st.sampled_from(["a", "b", 1, b"c", "\ud800"]), inner, max_size=2)
    ),
    max_leaves=4,
)


class Word(str):
    """Text of a class of its own."""


ONE: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(["a", "b", Word("c"), 1, b"d", "\ud800"]), VALUES, max_size=3
) | st.sampled_from([None, [], 3, {"x": "y" * 99}])


@given(st.lists(ONE, min_size=1, max_size=3))
def test_metadata_of_many_are_those_of_each(metas: list[Any]) -> None:
    names = [f"n{n}" for n in range(len(metas) + 1)]

    def all_at_once() -> Any:
        return metadata.encode_all(names, dict(zip(names, metas, strict=False)))

    def one_by_one() -> Any:
        found = [metadata.encode(name, meta) for name, meta in zip(names, metas, strict=False)]
        return [*found, b""] if any(found) else None

    check_same(all_at_once, one_by_one)


@given(ONE, st.integers(0, 3), st.booleans())
def test_metadata_that_all_have_are_those_of_each(meta: Any, n: int, is_part: bool) -> None:
    names = [f"n{i}" for i in range(n)]
    those = names[:-1] if is_part else names
    for some in (names, names[1:]):
        check_same(
            partial(metadata.encode_all, some, metadata.Shared(those, meta)),
            partial(metadata.encode_all, some, dict.fromkeys(those, meta)),
        )


def check_same(*calls: Callable[[], Any]) -> None:
    """Expect the same result, or error, of calls, where there is little room for metadata."""
    results: list[Any] = []
    with (
        patch.object(metadata, "LIMIT_NBYTES", 90),
        patch("ptrarray.format.attrs.LIMIT_NBYTES", 90),
    ):
        for call in calls:
            try:
                results.append(call())
            except BadInputError as error:
                results.append((str(error), error.facts))
    assert results[0] == results[1] or repr(results[0]) == repr(results[1])
