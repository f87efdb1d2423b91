"""What is done to stores of shards while the power is cut or processes are killed, each a `Story`."""

from __future__ import annotations

from typing import Any

import ptrarray
from tests.support.crash_workloads import ints
from tests.support.shards_unflushed import UNFLUSHED
from tests.support.story import Story, Workload, with_attrs

LARGE = 20_000  # rows of 4 bytes: written outside the lock
SHARD_NBYTES = 500


def roll_over(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES, attrs={"rate": 1})
    story.write(writer, a=ints(60))
    story.write(writer, b=ints(3), c=ints(0))
    story.write(writer, d=ints(90))
    story.write(writer, e=ints(2))
    story.flush(writer)
    story.write(writer, f=ints(100))
    story.write(writer, g=ints(1))


def roll_over_large(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(LARGE))
    story.write(writer, b=ints(LARGE, 1))
    story.write(writer, c=ints(2))


def replace_in_older(story: Story) -> None:
    """What is replaced is there once, whatever is lost: the new array, or the one that was flushed."""
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(60), b=ints(5))
    story.write(writer, c=ints(90))
    story.flush(writer)
    story.write(writer, a=ints(3, 1))
    story.write(writer, d=ints(2))
    story.write(writer, b=ints(4, 1))
    story.write(writer, a=ints(5, 2))
    story.flush(writer)
    story.write(writer, b=ints(1, 2))


def replace_and_roll_over(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(80))
    story.write(writer, b=ints(80))
    story.write(writer, a=ints(4, 1))
    story.write(writer, c=ints(80))
    story.write(writer, b=ints(4, 1))
    writer.close()
    story.promise()


def delete_in_older(story: Story) -> None:
    """Flushed one by one, since shards are only flushed together."""
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(60), b=ints(5))
    story.write(writer, c=ints(90))
    story.flush(writer)
    story.delete(writer, "a")
    story.flush(writer)
    story.write(writer, b=ints(4, 1))
    story.flush(writer)
    story.delete(writer, "b")
    story.flush(writer)
    story.write(writer, a=ints(1, 1))


def fill_while_others_roll_over(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    other = ptrarray.append(story.path)
    story.write(writer, a=ints(3))
    block = writer.allocate("b", 40, overwrite=True)
    block.__enter__()[...] = rows = ints(40)
    story.write(other, c=ints(90))
    story.write(other, d=ints(90))
    story.flush(other)
    story.commit(lambda: block.__exit__(None, None, None), story.now | {"b": rows.tobytes()})
    story.flush(writer)


def fill_what_others_replace(story: Story) -> None:
    """An array that comes to an older shard replaces one that came to a newer one meanwhile."""
    writer = story.create(shard_size=SHARD_NBYTES)
    other = ptrarray.append(story.path)
    story.write(writer, a=ints(3))
    block = writer.allocate("a", 10, overwrite=True)
    block.__enter__()[...] = rows = ints(10, 1)
    story.write(other, c=ints(90))
    story.write(other, a=ints(2, 2))
    story.flush(other)
    story.commit(lambda: block.__exit__(None, None, None), story.now | {"a": rows.tobytes()})
    story.write(other, d=ints(1))
    story.flush(writer)
    story.write(other, a=ints(2, 3))
    story.delete(writer, "a")


def points_and_attrs(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    rows = ints(60)
    story.write(writer, a=rows)
    story.write(writer, b=ints(90))
    story.flush(writer)
    story.commit(lambda: writer.point("p", 2, 5), story.now | {"p": rows[2:5].tobytes()})
    story.flush(writer)
    after = with_attrs(story.now, {"k": [1, 2]})
    story.commit(lambda: writer.attrs.update(k=[1, 2]), after)
    story.flush(writer)
    story.write(writer, c=ints(90))


def checkpoint_and_compact(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(60))
    story.write(writer, b=ints(90))
    story.write(writer, a=ints(3, 1))
    ptrarray.checkpoint(story.path)
    story.promise()
    story.delete(writer, "b")
    ptrarray.compact(story.path)
    story.promise()
    story.write(writer, c=ints(3))


def publish(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(60))
    story.write(writer, b=ints(90))
    story.delete(writer, "a")
    ptrarray.publish(story.path)
    story.promise()
    story.write(writer, c=ints(3))


def replace_the_store(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES)
    story.write(writer, a=ints(60))
    story.write(writer, b=ints(90))
    story.flush(writer)
    writer.close()
    writer = story.create(shard_size=SHARD_NBYTES, mode="w")
    story.write(writer, c=ints(90))
    story.write(writer, d=ints(90))


def durable(story: Story) -> None:
    writer = story.create(shard_size=SHARD_NBYTES, durable=True)
    for n, name in enumerate("abcab"):
        one: Any = {name: ints(70, n)}
        story.write(writer, None, **one)
        story.promise()
    story.delete(writer, "c")
    story.promise()


WORKLOADS: list[Workload] = [
    roll_over,
    roll_over_large,
    replace_in_older,
    replace_and_roll_over,
    delete_in_older,
    fill_while_others_roll_over,
    fill_what_others_replace,
    points_and_attrs,
    checkpoint_and_compact,
    publish,
    replace_the_store,
    durable,
    *UNFLUSHED,
]
