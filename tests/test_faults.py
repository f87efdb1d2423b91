"""The n-th system call fails, once and for ever, n = 1, 2, … until the call passes."""

from __future__ import annotations

import ast
import errno
import gc
import multiprocessing
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest

import ptrarray
from ptrarray.storage import files
from tests.support.faults import CALLS, HARMLESS, SHORT, Faults, injected
from tests.support.power import materialise, read_tree
from tests.support.story import Content, Tree, look, with_attrs, without_syncs

Writer = ptrarray.PointerArrayWriter
CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EACCES, errno.EINTR, SHORT)
NOBODY = 65534
N_LIMIT = 2000  # a call that fails so often does not pass in the end


def ints(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.random.default_rng([n, seed]).integers(1, 2**30, n, np.int32)


A, B, C, D, LARGE = ints(3), ints(40), ints(5), ints(6), ints(20_000)
BEFORE = with_attrs({"a": A.tobytes(), "b": B.tobytes(), "c": C.tobytes()}, {"k": 1})


@cache
def prepared() -> Tree:
    """Return the files of a store with an index, a journal and a hole."""
    with TemporaryDirectory() as name:
        path = Path(name) / "store.ptr"
        with ptrarray.create(path, dtype="i4", rows=200, attrs={"k": 1}) as writer:
            writer.write({"a": A, "gone": B})
        ptrarray.checkpoint(path)
        writer = ptrarray.append(path)
        writer.write({"b": B, "c": C})
        del writer["gone"]
        return read_tree(Path(name))


# calls that may fail -----------------------------------------------------------------------


class Step(NamedTuple):
    """Calls on a store, and what it holds after; `is_one` if they are all or nothing."""

    call: Callable[[Writer], object]
    after: Content = BEFORE
    is_one: bool = True


def allocate(writer: Writer) -> None:
    with writer.allocate("d", len(LARGE)) as rows:
        rows[...] = LARGE


def replace(writer: Writer) -> None:
    ptrarray.create(writer.path, dtype="i4", mode="w").close()


def fill_reserved(writer: Writer) -> None:
    writer.write({"d": D}, start=writer.reserve(10))


def close_another(writer: Writer) -> None:
    """Close a writer whose commits call for a checkpoint."""
    with ptrarray.append(writer.path) as other:
        other.write({f"n{i}": A for i in range(50)}, overwrite=True)


WITH_D = BEFORE | {"d": D.tobytes()}
STEPS = {
    "write": Step(lambda w: w.write({"d": D}), WITH_D),
    "write_large": Step(lambda w: w.write({"d": LARGE}), BEFORE | {"d": LARGE.tobytes()}),
    "replace_array": Step(lambda w: w.update({"a": D}), BEFORE | {"a": D.tobytes()}),
    "delete": Step(lambda w: w.__delitem__("b"), {k: v for k, v in BEFORE.items() if k != "b"}),
    "clear": Step(lambda w: w.clear(), with_attrs({}, {"k": 1})),
    "point": Step(lambda w: w.point("d", 1, 3), BEFORE | {"d": A[1:3].tobytes()}),
    "attrs": Step(lambda w: w.attrs.update(k=2), with_attrs(BEFORE, {"k": 2})),
    "fill_reserved": Step(fill_reserved, WITH_D),
    "planned": Step(lambda w: w.write({"d": D}, start=150), WITH_D),
    "reuse": Step(lambda w: w.write({"d": D}, start=5), WITH_D),
    "allocate": Step(allocate, BEFORE | {"d": LARGE.tobytes()}),
    "flush": Step(lambda w: w.flush()),
    "read": Step(lambda w: w["b"]),
    "checkpoint": Step(lambda w: ptrarray.checkpoint(w.path)),
    "close": Step(close_another, BEFORE | {f"n{i}": A.tobytes() for i in range(50)}, is_one=False),
    "compact": Step(lambda w: ptrarray.compact(w.path)),
    "replace_store": Step(replace, with_attrs({}, {}), is_one=False),
}


@contextmanager
def opened(root: Path) -> Iterator[Writer]:
    materialise(prepared(), root)
    writer = ptrarray.append(root / "store.ptr")
    try:
        yield writer
    finally:
        writer.close()


def check_named(error: OSError, path: str) -> None:
    found = str(error.filename or getattr(error, "path", ""))
    name = Path(path).name
    assert found.startswith(path) or f".{name}." in found, f"{error!r} names {found!r}"


def n_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode.get(code, "short"))
@pytest.mark.parametrize("name", STEPS)
def test_failing_call(name: str, code: int, is_lasting: bool, tmp_path: Path) -> None:
    n_before = n_descriptors()
    for n in range(1, N_LIMIT):
        with injected() as faults, opened(tmp_path / str(n)) as writer:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(STEPS[name].call, writer)
            faults.disarm()
            check_after(STEPS[name], error, faults, writer)
            path = Path(writer.path)
        check_clean(path, STEPS[name].after)
        if not faults.n_failed:
            break
    assert n < N_LIMIT - 1
    assert n_descriptors() == n_before


def caught(call: Callable[[Writer], object], writer: Writer) -> OSError | None:
    try:
        call(writer)
    except OSError as error:
        error.__traceback__ = None  # lets go of the files it holds
        error.__context__ = error.__cause__ = None
        return error
    return None


def check_after(step: Step, error: OSError | None, faults: Faults, writer: Writer) -> None:
    """Check a store after a call that may have failed, and let it be made again."""
    found = look(Path(writer.path))
    if error is None:
        assert found == step.after
        return
    assert faults.n_failed
    check_named(error, writer.path)
    may_be_done = faults.has_failed_sync or not step.is_one
    assert found == BEFORE or (may_be_done and found == step.after)
    if found == step.after != BEFORE:
        return
    if faults.has_failed_sync and error_is_final(writer):
        with ptrarray.append(writer.path) as other:
            step.call(other)
    else:
        step.call(writer)
    assert look(Path(writer.path)) == step.after


def error_is_final(writer: Writer) -> bool:
    """Tell whether a writer refuses to go on, as it must when its own sync has failed."""
    try:
        writer.flush()
    except ptrarray.StoreError as error:
        assert "open it anew" in str(error)
        with pytest.raises(ptrarray.StoreError, match="open it anew"):
            writer["more"] = A
        return True
    return False


def check_clean(path: Path, content: Content) -> None:
    """Check that nothing is left over when the next writer has been there."""
    ptrarray.append(path).close()
    assert look(path) == content
    index = ptrarray.open(path)._state.snapshot.header.data_file
    assert {p.name for p in path.iterdir()} == {index, "index.msgpack", "journal.msgpack"}
    assert [p.name for p in path.parent.iterdir()] == [path.name]
