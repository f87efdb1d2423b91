"""The main job on real input: the sources of Python's own standard library in one store."""

from __future__ import annotations

import multiprocessing
import random
import re
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrarray.creation import create
from ptrarray.errors import StoreError
from ptrarray.filling import fill
from ptrarray.jobs.worker import become_worker
from ptrarray.reader import PointerArray
from ptrarray.reader import open as open_store

_NEWLINE = 10
_BLOCK_ROWS = 1 << 20
_SLICE_ROWS = 100
_LOOKUPS = 50_000
_SEED = 20


class Facts(NamedTuple):
    """What can be said about some files; computed once from the files and once from the store."""

    n_files: int
    n_bytes: int
    n_lines: int
    longest_line: int
    n_ascii: int


def run_demo(
    processes: int | None = None,
    out: Path | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Fill a store with the standard library's sources, read it elsewhere, and measure.

    Parameters
    ----------
    processes : int, optional
        Number of processes that write, and then of others that read; by default one for each core.
    out : Path, optional
        Folder in which to keep the store as ``stdlib.ptr``; by default it is thrown away.
    say : callable
        Takes each line of the story.

    Returns
    -------
    dict
        What was counted and measured.

    Raises
    ------
    StoreError
        What was read back differs from the files.
    """
    files = find_sources(Path(sysconfig.get_paths()["stdlib"]))
    with _folder(out) as folder:
        path = folder / "stdlib.ptr"
        say(f"Python's standard library: {len(files):,} source files, into {path}")
        facts = _write(path, files, processes, say)
        facts |= _compare(path, files, processes, say)
        with open_store(path) as store:
            _show_reads(store, say)
            _show_reductions(store, Facts(**facts["originals"]), say)
        facts |= _measure_reader(path, say)
        say(f"Kept {path}" if out else "The store was temporary; --out DIR keeps it")
    return facts


def find_sources(folder: Path) -> dict[str, Path]:
    """Return the files of a library by module path.

    Examples
    --------
    >>> import sysconfig
    >>> sources = find_sources(Path(sysconfig.get_paths()["stdlib"]))
    >>> sources["json.decoder"].parts[-2:], sources["json"].parts[-2:]
    (('json', 'decoder.py'), ('json', '__init__.py'))
    """
    sources: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if "site-packages" in parts or "dist-packages" in parts:
            continue
        name = ".".join(parts).removesuffix(".__init__")
        sources[name if name not in sources else str(file.relative_to(folder))] = file
    if not sources:
        raise StoreError(f"no Python sources in {folder}", path=str(folder))
    return sources


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is None:
        with tempfile.TemporaryDirectory(prefix="ptrarray-demo-") as folder:
            yield Path(folder)
    else:
        out.mkdir(parents=True, exist_ok=True)
        yield out


def read_source(file: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file; what `fill` runs in its worker processes."""
    return np.fromfile(file, np.uint8)


def _write(
    path: Path, files: dict[str, Path], processes: int | None, say: Callable[[str], object]
) -> dict[str, Any]:
    create(path, dtype="u1", attrs={"source": "Python standard library"}).close()
    began = time.perf_counter()
    n_arrays = fill(path, read_source, files, processes=processes, progress=False)
    seconds = time.perf_counter() - began
    n_bytes = sum(file.stat().st_size for file in files.values())
    say(
        f"1. Worker processes read the files and wrote {n_arrays:,} arrays, {n_bytes / 1e6:,.1f} MB"
        f" in {seconds:.2f} s"
    )
    rates = {"arrays_per_second": n_arrays / seconds, "mb_per_second": n_bytes / 1e6 / seconds}
    say(f"   {rates['arrays_per_second']:,.0f} arrays/s, {rates['mb_per_second']:,.1f} MB/s")
    return {"n_arrays": n_arrays, "nbytes": n_bytes, "write_seconds": seconds, **rates}


# Read back in other processes ---------------------------------------------------------------------


def check_files(path: Path, files: dict[str, Path]) -> Facts:
    """Compare arrays with the files they came from, and describe the files in plain Python."""
    contents = []
    with open_store(path) as store:
        for name, file in files.items():
            content = file.read_bytes()
            if store[name].tobytes() != content:
                raise StoreError(f"array {name!r} of {path} differs from {file}", path=str(path))
            contents.append(content)
    return Facts(
        n_files=len(contents),
        n_bytes=sum(map(len, contents)),
        n_lines=sum(content.count(b"\n") for content in contents),
        longest_line=max((len(line) for c in contents for line in c.split(b"\n")), default=0),
        n_ascii=sum(content.isascii() for content in contents),
    )


def _compare(
    path: Path, files: dict[str, Path], processes: int | None, say: Callable[[str], object]
) -> dict[str, Any]:
    items = list(files.items())
    with ProcessPoolExecutor(processes, initializer=become_worker) as pool:
        parts = [dict(items[i::8]) for i in range(8)]
        originals = _add_up(pool.map(check_files, [path] * len(parts), parts))
    say(f"2. Other processes read {originals.n_files:,} arrays by name: each equals its file")
    return {"originals": originals._asdict()}


def _add_up(parts: Iterable[Facts]) -> Facts:
    columns = list(zip(*parts, strict=True))
    longest = Facts._fields.index("longest_line")
    return Facts(*(max(c) if i == longest else sum(c) for i, c in enumerate(columns)))


def _show_reads(store: PointerArray, say: Callable[[str], object]) -> None:
    names = ["json", "json.decoder", "json.encoder"]
    batch = store.take(names)
    say(f"3. take({names}) -> values {batch.values.shape}, offsets {batch.offsets.tolist()}")
    long = np.asarray(store.lengths) >= _SLICE_ROWS
    i = int(np.flatnonzero(long[:-1] & long[1:])[0])
    start, end = int(store.ends[i]) - _SLICE_ROWS, int(store.ends[i]) + _SLICE_ROWS
    parts = store.arrays[i][-_SLICE_ROWS:], store.arrays[i + 1][:_SLICE_ROWS]
    _expect(store, f"rows[{start}:{end}]", bytes(store[start:end]), b"".join(map(bytes, parts)))
    say(f"   rows[{start}:{end}] -> the end of {store.names[i]} and the start of the next, no copy")


# Reductions ---------------------------------------------------------------------------------------


def _show_reductions(store: PointerArray, originals: Facts, say: Callable[[str], object]) -> None:
    began = time.perf_counter()
    histogram = count_values(store)
    lines, longest, longest_name = measure_lines(store)
    is_ascii = store.reduce_each(np.bitwise_or) < 128
    found = Facts(len(store), int(histogram.sum()), int(lines.sum()), longest, int(is_ascii.sum()))
    seconds = time.perf_counter() - began
    _expect(store, "reductions", found, originals)
    common = ", ".join(f"{chr(i)!r} {histogram[i]:,}" for i in np.argsort(-histogram)[:4])
    most = int(lines.argmax())
    say(f"4. Reductions over the store in {seconds:.2f} s, the same as from the files one by one:")
    say(f"   bytes in all: {found.n_bytes:,}, on average {np.mean(store):.1f}; most often {common}")
    say(f"   lines: {found.n_lines:,}, most of them in {store.names[most]} ({lines[most]:,})")
    say(f"   longest line: {longest:,} bytes, in {longest_name}")
    say(f"   pure ASCII: {found.n_ascii:,} of {found.n_files:,} files (reduce_each)")


def _expect(store: PointerArray, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise StoreError(
            f"{what} of {store.path}: found {found!r}, expected {expected!r}",
            path=store.path,
            found=found,
            expected=expected,
        )


def count_values(store: PointerArray) -> NDArray[np.int64]:
    """Return how often each byte value occurs, one block of rows at a time."""
    histogram = np.zeros(256, np.int64)
    for start in range(0, len(store.rows), _BLOCK_ROWS):
        histogram += np.bincount(store[start : start + _BLOCK_ROWS], minlength=256)
    return histogram


def measure_lines(store: PointerArray) -> tuple[NDArray[np.int64], int, str]:
    """Return the newlines in each array, and the longest line's length and array."""
    blocks = range(0, len(store.rows), _BLOCK_ROWS)
    newlines = np.concatenate(
        [np.flatnonzero(store[b : b + _BLOCK_ROWS] == _NEWLINE) + b for b in blocks]
    )
    starts, ends = np.asarray(store.starts), np.asarray(store.ends)
    lines = np.searchsorted(newlines, ends) - np.searchsorted(newlines, starts)
    # A line begins where an array does or after a newline, and ends before the next such place.
    edges = np.sort(np.concatenate([newlines, newlines + 1, starts, ends]), kind="stable")
    longest = int(np.diff(edges).argmax())
    i_array = int(np.searchsorted(ends, edges[longest], side="right"))
    return lines, int(edges[longest + 1] - edges[longest]), store.names[i_array]


# Measurements -------------------------------------------------------------------------------------


def _measure_reader(path: Path, say: Callable[[str], object]) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=become_worker) as pool:
        facts = pool.submit(time_reader, path).result()
    private = facts["private_kib"]
    say("5. A fresh process that opens the store and looks up every name:")
    say(
        f"   open {facts['open_ms']:.2f} ms, {facts['lookup_us']:.2f} µs per lookup, private memory"
        f" {'n/a' if private is None else f'+{private:,} KiB'}"
    )
    return facts


def time_reader(path: Path) -> dict[str, Any]:
    """Open a store, look up names in random order, and report times and memory of this process."""
    with open_store(path) as store:  # the first open also loads what Python needs for it
        names = random.Random(_SEED).choices(list(store.names), k=_LOOKUPS)
        store[names[0]]
    before = _private_kib()
    began = time.perf_counter()
    store = open_store(path)
    opened = time.perf_counter()
    for name in names:
        store[name]
    ended = time.perf_counter()
    after = _private_kib()
    store.close()
    return {
        "open_ms": (opened - began) * 1e3,
        "lookup_us": (ended - opened) / len(names) * 1e6,
        "private_kib": None if before is None or after is None else max(0, after - before),
    }


def _private_kib() -> int | None:
    """Return the memory that only this process has; pages of mapped files are not among it."""
    smaps = Path("/proc/self/smaps_rollup")
    if not smaps.exists():
        return None
    found = re.search(r"^Private_Dirty:\s+(\d+) kB", smaps.read_text(), re.MULTILINE)
    return int(found[1]) if found else None
