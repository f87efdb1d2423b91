"""Importing files of mmappickle, written by mmappickle itself."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert.formats.mmappickle import SUFFIXES
from ptrarray.convert.formats.mmappickle import _members as mmappickle_members
from ptrarray.convert.found import Kind
from ptrarray.convert.run import run as run_import
from tests.support.convert_workers import dump
from tests.support.imports import check_content, content
from tests.test_convert_formats import ARRAYS, only_problem, run

pytestmark = pytest.mark.usefixtures("limits")

DELETED = object()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


@pytest.fixture
def mmapdict(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what writes values with mmappickle, on a numpy that has what it names again."""
    monkeypatch.setattr(np, "float", float, raising=False)
    kind = pytest.importorskip("mmappickle.dict").mmapdict

    def write(path: Path, *values: tuple[str, Any]) -> Path:
        with path.open("w+b") as file:
            opened = kind(file)
            for key, value in values:
                if value is DELETED:
                    del opened[key]
                else:
                    opened[key] = value
        return path

    return write


def test_mmappickle(folder: Path, store: Path, mmapdict: Any) -> None:
    masked = np.ma.MaskedArray([[1, 2], [3, 4]], [[False, True], [False, False]])
    expected = {**ARRAYS, "masked": masked, "no mask": np.ma.MaskedArray([1.5])}
    path = mmapdict(
        folder / "x.mmdpickle",
        *expected.items(),
        ("deleted", np.arange(9)),
        ("deleted", DELETED),
        ("again", np.arange(9)),
        ("again", np.arange(2)),
        ("about", {"lines": 2, "scale": [1.5, 2.5]}),
        ("größe", 7),
        ("note", "text"),
    )
    report = run(convert.from_mmappickle, path, store)
    assert report.ok
    assert ptrarray.open(store).masked
    assert dict(ptrarray.open(store).attrs) == {"note": "text"}
    expected["columns"] = np.ascontiguousarray(ARRAYS["columns"])
    more = {
        "again": np.arange(2),
        "about/lines": np.array(2),
        "about/scale": np.array([1.5, 2.5]),
        "größe": np.array(7),
    }
    check_content(store, expected | more)
    assert run(convert.from_mmappickle, path, store).skipped == len(expected | more)


NOTES: dict[str, Any] = {
    "note": "größe\n",
    "none": None,
    "raw": b"\0\1",
    "tags": ["a", "b", 3],
    "pair": ("a", 1.5),
    "nothing": {},
    "lamp": {"name": "D65", "watt": 3.5, "on": True, "lines": [1, 2], "more": {"by": None}},
}
MIXED: dict[str, Any] = {"a": np.arange(3), "unit": "nm", "b": {"c": 7, "d": "text"}}
LOST: dict[str, Any] = {"class": OrderedDict, "classes": [object, "x"], "date": date(2020, 1, 1)}
KEPT = NOTES | {
    "pair": ["a", 1.5],
    "classes/1": "x",
    "mixed/unit": "nm",
    "mixed/b": {"c": 7, "d": "text"},
}


def test_what_is_no_array_in_mmappickle_becomes_attrs(
    folder: Path, store: Path, mmapdict: Any
) -> None:
    path = mmapdict(
        folder / "x.mmdpickle", *NOTES.items(), ("mixed", MIXED), ("a", np.arange(2)), *LOST.items()
    )
    for _ in range(2):
        report = run(convert.from_mmappickle, path, store)
        assert [f.source.rpartition(":")[2] for f in report.failures] == [
            "class",
            "classes/0",
            "date",
        ]
        with ptrarray.open(store) as opened:
            assert dict(opened.attrs) == KEPT
            assert set(opened) == {"a", "mixed/a"}
    assert not report.notes  # all of it was there
    first = run(convert.from_mmappickle, path, folder / "new.ptr")
    assert first.notes == [
        f"{len(KEPT)} entries that are no arrays are now among the attrs of the store"
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_attrs_of_several_files_of_mmappickle(
    folder: Path, store: Path, mmapdict: Any, processes: int
) -> None:
    for name in "xy":
        mmapdict(folder / f"{name}.mmdpickle", ("note", name), ("a", np.arange(2)))
    assert run(convert.from_mmappickle, folder, store, processes=processes, attrs={"k": 1}).ok
    with ptrarray.open(store) as opened:
        assert dict(opened.attrs) == {"k": 1, "x/note": "x", "y/note": "y"}
        assert set(opened) == {"x/a", "y/a"}


def test_a_file_of_mmappickle_without_arrays(folder: Path, store: Path, mmapdict: Any) -> None:
    path = mmapdict(folder / "x.mmdpickle", ("note", "text"))
    assert run(convert.from_mmappickle, path, store).ok
    assert dict(ptrarray.open(store).attrs) == {"note": "text"}


def test_other_attrs_are_not_overwritten(folder: Path, store: Path, mmapdict: Any) -> None:
    path = mmapdict(folder / "x.mmdpickle", ("note", "new"), ("more", "x"), ("a", np.arange(2)))
    ptrarray.create(store, attrs={"note": "old"}).close()
    assert "another attr 'note'" in only_problem(run(convert.from_mmappickle, path, store))
    assert dict(ptrarray.open(store).attrs) == {"note": "old", "more": "x"}


def test_attrs_are_compared_when_a_file_is_verified(
    folder: Path, store: Path, mmapdict: Any
) -> None:
    path = mmapdict(folder / "x.mmdpickle", ("note", "text"), ("a", np.arange(2)))
    kind = Kind(partial(mmappickle_members, False), SUFFIXES, many=True)
    run(convert.from_mmappickle, path, store)
    with ptrarray.append(store) as writer:
        writer.attrs["note"] = "changed"
    report = run_import(kind, path, store, {"progress": False}, remove=True)
    assert report.removed == 0
    assert any("is not the same" in failure.problem for failure in report.failures)
    with ptrarray.append(store) as writer:
        writer.attrs["note"] = "text"
    assert run_import(kind, path, store, {"progress": False}, remove=True).removed == 1


def test_mmappickle_without_masks_needs_none(folder: Path, store: Path, mmapdict: Any) -> None:
    mmapdict(folder / "x.mmdpickle", ("a", np.arange(3)))
    assert run(convert.from_mmappickle, folder, store).ok
    assert not ptrarray.open(store).masked


def test_mmappickle_into_a_store_without_masks(folder: Path, store: Path, mmapdict: Any) -> None:
    mmapdict(folder / "x.mmdpickle", ("a", np.ma.MaskedArray([1], [True])))
    ptrarray.create(store).close()
    assert "masked=True" in only_problem(run(convert.from_mmappickle, folder, store, masked=False))


def test_mmappickle_larger_than_memory_is_mapped(folder: Path, store: Path, mmapdict: Any) -> None:
    stub = pytest.importorskip("mmappickle.stubs.numpy").EmptyNDArray
    hole = stub((1000, 1000), "f4")
    path = mmapdict(folder / "x.mmdpickle", ("hole", hole), ("after", np.arange(3)))
    members = {member.key: member.load() for member in mmappickle_members(False, str(path))}
    assert members["hole"].shape == (1000, 1000)
    assert not members["hole"].flags.owndata
    assert not members["hole"].flags.writeable
    assert members["after"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("n_lost", [1, 5, 12, 100, 900])
def test_mmappickle_that_is_cut_off(folder: Path, store: Path, mmapdict: Any, n_lost: int) -> None:
    path = mmapdict(folder / "x.mmdpickle", ("whole", np.arange(3)), ("torn", np.arange(100)))
    raw = path.read_bytes()
    path.write_bytes(raw[:-n_lost])
    report = run(convert.from_mmappickle, path, store)
    assert "cut off or damaged at byte" in only_problem(report)
    found = content(store)
    assert found["whole"].tolist() == [0, 1, 2]
    assert set(found) <= {"whole", "torn"}


def test_mmappickle_with_any_byte_wrong(folder: Path, tmp_path: Path, mmapdict: Any) -> None:
    """A damaged file gives arrays or failures, and nothing else."""
    masked = np.ma.MaskedArray([1], [True])
    path = mmapdict(folder / "x.mmdpickle", ("m", masked), ("b", {"x": 1}))
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        with suppress(Exception):  # which becomes a failure
            for member in mmappickle_members(False, str(path)):
                assert np.asarray(member.load()).nbytes < len(raw)


def test_an_ordinary_pickle_is_told_apart(folder: Path, store: Path) -> None:
    dump(folder / "x.pickle", {"a": 1})
    (folder / "y.pickle").touch()
    report = run(convert.from_mmappickle, folder, store, processes=1)
    problems = [failure.problem for failure in report.failures]
    assert problems == [
        "it is no file of mmappickle (an ordinary pickle: import pickles)",
        "it is empty",
    ]
