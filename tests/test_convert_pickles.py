"""Importing pickles: names, workers, resuming, failures file by file, removing what was imported."""

from __future__ import annotations

import bz2
import gzip
import lzma
import multiprocessing
import pickle
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Failure, Report
from ptrarray.errors import BadInputError, TaskError
from tests.support.convert_workers import (
    Traitor,
    die,
    double,
    dump,
    refuse_threes,
    signal_only,
    whole_bytes,
)

Arrays = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def run(paths: Any, store: Path, **options: Any) -> Report:
    with ThreadPoolExecutor(2) as executor:
        options.setdefault("executor", executor)
        return convert.from_pickles(paths, store, progress=False, **options)


def content(store: Path) -> Arrays:
    with ptrarray.open(store) as opened:
        opened.verify()
        return {name: np.array(array) for name, array in opened.items()}


def check(store: Path, expected: Arrays) -> None:
    found = content(store)
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def ramps(folder: Path, *lengths: int) -> Arrays:
    for n in lengths:
        dump(folder / f"n{n}.pkl", np.arange(n))
    return {f"n{n}": np.arange(n) for n in lengths}


# Values and names ---------------------------------------------------------------------------------


def test_what_files_hold(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.eye(2, dtype="f4", order="F"))
    dump(folder / "b.pickle", {"x": 1.5, 2: {"y": [1, 2]}, "z": (np.arange(2), True)})
    dump(folder / "c.p", np.float32(2), np.arange(3), {"k": 1j})
    report = run(folder, store)
    assert (report.converted, report.skipped, report.failures) == (8, 0, [])
    check(
        store,
        {
            "a": np.eye(2, dtype="f4"),
            "b/x": np.array(1.5),
            "b/2/y": np.array([1, 2]),
            "b/z/0": np.arange(2),
            "b/z/1": np.array(True),
            "c/0": np.array(2, "f4"),
            "c/1": np.arange(3),
            "c/2/k": np.array(1j),
        },
    )
    assert ptrarray.open(store)["a"].flags.f_contiguous


def test_several_pickles_in_a_file_are_not_taken_for_each_other(folder: Path, store: Path) -> None:
    """One unpickler for all of them gives the values of the first: they are of protocol 4."""
    pd = pytest.importorskip("pandas")
    series = [pd.Series(np.full(3, i, "f8"), name=f"s{i}") for i in range(3)]
    path = dump(folder / "all.pkl", *series, protocol=4)
    with path.open("rb") as file:
        shared = pickle.Unpickler(file)
        wrong = [shared.load() for _ in series]
    assert [item.sum() for item in wrong] == [0, 0, 0]  # and so it is without us

    for trust in (False, True):
        place = store.with_name(f"{trust}.ptr")
        assert run(path, place, trust=trust).converted == 3
        with ptrarray.open(place) as opened:
            for i, expected in enumerate(series):
                pd.testing.assert_series_equal(convert.to_series(opened, f"all/{i}"), expected)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}", ["x", "y.z"]),
        ("{parent}/{stem}", ["a/x", "b/y.z"]),
        ("{path}", ["a/x", "b/y.z"]),
        ("{name}", ["x.pkl", "y.z.pkl.gz"]),
        ("run{index:03d}", ["run000", "run001"]),
        ("{{{stem}}}", ["{x}", "{y.z}"]),
    ],
)
def test_name_templates(folder: Path, store: Path, template: str, expected: list[str]) -> None:
    dump(folder / "a" / "x.pkl", np.arange(2))
    (folder / "b").mkdir()
    (folder / "b" / "y.z.pkl.gz").write_bytes(gzip.compress(pickle.dumps(np.arange(3))))
    assert run(folder, store, name=template).ok
    assert sorted(content(store)) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, ["x/a", "y"]),
        ("{key}-{stem}", ["-y", "a-x"]),
        ("{parent}/{key}/{stem}", ["in//y", "in/a/x"]),
        ("{stem}/{key}", ["x/a", "y"]),
    ],
)
def test_keys_in_names(
    folder: Path, store: Path, template: str | None, expected: list[str]
) -> None:
    dump(folder / "x.pkl", {"a": 1})
    dump(folder / "y.pkl", 2)
    assert run(folder, store, name=template).ok
    assert sorted(content(store)) == expected


@pytest.mark.parametrize("template", ["{other}", "{stem.__class__}", "{0}", "{", "{stem:x}", "{}"])
def test_refuses_templates(folder: Path, store: Path, template: str) -> None:
    ramps(folder, 1)
    with pytest.raises(BadInputError, match="name template"):
        run(folder, store, name=template)
    assert not store.exists()


def test_files_of_one_name_are_refused_before_anything_is_written(
    folder: Path, store: Path
) -> None:
    dump(folder / "a" / "x.pkl", 1)
    dump(folder / "b" / "x.pkl", 2)
    with pytest.raises(BadInputError, match=r"a/x\.pkl and .*b/x\.pkl would be named 'x'.*parent"):
        run(folder, store)
    assert not store.exists()


def test_keys_that_collide_are_told(folder: Path, store: Path) -> None:
    """Nothing is taken for done because another file of the import had the name."""
    dump(folder / "a.pkl", {"k": 1})
    dump(folder / "b.pkl", {"k": 2})
    dump(folder / "c.pkl", {1: 1, "1": 2})
    report = run(folder, store, name="{key}", processes=1, executor=None)
    assert report.converted == 2
    assert [failure.problem for failure in report.failures] == [
        "'k' was there first, from another file or import: give names that differ",
        "two keys are written as '1'",
    ]
    check(store, {"k": np.array(1), "1": np.array(1)})


def test_which_files_of_a_folder(folder: Path, store: Path) -> None:
    expected = ramps(folder, 1, 2)
    for name in (".hidden.pkl", "notes.txt", "x.pkl.tmp", ".git/x.pkl"):
        dump(folder / name, np.arange(9))
    report = run(folder, store)
    assert report == Report(converted=2)
    check(store, expected)


@pytest.mark.parametrize("kind", ["paths", "strings", "generator", "pattern", "file"])
def test_ways_to_name_files(folder: Path, store: Path, kind: str) -> None:
    expected = ramps(folder, 1, 2)
    files = sorted(folder.iterdir())
    given: dict[str, Any] = {
        "paths": files,
        "strings": [str(file) for file in files],
        "generator": (file for file in files),
        "pattern": f"{folder}/n*.pkl",
        "file": files[0],
    }
    run(given[kind], store)
    check(store, expected if kind != "file" else {"n1": np.arange(1)})


def test_a_file_with_the_letters_of_a_pattern(folder: Path, store: Path) -> None:
    path = dump(folder / "x[1].pkl", 1)
    assert run(path, store).converted == 1
    assert list(content(store)) == ["x[1]"]


@pytest.mark.parametrize("given", ["empty", "pattern", "none"])
def test_no_files(folder: Path, store: Path, given: str) -> None:
    paths: Any = {"empty": folder, "pattern": f"{folder}/*.dat", "none": []}[given]
    with pytest.raises(BadInputError, match=r"no files to import in .*expected \*\.pkl"):
        run(paths, store)
    assert not store.exists()


@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_compressed_files(folder: Path, store: Path, squeeze: Callable[[bytes], bytes]) -> None:
    raw = squeeze(pickle.dumps(np.arange(50_000)) + pickle.dumps(1.5))
    (folder / "x.pkl.gz").write_bytes(raw)  # whatever the name says
    assert run(folder, store).ok
    check(store, {"x/0": np.arange(50_000), "x/1": np.array(1.5)})
    (folder / "x.pkl.gz").write_bytes(raw[:-100])
    (failure,) = run(folder, store.with_name("b.ptr")).failures
    assert any(word in failure.problem for word in ("ended", "early", "damaged"))


# Stores -------------------------------------------------------------------------------------------


def test_one_dtype(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.arange(3))
    dump(folder / "b.pkl", 2.5)
    dump(folder / "c.pkl", np.eye(2))
    dump(folder / "d.pkl", np.array([1e300]))
    report = run(folder, store, dtype="f4", attrs={"unit": "m"})
    check(store, {"a": np.arange(3, dtype="f4"), "b": np.array([2.5], "f4")})
    assert ptrarray.open(store).attrs == {"unit": "m"}
    assert [Path(failure.source).name for failure in report.failures] == ["c.pkl", "d.pkl"]
    assert "has shape (2, 2), the store wants (n,)" in report.failures[0].problem


def test_one_dtype_and_any_shape(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.eye(2))
    dump(folder / "b.pkl", 2.5)
    assert run(folder, store, dtype="f4", row_shape=None).ok
    check(store, {"a": np.eye(2, dtype="f4"), "b": np.array(2.5, "f4")})


def test_another_layout_than_the_store_has(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    ptrarray.create(store, dtype="f4").close()
    with pytest.raises(BadInputError, match="has rows of float32"):
        run(folder, store, dtype="f8")
    assert run(folder, store).ok  # into what is there
    assert content(store)["n1"].dtype == "f4"


def test_an_index_needs_a_store_of_any_dtype(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    dump(folder / "a.pkl", pd.Series([1.0], index=["k"]))
    dump(folder / "b.pkl", pd.Series([2.0]))
    report = run(folder, store, dtype="f8")
    (failure,) = report.failures
    assert "keep_index=False" in failure.problem
    assert run(folder, store, dtype="f8", keep_index=False) == Report(converted=1, skipped=1)
    check(store, {"a": np.array([1.0]), "b": np.array([2.0])})


def test_masked_arrays_need_a_store_with_masks(folder: Path, store: Path) -> None:
    masked = np.ma.MaskedArray([1, 2], [False, True], fill_value=-1)
    dump(folder / "a.pkl", masked)
    dump(folder / "b.pkl", np.ma.MaskedArray([1.5]))
    (failure,) = run(folder, store).failures
    assert "masked=True" in failure.problem
    check(store, {"b": np.array([1.5])})

    place = store.with_name("m.ptr")
    assert run(folder, place, masked=True).converted == 2
    found = ptrarray.open(place)["a"]
    assert isinstance(found, np.ma.MaskedArray)
    assert (found.tolist(), found.data.tolist(), found.fill_value) == ([1, None], [1, 2], -1)


def test_functions_of_the_user(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", {"signal": np.arange(3), "comment": "none"})
    assert run(folder, store, convert=signal_only).ok
    check(store, {"a": np.arange(3)})
    place = store.with_name("b.ptr")
    assert run([folder / "a.pkl"], place, load=whole_bytes).ok
    assert content(place)["a"].tobytes() == (folder / "a.pkl").read_bytes()


def test_shards(folder: Path, store: Path) -> None:
    """Millions of small files become few of about one size."""
    for i in range(40):
        dump(folder / f"{i}.pkl", np.full(10_000, i))
    assert run(folder, store, shard_size="1MB", processes=2, executor=None).converted == 40
    assert run(folder, store, processes=2, executor=None).skipped == 40
    assert 3 <= len(list(store.rglob("data*.bin"))) <= 6
    check(store, {str(i): np.full(10_000, i) for i in range(40)})


def test_unknown_options_are_refused(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'proceses'"):
        run(folder, store, proceses=2)
    with pytest.raises(BadInputError, match="processes is 0"):
        run(folder, store, processes=0)
    assert not store.exists()


# Workers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_start_methods(folder: Path, store: Path, method: str) -> None:
    expected = ramps(folder, *range(20))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        report = run(folder, store, executor=executor, convert=double)
    assert report == Report(converted=20)
    check(store, {name: array * 2 for name, array in expected.items()})


def test_own_processes_and_a_bar(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ramps(folder, 1, 2, 3)
    assert convert.from_pickles(folder, store, processes=2).converted == 3
    assert "3/3" in capsys.readouterr().err
    check(store, expected)


def test_a_worker_that_dies(folder: Path, store: Path) -> None:
    ramps(folder, 1, 2)
    with pytest.raises(TaskError, match="worker process"):
        convert.from_pickles(folder, store, convert=die, processes=1, progress=False)


def test_a_function_that_cannot_be_sent(folder: Path, store: Path) -> None:
    ramps(folder, 1, 2)
    with pytest.raises(TaskError, match="not sent to a worker"):
        convert.from_pickles(folder, store, convert=lambda x: x, processes=1, progress=False)


# Failures, file by file ---------------------------------------------------------------------------


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
    report = run([*folder.glob("*.pkl"), folder / "gone.pkl"], store)
    problems = {Path(source).name: problem for source, problem in report.failures}
    assert problems == {
        "none.pkl": "a NoneType is no array",
        "text.pkl:a": "a str is no array",
        "text.pkl:c": "an empty dict holds no array",
        "None": "the key None is no name: only text and integers are",
        "text.pkl": "the key '' is no name: only text and integers are",
        "objects.pkl": "it holds Python objects",
        "set.pkl:a": "it holds a number too large for numpy",
        "empty.pkl": "it is empty",
        "noise.pkl": problems["noise.pkl"],
        "gone.pkl": problems["gone.pkl"],
    }
    assert "damaged" in problems["noise.pkl"]
    assert "No such file" in problems["gone.pkl"]
    check(store, expected | {"text/b": np.array(1), "z": np.array(3)})


def test_a_function_that_raises(folder: Path, store: Path) -> None:
    ramps(folder, 2, 3, 4)
    report = run(folder, store, convert=refuse_threes)
    assert report.failures == [Failure(str(folder / "n3.pkl"), "RuntimeError: three")]
    assert sorted(content(store)) == ["n2", "n4"]


def test_what_trusted_files_raise_is_told_as_it_is(folder: Path, store: Path) -> None:
    (folder / "x.pkl").write_bytes(b"\x80\x02ctests.support.convert_workers\nGone\n)R.")
    (failure,) = run(folder, store, trust=True).failures
    assert failure.problem.startswith("AttributeError: Can't get attribute 'Gone'")
    (failure,) = run(folder, store).failures
    assert "it uses tests.support.convert_workers.Gone" in failure.problem


def test_untrusted_files_run_nothing(folder: Path, store: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    dump(folder / "evil.pkl", Traitor(canary))
    dump(folder / "good.pkl", 1)
    (failure,) = run(folder, store).failures
    assert "it uses tests.support.convert_workers._betray" in failure.problem
    assert "trust=True (--trust-pickle)" in failure.problem
    assert not canary.exists()
    check(store, {"good": np.array(1)})

    assert run(folder, store, trust=True) == Report(converted=1, skipped=1)
    assert canary.exists()


def test_what_is_refused_of_a_file_leaves_the_rest(folder: Path, store: Path) -> None:
    dump(folder / "x.pkl", {"a": np.arange(3), "model": Traitor(folder / "canary")})
    (failure,) = run(folder, store).failures
    assert failure.source == f"{folder / 'x.pkl'}:model"
    assert "it uses tests.support.convert_workers._betray" in failure.problem
    check(store, {"x/a": np.arange(3)})


def test_a_full_disk_ends_the_import(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramps(folder, 1, 2)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(store))

    monkeypatch.setattr("ptrarray.writer.PointerArrayWriter.write", full)
    with pytest.raises(TaskError, match="No space left"):
        run(folder, store)
    monkeypatch.undo()
    assert run(folder, store).converted == 2


# Going on -----------------------------------------------------------------------------------------


def test_a_second_run_does_what_is_missing(folder: Path, store: Path) -> None:
    first = ramps(folder, 1, 2)
    dump(folder / "d.pkl", {"a": 1})
    assert run(folder, store) == Report(converted=3)
    more = ramps(folder, 3)
    dump(folder / "d.pkl", {"a": 9, "b": 2})
    assert run(folder, store) == Report(converted=2, skipped=3)
    check(store, first | more | {"d/a": np.array(1), "d/b": np.array(2)})


def test_files_that_are_in_the_store_are_not_read(folder: Path, store: Path) -> None:
    ramps(folder, 1, 2)
    run(folder, store)
    for path in folder.iterdir():
        path.write_bytes(b"noise")
    assert run(folder, store) == Report(skipped=2)


def test_without_resume_names_that_are_there_are_failures(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    dump(folder / "d.pkl", {"a": 1})
    run(folder, store)
    report = run(folder, store, resume=False)
    assert report.converted == 0
    assert sorted(failure.problem for failure in report.failures) == [
        f"'{name}' is in the store already; resume=True skips it" for name in ("d/a", "n1")
    ]


def test_a_companion_that_is_in_the_way(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    dump(folder / "s.pkl", pd.Series([1.0], index=["k"]))
    with ptrarray.create(store) as writer:
        writer["s/.index"] = [1]
    (failure,) = run(folder, store).failures
    assert "s/.index" in failure.problem
    assert list(content(store)) == ["s/.index"]


def test_a_large_array_and_many_small_ones(folder: Path, store: Path) -> None:
    large = np.arange(3_000_000)
    dump(folder / "large.pkl", large)
    dump(folder / "small.pkl", {f"k{i}": i for i in range(5000)})
    assert run(folder, store, processes=1, executor=None) == Report(converted=5001)
    with ptrarray.open(store) as opened:
        np.testing.assert_array_equal(opened["large"], large)
        assert int(opened["small/k4999"]) == 4999


# Removing what was imported -----------------------------------------------------------------------


def test_verify_and_remove(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    expected = ramps(folder, 1, 2)
    dump(folder / "nan.pkl", np.array([np.nan, -0.0]))
    dump(folder / "series.pkl", pd.Series([1.0], index=["k"], name="v"))
    dump(folder / "part.pkl", {"a": 1, "b": "text"})
    assert len(run(folder, store, verify=True).failures) == 1
    assert len(list(folder.iterdir())) == 5
    report = run(folder, store, remove_source=True)
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
    report = run(folder, store, remove_source=True)
    assert report.skipped == 1
    assert path.exists() == (problem is not None)
    assert [problem] * path.exists() == [failure.problem[4:] for failure in report.failures]


def test_a_store_that_rounds_keeps_the_source(folder: Path, store: Path) -> None:
    path = dump(folder / "x.pkl", np.array([0.1]))
    report = run(folder, store, dtype="f4", remove_source=True)
    assert (report.converted, report.removed, path.exists()) == (1, 0, True)
    assert "not the same in the store" in report.failures[0].problem


def test_other_metadata_keeps_the_source(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    path = dump(folder / "x.pkl", pd.Series([1.0], name="v"))
    run(folder, store)
    with ptrarray.append(store) as writer:
        writer.meta["x"] = {"pandas": {"kind": "series", "name": "w"}}
    (failure,) = run(folder, store, remove_source=True).failures
    assert "has other metadata" in failure.problem
    assert path.exists()


def test_a_file_that_failed_stays(folder: Path, store: Path) -> None:
    path = dump(folder / "x.pkl", "text")
    report = run(folder, store, remove_source=True)
    assert (len(report.failures), report.removed, path.exists()) == (1, 0, True)
