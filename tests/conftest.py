"""Fixtures of many modules, and hypothesis profiles.

Of the profiles, ``dev`` looks elsewhere each time, ``ci`` at the same cases each time; with
``--hypothesis-profile thorough`` there are many more.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import ptrarray
from ptrarray import native
from ptrarray.cli import main
from ptrarray.reductions import blocks, each, whole
from tests.support.backends import BACKENDS, use
from tests.support.command_line import Run
from tests.support.disk import memory_directory
from tests.support.limits import SECONDS, THREADS_NBYTES, limited
from tests.support.sanitized import IS_SANITIZED, columns_in_blocks
from tests.support.servers import Bucket, Nginx
from tests.support.story import without_syncs

# A shell has its jobs in the background ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The disk decides how long a step takes, so no step has a deadline.
settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=500)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


BLOCKS = [
    (module, name, getattr(module, name))
    for module, names in (
        (blocks, ("BLOCK_NBYTES", "CELL_ROWS", "POINTERS")),
        (whole, ("VARIANCE_NBYTES", "FOLD_ELEMENTS", "SMALL_ELEMENTS", "BRANCHES")),
        (each, ("LONG_ELEMENTS",)),
    )
    for name in names
]


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of the way of `gc.collect`, which many tests call.

    Of half a million objects, each call would look at all, for a quarter of a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _few_objects() -> None:
    """Do the same with what modules have left that ran before: reports, caches, libraries."""
    if len(gc.get_objects()) > 10_000:
        pytest_collection_finish()


def pytest_report_header() -> str:
    """Say above the tests which of the two was tested."""
    return f"ptrarray: {native.variant()}"


@pytest.fixture(autouse=IS_SANITIZED, scope="session")
def _sanitized() -> Iterator[None]:
    with columns_in_blocks():
        yield


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once for each backend: what it opens without naming one has this one."""
    return use(request, monkeypatch)


@pytest.fixture(scope="session")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A web server; without one, tests that need it are skipped."""
    with Nginx(tmp_path_factory.mktemp("http")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A bucket of S3; without a server for it, tests that need it are skipped."""
    with Bucket(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory if there is one, for tests that sync a thousand times."""
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def joblib() -> Iterator[Any]:
    """The module joblib, with the same workers for all: to begin they take longer than for the rest."""
    module = pytest.importorskip("joblib")
    yield module
    module.externals.loky.get_reusable_executor().shutdown(wait=True)


@pytest.fixture
def no_syncs() -> Iterator[None]:
    """Spare the disk what only a power cut could tell."""
    with without_syncs():
        yield


@pytest.fixture
def limits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test that reads damaged or forged files take bounded memory and time."""
    with limited(seconds_of(request)):
        yield


@pytest.fixture
def limits_of_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Do the same where many threads are."""
    with limited(seconds_of(request), THREADS_NBYTES):
        yield


def seconds_of(request: pytest.FixtureRequest) -> float:
    """Return the processor time for a test, of which there is more where more examples are tried."""
    is_slow = request.node.get_closest_marker("slow") is not None
    n_times = settings().max_examples / settings.get_profile("dev").max_examples
    return SECONDS * n_times * (100 if is_slow else 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path where nothing is; modules whose tests need a store there make it."""
    return tmp_path / "a.ptr"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder for the files that a test imports."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def writer(path: Path) -> Iterator[ptrarray.PointerArrayWriter]:
    """Return a writer of a new store of integers."""
    with ptrarray.create(path, dtype="i4") as opened:
        yield opened


@pytest.fixture
def store(path: Path) -> Iterator[ptrarray.PointerArray]:
    """Return a reader of the store that a module makes at `path`."""
    with ptrarray.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    """Make some dozens of rows fill many blocks, of every kind."""
    small = 200, 16, 5, 100, 8, 100, 4, 100
    with pytest.MonkeyPatch.context() as patch:
        for (module, name, _), value in zip(BLOCKS, small, strict=True):
            patch.setattr(module, name, value)
        yield


@pytest.fixture
def measured_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give blocks their sizes again in a module of small ones."""
    for module, name, value in BLOCKS:
        monkeypatch.setattr(module, name, value)


@pytest.fixture(params=["journal", "index", "compacted", "repaired"])
def settled(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """Return a function that brings a store to each of the states it can be read in."""

    def settle(path: Path) -> Path:
        if request.param == "journal":
            return path
        ptrarray.checkpoint(path)
        if request.param == "compacted":
            with ptrarray.append(path) as writer:
                writer["a hole"] = np.arange(3)
                writer["behind it"] = np.arange(3)
                del writer["a hole"]
            ptrarray.compact(path)
            with ptrarray.append(path) as writer:
                del writer["behind it"]
        if request.param == "repaired":
            repaired = path.with_name("repaired.ptr")
            assert ptrarray.repair(path, repaired) == []
            return repaired
        return path

    return settle


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in this process."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


collect_ignore = ["fuzz.py"]  # a program, with a package of its own
