"""Paths that callers give."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that stays right when the working directory changes."""
    text: Any = os.fspath(path)
    return Path(os.path.abspath(os.fsdecode(text)))  # noqa: PTH100
