"""The bounds within which damaged files are read: faults that are put in do not pass unnoticed."""

from __future__ import annotations

import gzip
import itertools
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray.convert import files
from ptrarray.format import journal as journal_format
from ptrarray.storage.store import journal
from tests.support import damage, forging
from tests.support.damage import JOURNAL
from tests.support.limits import ROOM_NBYTES, TooLongError, TooMuchError, limited, mapped_nbytes
from tests.support.sanitized import IS_SANITIZED

ROOT = Path(__file__).parent.parent
has_room = pytest.mark.skipif(
    IS_SANITIZED or not mapped_nbytes(), reason="no bounds of memory here"
)


@has_room
def test_memory_is_bounded_inside_and_not_after_it() -> None:
    nbytes = 2 * ROOM_NBYTES
    with limited(), pytest.raises(MemoryError):
        np.empty(nbytes, np.uint8)
    assert np.empty(nbytes, np.uint8).nbytes == nbytes


def work() -> None:
    for _ in itertools.count():
        pass


def work_in_less_time_and_on() -> None:
    with pytest.raises(TooLongError, match=r"0\.1 seconds"), limited(0.1):
        work()
    work()


def test_time_is_bounded_inside_of_time_that_is_bounded() -> None:
    with pytest.raises(TooLongError, match=r"0\.2 seconds"), limited(0.2):
        work_in_less_time_and_on()


def test_a_loop_that_hears_no_signal_ends_the_process() -> None:
    program = """
import itertools
from tests.support.limits import limited
with limited(0.1):
    sum(itertools.repeat(0))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGVTALRM


def test_all_that_reads_damaged_files_is_bounded() -> None:
    """A module of such tests says so in its first lines, or bounds each store by itself."""
    named = ("damage", "hostile", "forged", "bad", "pickle")
    modules = [
        path for path in sorted(ROOT.glob("tests/test_*.py")) if any(map(path.stem.count, named))
    ]
    without = [
        path.name for path in modules if 'usefixtures("limits' not in path.read_text("utf-8")
    ]
    assert without == ["test_bad_arrays.py", "test_bad_input.py"]  # which have no files


# parsers that are as they must not be -------------------------------------------------------------


@has_room
def test_a_parser_that_allocates_what_a_length_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = damage.content(JOURNAL)
    raw = forging.forge_slots(raw, (0, 1), committed_end=1 << 40, synced_end=1 << 40)
    assert damage.check_forged(damage.damaged(tmp_path / "root", JOURNAL, raw))
    monkeypatch.setattr(journal, "_SMALL_NBYTES", 1 << 62)
    monkeypatch.setattr(journal, "_BLOCK_NBYTES", 1 << 62)
    with pytest.raises(MemoryError):
        damage.check_forged(damage.damaged(tmp_path / "again", JOURNAL, raw))


def test_a_parser_that_goes_round_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = damage.damaged(tmp_path / "root", JOURNAL, damage.content(JOURNAL))
    assert not damage.check_forged(path)
    path = damage.damaged(tmp_path / "again", JOURNAL, damage.content(JOURNAL))
    monkeypatch.setattr(damage, "SECONDS", 0.3)
    monkeypatch.setattr(journal, "_BLOCK_NBYTES", 16)
    for name in ("whole_nbytes", "frame_nbytes"):  # as of a record of no bytes
        monkeypatch.setattr(journal_format, name, lambda *_: 0)
    with pytest.raises(TooLongError):
        damage.check_forged(path)


@has_room
@pytest.mark.usefixtures("limits")
def test_memory_that_was_refused_is_no_failure_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import goes on behind any exception, and reports it."""
    about = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    with gzip.open(tmp_path / "x.npy.gz", "wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        file.write(bytes(80))

    def imported() -> ptrarray.convert.Report:
        source, store = tmp_path / "x.npy.gz", tmp_path / "s.ptr"
        return ptrarray.convert.from_npy(source, store, progress=False, processes=1)

    assert "80 of 8,796,093,022,208 bytes are there" in imported().failures[0].problem
    monkeypatch.setattr(files, "_BLOCK_NBYTES", 1 << 62)
    with pytest.raises(TooMuchError):
        imported()
