"""Deleting several names at once: all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import BadInputError, UnknownNameError
from ptrarray.format import journal

Writer = ptrarray.PointerArrayWriter

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"dtype": "i4"},
    "mixed": {},
    "masked": {"dtype": "i4", "masked": True},
    "shards": {"dtype": "i4", "shard_size": 2000},
}
N_NAMES = 60


@pytest.fixture(params=KINDS)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Writer]:
    """Writer of a store with names in the index and in the journal, in some of several shards."""
    with ptrarray.create(tmp_path / "a.ptr", **KINDS[request.param]) as writer:
        writer.write({f"n{i}": np.full(30, i, "i4") for i in range(10)}, meta={"n1": {"k": 1}})
        ptrarray.checkpoint(writer.path)
        for first in range(10, N_NAMES, 5):
            writer.write({f"n{i}": np.full(30, i, "i4") for i in range(first, first + 5)})
        yield writer


def content(path: str) -> dict[str, list[int]]:
    with ptrarray.open(path) as store:
        return {name: array.tolist() for name, array in store.items()}


EVERYTHING = {f"n{i}": [i] * 30 for i in range(N_NAMES)}


def without(*names: str) -> dict[str, list[int]]:
    return {name: array for name, array in EVERYTHING.items() if name not in names}


def test_several(writer: Writer) -> None:
    writer.delete(["n3", "n12", "n59", "n12"])
    assert content(writer.path) == without("n3", "n12", "n59")
    writer.delete(name for name in ["n0", "n1"])
    writer.delete({"n2": None}.keys())
    assert content(writer.path) == without("n0", "n1", "n2", "n3", "n12", "n59")
    with ptrarray.open(writer.path) as store:
        store.verify()


def test_several_of_an_empty_store(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="i4") as writer:
        writer.delete([])
        with pytest.raises(UnknownNameError):
            writer.delete(["a", "b"])
        with ptrarray.open(writer.path) as store:
            assert len(store.take([])) == 0
            with pytest.raises(UnknownNameError):
                store.take(["a", "b"])


def test_none(writer: Writer) -> None:
    with ptrarray.open(writer.path) as store:
        writer.delete([])
        store.refresh()
        assert content(writer.path) == EVERYTHING


@pytest.mark.parametrize("missing", ["n60", "", "n3/x", 5, None, "\ud800"])
def test_one_that_is_not_there(writer: Writer, missing: Any) -> None:
    for names in (["n3", missing, "n12"], [missing]):
        with pytest.raises(UnknownNameError) as caught:
            writer.delete(names)
        assert caught.value.name == missing
        assert caught.value.path == writer.path
    assert content(writer.path) == EVERYTHING


@pytest.mark.parametrize("names", ["n3", b"n3", 5, None, np.array("n3")])
def test_what_is_not_several_names(writer: Writer, names: Any) -> None:
    with pytest.raises(BadInputError, match="del writer\\[name\\]"):
        writer.delete(names)
    assert content(writer.path) == EVERYTHING


def test_beside_another_writer(writer: Writer) -> None:
    """Each sees what the other has deleted and written anew."""
    with ptrarray.append(writer.path) as other:
        other.delete(["n3", "n30"])
        with pytest.raises(UnknownNameError):
            writer.delete(["n4", "n30"])
        writer["n30"] = [7]
        del writer["n5"]
        other.delete(["n30", "n4"])
        assert "n30" not in writer
    assert content(writer.path) == without("n3", "n4", "n5", "n30")


def test_names_that_were_replaced_in_another_shard(writer: Writer) -> None:
    writer.update({"n0": np.full(30, 7, "i4"), "n59": np.full(30, 8, "i4")})
    writer.delete(["n0", "n59", "n1"])
    assert content(writer.path) == without("n0", "n59", "n1")
    with ptrarray.append(writer.path) as other:
        assert "n0" not in other


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_as_a_dict(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("a") / "a.ptr"
    names = st.lists(st.sampled_from([f"n{i}" for i in range(12)]), max_size=8)
    model: dict[str, list[int]] = {}
    with ptrarray.create(path, **KINDS[kind]) as one, ptrarray.append(path) as two:
        writers = st.sampled_from([one, two])
        for _ in range(data.draw(st.integers(1, 8))):
            some, writer = data.draw(names), data.draw(writers)
            match data.draw(st.sampled_from(["write", "delete", "del", "checkpoint"])):
                case "write":
                    rows = {name: [len(model)] * 40 for name in some}
                    writer.update({name: np.array(row, "i4") for name, row in rows.items()})
                    model |= rows
                case "checkpoint":
                    ptrarray.checkpoint(path)
                case "del":
                    for name in set(some) & model.keys():
                        del writer[name]
                        del model[name]
                        assert name not in writer
                case _ if set(some) <= model.keys():
                    writer.delete(some)
                    model = {name: row for name, row in model.items() if name not in some}
                case _:
                    with pytest.raises(UnknownNameError):
                        writer.delete(some)
            assert len(writer) == len(model)
    assert content(str(path)) == model


def test_more_names_than_a_record_takes(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "RECORD_LIMIT_NAMES", 4)
    doomed = [f"n{i}" for i in range(2, 50)]
    writer.delete(doomed)
    assert content(writer.path) == without(*doomed)


def die_at(n: int, call: Callable[[], object]) -> bool:
    """Make a call in a child that dies before its n-th write; return whether it came to its end."""
    child = os.fork()
    if not child:
        n_left, pwrite = n, os.pwrite

        def write(*args: Any) -> int:
            nonlocal n_left
            n_left -= 1
            return pwrite(*args) if n_left else die()

        os.pwrite = write
        try:
            call()
            os._exit(0)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def die() -> NoReturn:
    os._exit(1)


@pytest.mark.parametrize("limit", [4, 2**22])
def test_killed_between_any_two_writes(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RECORD_LIMIT_NAMES", limit)
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"n{i}": np.full(30, i, "i4") for i in range(N_NAMES)})
    doomed = [f"n{i}" for i in range(5, 25)]
    outcomes = []
    for n in range(1, 20):
        is_done = die_at(n, lambda: ptrarray.append(path).delete(doomed))
        outcomes.append(content(str(path)))
        if is_done:
            break
    assert len(outcomes) == (7 if limit == 4 else 3)
    assert outcomes == [EVERYTHING] * (len(outcomes) - 1) + [without(*doomed)]
