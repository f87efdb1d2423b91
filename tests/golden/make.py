"""Write the golden stores anew: ``python -m tests.golden.make``.

Writes ``tests/golden/v<format version>`` and ``tests/golden-bad``, with fixed ids in the place
of random ones, so that a second run gives the same bytes. Run it only while the format version
is not released; what a release wrote stays as it is, for every later release to read. The tests
read these stores and never write them. What is in them is told in the READMEs beside them.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import ptrarray
from ptrarray.format import journal as journal_format
from ptrarray.format.index import VERSION
from tests.golden.bad import (
    BAD_MASKED_STORES,
    BAD_PUBLISHED_STORES,
    BAD_STORES,
    Change,
    base,
    masked_base,
    overwrite,
    published,
    published_base,
)
from tests.support.pointing import point_to_bytes

FOLDER = Path(__file__).parent
GOLDEN = FOLDER / f"v{VERSION}"
BAD = FOLDER.parent / "golden-bad"
SHARDS = FOLDER.parent / "golden-shards"


def main() -> None:
    """Write all stores."""
    for folder in (GOLDEN, BAD):
        folder.mkdir(exist_ok=True)
        for store in folder.glob("*.ptr"):
            shutil.rmtree(store)
    for store_name, write in GOOD_STORES.items():
        write_store(GOLDEN / f"{store_name}.ptr", write)
    SHARDS.mkdir(exist_ok=True)
    for store_name, write in SHARDED_STORES.items():
        shutil.rmtree(SHARDS / f"{store_name}.ptr", ignore_errors=True)
        write_store(SHARDS / f"{store_name}.ptr", write)
    bad = (
        (base, BAD_STORES),
        (masked_base, BAD_MASKED_STORES),
        (published_base, BAD_PUBLISHED_STORES),
    )
    for undamaged, stores in bad:
        for store_name, damage in stores.items():
            path = BAD / f"{store_name}.ptr"
            write_store(path, undamaged)
            damage(path)


def write_store(path: Path, write: Change) -> None:
    """Let `write` make a store with ids that are always the same."""
    numbers = count(1)

    def random_bytes(nbytes: int) -> bytes:
        return bytes(range(next(numbers) * 16 % 256, 256))[:nbytes]

    with (
        patch("ptrarray.storage.system.files.random_bytes", random_bytes),
        patch("ptrarray.storage.system.files.boot_id", lambda: b"one golden boot!"),
    ):
        write(path)


# Stores of shards -----------------------------------------------------------------------------------


def _three_shards(path: Path) -> None:
    """Leave two names noted as replaced, and one in an older shard that was filled meanwhile."""
    writer = ptrarray.create(path, dtype="<u2", shard_size=1200, attrs={"rate": 8000})
    writer.write({"a": [1, 2, 3], "é": [4], "kept": range(60)})
    with writer.allocate("late", 2) as rows:
        writer.write({"b": range(100, 150)})
        writer.write({"c": range(200, 250)})
        rows[...] = [7, 8]
    writer["a"] = [5, 6]
    writer["b"] = [9]
    del writer["kept"]


def _replaced_shards(path: Path) -> None:
    ptrarray.create(path, dtype="<f4", shard_size="1kB").close()
    with ptrarray.create(path, dtype="<f8", row_shape=(2,), shard_size="1kB", mode="w") as writer:
        writer.write({"a": [[1, 2], [3, 4]]})


def _unflushed_shard(path: Path) -> None:
    """Leave a note that an older shard may have commits that are not on the disk."""
    writer = ptrarray.create(path, dtype="<u2", shard_size=1200)
    writer.write({"a": [1, 2, 3], "b": range(60)})
    writer.write({"c": range(100, 160)})
    writer.write({"d": range(200, 260)})
    del writer["a"]


def _catalogued_shards(path: Path) -> None:
    """Leave a catalog of three shards, one of which has lost a name since, and one got another."""
    writer = ptrarray.create(path, dtype="<u2", shard_size=1200)
    writer.write({"plumless": [1, 2], "a": range(100, 160)})
    writer.write({"buckeroo": [3], "b": range(200, 260)})  # of the same hash
    writer.write({"c": range(300, 360), "é": []})
    writer.close()
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    del writer["b"]
    writer["d"] = [4]


SHARDED_STORES: dict[str, Change] = {
    "three": _three_shards,
    "unflushed": _unflushed_shard,
    "replaced": _replaced_shards,
    "catalogued": _catalogued_shards,
}

# Joined stores, and parts of them --------------------------------------------------------------------


def _joined_shards(path: Path) -> None:
    """Join two stores and a part of one; delete, rename and write since."""
    others = [path.with_name(f"{name}.ptr") for name in ("x", "y")]
    for number, other in enumerate(others):
        with ptrarray.create(other, dtype="<u2", attrs={"rate": 8000}) as writer:
            writer.write({f"{other.stem}/a": [number], "both": [number, number]})
            writer.write({f"{other.stem}/é": range(3)})
    ptrarray.join(path, others, duplicates="last", progress=False, shard_size="1kB")
    with ptrarray.part(path, "z") as writer:
        writer.write({"a": [7, 8], "gone": [9]})
    ptrarray.join(path, prefix="z/", progress=False)
    writer = ptrarray.append(path)
    writer["new"] = [5]
    writer.rename("x/a", "renamed")
    del writer["z/gone"]
    (path / "catalog.msgpack").unlink()  # which other stores have


SHARDED_STORES["joined"] = _joined_shards


def _sealed(path: Path) -> None:
    """Seal a store, and change names of it since."""
    with ptrarray.part(path.with_name("of"), path.stem, dtype="<u2") as writer:
        writer.write({"a": [1, 2, 3], "b": [4]})
    parts = path.with_name("of.parts")
    (parts / path.name).rename(path)
    parts.rmdir()
    writer = ptrarray.append(path)
    writer.point("end of a", 1, 3)
    writer.rename("b", "c")


def _part(path: Path) -> None:
    """Leave a part that was not closed."""
    with ptrarray.part(path.with_name("of"), path.stem, dtype="<u2") as writer:
        writer["a"] = [1, 2]
    writer = ptrarray.part(path.with_name("of"), path.stem, dtype="<u2")
    writer["b"] = [3]
    parts = path.with_name("of.parts")
    (parts / path.name).rename(path)
    parts.rmdir()


# Good ones ------------------------------------------------------------------------------------------


def _example(path: Path) -> None:
    """Make the store of FORMAT.md, section 4."""
    with ptrarray.create(path, dtype="<u2", attrs={"rate": 8000}) as writer:
        writer.write({"a": [1, 2, 3], "é": [4]})
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer["b"] = [5, 6]
    writer.flush()
    del writer["a"]


def _plain(path: Path) -> None:
    with ptrarray.create(path, dtype="<f4", attrs={"rate": 16000, "unit": "mV"}) as writer:
        writer.write({"utt1": [1, 2, 3], "utt2": [4, 5], "utt3": [6]})
    ptrarray.checkpoint(path)


def _structured(path: Path) -> None:
    dtype = np.dtype([("day", "<M8[D]"), ("xyz", ">f4", (3,))])
    first = [[("2026-01-31", (1, 2, 3)), ("2026-02-01", (4, 5, 6))]]
    second = [[("1969-12-31", (-1, 0, 1)), ("NaT", (0.5, 0.25, 0.125))]] * 2
    with ptrarray.create(path, dtype=dtype, row_shape=(2,)) as writer:
        writer.write({"one": np.array(first, dtype), "two": np.array(second, dtype)})
    ptrarray.checkpoint(path)


def _journal(path: Path) -> None:
    with ptrarray.create(path, dtype="<f8", attrs={"n": 1}) as writer:
        writer.write({"kept": [1, 2], "replaced": [3], "deleted": [4]})
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write({"new": [5, 6], "none": []})
    writer["replaced"] = [7]
    writer.flush()
    del writer["deleted"]
    writer.point("kept/1", 1, 2)
    writer.attrs["n"] = 2


def _changed(path: Path) -> None:
    with ptrarray.create(path, dtype="<i4") as writer:
        writer.write({"a": [1, 2], "b": [3], "c": [4, 5, 6]})
        del writer["b"]
        writer["a"] = [7]
        writer.point("c/tail", 4, 6)
        writer.point("all", 0, 7)
        writer.attrs.update({"deep": {"list": [1, None, 2.5, b"\0"]}, "gone": True})
        del writer.attrs["gone"]
    ptrarray.checkpoint(path)


def _planned(path: Path) -> None:
    with ptrarray.create(path, dtype=">i2", rows=10) as writer:
        writer.write({"late": [7, 8]}, start=6)
        writer.write({"early": [1]}, start=1)
        writer.reserve(3)
        writer["after"] = [9]
    ptrarray.checkpoint(path)


def _empty(path: Path) -> None:
    ptrarray.create(path, dtype="|V3", row_shape=(2, 2)).close()


def _zero_length(path: Path) -> None:
    with ptrarray.create(path, dtype="|S4") as writer:
        writer.write({"none": [], "nothing": []})
        writer.write({"far": []}, start=7)
    ptrarray.checkpoint(path)


def _zero_width(path: Path) -> None:
    with ptrarray.create(path, dtype="|b1", row_shape=(0,)) as writer:
        writer.write({"three": np.empty((3, 0), "?"), "two": np.empty((2, 0), "?")})
    ptrarray.checkpoint(path)


def _names(path: Path) -> None:
    names = ["", "größe", "名前", "line\nbreak", "nul\0", "🎻", "plumless", "buckeroo", "x" * 300]
    with ptrarray.create(path, dtype="|u1") as writer:
        writer.write({name: [position] for position, name in enumerate(names)})
    ptrarray.checkpoint(path)


def _replaced(path: Path) -> None:
    with ptrarray.create(path, dtype="<i8") as writer:
        writer["old"] = [1, 2, 3]
    with ptrarray.create(path, dtype="<c8", mode="w") as writer:
        writer["new"] = [1 + 2j]


def _killed_checkpoint(path: Path) -> None:
    """Leave what a checkpoint killed after its rename leaves."""
    with ptrarray.create(path, dtype="|i1") as writer:
        writer["a"] = [1]
    writer = ptrarray.append(path)
    writer["b"] = [2]
    old = (path / "journal.msgpack").read_bytes()
    ptrarray.checkpoint(path)
    (path / "journal.msgpack").write_bytes(old)


def _one_in_each(path: Path) -> ptrarray.PointerArrayWriter:
    """Put an array into the index and one into the journal; return who wrote the second."""
    with ptrarray.create(path, dtype="|i1") as writer:
        writer["a"] = [1]
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer["b"] = [2]
    return writer


def _killed_before_rename(path: Path) -> None:
    """Leave what a checkpoint killed while it writes the new index leaves."""
    _one_in_each(path)
    log = path / "journal.msgpack"
    header = journal_format.decode_slot(log.read_bytes())
    assert header is not None
    overwrite(log, 0, header._replace(next_generation=header.generation + 1).encode())
    (path / "index.msgpack.new").write_bytes((path / "index.msgpack").read_bytes()[:100])


def _torn_append(path: Path) -> None:
    """Leave what a writer killed in the middle of appending a record leaves."""
    _one_in_each(path)
    log = path / "journal.msgpack"
    with log.open("ab") as file:
        file.write(log.read_bytes()[journal_format.RECORDS_START :][:-7])


def _torn_header(path: Path) -> None:
    """Leave what a power cut during a commit may leave of the first header slot."""
    _one_in_each(path).flush()
    overwrite(path / "journal.msgpack", 40, b"\xff" * 30)


def _power_cut(path: Path) -> None:
    """Leave commits of which the first was flushed, and the rows of the third are lost."""
    with ptrarray.create(path, dtype="<i4") as writer:
        writer["a"] = [1]
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer["flushed"] = [2]
    writer.flush()
    writer["survived"] = [3]
    writer["lost"] = [4]
    writer["after"] = [5]
    overwrite(path / "data.bin", 3 * 4, bytes(4))


# Arrays of any shape and dtype, masks and metadata


def _shaped(path: Path) -> None:
    with ptrarray.create(path, dtype=">f4", row_shape=None, attrs={"of": "images"}) as writer:
        grid = np.arange(6).reshape(2, 3)
        writer.write(
            {"C": grid, "Fortran": np.asfortranarray(grid), "0-d": 7, "none": np.ones((0, 4))}
        )
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write({"cube": np.arange(8).reshape(2, 2, 2), "1-d": [8, 9]})
    del writer["C"]
    writer.flush()


def _mixed(path: Path) -> None:
    fields = np.array([(1, (2, 3)), (4, (5, 6))], [("n", "<i2"), ("xy", ">f8", (2,))])
    with ptrarray.create(path) as writer:
        writer.write({"bytes": np.arange(70, dtype="|u1"), "grid": np.eye(2, dtype="<f8")})
        writer.write(
            {"fields": fields, "text": np.array(["a", "ö"], "<U2"), "pi": np.float64(3.25)}
        )
        start, _ = writer.pointers["grid"]
        point_to_bytes(writer, "first of the grid", start, start + 8)
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write({"Fortran": np.asfortranarray(np.arange(6, dtype="<i4").reshape(2, 3))})
    writer["pi"] = np.array([3, 14], "<M8[D]")
    writer.flush()


def _masked(path: Path) -> None:
    """Keep masks of rows, in the index, in the journal, and of rows that nobody wrote."""
    masked: Any = np.ma.MaskedArray
    with ptrarray.create(path, dtype="<i2", row_shape=(2,), masked=True, rows=6) as writer:
        writer.write({"some": masked([[1, 2], [3, 4]], [[0, 1], [1, 0]]), "plain": [[5, 6]]})
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write({"late": masked([[7, 8]], True, fill_value=-1)}, start=4)
    writer.flush()


def _masked_mixed(path: Path) -> None:
    """Keep masks of any array, with what is under them, and metadata."""
    masked: Any = np.ma.MaskedArray
    with ptrarray.create(path, masked=True) as writer:
        grid = masked(np.arange(6.0).reshape(2, 3), np.eye(2, 3), fill_value=-1)
        turned = masked(np.asfortranarray(grid.data), np.asfortranarray(grid.mask), hard_mask=True)
        writer.write({"grid": grid, "turned": turned, "plain": np.ones(2, "<i2")})
        fields = masked([(1, (2.0, 3.0))], [(1, (0, 1))], [("n", "<i4"), ("xy", "<f4", (2,))])
        writer.write(
            {"fields": fields, "0-d": masked(5.0, True)}, meta={"fields": {"of": "points"}}
        )
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.write({"late": masked([b"ab", b"c"], [0, 1], "|S2")}, meta={"late": {"n": [1, None]}})
    writer.meta["grid"] = {"made": "later"}
    writer.flush()


def _masked_compacted(path: Path) -> None:
    """Have masks end to end, and others after them, one of them where nothing was masked."""
    _masked_mixed(path)
    with ptrarray.append(path) as writer:
        writer["planned for"] = np.zeros(9, "<u2")
    ptrarray.compact(path)
    writer = ptrarray.append(path)
    masked: Any = np.ma.MaskedArray
    start, _ = writer.pointers["planned for"]
    del writer["planned for"]
    writer.write({"planned": masked([1, 2, 3], [0, 1, 0], "<i4")}, start=start)
    writer.rename("grid", "renamed")
    writer.point("same", *writer.pointers["fields"])
    writer["new"] = masked([1.5, 2.5], [1, 0])
    writer.flush()


def _masked_end_to_end(path: Path) -> None:
    """Have a mask file that ends after masks that lie end to end, and a record about one of them."""
    _masked_mixed(path)
    ptrarray.compact(path)
    writer = ptrarray.append(path)
    writer.rename("0-d", "scalar")
    writer.flush()


def _masked_power_cut(path: Path) -> None:
    """Leave commits of which the mask of the second is lost, and where a third's does not reach."""
    masked: Any = np.ma.MaskedArray
    with ptrarray.create(path, masked=True) as writer:
        writer["a"] = masked([1.0, 2.0], [0, 1])
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer["flushed"] = masked([3.0, 4.0], [1, 0])
    writer.flush()
    writer["survived"] = masked([5.0, 6.0], [1, 1])
    writer["too short"] = masked([7.0, 8.0], [0, 1])
    writer["after"] = masked([9.0], [0])
    mask = (path / "mask.bin").read_bytes()
    (path / "mask.bin").write_bytes(mask[: 3 * 64 + 2])  # whole, but for the room behind it


def _metadata(path: Path) -> None:
    """Keep metadata in the index, and change it in the journal."""
    with ptrarray.create(path, dtype="<f4") as writer:
        writer.write(
            {"a": [1, 2], "b": [3], "c": []},
            meta={
                "a": {"speaker": "Ann", "größe": {"x": [1, 2.5, None, True, b"\0"]}},
                "c": {"k": 1},
            },
        )
    ptrarray.checkpoint(path)
    writer = ptrarray.append(path)
    writer.meta["b"] = {"speaker": "Bob"}
    writer["a"] = [4]
    writer.write({"d": [5]}, meta={"d": {"n": 2**63}})
    writer.flush()


def _changed_rows(path: Path) -> None:
    """Leave records that are not judged: of rows that a view may change, and has changed."""
    with ptrarray.create(path, dtype="<i4", rows=4) as writer:
        writer.write({"a": [1, 2, 3], "x" * 4000: []})
    ptrarray.checkpoint(path)  # of an index beside which the journal is not folded
    store = ptrarray.open(path, mode="r+")
    view = store["a"]
    writer = ptrarray.append(path)
    writer.point("end of a", 1, 3)
    writer.meta["a"] = {"n": 1}
    writer.write({"planned": [4]}, start=3)
    view[1] = 20
    store.flush()
    writer["after"] = [5]


GOOD_STORES: dict[str, Change] = {
    "example": _example,
    "plain": _plain,
    "structured": _structured,
    "journal": _journal,
    "changed": _changed,
    "planned": _planned,
    "empty": _empty,
    "zero-length": _zero_length,
    "zero-width": _zero_width,
    "names": _names,
    "replaced": _replaced,
    "killed-checkpoint": _killed_checkpoint,
    "killed-before-rename": _killed_before_rename,
    "torn-append": _torn_append,
    "torn-header": _torn_header,
    "power-cut": _power_cut,
    "shaped": _shaped,
    "mixed": _mixed,
    "masked": _masked,
    "masked-mixed": _masked_mixed,
    "masked-compacted": _masked_compacted,
    "masked-end-to-end": _masked_end_to_end,
    "masked-power-cut": _masked_power_cut,
    "metadata": _metadata,
    "changed-rows": _changed_rows,
    "sealed": _sealed,
    "part": _part,
    "published": published,
}


if __name__ == "__main__":
    main()
