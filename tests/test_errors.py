"""Errors are kinds of built-in ones, and survive pickling with all that they know."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    DuplicateNameError,
    OverlapError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    TaskError,
    UnknownNameError,
)
from tests.support.checks import digests
from tests.support.refusals import make

ERRORS = (
    (StoreError, Exception),
    (StoreExistsError, FileExistsError),
    (StoreNotFoundError, FileNotFoundError),
    (CorruptStoreError, ValueError),
    (OverlapError, ValueError),
    (BadInputError, ValueError),
    (BadInputError, TypeError),
    (UnknownNameError, KeyError),
    (DuplicateNameError, KeyError),
    (ClosedStoreError, ValueError),
    (TaskError, StoreError),
)


@pytest.mark.parametrize(("kind", "builtin"), ERRORS)
def test_errors_survive_pickling(kind: type[StoreError], builtin: type[Exception]) -> None:
    error = kind("what was found\nand expected", path="x.ptr", name="a", found=(1, 2))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert isinstance(copy, builtin)
    assert str(copy) == "what was found\nand expected"
    assert vars(copy) == vars(error)
    assert copy.path == "x.ptr"


def test_real_errors_survive_pickling(path: Path) -> None:
    writer = make(path)
    calls: tuple[Callable[[], object], ...] = (
        lambda: writer.write({"there": [1]}),
        lambda: writer.write({"a": [1]}, start=0),
        lambda: writer["absent"],
        lambda: writer.write({"a": [0.5]}),
        lambda: ptrarray.create(path, dtype="i4"),
        lambda: ptrarray.open(path.with_name("absent")),
    )
    before = digests(path)
    for call in calls:
        with pytest.raises(StoreError) as raised:
            call()
        copy = pickle.loads(pickle.dumps(raised.value))
        assert (type(copy), str(copy)) == (type(raised.value), str(raised.value))
        assert copy.facts == raised.value.facts
    assert digests(path) == before
