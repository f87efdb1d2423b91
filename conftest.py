"""What the examples in docstrings find: numpy, ptrarray, a small store, a folder to write in."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray

# Plots are drawn in memory, also where there is a screen.
os.environ["MPLBACKEND"] = "agg"

# Imports torch, which few have: tests/test_torch_arrays.py runs what its docstrings show.
_PACKAGE = Path(ptrarray.__file__).parent  # which may be installed elsewhere
collect_ignore = [str(_PACKAGE / "ray.py"), str(_PACKAGE / "torch.py")]


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Have one process more than there are cores: a fifth of the time, tests wait for a disk."""
    return (yield) + 1


@pytest.fixture(autouse=True)
def _doctest_world(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give doctests a store of three arrays, open for reading as `store`, in `corpus.ptr`."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    namespace: dict[str, Any] = request.getfixturevalue("doctest_namespace")
    folder: Path = request.getfixturevalue("tmp_path")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with ptrarray.create("corpus.ptr", dtype="f4", attrs={"rate": 16000}) as writer:
            writer.write({"utt1": [1, 2, 3], "utt2": [4, 5], "utt3": [6]})
        with ptrarray.open("corpus.ptr") as store:
            namespace.update(np=np, ptrarray=ptrarray, store=store)
            yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
