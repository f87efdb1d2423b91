"""Lines of an ``.scp`` of kaldi: which entries of which files are meant, and what of them."""

from __future__ import annotations

import re
from typing import IO, NamedTuple

from ptrarray.convert.formats.kaldi_ark import Range, is_text, shown
from ptrarray.convert.found import Refused
from ptrarray.errors import BadInputError

_LINE_NBYTES = 1 << 20
_RANGE = r":|[0-9]{1,10}:[0-9]{1,10}"
_RANGES = re.compile(rf"({_RANGE})(?:,({_RANGE}))?")
_LINE = re.compile(r"[ \t]*([^ \t]+)[ \t]+(.*?)[ \t\r]*", re.DOTALL)
_OFFSET = re.compile(r"(.+):([0-9]{1,18})", re.DOTALL)
_PLAIN = re.compile(r"[0-9]{1,18}")


class Listed(NamedTuple):
    """What the lines of an .scp name in one file: keys, where each begins, ranges by position."""

    keys: list[str]
    offsets: list[int]
    ranges: dict[int, Range]


def lines_of(path: str, part: tuple[int, int]) -> list[str]:
    """Return the lines that begin in a range of bytes."""
    start, stop = part
    with open(path, "rb") as file:  # noqa: PTH123 a path as it was given
        if start:
            file.seek(start - 1)
            behind = file.readline(stop - start + 1)
            if not behind.endswith(b"\n"):  # of a line that began before, and goes on
                return []
            start += len(behind) - 1
        whole = file.read(max(0, stop - start))
        if whole and not whole.endswith(b"\n"):
            whole += _line(file)
    return whole.decode(errors="surrogateescape").split("\n")


def _line(file: IO[bytes]) -> bytes:
    line = file.readline(_LINE_NBYTES)
    if len(line) == _LINE_NBYTES and not line.endswith(b"\n"):
        raise BadInputError(f"it has a line of more than {_LINE_NBYTES:,} bytes: is it an .scp?")
    return line


def add(line: str, arks: dict[str, Listed]) -> Refused | None:
    """Add what a line names to what is known of its file; return what is wrong with it."""
    # Most lines are so, and of a file that was named before.
    key, _, rest = line.partition(" ")
    path, _, offset = rest.rpartition(":")
    listed = arks.get(path)
    if listed is None or not (_PLAIN.fullmatch(offset) and key) or "\t" in key:
        if not line or line.isspace():
            return None
        try:
            key, path, offset, meant = _parsed(line)
        except BadInputError as error:
            return Refused(shown(line.split(None, 1)[0]), str(error))
        listed = arks.setdefault(path, Listed([], [], {}))
        if meant != Range():
            listed.ranges[len(listed.keys)] = meant
    listed.keys.append(key)
    listed.offsets.append(int(offset))
    return None


def _parsed(line: str) -> tuple[str, str, str, Range]:
    """Return what a line says: key, path, offset, and what of it is meant.

    Raises
    ------
    BadInputError
        If it names no file, or is not as kaldi takes it.
    """
    found = _LINE.fullmatch(line)
    key, given = found.groups() if found else (line, "")
    path, meant, offset = given, Range(), "0"
    if path.endswith("]"):
        path, _, between = path[:-1].rpartition("[")
        meant = _range(between)
    if at := _OFFSET.fullmatch(path):
        path, offset = at.groups()
    for text in (given, path.strip()):
        if text.startswith("|") or text.endswith("|"):
            raise BadInputError(f"it is made by a command, which is not run: {given}")
    if path in ("", "-") or "\0" in path:
        raise BadInputError(f"its line in the .scp names no file: {given!r}")
    if not is_text(key):
        raise BadInputError("its key is not UTF-8")
    return key, path, offset, meant


def _range(text: str) -> Range:
    found = _RANGES.fullmatch(text)
    if found is None:
        raise BadInputError(
            f"its range is [{text}], expected first and last row as [0:9], or with columns as "
            "[0:9,0:3] or [:,0:3]"
        )
    return Range(*(_bounds(one) for one in found.groups(":")))


def _bounds(text: str) -> tuple[int, int] | None:
    if text == ":":
        return None
    first, last = text.split(":")
    return int(first), int(last)
