"""Arrays out to Arrow: arro3 and DataFusion, which take the protocol as it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import ptrarray
from tests.support.arrow import KINDS, ORDERED, in_lists, is_mapped

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.mark.parametrize("layout", ["list", "view"])
@pytest.mark.parametrize("kind", KINDS)
def test_arro3_has_the_mapping(path: Path, kind: str, layout: Any) -> None:
    arro3 = pytest.importorskip("arro3.core")
    where, arrays = KINDS[kind](path)
    store = ptrarray.open(where)
    table = pa.table(arro3.Table.from_arrow(store.arrow(layout)))
    assert {row["name"]: row["values"] for row in table.to_pylist()} == in_lists(arrays)
    if layout == "list":
        assert is_mapped(store, table["values"]) == (kind in ORDERED or not arrays)
    if arrays and kind != "images":
        batch = store.take(arrays)
        assert pa.array(arro3.Array.from_arrow(batch)).to_pylist() == [*in_lists(arrays).values()]


@pytest.mark.parametrize("kind", KINDS)
def test_datafusion_has_sql_for_it(path: Path, kind: str) -> None:
    datafusion = pytest.importorskip("datafusion")
    where, arrays = KINDS[kind](path)
    context = datafusion.SessionContext()
    context.from_arrow(ptrarray.open(where), name="store")
    rows = context.sql("select * from store").to_pylist()
    assert {row["name"]: row["values"] for row in rows} == in_lists(arrays)
