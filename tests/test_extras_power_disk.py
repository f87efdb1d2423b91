"""Power cuts on real file systems, a handful on each; more are for ``python -m tests.power_disk``."""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.power_disk import N_CUTS as N_CUTS_OF_A_DISK
from tests.support.apart import called
from tests.support.crash_workloads import write_small
from tests.support.disk_rounds import Conditions, Findings, cut_through, done, prepared
from tests.support.disk_trials import StoreTrial
from tests.support.file_systems import FILE_SYSTEMS, enter_own_mounts, memory_at, missing
from tests.support.story import Story

N_CUTS = 6
SEED = 4  # an ordinary disk: full ones, and those with old data, take longer
each_file_system = pytest.mark.parametrize("fs", FILE_SYSTEMS)


def cut(
    fs: str, folder: Path, *options: str, path: str = os.environ["PATH"]
) -> subprocess.CompletedProcess[str]:
    """Cut the power of a file system, in a process that takes all its mounts along."""
    skip_without(fs)
    command = [sys.executable, "-m", "tests.power_disk", "--fs", fs, "--seed", str(SEED), *options]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "TMPDIR": str(folder), "PATH": path}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, env=environment
    )


def skip_without(fs: str) -> None:
    reason = missing(FILE_SYSTEMS[fs])
    if reason:
        pytest.skip(reason)


@each_file_system
def test_nothing_is_lost(fs: str, tmp_path: Path) -> None:
    ended = cut(fs, tmp_path, "--cuts", str(N_CUTS))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{fs}: {N_CUTS} cuts" in ended.stdout
    found = re.search(r"(\d+) mounts refused, 0 lost", ended.stdout)
    assert found is not None, ended.stdout
    # btrfs may fail as it replays its log.
    assert int(found[1]) < (N_CUTS if fs == "btrfs" else 1), ended.stdout


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


def test_a_mount_that_the_kernel_fails_in_is_counted(tmp_path: Path) -> None:
    """Whoever mounts is killed then; the next cuts, and the next disk, have their turn all the same."""
    skip_without("ext4")
    fake = tmp_path / "bin" / "mount"
    fake.parent.mkdir()
    killed, other = 'case "$*" in */cut) kill -SEGV $$;; esac', f'exec {shutil.which("mount")} "$@"'
    fake.write_text(f"#!/bin/sh\n{killed}\n{other}\n", "utf-8")
    fake.chmod(0o755)
    options = ("--cuts", str(N_CUTS_OF_A_DISK + 1), "--workload", "random-rows")
    ended = cut("ext4", tmp_path, *options, path=f"{fake.parent}:{os.environ['PATH']}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "in the cache: mount was killed by SIGSEGV" in ended.stdout
    assert f"ext4 seed {SEED + 1} " in ended.stdout, "something went on from what cannot be mounted"
    assert f"0 stores judged (0 different), {N_CUTS_OF_A_DISK + 1} mounts refused" in ended.stdout


class Unreadable(StoreTrial):
    """Whoever reads it is killed, as who reads a mapped page that the disk does not give."""

    def problem(self, root: Path, story: Story, cut: int, goes_on: int | None) -> str | None:
        faulthandler.disable()  # it would say much about what is meant
        os.kill(os.getpid(), signal.SIGBUS)
        return None


def test_what_kills_who_judges_is_lost(tmp_path: Path) -> None:
    skip_without("ext4")
    trial = Unreadable("write", write_small)

    def cut_twice() -> Findings:
        enter_own_mounts()
        total, conditions = Findings(), Conditions(FILE_SYSTEMS["ext4"])
        with memory_at(tmp_path) as folder:
            base = prepared(conditions, [trial], folder)
            for found in cut_through(done(conditions, [trial], base, folder, 1, 1), 2, folder, 1):
                total.add(found)
        return total

    found = called(cut_twice)
    assert found.n_cuts == len(found.losses) == 2
    assert all(loss.endswith("killed by SIGBUS as it judged") for loss in found.losses)


def test_memory_that_is_held_goes_and_has_nothing(tmp_path: Path) -> None:
    """A kernel that failed in a mount holds on to where that was to be, and so to all files there."""
    skip_without("ext4")

    def hold() -> tuple[list[str], bool]:
        enter_own_mounts()
        with memory_at(tmp_path) as folder:
            (folder / "image").write_bytes(b"large")
            (folder / "cut").mkdir()
            held = os.open(folder, os.O_RDONLY)
        left = [entry.name for entry in Path(f"/proc/self/fd/{held}").iterdir()]
        return left, tmp_path.is_mount()

    assert called(hold) == (["cut"], False)
