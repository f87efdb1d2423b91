"""Paths that callers give."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ptrarray.errors import BadInputError

# With one slash, too, as `pathlib` leaves of two.
_URL = re.compile(r"([a-z][a-z0-9+.-]+:)/", re.IGNORECASE)
_USER = re.compile(r"^([^/]+//?)[^/]*@")


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays right when the working directory changes.

    Raises
    ------
    BadInputError
        If it is a URL.
    """
    given: Any = os.fspath(path)
    text = os.fsdecode(given)
    url = _URL.match(text)
    if url and not Path(url[1]).is_dir():
        text = _USER.sub(r"\1", text).partition("?")[0]  # without anything secret
        why = "where ptrarray.open reads stores, and nothing is written"
        what = f"{why}: ptrarray.download makes a copy on this machine, for all the rest"
        if "//" not in text:
            what = "of which pathlib has taken a slash: give it as text"
        raise BadInputError(f"{text} is a URL, {what}", path=text, found=text, expected="a path")
    return Path(os.path.abspath(text))  # noqa: PTH100
