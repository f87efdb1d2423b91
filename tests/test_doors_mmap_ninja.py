"""Folders of mmap_ninja's `RaggedMmap`: all ranks come in; what does not fit, or would crash it, is a failure."""

from __future__ import annotations

import os
import random
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from ptrarray.convert.formats import mmap_ninja
from tests.support.imports import check_content

library = pytest.importorskip("mmap_ninja.ragged")
pytestmark = pytest.mark.usefixtures("limits", "no_syncs")
Arrays = list[Any]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(paths: Any, store: Path, **options: Any) -> Report:
    return convert.from_mmap_ninja(paths, store, progress=False, **options)


def check(store: Path, arrays: Arrays) -> None:
    check_content(store, {str(i): array for i, array in enumerate(arrays)})


def failure(folder: Path, store: Path) -> str:
    report = run(folder, store)
    assert (report.converted, len(report.failures)) == (0, 1)
    assert not store.exists()
    return report.failures[0].problem


F = np.arange(24.0)
MANY: dict[str, Arrays] = {
    "flat": [F[:3], F[:0], F[5:7]],
    "two axes": [F[:6].reshape(2, 3), F[6:9].reshape(1, 3), F[:3].reshape(1, 3)],
    "all ranks": [F[:2], F[:6].reshape(2, 3), F.reshape(2, 3, 4), F.reshape(1, 2, 3, 4), F[:1]],
    "runs": [F[:6].reshape(2, 3)] * 5 + [F[:8].reshape(2, 4)] * 4 + [F[:3]] * 3,
    "empty of two axes": [
        np.empty((0, 3)),
        F[:6].reshape(2, 3),
        np.empty((2, 0)),
        np.empty((0, 0)),
    ],
    # It reads the first of these as a float of Python, and not at all beside others of two axes:
    # "cannot reshape array of size 1 into shape (0,)" (mmap_ninja 0.9.0, ragged.py, get_single).
    "0-d": [np.array(5.0), F[:2], np.array(7.0)],
    "0-d and others": [np.array(5.0), F[:6].reshape(2, 3), F[:1], np.array(7.0)],
    "one row": [F[:1]],
    "one element": [F[:1].reshape(1, 1, 1)],
    "Fortran order": [np.asfortranarray(F[:6].reshape(2, 3)), F[:6].reshape(2, 3).T],
}
MANY |= {
    dtype: [np.arange(3).astype(dtype), np.arange(2).astype(dtype)]
    for dtype in ("?", "i1", "u8", "f2", "g", "c8", "M8[25s]", "m8[ns]", "u2")
}
# It maps what it writes, and numpy before 2.2 maps no file of nothing.
MAKES_EMPTY = np.lib.NumpyVersion(np.__version__) >= "2.2.0"
if MAKES_EMPTY:
    MANY["only empty"] = [F[:0]]


@pytest.mark.parametrize("name", MANY)
def test_arrays(name: str, folder: Path, store: Path) -> None:
    library.RaggedMmap.from_lists(folder / "x", MANY[name])
    report = run(folder / "x", store, verify=True)
    assert report == Report(len(MANY[name]))
    check(store, MANY[name])


def test_big_endian_arrays_are_native_there(folder: Path, store: Path) -> None:
    library.RaggedMmap.from_lists(folder / "x", [np.arange(3, dtype=">f4")])
    assert run(folder / "x", store).ok
    check(store, [np.arange(3, dtype="f4")])


def test_the_first_array_s_dtype_is_that_of_all(folder: Path, store: Path) -> None:
    # Cast unsafely, within one call too (mmap_ninja 0.9.0, numpy.py, _lists_of_ndarrays_to_bytes).
    library.RaggedMmap.from_lists(folder / "x", [np.arange(2, dtype="u2"), np.array([70_000, -1])])
    assert run(folder / "x", store).ok
    check(store, [np.arange(2, dtype="u2"), np.array([4464, 65535], "u2")])


def test_appended_and_several_folders(folder: Path, store: Path) -> None:
    for name in "ab":
        ragged = library.RaggedMmap.from_lists(folder / name, [F[:6].reshape(2, 3)])
        ragged.extend([F[:3], F[:4].reshape(4, 1)])
    (folder / "a" / "note.txt").write_text("mine")
    report = run(folder, store, processes=1)
    assert (report.converted, report.notes) == (6, [])
    with ptrarray.open(store) as opened:
        assert opened["b/2"].shape == (4, 1)
    assert run(folder, store, processes=1).skipped == 6


def test_many_parts(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [F[: 2 * (i % 7)].reshape(-1, 2) if i % 11 else F[: i % 5] for i in range(400)]
    library.RaggedMmap.from_lists(folder / "x", arrays)
    monkeypatch.setattr(mmap_ninja, "_PART_ARRAYS", 90)
    monkeypatch.setattr(mmap_ninja, "_PIECE_ARRAYS", 32)
    monkeypatch.setattr(mmap_ninja, "_PIECE_NBYTES", 100)
    assert run(folder / "x", store, verify=True, processes=1).converted == 400
    check(store, arrays)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        hnp.arrays("f4", hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
        min_size=1,
        max_size=8,
    )
)
def test_any_arrays(tmp_path_factory: pytest.TempPathFactory, arrays: Arrays) -> None:
    assume(MAKES_EMPTY or any(array.size for array in arrays))
    folder = tmp_path_factory.mktemp("any")
    library.RaggedMmap.from_lists(folder / "x", arrays)
    assert run(folder / "x", folder / "s.ptr").ok
    check(folder / "s.ptr", arrays)
    shutil.rmtree(folder)


# What mmap_ninja leaves when something goes wrong ---------------------------------------------------


def test_an_append_that_was_refused(folder: Path, store: Path) -> None:
    # The rank differs and the first call had 1-D arrays only. Data and pointers are written before that
    # is noticed (mmap_ninja 0.9.0, ragged.py, extend), and shapes are not.
    ragged = library.RaggedMmap.from_lists(folder / "x", [F[:3]])
    with pytest.raises(AssertionError):
        ragged.append(F[:6].reshape(2, 3))
    assert "it has 2 arrays and 1 shapes" in failure(folder / "x", store)


@pytest.mark.skipif(not MAKES_EMPTY, reason="with numpy before 2.2 mmap_ninja makes none")
def test_begun_with_empty_arrays(folder: Path, store: Path) -> None:
    # numpy makes a file of one byte of nothing, as nothing cannot be mapped; an append goes behind it, so
    # that every value is shifted by a byte (mmap_ninja 0.9.0, numpy.py, extend_dir).
    ragged = library.RaggedMmap.from_lists(folder / "x", [F[:0]])
    ragged.append(F[:3])
    assert library.RaggedMmap(folder / "x")[1].tolist() != F[:3].tolist()
    assert "has 25 bytes, and its shape 24" in failure(folder / "x", store)


def test_two_that_append(folder: Path, store: Path) -> None:
    # Each computes pointers from the ends that it has seen (mmap_ninja 0.9.0, ragged.py, extend).
    first = library.RaggedMmap.from_lists(folder / "x", [F[:3]])
    second = library.RaggedMmap(folder / "x")
    first.append(F[:2])
    second.append(F[10:14])
    assert "its 3 arrays do not lie end to end" in failure(folder / "x", store)


@pytest.mark.parametrize("shapes", [[3], [(3, 1)]])
def test_killed_while_appending(shapes: Any, folder: Path, store: Path) -> None:
    library.RaggedMmap.from_lists(folder / "x", [np.zeros(shape) for shape in shapes])
    with (folder / "x" / "data.ninja").open("ab") as file:
        file.write(bytes(8))
    assert "an append was killed" in failure(folder / "x", store)


@pytest.mark.parametrize("value", [{}, np.array([(1, 2.0)], "i4,f8")[0], "text", b"bytes"])
def test_dtypes_that_it_writes_and_does_not_read(value: Any, folder: Path, store: Path) -> None:
    # Objects are written as addresses, without a word, and kill who reads them in another process.
    array = np.empty(2, np.asarray(value).dtype)
    array[:] = [value, value]
    with suppress(TypeError):
        library.RaggedMmap.from_lists(folder / "x", [array])
    assert "expected numbers or dates" in failure(folder / "x", store)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_texts(folder: Path, store: Path) -> None:
    from mmap_ninja.string import StringsMmap

    StringsMmap.from_strings(folder / "x", ["a", "bc"])
    assert "StringsMmap, which has texts" in failure(folder, store)


# Damage ---------------------------------------------------------------------------------------------


@pytest.fixture
def made(folder: Path) -> Path:
    arrays = [F[:6].reshape(2, 3), F[:2], np.array(5.0), F[:0]]
    library.RaggedMmap.from_lists(folder / "x", arrays)
    return folder / "x"


@pytest.mark.parametrize(
    ("file", "raw", "expected"),
    [
        ("dtype.ninja", b"object", "expected numbers or dates"),
        ("dtype.ninja", b"f4,f4", "expected numbers or dates"),
        ("dtype.ninja", b"f8", "expected numbers or dates"),  # a name that it does not write
        ("dtype.ninja", b"(4,)f8", "expected numbers or dates"),
        ("dtype.ninja", b"\xff" * 5000, "expected numbers or dates"),
        ("starts/dtype.ninja", b"object", "starts has the dtype 'object', expected int64"),
        ("shapes/dtype.ninja", b"float64", "shapes has the dtype 'float64', expected int64"),
        ("shape.ninja", struct.pack("<Q", 2**61), "its shape 18446744073709551616"),
        ("shape.ninja", b"123", "x has the shape"),
        ("order.ninja", b"F", "in order 'F'"),
        ("starts/data.ninja", np.array([0, 6, -1, 9]).tobytes(), "do not lie end to end"),
        ("starts/data.ninja", np.array([0, 6, 8]).tobytes(), "data.ninja of starts has 24 bytes"),
        ("ends/data.ninja", np.array([6, 8, 9, 99]).tobytes(), "do not lie end to end"),
        ("shapes/data.ninja", np.array([2, 4, 2, 0, 0]).tobytes(), "array 0 has 6 elements"),
        ("shapes/data.ninja", np.array([-2, -3, 2, 0, 0]).tobytes(), "array 0 has 6 elements"),
        # Its product is 6, in 64 bits.
        ("shapes/data.ninja", np.array([2**32, 2**32, 2, 0, 0]).tobytes(), "array 0 has 6"),
        (
            "shapes/ends/data.ninja",
            np.array([0, 3, 4, 5]).tobytes(),
            "4 arrays do not lie end to end",
        ),
        ("shapes_are_flat.ninja", b"\1\0\0\0", "shapes has the shape [5] in order"),
        ("shapes_are_flat.ninja", b"\2\0\0\0", "expected a number of 32 bits, 0 or 1"),
        ("shapes_are_flat.ninja", b"", "expected a number of 32 bits, 0 or 1"),
    ],
)
def test_forged(file: str, raw: bytes, expected: str, made: Path, store: Path) -> None:
    (made / file).write_bytes(raw)
    assert expected in failure(made, store)


def test_any_byte_cut_or_changed(made: Path, store: Path) -> None:
    """Each file of the folder: what is read then fits what the files say, or is a failure."""
    rng = random.Random(2)
    for path in sorted(path for path in made.rglob("*.ninja") if path.name != "type.ninja"):
        raw = path.read_bytes()
        for at in range(rng.randrange(11), len(raw), 11):
            changed = bytearray(raw)
            changed[at] ^= rng.randrange(1, 256)
            for forged in (raw[:at], bytes(changed)):
                path.write_bytes(forged)
                report = run(made, store)
                assert report.failures or path.parent == made
                if store.exists():
                    with ptrarray.open(store) as opened:
                        opened.verify()
                    shutil.rmtree(store)
        path.unlink()
        assert run(made, store).failures
        path.write_bytes(raw)
    assert run(made, store).ok


def test_a_pipe_is_no_part_of_a_folder(made: Path, store: Path) -> None:
    """Nobody may ever write into it."""
    (made / "order.ninja").unlink()
    os.mkfifo(made / "order.ninja")
    assert failure(made, store) == "order.ninja is no file"
