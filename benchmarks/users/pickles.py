"""Thousands of pickles of pandas Series: all of them, some by name, as one table, and importing.

Series have 50 to 3,000 rows and share 40 indexes, as the files of such a folder do; half of the
indexes have irregular dates. N is the number of Series.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import joblib
import numpy as np
import pandas as pd

import ptrarray
from benchmarks.harness.case import discard, expect
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, CPU, Question, Ways, can_be_cold, cold

N = 5_000
REPEAT = 5
N_INDEXES = 40
SHORTEST, LONGEST = 50, 3_000
N_BY_NAME = 300
SEED = 1

Names = list[str]
AllSeries = dict[str, Any]


def indexes() -> list[Any]:
    """Return the indexes: dates by the second, and as many that come when they do."""
    rng = np.random.default_rng(SEED)
    found = []
    for number, length in enumerate(np.linspace(SHORTEST, LONGEST, N_INDEXES).astype(int)):
        if number % 2:
            steps = rng.integers(1, 10**10, length).astype("m8[ns]")
            found.append(pd.DatetimeIndex(np.datetime64("2026-01-01", "ns") + steps.cumsum()))
        else:
            found.append(pd.date_range("2026-01-01", periods=length, freq="s"))
    return found


def made(n: int) -> AllSeries:
    """Return the Series by name."""
    rng = np.random.default_rng(SEED)
    known = indexes()
    found = {}
    for number in range(n):
        index = known[number % len(known)]
        name = f"run{number:06}"
        found[name] = pd.Series(rng.random(len(index)), index, name=name)
    return found


# how each tool keeps Series, and reads them back ----------------------------------------------------


def pickle_read(folder: Path, names: Names) -> AllSeries:
    """Unpickle one file after the other."""
    found = {}
    for name in names:
        with (folder / f"{name}.pickle").open("rb") as file:
            found[name] = pickle.load(file)
    return found


def joblib_read(folder: Path, names: Names) -> AllSeries:
    """Load one file after the other."""
    return {name: joblib.load(folder / f"{name}.joblib") for name in names}


def feather_write(series: Any, path: Path) -> None:
    """Write two columns, as Feather keeps no index."""
    series.rename("value").rename_axis("time").reset_index().to_feather(path)


def feather_read(folder: Path, names: Names) -> AllSeries:
    """Read one file after the other, and make a column its index again."""
    found = {}
    for name in names:
        frame = pd.read_feather(folder / f"{name}.feather")
        found[name] = pd.Series(frame["value"].array, pd.Index(frame["time"].array), name=name)
    return found


def parquet_write(series: Any, path: Path) -> None:
    """Write a column and its index."""
    series.to_frame().to_parquet(path)


def parquet_read(folder: Path, names: Names) -> AllSeries:
    """Read one file after the other, with its index."""
    return {name: pd.read_parquet(folder / f"{name}.parquet")[name] for name in names}


def npz_write(series: Any, path: Path) -> None:
    """Write two arrays."""
    np.savez(path, values=series.to_numpy(), index=series.index.to_numpy())


def npz_read(folder: Path, names: Names) -> AllSeries:
    """Read two arrays of one file after the other."""
    found = {}
    for name in names:
        with np.load(folder / f"{name}.npz") as file:
            found[name] = pd.Series(file["values"], pd.DatetimeIndex(file["index"]), name=name)
    return found


def h5py_write(all_series: AllSeries, folder: Path) -> None:
    """Write a group a Series into one file."""
    with h5py.File(folder / "all.h5", "w") as file:
        for name, series in all_series.items():
            index = series.index.to_numpy()
            group = file.create_group(name)
            group["values"] = series.to_numpy()
            group["index"] = index.view("i8")
            group.attrs["dtype"] = index.dtype.str


def h5py_read(folder: Path, names: Names) -> AllSeries:
    """Read two data sets of one group after the other."""
    found = {}
    with h5py.File(folder / "all.h5") as file:
        for name in names:
            group = file[name]
            index = pd.DatetimeIndex(group["index"][()].view(group.attrs["dtype"]))
            found[name] = pd.Series(group["values"][()], index, name=name)
    return found


def one_by_one(path: Path, names: Names) -> AllSeries:
    """Ask a store for one Series after the other."""
    store = ptrarray.open(path)
    return {name: store.series(name) for name in names}


def at_once(path: Path, names: Names) -> AllSeries:
    """Ask a store for many Series."""
    found: AllSeries = ptrarray.open(path).series(names)
    return found


class Format(NamedTuple):
    """How a tool keeps Series in a folder."""

    read: Callable[[Path, Names], AllSeries]
    write: Callable[[Any, Path], None] | None = None  # a file a Series
    write_all: Callable[[AllSeries, Path], None] | None = None


FORMATS = {
    "pickle": Format(pickle_read, lambda series, path: series.to_pickle(path)),
    "joblib": Format(joblib_read, joblib.dump),
    "Feather": Format(feather_read, feather_write),
    "Parquet": Format(parquet_read, parquet_write),
    "npz": Format(npz_read, npz_write),
    "h5py": Format(h5py_read, write_all=h5py_write),
}


def write(all_series: AllSeries, folder: Path) -> dict[str, Path]:
    """Write the Series with every tool, and the pickles into a store; return where."""
    paths = {}
    for who, kept in FORMATS.items():
        paths[who] = folder / who.lower()
        paths[who].mkdir()
        if kept.write_all:
            kept.write_all(all_series, paths[who])
        if kept.write:
            for name, series in all_series.items():
                kept.write(series, paths[who] / f"{name}.{who.lower()}")
    return paths | {OURS: imported(paths["pickle"], folder / "all.ptr", 1)}


def imported(folder: Path, path: Path, n_processes: int) -> Path:
    """Import a folder of pickles."""
    discard(path)
    report = ptrarray.convert.from_pickles(folder, path, processes=n_processes, progress=False)
    expect(not report.failures, f"the import, {report},")
    return path


# what is asked ------------------------------------------------------------------------------------


def equal(ours: AllSeries, theirs: AllSeries) -> None:
    """Compare Series; a frequency, which most formats lose, only with pickles."""
    expect(list(ours) == list(theirs), "the list of Series")
    for name, series in ours.items():
        other = theirs[name]
        expect(series.name == other.name == name, "a name")
        if (
            series.equals(other)
            and series.index.equals(other.index)
            and is_same_freq(series, other)
        ):
            continue  # in a hundredth of the time
        has_lost = series.index.freq is not None and other.index.freq is None
        pd.testing.assert_series_equal(series, other, check_freq=not has_lost)


def is_same_freq(ours: Any, theirs: Any) -> bool:
    """Tell whether the dates of two Series, or what else labels them, have one frequency, or none."""
    return bool(getattr(ours.index, "freq", None) == getattr(theirs.index, "freq", None))


def long_frame(folder: Path, names: Names) -> Any:
    """Concatenate what was unpickled, with the names as the outer level of the index."""
    return pd.concat(pickle_read(folder, names), names=["name"])


def equal_frames(ours: Any, theirs: Any) -> None:
    """Compare two long tables: the names, dates and values of their rows."""
    theirs = theirs.reset_index()
    expect(ours.shape == theirs.shape, "the shape of a table")
    for column in range(ours.shape[1]):
        one, other = (frame.iloc[:, column].to_numpy() for frame in (ours, theirs))
        expect(np.array_equal(one, other), f"column {column} of a table")


def total(series: AllSeries) -> float:
    """Sum every value."""
    return float(sum(each.to_numpy().sum() for each in series.values()))


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Write the Series in every way, and ask for them."""
    all_series = made(n)
    paths = write(all_series, folder)
    names = list(all_series)
    del all_series
    yield from reading(paths, names)
    if can_be_cold(folder):
        files = {who: [path] for who, path in paths.items()}
        yield from reading(paths, names, ", cold", cold(files))
    yield from by_name(paths, names)
    ways: Ways = {
        OURS: lambda: ptrarray.open(paths[OURS]).frame(names, how="long"),
        "pickle and pd.concat": partial(long_frame, paths["pickle"], names),
    }
    yield Question("as one long table", ways, {"pickle and pd.concat": 5}, equal_frames)
    yield importing(paths["pickle"], folder, names)


def reading(
    paths: dict[str, Path],
    names: Names,
    words: str = "",
    before: Callable[[str], None] | None = None,
) -> Iterator[Question]:
    """Ask for all, and for all with a sum of every value."""
    reads = {OURS: at_once} | {who: kept.read for who, kept in FORMATS.items()}
    ways = {who: partial(read, paths[who], names) for who, read in reads.items()}
    bounds = dict.fromkeys(FORMATS, 1.0) | {"pickle": 10 if before else 4}
    unit = CLOCK if before else CPU
    title = f"all as Series{words}"
    yield Question(title, ways, bounds, equal, before, unit)
    few = {who: ways[who] for who in (OURS, "pickle")}
    summed = {who: (lambda way=way: total(way())) for who, way in few.items()}
    yield Question(f"{title}, and a sum of each", summed, {}, same_total, before, unit)


def same_total(ours: float, theirs: float) -> None:
    """Compare sums."""
    expect(bool(np.isclose(ours, theirs, rtol=1e-12)), "the sum")


def by_name(paths: dict[str, Path], names: Names) -> Iterator[Question]:
    """Ask for some, in random order."""
    rng = np.random.default_rng(SEED)
    some = rng.choice(names, min(N_BY_NAME, len(names)), replace=False).tolist()
    for words, ask in (("one by one", one_by_one), ("at once", at_once)):
        ways = {
            OURS: partial(ask, paths[OURS], some),
            "pickle": partial(pickle_read, paths["pickle"], some),
        }
        yield Question(f"{len(some)} by name, {words}", ways, {"pickle": 2}, equal)


def importing(source: Path, folder: Path, names: Names) -> Question:
    """Import with two processes and with one."""

    def way(n_processes: int) -> Callable[[], AllSeries]:
        path = imported(source, folder / f"imported by {n_processes}.ptr", n_processes)
        return lambda: at_once(path, names)

    ways = {OURS: partial(way, 2), "one process": partial(way, 1)}
    title = "import, with two processes"
    return Question(title, ways, {"one process": 1.5}, equal, unit=CLOCK)
