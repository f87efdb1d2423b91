"""The benchmark of loaders: all tools load the same, and the memory of workers is told."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

for package in ("torch", "datasets", "lmdb", "mmap_ninja"):
    pytest.importorskip(package)
loader: Any = pytest.importorskip("benchmarks.bridges.loader")


def test_all_load_the_same(tmp_path: Path) -> None:
    written, batches = loader.Written(tmp_path, 300, 100), loader.order(300)
    entries = loader.speed(tmp_path, written, batches).entries(1)
    found = {entry["by"]: entry["at_least"] for entry in entries}
    assert found == {"ptrarray": 0, "LMDB": 2.0, "mmap_ninja": 2.0, "datasets, numpy": 5.0}
    assert len(loader.travel(written, batches).entries(1)) == 3


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("kind", loader.KINDS)
def test_memory_is_told(tmp_path: Path, kind: str) -> None:
    path = loader.Written(tmp_path, 30 * loader.SIZE, 3).path
    (told,) = islice(loader.growing(kind, str(path)), 1)
    assert len(told["mb"]) == loader.PARTS + 1
    assert told["mb"][0] == 0


def test_the_chart_has_bars() -> None:
    drawn = loader.chart({"ours": [0.0] * 11, "theirs": [10.0 * part for part in range(11)]})
    assert drawn.splitlines()[0] == "ours"
    assert drawn.splitlines()[-1] == " 100 %  100.0 MB " + "█" * 60
    assert len(drawn.splitlines()) == 15
