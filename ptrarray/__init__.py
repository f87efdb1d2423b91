"""A pointer-array database for variable-length numpy arrays.

One flat memory-mapped data file and an index of name → (start, end), filled by
parallel writer processes, read by name or slice from any process, reduced
whole with numpy::

    with ptrarray.create("corpus.ptr", dtype="f4", row_shape=(80,)) as writer:
        writer["utt1"] = features
    store = ptrarray.open("corpus.ptr")
    store["utt1"], np.mean(store, axis=0)
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ptrarray.creation import create
from ptrarray.errors import (
    BadInputError,
    ClosedStoreError,
    CorruptStoreError,
    Damage,
    DuplicateNameError,
    OverlapError,
    RemoteError,
    StoreChangedError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    TaskError,
    UnknownNameError,
)
from ptrarray.reader import PointerArray, open
from ptrarray.rows.pointers import Pointer
from ptrarray.rows.ragged import Ragged
from ptrarray.writer import PointerArrayWriter, append

if TYPE_CHECKING:
    from ptrarray import bigarray as bigarray
    from ptrarray import convert
    from ptrarray.downloading import download
    from ptrarray.filling import fill
    from ptrarray.joining import join, part
    from ptrarray.nested import classes_in, dump, load
    from ptrarray.objects.registry import Record, register
    from ptrarray.packs import pack, unpack
    from ptrarray.storage.system.compressors import register_compressor
    from ptrarray.upkeep import checkpoint, compact, publish, repair, verify

__version__ = "0.1.0"

if sys.byteorder != "little":
    raise ImportError("ptrarray needs a little-endian machine: its files are viewed in place")

__all__ = [
    "BadInputError",
    "ClosedStoreError",
    "CorruptStoreError",
    "Damage",
    "DuplicateNameError",
    "OverlapError",
    "Pointer",
    "PointerArray",
    "PointerArrayWriter",
    "Ragged",
    "Record",
    "RemoteError",
    "StoreChangedError",
    "StoreError",
    "StoreExistsError",
    "StoreNotFoundError",
    "TaskError",
    "UnknownNameError",
    "append",
    "checkpoint",
    "classes_in",
    "compact",
    "convert",
    "create",
    "download",
    "dump",
    "fill",
    "join",
    "load",
    "open",
    "pack",
    "part",
    "publish",
    "register",
    "register_compressor",
    "repair",
    "unpack",
    "verify",
]

# Imported when they are first asked for: whoever opens a store waits for none of it.
_LATER = {
    "Record": "objects.registry",
    "bigarray": "",
    "checkpoint": "upkeep",
    "classes_in": "nested",
    "compact": "upkeep",
    "convert": "",
    "download": "downloading",
    "dump": "nested",
    "fill": "filling",  # not as the function: whoever imports a module puts it in the package
    "join": "joining",
    "load": "nested",
    "pack": "packs",
    "part": "joining",
    "publish": "upkeep",
    "register": "objects.registry",
    "register_compressor": "storage.system.compressors",
    "repair": "upkeep",
    "unpack": "packs",
    "verify": "upkeep",
}


if not TYPE_CHECKING:  # else checkers would take a name that is misspelt for one that comes later

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"{__name__}.{_LATER[name] or name}")
        value = globals()[name] = getattr(module, name) if _LATER[name] else module
        return value


def __dir__() -> list[str]:
    """Return what is public, and not what this module needs."""
    return sorted([*__all__, *_LATER.keys() - __all__, *(n for n in globals() if n[:2] == "__")])
