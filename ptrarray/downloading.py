"""Making a copy on this machine of a store that lies elsewhere."""

from __future__ import annotations

import os
from typing import Any

from ptrarray.errors import BadInputError
from ptrarray.intake.paths import absolute
from ptrarray.storage.remote.options import PARALLEL, Remote, is_url
from ptrarray.storage.shards.downloading import download_store


def download(
    url: str,
    path: str | os.PathLike[str],
    progress: bool = False,
    resume: bool = True,
    *,
    parallel: int = PARALLEL,
    storage: Any = None,
    immutable: bool = False,
) -> None:
    """Copy a store from a web server or a bucket to this machine.

    Parameters
    ----------
    url : str
        The store, or a pack, as for `open`. A pack stays one file.
    path : path-like
        Where the copy goes; there must be nothing.
    progress : bool
        Whether to show bars: of what comes, and of what is checked then.
    resume : bool
        Whether to go on with what an earlier call has fetched that was
        killed or failed, and to keep what this one fetches for a later one.
        That lies beside `path`, in a directory that begins with a dot.
    parallel : int
        Requests that are under way at the most. Each takes up to 4 MiB of
        memory.
    storage, immutable
        As for `open`.

    Raises
    ------
    StoreExistsError
        If there is something at `path`.
    StoreNotFoundError
        If there is no store at `url`.
    StoreChangedError
        If the store was changed or replaced meanwhile: download it again.
    CorruptStoreError
        If what came does not match its checksums. Nothing of it is kept.
    RemoteError
        If the server does not give what it is asked for.
    StoreError
        If another process downloads to the same path.
    OSError
        If the disk is full, or the system refuses otherwise.

    Notes
    -----
    The store appears all at once, on the disk, after every byte was compared
    with its checksum: of shards, masks and helper arrays, too. Its files are
    those that lie at `url`, byte for byte. Room for each file is set aside
    before it is fetched.

    What was fetched before is used where size and ETag of the file are the
    same and each piece of 4 MiB has the checksum that was noted when it came.
    So a killed process, or a power cut, costs what was under way.

    A store that is written to meanwhile is a `StoreChangedError` in the end.

    Examples
    --------
    >>> import pathlib
    >>> url = pathlib.Path("corpus.ptr").absolute().as_uri()
    >>> ptrarray.download(url, "copy.ptr")
    >>> ptrarray.open("copy.ptr")["utt2"]
    array([4., 5.], dtype=float32)
    """
    url = os.fsdecode(url)
    if not is_url(url, storage):
        absolute(url)  # which knows what pathlib makes of URLs
        raise BadInputError(
            f"{url} is no URL, as https://host/corpus.ptr or s3://bucket/corpus.ptr: "
            "what is on this machine is copied as any directory",
            path=url,
            found=url,
            expected="a URL",
        )
    # Whoever reads this machine's files does not wait for it.
    from ptrarray.storage.remote.locating import path_of

    source = path_of(url, Remote(parallel=parallel, storage=storage, immutable=immutable))
    download_store(source, absolute(path), progress=progress, resume=resume)
