"""Another checkout of ptrarray, and the package without its core, measured beside this one."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from benchmarks import engines
from benchmarks.engines.beside import Beside
from benchmarks.engines.ptrarray import PtrArray
from benchmarks.engines.ptrarray_pure import Pure
from benchmarks.harness.processes import Steps, in_fresh
from benchmarks.measures import FIGURES
from benchmarks.report import bounds, page, targets
from benchmarks.report.results import Result
from benchmarks.workloads import Array, Layout
from tests.support.prepared import python
from tests.test_benchmarks import pytestmark, result_of, run

__all__ = ["pytestmark"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the package, with another version number, to where no commit names it."""
    package = tmp_path / "before" / "ptrarray"
    here = Path(ptrarray.__file__).parent
    shutil.copytree(here, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "__init__.py").open("a") as file:
        file.write('\n__version__ = "0.0.7"\n')
    (tmp_path / "before" / "benchmarks").mkdir()  # whose modules must not be found
    (tmp_path / "before" / "benchmarks" / "__init__.py").write_text("raise RuntimeError")
    return tmp_path / "before"


@pytest.fixture
def other(checkout: Path, tmp_path: Path) -> Beside:
    folder = tmp_path / "link"
    folder.mkdir()
    return Beside(checkout, folder)


def test_another_checkout_is_imported_beside_this_one(checkout: Path, tmp_path: Path) -> None:
    modules, path = dict(sys.modules), list(sys.path)
    folder = tmp_path / "link"
    folder.mkdir()
    engine = Beside(checkout, folder)
    assert (engine.name, engine.version) == ("before", "0.0.7")
    assert engine.library.PointerArray is not ptrarray.PointerArray
    assert "before's checksums are computed by" in engine.note("write")
    assert {name: sys.modules[name] for name in modules} == modules
    assert sys.path == path


def version_rows(task: Any) -> Array:
    return np.full((2, 80), ptrarray.__version__.rpartition(".")[2], "f4")


def filling_with_versions(name: str, path: str) -> Steps:
    engine = engines.load(name)
    engine.fill(Path(path), version_rows, {"a": 0}, 2)
    yield {"version": engine.version}


def test_fresh_processes_and_their_workers_have_the_right_version(
    other: Beside, tmp_path: Path
) -> None:
    path = tmp_path / "filled"
    assert in_fresh(other, filling_with_versions, path) == {"version": "0.0.7"}
    with other.opened(path, Layout(np.dtype("f4"), (80,))) as store:
        assert other.get(store, ["a"])[0][0, 0] == 7


def noted_variable(name: str) -> Steps:
    engine = engines.load(name)
    yield {"is_pure": os.environ.get("PTRARRAY_PURE"), "note": engine.note("write")}


def test_the_pure_package_is_imported_beside_the_one_as_built() -> None:
    built, pure = PtrArray(), Pure()
    assert sys.modules["ptrarray"] is ptrarray
    assert pure.library.PointerArray is not built.library.PointerArray is ptrarray.PointerArray
    assert "PTRARRAY_PURE" not in os.environ
    assert pure.note("write").endswith("without the core in C")
    assert in_fresh(pure, noted_variable) == {"is_pure": "1", "note": pure.note("write")}
    assert in_fresh(built, noted_variable) == {"is_pure": None, "note": built.note("write")}


def test_what_a_library_lacks_is_not_measured(other: Beside) -> None:
    deletes, totals = engines.Engine.delete, engines.Engine.totals
    writer = other.library.PointerArrayWriter
    if hasattr(writer, "delete"):
        del writer.delete
    other.library.PointerArray.reduce_each = lambda store, ufunc: None
    assert not other.can(deletes)
    assert not other.can(engines.Engine.get, totals)
    assert other.can(engines.Engine.get, engines.Engine.delete_each)


def test_a_run_beside_another_checkout_gives_ratios(checkout: Path, tmp_path: Path) -> None:
    keys = ["write", "take", "checkpoint", "fill"]
    arguments = ["--beside", str(checkout), "--n", "50", "--repeat", "1", "--out", str(tmp_path)]
    printed = run("run", *arguments, "--measures", ",".join(keys))
    result = Result.load(tmp_path / "tokens.json")
    assert result.engines == ["floor", "ptrarray", "before"]
    assert set(keys) <= set(result.figures)
    assert "| ptrarray | before | ptrarray / before |" in printed
    spread = r"[\d.,]+ \([\d.,]+ to [\d.,]+\)"
    for key in keys:
        figure = f"{re.escape(FIGURES[key].title)} \\| {FIGURES[key].unit}"
        assert re.search(f"^\\| {figure} (\\| {spread} ){{3}}\\| [^|]*\\|$", printed, re.MULTILINE)


def test_another_checkout_that_answers_wrong_stops_the_run(checkout: Path) -> None:
    lie = "PointerArray.take = lambda self, names, take=PointerArray.take: take(self, names[::-1])"
    with (checkout / "ptrarray" / "__init__.py").open("a") as file:
        file.write(lie)
    arguments = ["--beside", str(checkout), "--n", "50", "--measures", "take"]
    done = python("-m", "benchmarks", "run", *arguments)
    assert done.returncode == 1
    assert "AssertionError: a batch of before is not what was written" in done.stderr


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no ptrarray in"):
        Beside(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ([10, 10, 10.4], "1 (1 to 1.04) |  |"),
        ([11, 12, 13], "1.2 (1.1 to 1.3) | worse by 20% |"),
        ([9, 12, 13], "1.2 (0.9 to 1.3) | worse within the spread |"),
        ([8, 9, 9], "0.9 (0.8 to 0.9) |  |"),
    ],
)
def test_what_got_worse_is_said(ours: list[float], said: str) -> None:
    result = result_of("before", floor=[1, 1, 1], ptrarray=ours, before=[10, 10, 10])
    assert page.beside(result).endswith(said)
    assert page.beside(result_of(floor=[1], ptrarray=[1])) == ""


def test_another_checkout_is_not_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    target = targets.faster("tokens", "write", 1, targets.ALL_PEERS)
    monkeypatch.setattr(targets, "TARGETS", [target])
    result = result_of("before", floor=[1], ptrarray=[10], before=[5], ptrarray_pure=[5], npz=[20])
    assert targets.table([result]).endswith("| 2 | met |")


def test_bounds_are_compared_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of(floor=[5, 30, 8], ptrarray=[10, 60, 20], ptrarray_pure=[20, 120, 40])
    both = [
        bounds.Bound("write", "as the floor", bounds.FLOOR, 5, 1.6),
        bounds.Bound("write", "alone", "µs", 40, 10),
        bounds.Bound("write", "over itself", bounds.ALONE, 1, 0.5, "write"),
        bounds.Bound("take", "not measured", "µs", 1, 1),
    ]
    monkeypatch.setattr(bounds, "BOUNDS", both)
    rows = [line.split(" | ") for line in bounds.table([result]).splitlines()[2:]]
    assert [(row[2].split()[0], row[3].split()[0], row[-1]) for row in rows] == [
        ("4", "2", "pure reached, core missed by 25% |"),
        ("40", "20", "pure reached, core missed by 100% |"),
        ("1", "1", "pure reached, core missed by 100% |"),
    ]
