"""The harness gives right answers and complete tables; how fast anything is, is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks import engines, report, targets
from benchmarks.case import Case, check, make
from benchmarks.measures import Figure, one, read, upkeep, write
from benchmarks.results import FIGURES, Result
from benchmarks.run import ALL, figures
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
N_ARRAYS = 300

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="memory and page cache are asked as Linux tells them",
)


def loaded(name: str) -> engines.Engine:
    try:
        return engines.load(name)
    except engines.NotInstalledError as error:
        pytest.skip(str(error))


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def _no_manager_stays() -> Iterator[None]:
    """End the process that bigarray keeps its names in."""
    yield
    module = sys.modules.get("bigarray.pointer_array")
    while module and module._MANAGER:
        module._MANAGER.pop().shutdown()


@pytest.mark.filterwarnings("ignore")  # what other libraries leave open is their affair
@pytest.mark.usefixtures("_no_manager_stays")
@pytest.mark.parametrize("workload", ["tokens", "speech"])
@pytest.mark.parametrize("name", engines.NAMES)
def test_a_peer_answers_right(
    name: str, workload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(name)
    # Some need a millisecond an array.
    monkeypatch.setattr(engine.module, "CAPS", {"all": 8}, raising=False)
    monkeypatch.setattr(engine.module, "N_LOOKUPS", 8, raising=False)
    case = Case(workload, N_ARRAYS, tmp_path)
    for kind in ("store", "upkeep"):
        make(engine, case.path(engine, kind), case.stored(engine, kind))
        check(engine, case.path(engine, kind), case.stored(engine, kind))
    one_process = [each for each in write.MEASURES if "PARALLEL" not in each.needs]
    for measure in [*one_process, *read.MEASURES, *upkeep.MEASURES]:
        if engine.can(*measure.needs) and "checkpoint" not in measure.needs:
            assert measure.run(engine, case)[0] is not None  # each compares what it finds
    case.close_readers()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_is_the_same_each_time(workload: str) -> None:
    source, again = (WORKLOADS[workload].make(50) for _ in range(2))
    assert np.array_equal(source.values, again.values)
    assert np.array_equal(source.offsets, again.offsets)
    assert len(source) == len(set(source.names)) == 50
    part = source.part(20, 30)
    assert part.names == source.names[20:30]
    assert np.array_equal(part[3], source[23])
    assert part.first_row == source.offsets[20]
    assert [name for batch in part.batches for name in batch] == part.names


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run every measure of two peers once."""
    folder = tmp_path_factory.mktemp("results")
    arguments = ["--workload", "tokens", "--n", str(N_ARRAYS), "--repeat", "1"]
    arguments += ["--peers", "floor,ptrarray", "--measures", ",".join(FIGURES)]
    return folder, run(*arguments, "--out", str(folder), "--folder", str(folder))


def test_every_measure_gives_a_figure(everything: tuple[Path, str]) -> None:
    folder, printed = everything
    facts = json.loads((folder / "tokens.json").read_text())
    found = {(entry["figure"], entry["peer"]) for entry in facts["figures"]}
    cold = {"open_cold", "take_cold"}  # a file system in memory has no cold files
    limits = {"sum_in_threads"}  # of the machine
    assert {figure for figure, peer in found if peer == "ptrarray"} >= set(FIGURES) - cold - limits
    assert {figure for figure, peer in found if peer == "floor"} > {
        "write_2",
        "take",
        "sums_each",
        *limits,
    }
    assert all(len(entry["rounds"]) == 1 for entry in facts["figures"])
    assert facts["machine"]["cores"] >= 1
    assert facts["commit"]
    for figure, _ in found:
        assert f"| {FIGURES[figure].title} | {FIGURES[figure].unit} |" in printed


def test_the_report_tells_targets(everything: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = everything
    page = tmp_path / "page.md"
    run("report", str(folder), "--markdown", str(page))
    text = page.read_text()
    wanted = [target for target in targets.TARGETS if target.workload == "tokens"]
    wanted = [target for target in wanted if target.peer in ("", "floor", "ptrarray")]
    rows = [line for line in text.splitlines() if line.startswith("| tokens, only 300 arrays |")]
    assert len(rows) == len(wanted)
    assert all(row.endswith(" met |") or " missed by " in row for row in rows)


def test_comparing_a_result_with_itself(everything: tuple[Path, str]) -> None:
    path = str(everything[0] / "tokens.json")
    lines = run("compare", path, path).splitlines()[2:]
    assert lines
    assert all(line.endswith("| 1.00 |") for line in lines if "| 0 | 0 |" not in line)


def test_names_at_several_numbers_are_drawn(tmp_path: Path) -> None:
    arguments = ["--workload", "names", "--n", "1000", "--repeat", "1", "--measures", "open"]
    run(*arguments, "--peers", "ptrarray", "--out", str(tmp_path))
    result = Result.load(tmp_path / "names.json")
    assert list(result.fewer) == [10, 1000]
    drawing = report.drawing([result])
    assert drawing is not None
    assert drawing.count("<polyline") == 3


def test_a_wrong_answer_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded("floor")
    case = Case("tokens", N_ARRAYS, tmp_path)
    make(engine, case.path(engine), case.source)
    monkeypatch.setattr(engine.module, "whole", lambda store, function: 0)
    monkeypatch.setattr(engine.module, "take", lambda store, names: (np.zeros(1), np.zeros(2)))
    monkeypatch.setattr(engine.module, "walk", lambda store: iter([case.source[1]]))
    for key in ("sum", "take", "read_all"):
        (measure,) = (each for each in ALL if each.figures[0].key == key)
        with pytest.raises(AssertionError, match="is not what was written"):
            measure.run(engine, case)


def test_a_missing_peer_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lmdb.py").write_text("raise ModuleNotFoundError('no lmdb', name='lmdb')")
    command = [sys.executable, "-m", "benchmarks", "--n", "20", "--repeat", "1"]
    command += ["--peers", "ptrarray,lmdb", "--measures", "size"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Not measured: lmdb is not installed" in done.stdout, done.stderr


def test_unknown_words_are_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "--measures", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no measure speed" in done.stderr


def engine_of(name: str, **functions: Any) -> engines.Engine:
    module = ModuleType(name)
    vars(module).update(functions)
    return engines.Engine(name, module)


def test_peers_take_turns_after_a_round_to_warm_up(tmp_path: Path) -> None:
    case = Case("tokens", 10, tmp_path)
    turns: list[str] = []
    peers = [engine_of(name, look=None) for name in "abc"]

    def look(engine: engines.Engine, case: Case) -> float:
        turns.append(engine.name)
        return len(turns)

    measure = one(Figure("write", "", ""), ("look",), look)
    taken = figures([measure], [*peers, engine_of("unable")], case, repeat=2)
    assert "".join(turns) == "cab" + "abc" + "bca"
    assert {entry["peer"]: entry["rounds"] for entry in taken} == {
        "a": [4, 9],
        "b": [5, 7],
        "c": [6, 8],
    }


def result_of(**rounds: list[float]) -> Result:
    entries = [
        {"figure": "write", "peer": peer, "rounds": each, "n_arrays": 5, "note": ""}
        for peer, each in rounds.items()
    ]
    versions = dict.fromkeys(rounds, "1")
    facts = {"workload": "tokens", "n_arrays": 5, "versions": versions, "fewer": []}
    return Result(facts | {"figures": entries})


@pytest.mark.parametrize(
    ("target", "reached", "said"),
    [
        (targets.faster("tokens", "write", 0.6, "floor"), "0.5", "missed by 17%"),
        (targets.faster("tokens", "write", 1, targets.ALL_PEERS), "1.5", "met"),
        (targets.cheaper("tokens", "write", 1.4, "floor"), "2", "missed by 43%"),
        (targets.bounded("tokens", "write", 20), "20", "met"),
    ],
)
def test_a_target_is_compared_within_rounds(
    target: targets.Target, reached: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second round was three times as slow for all: medians of all would mix the rounds.
    result = result_of(floor=[5, 30, 8], ptrarray=[10, 60, 20], lmdb=[30, 90, 60], npz=[15, 90, 30])
    monkeypatch.setattr(targets, "TARGETS", [target])
    row = targets.table([result]).splitlines()[-1]
    assert row.endswith(f"| {reached} | {said} |")
