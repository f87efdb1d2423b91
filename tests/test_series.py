"""Series of a store, one, several and all: equal to those that were written, on its memory."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import BadInputError, CorruptStoreError, UnknownNameError
from ptrarray.frames import quick
from ptrarray.views.series import AllSeries
from tests.test_reader_costs import calls

pd: Any = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("no_syncs")

DAYS = pd.to_datetime(["2020-01-03", "2020-01-07", "2020-02-01"])
INDEXES = {
    "default": None,
    "days": DAYS,
    "named days": DAYS.rename("day"),
    "zoned": DAYS.tz_localize("Europe/Berlin"),
    "regular": pd.date_range("2020", periods=3, freq="D"),
    "ints": pd.Index([5, 3, 9]),
    "text": pd.Index(["a", "bä", "c"], name="key"),
    "steps": pd.RangeIndex(10, 4, -2),
    "levels": pd.MultiIndex.from_tuples([(1, "x"), (1, "y"), (2, "x")], names=["n", None]),
}
VALUES: dict[str, Any] = {
    "f8": np.array([1.5, np.nan, -2.5]),
    "f4": np.array([1.5, 2.5, 3.5], "f4"),
    "big-endian": np.array([1, 2, 3], ">i4"),
    "bool": np.array([True, False, True]),
    "dates": np.array(["2020-01-01", "NaT", "2021-05-05"], "M8[s]"),
    "text": ["x", "yy", None],
    "category": pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"], ordered=True),
    "nullable": pd.array([1, None, 3], dtype="Int16"),
    "moments": pd.array(DAYS.tz_localize("UTC")),
}


def check(found: Any, expected: Any) -> None:
    options = {} if expected.index.nlevels > 1 else {"check_freq": True}
    pd.testing.assert_series_equal(found, expected, **options)
    assert type(found.index) is type(expected.index)
    assert found.index.names == expected.index.names


def check_all(found: Any, expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, series in expected.items():
        check(found[name], series)


@st.composite
def folders(draw: st.DrawFn) -> dict[str, Any]:
    """Draw some Series by name, most of which share an index with others."""
    kinds = st.tuples(
        st.sampled_from(sorted(VALUES)),
        st.sampled_from(sorted(INDEXES)),
        st.sampled_from([None, "price", 7, ("a", 1)]),
    )
    drawn = draw(st.dictionaries(st.text(st.sampled_from("abä/"), max_size=3), kinds, max_size=8))
    return {
        key: pd.Series(VALUES[values], index=INDEXES[index], name=name)
        for key, (values, index, name) in drawn.items()
    }


@given(expected=folders(), rest=st.integers(0, 3), data=st.data())
def test_all_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    expected: dict[str, Any],
    rest: int,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("stores") / "s.ptr"
    with ptrarray.create(path) as writer:
        for position, (name, series) in enumerate(expected.items()):
            writer[name] = series
            if position < rest:  # what is no Series
                writer.write({f"-{position}": [1]}, meta={f"-{position}": {"of": "pandas"}})
        writer["-frame"] = pd.DataFrame({"a": [1, 2]})
        if rest:
            ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        found = store.series()
        assert len(found) == len(expected)
        check_all(found, expected)
        check_all(dict(found), expected)
        check_all(dict(found.items()), expected)
        for series, wanted in zip(found.values(), expected.values(), strict=True):
            check(series, wanted)
        names = data.draw(st.permutations(sorted(expected)))
        assert list(store.series(names)) == names
        check_all(store.series(iter(names)), {name: expected[name] for name in names})
        assert "-frame" not in found
        assert "-0" not in found
        assert found.get("-frame") is None
        with pytest.raises(UnknownNameError):
            found["-frame"]


def written(path: Path, n: int = 6, **settings: Any) -> dict[str, Any]:
    """Write some Series of floats and an array, and return the Series."""
    days = pd.DatetimeIndex(np.arange(n).astype("M8[s]").repeat(2))
    series = {
        f"s{i}": pd.Series(
            np.arange(2.0 * n - i), index=days[: 2 * n - i] if i % 2 else None, name="price"
        )
        for i in range(n)
    }
    with ptrarray.create(path, **settings) as writer:
        for name, one in series.items():
            writer[name] = one
        writer["plain"] = np.arange(3.0)
    return series


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "f8"},
        {"dtype": "f8", "row_shape": None},
        {"dtype": "f8", "masked": True},
        {"masked": True},
        {"shard_size": 300},
        {"dtype": "f8", "shard_size": 100},
    ],
    ids=str,
)
def test_in_every_layout(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = tmp_path / "s.ptr"
    expected = written(path, **settings)
    with ptrarray.open(path) as store:
        check_all(dict(store.series()), expected)
        check_all(store.series(list(expected)[::-1]), dict(list(expected.items())[::-1]))
        check(store.series("plain"), pd.Series(np.arange(3.0)))
        assert "plain" not in store.series()


def test_in_a_pack(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    expected = written(path)
    ptrarray.pack(path, tmp_path / "s.tar")
    with ptrarray.open(tmp_path / "s.tar") as store:
        check_all(dict(store.series()), expected)


def test_values_are_views_and_an_index_is_one_object(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        for name in "abc":
            writer[name] = pd.Series([1.5, 2.5, 3.5], index=DAYS, name=name)
    with ptrarray.open(path) as store:
        found = dict(store.series()) | {"once more": store.series("a")}
        for name, series in store.series().items():
            assert np.shares_memory(series.to_numpy(), store[name])
            assert not series.to_numpy().flags.writeable
        # pandas may hand out another object on the same index.
        assert len({id(series.index._engine) for series in found.values()}) == 1
        store.refresh()
        assert store.series("b").index._engine is found["a"].index._engine


def test_it_is_of_the_moment_when_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        writer["a"] = pd.Series([1.5], index=pd.Index([7]))
        store = ptrarray.open(path)
        before = store.series()
        writer["b"] = pd.Series([2.5], index=pd.Index([8]))
        writer["a"] = pd.Series([3.5], index=pd.Index([9]))
        check_all(before, {"a": pd.Series([1.5], index=[7])})
        store.refresh()
        check_all(before, {"a": pd.Series([1.5], index=[7])})
        after = {"b": pd.Series([2.5], index=[8]), "a": pd.Series([3.5], index=[9])}
        check_all(store.series(), after)
        del writer["b"]
        writer["a"] = [1, 2]  # no Series any more
        store.refresh()
        assert len(store.series()) == 0
        store.close()
        check_all(before, {"a": pd.Series([1.5], index=[7])})
        with pytest.raises(ptrarray.errors.ClosedStoreError):
            store.series()


@pytest.mark.parametrize("read", [lambda s: s.series("a"), lambda s: dict(s.series())["a"]])
def test_changes_are_kept_or_not(tmp_path: Path, read: Callable[[Any], Any]) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        writer["a"] = pd.Series([1.5, 2.5], index=pd.Index([7, 8]))
    modes: list[tuple[Any, list[float]]] = [("c", [1.5, 2.5]), ("r+", [9.5, 2.5])]
    for mode, kept in modes:
        with ptrarray.open(path, mode=mode) as store:
            read(store).array._ndarray[0] = 9.5  # pandas 3 hands out nothing else that changes it
        with ptrarray.open(path) as store:
            assert store.series("a").tolist() == kept
            store.verify()


def test_metadata_of_ones_own_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        writer["a"] = pd.Series([1.5], name="x")
        writer["b"] = [1]
        writer.meta["b"] = {"pandas": "likes bamboo", "kind": "Series"}
        writer.meta["a"] = {"speaker": "Ann", **writer.meta["a"]}
    with ptrarray.open(path) as store:
        check_all(store.series(), {"a": pd.Series([1.5], name="x")})


def test_errors_say_what_it_is_instead(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path) as writer:
        writer["frame"] = pd.DataFrame({"a": [1, 2]})
        writer.write({"table": np.eye(2), "s": [1.0]}, meta={"s": {"pandas": {"kind": "spiral"}}})
        writer.write({"lost": [1.0]}, meta={"lost": {"pandas": _about({"shared": "00"})}})
        writer.write({"odd": [1.0]}, meta={"odd": {"pandas": _about({"kind": "Index"})}})
        writer.write({"short": [1.0]}, meta={"short": {"pandas": _about(_range(2))}})
    with ptrarray.open(path) as store:
        assert list(store.series()) == ["lost", "odd", "short"]
        for name in ("frame", "table", "s"):
            with pytest.raises(BadInputError, match=f"array '{name}' is .*, not a Series"):
                store.series(["lost"[:0] or name])
        with pytest.raises(CorruptStoreError, match="no helper array '00'"):
            store.series("lost")
        for name in ("odd", "short"):
            with pytest.raises(BadInputError, match=f"array '{name}' is described as a Series"):
                store.series(name)
        with pytest.raises(UnknownNameError, match="'none'"):
            store.series(["table", "none"][1:])
        assert store.series([]) == {}


def _about(index: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Series", "index": index}


def _range(stop: int) -> dict[str, Any]:
    return {"kind": "RangeIndex", "start": 0, "stop": stop, "step": 1}


def test_looks_only_at_what_it_hands_out(tmp_path: Path) -> None:
    """No metadata is decoded to find the Series, and those that are alike are decoded once."""
    path = tmp_path / "s.ptr"
    days = pd.DatetimeIndex(np.array([1, 5, 7], "M8[s]"))
    with ptrarray.create(path) as writer:
        for i in range(40):
            writer[f"s{i}"] = pd.Series([1.5, 2.5, i], index=days if i % 2 else None, name="price")
    ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        found = store.series()
        counted = calls(lambda: (len(found), repr(found), list(found), "s3" in found))
        assert counted.count("format/metadata.py:decode") == 0
        assert repr(found) == f"<40 Series of {path}>"
        counted = calls(lambda: dict(found))
        assert (
            counted.count("format/metadata.py:decode") == 3
        )  # two descriptions, and that of the index
        counted = calls(lambda: dict(found.items()))
        assert counted.count("format/metadata.py:decode") == 0
        assert len(counted) < 40 * 20, counted


def test_a_pandas_that_has_become_another_is_asked_in_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is not public is called only where it gives what the constructor gives."""
    assert quick.series_maker() is not quick._public
    manager = pd.core.internals.managers.SingleBlockManager
    from_array = manager.from_array

    def other(values: Any, index: Any) -> Any:
        return from_array(values.copy(), index)

    for odd in (None, other):
        monkeypatch.setattr(manager, "from_array", odd)
        try:
            quick.series_maker.cache_clear()
            assert quick.series_maker() is quick._public
        finally:
            monkeypatch.undo()
            quick.series_maker.cache_clear()


def test_no_series_no_metadata(tmp_path: Path) -> None:
    path = tmp_path / "s.ptr"
    with ptrarray.create(path, dtype="f8") as writer:
        assert dict(ptrarray.open(path).series()) == {}
        writer["a"] = [1.0]
    store = ptrarray.open(path)
    assert isinstance(store.series(), AllSeries)
    assert dict(store.series()) == {}
    check(pickle.loads(pickle.dumps(store)).series("a"), pd.Series([1.0]))


# what is more than a Series -----------------------------------------------------------------------


class Measured(pd.Series):  # type: ignore[misc]
    """A Series with a unit."""

    _metadata = ["_name", "unit"]  # noqa: RUF012 as pandas wants it

    @property
    def _constructor(self) -> type:
        return Measured


class Table(pd.DataFrame):  # type: ignore[misc]
    """A DataFrame of a class of its own."""


def measured() -> Any:
    series = Measured([1.5, 2.5], index=[3, 4])
    series.unit = "m"
    return series


def parted(series: Any) -> dict[str, Any]:
    return {"series": pd.Series(series), "unit": series.unit}


def joined(parts: dict[str, Any]) -> Any:
    series = Measured(parts["series"])
    series.unit = parts["unit"]
    return series


def writes() -> dict[str, Callable[[Any, Any], Any]]:
    return {
        "item": lambda writer, value: writer.__setitem__("x", value),
        "write": lambda writer, value: writer.write({"a": [1.0], "x": value}),
        "update": lambda writer, value: writer.update({"x": value}),
        "of a kind": lambda writer, value: (
            writer.series("x", value) if isinstance(value, pd.Series) else writer.frame("x", value)
        ),
    }


@pytest.mark.parametrize("way", writes())
@pytest.mark.parametrize("dtype", [None, "f8"])
@pytest.mark.parametrize("value", [measured(), Table({"a": [1.5]})], ids=["Measured", "Table"])
def test_what_a_class_adds_is_not_lost_without_a_word(
    way: str, dtype: Any, value: Any, tmp_path: Path
) -> None:
    plain = "Series" if isinstance(value, pd.Series) else "DataFrame"
    what = rf"array 'x': it is a {__name__}\.{type(value).__name__}, .* pandas\.{plain}\(…\) of it"
    with ptrarray.create(tmp_path / "a.ptr", dtype=dtype) as writer:
        with pytest.raises(BadInputError, match=what):
            writes()[way](writer, value)
        assert len(writer) == 0


def give(name: str) -> dict[str, Any]:
    return {name: measured()}


def test_what_a_class_adds_is_not_lost_by_filling_and_importing(tmp_path: Path) -> None:
    with pytest.raises(ptrarray.TaskError, match=r"pandas\.Series"):
        ptrarray.fill(tmp_path / "a.ptr", give, ["x"], processes=1, progress=False)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(measured()))
    options: Any = {"trust": True, "progress": False}
    report = ptrarray.convert.from_pickles(tmp_path / "x.pkl", tmp_path / "b.ptr", **options)
    assert [f"{__name__}.Measured" in failure.problem for failure in report.failures] == [True]
    report = ptrarray.convert.from_pickles(
        tmp_path / "x.pkl", tmp_path / "b.ptr", convert=pd.Series, **options
    )
    assert report.converted == 1


def test_the_ways_out(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer.write({"x": pd.Series(measured())}, meta={"x": {"unit": "m"}})
    with ptrarray.open(tmp_path / "a.ptr") as store:
        check(store.series("x"), pd.Series(measured()))
        assert store.meta["x"]["unit"] == "m"
    ptrarray.register(Measured, parted, joined)
    ptrarray.dump([measured()], tmp_path / "b.ptr")
    (found,) = ptrarray.load(tmp_path / "b.ptr")
    assert (type(found), found.unit) == (Measured, "m")
    pd.testing.assert_series_equal(found, measured())
