"""Which golden files each release wrote, as ``tests/golden/releases.toml`` says."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from ptrarray.format.index import VERSION

LIST = Path("golden", "releases.toml")


class Version(Protocol):
    """What is asked of a version in the changelog."""

    @property
    def version(self) -> str:
        """Its numbers."""

    @property
    def changes_format(self) -> bool:
        """Whether it has a heading for changes of the format."""


def entries(tests: Path) -> dict[str, dict[str, Any]]:
    """Return what the list says of each release."""
    raw = (tests / LIST).read_text(encoding="utf-8")
    return {one["version"]: one for one in tomllib.loads(raw)["release"]}


def folders_of(tests: Path, version: str) -> list[Path]:
    """Return the folders that a release wrote: none if the list does not name it."""
    return [tests / name for name in entries(tests).get(version, {}).get("wrote", [])]


def digest(folders: Iterable[Path]) -> str:
    """Return one SHA-256 of the names and bytes of all files in folders."""
    total = hashlib.sha256()
    for folder in folders:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            if file.suffix not in (".md", ".py", ".pyc"):  # described there, not written there
                name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
                total.update(f"{name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return total.hexdigest()


def faults(tests: Path, versions: Iterable[Version]) -> list[str]:
    """Return what is wrong with the list, and with the golden files of each version."""
    known, versions = entries(tests), list(versions)
    names = {one.version for one in versions}
    found = [f"{LIST} names {name}, the changelog does not" for name in known.keys() - names]
    for one in versions:
        found += _faults_of(tests, one, known.get(one.version))
    formats = [one["format"] for one in known.values()]
    if formats and max(formats) != VERSION:
        found.append(f"{LIST} ends with format {max(formats)}, the code writes {VERSION}")
    return found


def _faults_of(tests: Path, one: Version, entry: dict[str, Any] | None) -> list[str]:
    if entry is None:
        return [f"{LIST} does not say which files {one.version} wrote"]
    folders = [tests / name for name in entry["wrote"]]
    if one.changes_format and not folders:
        return [f"{one.version} changes the format, and {LIST} names no files that it wrote"]
    if folders and not one.changes_format:
        return [f"{one.version} wrote golden files, and its changelog has no heading 'Format'"]
    missing = [
        f"golden files of {one.version} are missing: {f.name}" for f in folders if not f.is_dir()
    ]
    if missing or not folders or digest(folders) == entry["sha256"]:
        return missing
    what = f"golden files of {one.version} are not as {LIST} says"
    return [f"{what}: sha256 is {digest(folders)}"]
