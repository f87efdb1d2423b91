"""The same arrays as others publish them, and how they are read from a web server: each time anew, with nothing kept."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr
from obstore.store import HTTPStore
from zarr.api import asynchronous as zarr_async
from zarr.storage import ObjectStore

from benchmarks.remote import stores

CHUNK_NBYTES = 64 << 10

zarr.config.set({"async.concurrency": 64})  # of 10, as it comes, and 64 the faster one

Arrays = list[Any]


def files() -> Any:
    """Return fsspec's file system of web servers, with connections of its own."""
    return fsspec.filesystem("http", skip_instance_cache=True)


def zarr_store(url: str) -> ObjectStore[Any]:
    """Return a store of zarr that reads through obstore."""
    options: Any = {"allow_http": True}
    return ObjectStore(HTTPStore(url, client_options=options), read_only=True)


# zarr, an array a name --------------------------------------------------------------------------


def make_zarr_names(path: Path, numbers: Sequence[int]) -> None:
    """Write an array of zarr for each array."""
    group = zarr.create_group(path)
    for n in numbers:
        group.create_array(stores.name(n), data=stores.array(n), compressors=None)


def zarr_name(url: str | ObjectStore[Any], n: int) -> Any:
    """Open an array by its path, and read it."""
    store = zarr_store(url) if isinstance(url, str) else url
    found: Any = zarr.open_array(store, path=stores.name(n), mode="r", zarr_format=3)
    return found[:]


def zarr_each(url: str, numbers: Sequence[int]) -> Arrays:
    """Open and read arrays, one after the other."""
    store = zarr_store(url)
    return [zarr_name(store, n) for n in numbers]


def zarr_names(url: str, numbers: Sequence[int]) -> Arrays:
    """Open and read arrays, all at once."""

    async def one(store: ObjectStore[Any], n: int) -> Any:
        array = await zarr_async.open_array(
            store=store, path=stores.name(n), mode="r", zarr_format=3
        )
        return await array.getitem(slice(None))

    async def every() -> Arrays:
        store = zarr_store(url)
        return await asyncio.gather(*(one(store, n) for n in numbers))

    return asyncio.run(every())


# zarr, one array for all --------------------------------------------------------------------------


def make_zarr_chunks(path: Path, n: int) -> None:
    """Write all values as one array, and where each begins as another, with a file a chunk."""
    values, offsets = stores.flat(0, n)
    group = zarr.create_group(path)
    for title, data in (("values", values), ("offsets", offsets)):
        chunk = CHUNK_NBYTES // data.itemsize
        group.create_array(title, data=data, chunks=(chunk,), compressors=None)
    zarr.consolidate_metadata(path)


def zarr_positions(url: str, numbers: Sequence[int]) -> Arrays:
    """Read arrays whose positions are known: two selections, which zarr reads chunk by chunk."""
    group: Any = zarr.open_group(zarr_store(url), mode="r", zarr_format=3)
    positions = np.asarray(numbers)
    edges, at = np.unique(np.stack([positions, positions + 1]), return_inverse=True)
    offsets = group["offsets"].get_orthogonal_selection(edges)[at.reshape(2, -1)]
    wanted = np.concatenate([np.arange(start, end) for start, end in offsets.T.tolist()])
    each, where = np.unique(wanted, return_inverse=True)
    values = group["values"].get_orthogonal_selection(each)[where]
    return np.split(values, np.cumsum(offsets[1] - offsets[0])[:-1])


# h5py ---------------------------------------------------------------------------------------------


def make_h5(path: Path, numbers: Sequence[int]) -> None:
    """Write a dataset for each array."""
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        for n in numbers:
            file.create_dataset(stores.name(n), data=stores.array(n))


def h5_name(url: str, n: int) -> Any:
    """Read a dataset through fsspec, by blocks of 64 KiB that are kept."""
    import h5py

    opened = files().open(url, cache_type="blockcache", block_size=CHUNK_NBYTES)
    with opened as raw, h5py.File(raw, "r") as file:
        return file[stores.name(n)][:]


# mmappickle ---------------------------------------------------------------------------------------


def _mmappickle() -> Any:
    """Import mmappickle with what it needs of an older numpy."""
    setattr(np, "float", float)  # noqa: B010 so that it is not taken for a mistake
    import mmappickle

    return mmappickle


def make_mmappickle(path: Path, numbers: Sequence[int]) -> None:
    """Write an mmapdict."""
    mapping = _mmappickle().mmapdict(str(path))
    for n in numbers:
        mapping[stores.name(n)] = stores.array(n)


def mmappickle_name(url: str, n: int) -> Any:
    """Read an array of an httpdict."""
    with contextlib.redirect_stdout(io.StringIO()), _binary_fromstring():
        return _mmappickle().httpdict(url)[stores.name(n)]


@contextlib.contextmanager
def _binary_fromstring() -> Any:
    """Let `numpy.fromstring` read bytes meanwhile, as it did when mmappickle was written."""
    import numpy._core.multiarray as module

    def fromstring(raw: Any, dtype: Any = float, count: int = -1, sep: str = "") -> Any:
        return np.frombuffer(raw, dtype, count).copy()

    kept = np.fromstring, module.fromstring
    np.fromstring = module.fromstring = fromstring  # type: ignore[assignment]
    try:
        yield
    finally:
        np.fromstring, module.fromstring = kept


# fsspec -------------------------------------------------------------------------------------------


def make_flat(path: Path, n: int) -> None:
    """Write what people publish who write such a format themselves: values, offsets, sorted names."""
    path.mkdir()
    values, offsets = stores.flat(0, n)
    names = np.array([stores.name(number) for number in range(n)], "S20")
    order = np.argsort(names)
    values.tofile(path / "values.bin")
    np.save(path / "names.npy", names[order])
    np.save(path / "bounds.npy", np.stack([offsets[:-1], offsets[1:]], axis=1)[order])


def fsspec_whole(url: str, numbers: Sequence[int]) -> Arrays:
    """Fetch all names and bounds, then all arrays by one call of `cat_ranges`."""
    fs = files()
    return _ranges(fs, url, _bounds(fs, url, numbers))


def fsspec_each(url: str, numbers: Sequence[int]) -> Arrays:
    """Fetch all names and bounds, then one array after the other."""
    fs = files()
    bounds = _bounds(fs, url, numbers)
    return [array for at in range(len(numbers)) for array in _ranges(fs, url, bounds[at : at + 1])]


def _bounds(fs: Any, url: str, numbers: Sequence[int]) -> Any:
    raws = fs.cat([f"{url}/names.npy", f"{url}/bounds.npy"])
    names, bounds = (
        np.load(io.BytesIO(raws[f"{url}/{title}.npy"])) for title in ("names", "bounds")
    )
    return bounds[np.searchsorted(names, np.array([stores.name(n) for n in numbers], "S20"))]


def _ranges(fs: Any, url: str, bounds: Any) -> Arrays:
    starts, ends = (bounds * 4).T.tolist()
    raws = fs.cat_ranges([f"{url}/values.bin"] * len(starts), starts, ends)
    return [np.frombuffer(raw, np.float32) for raw in raws]
