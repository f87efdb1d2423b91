"""Paths that callers give."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ptrarray.errors import BadInputError

# With one slash, too, as `pathlib` leaves of two.
_URL = re.compile(r"([a-z][a-z0-9+.-]+:)/", re.IGNORECASE)


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
        raise BadInputError(
            f"{text} is a URL, and stores are read and written on this machine only: download it, "
            "best as one file made by ptrarray.pack, and give its path",
            path=text,
            found=text,
            expected="a path",
        )
    return Path(os.path.abspath(text))  # noqa: PTH100
