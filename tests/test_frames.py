"""pandas objects as parts: in a nested store and in one of named arrays they come back the same."""

from __future__ import annotations

import zoneinfo
from contextlib import suppress
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ptrarray.errors import BadInputError
from ptrarray.format import metadata
from ptrarray.frames.flat import companions_of, describe_parts
from ptrarray.frames.series import describe, parts_of, to_pandas
from tests.support.nested import through_codec
from tests.test_nested_pandas import FRAMES, SERIES, assert_equal

pd = pytest.importorskip("pandas")


class Kept(dict[str, Any]):
    """Arrays and metadata as a store has them."""

    def __init__(self, value: Any) -> None:
        values, companions, about = describe_parts(parts_of(value))
        super().__init__({f"x{suffix}": array for suffix, array in companions.items()}, x=values)
        assert sorted(companions) == sorted(companions_of(about))
        self.meta = {"x": {"pandas": metadata.decode(metadata.encode("x", about))}}


def assert_both_keep(value: Any) -> None:
    before = value.copy()
    nested = through_codec(value)
    flat = to_pandas(Kept(value), "x")
    for found in (nested, flat):
        assert_equal(before, found)
    assert_equal(nested, flat)
    assert_equal(before, value)


# What hypothesis builds of ------------------------------------------------------------------------

NAMES = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1) | st.booleans()
    | st.binary(max_size=2) | st.floats(allow_nan=False) | st.just(np.int64(7)),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)  # fmt: skip
UNITS = st.sampled_from(["s", "ms", "us", "ns"])
ZONES = st.sampled_from(
    [None, "UTC", "Europe/Paris", "America/St_Johns", timezone(-timedelta(minutes=90))]
)
FREQUENCIES = ["D", "-1D", "h", "90min", "B", "W-TUE", "MS", "ME", "QE-NOV", "YE-FEB", "bh"]
MISSING = st.sampled_from(["every", "some", "none"])
NUMBERS = ["i1", "u8", "f4", "f8", "c16", "bool", ">i4"]
NULLABLE = ["Int8", "UInt64", "Float32", "Float64", "boolean"]


def holes(draw: st.DrawFn, n: int) -> Any:
    missing = draw(MISSING)
    return [missing == "every" or (missing == "some" and i % 3 == 1) for i in range(n)]


@st.composite
def moments(draw: st.DrawFn, n: int) -> Any:
    """Dates in no order, some of which are missing."""
    seconds = draw(st.lists(st.integers(-(10**9), 2 * 10**9), min_size=n, max_size=n))
    dates = np.array(seconds, "M8[s]")
    dates[holes(draw, n)] = "NaT"
    index = pd.DatetimeIndex(dates).as_unit(draw(UNITS))
    zone = draw(ZONES)
    return index if zone is None else index.tz_localize("UTC").tz_convert(zone)


@st.composite
def texts(draw: st.DrawFn, n: int, dtype: str) -> Any:
    items = draw(st.lists(st.text(max_size=3), min_size=n, max_size=n))
    return pd.array([None if hole else item for item, hole in
                     zip(items, holes(draw, n), strict=True)], dtype=dtype)  # fmt: skip


@st.composite
def objects(draw: st.DrawFn, n: int) -> Any:
    items = st.none() | st.text(max_size=2) | st.integers(-9, 9) | st.floats() | st.booleans()
    return np.fromiter(draw(st.lists(items, min_size=n, max_size=n)), object, n)


@st.composite
def arrays(draw: st.DrawFn, n: int) -> Any:
    """Values of any dtype that is kept."""
    numbers = np.array(draw(st.lists(st.integers(0, 99), min_size=n, max_size=n)), int)
    kind = draw(st.sampled_from(["numbers", "nullable", "moments", "durations", "str", "string",
                                 "category", "objects"]))  # fmt: skip
    match kind:
        case "numbers":
            return numbers.astype(draw(st.sampled_from(NUMBERS)))
        case "nullable":
            array = pd.array(numbers % 2, "Int64").astype(draw(st.sampled_from(NULLABLE)))
            array[np.array(holes(draw, n), bool)] = pd.NA
            return array
        case "moments":
            return draw(moments(n)).array
        case "durations":
            return pd.TimedeltaIndex(numbers.astype("m8[s]")).as_unit(draw(UNITS)).array
        case "category":
            codes = [-1 if hole else i % 2 for i, hole in enumerate(holes(draw, n))]
            categories = draw(st.sampled_from([["b", "a"], [2.5, 1.0], pd.RangeIndex(2)]))
            return pd.Categorical.from_codes(codes, categories, ordered=draw(st.booleans()))
        case "objects":
            return draw(objects(n))
    return draw(texts(n, kind))


@st.composite
def counted(draw: st.DrawFn, n: int) -> Any:
    """Dates of a frequency, over the hours that summer time skips or repeats."""
    start = draw(st.sampled_from(["2020-03-27", "2020-10-24", "1969-12-31"]))
    dates = pd.date_range(start, periods=n, freq=draw(st.sampled_from(FREQUENCIES)))
    zone = draw(ZONES)
    if zone is None:
        return dates.as_unit(draw(UNITS))
    if draw(st.booleans()):
        return having_its_frequency(dates.tz_localize("UTC").tz_convert(zone))
    try:
        return dates.tz_localize(zone)
    except ValueError:  # a time that is not there
        return dates


def having_its_frequency(dates: Any) -> Any:
    """Return dates without a frequency if they do not have it: pandas 2 leaves it to them."""
    made = pd.DatetimeIndex(dates.asi8.view(f"M8[{dates.unit}]")).tz_localize("UTC")
    made = made.tz_convert(dates.tz)
    with suppress(ValueError):
        made.freq = dates.freq
    return made


@st.composite
def indexes(draw: st.DrawFn, n: int) -> Any:
    kind = draw(st.sampled_from(["default", "range", "counted", "durations", "levels", "any"]))
    match kind:
        case "default":
            return pd.RangeIndex(n)
        case "range":
            step = draw(st.sampled_from([-3, 1, 2]))
            index = pd.RangeIndex(5, 5 + n * step, step)
        case "counted":
            index = draw(counted(n))
        case "durations":
            index = pd.timedelta_range("1h", periods=n, freq=draw(st.sampled_from(["D", "7min"])))
        case "levels":
            levels = [draw(indexes(n)) for _ in range(draw(st.integers(2, 3)))]
            assume(all(level.nlevels == 1 for level in levels))
            # What pandas does with levels named by tuples of several lengths warns or fails.
            names = [draw(st.none() | st.text(max_size=2) | st.integers(0, 9)) for _ in levels]
            return pd.MultiIndex.from_arrays(levels, names=names)
        case _:
            values = draw(arrays(n))
            if isinstance(values, np.ndarray):  # pandas has no look-up in those of other machines
                values = values.astype(values.dtype.newbyteorder("="))
            index = pd.Index(values, dtype=object if values.dtype == object else None)
    return index.rename(draw(NAMES))


@st.composite
def series(draw: st.DrawFn) -> Any:
    n = draw(st.integers(0, 6))
    values = draw(arrays(n))
    dtype = object if values.dtype == object else None
    made = pd.Series(values, index=draw(indexes(n)), name=draw(NAMES), dtype=dtype)
    if draw(st.booleans()):
        made.attrs = draw(st.dictionaries(st.text(max_size=2), st.integers(0, 9) | st.none()))
    if made.index.is_unique and draw(st.booleans()):
        made = made.set_flags(allows_duplicate_labels=False)
    return made


@settings(max_examples=200)
@given(series())
def test_what_dump_keeps_a_store_of_arrays_keeps(value: Any) -> None:
    assert_both_keep(value)


def is_flat(value: Any) -> bool:
    """Tell whether there is nothing in a Series but what msgpack keeps."""
    return not any(type(item) in (tuple, list) for item in (*value, *value.index))


@pytest.mark.parametrize(
    "value",
    [*filter(is_flat, SERIES[:8] + SERIES[9:]), *FRAMES],
    ids=lambda value: type(value).__name__,
)
def test_what_both_keep(value: Any) -> None:
    assert_both_keep(value)


def test_dates_are_counted_only_where_rows_can_be() -> None:
    """Text is packed, so that what lies under the name has any length."""
    days = pd.date_range("2020", periods=3)
    for values in (["a", "b", "c"], [1, 2, 3]):
        assert_both_keep(pd.Series(values, index=days))
        assert_both_keep(pd.DataFrame({"a": values, "b": ["x", "y", "z"]}, index=days))
    assert companions_of(Kept(pd.Series([1, 2, 3], index=days)).meta) == []


@pytest.mark.parametrize(
    ("frequency", "is_kept"),
    [
        ("ME", True),
        ("-1h", True),
        (pd.offsets.FY5253(weekday=2), True),
        (pd.offsets.CustomBusinessDay(holidays=["2020-01-02"]), False),
        (pd.offsets.BusinessHour(start="08:00"), False),
        (pd.offsets.DateOffset(months=2), False),
        (pd.offsets.Week(), False),
    ],
    ids=str,
)
def test_frequencies_that_text_tells(frequency: Any, is_kept: bool) -> None:
    days = pd.date_range("2020-01-01 08:00", periods=3, freq=frequency)
    value = pd.Series([1.0, 2.0, 3.0], index=days)
    for found in (through_codec(value), to_pandas(Kept(value), "x")):
        pd.testing.assert_series_equal(found, value, check_freq=False)
        assert found.index.freq == (days.freq if is_kept else None)


def test_a_frequency_that_was_left_from_another_zone() -> None:
    """What is midnight in UTC is another time, or another day, elsewhere."""
    for frequency in ("B", "D", "W-TUE", "MS", "h"):
        days = pd.date_range("2020-03-24", periods=8, freq=frequency, tz="UTC")
        for zone in ("Europe/Paris", "America/St_Johns"):
            value = pd.Series(1, index=days.tz_convert(zone))
            assert_both_keep(value.set_axis(having_its_frequency(value.index)))
            for found in (through_codec(value), to_pandas(Kept(value), "x")):
                pd.testing.assert_series_equal(found, value, check_freq=False)


SECONDS = timedelta(hours=1, seconds=30)


@pytest.mark.parametrize("zone", [timezone(SECONDS), "zone without a name"])
def test_zones_that_have_no_name_are_refused(zone: Any) -> None:
    if isinstance(zone, str):
        with Path(zoneinfo.TZPATH[0], "Europe", "Paris").open("rb") as file:
            zone = ZoneInfo.from_file(file)
    days = pd.date_range("2020", periods=2, tz=zone)
    for value in (pd.Series(days), pd.Series([1, 2], index=days)):
        with pytest.raises(
            BadInputError, match=r"^obj\.\S+ has dtype .* cannot be found by its name"
        ):
            through_codec(value)
        with pytest.raises(BadInputError, match=r"^it has dtype .* cannot be found by its name"):
            describe(value)


def test_zones_of_other_libraries_become_those_of_pandas() -> None:
    dateutil = pytest.importorskip("dateutil.tz")
    for zone, name in (
        (dateutil.tzoffset(None, 3600), "UTC+01:00"),
        (timezone(timedelta(hours=1), "mine"), "UTC+01:00"),
        (dateutil.tzutc(), "UTC"),
    ):
        value = pd.Series(pd.date_range("2020", periods=2, tz=zone))
        for found in (through_codec(value), to_pandas(Kept(value), "x")):
            assert str(found.dt.tz) == name
            assert (found == value).all()


@pytest.mark.parametrize(
    "about",
    [
        {"kind": "Series", "index": {"kind": "spiral"}},
        {"kind": "Series", "name": {"spiral": 1}},
        {"kind": "Series", "values": {"kind": "spiral", "values": {"array": ""}}},
    ],
    ids=str,
)
def test_what_only_a_later_version_knows_is_refused(about: Any) -> None:
    store = Kept(pd.Series([1, 2]))
    store.meta = {"x": {"pandas": about}}
    with pytest.raises(BadInputError, match="'spiral' is not known to this version"):
        to_pandas(store, "x")


def test_no_description_asks_for_more_than_there_is() -> None:
    store = Kept(pd.Series([1, 2], index=pd.date_range("2020", periods=2)))
    dates = store.meta["x"]["pandas"]["index"]
    dates["count"] = 2**40
    with pytest.raises(TypeError):
        to_pandas(store, "x")
    store.meta["x"]["pandas"]["index"] = {
        "kind": "RangeIndex",
        "start": 0,
        "stop": 2**40,
        "step": 1,
    }
    with pytest.raises(ValueError, match="labels that are not as many"):
        to_pandas(store, "x")
