"""Made-up bytes in all that reads those of strangers: right data or an error of ours, whatever is in them."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrarray.convert.formats import lmdb_pages, pickles
from ptrarray.format import index as index_format
from ptrarray.format.entries import RaggedColumn
from ptrarray.objects import decoder
from tests.support.damage import guarded
from tests.support.fuzz_targets import TARGETS
from tests.support.fuzzing import CORPUS, TESTS

FOUND = sorted(file for file in CORPUS.rglob("*") if file.is_file())
# Those of whole stores take a hundred times as long as those that only parse.
SLOW = {"stores", "sizes", "shards", "packs", "parts"}
EDITS = st.lists(
    st.tuples(st.integers(0, 20_000), st.sampled_from([0, 1, 2, 4, 8, 64]), st.binary(max_size=16)),
    min_size=1,
    max_size=6,
)

Edits = list[tuple[int, int, bytes]]


def attempt(target: str, raw: bytes, folder: Path) -> None:
    with guarded():
        TARGETS[target].attempt(raw, folder)


@pytest.mark.parametrize("found", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_fuzzing_found_before(found: Path, tmp_path: Path) -> None:
    attempt(found.parent.name, found.read_bytes(), tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_are_good_inputs(target: str, tmp_path: Path) -> None:
    """What the fuzzer begins with is read, and no longer than inputs may be."""
    seeds = TARGETS[target].seeds()
    assert seeds
    for raw in seeds:
        assert len(raw) <= max(TARGETS[target].max_nbytes, 4096), target
        attempt(target, raw, tmp_path)


def edited(raw: bytes, edits: Edits) -> bytes:
    """Put other bytes in the place of some, or of none."""
    result = bytearray(raw)
    for start, length, other in edits:
        at = start % (len(result) + 1)
        result[at : at + length] = other
    return bytes(result)


def try_edits(target: str, n_examples: int) -> None:
    seeds = TARGETS[target].seeds()
    with TemporaryDirectory() as folder:

        @settings(max_examples=n_examples, deadline=None)
        @given(st.integers(0, len(seeds) - 1), EDITS)
        def try_one(seed: int, edits: Edits) -> None:
            attempt(target, edited(seeds[seed], edits), Path(folder))

        try_one()


@pytest.mark.parametrize("target", TARGETS)
def test_edited_inputs(target: str) -> None:
    try_edits(target, 15 if target in SLOW else 40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS)
def test_edited_inputs_thoroughly(target: str) -> None:
    try_edits(target, 2_000 if target in SLOW else 20_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command(tmp_path: Path) -> None:
    """It counts what it has tried, and finds nothing."""
    pytest.importorskip("atheris")
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.fuzz", "marker", "stores", "--runs=200", f"--log={log}"]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert [(target, found) for _, target, _, _, found in lines] == [
        ("marker", "0"),
        ("stores", "0"),
    ]
    assert all(int(n_inputs) >= 200 for _, _, n_inputs, _, _ in lines)


# Faults that are put in --------------------------------------------------------------------------


def find_fault(target: str, folder: Path, n_inputs: int = 5_000) -> BaseException | None:
    """Try random edits, the same each time, until one breaks a promise."""
    chance, seeds = random.Random(7), TARGETS[target].seeds()
    for _ in range(n_inputs):
        edits = [
            (
                chance.randrange(20_000),
                chance.choice([0, 1, 4]),
                chance.randbytes(chance.choice([0, 1, 4])),
            )
            for _ in range(chance.randrange(1, 4))
        ]
        try:
            TARGETS[target].attempt(edited(chance.choice(seeds), edits), folder)
        except Exception as error:  # noqa: BLE001 a finding is whatever is raised
            return error
    return None


def nothing(*_: Any, **__: Any) -> None:
    """Stand for a check that is left out."""


def unchecked(raw_ends: bytes, joined: bytes, n_items: int) -> RaggedColumn:
    return RaggedColumn(np.frombuffer(raw_ends, "<i8"), np.frombuffer(joined, np.uint8))


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "index": (index_format, "check_places", nothing),
    "catalog": ("ptrarray.format.catalog", "check_places", nothing),
    "journal": ("ptrarray.format.journal", "_items", unchecked),
    "lmdb": (lmdb_pages.Pages, "_marked", lambda self, level, seen: level.astype("i8")),
    "skeleton": (decoder, "_UNREADABLE", ()),
    "pickles": (pickles, "DAMAGED", ()),
}


@pytest.mark.parametrize("target", FAULTS)
def test_a_check_that_is_left_out_is_noticed(
    target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    where, name, other = FAULTS[target]
    if isinstance(where, str):
        monkeypatch.setattr(f"{where}.{name}", other)
    else:
        monkeypatch.setattr(where, name, other)
    assert find_fault(target, tmp_path) is not None
