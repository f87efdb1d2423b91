"""`dump` and `load`: every kind of object comes back the same, or is refused by its path."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import gc
import io
import os
import pickle
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError
from ptrarray.nested import persistence
from ptrarray.nested.contents import Contents
from ptrarray.objects.decoder import decode
from ptrarray.objects.encoder import encode
from ptrarray.objects.parts import RUN_LENGTH, Items, Parts
from ptrarray.objects.paths import Names
from ptrarray.objects.tokens import LARGE, PAGE_LENGTH, plain_weight, read_tokens
from tests.support.nested import (
    ARRAYS,
    KEYS,
    OBJECTS,
    assert_same,
    encoded,
    through_codec,
    through_store,
)
from tests.support.strategies import PLAIN_DTYPES, STRUCTURED_DTYPES, filled


def deep(depth: int) -> Any:
    """Return lists, tuples and dicts inside each other, with arrays on the way."""
    inner: Any = None
    for level in range(depth):
        match level % 4:
            case 0:
                inner = [inner]
            case 1:
                inner = (level, inner)
            case 2:
                inner = {"down": inner}
            case 3 if level % 10_000 == 3:
                inner = [np.array(level), inner]
    return inner


# what comes back the same -------------------------------------------------------------------------


@settings(max_examples=60)
@given(OBJECTS)
def test_codec_gives_back_any_object(obj: Any) -> None:
    assert_same(obj, through_codec(obj))


@settings(max_examples=10)
@given(OBJECTS)
def test_store_gives_back_any_object(tmp_path_factory: pytest.TempPathFactory, obj: Any) -> None:
    assert_same(obj, through_store(obj, tmp_path_factory.mktemp("any") / "object.ptr"))


@settings(max_examples=10)
@given(st.lists(ARRAYS, max_size=12))
def test_store_gives_back_any_array(tmp_path_factory: pytest.TempPathFactory, obj: Any) -> None:
    assert_same(obj, through_store(obj, tmp_path_factory.mktemp("any") / "object.ptr"))


@given(st.dictionaries(KEYS, st.just(None)) | st.sets(KEYS) | st.frozensets(KEYS))
def test_codec_gives_back_any_key(obj: Any) -> None:
    assert_same(obj, through_codec(obj))


@pytest.mark.parametrize(
    "obj",
    [
        None, True, 0, -1.5, "", b"", 10**1000, [], (), {}, set(), frozenset(),
        np.float32(1.5), np.array(3), np.zeros(0), np.ma.masked,
        np.zeros(2, "i4,f8")[0], np.longdouble(1) / 3, np.str_("nul\0"), np.bytes_(b"nul\0"),
        dt.date.min, dt.datetime.max, dt.timedelta.min, dt.time(1, fold=1),
        list(range(3 * RUN_LENGTH)), list(map(str, range(3 * PAGE_LENGTH))),
        [*range(RUN_LENGTH), 2**64, *range(RUN_LENGTH), "x" * LARGE],
        tuple(range(2 * RUN_LENGTH + 1)), {i: i for i in range(2 * RUN_LENGTH)},
        {str(i): i for i in range(RUN_LENGTH)}, {str(i): i for i in range(RUN_LENGTH - 1)},
        {1: "int", "1": "str", 1.5: "float", None: "None", (1, ("a",)): "tuple", b"1": "bytes"},
        [[True], [1], [1.0], [0.0], [-0.0], [float("nan")]],
    ],
    ids=lambda obj: repr(obj)[:30],
)  # fmt: skip
def test_gives_back(obj: Any, path: Path) -> None:
    assert_same(obj, through_store(obj, path))


SIZES = [LARGE - 1, LARGE, LARGE + 1]


@pytest.mark.parametrize("size", SIZES)
def test_large_values_are_arrays(path: Path, size: int) -> None:
    text, raw, number = "ü" * size, os.urandom(size), (1 << 8 * size) - 1
    texts = [np.str_("ü" * size), np.bytes_(b"a" * size)]
    obj = {"all": [text, raw, number, -number, *texts], text: text, raw: [raw], (number,): raw}
    loaded = through_store(obj, path)
    assert_same(obj, loaded)
    with ptrarray.open(path) as store:
        assert store[persistence.SKELETON].nbytes < 15 * size
        assert ("/all/1" in store) == (size > LARGE)
    if size > LARGE:
        # What is large is there once, unless it is in a key.
        assert loaded["all"][1] is loaded[raw][0] is loaded[(number,)]


def test_a_large_record_is_an_array(path: Path) -> None:
    records = np.zeros(2, [("image", "f4", (200, 200)), ("label", "U3")])
    records["image"] += 1.5
    loaded = through_store([records[0], records[1]], path)
    assert loaded[0].dtype == records.dtype
    assert loaded[0] == records[0]
    loaded[0]["image"][0, 0] = 7  # its own memory, as a scalar has


def test_depth_has_no_limit(path: Path) -> None:
    obj = deep(100_000)
    loaded = through_store(obj, path)
    assert_same(obj, loaded)
    with ptrarray.open(path) as store:
        assert max(map(len, store)) < 300
    with pytest.raises(BadInputError, match=r"^obj\['a'\]\[1\].*\(49977 more\).*\[1\] is a "):
        encoded({"a": at_the_bottom(50_000)})


def at_the_bottom(depth: int) -> Any:
    inner: Any = object()
    for _ in range(depth):
        inner = [None, inner]
    return inner


class Text(str):
    __slots__ = ()


NOT_PLAIN = [2**64, -(2**63) - 1, "x" * 257, b"x" * 257, 1j, (), np.float64(1), Text("a")]


@given(
    st.lists(st.sampled_from([0, 2**64 - 1, -(2**63), 1.5, None, True, "ü" * 256, b"ab"])),
    st.sampled_from([1, 9, 40]),
    st.none() | st.sampled_from(NOT_PLAIN),
)
def test_what_is_plain_is_seen_in_every_length(values: list[Any], times: int, odd: Any) -> None:
    values = values * times
    weight = sum(9 + (len(value) if isinstance(value, str | bytes) else 0) for value in values)
    assert plain_weight(values) == weight
    assert plain_weight(dict(enumerate(values)).values()) == weight
    if odd is not None:
        values.insert(len(values) // 2, odd)
        assert plain_weight(values) == -1


# what is there more than once ---------------------------------------------------------------------


def test_shared_objects_stay_shared(path: Path) -> None:
    shared_list, shared_dict, array = [1], {"a": 1}, np.arange(3)
    shared_tuple, shared_set = (array,), {1}
    obj = [[shared, shared, {"again": shared}] for shared in
           (shared_list, shared_dict, array, shared_tuple, shared_set, frozenset({2}))]  # fmt: skip
    loaded = through_store([*obj, [1]], path)
    for one, two, three in loaded[:-1]:
        assert one is two is three["again"]
    assert loaded[0][0] is not loaded[-1]
    assert loaded[2][0] is loaded[3][0][0]
    with ptrarray.open(path) as store:
        assert len(store) == 2  # the array and the skeleton


def test_lists_and_dicts_may_contain_themselves(path: Path) -> None:
    obj: dict[str, Any] = {"list": [1, 2]}
    obj["list"].append(obj["list"])
    obj["self"] = obj
    obj["through a tuple"] = ([obj],)
    loaded = through_store(obj, path)
    assert loaded["self"] is loaded
    assert loaded["list"][2] is loaded["list"]
    assert loaded["through a tuple"][0][0] is loaded


def test_a_tuple_that_contains_itself_is_refused() -> None:
    inner: list[Any] = []
    obj = {"a": (inner,)}
    inner.append(obj["a"])
    with pytest.raises(BadInputError, match=r"^obj\['a'\]\[0\]\[0\] is the tuple that it lies in"):
        encoded(obj)


def test_many_times_the_same_tuple_takes_no_room() -> None:
    """A tree of two to the hundredth leaves, that is one tuple in another."""
    obj: Any = ()
    for _ in range(100):
        obj = (obj, obj)
    assert len(encoded(obj)[0]) < 10_000
    loaded = through_codec(obj)
    assert loaded[0] is loaded[1]


def test_what_is_made_on_the_way_is_not_taken_for_something_else() -> None:
    """Values that nobody keeps are made where earlier ones were."""

    def apart(value: object) -> Parts | None:
        made = ([["x" * 300 + str(n)], (n,)] for n in range(2000))
        return Parts("made", {"values": Items(4000, made)}) if isinstance(value, Model) else None

    pages: list[bytes] = []
    arrays: dict[str, Any] = encode(Model(), pages.append, apart)
    tokens = read_tokens(np.frombuffer(b"".join(pages), np.uint8), "")
    made = decode(tokens, arrays.__getitem__, lambda parts: parts.attributes["values"], "")
    assert made[::2] == [["x" * 300 + str(n)] for n in range(2000)]
    assert made[1::2] == [(n,) for n in range(2000)]


# what is refused ----------------------------------------------------------------------------------


class Model:
    pass


class Point(NamedTuple):
    x: int


class Color(enum.IntEnum):
    RED = 1


class Mapped(dict[str, int]):
    pass


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("obj", "where"),
    [
        (Model(), "obj is a tests.test_nested.Model"),
        ({"a": [0, 1, 2, Model()]}, r"obj\['a'\]\[3\] is a "),
        ([collections.UserDict()], r"obj\[0\] is a collections.UserDict; "),
        ([Mapped()], r"obj\[0\] is a .*Mapped, .* plain dict"),
        ([Point(1)], r"obj\[0\] is a tests.test_nested.Point, .* plain tuple"),
        ({1: Color.RED}, r"obj\[1\] is a tests.test_nested.Color, .* plain int"),
        ([Text("a")], "plain str"),
        ([memoryview(b"a")], "memoryview"),
        ([len, Ellipsis], "builtin_function"),
        ([1, 2, 3, 4, 5, type], r"obj\[5\] is a builtins.type"),
        ({(1, Model()): 2}, r"obj\[\(1, <.*in its key .*Model"),
        ({"s": {1, frozenset({Point(1)})}}, r"obj\['s'\] has the member Point\(x=1\)"),
        ([np.zeros(2, [("a", "O")])], r"obj\[0\] is an array.* Python objects"),
        ([np.array(["a"], np.dtypes.StringDType())], r"obj\[0\] is an array"),
        ([np.array([[1]]).view(np.matrix)], "plain ndarray"),
        ([np.zeros(1, "i4,i4").view(np.recarray)], "plain ndarray"),
        ([np.ma.masked_array(np.array([None]))], "Python objects"),
        ([dt.datetime(2020, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})())], "the time zone"),
        ([{"in": Rude()}, 1], r"obj\[0\]\['in'\]"),
        ({Rude(): 1}, "<Rude>"),
        ({np.frombuffer(bytes(8), "i4,i4")[0]: 1}, "in its key .* numpy.void"),
        ({10**5000: Model()}, r"obj\[<int>\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_refuses_by_path_before_a_byte_is_written(obj: Any, where: str, path: Path) -> None:
    with pytest.raises(BadInputError, match=where) as caught:
        ptrarray.dump({"good": np.zeros(3), "bad": obj}["bad"], path)
    assert list(path.parent.iterdir()) == []
    assert pickle.loads(pickle.dumps(caught.value)).name == caught.value.name


def test_refuses_keys_nested_too_deep() -> None:
    key: Any = 1
    for _ in range(100):
        key = (key,)
    assert_same({key: 1}, through_codec({key: 1}))
    with pytest.raises(BadInputError, match="more than 100 deep"):
        encoded({(key,): 1})


@pytest.mark.parametrize("kind", [list, dict])
def test_refuses_what_changes_meanwhile(kind: type) -> None:
    """As another thread might; here it is the hook for foreign objects."""
    changing: Any = [Model(), 1] if kind is list else {"a": Model(), "b": 1}

    def change(_: object) -> Parts:
        changing.append(0) if kind is list else changing.update(c=0)
        return Parts("kind", {"part": 1})

    with pytest.raises(BadInputError, match=r"^obj.* changed while it was being dumped"):
        encode(changing, list[bytes]().append, change)


# paths and names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("step", ["put_data", "put_masks"])
@pytest.mark.parametrize("target", ["store", "stream"])
def test_a_mask_that_changes_meanwhile(
    target: str, step: str, is_masked: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written has the checksum that was committed, or nothing is."""
    obj: Any = np.ma.array(np.arange(100.0), mask=[is_masked, *[False] * 99])
    put = getattr(Contents, step)

    def put_when_changed(contents: Contents, *arguments: Any) -> Any:
        obj.mask[7] = not obj.mask[7]
        return put(contents, *arguments)

    monkeypatch.setattr(Contents, step, put_when_changed)
    stream = io.BytesIO()
    if is_masked and (step == "put_masks" or target == "stream"):
        with pytest.raises(BadInputError, match="obj changed while it was being dumped"):
            ptrarray.dump(obj, path if target == "store" else stream)
        assert not path.exists()
        return
    ptrarray.dump(obj, path if target == "store" else stream)
    loaded = ptrarray.load(path if target == "store" else io.BytesIO(stream.getvalue()))
    assert loaded.mask.sum() == 2 * is_masked
    if target == "store":
        ptrarray.verify(path)


def test_names_of_arrays_speak(path: Path) -> None:
    one = np.zeros(1)
    obj = {
        "layers": [{"weights": one}, {"weights": one + 1, "bias": one + 2}],
        "a/b~c": one + 3,
        1: one + 4,
        "1": one + 5,
        ("t", 2): one + 6,
        "\udc80": one + 7,
        "long" * 100: one + 8,
        "skeleton": one + 9,
    }
    assert_same(obj, through_store(obj, path))
    with ptrarray.open(path) as store:
        assert {name for name in store if len(name) < 30} == {
            "/layers/0/weights", "/layers/1/weights", "/layers/1/bias", "/a~1b~0c",
            "/1", "/1#2", "/('t', 2)", "/?", "/skeleton", "skeleton",
        }  # fmt: skip
        assert store["/layers/1/bias"].tolist() == [2]
    ptrarray.dump(one, path, mode="w")
    with ptrarray.open(path) as store:
        assert set(store) == {"/", "skeleton"}


@given(st.lists(st.sampled_from(["a", "a#2", "a#2#2", "a#3", "b"])))
def test_names_are_unique(names: list[str]) -> None:
    unique, given_out = Names(), list[str]()
    for name in names:
        given_out.append(unique.unique(name, given_out))
    assert len(set(given_out)) == len(names)
    assert all(mine.startswith(name) for mine, name in zip(given_out, names, strict=True))


def test_every_dtype_of_numpy(path: Path) -> None:
    obj = {str(dtype): filled(dtype, (2, 3), 1) for dtype in PLAIN_DTYPES + STRUCTURED_DTYPES}
    masked = {
        name: np.ma.masked_array(array, fill_value=array[0, 0]) for name, array in obj.items()
    }
    assert_same([obj, masked], through_store([obj, masked], path))


@pytest.mark.parametrize("kind", ["stream", "store"])
def test_what_is_let_go_is_let_go_at_once(path: Path, kind: str) -> None:
    target: Any = io.BytesIO() if kind == "stream" else path
    gc.collect()
    gc.disable()
    try:
        dumped = np.arange(5)
        seen = weakref.ref(dumped)
        ptrarray.dump({"a": [dumped, "text", (1, {2})]}, target)
        del dumped
        assert seen() is None
        if kind == "stream":
            target.seek(0)
        loaded = ptrarray.load(target)
        seen = weakref.ref(loaded["a"][0])
        del loaded
        assert seen() is None
    finally:
        gc.enable()
