"""File systems that a test mounts, where it may."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mount something over a folder, or skip the test; `options` are those of ``mount``."""
    folder.mkdir(exist_ok=True)
    command = ["mount", *options, str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount")
    try:
        yield folder
    finally:
        gc.collect()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def overlay(folder: Path, lower: Path) -> Iterator[Path]:
    """Mount a folder that shows what is in another one, and keeps changes to itself."""
    for name in ("upper", "work"):
        (folder / name).mkdir(parents=True)
    layers = f"lowerdir={lower},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    with mounted(folder / "merged", "-t", "overlay", "-o", layers, "overlay") as merged:
        yield merged


@contextmanager
def btrfs(folder: Path, nbytes: int) -> Iterator[Path]:
    """Mount a new file system of btrfs."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("no mkfs.btrfs")
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(nbytes)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    with mounted(folder, "-o", "loop", str(image)):
        yield folder
