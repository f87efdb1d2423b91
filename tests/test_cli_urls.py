"""Commands on stores that are named by a URL, and the command ``download``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.checks import digests
from tests.support.command_line import Run
from tests.support.fault_server import FaultServer, serving
from tests.support.joined import files_of

pytest.importorskip("obstore")
pytestmark = pytest.mark.usefixtures("no_syncs")
SECRET = "sig=Pa55word"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "there" / "a.ptr"
    path.parent.mkdir()
    with ptrarray.create(path, dtype="f4", row_shape=(2,), attrs={"rate": 16000}) as writer:
        writer.write({"utt1": np.ones((3, 2)), "utt2": np.zeros((0, 2)), "zwölf": [[1, 2]]})
    return path


@pytest.fixture
def server(path: Path) -> Iterator[FaultServer]:
    with serving(path.parent) as server:
        yield server


def test_each_says_what_it_says_of_the_directory(
    run: Run, path: Path, server: FaultServer, tmp_path: Path
) -> None:
    url = f"{server.url}/a.ptr"
    for words in (
        ["info"],
        ["info", "--json"],
        ["ls", "--long"],
        ["ls", "--json"],
        ["get", "zwölf"],
        ["get", "utt1", "--json"],
        ["verify"],
        ["verify", "--json"],
    ):
        here, there = (run(words[0], one, *words[1:]) for one in (path, url))
        assert here[0] == 0
        assert there == (0, here[1].replace(str(path), url), "")
    assert run("ls", url, "utt*")[1] == "utt1\nutt2\n"
    assert run("get", url, "utt1", "--out", tmp_path / "utt1.npy")[0] == 0
    assert np.load(tmp_path / "utt1.npy").tolist() == np.ones((3, 2)).tolist()


def test_download(run: Run, path: Path, server: FaultServer, tmp_path: Path) -> None:
    copies = [tmp_path / f"copy{number}.ptr" for number in range(3)]
    url = f"{server.url}/a.ptr"
    assert run("download", url, copies[0]) == (0, f"{copies[0]}: 3 arrays, no damage\n", "")
    code, out, _ = run("download", url, copies[1], "--json", "--no-resume", "--parallel", "2")
    assert (code, json.loads(out)) == (0, {"path": str(copies[1]), "arrays": 3})
    assert digests(copies[0]) == digests(copies[1]) == digests(path)
    code, out, errors = run("download", url, copies[0])
    assert (code, out) == (1, "")
    assert errors.endswith("copy0.ptr exists: open it with append(), or choose another path\n") or (
        "copy0.ptr exists: choose another path" in errors
    )
    code, _, errors = run("download", str(path), copies[2])
    assert (code, "is no URL" in errors) == (1, True)


def test_a_bar(path: Path, server: FaultServer, tmp_path: Path, capsys: Any) -> None:
    ptrarray.download(f"{server.url}/a.ptr", tmp_path / "copy.ptr", progress=True)
    nbytes = sum(map(len, files_of(path).values()))
    errors = capsys.readouterr().err
    assert "100%" in errors
    assert f"{nbytes}/{nbytes}" in errors or f"{nbytes / 1000:.2f}k/" in errors


def test_nothing_secret_is_printed(
    run: Run, path: Path, server: FaultServer, tmp_path: Path
) -> None:
    host = server.url.removeprefix("http://")
    url = f"http://me:Pa55word@{host}/a.ptr?{SECRET}"
    copy = tmp_path / "copy.ptr"
    printed = [run(word, url) for word in ("info", "verify", "ls")]
    assert [code for code, *_ in printed] == [0, 0, 0]
    assert {asked.path.partition("?")[2] for asked in server.asked} == {SECRET}
    printed += [run("download", url, copy), run("download", url, copy)]
    (path / "data.bin").unlink(missing_ok=True)
    for file in path.iterdir():
        file.unlink()
    printed += [run("info", url), run("verify", url), run("download", url, tmp_path / "b.ptr")]
    assert [code for code, *_ in printed[3:]] == [0, 1, 1, 1, 1]
    assert "Pa55word" not in str(printed)
    assert f"no store at {server.url}/a.ptr" in printed[-1][2]


def test_damage(run: Run, path: Path, tmp_path: Path) -> None:
    tree = {f"a.ptr/{name}": raw for name, raw in files_of(path).items()}
    (data,) = [name for name in tree if ".bin" in name]
    tree[data] = b"\1" + tree[data][1:]
    with serving(tree) as server:
        url = f"{server.url}/a.ptr"
        code, out, errors = run("verify", url)
        assert (code, errors) == (1, f"ptrarray: {url} is damaged in 1 place\n")
        assert "utt1" in out
        code, out, errors = run("download", url, tmp_path / "copy.ptr")
        assert (code, out) == (1, "")
        assert errors.startswith(f"ptrarray: what came of {url} is damaged, there or on the way")
        code, out, errors = run("get", url, "utt1")
        assert (code, out, "utt1" in errors) == (1, "", True)


def test_what_the_library_is_to_know(run: Run, server: FaultServer) -> None:
    url = f"{server.url}/a.ptr"
    code, _, errors = run("info", url, "--storage", "nonsense=1")
    assert (code, "nonsense" in errors) == (1, True)
    code, _, errors = run("info", "s3://bucket/a.ptr", "--storage", "nonsense=1")
    assert (code, "nonsense" in errors) == (1, True)
    keys = ["--storage", f"endpoint={server.url}", "--storage", "skip_signature=true"]
    more = ["--storage", "region=nowhere", "--storage", "virtual_hosted_style_request=false"]
    code, _, errors = run("info", "s3://bucket/a.ptr", *keys, *more)
    assert code == 1
    assert "no store at s3://bucket/a.ptr" in errors
    assert any(asked.path.startswith("/bucket/a.ptr/") for asked in server.asked)
    command = [sys.executable, "-m", "ptrarray", "info", url, "--storage", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "is not of the form KEY=VALUE" in done.stderr) == (2, True)
    assert "nothing" not in done.stderr  # which may be a key


def test_immutable(run: Run, path: Path, server: FaultServer, tmp_path: Path) -> None:
    server.arm(lambda it: it.but(ETag="") if it.whole else it.send(404, {}))
    url = f"{server.url}/a.ptr"
    code, _, errors = run("info", url)
    assert (code, "immutable" in errors) == (1, True)
    assert run("info", url, "--immutable")[0] == 0
    assert run("download", url, tmp_path / "copy.ptr", "--immutable")[0] == 0
    assert digests(tmp_path / "copy.ptr") == digests(path)


def test_commands_that_write_refuse(run: Run, path: Path, server: FaultServer) -> None:
    url = server.url.replace("//", f"//me:{SECRET}@") + f"/a.ptr?{SECRET}"
    for words in (
        *(["compact", url], ["checkpoint", url], ["publish", url], ["join", url]),
        *(["pack", url, "b.tar"], ["pack", path, url], ["unpack", url, "b.ptr"]),
        *(["repair", url, "--to", "b.ptr"], ["repair", path, "--to", url]),
        ["download", url, url],
    ):
        code, _, errors = run(*words)
        assert (code, f"{server.url}/a.ptr is a URL, where" in errors) == (1, True), errors
        assert SECRET not in errors
    assert not server.asked


def test_watch(run: Run, server: FaultServer) -> None:
    url = server.url.replace("//", f"//me:{SECRET}@") + f"/a.ptr?{SECRET}"
    code, out, errors = run("watch", url, "--once")
    assert (code, "3 arrays" in out, errors) == (0, True, "")
    assert SECRET not in out
