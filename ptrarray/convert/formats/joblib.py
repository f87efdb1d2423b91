"""Files of `joblib.dump`: a pickle with the bytes of arrays in between."""

from __future__ import annotations

import math
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Unpack

import numpy as np

from ptrarray.convert.files import Readable, open_plain, read_up_to
from ptrarray.convert.formats.pickles import DAMAGED, check_trust, first_or_all, with_classes
from ptrarray.convert.found import Kind, Member
from ptrarray.convert.report import Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.convert.unpickle.inert import Record, is_of_joblib, stand_in
from ptrarray.convert.unpickle.rebuild import rebuild
from ptrarray.errors import BadInputError, import_extra

SUFFIXES = (".joblib", ".jl", ".pkl", ".pickle")

_LARGE_NBYTES = 1 << 16
_WRAPPER = "NumpyArrayWrapper"
_OLD_COMPRESSED = b"ZF"
_OLD = (
    "it was written by joblib before 0.10: if you trust whoever wrote it, pass trust=True "
    "(--trust-pickle), and joblib reads it, with the arrays in files beside it"
)


def from_joblib(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    trust: bool = False,
    attributes: bool = False,
    **options: Unpack[Options],
) -> Report:
    """Import files of `joblib.dump`, compressed or not; of joblib before 0.10 only with trust.

    Parameters
    ----------
    paths, store, **options
        As for `from_pickles`; so is what a file may hold.
    trust : bool
        Whether whoever wrote the files is trusted: then `joblib.load` reads
        them, which can run any code. Without, joblib need not be installed.
    attributes : bool
        As for `from_pickles`.

    Returns
    -------
    Report

    Examples
    --------
    >>> import joblib
    >>> _ = joblib.dump({"x": np.arange(3), "y": np.eye(2)}, "model.joblib")
    >>> print(ptrarray.convert.from_joblib("model.joblib", "any.ptr", progress=False))
    2 converted
    >>> ptrarray.open("any.ptr")["model/x"]
    array([0, 1, 2])
    """
    check_trust(trust=trust, attributes=attributes)
    members = partial(_members, trust, attributes)
    return run(Kind(members, SUFFIXES), paths, store, options)


def _members(trust: bool, attributes: bool, path: str) -> Iterator[Member]:
    yield Member("", lambda: _load_trusted(path) if trust else read(path, attributes=attributes))


def _load_trusted(path: str) -> Any:
    message = "to read it with trust needs joblib: pip install joblib"
    joblib = import_extra("joblib", message, BadInputError)
    return first_or_all(_loaded(joblib.load, path))


def _loaded(load: Callable[[Any], Any], path: str) -> Iterator[Any]:
    """Yield what each `joblib.dump` put into a file; of a path, joblib loads the first alone."""
    with open_plain(path) as file:
        if not file.peek(1):
            return
        try:
            yield with_classes(partial(load, file))
        except Exception:  # noqa: BLE001 as of files from before 0.10, with others beside them
            yield with_classes(partial(load, path))
            return
        while file.peek(1):
            yield with_classes(partial(load, file))


def read(path: str, *, attributes: bool = False) -> Any:
    """Return what is in a file, calling nothing that it names."""
    with open_plain(path) as file:
        if file.peek(2).startswith(_OLD_COMPRESSED):
            raise BadInputError(_OLD)
        try:
            return first_or_all(_values(file, attributes))
        except BadInputError:
            raise
        except (*DAMAGED, struct.error) as error:
            is_byte = isinstance(error, KeyError)
            what = f"{error} is no instruction of a pickle" if is_byte else str(error)
            raise BadInputError(f"it is no file of joblib, or a damaged one: {what}") from error


def _values(file: Readable, attributes: bool) -> Iterator[Any]:
    while file.peek(1):
        yield rebuild(_InertUnpickler(file).load(), attributes=attributes)


# The one in Python, as joblib's own: that in C reads ahead, over the bytes of the arrays.
_Unpickler: Any = pickle._Unpickler


class _InertUnpickler(_Unpickler):  # type: ignore[misc]
    """An `ptrarray.convert.unpickle.inert.InertUnpickler` that takes the arrays where they are."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Unpickler.dispatch)

    def __init__(self, file: Readable) -> None:
        super().__init__(file, encoding="latin1")
        self._from = file
        self._file_read = partial(_read, file)

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if not is_of_joblib(module, name):
            return stand_in(module, name)
        if name != _WRAPPER:
            raise BadInputError(_OLD, found=f"{module}.{name}")
        return _Wrapper

    def load_build(self) -> None:
        """Give a record its state, and an array its bytes, which come next."""
        super().load_build()
        record = self.stack[-1]
        # In protocols 0 and 1, what makes one is called with its class.
        if isinstance(record, _Wrapper) or getattr(record, "args", ())[:1] == (_Wrapper,):
            self.stack[-1] = self._read_array(record.state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        """Read a bytearray, of which the one in Python makes room before it looks for the bytes."""
        n_bytes = int.from_bytes(self.read(8), "little")
        self.append(_read_exactly(self, n_bytes))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _read_array(self, about: dict[str, Any]) -> Any:
        dtype = rebuild(about["dtype"])
        if not isinstance(dtype, np.dtype):
            raise BadInputError(f"its array has no dtype but {dtype!r:.40}")
        if dtype.hasobject:  # the array is a pickle of its own
            return _InertUnpickler(self._from).load()
        if "numpy_array_alignment_bytes" in about:
            _read_exactly(self._from, _read_exactly(self._from, 1)[0])
        shape = tuple(int(length) for length in about["shape"])
        if min(shape, default=0) < 0:
            raise BadInputError(f"its array has shape {shape}")
        n_items = math.prod(shape)
        raw = _read_exactly(self._from, n_items * dtype.itemsize)
        flat = np.frombuffer(raw, dtype) if raw else np.empty(n_items, dtype)
        return flat.reshape(shape, order="F" if about["order"] == "F" else "C")


class _Wrapper(Record):
    """What stands for joblib's description of an array."""

    __slots__ = ()

    kind = name = "NumpyArrayWrapper"


def _read(file: Readable, n_bytes: int) -> bytes:
    """Read so many bytes, or all there are, with no memory for more than these."""
    return file.read(n_bytes) if n_bytes < _LARGE_NBYTES else bytes(read_up_to(file, n_bytes))


def _read_exactly(file: Any, n_bytes: int) -> bytearray:
    """Read so many bytes; raises `EOFError` where there are not as many."""
    raw = read_up_to(file, n_bytes)
    if len(raw) < n_bytes:
        raise EOFError(f"{len(raw)} bytes of an array, expected {n_bytes}")
    return raw
