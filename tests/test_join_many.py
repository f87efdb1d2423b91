"""A thousand parts, joins beside joins, another file system, and a part at a power cut."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.shards import joining
from ptrarray.storage.store.index import Index
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import try_lock_whole
from tests.support.crash_workloads import ints
from tests.support.disk import materialise, memory_directory
from tests.support.joined import held
from tests.support.power import outcomes, rebuild
from tests.support.story import NAME, Story, alone, booted, look, tell, without_syncs
from tests.test_crash import NORMAL

N_STATES = 60


@pytest.fixture
def memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=memory_directory()) as name, without_syncs():
        yield Path(name)


def one(path: Path, name: str, value: int) -> Path:
    with ptrarray.create(path, dtype="i4") as writer:
        writer[name] = [value]
    return path


@pytest.mark.parametrize("n_parts", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_parts(n_parts: int, memory: Path) -> None:
    path = memory / "all.ptr"
    for number in range(n_parts):
        with ptrarray.part(path, str(number), dtype="i4") as writer:
            writer.write({f"{number}/a": [number], f"{number}/b": []})
    ptrarray.join(path, progress=False)
    with ptrarray.open(path) as store:
        assert (len(store), len(store.shards)) == (2 * n_parts, n_parts)
        assert list(store)[::2] == [f"{number}/a" for number in range(n_parts)]
        assert np.array_equal(store.rows[:], np.arange(n_parts))
        assert [store[f"{number}/a"][0] for number in range(0, n_parts, 99)] == [
            *range(0, n_parts, 99)
        ]
    with ptrarray.append(path) as writer:
        writer["more"] = [1]
        with pytest.raises(ptrarray.DuplicateNameError):
            writer.write({"77/b": []})
    assert not path.with_name("all.ptr.parts").exists()


def test_nobody_else_gets_the_lock_between_two_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.ptr"
    ptrarray.join(path, [one(tmp_path / "0.ptr", "0", 0)], progress=False)
    others = [one(tmp_path / f"{number}.ptr", str(number), number) for number in (1, 2, 3)]
    seen = []

    def note() -> None:
        with File(max(path.glob("shard-*")) / "journal.msgpack") as journal:
            seen.append(try_lock_whole(journal))

    real = files.replace

    def replace(old: Path, new: Path) -> None:
        is_shard = new.parent == path and new.name.startswith("shard-")
        if is_shard:
            note()
        real(old, new)
        if is_shard:  # which has just become the last one
            note()

    monkeypatch.setattr(files, "replace", replace)
    ptrarray.join(path, others, progress=False)
    assert seen == [False] * 6


def join_one(path: Path, other: Path) -> None:
    ptrarray.join(path, [other], progress=False)


def test_joins_at_once(tmp_path: Path) -> None:
    """One of them makes the store, and all are in it."""
    path = tmp_path / "all.ptr"
    others = [one(tmp_path / f"{number}.ptr", str(number), number) for number in range(12)]
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        list(pool.map(join_one, [path] * len(others), others))
    assert {name: int(np.frombuffer(raw, "i4")[0]) for name, raw in held(path).items()} == {
        str(number): number for number in range(12)
    }
    assert {p.name for p in tmp_path.iterdir()} == {"all.ptr"}


def test_a_name_that_comes_while_stores_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.ptr"
    ptrarray.join(path, [one(tmp_path / "0.ptr", "a", 0)], progress=False)
    real = joining._take_files

    def take_files(*given: object) -> None:
        real(*given)  # type: ignore[arg-type]
        with ptrarray.append(path) as writer:
            writer["b"] = [7]

    monkeypatch.setattr(joining, "_take_files", take_files)
    other = one(tmp_path / "1.ptr", "b", 1)
    with pytest.raises(ptrarray.DuplicateNameError, match="'b'"):
        ptrarray.join(path, [other], progress=False)
    monkeypatch.setattr(joining, "_take_files", real)
    assert ptrarray.open(path)["b"].tolist() == [7]
    ptrarray.join(path, [other], duplicates="first", progress=False)
    assert ptrarray.open(path)["b"].tolist() == [7]
    assert not other.exists()


@pytest.mark.skipif(memory_directory() is None, reason="there is no other file system")
@pytest.mark.parametrize("how", ["move", "link", "copy"])
def test_from_another_file_system(how: str, tmp_path: Path, memory: Path) -> None:
    if tmp_path.stat().st_dev == memory.stat().st_dev:
        pytest.skip("there is no other file system")
    other = one(memory / "x.ptr", "a", 5)
    ptrarray.join(tmp_path / "all.ptr", [other], how, progress=False)
    assert held(tmp_path / "all.ptr").keys() == {"a"}
    assert other.exists() == (how != "move")


def join_until_killed(path: Path, others: list[Path], n_calls: int) -> None:
    """Kill this process when it is about to link or rename for the n-th time."""
    left = iter(range(n_calls))

    def dying(call: Callable[..., object]) -> Any:
        def counted(*given: object) -> object:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given)

        return counted

    os.link, os.replace = dying(os.link), dying(os.replace)
    ptrarray.join(path, others, progress=False)


@pytest.mark.parametrize("is_there", [False, True])
def test_killed_and_joined_again(is_there: bool, tmp_path: Path) -> None:
    for n_calls in (1, 5, 10, 11, 12, 13, 14, 15):
        root = tmp_path / str(n_calls)
        root.mkdir()
        path = root / "all.ptr"
        if is_there:
            ptrarray.join(path, [one(root / "first.ptr", "first", 9)], progress=False)
        others = [one(root / f"{number}.ptr", str(number), number) for number in range(3)]
        process = get_context("fork").Process(
            target=join_until_killed, args=(path, others, n_calls)
        )
        process.start()
        process.join()
        left = [other for other in others if other.exists()]
        if left != others:
            with pytest.raises(ptrarray.StoreNotFoundError, match=rf"{3 - len(left)} of 3 are"):
                ptrarray.join(path, others, progress=False)
        if left:
            ptrarray.join(path, left, progress=False)
        assert held(path).keys() == {"0", "1", "2"} | ({"first"} if is_there else set())
        assert [found.name for found in root.iterdir()] == ["all.ptr"]


# a part -------------------------------------------------------------------------------------------


def write_a_part(story: Story) -> None:
    """Write a part, close it, go on with it, and close it again."""
    path = story.path.parent.with_suffix("")  # whose parts are where the story is
    for first, second in (("a", "b"), ("c", "a")):
        before = story.now
        writer = story.commit(lambda: ptrarray.part(path, "store", dtype="i4"), before)
        for name, rows in ((first, ints(50)), (second, ints(3, 1))):
            arrays: dict[str, Any] = {name: rows}
            story.write(writer, None, **arrays)
        story.commit(writer.close, story.now, durable=True)


def test_a_part_at_a_power_cut(memory: Path) -> None:
    root = memory / "all.parts"
    story = tell(write_a_part, root)
    rng = random.Random(3)
    n_sealed = 0
    for cut in rng.choices(range(len(story.recording.log) + 1), k=N_STATES):
        fates = rng.choice(list(outcomes(story.recording, cut, NORMAL)))
        shutil.rmtree(root)
        materialise(rebuild(story.recording, cut, fates), root)
        with booted(9), alone():
            content = look(root / NAME)
            allowed = [story.contents[n] or None for n in story.durable(cut)]
            assert (content if content is None else arrays_in(content)) in [
                one if one is None else arrays_in(one)
                for one in [*allowed, *([{}] if None in allowed else [])]
            ]
            is_sealed = content is not None and bool(Index(root / NAME).header.sealed)
            n_sealed += is_sealed
            if is_sealed:  # all of what was written before it was closed
                assert arrays_in(content or {}).keys() in ({"a", "b"}, {"a", "b", "c"})
            with ptrarray.part(root.with_suffix(""), "store", dtype="i4") as writer:
                writer["extra"] = [1]
            ptrarray.join(memory / "joined.ptr", [root / NAME], "copy", progress=False)
        assert arrays_in(look(memory / "joined.ptr") or {}).keys() == {
            *arrays_in(content or {}),
            "extra",
        }
        shutil.rmtree(memory / "joined.ptr")
    assert n_sealed


def arrays_in(content: dict[str, bytes]) -> dict[str, bytes]:
    return {name: raw for name, raw in content.items() if name[:1] != "\0"}
