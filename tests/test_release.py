"""What `make release` refuses: each check, with a fault put in. On made-up files, and nothing is installed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from release import building, crossing, golden, inside, running, trying
from release.building import Built
from release.checkout import Listed
from release.running import FailedError, Python
from tests.test_packaging import COMPILER, needs_compiler

Files = dict[str, bytes]
VERSION = "0.1.0"
INFO = f"ptrarray-{VERSION}.dist-info"
PACKAGE: Files = {
    "ptrarray/__init__.py": b'__version__ = "0.1.0"\n',
    "ptrarray/py.typed": b"",
    "ptrarray/look/viewer/static/page.js": b"page",
}
BESIDE: Files = {"LICENSE": b"MIT", "tests/test_a.py": b"", "ptrarray/_native.c": b"int a;"}
TAGS = {
    "native": "cp311-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64",
    "pure": "py3-none-any",
}


# Made-up files ------------------------------------------------------------------------------------


def tar(files: Files, *, owner: str = "root", mtime: int = 1, backwards: bool = False) -> bytes:
    """Return what setuptools makes of sources: with an owner, times, and files in any order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in sorted(files.items(), reverse=backwards):
            member = tarfile.TarInfo(f"ptrarray-{VERSION}/{name}")
            member.size, member.mtime, member.uname, member.uid = len(content), mtime, owner, mtime
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def wheel_files(kind: str) -> Files:
    """Return what is in a wheel, but for the list of that."""
    is_pure = str(kind == "pure").lower()
    core = {inside.CORE: b"\x7fELF"} if kind == "native" else {}
    python, abi, platforms = TAGS[kind].split("-")
    tags = "".join(f"Tag: {python}-{abi}-{platform}\n" for platform in platforms.split("."))
    return {
        **PACKAGE,
        **core,
        f"{INFO}/METADATA": b"Metadata-Version: 2.4\nName: ptrarray\nVersion: 0.1.0\n\nIt is.\n",
        f"{INFO}/WHEEL": f"Root-Is-Purelib: {is_pure}\n{tags}\n".encode(),
        f"{INFO}/entry_points.txt": b"",
        f"{INFO}/top_level.txt": b"ptrarray\n",
        f"{INFO}/licenses/LICENSE": b"MIT",
    }


def zipped(file: Path, files: Files) -> Path:
    lines = []
    with ZipFile(file, "w") as archive:
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            lines.append(f"{name},sha256={digest.rstrip('=')},{len(content)}\n")
            archive.writestr(name, content)
        archive.writestr(f"{INFO}/RECORD", "".join(lines) + f"{INFO}/RECORD,,\n")
    return file


Change = Callable[[dict[str, Files]], object]


def made(folder: Path, change: Change = lambda files: None) -> Built:
    """Make the files of a release, after a change of what is in them."""
    files = {"native": wheel_files("native"), "pure": wheel_files("pure")}
    files["sdist"] = PACKAGE | BESIDE | {"PKG-INFO": b"", "setup.cfg": b""}
    change(files)
    sdist = folder / f"ptrarray-{VERSION}.tar.gz"
    sdist.write_bytes(tar(files["sdist"]))
    wheels = [
        zipped(folder / f"ptrarray-{VERSION}-{tag}.whl", files[kind]) for kind, tag in TAGS.items()
    ]
    return Built(sdist, *wheels)


def faults(built: Built, version: str = VERSION) -> list[str]:
    return inside.faults(built, version, {*PACKAGE, *BESIDE})


def put(kind: str, name: str, content: bytes = b"x") -> Change:
    return lambda files: files[kind].update({name: content})


def leave_out(kind: str, name: str) -> Change:
    return lambda files: files[kind].pop(name)


# What is in them ------------------------------------------------------------------------------------


def test_a_release_as_it_should_be_has_no_faults(tmp_path: Path) -> None:
    assert faults(made(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (leave_out("native", inside.CORE), "without ptrarray/_native.abi3.so"),
        (put("pure", inside.CORE), "has a stray ptrarray/_native.abi3.so"),
        (put("native", "ptrarray/_native.cpython-311.so"), "stray ptrarray/_native.cpython"),
        (put("native", "ptrarray/_native.c"), "stray ptrarray/_native.c"),
        (put("pure", "tests/test_a.py", b""), "stray tests/test_a.py"),
        (leave_out("pure", "ptrarray/py.typed"), "without ptrarray/py.typed"),
        (leave_out("native", "ptrarray/look/viewer/static/page.js"), "without ptrarray/look"),
        (leave_out("pure", f"{INFO}/licenses/LICENSE"), "without ptrarray-0.1.0.dist-info/licen"),
        (put("pure", f"{INFO}/licenses/LICENSE"), "LICENSE is another"),
        (put("native", "ptrarray/__init__.py", b"1"), "ptrarray/__init__.py is another"),
        (put("pure", f"{INFO}/METADATA", b"Name: ptrarray\nVersion: 0.1\n"), "another version"),
        (
            put("native", f"{INFO}/WHEEL", wheel_files("pure")[f"{INFO}/WHEEL"]),
            "whether it is pure",
        ),
        (put("pure", f"{INFO}/WHEEL", wheel_files("native")[f"{INFO}/WHEEL"]), "has other tags"),
        (put("pure", "ptrarray/py.typed", bytes(3_000_000)), "py.typed is another"),
        (put("sdist", "ptrarray/_native.abi3.so"), "stray ptrarray/_native.abi3.so"),
        (put("sdist", "secrets.txt"), "stray secrets.txt"),
        (leave_out("sdist", "tests/test_a.py"), "without tests/test_a.py"),
        (put("sdist", "ptrarray/__init__.py", b'__version__ = "0.0.9"\n'), "of another version"),
    ],
)
def test_a_fault_inside_is_noticed(tmp_path: Path, change: Change, said: str) -> None:
    found = faults(made(tmp_path, change))
    assert any(said in one for one in found), found


def test_names_and_sizes_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = made(tmp_path)
    assert len([one for one in faults(built, "0.2.0") if "is not named" in one]) == 3
    swapped = built._replace(native=built.pure, pure=built.native)
    assert len([one for one in faults(swapped) if "is not named" in one]) == 2
    monkeypatch.setattr(inside, "LIMITS", {".whl": 100, ".gz": 100})
    assert len([one for one in faults(built) if "more than 100" in one]) == 3


def test_a_file_that_is_not_as_listed_is_noticed(tmp_path: Path) -> None:
    built = made(tmp_path)
    with ZipFile(built.pure) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    record = files[f"{INFO}/RECORD"]
    files[f"{INFO}/RECORD"] = record.replace(b"py.typed,sha256=4", b"py.typed,sha256=5")
    with ZipFile(built.pure, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert faults(built) == [f"{built.pure.name}: ptrarray/py.typed is not as RECORD has it"]


@pytest.mark.parametrize(
    ("tag", "is_right"),
    [
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("manylinux2014_aarch64.manylinux_2_17_aarch64", True),
        ("manylinux_2_5_x86_64.manylinux1_x86_64", True),
        ("macosx_11_0_arm64", True),
        ("linux_x86_64", False),
        ("manylinux_2_28_x86_64", False),
        ("manylinux_2_34_x86_64", False),
    ],
)
def test_a_wheel_that_nobody_takes_is_noticed(tag: str, is_right: bool) -> None:
    found = inside.faults_of_tag(Path(f"ptrarray-0.1.0-cp311-abi3-{tag}.whl"))
    assert len(found) == (not is_right)


SOURCE = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", 0, -1, 0};
PyMODINIT_FUNC PyInit__native(void) { %s return PyModule_Create(&module); }
"""
INNER = "PyCode_NewEmpty(0, 0, 0);"  # of no stable ABI
LATER = "extern int PyUnicode_EqualToUTF8(PyObject *, const char *); PyUnicode_EqualToUTF8(0, 0);"


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="compiled as on Linux")
@pytest.mark.parametrize(
    ("body", "said"), [("", []), (INNER + LATER, ["PyCode_NewEmpty", "PyUnicode_EqualToUTF8"])]
)
def test_a_symbol_that_some_python_has_not_is_noticed(
    tmp_path: Path, body: str, said: list[str]
) -> None:
    pytest.importorskip("abi3audit")
    source, core = tmp_path / "a.c", tmp_path / "a.so"
    source.write_text(SOURCE % body)
    include = f"-I{sysconfig.get_path('include')}"
    command = [COMPILER, "-shared", "-fPIC", "-w", include, str(source), "-o", str(core)]
    subprocess.run(command, check=True)
    built = made(tmp_path, put("native", inside.CORE, core.read_bytes()))
    found = inside.faults_of_abi(built.native)
    assert [one.split(" uses ")[1] for one in found] == [f"{name}, not in its ABI" for name in said]


def test_a_wheel_in_which_no_core_is_found_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("abi3audit")
    assert len(inside.faults_of_abi(made(tmp_path).pure)) == 1


# Twice the same bytes -------------------------------------------------------------------------------


def test_an_sdist_is_the_same_whoever_made_it(tmp_path: Path) -> None:
    files = PACKAGE | BESIDE
    one = building.normalised(tar(files), 1_700_000_000)
    other = building.normalised(tar(files, owner="me", mtime=99, backwards=True), 1_700_000_000)
    assert one == other
    assert gzip.decompress(one) != gzip.decompress(tar(files))
    (tmp_path / "a.tar.gz").write_bytes(one)
    assert inside.files_of_sdist(tmp_path / "a.tar.gz") == files


def test_other_bytes_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    one, other = made(tmp_path), made(tmp_path / "again", put("native", inside.CORE, b"\x7fELG"))
    assert building.differences(one, one) == []
    assert building.differences(one, other) == [
        f"{one.native.name} has other bytes when built again"
    ]


# What is tried --------------------------------------------------------------------------------------


def test_each_file_is_tried_at_both_ends_and_each_python_once() -> None:
    pythons = [Python((3, minor, 1), f"python3.{minor}") for minor in (11, 12, 13)]
    found = {trial[:3]: trial.is_whole for trial in trying.trials(pythons, quick=False)}
    ends = ((pythons[0], True), (pythons[2], False))
    assert [found[kind, *end] for kind in ("native", "pure") for end in ends] == [True] * 4
    assert [found["sdist", *end] for end in ends] == [False] * 2
    assert not found["native", pythons[1], False]
    quick = trying.trials(pythons, quick=True)
    assert {one.kind for one in quick} == {"native", "pure", "sdist"}
    assert {one.python for one in quick if one.kind == "native"} == {*pythons}
    assert {(one.python, one.is_oldest) for one in quick} >= {*ends}
    assert not any(one.is_whole for one in quick)


def test_the_core_of_the_tests_is_there() -> None:
    files = [Path(__file__).with_name(f"test_{name}.py") for name in trying.CORE]
    assert [file.name for file in files if not file.exists()] == []


def test_the_oldest_python_is_the_one_that_is_promised() -> None:
    root = Path(__file__).parent.parent
    assert trying.oldest_python(root) == (3, 11)
    assert sys.version_info[:2] in {one.minor for one in running.pythons((3, 11))}


def test_a_package_that_is_not_the_installed_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="what is installed is"):
        trying.check_installed(Path(sys.executable), tmp_path, "native")


def test_what_fails_ends_the_release_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="it is broken"):
        running.run(sys.executable, "-c", "import sys; sys.exit('it is broken')", cwd=tmp_path)


def test_nothing_outside_decides_what_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PTRARRAY_PURE", "CFLAGS", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    assert {"PTRARRAY_PURE", "CFLAGS", "PYTHONPATH"}.isdisjoint(running.clean())
    assert running.clean(CFLAGS="-g0")["CFLAGS"] == "-g0"


# Earlier releases -----------------------------------------------------------------------------------


def pretended(tests: Path, *entries: str) -> Path:
    (tests / "golden").mkdir(parents=True, exist_ok=True)
    (tests / golden.LIST).write_text("\n".join(f"[[release]]\n{one}" for one in entries))
    return tests


def entry(version: str, number: int = 1, wrote: str = "", digest: str = "") -> str:
    names = f'["{wrote}"]' if wrote else "[]"
    return f'version = "{version}"\nformat = {number}\nwrote = {names}\nsha256 = "{digest}"'


def test_those_of_the_same_format_have_to_read_what_this_one_writes(tmp_path: Path) -> None:
    entries = [entry("0.1.0"), entry("0.2.0", 2), entry("0.3.0", 2), entry("0.4.0", 2)]
    tests = pretended(tmp_path, *entries)
    dates = ["unreleased", "2029-01-01", "2028-01-01", "2027-01-01"]
    names = ["0.4.0", "0.3.0", "0.2.0", "0.1.0"]
    versions = [Listed(name, date, False) for name, date in zip(names, dates, strict=True)]
    assert crossing.earlier(tests, versions, "0.4.0") == ["0.3.0", "0.2.0"]


def test_one_that_reads_otherwise_is_noticed(tmp_path: Path) -> None:
    stores = Path(__file__).parent / "golden" / "v1"
    for name in ("plain.ptr", "masked.ptr", "metadata.ptr"):
        shutil.copytree(stores / name, tmp_path / name)
    expected = crossing.sums(tmp_path)
    assert len(set(expected.values())) == 3
    crossing.check_same("0.1.0", crossing.sums(tmp_path), expected)
    (tmp_path / "masked.ptr" / "index.msgpack").write_bytes(b"of a later version")
    with pytest.raises(FailedError, match=r"0\.1\.0 does not read what .*\nmasked.ptr"):
        crossing.check_same("0.1.0", crossing.sums(tmp_path), expected)
    with pytest.raises(FailedError):
        crossing.check_same("0.1.0", {}, {})


def test_every_kind_of_store_is_written_for_them(tmp_path: Path) -> None:
    crossing.write(tmp_path / "stores")
    found = crossing.sums(tmp_path / "stores")
    assert len(found) >= 30
    assert not any("Error" in one for one in found.values())
