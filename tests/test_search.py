"""Search finds the names that fnmatch would, in data order, however it is cut into calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import PointerArray
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.names import decode
from ptrarray.look.viewer import patterns
from ptrarray.look.viewer.patterns import Pattern, readable
from ptrarray.look.viewer.search import Found, search
from ptrarray.storage.store import folding
from tests.support import strategies
from tests.support.command_line import Run

pytestmark = pytest.mark.usefixtures("no_syncs")
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


@settings(max_examples=400)
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
        for n in range(40):
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


def check(store: PointerArray, names: list[str]) -> None:
    assert list(store) == names
    for pattern in PATTERNS:
        for limit, seconds in ((1000, 10), (3, 10), (1000, 0), (1, 0)):
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
    check(ptrarray.open(path), names)


def test_packs_are_searched(path: Path, tmp_path: Path, backend: str) -> None:
    names = made(path)
    ptrarray.pack(path, tmp_path / "b.tar")
    check(ptrarray.open(tmp_path / "b.tar"), names)


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
