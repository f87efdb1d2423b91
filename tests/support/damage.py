"""Ways to damage a store, and what may come of it: right data or a `CorruptStoreError`."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

import ptrarray
from tests.support import limits
from tests.support.disk import materialise, read_tree
from tests.support.story import NAME, Tree, alone, booted, essence, repeatable, without_syncs

Read = Callable[[ptrarray.PointerArray], object]

INDEX, JOURNAL, DATA, MASK = "index.msgpack", "journal.msgpack", "data.bin", "mask.bin"
FILES = (INDEX, JOURNAL, DATA)
SECONDS = limits.SECONDS / 3  # of the processor, for one store
BOOT = 1


def _ints(n: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return numbers of which no byte is zero, as those that were never written are."""
    return np.random.default_rng(n).integers(1, 128, (n, 4), np.uint8).view(np.int32).ravel()


ARRAYS = {
    "": _ints(2),
    "ä": _ints(4),
    "name with a longer text": _ints(9),
    "nothing": _ints(0),
    "p": _ints(9)[3:6],
}
LATER = {"j1": _ints(5), "j2": _ints(3)}
POINTED_LATER = {"q": _ints(5)[1:3]}
EXPECTED = {name: array.tobytes() for name, array in (ARRAYS | LATER | POINTED_LATER).items()}


def _write_plain(path: Path) -> None:
    """Make a small store with every kind of record, all of it on the disk."""
    with ptrarray.create(path, dtype="i4", attrs={"rate": 8000}) as writer:
        writer.write({key: array for key, array in ARRAYS.items() if key != "p"})
        start, _ = writer.pointers["name with a longer text"]
        writer.point("p", start + 3, start + 6)
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write({"gone": _ints(6)} | LATER)
    start, _ = writer.pointers["j1"]
    writer.point("q", start + 1, start + 3)
    writer.attrs["unit"] = "mV"
    del writer["gone"]
    writer.flush()


def _write_masked(path: Path) -> None:
    """Make a small store of arrays with dtypes, shapes, masks and metadata of their own."""
    masked: Any = np.ma.MaskedArray
    with ptrarray.create(path, masked=True) as writer:
        grid = _ints(6).astype("<i2").reshape(2, 3)
        turned = masked(np.asfortranarray(grid), np.asfortranarray(np.eye(2, 3)), fill_value=-7)
        fields = masked([(b"ab", (1, 2))], [(1, (0, 1))], [("s", "S2"), ("xy", "<f4", (2,))])
        arrays = {"turned": turned, "fields": fields, "nothing": np.ones((0, 2)), "plain": _ints(3)}
        writer.write(arrays, meta={"turned": {"speaker": "Ann"}, "plain": {"größe": [1, None]}})
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    late = masked(_ints(5), [0, 1, 1, 0, 1], hard_mask=True)
    writer.write({"late": late, "gone": grid, "pi": np.float64(3.25)}, meta={"late": {"k": [1.5]}})
    writer.meta["fields"] = {"of": "points"}
    del writer["gone"]
    writer.flush()


class Sample(NamedTuple):
    """A small store to be damaged, and what is read of it."""

    write: Callable[[Path], None]
    reads: tuple[Read, ...]


@cache
def prepared(sample: Sample | None = None) -> Tree:
    """Return the files of a small store, the plain one by default."""
    with TemporaryDirectory() as name, booted(BOOT), repeatable():
        path = Path(name) / NAME
        (sample or PLAIN).write(path)
        return read_tree(Path(name))


@cache
def content(file: str, sample: Sample | None = None) -> bytes:
    """Return the bytes of one file of a small store."""
    raw = prepared(sample)[f"{NAME}/{file}"]
    assert raw is not None
    return raw


def damaged(root: Path, file: str, raw: bytes, sample: Sample | None = None) -> Path:
    """Make a small store with other bytes in one file; return its path."""
    materialise(prepared(sample) | {f"{NAME}/{file}": raw}, root)
    return root / NAME


@contextmanager
def noted(root: Path, note: str) -> Iterator[None]:
    """Let an error tell what a store in a directory was made into; remove the directory."""
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        raise
    finally:
        shutil.rmtree(root)


# guards ------------------------------------------------------------------------------------


@contextmanager
def guarded() -> Iterator[None]:
    """Let what happens inside take bounded time and memory, and no real syncs."""

    with limits.limited(SECONDS), booted(BOOT), without_syncs(), alone():
        yield


# reading -----------------------------------------------------------------------------------


def by_name(store: ptrarray.PointerArray) -> object:
    return {name: store[name].tobytes() for name in EXPECTED}


def by_position(store: ptrarray.PointerArray) -> object:
    return [store.arrays[position].tobytes() for position in range(len(store))]


def taken(store: ptrarray.PointerArray) -> object:
    return store.take(EXPECTED).values.tobytes()


def taken_by_position(store: ptrarray.PointerArray) -> object:
    return store.arrays[:].values.tobytes()


def iterated(store: ptrarray.PointerArray) -> object:
    return [(name, array.tobytes()) for name, array in store.items()]


def reduced(store: ptrarray.PointerArray) -> object:
    return int(np.sum(store)), store.reduce_each(np.add).tolist()


def columns(store: ptrarray.PointerArray) -> object:
    return store.names[:], store.starts.tolist(), store.ends.tolist(), dict(store.attrs)


def missing(store: ptrarray.PointerArray) -> object:
    return [name in store for name in ("not there", "gone", "j", "\0")]


def whole(store: ptrarray.PointerArray) -> object:
    return {name: essence(store[name], store.meta[name]) for name in store}


def walked(store: ptrarray.PointerArray) -> object:
    return [(name, essence(array, {})) for name, array in store.items()]


def metas(store: ptrarray.PointerArray) -> object:
    return list(store.meta.items())


PLAIN = Sample(
    _write_plain,
    (by_name, by_position, taken, taken_by_position, iterated, reduced, columns, missing),
)
MASKED = Sample(_write_masked, (whole, walked, columns, missing, metas))


@cache
def right(read: Read, sample: Sample) -> object:
    with TemporaryDirectory() as name, booted(BOOT):
        materialise(prepared(sample), Path(name) / "root")
        with ptrarray.open(Path(name) / "root" / NAME) as store:
            return read(store)


class Outcome(NamedTuple):
    """What a store with damage does: reads that were wrong, and the error of `verify`."""

    wrong: list[str]
    refusal: ptrarray.CorruptStoreError | None
    n_refused: int


def refused(call: Callable[[], object]) -> ptrarray.CorruptStoreError | None:
    """Make a call that may only succeed or find the store corrupt, or gone."""
    try:
        call()
    except ptrarray.CorruptStoreError as error:
        return error
    except ptrarray.StoreNotFoundError as error:
        return ptrarray.CorruptStoreError(str(error), path=error.path)
    return None


def read_in_every_way(
    path: Path, errors: tuple[type[Exception], ...] = (), sample: Sample = PLAIN
) -> Outcome:
    """Read a store by everything there is; an error of no allowed kind is raised.

    Parameters
    ----------
    path : Path
        The store.
    errors : tuple of exception types
        Beside `CorruptStoreError`, what a read may raise; an unknown name
        always may, and counts as wrong.
    sample : Sample
        What it was.
    """
    wrong: list[str] = []
    wrong_kinds: tuple[type[BaseException], ...] = (ptrarray.UnknownNameError, *errors)
    n_refused = 0

    def try_read(read: Read, store: ptrarray.PointerArray) -> None:
        try:
            if read(store) != right(read, sample):
                wrong.append(read.__name__)
        except wrong_kinds:
            wrong.append(read.__name__)

    def try_all() -> None:
        nonlocal n_refused
        with ptrarray.open(path) as store:
            for read in sample.reads:
                n_refused += refused(partial(try_read, read, store)) is not None

    if refused(try_all) is not None:
        n_refused = len(sample.reads)
    return Outcome(wrong, refused(lambda: ptrarray.verify(path)), n_refused)


NEW = np.arange(6, dtype=np.int32)


def write_and_checkpoint(path: Path) -> bool:
    """Write one more array and checkpoint; tell whether both were done."""

    def call() -> None:
        with ptrarray.append(path) as writer:
            writer.write({"new": NEW}, overwrite=True)
        ptrarray.checkpoint(path)
        with ptrarray.open(path) as store:
            assert np.ma.getdata(store["new"]).tobytes() == NEW.tobytes()

    return refused(call) is None


def check_damaged(
    path: Path, file: str | None = None, sample: Sample = PLAIN, *, then_write: bool = True
) -> bool:
    """Check that damage is found by `verify` or does no harm; tell whether it was found.

    Parameters
    ----------
    path : Path
        A store whose bytes differ from the small store's.
    file : str, optional
        The file that errors must name; any of the store by default.
    sample : Sample
        What it was.
    then_write : bool
        Whether to write to it, too.
    """
    before = read_tree(path.parent)
    with guarded():
        outcome = read_in_every_way(path, sample=sample)
        assert read_tree(path.parent) == before, "a read changed a file"
        if outcome.refusal is None:
            assert not outcome.wrong, f"wrong data that verify passed: {outcome.wrong}"
        else:
            assert outcome.refusal.path.startswith(str(path / (file or ""))), outcome.refusal
        if then_write and write_and_checkpoint(path):
            again = read_in_every_way(path, sample=sample)
            if outcome.refusal is None:
                assert again.refusal is None, again.refusal
            else:
                assert again.refusal is not None, f"verify passes what it refused: {outcome}"
    return outcome.refusal is not None


def check_forged(path: Path, sample: Sample = PLAIN) -> bool:
    """Check that a store with forged fields is refused or read, and does no other harm."""
    # A forged dtype or row shape may be one that cannot be summed.
    errors = (TypeError, ptrarray.BadInputError)
    with guarded():
        outcome = read_in_every_way(path, errors, sample)
        if sample is not PLAIN:
            check_repaired(path)
        write_and_checkpoint_forged(path)
        read_in_every_way(path, errors, sample)
    return outcome.refusal is not None or outcome.n_refused > 0


def check_repaired(path: Path) -> None:
    """Check that what `repair` makes of a store is sound."""
    repaired = path.with_name("repaired.ptr")
    if refused(lambda: ptrarray.repair(path, repaired)) is None:
        ptrarray.verify(repaired)
    shutil.rmtree(repaired, ignore_errors=True)


def write_and_checkpoint_forged(path: Path) -> None:
    """Try to change a forged store, whose dtype, shape and free rows may be any."""

    def call() -> None:
        writer = ptrarray.append(path)
        try:
            rows = np.zeros((2, *(writer.row_shape or ())), writer.dtype)
            writer.write({"new": rows}, overwrite=True)
            ptrarray.checkpoint(path)
            ptrarray.compact(path)
        except (ptrarray.BadInputError, ptrarray.OverlapError, MemoryError):
            pass
        except OSError as error:
            # Rows may be free only where no file of this file system reaches.
            if error.errno != errno.EFBIG or not str(error.filename).startswith(str(path)):
                raise
        finally:
            writer.close()

    refused(call)


# other kinds of damage ---------------------------------------------------------------------


def other_store(root: Path) -> Path:
    """Make a store like the small one that is another."""
    path = root / "other.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({name: array + 1 for name, array in ARRAYS.items()})
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        writer["j1"] = np.arange(5)
    return path


def truncate_to(share: float) -> Callable[[Path], None]:
    return lambda file: os.truncate(file, int(file.stat().st_size * share))


def truncate_one(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def append_bytes(raw: bytes) -> Callable[[Path], None]:
    def action(file: Path) -> None:
        with file.open("ab") as opened:
            opened.write(raw)

    return action


def delete(file: Path) -> None:
    file.unlink()


def swap_store(file: Path) -> None:
    shutil.copyfile(other_store(file.parent.parent) / file.name, file)


def swap_name(file: Path) -> None:
    """Put another file of the same store there."""
    names = sorted(other.name for other in file.parent.iterdir())
    shutil.copyfile(file.parent / names[names.index(file.name) - 1], file)


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


ACTIONS: dict[str, Callable[[Path], None]] = {
    "empty": truncate_to(0),
    "half": truncate_to(0.5),
    "less by one byte": truncate_one,
    "deleted": delete,
    "a zero more": append_bytes(b"\0"),
    "zeros": append_bytes(bytes(5000)),
    "junk": append_bytes(bytes(range(1, 256)) * 20),
    "another store's": swap_store,
    "another file": swap_name,
    "directory": directory,
    "link to itself": link_to_itself,
    "pipe": pipe,
}
