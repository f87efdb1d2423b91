"""Batches as tensors: padded or nested, of every dtype that torch has, on memory of one's own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

import ptrarray
from tests.support.layouts import filled

torch: Any = pytest.importorskip("torch")
pt: Any = pytest.importorskip("ptrarray.torch")

NUMBERS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
NARROW = ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
OTHERS = [">f4", ">i2", "M8[s]", "m8[ms]", "U3", "S3", [("a", "f4"), ("b", "i2")], "g"]
BATCHES = {
    "some": [3, 0, 1, 4],
    "one": [3],
    "one empty": [0],
    "all empty": [0, 0, 0],
    "none": [],
    "alike": [2, 2, 2],
    "the last is empty": [2, 0],
}


def batch_of(lengths: list[int], dtype: Any = "f4", shape: tuple[int, ...] = ()) -> ptrarray.Ragged:
    offsets = np.cumsum([0, *lengths])
    values = np.arange(1, 1 + offsets[-1] * int(np.prod(shape)))
    return ptrarray.Ragged(values.astype(dtype).reshape(offsets[-1], *shape), offsets)


def bits(tensor: Any) -> bytes:
    """Return the bytes of a tensor, whatever its dtype."""
    flat = tensor.contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes()) if len(flat) else b""


@pytest.mark.parametrize("shape", [(), (80,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_padded(lengths: list[int], shape: tuple[int, ...]) -> None:
    batch = batch_of(lengths, shape=shape)
    made = pt.padded(fill=-1)(batch)
    values, of_each, mask = made
    assert values.shape == (len(lengths), max(lengths, default=0), *shape)
    assert of_each.tolist() == lengths
    assert of_each.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert mask.shape == values.shape[:2]
    for row, there, array in zip(values, mask, batch, strict=True):
        assert torch.equal(row[: len(array)], torch.from_numpy(array))
        assert bool((row[len(array) :] == -1).all())
        assert there.tolist() == [i < len(array) for i in range(len(there))]


@pytest.mark.parametrize("shape", [(), (80,), (2, 3)], ids=str)
@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_nested(lengths: list[int], shape: tuple[int, ...]) -> None:
    batch = batch_of(lengths, shape=shape)
    made = pt.nested(batch)
    assert made.is_nested
    assert made.layout == torch.jagged
    assert made.dtype == torch.float32
    assert made.shape[0] == len(lengths)
    assert made.shape[2:] == shape
    assert made.offsets().tolist() == batch.offsets.tolist()
    assert len(made.unbind()) == len(lengths)
    for tensor, array in zip(made.unbind(), batch, strict=True):
        assert torch.equal(tensor, torch.from_numpy(array))
    # Known, so that nothing is padded to the sum of all lengths.
    known = {name: len(size) for name, size in made._metadata_cache.items()}
    assert known == {
        "min_seqlen": min(lengths, default=0),
        "max_seqlen": max(lengths, default=0),
    }
    padded, _, mask = pt.padded(fill=-1)(batch)
    assert torch.equal(made.to_padded_tensor(-1.0), padded)
    assert made.values().shape[0] == int(mask.sum())
    assert torch.equal((made * 2).to_padded_tensor(-1.0)[mask], padded[mask] * 2)


def test_what_torch_does_with_nested_tensors() -> None:
    """Why lengths are given, and why the documents send reductions to padded tensors."""
    values, offsets = torch.tensor([1.0, 2, 3]), torch.tensor([0, 1, 3])
    bare = torch.nested.nested_tensor_from_jagged(values, offsets)
    assert bare.to_padded_tensor(0.0).shape == (2, 3)
    assert pt.nested(batch_of([1, 2])).to_padded_tensor(0.0).shape == (2, 2)
    low = pt.nested(ptrarray.Ragged(np.full(3, -np.inf, "f4"), [0, 1, 3]))
    assert low.amax(dim=1).tolist()[0] > -np.inf  # the padding
    padded, _, _ = pt.padded(fill=-np.inf)(ptrarray.Ragged(np.full(3, -np.inf, "f4"), [0, 1, 3]))
    assert padded.amax(dim=1).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("collate", [pt.padded(), pt.nested], ids=["padded", "nested"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_dtypes_of_numpy(dtype: str, collate: Callable[..., Any]) -> None:
    batch = batch_of([2, 3], dtype)
    made = collate(batch)
    found = made.values() if collate is pt.nested else made.values
    assert str(found.dtype) == f"torch.{np.dtype(dtype).name}"
    rows = found.numpy() if collate is pt.nested else found.numpy()[made.mask.numpy()]
    assert rows.tobytes() == batch.values.tobytes()


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_dtypes(tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    path = filled(tmp_path / "a.ptr", {"a": [1.0, 0.5], "b": [2.0]}, dtype=dtype)
    data = pt.Arrays(path)
    batch = data.__getitems__([0, 1])
    made = pt.padded(fill=0.25)(batch)
    assert made.values.dtype == getattr(torch, dtype)
    assert made.values.float().tolist() == [[1.0, 0.5], [2.0, 0.25]]
    again = pickle.loads(pickle.dumps(made))
    assert again.values.dtype == made.values.dtype
    assert bits(again.values) == bits(made.values)
    nested = pt.nested(batch)
    assert nested.dtype == getattr(torch, dtype)
    assert nested.values().float().tolist() == [1.0, 0.5, 2.0]


@pytest.mark.parametrize("collate", [pt.padded(), pt.nested], ids=["padded", "nested"])
@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_dtypes_that_torch_has_not(dtype: Any, collate: Callable[..., Any]) -> None:
    values = np.zeros(3, dtype)
    with pytest.raises(ptrarray.BadInputError, match="torch has no dtype for arrays of") as caught:
        collate(ptrarray.Ragged(values, [0, 1, 3]))
    assert caught.value.found == str(np.dtype(dtype))
    assert str(np.dtype(dtype)) in str(caught.value)


def test_narrow_dtypes_that_torch_has_not() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (ml_dtypes.int4, ml_dtypes.float6_e2m3fn):
        with pytest.raises(ptrarray.BadInputError, match="torch has no dtype for arrays of"):
            pt.nested(ptrarray.Ragged(np.zeros(3, dtype), [0, 1, 3]))


def test_fill_has_to_fit() -> None:
    with pytest.raises(ptrarray.BadInputError, match=r"fill 0\.5 would change"):
        pt.padded(fill=0.5)(batch_of([1, 2], "i4"))
    with pytest.raises(ptrarray.BadInputError, match=r"collate_fn=padded\(fill=0\)"):
        pt.padded(batch_of([1, 2]))
    assert pt.padded(fill=float("nan"))(batch_of([0, 1])).values.isnan().tolist() == [
        [True],
        [False],
    ]


def test_masks_go_along(tmp_path: Path) -> None:
    arrays = {"a": np.ma.masked_equal([[1, 2], [3, 4]], 3), "b": np.ma.masked_equal([[5, 6]], 5)}
    path = filled(tmp_path / "a.ptr", arrays, dtype="i4", row_shape=(2,), masked=True)
    batch = pt.Arrays(path).__getitems__([0, 1])
    values, lengths, mask = pt.padded(fill=-1)(batch)
    assert values.tolist() == [[[1, 2], [-1, 4]], [[-1, 6], [-1, -1]]]
    assert mask.tolist() == [[[True, True], [False, True]], [[False, True], [False, False]]]
    assert lengths.tolist() == [2, 1]
    with pytest.raises(ptrarray.BadInputError, match="a nested tensor has no mask"):
        pt.nested(batch)
    filling = pt.Arrays(path, transform=np.ma.filled)
    assert pt.nested(filling.__getitems__([1])).values().shape == (1, 2)


@pytest.mark.parametrize("collate", [pt.padded(fill=7), pt.nested], ids=["padded", "nested"])
def test_lists_are_taken_as_batches(collate: Callable[..., Any]) -> None:
    """A ConcatDataset asks for arrays one by one."""
    batch = batch_of([3, 0, 1], shape=(2,))
    one, other = collate(batch), collate(batch.to_list())
    if collate is pt.nested:
        one, other = one.unbind(), other.unbind()
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    with pytest.raises(ptrarray.BadInputError, match=r"end to end.*float32 \(2,\), float64 \(3,\)"):
        collate([np.zeros(2, "f4"), np.zeros(3)])
    with pytest.raises(ptrarray.BadInputError, match=r"end to end.*float64 \(\)"):
        collate([np.float64(1)])


# memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_is_never_the_store_s(tmp_path: Path, mode: Any) -> None:
    """A tensor on read-only memory ends the process that writes to it; one on r+ changes the file."""
    path = filled(tmp_path / "a.ptr", {"a": [1.0, 2.0], "b": [3.0]}, dtype="f4")
    store = ptrarray.open(path, mode)
    made = pt.nested(ptrarray.Ragged(store.rows, [0, 2, 3]))
    is_shared = np.shares_memory(made.values().numpy(), store.rows)
    assert is_shared == (mode == "c")  # whose pages are this process's once they are written to
    made.values()[:] = 9
    assert ptrarray.open(path).rows.tolist() == [1, 2, 3]
    listed = pt.nested([store["a"], store["b"]])
    listed.values()[:] = 8
    assert ptrarray.open(path).rows.tolist() == [1, 2, 3]


def test_a_batch_is_not_copied_once_more() -> None:
    batch = batch_of([2, 3])
    assert np.shares_memory(pt.nested(batch).values().numpy(), batch.values)
    part = batch[1:]
    assert np.shares_memory(pt.nested(part).values().numpy(), batch.values)
    assert pt.nested(part).values().tolist() == [3, 4, 5]
    apart = ptrarray.Ragged(batch.values, [1, 2, 4])
    assert pt.nested(apart).values().tolist() == [2, 3, 4]
    assert pt.padded()(apart).values.tolist() == [[2, 0], [3, 4]]
    backwards = ptrarray.Ragged(batch.values[::-1], [0, 2, 5])
    assert pt.nested(backwards).values().tolist() == [5, 4, 3, 2, 1]


# on the way from a worker -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_pickled(dtype: str, lengths: list[int]) -> None:
    made = pt.padded()(batch_of(lengths, dtype, (2,)))
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is pt.Padded
    for one, other in zip(made, again, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert bits(one) == bits(other)
        other[...] = 1  # writable


@given(some.arrays("f4", st.tuples(st.integers(0, 30), st.integers(1, 3))), st.data())
def test_padded_and_nested_agree(values: Any, draw: Any) -> None:
    cuts = draw.draw(st.lists(st.integers(0, len(values)), max_size=6))
    batch = ptrarray.Ragged(values, [0, *sorted(cuts), len(values)])
    padded, lengths, mask = pickle.loads(pickle.dumps(pt.padded(fill=0.5)(batch)))
    nested = pt.nested(batch)
    assert bits(nested.values()) == values.tobytes() == bits(padded[mask])
    assert bits(nested.to_padded_tensor(0.5)) == bits(padded)
    assert lengths.tolist() == batch.lengths.tolist()


def test_what_is_no_plain_tensor_is_pickled_as_torch_does() -> None:
    plain = pt.padded()(batch_of([2, 1]))
    other = [
        torch.ones(2, 2, requires_grad=True),
        torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True),
        torch.ones(2, 2, device="meta"),
        torch.ones(2, 2, dtype=torch.complex64).conj(),
        torch.eye(2).to_sparse(),
    ]
    for values in other:
        again = pickle.loads(pickle.dumps(plain._replace(values=values))).values
        assert again.requires_grad == values.requires_grad
        assert (again.device, again.layout, again.dtype) == (
            values.device,
            values.layout,
            values.dtype,
        )
        assert values.is_meta or torch.equal(again.to_dense(), values.to_dense())
    others: list[Any] = [None, [1], np.arange(3)]
    for values in others:
        again = pickle.loads(pickle.dumps(plain._replace(values=values))).values
        assert type(again) is type(values)
        assert np.array_equal(again, values)


def test_one_buffer_a_batch_goes_through_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tensor that travels by itself costs a file, a descriptor and a connection."""
    shared, share = [], torch.UntypedStorage._share_fd_cpu_

    def counted(storage: Any, *arguments: Any) -> Any:
        shared.append(storage.nbytes())
        return share(storage, *arguments)

    def sent(made: Any) -> list[int]:
        shared.clear()
        ForkingPickler.dumps(made)
        return [*shared]

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", counted)
    monkeypatch.setattr(torch.utils.data, "get_worker_info", object)  # as in a worker
    assert sent([torch.zeros(3), torch.zeros(3)]) == [12, 12]
    small = ptrarray.Ragged(np.ones(120_000, "f4"), [0, 60_000, 120_000])
    large = ptrarray.Ragged(np.ones(300_000, "f4"), [0, 150_000, 300_000])
    for collate in (pt.padded(), pt.nested):
        assert sent(collate(small)) == []
        assert sent(collate(large)) == [1_200_000]
