"""Where the native core stands in for Python code: it is asked, and whatever it answers is the same."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import ptrarray
from ptrarray import native
from ptrarray.errors import StoreError
from ptrarray.format import checksums
from ptrarray.intake import batch
from ptrarray.rows import ragged
from tests.support import forging
from tests.support.disk import read_tree
from tests.support.story import repeatable

pytestmark = [
    pytest.mark.skipif(not native.core, reason=native.variant()),
    pytest.mark.usefixtures("no_syncs"),
]
PADDED = np.dtype([("a", "u1"), ("b", "<i8")], align=True)
MANY = {f"m{n}": np.arange(n, dtype="i4") for n in range(300)}  # 176 KiB
# Pieces of many arrays, and one that is larger than they may be.
PIECES = {f"p{n}": np.full(40_000 if n == 4 else 50 * n, n, "i4") for n in range(9)}


# Of 0 to 299 elements, with gaps between them in a mixed store, and one that is larger than a piece.
LENGTHS = [*range(300), 30_000, 7]
END_TO_END = (
    list(map(str, range(302))),
    np.arange(sum(LENGTHS), dtype="i4"),
    np.cumsum([0, *LENGTHS]),
)


# Python code that does what the core does.
TWINS: dict[object, tuple[str, ...]] = {
    batch: ("_columns_of",),
    checksums: ("_in_steps",),
    ragged: ("copy_ranges",),
}


class Spy:
    """The core, or a finder of it, with a note of what it was asked."""

    def __init__(self, core: Any, asked: Counter[str], refused: frozenset[str] = frozenset()):
        self.core, self.asked, self.refused = core, asked, refused

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*args: Any) -> Any:
            self.asked[name] += 1
            if name in self.refused:
                return None
            if name == "iterate" and "at" in self.refused:
                return one_by_one(args[1])
            found = getattr(self.core, name)(*args)
            return Spy(found, self.asked, self.refused) if name == "finder" and found else found

        return ask


def one_by_one(other: Callable[[int], object]) -> Iterator[object]:
    """Yield what an iterator of the core yields where all of it is bad."""
    with suppress(IndexError):
        for n in count():
            yield other(n)


EVERYTHING = frozenset({"prepare", "stage", "catalog", "gather", "get", "find", "find_many", "at"})
WAYS: dict[str, Callable[[], Any]] = {
    "core": lambda: native.core,
    "none": lambda: None,
    "not mine": lambda: Spy(native.core, Counter(), EVERYTHING),
    "no finder": lambda: Spy(native.core, Counter(), frozenset({"finder"})),
}


def essence(array: Any) -> object:
    data = np.ma.getdata(array)
    flags = data.flags.writeable, data.flags.c_contiguous, type(array)
    return data.dtype, data.shape, flags, data.tolist(), np.ma.getmaskarray(array).tolist()


def seen(store: ptrarray.PointerArray, names: list[str]) -> list[object]:
    """Return what all ways of asking give, or their errors."""

    def at(n: int) -> object:
        return essence(store.arrays[n])

    def of(name: str) -> object:
        return essence(store[name])

    asked: list[Callable[[], object]] = [partial(of, name) for name in names]
    asked += [partial(at, n) for n in (0, -1, 2, len(store) - 1, len(store))]
    asked += [
        lambda: [(name, essence(array)) for name, array in store.items()],
        lambda: [essence(array) for array in store.arrays],
        lambda: essence(store.take(list(store)[:40]).values),
        lambda: store.take(names),
        lambda: store.take(list(store)[-30:]).offsets.tolist(),
        lambda: [name in store for name in names],
    ]
    return [outcome(ask) for ask in asked]


def outcome(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except (StoreError, IndexError) as error:
        return type(error), str(error)


def story(path: Path, options: dict[str, Any], arrays: dict[str, Any]) -> list[object]:
    """Write and read a store in all ways that the core has a part in."""
    names = [*list(arrays)[:4], "gone", "new", "", "ä", "no\0", "\ud800"]
    some = dict(list(arrays.items())[:6])
    results: list[object] = []
    with ptrarray.create(path, **options) as writer:
        results.append(writer.write(arrays))
        results.append(outcome(lambda: writer.write(arrays)))
        writer.write({"gone": some[names[2]], "ä": some[names[3]]})
        ptrarray.checkpoint(path)
        opened = ptrarray.open(path)
        results += seen(opened, names)
        # From here on the journal lies over the index.
        writer.write({names[0]: some[names[3]], "new": some[names[2]]}, overwrite=True)
        del writer["gone"]
        results += seen(opened, names)
        opened.refresh()
        results += seen(opened, names)
        results += [essence(writer[name]) for name in (names[0], "new")]
        for mode in ("r", "c", "r+"):
            with ptrarray.open(path, mode) as store:
                results += seen(store, names)
        ptrarray.checkpoint(path)
        results += seen(opened, names)
        opened.refresh()
        results += seen(opened, names)
        writer.write(some, overwrite=True)
        results.append([essence(writer[name]) for name in some])
        opened.close()
        results += [outcome(lambda: opened["gone"]), outcome(lambda: opened.arrays)]
    ptrarray.verify(path)
    return results


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"dtype": "i4"}, MANY),
    "pieces": ({"dtype": "i4"}, PIECES),
    "rows": (
        {"dtype": ">f4", "row_shape": (2, 3)},
        {f"r{n}": np.full((n, 2, 3), n, ">f4") for n in range(20)},
    ),
    "fields": ({"dtype": PADDED}, {f"f{n}": np.full(n, n, PADDED) for n in range(20)}),
    "shaped": (
        {"dtype": "i2", "row_shape": None},
        {f"s{n}": np.full((n, 3), n, "i2") for n in range(20)},
    ),
    "masked": (
        {"dtype": "i4", "masked": True},
        {f"k{n}": np.ma.MaskedArray(np.arange(n), np.arange(n) % 2 == 1) for n in range(20)},
    ),
    "shards": ({"dtype": "i4", "shard_size": 60_000}, MANY),
    "cast": ({"dtype": "i8"}, {f"c{n}": np.arange(n, dtype="i4") for n in range(20)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_answers_are_the_same(kind: str, tmp_path: Path) -> None:
    found = {}
    for way, core in WAYS.items():
        folder = tmp_path / "one"
        folder.mkdir()
        with patch.object(native, "core", core()), repeatable():
            results = story(folder / "store.ptr", *KINDS[kind])
        found[way] = results, read_tree(folder)
        folder.rename(tmp_path / way)
    for way, same in found.items():
        assert same[1] == found["none"][1], f"files: {way}"
        for ours, pure in zip(same[0], found["none"][0], strict=True):
            assert ours == pure, way


def test_the_core_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its answers are taken."""

    def answered_already(*_: object) -> None:
        raise AssertionError

    for module, twins in TWINS.items():
        for twin in twins:
            monkeypatch.setattr(module, twin, answered_already)
    asked: Counter[str] = Counter()

    def since(call: Callable[[], object]) -> set[str]:
        asked.clear()
        call()
        return set(asked)

    with patch.object(native, "core", Spy(native.core, asked)):
        writer = ptrarray.create(path, dtype="i4")
        assert since(lambda: writer.write(PIECES)) >= {"prepare", "stage"}
        assert asked["stage"] == 3, "some, one that is larger than the buffer, and some"
        assert since(lambda: writer.write({f"few{n}": np.ones(3, "i4") for n in range(9)})) >= {
            "prepare"
        }
        assert "stage" not in asked
        ptrarray.checkpoint(path)
        assert since(lambda: writer.write(MANY)) >= {"find_many"}
        assert since(lambda: writer.write({"one": np.ones(3, "i4")})) >= {"find"}
        assert since(lambda: ptrarray.open(path)) == {"finder"}
        store = ptrarray.open(path)
        assert since(lambda: store["p3"]) == {"get"}
        assert since(lambda: store["m3"]) == set(), "it is in the journal"
        assert "at" not in since(lambda: store.arrays[3]), "the journal lies over the index"
        assert since(lambda: store.take(["p3", "m3"])) == {"find_many", "gather"}
        ptrarray.checkpoint(path)
        assert since(store.refresh) >= {"finder"}
        assert since(lambda: store["m3"]) == {"get"}
        assert since(lambda: store.arrays[3]) == {"at"}
        assert since(lambda: list(store.arrays)) == {"iterate"}
        assert since(lambda: list(store.items())) == {"iterate"}
        writer.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store["m9"],
        lambda store: store.arrays[9],
        lambda store: list(store.arrays)[9],
        lambda store: dict(store.items())["m9"],
    ],
    ids=["name", "position", "iteration", "items"],
)
def test_views_that_change_the_store_are_noted(change: Any, path: Path) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write(MANY)
    ptrarray.checkpoint(path)
    with ptrarray.open(path, "r+") as store:
        change(store)[:] = 7
    ptrarray.verify(path)
    with ptrarray.open(path) as store:
        assert store["m9"].tolist() == [7] * 9


def test_checksums_are_of_what_is_written(path: Path) -> None:
    """Though somebody changes the arrays meanwhile."""
    arrays = {f"m{n}": np.zeros(n, "i4") for n in range(300)}

    class Changing(Spy):
        def stage(self, buffers: list[Any], *args: Any) -> Any:
            for array in buffers:
                array += 1
            staged = self.core.stage(buffers, *args)
            for array in buffers:
                array += 1
            return staged

    with ptrarray.create(path, dtype="i4") as writer:
        with patch.object(native, "core", Changing(native.core, Counter())):
            writer.write(arrays)
        assert writer["m9"].tolist() == [1] * 9
    ptrarray.verify(path)


@pytest.mark.parametrize("layout", [{}, {"dtype": "i4"}], ids=["mixed", "plain"])
def test_of_what_lies_end_to_end_nothing_is_made_for_each(layout: Any, path: Path) -> None:
    asked: Counter[str] = Counter()
    with ptrarray.create(path, **layout) as writer, ExitStack() as stack:
        stack.enter_context(patch.object(checksums, "_in_steps", side_effect=AssertionError))
        stack.enter_context(patch.object(native, "core", Spy(native.core, asked)))
        writer.write_ragged(*END_TO_END)
        assert asked["gather"] > 0
        assert "stage" not in asked
    ptrarray.verify(path)


def test_checksums_of_what_lies_end_to_end_are_of_what_is_written(path: Path) -> None:
    names, values, offsets = END_TO_END
    values = np.zeros_like(values)

    class Changing(Spy):
        def gather(self, rows: Any, starts: Any, ends: Any, out: Any, *args: Any) -> Any:
            values[:] += out is not None
            gathered = self.core.gather(rows, starts, ends, out, *args)
            values[:] += out is not None
            return gathered

    with ptrarray.create(path) as writer:
        with patch.object(native, "core", Changing(native.core, Counter())):
            writer.write_ragged(names, values, offsets)
        assert writer["9"].tolist() == [1] * 9
    ptrarray.verify(path)


@pytest.mark.parametrize("way", WAYS)
def test_what_lies_end_to_end_is_written_alike(way: str, path: Path) -> None:
    found = []
    for core in (WAYS[way](), None):
        path.mkdir()
        for folder, layout in (
            ("mixed", {}),
            ("plain", {"dtype": "i4"}),
            ("masked", {"masked": True}),
        ):
            with patch.object(native, "core", core), repeatable():
                ptrarray.create(path / folder, **layout).close()
                with ptrarray.append(path / folder) as writer:
                    writer.write_ragged(*END_TO_END)
        found.append(read_tree(path))
        shutil.rmtree(path)
    assert found[0] == found[1]


@pytest.mark.parametrize("way", WAYS)
def test_arrays_out_of_order_are_refused(way: str, path: Path) -> None:
    """Though each of them lies in the rows."""
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write(MANY)
    ptrarray.checkpoint(path)
    file = path / "index.msgpack"
    header, columns = forging.unpack_index(file.read_bytes())
    for column in ("start", "end"):
        raw = columns[column]
        columns[column] = raw[:16] + raw[24:32] + raw[16:24] + raw[32:]
    file.write_bytes(forging.lay_out(header, columns))
    with patch.object(native, "core", WAYS[way]()), ptrarray.open(path) as store:
        for all_of in (store.arrays, store.items(), store.values()):
            with pytest.raises(ptrarray.CorruptStoreError, match="out of order"):
                list(all_of)


def test_what_was_open_refuses(path: Path) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write(MANY)
    ptrarray.checkpoint(path)
    store = ptrarray.open(path)
    pairs = iter(store.items())
    next(pairs)
    store.close()
    for name in ("get", "finder"):
        with pytest.raises(ptrarray.ClosedStoreError):
            getattr(store._opened, name)
    assert dict(pairs)["m299"].tolist() == list(range(299)), "what was begun can be ended"
