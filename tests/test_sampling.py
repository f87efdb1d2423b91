"""LengthBatches: each array once an epoch, like lengths together, an order that can be resumed."""

from __future__ import annotations

import json
import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, sampling
from ptrarray.rows.shuffled import hashed, key_of, permuted
from ptrarray.sampling import LengthBatches

LENGTHS = st.lists(st.integers(0, 40), max_size=60)
SETTINGS = st.fixed_dictionaries(
    {
        "world": st.integers(1, 5),
        "seed": st.integers(0, 3),
        "shuffle": st.booleans(),
        "window": st.sampled_from([None, 8]),
    },
    optional={"size": st.integers(1, 9), "rows": st.integers(40, 200)},
).filter(lambda settings: "size" in settings or "rows" in settings)


def made(lengths: Any, window: int | None = None, **settings: Any) -> LengthBatches:
    """Make batches, if need be with windows that are small."""
    with pytest.MonkeyPatch.context() as patch:
        if window:
            patch.setattr(sampling, "_WINDOW", window)
            patch.setattr(sampling, "_WINDOW_BATCHES", 1)
        return LengthBatches(lengths, **settings)


def ranks(lengths: Any, **settings: Any) -> list[list[list[int]]]:
    """Return the batches of each rank in the first epoch."""
    world = settings.get("world", 1)
    return [list(made(lengths, rank=rank, **settings)) for rank in range(world)]


def padded(lengths: np.ndarray[Any, Any], batches: list[list[int]]) -> float:
    """Return how many rows padded batches have, as a multiple of what they have without."""
    n_rows = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return n_rows / int(lengths[list(chain.from_iterable(batches))].sum())


# Which arrays ---------------------------------------------------------------------------------


@given(LENGTHS, SETTINGS)
def test_each_array_comes_once(lengths: list[int], settings: dict[str, Any]) -> None:
    found = ranks(lengths, **settings)
    batches = list(chain.from_iterable(found))
    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))
    counts = {len(one) for one in found}
    assert max(counts) - min(counts) <= 1
    if len(counts) > 1:  # there was nothing to be cut in two
        unit = settings.get("size", 1) * settings["world"]
        assert len(lengths) < unit or all(len(batch) == 1 for batch in batches[-2:])


@given(LENGTHS, SETTINGS)
def test_batches_keep_their_bounds(lengths: list[int], settings: dict[str, Any]) -> None:
    for batch in chain.from_iterable(ranks(lengths, **settings)):
        assert type(batch) is list
        assert {type(position) for position in batch} == {int}
        assert batch == sorted(batch)
        assert len(batch) <= settings.get("size", 60)
        longest = max(1, *(lengths[position] for position in batch), 0)
        assert longest * len(batch) <= settings.get("rows", 10_000)


@given(LENGTHS, SETTINGS)
def test_dropping_the_last_ones(lengths: list[int], settings: dict[str, Any]) -> None:
    found = ranks(lengths, drop_last=True, **settings)
    assert len({len(one) for one in found}) == 1
    batches = list(chain.from_iterable(found))
    taken = list(chain.from_iterable(batches))
    assert len(set(taken)) == len(taken)
    if "rows" not in settings:
        assert {len(batch) for batch in batches} <= {settings["size"]}
        assert len(lengths) - len(taken) < settings["size"] * settings["world"]
    elif settings["world"] == 1:
        assert len(taken) == len(lengths)


def test_what_is_dropped_is_chance() -> None:
    lengths = np.arange(1, 22)
    for size, rows in ((4, None), (None, 21)):
        batches, other = (
            LengthBatches(lengths, size=size, rows=rows, rank=rank, world=2, drop_last=True)
            for rank in (0, 1)
        )
        left_out = [
            frozenset(range(21)) - {*chain.from_iterable(list(batches) + list(other))}
            for _ in range(20)
        ]
        assert len(set(left_out)) > 4
        assert frozenset.intersection(*left_out) == frozenset()


@pytest.mark.parametrize("world", [1, 2, 7])
def test_steps_of_all_ranks_are_of_like_length(world: int) -> None:
    lengths = np.arange(1, 57 * 4 + 1)
    found = ranks(lengths, size=4, world=world, shuffle=False)
    for step in zip(*found, strict=False):
        ends = [lengths[batch].max() for batch in step]
        assert max(ends) - min(ends) <= 4 * world


@pytest.mark.parametrize(
    ("lengths", "settings", "expected"),
    [
        ([], {"size": 3}, [[]]),
        ([], {"rows": 3, "world": 2}, [[], []]),
        ([7], {"rows": 7}, [[[0]]]),
        ([0, 0, 0], {"rows": 2, "shuffle": False}, [[[0, 1], [2]]]),
        ([5, 5], {"size": 1, "shuffle": False}, [[[0], [1]]]),
        ([5], {"size": 4, "world": 3}, [[[0]], [], []]),
        ([5], {"size": 4, "world": 3, "drop_last": True}, [[], [], []]),
        ([1, 2, 3, 4], {"size": 4, "world": 3, "shuffle": False}, [[[0]], [[1]], [[2, 3]]]),
        ([2**62, 1, 2**62], {"size": 2, "shuffle": False}, [[[0, 1], [2]]]),
        ([4, 1, 3, 1], {"rows": 4, "shuffle": False}, [[[1, 3], [2], [0]]]),
        ([4, 1, 3, 1], {"rows": 4, "size": 1, "shuffle": False}, [[[1], [3], [2], [0]]]),
    ],
)
def test_few_arrays(lengths: Any, settings: Any, expected: Any) -> None:
    assert ranks(lengths, **settings) == expected


# The order ------------------------------------------------------------------------------------


@given(LENGTHS, SETTINGS)
def test_epochs_are_as_long_as_they_say(lengths: list[int], settings: dict[str, Any]) -> None:
    batches = made(lengths, **settings)
    for epoch in range(3):
        assert batches.epoch == epoch
        n_batches = len(batches)
        assert n_batches == len(list(batches))


def test_each_epoch_has_another_order() -> None:
    batches = LengthBatches(np.arange(60), size=5)
    epochs = [list(batches) for _ in range(5)]
    orders = {json.dumps(epoch) for epoch in epochs}
    companies = {json.dumps(sorted(epoch)) for epoch in epochs}
    assert len(orders) == 5
    assert len(companies) > 1
    batches.set_epoch(2)
    assert list(batches) == epochs[2]
    assert list(LengthBatches(np.arange(60), size=5, seed=1)) != epochs[0]
    fixed = LengthBatches(np.arange(60), size=5, shuffle=False)
    assert list(fixed) == list(fixed)


def test_an_iteration_broken_off_is_begun_anew() -> None:
    batches = LengthBatches(np.arange(60), size=5)
    first = next(iter(batches))
    iteration = iter(batches)
    assert batches.state_dict()["position"] == 0
    assert next(iteration) == first
    iteration = iter(batches)
    next(iteration)
    batches.set_epoch(7)
    assert len(list(iteration)) == 11
    assert batches.epoch == 7


def test_the_order_is_the_same_in_each_release() -> None:
    batches = LengthBatches([3, 90, 31, 3, 33, 92, 8, 9], size=2, seed=5)
    assert list(batches) == [[1, 5], [2, 4], [0, 3], [6, 7]]
    batches.set_epoch(2**63)
    assert list(batches) == [[6, 7], [0, 3], [1, 5], [2, 4]]
    many = hashed(np.arange(300_000), 1).astype(np.int64) >> 56 & 127
    found = LengthBatches(many, rows=1000, world=3, rank=1)
    numbers = [hash_of(batch) for batch in found]
    assert (len(numbers), hash_of(numbers)) == (6705, 893931803995597547)


def hash_of(numbers: list[int]) -> int:
    """Return one number that depends on each of several, and their order."""
    total = 0
    for number in numbers:
        total = (total * 1_000_003 + number + 1) % (2**61 - 1)
    return total


@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.data())
def test_permutations(n: int, key: int, data: st.DataObject) -> None:
    whole = permuted(0, n, n, key)
    assert sorted(whole.tolist()) == list(range(n))
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))
    assert permuted(first, last, n, key).tolist() == whole[first:last].tolist()


def test_permutations_are_even_handed() -> None:
    counts = np.zeros((40, 40))
    for key in range(600):
        counts[np.arange(40), permuted(0, 40, 40, key_of(key))] += 1
    # By chance 1521, give or take 55, which is what eight rounds come near.
    assert ((counts - 15) ** 2 / 15).sum() < 2500


@pytest.mark.parametrize("bounds", [{"size": 256}, {"rows": 16_000}, {"rows": 16_000, "world": 4}])
def test_padding_is_small(bounds: dict[str, int]) -> None:
    random = np.random.default_rng(1)
    lengths = random.lognormal(5, 0.3, 300_000).astype(np.int64)
    shuffled = random.permutation(300_000)[: 256 * 1000].reshape(-1, 256)
    assert padded(lengths, shuffled.tolist()) > 2
    assert padded(lengths, list(LengthBatches(lengths, **bounds))) < 1.1  # type: ignore[arg-type]


# Resuming -------------------------------------------------------------------------------------


@given(LENGTHS, SETTINGS, st.booleans(), st.data())
def test_resuming_at_any_batch(
    lengths: list[int], settings: dict[str, Any], drop_last: bool, data: st.DataObject
) -> None:
    settings["drop_last"] = drop_last
    whole = made(lengths, **settings)
    epochs = [list(whole) for _ in range(3)]
    batches = made(lengths, **settings)
    epoch = data.draw(st.integers(0, 1))
    batches.set_epoch(epoch)
    n_done = data.draw(st.integers(0, len(batches)))
    iteration = iter(batches)
    assert [next(iteration) for _ in range(n_done)] == epochs[epoch][:n_done]
    state = json.loads(json.dumps(batches.state_dict()))
    again = made(lengths, **settings)
    again.load_state_dict(state)
    assert list(again) == epochs[epoch][n_done:] == list(iteration)
    assert again.epoch == batches.epoch == epoch + 1
    assert list(again) == epochs[epoch + 1]


def test_what_training_is_done_with() -> None:
    batches = LengthBatches(np.arange(30), size=3)
    epoch = list(batches)
    batches.set_epoch(0)
    iteration = iter(batches)
    ahead = [next(iteration) for _ in range(6)]
    state = batches.state_dict(done=2)
    assert batches.state_dict()["position"] == 6
    batches.load_state_dict(state)
    assert list(batches) == epoch[2:]
    # Counted from where this iteration began; all of it was handed out before it was done with.
    assert batches.state_dict()["epoch"] == 1
    state = batches.state_dict(done=3)
    assert (state["epoch"], state["position"]) == (0, 5)
    with pytest.raises(BadInputError, match="done=9, but 8 batches were handed out"):
        batches.state_dict(done=9)
    with pytest.raises(BadInputError):
        batches.state_dict(done=-1)
    assert ahead == epoch[:6]


def test_states_of_ends_and_beginnings() -> None:
    batches = LengthBatches(np.arange(30), size=3)
    first, second = list(batches), list(batches)
    batches = LengthBatches(np.arange(30), size=3)
    assert batches.state_dict()["position"] == 0
    iteration = iter(batches)
    assert [next(iteration) for _ in first] == first
    at_the_end = batches.state_dict()
    assert next(iteration, None) is None
    behind_it = batches.state_dict()
    assert (at_the_end["epoch"], at_the_end["position"]) == (0, 10)
    assert (behind_it["epoch"], behind_it["position"]) == (1, 0)
    batches.load_state_dict(at_the_end)
    assert (list(batches), list(batches)) == ([], second)
    batches.load_state_dict(behind_it)
    assert list(batches) == second


def test_an_epoch_resumed_is_resumed_until_it_ends() -> None:
    batches = LengthBatches(np.arange(30), size=3)
    epoch = list(batches)
    batches.set_epoch(0)
    batches.load_state_dict(batches.state_dict() | {"position": 4})
    assert next(iter(batches)) == epoch[4]
    batches.set_epoch(0)  # as a loop over epochs does that begins with this one
    assert list(batches) == epoch[4:]
    batches.set_epoch(0)
    assert list(batches) == epoch


def test_states_of_other_ranks_and_processes() -> None:
    batches, other = (LengthBatches(np.arange(60), size=3, world=2, rank=rank) for rank in (0, 1))
    epoch = list(other)
    iteration = iter(batches)
    _ = [next(iteration) for _ in range(4)]
    other.load_state_dict(pickle.loads(pickle.dumps(batches.state_dict())))
    assert list(pickle.loads(pickle.dumps(other))) == list(other) == epoch[4:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 4}, "it has size=3; expected size=4"),
        ({"rows": 90}, "it has rows=None; expected rows=90"),
        ({"seed": 1, "world": 2}, "it has seed=0, world=1; expected seed=1, world=2"),
        ({"drop_last": True}, "it has drop_last=False; expected drop_last=True"),
        ({"shuffle": False}, "it has shuffle=True; expected shuffle=False"),
        (
            {"lengths": np.arange(29)},
            "it has arrays=30, total=435, checksum=.*; expected arrays=29",
        ),
        ({"lengths": np.arange(30)[::-1]}, "it has checksum=.*; expected checksum="),
    ],
)
def test_refuses_states_of_other_batches(change: dict[str, Any], message: str) -> None:
    state = LengthBatches(np.arange(30), size=3).state_dict() | {"position": 4}
    settings: dict[str, Any] = {"lengths": np.arange(30), "size": 3} | change
    batches = LengthBatches(**settings)
    with pytest.raises(BadInputError, match=message):
        batches.load_state_dict(state)
    assert batches.state_dict()["position"] == 0


def test_refuses_what_is_no_state() -> None:
    batches = LengthBatches(np.arange(30), size=3)
    state = batches.state_dict()
    with pytest.raises(BadInputError, match="no state of LengthBatches: it has no epoch, seed"):
        batches.load_state_dict({k: v for k, v in state.items() if k not in ("epoch", "seed")})
    others: list[Any] = [None, 5, [], "epoch"]
    for other in others:
        with pytest.raises(BadInputError, match="no state of LengthBatches: it has no epoch, pos"):
            batches.load_state_dict(other)
    done: Any = np.int64(0)
    assert type(batches.state_dict(done)["position"]) is int  # torch.load takes no others
    for wrong in ({"position": -1}, {"position": 1.5}, {"epoch": "1"}, {"order": 2}):
        with pytest.raises(BadInputError):
            batches.load_state_dict(state | wrong)


# What is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "settings", "message"),
    [
        ([1], {}, "neither rows nor size is given"),
        ([1], {"size": 0}, "size must be at least 1: 0"),
        ([1], {"rows": -1}, "rows must be at least 1: -1"),
        ([1], {"rows": 1.5}, "rows must be an integer, not 1.5"),
        ([1], {"size": 1, "world": 0}, "world must be at least 1: 0"),
        ([1], {"size": 1, "rank": 1}, "rank must be below 1: 1"),
        ([1], {"rows": 2**63}, "rows must be below 9223372036854775808"),
        ([1], {"size": 2**63}, "size must be below"),
        ([1], {"rows": 1, "size": 10**30}, "size must be below"),
        ([1], {"size": 1, "world": 2**63}, "world must be below"),
        ([1], {"size": 1, "shuffle": "False"}, "shuffle must be True or False, not 'False'"),
        ([1], {"size": 1, "drop_last": "no"}, "drop_last must be True or False, not 'no'"),
        ([1], {"size": 1, "drop_last": None}, "drop_last must be True or False, not None"),
        ([1], {"size": 1, "rank": -1}, "rank must not be negative: -1"),
        ([1], {"size": 1, "seed": 2**64}, "seed must be below"),
        ([3, 9, 2, 10], {"rows": 8}, "array 3 has 10 rows, more than a batch may have with rows=8"),
        ([3, -9], {"size": 1}, "the length of array 1 is -9; expected 0 or more"),
        ([1.0], {"size": 1}, r"lengths are float64 of shape \(1,\); expected integers"),
        ([[1]], {"size": 1}, r"lengths are int64 of shape \(1, 1\)"),
        ([True], {"size": 1}, "lengths are bool"),
        (np.array([2**63], np.uint64), {"size": 1}, "expected"),
    ],
)
def test_refuses(lengths: Any, settings: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        LengthBatches(lengths, **settings)


def test_bounds_as_large_as_can_be() -> None:
    whole, largest = [[0, 1, 2, 3]], 2**63 - 1
    numpy_s: Any = np.False_
    lengths = [3, 5, 8, 1]
    assert list(LengthBatches(lengths, rows=largest, size=largest)) == whole
    assert list(LengthBatches(lengths, size=largest, drop_last=numpy_s)) == whole
    ranks = [LengthBatches(lengths, size=2, world=largest, rank=rank) for rank in range(5)]
    assert sorted(at for rank in ranks for batch in rank for at in batch) == [0, 1, 2, 3]
    assert list(LengthBatches(lengths, size=2, world=largest, rank=largest - 1)) == []


def test_lengths_that_were_changed_are_noticed() -> None:
    lengths = np.array([1, 2, 3, 4])
    batches = LengthBatches(lengths, rows=4)
    assert len(list(batches)) == 3
    lengths[2] = 100
    with pytest.raises(BadInputError, match=r"an array has 100 rows by now.* were changed"):
        list(batches)


def test_lengths_of_what_has_them() -> None:
    ragged = ptrarray.Ragged(np.arange(9), [0, 3, 4, 9])
    assert list(LengthBatches(ragged, size=1)) == list(LengthBatches([3, 1, 5], size=1))


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "u8"])
def test_lengths_of_any_integers(dtype: str) -> None:
    lengths = np.array([3, 9, 2, 7, 7, 1, 30])
    plain = LengthBatches(lengths, rows=31)
    found = LengthBatches(lengths.astype(dtype)[::-1][::-1], rows=31)
    assert found.state_dict() == plain.state_dict()
    assert list(found) == list(plain)


@pytest.mark.usefixtures("no_syncs")
@pytest.mark.parametrize("shard_size", [None, 400])
def test_of_a_store(path: Path, shard_size: int | None) -> None:
    with ptrarray.create(path, dtype="i4", shard_size=shard_size) as writer:
        for n in range(40):
            writer[f"a{n}"] = np.full(n % 7, n)
        del writer["a9"]
    with ptrarray.open(path) as store:
        batches, plain = LengthBatches(store, rows=12), LengthBatches(store.lengths, rows=12)
        assert batches.state_dict() == plain.state_dict()
        found = []
        for batch in batches:
            ragged = store.arrays[batch]
            assert ragged.lengths.max() * len(ragged) <= 12
            found += [array.tolist() for array in ragged]
        assert sorted(found) == sorted(array.tolist() for array in store.values())
        if shard_size is None:
            assert np.shares_memory(batches._order._lengths._ends, store.ends)
        before = list(batches)
        with ptrarray.append(path) as writer:
            writer["later"] = np.arange(3)
        store.refresh()
        batches.set_epoch(1)
        assert list(batches) == before
