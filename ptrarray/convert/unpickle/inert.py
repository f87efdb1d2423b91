"""Unpickling with nothing to call: what a pickle names becomes a record of its arguments.

A pickle is a program that names functions and calls them. Here every name stands for a class that
keeps what it is called with and does nothing else. What came of it is then read as data by
`ptrarray.convert.unpickle.rebuild`, which takes records of names that are on a list and refuses others.
"""

from __future__ import annotations

import pickle
from typing import Any, Protocol, Self

_OFFSETS = "pandas._libs.tslibs.offsets"
_PANDAS = {
    "Series": ("pandas.core.series", "pandas"),
    "DataFrame": ("pandas.core.frame", "pandas"),
    "SingleBlockManager": ("pandas.core.internals.managers", "pandas.core.internals"),
    "BlockManager": ("pandas.core.internals.managers", "pandas.core.internals"),
    "_unpickle_block": ("pandas._libs.internals",),
    "__pyx_unpickle_NDArrayBacked": ("pandas._libs.arrays",),
    "_new_Index": ("pandas.core.indexes.base",),
    "_new_DatetimeIndex": ("pandas.core.indexes.datetimes",),
    "Index": ("pandas.core.indexes.base", "pandas"),
    "RangeIndex": ("pandas.core.indexes.range", "pandas"),
    "Int64Index": ("pandas.core.indexes.numeric",),
    "UInt64Index": ("pandas.core.indexes.numeric",),
    "Float64Index": ("pandas.core.indexes.numeric",),
    "DatetimeIndex": ("pandas.core.indexes.datetimes", "pandas"),
    "TimedeltaIndex": ("pandas.core.indexes.timedeltas", "pandas"),
    "MultiIndex": ("pandas.core.indexes.multi", "pandas"),
    "DatetimeArray": ("pandas.core.arrays.datetimes", "pandas.arrays"),
    "TimedeltaArray": ("pandas.core.arrays.timedeltas", "pandas.arrays"),
    "IntegerArray": ("pandas.core.arrays.integer", "pandas.arrays"),
    "FloatingArray": ("pandas.core.arrays.floating", "pandas.arrays"),
    "BooleanArray": ("pandas.core.arrays.boolean", "pandas.arrays"),
    "StringArray": ("pandas.core.arrays.string_", "pandas.arrays"),
    "ArrowStringArray": ("pandas.core.arrays.string_arrow", "pandas.arrays"),
    "NumpyExtensionArray": ("pandas.core.arrays.numpy_", "pandas.arrays"),
    "PandasArray": ("pandas.core.arrays.numpy_",),
    "DatetimeTZDtype": ("pandas.core.dtypes.dtypes", "pandas"),
    "StringDtype": ("pandas.core.arrays.string_", "pandas"),
    "BooleanDtype": ("pandas.core.arrays.boolean", "pandas"),
} | {
    f"{kind}{bits}Dtype": (f"pandas.core.arrays.{module}", "pandas")
    for kind, module, widths in (
        ("Int", "integer", (8, 16, 32, 64)),
        ("UInt", "integer", (8, 16, 32, 64)),
        ("Float", "floating", (32, 64)),
    )
    for bits in widths
}
_OFFSET_NAMES = [
    "Day",
    "Hour",
    "Minute",
    "Second",
    "Milli",
    "Micro",
    "Nano",
    "BusinessDay",
    "Week",
    "MonthBegin",
    "MonthEnd",
    "BusinessMonthBegin",
    "BusinessMonthEnd",
    "QuarterBegin",
    "QuarterEnd",
    "BQuarterBegin",
    "BQuarterEnd",
    "YearBegin",
    "YearEnd",
    "BYearBegin",
    "BYearEnd",
]

_TYPES = ("object", "list", "dict", "tuple", "int", "long", "float", "bool", "str")

# (module, name) as a pickle has them, to the word that `rebuild` knows the record by.
ALLOWED: dict[tuple[str, str], str] = {
    ("numpy", "dtype"): "dtype",
    ("numpy", "ndarray"): "type",
    ("numpy", "memmap"): "type",
    ("numpy", "matrix"): "type",
    ("numpy", "record"): "record",
    ("numpy.rec", "recarray"): "type",
    ("numpy", "recarray"): "type",
    ("numpy.core.records", "recarray"): "type",
    ("numpy.ma", "MaskedArray"): "type",
    ("numpy.ma.core", "MaskedArray"): "type",
    ("numpy.ma.core", "_mareconstruct"): "masked",
    **{
        (f"numpy.{core}.{module}", name): kind
        for core in ("core", "_core")
        for module, name, kind in (
            ("multiarray", "_reconstruct", "array"),
            ("numeric", "_frombuffer", "frombuffer"),
            ("multiarray", "scalar", "scalar"),
        )
    },
    ("_codecs", "encode"): "encode",
    ("copyreg", "_reconstructor"): "reconstructor",
    ("copy_reg", "_reconstructor"): "reconstructor",
    **{
        (module, name): kind
        for module in ("builtins", "__builtin__")
        for name, kind in (
            *((word, "type") for word in _TYPES),
            *(("getattr", "getattr"), ("slice", "slice"), ("complex", "complex")),
            *(("range", "range"), ("xrange", "range")),
            *(("set", "list"), ("frozenset", "list"), ("bytearray", "bytes"), ("bytes", "bytes")),
        )
    },
    ("pandas", "NA"): "type",
    ("collections", "OrderedDict"): "pairs",
    ("collections", "defaultdict"): "pairs",
    ("datetime", "timedelta"): "timedelta",
    ("datetime", "timezone"): "timezone",
    ("zoneinfo", "ZoneInfo"): "type",
    ("pytz", "_p"): "zone",
    ("pytz", "_UTC"): "utc",
    ("pytz", "FixedOffset"): "minutes",
    ("pyarrow.lib", "type_for_alias"): "arrow type",
    ("pyarrow.lib", "py_buffer"): "arrow buffer",
    ("pyarrow.lib", "_restore_array"): "arrow array",
    ("pyarrow.lib", "chunked_array"): "arrow chunks",
    **{(module, name): name for name, modules in _PANDAS.items() for module in modules},
    **{(_OFFSETS, name): "offset" for name in _OFFSET_NAMES},
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

    def __call__(self, *args: Any) -> Record:
        return _Call(self, *args)


class _Call(Record):
    """A call of what `_Attribute` stands for."""

    __slots__ = ()

    kind = name = "call"


class Pairs(dict[Any, Any]):
    """What stands for the subclasses of dict; their arguments are not needed."""

    def __init__(self, *args: Any) -> None:
        pairs = args[0] if args and isinstance(args[0], list) else ()
        super().__init__((key, value) for key, value in pairs)

    def __setstate__(self, state: Any) -> None:
        """Take no attributes."""


class Stranger(Record):
    """What stands for a name that is not on the list: it takes anything, and is refused later.

    So the rest of what is in the file can still be read.
    """

    __slots__ = ()

    def __call__(self, *args: Any, **named: Any) -> Stranger:
        """Take arguments, as if it were a function."""
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an item, as if it were a dict."""

    def append(self, item: Any) -> None:
        """Take an item, as if it were a list."""

    extend = add = append


def _stand_in(kind: str, name: str) -> type:
    if kind == "pairs":
        return Pairs
    base = _Attribute if kind == "getattr" else Record
    return type(name, (base,), {"__slots__": (), "kind": kind, "name": name})


_STAND_INS = {place: _stand_in(kind, place[1]) for place, kind in ALLOWED.items()}


def stand_in(module: str, name: str) -> type:
    """Return the class that stands for a name.

    Examples
    --------
    >>> stand_in("numpy", "dtype")("f4").args
    ('f4',)
    >>> issubclass(stand_in("os", "system"), Stranger)
    True
    """
    known = _STAND_INS.get((module, name))
    if known is not None:
        return known
    return type("Stranger", (Stranger,), {"__slots__": (), "name": f"{module}.{name}"})


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

    def __init__(self, file: Any) -> None:
        # ASCII text of Python 2 has bytes of arrays in it.
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        return stand_in(module, name)
