"""Imports of arrays that lie end to end in files: in pieces, in parts, from folders, and on from where they stopped."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Failure, Report, sink
from ptrarray.convert.found import Kind, Many, Member
from ptrarray.convert.run import run, run_here
from ptrarray.errors import BadInputError, TaskError
from ptrarray.writer import PointerArrayWriter
from tests.support.convert_workers import double, dump
from tests.support.imports import check_content
from tests.support.many_files import KIND, SUFFIX, WHOLE, written

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def ramps(n: int, first: int = 0, dtype: str = "f4") -> dict[str, Any]:
    return {f"a{at:04}": np.arange(at, at + at % 5).astype(dtype) for at in range(first, first + n)}


def brought(paths: Any, store: Path, **options: Any) -> Report:
    chosen: Any = {"progress": False, "processes": 1, **options}
    return run(KIND, paths, store, chosen)


# what comes in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "f4"},
        {"dtype": "f8", "row_shape": None},
        {"masked": True},
        {"dtype": "f4", "masked": True},
        {"shard_size": 3000},
        {"name": "x/{key}/{stem}"},
    ],
)
@pytest.mark.parametrize("n_parts", [0, 3])
def test_many_come_in_with_their_metadata(
    tmp_path: Path, store: Path, options: dict[str, Any], n_parts: int
) -> None:
    metas = [{"at": at} if at % 3 else {} for at in range(100)]
    arrays = written(tmp_path / f"in{SUFFIX}", ramps(100), metas, n_parts=n_parts)
    report = brought(tmp_path / f"in{SUFFIX}", store, verify=True, **options)
    assert report == Report(converted=100)
    if "name" in options:
        arrays = {f"x/{key}/in": array for key, array in arrays.items()}
    dtype = options.get("dtype", "f4")
    check_content(store, {name: array.astype(dtype) for name, array in arrays.items()})
    with ptrarray.open(store) as reader:
        assert list(reader) == list(arrays)
        assert [dict(reader.meta[name]) for name in arrays] == metas
        assert options.get("shard_size") is None or len(list(store.glob("shard-*"))) > 1
    ptrarray.verify(store)


def test_one_call_writes_many(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = written(tmp_path / f"in{SUFFIX}", ramps(100))
    calls = []
    write_ragged = PointerArrayWriter.write_ragged

    def counted(self: Any, names: Any, *args: Any, **options: Any) -> Any:
        calls.append(len(names))
        return write_ragged(self, names, *args, **options)

    monkeypatch.setattr(PointerArrayWriter, "write_ragged", counted)
    brought(tmp_path / f"in{SUFFIX}", store)
    assert calls == [100]  # which come 40 at a time
    calls.clear()
    with patch.object(sink, "_MANY_NBYTES", 640):
        brought(tmp_path / f"in{SUFFIX}", tmp_path / "other.ptr")
    assert sum(calls) == 100
    assert max(calls) <= 2 * 640 // 64
    check_content(tmp_path / "other.ptr", arrays)


def test_what_came_before_is_before_them(tmp_path: Path, store: Path) -> None:
    arrays = written(tmp_path / f"in{SUFFIX}", ramps(60), members=True)
    report = brought(tmp_path / f"in{SUFFIX}", store)
    assert report.converted == 61
    assert [failure.problem for failure in report.failures] == [
        "'alone' was there first, from this or another file or import: give names that differ"
    ]
    with ptrarray.open(store) as reader:
        assert list(reader) == ["alone", *arrays]


def test_all_come_in_the_order_of_the_file(store: Path) -> None:
    def members(path: str) -> Any:
        yield Many(["c", "b"], np.arange(4), np.array([0, 2, 4]))
        yield Member("x", lambda: np.arange(2))
        yield Many(["a"], np.arange(4), np.array([3, 4]))
        yield Member("0", lambda: np.arange(3))

    assert run_here(members, "here", store, {"progress": False, "verify": True}).converted == 5
    with ptrarray.open(store) as reader:
        assert list(reader) == ["c", "b", "x", "a", "0"]


def test_a_file_with_nothing_in_it(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    written(path, {"a": np.zeros(2)})
    head = '{"keys": [], "offsets": [1], "metas": []}'
    with path.open("wb") as file:
        np.savez(file, values=np.zeros(2), head=np.array(head))
    assert brought(path, store, verify=True) == Report()
    assert not store.exists()


def test_files_are_named_by_their_stems_where_there_are_several(
    tmp_path: Path, store: Path
) -> None:
    for stem in "ab":
        written(tmp_path / "in" / f"{stem}{SUFFIX}", ramps(3))
    assert brought(tmp_path / "in", store).converted == 6
    with ptrarray.open(store) as reader:
        assert list(reader)[::3] == ["a/a0000", "b/a0000"]


def test_what_is_noted_and_refused_is_in_the_report(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    written(path, ramps(3), refused=["x"], noted=["y", "z"])
    report = brought(path, store, verify=True)
    assert report.converted == 3
    assert report.failures == [Failure(f"{path}:x", "it is not for a store")]
    assert report.notes == [f"2 things that nobody keeps: {path}:y, …"]


# what does not fit --------------------------------------------------------------------------------


def test_one_that_does_not_fit_is_a_failure_and_the_rest_comes_in(
    tmp_path: Path, store: Path
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    arrays = written(path, ramps(100, dtype="i8") | {"a0050": np.array([2**40, 1])})
    report = brought(path, store, dtype="i2")
    assert report.converted == 99
    (failure,) = report.failures
    assert failure.source == f"{path}:a0050"
    assert "cannot hold" in failure.problem
    del arrays["a0050"]
    check_content(store, {name: array.astype("i2") for name, array in arrays.items()})


def test_metadata_that_cannot_be_kept_is_a_failure_of_one(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    metas = [{"at": at} for at in range(9)] + [{"at": 2**64}]
    written(path, ramps(10), metas)
    report = brought(path, store)
    assert report.converted == 9
    assert [failure.source for failure in report.failures] == [f"{path}:a0009"]


def test_the_first_of_a_new_store_may_be_the_one_that_does_not_fit(
    tmp_path: Path, store: Path
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    arrays = written(path, {"too long": np.array([2**40])} | ramps(100, dtype="i8"))
    report = brought(path, store, dtype="i2")
    assert report.converted == 100
    assert [failure.source for failure in report.failures] == [f"{path}:too long"]
    del arrays["too long"]
    check_content(store, {name: array.astype("i2") for name, array in arrays.items()})


@pytest.mark.parametrize("options", [{"dtype": "i2", "row_shape": 3}, {"dtype": "U3"}])
def test_a_store_that_takes_none_is_not_made(
    tmp_path: Path, store: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    written(path, ramps(10))
    report = brought(path, store, **options)
    assert report.converted == 0
    assert {failure.source for failure in report.failures} >= {f"{path}:a0000"}
    assert not store.exists()


def test_a_name_that_is_there_twice_comes_in_once(tmp_path: Path, store: Path) -> None:
    keys = ["a", "b", "a", "c"]
    many = Many(keys, np.arange(8), np.arange(0, 9, 2))

    def members(path: str) -> Any:
        yield many

    report = run_here(members, "here", store, {"progress": False})
    assert report.converted == 3
    (failure,) = report.failures
    assert failure.source == "here:a"
    check_content(store, {"a": np.array([0, 1]), "b": np.array([2, 3]), "c": np.array([6, 7])})


# on from where it stopped -------------------------------------------------------------------------


def test_again_it_is_all_skipped(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    written(path, ramps(100), n_parts=3)
    brought(path, store)
    before = {file: file.read_bytes() for file in store.iterdir() if file.name != "journal.msgpack"}
    assert brought(path, store) == Report(skipped=100)
    assert all(file.read_bytes() == raw for file, raw in before.items())
    report = brought(path, store, resume=False)
    assert (report.converted, report.skipped, len(report.failures)) == (0, 0, 100)


@pytest.mark.parametrize("there", [range(50), range(50, 100), range(0, 100, 7), range(39, 41)])
def test_half_of_many_is_there(tmp_path: Path, store: Path, there: range) -> None:
    path = tmp_path / f"in{SUFFIX}"
    metas = [{"at": at} for at in range(100)]
    arrays = written(path, ramps(100), metas)
    names = list(arrays)
    with ptrarray.create(store) as writer:
        writer.write(
            {names[at]: arrays[names[at]] for at in there},
            meta={names[at]: metas[at] for at in there},
        )
    report = brought(path, store, verify=True)
    assert report == Report(converted=100 - len(there), skipped=len(there))
    check_content(store, arrays)
    with ptrarray.open(store) as reader:
        assert [reader.meta[name] for name in names] == metas


def test_a_file_that_breaks_off_is_a_failure_and_done_again_it_is_whole(
    tmp_path: Path, store: Path
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    arrays = written(path, ramps(100), broken=2)
    report = brought(path, store)
    assert report.converted == 80
    assert report.failures == [Failure(str(path), "ValueError: it broke off")]
    written(path, arrays)
    assert brought(path, store) == Report(converted=20, skipped=80)
    check_content(store, arrays)


def test_another_writer_takes_a_name_in_the_middle(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    arrays = written(path, ramps(100))
    write_ragged = PointerArrayWriter.write_ragged

    def overtaken(self: Any, names: Any, *args: Any, **options: Any) -> Any:
        if "a0050" in names:
            with ptrarray.append(store) as other:
                other.write({"a0050": np.zeros(3, "f4")}, overwrite=True)
            monkeypatch.undo()
        return write_ragged(self, names, *args, **options)

    monkeypatch.setattr(PointerArrayWriter, "write_ragged", overtaken)
    report = brought(path, store)
    assert report.converted == 99
    assert [failure.source for failure in report.failures] == [f"{path}:a0050"]
    check_content(store, arrays | {"a0050": np.zeros(3, "f4")})


# parts, workers, folders --------------------------------------------------------------------------


def test_parts_are_read_by_several_processes(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    arrays = written(path, ramps(100), n_parts=7)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
        report = brought(path, store, processes=None, executor=executor, verify=True)
    assert report == Report(converted=100)
    check_content(store, arrays)


def test_a_worker_that_is_killed_ends_the_call_and_the_rest_is_done_again(
    tmp_path: Path, store: Path
) -> None:
    good, bad = tmp_path / f"a{SUFFIX}", tmp_path / f"b{SUFFIX}"
    arrays = written(good, ramps(50), n_parts=5)
    written(bad, ramps(50, 50), dies=True)
    with pytest.raises(TaskError, match="worker process"):
        brought([good, bad], store, name="{key}", processes=2)
    arrays |= written(bad, ramps(50, 50))
    report = brought([good, bad], store, name="{key}", processes=2, verify=True)
    assert report.converted + report.skipped == 100
    assert report.failures == []
    check_content(store, arrays)


def test_a_file_that_cannot_be_cut_says_what_is_wrong_where_it_is_read(
    tmp_path: Path, store: Path
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    path.write_bytes(b"PK")
    report = brought(path, store)
    assert [failure.source for failure in report.failures] == [str(path)]
    assert not store.exists()


def test_folders_that_are_one_file(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "in"
    written(folder / "sub" / "x" / WHOLE, ramps(3))
    written(folder / "sub" / "x" / f"inside{SUFFIX}", ramps(2))
    written(folder / f"y{SUFFIX}", ramps(2))
    report = brought(folder, store, name="{path}/{key}", verify=True)
    assert report.converted == 5
    with ptrarray.open(store) as reader:
        assert sorted(reader) == [*(f"sub/x/a{n:04}" for n in range(3)), "y/a0000", "y/a0001"]
    alone = tmp_path / "alone.ptr"
    assert brought(folder / "sub" / "x", alone).converted == 3
    by_pattern = tmp_path / "pattern.ptr"
    assert brought(str(folder / "sub" / "*"), by_pattern).converted == 3


# convert= and verify= -----------------------------------------------------------------------------


def test_each_is_converted(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    metas = [{"at": at} for at in range(100)]
    arrays = written(path, ramps(100), metas, n_parts=2)
    report = brought(path, store, convert=double, processes=2, verify=True)
    assert report == Report(converted=100)
    check_content(store, {name: array * 2 for name, array in arrays.items()})
    with ptrarray.open(store) as reader:
        assert [reader.meta[name] for name in arrays] == metas
    assert brought(path, store, convert=double) == Report(skipped=100)


def test_one_that_cannot_be_converted_is_a_failure(tmp_path: Path, store: Path) -> None:
    path = tmp_path / f"in{SUFFIX}"
    written(path, ramps(10))

    def refuse(value: Any) -> Any:
        if len(value) == 3:
            raise RuntimeError("three")
        return value

    report = brought(path, store, convert=refuse)
    assert report.converted == 8
    assert [failure.source for failure in report.failures] == [
        f"{path}:a0003",
        f"{path}:a0008",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda writer: writer.write({"a0050": [1]}, overwrite=True, meta={"a0050": {"at": 50}}),
            "is not the same in the store",
        ),
        (lambda writer: writer.__delitem__("a0050"), ""),
        (
            lambda writer: writer.meta.__setitem__("a0050", {"at": 1}),
            "has other metadata in the store",
        ),
    ],
)
def test_what_is_other_in_the_store_is_found(
    tmp_path: Path, store: Path, change: Any, problem: str
) -> None:
    path = tmp_path / f"in{SUFFIX}"
    written(path, ramps(100), [{"at": at} for at in range(100)], n_parts=3)
    brought(path, store)
    with ptrarray.append(store) as writer:
        change(writer)
    report = brought(path, store, verify=True)
    problems = [(failure.source, failure.problem) for failure in report.failures]
    assert problems == ([(f"{path}:a0050", f"'a0050' {problem}")] if problem else [])


def written_by(kind: str, folder: Path) -> Any:
    """Write one file of a kind, and return what imports it."""
    array, path = np.arange(3.0), folder / f"a.{kind}"
    if kind == "npy":
        np.save(path, array)
    elif kind == "npz":
        np.savez(path, x=array)
    elif kind == "pickles":
        path = dump(folder / "a.pkl", array)
    elif kind == "h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["x"] = array
    else:
        pytest.importorskip("joblib").dump(array, path)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "pickles", "h5", "joblib"])
def test_every_import_verifies(tmp_path: Path, store: Path, kind: str) -> None:
    path = written_by(kind, tmp_path)
    from_ = getattr(convert, f"from_{kind}")
    assert from_(path, store, verify=True, progress=False, processes=1).converted == 1
    with ptrarray.append(store) as writer:
        (name,) = writer
        writer[name] = np.zeros(3)
    report = from_(path, store, verify=True, progress=False, processes=1)
    assert report.skipped == 1
    assert "not the same" in report.failures[0].problem


# in memory ----------------------------------------------------------------------------------------


def test_what_is_in_memory_is_imported_in_this_process(store: Path) -> None:
    held = [np.arange(6, dtype="i4")]  # of which no other process knows

    def members(path: str) -> Any:
        assert path == "a table"
        yield Many(["x", "y"], held[0], np.array([1, 3, 6]), [{"n": 1}, {}])
        raise BadInputError("it ends too early")

    with ProcessPoolExecutor(1) as executor:
        report = run_here(
            members, "a table", store, {"executor": executor, "processes": 4, "progress": False}
        )
    assert report == Report(converted=2, failures=[Failure("a table", "it ends too early")])
    check_content(store, {"x": held[0][1:3], "y": held[0][3:]})
    with ptrarray.open(store) as reader:
        assert dict(reader.meta["x"]) == {"n": 1}
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        run_here(members, "a table", store, {"colour": 1})  # type: ignore[typeddict-unknown-key]


def test_a_kind_travels_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(KIND)) == KIND
    assert Kind(KIND.members, (SUFFIX,)).parts is None


def test_memory_that_is_used_again_for_the_next_one(store: Path) -> None:
    memory = np.zeros(4, "i4")

    def members(path: str) -> Any:
        for i in range(6):
            memory[:] = i
            metas = [{"i": i}] if i % 2 else ()
            rows = memory if i < 4 else memory.reshape(2, 2)
            yield Many([f"x{i}"], rows, np.array([1, 2]), metas)
        memory[:] = -1

    for change in (None, lambda array: array):
        path = store.with_name(f"{store.name}{change is None}")
        report = run_here(members, "it", path, {"progress": False, "convert": change})
        assert (report.converted, report.failures) == (6, [])
        with ptrarray.open(path) as reader:
            found = {name: array.tolist() for name, array in reader.items()}
            assert [dict(reader.meta[name]) for name in ("x0", "x1")] == [{}, {"i": 1}]
        assert found == {f"x{i}": [i] if i < 4 else [[i, i]] for i in range(6)}
