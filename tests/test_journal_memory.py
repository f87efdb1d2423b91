"""What a long journal takes of memory, and what names of the same hash cost, at the limits as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray.format import journal as journal_format
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.writing import session
from tests.support.memory import peak_nbytes

pytestmark = pytest.mark.usefixtures("no_syncs")
N_NAMES, N_A_CALL = 300_000, 50_000

READ = """
import sys
from pathlib import Path
import ptrarray

def private_nbytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])

store = ptrarray.open(sys.argv[2])  # so that what is imported late is there
store["few"], len(store)
before = private_nbytes()
store = ptrarray.open(sys.argv[1])
assert store["speaker/utt/00000007"].tolist() == [7]
print(private_nbytes() - before)
"""


@pytest.fixture(scope="module")
def long_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 300,000 names, all of them in its journal."""
    path = tmp_path_factory.mktemp("long") / "a.ptr"
    writer = ptrarray.create(path, dtype="i4")
    for first in range(0, N_NAMES, N_A_CALL):
        names = [f"speaker/utt/{n:08}" for n in range(first, first + N_A_CALL)]
        values = np.arange(first, first + N_A_CALL, dtype="i4")
        writer.write_ragged(names, values, np.arange(N_A_CALL + 1))
    writer._store().release()  # type: ignore[attr-defined]
    return path


def test_a_process_that_opens_a_long_journal(long_journal: Path, tmp_path: Path) -> None:
    """Private memory: 66 bytes a name, where a dict took 200."""
    few = tmp_path / "few.ptr"
    with ptrarray.create(few, dtype="i4") as writer:
        writer.write({"few": [1]})
    command = [sys.executable, "-c", READ, str(long_journal), str(few)]
    nbytes = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert nbytes < 80 * N_NAMES + 2**24  # what is freed while records are read may stay


def test_what_is_read_at_one_time(long_journal: Path) -> None:
    """Of the journal, no more than one record beside what is kept."""
    with Journal(long_journal, writable=False) as log:
        header = log.read_header()
        assert header.committed_end > 15_000_000

        def read() -> None:
            for _ in log.notices(header, journal_format.RECORDS_START):
                pass

        assert peak_nbytes(read) < 3 * 60 * N_A_CALL
    assert peak_nbytes(lambda: ptrarray.open(long_journal)) < 90 * N_NAMES


def test_a_writer_keeps_eight_bytes_a_name(
    long_journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reads nothing of a record but the few names whose hashes are the same by chance."""
    writer = ptrarray.append(long_journal)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(session.Session, "commit", lambda *_: None)
            assert peak_nbytes(lambda: writer.write({"new": [1]})) < 40 * N_NAMES
        seen: list[int] = []
        some_names = Journal.some_names

        def counted(log: Journal, record_at: int, positions: list[int]) -> object:
            seen.append(len(positions))
            return some_names(log, record_at, positions)

        monkeypatch.setattr(Journal, "some_names", counted)
        monkeypatch.setattr(Journal, "frame_at", None)
        for turn in range(20):  # 60,000 x 300,000 pairs: four have the same hash
            values = np.arange(3000, dtype="i4")
            # Of names that differ in a few digits, none have the same hash.
            names = np.random.default_rng(turn).bytes(24_000).hex(" ", 8).split()
            writer.write_ragged(names, values, np.arange(3001))
        assert 0 < sum(seen) < 100
    finally:
        writer._store().release()  # type: ignore[attr-defined]
