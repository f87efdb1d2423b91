"""Objects of a class that has no functions for it: their parts are what `copy` would take of them."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cached_property, partial
from types import MemberDescriptorType
from typing import Any

from ptrarray.errors import BadInputError

Functions = tuple[Callable[[Any], Any], Callable[[Any], Any]]

# The parts of an object are its attributes. If they are not all of it, these are the names
# of its parts, and no attribute is called so.
CALLED = "()"  # what its class is called with
MADE = "new()"  # what `__new__` of its class is called with
ITEMS = "[]"
ENTRIES = "{}"
STATE = ""
SPECIAL = frozenset({CALLED, MADE, ITEMS, ENTRIES, STATE})

_PROTOCOL = 4  # of pickle: the newest one that has nothing for large buffers


def functions_of(cls: type[Any]) -> Functions:
    """Return functions that take objects of a class apart, and put them together.

    Examples
    --------
    >>> apart, together = functions_of(complex)
    >>> apart(1 + 2j), together({"new()": (3.0, 4.0)})
    ({'new()': (1.0, 2.0)}, (3+4j))
    """
    if issubclass(cls, Enum):
        return _member_parts, partial(_member, cls)
    if issubclass(cls, tuple) and hasattr(cls, "_field_defaults"):
        return _named_parts, partial(_named, cls)
    copied = _Copied(cls)
    return copied.apart, copied.together


# By name, which stays when values change; combined flags have none.
def _member_parts(member: Any) -> Any:
    name = member._name_
    return name if type(member).__members__.get(name) is member else (member._value_,)


def _member(cls: type[Enum], parts: Any) -> Enum:
    if type(parts) is str:
        return cls[parts]
    (value,) = parts
    return cls(value)


def _named_parts(value: Any) -> dict[str, Any]:
    if getattr(value, "__dict__", None):
        raise BadInputError("has attributes beside its fields: register functions for its class")
    return dict(zip(value._fields, value, strict=True))


def _named(cls: Any, parts: dict[str, Any]) -> Any:
    values = {**cls._field_defaults, **parts}
    if values.keys() != set(cls._fields):
        raise ValueError(f"fields {sorted(parts)} in place of {cls._fields}")
    return tuple.__new__(cls, [values[field] for field in cls._fields])


class _Copied:
    """Takes objects apart as `copy` does: by `__reduce_ex__`, so by their attributes if it is object's.

    Only the class itself makes them again: no other function is called.
    """

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls

    def apart(self, value: Any) -> dict[str, Any]:
        make, arguments, *rest = value.__reduce_ex__(_PROTOCOL)
        state, items, entries, set_state = (*rest, *[None] * 4)[:4]
        self._check(make, arguments, set_state)
        parts: dict[str, Any] = {}
        if make is self._cls:
            parts[CALLED] = tuple(arguments)
        elif arguments[1:]:
            parts[MADE] = arguments[1:]
        if items is not None:
            parts[ITEMS] = list(items)
        if entries is not None:
            parts[ENTRIES] = dict(entries)
        if self._set_state is None:
            state = self._attributes(value, state)
        return _with_state(parts, state)

    def _check(self, make: Any, arguments: Any, set_state: Any) -> None:
        is_new = make is copyreg.__newobj__ and arguments[0] is self._cls  # type: ignore[attr-defined]
        if set_state is not None or not (is_new or make is self._cls):
            what = "is copied by a function beside its class: register functions for this class"
            raise BadInputError(what, found=repr(make)[:200])

    def _attributes(self, value: Any, state: Any) -> dict[str, Any] | None:
        """Return attributes from `__dict__` and slots as one dict."""
        if self._fields:
            state = object.__getstate__(value)
        if type(state) is tuple and len(state) == 2:
            in_dict, in_slots = state
            state = {**(in_dict or {}), **(in_slots or {})}
        if state is not None and type(state) is not dict:
            kind = type(state).__name__
            raise BadInputError(f"gives a {kind} as its state, and has no __setstate__ for it")
        missing = [field for field in self._fields if field not in (state or {})]
        without = [field for field in missing if not hasattr(value, field)]
        if without:
            raise BadInputError(f"has no value for its field {without[0]!r}", found=without)
        if missing:  # what is a default of the class, and lies there alone
            state = {**(state or {}), **{field: getattr(value, field) for field in missing}}
        return state or None

    def together(self, parts: Any) -> Any:
        if type(parts) is not dict:
            raise TypeError(f"parts are a {type(parts).__name__}")
        if SPECIAL.isdisjoint(parts):
            parts = {STATE: parts} if parts or self._fields else {}
        elif not parts.keys() <= SPECIAL or {CALLED, MADE} <= parts.keys():
            raise ValueError(f"parts are {sorted(parts)}")
        cls = self._cls
        made = cls(*parts[CALLED]) if CALLED in parts else cls.__new__(cls, *parts.get(MADE, ()))
        if parts.get(ITEMS):  # of none, pickle asks nothing of the class either
            made.extend(parts[ITEMS])
        for key, value in parts.get(ENTRIES, {}).items():
            made[key] = value
        if STATE in parts:
            self._set(made, parts[STATE])
        return made

    def _set(self, made: Any, state: Any) -> None:
        if self._set_state is not None:
            made.__setstate__(state)
            return
        absent = [field for name, field in self._fields.items() if name not in state]
        defaults = {field.name: _default(field) for field in absent}
        for name, value in {**defaults, **state}.items():
            if name in self._slots:
                object.__setattr__(made, name, value)  # of a frozen one, too
            else:
                made.__dict__[name] = value

    # Of each class, when the first object comes: many are trusted and never seen.
    @cached_property
    def _set_state(self) -> Any:
        """Return `__setstate__` if the class has one of its own; dataclasses make one for slots."""
        own = getattr(self._cls, "__setstate__", None)
        return None if _is_of_dataclasses(own) else own

    @cached_property
    def _fields(self) -> dict[str, Field[Any]]:
        """Return the fields of a dataclass, if it says nothing else of how it is copied."""
        cls: Any = self._cls
        state = cls.__getstate__
        is_made = state is object.__getstate__ or _is_of_dataclasses(state)
        if not (is_dataclass(cls) and is_made and self._set_state is None):
            return {}
        return {field.name: field for field in fields(cls)}

    @cached_property
    def _slots(self) -> set[str]:
        members = [item for base in self._cls.__mro__ for item in vars(base).items()]
        return {name for name, member in members if type(member) is MemberDescriptorType}


def _is_of_dataclasses(method: Any) -> bool:
    return getattr(method, "__module__", None) == "dataclasses"


def _with_state(parts: dict[str, Any], state: Any) -> dict[str, Any]:
    if state is None:
        return parts
    is_named = type(state) is dict and set(map(type, state)) == {str}
    if not parts and is_named and SPECIAL.isdisjoint(state):
        return state  # type: ignore[no-any-return]
    return {**parts, STATE: state}


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    if field.default is MISSING:
        raise ValueError(f"has no value for its field {field.name!r}")
    return field.default
