"""The structures of Arrow's C interface, and what it calls types of numbers."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_int64, c_void_p

NUMBERS = dict(zip("bcCsSiIlLefg", "?bBhHiIqQefd", strict=True))  # as numpy writes them


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
