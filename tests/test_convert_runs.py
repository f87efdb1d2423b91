"""How an import runs: in workers, with failures told file by file, and on from where it stopped."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Failure, Report
from ptrarray.errors import BadInputError, StoreExistsError, TaskError
from tests.support.convert_workers import Traitor, die, double, dump, refuse_threes
from tests.support.forging import RECORDS_AT, slot_field
from tests.support.imports import check_content, content, import_pickles, ramps


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


# workers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_start_methods(folder: Path, store: Path, method: str) -> None:
    expected = ramps(folder, *range(20))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        report = import_pickles(folder, store, executor=executor, convert=double)
    assert report == Report(converted=20)
    check_content(store, {name: array * 2 for name, array in expected.items()})


def test_own_processes_and_a_bar(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ramps(folder, 1, 2, 3)
    assert convert.from_pickles(folder, store, processes=2).converted == 3
    assert "3/3" in capsys.readouterr().err
    check_content(store, expected)


def test_a_worker_that_dies(folder: Path, store: Path) -> None:
    ramps(folder, 1, 2)
    with pytest.raises(TaskError, match="worker process"):
        convert.from_pickles(folder, store, convert=die, processes=2, progress=False)


def test_one_process_is_this_one(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ramps(folder, 1, 2, 3)
    seen = []

    def note(value: Any) -> Any:
        seen.append(os.getpid())
        return value

    report = convert.from_pickles(folder, store, convert=note, processes=1)
    assert report.converted == 3
    assert seen == [os.getpid()] * 3
    assert "3/3" in capsys.readouterr().err
    check_content(store, expected)


@pytest.mark.parametrize(
    ("n_files", "length", "first"), [(400, 10, 25), (400, 10**5, 5), (6, 10, 1)]
)
def test_small_files_go_to_a_worker_in_numbers(
    folder: Path, store: Path, n_files: int, length: int, first: int
) -> None:
    """As many as are 4 MiB together, and no more than leave something for all workers."""
    expected = {f"n{n:03}": np.full(length if n < 30 else 1, n) for n in range(n_files)}
    for name, array in expected.items():
        dump(folder / f"{name}.pkl", array)
    with Counting(2) as executor:
        report = import_pickles(folder, store, executor=executor)
    assert report == Report(converted=n_files)
    assert executor.n_tasks[0] == first
    assert sum(executor.n_tasks) == n_files
    check_content(store, expected)


class Counting(ThreadPoolExecutor):
    """Notes how many tasks it is given at a time."""

    def __init__(self, n_workers: int) -> None:
        super().__init__(n_workers)
        self.n_tasks: list[int] = []

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.n_tasks.append(len(args[0]))
        return super().submit(work, *args, **kwargs)


def test_a_function_that_cannot_be_sent(folder: Path, store: Path) -> None:
    ramps(folder, 1, 2)
    with pytest.raises(TaskError, match="not sent to a worker"):
        convert.from_pickles(folder, store, convert=lambda x: x, processes=2, progress=False)


# failures, file by file ---------------------------------------------------------------------------


def test_what_cannot_be_converted_is_told_and_the_rest_is_done(folder: Path, store: Path) -> None:
    expected = ramps(folder, 1, 2)
    dump(folder / "none.pkl", None)
    dump(folder / "text.pkl", {"a": "text", "b": 1, "c": {}, "d": {None: 1}, "": 2})
    dump(folder / "objects.pkl", np.array([object()], object)[:0])
    dump(folder / "set.pkl", {"a": 10**30})
    (folder / "empty.pkl").touch()
    (folder / "noise.pkl").write_bytes(b"\x80\x05noise")
    (folder / "folder.pkl").mkdir()
    dump(folder / "folder.pkl" / "z.pkl", 3)
    report = import_pickles([*folder.glob("*.pkl"), folder / "gone.pkl"], store)
    problems = {Path(source).name: problem for source, problem in report.failures}
    assert problems == {
        "none.pkl": "a NoneType is no array",
        "text.pkl:a": "a str is no array",
        "text.pkl:c": "an empty dict holds no array",
        "None": "the key None is no name: only text and integers are",
        "text.pkl": "the key '' is no name: only text and integers are",
        "objects.pkl": "it holds Python objects",
        "set.pkl:a": "no dtype holds the integer 1000000000000000000000000000000",
        "empty.pkl": "it is empty",
        "noise.pkl": problems["noise.pkl"],
        "gone.pkl": problems["gone.pkl"],
    }
    assert "damaged" in problems["noise.pkl"]
    assert "No such file" in problems["gone.pkl"]
    check_content(store, expected | {"text/b": np.array(1), "z": np.array(3)})


def test_what_a_folder_has_besides_is_counted(folder: Path, store: Path) -> None:
    expected = ramps(folder, 1, 2)
    for name in ("x.zip", "y.ZIP", "z.joblib.zst", "README", ".hidden", "in/a.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "link").symlink_to(folder / "in")
    report = import_pickles([folder, f"{folder}/*"], store, name="{index}")
    counts = report.notes[0].removeprefix("left out: ").split(", ")
    assert sorted(counts) == [
        "1 *.joblib.zst", "1 *.txt", "1 links to folders", "1 without suffix", "2 *.zip", "2 folders",
    ]  # fmt: skip
    place = store.with_name("b.ptr")
    assert import_pickles(f"{folder}/*.pkl", place) == Report(converted=2)
    check_content(place, expected)
    with pytest.raises(BadInputError, match=r"\(1 \*.txt there\): expected \*.pkl"):
        import_pickles(folder / "in", place)


def test_a_function_that_raises(folder: Path, store: Path) -> None:
    ramps(folder, 2, 3, 4)
    report = import_pickles(folder, store, convert=refuse_threes)
    assert report.failures == [Failure(str(folder / "n3.pkl"), "RuntimeError: three")]
    assert sorted(content(store)) == ["n2", "n4"]


def test_what_trusted_files_raise_is_told_as_it_is(folder: Path, store: Path) -> None:
    (folder / "x.pkl").write_bytes(b"\x80\x02ctests.support.convert_workers\nGone\n)R.")
    (failure,) = import_pickles(folder, store, trust=True).failures
    assert failure.problem.startswith("AttributeError: Can't get attribute 'Gone'")
    (failure,) = import_pickles(folder, store).failures
    assert "it uses tests.support.convert_workers.Gone" in failure.problem


def test_untrusted_files_run_nothing(folder: Path, store: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    dump(folder / "evil.pkl", Traitor(canary))
    dump(folder / "good.pkl", 1)
    (failure,) = import_pickles(folder, store).failures
    assert "it uses tests.support.convert_workers._betray" in failure.problem
    assert "trust=True (--trust-pickle)" in failure.problem
    assert not canary.exists()
    check_content(store, {"good": np.array(1)})

    assert import_pickles(folder, store, trust=True) == Report(converted=1, skipped=1)
    assert canary.exists()


def test_what_is_refused_of_a_file_leaves_the_rest(folder: Path, store: Path) -> None:
    dump(folder / "x.pkl", {"a": np.arange(3), "model": Traitor(folder / "canary")})
    (failure,) = import_pickles(folder, store).failures
    assert failure.source == f"{folder / 'x.pkl'}:model"
    assert "it uses tests.support.convert_workers._betray" in failure.problem
    check_content(store, {"x/a": np.arange(3)})


def test_a_full_disk_ends_the_import(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramps(folder, 1, 2)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(store))

    monkeypatch.setattr("ptrarray.writer.PointerArrayWriter.write", full)
    with pytest.raises(TaskError, match="No space left"):
        import_pickles(folder, store)
    monkeypatch.undo()
    assert import_pickles(folder, store).converted == 2


# no store for nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_an_import_that_brings_nothing_leaves_no_store(
    folder: Path, store: Path, processes: int
) -> None:
    options = {"processes": processes, "executor": None, "remove_source": True}
    (failure,) = import_pickles(folder / "gone", store, **options).failures
    assert "No such file" in failure.problem
    dump(folder / "a.pkl", "text")
    dump(folder / "b.pkl", {"x": None, "": 1})
    assert len(import_pickles(folder, store, **options).failures) == 3
    dump(folder / "c.pkl", np.eye(2))
    dump(folder / "d.pkl", np.ma.MaskedArray([1.5], [True]))
    assert len(import_pickles(folder, store, dtype="f4", **options).failures) == 5
    assert list(store.parent.iterdir()) == [folder]
    assert len(list(folder.iterdir())) == 4
    report = import_pickles(folder, store, **options)
    assert (report.converted, report.removed) == (1, 1)
    check_content(store, {"c": np.eye(2)})


def test_where_no_store_can_be(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    with pytest.raises(StoreExistsError, match="in exists and is not a store: choose another"):
        import_pickles(folder, folder)
    with pytest.raises(FileNotFoundError, match="no such folder to make a store in"):
        import_pickles(folder, store / "s.ptr")
    with pytest.raises(BadInputError, match="without a dtype"):
        import_pickles(folder, store, row_shape=(2,))
    assert list(store.parent.iterdir()) == [folder]


# going on -----------------------------------------------------------------------------------------


def test_a_second_run_does_what_is_missing(folder: Path, store: Path) -> None:
    first = ramps(folder, 1, 2)
    dump(folder / "d.pkl", {"a": 1})
    assert import_pickles(folder, store) == Report(converted=3)
    more = ramps(folder, 3)
    dump(folder / "d.pkl", {"a": 9, "b": 2})
    assert import_pickles(folder, store) == Report(converted=2, skipped=3)
    check_content(store, first | more | {"d/a": np.array(1), "d/b": np.array(2)})


def test_what_was_imported_is_on_the_disk(folder: Path, store: Path) -> None:
    """Also where the journal is too small to be folded when the store is closed."""
    with ptrarray.create(store) as writer:
        writer.write({f"there {n}": [n] for n in range(2000)})
    ptrarray.checkpoint(store)
    ramps(folder, 1, 2)
    assert import_pickles(folder, store) == Report(converted=2)
    raw = (store / "journal.msgpack").read_bytes()
    assert slot_field(raw, "synced_end") == slot_field(raw, "committed_end")
    assert int.from_bytes(slot_field(raw, "committed_end"), "little") > RECORDS_AT


def test_files_that_are_in_the_store_are_not_read(folder: Path, store: Path) -> None:
    ramps(folder, 1, 2)
    import_pickles(folder, store)
    for path in folder.iterdir():
        path.write_bytes(b"noise")
    assert import_pickles(folder, store) == Report(skipped=2)


def test_without_resume_names_that_are_there_are_failures(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    dump(folder / "d.pkl", {"a": 1})
    import_pickles(folder, store)
    report = import_pickles(folder, store, resume=False)
    assert report.converted == 0
    assert sorted(failure.problem for failure in report.failures) == [
        f"'{name}' is in the store already; resume=True skips it" for name in ("d/a", "n1")
    ]


def test_a_large_array_and_many_small_ones(folder: Path, store: Path) -> None:
    large = np.arange(3_000_000)
    dump(folder / "large.pkl", large)
    dump(folder / "small.pkl", {f"k{i}": i for i in range(5000)})
    assert import_pickles(folder, store, processes=1, executor=None) == Report(converted=5001)
    with ptrarray.open(store) as opened:
        np.testing.assert_array_equal(opened["large"], large)
        assert int(opened["small/k4999"]) == 4999
