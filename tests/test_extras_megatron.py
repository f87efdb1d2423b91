"""megatron-core itself: what its builder writes comes in, and its reader reads what `to_megatron` wrote.

Seen with megatron-core 0.16.1 and torch 2.13.0; line numbers are of megatron/core/datasets/indexed_dataset.py.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, convert
from tests.support.megatron_files import DTYPES, GOLDEN, NAMES, golden, sequences, write_golden

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dataset = pytest.importorskip("megatron.core.datasets.indexed_dataset")

# Its readers close nothing when they fail.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
HOWS = ("copy", "link", "move")
each_how = pytest.mark.parametrize("how", HOWS)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What it leaves open is closed, and warned of, before the test ends."""
    yield
    gc.collect()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def build(prefix: Path, documents: list[list[Any]], dtype: Any) -> Path:
    builder = dataset.IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for document in documents:
        for tokens in document:
            builder.add_item(torch.as_tensor(tokens))
        builder.end_document()
    builder.finalize(f"{prefix}.idx")
    return prefix.with_name(f"{prefix.name}.idx")


def read(prefix: Path) -> list[list[Any]]:
    """Return all sequences by megatron-core, one by one, and check that slices are the same."""
    opened = dataset.IndexedDataset(str(prefix))
    found = [opened[i].tolist() for i in range(len(opened))]
    assert [array.tolist() for array in opened[0 : len(opened)]] == found
    return found


def run(path: Path, store: Path, **options: Any) -> Any:
    return convert.from_megatron(path, store, progress=False, **options)


@pytest.mark.parametrize("name", NAMES)
def test_golden_files_are_what_it_writes(name: str, tmp_path: Path) -> None:
    write_golden(tmp_path)
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"{name}{suffix}").read_bytes() == (
            GOLDEN / f"{name}{suffix}"
        ).read_bytes()


@each_how
@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(dtype: str, how: str, folder: Path, store: Path) -> None:
    documents: list[list[Any]] = [[[1, 2, 3]], [[]], [[4, 5]], [[6]]]
    path = build(folder / "x", documents, np.dtype(dtype).type)
    expected = read(folder / "x")
    assert run(path, store, how=how).converted == 4
    with ptrarray.open(store) as opened:
        assert [opened[str(i)].tolist() for i in range(4)] == expected
        assert opened.dtype == np.dtype(dtype)
    assert convert.to_megatron(store).converted == 4
    assert read(store / "data") == expected
    assert (store / "data.idx").read_bytes() == path.read_bytes()  # each document is one sequence


@pytest.mark.parametrize("name", NAMES)
def test_the_store_of_a_file_is_read_as_the_file(name: str, store: Path) -> None:
    assert run(GOLDEN / f"{name}.idx", store).ok
    assert convert.to_megatron(store).ok
    assert read(store / "data") == [array.tolist() for array in sequences(*golden(name))]


def test_a_store_of_ours_and_what_is_appended_later(store: Path) -> None:
    with ptrarray.create(store, dtype="u2") as writer:
        writer.write({"b": [1, 2], "none": [], "a": [3]})
    report = convert.to_megatron(store)
    assert report.notes == ["names are not kept: array i is store.arrays[i]"]
    in_order = [array.tolist() for array in ptrarray.open(store).arrays]
    assert read(store / "data") == in_order
    with ptrarray.append(store) as writer:
        writer["later"] = [4]
        writer["a"] = [5]
    assert read(store / "data") == in_order  # as it was
    ptrarray.compact(store, progress=False)
    with pytest.raises(AssertionError, match="cannot be found"):  # data.bin is gone
        read(store / "data")
    assert convert.to_megatron(store).converted == 4
    (data_file,) = store.glob("data.*.bin")
    assert sorted(read(data_file.with_suffix(""))) == sorted([[1, 2], [], [5], [4]])


def test_merged_files(folder: Path, store: Path) -> None:
    # `add_index` computes pointers anew from the lengths (l. 1005 ff.).
    build(folder / "a", [[[1, 2]], [[3], [4]]], np.int32)
    build(folder / "b", [[[5]]], np.int32)
    builder = dataset.IndexedDatasetBuilder(str(folder / "c.bin"), dtype=np.int32)
    for name in "ab":
        builder.add_index(str(folder / name))
    builder.finalize(str(folder / "c.idx"))
    assert run(folder / "c.idx", store, how="link", by="document").converted == 3
    with ptrarray.open(store) as opened:
        assert [array.tolist() for array in opened.arrays] == [[1, 2], [3, 4], [5]]
        assert opened.meta["1"] == {"sequences": [1, 1]}


# What a good guess would miss -----------------------------------------------------------------------


def test_its_builder_wraps_tokens(folder: Path, store: Path) -> None:
    # l. 973: `numpy.array(tensor.numpy(), dtype=self.dtype)`.
    path = build(folder / "x", [[[70_000, -1]]], np.uint16)
    assert run(path, store).ok
    with ptrarray.open(store) as opened:
        assert opened["0"].tolist() == [70_000 - 2**16, 2**16 - 1]


def test_it_opens_no_bin_without_bytes(folder: Path, store: Path) -> None:
    path = build(folder / "x", [[np.empty(0, np.int32)]], np.int32)
    with pytest.raises(ValueError, match="empty"):
        dataset.IndexedDataset(str(folder / "x"))
    assert run(path, store, how="link").converted == 1
    with pytest.raises(BadInputError, match="it has no rows"):
        convert.to_megatron(store)


def test_it_checks_by_assert_alone(folder: Path, store: Path) -> None:
    # A length of -1 is no error for it: an array of all that follows (l. 780 ff., numpy's `frombuffer`).
    path = build(folder / "x", [[[1, 2]], [[3, 4]]], np.int32)
    raw = bytearray(path.read_bytes())
    raw[34:38] = np.int32(-1).tobytes()
    path.write_bytes(raw)
    opened = dataset.IndexedDataset(str(folder / "x"))
    assert opened[0].tolist() == [1, 2, 3, 4]
    assert "sequence 0 has a length of -1" in run(path, store).failures[0].problem
    del opened


def test_its_slices_take_only_the_first_pointer(folder: Path, store: Path) -> None:
    # l. 820 ff.: with holes, `d[0:2]` is other than `[d[0], d[1]]`. So stores with holes get no .idx.
    path = build(folder / "x", [[[1, 2]], [[3, 4]], [[5, 6]]], np.int32)
    raw = bytearray(path.read_bytes())
    raw[34 + 12 + 8 : 34 + 12 + 16] = np.int64(16).tobytes()
    path.write_bytes(raw)
    opened = dataset.IndexedDataset(str(folder / "x"))
    assert opened[1].tolist() == [5, 6]
    assert [array.tolist() for array in opened[0:2]] == [[1, 2], [3, 4]]
    assert run(path, store).ok
    with ptrarray.open(store) as found:
        assert found["1"].tolist() == [5, 6]
    del opened


def test_it_reads_older_files_of_code_7_as_float32(folder: Path, store: Path) -> None:
    # `DType.float32` is 7; in fairseq 0.12.2 and older Megatron-LM 7 is `np.double`.
    path = build(folder / "x", [[[0.0, 1.0]]], np.float64)
    raw = bytearray(path.read_bytes())
    raw[17] = 7
    path.write_bytes(raw)
    opened = dataset.IndexedDataset(str(folder / "x"))
    assert opened[0].tolist() == [0.0, 0.0]
    assert run(path, store).ok
    with ptrarray.open(store) as found:
        assert found["0"].tolist() == [0.0, 1.0]
    del opened
