"""Every kind of index times every kind of values comes back the same, by every way in and out."""

from __future__ import annotations

import pickle
from pathlib import Path
from urllib.parse import unquote

import pytest

import ptrarray
from ptrarray.convert import from_pickles, to_pickles
from tests.support.effort import one_in
from tests.support.nested import through_codec
from tests.test_convert_unpickle import loads

pd = pytest.importorskip("pandas")

from tests.support import kinds

INDEXES = kinds.indexes()
VALUES = kinds.values()

# Each index with every other kind of values, in the slow run with those between, too.
HALVES = [(index, (at + n) % 2) for at, index in enumerate(INDEXES) for n in range(2)]
each_index = pytest.mark.parametrize(("index", "half"), one_in(2, HALVES))


def test_there_are_enough_of_them() -> None:
    assert len(INDEXES) >= 25
    assert len(VALUES) >= 19


@each_index
def test_dump_and_load(path: Path, index: str, half: int) -> None:
    """As arrays, and as the skeleton has what is short."""
    expected = kinds.series(INDEXES[index], slice(half, None, 2))
    ptrarray.dump(expected, path)
    kinds.assert_all_same(ptrarray.load(path), expected)
    kinds.assert_all_same(through_codec(expected), expected)


@each_index
def test_pickles_are_read_without_calling_anything(index: str, half: int) -> None:
    """Those of protocol 5 are when they are imported."""
    expected = kinds.series(INDEXES[index], slice(half, None, 2))
    kinds.assert_all_same(loads(pickle.dumps(expected, 2)), expected)


@pytest.mark.parametrize("index", ["default", "zoned", "levels"])
def test_frames_of_all_kinds(path: Path, index: str) -> None:
    expected = pd.DataFrame(kinds.series(INDEXES[index]))
    ptrarray.dump(expected, path)
    for found in (ptrarray.load(path), through_codec(expected), loads(pickle.dumps(expected))):
        pd.testing.assert_frame_equal(found, expected, check_freq=True, check_exact=True)
        kinds.assert_all_same(dict(found.items()), dict(expected.items()))


@each_index
def test_a_writer_keeps_them(path: Path, index: str, half: int) -> None:
    expected = kinds.series(INDEXES[index], slice(half, None, 2))
    with ptrarray.create(path) as writer:
        for kind, value in expected.items():
            writer.series(kind, value)
    with ptrarray.open(path) as store:
        kinds.assert_all_same({kind: store.series(kind) for kind in expected}, expected)


@pytest.mark.parametrize("index", one_in(3, INDEXES))
def test_import_and_export(tmp_path: Path, path: Path, index: str) -> None:
    expected = kinds.series(INDEXES[index])
    source, out = tmp_path / "x.pkl", tmp_path / "out"
    source.write_bytes(pickle.dumps(expected))
    report = from_pickles(source, path, processes=1, progress=False)
    assert report.failures == []
    with ptrarray.open(path) as store:
        kinds.assert_all_same({kind: store.series(f"x/{kind}") for kind in expected}, expected)
    assert to_pickles(path, out, progress=False).failures == []
    files = {unquote(file.stem): file for file in out.iterdir()}
    exported = {kind: pickle.loads(files[f"x/{kind}"].read_bytes()) for kind in expected}
    kinds.assert_all_same(exported, expected)
