"""What names are searched for: a pattern as a shell has them, held against many names at once.

`fnmatch.fnmatchcase` decides, as it does for ``ptrarray ls``. But it is only asked about names that are
left after a look at a few of their bytes, which is taken of all names of a block in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from functools import cached_property
from itertools import groupby, takewhile, zip_longest

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.entries import RaggedColumn
from ptrarray.format.names import decode, is_text
from ptrarray.rows.types import Bools, Int64s, UInt8s

# As `fnmatch` takes a pattern apart: a bracket that nothing closes is a character.
_TOKEN = re.compile(r"\*|\?|\[!?+\]?+[^\]]*\]|.", re.DOTALL)
_ASCII = 128
# Where no more names than one in so many are left, each is decoded and looked at.
_FEW = 16
_RARE = 128  # where one place in fewer has a byte, the next byte is looked at in those alone
_SAMPLE_NBYTES = 4096  # that tell which bytes are rare
# In one go: for results that are larger, the allocator asks the system each time, which costs more
# than to compare.
_COMPARED_NBYTES = 1 << 17

# How far from where a name begins, or if negative from where it ends, and what may be there: one byte,
# or of each byte whether it may.
Check = tuple[int, "int | Bools"]


class Pattern:
    """A pattern, and what the bytes of a name must be for it to match.

    Text without ``*``, ``?`` and ``[ab]`` stands for all names that begin with it; any other pattern
    for whole names, as `fnmatch.fnmatchcase` has it.

    Parameters
    ----------
    text : str
        The pattern.

    Attributes
    ----------
    matches : callable
        Tells of a name, as text, whether it matches.

    Examples
    --------
    >>> names = RaggedColumn.of([b"utt1", b"utt10", b"word1"])
    >>> Pattern("utt").among(names), Pattern("*1").among(names), Pattern("????").among(names)
    (array([0, 1]), array([0, 2]), array([0]))
    """

    # In UTF-8 no character has bytes that are found within others, so text may be looked for as bytes.
    # That a character is one byte, and so where text behind a `?` lies, holds in ASCII alone:
    #
    #     pattern    bytes       in any block                       in a block of ASCII
    #     ab?c*de    6 or more   [0] is a, [1] b, [-2] d, [-1] e    [3] is c
    #     *lit*      3 or more   "lit" somewhere
    #     [ab]?      2 or more                                      [0] is a or b; 2 bytes

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            what = f"a pattern must be a str, not {type(text).__name__}: {text!r:.80}"
            raise BadInputError(what, found=type(text).__name__, expected="str")
        tokens: list[str] = _TOKEN.findall(text)
        if all(map(_is_literal, tokens)):
            text, tokens = f"{text}*", [*tokens, "*"]
        self.matches = re.compile(translate(text)).match
        self._n_least = sum(_n_bytes(token) for token in tokens if token != "*")
        self._has_star = "*" in tokens
        backward = tokens[::-1]
        self._head = list(takewhile("*".__ne__, tokens))
        self._tail = list(takewhile("*".__ne__, backward)) if self._has_star else []
        self._before = _text(takewhile(_is_literal, tokens))
        self._after = _text(reversed([*takewhile(_is_literal, self._tail)]))
        left = tokens[_n_literal(self._head) : len(tokens) - _n_literal(self._tail)]
        runs = [_text(run) for is_literal, run in groupby(left, _is_literal) if is_literal]
        self._inner = max(runs, key=len, default=b"")

    def among(self, names: RaggedColumn) -> Int64s:
        """Return which names may match, in rising order: all that do, and seldom others.

        Parameters
        ----------
        names : RaggedColumn
            Sound, and readable: see `readable`.
        """
        starts, ends, joined = names.starts, names.ends, names.joined
        is_ascii = len(joined) == 0 or bool(joined.max() < _ASCII)
        lengths = ends - starts
        is_fit = lengths >= self._n_least
        if is_ascii and not self._has_star:
            is_fit = lengths == self._n_least
        found = np.arange(len(names)) if is_fit.all() else np.flatnonzero(is_fit)
        for offset, allowed in [*self._sure, *(self._in_ascii if is_ascii else ())]:
            edges = ends if offset < 0 else starts
            # Most often all names are looked at once, and then few are left.
            where = (edges if len(found) == len(names) else edges[found]) + offset
            found = found[_takes(allowed, joined[where])]
            if not len(found):
                break
        if self._inner and len(found) * _FEW > len(names):
            has_inner = np.zeros(len(names), np.bool_)
            has_inner[_with(self._inner, names)] = True
            found = found[has_inner[found]]
        return found

    @cached_property
    def _sure(self) -> list[Check]:
        """What holds in any block; first what is next to the stars, as names have their ends in common."""
        before, n_after = reversed([*enumerate(self._before)]), len(self._after)
        both = zip_longest(before, enumerate(self._after, -n_after))
        return [check for checks in both for check in checks if check is not None]

    @cached_property
    def _in_ascii(self) -> list[Check]:
        """What holds besides where all characters are one byte."""
        head, tail = enumerate(self._head), enumerate(self._tail, 1)
        before, after = _n_literal(self._head), _n_literal(self._tail)
        checks = [(at, token) for at, token in head if at >= before]
        checks += [(-at, token) for at, token in tail if at > after]
        return [(at, _allowed(token)) for at, token in checks if token != "?"]


def readable(names: RaggedColumn) -> RaggedColumn:
    """Return names whose bytes are those of the text that they are shown as: damaged ones are escaped."""
    if is_text(names.joined, names.ends):
        return names
    return RaggedColumn.of([decode(name).encode() for name in names.split()])


def _is_literal(token: str) -> bool:
    return len(token) == 1 and token not in "*?"


def _n_literal(tokens: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(_is_literal, tokens))


def _n_bytes(token: str) -> int:
    return len(_text(iter(token))) if _is_literal(token) else 1


def _text(tokens: Iterator[str]) -> bytes:
    # A lone surrogate, which no name has, is in no name as these bytes either.
    return "".join(tokens).encode(errors="surrogatepass")


def _takes(allowed: int | Bools, values: UInt8s) -> Bools:
    return values == allowed if isinstance(allowed, int) else allowed[values]


def _allowed(token: str) -> Bools:
    """Tell of each byte whether it is an ASCII character that a token takes."""
    takes = re.compile(translate(token)).match
    return np.array([at < _ASCII and takes(chr(at)) is not None for at in range(256)])


def _with(text: bytes, names: RaggedColumn) -> Int64s:
    """Return which names have a text somewhere, some of them several times."""
    joined, n_places = names.joined, len(names.joined) - len(text) + 1
    counts = np.bincount(joined[:_SAMPLE_NBYTES], minlength=256)
    rarest = sorted(range(len(text)), key=lambda at: counts[text[at]])
    parts = [np.empty(0, np.int64)]
    for low in range(0, n_places, _COMPARED_NBYTES):
        high = min(low + _COMPARED_NBYTES, n_places)
        is_hit = joined[low + rarest[0] : high + rarest[0]] == text[rarest[0]]
        for at in rarest[1:]:
            if np.count_nonzero(is_hit) * _RARE < high - low:
                break
            is_hit &= joined[low + at : high + at] == text[at]
        parts.append(np.flatnonzero(is_hit) + low)
    hits = np.concatenate(parts)
    for at in rarest[1:]:
        hits = hits[joined[hits + at] == text[at]]
    which = np.searchsorted(names.ends, hits, side="right")
    whole: Int64s = which[hits + len(text) <= names.ends[which]]
    return whole
