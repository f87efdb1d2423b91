"""Made-up files: right data or an error of ours, whatever is in them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzzing import CORPUS, attempt, seeds

SEEDS = seeds()
FOUND = sorted(CORPUS.iterdir()) if CORPUS.is_dir() else []


@pytest.mark.parametrize("found", FOUND, ids=lambda path: path.name)
def test_what_fuzzing_found_before(found: Path, tmp_path: Path) -> None:
    attempt(found.read_bytes(), tmp_path / "fuzz.ptr")


EDITS = st.lists(
    st.tuples(st.integers(1, 20_000), st.sampled_from([0, 1, 2, 4, 8, 64]), st.binary(max_size=16)),
    min_size=1,
    max_size=6,
)


def edited(raw: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Put other bytes in the place of some, or of none."""
    result = bytearray(raw)
    for start, length, other in edits:
        at = start % len(result)
        result[at : at + length] = other
    return bytes(result)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SEEDS) - 1), EDITS)
def test_mutated_files(seed: int, edits: list[tuple[int, int, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        attempt(edited(SEEDS[seed], edits), Path(folder) / "fuzz.ptr")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=20_000, deadline=None)
@given(st.integers(0, len(SEEDS) - 1), EDITS)
def test_mutated_files_thoroughly(seed: int, edits: list[tuple[int, int, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        attempt(edited(SEEDS[seed], edits), Path(folder) / "fuzz.ptr")
