"""Print the oldest releases that pyproject.toml allows, for pip: ``python tests/support/oldest.py``."""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# Extras of those who use the package; what tests need besides may be new.
EXTRAS = (
    *("fast", "zstd", "pandas", "h5", "kaldi", "lmdb", "mmap-ninja", "netcdf", "safetensors"),
    *("arrow", "awkward", "cli", "plot"),
)

# The oldest matplotlib warns of a newer one, which fails tests; the oldest pandas takes no zones
# of a newer one.
BESIDE = ("pyparsing==3.2.5", "python-dateutil==2.9.0.post0")


def oldest(among: Iterable[str] = EXTRAS) -> list[str]:
    """Return a requirement for each package with a lower bound, and for no other release."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in among for line in extras[name])]
    return [re.sub(r">=\s*([\d.]+)", r"==\1", line) for line in wanted]


if __name__ == "__main__":
    sys.stdout.write("\n".join([*oldest(), *BESIDE, ""]))
