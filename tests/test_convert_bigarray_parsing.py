"""Headers and indexes of bigarray's files are what marshal and pickle read, or refused."""

from __future__ import annotations

import marshal
import os
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import CorruptStoreError
from ptrarray.convert.bigarray import convert as bigarray
from ptrarray.convert.bigarray.convert import from_bigarray
from ptrarray.convert.bigarray.header import OldHeader, RefusedHeaderError, read_header
from ptrarray.convert.bigarray.index import RefusedIndexError, read_index
from ptrarray.format.layouts import Layout
from tests.support.bigarray_files import BY_BIGARRAY, FOLDER, header

pytestmark = pytest.mark.usefixtures("limits")

names = st.text(max_size=8) | st.integers(-(2**70), 2**70) | st.binary(max_size=4) | st.none()
pairs = st.tuples(st.integers(-(2**70), 2**70), st.integers(0, 100))


@given(
    st.dictionaries(names, pairs | st.integers(-(2**120), 2**120), max_size=20), st.integers(3, 5)
)
def test_an_index_is_what_pickle_reads(index: dict[Any, Any], protocol: int) -> None:
    assert read_index(memoryview(pickle.dumps(index, protocol))) == list(index.items())


@given(st.dictionaries(st.text(max_size=300), pairs, max_size=20))
def test_an_index_of_protocol_2_is_what_pickle_reads(index: dict[Any, Any]) -> None:
    assert read_index(memoryview(pickle.dumps(index, 2))) == list(index.items())


@pytest.mark.parametrize("code", [b"\x85", b"\x86", b"\x87", b"t", b"s", b"u", b"h\x07", b"q\0"])
def test_an_index_that_takes_what_is_not_there(code: bytes) -> None:
    with pytest.raises(RefusedIndexError):
        read_index(memoryview(b"\x80\x04" + code + b"K\x01}."))
    with pytest.raises(RefusedIndexError):
        read_index(memoryview(b"\x80\x04}\x8c\x01a\x87K\x01s."))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_index_or_refused(raw: bytes) -> None:
    try:
        items = read_index(memoryview(raw))
    except RefusedIndexError:
        return
    assert all(len(item) == 2 for item in items)


@given(
    st.sampled_from(["float32", "<U5", ">i8", "bool", "complex128", "|S3", "<M8[ns]"]),
    st.lists(
        st.sampled_from([0, 1, 80, 255, 2**20]) | st.integers(0, 2**33), min_size=1, max_size=5
    ),
    st.integers(0, 4),
)
def test_a_header_is_what_marshal_reads(dtype: str, shape: list[int], version: int) -> None:
    raw = header(marshal.dumps([dtype, tuple(shape)], version)).ljust(502, b"\0")
    found = read_header(raw)
    wanted = Layout("rows", np.dtype(dtype), tuple(shape[1:]), masked=False)
    width = wanted.dtype.itemsize
    start = -(-502 // width) * width
    end = start + width * int(np.prod(shape, dtype=object))
    assert found == OldHeader(wanted, shape[0], start, end)


@given(st.data())
def test_any_header_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(header(marshal.dumps(["float32", (80, 80, 80)])).ljust(502, b"\0"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, 60))
        raw[at] = data.draw(st.integers(0, 255) | st.sampled_from(b"r\xe9\xdb()i"))
    try:
        found = read_header(bytes(raw))
    except RefusedHeaderError:
        return
    assert found.n_rows >= 0


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=8))
def test_overlaps_are_those_of_the_plain_rule(ranges: list[tuple[int, int]]) -> None:
    pointers = sorted((start, start + n) for start, n in ranges)
    starts, ends = np.array(pointers, np.int64).reshape(-1, 2).T
    found = {at for pair in bigarray._overlaps(starts, ends) for at in pair}
    assert found == {
        i
        for i, (start, end) in enumerate(pointers)
        for j, (other, other_end) in enumerate(pointers)
        if i != j and max(start, other) < min(end, other_end)
    }
    for a, b in bigarray._overlaps(starts, ends):
        assert max(starts[a], starts[b]) < min(ends[a], ends[b])


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_converted_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    raw = bytearray((FOLDER / data.draw(st.sampled_from(list(BY_BIGARRAY)))).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 60) | st.integers(500, len(raw) - 1))
        raw[min(at, len(raw) - 1)] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.just(len(raw)) | st.integers(0, len(raw))) :]
    (folder / "old").write_bytes(raw)
    try:
        report = from_bigarray(folder / "old", folder / "new.ptr")
    except CorruptStoreError:
        assert os.listdir(folder) == ["old"]  # noqa: PTH208
        return
    with ptrarray.open(folder / "new.ptr") as store:
        store.verify()
        assert len(store) == report.converted
