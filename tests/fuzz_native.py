"""Coverage-guided fuzzing of the native core: columns of an index, batches and ranges.

Run ``python -m tests.fuzz_native SECONDS`` with atheris installed. To see every stray read, and to be
led by what the C code does, build the core beforehand with clang, in a copy of the sources: ``-O1 -g
-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined -fPIC -shared``; then
run with ``LD_PRELOAD`` set to the ``asan_with_fuzzer.so`` of atheris, ``PYTHONMALLOC=malloc`` and
``ASAN_OPTIONS=detect_leaks=0``. Each column is a block of its own, so that its end is watched.
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import atheris
import numpy as np

with atheris.instrument_imports(include=["ptrarray"]):
    from ptrarray import native
    from tests.support.columns import Columns
    from tests.support.sanitized import in_a_block

NUMBERS = [0, 1, 2, 7, 8, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
COLUMNS = ["slots", "name_ends", "names", "starts", "ends", "n_homes"]
DTYPES = ["u1", "<i2", "<f8", "S3", ">u4"]
KINDS: list[Any] = [np.uint8, np.uint32, np.int64, np.uint64]
core: Any = native.core
Data = Any  # atheris.FuzzedDataProvider


def number(data: Data) -> int:
    """Return one of those that lie at some edge, or any."""
    return int(data.PickValueInList(NUMBERS) if data.ConsumeBool() else data.ConsumeUInt(8))


def name(data: Data) -> bytes:
    return bytes(data.ConsumeBytes(data.ConsumeIntInRange(0, 5)))


def rows_of(data: Data) -> Any:
    dtype = np.dtype(data.PickValueInList(DTYPES))
    shape = (data.ConsumeIntInRange(0, 20), *([2] * data.ConsumeIntInRange(0, 2)))
    return in_a_block(np.zeros(shape, dtype))


def find(data: Data) -> None:
    """Damage columns, and ask for names and views."""
    names = list({name(data) for _ in range(data.ConsumeIntInRange(1, 8))})
    columns = Columns.of(names, [data.ConsumeIntInRange(0, 4) for _ in names])
    for _ in range(data.ConsumeIntInRange(0, 6)):
        column, at = data.PickValueInList(COLUMNS), data.ConsumeIntInRange(0, 200)
        columns = columns.changed(column, at, number(data))
    cut = {
        column: in_a_block(getattr(columns, column)[: data.ConsumeIntInRange(0, 20)])
        for column in COLUMNS[:5]
        if data.ConsumeIntInRange(0, 9) == 0
    }
    finder = columns.finder(rows_of(data), **cut)
    if finder is None:
        return
    asked = [*names, *(name(data) for _ in range(5))]
    found = [finder.find(one) for one in asked]
    many = finder.find_many(asked, None, None)
    assert (many is None) == (None in found)
    assert many is None or many.tolist() == found
    of = Columns.of(asked)
    hashes = in_a_block(np.array([zlib.crc32(one) for one in asked], np.uint32))
    ends = of.changed("name_ends", data.ConsumeIntInRange(0, 9), number(data)).name_ends
    finder.find_many(of.names, of.name_ends, hashes)
    finder.find_many(of.names, ends, hashes)
    views = [finder.get(one) for one in asked] + [finder.at(at) for at in range(len(names) + 1)]
    for pairs in (False, True):
        views += list(finder.iterate(pairs, lambda at: at))
    for view in views:
        if isinstance(view, np.ndarray):
            view.tobytes()


def batch(data: Data) -> None:
    """Prepare and stage arrays, some of which do not fit."""
    like = rows_of(data)
    arrays = {}
    for _ in range(data.ConsumeIntInRange(0, 12)):
        rows = np.zeros((data.ConsumeIntInRange(0, 9), *like.shape[1:]), like.dtype)
        if data.ConsumeIntInRange(0, 30) == 0:
            rows = data.PickValueInList([rows[::2], rows[..., None], rows_of(data), None, 3])
        arrays[data.ConsumeUnicode(data.ConsumeIntInRange(0, 5))] = rows
    got = core.prepare(arrays, like, number(data) % 2**62)
    listed = list(arrays.values())
    if got is not None:
        encoded = [one.encode() for one in arrays]
        assert got[0] == b"".join(encoded)
        assert got[1].tolist() == list(accumulate(map(len, encoded)))
        assert got[2].tolist() == list(map(zlib.crc32, encoded))
        assert got[3].tolist() == list(accumulate(map(len, listed), initial=0))
    buffer, crcs = np.zeros(number(data) % 500, np.uint8), np.zeros(len(listed), np.uint32)
    first = number(data) % 16
    unit = 1 << data.ConsumeIntInRange(0, 6)
    after, used = core.stage(listed, first, buffer, crcs, unit)
    staged = [array.tobytes() for array in listed[first:after]]
    assert buffer[:used].tobytes() == b"".join(raw + bytes(-len(raw) % unit) for raw in staged)
    assert crcs[first:after].tolist() == list(map(zlib.crc32, staged))


def copy(data: Data) -> None:
    """Gather ranges that may lead anywhere, and search a table of any slots."""
    rows, n = rows_of(data), data.ConsumeIntInRange(0, 10)
    pairs = np.array([number(data) for _ in range(2 * n)], np.uint64)
    kind = data.PickValueInList(KINDS) if data.ConsumeIntInRange(0, 9) == 0 else np.uint64
    starts, ends = in_a_block(pairs[:n].astype(kind)), in_a_block(pairs[n:])
    if data.ConsumeBool():
        n_rows = np.uint64(len(rows) + 1)
        starts, ends = in_a_block(starts % n_rows), in_a_block(ends % n_rows)
    out = data.PickValueInList([None, rows_of(data)])
    crcs = data.PickValueInList([None, np.zeros(data.ConsumeIntInRange(0, 12), "u4")])
    core.gather(rows, starts, ends, out, crcs, data.PickValueInList([1, 1, 2, 64, 3]))
    catalog = core.catalog(in_a_block(pairs.astype(np.uint32)), number(data) % n, starts, [None])
    assert catalog is None or catalog.find("a") in (None, -1)


CHOICES: list[Callable[[Data], None]] = [find, find, find, batch, copy]


def main() -> None:
    """Fuzz for so many seconds."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    folder = Path(tempfile.mkdtemp())

    def one_input(raw: bytes) -> None:
        data = atheris.FuzzedDataProvider(raw)
        data.PickValueInList(CHOICES)(data)

    options = [
        f"-max_total_time={seconds}",
        "-max_len=4000",
        "-len_control=0",
        "-timeout=20",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup(
        [sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={folder}/"], one_input
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
