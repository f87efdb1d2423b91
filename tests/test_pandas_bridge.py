"""Series and DataFrames in a store, and back on its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.convert import from_pickles, to_frame, to_pandas, to_series
from ptrarray.errors import BadInputError, UnknownNameError
from ptrarray.frames.library import import_pandas
from ptrarray.frames.series import describe
from tests.pickles import make

pd = pytest.importorskip("pandas")


def kept(path: Path, value: Any, **settings: Any) -> Any:
    """Write a value to a store, and return the store."""
    with ptrarray.create(path, **settings) as writer:
        writer["x"] = value
    return ptrarray.open(path)


def check(found: Any, expected: Any) -> None:
    kind = "series" if isinstance(expected, pd.Series) else "frame"
    getattr(pd.testing, f"assert_{kind}_equal")(found, expected)
    assert found.attrs == expected.attrs
    assert found.flags.allows_duplicate_labels == expected.flags.allows_duplicate_labels


VALUES = [1.5, -2.5]
MORE = {
    "empty": pd.Series([], dtype="f4"),
    "empty of text": pd.Series([], index=pd.Index([], dtype="object"), dtype="f4"),
    "range of steps": pd.Series(VALUES, index=pd.RangeIndex(10, 0, -5, name="t")),
    "named range": pd.Series(VALUES, index=pd.RangeIndex(2, name="t")),
    "range of none": pd.Series([], index=pd.RangeIndex(5, 5), dtype="i1"),
    "bool": pd.Series([True, False]),
    "complex": pd.Series([1 + 2j]),
    "half": pd.Series(VALUES, dtype="f2"),
    "unsigned": pd.Series([1, 2], dtype="u4"),
    "nanoseconds": pd.Series(VALUES, index=pd.date_range("2020", periods=2, freq="h", unit="ns")),
    "seconds": pd.Series(VALUES, index=pd.date_range("2020", periods=2, unit="s")),
    "summer time": pd.Series(
        np.arange(4.0), index=pd.date_range("2020-03-27", periods=4, freq="D", tz="Europe/Berlin")
    ),
    "hours over summer time": pd.Series(
        np.arange(48.0), index=pd.date_range("2020-10-24", periods=48, freq="h", tz="Europe/Berlin")
    ),
    "one date": pd.Series([1.0], index=pd.date_range("2020", periods=1)),
    "no dates": pd.Series([], index=pd.date_range("2020", periods=0), dtype="f8"),
    "backwards": pd.Series(VALUES, index=pd.date_range("2020", periods=2, freq="-1D")),
    "NaT in the index": pd.Series(VALUES, index=pd.DatetimeIndex(["2020", None])),
    "named dates": pd.Series(VALUES, index=pd.date_range("2020", periods=2, name="when")),
    "minus offset": pd.Series(VALUES, index=pd.DatetimeIndex(["2020", "2022"]).tz_localize(-5400)),
    "durations as index": pd.Series(VALUES, index=pd.to_timedelta(["1s", "3s"])),
    "regular durations": pd.Series(VALUES, index=pd.timedelta_range("1s", periods=2)),
    "objects as index": pd.Series([1.0, 2.0, 3.0], index=pd.Index(["a", 2, None], dtype=object)),
    "three levels": pd.Series(
        [1.0, 2.0],
        index=pd.MultiIndex.from_arrays(
            [[0, 1], ["a", "b"], pd.date_range("2020", periods=2, tz="UTC")],
            names=["i", None, ("a", 1)],
        ),
    ),
    "levels with none": pd.Series(VALUES, index=pd.MultiIndex.from_tuples([(1, None), (2, "b")])),
    "nullable without null": pd.Series([1, 2], dtype="UInt8"),
    "nullable bool": pd.Series([True, None], dtype="boolean"),
    "nullable float": pd.Series([1.5, None], dtype="Float32"),
    "nullable index": pd.Series(VALUES, index=pd.Index([1, None], dtype="UInt8", name="i")),
    "no label twice": pd.Series(VALUES).set_flags(allows_duplicate_labels=False),
    "named by an int": pd.Series(VALUES, name=7),
    "named by numpy": pd.Series(VALUES, name=np.int64(7)),
    "with attrs": pd.Series(VALUES),
    "frame without columns": pd.DataFrame(index=[5, 6]),
    "frame without rows": pd.DataFrame({"a": np.array([], "i2"), "b": np.array([], "f4")}),
    "frame of rows": pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=[5, 6, 7]),
    "same column twice": pd.DataFrame([[1, 2.5]], columns=["a", "a"]).astype({"a": "f4"}),
    "two columns of one name": pd.concat(
        [pd.Series([1]), pd.Series([2.5])], axis=1, keys=["a", "a"]
    ),
    "column levels": pd.DataFrame(
        np.eye(2), columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    ),
    "columns of dates": pd.DataFrame(np.eye(2), columns=pd.date_range("2020", periods=2)),
    "nullable columns": pd.DataFrame({"a": pd.array([1, None], "Int16"), "b": [True, False]}),
    "columns with a name": pd.DataFrame(np.eye(2), columns=pd.Index(["a", "b"], name="side")),
}
MORE["with attrs"].attrs = {"unit": "m", "nested": {"a": [1]}}


@pytest.mark.parametrize("key", [*make.objects(), *MORE])
def test_round_trip(tmp_path: Path, key: str) -> None:
    expected = {**make.objects(), **MORE}[key]
    with kept(tmp_path / "s.ptr", expected) as store:
        check(to_pandas(store, "x"), expected)
        assert list(store) == ["x"]
        store.verify()


@pytest.mark.parametrize("shard_size", [None, "1kB"])
def test_deleting_takes_what_belongs_to_it(tmp_path: Path, shard_size: str | None) -> None:
    levels = pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])
    expected = pd.Series(VALUES, index=levels)
    expected.to_pickle(tmp_path / "s1.pkl")
    place = tmp_path / "s.ptr"
    for n_rows in (2, 1):  # it can come again, and be another
        expected = expected[:n_rows]
        expected.to_pickle(tmp_path / "s1.pkl")
        report = from_pickles(tmp_path / "s1.pkl", place, shard_size=shard_size, progress=False)
        assert report.ok
        with ptrarray.append(place) as writer:
            writer["s1/mine"] = np.arange(1000)
            pd.testing.assert_series_equal(ptrarray.open(place).series("s1"), expected)
            assert len(writer) == 2
            del writer["s1"]
            assert list(writer) == ["s1/mine"]
    ptrarray.verify(place)


def test_views_and_not_copies(tmp_path: Path) -> None:
    index = pd.Index([10, 20])
    with kept(tmp_path / "s.ptr", pd.Series(VALUES, index=index)) as store:
        series = to_series(store, "x")
        assert np.shares_memory(series.to_numpy(), store["x"])
        assert series.index.to_numpy().base is not None
        assert not series.index.to_numpy().flags.writeable
    for value in (pd.DataFrame(np.eye(3)), MORE["nullable columns"]):
        with kept(tmp_path / f"{len(value)}.ptr", value) as store:
            column = to_frame(store, "x").iloc[:, -1].to_numpy()
            assert np.shares_memory(column, store["x"])


def test_dates_that_no_text_tells(tmp_path: Path) -> None:
    """A calendar of one's own is kept with its dates."""
    holidays = pd.offsets.CustomBusinessDay(holidays=["2020-01-02", "2020-01-06"])
    expected = pd.Series(VALUES, index=pd.date_range("2020-01-01", periods=2, freq=holidays))
    with kept(tmp_path / "s.ptr", expected) as store:
        assert list(store) == ["x"]
        found = to_series(store, "x")
    check(found, expected)
    assert found.index[-1] + found.index.freq == pd.Timestamp("2020-01-07")


def test_what_costs_nothing(tmp_path: Path) -> None:
    """Ranges are no array, and neither is a mask of nothing."""
    assert describe(make.objects()["plain"]).helpers == {}
    assert "mask" not in str(describe(MORE["nullable without null"]).about)
    assert describe(pd.Series(VALUES)).about == {"kind": "Series"}


def test_frames_of_arrays_with_steps() -> None:
    table = np.arange(24.0).reshape(4, 6)
    for array in (table[:2, ::2], table[:1, ::2], table[:, 2:3], table.T[:, 1:2]):
        arrays: Any = {"x": array}
        check(to_frame(arrays, "x"), pd.DataFrame(array.copy()))


def test_any_array_is_a_series_or_a_frame(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write({"a": [1, 2], "b": np.eye(2), "c": np.array([(1, 2.5)], "i4,f8"), "d": 1.5})
    with ptrarray.open(tmp_path / "s.ptr") as store:
        check(to_series(store, "a"), pd.Series([1, 2]))
        check(to_frame(store, "b"), pd.DataFrame(np.eye(2)))
        assert to_frame(store, "c")["f1"].tolist() == [2.5]
        assert to_pandas(store, "d") == 1.5
        for function, name in (
            (to_series, "b"),
            (to_series, "d"),
            (to_frame, "a"),
            (to_frame, "d"),
        ):
            with pytest.raises(BadInputError, match=r"use store.(frame|series)"):
                function(store, name)
        with pytest.raises(UnknownNameError):
            to_series(store, "none")


def test_a_series_is_no_frame_and_a_frame_no_series(tmp_path: Path) -> None:
    with (
        kept(tmp_path / "a.ptr", pd.DataFrame({"a": [1]})) as s,
        pytest.raises(
            BadInputError, match=r"array 'x' is frame, not a Series: use store.frame, or to_frame"
        ),
    ):
        to_series(s, "x")
    with (
        kept(tmp_path / "b.ptr", pd.Series(VALUES)) as s,
        pytest.raises(
            BadInputError,
            match=r"array 'x' is series, not a DataFrame: use store.series, or to_series",
        ),
    ):
        to_frame(s, "x")


def test_masked_values_are_not_shown_as_values(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr", masked=True) as writer:
        writer["x"] = np.ma.MaskedArray([1, 2], [False, True])
        writer["y"] = [1, 2]
    with ptrarray.open(tmp_path / "s.ptr") as store:
        check(to_series(store, "y"), pd.Series([1, 2]))
        with pytest.raises(BadInputError, match="has masked values"):
            to_series(store, "x")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (pd.Series([1, object()]), "Python objects of which one is not kept: obj.1. is a"),
        (pd.Series(VALUES, index=pd.Index([(1,), object()], dtype=object)), "not kept: obj.1. is"),
        (pd.Series(VALUES, name=object()), "not kept: obj is a builtins.object"),
        (pd.Series(VALUES, index=pd.Index([1, 2], name=len)), "not kept: obj is"),
        (pd.DataFrame({"a": [object()]}), "not kept: obj.0. is a builtins.object"),
        (pd.DataFrame({"a": [np.ma.array([1], mask=[True])]}, dtype=object), "masked array"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses(value: Any, problem: str) -> None:
    with pytest.raises(BadInputError, match=problem):
        describe(value)


def test_refuses_attrs_of_objects() -> None:
    series = pd.Series(VALUES)
    series.attrs = {"a": object()}
    with pytest.raises(BadInputError, match=r"not kept: obj.'a'. is a"):
        describe(series)


def test_an_index_of_a_later_version_is_refused(tmp_path: Path) -> None:
    about = {"kind": "Series", "index": {"kind": "spiral"}}
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write({"x": [1, 2]}, meta={"x": {"pandas": about}})
    with pytest.raises(BadInputError, match="'spiral' is not known to this version"):
        to_series(ptrarray.open(tmp_path / "s.ptr"), "x")


def test_without_pandas_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("ptrarray.errors.importlib.import_module", absent)
    import_pandas.cache_clear()
    with pytest.raises(ImportError, match="pip install pandas"):
        to_series({"x": np.zeros(2)}, "x")  # type: ignore[arg-type]
