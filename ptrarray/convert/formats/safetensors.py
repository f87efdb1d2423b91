"""Files of safetensors, alone or as the shards of a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from ptrarray.convert.export import MASK, Store, export, new_file, note_meta, opened
from ptrarray.convert.files import read_json
from ptrarray.convert.found import Found, Kind, Many, Member, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.room import PIECE_NBYTES, Room
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError, import_extra
from ptrarray.format.named import with_names
from ptrarray.rows.types import Array

_SUFFIX, _INDEX = ".safetensors", ".safetensors.index.json"
METADATA = "__metadata__"  # no tensor can be called so, and an attr of the store is

_MAPPED_NBYTES = 1 << 24
_PART_NBYTES = 1 << 28
_INDEX_NBYTES = 1 << 28  # of a checkpoint of millions of tensors

_PLAIN = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
}
_NAMED = {
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1),
}
_PACKED = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # bits of one, of which some share a byte


def _import_library() -> Any:
    message = "files of safetensors need safetensors: pip install 'ptrarray[safetensors]'"
    import_extra("safetensors.numpy", message)
    return import_extra("safetensors", message)


def from_safetensors(
    paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]
) -> Report:
    """Import the tensors of safetensors files, and of checkpoints in several.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. A folder with an index, as
        ``model.safetensors.index.json``, is one checkpoint, as is the index
        itself. Names are by default those of the tensors, or with several files
        or checkpoints ``"{stem}/{key}"``.

    Returns
    -------
    Report

    Notes
    -----
    BF16 and all kinds of F8 have the dtypes of ml_dtypes, of the same bytes. F4
    and F6, of which several share a byte, are failures. The file's metadata
    becomes the attr ``"__metadata__"``. Of a checkpoint, what its index does
    not name is not imported: a file gets a note, a tensor is a failure. Shards
    of a checkpoint, and parts of large files, are read by several processes.

    Memory: pieces of 8 MiB; tensors of more than 16 MiB are mapped.

    Examples
    --------
    >>> import safetensors.numpy
    >>> safetensors.numpy.save_file({"w": np.eye(2)}, "model.safetensors")
    >>> print(ptrarray.convert.from_safetensors("model.safetensors", "any.ptr", progress=False))
    1 converted
    >>> ptrarray.open("any.ptr")["w"]
    array([[1., 0.],
           [0., 1.]])
    """
    _import_library()
    kind = Kind(_members, (_SUFFIX,), many=True, parts=_parts, is_one=_is_checkpoint)
    return run(kind, paths, store, options)


class _Part(NamedTuple):
    """Part of a file: the tensors that begin between two of its bytes, and are its shard's."""

    file: str = ""
    start: int = 0
    end: int = 1 << 63

    def has(self, at: int) -> bool:
        """Tell whether a byte is in it."""
        return self.start <= at < self.end


class _Tensor(NamedTuple):
    """Where a tensor is in its file, and what it is."""

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int


def _is_checkpoint(folder: str) -> bool:
    try:
        return any(name.endswith(_INDEX) for name in os.listdir(folder))  # noqa: PTH208 only names
    except OSError:
        return False


def _parts(path: str) -> Iterable[_Part]:
    """Return the shards of a checkpoint, and parts of those that are large."""
    index = _index_of(path)
    if index is None:
        return _cut("", path)
    # The first has all that is wrong with the checkpoint, and its metadata.
    shards = sorted(_weight_map(_read_index(index), index))
    whole = [part for name in shards for part in _cut(name, str(Path(index).with_name(name)))]
    return [_Part(), *whole]


def _cut(name: str, path: str) -> list[_Part]:
    size = Path(path).stat().st_size if Path(path).exists() else 0
    cuts = [*range(0, max(size, 1), _PART_NBYTES)]
    ends = [*cuts[1:], 1 << 63]
    return [_Part(name, start, end) for start, end in zip(cuts, ends, strict=True)]


def _index_of(path: str) -> str | None:
    """Return the index of a checkpoint; None for a file of tensors."""
    if path.endswith(_INDEX):
        return path
    if not Path(path).is_dir():
        return None
    found = sorted(file for file in os.listdir(path) if file.endswith(_INDEX))  # noqa: PTH208
    if len(found) != 1:
        what = f"it has {len(found)} indexes of checkpoints ({', '.join(found[:4])})"
        raise BadInputError(f"{what}: import one of these files", path=path, found=found[:4])
    return os.path.join(path, found[0])  # noqa: PTH118 a path as it was given


def _read_index(path: str) -> dict[str, Any]:
    found = read_json(Path(path), _INDEX_NBYTES)
    if not isinstance(found.get("weight_map"), dict):
        what = f"{Path(path).name} is no index of a checkpoint: it has no object 'weight_map'"
        raise BadInputError(what, path=path)
    return found


def _weight_map(index: Mapping[str, Any], path: str) -> dict[str, set[str]]:
    """Return which tensors each shard has.

    Raises
    ------
    BadInputError
        For a file that is not one beside or below the index: who imports a checkpoint does not
        expect to read others.
    """
    shards: dict[str, set[str]] = {}
    for tensor, file in index["weight_map"].items():
        shards.setdefault(file if isinstance(file, str) else repr(file), set()).add(tensor)
    for file in shards:
        steps = file.replace("\\", "/").split("/")
        if not file.endswith(_SUFFIX) or ":" in file or "" in steps or ".." in steps:
            what = f"{Path(path).name} names the shard {file!r:.80}"
            raise BadInputError(f"{what}, expected a {_SUFFIX} file below its folder", found=file)
    return shards


def _members(path: str, part: _Part | None = None) -> Iterator[Found]:
    index, part = _index_of(path), part or _Part()
    if index is None:
        yield from _of_file(path, part)
        return
    read = _read_index(index)
    shards = _weight_map(read, index)
    if not part.file:
        yield from _of_checkpoint(index, read, shards)
        return
    shard = str(Path(index).with_name(part.file))
    try:
        yield from _of_file(shard, part, shards[part.file])
    except BadInputError as error:
        yield Refused(part.file, str(error))


def _of_checkpoint(
    index: str, read: Mapping[str, Any], shards: Mapping[str, Iterable[str]]
) -> Iterator[Found]:
    """Yield what is to say of a checkpoint as a whole."""
    folder = Path(index).parent
    about = read.get("metadata")
    merged = dict(about) if isinstance(about, dict) else {}
    merged.pop("total_size", None)  # of files
    for name in sorted(shards):
        try:
            with _opened(str(folder / name)) as (_, _, metadata):
                for key, value in metadata.items():
                    if merged.setdefault(key, value) != value:
                        about = "shards have other metadata than one before them, which is kept"
                        yield Noted(f"{name}, {key}", about)
        except BadInputError:
            continue  # which is said where its tensors are read
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        if file.name not in shards:
            yield Noted(file.name, "files are not named by the index beside them, and left out")
    if merged:
        yield _metadata(merged)


def _metadata(found: Mapping[str, Any]) -> Member:
    return Member(METADATA, lambda: dict(found), to_attrs=True)


@contextmanager
def _opened(path: str) -> Iterator[tuple[Any, int, dict[str, str]]]:
    """Yield a file that the library has found to be sound, where its tensors begin, its metadata."""
    library = _import_library()
    try:
        with Path(path).open("rb") as raw:
            start = 8 + int.from_bytes(raw.read(8), "little")
        # Read as it is for numpy; of the values, none by this.
        with library.safe_open(path, framework="np") as file:
            yield file, start, file.metadata() or {}
    except FileNotFoundError as error:
        raise BadInputError(f"there is no {Path(path).name}") from error
    except (library.SafetensorError, OSError) as error:
        raise BadInputError(f"it cannot be read as safetensors: {error}") from error


def _of_file(path: str, part: _Part, wanted: set[str] | None = None) -> Iterator[Found]:
    with _opened(path) as (file, start, metadata):
        if metadata and not part.file and not part.start:
            yield _metadata(metadata)
        found = _tensors(file, start, Path(path).stat().st_size)
    if wanted is not None:
        missing = wanted.difference(one.key for one in found) if not part.start else ()
        for key in sorted(missing):
            yield Refused(key, f"the index says it is in {part.file}, where it is not")
        found = [one if one.key in wanted else _unnamed(one.key, part) for one in found]
    if not part.start:
        yield from (one for one in found if isinstance(one, Refused))
    inside = [one for one in found if isinstance(one, _Tensor) and part.has(one.start)]
    with Path(path).open("rb", buffering=0) as raw:
        room = Room()
        for run in _runs(inside):
            yield from _read(path, raw, run, room)


def _unnamed(key: str, part: _Part) -> Refused:
    return Refused(key, f"it is in {part.file}, and the index does not name it")


def _tensors(file: Any, start: int, size: int) -> list[_Tensor | Refused]:
    """Return the tensors of a file as they lie: end to end, as the library has checked."""
    found: list[_Tensor | Refused] = []
    for key in file.offset_keys():
        about = file.get_slice(key)
        name, shape = about.get_dtype(), tuple(about.get_shape())
        if name in _PACKED:
            start += math.prod(shape) * _PACKED[name] // 8
            found.append(Refused(key, f"it is of {name}, of which several share a byte"))
            continue
        dtype = _dtype(name)
        end = start + math.prod(shape) * dtype.itemsize
        found.append(_Tensor(key, dtype, shape, start, end))
        start = end
    if start != size:
        raise BadInputError(f"its tensors end at byte {start:,}, and it at {size:,}")
    return found


@lru_cache(maxsize=64)
def _dtype(name: str) -> np.dtype[Any]:
    if name in _PLAIN:
        return np.dtype(_PLAIN[name])
    if name not in _NAMED:
        raise BadInputError(f"it has tensors of {name}, which is not known here", found=name)
    ours, itemsize = _NAMED[name]
    return with_names(np.dtype((np.void, itemsize)), ours)


def _runs(tensors: list[_Tensor]) -> Iterator[list[_Tensor]]:
    """Yield tensors that lie end to end with rows of one kind, in pieces of bounded size."""
    run: list[_Tensor] = []
    of_run: Any = None
    at = limit = 0
    for one in tensors:
        rows = (one.dtype, one.shape[1:]) if one.shape else None
        if rows != of_run or rows is None or one.start != at or one.end > limit:
            if run:
                yield run
            run, of_run, limit = [], rows, one.start + PIECE_NBYTES
        run.append(one)
        at = one.end
    if run:
        yield run


def _read(path: str, raw: Any, run: list[_Tensor], room: Room) -> Iterator[Found]:
    first = run[0]
    if len(run) == 1 and (not first.shape or first.end - first.start > PIECE_NBYTES):
        yield Member(first.key, partial(_one, path, first))
        return
    flat = _values(raw, first.start, run[-1].end, first.dtype, room)
    if first.dtype == bool and not _is_bool(flat):
        for one in run:
            yield Member(one.key, partial(_one, path, one))
        return
    row_shape = first.shape[1:]
    counts = [one.shape[0] for one in run]
    values = flat.reshape(sum(counts), *row_shape)
    offsets = np.zeros(len(run) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    yield Many([one.key for one in run], values, offsets)


def _one(path: str, tensor: _Tensor) -> Array:
    """Return one tensor: mapped if it is large, and lies as the processor reads it."""
    n_bytes = tensor.end - tensor.start
    if n_bytes > _MAPPED_NBYTES and not tensor.start % tensor.dtype.alignment:
        flat: Array = np.memmap(path, np.uint8, "r", tensor.start, (n_bytes,)).view(tensor.dtype)
    else:
        with Path(path).open("rb", buffering=0) as raw:
            flat = _values(raw, tensor.start, tensor.end, tensor.dtype, Room())
    if tensor.dtype == bool and not _is_bool(flat):
        raise BadInputError("it is of BOOL, with bytes other than 0 and 1")
    return flat.reshape(tensor.shape)


def _is_bool(flat: Array) -> bool:
    return not flat.size or int(flat.view(np.uint8).max()) <= 1


def _values(raw: Any, start: int, end: int, dtype: np.dtype[Any], room: Room) -> Array:
    """Read what is between two bytes of a file."""
    buffer = room.rows(end - start)
    raw.seek(start)
    at = 0
    while at < len(buffer) and (n_read := raw.readinto(buffer[at:].data)):
        at += n_read
    if at < len(buffer):
        raise BadInputError("it was cut off while it was read")
    return buffer.view(dtype)


def to_safetensors(store: Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as a file of safetensors.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`.

    Returns
    -------
    Report
        Of numpy's dtypes, safetensors has integers, floats, bool and complex64;
        of those of ml_dtypes bfloat16 and most of 8 bits. Others are failures,
        as is the name ``"__metadata__"``.

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Masks are tensors ``NAME/.mask``. An attr ``"__metadata__"`` of text by name
    is the file's metadata; other attrs, and metadata of arrays, are not kept.
    The file has the same numbers in C order and little-endian, whatever the
    store has.

    Memory: what the library needs for its list of all names, and copies of
    arrays that are not in C order and little-endian.

    Examples
    --------
    >>> print(ptrarray.convert.to_safetensors("corpus.ptr", "corpus.safetensors", progress=False))
    3 converted
    >>> import safetensors.numpy
    >>> safetensors.numpy.load_file("corpus.safetensors")["utt2"]
    array([4., 5.], dtype=float32)
    """
    library = _import_library()
    with opened(store) as source, new_file(out) as file:
        tensors: dict[str, Array] = {}

        def put(name: str, array: Any) -> None:
            if name in tensors and name.endswith(MASK):
                del tensors[name.removesuffix(MASK)]  # which would be there without its mask
                raise BadInputError(f"its mask would be {name!r}, which is an array of its own")
            _check(name, array.dtype)
            tensors[name] = _plain(array)

        report = export(source, put, progress, named=True)
        _save(library, tensors, file, _metadata_of(source, report))
        note_meta(report, source, "safetensors")
        return report


def _check(name: str, dtype: np.dtype[Any]) -> None:
    if name == METADATA:
        raise BadInputError(f"no tensor can be called {METADATA}: that is the file's metadata")
    if not _takes(dtype):
        raise BadInputError(f"safetensors has no dtype {dtype}", found=str(dtype))


@lru_cache(maxsize=256)
def _takes(dtype: np.dtype[Any]) -> bool:
    """Tell whether the library has a dtype, which it says by trying; of opaque bytes it has none."""
    library = _import_library()
    try:
        library.numpy.save({"": np.zeros(1, dtype)})
    except Exception:  # noqa: BLE001 it raises whatever it meets
        return False
    return True


def _plain(array: Any) -> Array:
    """Return an array as the library has to be given it, which writes memory as it lies."""
    plain = np.asarray(array, order="C")
    native = plain.dtype.newbyteorder("<")
    return plain if plain.dtype == native else plain.astype(native)


def _metadata_of(store: Any, report: Report) -> dict[str, str] | None:
    found = store.attrs.get(METADATA)
    if found is None:
        return None
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        return found
    report.notes.append(f"attr {METADATA!r} is not kept in safetensors: it is not text by name")
    return None


def _save(library: Any, tensors: Mapping[str, Array], file: Any, metadata: Any) -> None:
    """Have the library write to the path of an open file, with the rights of that."""
    path = Path(file.name)
    mode = path.stat().st_mode
    library.numpy.save_file(dict(tensors), path, metadata)
    path.chmod(mode & 0o7777)  # the library's own file is for its user only
    with _opened(str(path)), path.open("rb") as written:  # a header can be longer than it reads
        os.fsync(written.fileno())
