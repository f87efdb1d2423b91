"""The wheel with a native core and the one without, as setuptools builds them from the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

import pytest

from ptrarray import native

ROOT = Path(__file__).parent.parent
COMPILER = (os.environ.get("CC") or str(sysconfig.get_config_var("CC"))).split()[0]
HEADER = Path(sysconfig.get_path("include"), "Python.h")
PAGE = {".html", ".js", ".css", ".svg"}  # of the viewer
NO_COMPILER = {"CC": "/nonexistent"}
needs_compiler = pytest.mark.skipif(
    not shutil.which(COMPILER) or not HEADER.exists() or str(native.reason).startswith("it is for"),
    reason="nothing to compile with, or for",
)
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="no sources here")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is needed, as building leaves files beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "ptrarray", copy / "ptrarray", ignore=ignored)
    return copy


def build(sources: Path, out: Path, what: str = "wheel", **variables: str) -> tuple[str, str]:
    """Return the name of what was built, or "", and what was said."""
    code = f"from setuptools import build_meta; build_meta.build_{what}({str(out)!r})"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PTRARRAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=sources,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    names = [one.name for one in out.iterdir()]
    assert len(names) == (done.returncode == 0), done.stdout
    return "".join(names), done.stdout


def content(wheel: Path) -> set[str]:
    """Return the names of what is in the package of a wheel."""
    with ZipFile(wheel) as file:
        return {name for name in file.namelist() if name.startswith("ptrarray/")}


def printed(wheel: Path, folder: Path) -> str:
    """Return what a program prints that has the content of a wheel, and no other ptrarray."""
    with ZipFile(wheel) as file:
        file.extractall(folder)
    code = (
        "import ptrarray; from ptrarray.native import variant\n"
        "with ptrarray.create('a.ptr', dtype='i4') as writer: writer['a'] = [1, 2]\n"
        "print(ptrarray.__file__, ptrarray.open('a.ptr')['a'], variant(), sep='; ')"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment |= {"PTRARRAY_PURE": "", "PTRARRAY_REQUIRE_NATIVE": ""}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode().strip().removeprefix(str(folder))


@needs_compiler
def test_with_a_compiler_the_wheel_has_a_core(sources: Path, tmp_path: Path) -> None:
    name, said = build(sources, tmp_path, PTRARRAY_REQUIRE_NATIVE="1")
    assert fnmatch(name, "ptrarray-*-cp311-abi3-*.whl")
    files = content(tmp_path / name)
    assert len([one for one in files if fnmatch(one, "ptrarray/_native*.so")]) == 1
    assert {one.suffix for one in map(Path, files)} - PAGE == {".py", ".so", ".typed"}
    there = {one.name for one in (ROOT / "ptrarray/look/viewer/static").iterdir()}
    assert {f"ptrarray/look/viewer/static/{name}" for name in there} <= files
    # The compiler has nothing to warn of; but of a header of numpy 2.0, which ours includes.
    assert not re.search(r"_native\.c:\d+:\d", said)
    assert printed(tmp_path / name, tmp_path / "in") == "/ptrarray/__init__.py; [1 2]; native core"


def test_without_a_compiler_the_wheel_is_pure(sources: Path, tmp_path: Path) -> None:
    """Whatever was built there before."""
    built = Path("ptrarray", "_native.abi3.so")
    library = Path("build", f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}")
    for stale in (sources / built, sources / library / built):
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.touch()
        os.utime(stale, (0, 0))
    name, said = build(sources, tmp_path, **NO_COMPILER)
    assert re.fullmatch(r"ptrarray-[\d.]+-py3-none-any\.whl", name)
    assert "ptrarray._native" in said
    assert {one.suffix for one in map(Path, content(tmp_path / name))} - PAGE == {".py", ".typed"}
    assert not (sources / built).exists()
    variant = "pure Python, without the native core: it was not built"
    assert printed(tmp_path / name, tmp_path / "in") == f"/ptrarray/__init__.py; [1 2]; {variant}"


def test_pure_leaves_the_core_out(sources: Path, tmp_path: Path) -> None:
    left = sources / "ptrarray" / "_native.abi3.so"  # by an editable install
    left.touch()
    name, said = build(sources, tmp_path, PTRARRAY_PURE="1")
    assert not left.exists()
    assert name.endswith("-py3-none-any.whl")
    assert "ptrarray._native" not in said
    assert {one.suffix for one in map(Path, content(tmp_path / name))} - PAGE == {".py", ".typed"}


def test_a_core_that_is_required_has_to_be_built(sources: Path, tmp_path: Path) -> None:
    (sources / "ptrarray" / "_native.c").touch()
    name, said = build(sources, tmp_path, PTRARRAY_REQUIRE_NATIVE="1", **NO_COMPILER)
    assert not name
    assert "/nonexistent" in said
    assert "PTRARRAY_REQUIRE_NATIVE is set, but the native core of ptrarray cannot be" in said
    name, said = build(sources, tmp_path, PTRARRAY_REQUIRE_NATIVE="1", PTRARRAY_PURE="1")
    assert not name
    assert "PTRARRAY_REQUIRE_NATIVE is set, but so is PTRARRAY_PURE" in said


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no checkout")
def test_an_sdist_has_all_files(tmp_path: Path) -> None:
    """All that are not ignored, and nothing else."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    names = {name for name in listed.decode().split("\0") if name and (ROOT / name).exists()}
    copy, out = tmp_path / "copy", tmp_path / "out"
    out.mkdir()
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "ptrarray" / "_native.abi3.so").write_bytes(b"built in place")
    archive, _ = build(copy, out, "sdist")
    with tarfile.open(out / archive) as file:
        files = {one.name.partition("/")[2] for one in file.getmembers() if one.isfile()}
    made = {one for one in files if one.startswith("ptrarray.egg-info/")}
    assert files - made == names | {"PKG-INFO", "setup.cfg"}
