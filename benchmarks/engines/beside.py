"""Another checkout of ptrarray, measured in the same process as this one; and its modules anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.engines.ptrarray import PtrArray
from benchmarks.harness.system import commit


class Beside(PtrArray):
    """The `ptrarray` of another checkout, named by its commit."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        package = checkout.resolve() / "ptrarray"
        if not (package / "__init__.py").exists():
            raise SystemExit(f"no ptrarray in {checkout}")
        known = commit(checkout)
        self.name = checkout.resolve().name if known == "unknown" else known
        self.library_path = folder
        # Alone in a folder, as the checkout has a package `benchmarks`, too.
        (folder / "ptrarray").symlink_to(package)
        with imported_anew(folder):
            super().__init__()


@contextmanager
def imported_anew(folder: Path | None = None) -> Iterator[None]:
    """Have `import ptrarray` read its modules anew, those in a folder; afterwards, as before.

    What the package imports when it is first used is imported here, so it never asks again.
    """
    ours, path = _take_out(), list(sys.path)
    sys.path[:0] = [str(folder)] if folder else []
    try:
        library = import_module("ptrarray")
        for name in library.__all__:
            getattr(library, name)
        yield
    finally:
        sys.path[:] = path
        _take_out()
        sys.modules.update(ours)


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "ptrarray"]
    return {name: sys.modules.pop(name) for name in names}
