"""A workload on one store that notes what its calls have promised, and the judge of what is left."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray.storage.store import journal, recovery
from ptrarray.storage.system import files
from tests.support.disk import materialise, read_tree
from tests.support.recording import Recording, Site, record

Array = NDArray[Any]
Masked = np.ma.MaskedArray[Any, np.dtype[np.float64]]
Content = dict[str, bytes] | None  # arrays by name, attrs under ATTRS; None: no store
Tree = dict[str, bytes | None]

Meta = Mapping[str, Any]

ATTRS = "\0attrs"
NAME = "store.ptr"


class Mark(NamedTuple):
    """So many commits had begun, returned or become durable when the log was so long."""

    at: int
    n_commits: int


class Story:
    """What a workload did to a store, and what it was promised.

    Attributes
    ----------
    contents : list of Content
        What the store holds after each number of commits.
    """

    def __init__(self, recording: Recording, before: Content = None) -> None:
        self.recording = recording
        self.path = recording.root / NAME
        self.contents: list[Content] = [before]
        self._begun = [Mark(0, 0)]
        self._returned = [Mark(0, 0)]
        self._durable = [Mark(0, 0)]

    def commit(self, action: Callable[[], Any], after: Content, *, durable: bool = False) -> Any:
        """Make one commit, after which the store holds `after`."""
        self.contents.append(after)
        n_commits = len(self.contents) - 1
        self._begun.append(Mark(self.recording.at, n_commits))
        result = action()
        self._returned.append(Mark(self.recording.at, n_commits))
        if durable:
            self.promise()
        return result

    def promise(self) -> None:
        """Note that all commits so far are safe from a power cut."""
        self._durable.append(Mark(self.recording.at, len(self.contents) - 1))

    # calls of the store --------------------------------------------------------------------

    def create(self, **options: Any) -> ptrarray.PointerArrayWriter:
        def action() -> ptrarray.PointerArrayWriter:
            return ptrarray.create(self.path, **{"dtype": "i4", **options})

        writer: ptrarray.PointerArrayWriter = self.commit(
            action, with_attrs({}, options.get("attrs", {})), durable=True
        )
        return writer

    def write(
        self,
        writer: ptrarray.PointerArrayWriter,
        start: int | None = None,
        meta: Mapping[str, Meta] | None = None,
        **arrays: Array,
    ) -> tuple[int, int]:
        metas = meta or {}
        if writer.layout != "mixed":
            arrays = {name: array.astype(writer.dtype) for name, array in arrays.items()}
        after = self.now | {n: essence(array, metas.get(n, {})) for n, array in arrays.items()}
        rows: tuple[int, int] = self.commit(
            lambda: writer.write(arrays, start=start, overwrite=True, meta=meta), after
        )
        return rows

    def set_meta(self, writer: ptrarray.PointerArrayWriter, name: str, meta: Meta) -> None:
        after = self.now | {name: essence(writer[name], meta)}
        self.commit(lambda: writer.meta.__setitem__(name, meta), after)

    def delete(self, writer: ptrarray.PointerArrayWriter, name: str) -> None:
        after = {key: raw for key, raw in self.now.items() if key != name}
        self.commit(lambda: writer.__delitem__(name), after)

    def rename(self, writer: ptrarray.PointerArrayWriter, old: str, new: str) -> None:
        after = {key: raw for key, raw in self.now.items() if key != old}
        action = partial(writer.rename, old, new, overwrite=True)
        self.commit(action, after | {new: self.now[old]})

    def flush(self, writer: ptrarray.PointerArrayWriter) -> None:
        writer.flush()
        self.promise()

    def close(self, writer: ptrarray.PointerArrayWriter) -> None:
        """Close, which may checkpoint, and then is as good as a flush."""
        before = (self.path / "index.msgpack").read_bytes()
        writer.close()
        if (self.path / "index.msgpack").read_bytes() != before:
            self.promise()

    def killed(self, action: Callable[[], Any], n_more: int) -> bool:
        """Let a process be killed, as `Recording.kill` says; tell whether it was.

        What it committed, if anything, is found by looking.
        """
        self._begun.append(Mark(self.recording.at, len(self.contents)))
        was_killed = self.recording.kill(action, n_more)
        self.contents.append(look(self.path))
        self._returned.append(Mark(self.recording.at, len(self.contents) - 1))
        return was_killed

    def note_failure(self) -> None:
        """Note what a commit that could not be made has left, found by looking."""
        self.contents.append(look(self.path))
        n_commits = len(self.contents) - 1
        self._begun.append(Mark(self.recording.at, n_commits))
        self._returned.append(Mark(self.recording.at, n_commits))

    @property
    def now(self) -> dict[str, bytes]:
        return dict(self.contents[-1] or {})

    # what was promised ---------------------------------------------------------------------

    def durable(self, cut: int) -> range:
        """Numbers of commits that may be there when the power is cut after `cut` operations."""
        return _up_to(_last(self._durable, cut), _last(self._begun, cut, before=True))

    def first_and_promises(self) -> tuple[int, list[int]]:
        """Return how long the log was when the first commit began, and when each was promised."""
        return self._begun[1].at, [mark.at for mark in self._durable[1:]]

    def ends_of_commits(self) -> list[int]:
        """Return how long the log was when each commit had returned, and in the end."""
        return sorted({self.recording.at, *(mark.at for mark in self._returned)})

    def returned(self, done: int, begun: int) -> range:
        """Numbers of commits that may be there when all processes are killed.

        Parameters
        ----------
        done, begun : int
            Operations that were done whole, and that were begun.
        """
        return _up_to(_last(self._returned, done), _last(self._begun, begun, before=True))


def _up_to(done: int, begun: int) -> range:
    """Return the numbers between, where what wrote nothing, as it was refused, is done once it begins."""
    return range(done, max(done, begun) + 1)


def _last(marks: list[Mark], cut: int, *, before: bool = False) -> int:
    return [mark.n_commits for mark in marks if mark.at < cut + (not before) or not mark.at][-1]


def hidden(shape: tuple[int, ...], seed: int = 0) -> Masked:
    """Return numbers of which no two neighbours are both masked, or both not."""
    data = np.random.default_rng([*shape, seed]).random(shape)
    is_masked = np.arange(data.size).reshape(shape) % 2 == seed % 2
    return np.ma.MaskedArray(data, is_masked, fill_value=-1.0 - seed)


def essence(array: Array, meta: Meta) -> bytes:
    """Return all that a store keeps of an array, mask and metadata as well.

    Of plain numbers along one axis, which most workloads write, that is their bytes.
    """
    masked = np.ma.asanyarray(array)
    data, mask = masked.data, np.ma.getmaskarray(masked)
    is_masked = bool(mask.view("?").any()) or masked.hardmask
    if data.dtype == np.int32 and data.ndim == 1 and not (is_masked or meta):
        return data.tobytes()
    fill_value = np.asarray(masked.fill_value).tolist()
    facts = data.dtype.descr, data.shape, data.flags.fnc, masked.hardmask, fill_value, dict(meta)
    return repr((facts, data.tobytes(), mask.tobytes())).encode()


def with_attrs(content: dict[str, bytes], attrs: Mapping[str, Any]) -> dict[str, bytes]:
    return content | {ATTRS: repr(dict(attrs)).encode()}


Workload = Callable[[Story], None]


def tell(
    workload: Workload,
    root: Path,
    *,
    omit: Callable[[Site], bool] = lambda site: False,
    before: Tree | None = None,
    boot: int = 1,
) -> Story:
    """Record a workload, on what an earlier boot has left or on nothing."""
    materialise(before or {}, root)
    with booted(boot), repeatable(), record(root, omit) as recording:
        story = Story(recording, look(root / NAME))
        workload(story)
    return story


@contextmanager
def repeatable() -> Iterator[None]:
    """Let the same workload give the same bytes each time."""
    rng = random.Random(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "random_bytes", rng.randbytes)
        yield


# looking at what is left -------------------------------------------------------------------


@contextmanager
def booted(n: int) -> Iterator[None]:
    """Let the machine have been started for the n-th time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "boot_id", lambda: n.to_bytes(16, "big"))
        patch.setattr(recovery, "_ENDS", {})  # no process lives on
        yield


@contextmanager
def without_syncs() -> Iterator[None]:
    """Spare the disk what only a power cut could tell."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            if hasattr(os, name):
                patch.setattr(os, name, lambda fd: None)
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Let no reader of a torn journal wait for a writer to go on: there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "time", SimpleNamespace(sleep=id))
        yield


def look(path: Path) -> Content:
    """Read all of a store that must be whole, changing nothing."""
    before = read_tree(path.parent)
    try:
        store = ptrarray.open(path)
    except ptrarray.StoreNotFoundError:
        return None
    content = {name: essence(store[name], store.meta[name]) for name in store}
    content = with_attrs(content, store.attrs)
    assert len(store) == len(content) - 1
    store.verify()
    assert read_tree(path.parent) == before, "a read changed a file"
    return content


def go_on(path: Path, content: Content, then_checkpoint: bool) -> None:
    """Write to what is left as any program would, and look again."""
    if content is None:
        ptrarray.create(path, dtype="i4").close()
        content = with_attrs({}, {})
    with ptrarray.append(path) as writer:
        shape = (5, *(writer.row_shape or ()))
        extra = np.arange(np.prod(shape)).reshape(shape)
        extra = extra.astype(np.int32 if writer.layout == "mixed" else writer.dtype)
        writer["extra"] = extra
        if then_checkpoint:
            ptrarray.checkpoint(path)
    expected = content | {"extra": essence(extra, {})}
    found = look(path)
    assert found == expected, f"after one more write: {difference(found, expected)}"


def difference(found: Content, expected: Content) -> str:
    if found is None or expected is None:
        return f"found {found and 'a store'}, expected {expected and 'a store'}"
    keys = sorted(found.keys() | expected.keys())
    wrong = [key for key in keys if found.get(key) != expected.get(key)]
    return f"differs in {wrong}, found {sorted(found)}, expected {sorted(expected)}"


class Used(NamedTuple):
    """How what a power cut has left is looked at, and then written to, with a checkpoint or not."""

    look: Callable[[Path], Content]
    go_on: Callable[[Path, Content, bool], None]


class Judge:
    """Looks at each different state of a directory once, and writes on after every so many.

    Attributes
    ----------
    n_states : int
        States that were looked at.
    """

    def __init__(self, place: Path, boot: int = 2, go_on_every: int = 1) -> None:
        self._place = place
        self._boot = boot
        self._go_on_every = go_on_every
        self._known: dict[int, Content] = {}
        self.n_states = 0

    def content(self, tree: Tree) -> Content:
        """Return what the store in a directory holds, having found it usable."""
        key = hash(tuple(tree.items()))
        if key not in self._known:
            self.n_states += 1
            target = self._place / f"state{self.n_states}"
            materialise(tree, target)
            n_before, is_skipped = divmod(self.n_states, self._go_on_every)
            goes_on = None if is_skipped else n_before
            self._known[key] = usable(target / NAME, self._boot, goes_on)
            shutil.rmtree(target)
        return self._known[key]


def usable(path: Path, boot: int, goes_on: int | None, used: Used | None = None) -> Content:
    """Return what a store holds under another boot id, having found it usable.

    Parameters
    ----------
    goes_on : int or None
        Whether it is written to, and then in which way: with a checkpoint if it is even.
    used : Used, optional
        How it is looked at and written to, where it is not just one store.
    """
    used = used or Used(look, go_on)
    with booted(boot), without_syncs(), alone():
        content = used.look(path)
        if goes_on is not None:
            used.go_on(path, content, goes_on % 2 == 0)
    return content


def verdict(story: Story, find: Callable[[], Content], allowed: range) -> str | None:
    """Say what is wrong with what is found of a story's store; None if nothing is."""
    try:
        content = find()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return f"{type(error).__name__}: {error}"
    if any(content == story.contents[n] for n in allowed):
        return None
    return f"not the state after {allowed} commits: " + ", ".join(
        difference(content, story.contents[n]) for n in allowed
    )
