"""What an open, a read and a write ask of the system: counted, not timed.

Counted at the seam through which the package does its file I/O, everywhere; and by strace,
where it is, which sees also what numpy and Python ask for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.system import advice, files
from tests.support.checks import root_base

Calls = Counter[str]
N_ARRAYS = 500


def filled(path: Path) -> Path:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": np.arange(n % 50 + 1) for n in range(N_ARRAYS)})
    ptrarray.checkpoint(path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return filled(tmp_path / "a.ptr")


class CountingOs:
    """The module `os` as the seam sees it, every call counted."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += name != "fspath"
            return real(*args, **kwargs)

        return call


@contextmanager
def counted() -> Iterator[Calls]:
    calls: Calls = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", CountingOs(calls))
        # An interrupted process would take what is in memory for what is not.
        patch.setattr(advice, "SLOW_NANOSECONDS", 10**18)
        yield calls


def look(store: ptrarray.PointerArray) -> None:
    """Read by name, position and row, and ask for what the index knows."""
    for n in range(N_ARRAYS):
        _ = store[f"a{n}"], store.arrays[n], store[n : n + 5], store.pointers[f"a{n}"]
        assert f"b{n}" not in store
    assert sum(map(len, store.values())) == store.shape[0] == len(store.rows)
    assert len(list(store.items())) == len(store)


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_an_open_takes_a_handful_whatever_the_number_of_names(
    tmp_path: Path, path: Path, backend: Any
) -> None:
    ptrarray.create(tmp_path / "none.ptr", dtype="i4", rows=1).close()
    found = []
    for each in (path, tmp_path / "none.ptr"):
        with counted() as calls, ptrarray.open(each, backend=backend):
            found.append(calls)
    assert found[0] == found[1]
    assert found[0]["open"] == 3
    assert found[0].total() <= 13


def test_a_read_of_a_mapping_takes_none(path: Path) -> None:
    with ptrarray.open(path) as store:
        with counted() as calls:
            look(store)
            store.take([f"a{n}" for n in range(100)])
            assert np.sum(store) == store.rows.sum()
            store.reduce_each(np.add)
            assert all(len(array) for array in store.walk())
        assert not calls


def test_all_views_are_of_one_mapping(path: Path) -> None:
    with ptrarray.open(path) as store:
        views = [store[name] for name in store]
        views += [*store.values(), *store.walk(), store[3:9], store.rows, store.arrays[7]]
        store.refresh()
        views += [store["a1"], np.asarray(store)]
        assert len({id(root_base(view)) for view in views}) == 1


@pytest.mark.parametrize(
    ("n_reads", "read"),
    [
        (1, lambda store: store["a40"]),
        (1, lambda store: store.arrays[7]),
        (1, lambda store: store[5:900]),
        (1, lambda store: store[-1]),
        (1, lambda store: store.arrays[20:90]),
        (1, lambda store: list(store.values())),
        (0, lambda store: [list(store.pointers.items()), "absent" in store, store.lengths]),
        (0, lambda store: store[9:9]),
    ],
)
def test_a_read_without_a_mapping_takes_one(
    path: Path, n_reads: int, read: Callable[[ptrarray.PointerArray], object]
) -> None:
    with ptrarray.open(path, backend="pread") as store:
        with counted() as calls:
            read(store)
        assert calls["preadv"] == calls.total() == n_reads


def test_a_take_without_a_mapping_reads_neighbours_together(path: Path) -> None:
    with ptrarray.open(path, backend="pread") as store:
        with counted() as calls:
            store.take([f"a{n}" for n in range(300, 100, -2)])
        assert calls["preadv"] == 1
        assert calls.total() <= 1 + advice.N_TOUCHED


def test_a_refresh_takes_a_handful(path: Path) -> None:
    with ptrarray.open(path) as store, ptrarray.append(path) as writer:
        with counted() as calls:
            store.refresh()
        assert calls.total() <= 5
        writer["new"] = [1]
        with counted() as calls:
            store.refresh()
        assert calls.total() <= 10
        assert "new" in store


WRITES: dict[str, Callable[[ptrarray.PointerArrayWriter], object]] = {
    "one": lambda w: w.update({"new": np.arange(5)}),
    "several": lambda w: w.write({f"n{n}": np.arange(n) for n in range(50)}),
    "ragged": lambda w: w.write_ragged(["x", "y"], np.arange(9), [0, 4, 9]),
    "replacing": lambda w: w.write({"a1": np.arange(5)}, overwrite=True),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_takes_three(
    path: Path, write: Callable[[ptrarray.PointerArrayWriter], object]
) -> None:
    """The rows, the record, the header; and a look whether the store is still in its place."""
    with ptrarray.append(path) as writer:
        writer["first"] = [1]  # looks at what others did before
        with counted() as calls:
            write(writer)
        # One array is one buffer.
        assert calls - Counter(pwritev=1, pwrite=2) in (Counter(stat=1), Counter(stat=1, pwrite=1))
        assert calls.total() == 4


def test_what_others_wrote_is_read_when_a_name_is_asked_for(path: Path) -> None:
    """By one read, however many records; not by writers that take turns to replace arrays."""
    with ptrarray.append(path) as writer, ptrarray.append(path) as other:
        for round in range(3):
            for n in range(20):
                other[f"{round}/{n}"] = [n]
                with counted() as calls:
                    writer["mine"] = [n]
                assert calls == Counter(stat=1, pwrite=3)
            other.attrs["round"] = round
            with counted() as calls:
                writer.write({f"new {round}": [1]})
            # Whoever plans rows reads them for these, too, and what it wrote itself.
            assert calls == Counter(stat=1, pread=3 if round else 1, pwrite=3)
            for name in (f"{round}/7", "mine", f"new {round}"):
                with pytest.raises(ptrarray.DuplicateNameError):
                    writer.write({name: [1]})
            assert writer.attrs["round"] == round
            with pytest.raises(ptrarray.OverlapError):
                writer.write({"planned": [1]}, start=writer.pointers[f"{round}/7"].start)


def test_a_deletion_takes_two(path: Path) -> None:
    with ptrarray.append(path) as writer:
        writer["first"] = [1]
        with counted() as calls:
            del writer["first"]
        assert calls["pwrite"] == 2
        assert calls.total() <= 8


def test_an_open_asks_when_the_machine_was_started_only_where_that_matters(path: Path) -> None:
    real, asked = files.boot_id, []

    def boot_id() -> bytes:
        asked.append("once")
        return real()

    with pytest.MonkeyPatch.context() as patch, ptrarray.append(path) as writer:
        patch.setattr(files, "boot_id", boot_id)
        ptrarray.open(path).close()
        assert asked == []  # all of it is on the disk
        writer["new"] = [1]
        asked.clear()
        assert "new" in ptrarray.open(path)
        assert asked == ["once"]


def test_what_the_system_tells_is_read_without_a_codec(path: Path) -> None:
    """Its import would take as long as the rest of opening a store, in a process that has it not."""
    with ptrarray.append(path) as writer:
        writer["new"] = [1]
        program = (
            "import sys, ptrarray\nbefore = set(sys.modules)\n"
            f"assert ptrarray.open({str(path)!r})['new'].tolist() == [1]\n"
            "sys.exit(repr(set(sys.modules) - before))"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"


def test_the_boot_id_is_that_of_the_system() -> None:
    text = Path("/proc/sys/kernel/random/boot_id")
    if not text.exists():
        pytest.skip("this system has none")
    assert files.boot_id().hex() == text.read_text(encoding="ascii").strip().replace("-", "")


@pytest.mark.parametrize("raw", [b"no number", b"\xff\xfe"])
def test_a_boot_id_that_makes_no_sense_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    (tmp_path / "told").write_bytes(raw)
    real = files._system_text
    monkeypatch.setattr(files, "_system_text", lambda _: real(str(tmp_path / "told")))
    assert files.boot_id.__wrapped__() == bytes(16)


# by strace ----------------------------------------------------------------------------------------

# What Python's memory and threads ask for.
ELSEWHERE = {"brk", "munmap", "mremap", "mprotect", "madvise", "futex", "getpid", "gettid", "close"}


def traced_program(path: str) -> None:
    """Do one thing after the other, and say before each by a call that fails what it is."""
    for backend in ("mmap", "pread"):
        mark(f"open {backend}")
        store = ptrarray.open(path, backend=backend)
        mark("between")
        look(store)
        mark(f"read {backend}")
        if backend == "mmap":
            look(store)
        else:
            _ = store["a40"]
        mark(f"refresh {backend}")
        store.refresh()
        mark("between")
        store.close()
    with ptrarray.append(path) as writer:
        writer["first"] = [1]
        array = np.arange(5, dtype="i4")
        mark("write")
        writer["second"] = array
        mark("between")


def mark(step: str) -> None:
    Path(f"/mark/{step}").exists()


def traced(folder: Path, path: Path) -> dict[str, Calls]:
    """Run the program under strace, and count what it asks for in each step."""
    strace = shutil.which("strace")
    output = folder / "trace.txt"
    program = f"from {__name__} import traced_program; traced_program({str(path)!r})"
    command = [str(strace), "-f", "-o", str(output), sys.executable, "-c", program]
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if strace is None or "ptrace" in done.stderr:  # not allowed in some containers
        pytest.skip("strace cannot be used here")
    assert done.returncode == 0, done.stderr
    found: dict[str, Calls] = {}
    step = "before"
    for line in output.read_text().splitlines():
        if (marked := re.search(r'"/mark/(.*?)"', line)) is not None:
            step = marked[1]
        elif (called := re.match(r"\d+ +(\w+)\(", line)) is not None:
            is_anonymous = "MAP_ANONYMOUS" in line
            if called[1] not in ELSEWHERE and not is_anonymous:
                found.setdefault(step, Counter())[called[1]] += 1
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_by_strace(tmp_path: Path, path: Path) -> None:
    found = traced(tmp_path, path)
    assert found["open mmap"]["mmap"] == 2
    assert found["open mmap"]["openat"] == found["open pread"]["openat"] == 3
    assert found["open mmap"].total() <= 15
    assert found["open pread"]["mmap"] == 0
    assert found["open pread"].total() <= 10
    assert "read mmap" not in found  # not a single one
    assert found["read pread"].total() == 1
    assert found["refresh mmap"].total() <= 5
    assert found["write"].pop("flock") == 2
    assert sum(n for call, n in found["write"].items() if call.startswith("pwrite")) == 3
    assert found["write"].total() <= 4
