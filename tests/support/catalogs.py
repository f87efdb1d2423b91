"""Catalogs to test: what is in them, and whether all ways to look for a name agree."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import CorruptStoreError, DuplicateNameError
from ptrarray.format import catalog as layout
from tests.support.colliding import COLLIDING

Arrays = dict[str, list[int]]


def some_arrays() -> Arrays:
    """Return arrays for five shards, some of whose names have the same hash."""
    names = [*COLLIDING[:6], *(f"n{n}" for n in range(60))]
    return {name: [n, n + 1] for n, name in enumerate(names)}


def made(path: Path, arrays: Arrays, n_shards: int = 5) -> Path:
    """Make a store of so many shards with a catalog."""
    with ptrarray.create(path, dtype="i4", shard_size=1) as writer:
        for part in np.array_split(np.array(list(arrays), object), n_shards):
            writer.write({name: arrays[name] for name in part})
    ptrarray.checkpoint(path)
    assert file_of(path).exists()
    return path


def file_of(path: Path) -> Path:
    return path / layout.FILE_NAME


def check(path: Path, arrays: Arrays) -> None:
    """Check all ways in which a name is looked for, in a store opened anew and by its writer."""
    absent = ["absent", "n1x", "", "\udc80"]
    with ptrarray.open(path) as store:
        for _ in range(2):  # of a shard that was not asked yet, and of one that was
            for name, values in random.sample(sorted(arrays.items()), len(arrays)):
                assert store[name].tolist() == values
                assert name in store
                pointer = store.pointers[name]
                assert store.rows[slice(*pointer)].tolist() == values
                assert store.meta[name] == {}
            assert not any(name in store or name in store.meta for name in absent)
        assert list(store) == list(arrays)
        many = list(arrays) * (300 // max(1, len(arrays)) + 1)
        assert [one.tolist() for one in store.take(many)] == [arrays[name] for name in many]
        for name in absent[:3]:
            with pytest.raises(KeyError):
                store.take([*many, name])
    with ptrarray.append(path) as writer:
        for names in [*([name] for name in [*arrays][:3]), list(arrays)]:
            with pytest.raises(DuplicateNameError) as raised:
                writer.write({name: [1] for name in [*names, "new"]})
            assert set(raised.value.names) == set(names)


def damage_of(path: Path) -> list[str]:
    try:
        ptrarray.verify(path)
    except CorruptStoreError as error:
        return [damage.file for damage in error.damage]
    return []


def known(path: Path) -> set[int]:
    """Numbers of the shards that are looked for by the catalog."""
    finder: Any = ptrarray.open(path)._opened.snapshot.finder  # type: ignore[attr-defined]
    return set(finder._known)


def unpacked(raw: bytes, *, checked: bool = True) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a catalog as the document says, with nothing of ptrarray."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(raw)
    header = unpacker.unpack()
    assert header["crc"] == crc32(raw[: unpacker.tell() - 5])
    columns = {}
    for name, (kind, start_byte, nbytes, crc) in header["columns"].items():
        assert start_byte % 64 == 0
        assert raw[start_byte - 5 : start_byte] == b"\xc6" + nbytes.to_bytes(4, "big")
        assert not checked or crc32(raw[start_byte : start_byte + nbytes]) == crc
        columns[name] = np.frombuffer(raw[start_byte : start_byte + nbytes], kind)
    return header, columns
