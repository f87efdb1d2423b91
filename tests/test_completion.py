"""Completion in real shells, in a terminal: commands, options, files, and names of a store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from tests.support.command_line import Run
from tests.support.terminal import TAB, Terminal, shows

CTRL_U = b"\x15"  # deletes the line
ROOT = Path(__file__).parent.parent
NAMES = ["frame1", "two words", "$(touch made)", "it's [red]", "zwölf", "line\nbreak", "-rf"]
# By itself, zsh expands on the key before it completes, and that runs what is typed.
SET_UP = {
    "bash": "bind 'set enable-bracketed-paste off' 'set bell-style none'; source {folder}/_ptrarray",
    "zsh": "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt beep; "
    "bindkey '^I' complete-word",
    "tcsh": "set prompt='> '; set nobeep; source {folder}/_ptrarray",
}
COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "tcsh": ["tcsh", "-f"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store, and a command `ptrarray` beside it."""
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write({name: np.arange(3) for name in NAMES})
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "ptrarray"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ptrarray "$@"\n')
    command.chmod(0o755)
    return tmp_path


@contextmanager
def started(name: str, folder: Path, run: Run) -> Iterator[Terminal]:
    """Start a shell that has read what `ptrarray completion` prints."""
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    code, script, errors = run("completion", name)
    assert (code, errors) == (0, "")
    (folder / "bin" / "_ptrarray").write_text(script)
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PS1": "> ",
        "INPUTRC": os.devnull,
        "HOME": str(folder),
    }
    set_up = SET_UP[name].format(folder=folder / "bin")
    with Terminal(30, 100) as terminal:
        terminal.run(COMMANDS[name], **environment)
        terminal.press(f"cd {folder}; {set_up}; clear; echo rea''dy\n".encode())
        terminal.read_until(lambda screen: screen[:1] == ["ready"] and screen[-1] == ">")
        yield terminal


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, folder: Path, run: Run) -> Iterator[Terminal]:
    with started(request.param, folder, run) as terminal:
        yield terminal


def completed(shell: Terminal, typed: str, wanted: str) -> None:
    """Press the key that completes a line, wait until it is what it is to be, and delete it."""
    shell.press(f"ptrarray {typed}".encode() + TAB)
    shell.read_until(lambda screen: screen[-1] == f"> ptrarray {wanted}")
    shell.press(CTRL_U)
    shell.read_until(lambda screen: screen[-1] == ">")


def test_what_is_completed(shell: Terminal) -> None:
    completed(shell, "pub", "publish")
    completed(shell, "ls --lo", "ls --long")
    completed(shell, "ls a.p", "ls a.ptr/")
    completed(shell, "export a.ptr --to pick", "export a.ptr --to pickles")
    completed(shell, "import mmapp", "import mmappickle")
    completed(shell, "import kal", "import kaldi")
    completed(shell, "get a.ptr fr", "get a.ptr frame1")
    completed(shell, "get ~/a.ptr zw", "get ~/a.ptr zwölf")
    completed(shell, "get a.ptr two", r"get a.ptr two\ words")
    completed(shell, "get a.ptr it", r"get a.ptr it\'s\ \[red\]")


def test_tcsh_knows_commands_and_files(folder: Path, run: Run) -> None:
    with started("tcsh", folder, run) as shell:
        completed(shell, "pub", "publish")
        completed(shell, "import mmapp", "import mmappickle")
        completed(shell, "ls a.p", "ls a.ptr/")


def test_fish_knows_commands_words_and_files(folder: Path, run: Run) -> None:
    if shutil.which("fish") is None:
        pytest.skip("needs fish")
    (folder / "script.fish").write_text(run("completion", "fish")[1])
    lines = ["ptrarray pub", "ptrarray export a.ptr --to pick", "ptrarray ls a.p"]
    asked = "; ".join(f"complete -C '{line}'" for line in lines)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source script.fish; {asked}"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        check=True,
        text=True,
    )
    found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert found == ["publish", "pickles", "a.ptr/"]


def test_what_is_completed_is_what_is_got(shell: Terminal) -> None:
    shell.press(rb"ptrarray get a.ptr \$" + TAB + b"\n")
    screen = shell.read_until(shows("[0 1 2]"))
    assert shows("$(touch made): uint8 (3,)")(screen)


def test_nothing_that_is_typed_is_run(shell: Terminal, folder: Path) -> None:
    for typed in (
        "get a.ptr $(touch ${HOME}/made)",
        "get $(touch ${HOME}/made) x",
        "get `touch made` x",
    ):
        shell.press(f"ptrarray {typed}".encode() + TAB + b"e")  # an answer to the key
        shell.read_until(lambda screen: screen[-1].endswith(("xe", ")e")))
        shell.press(CTRL_U)
        shell.read_until(lambda screen: screen[-1] == ">")
    assert not (folder / "made").exists()


def test_names_that_no_line_holds_are_left_out(folder: Path, run: Run) -> None:
    code, out, _ = run("_names", "--", folder / "a.ptr", "")
    assert (code, out.splitlines()) == (0, NAMES[:5])


def test_some_names_of_many(tmp_path: Path, run: Run) -> None:
    names = [f"name {number:04}" for number in range(300)]
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write({name: [1] for name in names})
    assert run("_names", tmp_path / "a.ptr", "name 0")[1].splitlines() == names[:200]
    assert run("_names", tmp_path / "a.ptr", "name 029")[1].splitlines() == names[290:]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "tcsh"])
def test_scripts_have_all_commands(name: str, run: Run) -> None:
    code, script, errors = run("completion", name)
    assert (code, errors) == (0, "")
    for command in ("info", "watch", "completion", "storage"):
        assert command in script
    assert "_names (" not in script  # which is for scripts only
    if shutil.which(name) is not None:
        check = [name, "-f", "-c", "source /dev/stdin"] if name == "tcsh" else [name, "-n"]
        subprocess.run(check, input=script.encode(), check=True)


def test_it_says_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    wanted = "ptrarray: completion needs shtab: pip install 'ptrarray[cli]'\n"
    assert run("completion", "bash") == (1, "", wanted)
