"""Parts as one array, helper arrays and a description, for a store of named arrays with metadata.

The values of an object lie under its name. Every other array is a *helper array*, which lies in a
store of its own and is called after its content, unless it is small: see `ptrarray.format.helpers`.
An index is one helper array with a description, so that many objects share it. What is no array
is described by what msgpack keeps; docs/NESTED-FORMAT.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgpack
import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import dtypes, metadata
from ptrarray.format.helpers import KEY, Helper, digest, missing
from ptrarray.frames.apart import take_apart
from ptrarray.frames.library import import_pandas
from ptrarray.frames.text import checked_mask, unpacked
from ptrarray.frames.together import made, put_together
from ptrarray.objects.parts import Items, Parts
from ptrarray.objects.tokens import PLAIN, read_tokens
from ptrarray.rows.copying import clean_copy
from ptrarray.rows.types import Array

OWN = {"own": None}  # stands for the array under the name

_SMALL_NBYTES = 1 << 12  # up to here an array is part of the description,
_SMALL_IN_ALL_NBYTES = 1 << 16  # as long as all of them are not more
_UNPACKED = (TypeError, ValueError, OverflowError)  # what msgpack raises for what it cannot keep
_WHERE = "a store with pandas objects"  # in messages about a skeleton


class Described(NamedTuple):
    """A pandas object as what a store keeps.

    Attributes
    ----------
    values : ndarray
        What lies under the name.
    helpers : dict from str to Helper
        Helper arrays that it needs, by what they are called.
    about : dict
        The description.
    """

    values: Array
    helpers: dict[str, Helper]
    about: dict[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether the values are those of the object as they are, in any dtype."""
        return not self.about.keys() & {"values", ""}


# What is known of the indexes that were described in one call: by id, with the object itself, so
# that no other one gets that id.
Known = dict[int, tuple[Any, str]]


def describe_parts(parts: Parts, known: Known | None = None) -> Described:
    """Return the parts of a Series or DataFrame as an array, helper arrays and a description.

    Parameters
    ----------
    parts : Parts
        Of the object.
    known : dict, optional
        The same for several objects whose helpers are kept together: an index
        of several of them is looked at once.

    Raises
    ------
    BadInputError
        For what `take_apart` refuses, and objects that are not kept.
    """
    arrays = _Arrays({}, {} if known is None else known)
    about = arrays.described(parts)
    values = arrays.values((0, 0) if parts.kind == "DataFrame" else (0,))
    fields = [{"field": field} for field in arrays.fields]
    main = "" if parts.kind == "DataFrame" else "values"
    if about.get(main) in (OWN, fields):
        del about[main]
    return Described(values, arrays.helpers, about)


class _Arrays:
    """Takes the arrays of an object, and returns descriptions that refer to them.

    The first array is what lies under the name; of the columns of a frame the first one of each
    with a value a row, together.
    """

    def __init__(self, helpers: dict[str, Helper], known: Known) -> None:
        self.helpers = helpers
        self.fields: dict[str, Array] = {}
        self._known = known
        self._own: Array | None = None
        self._is_taken = False  # whether there is what lies under the name, or will be
        self._column: tuple[str, int] | None = None  # that has no field yet, and its length
        self._n_small = 0

    def values(self, empty: tuple[int, ...] = (0,)) -> Array:
        """Return what lies under the name itself; of a shape that is empty, if that is nothing."""
        if not self.fields:
            return np.empty(empty) if self._own is None else self._own
        dtype = [(field, column.dtype) for field, column in self.fields.items()]
        table = np.zeros(len(next(iter(self.fields.values()))), dtype)
        for field, column in self.fields.items():
            table[field] = column
        return table

    def described(self, value: Any) -> Any:
        """Return the description of a value."""
        match value:
            case np.ndarray():
                return self._put(value)
            case Items():
                return self._items([item for chunk in value.chunks for item in chunk])
            case list():
                return [self.described(item) for item in value]
            case dict():
                return self._attrs(value)
            case Parts():
                return self._parts(value)
            case _Done(about):
                return about
        return self._object(value)

    def _object(self, value: Any) -> Any:
        """Describe an object of pandas, or a scalar."""
        taken = _taken_apart(value)
        if taken is None:
            return self._plain(value)
        is_index = isinstance(value, import_pandas().Index) and taken.kind != "RangeIndex"
        return self._shared(value, taken) if is_index else self.described(taken)

    def _parts(self, parts: Parts) -> dict[str, Any]:
        kind, attributes = parts
        columns = attributes.get("")
        if isinstance(columns, list | Items):
            attributes = {**attributes, "": self._columns(columns)}
        # The values first: they are what lies under the name.
        first = [key for key in ("", "values") if key in attributes]
        about = {key: self.described(attributes[key]) for key in first}
        rest = {k: self.described(v) for k, v in attributes.items() if k not in about}
        return {"kind": kind} | about | rest

    def _columns(self, columns: Any) -> _Done:
        """Describe columns, each with a field of the array under the name if it can have one."""
        given = columns if isinstance(columns, list) else _listed(columns)
        self._is_taken = True
        about = []
        for number, column in enumerate(given):
            length = column.length if isinstance(column, Items) else len(column)
            self._column = str(number), length
            about.append(self.described(column))
            self._column = None
        return _Done(about)

    def _shared(self, index: Any, parts: Parts) -> dict[str, Any]:
        """Describe an index as a helper array, which others may have, too."""
        known = self._known.get(id(index))
        if known is None:
            inner = _Arrays(self.helpers, self._known)
            about = inner.described(parts)
            name = self._helper(inner.values(), {KEY: about})
            known = self._known[id(index)] = index, name
        return {"shared": known[1]}

    def _helper(self, array: Array, meta: dict[str, Any]) -> str:
        array = _cleaned(array)
        name = digest(array, metadata.encode("", meta))
        self.helpers[name] = Helper(array, meta)
        return name

    def _put(self, array: Array) -> dict[str, Any]:
        if not self._is_taken:
            self._is_taken, self._own = True, array
            return OWN
        if self._column and array.shape == (self._column[1],) and not array.dtype.hasobject:
            (field, _), self._column = self._column, None
            self.fields[field] = array
            return {"field": field}
        nbytes = array.nbytes
        is_small = nbytes <= _SMALL_NBYTES and self._n_small + nbytes <= _SMALL_IN_ALL_NBYTES
        if is_small and array.ndim == 1 and array.dtype == np.dtype(array.dtype.str):
            self._n_small += nbytes
            return {"raw": [array.dtype.str, array.tobytes()]}
        return {"helper": self._helper(array, {})}

    # what is no array ----------------------------------------------------------------------

    def _items(self, values: list[Any]) -> dict[str, Any]:
        """Describe a list: of text, of what msgpack keeps, or of anything that `dump` keeps."""
        kinds = set(map(type, values))
        if kinds and kinds <= {str, type(None)} and str in kinds:
            return {"text": self._text(values, has_missing=len(kinds) > 1)}
        if kinds <= PLAIN:
            with suppress(*_UNPACKED):
                packed = msgpack.packb(values, strict_types=True)
                return {"list": self._put(np.frombuffer(packed, np.uint8))}
        return self._skeleton(values)

    def _text(self, values: list[Any], *, has_missing: bool) -> list[Any]:
        """Describe text as its UTF-8 bytes end to end, where each ends, and which is missing."""
        encoded = [(text or "").encode("utf-8", "surrogatepass") for text in values]
        joined = b"".join(encoded)
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        dtype = "<u4" if len(joined) < 2**32 else "<u8"
        about = [self._put(np.frombuffer(joined, np.uint8)), self._put(ends.astype(dtype))]
        if has_missing:
            missing = np.fromiter((text is None for text in values), np.bool_, len(values))
            about.append(self._put(missing))
        return about

    def _plain(self, value: Any) -> Any:
        """Describe a name, or another scalar."""
        if type(value) in PLAIN and (type(value) is not int or -(2**63) <= value < 2**64):
            with suppress(*_UNPACKED):
                msgpack.packb(value)  # not a str with lone surrogates
                return value
        if type(value) is tuple:
            return {"tuple": [self._plain(item) for item in value]}
        return self._skeleton(value)

    def _attrs(self, attrs: dict[Any, Any]) -> dict[str, Any]:
        """Describe what a user noted."""
        with suppress(*_UNPACKED):
            kept = msgpack.unpackb(msgpack.packb(attrs, strict_types=True))
            if repr(kept) == repr(attrs):  # a bytearray is packed as bytes
                return {"map": kept}
        return self._skeleton(attrs)

    def _skeleton(self, value: Any) -> dict[str, Any]:
        """Describe anything that `dump` keeps: by what it is made of, and its arrays."""
        pages: list[bytes] = []
        try:
            contents = _encoded(value, pages.append)
        except BadInputError as error:
            raise BadInputError(
                f"it holds Python objects of which one is not kept: {error}", found=error.found
            ) from error
        raw = self._put(np.frombuffer(b"".join(pages), np.uint8))
        arrays = [[name, self._put(_content(name, part))] for name, part in contents.items()]
        return {"skeleton": [raw, arrays]}


class _Done(NamedTuple):
    """What is described already."""

    about: Any


def _listed(columns: Items) -> list[Any]:
    return [column for chunk in columns.chunks for column in chunk]


def _encoded(value: Any, put_page: Callable[[bytes], object]) -> dict[str, Any]:
    # It loads numpy.ma, and few need it.
    from ptrarray.objects.encoder import encode

    return encode(value, put_page, take_apart)


def _content(name: str, content: Any) -> Array:
    if isinstance(content, str):
        return np.frombuffer(content.encode("utf-8", "surrogatepass"), np.uint8)
    if isinstance(content, np.ma.MaskedArray):
        what = f"it holds the masked array {name!r:.60} among Python objects, which is not kept"
        raise BadInputError(f"{what}: fill it", found="masked", expected="plain")
    array: Array = np.asarray(content)
    return array


def _cleaned(array: Array) -> Array:
    """Return an array as it will be read back: in C order, with zeros between fields."""
    if array.dtype.isbuiltin == 1:  # one of numpy's own
        return np.asarray(array, order="C")
    dtype, shape = dtypes.normalize(array.dtype)
    if array.dtype.names is None and not shape:
        return np.asarray(array, dtype, order="C")
    return clean_copy(array)


def _taken_apart(value: Any) -> Parts | None:
    try:
        parts = take_apart(value)
    except BadInputError as error:
        raise BadInputError(f"it {error}", found=error.found) from error
    mask = None if parts is None else parts.attributes.get("mask")
    if parts is None or not isinstance(mask, np.ndarray) or mask.any():
        return parts
    return parts.without("mask")


# And back -----------------------------------------------------------------------------------------


class Helpers(Protocol):
    """Where helper arrays are read from."""

    def array(self, name: str) -> Array:
        """Return a helper array; the same each time, or a view of the same memory."""

    def object(self, name: str) -> Any:
        """Return the object that a helper array is part of; the same each time."""


class NoHelpers:
    """Helper arrays where there are none."""

    def array(self, name: str) -> Array:
        """Raise the error for one that is not there."""
        raise missing(name, "a mapping of arrays")

    object = array


class Source(NamedTuple):
    """What a description refers to.

    Attributes
    ----------
    values : ndarray
        What lies under the name itself.
    helpers : Helpers
        All that does not.
    """

    values: Array
    helpers: Helpers

    def parts(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts in the description of an object."""
        return {key: self.restored(part) for key, part in about.items() if key != "kind"}

    def restored(self, about: Any) -> Any:
        """Return what a description stands for."""
        if type(about) is list:
            return [self.restored(item) for item in about]
        if type(about) is not dict:
            return about
        kind = about.get("kind")
        if kind is not None:
            return made(kind, self.parts(about))
        ((word, content),) = about.items()
        read = _READERS.get(word)
        if read is None:
            raise BadInputError(f"a pandas object with {word!r:.40} is not known to this version")
        return read(self, content)


def restore(values: Array, meta: Mapping[str, Any], helpers: Helpers) -> Any:
    """Return the object that a helper array is part of, by its metadata.

    Raises
    ------
    Exception
        Of any kind, for metadata that make no sense.
    """
    return Source(values, helpers).restored(meta[KEY])


def _texts(source: Source, about: Iterable[Any]) -> list[str | None]:
    raw, ends, *missing = (source.restored(part) for part in about)
    texts: list[str | None] = [*unpacked(raw, ends)]
    for holes in missing:
        mask = checked_mask(holes, len(texts))
        for at in [] if mask is None else np.flatnonzero(mask).tolist():
            texts[at] = None
    return texts


def _decoded(source: Source, about: Any) -> Any:
    from ptrarray.objects.decoder import decode  # as the encoder

    raw, arrays = about
    named = {name: part for name, part in arrays}
    tokens = read_tokens(np.ascontiguousarray(source.restored(raw)), _WHERE)
    return decode(tokens, lambda name: source.restored(named[name]), put_together, _WHERE)


_READERS: dict[str, Callable[[Source, Any], Any]] = {
    "own": lambda source, _: source.values,
    "field": lambda source, field: source.values[field],
    "raw": lambda source, raw: np.frombuffer(raw[1], raw[0]),
    "helper": lambda source, name: source.helpers.array(name),
    "shared": lambda source, name: source.helpers.object(name),
    "list": lambda source, packed: msgpack.unpackb(source.restored(packed).tobytes()),
    "text": _texts,
    "skeleton": _decoded,
    "tuple": lambda source, items: tuple(source.restored(items)),
    "map": lambda source, mapping: mapping,
}
