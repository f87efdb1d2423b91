"""The command ``view``: a store in a browser, until Ctrl-C."""

from __future__ import annotations

import argparse
import errno
import os
import threading
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

from ptrarray.cli.elsewhere import opened, title
from ptrarray.cli.printing import print_now
from ptrarray.cli.watch import seconds
from ptrarray.errors import BadInputError

_LOOKS = 1.0  # seconds between looks
_LOOKS_ELSEWHERE = 10.0


def add_command(add: Any, *parents: Any) -> None:
    """Add ``view`` to the parser."""
    command = add("view", _view, "show a store in a browser, until Ctrl-C", *parents)
    text = "where it is served, on this machine alone; by default a port that is free"
    command.add_argument("--port", type=_port, default=0, metavar="N", help=text)
    command.add_argument("--open", action="store_true", help="open it in a browser")
    text = "seconds between looks at the store; by default 1, and 10 for a URL"
    command.add_argument("--interval", type=seconds, metavar="S", help=text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, from 0 to 65535")
    return int(text)


def _view(options: argparse.Namespace) -> int:
    from ptrarray.look.viewer import server  # which few have

    is_here = isinstance(options.store, Path)
    interval = options.interval or (_LOOKS if is_here else _LOOKS_ELSEWHERE)
    opener = partial(opened, options)
    try:
        token = server.token(os.environ.get(server.TOKEN))
        how = token, options.port
        serving = server.Serving(opener, title(options), *how, interval=interval, always=is_here)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        what = f"port {options.port} is in use: choose another one by --port"
        raise BadInputError(f"{what}, or leave it out for any that is free") from None
    try:
        print_now(serving.url)
        if options.open:
            # In a thread, as a browser in the terminal ends before this goes on.
            browser = [serving.url_for_once()]
            threading.Thread(target=webbrowser.open, args=browser, daemon=True).start()
        serving.run()
    except KeyboardInterrupt:
        pass  # which is how it ends
    return 0
