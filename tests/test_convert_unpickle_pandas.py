"""Pickles of pandas, of this version and others, read without calling anything they name."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ptrarray.convert.formats.pickles import read
from tests.pickles import make
from tests.test_convert_unpickle import loads
from tests.test_frames import assert_same_frequency, with_arguments

PICKLES = sorted((Path(__file__).parent / "pickles").glob("*.pkl"))


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
