"""LengthBatches in a DataLoader of torch: what arrives, epochs, ranks, and resuming with workers."""

from __future__ import annotations

import copy
import json
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest

from ptrarray.sampling import LengthBatches

torch: Any = pytest.importorskip("torch")
LENGTHS = np.random.default_rng(3).lognormal(3, 0.5, 200).astype(np.int64)
SETTINGS: dict[str, Any] = {"rows": 300, "seed": 1}
WORKERS: dict[str, dict[str, Any]] = {
    "none": {},
    "two": {"num_workers": 2},
    "two that stay": {"num_workers": 2, "persistent_workers": True},
}


class Positions(torch.utils.data.Dataset):  # type: ignore[misc]
    """A data set that gives back what it is asked for."""

    def __len__(self) -> int:
        return len(LENGTHS)

    def __getitems__(self, positions: Any) -> Any:
        return type(positions).__name__, positions


def as_it_is(batch: Any) -> Any:
    return batch


def expected(epoch: int, **settings: Any) -> list[list[int]]:
    batches = LengthBatches(LENGTHS, **SETTINGS, **settings)
    batches.set_epoch(epoch)
    return list(batches)


def loader(batches: LengthBatches, kind: Any = None, **workers: Any) -> Any:
    kind = kind or torch.utils.data.DataLoader
    return kind(Positions(), batch_sampler=batches, collate_fn=as_it_is, **workers)


@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
def test_data_set_is_asked_for_each_batch(workers: dict[str, Any]) -> None:
    batches = LengthBatches(LENGTHS, **SETTINGS)
    loading = loader(batches, **workers)
    for epoch in range(3):
        assert batches.epoch == epoch
        assert len(loading) == len(expected(epoch))
        assert list(loading) == [("list", batch) for batch in expected(epoch)]


def test_ranks() -> None:
    ranks = [loader(LengthBatches(LENGTHS, **SETTINGS, rank=n, world=3)) for n in range(3)]
    found = [[batch for _, batch in loading] for loading in ranks]
    assert len({len(batches) for batches in found}) == 1
    taken = chain.from_iterable(chain.from_iterable(found))
    assert sorted(taken) == list(range(200))


@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
@pytest.mark.parametrize("n_done", [1, 7])
def test_resuming_where_training_is(workers: dict[str, Any], n_done: int) -> None:
    """Workers take batches ahead: training says what it is done with."""
    batches = LengthBatches(LENGTHS, **SETTINGS)
    for done, _ in enumerate(loader(batches, **workers), 1):
        if done == n_done:
            state = json.loads(json.dumps(batches.state_dict(done)))
            break
    ahead = batches.state_dict()["position"] - n_done
    assert (ahead > 0) == bool(workers)
    again = LengthBatches(LENGTHS, **SETTINGS)
    again.load_state_dict(state)
    loading = loader(again, **workers)
    assert [batch for _, batch in loading] == expected(0)[n_done:]
    assert [batch for _, batch in loading] == expected(1)


def test_a_state_goes_into_a_checkpoint(tmp_path: Any) -> None:
    batches = LengthBatches(LENGTHS, **SETTINGS)
    next(iter(batches))
    torch.save({"batches": batches.state_dict()}, tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["batches"]
    assert state == batches.state_dict()


OF_TORCHDATA = "ignore:'set_vital' is deprecated"  # version 0.11 on torch 2.13


@pytest.mark.filterwarnings(OF_TORCHDATA)
@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
@pytest.mark.parametrize(
    ("every", "n_done"), [(1, 0), (1, 4), (3, 4), (1, len(expected(0))), (1, None), (3, None)]
)
def test_stateful_loader(workers: dict[str, Any], every: int, n_done: int | None) -> None:
    """Its states are right without a word of ours: in an epoch, at its end and behind it."""
    kind = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    options = {"kind": kind, "snapshot_every_n_steps": every, **workers}
    epoch = expected(0)
    loading = loader(LengthBatches(LENGTHS, **SETTINGS), **options)
    iteration = iter(loading)
    found = [batch for _, batch in islice(iteration, n_done)]
    assert found == (epoch if n_done is None else epoch[:n_done])
    state = copy.deepcopy(loading.state_dict())
    again = loader(LengthBatches(LENGTHS, **SETTINGS), **options)
    again.load_state_dict(state)
    rest = [batch for _, batch in again]
    assert rest == (expected(1) if n_done is None else epoch[n_done:])
    assert [batch for _, batch in again] == expected(2 if n_done is None else 1)


@pytest.mark.filterwarnings(OF_TORCHDATA)
@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
@pytest.mark.parametrize("every", [1, 50])
def test_stateful_loader_that_began_anew(workers: dict[str, Any], every: int) -> None:
    kind = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    options = {"kind": kind, "snapshot_every_n_steps": every, **workers}
    loading = loader(LengthBatches(LENGTHS, **SETTINGS), **options)
    assert len(list(islice(loading, 5))) == 5
    iteration = iter(loading)
    assert [batch for _, batch in islice(iteration, 3)] == expected(0)[:3]
    again = loader(LengthBatches(LENGTHS, **SETTINGS), **options)
    again.load_state_dict(copy.deepcopy(loading.state_dict()))
    assert [batch for _, batch in again] == expected(0)[3:]
