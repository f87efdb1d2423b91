"""Targets that read the skeleton of an object as `load` does."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptrarray.errors import CorruptStoreError
from ptrarray.frames.together import put_together
from ptrarray.objects.decoder import decode
from ptrarray.objects.tokens import read_tokens
from tests.support.fuzzing import Target
from tests.support.nested import Label, Sample, Side, encoded


@cache
def _encoded() -> tuple[list[bytes], dict[str, Any]]:
    """Return skeletons of some objects, and all arrays that they have."""
    shared: list[Any] = [1, 2.5, "text", None, b"raw"]
    samples: list[Any] = [
        {"a": shared, "b": (shared, {"c": np.arange(3)}), 3: {1, 2}, None: frozenset(["x"])},
        [np.ma.masked_equal([1, 2], 2), np.float32(1.5), np.datetime64("2020-01-01"), 2**80],
        [Sample(1, Sample([2], {})), Label("a"), Side.LEFT, Path("x/y"), date(2020, 1, 2)],
        [pd.Series([1, 2], index=["a", "b"]), pd.DataFrame({"x": [1.0], "y": ["t"]}), timedelta(1)],
        [list(range(40)), ["s"] * 40, "long" * 100, complex(1, 2), range(3), slice(1, None)],
        [np.zeros(2, "S3"), np.array([1, "a", None], object), np.array([(1, 2)], "i4,f4")],
    ]
    skeletons, arrays = [], {}
    for sample in samples:
        raw, own = encoded(sample)
        skeletons.append(raw.tobytes())
        arrays.update(own)
    return skeletons, arrays


def _read(raw: bytes, folder: Path) -> None:
    arrays = _encoded()[1]

    def array(name: str) -> Any:
        content = arrays.get(name)
        if content is None:
            raise CorruptStoreError("not there", path="")
        if isinstance(content, str):
            return np.frombuffer(content.encode("utf-8", "surrogatepass"), np.uint8)
        return content.copy(order="K")

    with suppress(CorruptStoreError):
        decode(read_tokens(np.frombuffer(raw, np.uint8), "fuzz"), array, put_together, "fuzz")


OBJECTS = {
    "skeleton": Target(_read, lambda: _encoded()[0], ("ptrarray.objects", "ptrarray.frames"), 2048)
}
