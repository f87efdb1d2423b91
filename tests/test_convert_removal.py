"""Files that an import removes: those, and only those, that are the same in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.convert import Failure
from ptrarray.convert.found import Found, Kind, Member, Noted
from ptrarray.convert.run import run
from tests.support.convert_workers import dump
from tests.support.imports import content, import_pickles, ramps


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def test_verify_and_remove(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    expected = ramps(folder, 1, 2)
    dump(folder / "nan.pkl", np.array([np.nan, -0.0]))
    dump(folder / "series.pkl", pd.Series([1.0], index=["k"], name="v"))
    dump(folder / "part.pkl", {"a": 1, "b": "text"})
    assert len(import_pickles(folder, store, verify=True).failures) == 1
    assert len(list(folder.iterdir())) == 5
    report = import_pickles(folder, store, remove_source=True)
    assert (report.converted, report.removed) == (0, 4)
    assert report.failures == [Failure(f"{folder / 'part.pkl'}:b", "a str is no array")]
    assert [path.name for path in folder.iterdir()] == ["part.pkl"]
    assert content(store).keys() >= expected.keys()


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (np.array([1.0, 3.0]), "is not the same in the store"),
        (np.array([1.0, 2.0], "f4"), None),
        (np.array([1.0, 2.00000001], "f4"), None),
        (np.array([1.0]), "is not the same in the store"),
        (np.ma.MaskedArray([1.0, 2.0], [True, False]), "is not the same in the store"),
    ],
    ids=["value", "dtype", "rounded", "shape", "mask"],
)
def test_files_that_differ_from_the_store_stay(
    folder: Path, store: Path, kept: Any, problem: str | None
) -> None:
    path = dump(folder / "x.pkl", np.array([1.0, 2.0]))
    with ptrarray.create(store, masked=True) as writer:
        writer["x"] = kept
    report = import_pickles(folder, store, remove_source=True)
    assert report.skipped == 1
    assert path.exists() == (problem is not None)
    assert [problem] * path.exists() == [failure.problem[4:] for failure in report.failures]


def test_a_store_that_rounds_keeps_the_source(folder: Path, store: Path) -> None:
    path = dump(folder / "x.pkl", np.array([0.1]))
    report = import_pickles(folder, store, dtype="f4", remove_source=True)
    assert (report.converted, report.removed, path.exists()) == (1, 0, True)
    assert "not the same in the store" in report.failures[0].problem


def test_other_metadata_keeps_the_source(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    path = dump(folder / "x.pkl", pd.Series([1.0], name="v"))
    import_pickles(folder, store)
    with ptrarray.append(store) as writer:
        writer.meta["x"] = {"pandas": {"kind": "series", "name": "w"}}
    (failure,) = import_pickles(folder, store, remove_source=True).failures
    assert "has other metadata" in failure.problem
    assert path.exists()


def test_a_lost_index_keeps_the_source(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    path = dump(folder / "x.pkl", pd.Series([1.0], index=["k"]))
    assert import_pickles(folder, store, verify=True).ok
    with ptrarray.append(store / "helpers.ptr") as writer:
        writer.clear()
    (failure,) = import_pickles(folder, store, remove_source=True).failures
    assert "'x' has lost its index, or another part: helper array" in failure.problem
    assert path.exists()


def test_a_file_that_failed_stays(folder: Path, store: Path) -> None:
    path = dump(folder / "x.pkl", "text")
    report = import_pickles(folder, store, remove_source=True)
    assert (len(report.failures), report.removed, path.exists()) == (1, 0, True)


def test_a_file_that_failed_keeps_no_other(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptrarray.jobs.run._CHUNK_SECONDS", 1e6)  # many a chunk, on any machine
    for i in range(12):
        dump(folder / f"{i:02}.pkl", i if i % 2 else "text")
    report = import_pickles(folder, store, remove_source=True)
    assert (len(report.failures), report.removed) == (6, 6)
    assert sorted(path.stem for path in folder.iterdir()) == [f"{i:02}" for i in range(0, 12, 2)]


def test_a_file_with_more_than_a_store_keeps_stays(folder: Path, store: Path) -> None:
    def members(path: str) -> Iterator[Found]:
        yield Member("", lambda: np.arange(3))
        if "noted" in path:
            yield Noted("n", "notes are not kept")

    paths = [dump(folder / f"{name}.pkl", 0) for name in ("noted", "plain")]
    report = run(Kind(members, (".pkl",)), paths[:1], store, {"progress": False}, remove=True)
    assert (report.ok, report.removed) == (True, 0)
    assert report.notes == [f"notes are not kept: {paths[0]}:n"]
    assert run(Kind(members, (".pkl",)), paths[1:], store, {}, remove=True).removed == 1
    assert list(folder.iterdir()) == paths[:1]


def test_nan_is_the_same_in_another_dtype(folder: Path, store: Path) -> None:
    path = dump(folder / "x.pkl", np.array([np.nan, 1, -np.inf]))
    report = import_pickles(folder, store, dtype="f4", remove_source=True)
    assert (report.converted, report.removed, report.ok, path.exists()) == (1, 1, True, False)


BIG = 17_293_822_569_102_704_643  # no float64


def test_large_integers_of_a_list_are_kept(folder: Path, store: Path) -> None:
    value = {"list": [BIG, 42], "tuple": (1, BIG), "deep": {"rows": [[BIG, 1], [2]]}}
    path = dump(folder / "x.pkl", value)
    report = import_pickles(folder, store, remove_source=True)
    assert (report.converted, report.removed, path.exists()) == (4, 1, False)
    expected = {"x/list": [BIG, 42], "x/tuple": [1, BIG], "x/deep/rows/0": [BIG, 1]}
    found = content(store)
    assert {name: found[name].tolist() for name in expected} == expected
    assert all(found[name].dtype == np.uint64 for name in expected)


@pytest.mark.parametrize("value", [[-1, 2**63], [2**53 + 1, 0.5], [2**64, 1]], ids=str)
def test_integers_that_no_dtype_holds_keep_the_source(
    folder: Path, store: Path, value: Any
) -> None:
    path = dump(folder / "x.pkl", {"good": [1, 2], "bad": value})
    report = import_pickles(folder, store, remove_source=True)
    assert (report.converted, report.removed, path.exists()) == (1, 0, True)
    assert [failure.source for failure in report.failures] == [f"{path}:bad"]


def test_an_integer_that_a_float_in_the_store_is_near_to_stays(folder: Path, store: Path) -> None:
    """numpy compares the two as floats."""
    path = dump(folder / "x.pkl", np.array([2**53 + 1]))
    with ptrarray.create(store) as writer:
        writer["x"] = np.array([2.0**53])
    (failure,) = import_pickles(folder, store, remove_source=True).failures
    assert "is not the same in the store" in failure.problem
    assert path.exists()
