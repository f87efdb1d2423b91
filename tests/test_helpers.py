"""Series and DataFrames in stores of every layout, and their helper arrays through all that happens."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.convert import to_frame
from ptrarray.errors import BadInputError, CorruptStoreError, DuplicateNameError
from ptrarray.format.helpers import FOLDER
from ptrarray.storage.shards import helpers
from tests.support.examples import some
from tests.support.failing import caught, check_named
from tests.support.faults import injected
from tests.test_frames import series
from tests.test_nested_pandas import FRAMES, assert_equal

pd = pytest.importorskip("pandas")

MIXED: dict[str, dict[str, Any]] = {
    "mixed": {},
    "masked": {"masked": True},
    "shards": {"shard_size": 4096},
}
OF_FLOATS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f8"},
    "shaped": {"dtype": "f8", "row_shape": None},
    "masked rows": {"dtype": "f8", "masked": True},
    "shards of rows": {"dtype": "f8", "shard_size": 4096},
}
DAYS = pd.DatetimeIndex(["2020-01-01", "2020-01-05", "2020-01-06"], name="day")
LEVEL = pd.Series([1.5, 2.5, 3.5], index=DAYS, name="level")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def helpers_in(path: Path) -> list[str]:
    with ptrarray.open(path / FOLDER) as store:
        return list(store)


def check(found: Any, expected: Any) -> None:
    kind = "series" if isinstance(expected, pd.Series) else "frame"
    getattr(pd.testing, f"assert_{kind}_equal")(found, expected, check_freq=True)


# every layout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MIXED)
@settings(max_examples=some(12, of=25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abcd"), series(), min_size=1))
def test_any_series_in_any_store(
    tmp_path_factory: pytest.TempPathFactory, layout: str, given_: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("any") / "s.ptr"
    with ptrarray.create(path, **MIXED[layout]) as writer:
        writer.update(given_)
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(given_)
        store.verify()
        for name, expected in given_.items():
            assert_equal(expected, store.series(name))
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("layout", [*MIXED, *OF_FLOATS])
def test_series_of_numbers_in_every_layout(path: Path, layout: str) -> None:
    with ptrarray.create(path, **{**MIXED, **OF_FLOATS}[layout]) as writer:
        writer["a"] = LEVEL
        writer.series("b", LEVEL.rename("other"))
        writer.write({"c": LEVEL * 2, "d": np.ones(2)}, meta={"c": {"mine": 1}})
        assert len(writer) == 4
        assert writer["c"].tolist() == [3.0, 5.0, 7.0]
    with ptrarray.open(path) as store:
        check(store.series("a"), LEVEL)
        check(store.series("b"), LEVEL.rename("other"))
        check(store.series("c"), LEVEL * 2)
        assert store.meta["c"]["mine"] == 1
        assert store.series("a").index is store.series("b").index is store.series("c").index
        assert len(store) == 4
    assert len(helpers_in(path)) == 1


@pytest.mark.parametrize("layout", MIXED)
def test_frames_in_every_mixed_store(path: Path, layout: str) -> None:
    with ptrarray.create(path, **MIXED[layout]) as writer:
        for number, frame in enumerate(FRAMES):
            writer.frame(str(number), frame)
    with ptrarray.open(path) as store:
        assert len(store) == len(FRAMES)
        for number, frame in enumerate(FRAMES):
            assert_equal(frame, to_frame(store, str(number)))


def test_a_frame_of_one_dtype_in_a_store_of_rows(path: Path) -> None:
    frame = pd.DataFrame(np.eye(3, 2), index=DAYS, columns=["x", "y"])
    with ptrarray.create(path, dtype="f8", row_shape=2) as writer:
        writer["a"] = frame
        with pytest.raises(BadInputError, match=r"'b' has shape \(3, 3\)"):
            writer["b"] = pd.DataFrame(np.eye(3))
    with ptrarray.open(path) as store:
        check(to_frame(store, "a"), frame)


@pytest.mark.usefixtures("backend")
def test_packs(path: Path, tmp_path: Path) -> None:
    text = pd.Series(["a", None, "ü"], index=DAYS)
    with ptrarray.create(path) as writer:
        writer.update({"a": LEVEL, "b": text})
    ptrarray.pack(path, tmp_path / "s.tar")
    ptrarray.pack(path, tmp_path / "s.tgz")
    ptrarray.unpack(tmp_path / "s.tgz", tmp_path / "again.ptr")
    with tarfile.open(tmp_path / "s.tar") as tar:
        tar.extractall(tmp_path / "by tar", filter="data")
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        tar.add(path, "./s.ptr")
    ptrarray.pack(tmp_path / "s.tar", tmp_path / "packed again.tar")
    assert (tmp_path / "packed again.tar").read_bytes() == (tmp_path / "s.tar").read_bytes()
    for place in ("s.tar", "again.ptr", "by tar/s.ptr", "made.tar"):
        with ptrarray.open(tmp_path / place) as store:
            store.verify()
            store.refresh()
            check(store.series("a"), LEVEL)
            check(store.series("b"), text)
            assert store.series("a").index is store.series("b").index


def test_a_pack_without_helper_arrays_says_so(path: Path, tmp_path: Path) -> None:
    with ptrarray.create(path, shard_size="1MB") as writer:
        writer["a"] = LEVEL
    ptrarray.pack(path / "shard-00000.ptr", tmp_path / "s.tar")
    with ptrarray.open(tmp_path / "s.tar") as store:
        assert store["a"].tolist() == LEVEL.tolist()
        with pytest.raises(CorruptStoreError, match=r"s\.tar has no helper array"):
            store.series("a")


# what a store cannot keep -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "layout", "problem"),
    [
        (pd.Series(["a", "b"]), {"dtype": "f8"}, "its values are kept as uint8"),
        (pd.Series(["a", "b"], dtype="category"), {"dtype": "f8"}, "its values are kept as int8"),
        (pd.Series([1.5]), {"dtype": "i4"}, "'x' has dtype float64, which cannot be cast"),
        (pd.Series([1.5]), {"dtype": "f8", "row_shape": 3}, r"has shape \(1,\)"),
        pytest.param(
            *(pd.Series([object()]), {}, "'x': it holds Python objects of which one is not kept"),
            id="object",
        ),
    ],
    ids=str,
)
def test_what_is_refused(path: Path, value: Any, layout: dict[str, Any], problem: str) -> None:
    with ptrarray.create(path, **layout) as writer:
        with pytest.raises(BadInputError, match=problem):
            writer.write({"y": np.zeros((1, *(writer.row_shape or ())), "i1"), "x": value})
        assert len(writer) == 0
    assert not (path / FOLDER).exists()


def test_wrong_kinds_and_names_that_are_there(path: Path) -> None:
    with ptrarray.create(path) as writer:
        with pytest.raises(BadInputError, match="a DataFrame is no Series"):
            writer.series("a", pd.DataFrame({"a": [1]}))
        with pytest.raises(BadInputError, match="a ndarray is no DataFrame"):
            writer.frame("a", np.eye(2))
        with pytest.raises(BadInputError, match="choose another key"):
            writer.write({"a": LEVEL}, meta={"a": {"pandas": 1}})
        writer["a"] = [1]
        for call in (writer.series, writer.frame):
            with pytest.raises((DuplicateNameError, BadInputError)):
                call("a", LEVEL, overwrite=False)
        assert writer.meta["a"] == {}
        writer.series("a", LEVEL)
        writer["a"] = [1]
        assert writer.meta["a"] == {}


# kept once ----------------------------------------------------------------------------------------


def test_equal_indexes_are_kept_once_whoever_writes_them(path: Path) -> None:
    ptrarray.create(path).close()
    for name in "abc":
        with ptrarray.append(path) as writer:
            writer[name] = LEVEL.set_axis(DAYS.copy(deep=True))
    assert len(helpers_in(path)) == 1
    with ptrarray.append(path) as writer:
        writer["d"] = LEVEL.rename_axis("other")
    assert len(helpers_in(path)) == 2
    with ptrarray.open(path) as store:
        assert store.series("a").index is store.series("c").index
        first = store.series("a").index
        with ptrarray.append(path) as writer:
            writer["e"] = LEVEL
        store.refresh()
        assert store.series("e").index is first


def write_some(path: Path, who: int) -> None:
    with ptrarray.create(path, mode="a") as writer:
        for i in range(20):
            writer[f"{who}-{i}"] = pd.Series([1.0, 2.0], index=[i, "x"])


def test_several_processes_that_write_the_same_indexes(path: Path) -> None:
    ptrarray.create(path).close()
    children = [in_child(write_some, path, who) for who in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    ptrarray.verify(path)
    assert len(helpers_in(path)) == 20
    assert len(ptrarray.open(path)) == 60


def in_child(function: Callable[..., object], *arguments: Any) -> int:
    """Call a function in a child of a fork, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        function(*arguments)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_child_of_a_fork_goes_on(path: Path) -> None:
    with ptrarray.create(path) as writer:
        writer["a"] = LEVEL
        more = {"b": LEVEL * 2, "c": pd.Series([1], index=["k"])}
        assert os.waitpid(in_child(writer.update, more), 0)[1] == 0
        writer["d"] = LEVEL
    ptrarray.verify(path)
    assert len(helpers_in(path)) == 2


# dropped ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["mixed", "rows", "shards"])
def test_compact_drops_what_nothing_refers_to(path: Path, layout: str) -> None:
    levels = pd.MultiIndex.from_tuples([(1, "a"), (2, "b"), (3, "c")])
    with ptrarray.create(path, **{**MIXED, **OF_FLOATS}[layout]) as writer:
        writer["a"] = LEVEL
        writer["b"] = LEVEL.set_axis(levels)
        writer["c"] = LEVEL.set_axis(["x", "y", "z"])
    everything = helpers_in(path)
    assert len(everything) == 5  # dates, text, and levels with two of their own
    ptrarray.compact(path)
    assert sorted(helpers_in(path)) == sorted(everything)
    with ptrarray.append(path) as writer:
        del writer["a"]
        writer["c"] = [1.0]
        assert sorted(writer) == ["b", "c"]
    ptrarray.compact(path)
    assert len(helpers_in(path)) == 3
    with ptrarray.open(path) as store:
        check(store.series("b"), LEVEL.set_axis(levels))
        store.verify()


def test_compact_beside_a_writer_that_knows_what_is_there(path: Path) -> None:
    with ptrarray.create(path) as writer:
        writer["a"] = LEVEL
        del writer["a"]
        ptrarray.compact(path)  # leaves what the writer may refer to
        assert len(helpers_in(path)) == 1
        writer["b"] = LEVEL
    ptrarray.verify(path)
    with ptrarray.append(path) as writer:
        del writer["b"]
    ptrarray.compact(path)
    assert helpers_in(path) == []
    with ptrarray.append(path) as writer:
        writer["c"] = LEVEL
    check(ptrarray.open(path).series("c"), LEVEL)


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_a_reader_keeps_what_was_dropped(path: Path, backend: Any) -> None:
    with ptrarray.create(path) as writer:
        writer.update({"a": LEVEL, "b": LEVEL.set_axis(["x", "y", "z"])})
    store = ptrarray.open(path, backend=backend)
    read = store.series("a")
    ptrarray.create(path, mode="w", dtype="i4").close()
    ptrarray.compact(path)
    assert helpers_in(path) == []
    check(read, LEVEL)
    check(store.series("a"), LEVEL)
    check(store.series("b"), LEVEL.set_axis(["x", "y", "z"]))
    store.refresh()
    assert len(store) == 0


def test_a_reader_that_opens_while_helpers_are_dropped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between both looks at them: it begins again, with what the store is by then."""
    with ptrarray.create(path) as writer:
        writer["a"] = LEVEL
    opened, n_calls = helpers.open_helpers, 0

    def dropping(*arguments: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        found = opened(*arguments)
        if n_calls == 1:
            with ptrarray.append(path) as writer:
                writer["a"] = LEVEL.set_axis(["x", "y", "z"])
            ptrarray.compact(path)
        return found

    monkeypatch.setattr(helpers, "open_helpers", dropping)
    store = ptrarray.open(path)
    assert n_calls > 1
    check(store.series("a"), LEVEL.set_axis(["x", "y", "z"]))


# killed, cut off, damaged -------------------------------------------------------------------------


def killed_before_the_commit(path: Path) -> None:
    keep = helpers.HelperWriter.keep

    def killing(*arguments: Any) -> None:
        keep(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    helpers.HelperWriter.keep = killing  # type: ignore[method-assign,assignment]
    with ptrarray.append(path) as writer:
        writer.series("b", LEVEL.set_axis(["x", "y", "z"]))


def test_killed_between_helper_arrays_and_the_commit(path: Path) -> None:
    with ptrarray.create(path) as writer:
        writer["a"] = LEVEL
    _, status = os.waitpid(in_child(killed_before_the_commit, path), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    ptrarray.verify(path)
    assert list(ptrarray.open(path)) == ["a"]
    check(ptrarray.open(path).series("a"), LEVEL)
    ptrarray.compact(path)
    assert len(helpers_in(path)) == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_the_nth_call_fails_as_a_series_is_written(memory: Path, code: int, known: bool) -> None:
    path = memory / "s.ptr"
    for n in range(1, 500):
        shutil.rmtree(path, ignore_errors=True)
        with ptrarray.create(path) as writer:
            writer["a"] = LEVEL if known else [1.0]
        with injected() as faults, ptrarray.append(path) as writer:
            faults.arm(n, code, is_lasting=False)
            error = caught(lambda into: into.update(b=LEVEL * 2), writer)
            n_failed = faults.n_failed
            faults.disarm()
        if error is not None:
            check_named(error, str(path))
        with ptrarray.open(path) as store:
            store.verify()
            assert list(store) in (["a"], ["a", "b"])
            if "b" in store:
                check(store.series("b"), LEVEL * 2)
        if not n_failed:
            assert n > 3
            return
    raise AssertionError("it never passes")


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("layout", ["mixed", "shards"])
def test_damage_is_found_and_what_is_intact_repaired(path: Path, layout: str) -> None:
    with ptrarray.create(path, **MIXED[layout]) as writer:
        writer["a"] = LEVEL
        writer["b"] = LEVEL.set_axis(["x", "y", "z"])
    ptrarray.checkpoint(path)
    flip(path / FOLDER / "data.bin", 0)
    with pytest.raises(CorruptStoreError, match=r"helpers\.ptr/data\.bin has array"):
        ptrarray.verify(path)
    (left_out,) = ptrarray.repair(path, path.with_name("r.ptr"))
    assert left_out.file.endswith("helpers.ptr/data.bin")
    with ptrarray.open(path.with_name("r.ptr")) as store:
        check(store.series("b"), LEVEL.set_axis(["x", "y", "z"]))
        assert store["a"].tolist() == LEVEL.tolist()
        with pytest.raises(CorruptStoreError, match=r"r\.ptr has no helper array '\w{32}'"):
            store.series("a")
        with pytest.raises(CorruptStoreError, match=r"'a'.* refers to no helper array"):
            store.verify()


def test_a_helper_array_with_the_name_of_another_is_found(path: Path) -> None:
    with ptrarray.create(path) as writer:
        writer["a"] = LEVEL
    (name,) = helpers_in(path)
    with ptrarray.append(path / FOLDER) as writer:
        meta = writer.meta[name]
        writer.write({name: np.zeros(3, "M8[ns]")}, overwrite=True, meta={name: meta})
    with pytest.raises(CorruptStoreError, match="whose name is not that of its content"):
        ptrarray.verify(path)


def refer_to_itself(name: str) -> dict[str, Any]:
    return {"kind": "Index", "values": {"shared": name}}


@pytest.mark.parametrize(
    "about",
    [
        refer_to_itself,
        lambda _: {"kind": "Index", "values": {"raw": ["<i8", b"123"]}},
        lambda _: {"text": [{"own": None}, {"own": None}]},
        lambda _: {"skeleton": [{"own": None}, []]},
        lambda _: {"kind": "Categorical", "codes": {"field": "0"}},
        lambda _: {"kind": 1},
        lambda _: {"list": {"own": None}},
    ],
)
def test_hostile_helper_arrays(path: Path, about: Callable[[str], Any]) -> None:
    with ptrarray.create(path) as writer:
        writer["a"] = LEVEL
    (name,) = helpers_in(path)
    with ptrarray.append(path / FOLDER) as writer:
        writer.meta[name] = {"pandas": about(name)}
    with ptrarray.open(path) as store, pytest.raises((CorruptStoreError, BadInputError)):
        store.series("a")
