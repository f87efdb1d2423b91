"""A pack holds what a compacted store does: every layout, with masks and metadata, however large."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray
from ptrarray.format import tar
from ptrarray.storage.system import files
from tests.support.packs import COMPRESSIONS, NAME, Array, make, packed
from tests.test_format_doc import tables

pytestmark = pytest.mark.usefixtures("no_syncs")
RECORD = 10240


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / NAME)
    return tmp_path / NAME


def test_same_content_same_bytes(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    raw = packed(path)
    monkeypatch.setattr(files, "boot_id", lambda: b"on another day !")
    assert len(raw) % RECORD == 0
    ptrarray.pack(path, tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == raw
    ptrarray.checkpoint(path)
    assert packed(path) == raw
    ptrarray.compact(path)
    assert packed(path) == raw
    assert packed(tmp_path / "a.tar") == raw, "a pack of the pack"
    (tmp_path / "again").mkdir()
    make(tmp_path / "again" / NAME)
    assert packed(tmp_path / "again" / NAME) == raw
    for compression in COMPRESSIONS:
        assert packed(path, compression) == packed(path, compression)
    with ptrarray.append(path) as writer:
        writer.attrs["k"] = [2]
    assert packed(path) != raw


@pytest.mark.parametrize("n_arrays", [0, 1])
def test_store_with_nothing_in_it(tmp_path: Path, n_arrays: int) -> None:
    with ptrarray.create(tmp_path / "e.ptr", dtype="M8[s]", row_shape=(0,), rows=9) as writer:
        writer.write({str(i): np.zeros((0, 0), "M8[s]") for i in range(n_arrays)})
    ptrarray.pack(tmp_path / "e.ptr", tmp_path / "e.tar")
    ptrarray.unpack(tmp_path / "e.tar", tmp_path / "f.ptr")
    for place in ("e.tar", "f.ptr"):
        with ptrarray.open(tmp_path / place) as store:
            assert (len(store), store.shape, store.dtype.str) == (n_arrays, (0, 0), "<M8[s]")
            store.verify()


def test_large_arrays_go_in_pieces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"{i}": rng.integers(0, 255, n, np.uint8) for i, n in enumerate((1, 9 << 20, 3))}
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write(arrays)
        writer.point("p", 5, 5 << 20)
        writer.point("q", 100, (9 << 20) + 2)
    sizes: list[int] = []

    class Sink:
        def write(self, piece: memoryview) -> None:
            sizes.append(len(piece))

    ptrarray.pack(tmp_path / "a.ptr", Sink())
    assert max(sizes) == 4 << 20
    ptrarray.pack(tmp_path / "a.ptr", tmp_path / "a.tar")
    with ptrarray.open(tmp_path / "a.tar") as store:
        store.verify()
        for name, array in arrays.items():
            assert np.array_equal(store[name], array)


def test_more_than_8_gib(tmp_path: Path) -> None:
    """Sizes that the classic header has no room for, in a file that is almost all hole."""
    nbytes, name = 9 << 30, "a.ptr"
    with ptrarray.create(tmp_path / name, dtype="u1", rows=nbytes, masked=True) as writer:
        writer.write({"last": [5, 6]}, start=nbytes - 2)
        writer.flush()
    with (tmp_path / "a.tar").open("wb") as pack:
        for file in ("index.msgpack", "journal.msgpack", "data.bin", "mask.bin"):
            size = (tmp_path / name / file).stat().st_size
            pack.write(tar.header(name, file, size))
            start = pack.tell()
            pack.truncate(start + size + tar.padding(size))
            with (tmp_path / name / file).open("rb") as source:
                first = max(0, size - (1 << 20))  # before, there is nothing but hole
                source.seek(first)
                pack.seek(start + first)
                pack.write(source.read())
            pack.seek(start + size + tar.padding(size))
        pack.write(tar.trailer(pack.tell()))
    with ptrarray.open(tmp_path / "a.tar") as store:
        assert store["last"].tolist() == [5, 6]
        assert store.shape == (nbytes,)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert [member.size for member in archive.getmembers()][2:] == [nbytes, nbytes]


def test_format_page_tells_the_members(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    with ptrarray.create(tmp_path / "NAME", dtype="i1", masked=True) as writer:
        writer["a"] = [1]
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path / "NAME"))) as archive:
        members = [member for member, _ in tables(page)["12. Packs"]]
        assert archive.getnames() == [member for member in members if "helpers" not in member]


# every layout -------------------------------------------------------------------------------------


def assorted(kind: str) -> dict[str, Any]:
    """Return arrays for a layout, as they are to be read back."""
    rng = np.random.default_rng(1)
    flat = {f"f{i}": rng.integers(1, 9, (i, 2), np.int16) for i in range(9)}
    if kind == "rows":
        return flat
    shaped = {f"s{i}": rng.integers(1, 9, (2,) * i, np.int16) for i in range(4)}
    shaped["fortran"] = np.asfortranarray(rng.integers(1, 9, (3, 4), np.int16))
    if kind == "shaped":
        return flat | shaped
    mixed = {"f8": rng.random(7), "text": np.array(["ä", "bcd"]), "scalar": np.array(1 + 2j)}
    return flat | shaped | mixed | {"fields": np.zeros(3, [("x", "f4"), ("y", ">i8", (2,))])}


def hidden(array: Array) -> Any:
    """Mask a part of an array."""
    if array.dtype.names is not None:
        return array
    mask = np.resize([True, False, False], array.shape)
    return np.ma.MaskedArray(array, mask, hard_mask=True)


LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "i2", "row_shape": (2,)},
    "shaped": {"dtype": "i2", "row_shape": None},
    "mixed": {},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts_masks_and_metadata(tmp_path: Path, kind: str, masked: bool) -> None:
    arrays = assorted(kind)
    if masked:
        arrays |= {name: hidden(arrays[name]) for name in list(arrays)[2::2]}
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, **LAYOUTS[kind], masked=masked) as writer:
        for i, (name, array) in enumerate(arrays.items()):
            gone = np.full((40 + i, 2), 7, "i2")
            writer.write({f"gone {i}": np.ma.MaskedArray(gone, True) if masked else gone})
            writer.write({name: array}, meta={name: {"at": [name, 1.5]}})
        writer.point("again", *writer.pointers["f5"])
        for i in range(len(arrays)):
            del writer[f"gone {i}"]
    raw = packed(path)
    (tmp_path / "a.tar").write_bytes(raw)
    ptrarray.unpack(tmp_path / "a.tar", tmp_path / "b.ptr")
    ptrarray.compact(path)
    assert packed(path) == raw
    files = {"data.bin", "index.msgpack", "journal.msgpack"} | ({"mask.bin"} if masked else set())
    assert {file.name for file in (tmp_path / "b.ptr").iterdir()} == files
    with ptrarray.open(path) as original:
        for place in ("a.tar", "b.ptr"):
            with ptrarray.open(tmp_path / place) as store:
                check_same_arrays(store, original, arrays)


def check_same_arrays(store: PointerArray, original: PointerArray, arrays: dict[str, Any]) -> None:
    """Check that a pack holds what a compacted store does."""
    store.verify()
    assert (store.layout, store.masked) == (original.layout, original.masked)
    assert (store.dtype, store.nbytes) == (original.dtype, original.nbytes)
    assert list(store) == list(original)
    assert dict(store.pointers) == dict(original.pointers)
    assert store.meta["again"] == {"at": ["f5", 1.5]}
    for name, array in arrays.items():
        assert store.meta[name] == {"at": [name, 1.5]}
        check_equal(store[name], array, masked=store.masked)
        assert store[name].ctypes.data % 64 == 0 or store.layout != "mixed"


def check_equal(found: Any, expected: Any, *, masked: bool) -> None:
    assert isinstance(found, np.ma.MaskedArray) == masked
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(np.ma.getdata(found), np.ma.getdata(expected))
    assert np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    if isinstance(expected, np.ma.MaskedArray):
        assert found.hardmask == expected.hardmask
        assert found.fill_value == expected.fill_value
