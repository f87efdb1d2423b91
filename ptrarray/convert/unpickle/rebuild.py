"""Records of a pickle to values: containers and numpy; pandas by `rebuild_pandas`.

Every value is made by a public constructor that checks its arguments. The states that numpy's and
pandas' own pickles set are never set: they can make an array read memory that is not its own.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time, timedelta, timezone
from functools import lru_cache
from typing import Any

import numpy as np

from ptrarray.convert.unpickle import rebuild_pandas
from ptrarray.convert.unpickle.inert import ALLOWED, NO_ARRAY, Builder, Record, Stranger
from ptrarray.convert.unpickle.repeated import check_repeats
from ptrarray.errors import BadInputError
from ptrarray.format.named import of_library
from ptrarray.rows.types import Array

_SPEC = re.compile(r"[biufcmMSUVO][0-9]{0,9}")
_UNIT = re.compile(r"[a-zA-Z]{1,2}")
_WALKED = (Record, dict, list, tuple, set, frozenset, memoryview)
_LEAVES = frozenset((str, int, float, bool, bytes, type(None)))
_ONLY_NAMED = "it is a class or a function, of which a pickle has the name only"
_MALFORMED = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError)


class Unreadable:
    """Stands for what cannot be read of a container, so that the rest of it can."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


# Not equal by what it holds, which may be arrays: it may be a key.
@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """What a pickle has of an instance of a class that is not on the list.

    Attributes
    ----------
    name : str
        The class, with its module.
    made_by : str
        What takes the arguments: "call" of the class, a builtin class that it is built on,
        or nothing for its ``__new__``.
    args, named : tuple and dict
        The arguments.
    items, pairs : list and dict
        What it holds if it is a list or dict.
    state : object
        Its attributes: a dict, or a pair of that and a dict of its slots; or what a
        ``__getstate__`` of its own returned; or None.
    """

    name: str
    made_by: str
    args: Any
    named: Any
    items: Any
    pairs: dict[Any, Any]
    state: Any

    def __repr__(self) -> str:
        return f"<an instance of {self.name}>"


_FEW_SHARED = 16  # each may double what there is


def rebuild(value: Any, *, attributes: bool = False) -> Any:
    """Return what an inert pickle stands for.

    Parameters
    ----------
    value
        As `InertUnpickler` returns it.
    attributes : bool
        Whether what is not on the list becomes an `Instance`, and is not refused.

    Returns
    -------
    object
        In dicts, lists, tuples and instances `Unreadable` for what is refused of them.

    Raises
    ------
    BadInputError
        If there is nothing else: for a name that is not on the list, a record
        that no numpy or pandas would have written, a value that contains
        itself, or others again and again, and one that is nested too deeply.

    Examples
    --------
    >>> import io, pickle
    >>> from ptrarray.convert.unpickle.inert import InertUnpickler
    >>> raw = pickle.dumps({"a": np.arange(3.0), "b": [1, 2.5]})
    >>> rebuild(InertUnpickler(io.BytesIO(raw)).load())
    {'a': array([0., 1., 2.]), 'b': [1, 2.5]}
    """
    if isinstance(value, type):
        raise BadInputError(_ONLY_NAMED)
    try:
        rebuilder = Rebuilder(attributes=attributes)
        found = rebuilder.build(value, each=True)
    except RecursionError:
        raise BadInputError("it is nested too deeply") from None
    if rebuilder.n_shared > _FEW_SHARED:
        check_repeats(found)
    return found


class Rebuilder:
    """One walk over a value, with what was built on the way."""

    def __init__(self, *, attributes: bool = False) -> None:
        self._attributes = attributes
        # With what was built from it, for an id is only good as long as its object lives.
        self._done: dict[tuple[int, bool], tuple[Any, Any]] = {}
        self._under_way: set[int] = set()
        self.n_shared = 0  # times that something was there again

    def build(self, value: Any, *, each: bool = False) -> Any:
        """Return a value without records; the same object for the same record.

        With `each`, what is refused of a dict, list, tuple or instance becomes `Unreadable`.
        """
        if type(value) in _LEAVES:
            return value
        if not isinstance(value, _WALKED):
            # A type is a stand-in that nothing called, and nobody needs.
            return None if isinstance(value, type) else value
        each = each and isinstance(value, (dict, list, tuple, Stranger))
        number = id(value)
        done = self._done.get((number, each))
        if done is not None:
            self.n_shared += 1
            return done[1]
        if number in self._under_way:
            raise BadInputError("it contains itself")
        self._under_way.add(number)
        try:
            built = self._build(value, self._or_unreadable if each else self.build)
        finally:
            self._under_way.discard(number)
        self._done[number, each] = value, built
        return built

    def _or_unreadable(self, value: Any) -> Any:
        if type(value) in _LEAVES:
            return value
        if isinstance(value, type):
            return Unreadable(_ONLY_NAMED)
        try:
            return self.build(value, each=True)
        except BadInputError as error:
            return Unreadable(str(error))

    def _build(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        if isinstance(value, Stranger):
            return self._instance(value, inner)
        if isinstance(value, Record):
            return self._made(value)
        if isinstance(value, dict):
            return {self._key(key): inner(item) for key, item in value.items()}
        if isinstance(value, memoryview):  # a large string that is not for an array
            return bytes(value)
        items = [inner(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items

    def _made(self, value: Record) -> Any:
        maker = MAKERS.get(value.kind)
        if maker is None:
            raise BadInputError(f"it has a {value.name} where none can be")
        try:
            return maker(self, value)
        except _MALFORMED as error:
            if isinstance(error, BadInputError):
                raise
            raise BadInputError(f"its {value.name} is malformed: {error}") from error

    def _key(self, key: Any) -> Any:
        """Return a key; one that is built as what cannot be one, as it is: it is no name anyway."""
        if type(key) is str:
            return key
        built = self.build(key)
        try:
            hash(built)
        except TypeError:
            return key
        return built

    def _instance(self, value: Stranger, inner: Callable[[Any], Any]) -> Instance:
        if not self._attributes:
            raise BadInputError(
                f"it uses {value.name}, which is not on the list of what is read without trust; "
                "pass attributes=True (--attributes) to read what an instance of it holds, "
                "which runs no code; or if you trust whoever wrote it, pass trust=True "
                "(--trust-pickle), and from Python convert=vars or a function that returns its "
                "arrays, if it is none itself",
                found=value.name,
                expected="numpy, pandas or a builtin container",
            )
        return Instance(
            value.name,
            value.made_by,
            value.args and inner(value.args),
            value.named and inner(value.named),
            value.items and inner(value.items),
            {self._key(key): inner(item) for key, item in value.pairs},
            inner(value.state),
        )


# numpy --------------------------------------------------------------------------------------------


def _dtype(to: Builder, record: Record) -> np.dtype[Any]:
    spec = record.args[0]
    kind = getattr(spec, "kind", "")
    if kind == "narrow":
        return _narrow(spec.name, record.state)
    if kind == "record":  # of a recarray, which becomes a plain one
        spec = "V"
    if not isinstance(spec, str) or not _SPEC.fullmatch(spec):
        raise BadInputError(f"it has an array of {spec!r:.40}, which is no plain dtype")
    if record.state is None:
        return np.dtype(spec)
    _, order, subdtype, names, fields, width, *_ = record.state
    if names is not None:
        return _structured(to, names, fields, width)
    if subdtype is not None:
        base, shape = to.build(subdtype)
        return np.dtype((base, shape))
    if spec[0] in "mM":
        unit, number, per, *_ = to.build(record.state[8][1])
        return np.dtype(f"{spec[0]}8{_time_unit(unit, number, per)}").newbyteorder(order)
    return _plain_dtype(spec, order)


@lru_cache(1 << 8)
def _plain_dtype(spec: str, order: Any) -> np.dtype[Any]:
    """Return a dtype that many arrays have: the one of numpy itself, not one that equals it."""
    return np.dtype(np.dtype(spec).newbyteorder(order).str)


def _narrow(name: str, state: Any) -> np.dtype[Any]:
    """Return a dtype of ml_dtypes, which knows no byte order but that of the machine."""
    order = "<" if sys.byteorder == "little" else ">"
    if state is not None and state[1] not in ("=", "|", order):
        raise BadInputError(f"it has an array of {name} in the byte order of another machine")
    found = of_library(name)
    if found is None:
        raise BadInputError(f"it has an array of {name}: pip install ml_dtypes", found=name)
    return found


def _structured(to: Builder, names: Any, fields: Any, width: int) -> np.dtype[Any]:
    found = [to.build(fields[name]) for name in names]
    layout: Any = {
        "names": list(names),
        "formats": [field[0] for field in found],
        "offsets": [field[1] for field in found],
        "itemsize": width,
    }
    dtype: np.dtype[Any] = np.dtype(layout)
    return dtype


def _time_unit(unit: Any, number: int, per: int) -> str:
    word = unit.decode() if isinstance(unit, bytes) else unit
    if word == "generic":
        return ""
    if not _UNIT.fullmatch(word):
        raise ValueError(f"time unit {word!r}")
    return f"[{int(number)}{word}/{int(per)}]" if per != 1 else f"[{int(number)}{word}]"


def _array(to: Builder, record: Record) -> Array:
    *_, shape, dtype, is_fortran, raw = record.state
    return _from_raw(to, shape, to.build(dtype), "F" if is_fortran else "C", raw)


def _frombuffer(to: Builder, record: Record) -> Array:
    raw, dtype, shape, order, *axes = record.args
    if order != "K":
        return _from_raw(to, shape, to.build(dtype), order, raw)
    (axis_order,) = axes
    return _from_raw(to, shape, to.build(dtype), "C", raw).transpose(axis_order)


def _from_raw(to: Builder, shape: Any, dtype: Any, order: Any, raw: Any) -> Array:
    if not isinstance(dtype, np.dtype) or order not in ("C", "F"):
        raise TypeError(f"{dtype!r:.40} is no dtype, or {order!r:.10} no order")
    lengths = tuple(map(int, shape))
    n_items = math.prod(lengths)
    is_own = isinstance(raw, memoryview)  # nobody else's, see `large`
    data, item_nbytes = raw, 1
    if not dtype.hasobject:
        data, item_nbytes = raw if is_own else _bytes_of(to, raw), dtype.itemsize
    elif dtype != np.dtype(object):
        raise BadInputError(
            f"it has records of {dtype}, with Python objects in them: from Python, pass convert=, "
            "a function that returns the fields of numbers, and trust=True if you trust whoever "
            "wrote it",
            found=str(dtype),
        )
    if len(data) != n_items * item_nbytes or min(lengths, default=0) < 0:
        raise ValueError(f"{len(data)} bytes for shape {lengths} of {dtype}")
    if dtype.hasobject:  # a list of them is in C order, whatever the order of the array
        flat = np.fromiter(map(to.build, data), object, n_items)
        return np.array(flat.reshape(lengths), order=order)
    # A copy, as it would be writable from pickle, too; frombuffer refuses Python objects.
    flat = np.frombuffer(data, dtype) if data else np.empty(n_items, dtype)
    flat = flat if is_own else flat.copy()
    return flat if lengths == flat.shape else flat.reshape(lengths, order=order)


def _scalar(to: Builder, record: Record) -> Any:
    dtype, raw = record.args
    return _from_raw(to, (1,), to.build(dtype), "C", raw)[0]


def _masked(to: Builder, record: Record) -> Any:
    *_, shape, dtype, is_fortran, raw, raw_mask, fill_value = record.state
    order = "F" if is_fortran else "C"
    data = _from_raw(to, shape, to.build(dtype), order, raw)
    mask = _from_raw(to, shape, np.ma.make_mask_descr(data.dtype), order, raw_mask)
    return np.ma.MaskedArray(data, mask, fill_value=to.build(fill_value))


# As the module array numbers them.
_WIDE = ("u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_MACHINE_FORMATS = dict(
    enumerate(["u1", "i1", *(f"{order}{kind}" for kind in _WIDE for order in "<>")])
)


def _numbers(to: Builder, record: Record) -> Array:
    """Return an ``array.array``: its type, and a list or bytes of a format that it numbers."""
    if record.name == "array":
        spec, items = record.args
        return np.array(to.build(items), _typecode(spec))
    _, spec, number, raw = record.args
    dtype = _typecode(spec)
    return np.frombuffer(_bytes_of(to, raw), _MACHINE_FORMATS[number]).astype(dtype)


def _typecode(spec: Any) -> np.dtype[Any]:
    if not isinstance(spec, str) or spec not in tuple("bBhHiIlLqQfd"):
        raise BadInputError(f"it has an array.array of {spec!r:.20}, which are no numbers")
    return np.dtype(spec)


def _bytes_of(to: Builder, raw: Any) -> bytes | bytearray:
    """Return bytes as pickles of any protocol have them."""
    built = to.build(raw)
    if isinstance(built, str):  # written by Python 2
        built = built.encode("latin1")
    if not isinstance(built, bytes | bytearray):
        raise TypeError(f"{type(built).__name__} for bytes")
    return built


# Python -------------------------------------------------------------------------------------------


def _encode(to: Builder, record: Record) -> bytes:
    text, encoding = record.args
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r:.20}")
    return str(text).encode("latin1")


def _bytes(to: Builder, record: Record) -> bytes:
    if not record.args:
        return b""
    raw = to.build(record.args[0])
    if isinstance(raw, str):  # and the second argument is the encoding
        return raw.encode("latin1")
    if isinstance(raw, bytes | bytearray | list):  # a number would ask for so many zeros
        return bytes(raw)
    raise TypeError(f"bytes of {type(raw).__name__}")


def _list(to: Builder, record: Record) -> list[Any]:
    return list(to.build(record.args[0])) if record.args else []


def _reconstructor(to: Builder, record: Record) -> Any:
    # Protocols 0 and 1: an instance of the first argument, with this record's state.
    kind = record.args[0]
    instance = kind()
    if not isinstance(instance, Record):
        raise TypeError("no class")
    instance.state = record.state
    return to.build(instance)


def _time(to: Builder, record: Record) -> time:
    raw = to.build(record.args[0])
    hour, minute, second, *micro = _bytes_of(to, raw)
    return time(hour, minute, second, int.from_bytes(micro, "big"))


def _plain_numbers(to: Builder, record: Record) -> tuple[Any, ...]:
    args = to.build(record.args)
    if not all(isinstance(arg, int | float | None) for arg in args):
        raise TypeError("not numbers")
    return tuple(args)


def _call(to: Builder, record: Record) -> str:
    """Return the name of a time zone: ``getattr(ZoneInfo, "_unpickle")(name, ...)``."""
    attribute, key, *_ = record.args
    target, word = attribute.args
    if (getattr(target, "name", None), word) != ("ZoneInfo", "_unpickle"):
        raise BadInputError(f"it asks for an attribute: {word!r:.40}")
    return rebuild_pandas.zone_name(key)


def _no_array(to: Builder, record: Record) -> Any:
    raise BadInputError(
        f"it holds {record.kind.removeprefix(NO_ARRAY)}, which a store does not keep as an array: "
        "from Python, pass convert=, a function that returns one, and trust=True if you trust "
        "whoever wrote it",
        found=record.name,
    )


MAKERS: dict[str, Callable[[Builder, Record], Any]] = {
    "dtype": _dtype,
    "array": _array,
    "frombuffer": _frombuffer,
    "scalar": _scalar,
    "masked": _masked,
    "masked constant": lambda to, record: np.ma.masked,
    "numbers": _numbers,
    "encode": _encode,
    "bytes": _bytes,
    "list": _list,
    "reconstructor": _reconstructor,
    "call": _call,
    "complex": lambda to, record: complex(*_plain_numbers(to, record)),
    "slice": lambda to, record: slice(*_plain_numbers(to, record)),
    "range": lambda to, record: range(*_plain_numbers(to, record)),
    "timedelta": lambda to, record: timedelta(*_plain_numbers(to, record)),
    "time": _time,
    "timezone": lambda to, record: timezone(to.build(record.args[0])),
    "zone": lambda to, record: rebuild_pandas.zone_name(record.args[0]),
    "zone file": lambda to, record: rebuild_pandas.zone_of_file(record.args),
    "utc": lambda to, record: "UTC",
    "minutes": lambda to, record: timezone(timedelta(minutes=int(record.args[0]))),
    **rebuild_pandas.MAKERS,
    **dict.fromkeys((word for word in ALLOWED.values() if word.startswith(NO_ARRAY)), _no_array),
}
