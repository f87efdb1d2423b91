"""Unpickling with nothing to call: what a pickle names becomes a record of its arguments.

A pickle is a program that names functions and calls them. Here every name stands for a class that
keeps what it is called with and does nothing else. What came of it is then read as data by
`ptrarray.convert.unpickle.rebuild`, which takes records of names that are on a list and refuses others.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol, Self

from ptrarray.errors import BadInputError

_PANDAS = [
    "Series", "DataFrame", "SingleBlockManager", "BlockManager", "_unpickle_block",
    "_new_Index", "_new_DatetimeIndex", "_new_TimedeltaIndex", "Index", "RangeIndex", "MultiIndex",
    "Int64Index", "UInt64Index", "Float64Index", "DatetimeIndex", "TimedeltaIndex",
    "__pyx_unpickle_NDArrayBacked", "DatetimeArray", "TimedeltaArray", "IntegerArray",
    "FloatingArray", "BooleanArray", "StringArray", "ArrowStringArray", "NumpyExtensionArray",
    "PandasArray", "DatetimeTZDtype", "StringDtype", "BooleanDtype", "Float32Dtype", "Float64Dtype",
    *(f"{kind}{bits}Dtype" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)),
    "StringArrayNumpySemantics", "ArrowStringArrayNumpySemantics", "CategoricalDtype",
    "Categorical", "CategoricalIndex", "PeriodDtype", "PeriodArray", "PeriodIndex",
    "_new_PeriodIndex", "IntervalDtype", "IntervalArray", "IntervalIndex", "_new_IntervalIndex",
    "__pyx_unpickle_IntervalMixin", "SparseArray", "SparseDtype", "IntIndex", "BlockIndex",
    "ArrowExtensionArray", "ArrowDtype",
]  # fmt: skip
_OFFSETS = [
    "DateOffset", "Day", "Hour", "Minute", "Second", "Milli", "Micro", "Nano", "Week", "Easter",
    "BusinessDay", "CustomBusinessDay", "BusinessHour", "CustomBusinessHour",
    "SemiMonthBegin", "SemiMonthEnd", "WeekOfMonth", "LastWeekOfMonth", "FY5253", "FY5253Quarter",
    *(f"{kind}{end}" for end in ("Begin", "End") for kind in (
        "Month", "BusinessMonth", "CustomBusinessMonth", "Quarter", "BQuarter", "HalfYear",
        "BHalfYear", "Year", "BYear")),
]  # fmt: skip
_NARROW = [
    "bfloat16", "complex32", "bcomplex32", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn",
    "float6_e3m2fn", "float4_e2m1fn", "int1", "int2", "int4", "uint1", "uint2", "uint4",
]  # fmt: skip
NO_ARRAY = "no array: "
# What trust alone makes no array of: packages, what a user calls it, and names in pickles.
_NO_ARRAYS = [
    (["pandas"], "a Period", ["Period"]),
    (["pandas"], "an Interval", ["Interval"]),
    (["pandas"], "a Timestamp", ["_unpickle_timestamp", "Timestamp"]),
    (["pandas"], "a Timedelta", ["_timedelta_unpickle", "Timedelta"]),
    (["pandas"], "a NaT", ["_nat_unpickle", "__nat_unpickle", "NaTType"]),
    (["numpy"], "numpy's text of variable width", ["_convert_to_stringdtype_kwargs"]),
    (["datetime"], "a date", ["date"]),
    (["datetime"], "a datetime", ["datetime"]),
    (["decimal", "_decimal"], "a Decimal", ["Decimal"]),
    (["fractions"], "a Fraction", ["Fraction"]),
    (["uuid"], "a UUID", ["UUID"]),
    (["pathlib"], "a path", ["Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath"]),
]
_BUILTINS = ("builtins", "__builtin__")

# The package and name of what a pickle may use, to the word that `rebuild` knows the record by.
# In which module of its package a name is differs from version to version, and does not matter:
# what stands for it does nothing.
ALLOWED: dict[tuple[str, str], str] = {
    **{("pandas", name): name for name in _PANDAS},
    **{
        (package, name): word
        for packages, word, names in (
            (["pandas"], "offset", _OFFSETS),
            (["pandas"], "type", ["NA"]),
            (["numpy"], "type", ["ndarray", "memmap", "matrix", "recarray", "MaskedArray"]),
            (["numpy"], "dtype", ["dtype"]),
            (["numpy"], "record", ["record"]),
            (["ml_dtypes"], "narrow", _NARROW),
            (["numpy"], "scalar", ["scalar"]),
            (["numpy"], "array", ["_reconstruct"]),
            (["numpy"], "frombuffer", ["_frombuffer"]),
            (["numpy"], "masked", ["_mareconstruct"]),
            (["numpy"], "masked constant", ["MaskedConstant"]),
            (_BUILTINS, "type", ["object", "list", "dict", "tuple", "int", "long", "float"]),
            (_BUILTINS, "type", ["bool", "str"]),
            (_BUILTINS, "getattr", ["getattr"]),
            (_BUILTINS, "slice", ["slice"]),
            (_BUILTINS, "complex", ["complex"]),
            (_BUILTINS, "range", ["range", "xrange"]),
            (_BUILTINS, "list", ["set", "frozenset"]),
            (_BUILTINS, "bytes", ["bytes", "bytearray"]),
            (["_codecs"], "encode", ["encode"]),
            (["copyreg", "copy_reg"], "reconstructor", ["_reconstructor"]),
            (["collections"], "pairs", ["OrderedDict", "defaultdict", "Counter"]),
            (["collections"], "items", ["deque"]),
            (["array"], "numbers", ["array", "_array_reconstructor"]),
            (["datetime"], "timedelta", ["timedelta"]),
            (["datetime"], "time", ["time"]),
            (["datetime"], "timezone", ["timezone"]),
            (["zoneinfo"], "type", ["ZoneInfo"]),
            (["pytz"], "zone", ["_p"]),
            (["dateutil"], "zone file", ["_unpickle", "tzfile"]),
            (["dateutil"], "type", ["_ttinfo"]),
            (["dateutil"], "utc", ["tzutc"]),
            (["pytz"], "utc", ["_UTC"]),
            (["pytz"], "minutes", ["FixedOffset"]),
            (["pyarrow"], "arrow type", ["type_for_alias"]),
            (["pyarrow"], "arrow type of", ["timestamp", "decimal128", "decimal256", "binary"]),
            (["pyarrow"], "arrow buffer", ["py_buffer"]),
            (["pyarrow"], "arrow array", ["_restore_array"]),
            (["pyarrow"], "arrow chunks", ["chunked_array"]),
        )
        for package in packages
        for name in names
    },
    **{
        (package, name): NO_ARRAY + what
        for packages, what, names in _NO_ARRAYS
        for package in packages
        for name in names
    },
}


class Builder(Protocol):
    """What turns records into values; makers of values ask it for their parts."""

    def build(self, value: Any) -> Any:
        """Return a value without records."""


class Record:
    """A call that a pickle asked for and that was not made."""

    __slots__ = ("args", "named", "state")

    args: tuple[Any, ...]
    named: dict[str, Any]
    state: Any
    kind = ""
    name = ""

    def __new__(cls, *args: Any, **named: Any) -> Self:
        """Keep the arguments, whatever they are."""
        record = object.__new__(cls)
        record.args, record.named, record.state = args, named, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Attribute(Record):
    """What stands for ``getattr``: the time zones of Python pickle as a method of theirs."""

    __slots__ = ()

    def __new__(cls, *args: Any, **named: Any) -> Any:
        """Return a record, or what stands for a class inside a class, up to protocol 3."""
        target, *rest = args or (None,)
        if isinstance(target, type) and issubclass(target, Stranger) and rest:
            return _stranger(f"{target.name}.{rest[0]}")
        return super().__new__(cls, *args, **named)

    def __call__(self, *args: Any) -> Record:
        return _Call(self, *args)


class _Call(Record):
    """A call of what `_Attribute` stands for."""

    __slots__ = ()

    kind = name = "call"


class Pairs(dict[Any, Any]):
    """What stands for the subclasses of dict; their arguments are not needed."""

    def __init__(self, *args: Any) -> None:
        pairs = args[0] if args and isinstance(args[0], list | dict) else ()
        super().__init__(pairs)

    def __setstate__(self, state: Any) -> None:
        """Take no attributes."""


class Items(list[Any]):
    """What stands for a deque; how long it may become is not needed."""

    def __init__(self, items: Any = (), *_: Any) -> None:
        super().__init__(items if isinstance(items, list | tuple) else ())

    def __setstate__(self, state: Any) -> None:
        """Take no attributes."""


class Stranger(Record):
    """What stands for a name that is not on the list: it takes anything, and is refused later.

    So the rest of what is in the file can still be read; and so can what it was given, by those
    who ask for it.

    Attributes
    ----------
    made_by : str
        What it was asked for by: "call" of the name, as of a function; a builtin class that it
        is built on; or nothing, for an instance made by ``__new__`` of its class.
    items, pairs : list
        What it was given as if it were a list, and as if it were a dict.
    """

    __slots__ = ("items", "made_by", "pairs")

    made_by: str
    items: list[Any]
    pairs: list[tuple[Any, Any]]

    def __new__(cls, *args: Any, **named: Any) -> Self:
        """Keep the arguments, as those that an instance is made with."""
        stranger = super().__new__(cls, *args, **named)
        stranger.made_by, stranger.items, stranger.pairs = "", [], []
        return stranger

    def __init__(self, *args: Any, **named: Any) -> None:
        self.made_by = "call"

    def __call__(self, *args: Any, **named: Any) -> Stranger:
        """Take arguments, as if it were a function."""
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an item, as if it were a dict."""
        self.pairs.append((key, value))

    def append(self, item: Any) -> None:
        """Take an item, as if it were a list."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Take items, as if it were a list."""
        self.items.extend(items)

    add = append


class _Reconstructor(Record):
    """What makes instances in protocols 0 and 1: of a class, and a builtin one with its value."""

    __slots__ = ()

    def __new__(cls, kind: Any = None, base: Any = None, value: Any = None, *rest: Any) -> Any:
        """Return an instance of a stranger as later protocols make it, of others a record."""
        if not (isinstance(kind, type) and issubclass(kind, Stranger)):
            return super().__new__(cls, kind, base, value, *rest)
        name = getattr(base, "name", "")
        made: Stranger = kind.__new__(kind)
        if name == "list":
            made.extend(value)
        elif name == "dict":
            made.pairs.extend(value.items())
        elif name != "object":
            made.args, made.made_by = (value,), str(name)
        return made


_BASES = {"getattr": _Attribute, "reconstructor": _Reconstructor}


def _stand_in(kind: str, name: str) -> type:
    if kind in ("pairs", "items"):
        return Pairs if kind == "pairs" else Items
    base = _BASES.get(kind, Record)
    return type(name, (base,), {"__slots__": (), "kind": kind, "name": name})


_STAND_INS = {named: _stand_in(word, named[1]) for named, word in ALLOWED.items()}


@lru_cache(1 << 10)
def stand_in(module: str, name: str) -> type:
    """Return the class that stands for a name.

    Examples
    --------
    >>> stand_in("numpy", "dtype")("f4").args
    ('f4',)
    >>> issubclass(stand_in("os", "system"), Stranger)
    True
    """
    known = _STAND_INS.get((module.partition(".")[0], name))
    return _stranger(f"{module}.{name}") if known is None else known


@lru_cache(1 << 10)
def _stranger(name: str) -> type:
    return type("Stranger", (Stranger,), {"__slots__": (), "name": name})


_WRAPPERS = frozenset(("NumpyArrayWrapper", "NDArrayWrapper", "ZNDArrayWrapper"))


def is_of_joblib(module: str, name: str) -> bool:
    """Tell whether a name is joblib's for an array, also in the package of scikit-learn."""
    return name in _WRAPPERS and module.endswith("joblib.numpy_pickle")


class InertUnpickler(pickle.Unpickler):
    """Reads one pickle into builtin containers and records.

    Examples
    --------
    >>> import io, pickle
    >>> array = np.arange(3.0)
    >>> record = InertUnpickler(io.BytesIO(pickle.dumps(array, 2))).load()
    >>> record.kind, record.args[1:2], record.state[1]
    ('array', ((0,),), (3,))
    """

    def __init__(self, file: Any, buffers: Iterator[Any] | None = None) -> None:
        # ASCII text of Python 2 has bytes of arrays in it.
        super().__init__(file, encoding="latin1", buffers=buffers)

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name.

        Raises
        ------
        BadInputError
            For an array of joblib, whose bytes come next and would be read as a pickle.
        """
        if is_of_joblib(module, name):
            what = "it is a file of joblib: import it as such (from_joblib, import joblib)"
            raise BadInputError(what, found=f"{module}.{name}")
        return stand_in(module, name)
