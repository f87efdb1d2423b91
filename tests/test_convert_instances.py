"""Instances of classes that are not there: their attributes as arrays, and back with a class given."""

from __future__ import annotations

import importlib
import pickle
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.cli import main
from ptrarray.convert import Report
from ptrarray.errors import BadInputError
from tests.support.convert_workers import Traitor, dump
from tests.support.imports import check_content, content, import_pickles

SOURCE = """
import enum
from collections import namedtuple
from dataclasses import dataclass
import numpy as np

TOUCHED = []

class Dummy:
    def __init__(self, n):
        TOUCHED.append(n)
        self.n, self.b = n, n % 2 == 0
        self.x, self.y = np.arange(n) / 7, np.arange(n, dtype="f4")

class Slots:
    __slots__ = ("x", "n")
    def __init__(self, x, n=1):
        self.x, self.n = x, n

class Both(Slots):  # with a dict, too
    pass

@dataclass
class Data:
    x: np.ndarray
    label: str

@dataclass(slots=True)
class SlotData:
    x: np.ndarray
    label: str

@dataclass(frozen=True, slots=True)
class FrozenData:
    x: np.ndarray
    label: str

Pair = namedtuple("Pair", "x label")

class Mode(enum.Enum):
    FAST = 1

class Table(dict):
    pass

class Rows(list):
    pass

class Text(str):
    pass

class Called:
    def __init__(self, x, label):
        self.x, self.label, self.twice = x, label, len(x) * 2
    def __reduce__(self):
        return Called, (self.x, self.label)

class Stated:
    def __init__(self, x):
        self.version, self.x = "v1", x
    def __getstate__(self):
        return ["v1", self.x]
    def __setstate__(self, state):
        self.version, self.x = state

class Outer:
    class Inner:
        pass
"""


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[ModuleType]:
    """Return a module with classes; nobody can import it but by this object."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sim_of_tests.py").write_text(SOURCE)
    sys.path.insert(0, str(tmp_path / "code"))
    module = importlib.import_module("sim_of_tests")
    yield module
    sys.modules.pop("sim_of_tests", None)
    if str(tmp_path / "code") in sys.path:
        sys.path.remove(str(tmp_path / "code"))


def forget() -> None:
    """Make the module one that nobody can import."""
    del sys.modules["sim_of_tests"]
    del sys.path[0]
    importlib.invalidate_caches()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def by_attributes(paths: Path, store: Path, **options: Any) -> Report:
    report = import_pickles(paths, store, attributes=True, **options)
    assert report.failures == []
    return report


def same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, strict=True)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            same(found[key], value)
    else:
        assert found == expected


# import -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_attributes_become_arrays(
    sim: ModuleType, folder: Path, store: Path, protocol: int
) -> None:
    dummy = sim.Dummy(20_000)
    dump(folder / "17.pkl", dummy, protocol=protocol)
    forget()
    assert by_attributes(folder, store).converted == 5
    assert len(sim.TOUCHED) == 1
    check_content(
        store,
        {
            "17": np.empty(0),
            "17/n": np.array(20_000),
            "17/b": np.array(True),
            "17/x": dummy.x,
            "17/y": dummy.y,
        },
    )
    with ptrarray.open(store) as opened:
        assert opened.meta["17"]["instance"]["class"] == "sim_of_tests.Dummy"
        back = convert.to_instance(opened, "17", sim.Dummy)
        same(vars(back), vars(dummy))
        assert type(back) is sim.Dummy
        assert np.shares_memory(back.x, opened["17/x"])


def test_no_module_is_imported_in_a_worker(sim: ModuleType, folder: Path, store: Path) -> None:
    for i in range(3):
        dump(folder / f"{i}.pkl", sim.Dummy(i))
    forget()
    assert by_attributes(folder, store, executor=None, processes=2).converted == 15
    assert by_attributes(folder, store, executor=None, processes=1) == Report(skipped=3)


def made(sim: ModuleType) -> dict[str, Any]:
    x = np.arange(3.0)
    both, table, rows = sim.Both(x), sim.Table(x=x, label="t"), sim.Rows([x, 2, "text"])
    both.extra, table.note = [1, 2, 3], "noted"
    return {
        "slots": sim.Slots(x),
        "both": both,
        "data": sim.Data(x, "zwölf\n"),
        "slot data": sim.SlotData(x, "a"),
        "frozen": sim.FrozenData(x, "a"),
        "pair": sim.Pair(x, "a"),
        "point": sim.Pair(1.5, 2.5),
        "table": table,
        "rows": rows,
        "numbers": sim.Rows([1, 2, 3]),
        "text": sim.Text("abc"),
        "called": sim.Called(x, "a"),
        "stated": sim.Stated(x),
        "nothing": sim.Outer.Inner(),
        "mode": sim.Mode.FAST,
    }


def parts(value: Any) -> Any:
    """Return what an object is made of, to be compared."""
    slots = {key: getattr(value, key) for key in getattr(value, "__slots__", ())}
    inner: Any = dict(value) if isinstance(value, dict) else None
    inner = tuple(value) if isinstance(value, list | tuple | str) else inner
    return slots, dict(getattr(value, "__dict__", {})), inner


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_instances_of_every_kind(sim: ModuleType, folder: Path, store: Path, protocol: int) -> None:
    values = made(sim)
    for name, value in values.items():
        try:
            dump(folder / f"{name}.pkl", value, protocol=protocol)
        except TypeError:  # slots, in protocols 0 and 1
            (folder / f"{name}.pkl").unlink()
    forget()
    by_attributes(folder, store)
    with ptrarray.open(store) as opened:
        for path in folder.iterdir():
            value = values[path.stem]
            back = convert.to_instance(opened, path.stem, type(value))
            assert type(back) is type(value), path.stem
            if path.stem != "mode":
                same(parts(back), parts(value))
        assert back is sim.Mode.FAST or "mode" not in path.stem
        assert opened.meta["nothing"]["instance"] == {"class": "sim_of_tests.Outer.Inner"}


def test_what_attributes_may_be(sim: ModuleType, folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    value = sim.Outer()
    vars(value).update(
        text="run 7",
        long="ü" * 5000,
        surrogate="\udc80",
        raw=b"\xff\x00",
        nothing=None,
        whole=7,
        half=0.5,
        many=[1, 2, 3],
        row=(0.5, 1.5),
        scalar=np.float32(2),
        scalars=[np.float32(1), np.float32(2)],
        masked=np.ma.MaskedArray([1, 2], [True, False]),
        mixed=[1, "a", np.arange(2), None, (2, "b")],
        settings={"rate": 2.0, "unit": "mm", 3: [np.eye(2)], "none": {}, "empty": []},
        objects=np.array([["a", None], [1, 2.5]], object),
    )
    value.series = pd.Series([1.0, 2.0], index=[3, 5], name="s")
    dump(folder / "a.pkl", value)
    forget()
    by_attributes(folder, store, masked=True)
    with ptrarray.open(store) as opened:
        assert opened.meta["a"]["instance"]["attributes"]["text"] == "run 7"
        np.testing.assert_array_equal(opened["a/settings/3/0"], np.eye(2))
        found = vars(convert.to_instance(opened, "a", sim.Outer))
    expected = dict(vars(value))
    pd.testing.assert_series_equal(found.pop("series"), expected.pop("series"))
    masked = found.pop("masked")
    np.testing.assert_array_equal(masked.mask, expected.pop("masked").mask)
    same(list(found["objects"].flat), list(expected["objects"].flat))
    assert found.pop("objects").shape == expected.pop("objects").shape
    same(found, {key: expected[key] for key in found})
    assert found.keys() == expected.keys()


def test_instances_inside_of_others(sim: ModuleType, folder: Path, store: Path) -> None:
    outer = sim.Outer()
    outer.grid, outer.runs = sim.Data(np.arange(2), "g"), [sim.Dummy(2), {"d": sim.Dummy(3)}]
    dump(folder / "a.pkl", {"one": outer, "other": np.arange(4)}, outer)
    forget()
    by_attributes(folder, store)
    classes = {f"sim_of_tests.{key}": getattr(sim, key) for key in ("Outer", "Data", "Dummy")}
    with ptrarray.open(store) as opened:
        back = convert.to_instance(opened, "a/0/one", classes)
        same(vars(back.grid), vars(outer.grid))
        same(vars(back.runs[1]["d"]), vars(outer.runs[1]["d"]))
        same(vars(convert.to_instance(opened, "a/0/one/grid", sim.Data)), vars(outer.grid))
        np.testing.assert_array_equal(opened["a/1/runs/0/x"], outer.runs[0].x)
        with pytest.raises(BadInputError, match=r"'a/1/grid' is a sim_of_tests\.Data: give its"):
            convert.to_instance(opened, "a/1", sim.Outer)
        with pytest.raises(BadInputError, match="no instance"):
            convert.to_instance(opened, "a/0/other", sim.Outer)


@pytest.mark.parametrize("template", ["{stem}/{key}", "{key}/{stem}", "{parent}-{stem}"])
def test_attributes_lie_below_their_instance(
    sim: ModuleType, folder: Path, store: Path, template: str
) -> None:
    dummy = sim.Dummy(3)
    dump(folder / "1.pkl", {"k": dummy})
    forget()
    by_attributes(folder, store, name=template)
    with ptrarray.open(store) as opened:
        (name,) = [name for name in opened if "instance" in opened.meta[name]]
        same(vars(convert.to_instance(opened, name, sim.Dummy)), vars(dummy))


@pytest.mark.parametrize(
    "options",
    [{"dtype": "f8"}, {"dtype": "f8", "row_shape": None}, {"shard_size": 10_000}, {"masked": True}],
    ids=str,
)
def test_layouts(sim: ModuleType, folder: Path, store: Path, options: dict[str, Any]) -> None:
    for i in range(5):
        dump(folder / f"{i}.pkl", sim.Dummy(500 + i))
    forget()
    by_attributes(folder, store, **options)
    assert by_attributes(folder, store, **options) == Report(skipped=5)
    with ptrarray.open(store) as opened:
        back = convert.to_instance(opened, "3", sim.Dummy)
        assert (back.n, back.b) == (503, False)
        np.testing.assert_array_equal(back.x, sim.Dummy(503).x)


def test_rows_of_several_numbers(sim: ModuleType, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", sim.Data(np.ones((4, 3), "f4"), "a"))
    forget()
    by_attributes(folder, store, dtype="f4", row_shape=(3,))
    with ptrarray.open(store) as opened:
        assert opened["a"].shape == (0, 3)
        assert convert.to_instance(opened, "a", sim.Data).label == "a"


def test_verified_and_removed(sim: ModuleType, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", sim.Dummy(9))
    forget()
    assert by_attributes(folder, store, dtype="f8", row_shape=()).converted == 5
    report = import_pickles(folder, store, attributes=True, remove_source=True)
    assert (report.removed, report.failures) == (1, [])


@pytest.mark.parametrize("kind", ["tar", "joblib"])
def test_other_files_of_pickles(sim: ModuleType, folder: Path, store: Path, kind: str) -> None:
    dummy = sim.Dummy(20_000)
    if kind == "joblib":
        joblib = pytest.importorskip("joblib")
        joblib.dump({"d": dummy}, folder / "a.joblib")
        source = folder / "a.joblib"
    else:
        dump(folder / "d.pkl", dummy)
        source = folder / "a.tar"
        with tarfile.open(source, "w") as archive:
            archive.add(folder / "d.pkl", "a/d.pkl")
    forget()
    function = getattr(convert, f"from_{kind}")
    assert function(source, store, attributes=True, progress=False) == Report(converted=5)
    with ptrarray.open(store) as opened:
        same(vars(convert.to_instance(opened, "a/d", sim.Dummy)), vars(dummy))


# what is refused ----------------------------------------------------------------------------------


def test_what_is_no_value_is_said_and_the_rest_is_there(
    sim: ModuleType, folder: Path, store: Path
) -> None:
    value = sim.Dummy(3)
    value.kind, value.itself, value.dates = sim.Dummy, value, range(3)
    value.table = {(1, 2): np.arange(3), 1: "a", "1": "b"}
    dump(folder / "a.pkl", value)
    forget()
    report = import_pickles(folder, store, attributes=True)
    found = {source.partition(":")[2]: problem for source, problem in report.failures}
    assert found == {
        "kind": "it is a class or a function, of which a pickle has the name only",
        "itself": "it contains itself",
        "dates": "a range is no array",
        "table/(1, 2)": "the key (1, 2) is no name: only text and integers are",
        "table/1": "two values are written as 'table/1'",
    }
    with ptrarray.open(store) as opened:
        np.testing.assert_array_equal(opened["a/x"], value.x)
        with pytest.raises(BadInputError, match="was not imported"):
            convert.to_instance(opened, "a", sim.Dummy)


def test_without_the_option_the_message_names_both_ways(
    sim: ModuleType, folder: Path, store: Path
) -> None:
    dump(folder / "a.pkl", sim.Dummy(3))
    (failure,) = import_pickles(folder, store).failures
    assert "attributes=True (--attributes)" in failure.problem
    assert "trust=True (--trust-pickle), and from Python convert=vars" in failure.problem
    (failure,) = import_pickles(folder, store, trust=True).failures
    assert "convert=vars" in failure.problem


@pytest.mark.parametrize("processes", [1, 2])
def test_vars_of_a_class_that_is_there(
    sim: ModuleType, folder: Path, store: Path, processes: int
) -> None:
    dummy = sim.Dummy(3)
    for name in "ab":
        dump(folder / f"{name}.pkl", dummy)
    options: dict[str, Any] = {"trust": True, "convert": vars, "processes": processes}
    assert import_pickles(folder, store, executor=None, **options) == Report(converted=8)
    np.testing.assert_array_equal(content(store)["b/x"], dummy.x)


@pytest.mark.parametrize("kind", ["pickles", "tar", "joblib"])
def test_not_with_trust(folder: Path, store: Path, kind: str) -> None:
    dump(folder / "a.pkl", 1)
    with pytest.raises(BadInputError, match="without trust"):
        getattr(convert, f"from_{kind}")(folder, store, attributes=True, trust=True)


def test_a_call_is_not_made(folder: Path, store: Path, tmp_path: Path) -> None:
    dump(folder / "a.pkl", Traitor(tmp_path / "canary"), {"t": Traitor(tmp_path / "canary")})
    by_attributes(folder, store)
    assert not (tmp_path / "canary").exists()
    with ptrarray.open(store) as opened:
        about = opened.meta["a/0"]["instance"]
        assert about["class"].endswith("_betray")
        assert about["made_by"] == "call"
        with pytest.raises(BadInputError, match="give its class"):
            convert.to_instance(opened, "a/0", {})


def test_a_class_that_does_not_take_the_state(sim: ModuleType, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", sim.Stated(np.arange(3)))
    forget()
    by_attributes(folder, store)
    with ptrarray.open(store) as opened:
        np.testing.assert_array_equal(opened["a/state/1"], np.arange(3))
        with pytest.raises(BadInputError, match="no __setstate__"):
            convert.to_instance(opened, "a", sim.Outer)


def test_an_anchor_is_last_so_that_an_import_goes_on(
    sim: ModuleType, folder: Path, store: Path
) -> None:
    """What was committed of an instance before a crash does not make it seem complete."""
    dummy = sim.Dummy(4)
    raw = pickle.dumps(dummy)
    (folder / "a.pkl").write_bytes(raw)
    forget()
    with ptrarray.create(store) as writer:
        writer["a/n"] = np.array(4)
    report = by_attributes(folder, store)
    assert (report.converted, report.skipped) == (4, 1)
    with ptrarray.open(store) as opened:
        same(vars(convert.to_instance(opened, "a", sim.Dummy)), vars(dummy))


def test_on_the_command_line(
    sim: ModuleType, folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump(folder / "a.pkl", sim.Dummy(3))
    forget()
    command = ["import", "pickles", str(folder), str(store)]
    assert main(command) == 1
    assert "; pass --attributes to read what an instance of it holds" in capsys.readouterr().err
    assert main([*command, "--attributes", "--trust-pickle"]) == 1
    assert "leave out --trust-pickle" in capsys.readouterr().err
    assert main([*command, "--attributes"]) == 0
    assert "5 converted" in capsys.readouterr().out


@pytest.mark.parametrize("attributes", [False, True])
def test_a_key_that_is_no_name_costs_only_what_is_under_it(
    sim: ModuleType, folder: Path, store: Path, attributes: bool
) -> None:
    keys: list[Any] = [frozenset([1]), (frozenset([1]), 2)]
    keys += [sim.Slots(np.arange(2)), (sim.Dummy(2),)] if attributes else []
    dump(folder / "a.pkl", {**dict.fromkeys(keys, np.arange(3)), "kept": np.arange(4)})
    report = convert.from_pickles(folder, store, attributes=attributes, progress=False)
    assert len(report.failures) == len(keys)
    assert all("is no name: only text and integers are" in one.problem for one in report.failures)
    shown = [one.problem for one in report.failures if "an instance of" in one.problem]
    assert len(shown) == 2 * attributes
    assert all(f"<an instance of {sim.__name__}." in problem for problem in shown)
    with ptrarray.open(store) as opened:
        assert list(opened) == ["a/kept"]
