"""pandas objects in nested ones: the same values, labels and dtypes, on the store's own arrays."""

from __future__ import annotations

import subprocess
import sys
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError
from ptrarray.frames.library import import_pandas
from tests.support.memory import peak_nbytes
from tests.support.nested import MEBI, through_codec, through_store
from tests.test_nested_hostile import forge

pd = pytest.importorskip("pandas")

DAYS = pd.date_range("2020", periods=3, freq="D", name="day")
MULTI = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["letter", None])


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_freq=True)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_freq=True, check_column_type="exact")
        assert_equal(one.columns, other.columns)
    else:
        pd.testing.assert_index_equal(one, other, exact=True)
        assert one.names == other.names
        assert getattr(one, "freq", None) == getattr(other, "freq", None)
        return
    assert_equal(one.index, other.index)
    assert one.attrs == other.attrs
    assert one.flags.allows_duplicate_labels == other.flags.allows_duplicate_labels


def with_attrs(value: Any) -> Any:
    value.attrs["unit"] = "m"
    return value


def a_zone_from_a_file() -> Any:
    with Path(zoneinfo.TZPATH[0], "UTC").open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file)


SERIES = [
    pd.Series([1.0, np.nan, 3.0], index=DAYS, name=("a", 1)),
    pd.Series([1, 2], index=MULTI),
    pd.Series([], dtype="f4"),
    pd.Series([True, False], name=3),
    pd.Series(np.array([1, 2], ">f8")),
    pd.Series([1 + 2j]),
    pd.Series(["a", None, "größe"]),
    pd.Series(["a", None], dtype="string"),
    pd.Series(["a", None, np.nan, 3, (1, 2), [4], "b" * 100_000], dtype=object),
    pd.Series([str(i) for i in range(3000)], dtype=object),
    pd.Series([1, None, 2], dtype="Int64"),
    pd.Series([1.5, None], dtype="Float32"),
    pd.Series([True, None], dtype="boolean"),
    pd.Series(["x", "y", "x", None], dtype="category"),
    pd.Series(pd.Categorical([3, 1, None], categories=[3, 2, 1], ordered=True)),
    pd.Series(pd.date_range("2020", periods=3)),
    pd.Series(pd.date_range("2020-03-28", periods=3, tz="Europe/Paris")),
    pd.Series(pd.date_range("2020", periods=3, tz="UTC").as_unit("s")),
    pd.Series(pd.DatetimeIndex(["2020", None]).tz_localize("+01:00")),
    pd.Series(pd.to_timedelta([1, None], "s")),
    pd.Series([1, 2, 3], index=DAYS.tz_localize("Europe/Paris")),
    pd.Series([1.0, 2.0], index=pd.CategoricalIndex(["p", "q"], name="kind")),
    pd.Series([1], index=pd.RangeIndex(5, 6, 1, name="r")),
    pd.Series([1, 2], index=[("x", 1), 3]),
    with_attrs(pd.Series([1])),
    pd.Series([1, 2]).set_flags(allows_duplicate_labels=False),
]
FRAMES = [
    pd.DataFrame(np.arange(6.0).reshape(3, 2), index=DAYS, columns=["a", "b"]),
    pd.DataFrame(np.asfortranarray(np.arange(6.0).reshape(3, 2))),
    pd.DataFrame(np.arange(12).reshape(3, 4)[:, ::2]),
    pd.DataFrame(np.zeros((2, 3), "M8[s]")),
    pd.DataFrame(
        {
            "int": [1, 2],
            "str": ["x", None],
            "category": pd.Categorical(["u", "v"]),
            "time": pd.to_datetime(["2020", "2021"]),
            "Int": pd.array([1, None], dtype="Int8"),
            1: [1.5, 2.5],
        }
    ),
    pd.DataFrame(),
    pd.DataFrame(index=DAYS),
    pd.DataFrame(columns=["a", "b"]),
    pd.DataFrame({"a": np.zeros(0), "b": np.zeros(0, "i4")}),
    pd.DataFrame([[1, 2.0], [3, 4]], columns=["x", "x"]),
    pd.DataFrame({"a": ["x", "y"], "b": ["z", None]}, dtype=object),
    pd.DataFrame([[1, 2]], columns=MULTI),
    pd.DataFrame({"a": [1.0, 2.0]}, index=MULTI),
    with_attrs(pd.DataFrame({"one": [1]})),
]
INDEXES = [DAYS, MULTI, pd.Index(["a", None], dtype=object), pd.Index([1.5, 2.0], name="i"),
           pd.timedelta_range("1h", periods=3), pd.RangeIndex(3), pd.Index([])]  # fmt: skip


@pytest.mark.parametrize("obj", SERIES + FRAMES + INDEXES, ids=lambda obj: type(obj).__name__)
def test_gives_back(obj: Any) -> None:
    before = obj.copy()
    assert_equal(obj, through_codec([{"in": obj}])[0]["in"])
    assert_equal(before, obj)


def test_all_of_them_in_a_store(path: Path) -> None:
    obj = {"series": SERIES, "frames": FRAMES, "indexes": INDEXES}
    loaded = through_store(obj, path)
    for kind, originals in obj.items():
        for original, other in zip(originals, loaded[kind], strict=True):
            assert_equal(original, other)
    with ptrarray.open(path) as store:
        assert {"/frames/0", "/frames/4/int", "/series/0/index/values"} <= set(store)
        assert store["/frames/4/int"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("obj", "where"),
    [
        (pd.Series([object()]), r"^obj.values\[0\] is a builtins.object"),
        ({"f": pd.DataFrame({"p": ["x", type]})}, r"^obj\['f'\]\['p'\]\[1\] is a builtins.type"),
        (pd.Series([1], name=type), r"^obj.name is a builtins.type"),
        (pd.DataFrame([[1]], columns=[type]), r"^obj.columns.values\[0\] is a builtins.type"),
        ({pd.Timestamp(0): 1}, r"^obj.Timestamp.* has in its key Timestamp.*, which is a pandas"),
        ([pd.Timestamp(0, tz=a_zone_from_a_file())], r"^obj\[0\] is 1970.* cannot be found again"),
        (type("Mine", (pd.Series,), {})([1]), "^obj is a tests.test_nested_pandas.Mine"),
    ],
)
def test_refuses_by_path(obj: Any, where: str, path: Path) -> None:
    with pytest.raises(BadInputError, match=where):
        ptrarray.dump(obj, path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.Series(np.zeros(8 * MEBI)),
        lambda: pd.DataFrame(np.zeros((8, MEBI)).T),
        lambda: pd.DataFrame({i: np.zeros(MEBI) + i for i in range(8)}),
        lambda: pd.DataFrame({"i": np.zeros(4 * MEBI, "i4"), "f": np.zeros(8 * MEBI)[::2]}),
        lambda: pd.Series(np.zeros(8 * MEBI, "M8[ns]"), index=np.zeros(8 * MEBI, "i8")),
        lambda: pd.Series(pd.array(np.zeros(8 * MEBI, "i8"), dtype="Int64")),
        lambda: pd.Series(pd.Categorical.from_codes(np.zeros(64 * MEBI, "i1"), ["a"])),
    ],
    ids=["series", "block", "columns", "mixed", "times", "nullable", "categories"],
)
def test_memory_beside_the_object(path: Path, make: Callable[[], Any]) -> None:
    """Neither way copies arrays; 64 MiB would be one copy."""
    obj = make()
    assert peak_nbytes(lambda: ptrarray.dump([obj], path)) < 20 * MEBI
    assert peak_nbytes(lambda: ptrarray.load(path)) < 2 * MEBI


def test_dumping_what_was_loaded_copies_nothing(path: Path) -> None:
    """Columns that were loaded lie in one mapping, but not in one array."""
    for length in (MEBI, MEBI + 1):  # end to end, and with gaps in between
        columns = {i: np.full(length, float(i)) for i in range(8)}
        frame = pd.DataFrame(columns, copy=False)
        ptrarray.dump([frame], path, mode="w")
        (loaded,) = ptrarray.load(path)
        assert peak_nbytes(lambda: ptrarray.dump([loaded], path, mode="w")) < 20 * MEBI  # noqa: B023
        assert_equal(frame, ptrarray.load(path)[0])
        with ptrarray.open(path) as store:
            assert ("/0/0" in store) == (length > MEBI)


def test_what_is_shared_stays_shared() -> None:
    series = pd.Series([1, 2], index=DAYS[:2])
    frame = pd.DataFrame({"a": [1, 2]})
    loaded = through_codec([series, frame, {"again": series}, (frame,)])
    assert loaded[0] is loaded[2]["again"]
    assert loaded[1] is loaded[3][0]


def test_a_frame_that_contains_itself_is_refused() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["self"] = [frame]
    with pytest.raises(BadInputError, match=r"attrs\['self'\]\[0\] is the DataFrame that it lies"):
        through_codec(frame)


ARRAYS = {
    "/a": np.arange(3.0),
    "/b": np.arange(6.0).reshape(3, 2),
    "/c": np.array([0, 1, 7], "i1"),
    "/e": np.zeros(0),
    "/t": np.zeros(3, "M8[s]"),
    "/u": np.frombuffer("aäb".encode(), np.uint8),
    "/n": np.array([1, 3, 9], "u1"),
    "/p": np.array([0, 1], "i4"),
    "/i": np.zeros(2, "i8"),
}
RANGE = [["parts", "RangeIndex", "start", "stop", "step", "name"], 0, 3, 1, None]
BOMB = [["parts", "RangeIndex", "start", "stop", "step", "name"], 0, 2**50, 1, None]
SERIES_OF = ["parts", "Series", "values", "index", "name"]
TEXT_OF = ["parts", "strings", "values", "ends", "storage", "na_value"]
SPARSE_OF = ["parts", "SparseArray", "values", "positions", "length", "fill_value", "sparse_kind"]
FRAME_OF = ["parts", "DataFrame", "index", "columns", ""]


@pytest.mark.parametrize(
    "tokens",
    [
        [SERIES_OF, ["array", "/a"], *BOMB, None],
        [SERIES_OF, 1.5, *BOMB, None],
        [SERIES_OF, "text", *BOMB, None],
        [SERIES_OF, ["list", 1], 1, *BOMB, None],
        [SERIES_OF, ["array", "/e"], *BOMB, None],
        [SERIES_OF, ["array", "/b"], *RANGE, None],
        [SERIES_OF, ["array", "/a"], 3, None],
        [SERIES_OF, ["array", "/a"], ["list", 3], 1, 2, 3, None],
        [SERIES_OF, ["array", "/a"], *RANGE, ["list", 0]],
        [["parts", "Series", "index"], *RANGE],
        [["parts", "Series", "values", "index", "name", "dtype"], ["array", "/a"], *RANGE, None, 1],
        [FRAME_OF, *BOMB, *RANGE, ["array", "/b"]],
        [FRAME_OF, *RANGE, *BOMB, ["array", "/b"]],
        [FRAME_OF, *BOMB, *RANGE, ["list", 3], 1, 2, 3],
        [FRAME_OF, *RANGE, *BOMB, ["list", 0]],
        [FRAME_OF, *RANGE, *RANGE, ["dict", 0]],
        [FRAME_OF, *RANGE, *RANGE, 1],
        [
            ["parts", "Categorical", "codes", "categories", "ordered"],
            ["array", "/c"],
            *RANGE,
            False,
        ],
        [["parts", "IntegerArray", "values", "mask"], ["array", "/a"], ["array", "/c"]],
        [["parts", "strings", "values", "storage", "na_value"], ["list", 1], 1, "python", "NA"],
        [["parts", "strings", "values", "storage", "na_value"], ["list", 1], "a", "evil", "NA"],
        [TEXT_OF, ["array", "/u"], ["array", "/n"], "python", "NA"],
        [TEXT_OF, ["array", "/u"], ["array", "/n"], "object", "None"],
        [TEXT_OF, ["array", "/u"], ["array", "/a"], "python", "NA"],
        [TEXT_OF, ["array", "/a"], ["array", "/c"], "python", "NA"],
        [TEXT_OF, "text", 4, "python", "NA"],
        [SPARSE_OF, ["array", "/i"], ["array", "/p"], 1, 0, "integer"],
        [SPARSE_OF, ["array", "/i"], ["array", "/c"], 9, 0, "integer"],
        [SPARSE_OF, ["array", "/e"], ["array", "/i"], 2**50, 0, "block"],
        [["parts", "PeriodArray", "values", "freq"], ["array", "/a"], "M"],
        [["parts", "PeriodArray", "values", "freq"], ["array", "/i"], "evil"],
        [["parts", "IntervalArray", "left", "right", "closed"], *BOMB, *BOMB, "left"],
        [["parts", "Timestamp", "value"], ["list", 0]],
        [["parts", "Period", "ordinal", "freq"], "x", "M"],
        [["parts", "missing", "value"], "__class__"],
        [["parts", "zoned", "values", "zone"], ["array", "/a"], "UTC"],
        [["parts", "MultiIndex", "levels", "codes", "names"], *RANGE, *RANGE, None],
        [["parts", "RangeIndex", "start", "stop", "step", "name"], 0, 2**62, 0, None],
        [["parts", "DatetimeIndex", "values", "name", "freq"], ["array", "/a"], None, "D"],
        [["parts", "DatetimeIndex", "values", "name", "dtype"], ["array", "/a"], None, "O"],
        [["parts", "read_pickle", "filepath_or_buffer"], "/etc/passwd"],
        [["parts", "eval", "expr"], "1"],
        [["parts", "offset", "class", "n"], "eval", 1],
        [["parts", "offset", "n"], 1],
        [["parts", "offset", "class", "shell"], "Day", "x"],
        [["parts", "offset", "class", "holidays"], "CustomBusinessDay", ["list", 1], "x"],
        [["parts", "Index", "values", "freq", "loose"], ["array", "/a"], "D", True],
        [["parts", "zoned", "values", "zone"], ["array", "/t"], ["tuple", 2], "os", "x"],
        [["parts", "zoned", "values", "zone"], ["array", "/t"], ["tuple", 2], "zoneinfo", "../x"],
        [["dict", 1], *RANGE, 1],
    ],
    ids=lambda tokens: tokens[0][1],
)
def test_hostile_parts_are_refused(path: Path, tokens: Any) -> None:
    forge(path, tokens, **ARRAYS)

    def refuse() -> None:
        with pytest.raises(CorruptStoreError, match="the skeleton of the object in"):
            ptrarray.load(path)

    assert peak_nbytes(refuse) < 4 * MEBI


def test_without_pandas(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge(path, RANGE)
    assert len(ptrarray.load(path)) == 3
    monkeypatch.setitem(sys.modules, "pandas", None)
    import_pandas.cache_clear()
    with pytest.raises(ImportError, match="pip install pandas"):
        ptrarray.load(path)
    forge(path, [["list", 2], 1, 2])
    assert ptrarray.load(path) == [1, 2]


def test_pandas_is_imported_only_for_its_own(path: Path) -> None:
    code = (
        "import sys, ptrarray; ptrarray.dump([1], sys.argv[1]); sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
