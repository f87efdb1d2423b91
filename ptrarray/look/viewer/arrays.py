"""One array of an open store as JSON: facts, ways to look at it, a drawing of a window of its rows."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.look.axes import inside
from ptrarray.look.curves import Box
from ptrarray.look.kinds import MOST_LINES, Kind, kinds_of
from ptrarray.look.reduced import SAMPLE_BYTES, band, sample
from ptrarray.look.svg import Picture, picture
from ptrarray.look.viewer import texts
from ptrarray.look.viewer.statistics import as_pairs, statistics_of
from ptrarray.look.viewer.texts import Budget, clean, json_nbytes, one
from ptrarray.look.viewer.windows import ArrayRows, Part, Stopped
from ptrarray.reader import PointerArray, opened_of
from ptrarray.rows.types import Array
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.views.arrays import positions_of

LIMIT_NBYTES = 200_000  # of one answer as JSON
# Of rows that are drawn from all of their values; of more a sample is drawn.
WINDOW_NBYTES = 32 << 20
WINDOW_ELSEWHERE_NBYTES = 4 << 20

VALUES = "values"
# What parts of it may have: a drawing, beside which lines have marks; or text; and names.
_LINES_NBYTES, _PNG_NBYTES, _TEXT_NBYTES, _NAMES_NBYTES = 90_000, 100_000, 140_000, 20_000
_LINES = ("line", "lines")
_HEIGHT, _TALLEST = 280, 480  # of a drawing of rows, and of an image
_LARGEST_FACTOR = 16  # by which pixels are enlarged, as in drawings
_NARROWEST, _WIDEST = 50, 2000
_MARKS = 3000  # numbers that the crosshair can tell, in all
_DIGITS = 7  # of these, where they are not all alike
_TEXT_ROWS = 1 << 15
_FEW = 100  # arrays that begin at one row, as empty ones do


class Asked(NamedTuple):
    """Which rows are looked at, which picture of a stack or column, and on how many pixels."""

    start: int | None
    stop: int | None
    at: int
    width: int


def array(
    store: PointerArray,
    name: str,
    *,
    view: str | None = None,
    start: int | None = None,
    stop: int | None = None,
    at: int = 0,
    width: int = 900,
    stopped: Stopped = bool,
) -> dict[str, Any]:
    """Return an array as it is looked at, ready for `json.dumps(..., allow_nan=False)`.

    Parameters
    ----------
    store : PointerArray
        Open for reading, with any backend, on this machine or elsewhere.
    name : str
        Of the array.
    view : str, optional
        One of the ``views`` of an answer; else the first of them.
    start, stop : int, optional
        Rows of the window; what does not fit is brought to what does. Without them
        the first 32 MiB (4 MiB elsewhere), or a page of text. Of a larger window a
        sample is drawn, and the answer says so.
    at : int
        Which picture of a stack; of a table of values, the first column.
    width : int
        Pixels that there are.
    stopped : callable
        Asked between blocks whether to stop.

    Returns
    -------
    dict
        At most `LIMIT_NBYTES` as JSON. Facts: ``shape``, ``dtype``, ``masked``,
        ``n_rows``, ``nbytes``, ``first_row``, ``crc`` (the checksum that
        is kept of it), ``position``, ``previous`` and ``next``
        (names, or None), ``views``, ``view``, ``limit_rows``, and ``window``, the rows
        that are shown. Then, by the view, ``picture`` (``svg`` and what it shows),
        ``marks`` (lowest and highest numbers of its columns, and the rows at which
        they begin), ``stack``, ``table``, ``lines`` or ``ids``.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.
    BadInputError
        For a view that there is not.
    StoppedError
        If `stopped` said so.

    Examples
    --------
    >>> shown = array(store, "utt1")
    >>> shown["views"], shown["shape"], shown["window"], shown["marks"]["low"]
    (['line', 'values'], [3], [0, 3], [[1, 2, 3]])
    """
    rows = ArrayRows(store, name, stopped)
    views = _views_of(rows)
    chosen = views[0] if view is None else view
    if chosen not in views:
        raise BadInputError(
            f"array {name!r:.200} of {store.path} has no view {chosen!r:.40}; it has {views}",
            path=store.path,
            name=name,
            found=chosen,
            expected=tuple(views),
        )
    asked = Asked(start, stop, at, max(_NARROWEST, min(width, _WIDEST)))
    return {
        **_facts(store, name, rows),
        "views": views,
        "view": chosen,
        **_SHOWN.get(chosen, _pictured)(rows, chosen, asked),
    }


def statistics(store: PointerArray, name: str, *, stopped: Stopped = bool) -> list[Any]:
    """Return statistics of the elements of an array: pairs of what it is, and text.

    Notes
    -----
    Reads all rows once, in blocks of a MiB, on one core. Empty for what is no
    numbers. Of dates and durations there is no mean.

    Raises
    ------
    UnknownNameError, StoppedError
        As `array`.

    Examples
    --------
    >>> statistics(store, "utt1")[:3]
    [['lowest', '1.0'], ['highest', '3.0'], ['mean', '2']]
    """
    rows = ArrayRows(store, name, stopped)
    found = statistics_of(rows)
    return [] if found is None else as_pairs(found, rows.dtype)


def metadata(store: PointerArray, name: str) -> Any:
    """Return the metadata of an array as text: pairs of a key and text, or of more pairs.

    Raises
    ------
    UnknownNameError
        A `KeyError`: no array has this name.

    Examples
    --------
    >>> metadata(store, "utt1")
    []
    """
    return texts.tree(store.meta[name], Budget(_TEXT_NBYTES)) if store.meta[name] else []


def _views_of(rows: ArrayRows) -> list[str]:
    """Return the ways to look at an array, the likeliest first."""
    looked_at: Any = rows  # of which it asks no more than rows can
    kinds: tuple[Kind, ...] = kinds_of(looked_at)
    if kinds in (("text",), ("table",), ("nothing",)):
        return list(kinds)
    return [*(kind for kind in kinds if kind != "bytes"), VALUES]


def _facts(store: PointerArray, name: str, rows: ArrayRows) -> dict[str, Any]:
    position = _position(store, name)
    budget = Budget(_NAMES_NBYTES)
    before, after = (
        store.names[at] if 0 <= at < len(store) else None for at in (position - 1, position + 1)
    )
    return {
        "shape": list(rows.whole_shape),
        "dtype": clean(str(rows.dtype), 500),
        "masked": rows.is_masked,
        "n_rows": rows.shape[0],
        "nbytes": rows.nbytes,
        "first_row": rows.start,
        "crc": rows.crc,
        "position": position,
        "n_arrays": len(store),
        "limit_rows": _limit_rows(rows),
        # There are names that are longer than an answer may be.
        "previous": before if budget.takes(before) else None,
        "next": after if budget.takes(after) else None,
    }


def _position(store: PointerArray, name: str) -> int:
    """Return the position of an array, without columns of all of them where that can be."""
    opened, raw = opened_of(store), name.encode()
    snapshot, address = opened.snapshot, opened.snapshot.locate(raw)
    assert address is not None
    holder, local = opened.holding(address)
    if holder is opened and not holder.snapshot.entries:
        return local
    # In data order arrays begin one after the other; empty ones where others do, too.
    start, positions = snapshot.pointer_at(address)[0], range(len(snapshot))
    at = bisect_left(positions, start, key=lambda n: _start(snapshot, n))
    few = positions[at : at + _FEW]
    found = next((n for n in few if snapshot.locate_position(n) == address), None)
    return int(positions_of(opened, [name])[0]) if found is None else found


def _start(snapshot: Snapshot, position: int) -> int:
    return snapshot.pointer_at(snapshot.locate_position(position))[0]


def _limit_rows(rows: ArrayRows) -> int:
    return max(1, _limit_nbytes(rows) // max(1, rows.itemsize * math.prod(rows.shape[1:])))


def _limit_nbytes(rows: ArrayRows) -> int:
    return WINDOW_NBYTES if rows.is_here else WINDOW_ELSEWHERE_NBYTES


def _window(rows: ArrayRows, asked: Asked, n_rows: int) -> tuple[int, int]:
    """Return the rows that are asked for, at least one; else the first ones."""
    last = rows.shape[0]
    start = max(0, min(asked.start or 0, last - 1))
    stop = min(start + n_rows, last) if asked.stop is None else asked.stop
    return start, max(start + 1, min(stop, last))


# views that are drawn --------------------------------------------------------------------------


def _pictured(rows: ArrayRows, view: str, asked: Asked) -> dict[str, Any]:
    """Return a drawing of a window of rows."""
    limit = _limit_rows(rows)
    start, stop = _window(rows, asked, limit)
    part: Any = Part(rows, start, stop)
    is_sampled = stop - start > limit
    # Of a view no more is read than is drawn; what is not one is read in fewer pieces than pixels.
    part = sample(part).values if is_sampled and not rows.is_view else part[:]
    drawn = _fitting(part, view, (asked.width, _HEIGHT), start)
    box = inside(part, drawn.width, drawn.height, with_colours=view == "heatmap")
    shown = {"window": [start, stop], "picture": _told(drawn, box, is_sampled=is_sampled)}
    if view in _LINES:
        shown["marks"] = _marks(part, rows.dtype, (start, stop), asked.width)
    return shown


def _image(rows: ArrayRows, view: str, asked: Asked) -> dict[str, Any]:
    """Return an image; of several, which one was asked for."""
    if view == "image":
        part: Any = rows[:] if rows.is_view or rows.nbytes <= WINDOW_NBYTES else _every(rows)
        return {"window": [0, rows.shape[0]], **_pixels(part, asked.width, rows.shape)}
    at = max(0, min(asked.at, rows.shape[0] - 1))
    part = rows[at : at + 1][0]
    shown = _pixels(part, asked.width, part.shape)
    return {"window": [at, at + 1], "stack": {"at": at, "n": rows.shape[0]}, **shown}


def _every(rows: ArrayRows) -> Array:
    """Return some rows of an image, evenly spread."""
    n_rows = rows.shape[0]
    return np.concatenate([rows[at : at + 1] for at in range(0, n_rows, -(-n_rows // _TALLEST))])


def _pixels(part: Array, width: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return a drawing that has the proportions of an image of this shape, and that."""
    n_rows, n_columns = shape[:2]
    factor = min(width / n_columns, _TALLEST / n_rows, _LARGEST_FACTOR)
    size = max(round(n_columns * factor), 1), max(round(n_rows * factor), 1)
    drawn = _fitting(part, "image", (size[0] + 4, size[1] + 6), 0)
    # As large as it would be with more pixels.
    sides = {"width": size[0] + 4, "height": size[1] + 6}
    picture = _told(drawn, Box(2, 3, *size), is_sampled=False) | sides
    return {"picture": picture, "size": [n_rows, n_columns]}


def _fitting(part: Array, view: str, size: tuple[int, int], first_row: int) -> Picture:
    """Draw, on fewer pixels where the drawing would be too large to be sent."""
    how: dict[str, Any] = {"kind": view, "first_row": first_row, "max_bytes": _max_bytes(part)}
    how["max_png_bytes"] = _PNG_NBYTES
    while True:
        drawn = picture(part, *size, axes=True, **how)
        nbytes = json_nbytes(drawn.svg)
        if nbytes <= (_LINES_NBYTES if view in _LINES else LIMIT_NBYTES) or max(size) <= 100:
            return drawn
        size = size[0] * 3 // 4, size[1] * 3 // 4


def _max_bytes(part: Array) -> int | None:
    """Return how much of rows to read: of a window all, of what is larger a sample."""
    return None if part.nbytes <= WINDOW_NBYTES or len(part) == 1 else SAMPLE_BYTES


def _told(drawn: Picture, box: Box, *, is_sampled: bool) -> dict[str, Any]:
    """Return a drawing for JSON, with the box in it where the numbers are."""
    return {
        "svg": drawn.svg,
        "width": drawn.width,
        "height": drawn.height,
        "box": list(box),
        "caption": drawn.caption,
        "sampled": is_sampled or drawn.sampled,
    }


def _marks(part: Any, dtype: np.dtype[Any], window: tuple[int, int], width: int) -> dict[str, Any]:
    """Return the numbers of a drawing: lowest and highest of each pixel, column by column."""
    part = part[:, :MOST_LINES] if part.ndim == 2 else part
    n_columns = math.prod(part.shape[1:])
    found = band(part, max(1, min(width, _MARKS // n_columns)), max_bytes=_max_bytes(part))
    low, high = (each.reshape(len(each), -1).T for each in (found.low, found.high))
    n_rows, n_read = window[1] - window[0], int(found.edges[-1])
    edges = [window[0] + int(edge) * n_rows // n_read for edge in found.edges]
    digits = _digits(low, high, dtype)
    marks = {"edges": edges, "low": _numbers(low, digits), "high": _numbers(high, digits)}
    if dtype.kind in "mM":
        marks["texts"] = [[_dated(x, dtype) for x in each.tolist()] for each in (low[0], high[0])]
    return marks


def _digits(low: Array, high: Array, dtype: np.dtype[Any]) -> int:
    """Return how many digits tell numbers of one drawing apart: more where all are alike."""
    known = np.abs([low, high])
    known = known[~np.isnan(known)]
    span = np.nanmax(high) / 2 - np.nanmin(low) / 2 if known.size else 0.0
    if known.size and not span and dtype.itemsize > 4:
        return 15  # as of one number there is nothing to compare it with
    larger = math.log10(known.max()) - math.log10(span) if span > 0 else 0.0
    return min(_DIGITS + max(math.floor(larger), 0), 17)


def _numbers(columns: Array, digits: int) -> list[list[float | None]]:
    return [[_number(value, digits) for value in column] for column in columns.tolist()]


def _number(value: float, digits: int) -> float | None:
    """Return a number for JSON: short, but integers whole."""
    if math.isnan(value):
        return None
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    rounded = float(f"{value:.{digits}g}")
    return rounded if math.isfinite(rounded) else value  # of the largest there are


def _dated(value: float, dtype: np.dtype[Any]) -> str | None:
    return None if math.isnan(value) else one(np.array(int(value)).astype(dtype)[()])


# views that are text ---------------------------------------------------------------------------


def _table(rows: ArrayRows, view: str, asked: Asked) -> dict[str, Any]:
    start, stop = _window(rows, asked, texts.MOST_ROWS)
    some = rows[start : min(stop, start + texts.MOST_ROWS)]
    shown = texts.table(some, start, asked.at, Budget(_TEXT_NBYTES))
    return {"window": [start, start + len(shown["rows"])], "table": shown}


def _lines(rows: ArrayRows, view: str, asked: Asked) -> dict[str, Any]:
    n_rows = _TEXT_ROWS if rows.dtype.kind == "u" else texts.MOST_ROWS
    start, stop = _window(rows, asked, n_rows)
    shown = texts.lines(rows[start : min(stop, start + n_rows)], start, Budget(_TEXT_NBYTES))
    return {"window": [start, shown["stop"]], "lines": shown}


def _ids(rows: ArrayRows, view: str, asked: Asked) -> dict[str, Any]:
    start, stop = _window(rows, asked, texts.MOST_IDS)
    some = rows[start : min(stop, start + texts.MOST_IDS)]
    shown = texts.ids(some, start, Budget(_TEXT_NBYTES))
    return {"window": [start, shown["stop"]], "ids": shown}


def _nothing(rows: ArrayRows, view: str, asked: Asked) -> dict[str, Any]:
    return {"window": [0, 0]}


_SHOWN: dict[str, Callable[[ArrayRows, str, Asked], dict[str, Any]]] = {
    "image": _image,
    "images": _image,
    "text": _lines,
    "tokens": _ids,
    "table": _table,
    VALUES: _table,
    "nothing": _nothing,
}
