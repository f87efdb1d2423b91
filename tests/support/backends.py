"""Ways to open a store, and marks for tests that use the fixture ``backend``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import PointerArray
from tests.support.servers import Server

# From a server, a store is read as with `pread`.
SERVED = ("http", "s3")
# `make test-extras` has it run what needs a server of S3.
BACKENDS = os.environ.get("PTRARRAY_BACKENDS", "mmap pread http").split()

# What is about views on a mapping, or about changes through them.
mapped = pytest.mark.parametrize("backend", ["mmap"], indirect=True)
# What is about files on this machine: a reader has them open, whatever becomes of them.
HERE = ("mmap", "pread")
here = pytest.mark.parametrize("backend", HERE, indirect=True)
all_modes = pytest.mark.parametrize(
    ("backend", "mode"),
    [
        *(("mmap", "r"), ("mmap", "r+"), ("mmap", "c"), ("pread", "r"), ("pread", "c")),
        *(("http", "r"), ("http", "c")),
    ],
    indirect=["backend"],
)


def use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have `ptrarray.open` open what it opens without naming a backend with that of a fixture."""
    name: str = request.param
    if name in SERVED:
        pytest.importorskip("obstore", reason="the extra `remote` is not installed")
        server: Server = request.getfixturevalue(name)
        monkeypatch.setattr(ptrarray, "open", opened_at(server))
        monkeypatch.setattr(PointerArray, "refresh", refreshed_from(server))
    else:
        monkeypatch.setattr(ptrarray.open, "__defaults__", ("r", name))
    return name


def refreshed_from(server: Server) -> Callable[[PointerArray], None]:
    """Return a `PointerArray.refresh` before which what is at its path comes to the server."""
    refresh = PointerArray.refresh

    def refreshed(store: PointerArray) -> None:
        server.update(store.path)
        refresh(store)

    return refreshed


def opened_at(server: Server) -> Callable[..., PointerArray]:
    """Return what opens the stores of this machine at a server, instead of `ptrarray.open`."""
    by_path = ptrarray.open

    def opened(path: Path | str, mode: Any = "r", backend: Any = None, **options: Any) -> Any:
        if backend is not None:
            return by_path(path, mode, backend, **options)
        return by_path(server.publish(path), mode, **server.options, **options)

    opened.publish = server.publish  # type: ignore[attr-defined] # for `shown`
    return opened


def shown(path: Path) -> str:
    """Return what readers and errors call a path: where a server has it, its URL."""
    publish: Callable[[Path], str] = getattr(ptrarray.open, "publish", str)
    return publish(path)
