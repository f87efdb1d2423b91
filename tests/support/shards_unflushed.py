"""What is done to several shards with commits in both directions, none of them flushed."""

from __future__ import annotations

from functools import partial
from typing import Any

import ptrarray
from ptrarray.writer import store_of
from tests.support.crash_workloads import ints
from tests.support.story import Story, Workload, with_attrs

SHARD_NBYTES = 500

Writer = ptrarray.PointerArrayWriter


def begun(story: Story, *, durable: bool = False) -> Writer:
    """Make three shards, all flushed."""
    writer = story.create(shard_size=SHARD_NBYTES, durable=durable, attrs={"rate": 1})
    story.write(writer, a=ints(60), b=ints(5))
    story.write(writer, c=ints(90), d=ints(4))
    story.write(writer, e=ints(3))
    story.flush(writer)
    assert len(ptrarray.open(story.path).shards) == 3
    return writer


def point(story: Story, writer: Writer, name: str, start: int) -> None:
    """Give rows of the first shard one more name."""
    rows = ints(60)[start : start + 3].tobytes()
    story.commit(lambda: writer.point(name, start, start + 3), story.now | {name: rows})


def set_attrs(story: Story, writer: Writer, value: int) -> None:
    after = with_attrs(story.now, {"rate": 1, "k": value})
    story.commit(lambda: writer.attrs.update(k=value), after)


def rename(story: Story) -> None:
    writer = begun(story)
    story.write(writer, moved=ints(60))
    story.delete(writer, "a")
    story.delete(writer, "b")
    story.write(writer, moved_again=ints(4))
    story.delete(writer, "d")
    story.delete(writer, "c")


def durable_and_careless(story: Story) -> None:
    """What one writer has on the disk when a call returns implies all before, whoever did it."""
    writer = begun(story, durable=True)
    careless = ptrarray.append(story.path)
    story.write(careless, f=ints(3, 1))
    story.delete(writer, "a")
    story.promise()
    story.delete(careless, "b")
    story.write(writer, g=ints(3, 2))
    story.promise()
    story.delete(careless, "c")
    point(story, writer, "p", 7)
    story.promise()


def filled_late(story: Story) -> None:
    """What is filled in place comes to a shard that is not the last any more."""
    writer = story.create(shard_size=SHARD_NBYTES)
    other = ptrarray.append(story.path)
    story.write(writer, a=ints(3))
    blocks = [writer.allocate(name, 20) for name in "xy"]
    rows = [ints(20, seed) for seed in range(2)]
    for block, some in zip(blocks, rows, strict=True):
        block.__enter__()[...] = some
    story.write(other, b=ints(90))
    story.write(other, c=ints(90))
    story.flush(other)
    story.write(other, d=ints(2))
    for name, block, some in zip("xy", blocks, rows, strict=True):
        after = story.now | {name: some.tobytes()}
        story.commit(partial(block.__exit__, None, None, None), after)
        one: Any = {f"after_{name}": ints(2, ord(name))}
        story.write(other, None, **one)


def points(story: Story) -> None:
    writer = begun(story)
    story.write(writer, f=ints(2))
    point(story, writer, "p", 2)
    point(story, writer, "q", 3)
    story.write(writer, g=ints(3, 1))
    point(story, writer, "r", 4)


def attrs(story: Story) -> None:
    writer = begun(story)
    story.write(writer, f=ints(2))
    set_attrs(story, writer, 1)
    story.write(writer, g=ints(3, 1))
    story.delete(writer, "c")
    set_attrs(story, writer, 2)


def metas(story: Story) -> None:
    writer = begun(story)
    story.set_meta(writer, "a", {"k": 1})
    story.write(writer, f=ints(2))
    story.set_meta(writer, "c", {"k": 2})
    story.set_meta(writer, "f", {"k": 3})
    story.set_meta(writer, "b", {"k": 4})


def replaced_and_deleted(story: Story) -> None:
    writer = begun(story)
    story.write(writer, a=ints(2, 1))
    story.delete(writer, "b")
    story.delete(writer, "d")
    story.write(writer, c=ints(2, 2))
    story.delete(writer, "a")


def rolled_over(story: Story) -> None:
    """The next shard is made while an older one is not flushed."""
    writer = begun(story)
    story.delete(writer, "a")
    story.write(writer, f=ints(110))
    story.write(writer, g=ints(110))
    story.delete(writer, "c")
    story.write(writer, h=ints(110))


def killed(story: Story, n_more: int, *, adds: bool) -> None:
    """A process is killed while it commits in the other direction; others go on."""
    writer = begun(story)
    story.write(writer, f=ints(2))
    if adds:
        story.delete(writer, "a")
    doomed = ptrarray.append(story.path)
    add, delete = lambda: doomed.write({"x": ints(2, 1)}), lambda: doomed.__delitem__("a")
    story.killed(add if adds else delete, n_more)
    story.delete(writer, "b")
    story.write(writer, g=ints(3, 1))
    story.delete(writer, "c")


def full_meanwhile(story: Story) -> None:
    """Another process commits to a shard after it was found full, and before the next is made."""
    writer = story.create(shard_size=4 * SHARD_NBYTES)
    story.write(writer, a=ints(400))
    story.write(writer, b=ints(250))
    story.flush(writer)
    other = ptrarray.append(story.path)
    session = store_of(writer).last.session  # type: ignore[attr-defined]
    flush, rows = session.flush, ints(300)

    def flush_then_others() -> None:
        flush()
        session.flush = flush
        story.write(other, late=ints(2))
        # What made the shard full commits after that.
        story.commit(lambda: None, story.now | {"large": rows.tobytes()})

    session.flush = flush_then_others
    writer.write({"large": rows})
    assert len(ptrarray.open(story.path).shards) == 3


UNFLUSHED: list[Workload] = [
    rename,
    durable_and_careless,
    filled_late,
    points,
    attrs,
    metas,
    replaced_and_deleted,
    rolled_over,
]
