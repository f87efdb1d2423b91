"""The commands ``import`` and ``export``."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.cli.printing import _IN_OPTIONS
from tests.support.bigarray_files import FOLDER
from tests.support.command_line import Run
from tests.support.convert_workers import Traitor, dump


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dump(tmp_path / "in" / "a.pkl", np.arange(3))
    return tmp_path / "in"


def names(store: Path) -> list[str]:
    with ptrarray.open(store) as opened:
        return sorted(opened)


def test_import_pickles(run: Run, folder: Path, store: Path) -> None:
    assert run("import", "pickles", folder, store) == (0, f"{store}: 1 converted\n", "")
    dump(folder / "b.pkl", "text")
    code, out, errors = run("import", "pickles", folder, store, "--processes", "1")
    assert (code, out) == (1, f"{store}: 0 converted, 1 skipped, 1 failed\n")
    assert errors == f"ptrarray: {folder / 'b.pkl'}: a str is no array\n"
    code, out, _ = run("import", "pickles", folder, store, "--json", "--no-resume")
    assert code == 1
    assert json.loads(out) == {
        "path": str(store),
        "converted": 0,
        "skipped": 0,
        "removed": 0,
        "notes": [],
        "failures": [
            {
                "source": str(folder / "a.pkl"),
                "problem": "'a' is in the store already; leave out --no-resume to skip it",
            },
            {"source": str(folder / "b.pkl"), "problem": "a str is no array"},
        ],
    }


def test_several_sources_and_a_template(run: Run, folder: Path, store: Path) -> None:
    more = dump(folder.parent / "more" / "a.pkl", 1.5)
    code, _, errors = run("import", "pickles", folder, more, store)
    assert code == 1
    assert "would be named 'a'" in errors
    assert not store.exists()
    assert run("import", "pickles", folder, more, store, "--name", "{parent}/{stem}")[0] == 0
    assert names(store) == ["in/a", "more/a"]


def test_one_dtype(run: Run, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.eye(3))
    assert run("import", "pickles", folder, store, "--dtype", "f4", "--row-shape", "3")[0] == 0
    with ptrarray.open(store) as opened:
        assert (opened.dtype, opened.row_shape) == (np.dtype("f4"), (3,))
    place = store.with_name("b.ptr")
    assert run("import", "pickles", folder, place, "--dtype", "f4", "--row-shape", "any")[0] == 0
    assert ptrarray.open(place).layout == "shaped"
    place = store.with_name("c.ptr")
    code, _, errors = run("import", "pickles", folder, place, "--dtype", "q9")
    assert (code, place.exists()) == (1, False)
    assert "q9" in errors
    for wrong in ("x", "3;4", "-"):
        with pytest.raises(SystemExit):
            run("import", "pickles", folder, place, "--dtype", "f4", "--row-shape", wrong)


def test_trust_has_to_be_said(run: Run, folder: Path, store: Path, tmp_path: Path) -> None:
    dump(folder / "a.pkl", Traitor(tmp_path / "canary"))
    code, _, errors = run("import", "pickles", folder, store)
    assert code == 1
    assert "--trust-pickle" in errors
    assert not (tmp_path / "canary").exists()
    assert run("import", "pickles", folder, store, "--trust-pickle")[0] == 0
    assert (tmp_path / "canary").exists()


def test_masks(run: Run, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", np.ma.MaskedArray([1], [True]))
    code, _, errors = run("import", "pickles", folder, store)
    assert code == 1
    assert "--masked" in errors
    assert run("import", "pickles", folder, store.with_name("m.ptr"), "--masked")[0] == 0


def test_drop_index(run: Run, folder: Path, store: Path) -> None:
    pd = pytest.importorskip("pandas")
    dump(folder / "a.pkl", pd.Series([1.5], index=["k"]))
    assert run("import", "pickles", folder, store, "--drop-index")[0] == 0
    with ptrarray.open(store) as opened:
        assert list(opened.series("a").index) == [0]


def test_remove_source(run: Run, folder: Path, store: Path) -> None:
    code, out, _ = run("import", "pickles", folder, store, "--verify")
    assert (code, out) == (0, f"{store}: 1 converted\n")
    code, out, _ = run("import", "pickles", folder, store, "--remove-source")
    assert (code, out) == (0, f"{store}: 0 converted, 1 skipped, 1 sources removed\n")
    assert list(folder.iterdir()) == []


def texts_of(source: str) -> Iterator[str]:
    """Yield the texts in a program; those with values in them with a gap for each."""
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        words = [part.value if isinstance(part, ast.Constant) else "\0" for part in parts]
        yield "".join(word for word in words if isinstance(word, str))


def test_what_is_replaced_by_options_is_in_messages() -> None:
    package = Path(ptrarray.__file__).parent
    sources = [
        path.read_text("utf-8") for path in package.rglob("*.py") if path.name != "printing.py"
    ]
    texts = {text for source in sources for text in texts_of(source)}
    assert [phrase for phrase in _IN_OPTIONS if not any(phrase in text for text in texts)] == []


def test_messages_name_options(run: Run, folder: Path, store: Path, tmp_path: Path) -> None:
    more = dump(folder.parent / "more" / "a.pkl", 1.5)
    assert "with --name '{parent}/{stem}' or" in run("import", "pickles", folder, more, store)[2]
    run("import", "pickles", folder, store)
    for value, options in (
        (np.ma.MaskedArray([1], [True]), []),
        (Traitor(tmp_path / "canary"), []),
        (1, ["--no-resume"]),
    ):
        dump(folder / "a.pkl", value)
        place = store if "--no-resume" in options else store.with_name("b.ptr")
        code, _, errors = run("import", "pickles", folder, place, *options)
        assert code == 1
        assert "=True" not in errors
        assert "=False" not in errors
        assert "--" in errors
    assert "choose another path" in run("import", "pickles", folder, folder)[2]
    assert "pack with --overwrite, or" in run("pack", store, more)[2]


def test_an_import_that_brings_nothing(run: Run, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", "text")
    assert run("import", "pickles", folder, store) == (
        1,
        f"{store}: 0 converted, 1 failed\n",
        f"ptrarray: {folder / 'a.pkl'}: a str is no array\n",
    )
    code, _, errors = run("import", "npy", folder / "gone", store)
    assert code == 1
    assert "No such file or directory" in errors
    assert not store.exists()


def test_notes_are_printed(run: Run, folder: Path, store: Path) -> None:
    (folder / "more.zip").touch()
    code, out, _ = run("import", "pickles", folder, store)
    assert (code, out) == (0, f"note: left out: 1 *.zip\n{store}: 1 converted\n")


def test_no_sources(run: Run, store: Path, tmp_path: Path) -> None:
    code, _, errors = run("import", "npy", tmp_path, store)
    assert code == 1
    assert errors.startswith("ptrarray: no files to import in")
    assert not store.exists()


@pytest.mark.parametrize("kind", ["npz", "npy", "pickles", "h5"])
def test_export_and_import(run: Run, folder: Path, store: Path, kind: str) -> None:
    if kind == "h5":
        pytest.importorskip("h5py")
    run("import", "pickles", folder, store)
    out = store.with_name("out")
    code, text, _ = run("export", store, "--to", kind, out)
    assert (code, text) == (0, f"{out}: 1 converted\n")
    assert run("import", kind, out, store.with_name("b.ptr"))[0] == 0
    assert names(store.with_name("b.ptr")) == ["a"]
    code, _, errors = run("export", store, "--to", kind, out)
    assert (code, errors) == (
        1,
        f"ptrarray: {out}: there is something already, and it is not replaced\n",
    )


def test_export_tells_what_is_not_kept(run: Run, store: Path) -> None:
    with ptrarray.create(store) as writer:
        writer.write({"a": [1], "x" * 300: [2]}, meta={"a": {"k": 1}})
    out = store.with_name("out")
    code, text, errors = run("export", store, "--to", "npy", out)
    assert code == 1
    assert text.splitlines() == [
        "note: metadata of 1 array is not kept in npy files",
        f"{out}: 1 converted, 1 failed",
    ]
    assert errors.startswith(f"ptrarray: {'x' * 300}: ")


def test_flat_is_for_h5(run: Run, store: Path) -> None:
    pytest.importorskip("h5py")
    with ptrarray.create(store, dtype="f4") as writer:
        writer["a"] = [1]
    assert run("export", store, "--to", "npz", store.with_name("o"), "--flat")[0] == 1
    assert run("export", store, "--to", "h5", store.with_name("o"), "--flat")[0] == 0


def test_what_is_missing_to_install(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("ptrarray.errors.importlib.import_module", absent)
    for kind, extra in [("h5", "h5"), ("nwb", "h5"), ("netcdf", "netcdf")]:
        code, _, errors = run("import", kind, "x.h5", store)
        wanted = f"ptrarray: files of HDF5 need h5py: pip install 'ptrarray[{extra}]'\n"
        assert (code, errors) == (1, wanted)


def test_export_says_where_to_only_if_it_must(run: Run, store: Path) -> None:
    with ptrarray.create(store, dtype="u2") as writer:
        writer["a"] = [1]
    wanted = "ptrarray: OUT is missing: the file or folder for --to npz\n"
    assert run("export", store, "--to", "npz") == (1, "", wanted)
    code, out, _ = run("export", store, "--to", "megatron")
    assert (code, out.splitlines()[-1]) == (0, f"{store}: 1 converted")
    assert (store / "data.idx").exists()


def test_messages_name_options_of_the_command(run: Run, folder: Path, store: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.idx").write_bytes(b"")
        (folder / f"{name}.bin").write_bytes(b"")
    code, out, _ = run("import", "megatron", folder, store)
    assert (code, "note: read where an .idx says so: 2 *.bin\n" in out) == (1, True)
    wrong = ["--how", "link", "--dtype", "i8"]
    assert "use --how copy" in run("import", "megatron", folder / "a.idx", store, *wrong)[2]


def test_many_failures_are_counted(run: Run, folder: Path, store: Path) -> None:
    dump(folder / "a.pkl", {f"k{i}": None for i in range(50)})
    code, _, errors = run("import", "pickles", folder, store)
    assert code == 1
    assert len(errors.splitlines()) == 21
    assert errors.splitlines()[-1] == "ptrarray: and 30 more, which --json lists"


@pytest.mark.parametrize(("name", "code", "n_arrays"), [("planned", 0, 7), ("troubled", 1, 2)])
def test_a_file_of_bigarray(
    run: Run, store: Path, tmp_path: Path, name: str, code: int, n_arrays: int
) -> None:
    old = FOLDER / name
    found, out, err = run("import", "bigarray", old, store)
    assert (found, out.startswith(f"{store}: {n_arrays} converted")) == (code, True)
    assert ("under: its rows 8 to 12 overlap" in err) == (name == "troubled")
    assert len(ptrarray.open(store)) == n_arrays
    found, out, _ = run("import", "bigarray", old, tmp_path / "json.ptr", "--json")
    assert (found, json.loads(out)["converted"]) == (code, n_arrays)
    assert run("import", "bigarray", old, store)[0] == 1, "nothing is replaced"


def test_a_hostile_file_of_bigarray(run: Run, store: Path) -> None:
    code, _, err = run("import", "bigarray", FOLDER / "bad-call", store)
    assert (code, "posix.mkdir', which is not run" in err, store.exists()) == (1, True, False)
