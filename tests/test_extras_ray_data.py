"""Ray Data reads stores: the same arrays, once each, on real workers of Ray."""

from __future__ import annotations

import doctest
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, StoreError
from tests.support.layouts import filled
from tests.test_examples import blocks

ray: Any = pytest.importorskip("ray")
pytest.importorskip("ray.data")
pa: Any = pytest.importorskip("pyarrow")
pr: Any = pytest.importorskip("ptrarray.ray")

pytestmark = [
    pytest.mark.timeout(300),  # Ray needs half a minute to start
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200_000_000,
        logging_level="ERROR",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ptr"


def arrays(n: int = 30) -> dict[str, Any]:
    return {f"n{i}": np.arange(i, 2 * i, dtype="f4") for i in range(n)}


def read_blocks(source: Any, parallelism: int = 3) -> list[Any]:
    """Return all blocks, read in this process as a worker would: from tasks that were pickled."""
    tasks = pickle.loads(ray.cloudpickle.dumps(source)).get_read_tasks(parallelism)
    assert len(tasks) <= parallelism
    found = []
    for task in tasks:
        own = list(pickle.loads(ray.cloudpickle.dumps(task))())
        assert sum(block.num_rows for block in own) == task.metadata.num_rows
        found += own
    return found


def rows(tables: list[Any]) -> list[dict[str, Any]]:
    assert len({table.schema for table in tables}) == 1
    return [row for table in tables for row in table.to_pylist()]


# on Ray -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cluster")
def test_all_arrays_are_read_once(path: Path) -> None:
    filled(path, arrays(), dtype="f4")
    dataset = ray.data.read_datasource(pr.PtrDatasource(path), override_num_blocks=4)
    found = {row["name"]: row["values"] for row in dataset.take_all()}
    assert found.keys() == arrays().keys()  # Ray keeps no order unless asked
    for name, array in arrays().items():
        assert np.array_equal(found[name], array)
    assert dataset.count() == 30
    assert dataset.schema().names == ["name", "values"]


@pytest.mark.usefixtures("cluster")
def test_is_worked_on_in_workers(path: Path) -> None:
    filled(path, arrays(), dtype="f4")
    with ptrarray.append(path) as writer:
        writer.write({"last": np.ones(3)}, meta={"last": {"speaker": "Ann"}})

    def sums(batch: Any) -> Any:
        lists = batch["values"].to_pylist()
        return pa.table({"sum": [float(sum(one)) for one in lists], "who": batch["speaker"]})

    dataset = ray.data.read_datasource(pr.PtrDatasource(path, meta="speaker"))
    found = dataset.map_batches(sums, batch_format="pyarrow").take_all()
    assert len(found) == 31
    assert sum(row["sum"] for row in found) == 3 + sum(float(a.sum()) for a in arrays().values())
    assert [row["who"] for row in found if row["who"]] == ["Ann"]


@pytest.mark.usefixtures("cluster")
def test_a_store_that_was_replaced_is_an_error_and_no_other_arrays(path: Path) -> None:
    filled(path, arrays(), dtype="f4")
    dataset = ray.data.read_datasource(pr.PtrDatasource(path))
    with ptrarray.append(path) as writer:
        writer["new"] = np.ones(3)
        del writer["n3"]
    assert dataset.count() == 30
    ptrarray.compact(path)
    with pytest.raises(Exception, match="cut it anew"):
        dataset.materialize()


@pytest.mark.usefixtures("cluster")
def test_empty_stores(path: Path) -> None:
    filled(path, {}, dtype="f4")
    dataset = ray.data.read_datasource(pr.PtrDatasource(path))
    assert dataset.count() == 0
    assert dataset.take_all() == []


# tasks, without Ray -------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_size", [None, 400])
def test_shards_and_rows(path: Path, shard_size: Any) -> None:
    wanted = {f"n{i}": np.arange(i * 2).reshape(i, 2) for i in range(9)}
    with ptrarray.create(path, dtype="i8", row_shape=(2,), shard_size=shard_size) as writer:
        for name, array in wanted.items():
            writer[name] = array
    found = rows(read_blocks(pr.PtrDatasource(path)))
    assert found == [{"name": n, "values": array.tolist()} for n, array in wanted.items()]


@pytest.mark.parametrize("options", [{"dtype": "f8", "row_shape": None}, {}])
def test_shapes_of_their_own_are_of_one_type_in_all_blocks(path: Path, options: Any) -> None:
    """Of those of a part, Arrow would take the last axis for fixed."""
    wanted = {f"n{i}": np.arange(4.0 * i).reshape(i, 4) for i in range(6)}
    wanted |= {f"m{i}": np.arange(6.0 * i).reshape(2 * i, 3) for i in range(6)}
    filled(path, wanted, **options)
    found = rows(read_blocks(pr.PtrDatasource(path)))
    assert found == [{"name": n, "values": array.tolist()} for n, array in wanted.items()]


def test_masked_elements_are_null(path: Path) -> None:
    array = np.ma.MaskedArray([1.0, 2.0], [True, False])
    filled(path, {"a": array, "b": np.ones(1)}, dtype="f8", masked=True)
    assert [row["values"] for row in rows(read_blocks(pr.PtrDatasource(path)))] == [
        [None, 2.0],
        [1.0],
    ]


def test_metadata_of_all_parts_are_of_one_type(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metas: dict[str, Any] = {f"n{i}": {"n": i} for i in range(10)}
    metas["n29"] = {"n": 2**40, "who": "Ann"}
    with ptrarray.create(path, dtype="f4") as writer:
        writer.write(arrays(), meta=metas)
    monkeypatch.setattr(pr, "_BLOCK_NBYTES", 200)
    found = rows(read_blocks(pr.PtrDatasource(path, meta=["n", "who"])))
    assert [row["n"] for row in found] == [*range(10), *[None] * 19, 2**40]
    assert [row["who"] for row in found] == [None] * 29 + ["Ann"]


def test_without_names(path: Path) -> None:
    filled(path, arrays(), dtype="f4")
    assert pr.PtrDatasource(path, names=False).schema.names == ["values"]


def test_large_partitions_are_several_blocks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, arrays(), dtype="f4")
    monkeypatch.setattr(pr, "_BLOCK_NBYTES", 200)
    source = pr.PtrDatasource(path)
    assert len(read_blocks(source, 2)) > 4
    (task,) = source.get_read_tasks(1, per_task_row_limit=4)
    assert max(block.num_rows for block in task()) <= 4


def test_sizes_are_about_what_blocks_have(path: Path) -> None:
    filled(path, {f"name {i}": np.ones(50, "f4") for i in range(1000)}, dtype="f4")
    source = pr.PtrDatasource(path)
    whole = sum(block.nbytes for block in read_blocks(source))
    assert 0.9 * whole < source.estimate_inmemory_data_size() < 1.1 * whole
    parts = [task.metadata.size_bytes for task in source.get_read_tasks(7)]
    assert len(parts) == 7
    assert max(parts) < 1.1 * min(parts)


def test_what_is_no_column_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, {"a": np.ones(2), "b": np.ones((2, 2))}, dtype="f8", row_shape=None)
    with pytest.raises(BadInputError, match="number of axes"):
        pr.PtrDatasource(path)
    filled(tmp_path / "mixed.ptr", {"a": np.ones(2), "b": np.ones(2, "f4")})
    with pytest.raises(BadInputError, match="of_dtype"):
        pr.PtrDatasource(tmp_path / "mixed.ptr")
    with pytest.raises(ptrarray.StoreNotFoundError):
        pr.PtrDatasource(tmp_path / "none.ptr")
    with ptrarray.create(tmp_path / "types.ptr", dtype="f4") as writer:
        writer.write(arrays(2), meta={"n0": {"k": 1}, "n1": {"k": "one"}})
    with pytest.raises(BadInputError, match="is int for"):
        pr.PtrDatasource(tmp_path / "types.ptr", meta="k")
    monkeypatch.setattr(pr, "_BLOCK_NBYTES", 1)  # each in a part of its own
    with pytest.raises(BadInputError, match="of several types"):
        pr.PtrDatasource(tmp_path / "types.ptr", meta="k")


def test_tasks_of_a_store_that_was_compacted_fail(path: Path) -> None:
    filled(path, arrays(), dtype="f4")
    tasks = ray.cloudpickle.dumps(pr.PtrDatasource(path).get_read_tasks(2))
    ptrarray.compact(path)
    with pytest.raises(StoreError, match="cut it anew"):
        list(pickle.loads(tasks)[0]())


def test_examples_of_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(Path("corpus.ptr"), {"utt1": [1, 2, 3], "utt2": [4, 5], "utt3": [6]}, dtype="f4")
    assert doctest.testmod(pr) == (0, 3)


@pytest.mark.usefixtures("cluster")
def test_the_program_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = [one for one in blocks("docs/cluster-reading.md") if "import ray" in one.code]
    monkeypatch.chdir(tmp_path)
    exec(program.code, {"__name__": "__main__"})  # noqa: S102 a page of our own
    assert capsys.readouterr().out.strip() == str(program.output).strip()
