"""The harness gives right answers and complete tables; how fast anything is, is not tested."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import engines
from benchmarks.__main__ import STUDIES, command_line
from benchmarks.engines.floor import Floor, Opened
from benchmarks.harness.case import Case, check
from benchmarks.harness.measure import Figure, one
from benchmarks.harness.run import figures
from benchmarks.measures import ALL, FIGURES, read, upkeep, write
from benchmarks.report import page, plot, targets
from benchmarks.report.results import Result
from benchmarks.workloads import WORKLOADS, Array, Int64s, Source
from tests.support.checks import skip_without_bigarray
from tests.support.prepared import python

ROOT = Path(__file__).parent.parent
N_ARRAYS = 300

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="memory and page cache are asked as Linux tells them",
)


def loaded(name: str) -> engines.AnyEngine:
    if name == "bigarray":
        skip_without_bigarray()
    try:
        return engines.load(name)
    except engines.NotInstalledError as error:
        pytest.skip(str(error))


def run(*arguments: str, program: Sequence[str] = ("-m", "benchmarks")) -> str:
    done = python(*program, *arguments)
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
@pytest.mark.parametrize("name", engines.CLASSES)
def test_a_peer_answers_right(
    name: str, workload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(name)
    # Some need a millisecond an array.
    monkeypatch.setattr(type(engine), "caps", {"all": 8})
    monkeypatch.setattr(type(engine), "n_lookups", 8)
    case = Case(workload, N_ARRAYS, tmp_path)
    for kind in ("store", "upkeep"):
        engine.make(case.path(engine, kind), case.stored(engine, kind))
        check(engine, case.path(engine, kind), case.stored(engine, kind))
    one_process = [each for each in write.MEASURES if not each.is_parallel]
    for measure in [*one_process, *read.MEASURES, *upkeep.MEASURES]:
        if measure.fits(engine) and not measure.is_fresh:
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
    arguments += ["--engines", "floor,ptrarray", "--measures", ",".join(FIGURES)]
    return folder, run("run", *arguments, "--out", str(folder), "--folder", str(folder))


def test_every_measure_gives_a_figure(everything: tuple[Path, str]) -> None:
    folder, printed = everything
    facts = json.loads((folder / "tokens.json").read_text())
    found = {(entry["figure"], entry["engine"]) for entry in facts["figures"]}
    cold = {"open_cold", "take_cold"}  # a file system in memory has no cold files
    limits = {"sum_in_threads"}  # of the machine
    library = engines.load("ptrarray")
    absent = {each.key for measure in ALL if not measure.fits(library) for each in measure.figures}
    assert absent <= limits
    assert {figure for figure, name in found if name == "ptrarray"} >= set(FIGURES) - cold - absent
    assert {figure for figure, name in found if name == "floor"} > {
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
    file = tmp_path / "page.md"
    run("report", str(folder), "--markdown", str(file))
    text = file.read_text()
    wanted = [target for target in targets.TARGETS if target.workload == "tokens"]
    wanted = [target for target in wanted if target.engine in ("", "floor", "ptrarray")]
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
    run("run", *arguments, "--engines", "ptrarray", "--out", str(tmp_path))
    result = Result.load(tmp_path / "names.json")
    assert list(result.fewer) == [10, 1000]
    drawing = page.drawing([result])
    assert drawing is not None
    assert all(f'<g id="{panel}-ptrarray">' in drawing for panel in plot.PANELS)


class Liar(Floor):
    """A floor that is wrong in each way but one: what it stores is right."""

    name = "liar"

    def whole(self, store: Opened, function: engines.Method) -> Any:
        return 0

    def take(self, store: Opened, keys: list[Any]) -> tuple[Array, Int64s]:
        return np.zeros(1), np.zeros(2, np.int64)

    def walk(self, store: Opened) -> Iterator[Array]:
        return iter([store.rows[:1]])

    def slices(self, store: Opened, starts: list[int], n_rows: int) -> list[Array]:
        return [store.rows[:n_rows] for _ in starts]

    def each(self, store: Opened) -> Array:
        return np.zeros(N_ARRAYS)


@pytest.mark.parametrize("key", ["sum", "take", "iterate", "read_all", "slices", "sums_each"])
def test_a_wrong_answer_stops_the_run(key: str, tmp_path: Path) -> None:
    case = Case("tokens", N_ARRAYS, tmp_path)
    (measure,) = (each for each in ALL if each.figures[0].key == key)
    with pytest.raises(AssertionError, match="is not what was written"):
        measure.run(Liar(), case)
    case.close_readers()


class Forgetful(Floor):
    """A floor that writes nothing of each array but its length."""

    name = "forgetful"

    def write(self, fd: int, part: Source) -> None:
        super().write(fd, replace(part, values=np.zeros_like(part.values)))


class Confused(Floor):
    """A floor that finds the next array."""

    name = "confused"

    def get(self, store: Opened, names: list[str]) -> list[Array]:
        return super().get(store, [*names[1:], names[0]])


@pytest.mark.parametrize("liar", [Forgetful(), Confused()], ids=lambda engine: engine.name)
def test_a_store_with_other_arrays_stops_the_run(liar: Floor, tmp_path: Path) -> None:
    case = Case("tokens", N_ARRAYS, tmp_path)
    (measure,) = (each for each in ALL if each.figures[0].key == "write")
    with pytest.raises(AssertionError, match="is not what was written"):
        measure.run(liar, case)


def test_a_missing_peer_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lmdb.py").write_text("raise ModuleNotFoundError('no lmdb', name='lmdb')")
    command = [sys.executable, "-m", "benchmarks", "run", "--n", "20", "--repeat", "1"]
    command += ["--engines", "ptrarray,lmdb", "--measures", "size"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Not measured: lmdb is not installed" in done.stdout, done.stderr


@pytest.mark.parametrize("said", ["no engine 'speed'", "no measure speed"])
def test_unknown_words_are_refused(said: str) -> None:
    option = f"--{said.split()[1]}s"
    done = python("-m", "benchmarks", "run", option, "speed", "--n", "2")
    assert done.returncode == 1
    assert said in done.stderr


class Unable(engines.Engine[None, None]):
    """The least that an engine has to define."""

    name = "unable"

    def create(self, path: Path, source: Any) -> None: ...

    def write(self, handle: None, part: Any) -> None: ...

    def open(self, path: Path, layout: Any) -> None: ...

    def walk(self, store: None) -> Iterator[Array]:
        return iter([])


class Able(Unable):
    def __init__(self, name: str) -> None:
        self.name = name

    def verify(self, path: Path) -> None: ...


def test_peers_take_turns_after_a_round_to_warm_up(tmp_path: Path) -> None:
    case = Case("tokens", 10, tmp_path)
    turns: list[str] = []

    def look(engine: engines.AnyEngine, case: Case) -> float:
        turns.append(engine.name)
        return len(turns)

    measure = one(Figure("write", "", ""), (engines.Engine.verify,), look)
    taken = figures([measure], [*map(Able, "abc"), Unable()], case, repeat=2)
    assert "".join(turns) == "cab" + "abc" + "bca"
    assert {entry["engine"]: entry["rounds"] for entry in taken} == {
        "a": [4, 9],
        "b": [5, 7],
        "c": [6, 8],
    }


# What an engine says about itself ---------------------------------------------------------------


def test_what_an_engine_can_do_is_what_its_class_defines() -> None:
    engine = engines.Engine
    assert Able("a").can(engine.create, engine.verify)
    assert not Able("a").can(engine.verify, engine.get)
    assert not Unable().can(engine.verify)
    (parallel,) = (each for each in ALL if each.figures[0].key == "write_2")
    assert parallel.fits(Floor())
    assert not parallel.fits(Able("a"))
    with pytest.raises(NotImplementedError):
        Unable().get(None, [])


@pytest.mark.parametrize("name", engines.CLASSES)
def test_an_engine_declares_only_what_is_asked_of_engines(name: str) -> None:
    engine = loaded(name)
    kind = type(engine)
    assert kind.name == engine.name == name
    assert engine.can(engines.Engine.get) or engine.can(engines.Engine.at)
    known = {key: value for key, value in vars(engines.Engine).items() if callable(value)}
    defined = {key for key, value in vars(kind).items() if inspect.isfunction(value)}
    assert {key for key in defined if not key.startswith("_")} <= set(known)
    for key in defined & set(known) - {"__init__"}:
        wanted, found = (inspect.signature(of[key]).parameters for of in (known, vars(kind)))
        assert len(found) == len(wanted), key
    assert set(kind.notes) <= set(FIGURES)
    assert set(kind.caps) <= {"all", *(measure.kind for measure in ALL)}


# The command line ----------------------------------------------------------------------------------


def test_help_lists_every_study() -> None:
    text = " ".join(run("--help").split())
    known = {"bounds", "limits", "checksums", "cold", "nested", "shards", "timelapse"}
    assert known <= {path.stem for path in STUDIES}
    for path in STUDIES:
        head = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
        assert f" {path.stem} {head.rstrip('.')}" in text


# Each engine of `bounds` is asked in many fresh processes; of these two everything is asked.
FEW = "import runpy, sys; from benchmarks.studies import bounds; bounds.ENGINES = 'floor', 'ptrarray'; "
FEW += "runpy.run_module('benchmarks', run_name='__main__', alter_sys=True)"


LONG = {"bounds", "nested", "timelapse"}  # studies that the slow run has


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("study", sorted({path.stem for path in STUDIES} - LONG))
def test_a_study_gives_a_table(study: str, tmp_path: Path) -> None:
    program = ["-c", FEW] if study == "bounds" else ["-m", "benchmarks"]
    printed = run(study, "--n", "8", "--repeat", "1", "--out", str(tmp_path), program=program)
    assert (tmp_path / f"{study}.md").read_text() == printed
    command, _, *table = printed.splitlines()
    assert command == f"`python -m benchmarks {study} --n 8 --repeat 1 --out {tmp_path}`"
    assert sum(line.startswith("|---") for line in table) == {"shards": 2, "bounds": 3}.get(
        study, 1
    )
    n_widths = len({line.count("|") for line in table if line.startswith("| ")})
    assert n_widths in ({1, 2} if study in ("shards", "bounds") else {1})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("study", sorted(LONG))
def test_a_long_study_gives_a_table(study: str, tmp_path: Path) -> None:
    test_a_study_gives_a_table(study, tmp_path)


@pytest.mark.parametrize("file", ["Makefile", "benchmarks/RESULTS.md", "benchmarks/README.md"])
def test_commands_in_documents_are_understood(file: str) -> None:
    text = (ROOT / file).read_text()
    commands = re.findall(
        r"python -m benchmarks ((?:run|compare|report|\w+ --folder) [^`\n]*)", text
    )
    assert commands
    for command in (each for each in commands if "--help" not in each):
        command_line().parse_args(shlex.split(command.replace("$(REPEAT)", "3")))
    assert not re.search(
        r"-m benchmarks(\.(?!(users|bridges|cluster|doors|hundred_million|remote|viewer)\b)\w| --(?!help))",
        text,
    )


def test_the_page_says_what_the_report_says_today() -> None:
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert text.startswith(page.INTRODUCTION)
    assert page.RATIOS in text
    for title, words in page.STUDIES.values():
        assert f"## {title}\n\n{words}\n\n`python -m benchmarks " in text


def result_of(beside: str = "", /, **rounds: list[float]) -> Result:
    entries = [
        {"figure": "write", "engine": name, "rounds": each, "n_arrays": 5, "note": ""}
        for name, each in rounds.items()
    ]
    versions = dict.fromkeys(rounds, "1")
    facts = {"workload": "tokens", "n_arrays": 5, "versions": versions, "fewer": []}
    facts["beside"] = beside
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
