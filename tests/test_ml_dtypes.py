"""dtypes that ml_dtypes adds to numpy are kept by name, and read as bytes where it is not there."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, convert
from ptrarray.cli.commands import main
from ptrarray.format.dtypes import fields_of, of_fields
from tests.support import forging
from tests.support.checks import unchanged
from tests.support.imports import import_pickles

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FIELDS = np.dtype([("a", BFLOAT16), ("b", "<f4", (2,)), ("c", ml_dtypes.int4, (3,))])
DTYPES = [
    np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int4", "uint2")
]
LAYOUTS: tuple[dict[str, Any], ...] = (
    {"row_shape": ()},
    {"row_shape": (2,)},
    {"row_shape": None},
    {"row_shape": (), "masked": True},
    {"row_shape": (), "shard_size": 4096},
)


def zeros_and_ones(dtype: Any, *shape: int) -> Any:
    raw = np.arange(np.prod(shape) * np.dtype(dtype).itemsize) % 2
    return raw.astype("u1").view(dtype).reshape(shape)


def check(path: Path, array: Any, n_arrays: int) -> None:
    with ptrarray.open(path) as store:
        store.verify()
        assert len(store) == n_arrays
        for name, found in store.items():
            wanted = array[: len(found)]
            assert found.dtype == array.dtype, name
            assert np.ma.getdata(found).tobytes() == wanted.tobytes(), name


def rewrite(path: Path) -> None:
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        del writer["gone"]
    ptrarray.compact(path)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [*DTYPES, FIELDS], ids=str)
def test_a_store_of_one_dtype(path: Path, dtype: np.dtype[Any], layout: dict[str, Any]) -> None:
    array = zeros_and_ones(dtype, 4, *(layout["row_shape"] or ()))
    if layout.get("masked") and dtype.names:
        with pytest.raises(BadInputError, match="no masks of them can be kept"):
            ptrarray.create(path, dtype=dtype, **layout)
        return
    with ptrarray.create(path, dtype=dtype, **layout) as writer:
        assert writer.dtype == dtype
        writer["a"] = array
        writer.write({"b": array, "empty": array[:0], "gone": array})
        writer.write_ragged(["c", "d"], array, [0, 4, 4])
        with writer.allocate("e", array.shape if layout["row_shape"] is None else 4) as rows:
            rows[...] = array
    rewrite(path)
    check(path, array, 6)
    with ptrarray.open(path, backend="pread") as store:
        assert store.dtype == store["a"].dtype == dtype
        assert store.take(["a", "b"]).values.dtype == dtype


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [*DTYPES, FIELDS], ids=str)
def test_a_mixed_store(path: Path, dtype: np.dtype[Any], masked: bool) -> None:
    array = zeros_and_ones(dtype, 4)
    with ptrarray.create(path, masked=masked) as writer:
        if masked and dtype.names:
            with pytest.raises(BadInputError, match="no masks of them can be kept"):
                writer["a"] = array
            return
        writer.write({"a": array, "gone": array[1:]})
        with writer.allocate("b", 4, dtype=dtype) as rows:
            rows[...] = array
    rewrite(path)
    check(path, array, 2)
    ptrarray.pack(path, path.with_suffix(".tar"))
    check(path.with_suffix(".tar"), array, 2)


def test_masks(path: Path) -> None:
    array = np.ma.MaskedArray(np.array([1, 2, 3], BFLOAT16), [False, True, False])
    filled = np.ma.MaskedArray(array, fill_value=2.0)
    with ptrarray.create(path, masked=True, dtype=BFLOAT16) as writer:
        writer.write({"a": array, "b": filled})
    with ptrarray.open(path) as store:
        found: dict[str, Any] = dict(store)
        assert found["a"].mask.tolist() == [False, True, False]
        assert found["b"].fill_value == 2
        assert found["b"].filled().tolist() == [1.0, 2.0, 3.0]
        assert np.sum(store) == 8
        assert np.max(store) == 3
        assert store.mean_each().tolist() == [2.0, 2.0]


def test_by_its_name(path: Path) -> None:
    with ptrarray.create(path, dtype="bfloat16") as writer:
        writer["a"] = [1, 2.5]
    with ptrarray.open(path) as store:
        assert store.dtype == BFLOAT16


def test_bytes_on_disk(path: Path) -> None:
    """Readers that know no such names see bytes."""
    ptrarray.create(path, dtype=FIELDS).close()
    fields, _ = forging.unpack_index((path / "index.msgpack").read_bytes())
    assert fields["dtype"] == [["a", "|V2"], ["b", "<f4", [2]], ["c", "|V1", [3]]]
    assert fields["dtype_names"] == ["bfloat16", None, "int4"]


@pytest.mark.parametrize("names", ["finfo", "os", "int4", ["bfloat16"], 5, "bfloat16" * 9])
def test_names_that_make_no_sense(names: Any) -> None:
    with pytest.raises(BadInputError):
        of_fields({"dtype": "|V2", "dtype_names": names})


def test_dtypes_of_other_libraries_are_refused(path: Path) -> None:
    rational = pytest.importorskip("numpy._core._rational_tests").rational
    array = np.ones(2, rational)
    with pytest.raises(BadInputError, match="only numpy's and ml_dtypes's are kept"):
        ptrarray.create(path, dtype=array.dtype)
    for layout in ({}, {"dtype": "i8"}, {"dtype": "V8", "row_shape": None}):
        writer = ptrarray.create(path, mode="w", **layout)
        with pytest.raises(BadInputError, match="'a'"):
            writer["a"] = array


def test_a_name_that_is_not_known_here() -> None:
    with pytest.warns(RuntimeWarning, match="float5_e9m9 are read as 2 bytes an element"):
        dtype = of_fields({"dtype": "|V2", "dtype_names": "float5_e9m9"})
    assert dtype == np.dtype("V2")
    assert fields_of(dtype) == {"dtype": "|V2", "dtype_names": "float5_e9m9"}


WITHOUT = """
import sys, warnings
sys.modules["ml_dtypes"] = None  # as if it were not installed
import numpy as np, ptrarray
for path in sys.argv[1:]:
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        with ptrarray.open(path) as store:
            array = store["a"]
    assert array.dtype == np.dtype("V2"), array.dtype
    with ptrarray.append(path) as writer:
        writer["b"] = array
        writer["plain"] = np.frombuffer(array.tobytes(), "V2")
    ptrarray.checkpoint(path)
    ptrarray.compact(path)
"""


def test_without_the_library(tmp_path: Path) -> None:
    """What is read is bytes; what is written from it, and the store itself, keep the name."""
    array = np.array([1, 2.5, -3, 0], BFLOAT16)
    paths = [tmp_path / "one.ptr", tmp_path / "mixed.ptr"]
    for path, layout in zip(paths, ({"dtype": BFLOAT16}, {}), strict=True):
        with ptrarray.create(path, **layout) as writer:
            writer["a"] = array
    command = [sys.executable, "-W", "always", "-c", WITHOUT, *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True)
    for path in paths:
        with ptrarray.open(path) as store:
            for name in "ab":
                assert store[name].dtype == BFLOAT16
                assert store[name].tolist() == [1, 2.5, -3, 0]
            assert store["plain"].dtype == (np.dtype("V2") if path == paths[1] else BFLOAT16)


SAYS = "import sys; sys.modules['ml_dtypes'] = None; import ptrarray; ptrarray.open(sys.argv[1])"


def test_without_the_library_a_word_is_said(path: Path) -> None:
    ptrarray.create(path, dtype=BFLOAT16).close()
    done = subprocess.run([sys.executable, "-c", SAYS, path], capture_output=True, check=True)
    assert b"bfloat16 are read as 2 bytes an element" in done.stderr
    assert b"install ml_dtypes" in done.stderr


# values -------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
TAKEN: list[tuple[str, Any, list[float]]] = [
    ("bfloat16", [1, 2.5, 0.1, INF, NAN], [1, 2.5, 0.10009765625, INF, NAN]),
    ("bfloat16", np.array([256, -3]), [256, -3]),
    ("bfloat16", np.array([1.0, 3.0], ml_dtypes.float8_e5m2), [1, 3]),
    ("bfloat16", np.array([True]), [1]),
    ("float8_e4m3fn", [448.0, 460.0, NAN, 300.5], [448, 448, NAN, 288]),
    ("float4_e2m1fn", [6.0, 3.3], [6, 3]),
    ("int4", [7, -8], [7, -8]),
    ("int4", np.array([3], ml_dtypes.uint2), [3]),
    ("f4", np.array([0.5, 3e38], BFLOAT16), [0.5, float(BFLOAT16.type(3e38))]),
    ("f2", np.array([0.5], BFLOAT16), [0.5]),
    ("i8", np.array([-8], ml_dtypes.int4), [-8]),
]


@pytest.mark.parametrize(("dtype", "value", "expected"), TAKEN, ids=str)
def test_values_that_fit(path: Path, dtype: str, value: Any, expected: list[float]) -> None:
    with ptrarray.create(path, dtype=dtype) as writer:
        writer["a"] = value
    with ptrarray.open(path) as store:
        found = store["a"].astype("f8")
        np.testing.assert_array_equal(found, np.array(expected))


REFUSED: list[tuple[str, Any]] = [
    ("bfloat16", [257]),
    ("bfloat16", [2**53 + 1]),
    ("bfloat16", [1e300]),
    ("bfloat16", ["a"]),
    ("bfloat16", [1j]),
    ("bfloat16", np.array([1], "M8[s]")),
    ("bfloat16", np.zeros(1, "V2")),
    ("float8_e4m3fn", [1000.0]),
    ("float8_e4m3fn", [INF]),
    ("float8_e8m0fnu", [-1.0]),
    ("float4_e2m1fn", [7.0]),
    ("float4_e2m1fn", [NAN]),
    ("int4", [8]),
    ("int4", [1.0]),
    ("int4", np.ones(1, BFLOAT16)),
    ("uint2", [-1]),
    ("i8", np.ones(1, BFLOAT16)),
    ("f2", np.full(1, 1e30, BFLOAT16)),
    ("V2", np.ones(1, BFLOAT16)),
]


@pytest.mark.parametrize(("dtype", "value"), REFUSED, ids=str)
def test_values_that_would_change(path: Path, dtype: str, value: Any) -> None:
    writer = ptrarray.create(path, dtype=dtype)
    with unchanged(path), pytest.raises(BadInputError, match="array 'a'"):
        writer["a"] = value


class Tensor:
    """A tensor as torch has them, of a dtype that numpy has not."""

    dtype = "torch.bfloat16"

    def __init__(self, bits: Any) -> None:
        self.bits = bits

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError("Got unsupported ScalarType BFloat16")

    def detach(self) -> Tensor:
        return self

    cpu = detach

    def view(self, dtype: Any) -> Tensor:
        return Tensor(self.bits.view(dtype))

    def numpy(self) -> Any:
        return self.bits


def test_tensors_of_torch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.array([[1, 2.5]], BFLOAT16)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=Tensor, int16=np.int16))
    with ptrarray.create(path, dtype=BFLOAT16, row_shape=2) as writer:
        writer["a"] = Tensor(array)
    with ptrarray.create(path.with_suffix(".mixed")) as writer:
        writer["a"] = Tensor(array)
    for one in (path, path.with_suffix(".mixed")):
        with ptrarray.open(one) as store:
            assert store["a"].dtype == BFLOAT16
            assert store["a"].tolist() == [[1, 2.5]]
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with ptrarray.append(path) as writer, pytest.raises(BadInputError, match="install ml_dtypes"):
        writer["b"] = Tensor(array)


# and the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rows", "pread"])
def test_reductions(path: Path, kind: str) -> None:
    """They are worked and given in a dtype that numpy can sum in."""
    with ptrarray.create(path, dtype=BFLOAT16) as writer:
        writer.write({"a": np.ones(1000, BFLOAT16), "b": [3, 0.5]})
    with ptrarray.open(path, backend="pread" if kind == "pread" else "mmap") as store:
        assert np.sum(store) == 1003.5
        assert np.max(store) == 3
        assert store.reduce_each(np.add).tolist() == [1000, 3.5]
        assert store.mean_each().tolist() == [1, 1.75]


def test_padding(path: Path) -> None:
    batch = ptrarray.Ragged(np.array([1, 2, 3], BFLOAT16), [0, 1, 3])
    padded, _ = batch.to_padded()
    assert padded.dtype == BFLOAT16
    assert padded.tolist() == [[1, 0], [2, 3]]
    assert batch.to_padded(float("nan"))[0].dtype == BFLOAT16
    with pytest.raises(BadInputError, match="would change"):
        batch.to_padded(1e300)
    with pytest.raises(BadInputError, match="would change"):
        ptrarray.Ragged(np.array([1], ml_dtypes.int4), [0, 1, 1]).to_padded(8)


def test_sums_of_narrow_integers(path: Path) -> None:
    with ptrarray.create(path, dtype=ml_dtypes.int4) as writer:
        writer["a"] = [7] * 100
    with ptrarray.open(path) as store:
        assert np.sum(store) == 700


def test_nested_objects(path: Path) -> None:
    given = {"a": np.ones(3, BFLOAT16), "s": ml_dtypes.bfloat16(1.5), "l": [ml_dtypes.int4(3)]}
    ptrarray.dump(given, path)
    found = ptrarray.load(path)
    assert found["a"].dtype == BFLOAT16
    assert found["a"].tolist() == [1, 1, 1]
    assert type(found["s"]) is ml_dtypes.bfloat16
    assert found["s"] == 1.5
    assert type(found["l"][0]) is ml_dtypes.int4


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_pickles(tmp_path: Path, protocol: int, trust: bool) -> None:
    folder = tmp_path / "pickles"
    folder.mkdir()
    given = {"a": np.ones(2, BFLOAT16), "s": ml_dtypes.int4(3), "f": zeros_and_ones(FIELDS, 2)}
    (folder / "x.pkl").write_bytes(pickle.dumps(given, protocol))
    report = import_pickles(folder, tmp_path / "s.ptr", trust=trust, remove_source=True)
    assert (report.failures, report.converted, report.removed) == ([], 3, 1)
    with ptrarray.open(tmp_path / "s.ptr") as store:
        for key, value in given.items():
            assert store[f"x/{key}"].dtype == value.dtype
            assert store[f"x/{key}"].tobytes() == value.tobytes()


def test_pickles_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": np.ones(2, BFLOAT16), "b": np.ones(2)}))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    report = import_pickles(tmp_path / "x.pkl", tmp_path / "s.ptr")
    assert report.converted == 1
    assert [failure.problem for failure in report.failures] == [
        "it has an array of bfloat16: pip install ml_dtypes"
    ]


def test_pickles_of_a_store(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer["x"] = np.ones(2, BFLOAT16)
    convert.to_pickles(tmp_path / "s.ptr", tmp_path / "out", progress=False)
    (file,) = (tmp_path / "out").rglob("*.pkl")
    assert pickle.loads(file.read_bytes()).dtype == BFLOAT16


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(ml_dtypes.float8_e5m2)], ids=str)
def test_exports_have_bytes_and_say_so(
    path: Path, tmp_path: Path, dtype: np.dtype[Any], masked: bool
) -> None:
    array = np.array([1, 2.5], dtype)
    with ptrarray.create(path, masked=masked) as writer:
        writer["x"] = np.ma.MaskedArray(array, [True, False]) if masked else array
    note = f"1 array of {dtype} is written as bytes: view them as that dtype, by ml_dtypes"
    report = convert.to_npy(path, tmp_path / "npy", progress=False)
    assert any(note in one for one in report.notes)
    (file,) = (tmp_path / "npy").glob("x.npy")
    assert np.load(file).view(dtype).tolist() == [1, 2.5]
    masks = [np.load(mask).tolist() for mask in (tmp_path / "npy").glob("x%2F.mask.npy")]
    assert masks == [[True, False]] * masked
    report = convert.to_npz(path, tmp_path / "x.npz", progress=False)
    assert any(note in one for one in report.notes)
    with np.load(tmp_path / "x.npz") as found:
        assert found["x"].view(dtype).tolist() == [1, 2.5]
        assert masks == [found[key].tolist() for key in found if key != "x"]


def test_what_the_command_line_calls_them(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ptrarray.create(path) as writer:
        writer["a"] = np.zeros(1, FIELDS)
        writer["b"] = np.array([1.5], BFLOAT16)
    for name, dtype in (
        ("a", [["a", "bfloat16"], ["b", "<f4", [2]], ["c", "int4", [3]]]),
        ("b", "bfloat16"),
    ):
        assert main(["get", str(path), name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["dtype"] == dtype
    ptrarray.create(path.with_suffix(".one"), dtype=BFLOAT16).close()
    assert main(["info", str(path.with_suffix(".one"))]) == 0
    assert "bfloat16" in capsys.readouterr().out


def test_a_name_without_the_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BadInputError, match="if it is of ml_dtypes, that has to be installed"):
        ptrarray.create(path, dtype="bfloat17")
