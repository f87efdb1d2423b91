"""Files of safetensors, in and out: written and read by the library itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import ptrarray
from ptrarray.convert import from_safetensors, to_safetensors

pytestmark = pytest.mark.usefixtures("limits")

library = pytest.importorskip("safetensors")
library_numpy = pytest.importorskip("safetensors.numpy")

PLAIN = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]
NAMED = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"]


def of_each_dtype() -> dict[str, Any]:
    made: dict[str, Any] = {name: np.array([0, 1, 1, 0, 1]).astype(name) for name in PLAIN}
    for name in NAMED:
        made[name] = np.array([0.5, 1, 2, 4]).astype(getattr(ml_dtypes, name))
    return made


def odd() -> dict[str, Any]:
    return {
        "number": np.array(3, "i4"),
        "empty": np.zeros(0, "f4"),
        "rows of nothing": np.zeros((4, 0), "f4"),
        "no rows": np.zeros((0, 3), "f4"),
        "one row": np.ones((1, 3), "f4"),
        "cube": np.arange(24, dtype="f4").reshape(2, 3, 4),
        "": np.arange(2, dtype="i8"),
        "ü/x.weight": np.arange(3, dtype="f8"),
        "large": np.arange(600_000, dtype="f4").reshape(-1, 3),
    }


def same(found: Any, given: Any) -> bool:
    is_same = (found.dtype, found.shape) == (given.dtype, given.shape)
    return is_same and found.tobytes() == given.tobytes()


def forge(path: Path, header: Any, payload: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(raw) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + raw + payload)
    return path


def tensor(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def come(paths: Any, store: Path, **options: Any) -> Any:
    return from_safetensors(paths, store, progress=False, verify=True, **options)


def test_all_dtypes_come_bit_for_bit(tmp_path: Path) -> None:
    given = of_each_dtype() | odd()
    library_numpy.save_file(given, tmp_path / "x.safetensors")
    report = come(tmp_path / "x.safetensors", tmp_path / "s.ptr")
    assert (report.converted, report.failures) == (len(given), [])
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert {name for name in given if not same(store[name], given[name])} == set()
        assert len(store) == len(given)


def test_rows_of_one_dtype(tmp_path: Path) -> None:
    given = {f"{i}": np.full((i, 3), i, "f4") for i in range(50)}
    library_numpy.save_file(given, tmp_path / "x.safetensors")
    options = {"dtype": "f8", "row_shape": 3}
    assert come(tmp_path / "x.safetensors", tmp_path / "s.ptr", **options).converted == 50
    assert come(tmp_path / "x.safetensors", tmp_path / "s.ptr", **options).skipped == 50
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert all(np.array_equal(store[name], given[name]) for name in given)


def test_values_that_are_not_aligned(tmp_path: Path) -> None:
    # The library pads its headers; it reads those of others that do not (0.8.0).
    numbers = np.arange(6, dtype="f8")
    header = b'{"a":{"dtype":"F64","shape":[6],"data_offsets":[0,48]}}'
    assert (len(header) + 8) % 8
    forge(tmp_path / "x.safetensors", header, numbers.tobytes())
    assert come(tmp_path / "x.safetensors", tmp_path / "s.ptr").ok
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert same(store["a"], numbers)


def test_a_large_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptrarray.convert.formats.safetensors._PART_NBYTES", 10_000)
    given = {f"{i:03}": np.full(997, i, "f4") for i in range(40)} | {"z": np.array(1)}
    path = tmp_path / "x.safetensors"
    library_numpy.save_file(given, path, {"by": "us"})
    report = come(path, tmp_path / "s.ptr", processes=2)
    assert (report.converted, report.failures) == (41, [])
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert all(same(store[name], given[name]) for name in given)
        assert store.attrs["__metadata__"] == {"by": "us"}


def test_several_share_a_byte(tmp_path: Path) -> None:
    # Of F4, which 0.8.0 has, shapes count elements of half a byte, and numpy has no such array.
    header = {
        "a": tensor("F32", [1], 0, 4),
        "b": tensor("F4", [2, 2], 4, 6),
        "c": tensor("U8", [2], 6, 8),
    }
    path = forge(tmp_path / "x.safetensors", header, b"\0\0\0\0\x12\x34\1\2")
    report = come(path, tmp_path / "s.ptr")
    assert report.converted == 2
    assert [failure.source for failure in report.failures] == [f"{path}:b"]
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert store["c"].tolist() == [1, 2]


def test_bool_of_other_bytes_is_refused(tmp_path: Path) -> None:
    # The library does not look (0.8.0), and numpy computes with such a bool as if it were 2.
    header = {"a": tensor("BOOL", [2], 0, 2), "b": tensor("BOOL", [2], 2, 4)}
    path = forge(tmp_path / "x.safetensors", header, b"\0\1\1\2")
    report = come(path, tmp_path / "s.ptr")
    assert (report.converted, report.failures[0].source) == (1, f"{path}:b")
    assert "other than 0 and 1" in report.failures[0].problem


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        {"a": tensor("F32", [1 << 62, 1 << 62], 0, 4)},
        {"a": tensor("F32", [2], 0, 4)},
        {"a": tensor("F32", [1], 4, 8)},
        {"a": tensor("F32", [1], 0, 1 << 60)},
        {"a": tensor("X32", [1], 0, 4)},
        {"a": tensor("F32", [-1], 0, 4)},
        {"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [3], 1, 4)},
    ],
)
def test_forged_headers(tmp_path: Path, header: Any) -> None:
    path = forge(tmp_path / "x.safetensors", header, b"\0\0\0\0")
    report = come(path, tmp_path / "s.ptr")
    assert (report.converted, len(report.failures)) == (0, 1)
    assert report.failures[0].source == str(path)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_forged_lengths_of_headers(tmp_path: Path, length: int) -> None:
    header = {"a": tensor("F32", [1], 0, 4)}
    path = forge(tmp_path / "x.safetensors", header, b"\0\0\0\0", length)
    assert not come(path, tmp_path / "s.ptr").ok


def test_cut_off_anywhere(tmp_path: Path) -> None:
    whole, cut = tmp_path / "x.safetensors", tmp_path / "cut.safetensors"
    library_numpy.save_file({"a": np.arange(3, dtype="f4"), "b": np.array(1)}, whole)
    raw = whole.read_bytes()
    for size in range(len(raw)):
        cut.write_bytes(raw[:size])
        report = come(cut, tmp_path / "s.ptr")
        assert (report.converted, len(report.failures)) == (0, 1), size
    assert not (tmp_path / "s.ptr").exists()


def test_flipped_anywhere(tmp_path: Path) -> None:
    whole, bad = tmp_path / "x.safetensors", tmp_path / "bad.safetensors"
    library_numpy.save_file({"a": np.arange(3, dtype="f4"), "b": np.array([True])}, whole)
    raw = whole.read_bytes()
    for at in range(len(raw)):
        bad.write_bytes(raw[:at] + bytes([raw[at] ^ 0x11]) + raw[at + 1 :])
        report = come(bad, tmp_path / f"{at}.ptr")
        assert report.converted == 2 or report.failures or report.notes, at


def checkpoint(folder: Path) -> dict[str, Any]:
    """Make a checkpoint of two shards, as transformers and diffusers write them; return it."""
    given = {f"layer.{i}.weight": np.full((2, i + 1), i, "f4") for i in range(6)}
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    folder.mkdir(exist_ok=True)
    weight_map: dict[str, str] = {}
    for i, name in enumerate(names):
        keys = sorted(given)[3 * i : 3 * i + 3]
        library_numpy.save_file({key: given[key] for key in keys}, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(keys, name)
    index = {"metadata": {"total_size": 168}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return given


@pytest.mark.parametrize("what", ["", "model.safetensors.index.json"])
def test_a_checkpoint_is_one(tmp_path: Path, what: str) -> None:
    given = checkpoint(tmp_path / "in")
    report = come(tmp_path / "in" / what, tmp_path / "s.ptr", processes=1 if what else 2)
    assert (report.converted, report.failures, report.notes[1:]) == (6, [], [])
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert sorted(store) == sorted(given)
        assert all(same(store[name], given[name]) for name in given)
        assert store.attrs["__metadata__"] == {"format": "pt"}


def test_checkpoints_in_folders(tmp_path: Path) -> None:
    for name in ("unet", "vae"):
        checkpoint(tmp_path / name)
    report = come([tmp_path / "unet", tmp_path / "vae"], tmp_path / "s.ptr")
    assert (report.converted, report.failures) == (12, [])
    with ptrarray.open(tmp_path / "s.ptr") as store:
        assert "unet/layer.0.weight" in store
        assert "vae/layer.5.weight" in store


def test_what_an_index_does_not_name(tmp_path: Path) -> None:
    # As huggingface_hub 2.4, which refuses tensors that the map does not name.
    checkpoint(tmp_path / "in")
    index = tmp_path / "in" / "model.safetensors.index.json"
    about = json.loads(index.read_text())
    first = about["weight_map"].pop("layer.0.weight")
    about["weight_map"]["missing"] = first
    about["weight_map"]["lost"] = "gone.safetensors"
    index.write_text(json.dumps(about))
    library_numpy.save_file({"x": np.array([1])}, tmp_path / "in" / "other.safetensors")
    report = come(tmp_path / "in", tmp_path / "s.ptr")
    assert report.converted == 5
    labels = [failure.source.rpartition(":")[2] for failure in report.failures]
    assert labels == ["gone.safetensors", "layer.0.weight", "missing"]
    assert "other.safetensors" in f"{report.notes}"


@pytest.mark.parametrize(
    "file",
    ["../x.safetensors", "/x.safetensors", "a\\..\\x.safetensors", "C:x.safetensors", "x.bin", 3],
)
def test_an_index_leads_nowhere_else(tmp_path: Path, file: Any) -> None:
    (tmp_path / "in").mkdir()
    library_numpy.save_file({"w": np.array([1])}, tmp_path / "x.safetensors")
    index = tmp_path / "in" / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": file}}))
    report = come(tmp_path / "in", tmp_path / "s.ptr")
    assert (report.converted, len(report.failures)) == (0, 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', "[" * 100_000])
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(text)
    report = come(index, tmp_path / "s.ptr")
    assert (report.converted, len(report.failures)) == (0, 1)


def test_two_indexes_in_a_folder(tmp_path: Path) -> None:
    checkpoint(tmp_path / "in")
    index = tmp_path / "in" / "model.safetensors.index.json"
    (tmp_path / "in" / "model.fp16.safetensors.index.json").write_text(index.read_text())
    report = come(tmp_path / "in", tmp_path / "s.ptr")
    assert "2 indexes" in report.failures[0].problem
    assert come(index, tmp_path / "s.ptr").converted == 6


def filled(path: Path, given: dict[str, Any], **options: Any) -> Path:
    with ptrarray.create(path, **options) as writer:
        for name, array in given.items():
            writer[name] = array
    return path


def test_out_and_read_by_the_library(tmp_path: Path) -> None:
    given = of_each_dtype() | odd()
    store = filled(tmp_path / "s.ptr", given)
    out = tmp_path / "x.safetensors"
    report = to_safetensors(store, out, progress=False)
    assert (report.converted, report.failures, report.notes) == (len(given), [], [])
    (tmp_path / "plain").touch()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with library.safe_open(out, framework="np") as file:
        assert sorted(file.keys()) == sorted(given)
        plain = [name for name in given if not name.startswith("float8")]  # which it cannot read
        assert [name for name in plain if not same(file.get_tensor(name), given[name])] == []
    assert come(out, tmp_path / "back.ptr").converted == len(given)
    with ptrarray.open(tmp_path / "back.ptr") as back:
        assert all(same(back[name], given[name]) for name in given)


def test_out_in_c_order_and_little_endian(tmp_path: Path) -> None:
    # The library writes memory as it lies: of arrays in Fortran order, and strided ones, other
    # values (0.8.0, numpy.py `_flatten`; 0.7.0 was right; issue 825).
    numbers = np.arange(6, dtype="i4").reshape(2, 3)
    given = {
        "fortran": np.asfortranarray(numbers),
        "big": numbers.astype(">i4"),
        "both": np.asfortranarray(numbers.astype(">i4")),
    }
    store = filled(tmp_path / "s.ptr", given)
    assert to_safetensors(store, tmp_path / "x.safetensors", progress=False).ok
    found = library_numpy.load_file(tmp_path / "x.safetensors")
    assert {name: array.tolist() for name, array in found.items()} == dict.fromkeys(
        given, numbers.tolist()
    )


def test_out_refuses_what_it_has_not(tmp_path: Path) -> None:
    # A file with a tensor called __metadata__ is written by the library, and not read (0.8.0).
    refused = {
        "c16": np.zeros(2, "c16"),
        "text": np.array(["a"]),
        "date": np.array(["2020"], "M8[s]"),
        "record": np.zeros(2, "i4,f8"),
        "int4": np.zeros(2, ml_dtypes.int4),
        "__metadata__": np.zeros(2, "f4"),
    }
    store = filled(tmp_path / "s.ptr", refused | {"a": np.arange(3)})
    report = to_safetensors(store, tmp_path / "x.safetensors", progress=False)
    assert sorted(failure.source for failure in report.failures) == sorted(refused)
    assert report.converted == 1
    assert [*library_numpy.load_file(tmp_path / "x.safetensors")] == ["a"]


def test_masks_metadata_and_attrs(tmp_path: Path) -> None:
    given = {"a": np.ma.array([1, 2, 3], mask=[False, True, False]), "b": np.ma.array([1, 2])}
    with ptrarray.create(tmp_path / "s.ptr", masked=True, attrs={"__metadata__": {"k": "v"}}) as to:
        to.write(given, meta={"a": {"speaker": 1}})
    report = to_safetensors(tmp_path / "s.ptr", tmp_path / "x.safetensors", progress=False)
    assert "metadata of 1 array is not kept in safetensors" in report.notes
    with library.safe_open(tmp_path / "x.safetensors", framework="np") as file:
        assert file.metadata() == {"k": "v"}
        assert file.get_tensor("a/.mask").tolist() == [False, True, False]
        assert sorted(file.keys()) == ["a", "a/.mask", "b"]


def test_nothing_is_replaced(tmp_path: Path) -> None:
    store = filled(tmp_path / "s.ptr", {"a": np.arange(3)})
    out = tmp_path / "x.safetensors"
    out.write_text("mine")
    with pytest.raises(FileExistsError):
        to_safetensors(store, out, progress=False)
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.ptr", "x.safetensors"]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("x")
    dtypes = st.sampled_from(PLAIN).map(np.dtype)
    shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    made = dtypes.flatmap(lambda dtype: arrays(dtype, shapes))
    names = st.text(st.characters(codec="utf-8"), max_size=8).filter(
        lambda name: name != "__metadata__"
    )
    given = data.draw(st.dictionaries(names, made, min_size=1, max_size=8))
    library_numpy.save_file(given, folder / "x.safetensors")
    assert come(folder / "x.safetensors", folder / "s.ptr").converted == len(given)
    assert to_safetensors(folder / "s.ptr", folder / "y.safetensors", progress=False).ok
    back = library_numpy.load_file(folder / "y.safetensors")
    assert back.keys() == given.keys()
    assert all(same(back[name], given[name]) for name in given)
