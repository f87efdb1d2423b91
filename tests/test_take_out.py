"""``take(names, out=)``: the same batch, in memory that is there already, or an error beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, PointerArray, Ragged, UnknownNameError, native
from ptrarray.rows.outs import fitting
from tests.support import strategies

Array = NDArray[Any]
LENGTHS = [3, 0, 5, 1, 90, 6, 2, 70]
NAMES = [f"a{n}" for n in range(len(LENGTHS))]
PADDED = np.dtype([("a", "i1"), ("b", "<f8")], align=True)
# What is kept, how, and with which rows.
KINDS: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {
    "rows": (">f4", (3,), {"dtype": ">f4", "row_shape": (3,)}),
    "long rows": ("<i8", (50,), {"dtype": "<i8", "row_shape": (50,)}),
    "no bytes": ("<i4", (0,), {"dtype": "<i4", "row_shape": (0,)}),
    "dates, masked": ("<M8[s]", (), {"dtype": "<M8[s]", "masked": True}),
    "fields, masked": (PADDED, (2,), {"dtype": PADDED, "row_shape": (2,), "masked": True}),
    "shards": ("<f4", (), {"dtype": "<f4", "shard_size": 500}),
    "shards, masked": ("S5", (), {"dtype": "S5", "shard_size": 700, "masked": True}),
    "shaped": ("<f8", (2, 2), {"dtype": "<f8", "row_shape": None}),
    "shaped, masked": (">i2", (4,), {"dtype": ">i2", "row_shape": None, "masked": True}),
    "mixed": (PADDED, (), {}),
    "mixed, masked, shards": ("<c8", (3,), {"masked": True, "shard_size": 4000}),
}


@pytest.fixture(scope="module", params=KINDS, ids=str)
def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, PointerArray]]:
    """One store of a kind, opened in each way, with the last arrays in the journal or not."""
    dtype, row_shape, options = KINDS[request.param]
    folder = tmp_path_factory.mktemp("take")
    arrays = {}
    for n, (name, length) in enumerate(zip(NAMES, LENGTHS, strict=True)):
        array = strategies.filled(dtype, (length, *row_shape), n)
        arrays[name] = strategies.hidden(array, n) if options.get("masked") else array
    with ptrarray.create(folder / "a.ptr", **options) as writer:
        writer.write({name: arrays[name] for name in NAMES[:4]})
        writer["hole"] = arrays["a4"]
        del writer["hole"]
    ptrarray.checkpoint(folder / "a.ptr")
    with ptrarray.append(folder / "a.ptr") as writer:
        writer.write({name: arrays[name] for name in NAMES[4:]})
        opened = {"overlaid": ptrarray.open(folder / "a.ptr")}
        opened["overlaid, read"] = ptrarray.open(folder / "a.ptr", backend="pread")
    ptrarray.checkpoint(folder / "a.ptr")
    opened["mapped"] = ptrarray.open(folder / "a.ptr")
    opened["private"] = ptrarray.open(folder / "a.ptr", "c")
    opened["read"] = ptrarray.open(folder / "a.ptr", backend="pread")
    if len(opened["mapped"].shards) == 1:
        ptrarray.pack(folder / "a.ptr", folder / "a.tar")
        opened["pack"] = ptrarray.open(folder / "a.tar")
    assert ("shard_size" in options) == ("pack" not in opened)
    yield opened
    for store in opened.values():
        store.close()


def buffer_for(batch: Ragged, n_more: int) -> Array:
    """Return memory that a batch fits in, with as many rows behind it, full of something."""
    values = batch.values
    shape = (len(values) + n_more, *values.shape[1:])
    raw = np.full(math.prod(shape) * values.itemsize or 1, 0x5A, np.uint8)
    data = np.ndarray(shape, values.dtype, raw)
    if not isinstance(values, np.ma.MaskedArray):
        return data
    mask: Any = np.ones(data.shape, np.ma.make_mask_descr(values.dtype))
    return np.ma.MaskedArray(data, mask)


def parts(array: Array) -> list[bytes]:
    """Return what an array holds, padding aside, and its mask."""
    data = np.ma.getdata(array)
    columns = [data[name] for name in data.dtype.names] if data.dtype.names else [data]
    return [column.tobytes() for column in columns] + [np.ma.getmaskarray(array).tobytes()]


@settings(max_examples=15)  # of each layout
@given(st.lists(st.sampled_from(NAMES), max_size=20), st.integers(0, 3), st.booleans())
def test_is_the_same_batch(
    stores: dict[str, PointerArray], names: list[str], n_more: int, pure: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if pure:
            patch.setattr(native, "core", None)
        for how, store in stores.items():
            expected = store.take(names)
            out = buffer_for(expected, n_more)
            before = parts(out[len(expected.values) :])
            found = store.take(names, out)
            assert type(found.values) is type(expected.values), how
            assert found.values.shape == expected.values.shape
            assert parts(found.values) == parts(expected.values), how
            assert found.offsets.tolist() == expected.offsets.tolist()
            assert parts(out[: len(found.values)]) == parts(found.values)
            assert not found.values.nbytes or np.shares_memory(found.values, out)
            assert parts(out[len(expected.values) :]) == before
            positions = [store.names[:].index(name) for name in names]
            again = store.arrays.take(positions, buffer_for(expected, n_more))
            assert parts(again.values) == parts(expected.values), how


def misfits(fits: Array) -> Iterator[Any]:
    """Yield what is wrong in one thing each."""
    data, is_masked = np.ma.getdata(fits), isinstance(fits, np.ma.MaskedArray)
    yield fits[:-1]
    yield fits[..., np.newaxis]
    yield np.ndarray(fits.shape, "V3")
    yield data if is_masked else np.ma.MaskedArray(fits, np.zeros(fits.shape, "?"))
    yield fits.tolist()
    yield "out"
    if fits.nbytes:
        yield fits[np.arange(2 * len(fits)) // 2][::2]
    if is_masked and not data.dtype.names:  # else it is given a mask
        yield np.ma.MaskedArray(data)
    read_only = data.copy()
    read_only.flags.writeable = False
    mask = np.ma.getmaskarray(fits)
    yield np.ma.MaskedArray(read_only, mask) if is_masked else read_only


def test_refuses_memory_that_does_not_fit(stores: dict[str, PointerArray]) -> None:
    for store in stores.values():
        fits = buffer_for(store.take(["a2", "a0"]), 0)
        before = parts(fits)
        for wrong in misfits(fits):
            with pytest.raises(BadInputError, match=r"out is .*; expected a writable C-") as error:
                store.take(["a2", "a0"], wrong)
            assert error.value.path == store.path
            assert str(error.value).endswith(f"(for {store.path})")
        with pytest.raises(UnknownNameError):
            store.take(["a2", "nobody"], fits)
        assert parts(fits) == before


@pytest.mark.parametrize("mode", ["c", "r+"])
@pytest.mark.parametrize("kind", ["rows", "shards, masked", "mixed"])
def test_refuses_memory_of_the_store_itself(path: Path, mode: Any, kind: str) -> None:
    dtype, row_shape, options = KINDS[kind]
    array = strategies.filled(dtype, (6, *row_shape), 1)
    array = strategies.hidden(array, 1) if options.get("masked") else array
    with ptrarray.create(path, **options) as writer:
        writer.write({"a": array, "b": array})
    with ptrarray.open(path, mode) as store:
        before = parts(store["a"])
        with pytest.raises(
            BadInputError, match=r"out is memory of .* itself: use an array of your"
        ):
            store.take(["b"], store["a"])
        assert parts(store["a"]) == before
        if options.get("masked"):  # the mask alone
            out = np.ma.MaskedArray(
                np.ma.getdata(array).copy(), np.ma.getmask(store["a"]), copy=False
            )
            with pytest.raises(BadInputError, match="memory of"):
                store.take(["b"], out)


def test_of_no_arrays(stores: dict[str, PointerArray]) -> None:
    for store in stores.values():
        out = buffer_for(store.take(["a2"]), 0)
        found = store.take([], out)
        assert len(found) == 0
        assert len(found.values) == 0


def test_read_rows_go_right_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is mapped, a long array is read into `out` with no other memory between."""
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write({"a": np.arange(500_000), "b": np.arange(7), "c": np.arange(400_000)})
    with ptrarray.open(path, backend="pread") as store:
        file = store._opened.data.file  # type: ignore[union-attr]
        out, read = np.empty(900_000, "f4"), []
        plain: Any = type(file).preadv

        def noted(self: Any, raw: Array, at: int) -> Any:
            read.append(np.shares_memory(raw, out))
            return plain(self, raw, at)

        monkeypatch.setattr(type(file), "preadv", noted)
        batch = store.take(["c", "a"], out)
        assert read == [True, True]
        assert (batch[1] == np.arange(500_000)).all()


def test_messages() -> None:
    f4 = np.dtype("f4")
    for out, n_rows, masked, message in [
        (
            np.zeros(3, "f8"),
            2,
            False,
            r"out is float64 of shape \(3,\); expected .* float32 of shape",
        ),
        (
            np.zeros((4, 2), "f4")[:, ::2],
            2,
            False,
            r"of shape \(4, 1\), not C-contiguous; expected",
        ),
        (np.broadcast_to(f4.type(0), (4,)), 2, False, r"\(4,\), not C-contiguous; expected"),
        (np.frombuffer(bytes(16), "f4"), 2, False, r"\(4,\), read-only; expected"),
        (np.ma.zeros(4, "f4"), 2, True, r"masked array, float32 .*, without a mask of its own"),
        (np.zeros(4, "f4"), 2, True, "a writable C-contiguous masked array with a mask of its own"),
        ([1.0], 2, False, r"out is a list; expected .* of shape \(at least 2\)"),
    ]:
        with pytest.raises(BadInputError, match=message):
            fitting(out, n_rows, f4, (), masked=masked)
