"""A store that other processes damage while a reader has it open, and what the reader gets, killed or not."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import ptrarray
from ptrarray import convert
from ptrarray.cli import main
from tests.support.processes import FORK, TIMEOUT_SECONDS

N_ARRAYS, LENGTH = 400, 100
KEPT_NBYTES = 2 * os.sysconf("SC_PAGESIZE") + 100  # of what is cut short

RIGHT, ERROR, KILLED, ZEROS, OTHER = "right", "error", "killed", "zeros", "other"


def name_of(number: int) -> str:
    return f"array number {number:04}"


FIRST, LAST = name_of(0), name_of(N_ARRAYS - 1)
# What comes right behind the end of a data file and of a mask file that are cut short, in the same page.
BEHIND = {"data.bin": name_of(KEPT_NBYTES // (4 * LENGTH) + 1)}
BEHIND["mask.bin"] = name_of(KEPT_NBYTES // LENGTH + 1)
Store = ptrarray.PointerArray


def make(path: Path, *, masked: bool) -> None:
    """Make a store whose files have many pages, of arrays that all differ, one of them in the journal."""
    mask = np.arange(LENGTH) % 3 == 0
    with ptrarray.create(path, dtype="i4", masked=masked) as writer:
        rows = [np.full(LENGTH, number + 1, "i4") for number in range(N_ARRAYS)]
        values: list[Any] = [np.ma.masked_array(row, mask) for row in rows] if masked else rows
        writer.write({name_of(number): value for number, value in enumerate(values)})
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        writer.write({f"late {number}": values[number] for number in range(50)})


def make_other(path: Path) -> None:
    """Make a store with one of the names."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer[LAST] = np.full(LENGTH, -1)


# what others do -----------------------------------------------------------------------------------


def cut(file: Path) -> None:
    os.truncate(file, min(KEPT_NBYTES, file.stat().st_size - 100))


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"\xa7" * file.stat().st_size)


def replace(file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(b"\xa7" * file.stat().st_size)
    new.replace(file)


def remove(path: Path) -> None:
    shutil.rmtree(path)


def put_another(path: Path) -> None:
    path.rename(path.with_name("old.ptr"))
    path.with_name("other.ptr").rename(path)


# what a reader does -------------------------------------------------------------------------------

Use = Callable[[Store, Any], object]


def of_name(name: str) -> Use:
    return lambda store, held: outcome(store[name], store)


def outcome(array: Any, store: Store) -> str:
    """Tell whether an array is one of those that were written."""
    data, mask = np.ma.getdata(array), np.ma.getmaskarray(array)
    is_masked_right = not store.masked or (mask == (np.arange(LENGTH) % 3 == 0)).all()
    if (data == data[0]).all() and data[0] > 0 and is_masked_right:
        return RIGHT
    is_zero = not data.any() or (store.masked and not mask.any())
    return ZEROS if is_zero else OTHER


def all_right(arrays: Any, store: Store) -> str:
    found = {outcome(array, store) for array in arrays}
    return found.pop() if len(found) == 1 else str(sorted(found))


def summed(store: Store, held: Any) -> str:
    each = store.reduce_each(np.add, axis=0)
    return RIGHT if store.reduce(np.add) == each.sum() == right_sum(store) else OTHER


def right_sum(store: Store) -> int:
    n_used = LENGTH - len(range(0, LENGTH, 3)) if store.masked else LENGTH
    return n_used * (N_ARRAYS * (N_ARRAYS + 1) // 2 + 50 * 51 // 2)


def found(store: Store, held: Any) -> str:
    return RIGHT if "not there" not in store and list(store)[-1] == "late 49" else OTHER


def refreshed(store: Store, held: Any) -> str:
    store.refresh()
    return RIGHT if "late 7" in store else OTHER


def verified(store: Store, held: Any) -> str:
    store.verify()
    return RIGHT


def shown(store: Store, held: Any) -> str:
    text = store._repr_html_()
    return ERROR if "cut short" in text else RIGHT


def exported(store: Store, held: Any) -> str:
    report = convert.to_npz(store, Path(store.path).with_suffix(".npz"), progress=False)
    return RIGHT if report.ok else str(report.failures)


def opened(store: Store, held: Any) -> str:
    with ptrarray.open(store.path) as other:
        return outcome(other[LAST], other)


USES: dict[str, Use] = {
    "view": lambda store, held: outcome(held, store),
    "first": of_name(FIRST),
    "behind": of_name(BEHIND["data.bin"]),
    "masks behind": of_name(BEHIND["mask.bin"]),
    "last": of_name(LAST),
    "late": of_name("late 7"),
    "take": lambda store, held: all_right(store.take([LAST, FIRST]), store),
    "values": lambda store, held: all_right(store.values(), store),
    "sums": summed,
    "names": found,
    "verify": verified,
    "shown": shown,
    "export": exported,
    "refresh": refreshed,
    "open": opened,
}


def began(path: Path) -> dict[str, str]:
    """Return what becomes of all that opens a store by its path, where files were cut short before."""
    copy, command = path.with_name("copy"), ["get", str(path), LAST, "--out", str(path) + ".npy"]
    calls: dict[str, Callable[[], object]] = {
        "verify": lambda: ptrarray.verify(path),
        "append": lambda: ptrarray.append(path).close(),
        "checkpoint": lambda: ptrarray.checkpoint(path),
        "compact": lambda: ptrarray.compact(path),
        "pack": lambda: ptrarray.pack(path, copy),
        "join": lambda: ptrarray.join(copy, [path], how="copy"),
        "export": lambda: convert.to_npz(path, copy, progress=False),
        "ptrarray get": lambda: main(command),
        "ptrarray verify": lambda: main(["verify", str(path)]),
    }
    found = {}
    for name, call in calls.items():
        try:
            found[name] = ERROR if call() == 1 else RIGHT
        except ptrarray.CorruptStoreError:
            found[name] = ERROR
    return found


# children -----------------------------------------------------------------------------------------


def used(
    path: Path, backend: Any, damage: Callable[[], object], names: Sequence[str]
) -> dict[str, str]:
    """Return what a process gets of a store that it has open, and that is damaged by this one.

    If the system ends it, nobody knows what else it got: then all is `KILLED`.
    """
    return in_child(damage, _use, path, backend, names) or dict.fromkeys(names, KILLED)


def in_child(
    damage: Callable[[], object], target: Callable[..., object], *args: Any
) -> dict[str, str] | None:
    """Return what a child says that is told when the damage is done; None if SIGBUS has ended it."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=target, args=(*args, theirs))
    process.start()
    theirs.close()
    said: dict[str, str] | None = None
    with suppress(EOFError):
        assert ours.poll(TIMEOUT_SECONDS), "it hangs"
        ours.recv()
        damage()
        ours.send("damaged")
        assert ours.poll(TIMEOUT_SECONDS), "it hangs"
        said = ours.recv()
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode in (0, -signal.SIGBUS), (process.exitcode, said)
    return said


def _use(path: Path, backend: Any, names: Sequence[str], theirs: Connection) -> None:
    faulthandler.disable()  # which would tell of a signal that is expected
    said: dict[str, str] = {}
    with ptrarray.open(path, backend=backend) as store:
        held = store[LAST]
        theirs.send("open")
        theirs.recv()
        for name in names:
            try:
                said[name] = str(USES[name](store, held))
            except (ptrarray.CorruptStoreError, ptrarray.StoreNotFoundError):
                said[name] = ERROR
    theirs.send(said)


def begin(path: Path, theirs: Connection) -> None:
    """Open a store again and again that was damaged before."""
    faulthandler.disable()
    theirs.send("ready")
    theirs.recv()
    theirs.send(began(path))


def look_up(path: Path, theirs: Connection) -> None:
    """Ask a writer for a name that is not there."""
    faulthandler.disable()
    with ptrarray.append(path) as writer:
        theirs.send("ready")
        theirs.recv()
        theirs.send({"look up": OTHER if "not there" in writer else RIGHT})
