"""obstore as this process can use it: in the child of a fork, loaded once more."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any, NamedTuple

from ptrarray.errors import import_extra

_MISSING = "reading {url} needs obstore: pip install 'ptrarray[remote]'"
_CORE = "obstore._obstore"


class Library(NamedTuple):
    """obstore: its functions, its stores, its errors."""

    root: Any
    stores: Any
    errors: Any


class _Process:
    """What is known of this process."""

    turn = Lock()
    library: Library | None = None
    is_of_parent = False  # what is imported, whose threads are not here
    path = ""  # where the core of it lies, as it was installed


def obstore_here(url: str) -> Library:
    """Import obstore for reading a URL.

    Notes
    -----
    Its threads are made once, by its first request, and in the child of a fork they are gone:
    there every request waits for ever, whatever client makes it. Only a library that was never
    used makes threads anew, and the system gives one for another file of the same content. It
    takes some 20 ms and 20 MB in each child that reads.
    """
    with _Process.turn:
        if _Process.library is None:
            if _Process.is_of_parent:
                _load_anew()
            stores = import_extra("obstore.store", _MISSING.format(url=url))
            errors = sys.modules["obstore.exceptions"]
            _Process.library = Library(sys.modules["obstore"], stores, errors)
            _Process.path = _Process.path or sys.modules[_CORE].__file__ or ""
        return _Process.library


def _load_anew() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        del sys.modules[name]
    with ExitStack() as stack:
        finder = _Finder(_copied(_Process.path, stack))
        sys.meta_path.insert(0, finder)
        stack.callback(sys.meta_path.remove, finder)
        import_module("obstore")


def _copied(path: str, stack: ExitStack) -> str:
    """Copy a file to another one that is there until the end of the stack."""
    raw = Path(path).read_bytes()
    if hasattr(os, "memfd_create"):  # where temporary files may not be run
        number = os.memfd_create("obstore")
        stack.callback(os.close, number)
        with os.fdopen(number, "wb", closefd=False) as file:
            file.write(raw)
        return f"/proc/{os.getpid()}/fd/{number}"  # not the name of a copy that the parent has
    copy = stack.enter_context(NamedTemporaryFile(suffix=".so"))  # noqa: SIM115 the stack is one
    copy.write(raw)
    copy.flush()
    return copy.name


class _Finder(MetaPathFinder):
    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        loader = ExtensionFileLoader(name, self._path)
        is_core = name == _CORE
        return spec_from_file_location(name, self._path, loader=loader) if is_core else None


def _after_fork() -> None:
    _Process.turn = Lock()
    core = sys.modules.get(_CORE)
    _Process.library, _Process.is_of_parent = None, core is not None
    _Process.path = _Process.path or (core and core.__file__) or ""


os.register_at_fork(after_in_child=_after_fork)
