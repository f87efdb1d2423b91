"""Objects of classes that are refused, and records of those that the reader does not know."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, Record, register
from ptrarray.objects import registry
from tests.support.classes import (
    Circle,
    Color,
    Config,
    Plain,
    Point,
    Right,
    Slotted,
    with_attributes,
)
from tests.support.nested import assert_same, encoded, through_codec

HERE = Circle.__module__


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BY_NAME", "_BY_CLASS"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


# what is refused ----------------------------------------------------------------------------------


class Derived(Circle):
    pass


class Listless(Plain):
    def __getstate__(self) -> Any:
        return [1]


class Rude(Plain):
    def __reduce_ex__(self, _: Any) -> Any:
        raise RuntimeError("not today")


class Wordy(Plain):
    def __reduce__(self) -> str:
        return "Wordy"


class Keyed(Plain):
    def __hash__(self) -> int:  # type: ignore[override]
        return 1


class ByIdentity:
    pass


def unset() -> Slotted:
    value = Slotted(1)
    del value.a
    return value


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ([{"a": object()}], r"^obj\[0\]\['a'\] is a builtins.object; .*ptrarray.register, or as trusted="),
        ([Derived(1)], r"^obj\[0\] is a .*Derived, which would come back as a plain Circle: "),
        (Circle([1, len]), r"^obj.radius\[1\] is a builtins.builtin_function"),
        (Circle({"a": Circle(len)}), r"^obj.radius\['a'\].radius is a builtins.builtin_function"),
        (Config(a=len), r"^obj\['{}'\]\['a'\] is a builtins.builtin_function"),
        ([Listless()], r"^obj\[0\] gives a list as its state"),
        ([Rude()], r"^obj\[0\] cannot be taken apart: RuntimeError\('not today'\)"),
        ([Wordy()], r"^obj\[0\] is copied by a function beside its class"),
        ([np.random.RandomState(0)], r"^obj\[0\] is copied by a function beside its class"),
        ([unset()], r"^obj\[0\] has no value for its field 'a'"),
        ([with_attributes(OrderedDict(), a=1)], r"^obj\[0\] has attributes, which are not kept"),
        ({Keyed(a=[1]): 1}, r"^obj\[.*has in its key .* is a part of something that is hashed"),
        ({ByIdentity(): 1}, r"^obj\[.*has in its key .* give it __eq__ and __hash__"),
        ({(1, Derived): 1}, r"has in its key <class .*Derived'>, which is a builtins.type"),
        ([Derived], r"^obj\[0\] is a builtins.type"),
        ([np.dtype("U0")], r"^obj\[0\] is a dtype without a width"),
        ([np.dtype("i4,i4")], r"^obj\[0\] is a numpy.dtype.*Void"),
        ([sys], r"^obj\[0\] is a builtins.module"),
        ([Record(cast(str, 1), {})], r"^obj\[0\] 1 is not the name of a class"),
        ([np.array([len, 1], object)], r"^obj\[0\]\[1\]\[0\] is a builtins.builtin_function"),
        ([np.zeros(2, [("a", "O")])], r"^obj\[0\] is an array.* Python objects"),
        ([np.array([1], object).view(np.matrix)], "plain ndarray"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_refuses_by_place(obj: Any, message: str, path: Path) -> None:
    kinds = [Circle, Config, Listless, Rude, Wordy, Slotted, Keyed, ByIdentity]
    with pytest.raises(BadInputError, match=message):
        ptrarray.dump(obj, path, trusted=[*kinds, np.random.RandomState])
    assert list(path.parent.iterdir()) == []


def test_refuses_objects_too_deep_in_a_key() -> None:
    register(Point)
    key: Any = 1
    for _ in range(100):
        key = Point(key)
    assert through_codec({key: 1}) == {key: 1}
    with pytest.raises(BadInputError, match="more than 100 deep"):
        encoded({Point(key): 1})


def test_a_named_tuple_with_more_to_it_is_refused() -> None:
    class More(Point):
        pass

    register(More)
    assert through_codec(More(1)) == (1, 0)
    with pytest.raises(BadInputError, match="attributes beside its fields"):
        encoded(with_attributes(More(1), note="x"))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["sklearn"], {}, "'sklearn' is not a class; what a file names proves nothing"),
        ([Circle, vars], {}, "both functions"),
        ([dict], {}, "objects of dict are kept anyway"),
        ([OrderedDict, vars, OrderedDict], {}, "objects of collections.OrderedDict are kept"),
        ([np.ndarray], {}, "objects of numpy.ndarray are kept anyway"),
        ([Circle], {"name": ""}, "'' is not the name of a class"),
        ([Circle], {"name": "x" * 300}, "not the name of a class"),
        ([Circle], {"name": "class"}, "not the name of a class"),
        ([Circle], {"name": f"{HERE}.Point"}, "Point' is the name of .*Point already"),
        ([Circle], {"name": "range"}, "'range' is the name of range already"),
    ],
)
def test_register_refuses(arguments: list[Any], options: dict[str, Any], message: str) -> None:
    register(Point)
    with pytest.raises(BadInputError, match=message):
        register(*arguments, **options)
    if arguments in (["sklearn"], [dict]):
        with pytest.raises(BadInputError, match=message):
            registry.Classes(arguments)


# what the reader does not know --------------------------------------------------------------------


def test_a_class_that_is_not_known_is_a_record(path: Path, tmp_path: Path) -> None:
    obj = {
        "circles": [Circle(np.arange(3)), Circle(Circle(2))], "color": Color.RED, "class": Circle,
        Point(1): Right.READ, "counts": defaultdict(Config, a=Config(b=1)), "n": np.float64,
    }  # fmt: skip
    trusted = [Circle, Color, Point, Right, Config]
    ptrarray.dump(obj, path, trusted=trusted)
    loaded = ptrarray.load(path)
    circle, outer = loaded["circles"]
    assert circle.name == f"{HERE}.Circle"
    assert_same(circle.parts, {"radius": np.arange(3), "unit": "m"})
    assert outer == Record(
        f"{HERE}.Circle", {"radius": Record(f"{HERE}.Circle", vars(Circle(2))), "unit": "m"}
    )
    assert loaded["color"] == Record(f"{HERE}.Color", "RED")
    assert loaded["class"] == Record("class", f"{HERE}.Circle")
    assert loaded[Record(f"{HERE}.Point", {"x": 1, "y": 0})] == Record(f"{HERE}.Right", "READ")
    assert loaded["counts"].name == "collections.defaultdict"
    assert loaded["n"] is np.float64
    again = tmp_path / "again.ptr"
    ptrarray.dump(loaded, again)
    known = ptrarray.load(again, trusted=trusted)
    assert known["circles"][1] == Circle(Circle(2))
    assert known["class"] is Circle
    assert known["counts"] == {"a": {"b": 1}}
    assert known["counts"].default_factory is Config
    assert known[Point(1)] is Right.READ


def test_nothing_that_a_file_names_is_imported(path: Path, tmp_path: Path) -> None:
    ptrarray.dump([Record("shapes.Circle", {"radius": 1}), Record("class", "shapes.Circle")], path)
    shapes = """
        from dataclasses import dataclass
        print("imported")
        @dataclass
        class Circle:
            radius: float
    """
    (tmp_path / "shapes.py").write_text(textwrap.dedent(shapes))
    code = f"""
        import ptrarray
        print(ptrarray.load({str(path)!r})[0])
        import shapes
        print(ptrarray.load({str(path)!r})[0].name)
        print(ptrarray.load({str(path)!r}, trusted=[shapes.Circle])[0])
        ptrarray.register(shapes.Circle)
        print(ptrarray.load({str(path)!r}))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "Record(name='shapes.Circle', parts={'radius': 1})",
        "imported",
        "shapes.Circle",
        "Circle(radius=1)",
        "[Circle(radius=1), <class 'shapes.Circle'>]",
    ]


def test_trust_is_for_one_call(path: Path) -> None:
    ptrarray.dump(Circle(1), path, trusted=[Circle])
    assert ptrarray.load(path, trusted=[Circle]) == Circle(1)
    assert type(ptrarray.load(path)) is Record
    with pytest.raises(BadInputError, match="trusted="):
        encoded(Circle(1))
    with pytest.raises(BadInputError, match="'tests' is not a class"):
        ptrarray.load(path, trusted=["tests"])  # type: ignore[list-item]
    # What is registered says how.
    register(Circle, lambda circle: circle.radius, lambda radius: Circle(radius, "km"))
    ptrarray.dump([Circle(2)], path, mode="w", trusted=[Circle])
    assert ptrarray.load(path, trusted=[Circle]) == [Circle(2, "km")]


def test_what_a_class_says_to_wrong_parts_is_an_error_of_the_store() -> None:
    register(Circle, lambda _: [1, 2], lambda parts: Circle(*parts["no such"]))
    with pytest.raises(CorruptStoreError, match="Circle' that cannot be put together: TypeError"):
        through_codec([Circle(1)])


def test_records_are_equal_by_what_they_are() -> None:
    one = Record("a.B", {"x": 1, "y": (2,)})
    assert one == Record("a.B", {"y": (2,), "x": 1})
    assert hash(one) == hash(Record("a.B", {"y": (2,), "x": 1}))
    assert one not in (Record("a.C", one.parts), Record("a.B", {}), ("a.B", one.parts))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Record("a.B", [1]))
