"""A whole store that lies elsewhere, of shards or not, as one on this machine: checked, or not at all."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

from ptrarray.errors import CorruptStoreError, StoreChangedError, StoreError
from ptrarray.format import catalog
from ptrarray.format import shards as marks
from ptrarray.format.helpers import FOLDER
from ptrarray.format.index import decode
from ptrarray.progress import bar
from ptrarray.storage.lifecycle.create import taken
from ptrarray.storage.lifecycle.fetching import Fetching
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.remote.sparse import SparseBytes
from ptrarray.storage.shards.catalog import n_covered
from ptrarray.storage.shards.helpers import open_beside
from ptrarray.storage.shards.marker import Marker, is_sharded
from ptrarray.storage.shards.opened import load_any
from ptrarray.storage.shards.snapshot import FEW_SHARDS, check_ends
from ptrarray.storage.shards.upkeep import check_any
from ptrarray.storage.store.index import FILE_NAME as INDEX_FILE
from ptrarray.storage.store.index import Index
from ptrarray.storage.store.journal import FILE_NAME as JOURNAL_FILE
from ptrarray.storage.system import files
from ptrarray.storage.system.building import put_in_place, resumed


def download_store(source: RemotePath, path: Path, *, progress: bool, resume: bool) -> None:
    """Fetch all files of a store; it appears at its path all at once, checked and on the disk.

    Raises
    ------
    StoreExistsError
        If anything is at the path.
    StoreNotFoundError
        If there is no store at the URL.
    CorruptStoreError
        If what came does not match its checksums.
    StoreChangedError
        If the store was changed meanwhile.
    """
    purpose = blake2b(str(source).encode(), digest_size=8).digest()
    with resumed(path, purpose, taken, _busy, keep=resume) as (place, notes):
        try:
            with bar(unit="B", progress=progress) as counter:
                _fetch(Fetching(source, place, notes, counter), source, place)
            opened, helpers = open_beside(load_any(place, "r"), "r", None)
            check_any(opened, helpers, progress=progress)
        except StoreChangedError as error:
            what = f"{error.path} was changed while {source} was downloaded: download it again"
            raise StoreChangedError(what, **error.facts) from error
        except CorruptStoreError as error:
            files.unlink(notes)  # there is nothing to go on with
            text = str(error).replace(str(place), str(source))
            what = f"what came of {source} is damaged, there or on the way: {text}"
            raise CorruptStoreError(what, path=str(source)) from error
        put_in_place(place, path, taken)


def _fetch(fetching: Fetching, source: RemotePath, place: Path) -> None:
    """Fetch all files: indexes, which name the others; then journals, before the rows they speak of."""
    try:
        stores = _stores(fetching, source)
        if not stores:  # a pack
            fetching.fetch([""])
        fetching.fetch([one + INDEX_FILE for one in stores])
        fetching.fetch([one + JOURNAL_FILE for one in stores])
        headers = [Index(place / one, checked=False).header for one in stores]
        pairs = zip(stores, headers, strict=True)
        fetching.fetch([one + name for one, header in pairs for name in header.files])
        fetching.check_unchanged()
    except CorruptStoreError:
        fetching.check_unchanged()  # for then that is why
        raise
    fetching.finish()


def _stores(fetching: Fetching, source: RemotePath) -> list[str]:
    """Return where the stores are that the store consists of; none if it is a pack."""
    if files.is_file(source / INDEX_FILE):
        return ["", *_helpers(source)]
    if not is_sharded(source):
        load_any(source, "r")  # if it is no pack either, says why before anything large is fetched
        return []
    optional = [catalog.FILE_NAME] if files.is_file(source / catalog.FILE_NAME) else []
    fetching.fetch([marks.FILE_NAME, *optional])
    return [*_shards(Marker(source)), *_helpers(source)]


def _shards(marker: Marker) -> list[str]:
    """Return where the shards are, which nobody tells: they are asked for, many at once.

    Some behind the last one, too, as one that is missing is not to be taken for the end.
    """
    there: list[bool] = []
    last_ids: list[bytes] = []  # of the last shard of each round
    more = [True] * max(n_covered(marker), FEW_SHARDS)
    while any(more):
        numbers = range(len(there), len(there) + len(more))
        there += marker.each(marker.has_index, numbers)
        more = there[-FEW_SHARDS:]
        if all(more):
            last_ids.append(_store_id(marker.shard(len(there) - 1)))
            check_ends(marker, len(there) - 1, last_ids)
    n_shards = there.index(False)
    if not n_shards or any(there[n_shards:]):
        raise marker.missing(n_shards)
    generation = marker.header.generation
    return [f"{marks.shard_name(generation, number)}/" for number in range(n_shards)]


def _store_id(shard: Path) -> bytes:
    file = files.opened(shard / INDEX_FILE)
    raw: Any = SparseBytes(file)  # type: ignore[arg-type] # of a shard that lies elsewhere
    return decode(raw, file.path)[0].store_id


def _helpers(source: RemotePath) -> list[str]:
    folder = f"{FOLDER}/"
    return [folder] if files.is_file(source / f"{folder}{INDEX_FILE}") else []


def _busy(path: Path) -> StoreError:
    return StoreError(f"{path} is being downloaded by another process just now", path=str(path))
