"""Arrays through the loaders of torch: in worker processes of each kind, in threads, resumed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.sampling import LengthBatches

torch: Any = pytest.importorskip("torch")
pt: Any = pytest.importorskip("ptrarray.torch")
DataLoader: Any = torch.utils.data.DataLoader

N = 60
STARTS = ["fork", "forkserver", "spawn"]


def rows_of(n: int) -> Any:
    """Return the array called `n`: its numbers say whose they are."""
    return np.full((n * 7 % 11, 2), n, "i4")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loaders") / "a.ptr"
    with ptrarray.create(path, dtype="i4", row_shape=(2,)) as writer:
        writer.write({str(n): rows_of(n) for n in range(N)})
    return path


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process with threads forks: those of torch, which the children do not use.
    if sys.version_info >= (3, 12):
        monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")


def numbers(made: Any) -> list[int]:
    """Return the arrays in a batch, after a look at each of its rows."""
    if isinstance(made, pt.Padded):
        lengths, rows = made.lengths.tolist(), made.values
    else:
        lengths, rows = [len(each) for each in made.unbind()], made.to_padded_tensor(0)
    found = [int(row[0, 0]) if length else -1 for row, length in zip(rows, lengths, strict=True)]
    for n, row, length in zip(found, rows, lengths, strict=True):
        assert length == (len(rows_of(n)) if n >= 0 else 0)
        assert bool((row[:length] == n).all())
        assert bool((row[length:] == 0).all())
    return found


def wanted(positions: list[int]) -> list[int]:
    return [n if len(rows_of(n)) else -1 for n in positions]


# workers ----------------------------------------------------------------------------------------


def watch(_: int) -> None:
    """Let a worker count how often it opens a file from now on."""
    OPENED.clear()
    sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


OPENED: list[str] = []


def counted(batch: ptrarray.Ragged) -> tuple[Any, int, int]:
    opened = sum("a.ptr" in name for name in OPENED)
    return pt.padded()(batch), os.getpid(), opened


@pytest.mark.parametrize("start", STARTS)
def test_workers_of_each_kind(path: Path, start: str) -> None:
    """Each opens the store once at the most: while it is made, before its first batch."""
    names = [str(n) for n in range(N)][::-1]
    data = pt.Arrays(path, names=names)
    loader = DataLoader(
        data,
        batch_size=8,
        num_workers=2,
        collate_fn=counted,
        worker_init_fn=watch,
        multiprocessing_context=start,
    )
    found, processes = [], set()
    for made, process, opened in loader:
        made.values[...] += 1  # writable
        made.values[...] -= 1
        found += numbers(made)
        processes.add(process)
        assert opened == 0
    assert found == wanted([*range(N)][::-1])
    assert len(processes) == 2
    assert os.getpid() not in processes


class Watched(pt.Arrays):  # type: ignore[misc]
    """Notes which way it was asked."""

    def __getitem__(self, position: int) -> Any:
        raise AssertionError("asked one by one")


@pytest.mark.parametrize("collate", [pt.padded(), pt.nested], ids=["padded", "nested"])
def test_batches_come_in_one_piece_and_through_subsets(path: Path, collate: Any) -> None:
    half = torch.utils.data.Subset(Watched(path), range(0, N, 2))
    batches = LengthBatches(half.dataset.lengths[::2], rows=40, seed=3)
    found = [numbers(made) for made in DataLoader(half, batch_sampler=batches, collate_fn=collate)]
    batches.set_epoch(0)
    assert found == [wanted([2 * at for at in batch]) for batch in batches]
    loader = DataLoader(half, batch_size=8, num_workers=1, collate_fn=collate)
    assert [n for made in loader for n in numbers(made)] == wanted([*range(0, N, 2)])


@pytest.mark.parametrize("collate", [pt.padded(), pt.nested], ids=["padded", "nested"])
def test_several_data_sets_as_one(path: Path, collate: Any) -> None:
    """A ConcatDataset asks for arrays one by one, and gives the same."""
    both = pt.Arrays(path) + pt.Arrays(path, names=["3", "5"])
    loader = DataLoader(both, batch_size=N + 2, collate_fn=collate)
    assert [numbers(made) for made in loader] == [wanted([*range(N), 3, 5])]


def test_large_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a megabyte on, values go by shared memory, all else as before."""
    monkeypatch.setattr(pt, "_SHARED_NBYTES", 100)  # of the children, too, as they are forked
    for collate in (pt.padded(), pt.nested):
        loader = DataLoader(
            pt.Arrays(path), batch_size=16, num_workers=1, collate_fn=collate,
            multiprocessing_context="fork",
        )  # fmt: skip
        found = [(made, numbers(made)) for made in loader]
        assert [n for _, some in found for n in some] == wanted([*range(N)])
        for made, _ in found:
            (made.values() if collate is pt.nested else made.values)[...] = 0


def test_a_nested_tensor_is_an_ordinary_one_in_the_parent(path: Path) -> None:
    loader = DataLoader(pt.Arrays(path), batch_size=8, num_workers=1, collate_fn=pt.nested)
    made, *_ = loader
    assert "__reduce_ex__" not in vars(made)
    assert made._metadata_cache.keys() == {"min_seqlen", "max_seqlen"}
    assert numbers(made * 1) == numbers(made)


def doubled(batch: ptrarray.Ragged) -> dict[str, Any]:
    """What a user's own function may do with ours, in a worker."""
    padded, nested = pt.padded()(batch), pt.nested(batch)
    return {"sum": nested.values().sum(), "twice": nested * 2, "mask": padded.mask, "batch": batch}


def test_collate_functions_are_used_by_others(path: Path) -> None:
    loader = DataLoader(pt.Arrays(path), batch_size=8, num_workers=1, collate_fn=doubled)
    for made in loader:
        assert isinstance(made["batch"], ptrarray.Ragged)
        made["batch"].values[...] *= 2
        assert int(made["batch"].values.sum()) == 2 * int(made["sum"])
        assert made["twice"].values().tolist() == made["batch"].values.tolist()
        assert int(made["mask"].sum()) == len(made["batch"].values)


def test_an_error_in_a_worker_says_what_it_is(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "b.ptr", dtype=">f4") as writer:
        writer["a"] = [1, 2]
    loader = DataLoader(pt.Arrays(tmp_path / "b.ptr"), num_workers=1, collate_fn=pt.nested)
    with pytest.raises(ptrarray.BadInputError, match="torch has no dtype for arrays of >f4"):
        list(loader)


def test_padded_is_a_tuple_to_whoever_moves_it() -> None:
    made = pt.padded()(ptrarray.Ragged([1, 2, 3], [0, 1, 3]))
    values, lengths, mask = made
    assert (values, lengths, mask) == tuple(made)
    assert made._fields == ("values", "lengths", "mask")
    moved = torch.utils.data._utils.collate.default_convert(made)  # as pin_memory does
    assert type(moved) is pt.Padded


# threads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 3, 50])
@pytest.mark.parametrize("collate", [pt.padded(), pt.nested], ids=["padded", "nested"])
def test_threads_give_the_same_in_the_same_order(path: Path, prefetch: int, collate: Any) -> None:
    data = pt.Arrays(path)
    order = torch.utils.data.BatchSampler(range(N), 7, False)
    batches = data.batches(order, collate, prefetch=prefetch)
    assert len(batches) == len(order)
    for _ in range(2):
        assert [numbers(made) for made in batches] == [wanted(some) for some in order]
    assert [len(made) for made in data.batches(order, prefetch=prefetch)] == [*map(len, order)]


def failing(batch: ptrarray.Ragged, at: int) -> int:
    if at in batch.values:
        raise ValueError(f"array {at}")
    return len(batch)


def test_an_error_in_a_thread_comes_at_its_batch(path: Path) -> None:
    batches = pt.Arrays(path).batches([[n] for n in range(N)], partial(failing, at=5), prefetch=4)
    found = []
    with pytest.raises(ValueError, match="array 5"):
        found.extend(batches)  # what came before stays
    assert found == [1] * 5


# resuming ---------------------------------------------------------------------------------------


def sampler(data: Any) -> LengthBatches:
    return LengthBatches(data.lengths, size=7, seed=5)


def whole_order(data: Any, n_epochs: int) -> list[list[int]]:
    batches = sampler(data)
    return [wanted(some) for _ in range(n_epochs) for some in batches]


def stateful(data: Any, n_workers: int) -> Any:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    return loaders.StatefulDataLoader(
        data, batch_sampler=sampler(data), collate_fn=pt.padded(), num_workers=n_workers
    )


def threaded(data: Any, prefetch: int) -> Any:
    return data.batches(sampler(data), pt.padded(), prefetch=prefetch)


WAYS = {
    "threads, none": partial(threaded, prefetch=0),
    "threads": partial(threaded, prefetch=3),
    "stateful": partial(stateful, n_workers=0),
    "stateful, workers": partial(stateful, n_workers=2),
}


def steps(loader: Any, n_epochs: int) -> Iterator[list[int]]:
    for _ in range(n_epochs):
        for made in loader:
            yield numbers(made)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # which torchdata 0.11 calls
@pytest.mark.parametrize(
    ("way", "done"),
    # Processes take long.
    [(way, at) for way in WAYS for at in ([4, 9] if "workers" in way else [0, 1, 4, 8, 9, 10, 18])],
)
def test_resuming_at_any_batch_gives_the_same_sequence(path: Path, way: str, done: int) -> None:
    data = pt.Arrays(path)
    expected, loader = whole_order(data, 4), WAYS[way](data)
    began = steps(loader, 4)
    assert [next(began) for _ in range(done)] == expected[:done]
    state = loader.state_dict()
    del began
    again = WAYS[way](data)
    again.load_state_dict(state)
    left = steps(again, 4)
    assert [next(left) for _ in range(10)] == expected[done : done + 10]


def test_a_plain_loader_resumes_by_counting(path: Path) -> None:
    """Its workers take batches ahead, so whoever trains says how many are done."""
    data = pt.Arrays(path)
    expected, batches = whole_order(data, 1), sampler(data)
    loader = DataLoader(data, batch_sampler=batches, collate_fn=pt.padded(), num_workers=1)
    for done, made in enumerate(loader, 1):
        assert numbers(made) == expected[done - 1]
        if done == 3:
            state = batches.state_dict(done)
            break
    again = sampler(data)
    again.load_state_dict(state)
    left = DataLoader(data, batch_sampler=again, collate_fn=pt.padded())
    assert [numbers(made) for made in left] == expected[3:]


def test_what_was_broken_off_can_be_kept_and_begun_anew(path: Path) -> None:
    data = pt.Arrays(path)
    expected, loader = whole_order(data, 2), threaded(data, 3)
    for done, made in enumerate(loader, 1):
        assert numbers(made) == expected[done - 1]
        if done == 3:
            break
    state = loader.state_dict()
    again = threaded(data, 0)
    again.load_state_dict(state)
    assert [numbers(made) for made in again] == expected[3:9]
    assert [numbers(made) for made in loader] == expected[:9]
    assert [numbers(made) for made in loader] == expected[9:]


def test_samplers_without_a_state_say_so(path: Path) -> None:
    batches = pt.Arrays(path).batches([[0], [1]])
    assert len(list(batches)) == 2
    with pytest.raises(AttributeError, match="state_dict"):
        batches.state_dict()
