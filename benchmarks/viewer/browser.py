"""The page of a store in a real Chromium: when something is painted, when it has counts, when a search has an answer.

The server is a process of `ptrarray view`. Each time is that of a new tab with nothing kept, from the beginning of the navigation, as
the browser tells it: the first paint with text, beside that of a page of one word from a server of Python's own; and when the
number of arrays is there. A search is timed from the last key
to the frame that shows its first name, or says that there is none; in that are 20 ms for which the page waits whether another key
comes. Server, browser and what measures share the processors.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import sync_playwright

from benchmarks.bridges.limits import at_most
from benchmarks.harness.system import ROOT
from benchmarks.users.asking import CLOCK, CPU, Question
from benchmarks.viewer import stores

N = stores.N
REPEAT = 9
LIMIT_MS = 100
ONE_WORD = "a page of one word"
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update"

# Before anything of the page runs.
WATCHED = """(text) => {
  new MutationObserver(() => {
    if (window.countedAt === undefined && document.body?.textContent.includes(text)) {
      requestAnimationFrame(() => (window.countedAt = performance.now()));
    }
  }).observe(document, { childList: true, subtree: true, characterData: true });
}"""
PAINTED = """() => new Promise((done) => {
  new PerformanceObserver((list) => {
    const [paint] = list.getEntriesByName("first-contentful-paint");
    if (paint) done(paint.startTime);
  }).observe({ type: "paint", buffered: true });
})"""
SEARCHED = """([text, isThere]) => new Promise((done) => {
  const box = document.getElementById("query");
  const is = () => isThere ? document.querySelector("#results li")
    : /no name/.test(document.getElementById("progress").textContent);
  box.focus();
  box.value = text;
  const began = performance.now();
  new MutationObserver((_, observer) => {
    if (!is()) return;
    observer.disconnect();
    requestAnimationFrame(() => done(performance.now() - began));
  }).observe(document.getElementById("found"), { childList: true, subtree: true, characterData: true });
  box.dispatchEvent(new Event("input", { bubbles: true }));
})"""


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for the first paint, for counts, and for answers to searches."""
    path = stores.made(folder / "names.ptr", n)
    with served(path) as (url, pid), browsed() as browser:
        tabs = Tabs(browser, url, f"{n:,}", pid)
        with one_word() as plain_url:
            plain = Tabs(browser, plain_url, "", pid)
            for title, is_again in (("first paint", False), ("second visit: first paint", True)):
                ours, floor = (partial(each.painted, is_again) for each in (tabs, plain))
                yield at_most(f"{title} of the page", LIMIT_MS, CLOCK, ours, {ONE_WORD: floor})
        title = f"the page tells that it is {n:,} arrays"
        yield at_most(title, LIMIT_MS, CLOCK, tabs.counted, warms_up=True)
        last = stores.name(n - 1)
        searches = {
            f"first names of a prefix that many have, `{last[:7]}`": (last[:7], True),
            f"the name of a prefix that one near the end has, `{last}`": (last, True),
            f"the name of text in one near the end, `*{last[-8:]}*`": (f"*{last[-8:]}*", True),
            "that no name has text, `*zebra*`": ("*zebra*", False),
            "that no name begins with text, or has it anywhere, `zebra`": ("zebra", False),
        }
        for what, (text, is_there) in searches.items():
            title, cost = f"a search shows {what}", partial(tabs.searched, text, is_there)
            yield at_most(title, LIMIT_MS, CLOCK, cost)
            yield at_most(f"{title}: the server", LIMIT_MS, CPU, partial(tabs.used, cost))


@contextmanager
def served(path: Path) -> Iterator[tuple[str, int]]:
    """Have a store served meanwhile; gives its URL, and the number of the process."""
    command = [sys.executable, "-m", "ptrarray", "view", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.terminate()


class _OneWord(BaseHTTPRequestHandler):
    """What a page costs of which a browser has nearly nothing to do."""

    def do_GET(self) -> None:
        """Answer."""
        body = b'<!doctype html><link rel="icon" href="data:,"><p>word'
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def one_word() -> Iterator[str]:
    """Have a page of one word served meanwhile; gives its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _OneWord) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@contextmanager
def browsed() -> Iterator[Any]:
    """Have a Chromium of this machine meanwhile, or else that of playwright."""
    there = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=there, args=QUIET.split())
        yield browser
        browser.close()


class Tabs:
    """Tabs of a browser that show a store, each a new one with nothing kept.

    Parameters
    ----------
    browser : object
        Of playwright.
    url : str
        Where the store is served.
    count : str
        How many arrays it has, as the page tells it.
    pid : int
        Number of the process that serves it.
    """

    def __init__(self, browser: Any, url: str, count: str, pid: int) -> None:
        self._browser, self._url, self._count, self._pid = browser, url, count, pid

    def _in_tab(self, ask: Callable[[Any], Any], *, is_watched: bool = True) -> float:
        context = self._browser.new_context(viewport={"width": 1200, "height": 800})
        try:
            tab = context.new_page()
            if is_watched:
                tab.add_init_script(f"({WATCHED})({self._count!r})")
            tab.goto(self._url)
            if is_watched:
                tab.wait_for_function("() => window.countedAt !== undefined")
            return float(ask(tab))
        finally:
            context.close()

    def painted(self, is_again: bool) -> float:
        """Return the milliseconds until something was painted, the first time or the second."""

        def paint(tab: Any) -> Any:
            if is_again:
                tab.goto(f"{self._url}?again")
            return tab.evaluate(PAINTED)

        return self._in_tab(paint, is_watched=False)

    def counted(self) -> float:
        """Return the milliseconds until the number of arrays was shown."""
        return self._in_tab(lambda tab: tab.evaluate("() => window.countedAt"))

    def searched(self, text: str, is_there: bool) -> float:
        """Return the milliseconds until a search has a first name, or says that there is none."""

        def timed(tab: Any) -> float:
            before = processor_milliseconds(self._pid)
            taken = tab.evaluate(SEARCHED, [text, is_there])
            self._used = processor_milliseconds(self._pid) - before
            return float(taken)

        return self._in_tab(timed)

    def used(self, search: Callable[[], float]) -> float:
        """Return the milliseconds of the processor that the server takes for a search."""
        search()
        return self._used


def processor_milliseconds(pid: int) -> float:
    """Return what a process has used of processors, all of its threads, as Linux tells it."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text("ascii").split()[0]) for thread in threads) / 1e6
