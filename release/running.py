"""Programs that a release runs, and the Pythons that it finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class FailedError(Exception):
    """Something that has to be right is not; the release ends."""


class Python(NamedTuple):
    """A Python that is installed."""

    version: tuple[int, ...]
    path: str

    @property
    def minor(self) -> tuple[int, ...]:
        """Its version without the number of the patch."""
        return self.version[:2]

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))}"


def say(text: str) -> None:
    """Tell what is going on."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def clean(**variables: str) -> dict[str, str]:
    """Return the environment, with nothing in it that changes what is built or tested."""
    ours = ("PTRARRAY_", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return kept | variables


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program and return what it prints; if it fails, end the release with that."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FailedError(f"{done.stdout}\n{' '.join(map(str, command))} failed")
    return done.stdout


def environment(python: str, folder: Path, *installed: str, **variables: str) -> Path:
    """Make a virtual environment in `.venv` of a folder, and return its Python."""
    run(python, "-m", "venv", "--without-pip", ".venv", cwd=folder)
    made = folder / ".venv" / "bin" / "python"
    pip(made, "install", *installed, cwd=folder, **variables)
    return made


def pip(python: Path, *arguments: str, cwd: Path, **variables: str) -> str:
    """Run our own pip on another environment, which need not have one, and return what it prints."""
    ours = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    return run(*ours, "--python", python, *arguments, cwd=cwd, **variables)


def pythons(oldest: tuple[int, ...]) -> list[Python]:
    """Return the newest patch of each CPython from a version on, also of those of pyenv."""
    of_pyenv = map(str, Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3"))
    named = (shutil.which(f"python3.{minor}") for minor in range(oldest[1], oldest[1] + 10))
    found: dict[tuple[int, ...], Python] = {}
    for path in (*of_pyenv, *filter(None, named), sys.executable):
        python = _asked(path)
        if python and python.minor >= oldest:
            found[python.minor] = max(python, found.get(python.minor, python))
    return [found[minor] for minor in sorted(found)]


def _asked(path: str) -> Python | None:
    """Return what a program says of itself, if it is a CPython with a release's version."""
    code = (
        "import sys; v = sys.version_info; v.releaselevel == 'final' or sys.exit(1);"
        "sys.implementation.name == 'cpython' or sys.exit(1); print(*v[:3])"
    )
    done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    return None if done.returncode else Python(tuple(map(int, done.stdout.split())), path)
