"""What may be changed through a reader, in each mode, and what becomes of its checksums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, PointerArray, StoreError
from tests.support.backends import all_modes, mapped
from tests.support.checks import check_store, unchanged
from tests.support.reading import arrays, compact_with_a_hole, make_four, replace

Array = NDArray[Any]
pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def path(path: Path) -> Path:
    return make_four(path)


@mapped
def test_mode_r_plus_changes_the_store(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        store["b"][0] = 10
        store.arrays[2][:] = [40, 50]
        store[5:][0] = 60
        changed = arrays(b=[10, 2, 3], a=[40, 50])
        changed["größe\n\0"] = np.array([60], "i4")
        with pytest.raises(CorruptStoreError):
            store.verify()
        store.flush()
        store.refresh()
        check_store(store, changed)
    with ptrarray.open(path) as store:
        check_store(store, changed)


CHANGING: dict[str, Callable[[PointerArray], Array]] = {
    "name": lambda store: store["b"],
    "get": lambda store: store.get("b", np.empty(0)),
    "items": lambda store: next(iter(store.items()))[1],
    "values": lambda store: next(iter(store.values())),
    "walk": lambda store: next(store.walk()),
    "arrays": lambda store: store.arrays[0],
    "iterate arrays": lambda store: next(iter(store.arrays)),
    "rows": lambda store: store.rows,
    "slice": lambda store: store[:2],
    "asarray": lambda store: np.asarray(store),
}


@mapped
@pytest.mark.parametrize("look", CHANGING.values(), ids=CHANGING)
@pytest.mark.parametrize("is_checkpointed", [True, False])
def test_mode_r_plus_renews_checksums_at_close(
    path: Path, look: Callable[[PointerArray], Array], is_checkpointed: bool
) -> None:
    with ptrarray.append(path) as writer:
        writer.point("shares row 0", 0, 1)
    if is_checkpointed:
        ptrarray.checkpoint(path)
    with ptrarray.open(path, mode="r+") as store:
        look(store)[0] = 10
    expected = arrays(b=[10, 2, 3])
    expected["shares row 0"] = np.array([10], "i4")
    with ptrarray.open(path) as store:
        check_store(store, expected)


@mapped
def test_mode_r_plus_renews_what_is_changed_after_a_flush(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        view = store["b"]
        view[0] = 10
        store.flush()
        ptrarray.verify(path)
        view[1] = 20
    with ptrarray.open(path) as store:
        check_store(store, arrays(b=[10, 20, 3]))


@mapped
def test_mode_r_plus_without_a_change_commits_nothing(path: Path) -> None:
    before = len(ptrarray.open(path))
    with ptrarray.open(path, mode="r+") as store:
        list(store.values())
    with ptrarray.open(path) as store:
        check_store(store, arrays(), in_order=True)
        assert len(store) == before


@mapped
def test_mode_r_plus_leaves_an_array_replaced_meanwhile(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        store["b"][0] = 10
        with ptrarray.append(path) as writer:
            writer["b"] = [7]
    with ptrarray.open(path) as store:
        check_store(store, arrays(b=[7]))


@mapped
def test_mode_r_plus_renews_checksums_at_refresh(path: Path) -> None:
    with ptrarray.open(path, mode="r+") as store:
        store["b"][0] = 10
        store.refresh()
        store.verify()
        ptrarray.verify(path)


@mapped
def test_compacting_waits_for_no_views_that_change_rows(path: Path) -> None:
    """Their changes would stay behind, or come along without their checksum."""
    store = ptrarray.open(path, mode="r+")
    view = store["b"]
    view[0] = 10
    for _ in range(2):
        with unchanged(path), pytest.raises(StoreError, match="may be changed through views"):
            ptrarray.compact(path)
        store.close()  # the view is left
    del view, store
    compact_with_a_hole(path)
    left = arrays(b=[10, 2, 3])
    del left["a"]
    with ptrarray.open(path) as reader:
        check_store(reader, left)


@mapped
def test_mode_r_plus_tells_when_changes_are_lost(path: Path) -> None:
    store = ptrarray.open(path, mode="r+")
    view = store["b"]
    replace(path)
    view[0] = 10
    with pytest.raises(StoreError, match="lost"):
        store.refresh()
    with pytest.raises(StoreError, match="lost"):
        store.close()
    assert store.closed
    assert view.tolist() == [10, 2, 3]
    ptrarray.verify(path)


@mapped
def test_mode_c_changes_memory_only(path: Path) -> None:
    with unchanged(path), ptrarray.open(path, mode="c") as store:
        store["b"][0] = 10
        assert store["b"].tolist() == [10, 2, 3]
        assert store.rows[0] == 10
    with ptrarray.open(path) as store:
        check_store(store, arrays())


@pytest.mark.parametrize("mode", ["w", "w+", "x", "", "rb", None])
def test_unknown_modes(path: Path, mode: Any) -> None:
    with unchanged(path), pytest.raises(BadInputError, match=r"is not one of 'r', 'r\+', 'c'"):
        ptrarray.open(path, mode=mode)


@all_modes
@pytest.mark.parametrize("rows", [0, 3])
def test_empty_stores_in_all_modes(tmp_path: Path, backend: str, mode: Any, rows: int) -> None:
    path = tmp_path / "empty.ptr"
    ptrarray.create(path, dtype="f4", row_shape=2, rows=rows).close()
    with unchanged(path), ptrarray.open(path, mode=mode) as store:
        check_store(store, {})
        assert store.rows.tolist() == [[0, 0]] * rows
        assert store[:].flags.writeable == (mode != "r" or backend != "mmap")
