"""Makes the files of ``tests/golden-bigarray``: some by bigarray itself, some to be refused.

``python -m tests.support.bigarray_files`` makes those that are missing; it needs bigarray.
"""

from __future__ import annotations

import importlib
import marshal
import pickle
import posix
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "golden-bigarray"
UNNAMED = "rows/0000000000000000"  # what rows without an index are named


class _Call:
    """Pickles as a call of a function."""

    def __reduce__(self) -> Any:
        return posix.mkdir, ("EXECUTED",)


def header(meta: bytes) -> bytes:
    return b"mmapdata%8d" % len(meta) + meta


def file_of(
    dtype: Any = "int64", shape: Any = (3,), index: Any = None, raw: bytes | None = None
) -> bytes:
    """Return a file of bigarray with zeros for rows, and any index."""
    n_items = int(np.prod(shape))
    width = np.dtype(dtype).itemsize
    start = -(-502 // width) * width
    rows = header(marshal.dumps([dtype, shape])).ljust(start, b"\0") + bytes(n_items * width)
    raw = pickle.dumps(index) if raw is None else raw
    return rows + raw + len(raw).to_bytes(8, "big")


def write_named(lib: Any, path: str) -> None:
    with lib.PointerArrayWriter(path, shape=(0, 2), dtype="float32") as writer:
        writer.write({"a": np.array([[0, 1], [2, 3]]), "größe": np.array([[4, 5]])})
        writer.write({"none": np.empty((0, 2)), "last": np.array([[6, 7], [8, 9], [10, 11]])})


def write_planned(lib: Any, path: str) -> None:
    """Planned rows with gaps, then opened again three times, which leaves old indexes in it."""
    with lib.PointerArrayWriter(path, shape=(8,), dtype="int64") as writer:
        for start in (5, 0):
            names = {f"{start}/{n}": np.arange(n) + start for n in (1, 2)}
            writer.write(names, start_position=start)
    for n in range(3):
        with lib.PointerArrayWriter(path) as writer:
            writer.write({f"more{n}": np.full(n + 1, n)})


def write_flat(lib: Any, path: str) -> None:
    with lib.MmapArrayWriter(path, shape=(5, 3), dtype=">f8") as writer:
        writer.write(np.arange(9.0).reshape(3, 3), start_position=1)


def write_troubled(lib: Any, path: str) -> None:
    """What bigarray takes and a store refuses: keys of any type, rows written over."""
    with lib.PointerArrayWriter(path, shape=(20,), dtype="int16") as writer:
        writer.write({"good": np.full(2, 1), 5: np.full(2, 2), b"raw": np.full(2, 3)})
        writer.write({"under": np.full(4, 4)}, start_position=8)
        writer.write({"over": np.full(4, 5), "beside": np.full(2, 6)}, start_position=10)
        writer.write({"\ud800": np.full(1, 7), (1, "x"): np.full(1, 8)}, start_position=18)


BY_BIGARRAY = {
    "named": write_named,
    "planned": write_planned,
    "flat": write_flat,
    "troubled": write_troubled,
}


def bad_files(named: bytes) -> dict[str, bytes]:
    """Return what must be refused: one of bigarray's own files with one thing wrong, or made up."""
    pair = {"a": (0, 3)}
    return {
        "bad-call": file_of(index={"a": _Call()}),
        "bad-call-in-key": file_of(index={_Call(): (0, 1)}),
        "bad-call-protocol-2": file_of(raw=pickle.dumps({"a": _Call()}, 2)),
        "bad-numpy-name": file_of(index={np.str_("a"): (0, 1)}),
        "bad-list": file_of(index=[("a", (0, 1))]),
        "bad-memo": file_of(raw=b"\x80\x04}r\xff\xff\xff\xff\x8c\x01aj\xff\xff\xff\x00s."),
        "bad-end": file_of(raw=pickle.dumps(pair)[:-1]),
        "bad-tail": file_of(raw=pickle.dumps(pair) + b"..."),
        "bad-tuples": file_of(raw=b"\x80\x04})" + b"\x94h\x00\x86" * 60 + b"K\x01s."),
        "bad-integer": file_of(raw=b"\x80\x04}\x8c\x01aK\x00\x8a\xff" + b"\x01" * 255 + b"\x86s."),
        "bad-index-cut": named[:-20],
        "bad-rows-cut": named[:520],
        "bad-empty": b"",
        "bad-magic": b"MMAPDATA" + named[8:],
        "bad-header-huge": b"mmapdata99999999" + named[16:],
        "bad-header-negative": b"mmapdata      -1" + named[16:],
        "bad-header-nested": header(b"\x5b\x02\0\0\0" + b"\x29\x01" * 200).ljust(600, b"\0"),
        "bad-header-pickle": header(pickle.dumps(["f4", (3,)])).ljust(600, b"\0"),
        "bad-shape-huge": file_of()[:8] + _reheaded("int64", (2**62, 2**62)),
        "bad-shape-negative": file_of()[:8] + _reheaded("int64", (-3,)),
        "bad-shape-none": file_of()[:8] + _reheaded("int64", ()),
        "bad-rows-of-nothing": file_of()[:8] + _reheaded("int64", (2**70, 0)),
        "bad-dtype-objects": file_of()[:8] + _reheaded("object", (3,)),
        "bad-dtype-several": file_of()[:8] + _reheaded("i4,(2,)f4", (3,)),
        "bad-dtype-unknown": file_of()[:8] + _reheaded("str160", (3,)),
    }


def _reheaded(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return all but the magic of a file that claims to have another dtype and shape."""
    return header(marshal.dumps([dtype, shape]))[8:].ljust(520, b"\0")


def main() -> None:
    lib = importlib.import_module("bigarray")
    for name, write in BY_BIGARRAY.items():
        if not (FOLDER / name).exists():
            write(lib, str(FOLDER / name))
    for name, raw in bad_files((FOLDER / "named").read_bytes()).items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(raw)


if __name__ == "__main__":
    main()
