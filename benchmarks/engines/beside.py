"""Another checkout of ptrarray, measured in the same process as this one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        with _imported_from(folder):
            super().__init__()


@contextmanager
def _imported_from(folder: Path) -> Iterator[None]:
    """Have `import ptrarray` find what is in a folder; afterwards, what it found before.

    The package imports at the top of its modules only, so its functions never ask again.
    """
    ours = _take_out()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _take_out()
        sys.modules.update(ours)


def _take_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "ptrarray"]
    return {name: sys.modules.pop(name) for name in names}
