"""Checkpoint and compaction take little memory, however many names there are: of a real process.

What a process has taken at the most the system tells: of private memory, and with what was read of
mapped files. Sizes are such that all columns together are several times what is allowed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.writing.session import Session
from tests.support.prepared import python

LIMIT = 32 << 20  # what is left of 64 MB, less what Python and numpy take
NAMES_NBYTES = 141  # of each name in the index: its own, and in the other columns
MEASURED = """
import sys
import ptrarray
from pathlib import Path
from typing import Any
def figures():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.endswith("kB")}
what, path, memory = sys.argv[1:]
act = getattr(ptrarray, what)
with ptrarray.create(f"{path}.small", mode="w") as writer:
    writer["a"] = [1.0]
act(f"{path}.small")  # what it imports is there, and was compiled where it had to be
before = figures()
Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the most there was in memory, begins anew
act(path, memory=memory)
print(figures()["VmHWM"] - before["VmRSS"])
"""
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the system does not tell"
)


def grown_by(what: str, path: Path, memory: str) -> int:
    """Return by how many bytes at the most a process grows that does something with a store."""
    made = python("-c", MEASURED, what, path, memory)
    assert made.returncode == 0, made.stderr
    return int(made.stdout)


def write(writer: ptrarray.PointerArrayWriter, first: int, last: int) -> None:
    """Write one row for each of many long names, in commits of some thousand."""
    for at in range(first, last, 5000):
        names = [f"{'a long name/' * 8}{n:012d}" for n in range(at, min(at + 5000, last))]
        values = np.zeros(len(names), "u1")
        writer.write_ragged(names, values, np.arange(len(names) + 1))


@pytest.mark.parametrize(
    ("kind", "n_names"),
    [({"dtype": "u1"}, 280_000), ({"dtype": None, "masked": True}, 260_000)],
    ids=["rows", "masked"],
)
def test_a_store_of_many_names(
    kind: dict[str, Any], n_names: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them in the journal; then some there, and all others in the index; and compacted."""
    path = tmp_path / "a.ptr"
    monkeypatch.setattr(Session, "checkpoint_if_grown", lambda *_: None)
    with ptrarray.create(path, **kind) as writer:
        write(writer, 0, n_names)
    grown = [grown_by("checkpoint", path, "64MB")]
    assert (path / "index.msgpack").stat().st_size > n_names * NAMES_NBYTES
    with ptrarray.append(path) as writer:
        write(writer, n_names, n_names + 10_000)
        del writer[next(iter(writer))]
    grown += [grown_by(what, path, "64MB") for what in ("checkpoint", "compact", "publish")]
    assert max(grown) < LIMIT < n_names * NAMES_NBYTES, grown
    with ptrarray.open(path) as store:
        assert len(store) == n_names + 10_000 - 1
