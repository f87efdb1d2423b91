"""Which variant is in use, and why: the native core, or pure Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from importlib import machinery
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import native
from tests.support.sanitized import IS_SANITIZED, in_a_block

ROOT = Path(__file__).parent.parent
needs_core = pytest.mark.skipif(not native.core, reason=native.variant())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for nothing, whatever was asked of the tests."""
    monkeypatch.delenv("PTRARRAY_PURE", raising=False)
    monkeypatch.delenv("PTRARRAY_REQUIRE_NATIVE", raising=False)


def importing(outcome: object) -> Callable[[str], object]:
    """Return an `import_module` that gives something, or raises it."""

    def import_module(name: str) -> object:
        assert name == "ptrarray._native"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return import_module


@pytest.mark.parametrize("value", ["1", "yes"])
def test_pure_leaves_the_core_aside(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(native, "import_module", importing(AssertionError()))
    monkeypatch.setenv("PTRARRAY_PURE", value)
    assert native._load() == (None, "PTRARRAY_PURE is set")


@pytest.mark.parametrize("value", ["", "0"])
def test_variables_that_say_no(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    core = ModuleType("ptrarray._native", native.INTERFACE)
    monkeypatch.setattr(native, "import_module", importing(core))
    monkeypatch.setenv("PTRARRAY_PURE", value)
    monkeypatch.setenv("PTRARRAY_REQUIRE_NATIVE", value)
    assert native._load() == (core, None)


def test_a_core_of_another_version_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install has one until the core is built anew."""
    old = ModuleType("ptrarray._native", "interface 0")
    monkeypatch.setattr(native, "import_module", importing(old))
    assert native._load() == (None, "it was built from another version of ptrarray")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named"), "it was not built"),
        (ImportError("undefined symbol: f"), "it cannot be loaded: undefined symbol: f"),
        (RuntimeError("numpy is too old"), "it cannot be loaded: numpy is too old"),
    ],
)
def test_what_does_not_load_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(native, "import_module", importing(error))
    assert native._load() == (None, reason)
    monkeypatch.setenv("PTRARRAY_REQUIRE_NATIVE", "1")
    with pytest.raises(ImportError, match=f"no native core here: {reason}. Install"):
        native._load()


@pytest.mark.parametrize(
    "other",
    [
        {"byteorder": "big"},
        {"maxsize": 2**31 - 1},
        {"abiflags": "t"},
        {"implementation": SimpleNamespace(name="pypy")},
    ],
    ids=str,
)
def test_machines_that_it_is_not_for(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, object]
) -> None:
    monkeypatch.setattr(native, "import_module", importing(AssertionError()))
    one = ("byteorder", "maxsize", "abiflags", "implementation")
    this = {name: getattr(sys, name) for name in one}
    monkeypatch.setattr(native, "sys", SimpleNamespace(**{**this, **other}))
    core, reason = native._load()
    assert core is None
    assert str(reason).startswith("it is for ")


def test_a_broken_file_of_the_core_breaks_nothing(tmp_path: Path) -> None:
    """A whole package, whose core is no library at all."""
    package = Path(ptrarray.__file__).parent
    copy = tmp_path / "ptrarray"
    copy.mkdir()
    for one in package.iterdir():
        if one.suffix != ".so":
            (copy / one.name).symlink_to(one)
    (copy / f"_native{machinery.EXTENSION_SUFFIXES[-1]}").write_bytes(b"\0" * 5000)
    code = "import ptrarray; from ptrarray.native import variant; print(variant())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = [sys.executable, "-c", code]
    printed = subprocess.run(
        run, check=False, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert printed.stderr == ""
    assert printed.stdout.startswith("pure Python, without the native core: it cannot be loaded: ")
    environment["PTRARRAY_REQUIRE_NATIVE"] = "1"
    refused = subprocess.run(
        run, check=False, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "ImportError: PTRARRAY_REQUIRE_NATIVE is set, but" in refused.stderr


# What is in it ------------------------------------------------------------------------------------


@needs_core
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_crc32_is_that_of_zlib(content: bytes, seed: int) -> None:
    assert native.core
    assert native.core.crc32(in_a_block(content)) == zlib.crc32(content)
    assert native.core.crc32(content, seed) == zlib.crc32(content, seed)


@pytest.mark.skipif(not IS_SANITIZED, reason="run by `make sanitize`")
def test_a_stray_read_is_reported() -> None:
    code = (
        "import ctypes, numpy; a = numpy.ones(100, 'u1'); ctypes.string_at(a.ctypes.data, 100);"
        "print('so far', flush=True); ctypes.string_at(a.ctypes.data, 101)"
    )
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, check=False, env=environment, capture_output=True, text=True)
    assert done.stdout == "so far\n"
    assert "heap-buffer-overflow" in done.stderr


def test_architecture_tells_each_function() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = page.partition("\n## The native core\n")[2].partition("\n## ")[0]
    listed = {*re.findall(r"^\| `(\w+)`", section, re.MULTILINE)}
    described = {*vars(native.Core), *vars(native.Finder)}
    assert listed == {name for name in described if not name.startswith("_")}


def test_the_source_stays_small() -> None:
    source = Path(native.__file__).with_name("_native.c")
    if source.exists():  # not beside an installed package
        assert len(source.read_text(encoding="utf-8").splitlines()) <= 600
