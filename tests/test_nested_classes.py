"""Objects of classes: registered, trusted, or neither, which is a record when loaded."""

from __future__ import annotations

import enum
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, Record, register
from ptrarray.objects import registry
from tests.support.classes import (
    Both,
    Circle,
    Color,
    Computed,
    Config,
    Empty,
    Failure,
    Frozen,
    InSlots,
    Members,
    Old,
    Plain,
    Point,
    Pruned,
    Right,
    SlotsAndMore,
    Slotted,
    Text,
    Values,
    with_attributes,
)
from tests.support.nested import assert_same, encoded, through_codec, through_store


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BY_NAME", "_BY_CLASS"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


# what is kept by itself ---------------------------------------------------------------------------


ALONE: list[Any] = [
    OrderedDict(), OrderedDict(b=1, a=[2]), OrderedDict({1: 2, (3,): 4}),
    OrderedDict((str(i), i) for i in range(2000)), OrderedDict({"k" * 300: 1}),
    Counter("abca"), defaultdict(list, a=[1]), defaultdict(None, {1: 2}),
    deque(), deque([1, [2]], 5), range(3), range(10**30, -5, -3), slice(None, 3), slice([1], 2),
    Decimal("-0.0"), Decimal("sNaN12"), Decimal("1e999999"), Path("/a/../b"), PurePosixPath("ü"),
    bytearray(), bytearray(b"a\xff"), bytearray(200_000), [bytearray(b"a")] * 2,
    {Decimal("1.5"): 1, range(3): 2, Path("a"): {range(4)}, (Path("b"), int): 3},
    [int, float, np.float64, np.bool, np.longlong, object, dict, type(None), OrderedDict, range, np.dtype],
    [np.dtype(">f4"), np.dtype(object), np.dtype("M8[ns]"), np.dtype("U5"), {np.dtype("?"): 1}],
]  # fmt: skip


def test_gives_back_by_itself(path: Path) -> None:
    loaded = through_store([ALONE, ALONE], path)
    assert_same([ALONE, ALONE], loaded)
    for obj, one in zip(ALONE, loaded[0], strict=True):
        assert getattr(one, "maxlen", 0) == getattr(obj, "maxlen", 0)
        assert getattr(one, "default_factory", 0) == getattr(obj, "default_factory", 0)


def filled_with(value: Any, shape: tuple[int, ...]) -> Any:
    return np.fromiter([value] * int(np.prod(shape)), object).reshape(shape)


def test_arrays_of_objects(path: Path) -> None:
    inner = np.arange(3)
    arrays = [np.array(["a", None, inner], object), filled_with(inner, (2, 3))]
    arrays += [np.empty((0, 5), object), np.array([[1]] * 2, object), np.array(1.5, object)]
    arrays += [np.fromiter([[1, 2], [3, 4]], object), np.asfortranarray(arrays[1])]
    loaded = through_store([*arrays, arrays[0]], path)
    for one, other in zip(arrays, loaded, strict=False):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert_same(one.ravel().tolist(), other.ravel().tolist())
    assert loaded[0] is loaded[-1]
    assert loaded[1][0, 0] is loaded[0][2]
    with ptrarray.open(path) as store:
        assert len(store) == 2  # what they share, and the skeleton


def test_arrays_are_called_as_in_what_they_are_derived_from(path: Path) -> None:
    weights = OrderedDict({"layer.weight": np.eye(2), "b": [np.eye(3)]})
    through_store({"state": weights, "counts": defaultdict(list, n=[np.eye(1)])}, path)
    with ptrarray.open(path) as store:
        names = {"/state/layer.weight", "/state/b/0", "/counts/1/n/0", "skeleton"}
        assert set(store) == names
    with pytest.raises(BadInputError, match=r"^obj\['a'\]\['b'\]\[0\] is a .*function"):
        encoded({"a": OrderedDict(b=[len])})


# what is registered -------------------------------------------------------------------------------


OWN = [
    Circle(1.5), Circle(np.arange(3).tolist(), "cm"), Circle(Circle(1)), Circle([Circle(2)] * 2),
    with_attributes(Circle(1), extra=(1, 2)), Frozen(1, [2]), Frozen(Frozen(1)), Slotted(1, [2]),
    Both(1, (2,)), Computed(seen=4, a=3), Pruned(1), InSlots([1]), SlotsAndMore(1),
    Point(1), Point(Point(1, 2), [3]), Old(1), Old([1], {}), Color.RED, Color.ROUGE, Color.BLUE,
    Right.READ, Right.READ | Right.WRITE, Right(0), Plain(), Plain(a=1), Plain(a=Plain(b=[1])),
    Plain(**{"": 1}), Plain(**{"()": 1, "b": 2}), Plain(**{"k" * 300: 1}),
    Plain(**{f"a{i}": i for i in range(2000)}), SimpleNamespace(a=1), Config(a=1, b=[2]),
    with_attributes(Config({"": 1}), note="x"), Values([1, [2]]), with_attributes(Values(), a=1),
    Members([1, 2]), Empty(), with_attributes(Text("t"), origin="o"), Failure("wrong", 3), Fraction(1, 3),
    uuid.UUID(int=5), {Color.RED: 1, Point(1, (2,)): 2, Frozen("k"): 3},
    {frozenset({Fraction(1, 3), Both(1)}), Right.READ | Right.WRITE, Old("a"), Text("t")},
]  # fmt: skip
CLASSES: list[type[Any]] = [
    Circle, Frozen, Slotted, Both, Computed, Pruned, InSlots, SlotsAndMore, Point, Old, Color,
    Right, Plain, SimpleNamespace, Config, Values, Members, Empty, Text, Failure, Fraction, uuid.UUID,
]  # fmt: skip


@pytest.mark.parametrize("is_registered", [True, False])
def test_gives_back_what_is_registered_or_trusted(is_registered: bool, path: Path) -> None:
    for cls in CLASSES if is_registered else []:
        assert register(cls) is cls
    trusted = [] if is_registered else CLASSES
    ptrarray.dump([OWN, OWN[::-1]], path, trusted=iter(trusted))
    ptrarray.verify(path)
    loaded, again = ptrarray.load(path, trusted=iter(trusted))
    for obj, one, other in zip(OWN, loaded, again[::-1], strict=True):
        assert one is other
        assert type(one) is type(obj)
        assert repr(one) == repr(obj) if isinstance(obj, Failure) else one == obj
        assert getattr(one, "__dict__", None) == getattr(obj, "__dict__", None)
        assert getattr(one, "origin", None) == getattr(obj, "origin", None)
        assert one is obj or not isinstance(obj, enum.Enum)


def test_functions_of_ones_own(path: Path) -> None:
    class Spectrum:
        def __init__(self, values: Any) -> None:
            self.values = values

    register(Spectrum, lambda spectrum: {"v": spectrum.values}, lambda parts: Spectrum(parts["v"]))
    values = np.arange(3)
    assert_same(through_codec([Spectrum(values)])[0].values, values)
    register(Spectrum, lambda spectrum: spectrum.values, Spectrum)
    for parts in (values, [values], {1: values}, None, {}, {"": 1}, Spectrum):
        loaded = through_codec([Spectrum(parts)])[0]
        assert type(loaded) is Spectrum
        assert_same(loaded.values, parts)
    register(Spectrum, vars, lambda parts: Spectrum(**parts))
    ptrarray.dump({"s": [Spectrum(values)]}, path, mode="w")
    view = ptrarray.load(path)["s"][0].values
    assert not view.flags.writeable
    with ptrarray.open(path) as store:
        assert np.shares_memory(store["/s/0/values"], store.rows)
        assert set(store) == {"/s/0/values", "skeleton"}


def test_is_a_decorator(path: Path) -> None:
    @ptrarray.register
    @dataclass
    class Inner:
        a: int

    assert through_store(Inner(3), path) == Inner(3)
    assert through_codec({"k": Inner})["k"] is Inner


def test_what_is_shared_stays_shared() -> None:
    register(Plain)
    shared, array = Plain(a=[1]), np.arange(3)
    one = Plain(inner=shared, array=array, list=shared.a)
    loaded = through_codec([one, shared, array, one, (one,)])
    assert loaded[0] is loaded[3] is loaded[4][0]
    assert loaded[0].inner is loaded[1]
    assert loaded[0].array is loaded[2]
    assert loaded[0].list is loaded[1].a


def test_what_contains_itself_is_refused_and_what_contains_that_is_not() -> None:
    register(Plain)
    tree = Plain(name="root", children=[])
    tree.children.append(Plain(parent=tree))
    message = r"^obj\[0\].children\[0\].parent is the Plain that it lies in; only lists and dicts"
    with pytest.raises(BadInputError, match=message):
        encoded([tree])
    members: list[Any] = []
    members += [Plain(all=members), Plain(all=members)]
    loaded = through_codec(members)
    assert loaded[0].all is loaded[1].all is loaded


def test_depth_has_no_limit(path: Path) -> None:
    register(Plain)
    obj: Any = None
    for _ in range(50_000):
        obj = Plain(inner=obj)
    ptrarray.dump(obj, path)
    registry._BY_NAME.pop(f"{Plain.__module__}.Plain")
    loaded = ptrarray.load(path)
    for _ in range(50_000):
        loaded = loaded.parts["inner"]
    assert loaded is None
    register(Plain)
    loaded = ptrarray.load(path)
    for _ in range(50_000):
        loaded = loaded.inner
    assert loaded is None


def test_fields_that_the_file_does_not_have_get_their_defaults(path: Path) -> None:
    @dataclass
    class Disk:
        radius: float
        unit: str = "m"
        notes: list[str] = field(default_factory=list)

    class Place(NamedTuple):
        x: int
        y: int = 7

    kinds = {"disk": Disk, "place": Place}
    for name, cls in kinds.items():
        register(cls, name=name)
    records = [
        Record("disk", {"radius": 1}),
        Record("disk", {"radius": 2}),
        Record("place", {"x": 1}),
    ]
    one, other, place = through_store(records, path)
    assert one == Disk(1)
    assert one.notes is not other.notes
    assert place == Place(1)
    for name, parts in [
        ("disk", {"unit": "m"}),
        ("disk", {}),
        ("place", {"y": 1}),
        ("place", {"x": 1, "z": 1}),
    ]:
        with pytest.raises(CorruptStoreError, match=f"has a '{name}' that cannot be put together"):
            through_codec(Record(name, parts))


def test_a_default_that_lies_in_the_class_alone_is_kept() -> None:
    @register
    @dataclass
    class Counted:
        name: str
        count: int = field(init=False, default=0)

    assert through_codec([Counted("a")]) == [Counted("a")]
    gone = Counted("b")
    del gone.name
    with pytest.raises(BadInputError, match="has no value for its field 'name'"):
        encoded(gone)


def test_keys_are_not_compared_with_what_is_not_a_key() -> None:
    @register
    @dataclass(frozen=True, eq=False)
    class Key:
        number: int

        def __hash__(self) -> int:
            return self.number

        def __eq__(self, other: object) -> bool:
            return bool(self.number == other.number)  # type: ignore[attr-defined]

    loaded = through_codec({Key(1): np.arange(3), Key(2): 5})
    assert loaded[Key(1)].tolist() == [0, 1, 2]
    assert loaded[Key(2)] == 5


def test_is_read_under_each_of_its_names() -> None:
    register(Circle, name="old")
    raw = encoded(Circle(1))[0]
    register(Circle, name="new")
    assert through_codec([Record("old", {"radius": 1}), Circle(1)]) == [Circle(1), Circle(1)]
    assert b"old" in raw.tobytes()
    assert b"new" in encoded(Circle(1))[0].tobytes()


def test_what_is_defined_again_takes_the_place_of_what_was() -> None:
    def define() -> Any:
        @register
        @dataclass
        class Again:
            a: int

        return Again

    first, second = define(), define()
    assert through_codec(second(1)) == second(1)
    with pytest.raises(BadInputError, match="Again"):
        encoded(first(1))
