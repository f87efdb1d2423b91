"""Write the golden objects anew: ``python -m tests.golden.objects``.

Writes ``tests/golden-objects``: what `dump`, `pack` and `writer.series` make. As of other golden files,
what a release wrote stays as it is. The tests read these files and compare them with what is here.
"""

from __future__ import annotations

import datetime
import shutil
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

import ptrarray
from tests.golden.make import GOOD_STORES, write_store

FOLDER = Path(__file__).parent.parent / "golden-objects"


def plain() -> Any:
    """Return what is made of Python's own containers, plain values and arrays."""
    array = np.arange(6, dtype="<i4").reshape(2, 3)
    words = {"text": "größe", "bytes": b"\0a", "none": None, "numbers": [1, 2.5, True, 2**80, 3j]}
    fortran = np.asfortranarray(array.astype(">f8"))
    return {"array": array, "again": array, "fortran": fortran, ("a", 1): words, "set": {1, 2}}


def large() -> Any:
    """Return values that lie in arrays, and numpy's scalars."""
    scalars = [np.float32(0.5), np.str_("é"), np.bytes_(b"x"), np.datetime64("2026-01-31", "D")]
    return {"text": "ab" * 40_000, "bytes": b"\1\2" * 40_000, "scalars": scalars}


def classes() -> Any:
    """Return instances of each class that every reader knows, and dates with zones."""
    zone = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30), "there")
    moments = [
        datetime.datetime(2026, 1, 31, 12, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime.datetime(2026, 1, 31, 12, fold=1, tzinfo=zone),
        datetime.timedelta(days=-1, microseconds=1),
    ]
    found = defaultdict(list, a=[1])
    known = [OrderedDict(b=1, a=2), Counter("abca"), found, deque([1, 2], 3), range(1, 9, 2)]
    raw = bytearray(b"\0a")
    others = [Decimal("1.50"), PurePosixPath("a/b"), np.dtype("<f8"), slice(1, None, 2), int, raw]
    objects = np.array([1, "a", None], dtype=object)
    return {"dates": moments, "known": known, "others": others, "objects": objects}


def masked() -> Any:
    """Return masked arrays, and masked itself."""
    masked_array: Any = np.ma.MaskedArray
    some = masked_array([1.5, 2.5, 3.5], [0, 1, 0], fill_value=-1.0)
    return {"some": some, "plain": np.ones(3, "<f4"), "none": [np.ma.masked]}


def frames() -> Any:
    """Return objects of pandas."""
    import pandas as pd

    index = pd.Index(["x", "y", "z"], name="key")
    days = pd.date_range("2026-01-30", periods=3, freq="D", tz="UTC", unit="us")
    columns = {"n": [1, 2, 3], "day": days, "kind": pd.Categorical(["a", "b", "a"])}
    frame = pd.DataFrame(columns, index=index)
    nullable = pd.Series([1, None, 3], index=index, dtype="Int64", name="n")
    return {"frame": frame, "series": nullable}


OBJECTS = {
    "plain.ptr": plain,
    "plain.tar": plain,
    "plain.gz": plain,
    "large.tar": large,
    "classes.ptr": classes,
    "masked.tar": masked,
    "frames.tar": frames,
}
# A golden store in one file, and what it is a pack of.
PACKS = {"masked-mixed.tar": "masked-mixed", "names.tar.gz": "names"}


def series(path: Path) -> None:
    """Write a store with objects of pandas, whose index is a helper array, and attrs."""
    found = frames()
    with ptrarray.create(path, attrs={"made": "once"}) as writer:
        writer.write({"array": np.arange(3, dtype="<i2")})
        writer.series("series", found["series"])
        writer["frame"] = found["frame"]


def main() -> None:
    """Write all of them."""
    for old in (one for one in FOLDER.iterdir() if one.suffix != ".md"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name, make in OBJECTS.items():
        write_store(FOLDER / name, partial(ptrarray.dump, make()))
    write_store(FOLDER / "series.ptr", series)
    for name, of in PACKS.items():
        store = FOLDER / f"{of}.ptr"
        write_store(store, GOOD_STORES[of])
        ptrarray.pack(store, FOLDER / name)
        shutil.rmtree(store)


if __name__ == "__main__":
    main()
