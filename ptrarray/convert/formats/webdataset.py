"""Archives of webdataset: tar, of samples whose fields are files of one name."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ptrarray.convert.archives import SUFFIXES, Archive, opened
from ptrarray.convert.escape import MARK, archive_path, unescape
from ptrarray.convert.export import MASK, Store, export, lost_meta, new_file, new_folder
from ptrarray.convert.export import opened as opened_store
from ptrarray.convert.formats.npy import NPY_MAGIC, members_of_npz, read_all, read_header
from ptrarray.convert.found import Found, Kind, Many, Member, Noted, Refused
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.errors import BadInputError
from ptrarray.intake.numbers import nbytes

_META_NBYTES = 1 << 24  # of a field that is metadata
_COMMENT = "comment"  # of an archive as a whole, where an export leaves its mark

# As webdataset has it: a sample is all up to the first dot of the last part of a path.
_SAMPLE_AND_FIELD = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
_LEFT_OUT = re.compile(r"__[^/]*__($|/)")
_BAD, _ITS_OWN = "__bad__", ("__key__", "__url__", "__local_path__")
_PICKLES = {"pkl", "pickle", "pyd", "pth", "pt"}
_TENSORS = {"ten", "tenbin", "tb"}
_JSON, _TEXT = {"json", "jsn"}, {"txt", "text", "transcript"}
_NUMBERS = {"cls", "cls2", "index", "inx", "id"}


def from_webdataset(
    paths: Paths, store: str | os.PathLike[str], **options: Unpack[Options]
) -> Report:
    """Import the arrays of webdataset's archives, with what is beside them as metadata.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`. Names are by default the keys of the samples, or
        with several archives ``"{stem}/{key}"``; for shards of one data set,
        ``name="{key}"``.

    Returns
    -------
    Report
        Failures are fields that are pickles, which are never read, and webdataset's
        own ``.ten``, which does not keep the byte order.

    Notes
    -----
    As by webdataset, the key of a file is its path up to the first dot of the
    last part, the rest its field, in lower case: ``utt.1.npy`` is field ``1.npy`` of
    the sample ``utt``. The array of ``utt.npy`` is named ``utt``, that of
    ``utt.pose.npy`` ``utt/pose``, and ``x`` of ``utt.npz`` ``utt/x``. Arrays of a
    sample have as metadata its fields of JSON, numbers (``cls``) and text
    (``txt``) under their names; the items of a plain ``utt.json`` themselves, if no
    other field is called like one of them. Files whose fields are others, and those
    that webdataset passes over, are left out with a note. Files of `to_webdataset`
    become the names that they were made from.

    Memory: 2 MB, or one sample.

    Examples
    --------
    >>> import io, tarfile
    >>> def add(archive, name, raw):
    ...     about = tarfile.TarInfo(name)
    ...     about.size = len(raw)
    ...     archive.addfile(about, io.BytesIO(raw))
    >>> np.save("mel.npy", np.arange(3))
    >>> with tarfile.open("000000.tar", "w") as archive:
    ...     archive.add("mel.npy", "utt1.npy")
    ...     add(archive, "utt1.cls", b"7")
    >>> print(ptrarray.convert.from_webdataset("000000.tar", "any.ptr", progress=False))
    1 converted
    >>> with ptrarray.open("any.ptr") as store:
    ...     store["utt1"], store.meta["utt1"]
    (array([0, 1, 2]), {'cls': 7})
    """
    return run(Kind(_members, SUFFIXES, many=True), paths, store, options)


def _members(path: str) -> Iterator[Found]:
    n_members = 0
    problem: Exception | None = None
    with opened(path) as archive:
        sample = _Sample("")
        try:
            for info in archive.infos():
                n_members += 1
                key, field, about = _split(info)
                if about:
                    yield Noted(info.name, about)
                    continue
                if key != sample.key:
                    yield from sample.found(_is_ours(archive))
                    sample = _Sample(key)
                sample.add(field, info, archive)
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            problem = error
        yield from sample.found(_is_ours(archive))
    reason = archive.problem(n_members)
    if problem is not None:  # and what each compressor says, in lines
        reason = f"what is behind member {n_members} cannot be read: {problem}".split("\n", 1)[0]
    if reason:
        yield Refused("", reason)


def _split(info: tarfile.TarInfo) -> tuple[str, str, str]:
    """Return sample and field of a file in an archive, or why webdataset passes it over."""
    if info.isdir():
        return "", "", "folders are only part of names"
    if not info.isfile():
        return "", "", "links, devices and the like are passed over, as by webdataset"
    if _LEFT_OUT.match(info.name):
        return "", "", "files of the archive itself (__x__) are passed over, as by webdataset"
    parts = _SAMPLE_AND_FIELD.match(info.name)
    if parts is None:
        return "", "", "files are no field of a sample, and passed over, as by webdataset"
    return parts[1], parts[2].lower(), ""


def _is_ours(archive: Archive) -> bool:
    return archive.pax_headers.get(_COMMENT) == MARK


class _Sample:
    """What an archive has of a sample, until the next one begins."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._fields: dict[str, bytes | bytearray] = {}
        self._others: list[Refused | Noted] = []
        self._is_bad = False

    def add(self, field: str, info: tarfile.TarInfo, archive: Archive) -> None:
        """Read a field, if it is of a kind that is kept."""
        kind = _kind(field)
        about = _refusal(field, kind, info.size)
        if field in self._fields:
            about = f"field {field!r} is there twice, of which webdataset takes none"
        if field == _BAD:
            self._is_bad = True
        elif about:
            self._others.append(Refused(info.name, about))
        elif kind in _KEPT:
            try:
                self._fields[field] = archive.read(info)
            except BadInputError as error:
                self._others.append(Refused(info.name, str(error)))
        else:
            self._others.append(Noted(info.name, f"fields .{kind[:40]} hold no arrays"))

    def found(self, is_ours: bool) -> Iterator[Found]:
        """Yield what the sample has."""
        if self._is_bad:
            yield Noted(self.key, f"samples are marked as {_BAD}, and passed over")
            return
        yield from self._others
        values: dict[str, Any] = {}
        for field in [field for field in self._fields if _kind(field) in _DECODERS]:
            raw, name = self._fields.pop(field), field.removesuffix(".gz")
            try:
                name = field if name in values else name
                values[name] = _DECODERS[_kind(field)](_unzipped(field, raw))
            except (ValueError, RecursionError, EOFError, OSError) as error:
                yield Refused(f"{self.key}.{field}", f"it is no .{_kind(field)}: {error}")
        if values and not self._fields:
            yield Noted(self.key, "samples have metadata, and no arrays")
        key, meta = unescape(self.key) if is_ours else self.key, _merged(values)
        for field, raw in self._fields.items():
            yield from _of_field(key, field, raw, meta)


def _kind(field: str) -> str:
    """Return the last suffix of a field, which tells what is in it; that before .gz."""
    return field.removesuffix(".gz").rpartition(".")[2]


def _refusal(field: str, kind: str, size: int) -> str:
    if field in _ITS_OWN:
        return f"field {field!r} is one that webdataset does not take"
    if kind in _PICKLES:
        return "it is a pickle, which is not read here: from_tar reads those of arrays"
    if kind in _TENSORS:
        return f"it is .{kind}, which does not keep the byte order: write it as .npy"
    if kind in _DECODERS and size > _META_NBYTES:
        return f"it has {size:,} bytes, more than the {_META_NBYTES:,} of metadata"
    return ""


def _unzipped(field: str, raw: bytes | bytearray) -> bytes:
    if not field.endswith(".gz"):
        return bytes(raw)
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        found = file.read(_META_NBYTES + 1)
    if len(found) > _META_NBYTES:
        raise ValueError(f"it has more than {_META_NBYTES:,} bytes")
    return found


_DECODERS: Mapping[str, Any] = (
    dict.fromkeys(_JSON, json.loads)
    | dict.fromkeys(_NUMBERS, int)
    | dict.fromkeys(_TEXT, partial(str, encoding="utf-8"))
)
_KEPT = {"npy", "npz", *_DECODERS}


def _merged(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a sample as metadata: of a plain one of JSON, what is in it."""
    whole = values.get("json")
    others = {field: value for field, value in values.items() if field != "json"}
    if isinstance(whole, dict) and others.keys().isdisjoint(whole):
        return whole | others
    return values


def _of_field(
    key: str, field: str, raw: bytes | bytearray, meta: Mapping[str, Any]
) -> Iterator[Found]:
    kind = _kind(field)
    stem = field.removesuffix(".gz").removesuffix(kind).rstrip(".")
    name = f"{key}/{stem}" if stem else key
    try:
        if kind == "npz":
            for found in members_of_npz(_file(field, raw)):
                named = found._replace(key=f"{name}/{found.key}")
                yield named if isinstance(named, Noted) else named._replace(meta=meta)
        elif field.endswith(".gz"):
            yield Member(name, partial(_read, field, raw), meta)
        else:
            yield _of_npy(name, raw, meta)
    except (BadInputError, ValueError, OSError) as error:
        yield Refused(name, str(error))


def _file(field: str, raw: bytes | bytearray) -> Any:
    plain = io.BufferedReader(io.BytesIO(raw))
    return gzip.GzipFile(fileobj=plain) if field.endswith(".gz") else plain


def _read(field: str, raw: bytes | bytearray) -> Any:
    with _file(field, raw) as file:
        return read_all(file)


def _of_npy(key: str, raw: bytes | bytearray, meta: Mapping[str, Any]) -> Member | Many:
    """Return the array of an ``.npy`` file; as many, which are joined if others like it follow."""
    shape, is_fortran, dtype, start = _header(raw)
    n_bytes = prod(shape) * dtype.itemsize
    if len(raw) - start != n_bytes:
        there = f"{len(raw) - start:,} bytes are behind its header"
        raise BadInputError(f"it is cut off or has more behind it: {there}, expected {n_bytes:,}")
    flat = np.frombuffer(raw, dtype, offset=start) if n_bytes else np.empty(0, dtype)
    if not shape or (is_fortran and len(shape) > 1) or not n_bytes:
        order: Any = "F" if is_fortran else "C"
        return Member(key, partial(flat.reshape, shape, order=order), meta)
    return Many([key], flat.reshape(shape), np.array([0, shape[0]]), [meta] if meta else ())


def _header(raw: bytes | bytearray) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether in Fortran order, and dtype of an ``.npy`` file; where its values are."""
    if not raw.startswith(NPY_MAGIC) or len(raw) < 12:
        raise BadInputError("it is no .npy file")
    n_width = 2 if raw[len(NPY_MAGIC)] == 1 else 4
    start = 8 + n_width + int.from_bytes(raw[8 : 8 + n_width], "little")
    shape, is_fortran, dtype = _parsed(bytes(raw[:start]))
    if dtype.hasobject:
        raise BadInputError("it holds Python objects, as a pickle, which is not read here")
    return shape, is_fortran, dtype, start


@lru_cache(maxsize=4096)
def _parsed(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    return read_header(io.BytesIO(head))


def to_webdataset(
    store: Store,
    out: str | os.PathLike[str],
    *,
    shard_size: str | int | None = None,
    progress: bool = True,
) -> Report:
    """Export a store as an archive of webdataset, or as shards of about a size.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`.
    shard_size : str or int, optional
        Then `out` is a folder, of ``000000.tar``, ``000001.tar``, …, each of about
        so many bytes, as ``"1GB"``; no sample is in two.

    Returns
    -------
    Report

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Notes
    -----
    Each array is a sample: ``KEY.npy``, and ``KEY.json`` if it has metadata, that
    JSON can hold. Its key is its name, but for what webdataset would take for
    something else, which is written in hexadecimal as in URLs: a dot in the last
    part (``utt.1`` becomes ``utt%2E1``), ``%``, empty parts, ``.`` and ``..``,
    a folder in front like ``__x__``, and what cannot be seen. `from_webdataset`
    turns that back, by a comment in the archive. Masks are samples ``NAME/%2Emask``.

    Examples
    --------
    >>> print(ptrarray.convert.to_webdataset("corpus.ptr", "corpus.tar", progress=False))
    3 converted
    >>> import tarfile
    >>> with tarfile.open("corpus.tar") as archive:
    ...     archive.getnames()
    ['utt1.npy', 'utt2.npy', 'utt3.npy']
    """
    with opened_store(store) as source, ExitStack() as stack:
        shards: _Shards
        if shard_size is None:
            shards = _Shards(stack, file=stack.enter_context(new_file(out)))
        else:
            limit = nbytes("shard_size", shard_size)
            shards = _Shards(stack, folder=stack.enter_context(new_folder(out)), limit=limit)
        lost, masks = [], set()

        def put(name: str, array: Any) -> None:
            if name.endswith(MASK):
                if name in masks:
                    raise BadInputError(f"its mask would be {name!r}, which is an array of its own")
                masks.add(name)
            meta = source.meta[name] if name in source else {}
            text = _as_json(meta)
            if text is None:
                lost.append(name)
            shards.add(_key(name), _as_npy(array), text)

        report = export(source, put, progress)
        shards.close()
        if lost:
            report.notes.append(lost_meta(len(lost), "JSON"))
        return report


class _Shards:
    """One archive, or one after the other in a folder."""

    def __init__(
        self,
        stack: ExitStack,
        *,
        file: Any = None,
        folder: Path | None = None,
        limit: int = 1 << 63,
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._n = 0
        self._open = stack.enter_context(ExitStack())
        self._archive = self._next(file)

    def _next(self, file: Any = None) -> tarfile.TarFile:
        self._open.close()
        if file is None and self._folder is not None:
            file = self._open.enter_context((self._folder / f"{self._n:06}.tar").open("xb"))
        self._n += 1
        self._is_empty = True
        options: Any = {"format": tarfile.PAX_FORMAT, "pax_headers": {_COMMENT: MARK}}
        return self._open.enter_context(tarfile.open(fileobj=file, mode="w", **options))

    def add(self, key: str, npy: bytes, text: bytes | None) -> None:
        """Write a sample, to the next archive if this one has enough."""
        fields = [("json", text), ("npy", npy)] if text else [("npy", npy)]
        n_bytes = sum(len(raw) + 2 * tarfile.BLOCKSIZE for _, raw in fields if raw)
        if not self._is_empty and self._archive.offset + n_bytes > self._limit:
            self._archive = self._next()
        for field, raw in fields:
            if raw:
                info = tarfile.TarInfo(f"{key}.{field}")
                info.size = len(raw)
                self._archive.addfile(info, io.BytesIO(raw))
                vars(self._archive)["members"].clear()  # which it keeps, for looking up by name
        self._is_empty = False

    def close(self) -> None:
        """End the last archive."""
        self._open.close()


def _key(name: str) -> str:
    """Return a name as the key of a sample, that `unescape` turns back."""
    folder, slash, last = archive_path(name).rpartition("/")
    if _LEFT_OUT.match(f"{folder}{slash}"):
        folder = f"%5F{folder[1:]}"
    return f"{folder}{slash}{last.replace('.', '%2E')}"


def _as_npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def _as_json(meta: Mapping[str, Any]) -> bytes | None:
    """Return metadata as JSON; nothing for none, and None for what JSON cannot hold."""
    if not meta:
        return b""
    try:
        text = json.dumps(dict(meta), allow_nan=False, ensure_ascii=False)
        return text.encode() if json.loads(text) == dict(meta) else None
    except (TypeError, ValueError):
        return None
