"""What is published: arrays of 400 bytes on average, with names of 20 bytes, as ptrarray keeps them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

import ptrarray

BATCH = 250_000
LARGE = 25_000
KEEP_VARIABLE = "PTRARRAY_BENCHMARKS_KEEP"
_LEAST, _SPREAD = 50, 101

Array = npt.NDArray[np.float32]


def name(n: int) -> str:
    """Return the name of an array; names are in no order that a table would gain from."""
    return f"{n * 0x9E3779B97F4A7C15 % 2**64:020d}"


def lengths(first: int, last: int) -> npt.NDArray[np.int64]:
    """Return the lengths of some arrays: 50 to 150 numbers."""
    return _LEAST + np.arange(first, last) * 7919 % _SPREAD


def array(n: int) -> Array:
    """Return an array."""
    return np.full(lengths(n, n + 1)[0], n, np.float32) + np.arange(
        lengths(n, n + 1)[0], dtype="f4"
    )


def flat(first: int, last: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return some arrays one after the other, and where each begins and the last one ends."""
    each = lengths(first, last)
    offsets = np.concatenate([[0], np.cumsum(each)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], each)
    values = np.repeat(np.arange(first, last, dtype="f4"), each) + within.astype("f4")
    return values, offsets


def asked(n: int, n_asked: int, seed: int) -> list[int]:
    """Return numbers of arrays at random, each once."""
    chosen = np.random.default_rng(seed).choice(n, min(n, n_asked), replace=False)
    return [int(number) for number in chosen]


def made(path: Path, first: int, last: int) -> None:
    """Make a store of some arrays, in which a checkpoint has been made."""
    with ptrarray.create(path, dtype="f4") as writer:
        for low in range(first, last, BATCH):
            high = min(low + BATCH, last)
            writer.write_ragged([name(n) for n in range(low, high)], *flat(low, high))
    ptrarray.checkpoint(path)


def published(path: Path, n: int) -> None:
    """Make a store of the first arrays, and publish it."""
    made(path, 0, n)
    ptrarray.publish(path)


def large(path: Path, n: int) -> None:
    """Make a store of so many bytes in arrays of 100 KB, and publish it."""
    values = np.arange(LARGE, dtype="f4")
    with ptrarray.create(path, dtype="f4") as writer:
        for number in range(n // values.nbytes):
            writer[name(number)] = values
    ptrarray.publish(path)


def copied_and_published(folder: Path, n: int) -> None:
    """Make two stores of the same arrays: one that was only written, and one that was published."""
    folder.mkdir()
    copied, public = folder / "copied.ptr", folder / "published.ptr"
    made(copied, 0, n)
    public.mkdir()
    for file in copied.iterdir():
        # These are replaced as a whole; the journal is written to.
        link: Callable[..., object] = shutil.copy if "journal" in file.name else os.link
        link(file, public / file.name)
    ptrarray.publish(public)


def kept(www: Path, title: str, make: Callable[[Path], None]) -> None:
    """Have something below the folder that is served, made now unless it was kept.

    Parameters
    ----------
    www : Path
        The folder.
    title : str
        What it is called there, which tells it from all that is made otherwise.
    make : callable
        Makes it at a path.
    """
    keep = os.environ.get(KEEP_VARIABLE)
    place = (Path(keep) if keep else www.parent) / f"remote-{title}"
    if not place.exists():
        part = place.with_name(f"{place.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        make(part)
        part.rename(place)
    (www / title).symlink_to(place.resolve())
