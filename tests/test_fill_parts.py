"""A store is filled in parts, by several hosts or workers, and the parts are joined."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import (
    BadInputError,
    CorruptStoreError,
    DuplicateNameError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    TaskError,
)
from ptrarray.jobs import gathering
from ptrarray.jobs.parts import PartJob
from ptrarray.jobs.worker import FillJob, Task
from ptrarray.storage.shards.sources import read_source
from tests.support import workers
from tests.support.engines import Engine
from tests.support.forging import slot_field
from tests.support.workers import check_ramps, ramps

pytestmark = pytest.mark.usefixtures("no_syncs")


def fill(path: Path, function: Any, tasks: Any, executor: Executor, **options: Any) -> int:
    given: dict[str, Any] = {"dtype": "i8", "parts": "host", "progress": False} | options
    return ptrarray.fill(path, function, tasks, executor=executor, **given)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as executor:
        yield executor


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def parts_of(path: Path) -> list[Path]:
    folder = path.with_name(f"{path.name}.parts")
    return sorted(folder.glob("fill-*")) if folder.exists() else []


def n_shards(path: Path) -> int:
    return len(list(path.glob("shard-*")))


def check_pairs(path: Path, n_tasks: int) -> None:
    with ptrarray.open(path) as store:
        assert len(store) == 2 * n_tasks
        for n in range(n_tasks):
            assert store[f"{n}/up"].tolist() == store[f"{n}/down"].tolist()[::-1]
            assert len(store[f"{n}/up"]) == n
        store.verify()


# What comes of it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", ["host", "worker"])
def test_each_has_a_part_and_all_are_joined(path: Path, engine: Engine, parts: str) -> None:
    assert fill(path, workers.ramp, ramps(300), engine, parts=parts) == 300
    check_ramps(path, 300)
    assert n_shards(path) == 2
    assert not path.with_name(f"{path.name}.parts").exists()
    with ptrarray.append(path) as writer:
        writer["more"] = [1]


@pytest.mark.parametrize(("parts", "n_parts"), [("host", 1), ("worker", 2)])
def test_the_processes_of_one_machine_share_a_part_or_not(
    path: Path, tmp_path: Path, parts: Any, n_parts: int
) -> None:
    tasks = {name: (n, str(tmp_path / "met")) for name, n in ramps(40).items()}
    options: Any = {"dtype": "i8", "processes": 2, "progress": False}
    assert ptrarray.fill(path, workers.meet_first, tasks, parts=parts, **options) == 40
    check_ramps(path, 40)
    assert n_shards(path) == n_parts


def test_arguments_without_names(path: Path, engine: Engine) -> None:
    assert fill(path, workers.pair, iter(range(40)), engine) == 80
    check_pairs(path, 40)


def test_no_tasks_and_no_arrays(path: Path, threads: Executor) -> None:
    tasks: Any
    for tasks in ({}, [1, 2]):
        attrs = {"rate": 1}
        assert fill(path, lambda n: {}, tasks, threads, row_shape=(2,), attrs=attrs) == 0
        with ptrarray.open(path) as store:
            assert (len(store), store.row_shape, dict(store.attrs)) == (0, (2,), attrs)
    with ptrarray.append(path) as writer:
        writer["a"] = [[1, 2]]


@pytest.mark.parametrize("layout", [{}, {"dtype": "f4", "row_shape": None}, {"dtype": "f4"}])
@pytest.mark.parametrize("masked", [False, True])
def test_layouts_masks_and_metadata(
    path: Path, engine: Engine, layout: dict[str, Any], masked: bool
) -> None:
    options = {"dtype": None, "masked": masked, "attrs": {"a": [1]}, **layout}
    function = partial(workers.with_meta, masked=masked)
    fill(path, function, ramps(30), engine, **options)
    fill(path, function, {"n30": 30}, engine, dtype=None)
    with ptrarray.open(path) as store:
        assert (len(store), store.masked, dict(store.attrs)) == (31, masked, {"a": [1]})
        for n in range(31):
            assert store.meta[f"n{n}"] == {"n": n}
            assert np.ma.getdata(store[f"n{n}"]).tolist() == list(range(n))
            assert np.ma.getmaskarray(store[f"n{n}"]).sum() == masked * (n // 2)
        store.verify()


def test_series_bring_their_indexes(path: Path, engine: Engine) -> None:
    pandas = pytest.importorskip("pandas")
    fill(path, workers.series, ramps(20), engine, dtype="f8")
    with ptrarray.open(path) as store:
        for n in range(20):
            pandas.testing.assert_series_equal(store.series(f"n{n}"), workers.series(n))


def test_into_a_store_of_shards(path: Path, engine: Engine) -> None:
    assert fill(path, workers.ramp, ramps(30), engine) == 30
    with pytest.raises(DuplicateNameError, match="30 of 40 names"):
        fill(path, workers.ramp, ramps(40), engine)
    assert fill(path, workers.ramp, ramps(40), engine, resume=True) == 10
    check_ramps(path, 40)
    assert fill(path, workers.ramp, ramps(40), engine, resume=True) == 0


def test_names_that_are_there_and_come_from_the_function(path: Path, engine: Engine) -> None:
    fill(path, workers.pair, range(5), engine)
    with pytest.raises(TaskError, match=r"'4/up' is in .* already") as caught:
        fill(path, workers.pair, range(4, 9), engine)
    assert caught.value.task == 4
    assert fill(path, workers.pair, range(4, 9), engine, resume=True) <= 8  # some were in parts
    check_pairs(path, 9)


# What is refused ----------------------------------------------------------------------------------


def test_refuses_what_cannot_have_parts(path: Path, threads: Executor) -> None:
    ptrarray.create(path, dtype="i8").close()
    with pytest.raises(BadInputError, match="is one store"):
        fill(path, workers.ramp, ramps(3), threads)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("options", [{"parts": "disk"}, {"rows": 3}, {"row_shape": "x"}])
def test_refuses_what_makes_no_sense(
    path: Path, threads: Executor, options: dict[str, Any]
) -> None:
    with pytest.raises((BadInputError, TypeError)):
        fill(path, workers.ramp, ramps(3), threads, **options)
    assert list(path.parent.iterdir()) == []


def test_refuses_another_layout(path: Path, threads: Executor) -> None:
    fill(path, workers.ramp, ramps(3), threads)
    with pytest.raises(BadInputError, match="int64"):
        fill(path, workers.ramp, {"a": 3}, threads, dtype="i2")
    check_ramps(path, 3)
    assert not parts_of(path)


def test_refuses_a_second_run(path: Path, threads: Executor) -> None:
    def nested(n: int) -> Any:
        for resume in (False, True):
            with pytest.raises(StoreError, match="is being filled already"):
                fill(path, workers.ramp, ramps(3), threads, resume=resume)
        return [n]

    with ThreadPoolExecutor(1) as one:
        assert fill(path, nested, {"a": 1}, one) == 1
    with ptrarray.open(path) as store:
        assert list(store) == ["a"]


# Tasks that run twice -----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", ["host", "worker"])
@pytest.mark.parametrize("copies", ["here", "elsewhere"])
def test_a_task_that_runs_twice_is_there_once(path: Path, copies: str, parts: str) -> None:
    with Engine(2, copies) as engine:
        assert fill(path, workers.ramp, ramps(60), engine, parts=parts) == 60
        assert fill(path, workers.pair, range(20), engine, parts=parts) == 40
        assert fill(path, workers.noise, {"x": 3, "y": 4}, engine, parts=parts) == 2
        with pytest.raises((DuplicateNameError, TaskError), match=r"twice|DuplicateNameError"):
            fill(path, workers.named_noise, range(3), engine, parts=parts)
        for _ in range(3):  # a task that had not run yet may do so twice now; its first array stays
            with suppress(DuplicateNameError, TaskError):
                fill(path, workers.named_noise, range(3), engine, parts=parts, resume=True)
        fill(path, workers.named_noise, range(3), engine, parts=parts, resume=True)
    with ptrarray.open(path) as store:
        assert len(store) == 60 + 40 + 2 + 3
        assert all(store[f"n{n}"].tolist() == list(range(n)) for n in range(60))
        assert [len(store[name]) for name in ("x", "y", "noise 0", "noise 2")] == [3, 4, 9, 9]
        store.verify()


def test_two_tasks_that_give_one_name(path: Path, engine: Engine) -> None:
    """They may have run anywhere, in one part or two."""
    with pytest.raises((DuplicateNameError, TaskError), match=r"DuplicateNameError|two tasks"):
        fill(path, workers.whole_or_part, range(4), engine)
    assert not path.exists()
    fill(path, workers.whole_or_part, range(4), engine, resume=True)
    with ptrarray.open(path) as store:
        assert sorted(store) == ["n0", "n1"]


def job_of(path: Path, run: gathering.Run, home: bytes, named: bool = True) -> PartJob:
    return PartJob(
        FillJob(str(path), workers.ramp, False), named, run.run_id, "host", run.settings, home
    )


def test_a_worker_that_was_given_up_comes_too_late(path: Path) -> None:
    kind = {"dtype": "i8", "row_shape": (), "attrs": None, "masked": False}
    with gathering.running(str(path), kind) as run:
        job = job_of(path, run, bytes(16))
        run.note(job.run([Task("n0", 0), Task("n1", 1)]))
        (place,) = set(parts_of(path)) - {run.own}
        late = ptrarray.append(place)
        assert gathering.gather(run, 2, iter(["n0", "n1"]), progress=False) == 2
        with pytest.raises(StoreError):
            late["n2"] = [1, 2]
    check_ramps(path, 2)


def test_a_part_that_others_make_and_seal_meanwhile_stays_sealed(path: Path) -> None:
    """A worker looks for the part before another makes it, and is given up before it goes on."""
    kind = {"dtype": "i8", "row_shape": (), "attrs": None, "masked": False}
    with gathering.running(str(path), kind) as run:
        job = job_of(path, run, bytes(16))
        place = path.with_name(f"{path.name}.parts") / f"{job.key()}.ptr"

        looks = count()

        def too_early(asked: Path) -> Any:
            look = next(looks)
            if look == 1:  # the first one asks for the layout
                ptrarray.part(path, job.key(), **run.settings).close()
            if look < 2:
                raise StoreNotFoundError(str(asked))
            return ptrarray.append(asked)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ptrarray.jobs.parts.append", too_early)
            report = job.run([Task("n0", 0)])
        assert "is sealed" in str(report.failure)
        (source,) = read_source(place).shards
        assert (source.header.sealed, len(source)) == (True, 0)


def test_what_another_machine_has_answered_is_on_its_disk(path: Path) -> None:
    kind = {"dtype": "i8", "row_shape": (), "attrs": None, "masked": False}
    with gathering.running(str(path), kind) as run:
        job_of(path, run, b"x" * 16).run([Task("n1", 1)])
        (place,) = set(parts_of(path)) - {run.own}
        raw = (place / "journal.msgpack").read_bytes()
        assert slot_field(raw, "synced_end") == slot_field(raw, "committed_end")


# What is lost -------------------------------------------------------------------------------------


def test_killed_workers_of_an_engine_that_goes_on(path: Path, tmp_path: Path) -> None:
    tasks = {name: (n, str(tmp_path / "killed")) for name, n in ramps(50).items()}
    for parts in ("host", "worker"):
        with Engine() as engine:
            assert fill(path, workers.die_once, tasks, engine, parts=parts) == 50
        check_ramps(path, 50)
        shutil.rmtree(path)
        (tmp_path / "killed").unlink()


def test_killed_worker_of_a_pool(path: Path, tmp_path: Path) -> None:
    tasks = {name: (n, str(tmp_path / "killed")) for name, n in ramps(50).items()}
    options: Any = {"dtype": "i8", "processes": 2, "progress": False, "parts": "worker"}
    with pytest.raises(TaskError, match="died"):
        ptrarray.fill(path, workers.die_once, tasks, **options)
    assert not path.exists()
    with pytest.raises(StoreExistsError, match=r"interrupted.*resume=True"):
        ptrarray.fill(path, workers.die_once, tasks, **options)
    ptrarray.fill(path, workers.die_once, tasks, resume=True, **options)
    check_ramps(path, 50)
    assert not parts_of(path)


def lose(path: Path, keep: int = 0) -> Any:
    """Return a function that does a task and then removes all parts but that of the run."""

    def work(n: int) -> Any:
        if n == 30:
            for place in parts_of(path):
                if place.name.count("-") > 1:
                    shutil.rmtree(place)
        return {f"n{n}": np.arange(n)}

    return work


@pytest.mark.parametrize("named", [True, False])
def test_a_part_that_is_lost_meanwhile_is_done_again(path: Path, named: bool) -> None:
    lossy = lose(path)
    tasks: Any = ramps(60) if named else range(60)
    with ThreadPoolExecutor(1) as one, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptrarray.jobs.run._CHUNK_TASKS", 4)
        function = (lambda n: lossy(n)[f"n{n}"]) if named else lossy
        with pytest.raises(TaskError, match=r"parts of .* were lost: .*resume=True"):
            fill(path, function, tasks, one)
        assert not path.exists()
        whole = workers.ramp if named else (lambda n: {f"n{n}": np.arange(n)})
        fill(path, whole, tasks, one, resume=True)
    check_ramps(path, 60)


def test_a_part_that_is_elsewhere_can_be_brought(path: Path, engine: Engine) -> None:
    """As from the disk of another machine."""
    there = path.with_name("elsewhere")
    real = gathering.gather

    def gather(run: gathering.Run, *args: Any, **options: Any) -> int:
        shutil.move(next(place for place in parts_of(path) if place != run.own), there)
        return real(run, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptrarray.filling.gather", gather)
        with pytest.raises(TaskError, match="bring them there") as caught:
            fill(path, workers.ramp, ramps(40), engine)
    name = str(caught.value).partition(", as ")[2].partition(":")[0]
    shutil.move(there, path.with_name(f"{path.name}.parts") / f"{name}.ptr")
    assert fill(path, workers.ramp, ramps(40), engine, resume=True) == 0
    check_ramps(path, 40)


def test_a_damaged_part_is_named(path: Path, threads: Executor) -> None:
    with pytest.raises(TaskError):
        fill(path, workers.ramp_below_20, ramps(30), threads)
    (place,) = parts_of(path)
    index = place / "index.msgpack"
    index.write_bytes(index.read_bytes()[:-9])
    with pytest.raises(CorruptStoreError) as caught:
        fill(path, workers.ramp, ramps(30), threads, resume=True)
    assert str(place) in str(caught.value) + "".join(caught.value.__notes__)
    shutil.rmtree(place)
    fill(path, workers.ramp, ramps(30), threads, resume=True)
    check_ramps(path, 30)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_parts_are_joined(path: Path, threads: Executor, when: str) -> None:
    real: Any = ptrarray.join

    def join(*args: Any, **options: Any) -> None:
        if when == "after":
            real(*args[:2], "link", **options)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "join", join)
        with pytest.raises(KeyboardInterrupt):
            fill(path, workers.ramp, ramps(30), threads)
    assert parts_of(path)
    assert fill(path, workers.ramp, ramps(30), threads, resume=True) == 0
    check_ramps(path, 30)
    assert not parts_of(path)


def test_a_failing_task_leaves_what_was_done(path: Path) -> None:
    with ProcessPoolExecutor(2) as pool:
        with pytest.raises(TaskError, match="is too much") as caught:
            fill(path, workers.ramp_below_20, ramps(100), pool)
        assert isinstance(caught.value.__cause__, ValueError)
        assert fill(path, workers.ramp, ramps(100), pool, resume=True) == 80
    check_ramps(path, 100)


def test_what_cannot_be_sent_leaves_nothing(path: Path) -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(TaskError, match="not sent"):
        fill(path, lambda n: n, ramps(5), pool)
    assert list(path.parent.iterdir()) == []
