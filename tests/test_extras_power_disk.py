"""Power cuts on real file systems, a handful on each; more are for ``python -m tests.power_disk``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.file_systems import FILE_SYSTEMS, missing

N_CUTS = 6
SEED = 4  # an ordinary disk: full ones, and those with old data, take longer
each_file_system = pytest.mark.parametrize("fs", FILE_SYSTEMS)


def cut(fs: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Cut the power of a file system, in a process that takes all its mounts along."""
    reason = missing(FILE_SYSTEMS[fs])
    if reason:
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.power_disk", "--fs", fs, "--seed", str(SEED), *options]
    root, environment = Path(__file__).parents[1], {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, env=environment
    )


@each_file_system
def test_nothing_is_lost(fs: str, tmp_path: Path) -> None:
    ended = cut(fs, tmp_path, "--cuts", str(N_CUTS))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{fs}: {N_CUTS} cuts" in ended.stdout
    assert "0 mounts refused, 0 lost" in ended.stdout


@each_file_system
def test_syncs_that_are_left_out_are_noticed(fs: str, tmp_path: Path) -> None:
    ended = cut(fs, tmp_path, "--cuts", "40", "--workload", "replace", "--leave-out", "")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "LOST" in ended.stdout


def test_lists_syncs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a mount nor a loop device is left, nor a file."""
    ended = cut("ext4", tmp_path, "--cuts", "1", "--workload", "write_small", "--list")
    assert "journal storage.store.journal.Journal.sync" in ended.stdout
    loops = subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in loops.stdout + Path("/proc/self/mounts").read_text("utf-8")
    assert list(tmp_path.iterdir()) == []
