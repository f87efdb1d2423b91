"""Sequences, documents and modes of a ``.idx``, told by the metadata that an import has given to arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.rows.types import Int64s

_KEYS = ("document", "mode", "sequences", "modes")
_MODES = range(-128, 128)  # of one byte
_EMPTY = 1 << 24  # documents without sequences, that are no import's if they are more


class Told(NamedTuple):
    """What goes into a ``.idx``.

    Attributes
    ----------
    lengths : ndarray of int64
        Of sequences.
    documents : ndarray of int64
        The sequence that each document begins with, and the number of sequences.
    modes : ndarray of int8 or None
        Of sequences.
    n_lost : int
        Arrays with metadata that are not in it.
    """

    lengths: Int64s
    documents: Int64s
    modes: npt.NDArray[np.int8] | None = None
    n_lost: int = 0


def plain(lengths: Int64s) -> Told:
    """Return arrays as sequences, each of which is a document."""
    return Told(lengths, np.arange(len(lengths) + 1))


def told(lengths: Int64s, metas: Iterable[Mapping[str, Any]]) -> Told:
    """Return what the metadata of arrays of such lengths tell, if they are an import's.

    Examples
    --------
    >>> by_sequence = told(np.array([2, 1, 3]), [{"document": 0}, {"document": 0}, {"document": 1}])
    >>> by_sequence.documents.tolist()
    [0, 2, 3]
    >>> by_document = told(np.array([3, 3]), [{"sequences": [2, 1]}, {}])
    >>> by_document.lengths.tolist(), by_document.documents.tolist()
    ([2, 1, 3], [0, 2, 3])
    """
    columns: dict[str, list[Any]] = {key: [] for key in _KEYS}
    n_any = n_others = 0
    for meta in metas:
        for key, column in columns.items():
            column.append(meta.get(key))
        n_any += bool(meta)
        n_others += not columns.keys() >= meta.keys()
    used = {key for key, column in columns.items() if any(one is not None for one in column)}
    if used and used <= {"document", "mode"}:
        found = _of_sequences(lengths, columns, used)
    elif used and used <= {"sequences", "modes"}:
        found = _of_documents(lengths, columns, used)
    else:
        found = None
    return (
        plain(lengths)._replace(n_lost=n_any) if found is None else found._replace(n_lost=n_others)
    )


def _of_sequences(lengths: Int64s, columns: Mapping[str, list[Any]], used: set[str]) -> Told | None:
    """Return arrays as sequences, with the numbers of their documents."""
    documents, modes = plain(lengths).documents, None
    if "document" in used:
        numbers = columns["document"]
        if not all(type(one) is int and one >= 0 for one in numbers) or numbers != sorted(numbers):
            return None
        if numbers[-1] > len(numbers) + _EMPTY:
            return None
        begins = np.searchsorted(np.array(numbers), np.arange(numbers[-1] + 1))
        documents = np.append(begins, len(numbers))
    if "mode" in used:
        if not _are_modes(columns["mode"]):
            return None
        modes = np.array(columns["mode"], np.int8)
    return Told(lengths, documents, modes)


def _of_documents(lengths: Int64s, columns: Mapping[str, list[Any]], used: set[str]) -> Told | None:
    """Return arrays as documents, each cut into its sequences."""
    cut = [
        [length] if one is None else one
        for one, length in zip(columns["sequences"], lengths.tolist(), strict=True)
    ]
    for one, length in zip(cut, lengths.tolist(), strict=True):
        if type(one) is not list or not all(type(n) is int and n >= 0 for n in one):
            return None
        if sum(one) != length:
            return None
    counts = list(map(len, cut))
    modes = None
    if "modes" in used:
        given = columns["modes"]
        if not all(type(one) is list for one in given) or list(map(len, given)) != counts:
            return None
        if not _are_modes(flat := list(chain.from_iterable(given))):
            return None
        modes = np.array(flat, np.int8)
    documents = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Told(np.array(list(chain.from_iterable(cut)), np.int64), documents, modes)


def _are_modes(values: list[Any]) -> bool:
    return all(type(one) is int and one in _MODES for one in values)
