"""Many Series as one DataFrame: what pandas makes of them."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptrarray
from ptrarray.errors import BadInputError, UnknownNameError
from tests.support.effort import one_in
from tests.test_series import DAYS, INDEXES, VALUES, folders

pd = pytest.importorskip("pandas")
pytestmark = [
    pytest.mark.usefixtures("no_syncs"),
    # What pandas 2 says of mixes with empty ones, it says of its own result, too.
    pytest.mark.filterwarnings(
        "ignore:The behavior of (array|DataFrame) concatenation:FutureWarning"
    ),
    pytest.mark.filterwarnings("ignore:Sorting by default when concatenating all DatetimeIndex"),
]


def stacked(series: list[tuple[str, Any]]) -> Any:
    """Return what pandas makes of some Series, one row a value."""
    names = {one.name for _, one in series}
    value = names.pop() if len(names) == 1 else None
    first, *others = [one.index for _, one in series]
    index = first.append(others) if others else first
    together = pd.concat([native(one).rename(None).set_axis(range(len(one))) for _, one in series])
    frame = index.to_frame(index=False, name=titles(index))
    values = together.reset_index(drop=True)
    frame["value" if value is None else value] = values
    texts = [name for name, one in series for _ in range(len(one))]
    frame.insert(
        0,
        "name",
        pd.Categorical(texts, categories=pd.unique(np.array([n for n, _ in series], object))),
    )
    return frame


def native(series: Any) -> Any:
    """Return a Series in the byte order that pandas can align."""
    dtype = series.dtype
    return series if not isinstance(dtype, np.dtype) else series.astype(dtype.newbyteorder("="))


def titles(index: Any) -> Any:
    if index.nlevels == 1:
        return "index" if index.name is None else index.name
    return [f"level_{at}" if name is None else name for at, name in enumerate(index.names)]


def check(found: Any, expected: Any) -> None:
    pd.testing.assert_frame_equal(found, expected)


def keep(path: Path, objects: dict[str, Any]) -> Any:
    with ptrarray.create(path) as writer:
        for name, one in objects.items():
            writer[name] = one
    return ptrarray.open(path)


@given(expected=folders(), data=st.data())
def test_long_and_wide(
    tmp_path_factory: pytest.TempPathFactory, expected: dict[str, Any], data: st.DataObject
) -> None:
    names = data.draw(
        st.lists(st.sampled_from(sorted(expected)), min_size=1) if expected else st.just([])
    )
    with keep(tmp_path_factory.mktemp("stores") / "s.ptr", expected) as store:
        if not names:
            return
        chosen = [(name, expected[name]) for name in names]
        try:
            wanted = stacked(chosen)
        except (
            TypeError,
            ValueError,
            NotImplementedError,
        ):  # pandas cannot: text of levels beside dates, say
            return
        check(store.frame(names), wanted)
        try:
            wanted = pd.concat([native(one) for _, one in chosen], axis=1, keys=names)
        except (TypeError, ValueError, NotImplementedError):
            return
        check(store.frame(names, how="wide"), wanted)


@pytest.mark.parametrize(("index", "values"), one_in(2, product(INDEXES, VALUES)))
def test_every_kind(tmp_path: Path, index: str, values: str) -> None:
    one = pd.Series(VALUES[values], index=INDEXES[index], name="price")
    objects = {"b": one, "a": one[:2], "c": one[:0], "d": one}
    with keep(tmp_path / "s.ptr", objects) as store:
        check(store.frame(), stacked(list(objects.items())))
        wide = pd.concat({name: native(one) for name, one in objects.items()}, axis=1)
        check(store.frame(how="wide"), wide)
        check(store.frame(["d", "b"], how="wide"), wide[["d", "b"]].loc[one.index])


def test_it_is_what_resetting_the_index_gives(tmp_path: Path) -> None:
    """The usual case, in pandas' own words."""
    objects = {
        name: pd.Series(np.arange(n, dtype="f8"), index=DAYS[:n].rename("day"), name="price")
        for name, n in (("x", 3), ("y", 2), ("z", 3))
    }
    with keep(tmp_path / "s.ptr", objects) as store:
        found = store.frame()
        wanted = pd.concat(objects, names=["name"]).reset_index()
        check(found.astype({"name": wanted["name"].dtype}), wanted)
        assert list(found.columns) == ["name", "day", "price"]
        assert found.groupby("name", observed=True)["price"].sum().to_dict() == {
            name: series.sum() for name, series in objects.items()
        }
        found.loc[0, "price"] = 5.0  # a copy
        assert store.series("x").iloc[0] == 0


@pytest.mark.parametrize(
    "mix",
    [
        ["f8", "f4"],
        ["bool", "f8"],
        ["dates", "f8"],
        ["text", "f8"],
        ["category", "text"],
        ["nullable", "big-endian"],
        ["moments", "dates"],
        ["f4", "f4", "big-endian"],
    ],
)
def test_different_dtypes(tmp_path: Path, mix: list[str]) -> None:
    objects = {f"{i}": pd.Series(VALUES[kind], index=DAYS) for i, kind in enumerate(mix)}
    objects["other"] = pd.Series([1, 2], index=pd.Index([5, 6]))
    with keep(tmp_path / "s.ptr", objects) as store:
        check(store.frame(), stacked(list(objects.items())))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of dates and numbers that cannot be sorted
            wanted = pd.concat({name: native(one) for name, one in objects.items()}, axis=1)
            check(store.frame(how="wide"), wanted)


def test_no_names_at_all(tmp_path: Path) -> None:
    with keep(tmp_path / "s.ptr", {}) as store:
        for found in (store.frame(), store.frame([])):
            assert list(found.columns) == ["name", "index", "value"]
            assert len(found) == 0
            assert found["name"].dtype == "category"
        assert store.frame(how="wide").shape == (0, 0)


def test_a_name_twice(tmp_path: Path) -> None:
    one = pd.Series([1.5, 2.5])
    with keep(tmp_path / "s.ptr", {"a": one, "b": one}) as store:
        check(store.frame(["b", "a", "b"]), stacked([("b", one), ("a", one), ("b", one)]))
        found = store.frame(["b", "a", "b"], how="wide")
        check(found, pd.concat([one] * 3, axis=1, keys=["b", "a", "b"]))


def test_frames_among_them(tmp_path: Path) -> None:
    """Each keeps its columns, a Series is one of them."""
    table = pd.DataFrame({"low": [1.5, 2.5, 3.5], "n": [1, 2, 3]}, index=DAYS)
    objects = {"t": table, "s": pd.Series([9.5], index=DAYS[:1], name="low"), "u": table[:2]}
    with keep(tmp_path / "s.ptr", objects) as store:
        found = store.frame(objects)
        frames = {key: one.to_frame() if one.ndim == 1 else one for key, one in objects.items()}
        wanted = pd.concat(frames, names=["name", "index"]).reset_index()
        check(found.astype({"name": wanted["name"].dtype}), wanted)
        check(store.frame(objects, how="wide"), pd.concat(objects, axis=1))
        check(store.frame("t"), table)
        assert list(store.frame()["name"]) == ["s"]  # all Series


def test_plain_arrays_count_their_rows(tmp_path: Path) -> None:
    with keep(tmp_path / "s.ptr", {"a": np.array([1, 2]), "b": np.array([3])}) as store:
        check(store.frame(["a", "b"]), stacked([("a", pd.Series([1, 2])), ("b", pd.Series([3]))]))
        check(store.frame(["a"], how="wide"), pd.DataFrame({"a": [1, 2]}))
        assert len(store.frame()) == 0


def test_columns_that_would_be_called_the_same(tmp_path: Path) -> None:
    objects = {"a": pd.Series([1.5], index=pd.Index([7], name="name"), name="price")}
    with keep(tmp_path / "s.ptr", objects) as store:
        with pytest.raises(BadInputError, match=r"two columns would be called 'name'.*label="):
            store.frame(["a"])
        assert list(store.frame(["a"], label="id").columns) == ["id", "name", "price"]
        with pytest.raises(BadInputError, match="'price'"):
            store.frame(["a"], label="price")


def test_errors(tmp_path: Path) -> None:
    with keep(tmp_path / "s.ptr", {"a": np.eye(2), "s": pd.Series([1])}) as store:
        with pytest.raises(BadInputError, match="array 'a' is float64 of shape"):
            store.frame(["a"])
        with pytest.raises(UnknownNameError):
            store.frame(["none"])
        with pytest.raises(BadInputError, match="how"):
            store.frame(["s"], how="high")
        with pytest.raises(BadInputError, match="array 's' is series, not a DataFrame"):
            store.frame("s")
        wrong: Any = 5
        for read in (store.series, store.frame):
            with pytest.raises(BadInputError, match="wants several names, not the one name 5"):
                read(wrong)


def test_indexes_without_a_union(tmp_path: Path) -> None:
    twice = pd.Series([1, 2], index=[0, 0])
    levels = pd.Series([1], index=pd.MultiIndex.from_arrays([[1], ["a"]]))
    one = pd.Series([1, 2, 3])
    with keep(tmp_path / "s.ptr", {"twice": twice, "levels": levels, "one": one}) as store:
        for names in (["twice", "one"], ["levels", "one"]):
            with pytest.raises(BadInputError, match=r"side by side: .*; how='long' keeps every"):
                store.frame(names, how="wide")
        assert len(store.frame(["twice", "one"])) == 5


def test_no_loop_over_series_makes_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long frame of Series of one dtype is made of their arrays."""
    one = pd.Series(np.arange(3.0), index=DAYS)
    with keep(tmp_path / "s.ptr", {f"{i}": one for i in range(50)}) as store:
        expected = store.frame()

        def never(*_: Any, **__: Any) -> None:
            raise AssertionError

        monkeypatch.setattr(pd, "concat", never)
        monkeypatch.setattr(type(store._objects.reading), "series", never)
        check(store.frame(), expected)


def test_objects_stay_objects(tmp_path: Path) -> None:
    texts = pd.Series(["a", None], index=pd.Index(["x", 1], dtype=object), dtype=object)
    moments = pd.Series([pd.Timestamp("2026")], index=pd.Index(["y"], dtype=object), dtype=object)
    frame = pd.DataFrame({"value": [1.5]}, index=pd.Index(["z"], dtype=object))
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.update({"texts": texts, "moments": moments, "frame": frame})
    with ptrarray.open(tmp_path / "s.ptr") as store:
        for name, one in (("texts", texts), ("moments", moments)):
            pd.testing.assert_frame_equal(store.frame([name]), stacked([(name, one)]))
        assert store.frame(["frame"])["index"].dtype == object


@pytest.mark.parametrize(
    "values",
    [
        [["a", None], [np.nan]],
        [[None], pd.DatetimeIndex(["2026"])],
        [[pd.Timestamp("2026")], [np.nan]],
        [[pd.Period("2026")], [1.5]],
        [["a"], pd.array(["b"], dtype="str")],
    ],
    ids=repr,
)
def test_objects_beside_others_stay_objects(values: list[Any], tmp_path: Path) -> None:
    """None among them is None, and no column of dates or text."""
    first = pd.Series(values[0], dtype=object)
    objects = {"first": first, "other": pd.Series(values[1])}
    with keep(tmp_path / "s.ptr", objects) as store:
        found, wanted = store.frame()["value"], pd.concat([*objects.values()])
        assert found.dtype == wanted.dtype == object
        assert [*map(repr, found)] == [*map(repr, wanted)]


@pytest.mark.parametrize("names", [[0, 1], [1, 2], [1, None], [2026, "a"]], ids=repr)
def test_levels_that_are_called_by_numbers(names: list[Any], tmp_path: Path) -> None:
    levels = pd.MultiIndex.from_arrays([[7, 8], ["x", "y"]], names=names)
    with keep(tmp_path / "s.ptr", {"one": pd.Series([1.0, 2.0], levels)}) as store:
        found = store.frame()
        titles = [f"level_{at}" if name is None else name for at, name in enumerate(names)]
        assert found.columns.to_list() == ["name", *titles, "value"]
        assert found[titles].to_numpy().tolist() == [[7, "x"], [8, "y"]]


@pytest.mark.parametrize("label", [None, 1, [1], ("a", "b")])
def test_what_the_column_of_names_is_not_called(label: Any, tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer["x"] = pd.Series([1.5])
    with (
        ptrarray.open(tmp_path / "a.ptr") as store,
        pytest.raises(BadInputError, match="is no text, to call the column of names"),
    ):
        store.frame(label=label)


# what is said of many at once ------------------------------------------------------------------------

LABELS = st.sampled_from(
    [
        "",
        "\0",
        "x",
        "name",
        "äname" + "\u0659" * 70,
        "a" * 31,
        "a" * 32,
        "a" * 300,
        "🎵" * 9,
        7,
        None,
        ("a", 1),
    ]
)
BESIDE = st.sampled_from(
    [{}, {"name": "x"}, {"tags": ["name", "x"]}, {"unit": "äname\0"}, {"pandas": "\0"}, {"name": 1}]
)


@given(labels=st.lists(st.tuples(LABELS, BESIDE, st.booleans(), st.booleans()), max_size=8))
def test_names_of_series_do_not_get_mixed_up(
    tmp_path_factory: pytest.TempPathFactory, labels: list[tuple[Any, dict[str, Any], bool, bool]]
) -> None:
    """Metadata that are alike but for a name at their end are decoded once."""
    path = tmp_path_factory.mktemp("labels") / "a.ptr"
    expected = {}
    with ptrarray.create(path) as writer:
        for i, (label, beside, has_index, is_first) in enumerate(labels):
            index = pd.Index([3, 1], name=label) if has_index else None
            expected[f"{i}"] = pd.Series([i, i + 0.5], index, name=label)
            writer.series(f"{i}", expected[f"{i}"])
            own = writer.meta[f"{i}"]
            writer.meta[f"{i}"] = {**beside, **own} if is_first else {**own, **beside, **own}
    with ptrarray.open(path) as store:
        for found in (store.series(list(expected)), dict(store.series())):
            assert list(found) == list(expected)
            for name, series in expected.items():
                pd.testing.assert_series_equal(found[name], series)
                assert type(found[name].name) is type(series.name)
