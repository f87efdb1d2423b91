"""An open or refresh sees a state that existed, whatever happens between its system calls."""

from __future__ import annotations

import functools
import itertools
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import ptrarray
from ptrarray import PointerArray
from tests.support.backends import HERE, use
from tests.support.interfering import CHANGING_CALLS, READING_CALLS, before_call
from tests.support.reading import make_four, replace
from tests.support.recording import KilledError

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once for each backend that reads files of this machine."""
    return use(request, monkeypatch)


@pytest.fixture
def path(path: Path) -> Path:
    return make_four(path)


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.slow)])
def numbers(request: pytest.FixtureRequest, backend: str) -> Iterator[int]:
    """Return how many calls come before what is tried, one after the other."""
    every = 1 if request.param == "all" else EVERY[backend]
    return itertools.count(zlib.crc32(request.node.name.encode()) % every, every)


def append_and_checkpoint(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["b"] = [7]
        del writer["a"]
        ptrarray.checkpoint(path)
        writer.write({"new": [8], "newer": [9]})


def checkpoint_and_fill_the_journal(path: Path) -> None:
    """Put other records where the reader has seen that there are some."""
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        writer.write({f"new {n}": [n] for n in range(50)})


# The normal run tries one call in so many, from another one on in each test, the slow run all. An open or a refresh
# makes nearly the same calls where rows are mapped and where they are read: of the second, fewer are tried.
EVERY = {"mmap": 2, "pread": 5}
INTERFERING = {
    "checkpoint": ptrarray.checkpoint,
    "append": append_and_checkpoint,
    "journal": checkpoint_and_fill_the_journal,
    "compact": ptrarray.compact,
    "mode w": replace,
}


def contents(store: PointerArray) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in store.items()}


@pytest.mark.parametrize("interfere", INTERFERING.values(), ids=INTERFERING)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_change_before_any_system_call_of_a_read(
    path: Path,
    numbers: Iterator[int],
    monkeypatch: pytest.MonkeyPatch,
    interfere: Callable[[Path], None],
    is_open: bool,
) -> None:
    """An open or refresh sees the store as it was, or as it is by then."""
    with ptrarray.append(path) as writer:
        writer.write({"hole": [0] * 9})
        del writer["hole"]
        writer["late"] = [7]
    for n_calls_before in numbers:
        copy = path.with_name(f"{n_calls_before}.ptr")
        shutil.copytree(path, copy)
        with ptrarray.append(copy) as writer, ptrarray.open(copy) as store:
            writer["latest"] = [1]
            before = contents(ptrarray.open(copy))
            calls = before_call(
                monkeypatch, n_calls_before, functools.partial(interfere, copy), READING_CALLS
            )
            with calls as interfered:
                if is_open:
                    store = ptrarray.open(copy)
                else:
                    store.refresh()
            assert contents(store) in (before, contents(ptrarray.open(copy)))
            store.verify()
        if not interfered:
            break
    assert n_calls_before > 5


@pytest.mark.parametrize("is_open", [True, False])
def test_another_store_of_shards_in_its_place(
    path: Path, numbers: Iterator[int], monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    """Renamed there between any two calls, with files of the same names: one of the two is seen."""
    shutil.rmtree(path)
    for name, value, n_arrays in (("one", 1, 2), ("two", 2, 3)):
        with ptrarray.create(path.with_name(name), dtype="f8", shard_size=1) as writer:
            for n in range(n_arrays):
                writer[f"n{n}"] = [value] * 9
        ptrarray.checkpoint(path.with_name(name))
    for n_calls_before in numbers:
        folder = path.with_name(f"{n_calls_before}")
        for name in ("one", "two"):
            shutil.copytree(path.with_name(name), folder / name)
        here = folder / "one"
        with ptrarray.open(here) as store, ptrarray.append(here) as writer:
            writer["n2"] = [3] * 9
            before = contents(ptrarray.open(here))

            def interfere(folder: Path = folder) -> None:
                (folder / "one").rename(folder / "gone")
                (folder / "two").rename(folder / "one")

            with before_call(monkeypatch, n_calls_before, interfere, READING_CALLS) as interfered:
                if is_open:
                    store = ptrarray.open(here)
                else:
                    store.refresh()
            assert contents(store) in (before, contents(ptrarray.open(here)))
        if not interfered:
            break
    assert n_calls_before > 5


def be_killed() -> None:
    raise KilledError


@pytest.mark.parametrize("change", INTERFERING.values(), ids=INTERFERING)
def test_refresh_after_a_change_that_was_killed_before_any_system_call(
    path: Path,
    numbers: Iterator[int],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
) -> None:
    """A reader that was open sees what a new one sees, and so does one after the next writer."""
    for n_calls_before in numbers:
        copy = path.with_name(f"{n_calls_before}.ptr")
        shutil.copytree(path, copy)
        with ptrarray.open(copy) as store:
            before = contents(store)
            killing = before_call(monkeypatch, n_calls_before, be_killed, CHANGING_CALLS)
            with suppress(KilledError), killing as killed:
                change(copy)
            assert contents(store) == before
            for _ in range(2):
                store.refresh()
                assert contents(store) == contents(ptrarray.open(copy))
                store.verify()
                ptrarray.append(copy).close()
        if not killed:
            break
    assert n_calls_before > 5
