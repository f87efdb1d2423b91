"""A kind of file that holds many arrays end to end, as importers of other formats read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptrarray.convert.found import Found, Kind, Many, Member, Noted, Refused

SUFFIX, WHOLE = ".many", "whole.json"
PER_PIECE = 40  # arrays that are read at once


def written(
    path: Path, arrays: Mapping[str, Any], metas: Sequence[Any] = (), **facts: Any
) -> dict[str, Any]:
    """Write a file of arrays of one dtype, and return them.

    With `facts`: ``n_parts`` that it is cut into, ``members`` of all arrays alone, ``broken`` after
    so many pieces, ``refused`` and ``noted`` keys, ``dies``.
    """
    counts = list(map(len, arrays.values()))
    values = np.concatenate(list(arrays.values()))
    values = np.append(np.ones(1, values.dtype), values)  # of none of them
    head = {"keys": list(arrays), "offsets": [1, *(1 + np.cumsum(counts)).tolist()]}
    head |= {"metas": list(metas), **facts}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, values=values, head=np.array(json.dumps(head)))
    return dict(arrays)


def parts(path: str) -> list[int]:
    """Return the parts of a file; raises where there is none."""
    return list(range(read(path)[0].get("n_parts", 0)))


def read(path: str) -> tuple[dict[str, Any], Any]:
    """Return what a file says, and its values."""
    folder = Path(path)
    with np.load(folder / WHOLE if folder.is_dir() else folder) as loaded:
        return json.loads(str(loaded["head"])), loaded["values"]


def members(path: str, part: int | None = None) -> Iterator[Found]:
    """Yield what is in a file, or in a part of it."""
    head, values = read(path)
    keys, offsets, metas = head["keys"], np.array(head["offsets"]), head["metas"]
    step = PER_PIECE if part is None else -(-len(keys) // head["n_parts"])
    starts = range(0, max(len(keys), 1), step)
    for number, at in enumerate(starts if part is None else starts[part : part + 1]):
        if number == head.get("broken", -1):
            raise ValueError("it broke off")
        if head.get("dies"):
            os._exit(9)
        if head.get("members"):
            yield Member("alone", lambda: values[:3])
        some = slice(at, at + step)
        yield Many(keys[some], values, offsets[at : at + step + 1], metas[some])
    yield from (Refused(key, "it is not for a store") for key in head.get("refused", ()))
    yield from (Noted(key, "things that nobody keeps") for key in head.get("noted", ()))


def is_one(folder: str) -> bool:
    """Tell whether a folder is one file."""
    return Path(folder, WHOLE).exists()


KIND = Kind(members, (SUFFIX,), many=True, parts=parts, is_one=is_one)
