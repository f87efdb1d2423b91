"""Progress bars: one look for all, wherever they are shown, and nothing that outlives them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from typing import Any

import pytest

from ptrarray.progress import bar


def shown(capsys: pytest.CaptureFixture[str], n: float, **options: Any) -> str:
    with bar(progress=True, **options) as counter:
        counter.update(n)
    return capsys.readouterr().err.split("\r")[-1].strip()


def test_all_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    times = r"\[00:00<00:00, .*arrays/s\]"
    whole = shown(capsys, 1234, unit=" arrays", total=1234)
    assert re.fullmatch(rf"100%\|█+\| 1234/1234 {times}", whole)
    unknown = shown(capsys, 7, unit=" arrays")
    assert re.fullmatch(r"7 arrays \[00:00, .*arrays/s\]", unknown)
    nbytes = shown(capsys, 2_500_000, unit="B", total=5_000_000)
    assert re.fullmatch(r" ?50%\|█+▌? *\| 2\.50M/5\.00M \[00:00<00:00, .*B/s\]", nbytes)


def test_no_thread_is_left_or_started(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.enumerate()
    with bar(progress=True, unit=" arrays") as counter:
        counter.update(1)
        assert threading.enumerate() == before
    assert "1 arrays" in capsys.readouterr().err


def test_the_users_own_bars_keep_what_watches_them() -> None:
    from tqdm.std import tqdm

    with bar(progress=True, unit=" arrays"):
        assert tqdm.monitor_interval == 10


def test_none_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(progress=False, unit=" arrays", total=3) as counter:
        counter.update(1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_without_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, "latin-1"))
    with bar(progress=True, unit=" arrays", total=2) as counter:
        counter.update(2)
    sys.stderr.flush()
    assert b"100%|####" in written.getvalue()


NOTEBOOK = """
import sys, types  # as `tqdm.auto` looks for a notebook
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": 1})
from ptrarray.progress import bar
with bar(progress=True, unit=" arrays", total=2) as counter:
    counter.update(2)
"""


def test_in_notebooks_the_same() -> None:
    """Where `tqdm.auto` warns that widgets are missing, and warnings may be errors."""
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    options: Any = {"env": environment, "capture_output": True, "encoding": "utf-8"}
    done = subprocess.run(command, check=False, **options)
    assert (done.returncode, done.stdout) == (0, "")
    assert "100%|██" in done.stderr
