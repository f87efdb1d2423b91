"""Another boot id, and the machine has not started anew; or it is not known whether it has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import PointerArrayWriter
from ptrarray.storage.store.content import Content
from tests.support.restarts import count_syncs, ended, fill
from tests.support.story import booted

pytestmark = pytest.mark.usefixtures("no_syncs")


def base_and_writer(path: Path) -> PointerArrayWriter:
    """Leave commits that were not flushed, and a changed row that nobody noted."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer["base"] = [1]
        writer.flush()
    writer = ptrarray.append(path)
    for n, name in enumerate("abcd"):
        writer[name] = [n]
    np.memmap(path / "data.bin", "i4", "r+")[1] = 9
    return writer


def test_the_commits_of_a_living_writer_are_not_cut_off(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers that share a store each have a boot id of their own, on one machine."""
    one = base_and_writer(path)
    syncs = count_syncs(monkeypatch)
    with booted(2):
        assert list(ptrarray.open(path)) == ["base", *"abcd"]
        two = ptrarray.append(path)
        assert list(two) == ["base", *"abcd"]
        two["e"] = [5]
    assert syncs == []  # there is nothing to recover from
    one["f"] = [6]
    with booted(3), ptrarray.open(path) as store, ptrarray.append(path) as three:
        assert list(store) == list(three) == ["base", *"abcdef"]
        three["g"] = [7]
        store.refresh()
        assert list(store) == ["base", *"abcdefg"]
    assert list(one) == list(two) == ["base", *"abcdefg"]


def test_what_nobody_noted_is_lost_when_the_last_writer_is_gone(path: Path) -> None:
    """Else what a power cut had taken would be there."""
    ended(base_and_writer(path))
    with booted(2):
        assert list(ptrarray.open(path)) == ["base"]


def test_a_living_writer_goes_on_in_the_data_file_of_a_compaction(path: Path) -> None:
    one = base_and_writer(path)
    ptrarray.compact(path)
    one["e"] = [5]
    np.memmap(path / "data.2.bin", "i4", "r+")[-1] = 9
    with booted(2), ptrarray.append(path) as two:
        assert list(two) == ["base", *"abcde"]


def test_the_next_writer_ends_what_a_checkpoint_has_begun(path: Path) -> None:
    """Also where a living writer shows that there was no restart."""
    one = base_and_writer(path)
    session: Any = one._opened
    with session.locked():
        session._journal.write_header(session.journal_header._replace(next_generation=9))
    with booted(2), ptrarray.append(path) as two:
        assert list(two) == ["base", *"abcd"]
        session = two._opened
        assert session.journal_header.next_generation == 0


@pytest.mark.parametrize("is_folded", [False, True])
def test_a_writer_that_comes_while_a_reader_looks(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_folded: bool
) -> None:
    """What the reader has found is out of date then, and the writer lives."""
    ended(base_and_writer(path))
    writers = []
    real: Any = vars(Content)["has_writer"]

    def has_writer(self: Content) -> Any:
        monkeypatch.undo()
        with booted(2):
            writers.append(ptrarray.append(path))
            writers[0]["new"] = [1]
            if is_folded:  # and the index that the reader has mapped is replaced
                ptrarray.checkpoint(path)
            writers[0]["newer"] = [2]
        return real.fget(self)

    monkeypatch.setattr(Content, "has_writer", property(has_writer))
    with booted(3):
        assert list(ptrarray.open(path)) == ["base", "new", "newer"]


@contextmanager
def judged() -> Iterator[list[int]]:
    """Count the arrays whose checksum is computed."""
    found = []
    real = Content.crc

    def crc(self: Content, start: int, *args: Any) -> int:
        found.append(start)
        return real(self, start, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Content, "crc", crc)
        yield found


def test_a_reader_reads_what_is_not_flushed_once(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i4")
    writer.flush()
    fill(writer, "rows", "n", 5)
    with judged() as found, booted(2):
        assert len(ptrarray.open(path)) == 5
        assert not found  # the writer lives
        ended(writer)
        store = ptrarray.open(path)
        assert len(found) == 5
        store.refresh()
        assert len(ptrarray.open(path, backend="pread")) == len(store) == 5
        assert len(found) == 5
        ptrarray.append(path).close()
        found.clear()
        assert len(ptrarray.open(path)) == 5
        assert not found  # the writer has put an end to it


def test_what_was_read_once_is_read_again_when_it_has_changed(path: Path) -> None:
    writer = ptrarray.create(path, dtype="i4")
    fill(writer, "rows", "n", 5)
    ended(writer)
    data = np.memmap(path / "data.bin", "i4", "r+")
    with booted(2):
        for n_left in (5, 4, 3):
            assert len(ptrarray.open(path)) == n_left
            data[n_left * (n_left - 1) // 2] += 1  # in the last that is left
            os.utime(path / "data.bin", ns=(0, n_left))  # the clock may not have gone on


REAL = """
import sys
import ptrarray
path, *names = sys.argv[1:]
with ptrarray.append(path) as writer:
    print(*writer)
    for name in names:
        writer[name] = [1]
"""


def test_a_real_boot_id(path: Path, tmp_path: Path) -> None:
    """As a container has it, in a mount namespace."""
    one = base_and_writer(path)
    other = tmp_path / "boot_id"
    other.write_text("01234567-89ab-cdef-0123-456789abcdef\n", "ascii")

    def in_another_boot(*names: str) -> str:
        mount = f"mount --bind {other} /proc/sys/kernel/random/boot_id"
        command = ["unshare", "-m", "sh", "-c", f'{mount} || exit 77; exec "$@"', "sh"]
        command += [sys.executable, "-c", REAL, str(path), *names]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode in (1, 77) and "Traceback" not in done.stderr:
            pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        assert in_another_boot("e") == "base a b c d"
    except FileNotFoundError as error:
        pytest.skip(f"no mount namespaces here: {error}")
    one["f"] = [1]
    assert list(one) == ["base", *"abcdef"]
