"""What a reader gets of files that other processes damage meanwhile: the table in docs/RELIABILITY.md.

In processes of their own, which the system may end: that is told apart from what is wrong here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests.support.cut_short import (
    ERROR,
    KILLED,
    OTHER,
    RIGHT,
    USES,
    ZEROS,
    begin,
    cut,
    in_child,
    look_up,
    make,
    make_other,
    overwrite,
    put_another,
    remove,
    replace,
    used,
)
from tests.support.disk import memory_directory
from tests.support.sanitized import IS_SANITIZED

pytestmark = pytest.mark.skipif(
    IS_SANITIZED, reason="AddressSanitizer reports the signal that is expected here"
)
DATA, MASK, INDEX, JOURNAL = "data.bin", "mask.bin", "index.msgpack", "journal.msgpack"
ROWS = ("view", "first", "behind", "masks behind", "last", "late", "take", "values", "sums")
READS = (*ROWS, "names")
WORDS = (RIGHT, ERROR, KILLED, ZEROS, OTHER)
RELIABILITY = Path(__file__).parent.parent / "docs" / "RELIABILITY.md"
BY_INDEX = ("first", "behind", "masks behind", "last", "take", "values", "sums", "names", "shown")


class Line(NamedTuple):
    """One line of the table: what is done to which file, and what is not right then, by backend."""

    damage: Callable[[Path], object]
    file: str
    mmap: dict[str, str]
    pread: dict[str, str]


def are(outcome: str, *uses: str) -> dict[str, str]:
    return dict.fromkeys(uses, outcome)


MAPPED_ROWS_CUT = {
    **are(KILLED, *ROWS),
    **are(RIGHT, "first"),
    **are(ERROR, "verify", "shown", "export", "open"),
}
ROWS_CUT = {**are(ERROR, *ROWS, "verify", "export", "open"), **are(RIGHT, "view", "first")}
ROWS_OTHER = {**are(OTHER, *ROWS, "open"), **are(ERROR, "verify")}
ROWS_OTHER_READ = ROWS_OTHER | {"view": RIGHT}
OPEN = are(ERROR, "open")
LATER = are(ERROR, "verify", "refresh", "open")
TABLE = {
    "`data.bin` is cut short": Line(cut, DATA, MAPPED_ROWS_CUT | {"behind": ZEROS}, ROWS_CUT),
    "`mask.bin` is cut short": Line(
        cut,
        MASK,
        MAPPED_ROWS_CUT | {"behind": RIGHT, "masks behind": ZEROS},
        ROWS_CUT | {"behind": RIGHT},
    ),
    "`index.msgpack` is cut short": Line(
        cut, INDEX, {**are(KILLED, *BY_INDEX), **are(ERROR, "verify", "export", "open")}, OPEN
    ),
    "`journal.msgpack` is cut short": Line(cut, JOURNAL, OPEN, OPEN),
    "`data.bin` is overwritten": Line(overwrite, DATA, ROWS_OTHER, ROWS_OTHER_READ),
    "`mask.bin` is overwritten": Line(overwrite, MASK, ROWS_OTHER, ROWS_OTHER_READ),
    "`index.msgpack` is overwritten": Line(
        overwrite,
        INDEX,
        {**are(ERROR, *BY_INDEX, "verify", "export", "open"), **are(RIGHT, "shown")},
        OPEN,
    ),
    "`journal.msgpack` is overwritten": Line(overwrite, JOURNAL, LATER, LATER),
    "`data.bin` is replaced": Line(replace, DATA, are(OTHER, "open"), are(OTHER, "open")),
    "`mask.bin` is replaced": Line(replace, MASK, are(OTHER, "open"), are(OTHER, "open")),
    "`index.msgpack` is replaced": Line(replace, INDEX, LATER, LATER),
    "the store is removed": Line(
        remove, "", are(ERROR, "refresh", "open"), are(ERROR, "refresh", "open")
    ),
    "another store is put in its place": Line(
        put_another, "", are(OTHER, "refresh", "open"), are(OTHER, "refresh", "open")
    ),
}


@pytest.fixture(scope="module")
def stores() -> Iterator[Path]:
    with TemporaryDirectory(dir=memory_directory()) as name:
        make(Path(name, "plain"), masked=False)
        make(Path(name, "masked"), masked=True)
        make_other(Path(name, "other"))
        yield Path(name)


@pytest.mark.parametrize("backend", ["mmap", pytest.param("pread", marks=pytest.mark.once)])
@pytest.mark.parametrize("line", TABLE)
def test_what_a_reader_gets(line: str, backend: str, stores: Path) -> None:
    damage, file, *outcomes = TABLE[line]
    expected = dict.fromkeys(USES, RIGHT) | outcomes[backend == "pread"]
    fatal = [[use] for use in USES if expected[use] == KILLED]
    others = [use for use in USES if expected[use] != KILLED]
    found: dict[str, str] = {}
    for uses in [others, *fatal]:
        with TemporaryDirectory(dir=stores) as name:
            path = Path(name, "a.ptr")
            shutil.copytree(stores / ("masked" if file == MASK else "plain"), path)
            shutil.copytree(stores / "other", Path(name, "other.ptr"))
            found |= used(path, backend, partial(damage, path / file), uses)
    assert found == expected


@pytest.mark.once
@pytest.mark.parametrize("file", [DATA, MASK, INDEX, JOURNAL])
def test_what_begins_anew_looks_first(file: str, stores: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    shutil.copytree(stores / "masked", path)
    found = in_child(lambda: cut(path / file), begin, path)
    assert found is not None
    assert set(found.values()) == {ERROR}, found


@pytest.mark.parametrize("file", [DATA, INDEX])
def test_a_writer_has_the_index_mapped(file: str, stores: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    shutil.copytree(stores / "plain", path)
    found = in_child(partial(cut, path / file), look_up, path)
    assert found == (None if file == INDEX else {"look up": RIGHT})


def test_the_table_says_so() -> None:
    said = {cells[0]: cells[1:] for cells in table_of(RELIABILITY)}
    assert list(said) == list(TABLE)
    for line, (_, _, *outcomes) in TABLE.items():
        mapped, read = (dict.fromkeys(USES, RIGHT) | some for some in outcomes)
        by_column = [
            {mapped[use] for use in READS},
            {read[use] for use in READS},
            *({one[use] for one in (mapped, read)} for use in ("refresh", "verify", "open")),
        ]
        for cell, found in zip(said[line], by_column, strict=True):
            assert set(re.findall("|".join(WORDS), cell)) == found, (line, cell)


def table_of(page: Path) -> list[list[str]]:
    text = page.read_text("utf-8").partition("## Files damaged by others")[2]
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
