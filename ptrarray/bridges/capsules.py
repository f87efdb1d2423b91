"""Arrow's C interface: types, arrays and streams that are made as they are asked for, as capsules."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Generator, Iterator
from ctypes import Structure, c_int, c_void_p
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.bridges.structures import ArrowArray, ArrowStream, Field
from ptrarray.errors import import_extra

_NULLABLE = 2  # ARROW_FLAG_NULLABLE
_MESSAGE_NBYTES = 2000
_MISSING = "Arrow needs nanoarrow: pip install 'ptrarray[arrow]', or 'nanoarrow' beside ptrarray"


class Chunk(NamedTuple):
    """Values of a type, on memory that is kept and not copied.

    Attributes
    ----------
    length, null_count : int
        Values, and those of them that are null.
    buffers : tuple of ndarray or None
        As bytes, contiguous, in the order of Arrow: first the bits that tell what is not null.
    children : tuple of Chunk
        Values of the types of which this one is made.
    """

    length: int
    buffers: tuple[npt.NDArray[np.uint8] | None, ...]
    children: tuple[Chunk, ...] = ()
    null_count: int = 0


def library(module: str = "nanoarrow") -> Any:
    """Return nanoarrow, or a module of it.

    What consumers call to let go of memory has to be compiled: they do so at any time, also while
    an exception is on its way, and Python code would lose that.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    return import_extra(module, _MISSING)


def schema_of(field: Field) -> Any:
    """Return a type as an object of nanoarrow, which speaks the protocol of Arrow's capsules."""
    # Of nanoarrow's functions for types, none makes a list view.
    builder = library("nanoarrow._schema").CSchemaBuilder.allocate()
    builder.set_format(field.format).set_name(field.name)
    builder.allocate_children(len(field.children))
    for number, child in enumerate(field.children):
        builder.set_child(number, None, schema_of(child))
    return builder.set_flags(_NULLABLE).finish()


def array_of(schema: Any, chunk: Chunk) -> Any:
    """Return values of a type as an object of nanoarrow, on the memory of the chunk."""
    children = [
        array_of(schema.child(number), child) for number, child in enumerate(chunk.children)
    ]
    return library().c_array_from_buffers(
        schema,
        chunk.length,
        chunk.buffers,
        null_count=chunk.null_count,
        children=children,
        validation_level="none",  # which would read all of it
        move=True,
    )


def stream_of(field: Field, chunks: Iterator[Chunk]) -> Any:
    """Return a capsule with a stream of values, of which each chunk is made when it is asked for.

    What is raised meanwhile, Ctrl-C among it, ends the stream: the consumer raises an error of its
    own with the message.
    """
    schema = schema_of(field)
    functions = _functions(array_of(schema, chunk) for chunk in chunks)
    # A stream of nanoarrow's own, which never hands out the one array that it is made of. That
    # keeps the functions until the consumer lets go of the stream.
    nanoarrow, streams = library(), library("nanoarrow._array_stream")
    memory = _Memory(b"-")
    memory.kept = functions
    arrays = [nanoarrow.c_array_from_buffers(nanoarrow.uint8(), 1, [None, memory])]
    stream = streams.CArrayStream.from_c_arrays(arrays, schema_of(field), move=True, validate=False)
    struct = ArrowStream.from_address(stream._addr())
    struct.get_next, struct.get_last_error = map(_address, functions)
    return stream.__arrow_c_stream__()


class _Memory(bytearray):
    """Memory that something else depends on."""

    kept: Any


class _Arguments(Structure):
    # What C passes as two pointers, a generator has to be sent as one thing: a structure of two lies in
    # the same registers, on x86-64 and ARM as on all common machines but s390x.
    _fields_ = (("stream", c_void_p), ("array", c_void_p))


def _functions(arrays: Iterator[Any]) -> tuple[Any, Any]:
    """Return what a consumer calls for the next array, and for the message of an error.

    A signal raises at the first step of a function of Python, before it can catch that, and what C
    gets for a result is undefined then. So C calls no function, but a generator that waits inside
    of a ``try``, and an iterator that is not of Python code.
    """
    message = ctypes.create_string_buffer(_MESSAGE_NBYTES)
    served = _served(arrays, message)
    next(served)
    where = repeat(ctypes.addressof(message))
    get_next = ctypes.CFUNCTYPE(c_int, _Arguments)(served.send)
    return get_next, ctypes.CFUNCTYPE(c_void_p)(where.__next__)


def _served(arrays: Iterator[Any], message: Any) -> Generator[int, _Arguments, None]:
    """Move arrays to where a consumer wants them; yield an error of the system, or 0."""
    try:
        while True:
            wanted = yield 0
            _move(next(arrays, None), wanted.array)
    except GeneratorExit:
        return
    except BaseException as error:  # noqa: BLE001 the consumer raises it
        arrays = iter(())  # lets go of what they are made of
        text = f"{type(error).__name__}: {error}".encode(errors="replace")
        message.value = text.replace(b"\0", b" ")[: _MESSAGE_NBYTES - 1]
    while True:
        yield errno.EIO


def _move(array: Any, address: int) -> None:
    """Move an array of nanoarrow, or None, the end of a stream."""
    if array is None:
        ArrowArray.from_address(address).release = None
    else:
        ctypes.memmove(address, array._addr(), ctypes.sizeof(ArrowArray))
        ArrowArray.from_address(array._addr()).release = None


def _address(function: Any) -> int | None:
    """Return where C calls a function; unlike `ctypes.cast`, leaves no cycle of references."""
    return c_void_p.from_buffer(function).value
