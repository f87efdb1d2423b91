"""Token files of Megatron-LM and fairseq: copied, linked and moved, bit for bit; and an .idx for a store."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from ptrarray.convert.formats import megatron
from tests.support.megatron_files import (
    DTYPES,
    GOLDEN,
    NAMES,
    golden,
    sequences,
    write_pair,
)

pytestmark = pytest.mark.usefixtures("no_syncs")
HOWS = ("copy", "link", "move")
each_how = pytest.mark.parametrize("how", HOWS)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.ptr"


def run(paths: Any, store: Path, **options: Any) -> Report:
    return convert.from_megatron(paths, store, progress=False, **options)


def copied(name: str, folder: Path) -> Path:
    """Return a copy of a golden file, which may be linked."""
    for suffix in (".bin", ".idx"):
        shutil.copy(GOLDEN / f"{name}{suffix}", folder)
    return folder / f"{name}.idx"


def check(store: Path, expected: list[Any], metas: list[dict[str, Any]] | None = None) -> None:
    """Check names, values, dtypes and metadata, and every byte of the store."""
    with ptrarray.open(store) as opened:
        opened.verify()
        assert sorted(opened, key=int) == [str(i) for i in range(len(expected))]
        for i, array in enumerate(expected):
            found = opened[str(i)]
            assert found.dtype == array.dtype
            assert found.tobytes() == array.tobytes()
            assert opened.meta[str(i)] == ({} if metas is None else metas[i])


# Golden files ---------------------------------------------------------------------------------------


@each_how
@pytest.mark.parametrize("name", NAMES)
def test_sequences(name: str, how: str, folder: Path, store: Path) -> None:
    documents, dtype = golden(name)
    path = copied(name, folder)
    report = run(path, store, how=how, verify=True)
    assert report.ok
    metas: list[dict[str, Any]] = [{} for document in documents for _ in document]
    if any(len(document) != 1 for document in documents):
        for k, meta in zip(
            [k for k, document in enumerate(documents) for _ in document], metas, strict=True
        ):
            meta["document"] = k
    if name == "modes":
        for i, meta in enumerate(metas):
            meta["mode"] = i % 2
    check(store, sequences(documents, dtype), metas)
    assert path.with_suffix(".bin").exists() == (how != "move")
    is_noted = any("documents have no sequences" in note for note in report.notes)
    assert is_noted == (name == "documents")


@each_how
def test_documents(how: str, folder: Path, store: Path) -> None:
    first, second, third, fourth, fifth = sequences(golden("documents")[0])
    report = run(copied("documents", folder), store, how=how, by="document")
    assert (report.converted, report.notes) == (4, [])
    whole = [first, np.concatenate([second, third]), first[:0], np.concatenate([fourth, fifth])]
    metas: list[dict[str, Any]] = [{}, {"sequences": [2, 4]}, {"sequences": []}]
    check(store, whole, [*metas, {"sequences": [0, 5]}])


@each_how
def test_documents_of_one_sequence_are_sequences(how: str, folder: Path, store: Path) -> None:
    assert run(copied("plain", folder), store, how=how, by="document").ok
    check(store, sequences(golden("plain")[0]))


@each_how
def test_modes_of_documents(how: str, folder: Path, store: Path) -> None:
    first, second, third = sequences(golden("modes")[0])
    assert run(copied("modes", folder), store, how=how, by="document").ok
    metas: list[dict[str, Any]] = [{"modes": [0]}, {"sequences": [3, 1], "modes": [1, 0]}]
    check(store, [first, np.concatenate([second, third])], metas)


def test_several_files_and_again(store: Path) -> None:
    report = run(GOLDEN, store)
    assert report.ok
    n_all = sum(len(sequences(golden(name)[0])) for name in NAMES)
    assert report.converted == n_all
    with ptrarray.open(store) as opened:
        assert opened["u2/2"].tolist() == [14, 15, 16, 17]
        assert opened["f4/0"].dtype == np.float32
    assert run(GOLDEN, store).skipped == n_all


def test_files_of_one_dtype_make_a_store_of_it(store: Path) -> None:
    paths = [GOLDEN / "plain.idx", GOLDEN / "documents.idx"]
    assert run(paths, store).ok
    with ptrarray.open(store) as opened:
        assert opened.layout == "rows"
        assert opened.dtype == np.dtype("i4")


def test_many_parts(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [np.arange(i % 5, dtype="u2") for i in range(300)]
    path = write_pair(folder / "x", arrays)
    monkeypatch.setattr(megatron, "_PART_ARRAYS", 70)
    monkeypatch.setattr(megatron, "PIECE_ARRAYS", 16)
    monkeypatch.setattr(megatron, "_PIECE_NBYTES", 64)
    assert run(path, store, verify=True).converted == 300
    check(store, arrays)


# Two tables of codes --------------------------------------------------------------------------------


@each_how
def test_files_of_fairseq(how: str, folder: Path, store: Path) -> None:
    # fairseq 0.12.2, fairseq/data/indexed_dataset.py, MMapIndexedDataset: magic and version of Megatron's
    # files, and neither document count nor document indices. megatron-core 0.16.1 takes lengths for the count.
    arrays = sequences([[3], [0], [4]], "f8")
    assert run(write_pair(folder / "x", arrays, code=7, is_fairseq=True), store, how=how).ok
    check(store, arrays)


@pytest.mark.parametrize(("dtype", "code"), [("u4", 9), ("u8", 10), ("f8", 6), ("u2", 8)])
def test_other_codes_of_fairseq(dtype: str, code: int, folder: Path, store: Path) -> None:
    arrays = sequences([[3], [1]], dtype)
    assert run(write_pair(folder / "x", arrays, code=code, is_fairseq=True), store).ok
    check(store, arrays)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_code_7_is_told_by_sizes(dtype: str, folder: Path, store: Path) -> None:
    # megatron-core: float32. Megatron-LM before it: `np.double`, with documents as well.
    arrays = sequences([[3], [0], [4]], dtype)
    assert run(write_pair(folder / "x", arrays, code=7), store).ok
    check(store, arrays)


@pytest.mark.parametrize(("origin", "dtype"), [("megatron", "f4"), ("fairseq", "f8")])
def test_code_7_that_sizes_do_not_tell(origin: str, dtype: str, folder: Path, store: Path) -> None:
    arrays = sequences([[2], [2]], dtype)
    path = write_pair(folder / "x", arrays, code=7, pointers=[16, 0])
    (folder / "x.bin").write_bytes(
        arrays[1].tobytes().ljust(16, b"\0") + arrays[0].tobytes() + b"\0" * 16
    )
    report = run(path, store)
    assert "origin='megatron' or origin='fairseq'" in report.failures[0].problem
    assert not store.exists()
    assert run(path, store, origin=origin).ok
    check(store, arrays)


def test_code_7_in_another_order_is_not_guessed(folder: Path, store: Path) -> None:
    arrays = sequences([[2], [2]], "f8")
    path = write_pair(folder / "x", arrays[::-1], code=7, pointers=[16, 0])
    assert "say origin=" in run(path, store).failures[0].problem
    assert run(path, store, origin="fairseq").ok
    check(store, arrays)


def test_pointers_that_wrapped(folder: Path, store: Path) -> None:
    # Megatron-LM issue 1672: merged by megatron-core up to 0.12 with NumPy 2, pointers are of int32.
    arrays = sequences([[3], [2]])
    path = write_pair(folder / "x", arrays, pointers=[0, 12 - 2**32])
    report = run(path, store)
    assert report.notes == [
        f"indexes had pointers that wrapped at 32 bits, which were computed anew from the lengths: {path}"
    ]
    check(store, arrays)
    with path.with_suffix(".bin").open("ab") as file:
        file.write(bytes(4))  # not all of it is known, so there is a doubt
    assert run(path, store.with_name("t.ptr")).failures
    write_pair(folder / "x", arrays, pointers=[0, 8 - 2**32])
    assert "sequence 1 is at 2 elements" in run(path, store.with_name("t.ptr")).failures[0].problem


# Where sequences lie --------------------------------------------------------------------------------


@each_how
def test_any_order_with_holes_and_shared_rows(how: str, folder: Path, store: Path) -> None:
    whole = np.arange(10, dtype="i4")
    arrays = [whole[6:9], whole[:2], whole[7:8], whole[3:3], whole[4:6]]
    path = write_pair(folder / "x", arrays, pointers=[24, 0, 28, 12, 16])
    path.with_suffix(".bin").write_bytes(whole.tobytes() + b"rest of a row")
    assert run(path, store, how=how).ok
    check(store, arrays)


@each_how
def test_no_rows(how: str, folder: Path, store: Path) -> None:
    # megatron-core 0.16.1 does not open a .bin of no bytes: "cannot mmap an empty file".
    arrays = [np.empty(0, "i4")] * 3
    assert run(write_pair(folder / "x", arrays), store, how=how).converted == 3
    check(store, arrays)


@each_how
def test_no_sequences(how: str, folder: Path, store: Path) -> None:
    assert run(write_pair(folder / "x", []), store, how=how) == Report()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=9),
    st.sampled_from(sorted(DTYPES)),
    st.sampled_from(HOWS),
    st.booleans(),
)
def test_any_documents(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    dtype: str,
    how: str,
    by_document: bool,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    arrays = sequences(documents, dtype)
    edges = np.cumsum([0, *map(len, documents)])
    path = write_pair(folder / "x", arrays, code=DTYPES[dtype], documents=edges)
    if by_document:
        expected = [
            np.concatenate([np.empty(0, dtype), *arrays[start:end]])
            for start, end in pairwise(edges)
        ]
    else:
        expected = arrays
    by = "document" if by_document else "sequence"
    is_told = dtype != "f4" or any(map(len, arrays))  # code 7 of nothing can be either
    report = run(path, folder / "s.ptr", how=how, by=by)
    assert report.ok == is_told
    if is_told and expected:
        with ptrarray.open(folder / "s.ptr") as opened:
            assert [opened[str(i)].tobytes() for i in range(len(expected))] == [
                array.tobytes() for array in expected
            ]
            metas = [opened.meta[str(i)] for i in range(len(expected))]
        lengths = [len(array) for array in arrays]
        numbers = [k for k, document in enumerate(documents) for _ in document]
        if not by_document and numbers != list(range(len(documents))):
            assert metas == [{"document": k} for k in numbers]
        if by_document and any(len(document) != 1 for document in documents):
            spans = [m.get("sequences", [len(a)]) for m, a in zip(metas, expected, strict=True)]
            assert [n for span in spans for n in span] == lengths
    shutil.rmtree(folder)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(HOWS),
    st.sampled_from(["sequence", "document"]),
)
def test_in_and_out_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    has_modes: bool,
    how: str,
    by: str,
) -> None:
    folder = tmp_path_factory.mktemp("same")
    # The last document has a sequence with a token: to import by sequences loses what is empty then.
    documents = [*documents, [2, 0]]
    arrays = sequences(documents, "u2")
    edges = np.cumsum([0, *map(len, documents)])
    modes = [at % 3 - 1 for at in range(len(arrays))] if has_modes else []
    path = write_pair(folder / "x", arrays, documents=edges, modes=modes)
    given_idx, given_bin = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    store = folder / "s.ptr"
    assert run(path, store, how=how, by=by).ok
    report = convert.to_megatron(store, progress=False)
    assert (report.failures, report.notes) == ([], [])
    assert (store / "data.idx").read_bytes() == given_idx
    assert (store / "data.bin").read_bytes() == given_bin
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "metas",
    [
        [{"document": 0}, {}, {"document": 1}],
        [{"document": 1}, {"document": 0}, {"document": 1}],
        [{"document": True}, {"document": True}, {"document": True}],
        [{"document": -1}, {"document": 0}, {"document": 1}],
        [{"document": 0}, {"document": 0}, {"document": 2**60}],
        [{"document": 0}, {"document": 0}, {"sequences": [1]}],
        [{"mode": 128}, {"mode": 0}, {"mode": 0}],
        [{"mode": 0}, {}, {"mode": 0}],
        [{"sequences": [1, 2]}, {}, {}],
        [{"sequences": [3, -1]}, {}, {}],
        [{"sequences": "x"}, {}, {}],
        [{"sequences": 2}, {}, {}],
        [{"modes": [0]}, {"modes": [0]}, {"modes": [0, 0]}],
        [{"modes": [0]}, {"modes": [0]}, {}],
        [{"modes": [0]}, {"modes": [0]}, {"modes": [0.5]}],
        [{"language": "de"}, {}, {}],
    ],
)
def test_other_metadata_is_no_imports(metas: list[dict[str, Any]], store: Path) -> None:
    names = ["0", "1", "2"]
    with ptrarray.create(store, dtype="i4") as writer:
        writer.write_ragged(
            names, np.arange(6), [0, 2, 3, 6], meta=dict(zip(names, metas, strict=True))
        )
    report = convert.to_megatron(store)
    n_lost = sum(map(bool, metas))
    said = "1 array is" if n_lost == 1 else f"{n_lost} arrays is"
    assert report.notes == [f"metadata of {said} not kept in a .idx"]
    documents = np.frombuffer((store / "data.idx").read_bytes()[-32:], "<i8")
    assert documents.tolist() == [0, 1, 2, 3]


def test_metadata_beside_that_of_an_import(store: Path) -> None:
    metas: dict[str, dict[str, Any]] = {
        "0": {"document": 0, "language": "de"},
        "1": {"document": 0},
    }
    with ptrarray.create(store, dtype="i4") as writer:
        writer.write_ragged(["0", "1"], np.arange(3), [0, 2, 3], meta=metas)
    report = convert.to_megatron(store)
    assert report.notes == ["metadata of 1 array is not kept in a .idx"]
    assert np.frombuffer((store / "data.idx").read_bytes()[-16:], "<i8").tolist() == [0, 2]
