"""Reading a store: arrays by name and by position, rows by slice, all of it reduced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError, StoreNotFoundError, after
from ptrarray.format import metadata
from ptrarray.format.index import corrupt
from ptrarray.format.names import encode_all
from ptrarray.intake.choices import check_choice, several
from ptrarray.intake.numbers import nbytes
from ptrarray.intake.paths import absolute
from ptrarray.rows.copying import in_blocks
from ptrarray.rows.pointers import merge_runs
from ptrarray.rows.ragged import Ragged
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.remote.options import GAP, PARALLEL, Remote, caching, is_url
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.shards.opened import divided, load_any, mapped_anew
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.store.opened import Closed, Opened
from ptrarray.storage.system import files
from ptrarray.storage.system.advice import prefetch
from ptrarray.storage.system.mapping import Backend, CannotMapError, Mode
from ptrarray.storage.writing import transactions
from ptrarray.storage.writing.session import Session, bring_to_disk
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.arrays import Arrays, joined, walk
from ptrarray.views.helpers import objects_with, with_helpers
from ptrarray.views.stored import StoredArrays

if TYPE_CHECKING:
    from ptrarray.views.partition import Partition
    from ptrarray.views.series import Objects

MODES = ("r", "r+", "c")
BACKENDS = ("mmap", "pread")

_NOTES_LIMIT = 1 << 12


def open(
    path: str | os.PathLike[str],
    mode: Mode = "r",
    backend: Backend = "mmap",
    *,
    cache: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    parallel: int = PARALLEL,
    gap: str | int = GAP,
    storage: Any = None,
    immutable: bool = False,
) -> PointerArray:
    """Open a store for reading.

    Parameters
    ----------
    path : path-like
        The store; or its URL, as ``https://host/corpus.ptr``: also ``s3://``,
        ``gs://``, ``az://``, ``file://``. There, what is asked for is read and
        nothing more, with the extra ``ptrarray[remote]``.
    mode : {'r', 'r+', 'c'}
        As for `numpy.memmap`: ``"r"`` hands out read-only views, ``"r+"``
        views that change the store, ``"c"`` views that change in memory only.
    backend : {'mmap', 'pread'}
        ``"mmap"`` hands out views on a mapping. ``"pread"`` reads what is
        asked for, and hands out writable copies: for network and parallel
        file systems, where mapping is slow or limited. Then `mode` may be
        ``"r"`` or ``"c"``, which are the same. At a URL it is always that.
    cache : path-like or mapping, optional
        At a URL: a folder of this machine that keeps what was read of indexes,
        for later and for other processes. ``{"folder": path, "size": "1GB",
        "data": True}`` keeps rows, too, and says how large the folder may get:
        1 GB if nothing is said. What was not used for longest goes first.
    parallel : int
        At a URL: requests that are under way at the most.
    gap : str or int
        At a URL: parts of a file closer together than so many bytes are one
        request.
    storage : mapping or file system of fsspec, optional
        At a URL: what obstore is to know besides, as ``{"region": "eu-west-1"}``
        or keys; or a file system that reads instead, as of ``s3fs``.
    immutable : bool
        At a URL: the files there are known never to change. For servers that
        send no ETag, by which a change would be noticed.

    Returns
    -------
    PointerArray

    Raises
    ------
    StoreNotFoundError
        If there is no store at `path`.
    CorruptStoreError
        If what is there is damaged or of a newer version.
    RemoteError
        An `OSError`: a server does not give what it is asked for. Retried for
        a minute before where that may help. The same from whatever reads rows
        later.
    StoreChangedError
        A `RemoteError`: the store at a URL was changed or replaced while it was
        opened. From whatever reads later: since it was opened.
    OSError
        If the system refuses. Where files cannot be mapped, it names the
        backend ``"pread"``.

    Notes
    -----
    Takes the same time and memory for ten names as for a hundred million: it
    maps the index and the data file, and reads what was committed since the
    last checkpoint, at most some 256 MiB: that takes up to 70 bytes of memory a
    name of 20 bytes, and 0.1 to 2 microseconds. Changes no file; but with ``"r+"`` waits until all that is
    committed is on the disk.

    A store of shards holds each shard open as it is now, and looks twice, so
    that all are of one moment: of a thousand shards that takes 60 to 160 ms of
    processor time. A shard is read when it is first asked. A
    name is looked up in at most twice the time that one store takes, whatever
    the number of shards, if they have a catalog: `join`, `checkpoint`, `compact`
    and the closing of a writer that has made many shards leave one. A shard that
    was written to since adds about 0.25 microseconds, as each does without a
    catalog. Each shard keeps two file descriptors open, three with masks, and
    none on Python 3.13 and later unless the backend is ``"pread"``: raise
    ``ulimit -n`` for more shards than it allows.

    With the backend ``"pread"`` nothing is mapped. The index is read whole, so
    opening takes time and memory for the names and about 45 bytes for each.
    Each array that is asked for is one read of the file, and ``store.rows``,
    ``np.asarray(store)`` and the like are copies of everything. Reductions and
    `verify` read block by block. If a file is cut short meanwhile, reading it
    is a `CorruptStoreError`; touching a mapping of it would kill the process.
    What else others may do to files: see the page Reliability.

    At a URL all of this holds, but an index above 64 MiB is read as it is asked.
    Each file is known by its size and ETag from the first answer on, so one
    that was changed is an error, never a mixture. Arrays that come whole are
    compared with their checksums. Slices of rows are not; `verify` reads all.
    Memory is bounded by `parallel` and the size of what is asked for. See
    `publish`, `download` and the page about stores that were published.

    Examples
    --------
    >>> ptrarray.open("corpus.ptr")["utt2"]
    array([4., 5.], dtype=float32)
    >>> import pathlib
    >>> url = pathlib.Path("corpus.ptr").absolute().as_uri()
    >>> ptrarray.open(url, cache="blocks", parallel=8)["utt2"]
    array([4., 5.], dtype=float32)
    """
    remote = Remote(caching(cache), parallel, nbytes("gap", gap), storage, immutable)
    return PointerArray(path, mode, backend, remote)


def open_readable(path: str | os.PathLike[str], mode: Mode = "r", **elsewhere: Any) -> PointerArray:
    """Open a store, with the backend ``pread`` where its files cannot be mapped."""
    try:
        return open(path, mode, **elsewhere)
    except CannotMapError:
        if mode == "r+":
            raise
        return open(path, mode, "pread")


def remote_path(url: str, remote: Remote) -> RemotePath:
    """Return the path of what lies at a URL. Asks no server yet; raises as `path_of`."""
    # Whoever reads this machine's files does not wait for it.
    from ptrarray.storage.remote.locating import path_of

    return path_of(url, remote)


def opened_of(store: PointerArray) -> Opened:
    """Return what a reader stands on."""
    return store._opened


class PointerArray(StoredArrays):
    """A store open for reading: a mapping from name to array, and a flat array of rows.

    What is open is a snapshot. It changes only at `refresh`, whatever other
    processes write, delete, checkpoint or replace.

    By name: ``store["utt1"]``, `take`, `pointers`, ``in``, ``len``, iteration
    and the rest of a mapping, in data order. By position: `arrays`, `names`,
    `starts`, `ends`, `lengths`. By row: ``store[100:200]``, `rows`. In all:
    ``np.sum(store)`` and its like, `reduce`, `reduce_each`, `mean_each`,
    `std_each`.

    Parameters
    ----------
    path, mode, backend
        As for `open`.

    Notes
    -----
    Arrays handed out are plain ndarrays on one memory mapping, not copies
    (but see ``backend="pread"`` of `open`).
    They stay valid after `refresh` and `close`. Pickling a reader keeps only
    its path and options, so the process that unpickles it opens the store as
    it is then. A reader may be used by several threads and after a fork.

    Examples
    --------
    >>> store["utt1"]
    array([1., 2., 3.], dtype=float32)
    >>> store[2:5]
    array([3., 4., 5.], dtype=float32)
    >>> float(np.sum(store)), len(store), store.shape
    (21.0, 3, (6,))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "r",
        backend: Backend = "mmap",
        remote: Remote | None = None,
    ) -> None:
        self._given, self._remote = path, remote
        self._path: Path
        is_remote = is_url(path, remote.storage if remote else None)
        if is_remote:
            self._path = remote_path(os.fsdecode(path), remote or Remote())
        else:
            self._path = absolute(path)
        _check_options(self.path, mode, backend, is_remote=is_remote)
        backend = "pread" if is_remote else backend
        self._mode: Mode = mode
        self._backend: Backend = backend
        self._handed_out: list[tuple[int, int]] = []
        self._arrays: Arrays | None = None
        self._objects_of: Callable[[Arrays], Objects] | None = None
        opened = _settled(load_any(self._path, mode, backend), mode)
        self._opened: Opened
        self._opened, self._helpers = with_helpers(opened, mode, backend)

    def __reduce__(self) -> tuple[Any, ...]:
        where = os.fsdecode(self._given) if isinstance(self._path, RemotePath) else self.path
        return PointerArray, (where, self._mode, self._backend, self._remote)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return what dask takes for the content: the same for all readers of one commit.

        Without it dask would go by the pickle, and take one commit for another.
        """
        if self._mode != "r":  # views may change what is there
            from uuid import uuid4

            return (uuid4().hex,)
        headers = [store.snapshot.header for store in self._opened.stores]
        return self.path, [(one.store_id, one.crc) for one in headers], self.version

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        with after(error, self.path):
            self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<PointerArray {self.path!r}, closed>"
        return (
            f"<PointerArray {self.path!r}, mode {self._mode!r}, backend {self._backend!r}: "
            f"{len(self)} arrays, "
            f"{self.shape[0]} {self._opened.layout.describe()}>"
        )

    def _repr_html_(self) -> str:
        """Return what the store holds as HTML, for notebooks.

        Facts, how long arrays are, the first arrays as pictures, attrs. Never raises; at most 60 kB,
        and in some milliseconds whatever the size: of many arrays a sample is looked at. At a URL it
        reads some of the first arrays, and waits a second for them at the most.
        """
        from ptrarray.views import shown

        return shown.reader(self)

    def refresh(self) -> None:
        """See what other processes have committed since.

        Views handed out before keep their content. If the store was replaced
        by another, this is that one from now on.

        Notes
        -----
        A few system calls if nothing changed; reads only what was committed
        since the last time, or maps the new index after a checkpoint. Where that
        was many names, it may copy four times as many that it had read before.
        """
        if self._handed_out:
            self.flush()
        try:
            opened = self._opened.refreshed(self._mode)
        except StoreNotFoundError:  # of another kind by now, or gone, which this then says
            opened = load_any(self._path, self._mode, self._backend)
        if opened is not self._opened:
            opened, helpers = with_helpers(opened, self._mode, self._backend, self._helpers)
            self._opened, self._arrays = _settled(opened, self._mode), None
            if helpers is not self._helpers:
                self._helpers, self._objects_of = helpers, None

    def flush(self) -> None:
        """In mode ``r+``: put changes made through views on the disk, and renew checksums.

        Does nothing in the other modes. A writer may replace or delete an
        array meanwhile; then the writer's checksum stays.
        """
        stores = self._opened.stores  # raises where it was closed
        # In this order, as to divide them reads every store.
        if self._mode != "r+" or not self._handed_out:
            return
        for store, ranges in divided(stores, self._handed_out):
            try:
                with closing(Session(store.snapshot.directory)) as session:
                    transactions.renew_checksums(session, store.snapshot.header, ranges)
                    session.flush()
            except StoreNotFoundError as error:
                raise transactions.changes_are_lost(self.path) from error
        # Views stay in their owners' hands, who may go on writing to them.
        self._handed_out = _merged(self._handed_out)

    def close(self) -> None:
        """Let go of the store. Views handed out stay valid. In mode ``r+`` flushes first."""
        if not self.closed:
            try:
                self.flush()
            finally:
                self._opened, self._arrays = Closed(self.path), None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return isinstance(self._opened, Closed)

    # what it is ----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Absolute path of the store."""
        return str(self._path)

    @property
    def mode(self) -> Mode:
        """Mode it was opened with."""
        return self._mode

    @property
    def backend(self) -> Backend:
        """Backend it was opened with."""
        return self._backend

    @property
    def masked(self) -> bool:
        """Whether the store keeps masks: its arrays are `numpy.ma.MaskedArray`."""
        return self._opened.layout.masked

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that say which state of the store this is; they grow with each commit.

        Those of two readers or writers of one store can be compared, also in
        different processes: of equal ones the content is equal, and the
        greater one is later. A checkpoint and a compaction make them greater,
        too.

        Examples
        --------
        >>> seen = store.version
        >>> with ptrarray.append("corpus.ptr") as writer:
        ...     writer["utt4"] = [7, 8]
        >>> store.refresh()
        >>> store.version > seen
        True
        """
        return self._opened.snapshot.version

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the flat array, ``(n_rows, *row_shape)``."""
        return self._opened.data.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions of the flat array."""
        return self._opened.data.ndim

    @property
    def size(self) -> int:
        """Number of elements of the flat array."""
        return self._opened.data.size

    @property
    def nbytes(self) -> int:
        """Bytes of the flat array, holes and pre-sized rows included."""
        return self._opened.data.nbytes

    @property
    def shards(self) -> list[str]:
        """Paths of the stores that this one consists of: its shards, or itself.

        Each opens alone, too, and can be copied or backed up by itself.

        Examples
        --------
        >>> len(store.shards)
        1
        """
        return [str(store.snapshot.directory) for store in self._opened.stores]

    @property
    def shard_nbytes(self) -> int | None:
        """Largest size of a shard in bytes; None for a store without shards."""
        return self._opened.limit_nbytes

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What the user keeps with the store; read-only here.

        Examples
        --------
        >>> store.attrs["rate"]
        16000
        """
        return MappingProxyType(self._opened.snapshot.attrs)

    # by name -------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: str) -> Array: ...
    @overload
    def __getitem__(self, key: Any) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        """Return the array of a name, or rows of the flat array for any other index.

        Parameters
        ----------
        key : str, or int, slice, mask, integer array or tuple of those
            A ``str`` is a name. Anything else is an index into the flat
            array, as numpy takes it.

        Returns
        -------
        ndarray
            For a name, shape ``(length, *row_shape)``, a view; for rows what
            numpy gives: a view for ints and slices, else a copy. Of several
            shards, a slice across them is a copy that is read-only.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has this name.
        IndexError
            As from numpy.

        Examples
        --------
        >>> store["utt2"], float(store[5]), store[::2]
        (array([4., 5.], dtype=float32), 6.0, array([1., 3., 5.], dtype=float32))
        """
        opened = self._opened
        if isinstance(key, str):
            get = opened.get
            if get is not None and self._mode != "r+":
                array = get(key)
                if array is not None:
                    return array
            try:
                raw = key.encode()
            except UnicodeEncodeError:
                raise unknown(key, self.path) from None
            if not opened.is_plain:
                return self._shaped(opened, key, raw)
            pointer = opened.snapshot.find(raw)
            if pointer is None:
                raise unknown(key, self.path)
            start, end = pointer
            if self._mode == "r+":
                self._note(start, end)
            return opened.rows[start:end]
        self._note(0, len(opened.rows))
        return opened.rows[key]

    def get(self, name: Any, default: Any = None) -> Any:
        """Return the array of a name, or something else where there is none.

        Parameters
        ----------
        name : object
            What is no text is no name, and never an index into the rows.
        default : object
            What is returned for a name that no array has.

        Returns
        -------
        ndarray, or what `default` is
            As ``store[name]``.

        Examples
        --------
        >>> store.get("utt2"), store.get("nobody"), store.get(None, "none")
        (array([4., 5.], dtype=float32), None, 'none')
        """
        return super().get(name, default) if isinstance(name, str) else default

    def _shaped(self, opened: Opened, name: str, raw: bytes) -> Array:
        """Return the array of a name where it is more than a slice of the rows."""
        address = opened.snapshot.locate(raw)
        if address is None:
            raise unknown(name, self.path)
        if self._mode == "r+":
            self._note(*opened.snapshot.pointer_at(address))
        return opened.array_at(address)

    def _note(self, start: int, end: int) -> None:
        """Remember rows that were handed out writable."""
        if self._mode == "r+":
            self._handed_out.append((start, end))
            if len(self._handed_out) > _NOTES_LIMIT:
                self._handed_out = _merged(self._handed_out)

    def __len__(self) -> int:
        return len(self._opened.snapshot)

    def walk(self) -> Iterator[Array]:
        """Yield the arrays in data order, as views: from the front of the file to its end.

        For reading all of it. Unlike `values`, it asks the system to load
        about 32 MB at a time, if the rows seem not to be in memory and the
        disk reads little ahead by itself. At a URL both read ahead alike: one
        request for some hundred kB of arrays, twice as many under way with each,
        up to `parallel`.

        Examples
        --------
        >>> [len(array) for array in store.walk()]
        [3, 2, 1]
        """
        note = self._note if self._mode == "r+" else None
        return walk(self._opened, note, ahead=True)

    def take(self, names: Iterable[str], out: Array | None = None) -> Ragged:
        """Copy several arrays into one contiguous batch, if need be into memory that is there.

        Parameters
        ----------
        names : iterable of str
            In any order; a name may come twice.
        out : ndarray, optional
            Where to copy to, as memory that a GPU reads from (of a pinned
            tensor, ``tensor.numpy()``). Writable and C-contiguous, of the dtype
            and row shape of the arrays, with at least as many rows; what is
            behind them stays as it is. Of a store with masks, a masked array
            with a mask of its own. Memory of no store.

        Returns
        -------
        Ragged
            ``values`` of shape ``(rows of all, *row_shape)``, a copy or a view
            of `out`, and ``offsets``, in the order of `names`.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has one of the names.
        BadInputError
            If each array has its own shape or dtype, and theirs cannot be laid
            end to end; or if `out` does not fit. Nothing is written then.

        Notes
        -----
        Arrays by position: ``store.arrays.take``. With the backend ``"pread"``
        single arrays are read right into `out`. If that fails in the middle, it
        has the bytes of some of them. At a URL all requests are under way at once,
        neighbours as one, and what came is compared with the checksums last: if
        one differs, `out` has it. For an event loop there is `atake`.

        Examples
        --------
        >>> store.take(["utt3", "utt1"]).to_list()
        [array([6.], dtype=float32), array([1., 2., 3.], dtype=float32)]
        >>> buffer = np.zeros(5, "f4")
        >>> batch = store.take(["utt2", "utt3"], out=buffer)
        >>> batch.lengths, buffer
        (array([2, 1]), array([4., 5., 6., 0., 0.], dtype=float32))
        """
        opened = self._opened
        wanted = list(several(names, "take"))
        encoded = encode_all(wanted)
        starts, ends = self._pointers(opened, wanted, encoded)
        return joined(opened, starts, ends, lambda: opened.addresses_of(encoded), out)

    def prefetch(self, names: Iterable[str]) -> None:
        """Have the system fetch arrays from the disk that will be asked for soon.

        Returns without waiting for them; what is in memory already costs some
        two microseconds an array.

        Parameters
        ----------
        names : iterable of str
            In any order.

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has one of the names.

        Notes
        -----
        For a loader that knows its next batches. `take` and `walk` do so for
        themselves where arrays seem not to be in memory. What is fetched is the
        system's to keep or drop, so more than fits in memory is fetched for
        nothing. Does nothing on systems that take no such advice, and at a URL,
        where `take` asks for all of a batch at once.

        Examples
        --------
        >>> store.prefetch(["utt3", "utt1"])
        >>> store["utt3"]
        array([6.], dtype=float32)
        """
        opened = self._opened
        wanted = list(several(names, "prefetch"))
        starts, ends = self._pointers(opened, wanted, encode_all(wanted))
        prefetch(opened.sources, starts, ends)

    def _pointers(
        self, opened: Opened, names: list[str], encoded: list[bytes]
    ) -> tuple[Int64s, Int64s]:
        """Return starts and ends of several names, checked to lie in the flat array."""
        pointers = opened.snapshot.find_all(encoded).reshape(-1, 2)
        starts, ends = pointers[:, 0], pointers[:, 1]
        doubtful = (starts < 0) | (starts > ends) | (ends > len(opened.data))
        if doubtful.any():
            for at in np.flatnonzero(doubtful).tolist():
                if opened.snapshot.find(encoded[at]) is None:  # which refuses a damaged pointer
                    raise unknown(names[at], self.path)
            # An empty array may lie past the end.
            starts, ends = np.minimum(pointers, len(opened.data)).T
        return starts, ends

    @property
    def _objects(self) -> Objects:
        """The pandas objects of the store; what is known of descriptions is kept."""
        if self._objects_of is None:
            self._objects_of = objects_with(self.path, self._helpers)
        return self._objects_of(self.arrays)

    # by position ---------------------------------------------------------------------------

    @property
    def arrays(self) -> Arrays:
        """Arrays by position, in data order.

        Examples
        --------
        >>> store.arrays[-1]
        array([6.], dtype=float32)
        >>> store.arrays[[2, 0]]
        Ragged(2 arrays, 4 rows of float32)
        """
        if self._arrays is None or self._arrays.opened is not self._opened:
            self._arrays = Arrays(self._opened, self._note if self._mode == "r+" else None)
        return self._arrays

    # all rows ------------------------------------------------------------------------------

    @property
    def rows(self) -> Array:
        """The flat array, shape ``(n_rows, *row_shape)``, a view.

        Holes are in it: rows that were deleted or replaced, and rows that were
        pre-sized and not written, which read as zeros.

        Of several shards, a read-only copy of everything, made each time: ask
        for slices of the store instead. Rows are numbered from the first shard
        to the last, so compacting one changes the numbers of all after it.
        """
        rows = self._opened.rows
        self._note(0, len(rows))
        return rows[:]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return `rows` to numpy, without a mask; a view unless `dtype` or `copy` ask for a copy."""
        is_view = isinstance(self._opened.rows, np.ndarray)
        if copy is False and not is_view:
            raise ValueError(f"reading {self.path} copies, which copy=False forbids")
        rows = self.rows
        if is_view or not rows.flags.writeable:
            return np.array(rows, dtype=dtype, copy=copy)
        return np.asarray(rows, dtype)  # read for this call alone, so not copied again

    def partitions(self, n: int) -> list[Partition]:
        """Cut the arrays into parts that other processes read.

        Parameters
        ----------
        n : int
            How many at the most; as many as there are arrays, if those are fewer.

        Returns
        -------
        list of Partition
            In data order: arrays that follow each other, each in one of them, of
            about as many bytes. One that is larger than its share is a part of
            its own.

        Raises
        ------
        BadInputError
            If `n` is less than 1.

        Notes
        -----
        Each is a mapping from name to array, some hundred bytes when pickled:
        a path, the commit that this reader shows, and two positions. The process
        that unpickles it opens the store when it first needs it, read-only, with
        whatever was committed since left out. Where that commit is not to be had
        any more, for the store was checkpointed, compacted or replaced, that is a
        `StoreError`, never other arrays. Views of mode ``"c"`` change nothing in
        other processes.

        Reads the columns of pointers once, in blocks; holds no names.

        Examples
        --------
        >>> parts = store.partitions(2)
        >>> [list(part) for part in parts]
        [['utt1'], ['utt2', 'utt3']]
        >>> from concurrent.futures import ProcessPoolExecutor
        >>> with ProcessPoolExecutor(2) as pool:
        ...     list(pool.map(len, parts))
        [1, 2]
        """
        from ptrarray.views.partition import partitions_of

        return partitions_of(self._opened, self._helpers, n)

    def verify(self, progress: bool = False, memory: str | int = "512MB") -> None:
        """Check everything against its checksums: see `ptrarray.verify`."""
        from ptrarray.storage.shards.upkeep import check_any

        limit = nbytes("memory", memory)
        check_any(self._opened, self._helpers.opened, progress=progress, memory=limit)


def as_it_is(store: PointerArray) -> PointerArray:
    """Return a reader of what this one shows, which goes on showing it when this one is refreshed."""
    still = PointerArray.__new__(PointerArray)
    still.__dict__.update(store.__dict__)
    return still


def check_whole(store: PointerArray) -> None:
    """Raise `CorruptStoreError` if a file that a reader has mapped was cut short since it was opened."""
    for one in store._opened.stores:
        one.check_whole()


def commit_of(store: PointerArray) -> str:
    """Return a short text that is the same for all readers of one commit, and for no others."""
    from hashlib import blake2b

    snapshot = store._opened.snapshot
    if isinstance(snapshot, ShardedSnapshot):
        store_id = snapshot.marker.header.store_id
    else:
        store_id = store._opened.stores[0].snapshot.header.store_id
    numbers = repr(snapshot.version).encode()
    return blake2b(store_id + numbers, digest_size=8).hexdigest()


def is_pack_that_went(store: PointerArray) -> bool:
    """Tell whether a reader shows a pack of this machine that is not there any more.

    `refresh` does not look for that: who has a pack open keeps it.
    """
    snapshot = store._opened.stores[0].snapshot
    if snapshot.index.pack is None or isinstance(snapshot.directory, RemotePath):
        return False
    return not (files.is_file(snapshot.directory) and snapshot.is_in_place())


def has_helper(store: PointerArray, name: str) -> bool:
    """Tell whether a store has a helper array, and as it was written."""
    return store._helpers.has(name)


def meta_keys(store: PointerArray) -> list[str]:
    """Return the keys of the metadata of all arrays, in the order in which they are first found."""
    snapshot = store._opened.snapshot
    column = snapshot.metas
    found: dict[str, None] = {}
    try:
        for block in in_blocks(0, len(column) if len(column.joined) else 0):
            for raw in column[block].split():
                found.update(dict.fromkeys(metadata.decode(raw)))
    except ValueError as error:
        raise corrupt(str(snapshot.directory), f"has {error}") from error
    return list(found)


def _settled(opened: Opened, mode: Mode) -> Opened:
    """Return what was opened, when all of it is on the disk if it may be changed.

    Until then, checksums show after a restart what a power cut has taken. Of
    rows that views have changed they would not.
    """
    if mode == "r+":
        for store in opened.stores:
            bring_to_disk(store.snapshot.directory)
        if any(store.lacks_masks for store in opened.stores):  # until a writer came
            return mapped_anew(opened, mode)
    return opened


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    starts, ends = merge_runs(*np.array(ranges, np.int64).reshape(-1, 2).T)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _check_options(path: str, mode: str, backend: str, *, is_remote: bool) -> None:
    check_choice("mode", mode, MODES, path)
    check_choice("backend", backend, BACKENDS, path)
    if mode == "r+" and is_remote:
        raise BadInputError(
            f"mode 'r+' changes a store, and {path} is read from where it was published: "
            "ptrarray.download makes a copy that can be changed",
            path=path,
            found=mode,
            expected=("r", "c"),
        )
    if (mode, backend) == ("r+", "pread"):
        raise BadInputError(
            f"mode 'r+' changes {path} through views on its mapping, and backend 'pread' maps "
            "nothing: use backend 'mmap', or write with append()",
            path=path,
            found=backend,
            expected="mmap",
        )
