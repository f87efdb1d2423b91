"""A skeleton back into an object: whatever is in it, this ends with an object or an error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ptrarray.errors import CorruptStoreError
from ptrarray.objects.leaves import DECODERS, LARGE_DECODERS
from ptrarray.objects.parts import Parts
from ptrarray.objects.paths import shown
from ptrarray.objects.registry import ALWAYS_KNOWN, CLASS, Classes
from ptrarray.objects.tokens import KEY_DEPTH_LIMIT, PLAIN, malformed
from ptrarray.rows.types import Array

PutTogether = Callable[[Parts], Any]

_NOT_YET = object()
# Also what `__hash__` and `__eq__` of somebody's class raise for parts that do not fit.
_UNHASHABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_UNREADABLE = (ValueError, TypeError, OverflowError, LookupError)
_MASKED = np.ma.MaskedArray
_KEYS_LIMIT = 1 << 12
_SHAPES_LIMIT = 1 << 8
_FEW = 4  # arrays that are sooner put one by one


class _Frame:
    """A container whose values are being decoded.

    Attributes
    ----------
    n_left : int
        Values that are still to come.
    values : list or dict
        Where they go.
    key : object
        Of the next value, in a dict.
    finish : callable, optional
        Makes of the values what could not be made before they were there.
    """

    __slots__ = ("finish", "key", "n_left", "values")

    def __init__(
        self, n_left: int, values: Any, finish: Callable[[list[Any]], Any] | None = None
    ) -> None:
        self.n_left = n_left
        self.values = values
        self.finish = finish
        self.key: Any = None


def decode(
    tokens: Iterator[Any],
    arrays: Callable[[str], Array],
    put_together: PutTogether,
    path: str,
    classes: Classes | None = None,
    *,
    keep_masks: bool = False,
) -> Any:
    """Put an object together again.

    Parameters
    ----------
    tokens : iterator
        Of the skeleton, see `ptrarray.objects.tokens`.
    arrays : callable
        Gives the array of a name, or raises `KeyError` or `CorruptStoreError`.
    put_together : callable
        Makes an object of its `Parts`; may raise any exception for parts that do not fit.
    path : str
        The store, for messages.
    classes : Classes, optional
        Those whose objects are made; if not given, those that are registered.
    keep_masks : bool
        Whether masked arrays that had no mask have one now in which nothing is
        masked, so that masking some of them changes the store.

    Raises
    ------
    CorruptStoreError
        For tokens that no encoder writes.
    """
    known = classes or Classes()
    return _Decoder(tokens, arrays, put_together, path, known, keep_masks=keep_masks).run()


def names_in(tokens: Iterator[Any], path: str) -> list[str]:
    """Return the names of all classes in a skeleton but those that every reader knows.

    Examples
    --------
    >>> names_in(iter([["list", 2], ["object", "a.B", "x"], 1, ["object", "range"]]), "")
    ['a.B']
    """
    names: set[str] = set()
    last: Any = None
    for token in tokens:
        if last == ["object", CLASS]:
            names.add(token)
        elif type(token) is list and len(token) > 1 and token[0] == "object":
            names.add(token[1])
        last = token
    try:
        return sorted(names - ALWAYS_KNOWN)
    except TypeError as error:
        raise malformed(path, f"has something else in place of a name: {error}") from error


class _Decoder:
    def __init__(
        self,
        tokens: Iterator[Any],
        arrays: Callable[[str], Array],
        put_together: PutTogether,
        path: str,
        classes: Classes,
        *,
        keep_masks: bool = False,
    ) -> None:
        self._classes = classes
        self._keep_masks = keep_masks
        self._tokens = tokens
        self._arrays = arrays
        self._put_together = put_together
        self._path = path
        self._stack: list[_Frame] = []
        self._numbered: list[Any] = []
        self._used: set[str] = set()
        # Records have the same few keys again and again.
        self._keys: dict[str, str] = {}
        self._shapes: dict[tuple[Any, ...], tuple[str, ...]] = {}
        self._openers: dict[str, Callable[..., Any]] = {
            "list": self._list, "tuple": self._tuple, "dict": self._dict, "parts": self._parts,
            "set": self._set, "frozenset": self._frozenset, "object": self._object, "run": self._run,
            "record": self._record, "text": self._text, "ref": self._ref, "array": self._array,
            "masked array": self._masked_array, "large": self._large, **DECODERS,
        }  # fmt: skip
        self._key_makers: dict[str, Callable[..., Any]] = {**DECODERS, "large": self._large_key}

    def run(self) -> Any:
        try:
            result = self._whole()
        finally:
            # Cycles: arrays would stay in memory until the next garbage collection.
            self._openers.clear()
            self._key_makers.clear()
        if next(self._tokens, _NOT_YET) is not _NOT_YET:
            raise self._malformed("goes on after the end of the object")
        return result

    def _whole(self) -> Any:
        """Read tokens until the object is complete."""
        stack, openers = self._stack, self._openers
        for token in self._tokens:
            if stack and stack[-1].n_left >= _FEW and _is_array(token):
                token = self._arrays_from(token, stack[-1])
                if token is _NOT_YET:
                    break
            value = token if type(token) in PLAIN else self._apply(openers, token)
            if value is _NOT_YET:
                continue
            if not stack:
                return value
            frame = stack[-1]
            if frame.n_left > 1 and type(frame.values) is list:  # as most often
                frame.values.append(value)
                frame.n_left -= 1
                continue
            value = self._deliver(value)
            if value is not _NOT_YET:
                return value
        raise self._malformed("ends before the object does")

    def _malformed(self, what: str) -> CorruptStoreError:
        return malformed(self._path, what)

    def _apply(self, operations: dict[str, Callable[..., Any]], token: Any) -> Any:
        """Carry out an operation."""
        try:
            return operations[token[0]](*token[1:])
        except CorruptStoreError:
            raise
        except _UNREADABLE as error:
            what = f"has {token!r:.80}, which cannot be read: {error!r:.200}"
            raise self._malformed(what) from error

    def _deliver(self, value: Any) -> Any:
        """Put a value where it belongs, and all that is complete with it.

        Returns the whole object when it is.
        """
        while self._stack:
            frame = self._stack[-1]
            if type(frame.values) is dict:
                frame.values[frame.key] = value
            else:
                frame.values.append(value)
            frame.n_left -= 1
            if frame.n_left:
                if type(frame.values) is dict:
                    self._next_key(frame)
                return _NOT_YET
            self._stack.pop()
            value = frame.values if frame.finish is None else self._finished(frame)
        return value

    def _finished(self, frame: _Frame) -> Any:
        assert frame.finish is not None
        value = frame.finish(frame.values)
        self._numbered.append(value)
        return value

    # containers ----------------------------------------------------------------------------

    def _list(self, length: int) -> Any:
        values: list[Any] = []
        self._numbered.append(values)
        return self._open(_Frame(_length(length), values), values)

    def _dict(self, length: int) -> Any:
        values: dict[Any, Any] = {}
        self._numbered.append(values)
        frame = _Frame(_length(length), values)
        if frame.n_left:
            self._next_key(frame)
        return self._open(frame, values)

    def _record(self, *entries: Any) -> dict[str, Any]:
        """Make a dict of nothing but plain values."""
        values = entries[1::2]
        _check_plain(values)
        record = dict(zip(self._record_keys(entries[::2]), values, strict=True))
        self._numbered.append(record)
        return record

    def _record_keys(self, keys: tuple[Any, ...]) -> tuple[str, ...]:
        """Return keys that are checked, and as objects that were there before if they were."""
        known = self._shapes.get(keys)
        if known is None:
            if set(map(type, keys)) != {str} or len(set(keys)) < len(keys):
                raise ValueError("keys that are not str, or there twice")
            known = tuple(map(self._shared, keys))
            if len(self._shapes) < _SHAPES_LIMIT:
                self._shapes[known] = known
        return known

    def _shared(self, key: str) -> str:
        return self._keys.setdefault(key, key) if len(self._keys) < _KEYS_LIMIT else key

    def _run(self, *values: Any) -> Any:
        """Add plain values to the list or tuple that is being made."""
        frame = self._stack[-1]
        _check_plain(values)
        if type(frame.values) is not list or len(values) > frame.n_left:
            raise ValueError("more values than there should be")
        frame.values.extend(values)
        frame.n_left -= len(values)
        if frame.n_left:
            return _NOT_YET
        self._stack.pop()
        return frame.values if frame.finish is None else self._finished(frame)

    def _open(self, frame: _Frame, if_empty: Any) -> Any:
        if not frame.n_left:
            return if_empty
        self._stack.append(frame)
        return _NOT_YET

    def _tuple(self, length: int) -> Any:
        frame = _Frame(_length(length), [], tuple)
        return self._open(frame, ()) if frame.n_left else self._finished(frame)

    def _parts(self, kind: str, *names: str) -> Any:
        def together(kind: str, parts: dict[str, Any]) -> Any:
            return self._put_together(Parts(kind, parts))

        _check_names(kind, *names)
        if not names:
            raise ValueError("no attributes")
        finish = partial(self._made, together, kind, names)
        return self._open(_Frame(len(names), [], finish), None)

    def _object(self, name: str, *names: str) -> Any:
        _check_names(name, *names)
        # As attributes of many objects they are kept once, and found sooner.
        names = tuple(map(sys.intern, names))
        finish = partial(self._made, self._classes.together, name, names)
        return self._open(_Frame(len(names) or 1, [], finish), None)

    def _made(
        self,
        together: Callable[[str, Any], Any],
        name: str,
        names: Sequence[str],
        values: list[Any],
    ) -> Any:
        """Make an object of its parts, which have names or are one."""
        try:
            return together(name, dict(zip(names, values, strict=True)) if names else values[0])
        except (CorruptStoreError, ImportError, MemoryError):
            raise
        except Exception as error:  # whatever another library says to what does not fit
            what = f"has a {name!r:.80} that cannot be put together: {error!r:.200}"
            raise self._malformed(what) from error

    # what is hashed ------------------------------------------------------------------------

    def _next_key(self, frame: _Frame) -> None:
        key: Any = next(self._tokens, _NOT_YET)
        key = self._shared(key) if type(key) is str else self._hashable(key, 0)
        try:
            is_there = key in frame.values
        except _UNHASHABLE as error:
            raise self._unhashable(error) from error
        if is_there:
            raise self._malformed(f"has the key {shown(key)} twice in a dict")
        frame.key = key

    def _unhashable(self, error: Exception) -> CorruptStoreError:
        return self._malformed(f"has a key or member without a hash: {error}")

    def _hashable(self, token: Any, depth: int) -> Any:
        """Read a key or member, which begins with a token, with all that is in it."""
        if type(token) in PLAIN:
            return token
        if token is _NOT_YET:
            raise self._malformed("ends before the object does")
        operation = token[0] if type(token) is list and token else None
        if operation not in ("tuple", "frozenset", "object"):
            return self._apply(self._key_makers, token)
        if depth == KEY_DEPTH_LIMIT:
            raise self._malformed(f"has keys nested more than {KEY_DEPTH_LIMIT} deep")
        if operation == "object":
            return self._hashable_object(token[1:], depth + 1)
        length = token[1] if len(token) == 2 else None
        return self._members(tuple if operation == "tuple" else frozenset, length, depth + 1)

    def _hashable_object(self, names: list[Any], depth: int) -> Any:
        try:
            _check_names(*names)
        except (TypeError, ValueError) as error:
            raise self._malformed(f"has a key that cannot be read: {error}") from error
        name, *parts = names
        values = [self._hashable(self._next(), depth) for _ in parts or names]
        return self._made(self._classes.together, name, parts, values)

    def _next(self) -> Any:
        return next(self._tokens, _NOT_YET)

    def _members(self, kind: Callable[[Any], Any], length: Any, depth: int) -> Any:
        if type(length) is not int or length < 0:
            raise self._malformed(f"has a length of {length!r:.80}")
        values = [self._hashable(self._next(), depth) for _ in range(length)]
        try:
            members = kind(values)
        except _UNHASHABLE as error:
            raise self._unhashable(error) from error
        if len(members) != length:
            raise self._malformed("has a member twice in a set")
        return members

    def _set(self, length: int) -> set[Any]:
        members: set[Any] = self._members(set, length, 0)
        self._numbered.append(members)
        return members

    def _frozenset(self, length: int) -> frozenset[Any]:
        members: frozenset[Any] = self._members(frozenset, length, 0)
        self._numbered.append(members)
        return members

    # arrays, and what is there already -----------------------------------------------------

    def _text(self, value: str | bytes) -> str | bytes:
        if type(value) not in (str, bytes):
            raise TypeError("neither str nor bytes")
        self._numbered.append(value)
        return value

    def _ref(self, number: int) -> Any:
        if type(number) is not int or number < 0:
            raise ValueError("not a number that was given")
        return self._numbered[number]

    def _named(self, name: str) -> Array:
        # Each array is the content of one thing. So a small skeleton cannot
        # ask for a large text a million times.
        if type(name) is not str or name in self._used:
            raise ValueError("not the name of an array that is not yet used")
        self._used.add(name)
        try:
            return self._arrays(name)
        except KeyError as error:
            raise self._malformed(f"asks for {name!r:.80}, which is not there") from error

    def _array(self, name: str) -> Array:
        array = self._named(name)
        if isinstance(array, _MASKED):
            array = array.data
        self._numbered.append(array)
        return array

    def _arrays_from(self, first: Any, frame: _Frame) -> Any:
        """Put arrays that follow each other into a list or dict; return the token after them.

        As `_array` does, many at a time. The last value, which completes a container, is never
        among them.
        """
        names: list[Any] = []
        keys: list[Any] | None = [] if type(frame.values) is dict else None
        for token in chain((first,), self._tokens):
            if not _is_array(token) or len(names) == frame.n_left - 1:
                break
            names.append(token[1])
            if keys is not None:
                keys.append(frame.key)
                frame.values[frame.key] = None  # the next key is not to be the same
                self._next_key(frame)
        else:
            token = _NOT_YET  # there are no more
        arrays = self._many(names)
        if keys is None:
            frame.values += arrays
        else:
            frame.values.update(zip(keys, arrays, strict=True))
        frame.n_left -= len(names)
        return token

    def _many(self, names: list[Any]) -> list[Array]:
        """Return arrays that are not yet used."""
        arrays: list[Array] | None = None
        if set(map(type, names)) == {str} and self._used.isdisjoint(names):
            with suppress(*_UNREADABLE):  # which is to be said of the very one
                arrays = list(map(self._arrays, names))
        if arrays is None or len(set(names)) < len(names):
            return [self._apply(self._openers, ["array", name]) for name in names]
        self._used.update(names)
        if set(map(type, arrays)) != {np.ndarray}:
            arrays = [array.data if isinstance(array, _MASKED) else array for array in arrays]
        self._numbered += arrays
        return arrays

    def _masked_array(self, name: str, has_mask: bool) -> Array:
        array = self._named(name)
        if not isinstance(array, np.ma.MaskedArray):
            raise TypeError("the array has no mask")
        if not has_mask and not self._keep_masks:
            array.shrink_mask()
        self._numbered.append(array)
        return array

    def _large(self, kind: str, name: str) -> Any:
        value = self._large_key(kind, name)
        self._numbered.append(value)
        return value

    def _large_key(self, kind: str, name: str) -> Any:
        array = self._named(name)
        return LARGE_DECODERS[kind](array.data if isinstance(array, np.ma.MaskedArray) else array)


def _is_array(token: Any) -> bool:
    return type(token) is list and len(token) == 2 and token[0] == "array"


def _check_names(name: str, *names: str) -> None:
    if set(map(type, (name, *names))) != {str} or len(set(names)) < len(names):
        raise ValueError("not a name and the names of parts")


def _check_plain(values: Sequence[Any]) -> None:
    if not values or not PLAIN.issuperset(map(type, values)):
        raise ValueError("values that are not plain")


def _length(length: Any) -> int:
    if type(length) is not int or length < 0:
        raise ValueError("not a length")
    return length
