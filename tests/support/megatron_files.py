"""Files of Megatron-LM and fairseq: what the golden ones hold, and others, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).parent.parent / "golden-megatron"
# Lengths of the sequences of each document.
DOCUMENTS: dict[str, list[list[int]]] = {
    "plain": [[3], [2], [4]],
    "documents": [[3], [2, 4], [], [0, 5]],
    "empties": [[0], [2], [0]],
    "one": [[1]],
    "modes": [[2], [3, 1]],
}
DTYPES = {"u1": 1, "i1": 2, "i2": 3, "i4": 4, "i8": 5, "f8": 6, "f4": 7, "u2": 8}  # and codes
NAMES = [*DOCUMENTS, *DTYPES]

Array = npt.NDArray[Any]


def golden(name: str) -> tuple[list[list[int]], np.dtype[Any]]:
    """Return the documents and the dtype of a golden file."""
    if name in DOCUMENTS:
        return DOCUMENTS[name], np.dtype("i4")
    return DOCUMENTS["plain"], np.dtype(name)


def sequences(documents: list[list[int]], dtype: npt.DTypeLike = "i4") -> list[Array]:
    """Return the sequences of documents, one after the other."""
    lengths = [length for document in documents for length in document]
    return [(np.arange(n) + 7 * i).astype(dtype) for i, n in enumerate(lengths)]


def write_pair(
    prefix: Path,
    arrays: Sequence[Array],
    *,
    code: int = 0,
    pointers: Iterable[int] | None = None,
    documents: Iterable[int] | None = None,
    modes: Iterable[int] = (),
    is_fairseq: bool = False,
) -> Path:
    """Write a ``.idx`` and a ``.bin`` with arrays end to end; what is given takes the place of what fits."""
    dtype = arrays[0].dtype if arrays else np.dtype("i4")
    sizes = np.cumsum([0, *(array.nbytes for array in arrays)])
    starts = sizes[:-1] if pointers is None else np.array(list(pointers))
    edges = np.arange(len(arrays) + 1) if documents is None else np.array(list(documents))
    n, d = len(arrays), len(edges)
    head = struct.pack("<9sQBQ", b"MMIDIDX", 1, code or DTYPES[dtype.str[1:]], n)
    lengths = np.array([len(array) for array in arrays], "<i4").tobytes()
    parts = [
        head,
        b"" if is_fairseq else struct.pack("<Q", d),
        lengths,
        starts.astype("<i8").tobytes(),
    ]
    if not is_fairseq:
        parts += [edges.astype("<i8").tobytes(), np.array(list(modes), "i1").tobytes()]
    path = prefix.with_name(f"{prefix.name}.idx")
    path.write_bytes(b"".join(parts))
    path.with_suffix(".bin").write_bytes(b"".join(array.tobytes() for array in arrays))
    return path


def write_golden(folder: Path) -> None:
    """Write the files that are missing, by megatron-core."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    for name in NAMES:
        if (folder / f"{name}.idx").exists():
            continue
        documents, dtype = golden(name)
        has_modes = name == "modes"
        builder = IndexedDatasetBuilder(
            str(folder / f"{name}.bin"), dtype=dtype.type, multimodal=has_modes
        )
        i = 0
        for document in documents:
            for length in document:
                tokens = torch.arange(length) + 7 * i
                builder.add_item(tokens, i % 2) if has_modes else builder.add_item(tokens)
                i += 1
            builder.end_document()
        builder.finalize(str(folder / f"{name}.idx"))


if __name__ == "__main__":
    write_golden(GOLDEN)
