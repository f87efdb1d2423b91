"""Files of kaldi: written by kaldi's own code, and by bytes where it has no writer."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kaldi_native_io as kaldi
import numpy as np

from ptrarray import convert
from ptrarray.convert import Report

Arrays = Mapping[str, Any]
TAGS = {("f", 4): b"F", ("f", 8): b"D"}
METHODS = ("kSpeechFeature", "kTwoByteAuto", "kOneByteAuto", "kOneByteUnsignedInteger")


def run(paths: Any, store: Path, **options: Any) -> Report:
    """Import in this process, and compare with the files afterwards."""
    options.setdefault("processes", 1)
    return convert.from_kaldi(paths, store, progress=False, verify=True, **options)


def binary(array: Any) -> bytes:
    """Return an array as kaldi has it, behind its key."""
    array = np.asarray(array)
    if array.dtype.kind == "i":
        return b"\0B\4" + struct.pack("<i", len(array)) + b"".join(map(integer, array.tolist()))
    tag = b"\0B" + TAGS[array.dtype.kind, array.dtype.itemsize] + b" VM"[array.ndim :][:1] + b" "
    sizes = b"".join(map(integer, array.shape))
    return bytes(tag + sizes + array.tobytes())


def integer(n: int) -> bytes:
    return b"\4" + struct.pack("<i", n)


def ark(**entries: bytes) -> bytes:
    """Return entries with their keys."""
    return b"".join(key.encode() + b" " + entry for key, entry in entries.items())


def scp(path: Path, content: Mapping[str, bytes], where: Any) -> bytes:
    """Write entries to a path, and return the lines of an .scp for them."""
    lines, data = b"", b""
    for key, entry in content.items():
        data += key.encode() + b" "
        lines += f"{key} {where}:{len(data)}\n".encode()
        data += entry
    path.write_bytes(data)
    return lines


def by_kaldi(folder: Path, name: str, arrays: Arrays, how: str = "ark,scp", **more: Any) -> None:
    """Write arrays of one kind by kaldi's own code: ``name.ark`` and ``name.scp``."""
    first = np.asarray(next(iter(arrays.values())))
    kind = {"f4": "Float", "f8": "Double", "i4": "Int32"}[first.dtype.str[1:]]
    kind += ("Vector" if first.ndim == 1 else "Matrix") + "Writer"
    where = f"{folder / name}.ark"
    to = f"{how}:{where},{folder / name}.scp" if "scp" in how else f"{how}:{where}"
    with getattr(kaldi, kind)(to) as out:
        for key, array in arrays.items():
            out.write(key, array.tolist() if kind.startswith("Int") else array, **more)


def compressed(folder: Path, name: str, arrays: Arrays, method: str) -> None:
    """Write compressed matrices by kaldi's own code."""
    to = f"ark,scp:{folder / name}.ark,{folder / name}.scp"
    with kaldi.CompressedMatrixWriter(to) as out:
        for key, array in arrays.items():
            out.write(key, array, getattr(kaldi.CompressionMethod, method))


def read(path: Path, kind: str) -> dict[str, Any]:
    """Return what kaldi's own code reads by an .scp or .ark."""
    with getattr(kaldi, f"Sequential{kind}Reader")(f"{path.suffix[1:]}:{path}") as entries:
        return {key: np.array(value) for key, value in entries}
