"""Whole stores are looked after with next to no memory, one call after the other."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from tests.support.any_layout import KINDS, array_of, use_small_blocks
from tests.support.checks import check_same
from tests.support.examples import some

pytestmark = pytest.mark.usefixtures("no_syncs")

Arrays = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        use_small_blocks(patch)
        yield


def check(path: Path, expected: Mapping[str, Any], memory: int) -> None:
    """Check that a store is whole, and has the arrays of a dict, under their names and in order."""
    ptrarray.verify(path, memory=memory)
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(expected)
        assert store.attrs == {"rate": 8000}
        filled = store.starts[store.starts < store.ends]
        assert (np.diff(filled) >= 0).all()
        for name, array in expected.items():
            check_same(store[name], array)


def change(path: Path, kind: str, expected: Arrays, draw: Any) -> None:
    """Replace arrays, give names to the rows of others, and delete many."""
    with ptrarray.append(path) as writer:
        for seed, name in enumerate(draw(st.lists(st.sampled_from(sorted(expected)), max_size=4))):
            expected[name] = array_of(kind, seed)
            writer.write({name: expected[name]}, overwrite=True, meta={name: {"seed": seed}})
        filled = sorted(name for name, array in expected.items() if len(array))
        for name in draw(st.lists(st.sampled_from(filled), max_size=3)) if filled else ():
            expected[f"p {name}"] = expected[name]
            writer.point(f"p {name}", *writer.pointers[name], overwrite=True)
        gone = draw(st.lists(st.sampled_from(sorted(expected)), max_size=12, unique=True))
        writer.delete(gone)
        for name in gone:
            del expected[name]


@settings(max_examples=some(12, of=40))
@given(
    kind=st.sampled_from(sorted(KINDS)),
    n_arrays=st.integers(1, 20),
    shard_size=st.sampled_from([None, 100]),
    memory=st.sampled_from([1, 20_000]),
    data=st.data(),
)
def test_a_store_that_is_looked_after_has_what_it_had(
    kind: str,
    n_arrays: int,
    shard_size: int | None,
    memory: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("chain")
    path, repaired, joined = (folder / f"{name}.ptr" for name in ("a", "b", "c"))
    options = KINDS[kind] | {"shard_size": shard_size, "attrs": {"rate": 8000}}
    tasks = {f"n{seed}": seed for seed in range(n_arrays)}
    with ThreadPoolExecutor(1) as executor:
        function = partial(array_of, kind)
        ptrarray.fill(path, function, tasks, executor=executor, progress=False, **options)
    expected = {name: array_of(kind, seed) for name, seed in tasks.items()}
    ptrarray.checkpoint(path, memory=memory)
    check(path, expected, memory)
    change(path, kind, expected, data.draw)
    ptrarray.compact(path, memory=memory)
    check(path, expected, memory)
    assert ptrarray.repair(path, repaired, memory=memory) == []
    check(repaired, expected, memory)
    ptrarray.join(joined, [path, repaired], prefix=["", "x/"], memory=memory, progress=False)
    check(joined, expected | {f"x/{name}": array for name, array in expected.items()}, memory)


@pytest.mark.parametrize("memory", ["much", "", "12 XB", 0, "0MB", -1, "-1", 1.5, None, 2**63])
def test_memory_that_is_no_size_is_refused_before_anything_is_done(
    memory: Any, tmp_path: Path
) -> None:
    path, to = tmp_path / "a.ptr", tmp_path / "b.ptr"
    with ptrarray.create(path, dtype="u1") as writer:
        writer["a"] = [1]
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    for call in (
        ptrarray.checkpoint,
        ptrarray.compact,
        ptrarray.verify,
        lambda path, memory: ptrarray.repair(path, to, memory=memory),
        lambda path, memory: ptrarray.join(to, [path], memory=memory, progress=False),
    ):
        with pytest.raises(ptrarray.BadInputError, match="memory"):
            call(path, memory=memory)
    assert not to.exists()
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
