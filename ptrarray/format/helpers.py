"""Helper arrays: what they are called, and which of them metadata refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from ptrarray.errors import CorruptStoreError
from ptrarray.format import dtypes

FOLDER = "helpers.ptr"  # the store in a store that they lie in
KEY = "pandas"  # of what refers to them in metadata
DIGEST_NBYTES = 16

_ONE = ("helper", "shared")  # what refers to one
_PLAIN = ("raw", "map")  # what refers to none, whatever is in it


class Helper(NamedTuple):
    """A helper array.

    Attributes
    ----------
    array : ndarray
        In C order.
    meta : dict
        Its metadata.
    """

    array: npt.NDArray[Any]
    meta: dict[str, Any]


def missing(name: str, path: str) -> CorruptStoreError:
    """Return the error for a helper array that is not there."""
    what = f"{path} has no helper array {name!r:.80}, which an array of the store refers to"
    return CorruptStoreError(what, path=path, name=name)


def digest(array: npt.NDArray[Any], meta: bytes) -> str:
    """Return what a helper array is called: a hash of all that is kept of it.

    Parameters
    ----------
    array : ndarray
        In C order.
    meta : bytes
        Its metadata, packed.

    Examples
    --------
    >>> digest(np.arange(3, dtype="i4"), b"")
    '245ff40e779749698bd247d82da14a52'
    """
    from hashlib import blake2b

    facts = [dtypes.fields_of(array.dtype), array.shape, len(meta)]
    content = blake2b(msgpack.packb(facts), digest_size=DIGEST_NBYTES)
    content.update(meta)
    if array.size and array.itemsize:
        content.update(np.asarray(array, order="C").reshape(-1).view(np.uint8))
    return content.hexdigest()


def references(meta: Any) -> Iterator[str]:
    """Yield the names of all helper arrays that metadata of an array refer to.

    Examples
    --------
    >>> list(references({"pandas": {"kind": "Series", "index": {"shared": "00ff"}}, "mine": 1}))
    ['00ff']
    """
    if isinstance(meta, dict):
        yield from _named_in(meta.get(KEY))


def _named_in(about: Any) -> Iterator[str]:
    match about:
        case dict() if len(about) == 1:
            ((word, content),) = about.items()
            if word in _ONE and isinstance(content, str):
                yield content
            elif word not in _PLAIN:
                yield from _named_in(content)
        case dict():
            for content in about.values():
                yield from _named_in(content)
        case list():
            for content in about:
                yield from _named_in(content)
