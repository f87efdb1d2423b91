"""The index file: a header map, then one aligned ``bin`` object for each column."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import msgpack
import numpy as np

from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.format import dtypes
from ptrarray.format.checksum import crc32
from ptrarray.format.layouts import KINDS, MIXED, ROWS, Kind, Layout, mask_itemsize

FORMAT = "ptrarray"
VERSION = 1
ALIGNMENT = 64
BIN32_PREFIX_NBYTES = 5
COLUMN_LIMIT_NBYTES = 2**32 - 1
HEADER_LIMIT_NBYTES = 64 * 2**20
STORE_ID_NBYTES = 16
_PIECE_NBYTES = 1 << 22  # of a column that are summed in one go

COLUMN_TYPES = {
    "start": "<u8",
    "end": "<u8",
    "name_end": "<u8",
    "names": "|u1",
    "crc": "<u4",
    "slot": "<u4",
}
# Left out where it would say no everywhere.
OPTIONAL_COLUMN_TYPES = {
    "pointed": "|u1",  # 1 where a name was given to rows by `point`, and may share them
    "info_end": "<u8",  # where each array's info ends in `info`
    "info": "|u1",  # how an array differs from plain rows: see `ptrarray.format.infos`
    "meta_end": "<u8",  # where each array's metadata ends in `meta`
    "meta": "|u1",  # the user's metadata of each array, a msgpack map or nothing
    "entry": "|u1",  # the numbers of each array side by side, once more: see `entry_dtype`
}

_ALL_TYPES = COLUMN_TYPES | OPTIONAL_COLUMN_TYPES
# Bytes an array in those columns that have the same for each.
_WIDTHS = {
    "start": 8,
    "end": 8,
    "name_end": 8,
    "crc": 4,
    "pointed": 1,
    "info_end": 8,
    "meta_end": 8,
}
# Numbers of an array that `entry` has side by side, those of optional columns where these are there.
_ENTRY_FIELDS = ("start", "end", "name_end", "info_end", "meta_end", "crc")
_NIL = b"\xc0"
_DATA_FILE = re.compile(r"data(\.\d{1,20})?\.bin", re.ASCII)
_MASK_FILE = re.compile(r"mask(\.\d{1,20})?\.bin", re.ASCII)


class Column(NamedTuple):
    """Where a column lies in the index file."""

    type: str
    start_byte: int
    nbytes: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHeader:
    """What the header map of an index says."""

    generation: int
    store_id: bytes
    data_file: str
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    n_arrays: int  # entries of each column
    n_rows: int  # rows of the flat array: pre-sized, or committed at the highest
    n_reserved: int  # rows reserved at the highest: where the next append goes
    n_homes: int  # home slots of the name table
    attrs: dict[str, Any] = field(default_factory=dict)
    kind: Kind = ROWS
    mask_file: str | None = None  # of a store that keeps masks
    packed_masks: int | None = None  # bytes of it in which masks lie end to end
    # Whether rows are never added again; False while its writer has not closed it. Else None.
    sealed: bool | None = None
    crc: int = field(default=0, compare=False)  # of the header, if it was read

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the data file and, where masks are kept, of the mask file."""
        return (self.data_file,) if self.mask_file is None else (self.data_file, self.mask_file)

    @property
    def layout(self) -> Layout:
        """What an array of the store is made of."""
        masked = self.mask_file is not None
        return Layout(self.kind, self.dtype, self.row_shape, masked, self.packed_masks)


def encode(header: IndexHeader, columns: dict[str, bytes | memoryview]) -> Iterator[Any]:
    """Yield the pieces of an index file in order.

    Parameters
    ----------
    header : IndexHeader
        Its facts.
    columns : dict of str to buffer of bytes
        Contents of each column, optional ones where they say anything.

    Raises
    ------
    BadInputError
        If a column is larger than the 4 GiB that a msgpack ``bin`` holds.
    """
    sizes = {name: len(content) for name, content in columns.items()}
    crcs = {name: crc32(content) for name, content in columns.items()}
    layout = place(header, sizes, crcs)
    packed = encode_header(header, layout)
    yield packed
    at = len(packed)
    for name, column in layout.items():
        yield frame(column, at)
        yield columns[name]
        at = column.start_byte + column.nbytes


def check_size(name: str, nbytes: int) -> None:
    """Raise `BadInputError` for a column that is larger than a msgpack ``bin`` can be."""
    if nbytes > COLUMN_LIMIT_NBYTES:
        raise BadInputError(
            f"column {name!r} of the index would have {nbytes} bytes, "
            f"at most {COLUMN_LIMIT_NBYTES} can be kept: use several stores",
            found=nbytes,
            expected=COLUMN_LIMIT_NBYTES,
        )


def place(
    header: IndexHeader, sizes: Mapping[str, int], crcs: Mapping[str, int]
) -> dict[str, Column]:
    """Return where each column lies: end to end, behind the header.

    Checksums that are not known yet are left out; then there is room for any.

    Raises
    ------
    BadInputError
        If a column is larger than the 4 GiB that a msgpack ``bin`` holds.
    """
    for name, nbytes in sizes.items():
        check_size(name, nbytes)
    start_byte = _aligned(512)
    while True:
        layout = _layout(sizes, crcs, start_byte)
        needed = _aligned(len(encode_header(header, layout)) + BIN32_PREFIX_NBYTES)
        if needed <= start_byte:
            return layout
        start_byte = needed


def frame(column: Column, start_byte: int) -> bytes:
    """Return what lies before the content of a column, from a byte on."""
    n_nils = column.start_byte - BIN32_PREFIX_NBYTES - start_byte
    return _NIL * n_nils + b"\xc6" + column.nbytes.to_bytes(4, "big")


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _layout(
    sizes: Mapping[str, int], crcs: Mapping[str, int], start_byte: int
) -> dict[str, Column]:
    layout = {}
    for name, nbytes in sizes.items():
        layout[name] = Column(_ALL_TYPES[name], start_byte, nbytes, crcs.get(name, 0xFFFF_FFFF))
        start_byte = _aligned(start_byte + nbytes + BIN32_PREFIX_NBYTES)
    return layout


def encode_header(header: IndexHeader, layout: dict[str, Column]) -> bytes:
    """Return the map that an index begins with."""
    unusual: dict[str, Any] = {} if header.kind == ROWS else {"layout": header.kind}
    if header.mask_file is not None:
        unusual["mask_file"] = header.mask_file
    if header.packed_masks is not None:
        unusual["packed_masks"] = header.packed_masks
    if header.sealed is not None:
        unusual["sealed"] = header.sealed
    return encode_map(
        {
            "format": FORMAT,
            "version": VERSION,
            "generation": header.generation,
            "store_id": header.store_id,
            "data_file": header.data_file,
            **dtypes.fields_of(header.dtype),
            "row_shape": header.row_shape,
            **unusual,
            "n_arrays": header.n_arrays,
            "n_rows": header.n_rows,
            "n_reserved": header.n_reserved,
            "n_homes": header.n_homes,
            "attrs": header.attrs,
            "columns": layout,
        }
    )


def encode_map(fields: dict[str, Any]) -> bytes:
    """Pack the map that a file begins with, and its checksum."""
    packed: bytes = msgpack.packb({**fields, "crc": 0xFFFF_FFFF})
    # The CRC comes last and in five bytes whatever its value, to cover all before it.
    return packed[:-5] + _packed_crc(packed[:-5])


def _packed_crc(covered: bytes | memoryview) -> bytes:
    return b"\xce" + crc32(covered).to_bytes(4, "big")


def decode(raw: bytes | memoryview, where: str) -> tuple[IndexHeader, dict[str, Column]]:
    """Read the header of an index and check all that can be known from it.

    Parameters
    ----------
    raw : buffer
        The whole file; only its first object is read.
    where : str
        Path of the file, for messages.

    Raises
    ------
    CorruptStoreError
        If the file is not an index, is of a newer version, is damaged, or
        its columns do not fit in the file or together.
    """
    head = bytes(raw[:_HEAD_NBYTES]), len(raw)
    known = _DECODED.get(head)
    if known is not None:
        return known
    fields, end = decode_map(raw, where, (FORMAT, VERSION), "an index")
    try:
        header = _header(fields)
        columns = decode_columns(fields)
    except SENSELESS as error:
        raise corrupt(where, f"has a header that makes no sense: {error}") from error
    _check_columns(header, columns, len(raw), where)
    if end <= _HEAD_NBYTES and not header.attrs:  # which would be shared, and could be changed
        if len(_DECODED) == _DECODED_LIMIT:
            _DECODED.clear()
        _DECODED[head] = header, columns
    return header, columns


# What comes of a header that makes no sense.
SENSELESS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


class Glance(NamedTuple):
    """What whoever holds many stores open has to know of the header of each; as `IndexHeader`."""

    generation: int
    store_id: bytes
    n_arrays: int
    crc: int
    n_rows: int
    data_file: str
    layout: Layout
    attrs: dict[str, Any]
    has_metas: bool


def glance(head: bytes, where: str, nbytes: int) -> Glance:
    """Read the header of an index as far as many are read at once, in a third of the time.

    Parameters
    ----------
    head : bytes
        The beginning of the file, with all of the header.
    where : str
        Path of the file, for messages.
    nbytes : int
        Size of the file.

    Raises
    ------
    CorruptStoreError, KeyError, TypeError, ValueError, AttributeError, OverflowError
        Where `decode` has to look at it. It has to in any case before any column is used.
    """
    fields, _ = decode_map(head, where, (FORMAT, VERSION), "an index")
    layout, row_limit = _layout_and_limit(fields, masked="mask_file" in fields)
    n_rows, columns, data_file = whole(fields, "n_rows"), fields["columns"], fields["data_file"]
    *_, (_, start_byte, column_nbytes, _) = columns.values()
    if n_rows > row_limit or start_byte + column_nbytes > nbytes or not is_data_file(data_file):
        raise ValueError
    numbers = whole(fields, "generation"), store_id(fields), whole(fields, "n_arrays")
    return Glance(
        *numbers, fields["crc"], n_rows, data_file, layout, fields["attrs"], "meta" in columns
    )


def decode_columns(fields: dict[str, Any]) -> dict[str, Column]:
    """Return where the columns lie by what a map says; raises ValueError if it makes no sense."""
    columns = {}
    for name, (kind, start_byte, nbytes, crc) in fields["columns"].items():
        column = Column(str(kind), start_byte, nbytes, crc)
        if not type(start_byte) is type(nbytes) is type(crc) is int or min(column[1:]) < 0:
            raise ValueError(f"column {name!r:.40} at {column!r:.80}")
        columns[name] = column
    return columns


# What was decoded, by the bytes that say it all: the header, and the size of the file. Checking
# all of it takes longer than what else there is to opening a store again.
_DECODED: dict[tuple[bytes, int], tuple[IndexHeader, dict[str, Column]]] = {}
_DECODED_LIMIT = 64
_HEAD_NBYTES = 512


def decode_map(
    raw: bytes | memoryview, where: str, expected: tuple[str, int], what: str
) -> tuple[dict[str, Any], int]:
    """Unpack the map that a file begins with, and compare its checksum.

    Parameters
    ----------
    raw : buffer
        The file, or as much of it as the map may have.
    where : str
        Path of the file, for messages.
    expected : (str, int)
        Its format and version.
    what : str
        What such a file is called.

    Returns
    -------
    fields : dict
    end_byte : int
        Where the map ends.

    Raises
    ------
    CorruptStoreError
        If it is damaged, or of another format or version.
    """
    fields, end = _unpack(raw, where)
    format_, version = fields.get("format"), fields.get("version")
    if format_ != expected[0]:
        raise corrupt(where, f"is not {what}: its format is {format_!r:.40}")
    if version != expected[1]:
        reads = f"this ptrarray reads version {expected[1]}: install a newer one"
        raise corrupt(where, f"has format version {version!r:.40}, {reads}")
    if bytes(raw[end - 5 : end]) != _packed_crc(raw[: end - 5]):
        raise corrupt(where, "has a header that does not match its checksum")
    return fields, end


def _unpack(raw: bytes | memoryview, where: str) -> tuple[dict[str, Any], int]:
    """Unpack the first object, a map; return it and the byte where it ends."""
    size, limit = 4096, min(len(raw), HEADER_LIMIT_NBYTES)
    while True:
        head = bytes(raw[: min(size, limit)])
        unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=True,
            max_buffer_size=HEADER_LIMIT_NBYTES,
            max_array_len=limit,  # for which it makes room before it sees them
            read_size=max(len(head), 1),  # what it makes room for at once: else a megabyte
        )
        try:
            unpacker.feed(head)
            fields = unpacker.unpack()
            break
        except msgpack.OutOfData:
            if size >= limit:
                raise corrupt(where, f"ends in its header, after {len(raw)} bytes") from None
            size *= 8
        except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
            raise corrupt(where, f"{_no_map(head)} ({error})") from error
    if not isinstance(fields, dict):
        raise corrupt(where, _no_map(head))
    return fields, unpacker.tell()


def _no_map(head: bytes) -> str:
    # Some web servers give a page of theirs, with status 200, for whatever is not there.
    page = ", as web pages do: is the URL right?" if head.lstrip()[:1] == b"<" else ""
    return f"does not begin with a msgpack map, but with {head[:16]!r}{page}"


def _header(fields: dict[str, Any]) -> IndexHeader:
    data_file = fields["data_file"]
    if not isinstance(data_file, str) or not is_data_file(data_file):
        raise TypeError(f"data file {data_file!r:.40}")
    if not isinstance(fields["attrs"], dict):
        raise TypeError("attrs are not a map")
    masked = "mask_file" in fields
    if masked and not is_mask_file(fields["mask_file"]):
        raise TypeError(f"mask file {fields['mask_file']!r:.40}")
    layout, row_limit = _layout_and_limit(fields, masked=masked)
    n_rows = whole(fields, "n_rows")
    if n_rows > row_limit:
        raise ValueError(f"n_rows {n_rows}")
    packed_masks = whole(fields, "packed_masks") if "packed_masks" in fields else None
    if packed_masks is not None and (layout.kind != MIXED or not masked):
        raise ValueError(f"packed masks in layout {layout.kind!r}")
    if n_rows + (packed_masks or 0) > row_limit:
        raise ValueError(f"{packed_masks} bytes of packed masks")
    if type(fields.get("sealed", False)) is not bool:
        raise TypeError(f"sealed {fields['sealed']!r:.40}")
    return IndexHeader(
        generation=whole(fields, "generation"),
        store_id=store_id(fields),
        data_file=data_file,
        dtype=layout.dtype,
        row_shape=layout.row_shape,
        n_arrays=whole(fields, "n_arrays"),
        n_rows=n_rows,
        n_reserved=whole(fields, "n_reserved"),
        n_homes=whole(fields, "n_homes"),
        attrs=fields["attrs"],
        kind=layout.kind,
        mask_file=fields.get("mask_file"),
        packed_masks=packed_masks,
        sealed=fields.get("sealed"),
        crc=fields["crc"],
    )


def _layout_and_limit(fields: dict[str, Any], *, masked: bool) -> tuple[Layout, int]:
    """Return the layout that a map describes, and the rows it may have; remembered, as many stores share it."""
    # As text, in which True is not 1.
    said = [fields.get(key) for key in ("dtype", "dtype_names", "row_shape", "layout")]
    key = repr(said), masked
    found = _LAYOUTS.get(key)
    if found is None:
        layout = decoded_layout(fields, fields.get("layout", ROWS), masked=masked)
        found = layout, layout.row_limit
        if len(key[0]) <= _HEAD_NBYTES:
            if len(_LAYOUTS) == _DECODED_LIMIT:
                _LAYOUTS.clear()
            _LAYOUTS[key] = found
    return found


_LAYOUTS: dict[tuple[str, bool], tuple[Layout, int]] = {}


def store_id(fields: dict[str, Any]) -> bytes:
    """Return the random id that a map has; raises TypeError if it is none."""
    found = fields["store_id"]
    if not isinstance(found, bytes) or len(found) != STORE_ID_NBYTES:
        raise TypeError(f"store id {found!r:.40}")
    return found


def decoded_layout(fields: dict[str, Any], kind: Any, *, masked: bool) -> Layout:
    """Return the layout that a map describes; raises ValueError if there is no such layout."""
    dtype = dtypes.of_fields(fields)
    row_shape = tuple(_whole("row shape", length) for length in fields["row_shape"])
    if dtypes.normalize(dtype, row_shape) != (dtype, row_shape):
        raise ValueError(f"row shape {row_shape}")
    if kind not in KINDS or (kind != ROWS and row_shape):
        raise ValueError(f"layout {kind!r:.40} with row shape {row_shape}")
    if kind == MIXED and dtype != np.uint8:
        raise ValueError(f"layout {kind!r} with dtype {dtype}")
    if masked:
        mask_itemsize(dtype)
    return Layout(kind, dtype, row_shape, masked)


def whole(fields: dict[str, Any], name: str) -> int:
    """Return a number that a map has; raises ValueError if it is none from 0 to 2**63."""
    return _whole(name, fields[name])


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} {value!r:.40}")
    return value


def _check_columns(
    header: IndexHeader, columns: dict[str, Column], file_nbytes: int, where: str
) -> None:
    """Check that the columns there are fit the header, the file and each other."""
    for name, kind in _ALL_TYPES.items():
        column = columns.get(name)
        if column is None and name in OPTIONAL_COLUMN_TYPES:
            continue
        if column is None or column.type != kind:
            raise corrupt(where, f"has no column {name!r} of type {kind}")
        needed = _WIDTHS.get(name, 0) * header.n_arrays
        if name in _WIDTHS and column.nbytes != needed:
            raise corrupt(
                where,
                f"has {column.nbytes} bytes in column {name!r}, "
                f"{header.n_arrays} arrays need {needed}",
            )
    if len(columns) > len(COLUMN_TYPES):
        _check_optional(header, columns, where)
    n_slots, rest = divmod(columns["slot"].nbytes, 8)
    if rest or n_slots <= header.n_homes:
        raise corrupt(where, f"has {columns['slot'].nbytes} bytes in column 'slot'")
    check_places(columns, file_nbytes, where)


def _check_optional(header: IndexHeader, columns: dict[str, Column], where: str) -> None:
    for name in ("info", "meta"):
        if (name in columns) != (f"{name}_end" in columns):
            raise corrupt(where, f"has only one of the columns {name!r} and '{name}_end'")
    width = entry_dtype(columns).itemsize
    if "entry" in columns and columns["entry"].nbytes != width * header.n_arrays:
        what = f"{columns['entry'].nbytes} bytes in column 'entry'"
        raise corrupt(where, f"has {what}, {header.n_arrays} arrays need {width} each")


def entry_dtype(columns: Container[str]) -> np.dtype[Any]:
    """Return what the column ``entry`` has for each array of an index that has some columns.

    Examples
    --------
    >>> entry_dtype({"start", "end", "name_end", "crc"}).itemsize
    28
    """
    return np.dtype([(name, _ALL_TYPES[name]) for name in _ENTRY_FIELDS if name in columns])


def check_places(columns: dict[str, Column], file_nbytes: int, where: str) -> None:
    """Raise `CorruptStoreError` for columns that overlap, are not aligned, or leave the file."""
    spans = sorted((c.start_byte, c.start_byte + c.nbytes) for c in columns.values())
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise corrupt(where, "has columns that overlap")
    if spans[0][0] < 0 or spans[-1][1] > file_nbytes:
        raise corrupt(
            where, f"has {file_nbytes} bytes, its columns need {spans[-1][1]}: it is cut short"
        )
    if any(column.start_byte % ALIGNMENT for column in columns.values()):
        raise corrupt(where, f"has columns that are not aligned to {ALIGNMENT} bytes")


def is_data_file(name: str) -> bool:
    """Tell whether a file name is one that data files have."""
    return _DATA_FILE.fullmatch(name) is not None


def is_mask_file(name: object) -> bool:
    """Tell whether a file name is one that mask files have."""
    return isinstance(name, str) and _MASK_FILE.fullmatch(name) is not None


def check_sums(
    raw: memoryview,
    columns: Mapping[str, Column],
    where: str,
    passed: Callable[[], object] | None = None,
) -> None:
    """Compare every column of an index with its checksum; calls `passed` after some megabytes each.

    Raises
    ------
    CorruptStoreError
        At the first one that differs.
    """
    for name, column in columns.items():
        found, end = 0, column.start_byte + column.nbytes
        for at in range(column.start_byte, end, _PIECE_NBYTES):
            found = crc32(raw[at : min(at + _PIECE_NBYTES, end)], found)
            if passed is not None:
                passed()
        if found != column.crc:
            what = f"a column {name!r} with CRC-32 {found:08x}, not {column.crc:08x}"
            raise corrupt(where, f"is damaged: it has {what}")


def corrupt(where: str, what: str) -> CorruptStoreError:
    """Return the error for a damaged file of a store."""
    return CorruptStoreError(f"{where} {what}", path=where)
