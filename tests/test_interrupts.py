"""Ctrl-C, or any handler of a signal that raises, at any step of a writer."""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import ptrarray
from ptrarray.storage.system.files import CHANGE, File
from ptrarray.storage.system.lock import Lock, try_lock_range, try_lock_whole, whole
from tests import test_faults, test_shards_faults
from tests.support.checks import open_descriptors
from tests.support.disk import materialise
from tests.support.failing import BEFORE, LARGE, A, B, Step, Writer
from tests.support.interrupted_workers import interrupted
from tests.support.interrupts import Interrupts
from tests.support.story import look

NAME = "store.ptr"
# Where locks are taken and let go, and what is known of the store is kept.
MODULES = ("/lock.py", "/session.py", "/recent.py", "/space.py")


def open_and_close(writer: Writer) -> None:
    ptrarray.append(writer.path).close()


def change(writer: Writer) -> None:
    with ptrarray.open(writer.path, mode="r+") as store:
        store["a"][:] = store["a"].copy()


def iterate(writer: Writer) -> None:
    assert sorted(dict(writer.items())) == sorted(writer.pointers)


def write_arrow(writer: Writer) -> None:
    # Of the dtype of the store, so that they are written from the memory of Arrow.
    values = pa.array([[1, 2], []], pa.list_(pa.int32()))
    table = pa.table({"name": ["d", "e"], "values": values})
    batches = table.to_batches(max_chunksize=1)
    assert writer.write_arrow(pa.RecordBatchReader.from_batches(table.schema, batches)) == 2


MORE = {
    "reserve": Step(lambda w: w.reserve(10)),
    "open": Step(open_and_close),
    "change": Step(change),
    "iterate": Step(iterate),
    "write_arrow": Step(write_arrow, BEFORE | {"d": np.array([1, 2], "i4").tobytes(), "e": b""}),
    "meta": Step(lambda w: w.meta.__setitem__("a", {}), BEFORE),
}
PLAIN = test_faults.STEPS | MORE
SHARDS = {
    name: step._replace(tree=test_shards_faults.prepared)
    for name, step in test_shards_faults.STEPS.items()
}
CASES = [
    pytest.param(step, id=f"{kind}-{name}")
    for kind, steps in (("plain", PLAIN), ("shards", SHARDS))
    for name, step in steps.items()
]


@pytest.mark.parametrize("step", CASES)
def test_interrupted(step: Step, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    check_interrupted(step, tmp_path, 1, seed=request.node.name)


@pytest.mark.parametrize("name", ["write", "allocate"])
def test_interrupted_where_locks_are_taken(name: str, tmp_path: Path) -> None:
    check_interrupted(PLAIN[name], tmp_path, 20, MODULES)


def test_interrupted_where_memory_of_others_is_released(tmp_path: Path) -> None:
    """Python drops what is raised while an object goes: then the write would go on, and commit."""
    step = PLAIN["write_arrow"]

    def counted(folder: str) -> Interrupts:
        interrupts = Interrupts()
        with writing(tmp_path / folder, step) as writer:
            interrupts.run(partial(write_arrow, writer))
        return interrupts

    counted("first")  # when modules are imported, too
    for at in sorted(counted("second").places(("/incoming.py",))):
        counted(f"before{at}")  # Python 3.13.0 leaves steps out in a call after an interrupted one
        interrupts = Interrupts(at)
        with writing(tmp_path / str(at), step) as writer:
            is_raised = interrupts.run(partial(write_arrow, writer))
            assert "/incoming.py:" in interrupts.where[0]
            assert (is_raised, len(writer)) == (True, 3), interrupts.where


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("step", CASES)
def test_interrupted_everywhere(step: Step, tmp_path: Path) -> None:
    check_interrupted(step, tmp_path, None)


@pytest.mark.parametrize("shard_size", [None, "200kB"], ids=["plain", "shards"])
def test_timer(shard_size: str | None, tmp_path: Path) -> None:
    check_timer(shard_size, tmp_path, 30)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard_size", [None, "200kB"], ids=["plain", "shards"])
def test_timer_again_and_again(shard_size: str | None, tmp_path: Path) -> None:
    check_timer(shard_size, tmp_path, 3000)


def locks_file(path: Path) -> bool:
    """Tell whether a file can be locked by somebody else."""
    with File(path) as file:
        return try_lock_whole(file)


def test_ranges_are_let_go_with_what_was_interrupted(tmp_path: Path) -> None:
    """Though somebody still refers to the file, as a traceback does."""
    path = tmp_path / "file"
    path.touch()
    kept = []

    @whole
    def claim(is_interrupted: bool) -> None:
        kept.append(File(path, CHANGE))
        assert try_lock_range(kept[-1], 0, 5)
        if is_interrupted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claim(True)
    claim(False)
    with File(path, CHANGE) as other:
        assert not try_lock_range(other, 4, 6), "what ends well keeps them"
    kept[-1].close()


def test_a_lock_is_held_as_often_as_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    file = File(path)
    lock = Lock(file)

    @whole
    def inner() -> None:
        lock.__enter__()  # as if the end of its block was interrupted
        raise KeyboardInterrupt

    @whole
    def outer() -> None:
        with lock:
            with pytest.raises(KeyboardInterrupt):
                inner()
            assert not locks_file(path)
        assert locks_file(path)
        lock.__enter__()

    outer()
    assert locks_file(path)
    file.close()


def check_timer(shard_size: str | None, folder: Path, n_interrupts: int) -> None:
    """Let the system itself interrupt a process, wherever it is."""
    path = folder / NAME
    with ptrarray.create(path, dtype="i4", shard_size=shard_size) as writer:
        writer.write({f"first{i}": [i] for i in range(5)})
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    args = (path, n_interrupts, n_interrupts, sender)
    process = context.Process(target=interrupted, args=args)
    process.start()
    sender.close()
    wrong, names = receiver.recv()
    process.join()
    assert (process.exitcode, wrong) == (0, [])
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(names)
        store.verify()


def check_interrupted(
    step: Step,
    folder: Path,
    n_samples: int | None,
    modules: tuple[str, ...] = ("",),
    seed: str = "",
) -> None:
    with writing(folder / "counted", step) as writer:
        counted = Interrupts()
        counted.run(partial(step.call, writer))
    steps = sorted(counted.places(modules))
    if n_samples is not None and n_samples < len(steps):
        steps = sorted(random.Random(seed).sample(steps, n_samples))
    for at in steps:
        interrupts = Interrupts(at)
        try:
            check_one(step, folder / str(at), interrupts)
        except BaseException as error:
            error.add_note(f"interrupted at step {at}: {interrupts.where}")
            raise


def check_one(step: Step, folder: Path, interrupts: Interrupts) -> None:
    with writing(folder, step) as writer:
        path = Path(writer.path)
        assert interrupts.run(partial(step.call, writer)) == bool(interrupts.where), "it is lost"
        check_let_go(path)
        found = look(path)
        assert found in (BEFORE, step.after) or not step.is_one
        check_goes_on(writer, path)
    gc.collect()
    assert open_descriptors(folder) == []


def check_let_go(path: Path) -> None:
    """Check that nobody holds a lock of a store."""
    for journal in path.rglob("journal.msgpack"):
        with File(journal, CHANGE) as file:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    gc.collect()
    for data in path.rglob("data*.bin"):
        with File(data, CHANGE) as file:
            assert try_lock_range(file, 0, 2**62), data


def check_goes_on(writer: Writer, path: Path) -> None:
    """Check that the same writer goes on, and knows all names."""
    with ptrarray.open(path) as store:
        names = {name: store[name].copy() for name in store}
    try:
        assert len(writer) == len(names)
    except ptrarray.StoreError as error:
        if "replaced by another" in str(error):
            return
        raise
    for name in names:
        with pytest.raises(ptrarray.DuplicateNameError):
            writer.write({name: A})
    writer.write({"new": A, "large": LARGE})
    ptrarray.compact(path)
    writer["last"] = B
    del writer["new"]
    with ptrarray.open(path) as store:
        store.verify()
        found = {name: store[name].tobytes() for name in store}
    expected = names | {"large": LARGE, "last": B}
    assert found == {name: array.tobytes() for name, array in expected.items()}


@contextmanager
def writing(folder: Path, step: Step) -> Iterator[Writer]:
    materialise(step.tree(), folder)
    with ptrarray.append(folder / NAME) as writer:
        yield writer
