"""The page of the viewer: a server of it that is killed and started again, and tabs that show it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = "a-token-that-is-the-same"
HTML = "<img src=x onerror=\"document.title='run'\"><b>bold</b>"
WAVE = np.ma.MaskedArray(np.sin(np.arange(50_000) / 700), False)
WAVE[20_000:30_000] = np.ma.masked
WAVE[41_000] = 3
IMAGE = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)
STACK = np.stack([np.full((16, 24), 10 * k, np.uint8) for k in range(12)])
ARRAYS: dict[str, Any] = {
    "wave": WAVE,
    "image": IMAGE,
    "stack": STACK,
    "heat": np.arange(300.0 * 8).reshape(300, 8),
    "text": np.frombuffer(b"Once upon a time\n" * 20, np.uint8),
    "tokens": np.random.default_rng(3).integers(0, 999, 700),
    "table": np.array([(k, f"<i>{k}".encode()) for k in range(500)], [("id", "i4"), ("t", "S9")]),
    HTML: np.arange(3.0),
    "": np.arange(2.0),
    "a/b ?#&+%2F\n": np.arange(4.0),
}


class Server:
    """``ptrarray view`` of a store, which may be killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = self.start(TOKEN)

    def start(self, token: str) -> str:
        command = [sys.executable, "-m", "ptrarray", "view", str(self.path)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--interval", "0.05"],
            env={**os.environ, "PTRARRAY_VIEW_TOKEN": token},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Tabs:
    """Tabs of one browser, with what went wrong in them."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.failures: list[str] = []
        self.allowed: list[str] = []

    def open(self, url: str, route: str = "#/") -> Any:
        page = self.context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: self.failures.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on("dialog", lambda dialog: self.failures.append(dialog.message))
        page.goto(url + route)
        return page

    def check(self) -> None:
        """Nothing went wrong but what was to be expected."""
        unexpected = [f for f in self.failures if not any(a in f for a in self.allowed)]
        assert not unexpected, unexpected
