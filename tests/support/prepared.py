"""Python programs in processes that have numpy and the package when they begin.

To import these takes a new process a third of a second, and one that is forked from a process
that has them nothing. It has all else that a new one has: arguments, variables, a folder,
streams, a module `__main__` that spawned workers find, and it ends as any process does.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent.parent
_STREAMS = ("in", "out", "err")


def python(
    *arguments: str | Path, cwd: Path = ROOT, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a script, ``-m`` and a module, or ``-c`` and code, as ``python OPTIONS ARGUMENTS`` would.

    What is read from variables when the package is imported is what it was at the first call.
    """
    return _forking(tuple(options)).run([str(one) for one in arguments], cwd)


@cache
def _forking(options: tuple[str, ...]) -> _Forking:
    return _Forking(options)


class _Forking:
    """A process that forks for each program, and ends with the process that tests run in."""

    def __init__(self, options: tuple[str, ...]) -> None:
        code = "from tests.support.prepared import fork_for_each; fork_for_each()"
        self._process = subprocess.Popen(
            [sys.executable, *options, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self._end)

    def run(self, arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin
        assert self._process.stdout
        with TemporaryDirectory() as folder:
            streams = {name: Path(folder, name) for name in _STREAMS}
            streams["in"].touch()
            request = {
                "arguments": arguments,
                "cwd": str(cwd),
                "env": {**os.environ, "PYTHONPATH": str(ROOT)},
                "streams": [str(streams[name]) for name in _STREAMS],
            }
            try:
                print(json.dumps(request), file=self._process.stdin, flush=True)
                code = int(self._process.stdout.readline())
            except BaseException:  # a program that takes too long ends with all that it started
                self._end()
                _forking.cache_clear()
                raise
            out, errors = (streams[name].read_text("utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(arguments, code, out, errors)

    def _end(self) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()


def fork_for_each() -> None:
    """Fork for each request that is read, and print the code that the program ended with."""
    import ptrarray  # noqa: F401 - only this process is to have it

    installed = sys.path[2:]  # but for the folder it runs in, and what is in PYTHONPATH
    for line in sys.stdin:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that numpy has threads: none of them is at work
            pid = os.fork()
        if not pid:
            _become(json.loads(line), installed)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def _become(request: dict[str, Any], installed: list[str]) -> None:
    """Run a program in this process."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path in enumerate(request["streams"]):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    first, *rest = request["arguments"]
    folders = {"-m": request["cwd"], "-c": ""}
    sys.path[:] = [folders.get(first, str(Path(first).parent)), str(ROOT), *installed]
    match first:
        case "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        case "-c":
            sys.argv = [first, *rest[1:]]
            exec(rest[0], vars(sys.modules["__main__"]))  # noqa: S102
        case script:
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")
