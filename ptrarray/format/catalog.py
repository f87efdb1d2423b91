"""The catalog of a store of shards: one name table over the indexes of many of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptrarray.format.index import (
    ALIGNMENT,
    BIN32_PREFIX_NBYTES,
    COLUMN_LIMIT_NBYTES,
    SENSELESS,
    STORE_ID_NBYTES,
    Column,
    check_places,
    corrupt,
    decode_columns,
    decode_map,
    encode_map,
    store_id,
    whole,
)
from ptrarray.format.table import EMPTY

FORMAT = "ptrarray-catalog"
VERSION = 1
FILE_NAME = "catalog.msgpack"

COLUMN_TYPES = {
    "store_id": "|u1",
    "generation": "<u8",
    "n_arrays": "<u8",
    "crc": "<u4",
    "slot": "<u4",
}
# What each shard takes of the columns but the last.
SHARD_NBYTES = {"store_id": STORE_ID_NBYTES, "generation": 8, "n_arrays": 8, "crc": 4}
SLOT_NBYTES = 8
# More names have no name table: its column, or its positions, would not hold them.
SLOT_LIMIT = COLUMN_LIMIT_NBYTES // SLOT_NBYTES
# Where the first column begins. The header, which is written last, is shorter than that.
_START_BYTE = 512
_NIL = b"\xc0"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogHeader:
    """What the header map of a catalog says.

    Attributes
    ----------
    store_id : bytes
        That of the marker.
    generation : int
        That of the marker.
    n_arrays : int
        Arrays in the indexes of all shards that it covers.
    n_homes : int
        Home slots of the name table.
    """

    store_id: bytes
    generation: int
    n_arrays: int
    n_homes: int


def places(n_shards: int) -> dict[str, int]:
    """Return the byte where each column begins, in a catalog of so many shards.

    Examples
    --------
    >>> places(3)
    {'store_id': 512, 'generation': 576, 'n_arrays': 640, 'crc': 704, 'slot': 768}
    """
    found, at = {}, _START_BYTE
    for name in COLUMN_TYPES:
        found[name] = at
        end = at + SHARD_NBYTES.get(name, 0) * n_shards + BIN32_PREFIX_NBYTES
        at = -(-end // ALIGNMENT) * ALIGNMENT
    return found


def encode(header: CatalogHeader, columns: Mapping[str, Column]) -> list[tuple[int, bytes]]:
    """Return all bytes of a catalog but the contents of its columns, with where they go."""
    packed = encode_map(
        {
            "format": FORMAT,
            "version": VERSION,
            "store_id": header.store_id,
            "generation": header.generation,
            "n_arrays": header.n_arrays,
            "n_homes": header.n_homes,
            "columns": columns,
        }
    )
    at, pieces = 0, []
    for column in columns.values():
        padding = column.start_byte - BIN32_PREFIX_NBYTES - at - len(packed)
        pieces.append((at, packed + _NIL * padding + b"\xc6" + column.nbytes.to_bytes(4, "big")))
        at, packed = column.start_byte + column.nbytes, b""
    return pieces


def decode(raw: bytes | memoryview, where: str) -> tuple[CatalogHeader, dict[str, Column]]:
    """Read the header of a catalog and check all that can be known from it.

    Parameters
    ----------
    raw : buffer
        The whole file; only its first object is read.
    where : str
        Path of the file, for messages.

    Raises
    ------
    CorruptStoreError
        If the file is not a catalog, is of a newer version, is damaged, or its columns do not
        fit in the file or together.
    """
    fields, _ = decode_map(raw, where, (FORMAT, VERSION), "a catalog of shards")
    try:
        header, columns = _header(fields), decode_columns(fields)
    except SENSELESS as error:
        raise corrupt(where, f"has a header that makes no sense: {error}") from error
    for name, kind in COLUMN_TYPES.items():
        if name not in columns or columns[name].type != kind:
            raise corrupt(where, f"has no column {name!r} of type {kind}")
    n_shards = columns["generation"].nbytes // SHARD_NBYTES["generation"]
    for name, width in SHARD_NBYTES.items():
        if columns[name].nbytes != width * n_shards:
            raise corrupt(where, f"has {columns[name].nbytes} bytes in column {name!r}")
    n_slots, rest = divmod(columns["slot"].nbytes, SLOT_NBYTES)
    if rest or n_slots <= max(header.n_homes, header.n_arrays):
        raise corrupt(where, f"has {columns['slot'].nbytes} bytes in column 'slot'")
    check_places(columns, len(raw), where)
    return header, columns


def _header(fields: dict[str, Any]) -> CatalogHeader:
    header = CatalogHeader(
        store_id=store_id(fields),
        generation=whole(fields, "generation"),
        n_arrays=whole(fields, "n_arrays"),
        n_homes=whole(fields, "n_homes"),
    )
    if not header.n_homes or header.n_arrays >= EMPTY:
        raise ValueError(f"n_homes {header.n_homes}, n_arrays {header.n_arrays}")
    return header
