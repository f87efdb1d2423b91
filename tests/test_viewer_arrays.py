"""One array as a browser is shown it: by every layout and backend, never much of it, always exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ptrarray
from ptrarray.errors import BadInputError, UnknownNameError
from ptrarray.look.viewer import arrays, windows
from ptrarray.look.viewer.overview import overview
from ptrarray.look.viewer.statistics import Moments, statistics_of
from ptrarray.look.viewer.texts import Budget, tree
from ptrarray.look.viewer.windows import ArrayRows, StoppedError
from tests.support.any_layout import KINDS, array_of
from tests.support.layouts import filled

RNG = np.random.default_rng(7)
RECORDS = np.array([(1, 0.5, b"a"), (2, 1.5, b"<b>")], [("id", "i4"), ("x", "f8"), ("t", "S3")])
STACK = RNG.integers(0, 256, (5, 24, 32), dtype=np.uint8)
SHOWN: dict[str, Any] = {
    "line": RNG.normal(size=2000).astype("f4"),
    "lines": RNG.normal(size=(500, 3)),
    "heatmap": RNG.normal(size=(40, 20)),
    "image": RNG.integers(0, 256, (480, 640, 3), dtype=np.uint8),
    "images": STACK,
    "images of numbers": STACK.astype("f4"),
    "text": np.frombuffer("für\n".encode() * 50, np.uint8),
    "text of strings": np.array([["<b>", "\ud800"], ["", "x" * 500]]),
    "tokens": RNG.integers(0, 30_000, 900),
    "table": RECORDS,
    "nothing": np.zeros((0, 4)),
    "line of one": np.float64(2.5),
    "line of dates": np.array(["2026-01-02", "NaT", "2026-01-01"], "M8[D]"),
    "line of complex": np.array([3 + 4j, 1]),
    "line of infinite": np.array([1, np.nan, np.inf, 2]),
    "heatmap in Fortran order": np.asfortranarray(RNG.normal(size=(30, 9))),
    "lines of masked": np.ma.MaskedArray(RNG.normal(size=(9, 2)), RNG.random((9, 2)) < 0.5),
    "values of no kind": np.zeros(3, "V5"),
}


def answered(store: ptrarray.PointerArray, name: str, **asked: Any) -> dict[str, Any]:
    """Return an answer, which went through JSON and is not too large."""
    text = json.dumps(arrays.array(store, name, **asked), allow_nan=False)
    assert len(text) <= arrays.LIMIT_NBYTES
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shown") / "a.ptr"
    return filled(path, SHOWN, masked=True)


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_an_array_is_shown_as_what_it_is(shown: Path, name: str, backend: Any) -> None:
    store = ptrarray.open(shown, backend=backend)
    seen = answered(store, name)
    whole = SHOWN[name]
    assert seen["views"][0] == seen["view"] == name.split()[0]
    assert (seen["shape"], seen["nbytes"]) == (list(whole.shape), whole.nbytes)
    for view in seen["views"]:
        again = answered(store, name, view=view, start=1, stop=3, at=1, width=123)
        assert again["view"] == view
        assert again["window"][1] <= max(again["n_rows"], 1)


def test_numbers_of_a_drawing_are_exact(tmp_path: Path) -> None:
    values = RNG.normal(size=1_000_000).astype("f4")
    values[700_001], values[3] = 99, -99
    store = ptrarray.open(filled(tmp_path / "a.ptr", {"a": values}))
    seen = answered(store, "a", start=5, width=321)
    marks = seen["marks"]
    parts = [values[a:b] for a, b in zip(marks["edges"], marks["edges"][1:], strict=False)]
    assert (marks["edges"][0], marks["edges"][-1], len(parts)) == (5, 1_000_000, 321)
    assert np.allclose(marks["low"][0], [part.min() for part in parts], rtol=1e-6)
    assert np.allclose(marks["high"][0], [part.max() for part in parts], rtol=1e-6)
    assert max(marks["high"][0]) == 99
    assert "left out" not in seen["picture"]["caption"]


def test_masked_and_missing_values_have_no_marks(shown: Path) -> None:
    store = ptrarray.open(shown)
    marks = answered(store, "line of infinite")["marks"]
    assert marks["low"] == marks["high"] == [[1, None, None, 2]]
    assert answered(store, "line of infinite")["picture"]["caption"] == "1 to 2, 2 left out"
    dates = answered(store, "line of dates")["marks"]
    assert dates["texts"] == [["2026-01-02", None, "2026-01-01"]] * 2
    masked = SHOWN["lines of masked"]
    table = answered(store, "lines of masked", view="values")["table"]["rows"]
    assert [[cell is None for cell in row] for row in table] == masked.mask.tolist()
    assert [[float(c) for c in row if c] for row in table] == [
        list(row.compressed()) for row in masked
    ]


def test_rows_pages_pictures_and_columns_are_those_asked_for(shown: Path) -> None:
    store = ptrarray.open(shown)
    assert answered(store, "line", start=1990, stop=10**9)["window"] == [1990, 2000]
    assert answered(store, "line", start=10**12, stop=3)["window"] == [1999, 2000]
    table = answered(store, "heatmap", view="values", start=7, at=3)["table"]
    assert (table["first"], table["column"], table["columns"][0]) == (7, 3, "3")
    assert float(table["rows"][0][0]) == SHOWN["heatmap"][7, 3]
    assert answered(store, "images", at=99)["stack"] == {"at": 4, "n": 5}
    text = answered(store, "text", start=0)["lines"]
    assert text["text"] == "für\n" * 50
    ids = answered(store, "tokens", start=899)["ids"]
    assert ids == {"ids": [str(SHOWN["tokens"][899])], "first": 899, "stop": 900}
    records = answered(store, "table")["table"]
    assert records["columns"] == ["id", "x", "t"]
    assert records["rows"][1] == ["2", "1.5", "<b>"]
    assert answered(store, "text of strings")["lines"]["lines"][0] == ["<b>", "?"]


def test_text_is_cut_between_characters(tmp_path: Path) -> None:
    text = "aü€😀" * 30_000
    store = ptrarray.open(filled(tmp_path / "a.ptr", {"a": np.frombuffer(text.encode(), "u1")}))
    found, start = "", 0
    while start < len(text.encode()):
        lines = answered(store, "a", start=start)["lines"]
        assert lines["stop"] > start
        found, start = found + lines["text"], lines["stop"]
    assert found == text


def test_of_a_large_window_a_sample_is_drawn_and_little_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "WINDOW_NBYTES", 1 << 16)
    values = np.arange(3_000_000.0)
    path = filled(tmp_path / "a.ptr", {"a": values, "F": np.asfortranarray(np.ones((9000, 20)))})
    for backend in ("mmap", "pread"):
        store = ptrarray.open(path, backend=backend)
        first = answered(store, "a")
        assert (first["window"], first["limit_rows"]) == ([0, 1 << 13], 1 << 13)
        assert not first["picture"]["sampled"]
        seen = answered(store, "a", start=0, stop=3_000_000)
        assert seen["picture"]["sampled"]
        low, high = np.array(seen["marks"]["low"][0]), np.array(seen["marks"]["high"][0])
        assert (low <= high).all()
        assert abs(low[len(low) // 2] - 1_500_000) < 60_000
        assert answered(store, "F", start=0, stop=9000)["picture"]["sampled"]


def test_who_has_gone_is_not_worked_for(shown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ptrarray.open(shown)
    with pytest.raises(StoppedError):
        arrays.array(store, "line", stopped=lambda: True)
    reads: list[int] = []

    def stopped() -> bool:
        reads.append(1)
        return len(reads) > 3

    monkeypatch.setattr("ptrarray.look.viewer.statistics._BLOCK_NBYTES", 100)
    with pytest.raises(StoppedError):
        arrays.statistics(store, "line", stopped=stopped)
    assert len(reads) == 4


def test_another_array_where_one_was_is_told_from_it(tmp_path: Path) -> None:
    """Where a store is made again, all but the values may be the same."""
    path = tmp_path / "again.ptr"
    known = []
    for values in ([1.0, 2.0], [1.0, 3.0], [1.0, 2.0]):
        with ptrarray.create(path, mode="w") as writer:
            writer["a"] = values
        known.append(arrays.array(ptrarray.open(path), "a", view="values", start=0, stop=1))
    assert known[0]["first_row"] == known[1]["first_row"]
    assert known[0]["crc"] != known[1]["crc"]
    assert known[0]["crc"] == known[2]["crc"]


def test_what_is_not_there_says_so(shown: Path) -> None:
    store = ptrarray.open(shown)
    for name in ("no", "\ud800"):
        for call in (arrays.array, arrays.statistics, arrays.metadata):
            with pytest.raises(UnknownNameError, match=r"no|ud800"):
                call(store, name)
    with pytest.raises(BadInputError, match="has no view 'image'; it has"):
        arrays.array(store, "line", view="image")


def of_kind(kind: str, *, sharded: bool) -> dict[str, Any]:
    """Return arrays that a store of a kind may have; those that a small shard has, too."""
    made = {f"a{seed}": array_of(kind, seed) for seed in range(12)}
    if kind == "masked rows":
        made["long"] = np.ma.MaskedArray(np.arange(50, dtype="i2"), np.arange(50) % 3 == 0)
    elif kind in ("wide rows", "shaped"):
        made["long"] = np.arange(150, dtype="i2").reshape(50, 3)
    elif "mixed" in kind:
        made["F"] = np.asfortranarray(np.arange(12.0).reshape(4, 3))
        made["scalar"] = np.float32(3)
        made["deep"] = np.arange(120, dtype=">i4").reshape(10, 3, 4)
    return {name: array for name, array in made.items() if not sharded or array.nbytes <= 64}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharded", [False, True])
def test_parts_of_rows_are_those_of_the_array(kind: str, sharded: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    options: dict[str, Any] = {"shard_size": 64} if sharded else {}
    with ptrarray.create(path, **KINDS[kind], **options) as writer:
        for name, array in of_kind(kind, sharded=sharded).items():
            writer.write({name: array})
    places: list[tuple[Any, str]] = [(path, "mmap"), (path, "pread"), (path.as_uri(), "mmap")]
    if not sharded:
        ptrarray.pack(path, tmp_path / "a.tar")
        places += [(tmp_path / "a.tar", "mmap"), (tmp_path / "a.tar", "pread")]
    for where, backend in places:
        how: Any = backend
        store = ptrarray.open(where, backend=how)
        for name in store:
            check_parts(store, name)


def check_parts(store: ptrarray.PointerArray, name: str) -> None:
    rows, whole = ArrayRows(store, name), store[name]
    assert (rows.whole_shape, rows.dtype) == (whole.shape, whole.dtype)
    whole = whole.reshape(whole.shape or (1,))
    for start, stop in ((0, len(whole)), (1, 3), (2, 2), (0, 1), (len(whole) // 2, None)):
        part, wanted = rows[start:stop], whole[start:stop]
        assert np.ma.getdata(part).tobytes() == np.ma.getdata(wanted).tobytes()
        assert np.array_equal(np.ma.getmaskarray(part), np.ma.getmaskarray(wanted))
        assert part.shape == wanted.shape


@pytest.mark.parametrize("options", [{}, {"shard_size": 64}])
def test_neighbours_are_those_in_data_order(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays_of = {f"n{k}": [k] * (k % 3) for k in range(30)}
    path = filled(tmp_path / "a.ptr", arrays_of, dtype="i8", **options)
    ptrarray.checkpoint(path)
    with ptrarray.append(path) as writer:
        writer.write({"later": [7], "empty": [], "x" * 60_000: [1]})
        writer.delete(["n2", "n3"])
        store = ptrarray.open(path)
    for few in (100, 0):
        monkeypatch.setattr(arrays, "_FEW", few)
        check_neighbours(store)


def check_neighbours(store: ptrarray.PointerArray) -> None:
    names = list(store)
    for at, name in enumerate(names):
        seen = answered(store, name)
        around = [names[k] if 0 <= k < len(names) else None for k in (at - 1, at + 1)]
        around = [None if one and len(one) > 9999 else one for one in around]
        assert [seen["position"], seen["previous"], seen["next"]] == [at, *around]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f4", "f8", "i2", "u8", "?", "f2", "c16", "M8[s]", "m8[D]"]),
        hnp.array_shapes(max_dims=2, max_side=40),
    ),
    st.integers(0, 2**31),
)
def test_statistics_are_those_of_numpy(values: Any, seed: int) -> None:
    class Given(ArrayRows):
        def __init__(self) -> None:
            self.shape, self.dtype, self.ahead_nbytes = masked.shape, masked.dtype, 0
            self._stopped, self._read = bool, lambda low, high: masked[low:high]

    masked = np.ma.MaskedArray(values, np.random.default_rng(seed).random(values.shape) < 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptrarray.look.viewer.statistics._BLOCK_NBYTES", 64)
        found = statistics_of(Given())
    assert found is not None
    kept = masked.compressed()
    is_missing = np.isnat(kept) if values.dtype.kind in "mM" else np.isnan(kept)
    is_infinite = np.isinf(kept) if values.dtype.kind in "fc" else np.zeros(kept.shape, bool)
    known = kept[~(is_missing | is_infinite)]
    counts = (
        known.size,
        masked.size - kept.size,
        is_missing.sum(),
        (is_infinite & ~is_missing).sum(),
    )
    assert found[:4] == counts
    check_extremes(found, known)


def check_extremes(found: Moments, known: Any) -> None:
    if not known.size:
        assert found.low is found.high is None
        return
    sizes = np.abs(known) if known.dtype.kind == "c" else known
    assert (found.low, found.high) == (sizes.min(), sizes.max())
    if known.dtype.kind in "mM":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = sizes.astype("f8")
        scale = max(np.abs(numbers).max(), 5e-324)
        shares = numbers / scale
    if 1e-300 < scale < 1e300:
        assert abs(found.mean / scale - shares.mean()) <= 1e-9
        assert abs(found.deviation / scale - shares.std()) <= 1e-7


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300, 1.7e308])
def test_the_deviation_of_tiny_and_of_huge_numbers_is_known(tmp_path: Path, scale: float) -> None:
    arrays_of = {"a": np.array([-1.0, 1.0] * 200_000) * scale, "b": np.ones(200_000) * scale}
    store = ptrarray.open(filled(tmp_path / "a.ptr", arrays_of, dtype="f8"))
    assert dict(arrays.statistics(store, "a"))["deviation"] == f"{scale:.6g}"
    told = dict(arrays.statistics(store, "b"))
    assert (told["mean"], told["deviation"]) == (f"{scale:.15g}", "0")


def test_numbers_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    values = 1e6 + np.linspace(0, 0.001, 101)
    store = ptrarray.open(filled(tmp_path / "a.ptr", {"a": values}, dtype="f8"))
    seen = answered(store, "a")
    assert seen["picture"]["caption"] == "1000000 to 1000000 + 0.001"
    assert np.abs(np.array(seen["marks"]["low"][0]) - values).max() < 1e-9
    assert answered(store, "a", start=3, stop=4)["marks"]["low"] == [[1000000.00003]]
    assert dict(arrays.statistics(store, "a"))["mean"] == "1000000.0005"


@pytest.mark.parametrize(
    ("options", "unit"),
    [({"dtype": "f8"}, "rows"), ({"row_shape": None, "dtype": "f8"}, "elements"), ({}, "bytes")],
)
def test_lengths_have_the_unit_of_their_layout(
    tmp_path: Path, options: dict[str, Any], unit: str
) -> None:
    store = ptrarray.open(filled(tmp_path / "a.ptr", {"a": np.zeros(3)}, **options))
    assert overview(store, "a.ptr")["lengths"]["unit"] == unit


def test_metadata_are_text_and_not_too_much_of_it() -> None:
    deep: Any = "end"
    for _ in range(100):
        deep = {"a": deep}
    given = {
        "<b>": float("nan"),
        "raw": b"\xff",
        "none": {},
        "many": list(range(10_000)),
        "deep": deep,
    }
    found = tree(given, Budget(20_000))
    assert found[:3] == [["<b>", "nan"], ["raw", r"b'\xff'"], ["none", "{}"]]
    assert len(json.dumps(found)) < 30_000
    assert found[3][1][-1] == ["…", ""]


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.text() | st.floats(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_metadata_are_json(value: Any) -> None:
    json.dumps(tree(value, Budget(500)), allow_nan=False)


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.array_dtypes(allow_subarrays=True),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12),
    ),
    st.integers(0, 12),
)
@example(np.array([-np.finfo("f8").max]), 0)
def test_any_array_can_be_shown(array: Any, start: int) -> None:
    """Whatever its dtype and shape, in every way that is offered."""

    class Store:
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_facts", lambda *_: {})

        class Given(ArrayRows):
            def __init__(self, *_: Any) -> None:
                self.whole_shape, self.shape = array.shape, array.shape or (1,)
                rows = array.reshape(self.shape)
                self.dtype, self.is_view, self.is_here, self.is_masked = (
                    array.dtype,
                    True,
                    True,
                    False,
                )
                self._stopped, self._read = bool, lambda low, high: rows[low:high]

        patch.setattr(arrays, "ArrayRows", Given)
        store: Any = Store()
        views = answered(store, "a")["views"]
        for view in views:
            answered(store, "a", view=view, start=start, width=60)


def test_rows_are_read_once_for_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long array that is not mapped no more than the window is read."""
    path = filled(
        tmp_path / "a.ptr", {"a": np.arange(100_000.0).reshape(-1, 10)}, row_shape=None, dtype="f8"
    )
    store = ptrarray.open(path, backend="pread")
    read: list[int] = []
    rows_of = windows._rows_of

    def counted(*given: Any) -> Any:
        read.append(given[-1] - given[-2])
        return rows_of(*given)

    monkeypatch.setattr(windows, "_rows_of", counted)
    answered(store, "a", start=5000, stop=5010, view="heatmap")
    assert sum(read) == 10
