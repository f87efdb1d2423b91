"""What a call costs in steps: Python functions of the package, and changes of file between them.

A step is a function or comprehension whose code lies in the package, counted as Python enters it
(the event ``call`` of `sys.setprofile`; a generator counts each time it is resumed). A change of
file is a step whose code lies in another file than that of the step before. Both say how far
somebody has to jump who follows a call through the code, and unlike times they are the same on
every machine. The system calls are counted in test_syscalls.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import ptrarray
from ptrarray.format import names
from ptrarray.format.index import _DECODED
from tests.support.profiled import profiled

SMALL = np.arange(3, dtype="f4")


class Steps(NamedTuple):
    n_calls: int
    n_changes: int


def counted(call: Callable[[], object]) -> Steps:
    files: list[str] = []
    with profiled(lambda code: files.append(code.co_filename)):
        call()
    return Steps(len(files), sum(one != other for one, other in pairwise(files)))


@pytest.fixture(params=[None, "2MB"], ids=["plain", "shards"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ptrarray.PointerArrayWriter]:
    """Writer of a small store that has written and read before."""
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4", shard_size=request.param) as writer:
        for name in "abc":
            writer.write({name: SMALL})
        assert writer["a"].tolist() == SMALL.tolist()
        yield writer


def test_what_is_counted() -> None:
    assert counted(lambda: np.sort([3, 1])) == (0, 0)
    assert counted(lambda: names.hash_all([b"a", b"b"])) == (1, 0)
    assert counted(lambda: names.encode_all(["a"])) == (2, 0)


def limits(plain: tuple[int, int], shards: tuple[int, int], writer: Any) -> Steps:
    is_plain = not (Path(writer.path) / "shards.msgpack").exists()
    return Steps(*(plain if is_plain else shards))


def check(steps: Steps, limit: Steps) -> None:
    assert steps.n_calls <= limit.n_calls
    assert steps.n_changes <= limit.n_changes


def test_a_small_write(writer: ptrarray.PointerArrayWriter) -> None:
    check(counted(lambda: writer.write({"d": SMALL})), limits((38, 25), (67, 47), writer))


def test_a_write_of_many_arrays_at_once(writer: ptrarray.PointerArrayWriter) -> None:
    """However many: nothing is called for each of them."""
    batches = [{f"{n}/{k}": SMALL for k in range(n)} for n in (10, 100, 1000)]
    _, few, many = [counted(partial(writer.write, batch)) for batch in batches]
    assert few == many


def test_opening_to_write_again(tmp_path: Path) -> None:
    """The header of an index is decoded once, and told from that of any other."""
    path = tmp_path / "a.ptr"
    ptrarray.create(path, dtype="f4").close()
    _DECODED.clear()
    first, again = [counted(lambda: ptrarray.append(path).close()) for _ in range(2)]
    check(again, Steps(114, 69))
    assert first.n_calls > again.n_calls + 30
    with ptrarray.append(path) as writer:
        writer["a"] = SMALL
        writer.attrs["list"] = [1]
    ptrarray.checkpoint(path)
    for _ in range(2):
        with ptrarray.open(path) as store:
            assert dict(store.attrs) == {"list": [1]}
            assert list(store) == ["a"]
            store.attrs["list"].append(2)  # in the memory of this reader alone


def test_a_deletion(writer: ptrarray.PointerArrayWriter) -> None:
    """However many came before since the last checkpoint."""
    writer.write({f"n{n}": SMALL for n in range(100)})
    ptrarray.checkpoint(writer.path)
    costs = [counted(deleted(writer, [f"n{n}"])) for n in range(100)]
    assert len(set(costs[2:])) == 1
    check(costs[-1], limits((45, 33), (112, 74), writer))


def test_a_deletion_of_many_at_once(tmp_path: Path) -> None:
    """However many: nothing is called for each of them."""
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer.write({f"{n}": SMALL for n in range(2000)})
        ptrarray.checkpoint(writer.path)
        batches = [[f"{n}" for n in range(first, first * 2)] for first in (10, 100, 1000)]
        _, few, many = [counted(partial(writer.delete, batch)) for batch in batches]
    assert few == many


# what the disk is waited for ----------------------------------------------------------------------


A_FLUSH = 3  # of a shard: its data file, and its journal before and after what is noted there


@pytest.fixture
def many_shards(tmp_path: Path) -> ptrarray.PointerArrayWriter:
    """Writer of a store of four shards, all on the disk but for one array in the last."""
    writer = ptrarray.create(tmp_path / "many.ptr", dtype="u1", shard_size=4000)
    for number in range(4):
        writer.write({f"{number}/{n}": np.ones(200, "u1") for n in range(10)})
    writer.flush()
    assert len(ptrarray.open(writer.path).shards) == 4
    writer.write({"new": [1]})
    return writer


def n_syncs(call: Callable[[], object]) -> int:
    synced: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, synced.append, raising=False)
        call()
    return len(synced)


def deleted(writer: ptrarray.PointerArrayWriter, names: Iterable[str]) -> Callable[[], None]:
    def delete() -> None:
        for name in names:
            del writer[name]

    return delete


def test_commits_one_by_one_in_an_older_shard_wait_for_the_disk_once(
    many_shards: ptrarray.PointerArrayWriter,
) -> None:
    """So that none is lost before the last shard's; and once more before the next commit there."""
    writer = many_shards
    assert n_syncs(lambda: writer.write({"newer": [1]})) == 0
    assert n_syncs(deleted(writer, ["1/0"])) == A_FLUSH
    assert n_syncs(deleted(writer, [f"1/{n}" for n in range(1, 9)])) == 0
    assert n_syncs(lambda: writer.attrs.update(k=1)) == A_FLUSH  # of the first shard
    assert [n_syncs(partial(writer.point, f"p{n}", 0, 3)) for n in range(5)] == [0] * 5
    assert n_syncs(lambda: writer.write({"newest": [1]})) == A_FLUSH
    assert n_syncs(lambda: writer.write({"newest of all": [1]})) == 0


def test_a_bulk_deletion_waits_for_the_disk_once_a_shard(
    many_shards: ptrarray.PointerArrayWriter,
) -> None:
    assert n_syncs(many_shards.clear) == 4 * A_FLUSH


def test_a_checkpoint_waits_for_rows_that_were_not_flushed(tmp_path: Path) -> None:
    """For the rows, the new index and the directory; after a flush, the rows are on the disk."""
    for n_expected, flush in ((3, False), (2, True)):
        writer = ptrarray.create(tmp_path / f"{flush}.ptr", dtype="f4")
        writer.write({f"{n}": SMALL for n in range(20)})
        if flush:
            writer.flush()
        assert n_syncs(writer.close) == n_expected


def test_reading_by_a_writer(writer: ptrarray.PointerArrayWriter) -> None:
    check(counted(lambda: writer["a"]), limits((25, 16), (70, 40), writer))


def test_reading(writer: ptrarray.PointerArrayWriter) -> None:
    ptrarray.checkpoint(writer.path)
    with ptrarray.open(writer.path) as store:
        _ = store["a"]  # the first one finds out how the next ones are found
        check(counted(lambda: store["a"]), limits((3, 2), (10, 6), writer))
