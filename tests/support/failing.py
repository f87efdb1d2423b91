"""Calls on a store whose n-th system call fails, and what the store must hold then."""

from __future__ import annotations

import errno
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray.storage.store.index import Index
from tests.support.disk import materialise, read_tree
from tests.support.faults import SHORT, Faults, injected
from tests.support.story import Content, Tree, hidden, look, repeatable, with_attrs

Array = NDArray[Any]
Writer = ptrarray.PointerArrayWriter
CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EACCES, errno.EINTR, SHORT)
N_LIMIT = 2000  # a call that fails so often does not pass in the end


def ints(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.random.default_rng([n, seed]).integers(1, 2**30, n, np.int32)


A, B, C, D, LARGE = ints(3), ints(40), ints(5), ints(6), ints(20_000)
HIDDEN = hidden((5, 4))
BEFORE = with_attrs({"a": A.tobytes(), "b": B.tobytes(), "c": C.tobytes()}, {"k": 1})


@cache
def prepared(masked: bool = False) -> Tree:
    """Return the files of a store with an index, a journal and a hole."""
    asked: dict[str, Any] = {"masked": True} if masked else {"dtype": "i4"}
    with TemporaryDirectory() as name:
        path = Path(name) / "store.ptr"
        with ptrarray.create(path, rows=200, attrs={"k": 1}, **asked) as writer:
            writer.write({"a": A, "gone": HIDDEN if masked else B}, meta={"gone": {"k": 1}})
        ptrarray.checkpoint(path)
        writer = ptrarray.append(path)
        writer.write({"b": B, "c": C})
        del writer["gone"]
        return read_tree(Path(name))


class Step(NamedTuple):
    """Calls on a store, and what it holds after; `is_one` if they are all or nothing."""

    call: Callable[[Writer], object]
    after: Content = BEFORE
    is_one: bool = True
    tree: Callable[[], Tree] = prepared  # of the store


@contextmanager
def opened(root: Path, tree: Callable[[], Tree] = prepared) -> Iterator[Writer]:
    materialise(tree(), root)
    writer = ptrarray.append(root / "store.ptr")
    try:
        yield writer
    finally:
        writer.close()


def check_clean(path: Path, content: Content) -> None:
    """Check that nothing is left over when the next writer has been there."""
    ptrarray.append(path).close()
    assert look(path) == content
    check_files(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def check_files(path: Path) -> None:
    """Check that there is no file that nobody uses."""
    header = Index(path).header
    in_use = {header.data_file, header.mask_file} - {None}
    assert {p.name for p in path.iterdir()} == in_use | {"index.msgpack", "journal.msgpack"}


def check_failing(
    step: Step,
    code: int,
    folder: Path,
    *,
    is_lasting: bool,
    every: int = 1,
    first: int = 1,
    check_clean: Callable[[Path, Content], None] = check_clean,
) -> None:
    """Let the n-th system call of a step fail, for each n, or for every so many from the first on."""
    n_before = n_descriptors()
    for n in range(first, N_LIMIT, every):
        root = folder / str(n)
        with repeatable(), injected() as faults, opened(root, step.tree) as writer:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(step.call, writer)
            faults.disarm()
            check_after(step, error, faults, writer, _LOOKED)
            path = Path(writer.path)
        left = hash_of(root), hash_of_content(step.after)
        if left not in _CLEANED:  # the next writer does the same to the same files
            check_clean(path, step.after)
            _CLEANED.add(left)
        if not faults.n_failed:
            break
    assert n < N_LIMIT - every
    assert n_descriptors() == n_before


def caught(call: Callable[[Any], object], writer: Writer | None) -> OSError | None:
    try:
        call(writer)
    except OSError as error:
        error.__traceback__ = None  # lets go of the files it holds
        error.__context__ = error.__cause__ = None
        return error
    return None


class Looked:
    """Looks at each different state of a store once; steps leave the same ones again and again."""

    def __init__(self) -> None:
        self._known: dict[int, Content] = {}
        self._contents: dict[int, Content] = {}  # each once, as some are large

    def __call__(self, path: Path) -> Content:
        key = hash_of(path.parent)
        if key not in self._known:
            found = look(path)
            self._known[key] = self._contents.setdefault(hash_of_content(found), found)
        return self._known[key]


_LOOKED = Looked()
_CLEANED: set[tuple[int, int]] = set()  # states after a step, and what it should have led to


def hash_of(root: Path) -> int:
    return hash(tuple(read_tree(root).items()))


def hash_of_content(content: Content) -> int:
    return hash(content if content is None else frozenset(content.items()))


def check_after(
    step: Step, error: OSError | None, faults: Faults, writer: Writer, look: Looked
) -> None:
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
    except ptrarray.StoreError:
        with pytest.raises(ptrarray.StoreError, match="open it anew"):
            writer["more"] = A
        return True
    return False


def check_named(error: OSError, path: str) -> None:
    found = str(error.filename or getattr(error, "path", ""))
    assert found.startswith(path), f"{error!r} names {found!r}"
    is_hidden = re.search(r"/\.[^/]*\.new(/|$)", found)
    assert not is_hidden, f"{error!r} names where it is built: {found!r}"


def n_descriptors() -> int:
    """Return how many files are open; threads of others open and close sockets meanwhile."""
    gc.collect()
    place = Path("/proc/self/fd")
    targets = []
    for link in place.iterdir() if place.exists() else ():
        with suppress(FileNotFoundError):
            targets.append(str(link.readlink()))
    return sum(one.startswith("/") and not one.startswith("/proc/") for one in targets)


def read_all(path: Path) -> dict[str, bytes]:
    with ptrarray.open(path) as store:
        store.refresh()
        store.verify()
        return {name: store[name].tobytes() for name in store}
