"""dask works on partitions: bags, arrays, delayed calls and reductions, in workers that are processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from tests.support.layouts import filled
from tests.test_examples import ROOT, blocks, run_code

dask: Any = pytest.importorskip("dask")
distributed: Any = pytest.importorskip("distributed")
db: Any = pytest.importorskip("dask.bag")
da: Any = pytest.importorskip("dask.array")

pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = "docs/cluster-reading.md"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ptr"


def arrays(n: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {f"n{i}": rng.standard_normal(i % 50 + 1) for i in range(n)}


OPTIONS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f8"},
    "shards": {"dtype": "f8", "shard_size": 4000},
    "shaped": {"dtype": "f8", "row_shape": None},
    "mixed": {},
    "masked": {"dtype": "f8", "masked": True},
}


def total(part: Any) -> float:
    return float(np.sum(part))


def items(part: Any) -> Any:
    return part.items()


def means(part: Any) -> Any:
    return part.mean_each()


@pytest.mark.parametrize("kind", OPTIONS)
def test_bags_arrays_and_calls(path: Path, client: Any, kind: str) -> None:
    wanted = arrays()
    filled(path, wanted, **OPTIONS[kind])
    with ptrarray.open(path) as store:
        parts = store.partitions(5)
        pairs = db.from_delayed([dask.delayed(items)(part) for part in parts]).compute()
        assert [name for name, _ in pairs] == list(wanted)
        for name, array in pairs:
            assert np.array_equal(array, wanted[name])
        bag = db.from_sequence(parts, npartitions=len(parts))
        assert bag.npartitions == 5
        assert bag.map(total).sum().compute() == pytest.approx(float(np.sum(store)))
        made = [da.from_delayed(dask.delayed(means)(part), (len(part),), "f8") for part in parts]
        assert np.array_equal(da.concatenate(made).compute(), store.mean_each())
        assert sum(client.gather(client.map(len, parts))) == len(store)


@pytest.mark.parametrize("kind", OPTIONS)
def test_reductions(path: Path, client: Any, kind: str) -> None:
    filled(path, arrays(), **OPTIONS[kind])
    with ptrarray.open(path) as store, client.get_executor() as executor:
        for ufunc in (np.add, np.maximum):
            assert store.reduce(ufunc, executor=executor) == store.reduce(ufunc)
            found = store.reduce_each(ufunc, executor=executor)
            assert found.tobytes() == store.reduce_each(ufunc).tobytes()


def token(part: Any) -> str:
    found: str = dask.base.tokenize(part)
    return found


def test_tokens_are_those_of_all_processes(path: Path, client: Any) -> None:
    filled(path, arrays(), dtype="f8")
    with ptrarray.open(path) as store:
        for one in (store, *store.partitions(2)):
            assert client.submit(token, one, pure=False).result() == token(one)
        tokens = {token(one) for one in (store, *store.partitions(2), *store.partitions(3))}
        assert len(tokens) == 6
    program = (
        "import sys, dask.base, ptrarray\nprint(dask.base.tokenize(ptrarray.open(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == token(ptrarray.open(path))


@pytest.mark.parametrize("change", ["write", "delete", "checkpoint"])
def test_tokens_of_partitions_change_with_each_commit(path: Path, change: str) -> None:
    filled(path, arrays(), dtype="f8")
    with ptrarray.append(path) as writer:
        writer["more"] = [2.0]
    before = {token(part) for part in ptrarray.open(path).partitions(3)}
    assert before == {token(part) for part in ptrarray.open(path).partitions(3)}
    if change == "checkpoint":
        ptrarray.checkpoint(path)
    else:
        with ptrarray.append(path) as writer:
            if change == "write":
                writer["new"] = [1.0]
            else:
                del writer["n3"]
    assert before.isdisjoint({token(part) for part in ptrarray.open(path).partitions(3)})


def ended(part: Any, flag: Path) -> float:
    """Return a sum; the worker that comes first dies before."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return total(part)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_worker_that_dies_costs_time(path: Path, tmp_path: Path, client: Any) -> None:
    filled(path, arrays(), dtype="f8")
    with ptrarray.open(path) as store:
        found = client.map(ended, store.partitions(6), flag=tmp_path / "flag", pure=False)
        assert sum(client.gather(found)) == pytest.approx(float(np.sum(store)))


def test_a_store_that_was_compacted_is_an_error(path: Path, client: Any) -> None:
    filled(path, arrays(), dtype="f8")
    with ptrarray.open(path) as store:
        parts = store.partitions(3)
        ptrarray.compact(path)
        with pytest.raises(ptrarray.StoreError, match="cut it anew"):
            client.gather(client.map(total, parts, pure=False))
        with pytest.raises(ptrarray.StoreError, match="cut it anew"):
            store.reduce(np.add, executor=client.get_executor())


PROGRAMS = [block for block in blocks(PAGE) if block.output is not None]


@pytest.mark.parametrize("at", range(3))
def test_programs_of_the_page(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine workers end late, of which dask warns on stderr.
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "error")
    program = [one for one in PROGRAMS if "import ray" not in one.code][at]
    assert run_code(program.code, "program", tmp_path).strip() == str(program.output).strip()
