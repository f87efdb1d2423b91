"""Skeletons that no `dump` wrote: an object or `CorruptStoreError`, whatever they say."""

from __future__ import annotations

import pickle
import random
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, CorruptStoreError
from ptrarray.frames.together import put_together
from ptrarray.nested import persistence
from ptrarray.objects.decoder import decode
from ptrarray.objects.tokens import PAGE_LENGTH, read_tokens
from tests.support.memory import peak_nbytes
from tests.support.nested import MEBI, OBJECTS, encoded

pytestmark = pytest.mark.usefixtures("limits")

# what is not a dump -------------------------------------------------------------------------------


def forge(path: Path, tokens: list[Any] | bytes, **arrays: Any) -> Path:
    """Write a store as `dump` does, of tokens that it would not."""
    raw = tokens if isinstance(tokens, bytes) else msgpack.packb(tokens)
    skeleton = np.frombuffer(raw, np.uint8)
    crc = crc32(raw)
    attrs = {persistence.ATTR: {"version": 1, "nbytes": len(raw), "crc32": crc}}
    masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays.values())
    with ptrarray.create(path, attrs=attrs, mode="w", masked=masked) as writer:
        writer.write({"skeleton": skeleton, **arrays})
    return path


HOSTILE: dict[str, Any] = {
    "nothing": [],
    "no list": b"\x01",
    "no msgpack": b"\xc1\xc1",
    "a map": b"\x81\xa1a\x01",
    "an empty map": [{}],
    "an empty operation": [[]],
    "unknown": [["exec", "import os"]],
    "no name": [[1, 2]],
    "a list as name": [[["list"], 2]],
    "cut short": msgpack.packb([["list", 1], 5])[:-1],
    "too few": [["list", 3], 1, 2],
    "huge": [["list", 2**62], 1],
    "huge set": [["set", 2**62], 1],
    "huge tuple": [["tuple", 2**63], 1],
    "too many": [["list", 1], 1, 2],
    "two objects": [1, 2],
    "negative": [["list", -1]],
    "a float as length": [["list", 1.0], 1],
    "true as length": [["list", True], 1],
    "no length": [["list"]],
    "a run alone": [["run", 1]],
    "too long a run": [["list", 2], ["run", 1, 2, 3]],
    "an empty run": [["list", 2], ["run"]],
    "a run in a dict": [["dict", 2], "a", ["run", 1, 2]],
    "a run of lists": [["list", 1], ["run", [1]]],
    "a record of lists": [["record", "a", []]],
    "half a record": [["record", "a"]],
    "a record of ints": [["record", 1, 2]],
    "a record with a key twice": [["record", "a", 1, "a", 2]],
    "a key twice": [["dict", 2], "a", 1, "a", 2],
    "equal keys": [["dict", 2], 1, 1, 1.0, 2],
    "a member twice": [["set", 2], 1, 1],
    "a list as key": [["dict", 1], ["list", 0], 1],
    "a dict as member": [["set", 1], ["dict", 0]],
    "a reference as key": [["list", 2], ["tuple", 0], ["dict", 1], ["ref", 0], 1],
    "an array as key": [["dict", 1], ["array", "/a"], 1],
    "masked as key": [["dict", 1], ["masked"], 1],
    "a reference to nothing": [["ref", 0]],
    "a negative reference": [["list", 1], ["ref", -1]],
    "true as reference": [["list", 2], 1, ["ref", False]],
    "a tuple in itself": [["tuple", 1], ["ref", 0]],
    "parts in themselves": [["parts", "Series", "values"], ["ref", 0]],
    "no such array": [["array", "/b"]],
    "the skeleton's bytes twice": [["list", 2], ["array", "/a"], ["array", "/a"]],
    "no name of an array": [["array", 1]],
    "no mask": [["masked array", "/a", True]],
    "text of numbers": [["large", "str", "/a"]],
    "a scalar of many": [["large", "numpy", "/a"]],
    "large what": [["large", "code", "/a"]],
    "bad text": [["large", "str", "/raw"]],
    "an int of str": [["int", "1"]],
    "complex of str": [["complex", "1", "2"]],
    "complex of one": [["complex", 1.0]],
    "thirteenth month": [["date", 2020, 13, 1]],
    "a date of str": [["date", b"\x07\xe4\x01\x01"]],
    "date by pickle": [["date", "\x07\xe4\x01\x01"]],
    "datetime by pickle": [["datetime", b"\x07\xe4\x01\x01\0\0\0\0\0\0"]],
    "time by pickle": [["time", b"\0\0\0\0\0\0", None]],
    "huge timedelta": [["timedelta", 10**10, 0, 0]],
    "an unknown zone": [["time", 1, 1, 1, 1, 0, "Nowhere/Land"]],
    "a zone elsewhere": [["time", 1, 1, 1, 1, 0, "../../../etc/passwd"]],
    "a zone at the root": [["time", 1, 1, 1, 1, 0, "/etc/passwd"]],
    "a zone that is a folder": [["time", 1, 1, 1, 1, 0, "Europe"]],
    "a zone of two days": [["time", 1, 1, 1, 1, 0, [2, 0, 0]]],
    "a third fold": [["time", 1, 1, 1, 1, 2, None]],
    "objects": [["numpy", "|O", b"\0" * 8]],
    "fields": [["numpy", [["a", "<i4"]], b"\0" * 4]],
    "too short a scalar": [["numpy", "<f8", b"\0" * 4]],
    "no dtype": [["numpy", "2f4", b"\0" * 8]],
    "a shape": [["numpy", "(2,)f4", b"\0" * 8]],
    "code as dtype": [["numpy", "__import__('os')", b""]],
    "bytes of str": [["numpy bytes", "a"]],
    "parts of nothing": [["parts", "Series"]],
    "parts twice": [["parts", "Series", "a", "a"], 1, 2],
    "parts of os": [["parts", "os.system", "values"], "ls"],
    "parts of ints": [["parts", "Series", 1], 1],
    "an object of nothing": [["object"]],
    "an object without parts": [["object", "range"]],
    "an object of ints": [["object", 1], 1],
    "an object of lists": [["object", "a", []], 1],
    "an object with a part twice": [["object", "a", "x", "x"], 1, 2],
    "an object with too few parts": [["object", "a", "x", "y"], 1],
    "an object with too long a run": [["object", "a", "x"], ["run", 1, 2]],
    "an object in itself": [["object", "a", "x"], ["ref", 0]],
    "a range of two": [["object", "range"], ["tuple", 2], 1, 2],
    "a range of a list": [["object", "range"], ["list", 3], ["run", 1, 2, 3]],
    "a range by name": [["object", "range", "start", "stop", "step"], 1, 2, 3],
    "a range of text": [["object", "range"], ["tuple", 3], "1", "2", "3"],
    "an ordered dict of pairs": [["object", "collections.OrderedDict"], ["list", 0]],
    "a factory that is none": [["object", "collections.defaultdict"], ["tuple", 2], 1, ["dict", 0]],
    "a deque that is too short": [["object", "collections.deque"], ["tuple", 2], ["list", 0], -1],
    "a decimal of letters": [["object", "decimal.Decimal"], "abc"],
    "a decimal of a tuple": [["object", "decimal.Decimal"], ["tuple", 3], 0, ["tuple", 0], 0],
    "a path of a number": [["object", "pathlib.PosixPath"], 1],
    "objects of another shape": [
        ["object", "numpy.ndarray"],
        ["tuple", 2],
        ["tuple", 1],
        2,
        ["list", 1],
        1,
    ],
    "a dtype of code": [["object", "numpy.dtype"], "__import__('os')"],
    "a dtype of fields": [["object", "numpy.dtype"], "i4,i4"],
    "a class of a list": [["object", "class"], ["list", 0]],
    "a list in a key": [["dict", 1], ["object", "a"], ["list", 0], 1],
    "an object as key without parts": [["dict", 1], ["object", "a"]],
    "an object of nothing as key": [["dict", 1], ["object"], 1, 2],
    "an object of ints as key": [["dict", 1], ["object", 1], 1, 2],
    "a reference in a key": [
        ["list", 2],
        ["tuple", 0],
        ["dict", 1],
        ["object", "a", "x"],
        ["ref", 0],
        1,
    ],
    "no range as key": [["dict", 1], ["object", "range"], 1, 2],
    "objects too deep in a key": [["dict", 1], *[["object", "a"]] * 200, 1, 2],
    "an extension type": b"\x91\xd4\x01\x00",
    "a timestamp": b"\x91\xd6\xff\0\0\0\0",
    "a huge page": b"\xdd\xff\xff\xff\xff",
    "a huge str": b"\x91\xdb\xff\xff\xff\xff",
    "bad utf-8": b"\x91\xa1\xff",
    "arrays in arrays": b"\x91" * 5000,
    "large arrays in arrays": b"\xdd\x00\x0f\xff\xff" * 500,
    "half a page too many": msgpack.packb([1]) + b"\x92\x01",
    "huge arrays in arrays": b"\xdd\x00\x00\x04\x00" * 5000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_skeletons_are_refused(path: Path, case: str) -> None:
    raw = np.full(3, 0xFF, np.uint8)
    forge(path, HOSTILE[case], **{"/a": np.arange(3), "/raw": raw})
    assert peak_nbytes(lambda: refuse(path)) < 16 * MEBI


def refuse(path: Path) -> None:
    with pytest.raises(CorruptStoreError, match="the skeleton of the object in"):
        ptrarray.load(path)


def test_what_is_forged_right_is_read(path: Path) -> None:
    forge(path, [["list", 3], 1, ["array", "/a"], ["ref", 1]], **{"/a": np.arange(3)})
    one, array, again = ptrarray.load(path)
    assert one == 1
    assert array is again
    forge(path, [["object", "os.system", "command"], "ls"])
    assert ptrarray.load(path) == ptrarray.Record("os.system", {"command": "ls"})
    forge(path, [["list", 2], ["object", "class"], "os.system", ["object", "class"], "eval"])
    assert ptrarray.load(path) == [
        ptrarray.Record("class", "os.system"),
        ptrarray.Record("class", "eval"),
    ]


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_hostile_depth_is_no_recursion(path: Path, kind: str) -> None:
    """Refused if it is too deep to hash, else read; and let go of again."""
    depth = 100_000
    opening = [[kind, 1], "k"] if kind == "dict" else [[kind, 1]]
    pages = [msgpack.packb(opening * 100)] * (depth // 100) + [msgpack.packb([None])]
    forge(path, b"".join(pages))
    loaded = ptrarray.load(path)
    for _ in range(depth):
        (loaded,) = loaded.values() if kind == "dict" else loaded
    assert loaded is None
    key = b"".join([msgpack.packb([["dict", 1]]), *[msgpack.packb([["tuple", 1]] * 100)] * 2000])
    forge(path, key + msgpack.packb([1, 2]))
    refuse(path)


def test_hash_bombs_are_refused(path: Path) -> None:
    """Hashing a tuple of two tuples of two tuples takes for ever, if they may be the same."""
    tokens: list[Any] = [["list", 100], ["tuple", 0]]
    for number in range(1, 98):
        tokens += [["tuple", 2], ["ref", number], ["ref", number]]
    forge(path, [*tokens, ["set", 1], ["ref", 98]])
    refuse(path)


@settings(max_examples=100)
@given(st.data())
def test_changed_tokens_give_an_object_or_the_error(data: st.DataObject) -> None:
    """Fuzz: change, drop, repeat or swap tokens and arguments of real skeletons."""
    obj = data.draw(OBJECTS)
    raw, arrays = encoded(obj)
    tokens = list(read_tokens(raw, "own"))
    rng = random.Random(data.draw(st.integers()))
    for _ in range(rng.randrange(1, 4)):
        mutate(tokens, rng)
    raw = np.frombuffer(msgpack.packb(tokens[:PAGE_LENGTH], **SURROGATES), np.uint8)

    def array(name: str) -> Any:
        content = arrays.get(name)
        if content is None:
            raise CorruptStoreError("not there", path="")
        return content

    with suppress(CorruptStoreError):
        decode(read_tokens(raw, "fuzz"), array, put_together, "fuzz")


SURROGATES: dict[str, Any] = {"unicode_errors": "surrogatepass"}
WORDS: list[Any] = [
    None, True, 0, 1, -1, 2**63, 1.5, "a", b"a", [], "ref", "list", "tuple", "parts", "Series",
    ["ref", 0], ["list", 1], ["dict", 1], ["set", 1], ["tuple", 2], ["run", 1], ["masked"],
    "object", ["object", "range"], ["object", "a", "x"], ["object", "class"], ["object", "b"],
]  # fmt: skip


def mutate(tokens: list[Any], rng: random.Random) -> None:
    at = rng.randrange(len(tokens)) if tokens else 0
    if not tokens or rng.random() < 0.2:
        tokens.insert(at, rng.choice(WORDS))
    elif type(tokens[at]) is list and rng.random() < 0.6:
        tokens[at] = list(tokens[at])
        mutate(tokens[at], rng)
    else:
        tokens[at : at + 1] = rng.choice([[], [tokens[at]] * 2, [rng.choice(WORDS)]])


@settings(max_examples=100)
@given(OBJECTS, st.data())
def test_changed_bytes_give_an_object_or_the_error(obj: Any, data: st.DataObject) -> None:
    raw, _ = encoded(obj)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = raw[: data.draw(st.integers(0, len(raw)))]

    def array(name: str) -> Any:
        raise CorruptStoreError("not there", path="")

    for damaged in (raw, cut):
        with suppress(CorruptStoreError):
            decode(read_tokens(damaged, "fuzz"), array, put_together, "fuzz")


def test_a_store_that_is_no_dump(path: Path) -> None:
    with ptrarray.create(path, dtype="f4", attrs={"rate": 1}) as writer:
        writer["a"] = [1]
    with pytest.raises(BadInputError, match="dump did not write it"):
        ptrarray.load(path)


@pytest.mark.parametrize(
    ("attr", "message"),
    [
        ({"version": 2}, "version 2"),
        ({}, "version None"),
        (1, "version 1"),
        ({"version": 1}, "checksum"),
        ({"version": 1, "nbytes": "a", "crc32": None}, "checksum"),
    ],
)
def test_forged_attrs(path: Path, attr: Any, message: str) -> None:
    ptrarray.dump([1], path)
    with ptrarray.append(path) as writer:
        writer.attrs[persistence.ATTR] = attr
    with pytest.raises(CorruptStoreError, match=message):
        ptrarray.load(path)


def test_damage_is_found(path: Path) -> None:
    ptrarray.dump({"number": 12345, "a": np.arange(3)}, path)
    raw = bytearray((path / "data.bin").read_bytes())
    raw[raw.index(b"number")] ^= 1
    (path / "data.bin").write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="checksum"):
        ptrarray.load(path)
    ptrarray.dump([1, np.arange(3)], path, mode="w")
    with ptrarray.append(path) as writer:
        del writer["/1"]
    with pytest.raises(CorruptStoreError, match="'/1'"):
        ptrarray.load(path)
    with ptrarray.append(path) as writer:
        del writer["skeleton"]
    with pytest.raises(CorruptStoreError, match="missing"):
        ptrarray.load(path)


def test_opening_runs_no_code(path: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    forge(path, pickle.dumps(Bomb()))
    refuse(path)
    forge(path, [["list", 1], pickle.dumps(Bomb())])
    assert type(ptrarray.load(path)[0]) is bytes
    assert not (tmp_path / "exploded").exists()
