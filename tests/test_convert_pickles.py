"""Importing pickles: what becomes of their values, how they are named, and into which stores."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import re
import sys
import zlib
from array import array
from collections import Counter, deque
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from ptrarray.errors import BadInputError
from tests.support.convert_workers import dump, signal_only, whole_bytes
from tests.support.imports import check_content, content, import_pickles, ramps

pytestmark = pytest.mark.usefixtures("limits")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def ragged(items: list[Any]) -> Any:
    """Return an array of Python objects of one dimension, or of two."""
    shape = (len(items), len(items[1])) if isinstance(items[1], list) and items[1] else len(items)
    made = np.empty(shape, object)
    for i, item in enumerate(items):
        made[i] = item
    return made


# values and names ---------------------------------------------------------------------------------


def test_what_files_hold(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.eye(2, dtype="f4", order="F"))
    dump(folder / "b.pickle", {"x": 1.5, 2: {"y": [1, 2]}, "z": (np.arange(2), True)})
    dump(folder / "c.p", np.float32(2), np.arange(3), {"k": 1j})
    report = import_pickles(folder, store)
    assert (report.converted, report.skipped, report.failures) == (8, 0, [])
    check_content(
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
        assert import_pickles(path, place, trust=trust).converted == 3
        with ptrarray.open(place) as opened:
            for i, expected in enumerate(series):
                pd.testing.assert_series_equal(convert.to_series(opened, f"all/{i}"), expected)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1, 2], [], [3]], {"x/0": np.array([1, 2]), "x/1": np.array([], int), "x/2": np.array([3])}),
        ({"a": ([0.5], ()), "b": []}, {"x/a/0": np.array([0.5]), "x/a/1": np.array([]),
                                       "x/b": np.array([])}),
        ([np.float32(1), np.float32(2)], {"x": np.array([1, 2], "f4")}),
        ((np.int8(1), np.int8(2)), {"x": np.array([1, 2], "i1")}),
        ([np.float32(0.1), 0.5, 0.1], {"x": np.array([np.float32(0.1), 0.5, 0.1])}),
        ([np.bool_(True)], {"x": np.array([True])}),
        ([np.datetime64("2020", "D")], {"x": np.array(["2020"], "M8[D]")}),
        # Together they would be floats, and one of them another.
        ([np.int64(1), np.uint64(2**63 + 1)],
         {"x/0": np.array(1), "x/1": np.array(2**63 + 1, np.uint64)}),
        (ragged([np.arange(2), np.arange(3.0)]), {"x/0": np.arange(2), "x/1": np.arange(3.0)}),
        (ragged([[1, 2], []]), {"x/0": np.array([1, 2]), "x/1": np.array([], int)}),
        (ragged([[np.arange(2), 1], [2.5, np.arange(1)]]),
         {"x/0/0": np.arange(2), "x/0/1": np.array(1), "x/1/0": np.array(2.5),
          "x/1/1": np.arange(1)}),
        (np.array({"a": np.arange(2), "b": {"c": 1}}, object),
         {"x/a": np.arange(2), "x/b/c": np.array(1)}),
        (np.array([[1, 2], [3, 4]], object), {"x": np.array([[1, 2], [3, 4]])}),
        (np.array([1, 2.5], object), {"x": np.array([1, 2.5])}),
        (deque([1, 2], 5), {"x": np.array([1, 2])}),
        (deque([np.arange(2)]), {"x/0": np.arange(2)}),
        (array("f", [1, 2]), {"x": np.array([1, 2], "f4")}),
        ({"n": array("Q", [2**63])}, {"x/n": np.array([2**63], "u8")}),
        (Counter("aab"), {"x/a": np.array(2), "x/b": np.array(1)}),
    ],
    ids=repr,
)  # fmt: skip
def test_what_becomes_of_values(
    folder: Path, store: Path, value: Any, expected: dict[str, Any], trust: bool
) -> None:
    dump(folder / "x.pkl", value)
    assert import_pickles(folder, store, trust=trust).failures == []
    check_content(store, expected)


# Making one is deprecated since Python 3.13.
TEXT: list[Any] = []
if sys.version_info < (3, 13):
    TEXT.append((array("u", "ab"), {"x.pkl": "no array|no numbers"}))


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (["a", None], {"x.pkl": "a list of text is no array"}),
        (np.array(["a", "b"], object), {"x.pkl": "a list of text is no array"}),
        (np.array([1, "a"], object), {"x.pkl:1": "a str is no array"}),
        (np.array([], object), {"x.pkl": "it holds Python objects"}),
        (np.array([(1, "a")], "i4,O"), {"x.pkl": "a function that returns the fields of numbers"}),
        *TEXT,
        (date(2020, 1, 1), {"x.pkl": "date.* no|a date, which a store does not keep"}),
    ],
    ids=repr,
)
def test_what_becomes_none(
    folder: Path, store: Path, value: Any, problems: dict[str, str], trust: bool
) -> None:
    """What trust would not help with does not advise it alone."""
    dump(folder / "x.pkl", value)
    failures = import_pickles(folder, store, trust=trust).failures
    assert [Path(failure.source).name for failure in failures] == list(problems)
    for failure, problem in zip(failures, problems.values(), strict=True):
        assert re.search(problem, failure.problem)
        assert "--trust-pickle" not in failure.problem


def test_a_pickle_that_is_refused_leaves_those_behind_it(folder: Path, store: Path) -> None:
    dump(folder / "x.pkl", np.arange(1), Fraction(1, 2), Path("x"), np.arange(2))
    (folder / "y.pkl").write_bytes(pickle.dumps(Decimal(1)))
    report = import_pickles(folder, store)
    found = [Path(failure.source).name for failure in report.failures]
    assert found == ["x.pkl:1", "x.pkl:2", "y.pkl"]
    check_content(store, {"x/0": np.arange(1), "x/3": np.arange(2)})


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("n_whole", "rest", "names", "source"),
    [
        (1, b"cut", ["x/0"], "x.pkl:1"),
        (2, b"cut", ["x/0", "x/1"], "x.pkl:2"),
        (1, bytes(512), ["x"], "x.pkl"),
        (2, bytes(512), ["x/0", "x/1"], "x.pkl:2"),
        (1, b"\n", ["x"], "x.pkl"),
        (2, b"\xff" * 9, ["x/0", "x/1"], "x.pkl:2"),
    ],
    ids=repr,
)
def test_what_is_whole_comes_and_the_rest_is_a_failure(
    folder: Path,
    store: Path,
    n_whole: int,
    rest: bytes,
    names: list[str],
    source: str,
    trust: bool,
) -> None:
    path = dump(folder / "x.pkl", *map(np.arange, range(n_whole)), protocol=4)
    behind = pickle.dumps(np.arange(9))[:-5] if rest == b"cut" else rest
    path.write_bytes(path.read_bytes() + behind)
    for n_before in (0, len(names)):  # once more, and nothing is taken for done
        report = import_pickles(folder, store, trust=trust, remove_source=True)
        if names == ["x"] and n_before:
            break
        assert (report.converted, report.skipped) == (len(names) - n_before, n_before)
        assert [Path(failure.source).name for failure in report.failures] == [source]
        check_content(store, dict(zip(names, map(np.arange, range(9)), strict=False)))
    assert path.exists()


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
    assert import_pickles(folder, store, name=template).ok
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
    assert import_pickles(folder, store, name=template).ok
    assert sorted(content(store)) == expected


@pytest.mark.parametrize("template", ["{other}", "{stem.__class__}", "{0}", "{", "{stem:x}", "{}"])
def test_refuses_templates(folder: Path, store: Path, template: str) -> None:
    ramps(folder, 1)
    with pytest.raises(BadInputError, match="name template"):
        import_pickles(folder, store, name=template)
    assert not store.exists()


def test_files_of_one_name_are_refused_before_anything_is_written(
    folder: Path, store: Path
) -> None:
    dump(folder / "a" / "x.pkl", 1)
    dump(folder / "b" / "x.pkl", 2)
    with pytest.raises(BadInputError, match=r"a/x\.pkl and .*b/x\.pkl would be named 'x'.*parent"):
        import_pickles(folder, store)
    assert not store.exists()


def test_keys_that_collide_are_told(folder: Path, store: Path) -> None:
    """Nothing is taken for done because another file of the import had the name."""
    dump(folder / "a.pkl", {"k": 1})
    dump(folder / "b.pkl", {"k": 2})
    dump(folder / "c.pkl", {1: 1, "1": 2})
    report = import_pickles(folder, store, name="{key}", processes=1, executor=None)
    assert report.converted == 2
    assert [failure.problem for failure in report.failures] == [
        "'k' was there first, from this or another file or import: give names that differ",
        "two keys are written as '1'",
    ]
    check_content(store, {"k": np.array(1), "1": np.array(1)})


@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_compressed_files(folder: Path, store: Path, squeeze: Callable[[bytes], bytes]) -> None:
    raw = squeeze(pickle.dumps(np.arange(50_000)) + pickle.dumps(1.5))
    (folder / "x.pkl.gz").write_bytes(raw)  # whatever the name says
    assert import_pickles(folder, store).ok
    check_content(store, {"x/0": np.arange(50_000), "x/1": np.array(1.5)})
    (folder / "x.pkl.gz").write_bytes(raw[:-100])
    (failure,) = import_pickles(folder, store.with_name("b.ptr")).failures
    assert any(word in failure.problem for word in ("ended", "early", "cut short"))


# files --------------------------------------------------------------------------------------------


def test_which_files_of_a_folder(folder: Path, store: Path) -> None:
    expected = ramps(folder, 1, 2)
    for name in (".hidden.pkl", "notes.txt", "x.pkl.tmp", ".git/x.pkl"):
        dump(folder / name, np.arange(9))
    report = import_pickles(folder, store)
    assert report == Report(converted=2, notes=["left out: 1 *.txt, 1 *.tmp"])
    check_content(store, expected)


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
    import_pickles(given[kind], store)
    check_content(store, expected if kind != "file" else {"n1": np.arange(1)})


def test_a_file_with_the_letters_of_a_pattern(folder: Path, store: Path) -> None:
    path = dump(folder / "x[1].pkl", 1)
    assert import_pickles(path, store).converted == 1
    assert list(content(store)) == ["x[1]"]


@pytest.mark.parametrize("given", ["empty", "pattern", "none"])
def test_no_files(folder: Path, store: Path, given: str) -> None:
    paths: Any = {"empty": folder, "pattern": f"{folder}/*.dat", "none": []}[given]
    with pytest.raises(BadInputError, match=r"no files to import in .*expected \*\.pkl"):
        import_pickles(paths, store)
    assert not store.exists()


# stores -------------------------------------------------------------------------------------------


def test_one_dtype(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.arange(3))
    dump(folder / "b.pkl", 2.5)
    dump(folder / "c.pkl", np.eye(2))
    dump(folder / "d.pkl", np.array([1e300]))
    report = import_pickles(folder, store, dtype="f4", attrs={"unit": "m"})
    check_content(store, {"a": np.arange(3, dtype="f4"), "b": np.array([2.5], "f4")})
    assert ptrarray.open(store).attrs == {"unit": "m"}
    assert [Path(failure.source).name for failure in report.failures] == ["c.pkl", "d.pkl"]
    assert "has shape (2, 2), the store wants (n,)" in report.failures[0].problem


def test_one_dtype_and_any_shape(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.eye(2))
    dump(folder / "b.pkl", 2.5)
    assert import_pickles(folder, store, dtype="f4", row_shape=None).ok
    check_content(store, {"a": np.eye(2, dtype="f4"), "b": np.array(2.5, "f4")})


def test_another_layout_than_the_store_has(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    ptrarray.create(store, dtype="f4").close()
    with pytest.raises(BadInputError, match="has rows of float32"):
        import_pickles(folder, store, dtype="f8")
    assert import_pickles(folder, store).ok  # into what is there
    assert content(store)["n1"].dtype == "f4"


def test_an_index_in_a_store_of_one_dtype(folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    expected = pd.Series([1.0], index=["k"])
    dump(folder / "a.pkl", expected)
    dump(folder / "b.pkl", pd.Series(["text"]))
    (failure,) = import_pickles(folder, store, dtype="f8").failures
    assert "its values are kept as uint8, and the store has float64" in failure.problem
    with ptrarray.open(store) as opened:
        assert list(opened) == ["a"]
        pd.testing.assert_series_equal(opened.series("a"), expected)
    bare = store.with_name("bare.ptr")
    assert import_pickles(folder / "a.pkl", bare, keep_index=False).ok
    with ptrarray.open(bare) as opened:
        pd.testing.assert_series_equal(opened.series("a"), pd.Series([1.0]))


def test_masked_arrays_need_a_store_with_masks(folder: Path, store: Path) -> None:
    masked = np.ma.MaskedArray([1, 2], [False, True], fill_value=-1)
    dump(folder / "a.pkl", masked)
    dump(folder / "b.pkl", np.ma.MaskedArray([1.5]))
    (failure,) = import_pickles(folder, store).failures
    assert "masked=True" in failure.problem
    check_content(store, {"b": np.array([1.5])})

    place = store.with_name("m.ptr")
    assert import_pickles(folder, place, masked=True).converted == 2
    found = ptrarray.open(place)["a"]
    assert isinstance(found, np.ma.MaskedArray)
    assert (found.tolist(), found.data.tolist(), found.fill_value) == ([1, None], [1, 2], -1)


def test_functions_of_the_user(folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", {"signal": np.arange(3), "comment": "none"})
    assert import_pickles(folder, store, convert=signal_only).ok
    check_content(store, {"a": np.arange(3)})
    place = store.with_name("b.ptr")
    assert import_pickles([folder / "a.pkl"], place, load=whole_bytes).ok
    assert content(place)["a"].tobytes() == (folder / "a.pkl").read_bytes()


def test_shards(folder: Path, store: Path) -> None:
    """Millions of small files become few of about one size."""
    for i in range(40):
        dump(folder / f"{i}.pkl", np.full(10_000, i))
    assert (
        import_pickles(folder, store, shard_size="1MB", processes=2, executor=None).converted == 40
    )
    assert import_pickles(folder, store, processes=2, executor=None).skipped == 40
    assert 3 <= len(list(store.rglob("data*.bin"))) <= 6
    check_content(store, {str(i): np.full(10_000, i) for i in range(40)})


def test_unknown_options_are_refused(folder: Path, store: Path) -> None:
    ramps(folder, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'proceses'"):
        import_pickles(folder, store, proceses=2)
    with pytest.raises(BadInputError, match="processes is 0"):
        import_pickles(folder, store, processes=0)
    assert not store.exists()


def test_a_dictionary_that_is_a_lie(folder: Path, store: Path) -> None:
    """What a file of lzma says that it takes memory for, before it has any byte of it."""
    raw = lzma.compress(pickle.dumps(np.arange(99)), lzma.FORMAT_ALONE)
    (folder / "x.pkl.lzma").write_bytes(raw[:1] + (1 << 31).to_bytes(4, "little") + raw[5:])
    (failure,) = import_pickles(folder / "x.pkl.lzma", store).failures
    assert "Memory usage limit" in failure.problem
