"""Data of Arrow as its C interface has it, made field by field, so that any of them can lie."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptrarray.bridges import structures

Buffer = bytes | np.ndarray[Any, Any] | None

_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
_RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@dataclass
class Item:
    """A column: what its schema says, and its array; `says` replaces fields of the array."""

    format: str
    name: str = ""
    length: int = 0
    buffers: Sequence[Buffer] = (None,)
    children: Sequence[Item | None] = ()
    dictionary: Item | None = None
    says: dict[str, Any] = field(default_factory=dict)
    schema_says: dict[str, Any] = field(default_factory=dict)


@dataclass
class Forged:
    """An object that hands items over, as an array or as a stream of batches."""

    items: Sequence[Item]
    error: int = 0  # that the stream ends with
    is_stream: bool = True
    names: tuple[str, ...] = ("arrow_array_stream", "arrow_schema", "arrow_array")
    is_released: bool = False
    n_released: int = 0
    n_asked: int = 0
    kept: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        wanted = "__arrow_c_stream__" if self.is_stream else "__arrow_c_array__"
        if name != wanted:
            raise AttributeError(name)
        return self.stream if self.is_stream else self.array

    def capsule(self, structure: Any, name: str) -> Any:
        self.kept += [structure, raw := name.encode()]
        if self.is_released:
            structure.release = None
        return _new_capsule(ctypes.addressof(structure), raw, None)

    def array(self) -> tuple[Any, Any]:
        schema, array = structures.ArrowSchema(), structures.ArrowArray()
        self.fill_schema(schema, self.items[0])
        self.fill_array(array, self.items[0])
        return self.capsule(schema, self.names[1]), self.capsule(array, self.names[2])

    def stream(self) -> Any:
        batches = iter(self.items[1:] if self.error else self.items)

        def get_schema(_: int, out: int) -> int:
            self.fill_schema(structures.ArrowSchema.from_address(out), self.items[0])
            return 0

        def get_next(_: int, out: int) -> int:
            self.n_asked += 1
            array, item = structures.ArrowArray.from_address(out), next(batches, None)
            if item is None:
                array.release = None
                return self.error
            self.fill_array(array, item)
            return 0

        message = ctypes.create_string_buffer(b"the dog ate it")
        stream = structures.ArrowStream()
        ask = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        say = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        functions = ask(get_schema), ask(get_next), say(lambda _: ctypes.addressof(message))
        self.kept += [message, functions]
        for name, function in zip(
            ("get_schema", "get_next", "get_last_error"), functions, strict=True
        ):
            setattr(stream, name, ctypes.cast(function, ctypes.c_void_p))
        stream.release = self.release(stream)
        return self.capsule(stream, self.names[0])

    def release(self, structure: Any) -> Any:
        kind, address = type(structure), ctypes.addressof(structure)

        def release(address: int = address) -> None:
            kind.from_address(address).release = None
            self.n_released += 1

        self.kept.append(function := _RELEASE(release))
        return ctypes.cast(function, ctypes.c_void_p)

    def fill_schema(self, out: Any, item: Item) -> None:
        children = [None if child is None else structures.ArrowSchema() for child in item.children]
        for child, inner in zip(children, item.children, strict=True):
            if child is not None and inner is not None:
                self.fill_schema(child, inner)
        self.kept += [texts := (item.format.encode(), item.name.encode()), out]
        out.format, out.name = texts
        out.n_children, out.children = (
            len(children),
            self.pointers(structures.ArrowSchema, children),
        )
        if item.dictionary is not None:
            self.kept.append(dictionary := structures.ArrowSchema())
            self.fill_schema(dictionary, item.dictionary)
            out.dictionary = ctypes.pointer(dictionary)
        out.release = self.release(out)
        for name, value in item.schema_says.items():
            setattr(out, name, value)

    def fill_array(self, out: Any, item: Item) -> None:
        children = [None if child is None else structures.ArrowArray() for child in item.children]
        for child, inner in zip(children, item.children, strict=True):
            if child is not None and inner is not None:
                self.fill_array(child, inner)
        buffers = [
            None if raw is None else np.frombuffer(raw, np.uint8).copy() for raw in item.buffers
        ]
        addresses = [None if raw is None else raw.ctypes.data for raw in buffers]
        self.kept += [buffers, table := (ctypes.c_void_p * len(buffers))(*addresses)]
        out.length, out.n_buffers, out.n_children = item.length, len(buffers), len(children)
        out.buffers = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
        out.children = self.pointers(structures.ArrowArray, children)
        if item.dictionary is not None:
            self.kept.append(dictionary := structures.ArrowArray())
            self.fill_array(dictionary, item.dictionary)
            out.dictionary = ctypes.pointer(dictionary)
        out.release = self.release(out)
        for name, value in item.says.items():
            setattr(out, name, value)

    def pointers(self, kind: Any, structures: Sequence[Any]) -> Any:
        pointer = ctypes.POINTER(kind)
        table = (pointer * len(structures))(
            *(pointer() if one is None else ctypes.pointer(one) for one in structures)
        )
        self.kept += [table, structures]
        return ctypes.cast(table, ctypes.POINTER(pointer))


def ints(*values: int, dtype: str = "i4") -> bytes:
    return np.array(values, dtype).tobytes()


def names(*texts: str, **options: Any) -> Item:
    ends = np.cumsum([0, *map(len, texts)]).astype("i4").tobytes()
    buffers = options.pop("buffers", [None, ends, "".join(texts).encode()])
    return Item("u", "name", len(texts), buffers, **options)


def numbers(*values: int, **options: Any) -> Item:
    buffers = options.pop("buffers", [None, ints(*values)])
    return Item("i", "item", len(values), buffers, **options)


def lists(offsets: Sequence[int], child: Item | None, kind: str = "+l", **options: Any) -> Item:
    raw = ints(*offsets, dtype="i8" if kind == "+L" else "i4")
    return Item(kind, "values", len(offsets) - 1, [None, raw], [child], **options)


def table(names: Item, values: Item, **options: Any) -> Item:
    return Item("+s", "", names.length, [None], [names, values], **options)


BROKEN = errno.EIO
