"""An object into a skeleton and the arrays that it refers to; checks all of it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Never

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format import dtypes
from ptrarray.objects import leaves
from ptrarray.objects.parts import RUN_LENGTH, Items, Parts
from ptrarray.objects.paths import Names, Step, escaped, expression, prefix, shown
from ptrarray.objects.registry import Classes, Record
from ptrarray.objects.tokens import (
    KEY_DEPTH_LIMIT,
    LARGE,
    SMALL,
    TokenWriter,
    plain_weight,
)
from ptrarray.rows.widened import is_named

Content = npt.NDArray[Any] | str

_ARRAYS = (np.ndarray, np.memmap, np.ma.MaskedArray)
_KEPT = (
    "dicts, lists, tuples, sets, str, bytes, bytearrays, numbers, bool, None, dates and times, "
    "numpy arrays and scalars, pandas Series, DataFrames and indexes are kept, "
    "and objects of classes that are given to ptrarray.register, or as trusted=[…]"
)
_CHANGED = "changed while it was being dumped"
_UNHASHABLE = (list, dict, set, *_ARRAYS)
_FEW = 4  # values that are sooner put one by one
_OPEN = -1  # the number of something that can be referred to only when it is complete


class _Frame(Step):
    """A container whose values are being encoded."""

    __slots__ = ("completes", "prefix", "values")

    def __init__(self, completes: Any = None, *, is_attribute: bool = False) -> None:
        super().__init__(is_attribute=is_attribute)
        self.completes = completes  # what gets its number at the end
        self.values: Iterator[Any] = iter(())
        self.prefix: str | None = None  # of the names of arrays in it, once there is one


def encode(
    obj: Any,
    put_page: Callable[[bytes], object],
    take_apart: Callable[[Any], Parts | None] = lambda _: None,
    classes: Classes | None = None,
) -> dict[str, Content]:
    """Take an object to pieces.

    Parameters
    ----------
    obj : object
        Anything that is built of what `ptrarray.dump` keeps.
    put_page : callable
        Is given the skeleton, page by page; see `ptrarray.objects.tokens`.
    take_apart : callable
        Gives the `Parts` of an object of another library, or None. May raise
        `BadInputError` with a message that goes on from what the object is called.
    classes : Classes, optional
        Those whose objects are kept; if not given, those that are registered.

    Returns
    -------
    dict
        From name to what is to be written under it: arrays of the object
        itself, not copies. A str stands for its UTF-8 bytes.

    Raises
    ------
    BadInputError
        For anything else, naming where it is.

    Examples
    --------
    >>> pages = []
    >>> list(encode({"a": [np.zeros(3)]}, pages.append))
    ['/a/0']
    >>> encode({"a": [object()]}, pages.append)
    Traceback (most recent call last):
        ...
    ptrarray.errors.BadInputError: obj['a'][0] is a builtins.object; dicts, lists, tuples, ...
    """
    return _Encoder(put_page, take_apart, classes or Classes()).run(obj)


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    if len(values) <= RUN_LENGTH:
        return iter((values,))
    return (values[at : at + RUN_LENGTH] for at in range(0, len(values), RUN_LENGTH))


def _are_names(parts: dict[Any, Any]) -> bool:
    """Tell whether parts can be named in one operation, as most can."""
    is_named = 0 < len(parts) < RUN_LENGTH and set(map(type, parts)) == {str}
    return is_named and max(map(len, parts)) <= SMALL


class _Encoder:
    def __init__(
        self,
        put_page: Callable[[bytes], object],
        take_apart: Callable[[Any], Parts | None],
        classes: Classes,
    ) -> None:
        self._take_apart = take_apart
        self._classes = classes
        self._writer = TokenWriter(put_page)
        self._names = Names()
        self._arrays: dict[str, Content] = {}
        self._stack: list[_Frame] = []
        self._numbers: dict[int, int] = {}
        # What was made on the way must not give its id to something else.
        self._numbered: list[Any] = []
        self._is_hashed = False
        self._checked_dtypes: set[np.dtype[Any]] = set()
        put = self._put = self._writer.put
        self._leaves: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(leaves.ENCODERS, self._leaf),
            **dict.fromkeys(leaves.NUMPY_SCALARS, self._scalar),
            type(None): put, bool: put, float: put,
            int: self._int, str: self._text, bytes: self._text,
        }  # fmt: skip
        self._handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(classes.by_class, self._object), Record: self._object,
            **self._leaves,
            list: self._list, tuple: self._tuple, dict: self._dict, set: self._set,
            frozenset: self._set, Items: self._items, **dict.fromkeys(_ARRAYS, self._array),
        }  # fmt: skip

    def run(self, obj: Any) -> dict[str, Content]:
        try:
            self._value(obj)
            while self._stack:
                self._go_on(self._stack[-1])
        except RuntimeError as error:  # of a dict or set, when another thread changes it
            if "changed size" not in str(error):
                raise
            raise self._refused(f"{_CHANGED}: {error}") from error
        finally:
            # Cycles: the object would stay in memory until the next garbage collection.
            self._leaves.clear()
            self._handlers.clear()
        self._writer.close()
        return self._arrays

    def _go_on(self, frame: _Frame) -> None:
        """Encode values of a container until one of them is a container itself, or all are done."""
        stack, handlers, other = self._stack, self._handlers, self._other
        for value in frame.values:
            handlers.get(type(value), other)(value)
            if stack[-1] is not frame:
                return
        stack.pop()
        if frame.completes is not None:
            self._number(frame.completes)

    def _value(self, value: Any) -> None:
        self._handlers.get(type(value), self._other)(value)

    def _refused(self, why: str, found: object = None) -> BadInputError:
        where = expression(self._stack)
        return BadInputError(f"{where} {why}", name=where, found=found)

    def _unknown(self, value: Any, where: str = "") -> Never:
        kind = type(value)
        what = f"{where}is a {kind.__module__}.{kind.__qualname__}"
        base = next((base for base in kind.__mro__ if base in self._handlers), None)
        if base is not None:
            what += (
                f", which would come back as a plain {base.__name__}: convert it, or register it"
            )
        raise self._refused(f"{what}; {_KEPT}", kind.__qualname__)

    # leaves --------------------------------------------------------------------------------

    def _int(self, value: int) -> None:
        if -(2**63) <= value < 2**64:
            self._put(value)
        elif value.bit_length() > 8 * LARGE:
            self._large(value)
        else:
            raw = leaves.int_bytes(value)
            self._writer.put_sized(["int", raw], len(raw))

    def _text(self, value: str | bytes) -> None:
        if len(value) > LARGE:
            self._large(value)
        elif len(value) <= SMALL or self._is_hashed:
            self._writer.put_sized(value, len(value))
        elif not self._known(value):
            self._number(value)
            self._writer.put_sized(["text", value], len(value))

    def _leaf(self, value: Any) -> None:
        try:
            token = leaves.ENCODERS[type(value)](value)
        except BadInputError as error:
            raise self._refused(str(error), error.found) from error
        self._put(token)

    def _scalar(self, value: np.generic) -> None:
        if isinstance(value, np.void) or is_named(value.dtype):
            self._check_dtype(value.dtype)
            self._large(value)
        elif value.nbytes > LARGE:
            self._large(value)
        else:
            self._writer.put_sized(leaves.numpy_token(value), value.nbytes)

    def _large(self, value: Any) -> None:
        """Put into an array of its own what is too large for a token."""
        if self._is_hashed or not self._known(value):
            kind, content = leaves.large(value)
            self._put(["large", kind, self._named(content)])
            if not self._is_hashed:
                self._number(value)

    # what may be there more than once ------------------------------------------------------

    def _known(self, value: Any) -> bool:
        """Refer to an object that was there before, if it was."""
        number = self._numbers.get(id(value))
        if number is None:
            return False
        if number == _OPEN:
            raise self._refused(
                f"is the {type(value).__name__} that it lies in; only lists and dicts can "
                "contain themselves",
                type(value).__name__,
            )
        self._put(["ref", number])
        return True

    def _number(self, value: Any) -> None:
        self._numbers[id(value)] = len(self._numbered)
        self._numbered.append(value)

    def _prefix_of(self, frame: _Frame) -> str:
        """Return what the names of all arrays in the innermost container begin with."""
        if frame.prefix is None:
            frame.prefix = prefix(self._stack)
        return frame.prefix

    def _named(self, content: Content) -> str:
        arrays, name = self._arrays, ""
        if self._stack:
            frame = self._stack[-1]
            name = self._prefix_of(frame)
            # Not the other way around: a key is not compared, which may be of any class.
            if not frame.is_attribute or frame.at != "":
                name = f"{name}/{escaped(frame.at)}"
        name = name or "/"
        if name in arrays:
            name = self._names.unique(name, arrays)
        arrays[name] = content
        return name

    def _array(self, value: npt.NDArray[Any]) -> None:
        dtype = value.dtype
        if id(value) in self._numbers:
            self._known(value)
            return
        if dtype not in self._checked_dtypes:
            if dtype == object and type(value) is np.ndarray:
                self._object(value)
                return
            self._check_dtype(dtype)
        self._number(value)
        if type(value) is np.ndarray:
            self._put(["array", self._named(value)])
        elif isinstance(value, np.ma.MaskedArray):
            has_mask = value.mask is not np.ma.nomask
            self._put(["masked array", self._named(value), has_mask])
        else:
            self._put(["array", self._named(np.asarray(value))])

    def _arrays_in(self, frame: _Frame, index: int, chunk: Sequence[Any]) -> int:
        """Put arrays as `_array` does, many at a time; returns how many, 0 if one is not so plain."""
        arrays = list(chunk)  # another thread may change a list
        if len(arrays) < _FEW or set(map(type, arrays)) != {np.ndarray}:
            return 0
        if not self._can_be({array.dtype for array in arrays}):
            return 0
        numbers = dict(zip(map(id, arrays), count(len(self._numbered)), strict=False))
        start = self._prefix_of(frame)
        names = [f"{start}/{at}" for at in range(index, index + len(arrays))]
        is_new = len(numbers) == len(arrays) and self._numbers.keys().isdisjoint(numbers)
        if not is_new or not self._arrays.keys().isdisjoint(names):
            return 0
        self._numbers.update(numbers)
        self._numbered += arrays
        self._arrays.update(zip(names, arrays, strict=True))
        self._writer.put_many([["array", name] for name in names])
        return len(arrays)

    def _can_be(self, found: set[np.dtype[Any]]) -> bool:
        """Tell whether arrays of these dtypes can be kept as they are."""
        try:
            for dtype in found - self._checked_dtypes:
                self._check_dtype(dtype)
        except BadInputError:  # which is to be said of the very array, if it is no object at all
            return False
        return True

    def _check_dtype(self, dtype: np.dtype[Any]) -> None:
        try:
            dtypes.normalize(dtype)
        except BadInputError as error:
            hint = "; of object arrays, dump the list: .tolist()" if dtype.hasobject else ""
            raise self._refused(f"is an array, and its {error}{hint}", error.found) from error
        self._checked_dtypes.add(dtype)

    # containers ----------------------------------------------------------------------------

    def _open(self, frame: _Frame, values: Iterator[Any]) -> None:
        frame.values = values
        self._stack.append(frame)

    def _list(self, value: list[Any]) -> None:
        if not self._known(value):
            self._number(value)
            self._sequence("list", value)

    def _tuple(self, value: tuple[Any, ...]) -> None:
        if not self._known(value):
            self._numbers[id(value)] = _OPEN
            self._sequence("tuple", value, value)

    def _sequence(
        self, operation: str, values: Sequence[Any], completes: tuple[Any, ...] | None = None
    ) -> None:
        n = len(values)
        self._put([operation, n])
        frame = _Frame(completes)
        if n < _FEW:
            self._open(frame, self._each(frame, values, n))
        else:
            self._open(frame, self._elements(frame, Items(n, _chunks(values))))

    def _items(self, value: Items) -> None:
        self._number(value)
        self._put(["list", value.length])
        frame = _Frame()
        self._open(frame, self._elements(frame, value))

    def _dict(self, value: dict[Any, Any]) -> None:
        if self._known(value):
            return
        self._number(value)
        weight = plain_weight(value.values()) if 0 < len(value) < RUN_LENGTH else -1
        if weight >= 0 and set(map(type, value)) == {str}:
            keys_weight = plain_weight(value)
            if keys_weight >= 0:
                entries = [item for entry in value.items() for item in entry]
                self._writer.put_sized(["record", *entries], weight + keys_weight)
                return
        self._put(["dict", len(value)])
        frame = _Frame()
        self._open(frame, self._entries(frame, value))

    def _each(self, frame: _Frame, values: Sequence[Any], length: int) -> Iterator[Any]:
        index = -1
        for index, value in enumerate(values):
            frame.at = index
            yield value
        if index + 1 != length:
            raise self._changed(length, index + 1)

    def _elements(self, frame: _Frame, items: Items) -> Iterator[Any]:
        """Yield values, but put those that are plain into the skeleton, many at a time."""
        index, labels = 0, items.labels
        for chunk in items.chunks:
            weight = plain_weight(chunk) if len(chunk) >= _FEW else -1
            if weight >= 0:
                self._writer.put_sized(["run", *chunk], weight)
                index += len(chunk)
                continue
            n_arrays = self._arrays_in(frame, index, chunk) if labels is None else 0
            if n_arrays:
                index += n_arrays
                continue
            for value in chunk:
                frame.at = labels[index] if labels is not None else index
                index += 1
                yield value
        if index != items.length:
            raise self._changed(items.length, index)

    def _changed(self, before: int, now: int) -> BadInputError:
        where = expression(self._stack[:-1])
        what = f"{where} {_CHANGED}: {before} values became {now}"
        return BadInputError(what, name=where, found=now, expected=before)

    def _attributes(self, frame: _Frame, attributes: Mapping[str, Any]) -> Iterator[Any]:
        for frame.at, value in attributes.items():
            yield value

    def _entries(self, frame: _Frame, value: dict[Any, Any]) -> Iterator[Any]:
        put_sized = self._writer.put_sized
        for key, inner in value.items():
            frame.at = key
            if type(key) is str and len(key) <= SMALL:
                put_sized(key, len(key))
            else:
                self._hashable(key, 0, "in its key")
            yield inner

    def _other(self, value: Any) -> None:
        if isinstance(value, np.generic) and is_named(value.dtype):
            self._scalar(value)
            return
        if self._known(value):
            return
        try:
            parts = self._take_apart(value)
        except BadInputError as error:
            raise self._refused(str(error), error.found) from error
        if parts is None:
            self._object(value)
            return
        self._numbers[id(value)] = _OPEN
        self._put(["parts", parts.kind, *parts.attributes])
        frame = _Frame(value, is_attribute=True)
        self._open(frame, self._attributes(frame, parts.attributes))

    def _object(self, value: Any) -> None:
        """Put an object of a class that is registered or trusted, or such a class itself."""
        if not self._known(value):
            names, parts = self._begin_object(value)
            self._numbers[id(value)] = _OPEN
            # What is derived from dict has keys in brackets.
            frame = _Frame(value, is_attribute=not isinstance(value, dict) or names == [""])
            self._open(frame, self._elements(frame, Items(len(parts), iter([parts]), names)))

    def _begin_object(self, value: Any, where: str = "") -> tuple[list[str], list[Any]]:
        """Put the operation; return names and values of the parts, or one without a name."""
        try:
            taken = self._classes.apart(value)
        except BadInputError as error:
            raise self._refused(f"{where}{error}", error.found) from error
        if taken is None:
            self._unknown(value, where)
        name, parts = taken
        if type(parts) is not dict or not _are_names(parts):
            self._writer.put_sized(["object", name], len(name))
            return [""], [parts]
        self._writer.put_sized(["object", name, *parts], len(name) + sum(map(len, parts)))
        return list(parts), list(parts.values())

    # what is hashed ------------------------------------------------------------------------

    def _set(self, value: set[Any] | frozenset[Any]) -> None:
        if not self._known(value):
            self._number(value)
            self._members(value, 0, "the member")

    def _members(self, value: Any, depth: int, what: str) -> None:
        self._put([type(value).__name__, len(value)])
        for member in value:
            self._hashable(member, depth, what)

    def _hashable(self, value: Any, depth: int, what: str) -> None:
        """Encode a key or member, with all that is in it.

        Nothing in it is numbered: what is referred to from several keys could
        take for ever to hash. So tuples come back equal, but not the same.
        """
        kind = type(value)
        leaf = self._leaves.get(kind)
        if leaf is not None and kind is not np.void:
            self._is_hashed = True
            leaf(value)
            self._is_hashed = False
        elif depth == KEY_DEPTH_LIMIT:
            why = f"has {what} tuples nested more than {KEY_DEPTH_LIMIT} deep"
            raise self._refused(why, depth)
        elif kind in (tuple, frozenset):
            self._members(value, depth + 1, what)
        else:
            self._hashable_object(value, depth, what)

    def _hashable_object(self, value: Any, depth: int, what: str) -> None:
        where = f"has {what} {shown(value)}, which "
        kind: Any = type(value)
        if kind in _UNHASHABLE:
            why = f"is a part of something that is hashed, and a {kind.__name__} is not"
            raise self._refused(f"{where}{why}: register functions for it", kind.__name__)
        if kind.__hash__ is object.__hash__ and not isinstance(value, type):
            why = (
                "would come back as another object, which is not found: give it __eq__ and __hash__"
            )
            raise self._refused(f"{where}{why}", kind.__qualname__)
        for part in self._begin_object(value, where)[1]:
            self._hashable(part, depth + 1, what)
