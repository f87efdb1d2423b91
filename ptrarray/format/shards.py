"""The marker of a store of shards, and what its last shard notes about the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from ptrarray.format import dtypes
from ptrarray.format.checksum import crc32
from ptrarray.format.index import HEADER_LIMIT_NBYTES, STORE_ID_NBYTES, corrupt
from ptrarray.format.layouts import KINDS, Layout

FORMAT = "ptrarray-shards"
VERSION = 1
FILE_NAME = "shards.msgpack"
NEW_FILE_NAME = "shards.msgpack.new"
NOTES_KEY = "ptrarray-shards"  # in the attrs of a shard

_UINT32 = b"\xce"
_SHARD_NAME = re.compile(r"shard(?:\.(\d{1,18}))?-(\d{5,9})\.ptr", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsHeader:
    """What the marker of a store of shards says.

    Attributes
    ----------
    store_id : bytes
        Random; tells this store from any other.
    generation : int
        Raised when the store is replaced; part of the names of its shards.
    shard_nbytes : int
        Size that no shard exceeds, unless one call writes more.
    layout : Layout
        What the arrays are made of.
    """

    store_id: bytes
    generation: int
    shard_nbytes: int
    layout: Layout


def shard_name(generation: int, number: int) -> str:
    """Name of a shard's directory.

    Examples
    --------
    >>> shard_name(1, 12), shard_name(2, 0)
    ('shard-00012.ptr', 'shard.2-00000.ptr')
    """
    part = f".{generation}" if generation > 1 else ""
    return f"shard{part}-{number:05d}.ptr"


def shard_number(name: str) -> tuple[int, int] | None:
    """Return generation and number of a shard from the name of its directory, if it is one."""
    found = _SHARD_NAME.fullmatch(name)
    return None if found is None else (int(found[1] or 1), int(found[2]))


def encode(header: ShardsHeader) -> bytes:
    """Return the contents of a marker."""
    packed: bytes = msgpack.packb(
        {
            "format": FORMAT,
            "version": VERSION,
            "store_id": header.store_id,
            "generation": header.generation,
            "shard_nbytes": header.shard_nbytes,
            "layout": header.layout.kind,
            "masked": header.layout.masked,
            "dtype": dtypes.encode(header.layout.dtype),
            "row_shape": header.layout.row_shape,
            "crc": 0xFFFF_FFFF,
        }
    )
    # As in an index, the CRC comes last and in five bytes whatever its value.
    covered = packed[:-5]
    return covered + _UINT32 + crc32(covered).to_bytes(4, "big")


def decode(raw: bytes | memoryview, where: str) -> ShardsHeader:
    """Read a marker.

    Raises
    ------
    CorruptStoreError
        If it is damaged, or of a newer version.
    """
    fields = _unpack(raw, where)
    if fields.get("format") != FORMAT:
        raise corrupt(
            where, f"is not a marker of shards: its format is {fields.get('format')!r:.40}"
        )
    if fields.get("version") != VERSION:
        raise corrupt(
            where,
            f"has format version {fields.get('version')!r:.40}, this ptrarray reads version "
            f"{VERSION}: install a newer one",
        )
    if bytes(raw[-5:]) != _UINT32 + crc32(raw[:-5]).to_bytes(4, "big"):
        raise corrupt(where, "does not match its checksum")
    try:
        return _header(fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt(where, f"makes no sense: {error}") from error


def _unpack(raw: bytes | memoryview, where: str) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(raw[:HEADER_LIMIT_NBYTES], raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise corrupt(where, f"is not one msgpack map ({error})") from error
    if not isinstance(fields, dict):
        raise corrupt(where, "is not one msgpack map")
    return fields


def _header(fields: dict[str, Any]) -> ShardsHeader:
    store_id = fields["store_id"]
    if not isinstance(store_id, bytes) or len(store_id) != STORE_ID_NBYTES:
        raise TypeError(f"store id {store_id!r:.40}")
    return ShardsHeader(
        store_id=store_id,
        generation=_positive(fields, "generation"),
        shard_nbytes=_positive(fields, "shard_nbytes"),
        layout=_layout(fields),
    )


def _layout(fields: dict[str, Any]) -> Layout:
    kind, masked = fields["layout"], fields["masked"]
    if kind not in KINDS or type(masked) is not bool:
        raise ValueError(f"layout {kind!r:.40}, masked {masked!r:.40}")
    dtype, row_shape = dtypes.decode(fields["dtype"]), tuple(fields["row_shape"])
    if dtypes.normalize(dtype, row_shape) != (dtype, row_shape):
        raise ValueError(f"row shape {row_shape}")
    return Layout(kind, dtype, row_shape, masked)


def _positive(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 < value < 2**63:
        raise ValueError(f"{name} {value!r:.40}")
    return value


class Replaced(NamedTuple):
    """A name that is not in shard `old` any more if it is in shard `new`."""

    old: int
    new: int
    name: bytes


class Notes(NamedTuple):
    """What the last shard notes about the others, in its attrs.

    Attributes
    ----------
    changed : int
        Raised before a name is added to a shard that is not the last, and after
        rows of one were moved.
    replaced : tuple of Replaced
        Names that may be in two shards, until the older copy is deleted.
    """

    changed: int = 0
    replaced: tuple[Replaced, ...] = ()

    def encode(self) -> dict[str, Any]:
        """Return the notes as part of the attrs; empty if there are none."""
        if self == Notes():
            return {}
        names = [[old, new, name.decode()] for old, new, name in self.replaced]
        return {NOTES_KEY: {"changed": self.changed, "replaced": names}}


def decode_notes(attrs: Mapping[str, Any], where: str) -> Notes:
    """Read the notes in a shard's attrs.

    Raises
    ------
    CorruptStoreError
        If they are something else.
    """
    if NOTES_KEY not in attrs:
        return Notes()
    try:
        noted = attrs[NOTES_KEY]
        replaced = [
            Replaced(int(old), int(new), name.encode()) for old, new, name in noted["replaced"]
        ]
        return Notes(int(noted["changed"]), tuple(replaced))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt(where, f"has attrs {NOTES_KEY!r} that make no sense: {error}") from error


def without_notes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attrs that are the user's."""
    return {key: value for key, value in attrs.items() if key != NOTES_KEY}
