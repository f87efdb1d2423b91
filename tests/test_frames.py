"""pandas objects as parts: in a nested store and in one of named arrays they come back the same."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import BadInputError
from ptrarray.format import metadata
from ptrarray.format.helpers import digest, references
from ptrarray.frames.flat import describe_parts, restore
from ptrarray.frames.reading import to_pandas
from ptrarray.frames.series import describe, parts_of
from tests.support.examples import some
from tests.support.nested import through_codec
from tests.test_nested_pandas import FRAMES, SERIES, assert_equal

pd = pytest.importorskip("pandas")


class Kept(dict[str, Any]):
    """Arrays and metadata as a store has them, with helper arrays."""

    def __init__(self, value: Any) -> None:
        values, helpers, about = describe_parts(parts_of(value))
        super().__init__(x=values)
        self.meta = {"x": {"pandas": metadata.decode(metadata.encode("x", about))}}
        self._helpers = Helpers(helpers)
        assert needed(helpers, self.meta["x"]) == set(helpers)
        for name, (array, meta) in helpers.items():
            assert name == digest(array, metadata.encode("", meta))


class Helpers:
    """Helper arrays in memory."""

    def __init__(self, helpers: dict[str, Any]) -> None:
        self._helpers = helpers
        self._objects: dict[str, Any] = {}

    def array(self, name: str) -> Any:
        return self._helpers[name].array

    def object(self, name: str) -> Any:
        if name not in self._objects:
            meta = metadata.decode(metadata.encode(name, self._helpers[name].meta))
            self._objects[name] = restore(self.array(name), meta, self)
        return self._objects[name]


def needed(helpers: dict[str, Any], meta: Any) -> set[str]:
    """Return all that metadata refer to, and what those refer to."""
    found: set[str] = set()
    left = [*references(meta)]
    while left:
        name = left.pop()
        found.add(name)
        left += references(helpers[name].meta)
    return found


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
    [
        None,
        "UTC",
        "Europe/Paris",
        "America/St_Johns",
        timezone(-timedelta(minutes=90)),
        ZoneInfo("UTC"),
        timezone(timedelta(hours=1, seconds=30)),
        timezone(timedelta(0), "mine"),
    ]
)
FREQUENCIES = ["D", "-1D", "h", "90min", "B", "W-TUE", "MS", "ME", "QE-NOV", "YE-FEB", "bh",
               pd.offsets.Week(), pd.offsets.Easter(), pd.offsets.DateOffset(months=1, days=2),
               pd.offsets.BusinessDay(offset=timedelta(hours=2)), pd.offsets.MonthEnd(normalize=True),
               pd.offsets.CustomBusinessHour(weekmask="Sun Mon", holidays=["2020-03-29"],
                                             start="10:00", end="15:00")]  # fmt: skip
MISSING_TEXT = st.sampled_from(["", None, np.nan, pd.NA])
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
                                 "category", "objects", "periods", "intervals", "sparse",
                                 "text objects"]))  # fmt: skip
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
        case "str" | "string":
            return draw(texts(n, kind))
    return draw(arrays_of_pandas(numbers, kind))


@st.composite
def arrays_of_pandas(draw: st.DrawFn, numbers: Any, kind: str) -> Any:
    match kind:
        case "text objects":
            text = draw(texts(len(numbers), "string"))
            return np.where(text.isna(), draw(MISSING_TEXT), np.asarray(text, object))
        case "periods":
            freq = draw(st.sampled_from(["M", "2Q-NOV", "W-TUE", "3h", "Y-FEB"]))
            return draw(moments(len(numbers))).tz_localize(None).to_period(freq).array
        case "intervals":
            closed = draw(st.sampled_from(["left", "right", "both", "neither"]))
            sides = draw(st.sampled_from([numbers, numbers / 2, numbers.astype("M8[s]")]))
            return pd.arrays.IntervalArray.from_arrays(sides, sides, closed)
    fill_value = draw(st.sampled_from([0, 3, np.nan, np.float32(1)]))
    kind = draw(st.sampled_from(["integer", "block"]))
    return pd.arrays.SparseArray(numbers % 4, kind=kind, fill_value=fill_value)


@st.composite
def counted(draw: st.DrawFn, n: int) -> Any:
    """Dates of a frequency, over the hours that summer time skips or repeats."""
    start = draw(st.sampled_from(["2020-03-27", "2020-10-24", "1969-12-31"]))
    dates = pd.date_range(start, periods=n, freq=draw(st.sampled_from(FREQUENCIES)))
    assume(len(dates) == n)
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


@settings(max_examples=some(80, of=200))
@given(series())
def test_what_dump_keeps_a_store_of_arrays_keeps(value: Any) -> None:
    assert_both_keep(value)


@pytest.mark.parametrize(
    "value",
    [*SERIES, *FRAMES],
    ids=lambda value: type(value).__name__,
)
def test_what_both_keep(value: Any) -> None:
    assert_both_keep(value)


ARGUMENTS: list[dict[str, Any]] = [
    {}, {"n": -2}, {"normalize": True}, {"weekday": 3}, {"week": 2, "weekday": 3}, {"month": 5},
    {"startingMonth": 5}, {"day_of_month": 7}, {"variation": "last"}, {"qtr_with_extra_week": 3},
    {"offset": timedelta(hours=2)}, {"holidays": ["2020-01-10", "2020-01-13"]},
    {"weekmask": "Sun Mon"}, {"calendar": np.busdaycalendar("1111110", [np.datetime64("2020-01-10")])},
    {"start": "10:00", "end": "15:00"}, {"start": ["9:00", "14:00"], "end": ["12:00", "16:00"]},
    {"months": 1, "days": 3}, {"days": 1.5}, {"nanoseconds": 5}, {"hour": 3},
]  # fmt: skip


def with_arguments(kind: type) -> Iterator[Any]:
    for arguments in ARGUMENTS:
        with suppress(TypeError, ValueError):
            yield kind(**arguments)


@pytest.mark.parametrize(
    "kind",
    sorted({getattr(pd.offsets, name) for name in pd.tseries.offsets.__all__}, key=repr),
    ids=lambda kind: kind.__name__,
)
def test_frequencies_are_kept_with_all_their_arguments(kind: type) -> None:
    """As index, columns, level and categories: what they go on with is the same."""
    for at, frequency in enumerate(with_arguments(kind)):
        try:
            days = pd.date_range("2020-01-06 10:00", periods=4, freq=frequency)
        except (TypeError, ValueError, AttributeError, NotImplementedError):  # of a base class
            continue
        n = len(days)
        coded = pd.MultiIndex(levels=[days, [1]], codes=[range(n), [0] * n])
        values = [
            pd.Series(range(n), index=days),
            pd.DataFrame(np.zeros((1, n)), columns=days),
            pd.Series(range(n), index=coded if days.is_unique else None),
        ]
        # Where they are is tried of the first one; the arguments of others are in one place each.
        for value in values[at % 3 : at % 3 + 1] if at else values:
            assert_both_keep(value)
        if days.is_unique:
            categories = pd.CategoricalIndex(pd.Categorical.from_codes(range(n), days))
            assert_same_frequency(through_codec(categories).categories.freq, frequency)
        for found in (through_codec(days), to_pandas(Kept(pd.Series(range(n), days)), "x").index):
            assert_same_frequency(found.freq, frequency)


def assert_same_frequency(found: Any, expected: Any) -> None:
    assert found == expected
    assert found.normalize == expected.normalize
    start = pd.Timestamp("2020-01-08 11:30")
    for _ in range(6):  # equality passes over calendars
        assert start + found == start + expected
        start += expected


def test_a_frequency_of_another_class_is_refused(path: Path) -> None:
    relative = import_module("dateutil.relativedelta")
    frequencies = [
        pd.offsets.DateOffset(weekday=relative.MO(2)),
        type("Mine", (pd.offsets.MonthEnd,), {})(),
    ]
    for frequency in frequencies:
        days = pd.date_range("2020", periods=2, freq=frequency)
        with pytest.raises(BadInputError, match=r"^obj\[0\] has the frequency .* freq to None"):
            ptrarray.dump([days], path)
        assert list(path.parent.iterdir()) == []
        with pytest.raises(BadInputError, match=r"^it has the frequency .* freq to None"):
            describe(pd.Series([1, 2], index=days))


def test_a_frequency_that_was_left_from_another_zone() -> None:
    """What is midnight in UTC is another time, or another day, elsewhere."""
    for frequency in ("B", "D", "W-TUE", "MS", "h"):
        days = pd.date_range("2020-03-24", periods=8, freq=frequency, tz="UTC")
        for zone in ("Europe/Paris", "America/St_Johns"):
            value = pd.Series(1, index=days.tz_convert(zone))
            assert_both_keep(value.set_axis(having_its_frequency(value.index)))
            for found in (through_codec(value), to_pandas(Kept(value), "x")):
                pd.testing.assert_series_equal(found, value, check_freq=False)


def zones() -> Iterator[Any]:
    hour = timedelta(hours=1)
    yield from (ZoneInfo("UTC"), ZoneInfo("Asia/Tokyo"), timezone(hour), timezone(hour, "mine"))
    yield timezone(timedelta(hours=1, seconds=30))
    with suppress(ImportError):
        pytz = import_module("pytz")
        yield from (pytz.utc, pytz.timezone("Europe/Paris"), pytz.FixedOffset(-90))
    with suppress(ImportError):
        tz = import_module("dateutil.tz")
        yield from (tz.tzutc(), tz.tzoffset(None, 3600), tz.tzoffset("mine", 3600))
        yield tz.gettz("Europe/Paris")


@pytest.mark.parametrize("zone", [*zones()], ids=repr)
def test_zones_of_any_library_are_kept(zone: Any) -> None:
    days = pd.DatetimeIndex(["2020-01-01", "2020-07-01"]).tz_localize("UTC").tz_convert(zone)
    counted = pd.date_range("2020", periods=2, tz=zone)
    for value in (pd.Series(days), pd.Series([1, 2], index=counted), pd.Series([1, 2], index=days)):
        assert_both_keep(value)
        for found in (through_codec(value), to_pandas(Kept(value), "x")):
            dates = pd.DatetimeIndex(found) if found.dtype.kind == "M" else found.index
            assert (type(dates.tz), repr(dates.tz)) == (type(zone), repr(zone))


@pytest.mark.parametrize("key", [None, "Asia/Tokyo"])
def test_zones_from_files_are_refused(key: str | None) -> None:
    """Whatever the key says: the rules may be others."""
    with Path(zoneinfo.TZPATH[0], "Europe", "Paris").open("rb") as file:
        zone = ZoneInfo.from_file(file, key=key)
    days = pd.date_range("2020", periods=2, tz=zone)
    for value in (pd.Series(days), pd.Series([1, 2], index=days)):
        with pytest.raises(BadInputError, match=r"^obj\.\S+ has dtype .* cannot be found again"):
            through_codec(value)
        with pytest.raises(BadInputError, match=r"^it has dtype .* cannot be found again"):
            describe(value)
    with pytest.raises(BadInputError, match="time zone"):
        through_codec(datetime(2020, 1, 1, tzinfo=zone))


def test_the_zone_of_the_machine_is_refused(tmp_path: Path) -> None:
    tz = pytest.importorskip("dateutil.tz")
    elsewhere = tmp_path / "zoneinfo" / "Paris"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(Path(zoneinfo.TZPATH[0], "Europe", "Paris").read_bytes())
    for zone in (tz.tzlocal(), tz.gettz(), tz.tzfile(str(elsewhere))):
        with pytest.raises(BadInputError, match="tz_convert"):
            through_codec(pd.Series(pd.date_range("2020", periods=2, tz=zone)))


class Text(str):
    """A str of the user's."""

    __slots__ = ()


@pytest.mark.parametrize("item", [np.str_("a"), Text("a")], ids=["numpy", "derived"])
@pytest.mark.parametrize("dtype", ["str", "string"])
def test_text_that_is_more_than_text_is_text(item: str, dtype: str) -> None:
    """It came back as missing."""
    labels = pd.Index(pd.array([item, "b", None], dtype=dtype))
    for value in (pd.Series([1, 2, 3], index=labels), pd.DataFrame(np.eye(3), columns=labels)):
        assert_both_keep(value)
        for found in (through_codec(value), to_pandas(Kept(value), "x")):
            assert "a" in (found.columns if found.ndim == 2 else found.index)


def test_rows_of_a_frame_without_columns() -> None:
    """They are counted by nothing but the index."""
    for value in (pd.DataFrame(np.zeros((3, 0))), pd.DataFrame(index=range(3))):
        assert_both_keep(value)
        assert through_codec(value).shape == (3, 0)


@pytest.mark.parametrize(
    "name",
    [np.datetime64("2020-01-01", "ns"), np.timedelta64(5, "ns"), np.complex64(1j),
     np.longdouble("1.1"), (np.datetime64("2020", "D"), 1)],
    ids=repr,
)  # fmt: skip
def test_names_that_are_numpy_scalars(name: Any) -> None:
    """Those of nanoseconds became integers."""
    value = pd.Series([1, 2], name=name)
    for found in (through_codec(value), to_pandas(Kept(value), "x")):
        assert type(found.name) is type(name)
        assert found.name == name


@pytest.mark.parametrize(
    "attrs",
    [{"helper": "none"}, {"pandas": {"shared": "none"}}, {1: {"helper": "none"}}, {"shape": (3, 4)}, {"a": [1, (2, "b")]}, {1: {2: None}}, {("a", 1): b"x"},
     {"a": [1, {"b": [bytearray(b"x")]}]},
     {"a": np.float64(1.5), "b": np.int8(3), "c": np.datetime64("2020", "ns")}],
    ids=repr,
)  # fmt: skip
def test_attrs_of_any_plain_kind(attrs: dict[Any, Any]) -> None:
    """Tuples became lists, and bytearrays bytes."""
    for value in (pd.Series([1, 2]), pd.DataFrame({"a": [1, 2]})):
        value.attrs = attrs
        for found in (through_codec(value), to_pandas(Kept(value), "x")):
            assert repr(found.attrs) == repr(attrs)


@pytest.mark.parametrize(
    "about",
    [
        {"kind": "Series", "index": {"kind": "spiral"}},
        {"kind": "Series", "name": {"spiral": 1}},
        {"kind": "Series", "values": {"kind": "spiral", "values": {"own": None}}},
    ],
    ids=str,
)
def test_what_only_a_later_version_knows_is_refused(about: Any) -> None:
    store = Kept(pd.Series([1, 2]))
    store.meta = {"x": {"pandas": about}}
    with pytest.raises(BadInputError, match="'spiral' is not known to this version"):
        to_pandas(store, "x")


def test_no_description_asks_for_more_than_there_is() -> None:
    store = Kept(pd.Series([1, 2]))
    store.meta["x"]["pandas"]["index"] = {
        "kind": "RangeIndex",
        "start": 0,
        "stop": 2**40,
        "step": 1,
    }
    with pytest.raises(ValueError, match="labels that are not as many"):
        to_pandas(store, "x")
