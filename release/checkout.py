"""What has to be right before anything is built: the commit, its version, the changelog, pages."""

from __future__ import annotations

import datetime
import re
import runpy
import subprocess
from pathlib import Path
from typing import NamedTuple

from release import golden

UNDATED = "unreleased"


class Listed(NamedTuple):
    """A version in the changelog."""

    version: str
    date: str
    changes_format: bool

    @property
    def is_released(self) -> bool:
        """Tell whether it has a date."""
        return self.date != UNDATED


def git(root: Path, *arguments: str) -> str:
    """Return what git prints."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def listed(changelog: str) -> list[Listed]:
    """Return the versions of a changelog, the newest first."""
    parts = re.split(r"^## \[(.+?)\] - (.+)$", changelog, flags=re.MULTILINE)[1:]
    sections = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return [Listed(name, date, "\n### Format\n" in text) for name, date, text in sections]


def version_of(source: str) -> str:
    """Return the version that the source of the package's ``__init__`` gives it."""
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    return found[1] if found else ""


def version(root: Path) -> str:
    """Return the version of a checkout."""
    return version_of((root / "ptrarray" / "__init__.py").read_text(encoding="utf-8"))


def changelog(root: Path) -> list[Listed]:
    """Return the versions in the changelog of a checkout."""
    return listed((root / "CHANGELOG.md").read_text(encoding="utf-8"))


def faults(root: Path, *, undated: bool = False) -> list[str]:
    """Return what is wrong with a checkout."""
    versions = changelog(root)
    return [
        *uncommitted(root),
        *faults_of_version(version(root), versions, undated=undated),
        *tagged(root, version(root)),
        *golden.faults(root / "tests", versions),
        *edited_golden_files(root, versions),
        *stale_pages(root),
    ]


def uncommitted(root: Path) -> list[str]:
    """Return each file that is not as the commit has it."""
    status = git(root, "status", "--porcelain", "--untracked-files=all")
    return [f"not committed: {line[3:]}" for line in status.splitlines()]


def faults_of_version(name: str, versions: list[Listed], *, undated: bool) -> list[str]:
    """Return why the first version of the changelog is not the one that can be released."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", name):
        return [f"{name!r} is not a version of three numbers"]
    if not versions or versions[0].version != name:
        first = versions[0].version if versions else "nothing"
        return [f"CHANGELOG.md begins with {first}, the package is {name}"]
    numbers = [tuple(map(int, one.version.split("."))) for one in versions]
    found = [] if numbers == sorted(set(numbers), reverse=True) else ["versions do not fall"]
    found += [f"{one.version} has no date" for one in versions[1:] if not one.is_released]
    dated = [one for one in versions if one.is_released]
    found += [f"{one.version} has no date, but {one.date!r}" for one in dated if not _is_day(one)]
    if not undated and not versions[0].is_released:
        found.append(f"{name} has no date in CHANGELOG.md; --undated tries it all the same")
    return found


def _is_day(one: Listed) -> bool:
    try:
        return datetime.date.fromisoformat(one.date).isoformat() == one.date
    except ValueError:
        return False


def tagged(root: Path, name: str) -> list[str]:
    """Return that a version has a tag already."""
    return [f"there is a tag v{name} already"] if git(root, "tag", "--list", f"v{name}") else []


def edited_golden_files(root: Path, versions: list[Listed]) -> list[str]:
    """Return which golden files are not any more as a release wrote them."""
    found = []
    for one in versions:
        folders = golden.folders_of(root / "tests", one.version)
        if folders and git(root, "tag", "--list", f"v{one.version}"):
            paths = [str(folder.relative_to(root)) for folder in folders]
            changed = git(root, "diff", "--name-only", f"v{one.version}", "HEAD", "--", *paths)
            found += [f"{name} is not as {one.version} wrote it" for name in changed.split()]
    return found


def stale_pages(root: Path) -> list[str]:
    """Return which pages that are made of code are not what it would make now."""
    made = runpy.run_path(str(root / "docs" / "tools" / "cli_page.py"))["page"]()
    page = root / "docs" / "cli.md"
    is_fresh = page.read_text(encoding="utf-8") == made
    return [] if is_fresh else ["docs/cli.md is stale: run python docs/tools/cli_page.py"]
