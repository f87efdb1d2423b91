"""What is done to a store while the power is cut or processes are killed, each a `Story`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.format import journal as journal_format
from ptrarray.writer import store_of
from tests.support.folding import tiny
from tests.support.story import ATTRS, Content, Story, Workload, booted, essence, hidden, with_attrs

LARGE = 20_000  # rows of 4 bytes: written outside the lock


def ints(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return `n` numbers that no other call gives."""
    return np.random.default_rng([n, seed]).integers(1, 2**30, n, np.int32)


def make(story: Story) -> None:
    story.create(rows=100, attrs={"rate": 16000}).close()


def write_small(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(0), c=ints(200))
    story.flush(writer)
    story.write(writer, d=ints(4))
    story.write(writer, a=ints(5))
    story.flush(writer)
    story.write(writer, e=ints(6))


def write_large(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(LARGE))
    story.flush(writer)
    story.write(writer, b=ints(LARGE, 1), c=ints(7))
    story.write(writer, a=ints(8))


def delete(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(4), c=ints(5))
    story.delete(writer, "a")
    story.flush(writer)
    story.delete(writer, "b")
    story.write(writer, b=ints(6))
    story.delete(writer, "c")


def rename(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(4), c=ints(5))
    story.rename(writer, "a", "d")
    story.flush(writer)
    story.rename(writer, "b", "c")
    story.write(writer, b=ints(6))
    ptrarray.checkpoint(story.path)
    story.promise()
    story.rename(writer, "d", "a")
    story.rename(writer, "a", "b")


def point_and_attrs(story: Story) -> None:
    writer = story.create()
    rows = ints(10)
    story.write(writer, a=rows)
    story.commit(lambda: writer.point("p", 2, 5), story.now | {"p": rows[2:5].tobytes()})
    after = with_attrs(story.now, {"k": [1, 2]})
    story.commit(lambda: writer.attrs.update(k=[1, 2]), after)
    story.flush(writer)
    story.delete(writer, "a")
    story.commit(lambda: writer.point("q", 0, 10), story.now | {"q": rows.tobytes()})


def checkpoint(story: Story) -> None:
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(4))
    ptrarray.checkpoint(story.path)
    story.promise()
    story.write(writer, c=ints(5))
    story.delete(writer, "a")
    story.flush(writer)
    story.write(writer, d=ints(6))
    ptrarray.checkpoint(story.path)
    story.promise()
    story.write(writer, e=ints(7))


def close_and_reopen(story: Story) -> None:
    writer = story.create()
    many: Any = {f"n{i}": ints(2, i) for i in range(40)}
    story.write(writer, None, **many)
    story.close(writer)
    for name in ("x", "y"):
        writer = ptrarray.append(story.path)
        one: Any = {name: ints(3)}
        story.write(writer, None, **one)
        story.close(writer)


def replace(story: Story) -> None:
    writer = story.create(rows=10)
    story.write(writer, a=ints(3))
    story.flush(writer)
    story.write(writer, b=ints(3))
    writer.close()
    writer = story.create(mode="w", rows=20)
    story.write(writer, c=ints(4))
    story.flush(writer)
    story.write(writer, d=ints(5))


def planned(story: Story) -> None:
    writer = story.create(rows=50)
    story.write(writer, start=10, a=ints(3))
    start = writer.reserve(20)
    story.write(writer, b=ints(4))
    story.flush(writer)
    story.write(writer, start=start, c=ints(5))


def reuse_rows(story: Story) -> None:
    """Write where an array was that has been deleted, or replaced."""
    writer = story.create()
    start, _ = story.write(writer, a=ints(6))
    story.write(writer, b=ints(3))
    story.flush(writer)
    story.delete(writer, "a")
    story.write(writer, start=start, c=ints(6, 1))
    story.write(writer, b=ints(2))
    story.write(writer, start=start + 6, d=ints(3, 1))


def allocate(story: Story) -> None:
    writer = story.create()
    rows = ints(3000)

    def fill() -> None:
        with writer.allocate("a", len(rows)) as mapped:
            mapped[...] = rows

    story.commit(fill, story.now | {"a": rows.tobytes()})
    story.write(writer, b=ints(3))
    story.flush(writer)


def two_writers(story: Story) -> None:
    one = story.create()
    two = ptrarray.append(story.path)
    story.write(one, a=ints(3))
    story.write(two, b=ints(4))
    story.flush(one)
    story.write(two, c=ints(5))
    story.write(one, d=ints(6))
    story.flush(two)
    story.write(one, b=ints(7))


def durable(story: Story) -> None:
    """Commits that wait for the disk wait for those of a writer that does not, too."""
    writer = story.create(durable=True)
    careless = ptrarray.append(story.path)
    story.write(writer, a=ints(3))
    story.promise()
    story.write(careless, b=ints(4))
    story.write(writer, a=ints(5))
    story.promise()
    story.write(careless, c=ints(4))
    story.delete(writer, "a")
    story.promise()
    story.write(careless, d=ints(2))


def compact(story: Story) -> None:
    writer = story.create(rows=30)
    story.write(writer, a=ints(30), b=ints(40), c=ints(50))
    rows = ints(40)[5:9].tobytes()
    story.commit(lambda: writer.point("p", 35, 39), story.now | {"p": rows})
    story.flush(writer)
    story.delete(writer, "a")
    ptrarray.compact(story.path)
    story.promise()
    story.write(writer, d=ints(6))
    story.flush(writer)
    story.write(writer, b=ints(7))


# arrays of any dtype and shape, their masks and metadata ------------------------------------------


def masked(story: Story) -> None:
    """Let rows, masks and metadata each be what a power cut takes, with commits flushed and not."""
    writer = story.create(dtype=None, masked=True, rows=640)
    whole = hidden((3, 5))
    story.write(writer, a=whole, b=np.asfortranarray(whole), meta={"a": {"k": 1}})
    story.flush(writer)
    story.write(writer, c=hidden((9,), 1), d=ints(3), meta={"d": {"k": 2}})
    story.set_meta(writer, "a", {"k": [3]})
    story.write(writer, b=hidden((70,), 1), meta={"b": {"k": 4}})


def masked_reuse(story: Story) -> None:
    """Write where another mask was."""
    writer = story.create(dtype=None, masked=True)
    start, _ = story.write(writer, a=hidden((40,)))
    story.flush(writer)
    story.write(writer, b=hidden((3,)), meta={"b": {"k": 1}})
    story.delete(writer, "a")
    story.write(writer, start=start, c=np.zeros(20), meta={"c": {"k": 2}})
    ptrarray.checkpoint(story.path)
    story.promise()


def masked_large(story: Story) -> None:
    """Write rows and masks outside the lock, and through a mapping."""
    writer = story.create(dtype="f8", row_shape=None, masked=True)
    story.write(writer, a=hidden((100, 90)))
    story.flush(writer)
    story.write(writer, b=np.zeros((100, 90)), c=hidden((2, 2), 1), meta={"c": {"k": 1}})
    rows = hidden((20, 40), 1)

    def fill() -> None:
        with writer.allocate("d", rows.shape) as mapped:
            mapped[...] = rows.data
            mapped[rows.mask] = np.ma.masked

    story.commit(fill, story.now | {"d": essence(np.ma.MaskedArray(rows.data, rows.mask), {})})


def in_rounds(story: Story) -> None:
    """Checkpoint and compact with so little memory that all is gone through in several rounds."""
    writer = story.create(dtype=None, masked=True)
    with tiny():
        story.write(writer, a=ints(3), b=hidden((4, 3)), c=ints(5), meta={"a": {"k": 1}})
        story.write(writer, b=ints(7), d=hidden((9,)))
        story.delete(writer, "a")
        ptrarray.checkpoint(story.path, memory=1)
        story.promise()
        story.write(writer, e=ints(2), c=hidden((2,), 1))
        story.write(writer, f=ints(1))
        ptrarray.compact(story.path, memory=1)
        story.promise()
        story.write(writer, c=ints(6))


def masked_compact(story: Story) -> None:
    """Two writers, one of which waits for the disk at each commit; then all is moved."""
    writer = story.create(durable=True, dtype=None, masked=True)
    careless = ptrarray.append(story.path)
    long = np.arange(600.0)  # its rows, of a byte each in the mask file, are more than a block
    story.write(careless, a=hidden((30,)), b=hidden((4, 3)), c=long, meta={"b": {"k": 1}})
    story.delete(writer, "a")
    story.promise()
    ptrarray.compact(story.path)
    story.promise()
    story.write(careless, b=np.zeros(3), d=hidden((6,)), meta={"d": {"k": 2}})


def publish(story: Story) -> None:
    """Publish with nothing to move, then with a hole; write since."""
    writer = story.create()
    story.write(writer, a=ints(30), b=ints(40))
    ptrarray.publish(story.path)
    story.promise()
    story.write(writer, c=ints(50))
    story.delete(writer, "a")
    ptrarray.publish(story.path)
    story.promise()
    story.write(writer, b=ints(7))


def another_boot_id(story: Story) -> None:
    """Go on under another boot id, as another container has it, with no restart between."""
    writer = story.create(dtype="f8", masked=True)
    story.write(writer, a=hidden((3,)))
    writer._opened.release()  # type: ignore[union-attr]  # as if its process had ended
    with booted(7):
        writer = ptrarray.append(story.path)
        story.write(writer, b=hidden((4,), 1))
    story.write(writer, c=hidden((2,)))
    with booted(8):
        story.write(ptrarray.append(story.path), d=hidden((5,)))


def several_records(story: Story) -> None:
    """Commit more names at once than a record takes."""
    writer = story.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_format, "RECORD_LIMIT_NAMES", 2)
        story.write(writer, a=ints(3), b=ints(4), c=ints(5))
        story.write(writer, d=ints(2), e=ints(0), f=ints(7), g=ints(1), h=ints(6))
        story.flush(writer)
        story.write(writer, a=ints(4), h=ints(5), i=ints(6))


def flush_beside_another(story: Story) -> None:
    """One process commits while another waits for the disk, which vouches for nothing later."""
    writer, other = story.create(), ptrarray.append(story.path)
    story.write(writer, a=ints(3))
    content = store_of(writer).content  # type: ignore[attr-defined]
    sync = content.sync

    def sync_and_others() -> None:
        sync()
        content.sync = sync
        story.write(other, b=ints(4, 1))

    content.sync = sync_and_others
    writer.flush()
    assert list(ptrarray.open(story.path)) == ["a", "b"]
    story.write(writer, c=ints(2))
    story.flush(writer)


CHANGED = {"a", "p"}
ANYTHING = b"changed through a mapping"


def look_past_changes(path: Path) -> Content:
    """Look at a store as `story.look`; what was changed has no right checksum before a flush."""
    try:
        store = ptrarray.open(path)
    except ptrarray.StoreNotFoundError:
        return None
    found = {name: essence(store[name], store.meta[name]) for name in store}
    return with_attrs(found | dict.fromkeys(found.keys() & CHANGED, ANYTHING), store.attrs)


def change_in_place(story: Story) -> None:
    """Change what others commit about, in rows that others write to; `CHANGED` may be anything."""
    writer = story.create(rows=40)
    story.commit(lambda: writer.write({"a": ints(3)}), story.now | {"a": ANYTHING})
    story.write(writer, b=ints(4))
    store = ptrarray.open(story.path, "r+")
    story.promise()
    view, rows = store["a"], store.rows
    view[...] = 1
    story.write(writer, c=ints(5))
    rows[:3] = 2
    story.commit(lambda: writer.point("p", 1, 3), story.now | {"p": ANYTHING})
    view[...] = 3
    story.commit(lambda: writer.meta.__setitem__("a", {"k": 1}), story.now)
    story.write(writer, start=30, d=ints(2), e=ints(1))
    store.flush()
    story.promise()
    rows[30:33] += 0
    view[...] = 4
    story.write(writer, start=20, f=ints(6))
    story.write(writer, b=ints(7))
    store.close()
    story.promise()
    view[...] = 5  # a view outlives its reader
    story.write(writer, g=ints(6))
    story.commit(lambda: writer.meta.__setitem__("p", {"k": 1}), story.now)
    story.write(writer, h=ints(60))


WORKLOADS: list[Workload] = [
    make,
    write_small,
    write_large,
    delete,
    rename,
    point_and_attrs,
    checkpoint,
    close_and_reopen,
    replace,
    planned,
    reuse_rows,
    allocate,
    two_writers,
    durable,
    compact,
    publish,
    masked,
    masked_reuse,
    masked_large,
    masked_compact,
    in_rounds,
    several_records,
]

# after others -------------------------------------------------------------------------------------


def go_on(story: Story) -> None:
    """Do what an earlier boot did, in records of the same length."""
    writer = ptrarray.append(story.path)
    for name in sorted(story.now.keys() - {ATTRS})[:1]:
        story.delete(writer, name)
    story.write(writer, x=ints(4, 1))
    story.write(writer, y=ints(3, 1))
    story.flush(writer)
    story.write(writer, z=ints(5, 1))


def refused(story: Story) -> None:
    """Write to rows that another name has, which is refused, with a writer that is durable."""
    story.create().close()
    with ptrarray.append(story.path, durable=True) as writer:
        story.write(writer, a=ints(3), b=ints(3, 1))
        story.commit(lambda: writer.point("c", 0, 2), story.now | {"c": essence(ints(3)[:2], {})})
        story.delete(writer, "a")
        story.promise()
        with pytest.raises(ptrarray.OverlapError):
            story.write(writer, 0, d=ints(3, 2))
        story.note_failure()
        story.promise()
        story.write(writer, e=ints(3, 3))
        story.promise()


def killed_in_delete(story: Story) -> None:
    """Leave a record that was never committed where others of the same length will lie."""
    writer = story.create()
    story.write(writer, a=ints(3), b=ints(3, 1))
    story.flush(writer)
    doomed = ptrarray.append(story.path)
    story.killed(lambda: doomed.__delitem__("a"), 1)
    story.delete(writer, "b")
