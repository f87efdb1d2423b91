"""Classes whose objects are kept: what they are called in files, and their parts."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format import dtypes
from ptrarray.objects import leaves
from ptrarray.objects.states import functions_of
from ptrarray.objects.tokens import PLAIN, SMALL

T = TypeVar("T")

_OBJECTS = "|O"
CLASS = "class"  # what a class itself is an object of, in files


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a class that the reader does not know: what was written of it.

    `load` gives it for what is neither registered nor trusted, and `dump` writes it
    as an object of that class again.

    Attributes
    ----------
    name : str
        The class, such as ``"shapes.Circle"``.
    parts : object
        A dict of its attributes, or what else ``apart`` gave.

    Examples
    --------
    >>> Record("shapes.Circle", {"radius": 1.5})
    Record(name='shapes.Circle', parts={'radius': 1.5})
    """

    name: str
    parts: Any

    def __hash__(self) -> int:
        """Return a hash, if the parts have one."""
        parts = self.parts
        return hash((self.name, frozenset(parts.items()) if type(parts) is dict else parts))


class Kind(NamedTuple):
    """A class whose objects are kept.

    Attributes
    ----------
    name : str
        What it is called in files.
    cls : type
        The class.
    apart, together : callable
        From an object to its parts, and back.
    """

    name: str
    cls: type[Any]
    apart: Callable[[Any], Any]
    together: Callable[[Any], Any]


# Classes that have operations of their own.
NATIVE: frozenset[type[Any]] = frozenset(
    {*PLAIN, *leaves.ENCODERS, *leaves.NUMPY_SCALARS, Record}
    | {list, tuple, dict, set, frozenset, np.ndarray, np.memmap, np.ma.MaskedArray}
)


def name_of(cls: type[Any]) -> str:
    """Return the name of a class with its module, if it is not one of Python's own.

    Examples
    --------
    >>> name_of(range), name_of(OrderedDict)
    ('range', 'collections.OrderedDict')
    """
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


# What is kept without being registered ------------------------------------------------------------


def _only(kind: type[T], make: Callable[[T], Any]) -> Callable[[Any], Any]:
    def together(parts: Any) -> Any:
        if type(parts) is not kind:
            raise TypeError(f"parts are a {type(parts).__name__}, not a {kind.__name__}")
        return make(parts)

    return together


def _entries(value: Any) -> dict[Any, Any]:
    if value.__dict__:
        raise BadInputError("has attributes, which are not kept: convert it to a dict")
    return dict(value)


def _bounds(value: range | slice) -> tuple[Any, Any, Any]:
    return value.start, value.stop, value.step


def _range(bounds: tuple[int, int, int]) -> range:
    start, stop, step = bounds
    return range(start, stop, step)


def _slice(bounds: tuple[Any, Any, Any]) -> slice:
    start, stop, step = bounds
    return slice(start, stop, step)


def _deque(parts: tuple[list[Any], int | None]) -> deque[Any]:
    values, limit = parts
    return deque(values, limit)


def _defaultdict(parts: tuple[Any, dict[Any, Any]]) -> Any:
    factory, entries = parts
    if type(factory) is Record:  # of a class that is not known here
        return Record("collections.defaultdict", parts)
    return defaultdict(factory, entries)


def _descr(dtype: np.dtype[Any]) -> str:
    if not dtype.itemsize:
        raise BadInputError("is a dtype without a width", found=dtype.str)
    return dtype.str


def _dtype(descr: str) -> np.dtype[Any]:
    return np.dtype(object) if descr == _OBJECTS else dtypes.decode(descr)


def _array(parts: tuple[tuple[int, ...], list[Any]]) -> Any:
    shape, values = parts
    return np.fromiter(values, object, len(values)).reshape(shape)


_DTYPE = Kind("numpy.dtype", np.dtype, _descr, _only(str, _dtype))
_KEPT = [
    _DTYPE,
    Kind("collections.OrderedDict", OrderedDict, _entries, _only(dict, OrderedDict)),
    Kind("collections.Counter", Counter, _entries, _only(dict, Counter)),
    Kind("collections.defaultdict", defaultdict, lambda value: (value.default_factory, dict(value)),
         _only(tuple, _defaultdict)),
    Kind("collections.deque", deque, lambda value: (list(value), value.maxlen),
         _only(tuple, _deque)),
    Kind("bytearray", bytearray, bytes, _only(bytes, bytearray)),
    Kind("range", range, _bounds, _only(tuple, _range)),
    Kind("slice", slice, _bounds, _only(tuple, _slice)),
    Kind("decimal.Decimal", Decimal, str, _only(str, Decimal)),
    Kind("pathlib.PosixPath", PosixPath, str, _only(str, PosixPath)),
    Kind("pathlib.PurePosixPath", PurePosixPath, str, _only(str, PurePosixPath)),
    # Of dtype object: all others have an operation of their own.
    Kind("numpy.ndarray", np.ndarray, lambda value: (value.shape, value.ravel().tolist()),
         _only(tuple, _array)),
]  # fmt: skip

_LOCK = Lock()
_BY_NAME = {kind.name: kind for kind in _KEPT}
_BY_CLASS = {kind.cls: kind for kind in _KEPT}
# Those with fields have more to them.
_BY_CLASS |= {
    type(np.dtype(cls)): _DTYPE for cls in leaves.NUMPY_SCALARS - {np.void} | {np.object_}
}
_UNCHANGEABLE = NATIVE | _BY_CLASS.keys()
# As values these can do no harm.
_PLAIN_CLASSES = {
    name_of(cls): cls
    for cls in {object, complex, list, tuple, dict, set, frozenset, *PLAIN, *leaves.NUMPY_SCALARS}
}

ALWAYS_KNOWN = frozenset({CLASS, *_BY_NAME, *_PLAIN_CLASSES})


def register(
    cls: type[T],
    apart: Callable[[T], Any] | None = None,
    together: Callable[[Any], T] | None = None,
    *,
    name: str | None = None,
) -> type[T]:
    """Have objects of a class kept by `dump`, and made again by `load`, in this process.

    Parameters
    ----------
    cls : type
        The class; classes derived from it are not meant.
    apart : callable, optional
        Returns the parts of an object: a dict from str to anything that `dump` keeps,
        or any one value that it keeps. Parts that are registered have parts of their own.
    together : callable, optional
        Makes an object of what `apart` gave. Arrays come as views on the store.
    name : str, optional
        What the class is called in files, if not ``module.qualname``.

    Returns
    -------
    type
        The class, so that `register` is a decorator, too.

    Raises
    ------
    BadInputError
        If only one of the functions is given, if another class has that name, or if
        `dump` keeps objects of this class anyway.

    Notes
    -----
    Without functions the parts of an object are what `copy.copy` would take: of a
    dataclass, or any class that says nothing about it, its attributes; of a named tuple
    its fields; of an enum the name of the member. It is made again without ``__init__``,
    by ``__new__`` and ``__setstate__``, or by having its attributes set. Fields
    that the file does not have get their defaults.

    A store can be forged: what is made may have any parts. Register classes that can bear this,
    or have `together` check what it is given. Nothing else from a file is ever called,
    and no module is imported: who loads an object of a class that is not registered gets a
    `Record`.

    Each process registers for itself, as it does if the call stands beside the class. Who
    registers a class again, with another name say, writes under the new one and
    reads both.

    Examples
    --------
    >>> class Circle:
    ...     def __init__(self, radius):
    ...         self.radius = radius
    >>> Circle = ptrarray.register(Circle, lambda c: c.radius, Circle, name="shapes.Circle")
    >>> ptrarray.dump([Circle(1.5), Circle(2.5)], "circles.ptr")
    >>> [circle.radius for circle in ptrarray.load("circles.ptr")]
    [1.5, 2.5]
    """
    if (apart is None) != (together is None):
        raise BadInputError("register takes both functions, apart and together, or none")
    kind = _kind(cls, name)
    if apart is not None and together is not None:
        kind = kind._replace(apart=apart, together=together)
    with _LOCK:
        other = _BY_NAME.get(kind.name)
        if other is not None:
            _check_same(other.cls, kind)
            _BY_CLASS.pop(other.cls, None)
        _BY_NAME[kind.name] = _BY_CLASS[cls] = kind
    return cls


def _kind(cls: Any, name: str | None = None) -> Kind:
    if not isinstance(cls, type):
        what = f"{cls!r:.80} is not a class; what a file names proves nothing, so classes are given"
        raise BadInputError(what, found=type(cls).__name__, expected="a class")
    if cls in _UNCHANGEABLE:
        raise BadInputError(f"objects of {name_of(cls)} are kept anyway", found=cls.__qualname__)
    name = name_of(cls) if name is None else name
    check_name(name)
    return Kind(name, cls, *functions_of(cls))


def check_name(name: Any) -> None:
    """Raise `BadInputError` for what cannot be the name of a class in a file."""
    if type(name) is not str or not 0 < len(name) <= SMALL or name == CLASS:
        what = f"{name!r:.80} is not the name of a class: a str of 1 to {SMALL} characters"
        raise BadInputError(what, found=name, expected=f"1 to {SMALL} characters")


def _check_same(other: type[Any], kind: Kind) -> None:
    # One that is defined again, in a notebook say, takes the place of the one before.
    if name_of(other) != name_of(kind.cls):
        what = f"{kind.name!r} is the name of {name_of(other)} already: register with another name"
        raise BadInputError(what, name=kind.name, found=name_of(other))


class Classes:
    """The classes of one call: those that are registered, and those that the caller trusts.

    Parameters
    ----------
    trusted : iterable of types
        Taken apart and put together as if they were registered without functions.

    Attributes
    ----------
    by_class : dict
        The `Kind` of each class.
    """

    def __init__(self, trusted: Iterable[type[Any]] = ()) -> None:
        with _LOCK:
            self.by_class, self._by_name = dict(_BY_CLASS), dict(_BY_NAME)
        for cls in trusted:
            if isinstance(cls, type) and cls in self.by_class:
                continue
            kind = _kind(cls)
            other = self._by_name.get(kind.name)
            if other is not None:
                _check_same(other.cls, kind)
            self.by_class[cls] = self._by_name[kind.name] = kind

    def apart(self, value: Any) -> tuple[str, Any] | None:
        """Return the name of an object's class, and its parts; None if it is not known.

        Raises
        ------
        BadInputError
            If it cannot be taken apart.
        """
        cls = type(value)
        kind = self.by_class.get(cls)
        if kind is not None:
            return kind.name, _parts(kind, value)
        if cls is Record:
            if value.name != CLASS:
                check_name(value.name)
            return value.name, value.parts
        return (CLASS, name) if (name := self._class_name(value)) else None

    def _class_name(self, value: Any) -> str | None:
        if not isinstance(value, type):
            return None
        kind = self.by_class.get(value)
        name = name_of(value) if kind is None else kind.name
        return name if kind is not None or _PLAIN_CLASSES.get(name) is value else None

    def together(self, name: str, parts: Any) -> Any:
        """Return an object of its parts, or a `Record`; what is raised comes from its class."""
        if name == CLASS:
            return self._class(parts)
        kind = self._by_name.get(name)
        return Record(name, parts) if kind is None else kind.together(parts)

    def _class(self, name: Any) -> Any:
        if type(name) is not str:
            raise TypeError("the name of a class is not a str")
        kind = self._by_name.get(name)
        if kind is not None:
            return kind.cls
        return _PLAIN_CLASSES.get(name) or Record(CLASS, name)


def _parts(kind: Kind, value: Any) -> Any:
    try:
        return kind.apart(value)
    except BadInputError:
        raise
    except Exception as error:  # whatever the class says
        raise BadInputError(f"cannot be taken apart: {error!r:.200}") from error
