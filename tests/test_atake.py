"""Reading for an event loop: it goes on meanwhile, and what is cancelled ends."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArray, UnknownNameError
from tests.support.remote import URL, FolderObjects, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": np.full(20_000, n) for n in range(40)})
    ptrarray.checkpoint(path)
    return path


def elsewhere(path: Path, name: str = "a0") -> PointerArray:
    store = ptrarray.open(f"{URL}/{path.name}", gap=1)
    store[name]
    return store


def held(objects: FolderObjects, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Hold all answers of what is asked from now on, until the second event is set."""
    is_asked, goes_on, get = threading.Event(), threading.Event(), objects.get

    def slow(*what: Any) -> Any:
        is_asked.set()
        assert goes_on.wait(60)
        return get(*what)

    monkeypatch.setattr(objects, "get", slow)
    return is_asked, goes_on


def test_is_what_take_gives(path: Path) -> None:
    async def all_at_once(store: PointerArray) -> list[Any]:
        names = [[f"a{n}", f"a{39 - n}"] for n in range(40)]
        return list(await asyncio.gather(*map(store.atake, names)))

    with folder_elsewhere(path.parent), ptrarray.open(path) as here:
        for store in (here, elsewhere(path)):
            for n, batch in enumerate(asyncio.run(all_at_once(store))):
                assert np.array_equal(batch.values, here.take([f"a{n}", f"a{39 - n}"]).values)
        part = here.partitions(2)[1]
        assert asyncio.run(part.atake(iter(["a39"]))).values[0] == 39


def test_errors_are_those_of_take(path: Path) -> None:
    with ptrarray.open(path) as store:
        with pytest.raises(UnknownNameError, match="'b'"):
            asyncio.run(store.atake(["a1", "b"]))
        with pytest.raises(TypeError, match="a1"):
            asyncio.run(store.atake("a1"))


def test_the_loop_goes_on_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(store: PointerArray, is_asked: Any, goes_on: Any) -> Any:
        task = asyncio.create_task(store.atake(["a3", "a7"]))
        while not is_asked.is_set():  # nothing comes before this loop has gone on
            await asyncio.sleep(0)
        goes_on.set()
        return await task

    with folder_elsewhere(path.parent) as objects:
        store = elsewhere(path)
        events = held(objects, monkeypatch)
        assert asyncio.run(main(store, *events)).values[::20_000].tolist() == [3, 7]


@pytest.mark.parametrize("names", [["a3"], ["a3", "a7", "a30"]])
def test_what_is_cancelled_ends(
    path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(store: PointerArray, out: Any, is_asked: Any) -> None:
        task = asyncio.create_task(store.atake(names, out=out))
        while not is_asked.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task  # though no answer has come yet

    with folder_elsewhere(path.parent) as objects:
        store = elsewhere(path)
        is_asked, goes_on = held(objects, monkeypatch)
        out = np.zeros(20_000 * len(names), "i4")
        asyncio.run(main(store, out, is_asked))
        assert not out.any()
        goes_on.set()
        assert store.take(["a3"]).values[0] == 3  # and it can be read as before
        assert not out.any()


def test_a_child_of_a_fork_has_threads_of_its_own(path: Path) -> None:
    with ptrarray.open(path) as store:
        asyncio.run(store.atake(["a1"]))
        child = os.fork()
        if not child:
            is_right = asyncio.run(store.atake(["a2"])).values[0] == 2
            os._exit(0 if is_right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
