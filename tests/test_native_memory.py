"""The native core gives back all memory that it takes, also where there is none left."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from ptrarray import native
from tests.support.columns import Columns

pytestmark = pytest.mark.skipif(not native.core, reason=native.variant())
core: Any = native.core

ROWS = np.arange(24, dtype="<i4").reshape(12, 2)
BATCH = {f"größe{i}": ROWS[i : 2 * i] for i in range(300)}
LISTED = list(BATCH.values())
NAMES = ["a", "größe", "c" * 40]
COLUMNS = Columns.of([name.encode() for name in NAMES] + [b"\xff"], [3, 0, 4, 5])
BROKEN = Columns.of([b"a", b"b"], [3, 99]).changed("name_ends", 0, 9)
FINDER: Any = native.core and COLUMNS.finder(ROWS)
ASTRAY: Any = native.core and BROKEN.finder(ROWS)
CATALOG = (COLUMNS.slots, COLUMNS.n_homes, np.array([4], np.uint64))
EACH = np.array([0, 3]), np.array([2, 9])


TIMES = 100  # more often than anything else changes meanwhile
ENOUGH = 40  # calls without a failure, as what is last allocated may be missed


CALLS: dict[str, Callable[[], Any]] = {
    "crc32": lambda: core.crc32(ROWS, 7),
    "crc32 of text": lambda: core.crc32("text"),
    "crc32 of gaps": lambda: core.crc32(ROWS[:, 0]),
    "prepare": lambda: core.prepare(BATCH, ROWS, 10**9),
    "prepare without sums": lambda: core.prepare(BATCH, ROWS, 0),
    "prepare: the last does not fit": lambda: core.prepare({**BATCH, "z": ROWS[:, 0]}, ROWS, 9),
    "prepare: no name": lambda: core.prepare({**BATCH, "\udc80": ROWS}, ROWS, 9),
    "prepare: no dict": lambda: core.prepare(None, ROWS, 9),
    "prepare: too few": lambda: core.prepare({}, ROWS),
    "stage": lambda: core.stage(LISTED, 0, bytearray(9999), np.zeros(300, np.uint32)),
    "stage without sums": lambda: core.stage(LISTED, 250, bytearray(500), None),
    "stage: no array": lambda: core.stage([ROWS, None], 0, bytearray(500), None),
    "stage: odd sums": lambda: core.stage(LISTED, 0, bytearray(9), LISTED),
    "stage: no buffer": lambda: core.stage(LISTED, 0, b"", None),
    "catalog": lambda: core.catalog(*CATALOG, [FINDER, None, ASTRAY]),
    "catalog: no list": lambda: core.catalog(*CATALOG, FINDER),
    "catalog: no column": lambda: core.catalog(ROWS, 1, ROWS, []),
    "find in a catalog": lambda: [
        [core.catalog(*CATALOG, parts).find(name) for name in (*NAMES, "absent", "\udc80")]
        for parts in ([FINDER], [ASTRAY, FINDER], [None], [], [FINDER, "no finder"])
    ],
    "get of a catalog": lambda: [core.catalog(*CATALOG, [FINDER]).get(name) for name in NAMES],
    "finder": lambda: COLUMNS.finder(ROWS),
    "finder without rows": lambda: COLUMNS.finder(),
    "finder: no rows": lambda: COLUMNS.finder("rows"),
    "finder: no column": lambda: COLUMNS.finder(names=None),
    "get": lambda: [FINDER.get(name) for name in (*NAMES, "absent", None, "\udc80")],
    "get of a broken one": lambda: [ASTRAY.get(name) for name in ("a", "b", b"a")],
    "find": lambda: [FINDER.find(name) for name in (*NAMES, "absent", None, "\udc80")],
    "find in a broken one": lambda: ASTRAY.find("a"),
    "at": lambda: [FINDER.at(at) for at in (0, 1, 2, 3, 4, -1, None, 2**70)],
    "at a broken one": lambda: [ASTRAY.at(at) for at in (0, 1)],
    "find_many": lambda: FINDER.find_many(NAMES * 200, None, None),
    "find_many in columns": lambda: FINDER.find_many(
        COLUMNS.names, COLUMNS.name_ends, np.zeros(4, np.uint32)
    ),
    "find_many: no name": lambda: FINDER.find_many([*NAMES, "\udc80"], None, None),
    "find_many in a broken one": lambda: ASTRAY.find_many(["b", "a"], None, None),
    "iterate": lambda: [list(FINDER.iterate(pairs, str)) for pairs in (0, 1)],
    "iterate in part": lambda: next(FINDER.iterate(True, str)),
    "iterate over a broken one": lambda: [list(ASTRAY.iterate(pairs, str)) for pairs in (0, 1)],
    "iterate with an error": lambda: list(ASTRAY.iterate(True, "".index)),
    "iterate without rows": lambda: COLUMNS.finder().iterate(False, str),
    "gather": lambda: core.gather(ROWS, *EACH),
    "gather: too much": lambda: core.gather(ROWS, EACH[0], EACH[1] + 9),
    "gather with sums": lambda: core.gather(ROWS, *EACH, None, np.zeros(2, np.uint32), 4),
    "gather: odd sums": lambda: core.gather(ROWS, *EACH, None, ROWS),
    "gather: no rows": lambda: core.gather(None, *EACH),
}
EXPECTED = (TypeError, BufferError, ValueError)


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except EXPECTED as error:
        return type(error)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_is_left_behind(call: Callable[[], Any]) -> None:
    """Nor given back twice: what is alive already has as many references as before."""
    alive = [
        ROWS,
        LISTED,
        LISTED[5],
        BATCH,
        NAMES,
        *CATALOG,
        *EACH,
        FINDER,
        ASTRAY,
        None,
        ROWS.dtype,
    ]
    alive += [type(FINDER), type(FINDER.iterate(False, str)), str, *vars(COLUMNS).values(), *NAMES]

    def counts() -> list[int]:
        return list(map(sys.getrefcount, alive))

    grown = []
    tracemalloc.start()
    try:
        for _ in range(4):
            before, used = counts(), tracemalloc.get_traced_memory()[0]
            for _ in range(TIMES):
                attempt(call)
            more = np.abs(np.subtract(counts(), before)).tolist()
            grown.append([tracemalloc.get_traced_memory()[0] - used, *more])
    finally:
        tracemalloc.stop()
    # In one of the rounds nothing else happened meanwhile.
    nbytes, *more = np.min(grown, axis=0).tolist()
    assert nbytes < TIMES * 16
    assert max(more) < TIMES


def without_memory() -> list[str]:
    """Have each allocation of each call fail in turn; return what comes of it that is wrong."""
    wrong = []
    testcapi: Any = import_module("_testcapi")
    set_nomemory, remove = testcapi.set_nomemory, testcapi.remove_mem_hooks
    for name, call in CALLS.items():
        expected, same = shown(attempt(call)), 0
        for nth in range(1, 3000):
            set_nomemory(nth, nth + 1)
            try:
                got = call()
            except BaseException as error:  # noqa: BLE001 no memory for a tuple of others
                got = type(error)
            finally:
                remove()
            same = same + 1 if shown(got) == expected else 0
            if not same and got is not None and "MemoryError" not in shown(got):
                wrong.append(f"{name}, {nth}: {got!r}")
            if same == ENOUGH:
                break
        else:
            wrong.append(f"{name} fails without end")
    return wrong


def shown(result: Any) -> str:
    """Return what is the same of two equal results: no addresses."""
    return re.sub(" object at 0x[0-9a-f]+", "", repr(result))


@pytest.mark.skipif(not find_spec("_testcapi"), reason="this Python has no tests of its own")
def test_memory_that_runs_out() -> None:
    code = "from tests.test_native_memory import without_memory; print(without_memory())"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[]\n"
