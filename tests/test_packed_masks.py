"""Masks of stores of any dtype, laid end to end by what writes them anew."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.format import infos
from ptrarray.format.layouts import Layout
from ptrarray.storage.system.files import File

pytestmark = pytest.mark.usefixtures("no_syncs")
ma: Any = np.ma
Arrays = dict[str, Any]
DTYPES: list[Any] = ["f8", "f4", "i2", "u1", "?", "c16", "M8[s]", "S3", [("x", "f8"), ("y", "u1")]]


def some_arrays(n_bytes: int = 1 << 12) -> Arrays:
    """Return arrays of several dtypes: masked here and there, all of it, nowhere, and empty."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {}
    for number, kind in enumerate(DTYPES):
        dtype = np.dtype(kind)
        data = rng.integers(0, 2, n_bytes // dtype.itemsize * dtype.itemsize, np.uint8).view(dtype)
        mask = np.zeros(data.shape, ma.make_mask_descr(dtype))
        mask[rng.random(len(data)) < 0.1] = True
        arrays[f"{number} some"] = ma.MaskedArray(data, mask)
        arrays[f"{number} none"] = ma.MaskedArray(data[::-1].copy())
    arrays["all"] = ma.masked_all((3, 4), "f8")
    arrays["fortran"] = ma.MaskedArray(
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.asfortranarray(np.eye(2, 3, dtype=bool)),
        fill_value=-1.0,
        hard_mask=True,
    )
    arrays["0-d"] = ma.MaskedArray(3.0, True)
    arrays["empty"] = ma.MaskedArray(np.empty((0, 3), "i4"))
    return arrays


def make(path: Path, arrays: Arrays) -> Path:
    with ptrarray.create(path, masked=True, mode="w") as writer:
        writer.write(arrays, meta={name: {"of": name} for name in list(arrays)[:2]})
    return path


def n_mask_bytes(arrays: Arrays) -> int:
    """Bytes of the masks in which anything is masked."""
    masks = [np.ascontiguousarray(ma.getmaskarray(array)) for array in arrays.values()]
    return sum(mask.nbytes for mask in masks if any(mask.tobytes()))


def check(path: Path, arrays: Arrays, backends: tuple[Any, ...] = ("mmap", "pread")) -> None:
    for backend in backends:
        with ptrarray.open(path, backend=backend) as store:
            assert set(store) == set(arrays)
            for name, array in arrays.items():
                check_same(store[name], array)
            store.verify()


def check_same(found: Any, array: Any) -> None:
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert ma.getdata(found).tobytes() == ma.getdata(array).tobytes()
    assert ma.getmaskarray(found).tobytes() == ma.getmaskarray(array).tobytes()
    if isinstance(array, ma.MaskedArray):
        assert np.asarray(found.fill_value).tobytes() == np.asarray(array.fill_value).tobytes()
        assert found.hardmask == array.hardmask


def mask_of(path: Path) -> Path:
    (mask,) = path.glob("mask*.bin")
    return mask


def compacted(path: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "compacted.ptr"
    shutil.copytree(path, copy)
    ptrarray.compact(copy)
    return copy


def repaired(path: Path, tmp_path: Path) -> Path:
    assert not ptrarray.repair(path, tmp_path / "repaired.ptr")
    return tmp_path / "repaired.ptr"


def unpacked(path: Path, tmp_path: Path) -> Path:
    ptrarray.pack(path, tmp_path / "s.tar", overwrite=True)
    ptrarray.unpack(tmp_path / "s.tar", tmp_path / "unpacked.ptr")
    return tmp_path / "unpacked.ptr"


def untarred(path: Path, tmp_path: Path) -> Path:
    ptrarray.pack(path, tmp_path / "s.tar", overwrite=True)
    with tarfile.open(tmp_path / "s.tar") as archive:
        archive.extractall(tmp_path / "untarred", filter="data")
    return tmp_path / "untarred" / path.name


def repaired_twice(path: Path, tmp_path: Path) -> Path:
    assert not ptrarray.repair(unpacked(path, tmp_path), tmp_path / "again.ptr")
    return tmp_path / "again.ptr"


WAYS = [compacted, repaired, unpacked, untarred, repaired_twice]


@pytest.fixture(params=WAYS, ids=lambda way: str(way.__name__))
def anew(request: Any, tmp_path: Path) -> Callable[[Path], Path]:
    """Return what writes all of a store anew."""
    return lambda path: request.param(path, tmp_path)


# sizes --------------------------------------------------------------------------------------------


def test_a_mask_takes_one_byte_an_element_and_none_where_nothing_is_masked(
    tmp_path: Path, anew: Callable[[Path], Path]
) -> None:
    arrays = some_arrays()
    path = anew(make(tmp_path / "s.ptr", arrays))
    assert mask_of(path).stat().st_size == n_mask_bytes(arrays)
    check(path, arrays)
    with ptrarray.open(path) as store:
        assert store.meta["0 some"] == {"of": "0 some"}


def test_a_pack_has_no_more_bytes_of_masks_than_it_has_masked_elements(tmp_path: Path) -> None:
    arrays = {name: array for name, array in some_arrays(1 << 16).items() if array.dtype == "f8"}
    path = make(tmp_path / "s.ptr", arrays)
    ptrarray.pack(path, tmp_path / "s.tar")
    with tarfile.open(tmp_path / "s.tar") as archive:
        sizes = {Path(member.name).name: member.size for member in archive}
    assert sizes["mask.bin"] == n_mask_bytes(arrays) < sizes["data.bin"] / 8
    check(tmp_path / "s.tar", arrays)
    ptrarray.pack(tmp_path / "s.tar", tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "s.tar").read_bytes()


def test_writing_a_store_anew_takes_no_more_room(
    tmp_path: Path, anew: Callable[[Path], Path]
) -> None:
    """Where files may have holes, what is used is no more; where not, it is less."""
    arrays = {
        f"{kind} {n}": ma.MaskedArray(
            np.ones(3 << 19, "u1").view(kind),
            np.arange(3 << 19)[:: np.dtype(kind).itemsize] % 1000 == n,
        )
        for kind in ("f8", "f4", "i2", "u1")
        for n in range(2)
    }
    path = make(tmp_path / "s.ptr", arrays)
    before = used(path)
    again = anew(path)
    assert used(again) <= before + (1 << 16)
    assert mask_of(again).stat().st_size == n_mask_bytes(arrays)


def used(path: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in path.iterdir())


def has_holes(folder: Path) -> bool:
    with (folder / "hole").open("wb") as file:
        file.truncate(1 << 24)
    return (folder / "hole").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("layout", [{"dtype": "u1"}, {"dtype": "u1", "row_shape": None}])
def test_holes_of_other_layouts_stay_holes(tmp_path: Path, layout: dict[str, Any]) -> None:
    if not has_holes(tmp_path):
        pytest.skip("files have no holes here")
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, masked=True, **layout) as writer:
        for n in range(4):
            writer[f"large {n}"] = np.ones(1 << 20, np.uint8)
        writer["masked"] = ma.MaskedArray(np.zeros(1 << 20, np.uint8), np.arange(1 << 20) == 7)
    ptrarray.compact(path)
    ptrarray.verify(path)
    assert mask_of(path).stat().st_size == 5 << 20
    assert mask_of(path).stat().st_blocks * 512 <= 1 << 16
    with ptrarray.open(path) as store:
        assert np.flatnonzero(ma.getmaskarray(store["masked"])).tolist() == [7]
        assert int(store["large 3"].sum()) == 1 << 20


@given(
    pieces=st.lists(st.tuples(st.sampled_from([0, 1, 4095, 4096, 5000, 12288]), st.booleans())),
    start=st.sampled_from([0, 1, 4096, 6000]),
)
@settings(max_examples=60, deadline=None)
def test_writing_around_zeros(
    pieces: list[tuple[int, bool]], start: int, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("files") / "file"
    raw = b"".join((b"x" if is_set else b"\0") * size for size, is_set in pieces)
    with path.open("wb") as file:
        file.truncate(start + len(raw))
    with File(path, 2) as opened:
        opened.pwrite_sparse(raw, start)
    assert path.read_bytes() == bytes(start) + raw


# going on -----------------------------------------------------------------------------------------


def test_going_on_with_a_store_that_was_written_anew(
    tmp_path: Path, anew: Callable[[Path], Path]
) -> None:
    arrays = some_arrays()
    path = anew(make(tmp_path / "s.ptr", arrays))
    reader = ptrarray.open(path)
    change(path, arrays)
    reader.refresh()
    for name, array in arrays.items():
        check_same(reader[name], array)
    check(path, arrays)
    ptrarray.checkpoint(path)
    check(path, arrays)
    ptrarray.compact(path)
    check(path, arrays)
    shared = n_mask_bytes({"same": arrays["same"]})
    assert mask_of(path).stat().st_size == n_mask_bytes(arrays) - shared


def change(path: Path, arrays: Arrays) -> None:
    """Change a store in every way, and what it should hold."""
    with ptrarray.append(path) as writer:
        new = ma.MaskedArray(np.arange(100.0), np.arange(100) % 7 == 0)
        writer["new"] = arrays["new"] = new
        writer["0 some"] = arrays["0 some"] = ma.MaskedArray(np.arange(3), [1, 0, 1])
        with writer.allocate("filled", (2, 2), dtype="i4") as array:
            array[...] = ma.MaskedArray([[1, 2], [3, 4]], [[1, 0], [0, 0]])
            arrays["filled"] = array.copy()
        start = writer.pointers["1 none"].start
        del writer["1 none"], arrays["1 none"]
        planned = ma.MaskedArray(np.arange(64, dtype="u1"), np.arange(64) % 2 == 0)
        writer.write({"planned": planned}, start=start)
        arrays["planned"] = planned
        writer.meta["all"] = {"set": 1}
        writer.rename("all", "renamed")
        arrays["renamed"] = arrays.pop("all")
        writer.point("same", *writer.pointers["2 some"])
        arrays["same"] = arrays["2 some"]
        for name in ("new", "planned", "renamed", "same", "3 none"):
            check_same(writer[name], arrays[name])


def test_a_reader_goes_on_when_a_store_is_compacted(tmp_path: Path) -> None:
    arrays = some_arrays()
    path = make(tmp_path / "s.ptr", arrays)
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        before = {name: store[name] for name in arrays}
        ptrarray.compact(path)
        store.refresh()
        for name, array in arrays.items():
            check_same(before[name], array)
            check_same(store[name], array)
            check_same(writer[name], array)
        writer["late"] = ma.MaskedArray([1, 2], [1, 0])
        store.refresh()
        check_same(store["late"], ma.MaskedArray([1, 2], [1, 0]))


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_masks_can_be_changed_where_nothing_was_masked(
    tmp_path: Path, mode: Any, anew: Callable[[Path], Path]
) -> None:
    arrays = some_arrays()
    path = anew(make(tmp_path / "s.ptr", arrays))
    with ptrarray.open(path, mode=mode) as store:
        for name in ("0 some", "0 none", "3 none"):
            store[name][2] = ma.masked
            assert ma.getmaskarray(store[name])[2]
            if mode == "r+":
                arrays[name] = arrays[name].copy()
                arrays[name][2] = ma.masked
    check(path, arrays)


def test_masks_changed_by_others_are_seen_after_a_refresh(tmp_path: Path) -> None:
    path = make(tmp_path / "s.ptr", {"a": ma.MaskedArray([1.0, 2.0])})
    ptrarray.compact(path)
    reader = ptrarray.open(path)
    assert not ma.getmaskarray(reader["a"]).any()
    assert not ma.getmaskarray(reader["a"]).flags.writeable
    for n in range(2):  # from the second on, it goes on with what it has mapped
        with ptrarray.append(path) as writer:
            writer.attrs["n"] = n
        reader.refresh()
    with ptrarray.open(path, mode="r+") as store:
        store["a"][1] = ma.masked
        store.flush()
        reader.refresh()
        assert ma.getmaskarray(reader["a"]).tolist() == [False, True]


def test_many_arrays_at_once_are_taken_and_fetched(tmp_path: Path) -> None:
    """Where masks end before the rows do, the system is asked for rows alone."""
    arrays = {str(n): np.ma.MaskedArray(np.arange(5.0), n == 0) for n in range(40)}
    with ptrarray.create(tmp_path / "a.ptr", masked=True) as writer:
        writer.write(arrays)
    ptrarray.compact(tmp_path / "a.ptr")
    with ptrarray.open(tmp_path / "a.ptr") as store:
        store.prefetch(arrays)
        assert [a.tolist() for a in store.take(arrays)] == [a.tolist() for a in arrays.values()]
        assert [a.tolist() for a in store.walk()] == [a.tolist() for a in arrays.values()]


def test_a_store_of_shards(tmp_path: Path) -> None:
    arrays = some_arrays()
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, masked=True, shard_size=1 << 14) as writer:
        for name, array in arrays.items():
            writer[name] = array
    ptrarray.compact(path)
    check(path, arrays)
    assert not ptrarray.repair(path, tmp_path / "t.ptr")
    check(tmp_path / "t.ptr", arrays)
    with ptrarray.append(path) as writer:
        writer["late"] = arrays["late"] = ma.MaskedArray(np.arange(9), np.arange(9) > 6)
        writer.rename("0 some", "0 moved")
        arrays["0 moved"] = arrays.pop("0 some")
    check(path, arrays)


# what must be refused -----------------------------------------------------------------------------


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "s.ptr", {"a": ma.MaskedArray([1.0, 2.0], [0, 1])})
    ptrarray.compact(path)
    mask_of(path).write_bytes(b"\1\1")
    with pytest.raises(ptrarray.CorruptStoreError, match="'a'"):
        ptrarray.verify(path)
    assert [damage.name for damage in ptrarray.repair(path, tmp_path / "t.ptr")] == ["a"]


@pytest.mark.parametrize("n_bytes", [0, 1])
def test_a_mask_file_that_is_too_short_is_refused(tmp_path: Path, n_bytes: int) -> None:
    path = make(tmp_path / "s.ptr", {"a": ma.MaskedArray([1.0, 2.0], [0, 1])})
    ptrarray.compact(path)
    mask = mask_of(path)
    mask.write_bytes(b"\0\1".ljust(70, b"\0")[:n_bytes])
    for use in (ptrarray.open, ptrarray.append):
        with pytest.raises(ptrarray.CorruptStoreError, match="cut short"):
            use(path)


@pytest.mark.parametrize("n_bytes", [2, 3, 17, 65, 66, 70])
def test_a_mask_file_that_a_power_cut_left_half_as_long(tmp_path: Path, n_bytes: int) -> None:
    """It has two bytes of masks, and was being made longer, by one for each byte of the rows."""
    arrays = {"a": ma.MaskedArray([1.0, 2.0], [0, 1]), "b": ma.MaskedArray(np.arange(6.0))}
    path = make(tmp_path / "s.ptr", arrays)
    ptrarray.compact(path)
    assert mask_of(path).stat().st_size == 2
    mask_of(path).write_bytes(b"\0\1".ljust(n_bytes, b"\0"))
    check(path, arrays)
    with ptrarray.append(path) as writer:
        writer["c"] = arrays["c"] = ma.MaskedArray([3, 4], [1, 0])
        check(path, arrays)
    ptrarray.compact(path)
    check(path, arrays)


@pytest.mark.parametrize(
    "info",
    [{"mask_at": 1}, {"mask_at": -1}, {"mask_at": 2**64 - 1}, {"mask_at": "0"}, {"mask_at": True}],
)
def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path, info: dict[str, Any]) -> None:
    raw = infos.encode(infos.Info(np.dtype("f8")))
    fields = {**msgpack.unpackb(raw), **info}
    layout = Layout("mixed", np.dtype("u1"), (), masked=True, packed_masks=2)
    with pytest.raises(ValueError, match="mask"):
        infos.check(layout, 16, msgpack.packb(fields))
