"""bigarray's classes on our stores: what programs do with them, and what they no longer suffer.

bigarray's own tests are told here in other words, as its licence is another one. Its README is run
as it is, with another import, and beside it a story of what its users do is told of both.
"""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import json
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    DuplicateNameError,
    OverlapError,
    StoreExistsError,
    StoreNotFoundError,
)
from ptrarray.bigarray import (
    MmapArray,
    MmapArrayWriter,
    PointerArray,
    PointerArrayWriter,
    get_total_opened_mmap,
    read_mmaparray_header,
)
from tests.support import bigarray_workers as workers
from tests.support.bigarray_files import FOLDER
from tests.support.bigarray_story import STORY

ROOT = Path(__file__).parent.parent
METHODS = ("fork", "spawn")  # forkserver pickles as spawn does, and is tried once
TIMEOUT_SECONDS = 60

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "array"


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


def in_pool(context: Any, function: Callable[[Any], Any], jobs: list[Any]) -> list[Any]:
    """Run jobs in two processes, or fail rather than wait for ever."""
    with context.Pool(2) as pool:
        results: list[Any] = pool.map_async(function, jobs).get(TIMEOUT_SECONDS)
        return results


def check(path: Path, expected: Mapping[str, npt.ArrayLike]) -> None:
    """Check names and rows, and that every checksum is right."""
    x = PointerArray(path)
    assert sorted(x.indices) == sorted(expected)
    for name, array in expected.items():
        start, end = x.indices[name]
        assert np.array_equal(x[name], array)
        assert np.array_equal(x[start:end], array)
    ptrarray.verify(path)


# side by side -------------------------------------------------------------------------------------


@functools.cache
def answers_of_bigarray() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.support.bigarray_story", "bigarray", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("tell", STORY, ids=lambda tell: tell.__name__)
def test_answers_as_bigarray_does(tell: Callable[[Any, str], Any], path: Path) -> None:
    pytest.importorskip("bigarray")
    ours = tell(importlib.import_module("ptrarray.bigarray"), str(path))
    assert json.loads(json.dumps(ours)) == answers_of_bigarray()[tell.__name__]


def test_the_readme_of_bigarray(tmp_path: Path) -> None:
    pytest.importorskip("bigarray")
    readme = importlib.metadata.distribution("bigarray").read_text("METADATA")
    assert readme is not None
    found = re.search(r"```python\n(.*?)```\s+Output:\s+```\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    code, output = found.groups()
    code = code.replace("from bigarray import", "from ptrarray.bigarray import")
    assert "from ptrarray.bigarray import PointerArray" in code
    code = code.replace("'/tmp/array'", repr(str(tmp_path / "array")))
    # As everywhere when it was written; its global writer is for that.
    code = "import multiprocessing\nmultiprocessing.set_start_method('fork')\n" + code
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


# what bigarray tests of itself --------------------------------------------------------------------


def test_flat_rows_written_once_and_appended(path: Path) -> None:
    path.touch()  # as tempfile leaves it
    rows = np.arange(100, dtype="f4").reshape(-1, 5)
    with MmapArrayWriter(str(path), rows.shape, rows.dtype, remove_exist=True) as writer:
        writer.write(rows)
    assert writer.is_closed
    assert np.all(rows == MmapArray(str(path)))
    with MmapArrayWriter(str(path), remove_exist=False) as writer:
        writer.write(rows)
    assert np.all(np.concatenate([rows, rows]) == MmapArray(str(path)))


def test_flat_rows_in_pieces_and_some_written_over(path: Path) -> None:
    rows = np.arange(1000, dtype="f4").reshape(-1, 2, 5)
    with MmapArrayWriter(path, (0, 2, 5), "f4") as writer:
        for at in range(0, len(rows), 8):
            writer.write(rows[at : at + 8])
    assert np.all(rows == MmapArray(path))
    rows[10:20] = -rows[:10]
    with MmapArrayWriter(path) as writer:
        writer.write(rows[10:20], start_position=10)
    assert np.all(rows == MmapArray(path))
    ptrarray.verify(path)


def test_flat_rows_written_by_a_pool(path: Path, context: Any) -> None:
    path.touch()
    blocks = [np.random.default_rng(n).random((12, 5, 3)) for n in range(12)]
    in_pool(context, workers.write_block, [(path, n, block, 144) for n, block in enumerate(blocks)])
    assert np.array_equal(MmapArray(path), np.concatenate(blocks))


def test_flat_rows_read_by_a_pool(path: Path, context: Any) -> None:
    rows = np.arange(1200).reshape(-1, 3)
    with MmapArrayWriter(path, (None, 3), rows.dtype) as writer:
        writer.write(rows)
    x = MmapArray(path)
    jobs = [(x, start, 2 * start + 1) for start in range(0, 400, 50)]
    told = in_pool(context, workers.sum_rows, jobs)
    assert told == [(rows[start:end].sum(), [400, 3]) for _, start, end in jobs]


def test_names_in_two_goes(path: Path) -> None:
    data = {f"name{n}": np.random.default_rng(n).random((n % 5, 8)) for n in range(2000)}
    halves = list(data.items())[:1000], list(data.items())[1000:]
    for n, half in enumerate(halves):
        with PointerArrayWriter(path, shape=(0, 8), dtype="f8", remove_exist=n == 0) as writer:
            writer.write(dict(half))
    check(path, data)


def test_a_global_writer_inherited_by_a_pool_of_forks(path: Path) -> None:
    writer = PointerArrayWriter(path, shape=(250,), dtype="f8", remove_exist=True)
    workers.INHERITED[:] = [writer]
    try:
        in_pool(FORK, workers.write_with_the_inherited, [[n, n + 1] for n in range(0, 24, 2)])
    finally:
        workers.INHERITED.clear()
    writer.flush()
    writer.close()
    expected = {f"n{n}": workers.ramp(n) for n in range(24)}
    check(path, expected)
    halves = [(path, list(expected)[:12]), (path, list(expected)[12:])]
    for found in in_pool(FORK, workers.read_names, halves):
        assert all(np.array_equal(found[name], expected[name]) for name in found)


def test_a_writer_and_its_pickled_copy_in_turn(path: Path) -> None:
    first = PointerArrayWriter(path, (0,), "f8", remove_exist=True)
    first.write({"a": workers.ramp(0), "b": workers.ramp(1)})
    second = pickle.loads(pickle.dumps(first))
    second.write({"c": workers.ramp(2)})
    first.write({"d": workers.ramp(3)})
    second.flush()  # in whatever order
    first.flush()
    check(path, {name: workers.ramp(n) for n, name in enumerate("abcd")})


@pytest.mark.parametrize("method", [*METHODS, "forkserver"])
def test_pickled_writers_in_a_pool(path: Path, method: str) -> None:
    """Under fork, bigarray keeps 2 names of 25; under spawn its pool never returns."""
    context = multiprocessing.get_context(method)
    writer = PointerArrayWriter(path, shape=(250,), dtype="f8", remove_exist=True)
    in_pool(context, workers.write_with, [(writer, [n]) for n in range(25)])
    writer.flush()
    writer.close()
    expected = {f"n{n}": workers.ramp(n) for n in range(25)}
    check(path, expected)
    assert np.sum(PointerArray(path)) == sum(map(np.sum, expected.values()))


# bigarray: names that were lost -------------------------------------------------------------------


def test_a_process_of_its_own(path: Path, context: Any) -> None:
    writer = PointerArrayWriter(path, (10,), "i8")
    process = context.Process(target=workers.write_with, args=((writer, [0]),))
    process.start()
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode == 0
    assert list(writer.indices) == ["n0"]


def test_writers_made_in_a_pool(path: Path, context: Any) -> None:
    in_pool(context, workers.append_with_one_of_its_own, [(path, n) for n in range(20)])
    check(path, {f"n{n}": workers.ramp(n) for n in range(20)})


def test_workers_that_write_after_a_flush(path: Path) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        writer.write({"before": [1]}, start_position=11).flush()
        in_pool(FORK, workers.write_with, [(writer, [0])])
        writer.flush()
    check(path, {"before": [1], "n0": workers.ramp(0)})


@pytest.mark.parametrize("how", ["return", "exception", "sigkill"])
def test_a_process_that_never_flushed(path: Path, how: str) -> None:
    """Nor are the names lost that were there before it."""
    early = {str(n): np.arange(n) for n in range(50)}
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write(early)
    process = FORK.Process(target=workers.append_and_leave, args=(path, how))
    process.start()
    process.join(TIMEOUT_SECONDS)
    check(path, {**early, "late": np.arange(10_000)})
    PointerArrayWriter(path).write({"later": [1]})


def test_processes_that_append_at_once(path: Path) -> None:
    in_pool(FORK, workers.append_block, [(path, n) for n in range(1, 40)])
    x = MmapArray(path)
    assert sorted(x[:, 0]) == sorted(n for n in range(1, 40) for _ in range(n))
    in_pool(FORK, workers.append_with_one_of_its_own, [(path.parent / "b", n) for n in range(50)])
    check(path.parent / "b", {f"n{n}": workers.ramp(n) for n in range(50)})


# bigarray: wrong data -----------------------------------------------------------------------------


def test_two_writers_and_the_length(path: Path) -> None:
    first = PointerArrayWriter(path, (10,), "i8")
    second = pickle.loads(pickle.dumps(first))
    first.write({"late": np.arange(500)}, start_position=500)
    second.write({"early": np.arange(20)}, start_position=10)
    assert first.shape == second.shape == (1000,)
    check(path, {"late": np.arange(500), "early": np.arange(20)})


def test_appending_after_planned_rows(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": np.arange(5)}, start_position=0).write({"b": np.arange(5)})
    check(path, {"a": np.arange(5), "b": np.arange(5)})
    with MmapArrayWriter(path.parent / "flat", (20,), "i8") as flat:
        flat.write(np.full(3, 1), 5).write(np.full(2, 2))
    assert np.flatnonzero(MmapArray(path.parent / "flat")).tolist() == [5, 6, 7, 8, 9]


def test_rows_beforehand_are_not_taken_for_written(path: Path) -> None:
    for n in range(3):
        with PointerArrayWriter(path, (1000,), "i8") as writer:
            writer.write({f"n{n}": np.full(5, n)})
    x = PointerArray(path)
    assert x.shape == (1000,)
    assert dict(x.indices) == {"n0": (0, 5), "n1": (5, 10), "n2": (10, 15)}


def test_positions_from_the_end(path: Path) -> None:
    with MmapArrayWriter(path, (10,), "i8") as writer:
        writer.write(np.arange(1, 4), start_position=-3)
        assert writer.shape == (10,)
        assert MmapArray(path)[-4:].tolist() == [0, 1, 2, 3]
        with pytest.raises(BadInputError, match="start_position -11 is before the first of 10"):
            writer.write(np.arange(3), start_position=-11)
    with PointerArrayWriter(path) as named:
        named.write({"a": [7]}, start_position=-10)
        assert named.indices["a"] == (0, 1)


@pytest.mark.parametrize("position", [1.5, "3", [1], np.float64("nan")])
def test_positions_that_are_none(path: Path, position: Any) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        with pytest.raises(BadInputError, match="start_position must be an integer"):
            writer.write({"a": [1]}, start_position=position)
        assert len(writer.indices) == 0


@pytest.mark.parametrize("position", [4, 8 / 2, np.int16(4), np.float32(4)])
def test_positions_that_are_whole(path: Path, position: Any) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        assert writer.write({"a": [1]}, position).indices["a"] == (4, 5)


def test_rows_of_another_shape(path: Path) -> None:
    good, bad = np.zeros((2, 3)), np.zeros((2, 4))
    with PointerArrayWriter(path, (0, 3), "f8") as writer:
        with pytest.raises(BadInputError, match="'bad' has shape"):
            writer.write({"good": good, "bad": bad})
        assert len(writer.indices) == 0
    with MmapArrayWriter(path) as flat:
        with pytest.raises(BadInputError, match=r"'arrays\[1\]' has shape"):
            flat.write([good, bad])
        for wrong in (5, None, "abc", [1.0, 2.0], {"a": good}, [[1.0, 2.0, 3.0]]):
            with pytest.raises(BadInputError):
                flat.write(wrong)  # type: ignore[arg-type]
        assert flat.shape == (0, 3)


@pytest.mark.parametrize("value", [[3.7], [2**40], [1 + 2j], np.ma.masked_array([1], [True])])
def test_values_that_would_change(path: Path, value: Any) -> None:
    with PointerArrayWriter(path, (0,), "i4") as writer:
        with pytest.raises(BadInputError):
            writer.write({"a": value})
        assert len(writer.indices) == 0
    with MmapArrayWriter(path) as flat:
        with pytest.raises(BadInputError):
            flat.write([value])
        assert flat.shape == (0,)


def test_rows_that_belong_to_a_name(path: Path) -> None:
    with PointerArrayWriter(path, (10,), "i8") as writer:
        writer.write({"a": np.arange(4)}, start_position=2)
        with pytest.raises(OverlapError):
            writer.write({"b": np.full(4, -1)}, start_position=5)
    with MmapArrayWriter(path) as flat:
        flat.write(np.full(2, 9), 6)
        with pytest.raises(OverlapError, match="those of array 'a'") as caught:
            flat.write([np.full(2, -1), np.full(3, -1)], start_position=4)
        assert (caught.value.name, caught.value.start, caught.value.end) == ("a", 4, 9)
    x = PointerArray(path)
    assert x.tolist() == [0, 0, 0, 1, 2, 3, 9, 9, 0, 0]
    ptrarray.verify(path)


def test_rows_without_a_name_written_over_in_part(path: Path) -> None:
    model = np.zeros(40, np.int64)
    with MmapArrayWriter(path, (40,), "i8") as writer:
        for n, (start, length) in enumerate(
            [(5, 5), (15, 5), (8, 10), (0, 40), (39, 1), (3, 0), (38, 4)], 1
        ):
            writer.write(np.full(length, n), start)
            model = np.concatenate([model, np.zeros(max(0, start + length - len(model)), int)])
            model[start : start + length] = n
            assert MmapArray(path).tolist() == model.tolist()
            ptrarray.verify(path)
        assert writer.shape == (42,)


def test_a_name_that_is_there(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": [1, 2]})
        with pytest.raises(DuplicateNameError):
            writer.write({"a": [3], "b": [4]})
        assert list(writer.indices) == ["a"]
        writer.write({"a": [3]}, overwrite=True)
    check(path, {"a": [3]})


def test_big_endian_and_growth(path: Path) -> None:
    with PointerArrayWriter(path, (0,), ">f8") as writer:
        writer.write({"a": [1, 2, 3]}).write({"b": [4]})
        assert writer.dtype == ">f8"
    check(path, {"a": [1, 2, 3], "b": [4]})


def test_another_dtype_or_shape_than_is_there(path: Path) -> None:
    PointerArrayWriter(path, (2, 3), "f4").close()
    for arguments in ({"shape": (0, 4)}, {"dtype": "f8"}, {"shape": (0,), "dtype": "f4"}):
        with pytest.raises(BadInputError, match=r"has rows of float32 \(3,\), not of"):
            PointerArrayWriter(path, **arguments)
    with PointerArrayWriter(path, shape=(50, 3), dtype="<f4") as writer:
        assert writer.shape == (2, 3), "a length is only for a new one, as in bigarray"
        with pytest.raises(BadInputError):
            PointerArrayWriter(path, dtype="f8")
        assert PointerArrayWriter(path, dtype="f4") is writer


def test_names_that_are_no_text(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        with pytest.raises(BadInputError, match="a name must be a str, not int"):
            writer.write({5: [1]})  # type: ignore[dict-item]
        for what in ([1, 2], np.arange(3)):
            with pytest.raises(BadInputError, match="must be a mapping"):
                writer.write(what)  # type: ignore[arg-type]
        assert len(writer.indices) == 0


def test_a_pickled_writer_whose_store_is_gone(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        pickled = pickle.dumps(writer)
    shutil.rmtree(path)
    with pytest.raises(StoreNotFoundError):
        pickle.loads(pickled)
    assert not path.exists()


# bigarray: crashes and security -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["O", object, [("a", "i4"), ("b", "O")], "U", "nonsense"])
def test_dtypes_that_cannot_be(path: Path, dtype: Any) -> None:
    with pytest.raises(BadInputError):
        PointerArrayWriter(path, (0,), dtype)
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["<U5", "S5", "V7", "M8[ns]", [("a", "i4"), ("b", "f8", (2,))]])
def test_dtypes_and_growth(path: Path, dtype: Any) -> None:
    with PointerArrayWriter(path, (0,), dtype) as writer:
        for n in range(3):
            writer.write({f"n{n}": np.zeros(n, dtype)})
    check(path, {f"n{n}": np.zeros(n, dtype) for n in range(3)})


def test_a_file_of_bigarray_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(FOLDER / "bad-call", "old")
    opening: list[Callable[[str], Any]] = [
        PointerArray,
        MmapArray,
        PointerArrayWriter,
        lambda path: MmapArrayWriter(path, (0,), "i8"),
        read_mmaparray_header,
    ]
    for opened in opening:
        with pytest.raises(StoreNotFoundError, match=r"ptrarray import bigarray .*/old NEW\.ptr"):
            opened("old")
    assert [file.name for file in tmp_path.iterdir()] == ["old"]


def test_no_mode_destroys(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": [1, 2]}).close()
    for kind in (PointerArray, MmapArray):
        with pytest.raises(BadInputError, match="'w\\+' is not one of 'r', 'r\\+', 'c'"):
            kind(path, mode="w+")  # type: ignore[arg-type]
    check(path, {"a": [1, 2]})


def test_a_store_that_is_cut_short(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": np.arange(1000)}).close()
    os.truncate(path / "data.bin", 4000)
    for mode in ("r", "r+", "c"):
        with pytest.raises(CorruptStoreError, match="cut short"):
            PointerArray(path, mode)
    assert (path / "data.bin").stat().st_size == 4000


def test_reading_changes_nothing(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": [1, 2]}).close()
    x = PointerArray(path)
    for change in (
        lambda: x.__setitem__(0, 5),
        lambda: x["a"].__setitem__(0, 5),
        lambda: x[:].fill(5),
        lambda: x.fill(5),
        lambda: np.add(x, 1, out=x),
    ):
        with pytest.raises(ValueError, match="read-only"):
            change()
    check(path, {"a": [1, 2]})


def test_what_was_changed_on_purpose_has_right_checksums(path: Path) -> None:
    PointerArrayWriter(path, (6,), "i8").write({"a": [1, 2], "b": [3, 4]}).close()
    x = PointerArray(path, "r+")
    x["a"][0] = 10
    x[3] = 40
    x += 1
    assert isinstance(x, PointerArray), "in place"
    del x
    gc.collect()
    check(path, {"a": [11, 3], "b": [4, 41]})


# bigarray: limits and costs -----------------------------------------------------------------------


def test_reading_while_it_grows(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        for n in range(5):
            check(path, {f"n{m}": np.full(m, m) for m in range(n)})
            writer.write({f"n{n}": np.full(n, n)})


def test_opening_again_and_again_adds_nothing(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({f"n{n}": [n] for n in range(1000)})
    sizes = set()
    for _ in range(20):
        with PointerArrayWriter(path) as writer:
            sizes.add(writer.filesize)
    assert len(sizes) == 1


def test_no_process_is_started(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": [1]})
        assert multiprocessing.active_children() == []


def test_hundreds_of_writers(tmp_path: Path) -> None:
    n_before = get_total_opened_mmap()
    writers = [MmapArrayWriter(tmp_path / str(n), (0,), "i8") for n in range(125)]
    assert get_total_opened_mmap() == n_before + 125
    for writer in writers:
        writer.close()
    assert get_total_opened_mmap() == n_before


def test_what_is_made_of_an_array(path: Path) -> None:
    PointerArrayWriter(path, (0, 2), "i8").write({"a": np.arange(2000).reshape(-1, 2)}).close()
    x = PointerArray(path)
    for made in (x["a"], x[2:5], x[0], x + 1, x.sum(0), x == x[0], np.concatenate([x, x])):
        assert type(made) is np.ndarray
    assert isinstance(np.sum(x), np.int64)
    assert "a" in x
    assert "b" not in x
    assert 1999 in x
    assert len(x) == 1000
    turned = x.T
    with pytest.raises(AttributeError, match="only the array that was opened has this"):
        _ = turned.path
    assert type(pickle.loads(pickle.dumps(turned))) is np.ndarray
    raw = pickle.dumps(x)
    assert len(raw) < 300
    assert dict(pickle.loads(raw).indices) == {"a": (0, 1000)}
    root: Any = x["a"]
    while isinstance(root.base, np.ndarray):
        root = root.base
    assert type(root) is np.memmap, "so joblib ships it by its file"


def test_threads_that_open_the_same_path_at_once(path: Path) -> None:
    barrier = threading.Barrier(8)

    def write(n: int) -> None:
        barrier.wait()
        PointerArrayWriter(path, (0,), "i8").write({f"n{n}": workers.ramp(n)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    check(path, {f"n{n}": workers.ramp(n) for n in range(8)})


def test_a_writer_that_came_between_stays_open(path: Path) -> None:
    first = PointerArrayWriter(path, (0,), "i8")
    second = object.__new__(PointerArrayWriter)  # as in a thread that looked before
    second.__init__(path)  # type: ignore[misc]
    second.write({"a": [1]})
    first.write({"b": [2]})
    assert PointerArrayWriter(path) is second


def test_paths_of_any_kind(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        assert PointerArrayWriter(str(path)) is writer
        assert PointerArrayWriter(os.path.relpath(path)) is writer
    assert PointerArray(str(path)).path == MmapArray(path).path == str(path)


def test_indices_cannot_be_changed(path: Path) -> None:
    with PointerArrayWriter(path, (0,), "i8") as writer:
        writer.write({"a": [1]})
        for indices in (writer.indices, PointerArray(path).indices):
            with pytest.raises(TypeError):
                indices["a"] = (0, 1)  # type: ignore[index]
            with pytest.raises(TypeError):
                del indices["a"]  # type: ignore[attr-defined]
            assert pickle.loads(pickle.dumps(indices)) == {"a": (0, 1)} == indices
    with pytest.raises(KeyError):
        PointerArray(path)["b"]


def test_a_writer_made_anew_under_another(path: Path) -> None:
    """In bigarray both are one object, on a file that is unlinked."""
    old = PointerArrayWriter(path, (0,), "i8")
    old.write({"a": [1]})
    reader = PointerArray(path)
    new = PointerArrayWriter(path, (0,), "i8", remove_exist=True)
    assert new is not old
    assert old.is_closed
    with pytest.raises(ClosedStoreError):
        old.write({"b": [2]})
    new.write({"c": [3]})
    assert PointerArrayWriter(path) is new
    check(path, {"c": [3]})
    assert reader["a"].tolist() == [1]


def test_a_writer_whose_store_was_removed_is_not_handed_out_again(path: Path) -> None:
    old = PointerArrayWriter(path, (0,), "i8")
    shutil.rmtree(path)
    new = PointerArrayWriter(path, (0,), "i8")
    assert new is not old
    new.write({"a": [1]})
    check(path, {"a": [1]})
    with pytest.raises(ptrarray.StoreError):
        old.write({"b": [1]})


def test_what_is_closed(path: Path) -> None:
    writer = PointerArrayWriter(path, (0,), "i8")
    writer.close()
    writer.close()
    assert writer.is_closed
    assert (writer.path, writer.filesize > 0) == (str(path), True)
    assert "closed" in repr(writer)
    for use in (writer.flush, lambda: writer.write({"a": [1]}), lambda: pickle.dumps(writer)):
        with pytest.raises(ClosedStoreError):
            use()
    assert PointerArrayWriter(path) is not writer


def test_a_writer_that_could_not_be_made(path: Path) -> None:
    n_before = get_total_opened_mmap()
    for arguments in list[Any](
        [{}, {"shape": (0,)}, {"dtype": "f4"}, {"shape": (), "dtype": "f4"}]
    ):
        for remove_exist in (False, True):
            with pytest.raises(BadInputError):
                PointerArrayWriter(path, remove_exist=remove_exist, **arguments)
    for shape in list[Any]([(0, None), (0, -1), "ab", (1.5,)]):
        with pytest.raises(BadInputError):
            PointerArrayWriter(path, shape, "f4")
    assert not path.exists()
    assert get_total_opened_mmap() == n_before


def test_nothing_to_write(path: Path) -> None:
    with PointerArrayWriter(path, (0, 2), "i8") as writer:
        writer.write({}).write({"none": np.empty((0, 2), int)})
    with MmapArrayWriter(path) as flat:
        flat.write([]).write(np.empty((0, 2), int)).write(np.empty((0, 2), int), 7)
        assert flat.shape == (0, 2)
    check(path, {"none": np.empty((0, 2))})


# what else may be at the path ---------------------------------------------------------------------


def test_what_remove_exist_removes(path: Path) -> None:
    path.touch()
    MmapArrayWriter(path, (3,), "i8", remove_exist=True).close()
    MmapArrayWriter(path, (4,), "i8", remove_exist=True).close()
    shutil.rmtree(path)
    shutil.copy(FOLDER / "named", path)
    for wrong in (None, object):
        with pytest.raises(BadInputError):
            MmapArrayWriter(path, (5,), wrong, remove_exist=True)
    assert path.read_bytes() == (FOLDER / "named").read_bytes()
    MmapArrayWriter(path, (5,), "i8", remove_exist=True).close()
    assert MmapArray(path).shape == (5,)


def test_what_remove_exist_leaves(path: Path) -> None:
    path.write_bytes(b"not of bigarray")
    folder = path.parent / "folder"
    (folder / "within").mkdir(parents=True)
    link = path.parent / "link"
    link.symlink_to(FOLDER / "named")
    for other in (path, folder, link):
        for remove_exist in (False, True):
            with pytest.raises((StoreExistsError, StoreNotFoundError)):
                MmapArrayWriter(other, (3,), "i8", remove_exist=remove_exist)
    assert path.read_bytes() == b"not of bigarray"
    assert (folder / "within").exists()
    assert link.is_symlink()


@pytest.mark.parametrize("options", [{"row_shape": None}, {"dtype": None}, {"masked": True}])
def test_a_store_that_bigarray_has_no_words_for(path: Path, options: Any) -> None:
    ptrarray.create(path, **{"dtype": "i8", **options}).close()
    for opened in (PointerArray, MmapArray, PointerArrayWriter, MmapArrayWriter):
        with pytest.raises(BadInputError, match=r"use ptrarray\.open and ptrarray\.append"):
            opened(path)


def test_stores_of_this_package(path: Path) -> None:
    with ptrarray.create(path, dtype="f4", row_shape=(2,)) as writer:
        writer["a"] = [[1, 2]]
    with PointerArrayWriter(path) as ours:
        ours.write({"b": [[3, 4]]})
    assert PointerArray(path).tolist() == [[1, 2], [3, 4]]
    assert read_mmaparray_header(path, return_header_size=True) == ("float32", (2, 2), 0)


def test_a_pack(path: Path) -> None:
    PointerArrayWriter(path, (0,), "i8").write({"a": [1, 2]}).close()
    pack = path.with_suffix(".tar")
    ptrarray.pack(path, pack)
    x = PointerArray(pack)
    assert (x["a"].tolist(), x.filesize) == ([1, 2], pack.stat().st_size)


def test_shards(path: Path) -> None:
    ptrarray.create(path, dtype="i8", shard_size=1000).close()
    expected = {f"n{n}": np.full(100, n) for n in range(5)}
    with PointerArrayWriter(path) as writer:
        for name, array in expected.items():
            writer.write({name: array})
        with pytest.raises(BadInputError, match="split into shards"):
            writer.write({"planned": [1]}, start_position=3)
        assert writer.shape == (500,)
    check(path, expected)
    x = MmapArray(path)
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    assert (int(np.sum(x)), x.filesize) == (1000, sum(sizes))


# the page for who comes from bigarray -------------------------------------------------------------


def test_the_page_for_who_comes_from_it(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "coming-from" / "bigarray.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    shutil.copy(FOLDER / "named", tmp_path / "old")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
