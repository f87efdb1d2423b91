"""What imports call in worker processes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np


def double(value: Any) -> Any:
    return value * 2


def signal_only(value: Any) -> Any:
    return value["signal"]


def refuse_threes(value: Any) -> Any:
    if len(value) == 3:
        raise RuntimeError("three")
    return value


def die(value: Any) -> Any:
    os._exit(9)


def whole_bytes(path: str) -> Any:
    return np.frombuffer(Path(path).read_bytes(), "u1")


class Traitor:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> Any:
        return _betray, (str(self._canary),)


def _betray(canary: str) -> dict[str, int]:
    Path(canary).touch()
    return {"a": 1}


def dump(path: Path, *values: Any, protocol: int = 5) -> Path:
    """Write pickles one after another into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for value in values:
            pickle.dump(value, file, protocol)
    return path
