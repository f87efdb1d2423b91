"""What was built, installed in fresh environments, and the tests on what is installed there."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

from release.building import Built, unpacked
from release.running import FailedError, Python, environment, run, say
from tests.support.oldest import BESIDE, oldest

# What `--quick` runs, with no packages but those that ptrarray itself and these tests need.
CORE = (
    *("golden", "golden_objects", "shards_format", "format_policy", "model", "damage"),
    *("native", "writer", "reader", "pack"),
)
FOR_CORE = (
    *("pytest>=8", "pytest-timeout", "pytest-xdist", "hypothesis>=6.100", "ml_dtypes"),
    "zstandard; python_version < '3.14'",
)
# Of the sources, what is not beside the tests: they are to find what is installed.
LEFT_OUT = ("ptrarray", "ptrarray.egg-info", "setup.py")
VARIANTS = {"native": "native core", "pure": "pure Python", "sdist": "native core"}


class Trial(NamedTuple):
    """One of the files of a release, on a Python with the oldest packages or the newest."""

    kind: str
    python: Python
    is_oldest: bool
    is_whole: bool

    def __str__(self) -> str:
        packages = "the oldest packages" if self.is_oldest else "the newest packages"
        tests = "all tests" if self.is_whole else "the core of the tests"
        return f"{self.kind} on {self.python}, {packages}: {tests}"


def trials(pythons: list[Python], *, quick: bool) -> list[Trial]:
    """Return what to try: both wheels at both ends of what is promised, all else by its core."""
    first, last = (pythons[0], True), (pythons[-1], False)
    between = [Trial("native", python, False, False) for python in pythons[1:-1]]
    if quick:
        ends = [("native", first), ("sdist", first), ("native", last), ("pure", last)]
        return [Trial(kind, *end, False) for kind, end in ends] + between
    found = [Trial(kind, *end, True) for kind in ("native", "pure") for end in (first, last)]
    found += [Trial("sdist", *end, False) for end in (first, last)]
    return [*found, *between, Trial("native", pythons[0], False, False)]


def oldest_python(root: Path) -> tuple[int, ...]:
    """Return the oldest Python that is promised."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return tuple(map(int, str(project["requires-python"]).removeprefix(">=").split(".")))


def try_out(trial: Trial, built: Built, folder: Path, workers: str) -> None:
    """Install one file of a release in a new folder, test it there, and remove the folder."""
    say(str(trial))
    folder.mkdir()
    copy = beside(built.sdist, folder)
    python = installed(trial, built, copy)
    package = check_installed(python, copy, trial.kind)
    command = (python, "-m", "pytest", "-q", "-n", workers, *_tests(trial, copy, package))
    say(run(*command, cwd=copy, **_required(trial.kind)).splitlines()[-1])
    shutil.rmtree(folder)


def beside(sdist: Path, folder: Path) -> Path:
    """Unpack tests, documents and examples, without the package."""
    copy = unpacked(sdist, folder)
    for name in LEFT_OUT:
        path = copy / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    return copy


def installed(trial: Trial, built: Built, copy: Path) -> Path:
    """Install a file of a release in an environment of its own, and return its Python."""
    file = getattr(built, trial.kind).resolve().as_uri()
    wanted = [f"ptrarray{'[test]' if trial.is_whole else ''} @ {file}"]
    wanted += [] if trial.is_whole else FOR_CORE
    if trial.is_oldest:
        listed = (*oldest(), *BESIDE) if trial.is_whole else oldest(())
        (copy / "oldest.txt").write_text("\n".join(listed), encoding="utf-8")
        wanted += ["--requirement", "oldest.txt"]
    # Where a compiler is needed, a core that cannot be built is an error.
    return environment(trial.python.path, copy, *wanted, **_required(trial.kind))


def _required(kind: str) -> dict[str, str]:
    return {} if kind == "pure" else {"PTRARRAY_REQUIRE_NATIVE": "1"}


def check_installed(python: Path, copy: Path, kind: str) -> Path:
    """Return where the package is that Python imports: in its environment, with a core or not."""
    code = "import ptrarray.native as n; print(n.__file__, n.variant(), sep='\\n')"
    file, variant = run(python, "-c", code, cwd=copy).splitlines()
    if copy / ".venv" not in Path(file).parents or not variant.startswith(VARIANTS[kind]):
        raise FailedError(f"what is installed is {variant}, in {file}")
    return Path(file).parent


def _tests(trial: Trial, copy: Path, package: Path) -> list[str | Path]:
    if trial.is_whole:
        return ["tests", package]
    return [copy / "tests" / f"test_{name}.py" for name in CORE]
