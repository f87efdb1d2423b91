"""Tables of Arrow that tests import, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report

X = [[1.5, -0.0], [], [float("nan")], [2.0]]
ARRAYS = {str(i): np.array(row, "f4") for i, row in enumerate(X)}
KINDS = {
    "list": pa.list_(pa.float32()),
    "large": pa.large_list(pa.float32()),
    "view": pa.list_view(pa.float32()),
    "large view": pa.large_list_view(pa.float32()),
}


def run(source: Any, store: Path, **options: Any) -> Report:
    """Import a table, or files of Arrow."""
    return convert.from_arrow(source, store, progress=False, **options)


def good(source: Any, store: Path, **options: Any) -> Report:
    """Import a table, and see that all of it came."""
    report = run(source, store, verify=True, **options)
    assert report.ok, report.failures
    return report


def metas(store: Path) -> dict[str, dict[str, Any]]:
    """Return the metadata of all arrays."""
    with ptrarray.open(store) as opened:
        return {name: dict(opened.meta[name]) for name in opened}
