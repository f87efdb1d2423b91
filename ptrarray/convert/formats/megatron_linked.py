"""A ``.bin`` of Megatron-LM or fairseq as the data file of a store: only an index is written."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptrarray.convert import sources
from ptrarray.convert.adopting import adopt
from ptrarray.convert.export import opened
from ptrarray.convert.formats.megatron_index import (
    read_index,
)
from ptrarray.convert.formats.megatron_units import PIECE_ARRAYS, SUFFIXES, Units, Way
from ptrarray.convert.report import Failure, Report
from ptrarray.convert.run import Options, check_options
from ptrarray.convert.sources import Paths, Source, bare
from ptrarray.creation import is_store
from ptrarray.errors import BadInputError, CorruptStoreError, StoreExistsError
from ptrarray.format.entries import Entries, RaggedColumn
from ptrarray.format.metadata import encode
from ptrarray.format.names import encode as encode_name
from ptrarray.format.names import hash_all
from ptrarray.format.numbered import numbered, numbered_nbytes
from ptrarray.reader import opened_of
from ptrarray.rows.types import Int64s
from ptrarray.storage.lifecycle.adopting import Arrays
from ptrarray.storage.store.blocks import Sizes
from ptrarray.upkeep import verify as verify_store

_NOT_LINKED = ("convert", "dtype", "row_shape", "masked", "shard_size")
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}


def link(paths: Paths, store: Path, way: Way, options: Options, *, keep: bool) -> Report:
    """Make a store of a ``.bin`` where it lies; `keep` tells whether its own name stays."""
    check_options(options)
    found = sources.find(paths, SUFFIXES)
    if len(found) != 1:
        raise BadInputError(
            f"{len(found)} files are to become the data file of {store}: make a store of each, and "
            "one of all by ptrarray.join(path, stores, prefix=...), which copies nothing",
            path=str(store),
            found=len(found),
            expected=1,
        )
    given = [key for key in _NOT_LINKED if options.get(key) not in (None, False, ())]
    if given:
        raise BadInputError(
            f"a file that becomes the data file as it is cannot have {given[0]}: use how='copy'",
            path=str(store),
            found=given[0],
            expected="how='copy'",
        )
    template = options.get("name") or sources.default_template(1, many=True)
    source = sources.name_all(found, template)[0]
    report = Report()
    bin_path = _bin_of(source.path, store, keep=keep)
    try:
        units = Units(read_index(source.path, way.origin, bin_path), way.by)
    except (BadInputError, OSError) as error:
        report.failures.append(Failure(source.path, str(error)))
        return report
    noted = list(units.notes())
    for about, n_noted in Counter(note.about for note in noted).items():
        first = next(note.key for note in noted if note.about == about)
        report.note(about, n_noted, source.label(first))
    try:
        if is_store(store) and options.get("resume", True):
            report.skipped = _there(units, source, store, keep=keep)
        else:
            _adopt(units, store, _arrays(units, source), options.get("attrs"), keep=keep)
            report.converted = units.n
        if options.get("verify", False):
            verify_store(store, progress=options.get("progress", True))
    except (BadInputError, CorruptStoreError) as error:
        report.failures.append(Failure(source.path, str(error)))
    return report


def _bin_of(path: str, store: Path, *, keep: bool) -> str:
    """Return the ``.bin`` of an ``.idx``, or, if that has become the data file of the store, this.

    Raises
    ------
    BadInputError
        If it is the data file of a store already, or a link to what is to go.
    """
    bin_path = f"{bare(path)}.bin"
    if not keep and not Path(bin_path).exists() and is_store(store):
        return str(_data_file(store))
    if not keep and Path(bin_path).is_symlink():
        where = os.path.realpath(bin_path)
        raise BadInputError(
            f"{bin_path} is a link, and {where} would go: use how='link'", path=path
        )
    folder = Path(os.path.realpath(bin_path)).parent
    if is_store(folder):
        what = (
            f"{bin_path} is the data file of the store {folder}: use how='copy', or ptrarray.join"
        )
        raise BadInputError(what, path=path)
    return bin_path


def _data_file(store: Path) -> Path:
    with opened(store) as reader:
        stores = opened_of(reader).stores
        return Path(store, stores[0].snapshot.header.data_file if len(stores) == 1 else "data.bin")


def _adopt(
    units: Units, store: Path, arrays: Arrays, attrs: Mapping[str, Any] | None, *, keep: bool
) -> None:
    source, dtype = os.path.realpath(units.index.bin_path), units.index.dtype
    try:
        adopt(store, source, arrays, dtype=dtype, attrs=attrs, keep=keep)
    except OSError as error:
        if error.filename2 is None or error.errno not in _CANNOT_LINK:
            raise
        raise BadInputError(
            f"{source} cannot be linked into {store}: {error.strerror}: put the store on the same file "
            "system, as the owner of the file, or use how='copy'",
            path=source,
        ) from error


def _there(units: Units, source: Source, store: Path, *, keep: bool) -> int:
    """Return how many arrays are in a store that was made of the same file; what was killed ends here."""
    data, bin_path = _data_file(store), Path(os.path.realpath(units.index.bin_path))
    is_of_it = data.is_file() and not data.is_symlink() and data.samefile(bin_path)
    if not is_of_it or not _are_in(units, source, store):
        raise StoreExistsError(
            f"{store} exists, and is not of {bin_path} as it is asked for: choose another path",
            path=str(store),
        )
    if not keep and bin_path != Path(os.path.realpath(data)):
        bin_path.unlink()
    return units.n


def _are_in(units: Units, source: Source, store: Path) -> bool:
    """Tell whether a store has all arrays by their names, where they are in the ``.bin``."""
    with opened(store) as reader:
        if reader.dtype != units.index.dtype:
            return False
        for at in range(0, units.n, PIECE_ARRAYS):
            starts, ends = units.pointers(slice(at, min(at + PIECE_ARRAYS, units.n)))
            keys = list(map(str, range(at, at + len(starts))))
            names = [*map(encode_name, source.names(keys))]
            found = opened_of(reader).snapshot.find_all(names).reshape(-1, 2)
            if not np.array_equal(found, np.stack([starts, ends], 1)):
                return False
    return True


def _arrays(units: Units, source: Source) -> Arrays:
    """Return what the index of a store has: in the order of the file, or sorted if that is another."""
    start = source.name("0").removesuffix("0")
    if all(source.name(key) == start + key for key in ("0", "7", "1234")):
        prefix = encode_name(start) if start else b""
        names, nbytes = partial(_numbers, prefix), numbered_nbytes(units.n, prefix)
    else:
        column = RaggedColumn.of([*map(encode_name, source.names(list(map(str, range(units.n)))))])
        names, nbytes = partial(_some_of, column), len(column.joined)
    metas = _metas(units)
    sizes = Sizes(units.n, nbytes, 0, 0 if metas is None else metas.nbytes(units.n))
    if units.index.is_packed:
        return Arrays(sizes, partial(_entries, units, names, metas))
    everything = _entries(units, names, metas, slice(0, units.n))
    everything = _in_order(everything)
    return Arrays(sizes._replace(pointed=bool(everything.pointed.any())), everything.part)


def _numbers(prefix: bytes, some: slice) -> tuple[RaggedColumn, Any]:
    return numbered(some.start, some.stop, prefix)


def _some_of(column: RaggedColumn, some: slice) -> tuple[RaggedColumn, Any]:
    names = column[some]
    return names, np.array(hash_all(names), np.uint32)


class _Metas(NamedTuple):
    """Metadata of all arrays, packed: once of those in a row that are alike."""

    firsts: Int64s
    packed: RaggedColumn

    def nbytes(self, n_arrays: int) -> int:
        """Return how many bytes those of all have together."""
        return int((np.diff(self.firsts, append=n_arrays) * self.packed.lengths).sum())

    def part(self, some: slice) -> RaggedColumn:
        """Return those of some arrays."""
        positions = np.arange(some.start, some.stop)
        return self.packed.chosen(np.searchsorted(self.firsts, positions, side="right") - 1)


def _entries(units: Units, names: Any, metas: _Metas | None, some: slice) -> Entries:
    column, hashes = names(some)
    starts, ends = units.pointers(some)
    n_arrays = len(starts)
    nothing = np.zeros(n_arrays, np.uint32)
    pointed = np.broadcast_to(np.uint8(0), n_arrays)
    some_metas = None if metas is None else metas.part(some)
    return Entries(column, hashes, starts, ends, nothing, pointed, None, some_metas)


def _metas(units: Units) -> _Metas | None:
    if not units.has_metas:
        return None
    firsts, packed = units.changes(), []
    for at in range(0, len(firsts), PIECE_ARRAYS):
        packed += [encode("", meta) for meta in units.metas_at(firsts[at : at + PIECE_ARRAYS])]
    column = RaggedColumn.of(packed)
    return _Metas(firsts, column) if len(column.joined) else None


def _in_order(entries: Entries) -> Entries:
    """Sort entries by where they begin; those that run into others are pointed."""
    order = np.argsort(entries.starts, kind="stable")
    starts, ends = entries.starts[order], entries.ends[order]
    reached = np.maximum.accumulate(np.concatenate([[0], np.where(starts < ends, ends, 0)]))[:-1]
    return Entries(
        entries.names.chosen(order),
        entries.hashes[order],
        starts,
        ends,
        entries.crcs,
        ((starts < reached) & (starts < ends)).astype(np.uint8),
        None,
        None if entries.metas is None else entries.metas.chosen(order),
    )
