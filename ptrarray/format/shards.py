"""The marker of a store of shards, and what its last shard notes about the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ptrarray.format import dtypes
from ptrarray.format.index import (
    SENSELESS,
    corrupt,
    decode_map,
    decoded_layout,
    encode_map,
    store_id,
    whole,
)
from ptrarray.format.layouts import Layout

FORMAT = "ptrarray-shards"
VERSION = 1
FILE_NAME = "shards.msgpack"
NEW_FILE_NAME = "shards.msgpack.new"
NOTES_KEY = "ptrarray-shards"  # in the attrs of a shard

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
    return encode_map(
        {
            "format": FORMAT,
            "version": VERSION,
            "store_id": header.store_id,
            "generation": header.generation,
            "shard_nbytes": header.shard_nbytes,
            "layout": header.layout.kind,
            "masked": header.layout.masked,
            **dtypes.fields_of(header.layout.dtype),
            "row_shape": header.layout.row_shape,
        }
    )


def decode(raw: bytes | memoryview, where: str) -> ShardsHeader:
    """Read a marker.

    Raises
    ------
    CorruptStoreError
        If it is damaged, or of a newer version.
    """
    fields, end = decode_map(raw, where, (FORMAT, VERSION), "a marker of shards")
    if end < len(raw):
        raise corrupt(where, f"has more behind its header, which ends at byte {end}")
    try:
        return _header(fields)
    except SENSELESS as error:
        raise corrupt(where, f"makes no sense: {error}") from error


def _header(fields: dict[str, Any]) -> ShardsHeader:
    generation, shard_nbytes = whole(fields, "generation"), whole(fields, "shard_nbytes")
    if not generation or not shard_nbytes or type(fields["masked"]) is not bool:
        raise ValueError(f"generation {generation}, shard_nbytes {shard_nbytes}")
    return ShardsHeader(
        store_id=store_id(fields),
        generation=generation,
        shard_nbytes=shard_nbytes,
        layout=decoded_layout(fields, fields["layout"], masked=fields["masked"]),
    )


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
    unflushed : int or None
        The one older shard that may have commits that are not on the disk. While
        there is one, all of the last shard's are there, but for such notes.
    """

    changed: int = 0
    replaced: tuple[Replaced, ...] = ()
    unflushed: int | None = None

    def encode(self) -> dict[str, Any]:
        """Return the notes as part of the attrs; empty if there are none."""
        if self == Notes():
            return {}
        names = [[old, new, name.decode()] for old, new, name in self.replaced]
        noted = {"changed": self.changed, "replaced": names}
        return {
            NOTES_KEY: noted | ({} if self.unflushed is None else {"unflushed": self.unflushed})
        }


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
        unflushed = whole(noted, "unflushed") if "unflushed" in noted else None
        return Notes(int(noted["changed"]), tuple(replaced), unflushed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt(where, f"has attrs {NOTES_KEY!r} that make no sense: {error}") from error


def without_notes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attrs that are the user's."""
    return {key: value for key, value in attrs.items() if key != NOTES_KEY}
