"""The structures of Arrow's C interface, and what it calls types."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np

# Numbers, and units of dates and durations, each as numpy writes it.
NUMBERS = dict(zip("bcCsSiIlLefg", "?bBhHiIqQefd", strict=True))
UNITS = {"s": "s", "m": "ms", "u": "us", "n": "ns"}
LIMIT = 2**56  # of lengths and offsets: no machine has such memory
_WORDS = {
    "n": "null",
    "z": "binary",
    "Z": "large_binary",
    "vz": "binary_view",
    "u": "string",
    "U": "large_string",
    "vu": "string_view",
    "+l": "list",
    "+L": "large_list",
    "+vl": "list_view",
    "+vL": "large_list_view",
    "+s": "struct",
    "+m": "map",
    "+r": "run_end_encoded",
}
_FAMILIES = {
    "+w:": "fixed_size_list",
    "w:": "fixed_size_binary",
    "d:": "decimal",
    "+u": "union",
    "td": "date",
    "tt": "time",
    "ts": "timestamp",
    "tD": "duration",
    "ti": "interval",
}


class ArrowSchema(Structure):
    """A type, and what a column of it is called."""


class ArrowArray(Structure):
    """Values of a type."""


class ArrowStream(Structure):
    """Batches of values of one type."""

    _fields_ = (
        *((name, c_void_p) for name in ("get_schema", "get_next", "get_last_error")),
        *((name, c_void_p) for name in ("release", "private_data")),
    )


ArrowSchema._fields_ = (
    *((name, c_char_p) for name in ("format", "name")),
    *(("metadata", c_void_p), ("flags", c_int64), ("n_children", c_int64)),
    *(("children", POINTER(POINTER(ArrowSchema))), ("dictionary", POINTER(ArrowSchema))),
    *((name, c_void_p) for name in ("release", "private_data")),
)
ArrowArray._fields_ = (
    *((name, c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    *(("buffers", POINTER(c_void_p)), ("children", POINTER(POINTER(ArrowArray)))),
    ("dictionary", POINTER(ArrowArray)),
    *((name, c_void_p) for name in ("release", "private_data")),
)


@dataclass(frozen=True)
class Field:
    """A type with a name, as a schema describes a column.

    Attributes
    ----------
    format : str
        The type, in the words of the C interface: ``"l"`` for int64, ``"+L"`` for a large list.
    name : str
        Of the column, or of what is in a list.
    children : tuple of Field
        The types of which this one is made.
    dictionary : Field or None
        What the numbers in it stand for, if they stand for something.
    extension : str
        What the values are more than their type says; mostly nothing.
    """

    format: str
    name: str = ""
    children: tuple[Field, ...] = ()
    dictionary: Field | None = None
    extension: str = ""

    def __str__(self) -> str:
        if self.dictionary is not None:
            return f"dictionary of {self.dictionary}"
        if self.format in NUMBERS:
            return np.dtype(NUMBERS[self.format]).name
        family = next((key for key in _FAMILIES if self.format.startswith(key)), "")
        word = _WORDS.get(self.format) or _FAMILIES.get(family, "")
        inner = ", ".join(map(str, self.children)) if len(self.children) < 4 else "…"
        rest = self.format.removeprefix(family) if family and word else ""
        known = self.extension or word or f"type {self.format!r:.40}"
        return known + (f"<{inner}>" if inner else "") + (f"[{rest}]" if rest else "")
