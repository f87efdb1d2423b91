"""A terminal in which commands run: keys that are pressed, and what is on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Self

import pyte

PATIENCE = 60  # seconds, for what takes a moment
CTRL_C = b"\x03"
TAB = b"\t"
# Only the terminal that a process is controlled by sends it a signal for Ctrl-C.
_CONTROLLED = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A terminal of some size, and the process that runs in it."""

    def __init__(self, n_rows: int = 24, n_columns: int = 80) -> None:
        self.raw = b""
        self._ours, self._theirs = pty.openpty()
        self._drawn = pyte.Screen(n_columns, n_rows)
        self._stream = pyte.ByteStream(self._drawn)
        self._process: subprocess.Popen[bytes] | None = None
        self.resize(n_rows, n_columns)

    def resize(self, n_rows: int, n_columns: int) -> None:
        """Become larger or smaller, as when a window is dragged."""
        size = struct.pack("HHHH", n_rows, n_columns, 0, 0)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, size)
        self._drawn.resize(n_rows, n_columns)

    def run(self, command: list[str], **environment: str) -> Self:
        """Start a command, which gets the keys; its environment has no size and no colours."""
        left_out = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
        inherited = {key: value for key, value in os.environ.items() if key not in left_out}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, *command],
            env={**inherited, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        return self

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def read_until(self, is_there: Callable[[list[str]], bool]) -> list[str]:
        """Read what is printed until the screen shows something; return its lines."""
        while not is_there(self.screen()):
            assert self._read(PATIENCE), f"not shown: {self.screen()}"
        return self.screen()

    def finish(self) -> int:
        """Read until the process has ended, and return its exit code."""
        assert self._process is not None
        while self._process.poll() is None:
            self._read(0.05)
        while self._read(0):
            pass
        return self._process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        found = os.read(self._ours, 1 << 16)
        self.raw += found
        self._stream.feed(found)
        return True

    def screen(self) -> list[str]:
        """Return the lines on the screen, down to the last that is not empty."""
        lines = [line.rstrip() for line in self._drawn.display]
        while lines and not lines[-1]:
            del lines[-1]
        return lines

    @property
    def shows_cursor(self) -> bool:
        """Whether there is a cursor."""
        return not self._drawn.cursor.hidden

    @property
    def cursor_row(self) -> int:
        """The line that the cursor is in, from 0 on."""
        return int(self._drawn.cursor.y)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)


def shows(*wanted: str) -> Callable[[list[str]], bool]:
    """Return whether a screen has some texts, each in one of its lines."""
    return lambda screen: all(any(text in line for line in screen) for text in wanted)
