"""The index of a file of bigarray: a pickle, of which only data is read and nothing run.

`pickle.Unpickler` would do with another `find_class`, but for hostile files: a
few bytes of them make it ask for any amount of memory, or hash a key for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NoReturn

# What bigarray took for keys, besides str: read, to be named as what cannot be converted.
_ATOMS = (str, int, float, bytes, type(None))
_INTEGER_NBYTES = 16  # longer ones would take for ever to print


class RefusedIndexError(ValueError):
    """An index is no dict of names and pointers; the message goes on from "it"."""


class _Pairs(list[tuple[Any, Any]]):
    """A dict that is not hashed, for keys that take for ever to hash can be made."""


def read_index(raw: memoryview) -> list[tuple[Any, Any]]:
    """Return the items of the dict that a pickle of bigarray holds.

    Parameters
    ----------
    raw : memoryview of bytes
        The pickle, to its last byte.

    Returns
    -------
    list of (key, value)
        As they are in the file: a key may come twice, where the last one
        counts; keys should be str and values tuples of two int, but need not.

    Raises
    ------
    RefusedIndexError
        If it is cut short, or wants more than dict, tuple and plain values.
        Names what it would have imported.

    Notes
    -----
    Takes some microseconds a name, and memory in proportion to `raw`.
    """
    machine = _Machine(raw)
    try:
        while True:
            code = raw[machine.at]
            machine.at += 1
            push = _PUSH.get(code)
            if push is not None:
                machine.stack.append(push(machine))
            elif code == _STOP:
                return machine.result()
            else:
                _DO.get(code, _Machine.refuse)(machine)
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise RefusedIndexError(f"makes no sense at byte {machine.at}") from error


class _Machine:
    """What a pickle works on: a stack, marks in it, and a memo."""

    def __init__(self, raw: memoryview) -> None:
        self.raw = raw
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def take(self, nbytes: int) -> memoryview:
        """Return the next bytes."""
        start, self.at = self.at, self.at + nbytes
        if self.at > len(self.raw):
            raise RefusedIndexError(f"is cut short at byte {len(self.raw)}")
        return self.raw[start : self.at]

    def number(self, form: struct.Struct) -> Any:
        """Return the next bytes as a number."""
        return form.unpack(self.take(form.size))[0]

    def long(self, nbytes: int) -> int:
        """Return the next bytes as an integer."""
        if nbytes > _INTEGER_NBYTES:
            raise RefusedIndexError(f"holds an integer of {nbytes} bytes")
        return int.from_bytes(self.take(nbytes), "little", signed=True)

    def text(self, nbytes: int) -> str:
        """Return the next bytes as text; pickle writes half a surrogate pair, too."""
        return str(self.take(nbytes), "utf-8", "surrogatepass")

    def popped(self, n_items: int) -> list[Any]:
        """Take so many items off the stack."""
        if n_items > len(self.stack):
            raise IndexError
        first = len(self.stack) - n_items
        items = self.stack[first:]
        del self.stack[first:]
        return items

    def marked(self) -> list[Any]:
        """Take the items since the last mark off the stack."""
        return self.popped(len(self.stack) - self.marks.pop())

    def row(self, items: list[Any]) -> tuple[Any, ...]:
        """Return items as a tuple of plain values."""
        # A few bytes can make tuples in tuples that take for ever to print.
        if not all(isinstance(item, _ATOMS) for item in items):
            raise RefusedIndexError("holds a tuple of more than plain values")
        return tuple(items)

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values into the dict on top of the stack."""
        pairs = self.stack[-1]
        if not isinstance(pairs, _Pairs):
            raise TypeError
        pairs.extend(zip(items[::2], items[1::2], strict=False))

    def memoize(self, key: int) -> None:
        """Keep the top of the stack to be put there again."""
        self.memo[key] = self.stack[-1]

    def result(self) -> _Pairs:
        """Return what is on the stack at the end."""
        if len(self.stack) != 1 or not isinstance(self.stack[0], _Pairs):
            raise RefusedIndexError("is not a dict")
        if self.at != len(self.raw):
            raise RefusedIndexError(f"ends at byte {self.at} of {len(self.raw)}")
        return self.stack[0]

    def refuse(self) -> NoReturn:
        """Say what the pickle wants that is not done."""
        code = self.raw[self.at - 1]
        names: list[Any] = []
        if code in _GLOBAL:
            names = bytes(self.raw[self.at : self.at + 200]).split(b"\n")[:2]
            names = [name.decode("latin-1") for name in names]
        elif code == _STACK_GLOBAL:
            names = [name for name in self.stack[-2:] if isinstance(name, str)]
        only = "only dict, str, int and tuple are read"
        if not names:
            raise RefusedIndexError(
                f"holds the instruction {code:#04x} at byte {self.at - 1}: {only}"
            )
        raise RefusedIndexError(f"calls for {'.'.join(names)!r:.200}, which is not run: {only}")


_STOP, _STACK_GLOBAL, _GLOBAL = ord("."), 0x93, b"ci"
_U1, _U2, _U4, _U8, _I4, _F8 = map(struct.Struct, ("<B", "<H", "<I", "<Q", "<i", ">d"))


# What pickle's protocols 2 to 5 write for a dict of names and pointers: first what puts
# something on the stack, then the rest.
_PUSH: dict[int, Callable[[_Machine], Any]] = {
    ord("}"): lambda _: _Pairs(),  # EMPTY_DICT
    0x8C: lambda machine: machine.text(machine.number(_U1)),  # SHORT_BINUNICODE
    ord("X"): lambda machine: machine.text(machine.number(_U4)),  # BINUNICODE
    0x8D: lambda machine: machine.text(machine.number(_U8)),  # BINUNICODE8
    ord("K"): lambda machine: machine.number(_U1),  # BININT1
    ord("M"): lambda machine: machine.number(_U2),  # BININT2
    ord("J"): lambda machine: machine.number(_I4),  # BININT
    0x8A: lambda machine: machine.long(machine.number(_U1)),  # LONG1
    ord(")"): lambda _: (),  # EMPTY_TUPLE
    0x85: lambda machine: machine.row(machine.popped(1)),  # TUPLE1
    0x86: lambda machine: machine.row(machine.popped(2)),  # TUPLE2
    0x87: lambda machine: machine.row(machine.popped(3)),  # TUPLE3
    ord("t"): lambda machine: machine.row(machine.marked()),  # TUPLE
    ord("h"): lambda machine: machine.memo[machine.number(_U1)],  # BINGET
    ord("j"): lambda machine: machine.memo[machine.number(_U4)],  # LONG_BINGET
    ord("N"): lambda _: None,  # NONE
    0x88: lambda _: True,  # NEWTRUE
    0x89: lambda _: False,  # NEWFALSE
    ord("G"): lambda machine: machine.number(_F8),  # BINFLOAT
    ord("C"): lambda machine: bytes(machine.take(machine.number(_U1))),  # SHORT_BINBYTES
    ord("B"): lambda machine: bytes(machine.take(machine.number(_U4))),  # BINBYTES
}
_DO: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda machine: machine.take(1),  # PROTO
    0x95: lambda machine: machine.take(8),  # FRAME
    0x94: lambda machine: machine.memoize(len(machine.memo)),  # MEMOIZE
    ord("q"): lambda machine: machine.memoize(machine.number(_U1)),  # BINPUT
    ord("r"): lambda machine: machine.memoize(machine.number(_U4)),  # LONG_BINPUT
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),  # MARK
    ord("s"): lambda machine: machine.set_items(machine.popped(2)),  # SETITEM
    ord("u"): lambda machine: machine.set_items(machine.marked()),  # SETITEMS
}
