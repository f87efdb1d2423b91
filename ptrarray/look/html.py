"""What there is to see as HTML for notebooks: in one form that lives everywhere.

Notebooks that are not trusted, and pages that others make of notebooks, take out styles, scripts, ids
and SVG. So there are none: drawings are pictures with their size, attributes say how things look, and
colours are readable on white and on black. Whatever comes from a store is text, cut to a length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ptrarray.look.colours import LINE, QUIET
from ptrarray.look.histogram import Histogram, histogram
from ptrarray.look.kinds import kind_of
from ptrarray.look.numbers import Array
from ptrarray.look.svg import Picture, picture
from ptrarray.look.words import plain

LIMIT_NBYTES = 60_000

_CUT = " …"
# Notebooks draw formulas in HTML, too, which begin with these and end in the same element.
_NO_FORMULA = {ord(character): f"<span>{character}</span>" for character in "$\\"}
_SAMPLE = 1 << 16  # arrays of many whose lengths are looked at
_TEXT = 80  # characters of a name, a dtype or a value
_DEPTH = 6  # of lists and dicts in each other
_CELL = "text-align:left;vertical-align:top;padding:2px 10px 2px 0"
_QUIET = "opacity:0.7"
_SIZES = (200, 40), (120, 32), (96, 24), (48, 16)
_READ_NBYTES = 1 << 18  # of an array, for a picture
_PICTURES_NBYTES = 32_000


def text(value: str, n_characters: int = _TEXT) -> str:
    """Return text as HTML: cut, and without what moves or hides other text, or is taken for a formula.

    Examples
    --------
    >>> text("<b>" * 40, 10)
    '&lt;b&gt;&lt;b&gt;&lt;b …'
    >>> text("$x$")
    '<span>$</span>x<span>$</span>'
    """
    shown = value if len(value) <= n_characters else value[: n_characters - 2] + _CUT
    return escape(plain(shown)).translate(_NO_FORMULA)


def brief(value: Any, n_characters: int = _TEXT) -> str:
    """Return about what `repr` does, in time and length that do not grow with the value.

    Examples
    --------
    >>> brief({"a": [1, 2.5, None], "b": "c" * 1000}, 31)
    "{'a': [1, 2.5, None], 'b': 'c …"
    """
    pieces, length = [], 0
    for piece in _pieces(value, n_characters, _DEPTH):
        pieces.append(piece)
        length += len(piece)
        if length > n_characters:
            return "".join(pieces)[: n_characters - 2] + _CUT
    return "".join(pieces)


def _pieces(value: Any, most: int, depth: int) -> Iterator[str]:
    if isinstance(value, str | bytes):
        yield repr(value[: most + 1])
    elif isinstance(value, Mapping | list | tuple) and not depth:
        yield "…"
    elif isinstance(value, Mapping):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _pieces(key, most, depth - 1)
            yield ": "
            yield from _pieces(item, most, depth - 1)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _pieces(item, most, depth - 1)
        yield "]"
    elif isinstance(value, np.ndarray):
        yield f"array of {value.dtype} {value.shape}"
    else:
        yield repr(value)[: most + 1]


def size(nbytes: int) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size(24), size(1_500_000)
    ('24 bytes', '1.5 MB')
    """
    if nbytes < 1000:
        return f"{nbytes} bytes"
    number, unit = float(nbytes), 0
    while number >= 999.5:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {' kMGTPE'[unit]}B"


# parts of a page ---------------------------------------------------------------------------------


def page(kind: str, about: str, parts: Iterable[str]) -> str:
    """Return a page: what it is about in bold, and parts, of which those are left out that are too much.

    Parameters
    ----------
    kind, about : str
        Text.
    parts : iterable of str
        HTML.

    Examples
    --------
    >>> page("Ragged", "2 arrays", ["<p>1</p>"])
    '<div style="overflow-x:auto;max-width:100%"><div><b>Ragged</b> 2 arrays</div><p>1</p></div>'
    """
    head = f"<div><b>{text(kind)}</b> {text(about, 200)}</div>"
    whole = f'<div style="overflow-x:auto;max-width:100%">{head}'
    for part in parts:
        fits = n_bytes(whole) + n_bytes(part) < LIMIT_NBYTES - 200
        whole += part if fits else quiet("left out here, as it is much")
    return f"{whole}</div>"


def safely(what: object, make: Callable[[], str]) -> str:
    """Return a page about an object, whatever goes wrong: then its text, and what is wrong."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 a notebook that is run as a whole would end at it
        return page(type(what).__name__, text_of(what), [fault(error)])


def text_of(what: Any) -> str:
    """Return the text of an object, or whatever there is in its place."""
    try:
        return repr(what)
    except Exception:  # noqa: BLE001 as above
        return str(getattr(what, "path", ""))


def n_bytes(html: str) -> int:
    """Return how many bytes HTML is."""
    return len(html.encode())


def quiet(words: str) -> str:
    """Return a line of text that is not the main thing."""
    return f'<div style="{_QUIET}">{text(words, 400)}</div>'


def fault(error: BaseException) -> str:
    """Return a line that says what is wrong."""
    words = str(error) or type(error).__name__
    return f"<div>&#9888; {text(words, 400)}</div>"


def beside(parts: Iterable[str]) -> str:
    """Return parts beside each other, or below where that is too wide."""
    inner = "".join(f"<div>{part}</div>" for part in parts if part)
    return f'<div style="display:flex;flex-wrap:wrap;gap:24px">{inner}</div>'


def folded(summary: str, body: str) -> str:
    """Return a part that is shown when it is clicked at."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def table(rows: Iterable[Iterable[str]], head: Iterable[str] = ()) -> str:
    """Return a table of cells of HTML; its head is text."""
    heads = "".join(f'<th style="{_CELL};{_QUIET}">{text(one)}</th>' for one in head)
    lines = [f"<tr>{heads}</tr>"] if heads else []
    for row in rows:
        lines.append("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>")
    return f'<table style="border-collapse:collapse;margin:4px 0">{"".join(lines)}</table>'


def pairs(values: Mapping[str, Any], n: int, nbytes: int) -> str:
    """Return a mapping as a table: at most the first `n` of its items, in so many bytes.

    Examples
    --------
    >>> "1 more" in pairs({"a": 1, "b": 2}, 1, 1000)
    True
    """
    rows, length = [], 0
    for key, value in islice(values.items(), n):
        row = (text(brief(key) if not isinstance(key, str) else key), text(brief(value, 160), 160))
        length += sum(map(n_bytes, row)) + 100
        if length > nbytes:
            break
        rows.append(row)
    n_left = len(values) - len(rows)
    return table(rows) + (quiet(f"and {n_left:,} more") if n_left else "")


# drawings ----------------------------------------------------------------------------------------


def bars(counted: Histogram, unit: str, width: int = 340, height: int = 110) -> str:
    """Return how many arrays are how long, as a picture and a line of text.

    Parameters
    ----------
    counted : Histogram
    unit : str
        What lengths are counted in, as ``rows``.
    """
    n_bins = len(counted.counts)
    if not n_bins:
        return quiet(f"{counted.n_empty:,} arrays without {unit}" if counted.n_empty else "")
    drawn = Picture(_bars(counted, width, height), "line", width, height, "", False)
    low, high = int(counted.edges[0]), int(counted.edges[-1]) - 1
    told = f"{low:,} to {high:,} {unit} an array"
    if counted.n_empty:
        told += f", {counted.n_empty:,} without {unit}"
    if counted.is_logarithmic:
        told += ", in bins that grow"
    if counted.is_sample:
        told += f"; a sample of {counted.n_counted:,} arrays"
    return f"<div>{drawn.img(f'lengths: {told}')}</div>{quiet(told)}"


def _bars(counted: Histogram, width: int, height: int) -> str:
    """Return bars as SVG: of arrays without rows a grey one to the left of all others."""
    n_bins, top, bottom = len(counted.counts), 14, height - 16
    most = max(int(counted.counts.max()), counted.n_empty)
    left = 34 if counted.n_empty else 2
    step = (width - left - 2) / n_bins
    shapes = [_label(left, 11, "start", f"{most:,} {'array' if most == 1 else 'arrays'}")]
    for number, count in enumerate(counted.counts.tolist()):
        if count:
            nearest = max((bottom - top) * count / most, 1)  # one is seen beside a million
            x, y = left + number * step, bottom - nearest
            shapes.append(_bar(x, y, max(step - 1, 1), nearest, LINE))
    if counted.n_empty:
        tall = max((bottom - top) * counted.n_empty / most, 1)
        shapes.append(_bar(4, bottom - tall, 20, tall, QUIET))
        shapes.append(_label(14, height - 3, "middle", "0"))
    shapes.append(f"<path d='M2 {bottom + 0.5}H{width - 2}' stroke='{QUIET}' stroke-opacity='.5'/>")
    shapes.append(_label(left, height - 3, "start", f"{int(counted.edges[0]):,}"))
    shapes.append(_label(width - 2, height - 3, "end", f"{int(counted.edges[-1]) - 1:,}"))
    box = f"width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {box}>{''.join(shapes)}</svg>"


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    size = f"x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}'"
    return f"<rect {size} fill='{colour}'/>"


def _label(x: float, y: float, anchor: str, words: str) -> str:
    where = f"x='{x:.0f}' y='{y}' text-anchor='{anchor}'"
    font = f"font-family='sans-serif' font-size='11' fill='{QUIET}'"
    return f"<text {where} {font}>{escape(words)}</text>"


class Drawn(NamedTuple):
    """An array to be drawn.

    Attributes
    ----------
    name : str
    dtype, shape
        Of the whole array.
    values : ndarray, MaskedArray or None
        Of it, all or what is there.
    why : str
        What to say besides: why it is not all.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Array | None
    why: str = ""


def arrays(drawn: Sequence[Drawn]) -> str:
    """Return arrays as a table: names, what they are, pictures, and what those show."""
    rows, left = [], _PICTURES_NBYTES
    for number, one in enumerate(drawn):
        # What one does not need is for the others.
        cells, n_used = _row(one, left // (len(drawn) - number))
        rows.append(cells)
        left -= n_used
    return table(rows) if rows else ""


def first_of(n_shown: int, n_all: int) -> str:
    """Return the line above the first of some arrays.

    Examples
    --------
    >>> first_of(8, 1000), first_of(0, 0)
    ('<div style="opacity:0.7">first 8 of 1,000 arrays</div>', '<div style="opacity:0.7">no arrays</div>')
    """
    if n_shown < n_all:
        return quiet(f"first {n_shown} of {n_all:,} arrays")
    return quiet("arrays" if n_shown else "no arrays")


def _row(one: Drawn, nbytes: int) -> tuple[tuple[str, ...], int]:
    """Return an array as cells, and of how many bytes its picture is: so many at the most."""
    shape = text(" x ".join(f"{length:,}" for length in one.shape), 60)
    kind = f'{text(str(one.dtype), 60)} <span style="{_QUIET}">{shape}</span>'
    drawing, caption, wrong = "", "", ""
    if one.values is not None:
        try:
            drawing, caption = _drawing(one.name, one.values, nbytes)
        except Exception as error:  # noqa: BLE001 one array does not hide the others
            wrong = f"cannot be drawn: {error!r:.200}"
    told = ", ".join(part for part in (caption, one.why, wrong) if part)
    return (text(one.name), drawing, f"{kind}{quiet(told) if told else ''}"), n_bytes(drawing)


def _drawing(name: str, values: Array, nbytes: int) -> tuple[str, str]:
    """Return a picture and its caption: a smaller one of what makes many bytes, as pixels do."""
    kind = kind_of(values)
    sizes = _SIZES[kind in ("heatmap", "image", "images") :]
    most = float(sizes[0][0])
    for width, height in sizes:
        # Bytes are about as many times fewer as pixels are: sizes between are not even drawn.
        if width > most and (width, height) != sizes[-1]:
            continue
        drawn = picture(values, width, height, kind=kind, max_bytes=_READ_NBYTES)
        if len(drawn.svg) > nbytes:
            most = width * nbytes * 1.3 / len(drawn.svg)
            continue
        img = drawn.img(plain(name[:_TEXT]))
        if n_bytes(img) <= nbytes:
            return img, drawn.caption
    return "", f"{drawn.caption}, too much to be drawn here"


def batch(values: Array, offsets: npt.NDArray[np.int64], n_drawn: int = 8) -> str:
    """Return several arrays that lie end to end as a page: lengths, and the first arrays.

    Parameters
    ----------
    values, offsets : ndarray
        As those of a `Ragged`.
    """
    n_arrays = len(offsets) - 1
    step = max(n_arrays // _SAMPLE, 1)
    counted = histogram(offsets[1::step] - offsets[:-1:step], n_arrays=n_arrays)
    drawn = [
        Drawn(f"{at}", values.dtype, (end - start, *values.shape[1:]), values[start:end])
        for at, (start, end) in enumerate(pairwise(offsets[: n_drawn + 1].tolist()))
    ]
    about = f"{n_arrays:,} arrays, {int(offsets[-1] - offsets[0]):,} rows of {values.dtype}"
    return page(
        "Ragged", about, [bars(counted, "rows"), first_of(len(drawn), n_arrays), arrays(drawn)]
    )
