"""Search finds the names that fnmatch would, in data order, however it is cut into calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import BadInputError, ClosedStoreError, CorruptStoreError, PointerArray
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.journal import RECORDS_START
from ptrarray.format.names import decode
from ptrarray.look.viewer import patterns
from ptrarray.look.viewer import search as search_module
from ptrarray.look.viewer.patterns import Pattern, readable
from ptrarray.look.viewer.search import Found
from ptrarray.reader import opened_of
from ptrarray.storage.store import folding, probed
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.overlay import Overlay
from ptrarray.storage.store.snapshot import StoreSnapshot
from tests.support import strategies
from tests.support.command_line import Run
from tests.support.damage import INDEX
from tests.support.examples import some
from tests.support.memory import peak_nbytes
from tests.support.remote import URL, folder_elsewhere

pytestmark = pytest.mark.usefixtures("no_syncs")
# No test is to depend on how fast the machine is.
search = partial(search_module.search, seconds=1e3)
LETTERS = "abBé日\n\\x[]!-*?"
CLASS = re.compile(r"\[!?+\]?+[^\]]*\]", re.DOTALL)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "_FIRST_NAMES", 1)
    monkeypatch.setattr(folding, "_BLOCK_NAMES", 3)
    monkeypatch.setattr(folding, "_MIXED", 2)


def expected(names: list[str], pattern: str) -> list[str]:
    """Return what has to be found, name by name."""
    if any(sign in pattern for sign in "*?") or CLASS.search(pattern):
        return [name for name in names if fnmatchcase(name, pattern)]
    return [name for name in names if name.startswith(pattern)]


def calls(store: PointerArray, pattern: str, **options: Any) -> Iterator[Found]:
    """Yield the answers to as many calls as a search takes."""
    cursor = None
    while True:
        found = search(store, pattern, cursor, **options)
        yield found
        cursor = found.cursor
        if found.is_done:
            return


def all_found(store: PointerArray, pattern: str, **options: Any) -> list[str]:
    return [name for found in calls(store, pattern, **options) for name in found.names]


# patterns -----------------------------------------------------------------------------------------


def texts(letters: str = LETTERS) -> st.SearchStrategy[str]:
    return st.text(letters, max_size=5)


def globs() -> st.SearchStrategy[str]:
    parts = [
        "a",
        "b",
        "ab",
        "é",
        "日",
        "*",
        "?",
        "[ab]",
        "[!a]",
        "[]",
        "[",
        "]",
        "[é-日]",
        "\\",
        "x",
    ]
    return st.lists(st.sampled_from(parts), max_size=6).map("".join)


@settings(max_examples=some(150, of=400))
@given(
    st.lists(texts() | texts("ab") | strategies.names(), max_size=20),
    globs() | texts() | st.text(max_size=4),
)
@example(["a" * 70_000, "é" * 40_000, ""], "*aé*")
@example(["ab", "ba", "abab"], "*ba*b")
@example(["é"], "é?")
@example(["a\udcff".encode(errors="replace").decode()], "\udcff*")
def test_a_block_is_searched_as_name_by_name(names: list[str], pattern: str) -> None:
    wanted = Pattern(pattern)
    found = wanted.among(RaggedColumn.of(list(map(str.encode, names)))).tolist()
    assert found == sorted(set(found))
    assert [names[at] for at in found if wanted.matches(names[at])] == expected(names, pattern)


@given(st.lists(st.binary(max_size=4) | texts().map(str.encode), max_size=8), globs() | texts())
@example([b"\xff", b"a\xc3"], "*xf*")
def test_damaged_names_are_searched_as_they_are_shown(raw: list[bytes], pattern: str) -> None:
    names, wanted = list(map(decode, raw)), Pattern(pattern)
    column = readable(RaggedColumn.of(raw))
    assert column.texts() == names
    found = [names[at] for at in wanted.among(column).tolist() if wanted.matches(names[at])]
    assert found == expected(names, pattern)


@pytest.mark.parametrize(
    "pattern",
    ["utt00123*", "*00123*", "*123", "utt??123", "utt[01]?123", "utt00123", "*u*t*9999x*"],
)
def test_few_names_are_looked_at_one_by_one(pattern: str) -> None:
    """Of ten thousand alike only those that have what the pattern has, where it lies."""
    names = [f"utt{n:05}" for n in range(10_000)]
    found = Pattern(pattern).among(RaggedColumn.of(list(map(str.encode, names))))
    assert len(found) == len(expected(names, pattern)) <= 100


def test_text_is_looked_for_where_names_do_not_begin_or_end() -> None:
    column = RaggedColumn.of([b"ab", b"cd", b"abcd", b"xbc"])
    assert Pattern("*bc*").among(column).tolist() == [2, 3]


def test_long_columns_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_COMPARED_NBYTES", 3)
    names = [b"abc" * n + b"xyz" for n in range(6)]
    column = RaggedColumn.of(names)
    for pattern in ("*bcxy*", "*z*", "*ca*", "*q*"):
        found = [names[at].decode() for at in Pattern(pattern).among(column).tolist()]
        assert found == expected([name.decode() for name in names], pattern)


# stores -------------------------------------------------------------------------------------------


def made(path: Path, **options: Any) -> list[str]:
    """Make a store with names of all kinds in its index and in its journal; return them in order."""
    with ptrarray.create(path, dtype="i4", **options) as writer:
        for n in range(24):
            writer[f"utt{n:02}"] = np.arange(n % 3)
        for name in ("größe", "gross", "", "two\nlines", "日本", "a" * 3000):
            writer[name] = [1]
        ptrarray.checkpoint(path)
        writer["utt07"] = [1, 2, 3]
        del writer["utt08"], writer["gross"]
        writer["new"] = []
        writer["日本語"] = [1]
        writer.flush()
        with ptrarray.open(path) as store:  # closing folds the journal in
            check(store, list(store))
    return list(ptrarray.open(path))


PATTERNS = ("utt", "utt0?", "*7", "*ö*", "日*", "??", "", "*", "nothing", "*not*", "[!u]*", "*\n*")


def check(store: PointerArray, names: list[str], first: int = 0) -> None:
    """Search for each pattern in two of four ways, for every other one in those from `first` on."""
    assert list(store) == names
    for at, pattern in enumerate(PATTERNS, first):
        for limit, seconds in ((1000, 10), (3, 10), (1, 0), (1000, 0))[at % 2 :: 2]:
            found = list(calls(store, pattern, limit=limit, seconds=seconds))
            assert all(len(one.names) <= limit for one in found)
            assert [name for one in found for name in one.names] == expected(names, pattern)
            seen = [one.n_seen for one in found]
            assert seen == sorted(seen)
            assert seen[-1] == len(names)
            assert not any(one.is_anew for one in found)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("options", [{}, {"shard_size": 24}, {"masked": True}, {"row_shape": None}])
def test_stores_are_searched_as_names_are_listed(
    path: Path, backend: str, options: dict[str, Any]
) -> None:
    names = made(path, **options)
    check(ptrarray.open(path), names, 1)


def test_packs_are_searched(path: Path, tmp_path: Path, backend: str) -> None:
    names = made(path)
    ptrarray.pack(path, tmp_path / "b.tar")
    check(ptrarray.open(tmp_path / "b.tar"), names, 1)


def test_an_empty_store_is_searched(path: Path, backend: str) -> None:
    ptrarray.create(path, dtype="i4").close()
    assert search(ptrarray.open(path), "*") == Found([], *search(ptrarray.open(path), "x")[1:])
    assert search(ptrarray.open(path), "*").is_done


def test_it_is_what_ls_lists(path: Path, run: Run) -> None:
    made(path)
    store = ptrarray.open(path)
    for pattern in ("utt0?", "*7", "*ö*", "utt[!0]*", "UTT*"):
        listed = run("ls", path, pattern)[1].splitlines()
        assert search(store, pattern).names == listed


# where the next call goes on ----------------------------------------------------------------------


def begun(path: Path, n_names: int = 30, **options: Any) -> tuple[PointerArray, str]:
    """Return a store of as many arrays of no or of one row, and a cursor behind ten of them."""
    with ptrarray.create(path, dtype="i4", **options) as writer:
        for n in range(n_names):
            writer[f"n{n:02}"] = np.arange(n % 2)
    store = ptrarray.open(path)
    return store, search(store, "n", limit=10).cursor


def left(first: int, last: int = 30) -> list[str]:
    return [f"n{n:02}" for n in range(first, last)]


@pytest.mark.parametrize("options", [{}, {"shard_size": 40}])
def test_a_cursor_goes_on_while_the_store_grows(path: Path, options: dict[str, Any]) -> None:
    store, cursor = begun(path, **options)
    with ptrarray.append(path) as writer:
        writer["new"], writer["n30"] = [1], [2]
        store.refresh()
        assert search(store, "n", cursor).names == [*left(10), "new", "n30"]
        ptrarray.checkpoint(path)
        store.refresh()
        writer["n31"] = [3]
        store.refresh()
    found = search(store, "n", cursor)
    assert (found.names, found.is_anew) == ([*left(10), "new", "n30", "n31"], False)
    assert found.is_done
    assert not search(store, "n", found.cursor).names


@pytest.mark.parametrize("options", [{}, {"shard_size": 40}])
def test_a_search_that_is_over_goes_on_with_what_came(path: Path, options: dict[str, Any]) -> None:
    store, cursor = begun(path, **options)
    over = search(store, "*9", cursor)
    assert (over.names, over.is_done) == (["n19", "n29"], True)
    with ptrarray.append(path) as writer:
        writer.write({f"n{n}": [n] for n in range(30, 60)})
    store.refresh()
    assert search(store, "*9", over.cursor).names == ["n39", "n49", "n59"]


def test_a_cursor_goes_on_where_names_before_it_were_deleted_or_replaced(path: Path) -> None:
    store, cursor = begun(path)
    with ptrarray.append(path) as writer:
        del writer["n01"], writer["n05"], writer["n15"]
        writer["n03"] = [7]  # which comes last now
        writer.flush()
        store.refresh()
        wanted = [name for name in left(10) if name != "n15"]
        assert search(store, "n", cursor).names == [*wanted, "n03"]


@pytest.mark.parametrize("n_seen", range(8))
def test_arrays_that_begin_at_one_row_are_each_found_once(path: Path, n_seen: int) -> None:
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({f"a{n}": [] for n in range(3)} | {"b": [1]} | {f"c{n}": [] for n in range(4)})
    store = ptrarray.open(path)
    first = search(store, "*", limit=n_seen) if n_seen else None
    with ptrarray.append(path) as writer:
        writer["b2"] = [1]
        writer.flush()
        store.refresh()
        later = search(store, "*", first and first.cursor)
        assert [*(first.names if first else ()), *later.names] == list(store)


@pytest.mark.parametrize("options", [{}, {"shard_size": 40}])
def test_a_search_begins_anew_after_compaction(path: Path, options: dict[str, Any]) -> None:
    store, cursor = begun(path, **options)
    with ptrarray.append(path) as writer:
        for n in range(0, 30, 2):
            del writer[f"n{n:02}"]
            writer[f"n{n + 1:02}"] = [5]
    ptrarray.compact(path)
    store.refresh()
    found = search(store, "n", cursor)
    assert (found.names, found.is_anew) == (list(store), True)
    assert not search(store, "n", found.cursor).is_anew


def test_a_search_begins_anew_in_another_store(path: Path) -> None:
    store, cursor = begun(path)
    with ptrarray.create(path, dtype="i4", mode="w") as writer:
        writer.write({f"n{n:02}": [1] for n in range(30)})
    store.refresh()
    assert search(store, "n", cursor).is_anew
    with ptrarray.create(path.with_name("b.ptr"), dtype="i4", shard_size=40) as writer:
        writer.write({f"n{n:02}": [1] for n in range(30)})
    shards = ptrarray.open(path.with_name("b.ptr"))
    assert search(store, "n", search(shards, "n", limit=20).cursor).is_anew


def test_a_cursor_leads_on_in_another_process(path: Path) -> None:
    """As it is text alone, so does one that a killed server has given."""
    _, cursor = begun(path)
    assert re.fullmatch(r"[0-9-]+", cursor)
    assert search(ptrarray.open(path), "n", cursor).names == left(10)


# what is refused, and what it costs ---------------------------------------------------------------


@pytest.mark.parametrize(
    "cursor", ["", "1", "a-b", "0-0-0-0-0-0-0-0-0", "0-0-0-0-0-0-0--1", "²-0-0-0-0-0-0-0", 7]
)
def test_what_is_no_cursor_is_refused(path: Path, cursor: Any) -> None:
    store, _ = begun(path)
    with pytest.raises(BadInputError, match="is no cursor"):
        search(store, "n", cursor)


@pytest.mark.parametrize("cursor", ["9-0-0-0-0-0-0-0", "0-9-9-9-9-9-9-9", "-".join(["9" * 19] * 8)])
def test_a_cursor_of_any_other_store_begins_anew(path: Path, cursor: str) -> None:
    store, _ = begun(path)
    found = search(store, "n", cursor)
    assert found.is_anew
    assert found.names == left(0)


def test_a_cursor_that_was_tampered_with_leads_nowhere_else(path: Path) -> None:
    store, cursor = begun(path)
    parts = cursor.split("-")
    for at in range(3, 8):
        for number in ("0", "5", str(2**62), "9" * 19):
            forged = "-".join([*parts[:at], number, *parts[at + 1 :]])
            assert set(search(store, "n", forged).names) <= set(left(0))


def test_bad_input_is_refused(path: Path) -> None:
    store, _ = begun(path)
    with pytest.raises(BadInputError, match="limit must be at least 1"):
        search(store, "n", limit=0)
    for pattern in (None, b"n", 3):
        with pytest.raises(BadInputError, match="must be a str"):
            search(store, pattern)  # type: ignore[arg-type]
    store.close()
    with pytest.raises(ClosedStoreError):
        search(store, "n")


def test_damage_is_reported_where_it_is(path: Path) -> None:
    store, _ = begun(path)
    at = opened_of(store).stores[0].snapshot.index.columns["name_end"].start_byte
    store.close()
    with (path / INDEX).open("r+b") as file:
        file.seek(at + 8 * 20)
        file.write((2**40).to_bytes(8, "little"))
    index = Index(path, checked=False)  # as an index is that is too large to be compared
    snapshot = StoreSnapshot(path, index, Overlay(index, RECORDS_START))
    names: list[str] = []
    with pytest.raises(CorruptStoreError, match="damaged: it has name 20"):
        search_module._look_through(snapshot, 0, Pattern("n"), names, 100, 1e300)
    assert names == left(0, 20)


def test_memory_is_that_of_a_block(path: Path) -> None:
    with ptrarray.create(path, dtype="u1") as writer:
        names = [f"{n:0200}" for n in range(50_000)]
        writer.write_ragged(names, np.zeros(0, "u1"), np.zeros(len(names) + 1, np.int64))
    store = ptrarray.open(path)
    for pattern in ("*999*8*", "?*7", "[!0]*", "*"):
        assert peak_nbytes(lambda: all(calls(store, pattern, limit=10**6))) < 64 << 20  # noqa: B023


@pytest.mark.parametrize("has_journal", [False, True])
def test_few_requests_are_made_elsewhere(
    path: Path, tmp_path: Path, has_journal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an index that is not fetched whole, names are, and more at a time the longer it takes."""
    monkeypatch.setattr(probed, "WHOLE_NBYTES", 0)
    with ptrarray.create(path, dtype="u1") as writer:
        names = [f"name{n:016}" for n in range(100_000)]
        writer.write_ragged(names, np.zeros(0, "u1"), np.zeros(len(names) + 1, np.int64))
        ptrarray.checkpoint(path)
        if has_journal:
            writer["new"] = [1]
            writer.flush()
        with folder_elsewhere(tmp_path) as objects:
            store = ptrarray.open(f"{URL}/{path.name}")
            objects.take()
            assert search(store, "name", seconds=0).names[0] == "name" + 16 * "0"
            assert len(objects.take()) <= 4
            assert search(store, "*09999[89]").names == names[-2:]
            assert len(objects.take()) <= 30
            assert not search(store, "nothing").names
            assert not objects.take()
