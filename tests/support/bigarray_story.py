"""What programs do with bigarray, told of any module with its classes.

Run with bigarray itself in a process of its own, for it starts others:
``python -m tests.support.bigarray_story MODULE FOLDER`` prints all answers as JSON.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

Answer = Any


def told(array: Any) -> list[Any]:
    """Return an array as JSON can tell it."""
    return [str(array.dtype), list(array.shape), array.tolist()]


def rows_one_after_the_other(lib: Any, path: str) -> Answer:
    with lib.MmapArrayWriter(path, (0, 3), "float32") as writer:
        for n in range(5):
            assert writer.write(np.full((n, 3), n)) is writer or n == 0
    return told(lib.MmapArray(path))


def several_arrays_in_a_call(lib: Any, path: str) -> Answer:
    with lib.MmapArrayWriter(path, shape=(0,), dtype="int64") as writer:
        writer.write([np.arange(3), np.arange(2)]).write(np.arange(4))
        return [list(writer.shape), str(writer.dtype), told(lib.MmapArray(path, "r"))]


def rows_written_over(lib: Any, path: str) -> Answer:
    with lib.MmapArrayWriter(path, (8,), "int16") as writer:
        writer.write(np.arange(8, dtype="int16"))
    with lib.MmapArrayWriter(path) as writer:
        writer.write(np.array([-1, -2], "int16"), start_position=3)
        writer.write(np.array([-3, -4, -5], "int16"), 7)
    return told(lib.MmapArray(path))


def opened_again_and_appended_to(lib: Any, path: str) -> Answer:
    for names in ("ab", "cd"):
        with lib.PointerArrayWriter(path, (0, 2), "float64") as writer:
            writer.write({name: np.full((2, 2), ord(name)) for name in names})
    x = lib.PointerArray(path, "r")
    return [told(x), {name: list(pointer) for name, pointer in x.indices.items()}]


def planned_rows(lib: Any, path: str) -> Answer:
    with lib.PointerArrayWriter(path, 20, "int32", True) as writer:
        for start in (10, 0):
            writer.write({f"n{start}": np.arange(start, start + 5)}, start_position=start)
        indices = {name: list(writer.indices[name]) for name in sorted(writer.indices)}
        shape = list(writer.shape)
    x = lib.PointerArray(path, mode="r")
    return [indices, shape, told(x["n0"]), told(x["n10"]), told(x)]


def rows_beyond_the_end(lib: Any, path: str) -> Answer:
    with lib.PointerArrayWriter(path, (4,), "uint8") as writer:
        writer.write({"far": np.arange(3, dtype="uint8")}, start_position=6)
    x = lib.PointerArray(path, "r")
    return [told(x), list(x.indices["far"])]


def an_empty_file_at_the_path(lib: Any, path: str) -> Answer:
    with NamedTemporaryFile(dir=Path(path).parent, delete=False) as file:
        pass
    with lib.PointerArrayWriter(file.name, (0,), "float32") as writer:
        writer.write({"a": np.arange(3)})
    return told(lib.PointerArray(file.name, "r")["a"])


def a_length_left_open(lib: Any, path: str) -> Answer:
    shapes = []
    for n, shape in enumerate([(None, 2), (-1, 2), (0, 2), [3, 2]]):
        with lib.MmapArrayWriter(f"{path}{n}", shape, np.dtype("f4")) as writer:
            shapes.append(list(writer.shape))
    return shapes


def written_anew(lib: Any, path: str) -> Answer:
    for value in (1, 2):
        with lib.PointerArrayWriter(path, (0,), "int8", remove_exist=True) as writer:
            writer.write({"a": np.full(value, value, "int8")})
    return told(lib.PointerArray(path, "r"))


def indices_of_the_array(lib: Any, path: str) -> Answer:
    with lib.PointerArrayWriter(path, (0, 2), "int32") as writer:
        writer.write({"a": np.arange(8).reshape(4, 2), "b": np.arange(6).reshape(3, 2)})
    x = lib.PointerArray(path, "r")
    picked = [x["a"], x[2:5], x[::-2], x[-1], x[[0, 6, 0]], x[x[:, 0] > 3], x[1:3, 1], x[...]]
    return [[told(rows) for rows in picked], int(x[4, 1]), len(x), [told(row) for row in x]]


def what_numpy_makes_of_it(lib: Any, path: str) -> Answer:
    with lib.PointerArrayWriter(path, (6, 2), "float32") as writer:
        writer.write({"a": np.arange(8.0).reshape(4, 2)})
    x = lib.PointerArray(path, "r")
    made = [np.sum(x), x.sum(0), np.mean(x), x.max(), np.median(x), np.cumsum(x), x + 1, 2 * x]
    made += [x == x[0], np.sqrt(x), x.T, x.reshape(-1), x.astype("i2"), x.copy(), x[2:4] @ x[0]]
    made += [np.concatenate([x, x]), np.vstack([x, x[:1]]), np.sort(x, axis=0), np.asarray(x)]
    made += [np.unique(x), np.where(x > 3)[0], np.einsum("ij->j", x), np.clip(x, 1, 2), -x]
    flags = [isinstance(x, np.ndarray), x.ndim, x.size, x.nbytes, x.itemsize, bool((x > 6).any())]
    return [[told(np.asarray(part)) for part in made], flags, x.tobytes().hex()]


def changes_in_memory_and_on_the_disk(lib: Any, path: str) -> Answer:
    with lib.PointerArrayWriter(path, (0,), "int32") as writer:
        writer.write({"a": np.arange(4)})
    copied = lib.PointerArray(path, mode="c")
    copied[0] = 99
    after_copied = told(lib.PointerArray(path, "r"))
    changed = lib.PointerArray(path, mode="r+")
    changed[1] = 77
    changed += 1
    changed["a"][3] = -1
    changed.flush()
    return [told(copied), after_copied, told(lib.PointerArray(path, "r"))]


def pickled_writers(lib: Any, path: str) -> Answer:
    writer = lib.MmapArrayWriter(path, (6,), "int64")
    writer.write(np.arange(2))
    copy = pickle.loads(pickle.dumps(writer))
    copy.write(np.arange(2), start_position=4)
    copy.flush()
    facts = [copy.path == writer.path, list(copy.shape), copy is writer]
    for one in (copy, writer):
        one.close()
    return [facts, told(lib.MmapArray(path, "r"))]


def one_writer_for_a_path(lib: Any, path: str) -> Answer:
    writer = lib.MmapArrayWriter(path, (0,), "int64")
    counts = [lib.get_total_opened_mmap()]
    same = lib.MmapArrayWriter(path) is writer
    other = lib.MmapArrayWriter(path + "2", (0,), "int64")
    counts.append(lib.get_total_opened_mmap())
    closed = [writer.is_closed]
    for one in (writer, other):
        one.close()
    closed.append(writer.is_closed)
    return [counts, same, closed, lib.get_total_opened_mmap()]


def facts_of_the_store(lib: Any, path: str) -> Answer:
    with lib.MmapArrayWriter(path, (0, 5), "float16") as writer:
        writer.write(np.zeros((3, 5)))
        facts = [writer.path == str(Path(path).resolve()), writer.filesize >= 30]
    x = lib.MmapArray(path, "r")
    dtype, shape = lib.read_mmaparray_header(path)
    header = lib.read_mmaparray_header(path, return_header_size=True)
    facts += [x.path == writer.path, x.filesize == writer.filesize, len(header)]
    return [facts, dtype, list(shape)]


STORY: list[Callable[[Any, str], Answer]] = [
    rows_one_after_the_other,
    several_arrays_in_a_call,
    rows_written_over,
    opened_again_and_appended_to,
    planned_rows,
    rows_beyond_the_end,
    an_empty_file_at_the_path,
    a_length_left_open,
    written_anew,
    indices_of_the_array,
    what_numpy_makes_of_it,
    changes_in_memory_and_on_the_disk,
    pickled_writers,
    one_writer_for_a_path,
    facts_of_the_store,
]


def main(module: str, folder: str) -> None:
    lib = importlib.import_module(module)
    answers = {}
    for tell in STORY:
        answers[tell.__name__] = tell(lib, str(Path(folder) / tell.__name__))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
