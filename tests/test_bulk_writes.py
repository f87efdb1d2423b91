"""Many arrays a call: the fast ways give what the slow ones do."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrarray.errors import BadInputError
from ptrarray.format import entries as entries_format
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.layouts import ROWS, Layout
from ptrarray.intake import batch
from tests.support import strategies

ITEMS = st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"ba", b"a" * 200]), min_size=1)


@given(st.data(), ITEMS, ITEMS, st.integers(1, 300))
def test_items_of_two_columns_are_compared(
    data: st.DataObject, ours: list[bytes], theirs: list[bytes], limit: int
) -> None:
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, len(ours) - 1), st.integers(0, len(theirs) - 1)))
    )
    columns = RaggedColumn.of(ours), RaggedColumn.of(theirs)
    left, right = np.array(pairs, np.int64).reshape(-1, 2).T
    with patch.object(entries_format, "_COMPARED_NBYTES", limit):
        found = columns[0].are_same(left, columns[1], right)
    assert found.tolist() == [ours[i] == theirs[j] for i, j in pairs]


@pytest.mark.parametrize("ends", [[-1, 3], [2, 1], [1, 4], [5, 3]])
def test_items_that_do_not_lie_in_their_column_are_not_compared(ends: list[int]) -> None:
    unsound = RaggedColumn(np.array(ends), np.zeros(3, np.uint8))
    both = np.arange(2)
    for one, other in ((unsound, RaggedColumn.of([b"a", b"b"])), (unsound, unsound)):
        with pytest.raises(ValueError, match="bytes"):
            one.are_same(both, other, both)
        with pytest.raises(ValueError, match="bytes"):
            other.are_same(both, one, both)


# batches ------------------------------------------------------------------------------------------

FITTING = st.integers(0, 5).map(lambda n: np.arange(n, dtype="f4"))
OTHERS = st.sampled_from(
    [
        np.arange(6, dtype="f4")[::2],
        np.arange(3, dtype="i2"),
        np.arange(3, dtype=">f4"),
        np.ones((2, 2), "f4"),
        np.float32(3),
        np.ma.masked_array(np.arange(2, dtype="f4"), [True, False]),
        np.arange(2, dtype="f4").view(np.recarray),
        [1.5, 2],
        ["x"],
        None,
    ]
)
NAMES = strategies.names() | st.sampled_from(["\ud800", "x" * 70_000, 3, b"bytes"])


def outcome(arrays: dict[Any, Any], layout: Layout) -> Any:
    try:
        made = batch.from_mapping(arrays, layout)
    except BadInputError as error:
        return str(error)
    entries = made._entries(7)
    columns = [column if column is None else column.tobytes() for column in entries]
    return columns, made.n_rows, [buffer.tobytes() for buffer in made.buffers]


@given(
    fitting=st.dictionaries(strategies.names(), FITTING, min_size=5),
    others=st.dictionaries(NAMES, FITTING | OTHERS, max_size=1),
    row_shape=st.sampled_from([(), (), (2,)]),
    is_large=st.booleans(),
)
def test_a_batch_by_columns_is_the_one_made_array_by_array(
    fitting: dict[str, Any], others: dict[str, Any], row_shape: tuple[int, ...], is_large: bool
) -> None:
    layout = Layout(ROWS, np.dtype("f4"), row_shape, masked=False)
    if row_shape:
        fitting = {name: np.ones((len(value), 2), "f4") for name, value in fitting.items()}
    arrays = fitting | others
    with patch.object(batch, "pays_a_thread", lambda *_: is_large):
        by_columns = outcome(arrays, layout)
    with patch.object(batch, "columns_of", lambda *_: None):
        assert by_columns == outcome(arrays, layout)


def test_a_batch_by_columns_takes_the_callers_own_arrays() -> None:
    arrays = {str(n): np.arange(n, dtype="i4") for n in range(9)}
    columns = batch.columns_of(arrays, np.dtype("i4"), ())
    assert columns is not None
    assert all(map(np.shares_memory, columns.buffers[1:], list(arrays.values())[1:]))
    refused = {**arrays, "strided": np.arange(9, dtype="i4")[::3]}
    assert batch.columns_of(refused, np.dtype("i4"), ()) is None


@pytest.mark.parametrize("error", [ValueError, TypeError])
def test_what_the_handler_of_a_signal_raises_is_not_taken_for_an_array_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def interrupted(*_: object) -> int:
        raise error("too late")

    if error is ValueError:
        monkeypatch.setattr(batch, "crc32", interrupted)
    else:
        monkeypatch.setattr(batch.naming, "list", interrupted, raising=False)
    arrays = {str(n): np.arange(n, dtype="i4") for n in range(9)}
    with pytest.raises(error, match="too late"):
        batch.from_mapping(arrays, Layout(ROWS, np.dtype("i4"), (), masked=False))
