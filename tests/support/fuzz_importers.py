"""Targets that read files of others as imports do, as far as our code parses them, up to where a store takes them."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ptrarray.convert.bigarray.header import HEADER_NBYTES, RefusedHeaderError, read_header
from ptrarray.convert.bigarray.index import RefusedIndexError, read_index
from ptrarray.convert.entries import Entry, entries, entries_and_attrs
from ptrarray.convert.formats import (
    datasets,
    joblib,
    kaldi,
    kaldi_others,
    lmdb_pages,
    megatron,
    mmap_ninja,
    mmappickle,
    npy,
    pickles,
    safetensors,
    tar,
    webdataset,
)
from ptrarray.convert.formats.megatron_units import Way
from ptrarray.convert.found import Found, Many, Member
from ptrarray.errors import StoreError
from tests.support.fuzz_formats import with_right_headers
from tests.support.fuzzing import TESTS, Target

_MEGATRON, _BIGARRAY = TESTS / "golden-megatron", TESTS / "golden-bigarray"
_CONVERT = "ptrarray.convert"
# What a file that is damaged may be refused with: an import says it in its report.
_REFUSALS: tuple[type[Exception], ...] = (
    *(StoreError, OSError, EOFError, ValueError, NotImplementedError),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)
_ROOM_NBYTES = 1 << 26  # what values may take that a small file is said to hold


def put(folder: Path, name: str, raw: bytes) -> str:
    """Write a file anew: one that is mapped stays as it is."""
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(raw)
    return str(path)


def use(found: Iterable[Found]) -> None:
    """Take all that is in a file, as an import does: each member may fail by itself."""
    with suppress(*_REFUSALS):
        for one in found:
            if isinstance(one, Many):
                assert len(one.offsets) == len(one.keys) + 1
                assert one.offsets[0] >= 0
                assert (np.diff(one.offsets) >= 0).all()
                assert one.offsets[-1] <= len(one.values)
                _touch(one.values)
            elif isinstance(one, Member):
                with suppress(*_REFUSALS):
                    use_value(one.load(), one.key, to_attrs=one.to_attrs)


def use_value(value: Any, key: str = "", *, to_attrs: bool = False) -> None:
    """Take the arrays of a value as an import does."""
    for entry in (entries_and_attrs if to_attrs else entries)(value, key):
        if isinstance(entry, Entry):
            _touch(entry.values)


def _touch(values: Any) -> None:
    assert values.dtype.kind != "O"
    if values.nbytes < _ROOM_NBYTES:
        np.ascontiguousarray(values).tobytes()


def _importer(
    members: Callable[[str], Iterable[Found]], name: str
) -> Callable[[bytes, Path], object]:
    return lambda raw, folder: use(members(put(folder, name, raw)))


# Pickles and what is made of them ------------------------------------------------------------------


def _read_pickles(raw: bytes, folder: Path) -> None:
    """Read pickles; the first byte says whether attributes of instances are wanted."""
    file: Any = io.BufferedReader(io.BytesIO(raw[1:]))
    values, problem = pickles.sound(
        pickles.unpickled(file, trust=False, attributes=raw[:1] == b"\x01")
    )
    if problem is not None and not isinstance(problem, _REFUSALS):
        raise problem
    for value in values:
        use_value(value)


def _objects() -> list[Any]:
    import pandas as pd

    class_like = complex(1, 2)
    return [
        {"a": np.arange(3), "b": [1.5, 2.5], 3: (np.float32(1), class_like)},
        np.ma.masked_equal([1, 2], 2),
        np.zeros((2, 3), ">i2", order="F"),
        np.array([(1, b"ab")], [("x", "<i4"), ("y", "S2")]),
        pd.Series([1, 2], index=["a", "b"], name="s"),
        pd.DataFrame({"x": [1, 2], "y": ["a", None], "z": pd.Categorical(["u", "v"])}),
        pd.date_range("2020-01-01", periods=2, tz="Europe/Paris").to_series(),
        [np.datetime64("2020-01-01"), {1, 2}, frozenset([3]), bytearray(b"ab"), range(3)],
    ]


def _pickles() -> list[bytes]:
    found = []
    for protocol in (0, 2, 4, 5):
        found += [pickle.dumps(one, protocol) for one in _objects()]
    found.append(pickle.dumps([1]) + pickle.dumps(np.arange(2)))
    found.append(b"\x80\x04c__main__\nThing\n)\x81}\x8c\x01ab.")
    return [b"\x00" + raw for raw in found] + [b"\x01" + raw for raw in found[-3:]]


def _joblibs() -> list[bytes]:
    library = __import__("joblib")
    found = []
    for one in _objects():
        for compress in (0, ("zlib", 1)):
            file = io.BytesIO()
            library.dump(one, file, compress=compress)
            found.append(file.getvalue())
    return found


def _joblib(path: str) -> Iterable[Found]:
    yield Member("", partial(joblib.read, path))


def _mmappickles() -> list[bytes]:
    found = []
    for arrays in ({"a": np.arange(3, dtype="<i2")}, {"b": np.eye(2), "c": np.zeros(0)}):
        raw = b"\x80\x04\x95" + (13).to_bytes(8, "little")
        raw += b"J" + bytes(4) + b"0J" + bytes(4) + b"0("
        for key, array in arrays.items():
            raw += _mmappickled(key, array)
        raw += b"\x95" + (2).to_bytes(8, "little") + b"d."
        found.append(raw)
    return found


def _mmappickled(key: str, array: Any) -> bytes:
    content: bytes = array.tobytes()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
    text: bytes = array.dtype.str.encode()
    value = mmappickle._ARRAY + b"B" + struct.pack("<I", len(content)) + content
    value += b"\x8c" + bytes([len(text)]) + text + b"\x86R" + shape + b"\x86R"
    body = b"\x8c" + bytes([len(key)]) + key.encode() + value + b"J" + bytes(4) + b"0\x880"
    return b"\x95" + len(body).to_bytes(8, "little") + body


# bigarray and Megatron -----------------------------------------------------------------------------


def _read_bigarray(raw: bytes, folder: Path) -> None:
    """Read the header of a file of bigarray, or, with a first byte of 1, its index."""
    if raw[:1] == b"\x01":
        with suppress(RefusedIndexError):
            found = read_index(memoryview(raw)[1:])
            assert all(len(pair) == 2 for pair in found)
        return
    with suppress(RefusedHeaderError):
        header = read_header(raw[1:].ljust(HEADER_NBYTES, b"\0"))
        assert header.n_rows >= 0
        assert HEADER_NBYTES <= header.start_byte <= header.end_byte


def _bigarrays() -> list[bytes]:
    files = [(_BIGARRAY / name).read_bytes() for name in ("named", "planned", "troubled", "flat")]
    found = [b"\x00" + raw[:64] for raw in files]
    for protocol in (2, 3, 4, 5):
        index = {"a": (0, 3), "é" * 3: (3, 2**40), "x": (-1, 2**63), 1.5: (None, b"a", True)}
        found.append(b"\x01" + pickle.dumps(index, protocol))
    return found


def _read_megatron(raw: bytes, folder: Path) -> None:
    """Read an .idx; the first two bytes say the size of its .bin, and which options are given."""
    if len(raw) < 2:
        return
    put(folder, "x.bin", bytes(raw[0]))
    path = put(folder, "x.idx", raw[2:])
    way = Way(
        ("sequence", "document")[raw[1] & 1],
        (None, "megatron", "fairseq")[raw[1] >> 1 & 3 if raw[1] >> 1 & 3 < 3 else 0],
    )
    use(megatron._members(way, path))


def _megatrons() -> list[bytes]:
    found = []
    for file in sorted(_MEGATRON.glob("*.idx")):
        size = file.with_suffix(".bin").stat().st_size
        found += [bytes([size & 0xFF, how]) + file.read_bytes() for how in (0, 1)]
    return [raw for raw in found if len(raw) < 1000]


# kaldi and LMDB ------------------------------------------------------------------------------------


def _left_out(ark: Any, offsets: list[int], reader: str) -> Iterable[StoreError]:
    """Stand for kaldi's own code, which is not what is fuzzed."""
    yield from (ark.problem(offset, f"{reader} is left out") for offset in offsets)


def _read_kaldi(raw: bytes, folder: Path) -> None:
    """Read an .ark or, with a first byte of 1, an .scp whose lines name that of before."""
    reads = kaldi._Reads(str(folder), np.dtype("<f4"))
    with mock.patch.object(kaldi_others, "_by_kaldi", _left_out):
        if raw[:1] == b"\x01":
            at = raw[1] if len(raw) > 1 else 0
            put(folder, "a.ark", raw[2 : 2 + at])
            path = put(folder, "x.scp", raw[2 + at :])
        else:
            path = put(folder, "x.ark", raw[1:])
        use(reads.members(path))


def _arks() -> list[bytes]:
    floats = struct.pack("<BiBi", 4, 2, 4, 3) + np.arange(6, dtype="<f4").tobytes()
    one = struct.pack("<Bi", 4, 2)
    integers = np.zeros(3, [("size", "u1"), ("value", "<i4")])
    integers["size"] = 4
    file = io.BytesIO()
    np.save(file, np.arange(3))
    blob = file.getvalue()
    compressed = struct.pack("<ffii", 0, 1, 2, 2)
    values = [
        b"\0BFM " + floats,
        b"\0BDV " + one + np.zeros(2).tobytes(),
        b"\0BFV " + struct.pack("<Bi", 4, 0),
        b"\0B\4" + struct.pack("<i", 3) + integers.tobytes(),
        b"\0BCM " + compressed + bytes(16 + 4),
        b"\0BCM2 " + compressed + bytes(8),
        b" [ 1 2\n 3 4 ]\n",
        b"1 2 3\n",
        b"NPY\x01" + bytes([len(blob)]) + blob,
        b"RIFF" + struct.pack("<I", 4) + b"WAVE",
    ]
    ark = b"".join(b"k%d " % at + value for at, value in enumerate(values))
    lines = b"k0 a.ark:3\nk1 a.ark:3[0:1]\nk2 a.ark:3[:,0:1]\n k3\ta.ark \nk4 ls |\n"
    return [
        b"\x00" + ark,
        *(b"\x00k " + value for value in values),
        bytes([1, 50]) + (b"k0 " + values[0]).ljust(50) + lines,
    ]


def _read_pages(raw: bytes, folder: Path) -> None:
    path = put(folder, "data.mdb", raw)
    with suppress(StoreError):
        lmdb_pages.check_head(path)
        for transaction in (0, 1, 2):
            pages = lmdb_pages.pages_of(path, transaction)
            if pages is not None:
                with suppress(StoreError):
                    named = pages.databases()
                    for database in [pages.main, *named.values()]:
                        pages.check(database)


def _pages() -> list[bytes]:
    size = 256

    def page(number: int, flags: int, nodes: list[bytes]) -> bytes:
        raw, upper, at = bytearray(size), size, []
        for node in nodes:
            upper -= len(node) + len(node) % 2
            raw[upper : upper + len(node)] = node
            at.append(upper)
        raw[:16] = struct.pack("<QHHHH", number, 0, flags, 16 + 2 * len(at), upper)
        raw[16 : 16 + 2 * len(at)] = struct.pack(f"<{len(at)}H", *at)
        return bytes(raw)

    def node(low: int, flags: int, key: bytes, value: bytes) -> bytes:
        return struct.pack("<HHHH", low & 0xFFFF, low >> 16, flags, len(key)) + key + value

    def database(root: int, n_overflow: int = 0, n_entries: int = 1) -> bytes:
        return struct.pack("<IHHQQQQQ", size, 0, 1, 0, 1, n_overflow, n_entries, root)

    def meta(number: int, root: int, last: int) -> bytes:
        head = struct.pack("<QHHHH", number, 0, 8, 0, 0)
        body = struct.pack("<IIQQ", 0xBEEFC0DE, 1, 0, 1 << 20)
        free = struct.pack("<IHHQQQQQ", size, 0, 0, 0, 0, 0, 0, 2**64 - 1)
        return (head + body + free + database(root) + struct.pack("<QQ", last, number)).ljust(
            size, b"\0"
        )

    leaf = page(2, 2, [node(4, 0, b"a", b"1234"), node(300, 1, b"b", struct.pack("<Q", 4))])
    tree = page(3, 1, [node(2, 0, b"", b""), node(6, 0, b"c", b"")])
    large = struct.pack("<QHHI", 4, 0, 4, 2).ljust(2 * size, b"x")
    other = page(6, 2, [node(48, 2, b"c", database(7))])
    inner = page(7, 2, [node(2, 0, b"n", b"12")])
    whole = meta(0, 3, 7) + meta(1, 3, 7) + leaf + tree + large + other + inner
    return [whole, meta(0, 2, 2) + meta(1, 2, 2) + page(2, 2, [node(4, 0, b"a", b"1234")])]


# Archives, .npy, folders ---------------------------------------------------------------------------


def _npy_of(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _npys() -> list[bytes]:
    arrays = [
        np.arange(3),
        np.zeros((2, 0), "<f4"),
        np.array(1.5),
        np.eye(2, order="F"),
        np.array([(1, 2)], [("x", "<i4"), ("y", "<f4", (1,))]),
        np.array([1, [2]], object),
    ]
    found = [_npy_of(array) for array in arrays]
    found.append(found[0] + found[1])
    return [*found, gzip.compress(found[0]), zlib.compress(found[1]), _zip_of(found[:2])]


def _zip_of(files: list[bytes]) -> bytes:
    file = io.BytesIO()
    np.savez(file, *[np.load(io.BytesIO(raw)) for raw in files])
    return file.getvalue()


def _archived(members: Callable[[str], Iterable[Found]]) -> Callable[[bytes, Path], object]:
    """Read an archive of tar, with checksums of headers that fit if the first byte is 1."""

    def attempt(raw: bytes, folder: Path) -> None:
        content = with_right_headers(raw[1:]) if raw[:1] == b"\x01" else raw[1:]
        use(members(put(folder, "x.tar", content)))

    return attempt


def _tars() -> list[bytes]:
    npys = _npys()
    whole = {
        "a.npy": npys[0],
        "a.cls": b"7",
        "a.json": b'{"k": [1, null]}',
        "b.x.npy.gz": gzip.compress(npys[1]),
        "b.txt": b"\xc3\xa4",
        "c.npz": npys[-1],
        "d.pkl": pickle.dumps(np.arange(2)),
    }
    found = []
    for names in ([*whole], ["a.npy"], ["c.npz"], ["b.x.npy.gz", "d.pkl"]):
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w", format=form) as archive:
                for name in names:
                    info = tarfile.TarInfo(
                        name if form == tarfile.GNU_FORMAT else f"ä{'x' * 90}/{name}"
                    )
                    info.size = len(whole[name])
                    archive.addfile(info, io.BytesIO(whole[name]))
                if len(names) == 1:
                    link = tarfile.TarInfo("l.npy")
                    link.type, link.linkname = tarfile.LNKTYPE, names[0]
                    archive.addfile(link)
            raw = file.getvalue()
            found.append(b"\x01" + raw[: len(raw.rstrip(b"\0")) // 512 * 512 + 1536])
    return found


def _read_json(raw: bytes, folder: Path) -> None:
    """Read the index of a checkpoint of safetensors, or, with a first byte of 1 or 2, files of a data set."""
    kind, content = raw[:1], raw[1:]
    with suppress(StoreError):
        if kind == b"\x01":
            put(folder, "state.json", content)
            datasets._files_of(folder)
        elif kind == b"\x02":
            put(folder, "dataset_dict.json", content)
            list(datasets._data_sets(folder))
            put(folder, "dataset_info.json", content)
            for member in datasets._labels(folder, "", ("a", "b")):
                with suppress(StoreError):
                    member.load()
        else:
            path = put(folder, "x.safetensors.index.json", content)
            safetensors._weight_map(safetensors._read_index(path), path)


def _jsons() -> list[bytes]:
    weights = {
        "weight_map": {"a": "x-1.safetensors", "b": "y/x-2.safetensors"},
        "metadata": {"t": 1},
    }
    state = {"_data_files": [{"filename": "data-0.arrow"}], "_indices_files": None}
    about = {"splits": ["train"], "features": {"a": {"_type": "ClassLabel", "names": ["u"]}}}
    found = [weights, state, about]
    return [bytes([at]) + json.dumps(one).encode() for at, one in enumerate(found)]


_NINJA = ["dtype", "shape", "order", "data"]


def _read_ninja(raw: bytes, folder: Path) -> None:
    """Read a folder of mmap_ninja: each file as a byte that says its length, and so many bytes."""
    file = io.BytesIO(raw)
    files = [mmap_ninja.FLAG, "type.ninja"]
    for place in ("", "starts/", "ends/", "flattened_shapes/", "shapes/"):
        (folder / place).mkdir(exist_ok=True)
        files += [f"{place}{name}.ninja" for name in _NINJA]
    for name in files:
        put(folder, name, file.read((file.read(1) or b"\0")[0]))
    use(mmap_ninja._members(str(folder)))


def _ninjas() -> list[bytes]:
    def flat(array: Any) -> list[bytes]:
        shape = b"".join(n.to_bytes(8, "little") for n in array.shape)
        return [array.dtype.name.encode(), shape, b"C", array.tobytes() or b"\0"]

    rows, bounds = np.arange(5, dtype="<f4"), np.array([0, 2, 5])
    columns = [rows, bounds[:-1], bounds[1:], np.diff(bounds), np.diff(bounds).reshape(-1, 1)]
    files = [b"\1\0\0\0", b"ragged", *(one for array in columns for one in flat(array))]
    return [b"".join(bytes([len(one)]) + one for one in files)]


_PICKLED = (f"{_CONVERT}.unpickle", f"{_CONVERT}.formats.pickles", f"{_CONVERT}.entries")

IMPORTERS = {
    "pickles": Target(_read_pickles, _pickles, _PICKLED),
    "joblib": Target(
        _importer(_joblib, "x.joblib"),
        _joblibs,
        (*_PICKLED, f"{_CONVERT}.formats.joblib", "pickle"),
    ),
    "mmappickle": Target(
        _importer(partial(mmappickle._members, False), "x.mmap"),
        _mmappickles,
        (f"{_CONVERT}.formats.mmappickle", "pickletools"),
        1024,
    ),
    "bigarray": Target(_read_bigarray, _bigarrays, (f"{_CONVERT}.bigarray",), 1024),
    "megatron": Target(_read_megatron, _megatrons, (f"{_CONVERT}.formats.megatron",), 1024),
    "kaldi": Target(_read_kaldi, _arks, (f"{_CONVERT}.formats.kaldi",), 2048),
    "lmdb": Target(_read_pages, _pages, (f"{_CONVERT}.formats.lmdb_pages",), 4096),
    "npy": Target(
        _importer(npy._of_npy, "x.npy"), _npys, (f"{_CONVERT}.formats.npy", f"{_CONVERT}.files")
    ),
    "npz": Target(
        _importer(npy.members_of_npz, "x.npz"),
        lambda: _npys()[-1:],
        (f"{_CONVERT}.formats.npy", "zipfile"),
    ),
    "webdataset": Target(
        _archived(webdataset._members),
        _tars,
        (f"{_CONVERT}.formats.webdataset", f"{_CONVERT}.archives", f"{_CONVERT}.formats.npy"),
        1 << 14,
    ),
    "tar": Target(
        _archived(partial(tar._members, False, False)),
        _tars,
        (f"{_CONVERT}.formats.tar", f"{_CONVERT}.archives", f"{_CONVERT}.formats.npy"),
        1 << 14,
    ),
    "json": Target(
        _read_json,
        _jsons,
        (f"{_CONVERT}.formats.safetensors", f"{_CONVERT}.formats.datasets"),
        1024,
    ),
    "mmap_ninja": Target(_read_ninja, _ninjas, (f"{_CONVERT}.formats.mmap_ninja",), 2048),
}
