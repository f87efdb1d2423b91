"""Imports that tests run, and checks of what they brought into a store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from tests.support.convert_workers import dump

Arrays = dict[str, Any]


def import_pickles(paths: Any, store: Path, **options: Any) -> Report:
    """Import pickles in threads, if not told otherwise."""
    with ThreadPoolExecutor(2) as executor:
        options.setdefault("executor", executor)
        return convert.from_pickles(paths, store, progress=False, **options)


def content(store: Path) -> Arrays:
    """Return copies of all arrays of a store that is whole."""
    with ptrarray.open(store) as opened:
        opened.verify()
        return {name: array.copy() for name, array in opened.items()}


def check_content(store: Path, expected: Arrays) -> None:
    """Check names, dtypes, elements and masks."""
    found = content(store)
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)
        np.testing.assert_array_equal(np.ma.getmaskarray(found[name]), np.ma.getmaskarray(array))


def ramps(folder: Path, *lengths: int) -> Arrays:
    """Write a pickle for each length; return the arrays that they become."""
    for n in lengths:
        dump(folder / f"n{n}.pkl", np.arange(n))
    return {f"n{n}": np.arange(n) for n in lengths}
