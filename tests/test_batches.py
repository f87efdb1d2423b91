"""Groups of arrays that wait: committed together, and one by one where that is refused."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import DuplicateNameError
from ptrarray.jobs import batches
from ptrarray.jobs.batches import Batches, Group


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ptrarray.create(tmp_path / "a.ptr", dtype="i8") as writer:
        writer["there"] = [0]
    return tmp_path / "a.ptr"


def group(label: str, *names: str, length: int = 2) -> Group:
    return Group(label, {name: np.arange(length) for name in names})


def lacking_there(group: Group, there: Container[str]) -> Group | None:
    return None if group.label in there else group


def test_one_commit_for_many_groups(path: Path) -> None:
    with ptrarray.append(path) as writer, ptrarray.open(path) as store:
        waiting = Batches(writer)
        for number in range(100):
            waiting.add(group(f"{number}", f"n{number}", f"m{number}"))
        store.refresh()
        assert len(store) == 1
        waiting.write()
        store.refresh()
        assert len(store) == 201
    assert (waiting.n_groups, waiting.n_arrays, waiting.nbytes) == (100, 200, 200 * 16)


@pytest.mark.parametrize("length", [5, 11])  # several a batch; each larger than a batch
def test_no_more_waits_than_the_limit(
    path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_NBYTES", 80)
    with ptrarray.append(path) as writer:
        waiting = Batches(writer)
        for number in range(9):
            waiting.add(group(f"{number}", f"n{number}", length=length))
            assert len(writer) >= 1 + number - (80 // (8 * length) - 1)
        waiting.write()
        assert len(writer) == 10


def test_refused_groups_take_no_others_with_them(path: Path) -> None:
    refused = []
    with ptrarray.append(path) as writer:
        waiting = Batches(writer, lambda group, error: refused.append((group.label, type(error))))
        for group_ in (group("a", "a1", "a2"), group("b", "b1", "there"), group("c", "c1")):
            waiting.add(group_)
        waiting.write()
        assert sorted(writer) == ["a1", "a2", "c1", "there"]
    assert refused == [("b", DuplicateNameError)]
    assert (waiting.n_groups, waiting.n_arrays) == (2, 3)


def test_what_is_left_out_is_asked_for_once(path: Path) -> None:
    """Also where another group of the batch is refused, and all are tried one by one."""
    asked, refused = [], []

    def without(group: Group, there: Container[str]) -> Group | None:
        if group.label in there:
            asked.append(group.label)
            return None
        return group

    with ptrarray.append(path) as writer:
        writer["companion"] = [1]
        waiting = Batches(writer, lambda group, _: refused.append(group.label), without=without)
        for group_ in (group("there", "there"), group("b", "b", "companion"), group("c", "c")):
            waiting.add(group_)
        waiting.write()
        assert sorted(writer) == ["c", "companion", "there"]
    assert (asked, refused) == (["there"], ["b"])


def test_an_error_that_is_no_refusal_ends_the_call(path: Path) -> None:
    refused: list[Group] = []
    with ptrarray.append(path) as writer:
        waiting = Batches(writer, lambda group, _: refused.append(group), errors=(OSError,))
        waiting.add(group("b", "there"))
        with pytest.raises(DuplicateNameError):
            waiting.write()
    assert refused == []


def test_without_anybody_to_tell_it_is_raised(path: Path) -> None:
    with ptrarray.append(path) as writer:
        waiting = Batches(writer, without=lacking_there)
        waiting.add(group("b", "there"))
        with pytest.raises(DuplicateNameError):
            waiting.write()


def test_a_name_that_waits_is_committed_before_it_comes_again(path: Path) -> None:
    refused = []
    with ptrarray.append(path) as writer:
        waiting = Batches(writer, lambda group, _: refused.append(group.label))
        waiting.add(group("first", "n"))
        waiting.add(group("second", "n"))
        waiting.write()
        assert len(writer) == 2
    assert refused == ["second"]
