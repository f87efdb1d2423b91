"""Watching a store that grows: what is told, that it is told in time, and what it looks like."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import StoreNotFoundError
from ptrarray.cli import main
from ptrarray.cli.watch import _Shown, clipped
from ptrarray.look.viewer.looks import Look, looks, rates
from tests.support.terminal import CTRL_C, PATIENCE, Terminal, shows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lapse.ptr"
    ptrarray.create(path, dtype="f4", row_shape=(4, 4)).close()
    return path


def append_frames(path: Path, n_frames: int) -> None:
    with ptrarray.append(path) as writer:
        for n in range(n_frames):
            writer[f"frame{n}"] = np.full((1, 4, 4), n, "f4")


# the newest names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"shard_size": 100}])
def test_newest_are_those_committed_last(tmp_path: Path, options: Any) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="f8", **options) as writer, ptrarray.open(path) as store:
        for name in "abcd":
            writer[name] = np.ones(5)

        def newest(n: int) -> list[str]:
            store.refresh()
            return store.names.newest(n)

        assert newest(3) == ["d", "c", "b"]
        ptrarray.checkpoint(path)
        assert newest(3) == ["d", "c", "b"]
        writer.write({"e": np.ones(5)})
        if not options:  # in an earlier shard it is earlier
            writer["a"] = np.ones(5)
            assert newest(3) == ["a", "e", "d"]
            writer["e"] = np.ones(5)  # which the journal has already
            assert newest(3) == ["e", "a", "d"]
            del writer["a"]
        assert newest(2) == ["e", "d"]
        del writer["d"]
        assert newest(0) == []
        assert sorted(newest(10)) == sorted(store)
        assert newest(10)[:2] == ["e", "c"]


# looks --------------------------------------------------------------------------------------------


def counts(look: Look | None) -> tuple[int, int, int]:
    assert look is not None
    return look.n_arrays, look.n_rows, look.nbytes


def test_looks_follow_whatever_happens(path: Path) -> None:
    watching = looks(path, 0.001, n_names=2)
    assert counts(next(watching)) == (0, 0, 0)
    append_frames(path, 3)
    look = next(watching)
    assert counts(look) == (3, 3, 3 * 64)
    assert look is not None
    assert look.newest == ["frame2", "frame1"]
    assert look.seconds > 0
    with ptrarray.append(path) as writer:
        del writer["frame0"]
    ptrarray.compact(path)
    assert counts(next(watching)) == (2, 2, 2 * 64)
    with ptrarray.create(path, dtype="u1", mode="w") as writer:
        writer["other"] = [1, 2, 3]
    assert counts(next(watching)) == (1, 3, 3)
    shutil.rmtree(path)
    with pytest.raises(StoreNotFoundError):
        next(watching)


def test_looks_wait(tmp_path: Path) -> None:
    path = tmp_path / "later.ptr"
    watching = looks(path, 0.001, waits=True)
    assert next(watching) is None
    assert next(watching) is None
    ptrarray.create(path, dtype="u1").close()
    assert counts(next(watching)) == (0, 0, 0)  # empty, but there
    shutil.rmtree(path)
    assert next(watching) is None
    with ptrarray.create(path, dtype="u1") as writer:
        writer["a"] = [1]
    assert counts(next(watching)) == (1, 1, 1)
    watching.close()  # type: ignore[attr-defined]


def test_no_rate_before_time_has_passed() -> None:
    look = Look(1.0, 5, 5, 5, [])
    assert rates(look, look) == (0, 0)
    fewer = Look(3.0, 1, 0, 0, [])
    assert rates(look, fewer).arrays == -2


@given(st.text(max_size=30), st.integers(1, 20))
def test_clipped_fits(text: str, width: int) -> None:
    found = clipped(text, width)
    assert found == text or (found.endswith("…") and text.startswith(found[:-1]))
    assert clipped(found, width) == found  # it fits


# the command --------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ptrarray", "watch", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "COLUMNS": ""}


@contextmanager
def watched(*arguments: object, stdout: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command(*arguments), env=environment(), stdout=stdout, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def interrupted(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


@contextmanager
def writing(path: Path, n_frames: int) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(
        target=append_frames, args=(path, n_frames)
    )
    process.start()
    yield
    process.join()
    assert process.exitcode == 0


def test_a_line_a_look_into_a_pipe(path: Path) -> None:
    with watched(path, "--interval", 0.02, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b" 0 arrays  0 rows" in process.stdout.readline()  # it is looking
        with writing(path, 300):
            for line in process.stdout:
                if b" 300 arrays" in line:
                    break
        assert b"newest: frame299, frame298, frame297" in line
        assert b"\x1b" not in line
        assert interrupted(process) == (0, b"")


def test_json_lines(path: Path) -> None:
    with watched(path, "--interval", 0.02, "--json", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline())]
        with writing(path, 40):
            while found[-1]["arrays"] < 40:
                found.append(json.loads(process.stdout.readline()))
        assert found[0]["arrays"] == 0
        assert found[-1]["newest"][0] == "frame39"
        assert found[-1]["nbytes"] == 40 * 64
        for column in ("seconds", "arrays", "rows", "nbytes"):
            values = [look[column] for look in found]
            assert values == sorted(values)
        assert interrupted(process) == (0, b"")


def test_in_place_in_a_terminal(path: Path) -> None:
    with Terminal() as terminal:
        terminal.run(command(path, "--interval", 0.02))
        first = terminal.read_until(shows("newest  -"))
        assert first[0].startswith(str(path)[:40])
        with writing(path, 200):
            screen = terminal.read_until(shows("newest  frame199, frame198"))
        assert len(screen) == len(first) == 6  # over each other
        assert screen[2].split()[:2] == ["arrays", "200"]
        terminal.press(CTRL_C)
        assert terminal.finish() == 0
        left = terminal.screen()
        assert left[0].startswith(str(path)[:40])
        assert left[5] == screen[5]
        assert left[6:] in ([], ["^C"])
        assert terminal.shows_cursor
        assert b"Traceback" not in terminal.raw


LONG = "long " * 30


@pytest.fixture
def hostile(path: Path) -> Path:
    with ptrarray.append(path) as writer:
        for name in ("\x1b[2J\nred", "[red]x[/]", "[/]", ":smile:", "日本語" * 9, LONG):
            writer[name] = np.ones((1, 4, 4))
    return path


@pytest.mark.parametrize("n_columns", [40, 80, 200])
def test_a_terminal_shows_no_name_as_it_is(hostile: Path, n_columns: int) -> None:
    with Terminal(n_columns=n_columns) as terminal:
        terminal.run(command(hostile, "--once", "--names", 6))
        assert terminal.finish() == 0
        screen = terminal.screen()
        assert [line.split(" ")[0] for line in screen[1:]] == ["", "arrays", "rows", "MB", "newest"]
        assert screen[1].split() == ["total", "now/s", "start/s"]
        assert screen[2].split() == ["arrays", "6", "0.0", "0.0"]
        assert terminal.shows_cursor
        if n_columns == 200:
            assert "[/], [red]x[/]" in screen[5]
            assert r"\x1b[2J\nred" in screen[5]
        else:
            assert screen[5].endswith("…")
    assert b"\x1b[2J" not in terminal.raw


def test_what_comes_after_a_store_that_went_is_no_growth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = _Shown("a.ptr", None, as_json=False)
    for look in (Look(1, 5, 5, 5, []), Look(2, 7, 7, 7, []), None, None, Look(4, 1, 1, 1, ["new"])):
        shown.show(look)
    lines = capsys.readouterr().out.splitlines()
    assert "2.0 arrays/s" in lines[1]
    assert lines[2:] == [
        "waiting for a store at a.ptr",
        "0:00:04  1 arrays  1 rows  0.0 MB  0.0 arrays/s  0.0 MB/s  newest: new",
    ]


def test_waits_in_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "later.ptr"
    with Terminal() as terminal:
        terminal.run(command(path, "--interval", 0.02, "--wait"))
        assert len(terminal.read_until(shows("waiting"))) == 1
        ptrarray.create(path, dtype="f4", row_shape=(4, 4)).close()
        assert "waiting" not in str(terminal.read_until(shows("newest")))
        path.rename(path.with_name("elsewhere.ptr"))
        screen = terminal.read_until(shows("waiting"))
        assert "newest" not in str(screen)
        terminal.press(CTRL_C)
        assert terminal.finish() == 0


def _is_in_place(before: list[str], n_arrays: int, screen: list[str]) -> bool:
    """Tell whether a screen has all that it had, in the same lines, and so many arrays.

    What was read so far may end in the middle of what is drawn.
    """
    words = [[line.split()[:1] for line in lines] for lines in (before, screen)]
    return words[0] == words[1] and f"arrays  {n_arrays:>5}" in screen[2]


def test_a_terminal_of_five_lines(path: Path) -> None:
    append_frames(path, 1)
    with Terminal(5, 40) as terminal:
        terminal.run(command(path, "--interval", 0.02))
        screen = terminal.read_until(shows("arrays", "MB"))
        assert len(screen) == 5
        for number in range(2, 5):  # it does not scroll
            append_frames(path, number)
            terminal.read_until(partial(_is_in_place, screen, number))
        terminal.press(CTRL_C)
        assert terminal.finish() == 0
        assert terminal.shows_cursor
        assert shows("MB", "newest  frame3")(terminal.screen())  # the end of the whole


def test_a_terminal_that_changes_its_size(path: Path) -> None:
    append_frames(path, 30)
    with Terminal(24, 80) as terminal:
        terminal.run(command(path, "--interval", 0.02, "--names", 30))
        terminal.read_until(lambda screen: len(screen) == 6 and len(screen[5]) == 80)
        terminal.resize(24, 120)
        screen = terminal.read_until(lambda screen: len(screen) == 6 and len(screen[5]) == 120)
        assert screen[5].startswith("newest  frame29")
        # What the terminal writes for the key would go on behind a line that is full.
        terminal.press(CTRL_C)
        assert terminal.finish() == 0
        assert terminal.screen()[:6] == [terminal.screen()[0], *screen[1:]]
        assert sum(line.startswith("newest") for line in terminal.screen()) == 1


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "latin-1"}])
def test_lines_where_a_terminal_cannot(hostile: Path, environment: dict[str, str]) -> None:
    with Terminal(n_columns=200) as terminal:
        terminal.run(command(hostile, "--once", "--names", 1), **environment)
        assert terminal.finish() == 0
        [line] = terminal.screen()
        assert line.startswith("0:00:00  6 arrays  6 rows  0.0 MB")
    assert b"\x1b" not in terminal.raw


@pytest.mark.parametrize("forced", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_no_colours_in_a_pipe(path: Path, forced: str) -> None:
    done = subprocess.run(
        command(path, "--once"), env=environment() | {forced: "1"}, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"0:00:00  0 arrays  0 rows  0.0 MB")
    assert done.stdout.count(b"\n") == 1
    assert b"\x1b" not in done.stdout


def test_lines_without_rich(path: Path) -> None:
    code = (
        "import sys; sys.modules['rich'] = None\n"
        f"from ptrarray.cli import main; sys.exit(main(['watch', {str(path)!r}, '--once']))"
    )
    with Terminal(n_columns=200) as terminal:
        terminal.run([sys.executable, "-c", code], PYTHONPATH=environment()["PYTHONPATH"])
        assert terminal.finish() == 0
        assert terminal.screen()[0].startswith("0:00:00  0 arrays  0 rows  0.0 MB")


def test_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append_frames(path, 2)
    assert main(["watch", str(path), "--once", "--names", "1"]) == 0
    out, errors = capsys.readouterr()
    assert (out.count("\n"), errors) == (1, "")
    assert out.endswith("2 arrays  2 rows  0.0 MB  0.0 arrays/s  0.0 MB/s  newest: frame1\n")
    assert main(["watch", str(path), "--once", "--json", "--names", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["newest"] == []


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path / "absent.ptr")]) == 1
    out, errors = capsys.readouterr()
    assert out == ""
    assert "no store at" in errors


def test_a_store_that_is_removed(path: Path) -> None:
    with watched(path, "--interval", 0.02, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        path.rename(path.with_name("elsewhere.ptr"))
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert b"no store at" in errors


@pytest.mark.parametrize(
    "option", ["--interval=0", "--interval=-1", "--interval=nan", "--interval=x", "--names=-1"]
)
def test_wrong_usage(path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["watch", str(path), option])
    assert raised.value.code == 2
    assert option.split("=")[0] in capsys.readouterr().err


def test_a_pipe_that_nobody_reads_any_more(path: Path) -> None:
    with watched(path, "--interval", 0.02, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 128 + 13
