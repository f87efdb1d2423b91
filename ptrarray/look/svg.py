"""The picture of any array as SVG: the same in a notebook and in a browser."""

from __future__ import annotations

from html import escape
from typing import NamedTuple
from urllib.parse import quote

from ptrarray.look.drawings import Asked, drawn
from ptrarray.look.kinds import Kind, can_be, kind_of, kinds_of
from ptrarray.look.numbers import Array
from ptrarray.look.reduced import SAMPLE_BYTES


class Picture(NamedTuple):
    """A drawing of an array.

    Attributes
    ----------
    svg : str
        An SVG document, which may be put into HTML as it is, too: it has no styles, no
        scripts, no ids, and no links but pixels as ``data:``.
    kind : str
        What was drawn, as in `kinds`.
    width, height : int
        In pixels.
    caption : str
        The range of the numbers, or of the means that cells of a large heat map stand for, and what else
        has to be said: how many values are left out, or that only a sample was read. Plain text,
        not escaped; it may be empty.
    sampled : bool
        Whether not all values were read.
    """

    svg: str
    kind: Kind
    width: int
    height: int
    caption: str
    sampled: bool

    @property
    def source(self) -> str:
        """The drawing as a URL that may stand between double quotes in HTML."""
        return "data:image/svg+xml," + quote(self.svg, safe=" =:/,.-';+()")

    def img(self, alt: str) -> str:
        """Return the drawing as an element that is kept also where HTML is stripped of SVG."""
        size = f'width="{self.width}" height="{self.height}"'
        return f'<img {size} alt="{escape(alt)}" src="{self.source}">'


def picture(
    array: Array,
    width: int = 160,
    height: int = 36,
    *,
    kind: Kind | None = None,
    axes: bool = False,
    first_row: int = 0,
    max_bytes: int | None = SAMPLE_BYTES,
    max_png_bytes: int | None = None,
) -> Picture:
    """Draw an array of any dtype and shape.

    Masked values, NaN, NaT and infinite ones are left out, and it is shown where: lines have
    gaps in a shade, or a mark below; pixels are clear; text has ``--``.

    Parameters
    ----------
    array : ndarray or MaskedArray
        Also a mapped one: only what is drawn is read.
    width, height : int
        Of the picture, in pixels. Images and heat maps are coarser than that where they would
        take more than a byte a pixel.
    kind : str, optional
        As what to draw it, one of `kinds_of(array)` or what else it `can_be`. Default: what it
        looks like.
    axes : bool
        Whether to write at the ends of the axes what they are, and what colours mean.
    first_row : int
        Number of the first row, if the array is a part of another one.
    max_bytes : int, optional
        Read no more than about that, evenly spaced, which the caption says. With None, all is
        read, in blocks, so that no peak is lost.
    max_png_bytes : int, optional
        How large the pixels of an image or a heat map may be; without it, a byte for each
        pixel of the picture.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If the array cannot be drawn as that kind.

    Examples
    --------
    >>> found = picture(np.sin(np.arange(1000) / 50))
    >>> found.kind, found.caption
    ('line', '-1 to 1')
    """
    rows = array.reshape(1) if array.ndim == 0 else array
    chosen = kind_of(rows) if kind is None else kind
    if not can_be(rows, chosen):
        found, expected = f"{array.dtype} {array.shape}", " or ".join(kinds_of(rows))
        raise ValueError(f"an array of {found} is not drawn as {kind!r}, but as {expected}")
    inside = drawn(rows, chosen, Asked(width, height, axes, first_row, max_bytes, max_png_bytes))
    notes = (*inside.notes, "a sample") if inside.sampled else inside.notes
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}'>{inside.elements}</svg>"
    )
    return Picture(svg, chosen, width, height, ", ".join(notes), inside.sampled)
