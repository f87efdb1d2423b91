"""The user's metadata of arrays: msgpack maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgpack
import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.attrs import LIMIT_NBYTES, checked
from ptrarray.format.entries import RaggedColumn
from ptrarray.rows.types import Int64s

_TEXTS = frozenset(
    (*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB)
)  # bytes that a str of msgpack begins with
_KEYS = frozenset((str,))
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))


class Shared(Mapping[str, Mapping[str, Any]]):
    """The same metadata for each of some names.

    Examples
    --------
    >>> dict(Shared(["a", "b"], {"unit": "m"}))
    {'a': {'unit': 'm'}, 'b': {'unit': 'm'}}
    """

    def __init__(self, names: Sequence[str], meta: Mapping[str, Any]) -> None:
        self.names = names
        self.meta = meta

    @cached_property
    def _by_name(self) -> dict[str, Mapping[str, Any]]:
        return dict.fromkeys(self.names, self.meta)

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self.names)


def encode(name: str, meta: Mapping[str, Any]) -> bytes:
    """Return the metadata of one array as it is kept: nothing if it is empty.

    Raises
    ------
    BadInputError
        If it is not a mapping from str to what msgpack keeps.

    Examples
    --------
    >>> decode(encode("a", {"speaker": 7}))
    {'speaker': 7}
    """
    if not isinstance(meta, Mapping):
        raise not_a_mapping(f"metadata of array {name!r:.80}", meta, name=name)
    try:
        packed: bytes = msgpack.packb(checked(meta, "meta")) if meta else b""
    except BadInputError as error:
        raise BadInputError(
            f"metadata of array {name!r:.80}: {error}", name=name, **error.facts
        ) from error
    return packed


def encode_all(names: Sequence[str], meta: Mapping[str, Mapping[str, Any]]) -> list[bytes] | None:
    """Return the metadata of each name; None if none has any.

    Raises
    ------
    BadInputError
        Also if there is metadata for a name that is not among them.
    """
    if not isinstance(meta, Mapping):
        raise not_a_mapping("meta", meta, " from name to metadata")
    if isinstance(meta, Shared) and meta.names == names and names:
        raw = encode(names[0], meta.meta)
        return [raw] * len(names) if raw else None
    if not set(names).issuperset(meta):
        stranger = min(meta.keys() - set(names), key=str)
        raise BadInputError(
            f"meta has {stranger!r:.80}, which is none of the arrays that are written",
            name=stranger,
        )
    packed = list(_packed(names, meta))
    return packed if any(packed) else None


def _packed(names: Sequence[str], meta: Mapping[str, Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the metadata of each name; what several have in turn, the same dict, is packed once."""
    pack = msgpack.Packer().pack
    last: Any = meta  # which is none of them
    raw = b""
    for name in names:
        if name not in meta:
            yield b""
            continue
        found = meta[name]
        if found is not last or type(meta) is not dict:  # whose items are made by nobody
            raw = _of_plain_values(found, pack) or encode(name, found)
            last = found
        yield raw


def _of_plain_values(meta: Any, pack: Callable[[Any], bytes]) -> bytes | None:
    """Return what `encode` does of a dict of text and numbers; None if there is more to be seen to.

    What is of these very types is packed as it is, and comes back as it was.
    """
    if (
        type(meta) is not dict
        or not meta
        or not _KEYS.issuperset(map(type, meta))
        or not _PLAIN.issuperset(map(type, meta.values()))
    ):
        return None
    try:
        packed = pack(meta)
    except (ValueError, OverflowError):  # which says nothing of the key
        return None
    return packed if len(packed) <= LIMIT_NBYTES else None


def decode(raw: bytes) -> dict[str, Any]:
    """Return metadata read from a store.

    Raises
    ------
    ValueError
        If it makes no sense.
    """
    if not raw:
        return {}
    if len(raw) > LIMIT_NBYTES:
        raise ValueError(f"metadata of {len(raw)} bytes")
    try:
        meta = msgpack.unpackb(raw, raw=False, strict_map_key=True)
        if not isinstance(meta, dict):
            raise TypeError(f"a {type(meta).__name__} and not a map")
        if not all(isinstance(key, str) for key in meta):
            raise TypeError("keys that are no str")
    except (TypeError, ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ValueError(f"metadata that makes no sense: {error}") from error
    return meta


def mentioning(metas: RaggedColumn, key: str) -> Int64s:
    """Return the positions of the metadata that may have a key, rising: all that have, and few more.

    Decodes nothing: what has the key has its bytes.

    Examples
    --------
    >>> metas = [{"a": 1}, {"b": {"a": 2}}, {"c": 3}, {}]
    >>> mentioning(RaggedColumn.of([encode("", meta) for meta in metas]), "a")
    array([0, 1])
    """
    packed = re.escape(msgpack.packb(key))
    found = [match.start() for match in re.finditer(packed, memoryview(metas.joined))]
    return np.unique(np.searchsorted(metas.ends, np.array(found, np.int64), side="right"))


def split_last(raw: bytes, key: bytes) -> tuple[bytes, str] | None:
    """Return metadata without the text that they end in, and that; None if it cannot be that of a key.

    The key is given as msgpack has it. Decodes nothing else, so it may be one of anything in there,
    or a word in a list.

    Examples
    --------
    >>> start, text = split_last(encode("a", {"b": {"c": 1, "name": "x"}}), msgpack.packb("name"))
    >>> text, decode(start + msgpack.packb("y"))
    ('x', {'b': {'c': 1, 'name': 'y'}})
    """
    start, found, last = raw.rpartition(key)
    if not found or not last or last[0] not in _TEXTS:
        return None
    try:
        text = msgpack.unpackb(last)
    except (ValueError, msgpack.UnpackException):  # something follows, or it is no UTF-8
        return None
    return start + key, text


def not_a_mapping(what: str, value: object, of: str = "", **facts: Any) -> BadInputError:
    """Return the error for a value that has to be a mapping."""
    found = type(value).__name__
    message = f"{what} must be a mapping{of}, not {found}"
    return BadInputError(message, found=found, expected="a mapping", **facts)
