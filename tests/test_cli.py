"""The commands that show, check and change a store, and what they print when they cannot."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import native
from ptrarray.cli import main
from ptrarray.cli.commands import _parser
from ptrarray.creation import create
from ptrarray.reader import open as open_store
from ptrarray.writer import append
from tests.support.command_line import Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.ptr"
    with create(path, dtype="f4", row_shape=(2,), attrs={"rate": 16000}) as writer:
        writer.write({"utt1": np.ones((3, 2)), "utt2": np.zeros((0, 2)), "zwölf": [[1, 2]]})
    return path


def run_json(run: Run, *arguments: object) -> Any:
    code, out, errors = run(*arguments, "--json")
    assert (code, errors) == (0, "")
    return json.loads(out)


def popen(*arguments: object, stdout: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ptrarray", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


# Each command -------------------------------------------------------------------------------------


def test_info(run: Run, path: Path) -> None:
    code, out, errors = run("info", path)
    assert (code, errors) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        *("arrays", "rows", "dtype", "row", "nbytes", "attrs", "generation", "holes", "lengths"),
        *("0", "1", "2", "3"),
    ]
    assert run_json(run, "info", path) == {
        "path": str(path),
        "arrays": 3,
        "rows": 4,
        "dtype": "<f4",
        "row_shape": [2],
        "nbytes": 32,
        "generation": 1,
        "attrs": {"rate": 16000},
    }


def test_info_of_parts_and_of_what_they_become(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"

    def facts(of: Path) -> dict[str, Any]:
        found = run_json(run, "info", of)
        return {fact: found[fact] for fact in NEW_FACTS if fact in found}

    for key in "ab":
        with ptrarray.part(path, key, dtype="f4", masked=True) as writer:
            writer[key] = [1]
            open_facts = facts(Path(writer.path))
        assert open_facts == {"open_part": True}
    assert facts(Path(writer.path)) == {"sealed": True}
    assert "  sealed     true\n" in run("info", writer.path)[1]
    assert run_json(run, "join", path)
    assert facts(path) == {"shards": 2, "shards_in_catalog": 2}
    assert facts(path / "shard-00001.ptr") == {"sealed": True}
    (path / "catalog.msgpack").unlink()
    assert facts(path) == {"shards": 2, "shards_in_catalog": 0}
    ptrarray.compact(path / "shard-00001.ptr")
    assert facts(path / "shard-00001.ptr") == {}


NEW_FACTS = ("sealed", "open_part", "shards", "shards_in_catalog")


def test_info_of_structured_dtype(run: Run, tmp_path: Path) -> None:
    create(tmp_path / "s.ptr", dtype=[("x", "f4"), ("y", "u1", (2,))]).close()
    facts = run_json(run, "info", tmp_path / "s.ptr")
    assert facts["dtype"] == [["x", "<f4"], ["y", "|u1", [2]]]


def test_ls(run: Run, path: Path) -> None:
    assert run("ls", path) == (0, "utt1\nutt2\nzwölf\n", "")
    assert run("ls", path, "utt*") == (0, "utt1\nutt2\n", "")
    assert run("ls", path, "none") == (0, "", "")
    assert run("ls", "--long", path, "u*") == (0, "0  3  utt1\n3  3  utt2\n", "")


def test_ls_json_is_one_object_a_line(run: Run, path: Path) -> None:
    code, out, _ = run("ls", path, "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {"name": "utt1", "start": 0, "end": 3},
        {"name": "utt2", "start": 3, "end": 3},
        {"name": "zwölf", "start": 3, "end": 4},
    ]


def test_names_cannot_command_the_terminal(run: Run, path: Path) -> None:
    evil = "a\nb\x1b[2J\x9b\u202e"
    with append(path) as writer:
        writer[evil] = [[0, 0]]
    assert run("ls", path, "a*") == (0, "a\\nb\\x1b[2J\\x9b\\u202e\n", "")
    code, out, _ = run("get", path, evil)
    assert code == 0
    assert out.startswith("a\\nb\\x1b")
    code, out, _ = run("ls", path, "a*", "--json")
    assert json.loads(out)["name"] == evil
    assert out.count("\n") == 1


def test_get(run: Run, path: Path) -> None:
    assert run("get", path, "zwölf") == (0, "zwölf: float32 (1, 2), rows 3 to 4\n[[1. 2.]]\n", "")
    assert run_json(run, "get", path, "utt1") == {
        "name": "utt1",
        "dtype": "<f4",
        "shape": [3, 2],
        "start": 0,
        "end": 3,
        "values": [[1.0, 1.0]] * 3,
    }


def test_get_out(run: Run, path: Path, tmp_path: Path) -> None:
    for name in ("utt1", "utt2"):
        code, out, _ = run("get", path, name, "--out", tmp_path / "x")
        assert code == 0
        assert "saved as" in out
        with open_store(path) as store:
            np.testing.assert_array_equal(np.load(tmp_path / "x"), store[name])
    assert run_json(run, "get", path, "utt1", "--out", tmp_path / "x")["shape"] == [3, 2]


RECORDS = np.ma.MaskedArray([(1, 2.5), (3, 4.5)], [(False, True), (False, False)], "i4,f8")


@pytest.mark.parametrize(
    "array",
    [np.ma.MaskedArray([1, 2], [False, True]), np.ma.MaskedArray([1, 2]), RECORDS],
    ids=["masked", "nothing masked", "records"],
)
def test_get_out_of_a_masked_store(run: Run, tmp_path: Path, array: Any) -> None:
    with create(tmp_path / "m.ptr", dtype=array.dtype, masked=True) as writer:
        writer["a"] = array
    out, mask_out = tmp_path / "x.npy", tmp_path / "x.mask.npy"
    facts = run_json(run, "get", tmp_path / "m.ptr", "a", "--out", out)
    assert (facts["out"], facts["mask_out"]) == (str(out), str(mask_out))
    np.testing.assert_array_equal(np.load(out), np.ma.getdata(array))
    np.testing.assert_array_equal(np.load(mask_out), np.ma.getmaskarray(array))


SHAPED = np.dtype([("x", "f4", (2,)), ("y", [("z", "i2")])])
PRINTED = {
    "numbers": (
        np.ma.MaskedArray([1.5, 2.5, 3.5], [False, True, False]),
        "[1.5 -- 3.5]",
        [1.5, None, 3.5],
    ),
    "nothing masked": (np.ma.MaskedArray([1, 2]), "[1 2]", [1, 2]),
    "records": (RECORDS, "[(1, --) (3, 4.5)]", [[1, None], [3, 4.5]]),
    "inner arrays": (
        np.ma.MaskedArray(np.zeros(1, SHAPED)),
        "[([0.0, 0.0], (0,))]",
        [[[0.0, 0.0], [0]]],
    ),
    "0-d": (np.ma.MaskedArray(2.5, True), "--", None),
}


@pytest.mark.parametrize(("array", "text", "values"), PRINTED.values(), ids=PRINTED)
def test_get_prints_what_is_masked_as_that(
    run: Run, tmp_path: Path, array: Any, text: str, values: Any
) -> None:
    with create(tmp_path / "m.ptr", masked=True) as writer:
        writer["a"] = array
    assert run("get", tmp_path / "m.ptr", "a")[1].splitlines()[1:] == [text]
    assert run_json(run, "get", tmp_path / "m.ptr", "a")["values"] == values


@pytest.mark.parametrize("out", ["/dev/null", "."])
def test_a_mask_needs_a_file_beside_it(run: Run, tmp_path: Path, out: str) -> None:
    with create(tmp_path / "m.ptr", masked=True) as writer:
        writer["a"] = np.ma.MaskedArray([1, 2], [False, True])
    code, _, complaint = run("get", tmp_path / "m.ptr", "a", "--out", tmp_path / out)
    assert code == 1
    assert "is no file" in complaint
    assert [file.name for file in tmp_path.iterdir()] == ["m.ptr"]


def test_get_out_replaces_a_file_at_the_end(
    run: Run, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, link = tmp_path / "x.npy", tmp_path / "link.npy"
    out.write_text("precious")
    link.symlink_to(out)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        assert run("get", path, "utt1", "--out", out)[0] == 1
    assert out.read_text() == "precious"
    assert run("get", path, "utt1", "--out", link)[0] == 0
    assert link.is_symlink()
    assert np.load(out).shape == (3, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ptr", "link.npy", "x.npy"]
    (tmp_path / "folder").mkdir()
    code, _, errors = run("get", path, "utt1", "--out", tmp_path / "folder")
    assert code == 1
    assert f"{tmp_path / 'folder'}: " in errors


def test_get_out_to_a_pipe(path: Path) -> None:
    command = [sys.executable, "-m", "ptrarray", "get", str(path), "utt1", "--out", "/dev/stderr"]
    done = subprocess.run(command, capture_output=True, check=True)
    np.testing.assert_array_equal(np.load(io.BytesIO(done.stderr)), np.ones((3, 2), "f4"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
        (np.array([1 + 2j]), [[1, 2]]),
        (np.array(["2001-01-01"], "M8[D]"), ["2001-01-01"]),
        (np.array([b"a\xff"]), ["aÿ"]),
        (np.array([(1, 2.5)], "i4,f4"), [[1, 2.5]]),
        (np.array([True]), [True]),
    ],
)
def test_get_json_of_any_dtype(run: Run, tmp_path: Path, values: Any, expected: Any) -> None:
    with create(tmp_path / "v.ptr", dtype=values.dtype) as writer:
        writer["v"] = values
    assert run_json(run, "get", tmp_path / "v.ptr", "v")["values"] == expected
    assert run("get", tmp_path / "v.ptr", "v")[0] == 0


def test_verify(run: Run, path: Path) -> None:
    assert run("verify", path) == (0, f"{path}: 3 arrays, no damage\n", "")
    assert run_json(run, "verify", path) == {"path": str(path), "arrays": 3, "damage": []}


def test_verify_finds_damage(run: Run, path: Path) -> None:
    with (path / "data.bin").open("r+b") as file:
        file.write(b"\xff")
    code, out, errors = run("verify", path)
    assert code == 1
    assert out.splitlines()[0].split() == ["file", "start", "end", "name", "problem"]
    assert out.splitlines()[1].split()[:4] == ["data.bin", "0", "3", "utt1"]
    assert errors == f"ptrarray: {path} is damaged in 1 place\n"
    code, out, _ = run("verify", path, "--json")
    assert code == 1
    (item,) = json.loads(out)["damage"]
    assert (item["name"], item["start"], item["end"]) == ("utt1", 0, 3)


def test_checkpoint(run: Run, path: Path) -> None:
    assert run("checkpoint", path) == (0, f"{path}: 3 arrays in the index\n", "")
    assert run_json(run, "checkpoint", path) == {"path": str(path), "arrays": 3}


# Misuse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["info"], ["ls"], ["get", "x"], ["verify"], ["checkpoint"]], ids=lambda a: a[0]
)
def test_no_store(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    command, *rest = arguments
    (tmp_path / "file").write_text("not a store")
    for path in (tmp_path / "missing.ptr", tmp_path, tmp_path / "file"):
        code, out, errors = run(command, path, *rest)
        assert (code, out) == (1, "")
        assert errors.startswith("ptrarray: ")
        assert errors.count("\n") == 1
        assert str(path) in errors
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_get_of_text_that_no_str_can_hold(run: Run, tmp_path: Path, options: list[str]) -> None:
    with create(tmp_path / "s.ptr", dtype="U1") as writer:
        writer["a"] = np.array([0x110000], "u4").view("U1")
    code, out, errors = run("get", tmp_path / "s.ptr", "a", *options)
    assert code == 1
    assert "Traceback" not in out + errors
    assert "array 'a' of <U1 has text that no str can hold: save it with --out" in errors


def test_get_of_unknown_name(run: Run, path: Path) -> None:
    for name in ("utt3", "", "\udcff", "a\nb"):
        code, out, errors = run("get", path, name)
        assert (code, out, errors.count("\n")) == (1, "", 1)
        assert errors.startswith("ptrarray: ")


def test_get_into_missing_folder(run: Run, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "none" / "x.npy"
    expected = f"ptrarray: {target.parent}: no such folder to write in\n"
    assert run("get", path, "utt1", "--out", target) == (1, "", expected)


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["paint"], ["ls"], ["get", "x.ptr"], ["ls", "a", "b", "c"]),
        *(["ls", "a", "--nope"], ["get", "a", "b", "--out"], ["demo", "--processes", "0"]),
        *(["export", "a", "--", "b", "--to", "npz"], ["import"], ["import", "npy", "a"]),
    ],
    ids=" ".join,
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ptrarray")


# Any order ----------------------------------------------------------------------------------------


def orders(positionals: list[str], options: list[list[str]]) -> list[list[str]]:
    """Return the options at all places between positional arguments, and before a ``--``."""
    found = []
    for places in product(range(len(positionals) + 1), repeat=len(options)):
        line: list[str] = []
        for at in range(len(positionals) + 1):
            for place, option in zip(places, options, strict=True):
                line += option if place == at else []
            line += positionals[at : at + 1]
        found.append(line)
    return [*found, [*chain(*options), "--", *positionals]]


@pytest.mark.parametrize(
    ("command", "positionals", "options"),
    [
        (["ls"], ["a.ptr", "utt1*"], [["--long"], ["--js"]]),
        (["ls"], ["a.ptr"], [["-l"]]),
        (["get"], ["a.ptr", "utt1"], [["--out", "x.npy"], ["--json"]]),
        (["get"], ["a.ptr", "utt1"], [["--out=x.npy"]]),
        (["repair"], ["a.ptr"], [["--to", "b.ptr"], ["--json"]]),
        (["export"], ["a.ptr", "out"], [["--to", "npz"], ["--flat"]]),
        (["pack"], ["a.ptr", "-"], [["--compression", "gz"], ["--level", "9"], ["--json"]]),
        (["unpack"], ["-", "b.ptr"], [["--json"]]),
        (["watch"], ["a.ptr"], [["--interval", "2"], ["--once"]]),
        (["demo"], [], [["--processes", "2"], ["--out", "d"]]),
        (["import", "npy"], ["a.npy", "b.npy", "a.ptr"], [["--name", "{stem}"], ["--masked"]]),
        (["import", "pickles"], ["a", "b", "a.ptr"], [["--row-shape", "3,4"], ["--trust"]]),
        (["import", "bigarray"], ["a", "a.ptr"], [["--json"]]),
    ],
)
def test_options_stand_anywhere(
    command: list[str], positionals: list[str], options: list[list[str]]
) -> None:
    lines = orders(positionals, options)
    parser = _parser()
    wanted = parser.parse_args([*command, *chain(*options), *positionals])
    assert len(lines) > 1
    for line in lines:
        assert parser.parse_args([*command, *line]) == wanted, line


def test_names_like_options(run: Run, tmp_path: Path) -> None:
    with create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer["--long"] = [1]
    for line in (["--", tmp_path / "a.ptr", "--long"], [tmp_path / "a.ptr", "--", "--long"]):
        assert run("get", *line)[0] == 0
        assert run("ls", *line) == (0, "--long\n", "")
        assert run("ls", "--long", *line) == (0, "0  1  --long\n", "")


# As a process -------------------------------------------------------------------------------------


def test_version() -> None:
    with popen("--version") as process:
        line = f"ptrarray {ptrarray.__version__} ({native.variant()})\n"
        assert process.communicate() == (line, "")
    assert process.returncode == 0


@pytest.fixture
def long_path(tmp_path: Path) -> Path:
    """A store whose listing does not fit into a pipe."""
    path = tmp_path / "long.ptr"
    names = [f"name {i:06}" for i in range(20_000)]
    with create(path, dtype="u1") as writer:
        writer.write_ragged(names, np.zeros(0, "u1"), np.zeros(len(names) + 1, np.int64))
    return path


def test_reader_that_goes_away(long_path: Path) -> None:
    with popen("ls", long_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("name ")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_full_disk(path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with full.open("w") as target, popen("ls", path, stdout=target) as process:
        assert process.communicate()[1] == "ptrarray: No space left on device\n"
    assert process.returncode == 1


def test_interrupt(long_path: Path) -> None:
    with popen("ls", long_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("name ")
        process.send_signal(signal.SIGINT)  # it waits for the pipe to be read
        _, errors = process.communicate()
    assert (process.returncode, errors) == (128 + signal.SIGINT, "")
