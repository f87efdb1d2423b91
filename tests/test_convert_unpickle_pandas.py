"""Pickles of pandas, of this version and others, read without calling anything they name."""

from __future__ import annotations

import pickle
from array import array
from collections import Counter, OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ptrarray.convert.formats.pickles import read
from ptrarray.errors import BadInputError
from tests.pickles import make, make_kinds
from tests.test_convert_unpickle import loads
from tests.test_frames import assert_same_frequency, with_arguments

pytestmark = pytest.mark.usefixtures("limits")

PICKLES = sorted((Path(__file__).parent / "pickles").glob("pandas-*.pkl"))
KINDS = sorted((Path(__file__).parent / "pickles").glob("kinds-*.pkl"))


@pytest.mark.parametrize("path", PICKLES, ids=lambda path: path.stem)
def test_pandas_of_other_versions(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    found = read(str(path), trust=False)
    assert list(found) == list(range(4 if "3.1" in path.name else 3))
    loose = {"check_index_type": False, "check_dtype": False}
    n_since_31 = 6
    for objects in found.values():
        assert len(objects) == len(make.objects()) - (0 if "3.1" in path.name else n_since_31)
        for key, found_value in objects.items():
            expected = make.objects()[key]
            if key == "text and none":
                assert [*found_value.index[:1], *found_value] == ["a", 1.5, -2.5]
            elif isinstance(expected, pd.Series):
                pd.testing.assert_series_equal(found_value, expected, **loose)
                assert found_value.flags == expected.flags
            else:
                check = pd.testing.assert_frame_equal
                check(found_value, expected, check_column_type=False, **loose)


@pytest.mark.parametrize("path", KINDS, ids=lambda path: path.stem)
def test_kinds_of_other_versions(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found = read(str(path), trust=False)
    assert list(found) == [0, 1]
    for objects in found.values():
        expected = make_kinds.objects()
        assert list(objects) == list(expected)
        for key, value in expected.items():
            assert_alike(objects[key], value)
            if key == "values: arrow's strings":
                assert objects[key].dtype == value.dtype == "string[pyarrow]"
            if key == "values: objects":
                assert [*map(type, objects[key])] == [*map(type, value)]
    assert any(item is pd.NA for item in objects["values: objects"])


def assert_alike(found: Any, expected: Any) -> None:
    """Compare all but what is another dtype by default in each version: dates and text."""
    assert [*map(repr, found.index)] == [*map(repr, expected.index)]
    assert [*map(repr, found)] == [*map(repr, expected)]
    kind = type(expected.dtype).__name__
    assert type(found.dtype).__name__ == kind
    if kind not in ("StringDtype", "CategoricalDtype"):
        assert found.dtype == expected.dtype
    assert type(found.index) is type(expected.index)
    assert getattr(found.index, "closed", None) == getattr(expected.index, "closed", None)
    assert getattr(found.index, "freq", None) == getattr(expected.index, "freq", None)
    assert getattr(found.index, "ordered", None) == getattr(expected.index, "ordered", None)


@pytest.mark.parametrize("protocol", range(6))
def test_pandas_of_this_version(protocol: int) -> None:
    pd = pytest.importorskip("pandas")
    for key, expected in make.objects().items():
        if key == "months by name" and protocol < 2 and pd.__version__ < "3":
            continue  # which pandas 2 cannot pickle so
        found = loads(pickle.dumps(expected, protocol))
        kind = "series" if isinstance(expected, pd.Series) else "frame"
        getattr(pd.testing, f"assert_{kind}_equal")(found, expected)
        assert found.flags == expected.flags


@pytest.mark.parametrize("dtype", [object, "c16", "M8[s]", "?"])
def test_frames_of_one_dtype(dtype: Any) -> None:
    """Each is one block, of Python objects, too."""
    pd = pytest.importorskip("pandas")
    columns: Any = np.arange(6).reshape(3, 2).astype(dtype)
    if dtype is object:
        columns[1] = None, "text"
    turned = pd.DataFrame(np.asfortranarray(columns)), pd.DataFrame(columns.T.copy()).T
    for expected in (pd.DataFrame(columns), pd.DataFrame(columns).iloc[:1], *turned):
        found = loads(pickle.dumps(expected))
        pd.testing.assert_frame_equal(found, expected)
        assert [*map(type, found.iloc[0])] == [*map(type, expected.iloc[0])]


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_time_zones_of_dateutil(protocol: int) -> None:
    """They pickle all that their file has, and where it was; its name is all that is read."""
    pd = pytest.importorskip("pandas")
    for zone in ("dateutil/Europe/Paris", "dateutil/America/Argentina/Ushuaia"):
        expected = pd.Series(pd.date_range("2026-03-29", periods=3, freq="h", tz=zone))
        pd.testing.assert_series_equal(loads(pickle.dumps(expected, protocol)), expected)
    utc = pd.Series(pd.date_range("2026", periods=3, tz="dateutil/UTC"))
    assert loads(pickle.dumps(utc, protocol)).tolist() == utc.tolist()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_frequencies_of_every_class(protocol: int) -> None:
    pd = pytest.importorskip("pandas")
    for kind in {getattr(pd.offsets, name) for name in pd.tseries.offsets.__all__}:
        for frequency in with_arguments(kind):
            try:
                value = pd.Index(pd.date_range("2020-01-06 10:00", periods=3, freq=frequency))
            except (TypeError, ValueError, AttributeError, NotImplementedError):  # of a base class
                continue
            try:
                raw = pickle.dumps(value, protocol)
            except TypeError:  # a weekday of dateutil, below protocol 2
                continue
            expected = pickle.loads(raw).freq  # pandas loses a calendar that was given as such
            assert_same_frequency(loads(raw).freq, expected)


def test_there_are_pickles_of_four_versions() -> None:
    assert len(PICKLES) == 4
    assert len(KINDS) == 3


OBJECTS = [
    datetime(2020, 10, 25, 2, tzinfo=ZoneInfo("Europe/Paris"), fold=1),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1), "mine")),
    time(2, fold=1),
    time(2, tzinfo=UTC),
    Decimal("1.50"),
    {(1, "a"): [{2}, frozenset([3])]},
    (np.float64(1.5), np.datetime64("2020"), np.str_("a")),
    [None, True, 2**70, 1j, b"x", "ä"],
]


@pytest.mark.parametrize("value", OBJECTS, ids=repr)
def test_python_objects_are_what_they_were(value: Any) -> None:
    pd = pytest.importorskip("pandas")
    objects = np.fromiter([value, value], object, 2)
    column = pd.Series(objects, dtype=object, name=("a", date(2020, 1, 1)))
    found = loads(pickle.dumps(column))
    assert repr(found.tolist()) == repr([value, value])
    assert type(found[0]) is type(value)
    assert found[0] is found[1]
    assert repr(found.name) == repr(column.name)


def test_scalars_of_pandas_are_what_they_were() -> None:
    pd = pytest.importorskip("pandas")
    items = [pd.NA, pd.NaT, pd.Timestamp("2020", tz="Europe/Paris"), pd.Timestamp(5, unit="s"),
             pd.Timedelta("1h"), pd.Period("2020-01", "M"), pd.Interval(0, 1.5, "both")]  # fmt: skip
    for protocol in (2, 5):
        column = pd.Series(items, dtype=object)
        found = loads(pickle.dumps(column, protocol))
        assert [*map(repr, found)] == [*map(repr, column)]
        assert [getattr(item, "unit", None) for item in found] == [
            getattr(item, "unit", None) for item in column
        ]


class Zone(tzinfo):
    """A time zone of the user's."""

    def utcoffset(self, _: Any) -> timedelta:
        """Return an hour."""
        return timedelta(hours=1)

    def dst(self, _: Any) -> None:
        """Return nothing."""

    def tzname(self, _: Any) -> None:
        """Return nothing."""


REFUSED = [
    deque([1]), OrderedDict(a=1), Counter("a"), bytearray(b"x"), array("i", [1]), Path("x"), UUID(int=1),
    int, [[{"a": dict}]], partial(max, 1), datetime(2020, 1, 1, tzinfo=Zone()),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_python_objects_that_would_change_are_refused(value: Any, protocol: int) -> None:
    """In a list that is imported a deque may become a list, and a type nothing; in a column not."""
    pd = pytest.importorskip("pandas")
    raw = pickle.dumps(pd.Series(np.fromiter([value], object, 1), dtype=object), protocol)
    with pytest.raises(BadInputError):
        loads(raw)


def test_objects_that_are_shared_a_billion_times() -> None:
    pd = pytest.importorskip("pandas")
    value: Any = [1]
    for _ in range(40):
        value = [value, value]
    found = loads(pickle.dumps(pd.Series([value], dtype=object)))[0]
    assert found[0] is found[1]
    value.append(value)
    with pytest.raises(BadInputError, match=r"nested|itself"):
        loads(pickle.dumps(pd.Series([value], dtype=object)))
