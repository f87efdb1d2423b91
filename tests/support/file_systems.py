"""Real file systems on images: how they are made and mounted, and what has to be there for it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_MIB = 1 << 20
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_PATIENCE = 50  # tries to unmount, as a process that was killed takes a moment to let go
_FILLER_NBYTES = 1 << 20
_EXT4 = ("-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0")


class FileSystem(NamedTuple):
    """A kind of file system.

    Attributes
    ----------
    kind : str
        What ``mount`` calls it.
    options : str
        How it is mounted.
    nbytes : int
        Size of an image.
    make : tuple of str
        The command that makes it, but for the image. None of them zeroes what was there before.
    superblocks : frozenset of int
        Where writes of 512 bytes begin that a disk must not tear, as the file system relies on.
    """

    kind: str
    options: str
    nbytes: int
    make: tuple[str, ...]
    superblocks: frozenset[int]

    def with_sectors(self, nbytes: int) -> tuple[str, ...]:
        """Return the command for a disk whose sectors have so many bytes."""
        return (*self.make, "-s", f"size={nbytes}") if self.kind == "xfs" else self.make


def _ext4(mode: str) -> FileSystem:
    make = ("mkfs.ext4", *_EXT4, "-J", "size=4")
    return FileSystem("ext4", f"data={mode},commit=1", 100 * _MIB, make, frozenset((0, 1024)))


FILE_SYSTEMS = {
    "ext4": _ext4("ordered"),
    "ext4-writeback": _ext4("writeback"),
    "xfs": FileSystem(
        "xfs", "defaults", 300 * _MIB, ("mkfs.xfs", "-q", "-K", "-f"), frozenset({0})
    ),
    "btrfs": FileSystem(
        "btrfs", "commit=1", 160 * _MIB, ("mkfs.btrfs", "-q", "-K", "-f"), frozenset({65536})
    ),
}


class RefusedError(Exception):
    """The file system cannot be mounted; says why, and what the kernel had to say."""


def missing(fs: FileSystem) -> str | None:
    """Say what is not there to cut the power of such a file system; None if all is."""
    if os.name != "posix" or os.geteuid():
        return "only root may mount"
    for command in ("mount", "umount", "losetup", fs.make[0]):
        if shutil.which(command) is None:
            return f"no {command}"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.access(device, os.R_OK | os.W_OK):
            return f"no {device}"
    known = Path("/proc/filesystems").read_text(encoding="ascii").split()
    return next(
        (f"no {kind} in this kernel" for kind in ("fuse", fs.kind) if kind not in known), None
    )


def enter_own_mounts() -> None:
    """Let no mount of this process be seen by others; the last process to end takes them along."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    run("mount", "--make-rprivate", "/")


@contextmanager
def memory_at(folder: Path) -> Iterator[Path]:
    """Mount memory over a folder: of what lies there nothing stays, however this process ends."""
    run("mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _detach_all(folder)
        _remove_files(folder)
        # Without waiting: a kernel that failed in a mount holds on to the place for ever.
        run("umount", "--lazy", str(folder))


def _remove_files(folder: Path) -> None:
    """Remove what lies in a folder: a kernel that holds on to its memory has nothing then."""
    for path in folder.iterdir():
        with suppress(OSError):  # a folder, or a file at which something is mounted
            path.unlink()


def _detach_all(folder: Path) -> None:
    """Detach loop devices of files in a folder, as one may stay if a signal came as it was made."""
    listed = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").stdout
    for line in listed.splitlines():
        device, file = line.split(maxsplit=1)
        if file.startswith(f"{folder}/"):
            run("losetup", "--detach", device, check=False)


def make(fs: FileSystem, image: Path, sector_nbytes: int, old: bytes) -> None:
    """Make a file system on an image, which has `old` again and again where it is not written to."""
    with image.open("wb") as file:
        for _ in range(fs.nbytes // len(old) if old else 0):
            file.write(old)
        file.truncate(fs.nbytes)
    run(*fs.with_sectors(sector_nbytes), str(image))


@contextmanager
def mounted(
    fs: FileSystem, disk: Path, folder: Path, sector_nbytes: int, *, direct: bool = False
) -> Iterator[Path]:
    """Mount a file through a loop device, which goes when it is unmounted.

    Raises
    ------
    RefusedError
        If the file system has had enough of it.
    """
    folder.mkdir(exist_ok=True)
    if fs.kind == "btrfs":  # which takes images of the same identity for one
        run("btrfs", "device", "scan", "--forget", check=False)
    options = ["--sector-size", str(sector_nbytes), *["--direct-io=on"] * direct]
    loop = run("losetup", "--find", "--show", *options, str(disk)).stdout.strip()
    try:
        tried = run("mount", "-t", fs.kind, "-o", fs.options, loop, str(folder), check=False)
    finally:
        run(
            "losetup", "--detach", loop
        )  # at once if it is not mounted, else when it is not any more
    if tried.returncode:
        raise RefusedError(_why(tried, Path(loop).name))
    try:
        yield folder
    finally:
        unmount(folder)


def _why(tried: subprocess.CompletedProcess[str], device: str) -> str:
    """Say why a device could not be mounted: ``mount`` says nothing if the kernel failed under it."""
    code, said = tried.returncode, tried.stderr.strip()
    if code < 0:
        said = f"mount was killed by {signal.Signals(-code).name}"
    # What it says about a device begins as its image comes: other disks had the same name.
    _, begin, logged = run("dmesg", check=False).stdout.rpartition(f"{device}: detected capacity")
    about = [line.partition("] ")[2] for line in logged.splitlines() if device in line]
    errors = [line for line in about if "error" in line] if begin else []
    return "; ".join([said, *errors[-1:]])


def unmount(folder: Path) -> None:
    for _ in range(_PATIENCE):
        if not run("umount", str(folder), check=False).returncode:
            return
        time.sleep(0.1)
    run("umount", "--lazy", str(folder))
    raise OSError(f"{folder} is in use")


def fill_up(folder: Path, n_left: int) -> None:
    """Leave about so many bytes free on a file system."""
    room = folder / "room"
    room.write_bytes(bytes(n_left))
    os.sync()
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(_FILLER_NBYTES))
            os.fsync(file.fileno())
    room.unlink()
    os.sync()


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done
