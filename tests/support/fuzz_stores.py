"""Targets that put bytes in the place of files of whole stores, and use these as anybody would."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from tests.support.forging import lay_out, unpack_index
from tests.support.fuzz_formats import compact_journal, journal_of, with_right_headers
from tests.support.fuzzing import GOLDEN, TESTS, Target, forged

FILES = ("index.msgpack", "journal.msgpack")
STORES = ("changed.ptr", "structured.ptr", "masked-mixed.ptr", "metadata.ptr")
_MODULES = ("ptrarray.format", "ptrarray.storage", "ptrarray.reader", "ptrarray.views")

Tree = dict[str, bytes]


@cache
def tree(place: Path) -> Tree:
    """Return the files of a store, by their paths in it."""
    files = [file for file in sorted(place.rglob("*")) if file.is_file()]
    return {str(file.relative_to(place)): file.read_bytes() for file in files}


def put_tree(files: Tree, place: Path) -> None:
    """Make a store of its files, in the place of one that was there."""
    shutil.rmtree(place, ignore_errors=True)
    for name, raw in files.items():
        file = place / name
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
        file.write_bytes(raw)


def use_store(store: Path, *, write: bool = True) -> None:
    """Read, verify and change a store: whatever happens has to be right data or an error of ours."""
    for backend in ("mmap", "pread"):
        with suppress(ptrarray.StoreError), ptrarray.open(store, backend=backend) as opened:
            _read(opened)
    with suppress(ptrarray.StoreError):
        ptrarray.verify(store, progress=False)
    if not write:
        return
    with suppress(ptrarray.StoreError), ptrarray.append(store) as writer:
        empty = np.empty((0, *(writer.row_shape or ())), writer.dtype)
        writer.write({"\0fuzz": empty}, overwrite=True, meta={"\0fuzz": {"k": 1}})


def _read(store: ptrarray.PointerArray) -> None:
    names = store.names[:100]
    for name in names:
        with suppress(ptrarray.StoreError):
            store[name]
        with suppress(ptrarray.StoreError):
            store.meta[name]
    with suppress(ptrarray.StoreError):
        store.take(names)
    for array in store.values():
        array.tobytes()
    if store.dtype.kind in "iuf":
        np.sum(store)
        store.reduce_each(np.add)


def _of_file(raw: bytes, folder: Path) -> None:
    """Put bytes in the place of a file of a store.

    Of the first byte, bit 0 says of which file, bits 1 and 2 of which store; the others of an index
    which checksums fit (3 and 4), of a journal whether it is one without its padding (5).
    """
    choice, content = raw[0] if raw else 0, raw[1:]
    if choice & 1:
        content = journal_of(content) if choice & 32 else content
    else:
        content = forged(content, choice >> 3)
    store = folder / "fuzz.ptr"
    put_tree(tree(GOLDEN / STORES[choice >> 1 & 3]) | {FILES[choice & 1]: content}, store)
    use_store(store)


def _files() -> list[bytes]:
    found = []
    for at, name in enumerate(STORES):
        index, journal = (tree(GOLDEN / name)[file] for file in FILES)
        found += [bytes([at << 1 | how << 3]) + index for how in (0, 1, 3)]
        found += [
            bytes([at << 1 | 1]) + journal,
            bytes([at << 1 | 33]) + compact_journal(journal, 7),
        ]
    return found


# Sizes and pointers ------------------------------------------------------------------------------

_SIZED = (
    "masked-mixed.ptr",
    "mixed.ptr",
    "masked.ptr",
    "changed.ptr",
    "shaped.ptr",
    "structured.ptr",
)
_COLUMNS = (
    "start",
    "end",
    "name_end",
    "slot",
    "crc",
    "info",
    "info_end",
    "meta",
    "meta_end",
    "names",
)
_NUMBERS = (0, 1, 7, 8, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def _of_sizes(raw: bytes, folder: Path) -> None:
    """Change numbers of an index, its checksums made to fit, and the sizes of files.

    The first byte says of which store. Then come changes, of four bytes each: what is changed, where, and
    two bytes of a value: a small number, one that lies at an edge, or a size.
    """
    name = _SIZED[raw[0] % len(_SIZED)] if raw else _SIZED[0]
    files = dict(tree(GOLDEN / name))
    header, columns = unpack_index(files["index.msgpack"])
    for at in range(1, len(raw) - 3, 4):
        what, where, low, high = raw[at : at + 4]
        if what < len(_COLUMNS):
            column = _COLUMNS[what]
            number = low if high < 128 else _NUMBERS[low % len(_NUMBERS)]
            columns[column] = _changed(
                columns.get(column, b""), header["columns"], column, where, number
            )
        elif what < 20:
            file = sorted(files)[where % len(files)]
            size = low | high << 8
            files[file] = files[file][:size].ljust(size, b"\0")
        elif what < 30:
            key = ("n_rows", "n_reserved", "n_arrays", "n_homes", "generation", "packed_masks")[
                where % 6
            ]
            header[key] = low if high < 128 else _NUMBERS[low % len(_NUMBERS)]
    files["index.msgpack"] = lay_out(header, {key: columns[key] for key in header["columns"]})
    put_tree(files, folder / "fuzz.ptr")
    use_store(folder / "fuzz.ptr")


def _changed(raw: bytes, places: dict[str, Any], column: str, where: int, number: int) -> bytes:
    if column not in places or not raw:
        return raw
    width = min(int(str(places[column][0])[-1]), len(raw))
    at = where * width % (len(raw) - width + 1)
    other: bytes = (number % 256**width).to_bytes(width, "little")
    return raw[:at] + other + raw[at + width :]


def _sizes() -> list[bytes]:
    changes = [(0, 0, 1, 0), (1, 1, 4, 200), (2, 0, 3, 0), (15, 1, 40, 0), (25, 0, 9, 0)]
    return [bytes([at, *(byte for change in changes for byte in change)]) for at in range(6)]


# Shards, packs, parts ----------------------------------------------------------------------------


_SHARDED = TESTS / "golden-shards" / "catalogued.ptr"


def _of_shards(raw: bytes, folder: Path) -> None:
    """Put bytes in the place of a file of a store of shards, and use or repair that.

    Of the first byte, the two lowest bits say which checksums fit, bit 6 whether it is repaired, the others
    which file it is.
    """
    choice = raw[0] if raw else 0
    files = tree(_SHARDED)
    names = [name for name in files if name.endswith("msgpack")]
    name = names[(choice >> 2 & 15) % len(names)]
    content = raw[1:] if "journal" in name else forged(raw[1:], choice)
    store = folder / "fuzz.ptr"
    put_tree({**files, name: content}, store)
    use_store(store)
    if choice & 64:
        with suppress(ptrarray.StoreError):
            ptrarray.repair(store, folder / "mended.ptr")
        shutil.rmtree(folder / "mended.ptr", ignore_errors=True)


def _shards() -> list[bytes]:
    files = tree(_SHARDED)
    found = [(name, raw) for name, raw in files.items() if name.endswith("msgpack")]
    return [bytes([at << 2 | how]) + raw for at, (_, raw) in enumerate(found) for how in (1, 3)]


def _of_pack(raw: bytes, folder: Path) -> None:
    """Open and unpack a pack, with headers whose checksums fit if the first byte is 1."""
    pack, place = folder / "fuzz.tar", folder / "fuzz.ptr"
    pack.unlink(missing_ok=True)
    pack.write_bytes(with_right_headers(raw[1:]) if raw[:1] == b"\x01" else raw[1:])
    use_store(pack, write=False)
    shutil.rmtree(place, ignore_errors=True)
    with suppress(ptrarray.StoreError):
        ptrarray.unpack(pack, place, progress=False)
        ptrarray.verify(place, progress=False)


@cache
def _packs() -> list[bytes]:
    found = []
    for name in ("changed.ptr", "masked-mixed.ptr"):
        file = io.BytesIO()
        ptrarray.pack(GOLDEN / name, file, progress=False)
        found.append(b"\x01" + file.getvalue())
    return found


def _of_part(raw: bytes, folder: Path) -> None:
    """Go on with a part of a store, and join it: the first byte says of which store, and which checksums fit."""
    choice = raw[0] if raw else 0
    store, parts = folder / "fuzz.ptr", folder / "fuzz.ptr.parts"
    shutil.rmtree(store, ignore_errors=True)
    name = ("part.ptr", "sealed.ptr")[choice >> 2 & 1]
    put_tree(tree(GOLDEN / name) | {"index.msgpack": forged(raw[1:], choice)}, parts / "0.ptr")
    if choice & 8:
        with suppress(ptrarray.StoreError), ptrarray.part(store, "0", dtype="u2") as writer:
            writer.write({"\0fuzz": np.empty(0, "u2")}, overwrite=True)
    with suppress(ptrarray.StoreError):
        ptrarray.join(store, progress=False)
        with ptrarray.open(store) as opened:
            _read(opened)


def _parts() -> list[bytes]:
    return [
        bytes([at << 2 | how]) + tree(GOLDEN / name)["index.msgpack"]
        for at, name in enumerate(("part.ptr", "sealed.ptr"))
        for how in (1, 3, 9)
    ]


def _target(
    attempt: Callable[[bytes, Path], object],
    seeds: Callable[[], list[bytes]],
    max_nbytes: int = 4096,
) -> Target:
    return Target(attempt, seeds, _MODULES, max_nbytes)


STORE_TARGETS = {
    "stores": _target(_of_file, _files, 20_000),
    "sizes": _target(_of_sizes, _sizes, 256),
    "shards": _target(_of_shards, _shards, 20_000),
    "packs": _target(_of_pack, _packs, 1 << 15),
    "parts": _target(_of_part, _parts),
}
