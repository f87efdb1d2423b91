"""Many small arrays: what is done for many at a time is what is done for one after the other."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, native
from ptrarray.format import infos
from ptrarray.format.checksum import crc32
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.infos import Info
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.intake import staging
from ptrarray.nested import arrays as nested_arrays
from ptrarray.nested import persistence
from ptrarray.objects.decoder import _Decoder, decode
from ptrarray.objects.encoder import _Encoder, encode
from ptrarray.objects.parts import RUN_LENGTH, Parts
from ptrarray.objects.tokens import PAGE_LENGTH, read_tokens
from tests.support.examples import some
from tests.support.nested import assert_same, encoded, through_store
from tests.support.strategies import DTYPES, filled, fortran, misaligned, strided

Array = NDArray[Any]

ONE_BY_ONE = (
    patch.object(_Encoder, "_arrays_in", lambda *_: 0),
    patch.object(_Decoder, "_arrays_from", lambda _, token, __: token),
    patch.object(nested_arrays, "_FEW", 1 << 60),
)
TWICE = np.arange(3.0)


def one_by_one(call: Callable[[], Any]) -> Any:
    """Call something while nothing is done for many arrays at a time."""
    with ONE_BY_ONE[0], ONE_BY_ONE[1], ONE_BY_ONE[2]:
        return call()


def essence(call: Callable[[], Any]) -> Any:
    """Return a result, or the error in words."""
    try:
        return call()
    except (BadInputError, CorruptStoreError) as error:
        return type(error), str(error)


def odd_one(seed: int) -> Any:
    """Return what is not one of many plain arrays, or is after all."""
    others: list[Any] = [
        TWICE, TWICE, np.array([1, "a", None], object), np.ma.MaskedArray([1, 2], [True, False]),
        np.zeros(2).view(np.recarray), None, 7, [np.arange(2)], "x", np.float32(1), np.array("a"),
        np.array([("a", 1)], [("object", object), ("int", int)]), np.zeros(2, "M8"), {"a": TWICE},
        np.zeros((2, 0)), (TWICE, TWICE, TWICE, TWICE), fortran(np.ones((2, 3))), np.zeros(0, "S"),
    ]  # fmt: skip
    return others[seed % len(others)]


@st.composite
def many(draw: st.DrawFn) -> Any:
    """Lists, tuples and dicts of plain arrays, with others in between."""
    kinds = draw(st.lists(st.sampled_from(DTYPES[:-2]), min_size=1, max_size=3))
    n = draw(st.sampled_from([1, 3, 4, 5, 9, 40, RUN_LENGTH, RUN_LENGTH + 3, PAGE_LENGTH + 1]))
    values: list[Any] = [filled(kinds[i % len(kinds)], (i % 4,), i) for i in range(n)]
    for seed in draw(st.lists(st.integers(0, 99), max_size=3)):
        values[draw(st.integers(0, n - 1))] = odd_one(seed)
    if draw(st.booleans()):
        return (
            dict(enumerate(values))
            if draw(st.booleans())
            else {f"a{i}": v for i, v in enumerate(values)}
        )
    return draw(st.sampled_from([list, tuple]))(values)


@settings(max_examples=some(30, of=60), deadline=None)
@given(st.lists(many(), min_size=1, max_size=3))
def test_skeleton_and_names_are_the_same(obj: Any) -> None:
    def tried() -> Any:
        raw, arrays = encoded(obj)
        return raw.tobytes(), {name: id(array) for name, array in arrays.items()}

    found, expected = essence(tried), essence(lambda: one_by_one(tried))
    if isinstance(found[1], dict) and isinstance(expected[1], dict):
        # What is made on the way, of masked arrays and the like, is another object each time.
        assert found[0] == expected[0]
        assert list(found[1]) == list(expected[1])
    else:
        assert found == expected


@settings(max_examples=some(30, of=60), deadline=None)
@given(st.lists(many(), min_size=1, max_size=2), st.randoms(use_true_random=False))
def test_what_is_decoded_is_the_same(obj: Any, rng: random.Random) -> None:
    """Of skeletons that were changed, too: the same object, or an error."""
    with suppress(BadInputError):
        raw, arrays = encoded(obj)
        tokens = list(read_tokens(raw, "own"))
        compare_decoded(tokens, arrays)
        for _ in range(3):
            changed = list(tokens)
            damage(changed, rng)
            compare_decoded(changed, arrays)


def damage(tokens: list[Any], rng: random.Random) -> None:
    at = rng.randrange(len(tokens))
    words: list[Any] = [
        ["array", "/nowhere"], ["array", 3], ["array", ["/0"]], ["array"], ["array", "/0", 1], [],
        tokens[rng.randrange(len(tokens))], "text", ["list", 9], ["ref", 1], ["masked array", "/0", True],
    ]  # fmt: skip
    tokens[at : at + rng.randrange(2)] = [rng.choice(words)] * rng.randrange(3)


def compare_decoded(tokens: list[Any], arrays: dict[str, Any]) -> None:
    pages = [msgpack.packb(tokens[at : at + 9]) for at in range(0, len(tokens), 9)]
    raw = np.frombuffer(b"".join(pages), np.uint8)

    def tried() -> Any:
        return decode(read_tokens(raw, "own"), arrays.__getitem__, lambda _: None, "own")

    found, expected = essence(tried), essence(lambda: one_by_one(tried))
    if type(expected) is tuple and expected and expected[0] is CorruptStoreError:
        # Where there are several mistakes, another may be told first.
        found, expected = found[:1], expected[:1]
    assert_same(found, expected)


def test_arrays_that_are_there_twice_stay_one(path: Path) -> None:
    arrays = [np.full(2, i) for i in range(9)]
    twice = [np.ones(1)] * 9
    obj = [
        arrays,
        tuple(arrays),
        [*arrays, twice],
        twice,
        dict(enumerate(arrays * 2)),
        list(arrays),
    ]
    assert_same(obj, through_store(obj, path))
    with ptrarray.open(path) as store:
        assert len(store) == len([*arrays, twice[0], persistence.SKELETON])


NAMES = [f"/{i}" for i in range(9)]
LIST = [["list", 9], *(["array", name] for name in NAMES)]


@pytest.mark.parametrize(
    "tokens",
    [
        [["list", 2], *LIST, ["list", 4], *LIST[1:5]],
        [["list", 10], *LIST[1:5], *LIST[3:9]],
        [["dict", 9], *(token for i in range(9) for token in (i % 8, LIST[i + 1]))],
        [["dict", 6], *(token for i in range(6) for token in (i % 3, LIST[i + 1]))],
        LIST[:-1],
        [["list", 8], *LIST[1:]],
        [["list", 9], *LIST[1:-1], ["array", "/9"]],
        [["list", 9], ["array", "/9"], *LIST[1:-1]],
    ],
    ids=[
        "used again", "used twice", "key again", "key twice", "too few", "too many", "none", "none first",
    ],
)  # fmt: skip
def test_forged_arrays(tokens: list[Any]) -> None:
    raw = np.frombuffer(msgpack.packb(tokens), np.uint8)
    arrays = {name: np.zeros(i) for i, name in enumerate(NAMES)}
    with pytest.raises(CorruptStoreError):
        decode(read_tokens(raw, "own"), arrays.__getitem__, lambda _: None, "own")


def test_two_arrays_of_one_name_get_two(path: Path) -> None:
    """Keys are cut in names, so that those of two long ones may be one."""
    obj = {"x" * 99 + end: [np.full(2, i) for i in range(9)] for end in "ab"}
    assert_same(obj, through_store(obj, path))
    with ptrarray.open(path) as store:
        assert sum("#2" in name for name in store) == 9


def test_a_list_that_gets_shorter_while_it_is_dumped() -> None:
    values: list[Any] = [object(), *(np.zeros(i % 3) for i in range(RUN_LENGTH + 9))]

    def take_apart(_: Any) -> Parts:
        values.pop()
        return Parts("a", {"b": 1})

    expected = f"^obj changed .*: {RUN_LENGTH + 10} values became {RUN_LENGTH + 9}$"
    with pytest.raises(BadInputError, match=expected):
        encode(values, lambda _: None, take_apart)


def test_an_array_that_no_store_keeps_is_told_by_its_place() -> None:
    values = [np.zeros(2) for _ in range(9)]
    values[7] = np.zeros(2, [("a", object)])
    with pytest.raises(BadInputError, match=r"^obj\[0\]\[7\] is an array, and its dtype"):
        encoded([values])


# in a store ---------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[int], Any]] = {
    "one size": lambda i: np.arange(5.0) + i,
    "lengths": lambda i: np.arange(i % 7, dtype="<u2"),
    "shapes": lambda i: np.full((i % 3, 2), i, "<f4"),
    "fortran": lambda i: np.asfortranarray(np.arange(6.0).reshape(2, 3) * i),
    "no elements": lambda _: np.zeros((0, 3)),
    "no axes": np.array,
    "text": lambda i: np.array(["ab", str(i)], "S3"),
    "texts": lambda i: np.array(["ab"] * (i % 4), "<U3"),
    "dates": lambda i: np.array([i, 1], "M8[s]"),
    "records": lambda i: np.array([(i % 9, 2.5)], [("a", "i1"), ("b", "<f8")]),
    "other byte order": lambda i: np.arange(3, dtype=">i4") + i,
    "strided": lambda i: strided(np.arange(4.0) + i),
    "misaligned": lambda i: misaligned(np.arange(4.0) + i),
    "large": lambda i: np.full(9000, i, "<f8"),
    "masked": lambda i: np.ma.MaskedArray([i, 2, 3], [False, bool(i % 2), False]),
    "masked copies": lambda i: np.ma.masked_equal([[i, 2], [3, 4]], 2)[:, ::-1],
    "all kinds": lambda i: FORMS[list(FORMS)[i % 15]](i),
}


@pytest.fixture(params=["core", "pure"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it with the native core, and without."""
    if request.param == "pure":
        monkeypatch.setattr(native, "core", None)
    elif native.core is None:
        pytest.skip("there is no native core")


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("form", FORMS)
def test_many_arrays_of_a_form(form: str, path: Path, tmp_path: Path) -> None:
    obj = [FORMS[form](i) for i in range(40)]
    ptrarray.dump(obj, path)
    ptrarray.verify(path)
    expected = one_by_one(lambda: ptrarray.load(path))
    loaded = ptrarray.load(path)
    with ptrarray.open(path) as store:
        for i, (one, other) in enumerate(zip(loaded, expected, strict=True)):
            assert_same(one, other)
            assert one.strides == other.strides == store[f"/{i}"].strides
            assert one.flags.writeable == other.flags.writeable
            assert isinstance(one.base, np.ndarray)
    assert_same([as_kept(array) for array in obj], loaded)
    with (tmp_path / "stream").open("w+b") as file:
        ptrarray.dump(obj, file)
        file.seek(0)
        assert_same(loaded, ptrarray.load(file))


def as_kept(array: Any) -> Any:
    if isinstance(array, np.ma.MaskedArray):
        return array.copy()
    return np.asarray(array).copy(order="A" if array.flags.forc else "C")


@pytest.mark.parametrize("form", ["one size", "lengths", "masked", "all kinds"])
def test_bytes_are_the_same_without_the_core(form: str) -> None:
    obj = {f"name{i}": FORMS[form](i) for i in range(300)}
    streams = []
    for core in (native.core, None):
        streams.append(io.BytesIO())
        with patch.object(native, "core", core):
            ptrarray.dump(obj, streams[-1])
    assert streams[0].getvalue() == streams[1].getvalue()


@pytest.mark.parametrize("sync", [True, False])
def test_what_replaces_a_store_is_what_a_new_one_is(sync: bool, path: Path, tmp_path: Path) -> None:
    obj = [FORMS["all kinds"](i) for i in range(60)]
    ptrarray.dump(["old"], path)
    ptrarray.dump(obj, path, mode="w", sync=sync)
    ptrarray.verify(path)
    fresh = tmp_path / "fresh.ptr"
    ptrarray.dump(obj, fresh)
    with ptrarray.open(path) as one, ptrarray.open(fresh) as other:
        assert list(one) == list(other)
        assert one.pointers == other.pointers
        assert one.attrs == other.attrs
    assert_same(ptrarray.load(path), ptrarray.load(fresh))


INFOS = [
    b"", infos.encode(Info(np.dtype("<f8"))), infos.encode(Info(np.dtype("S3"))),
    infos.encode(Info(np.dtype("<i2"), (2, 3))), infos.encode(Info(np.dtype("<i2"), (2, 3), True)),
    infos.encode(Info(np.dtype("<i2"), ())), infos.encode(Info(np.dtype("<i2"), (0, 3))),
]  # fmt: skip
PLACES = st.tuples(st.sampled_from([0, 64, 128, 8, 3, 512]), st.sampled_from([0, 12, 24, 2, 3]))
POINTERS = st.tuples(st.sampled_from(INFOS), PLACES | st.just((640, 0)))


@settings(deadline=None)
@given(st.lists(POINTERS, min_size=1, max_size=4), st.integers(1, 12), st.booleans())
def test_views_at_pointers_anywhere(
    pointers: list[tuple[bytes, tuple[int, int]]], times: int, is_alike: bool
) -> None:
    """Where no writer lays arrays: the same views, or the same error."""
    pointers = [pointers[0]] * times if is_alike else pointers * times
    packed, places = map(list, zip(*pointers, strict=True))
    starts, lengths = np.array(places).T
    names = RaggedColumn.of([b"a%d" % i for i in range(len(packed))])
    zeros = np.zeros(len(packed), np.uint32)
    entries = Entries(
        names,
        zeros,
        starts,
        starts + lengths,
        zeros,
        zeros.view("u1")[::4],
        RaggedColumn.of(packed),
    )
    data = np.random.default_rng(1).integers(0, 256, 540, np.uint8)
    layout = Layout(MIXED, np.dtype(np.uint8), (), masked=False)

    def tried() -> Any:
        arrays = nested_arrays.views(entries, layout, data, None, "own")
        about = [
            (a.tobytes(), a.dtype, a.strides, a.shape, a.flags.writeable) for a in arrays.values()
        ]
        assert all(not a.size or np.shares_memory(a, data) for a in arrays.values())
        return list(arrays), about

    assert essence(tried) == essence(lambda: one_by_one(tried))


def test_arrays_of_as_many_axes_as_numpy_has(path: Path) -> None:
    obj = [np.full((1,) * infos.MAX_NDIM, at) for at in range(20)]
    ptrarray.dump(obj, path)
    assert_same(obj, ptrarray.load(path))


def test_views_of_many_arrays_that_are_huge(tmp_path: Path) -> None:
    """There is no array in numpy that has one of them at each place."""
    nbytes, n_arrays = 9 << 30, 9
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(nbytes * n_arrays)
    data = np.memmap(tmp_path / "sparse", np.uint8, "r").view(np.ndarray)
    starts, zeros = np.arange(n_arrays) * nbytes, np.zeros(n_arrays, np.uint32)
    entries = Entries(
        RaggedColumn.of([b"a%d" % at for at in range(n_arrays)]),
        zeros,
        starts,
        starts + nbytes,
        zeros,
        zeros.astype(np.uint8),
        RaggedColumn.of([infos.encode(Info(np.dtype("<f8")))] * n_arrays),
    )
    layout = Layout(MIXED, np.dtype(np.uint8), (), masked=False)
    arrays = nested_arrays.views(entries, layout, data, None, "own")
    assert [len(array) for array in arrays.values()] == [nbytes // 8] * n_arrays
    assert arrays["a8"].ctypes.data == data.ctypes.data + 8 * nbytes


# staging ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("core")
@given(
    st.lists(st.tuples(st.sampled_from(DTYPES[:-2]), st.integers(0, 40)), max_size=20),
    st.sampled_from([0, 1, 64, 100, 1000]),
    st.sampled_from([1, 8, 64]),
)
@settings(deadline=None)
def test_pieces_are_the_arrays(kinds: list[tuple[Any, int]], nbytes: int, alignment: int) -> None:
    arrays = [filled(dtype, (n,), i) for i, (dtype, n) in enumerate(kinds)]
    raws = [array.tobytes() for array in arrays]
    crcs = np.zeros(len(arrays), np.uint32)
    pieces = [bytes(piece) for piece in staging.staged(arrays, crcs, nbytes, alignment)]
    assert b"".join(pieces) == b"".join(raw + bytes(-len(raw) % alignment) for raw in raws)
    assert crcs.tolist() == list(map(crc32, raws))
    assert max(map(len, pieces), default=0) <= max([nbytes, *map(len, raws)]) + alignment


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("length", [0, 1, 2000])
def test_an_array_that_is_resized_while_it_is_dumped(
    length: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [np.ones(100) for _ in range(20)]
    staged = staging.staged

    def resizing(*asked: Any) -> Any:
        arrays[7].resize(length, refcheck=False)  # as another thread could
        return staged(*asked)

    monkeypatch.setattr("ptrarray.nested.contents.staged", resizing)
    with pytest.raises(BadInputError, match="obj changed while it was being dumped"):
        ptrarray.dump(arrays, path)
    assert not path.exists()
