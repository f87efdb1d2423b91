"""What has to be in an sdist and in wheels, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

from release.building import Built
from release.checkout import version_of
from release.running import clean

CORE = "ptrarray/_native.abi3.so"
# Of Linux: the newest libc that a wheel may need; it is older than all that numpy 2 works with.
LIBC = (2, 17)
LIMITS = {".whl": 2_000_000, ".gz": 5_000_000}  # bytes
NAMES = {
    "native": r"ptrarray-{0}-cp311-abi3-[\w.]+\.whl",
    "pure": r"ptrarray-{0}-py3-none-any\.whl",
    "sdist": r"ptrarray-{0}\.tar\.gz",
}
# Of an sdist, what only its making adds; a tree of the commit has the rest.
MADE = ("PKG-INFO", "setup.cfg", "ptrarray.egg-info/")


def files_of_sdist(sdist: Path) -> dict[str, bytes]:
    """Return all files of an sdist by their names in the commit."""
    with tarfile.open(sdist) as archive:
        members = [one for one in archive.getmembers() if one.isfile()]
        read = {one.name: archive.extractfile(one) for one in members}
        return {name.partition("/")[2]: file.read() for name, file in read.items() if file}


def faults(built: Built, version: str, tracked: set[str]) -> list[str]:
    """Return what is wrong with the files of a release, of a commit that has these files."""
    files = files_of_sdist(built.sdist)
    found = [*_of_name("sdist", built.sdist, version), *_of_size(built.sdist)]
    found += _differing(built.sdist.name, {n for n in files if not n.startswith(MADE)}, tracked)
    if version_of(files.get("ptrarray/__init__.py", b"").decode()) != version:
        found.append(f"{built.sdist.name} is of another version")
    package = {n: b for n, b in files.items() if n.startswith("ptrarray/") and n[-2:] != ".c"}
    license_ = files.get("LICENSE", b"")
    for kind, wheel in (("native", built.native), ("pure", built.pure)):
        found += [*_of_name(kind, wheel, version), *_of_size(wheel)]
        found += faults_of_wheel(wheel, version, package, license_, has_core=kind == "native")
    return found


def _of_name(kind: str, file: Path, version: str) -> list[str]:
    is_right = re.fullmatch(NAMES[kind].format(re.escape(version)), file.name)
    return [] if is_right else [f"{file.name} is not named as the {kind} one is"]


def _of_size(file: Path) -> list[str]:
    limit, found = LIMITS[file.suffix], file.stat().st_size
    return [f"{file.name} has {found} bytes, more than {limit}"] if found > limit else []


def _differing(name: str, found: set[str], wanted: set[str]) -> list[str]:
    missing = [f"{name} is without {one}" for one in sorted(wanted - found)]
    return missing + [f"{name} has a stray {one}" for one in sorted(found - wanted)]


def faults_of_wheel(
    wheel: Path, version: str, package: dict[str, bytes], license_: bytes, *, has_core: bool
) -> list[str]:
    """Return what is wrong in a wheel that should have the files of a package, and a core or not."""
    with ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    info = f"ptrarray-{version}.dist-info"
    beside = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")
    wanted = {*package, *(f"{info}/{one}" for one in (*beside, "licenses/LICENSE"))}
    wanted |= {CORE} if has_core else set()
    found = _differing(wheel.name, set(files), wanted)
    same = package | {f"{info}/licenses/LICENSE": license_}
    found += [f"{wheel.name}: {n} is another" for n in same if n in files and files[n] != same[n]]
    return found + _of_metadata(wheel.name, files, info, is_pure=not has_core)


def _of_metadata(name: str, files: dict[str, bytes], info: str, *, is_pure: bool) -> list[str]:
    """Return what the files that pip reads say wrongly."""
    wheel = files.get(f"{info}/WHEEL", b"").decode()
    found = []
    if f"Root-Is-Purelib: {str(is_pure).lower()}\n" not in wheel:
        found.append(f"{name} says wrongly whether it is pure")
    python, abi, platforms = name.removesuffix(".whl").split("-")[-3:]
    tags = {f"{python}-{abi}-{platform}" for platform in platforms.split(".")}
    if set(re.findall(r"^Tag: (.+)$", wheel, re.MULTILINE)) != tags:
        found.append(f"{name} has other tags inside than in its name")
    version = info.removeprefix("ptrarray-").removesuffix(".dist-info")
    if f"\nVersion: {version}\n" not in files.get(f"{info}/METADATA", b"").decode():
        found.append(f"{name} says another version of itself")
    return found + _of_record(name, files, files.get(f"{info}/RECORD", b"").decode())


def _of_record(name: str, files: dict[str, bytes], record: str) -> list[str]:
    """Return which files are not as the list in the wheel has them."""
    listed = dict(line.split(",")[:2] for line in record.splitlines())
    found = [f"{name}: RECORD has not all files"] if listed.keys() != files.keys() else []
    for file, noted in listed.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(files.get(file, b"")).digest())
        if noted and noted != f"sha256={digest.decode().rstrip('=')}":
            found.append(f"{name}: {file} is not as RECORD has it")
    return found


def faults_of_tag(wheel: Path) -> list[str]:
    """Return why a wheel with the core can be uploaded by nobody, or works on too few machines."""
    platforms = wheel.stem.split("-")[-1]
    if not platforms.startswith(("linux", "manylinux", "musllinux")):
        return []  # for Macs, whose wheels need no such name
    newest = [tuple(map(int, one)) for one in re.findall(r"manylinux_(\d+)_(\d+)_", platforms)]
    if not newest:
        return [f"{wheel.name} does not say which libc it needs"]
    needs = f"{wheel.name} needs a newer libc than {LIBC[0]}.{LIBC[1]}"
    return [needs] if min(newest) > LIBC else []


def faults_of_abi(wheel: Path) -> list[str]:
    """Return which symbols a core asks for that not every Python from the one in its tag on has."""
    command = [sys.executable, "-m", "abi3audit", "--strict", "--report", str(wheel)]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
    found = json.loads(done.stdout or "{}").get("specs", {}).get(str(wheel), {}).get("wheel", [])
    if not found:
        return [f"abi3audit finds no core in {wheel.name}: {done.stderr}"]
    results = [one["result"] for one in found]
    symbols = [name for one in results for name in one["non_abi3_symbols"]]
    symbols += [name for one in results for name in one["future_abi3_objects"]]
    return [f"the core in {wheel.name} uses {name}, not in its ABI" for name in sorted(symbols)]


def faults_of_description(built: Built) -> list[str]:
    """Return what twine says against what an index of packages would show."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
    return [done.stdout + done.stderr] if done.returncode else []
