"""Plots of an open store: `PointerArray.plot`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ptrarray.errors import BadInputError
from ptrarray.format.layouts import UNITS
from ptrarray.intake.choices import check_choice, several
from ptrarray.look import plots
from ptrarray.look.histogram import histogram
from ptrarray.look.kinds import Kind
from ptrarray.look.plots import Axes
from ptrarray.look.points import N_POINTS, Curves, curves
from ptrarray.rows.types import Array, Int64s
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.writing.transactions import unknown
from ptrarray.views.mappings import encoded

# Of more arrays, the lengths of some are counted, evenly spread.
_COUNTED = 1 << 24


class _Stored(Protocol):
    """What is open: a store or a part of one, as it is at any time."""

    @property
    def _opened(self) -> Opened: ...


class Plots:
    """Plots of what a store holds, on matplotlib: the extra ``ptrarray[plot]``.

    Each method draws on axes that it is given, or on those of a new figure of pyplot,
    and returns the axes. With axes given, nothing of pyplot is touched. What is asked for is read
    and checked before anything is drawn.

    Names are drawn as they are, on one line and cut after 80 characters: no ``$`` begins a formula.

    `PointerArray.plot` makes these.

    Parameters
    ----------
    store : PointerArray or Partition
        What is open.

    Examples
    --------
    >>> ax = store.plot.array("utt1")
    >>> ax.get_title(), ax.lines[0].get_ydata().tolist()
    ('utt1', [1.0, 2.0, 3.0])
    """

    def __init__(self, store: _Stored) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"<plots of {self._store!r}: lengths, array, arrays, growth>"

    def lengths(self, ax: Axes | None = None) -> Axes:
        """Draw how many arrays are how long.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            Without matplotlib.
        BadInputError
            If `ax` are no axes.

        Notes
        -----
        Lengths are in rows; in a store whose arrays have shapes of their own in elements, in a
        mixed one in bytes. Where they spread, bins and axis are logarithmic. Arrays without rows
        have a bar of their own at 0, and are counted in the legend.

        Looks at all arrays, some 20 ms a million; of more than
        16 million at some of them, evenly spread, and the title says so.

        Examples
        --------
        >>> ax = store.plot.lengths()
        >>> ax.get_title(), [int(bar.get_height()) for bar in ax.patches]
        ('3 arrays', [1, 1, 1])
        """
        opened = self._store._opened
        starts, ends = opened.columns()
        some = slice(None, None, max(-(-len(starts) // _COUNTED), 1))
        counted = histogram(ends[some] - starts[some], n_arrays=len(starts))
        ax = plots.axes_of(ax)
        plots.draw_lengths(ax, counted, UNITS[opened.layout.kind])
        return ax

    def array(self, name: str, ax: Axes | None = None, *, kind: Kind | None = None) -> Axes:
        """Draw one array: as lines, a heat map or images, by what it looks like.

        Parameters
        ----------
        name : str
            Its name, which becomes the title.
        ax : matplotlib.axes.Axes, optional
            Where to draw.
        kind : {'line', 'lines', 'heatmap', 'image', 'images'}, optional
            As what to draw it, if it can be drawn as several.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has this name.
        BadInputError
            If nothing of it can be drawn, as of text or fields; or not as this kind.
        ImportError
            Without matplotlib.

        Notes
        -----
        Rows go to the right. One number a row is a line, up to six are a line each, more are a heat
        map; uint8 of shape ``(height, width)`` or ``(height, width, 3 or 4)`` is an image, and of
        several images of any numbers up to eight are side by side. Complex numbers are drawn by their absolute
        values, durations in seconds, dates as dates.

        What is masked, NaN, NaT or infinite is left out, and seen to be: a line has a gap, which is shaded, with
        a dot for a value that is alone between two; a heat map or image is hatched there. The legend
        says how many values are left out.

        All of the array is read, in blocks. Of more than 4,000 rows, a line goes through the lowest and the
        highest value of each of 2,000 parts, so that every peak is there, and looking closer shows no
        more: for a part of it, ``ax.plot(store[name][a:b])``. A cell of a large heat map is the
        mean of its numbers. 10 million float32 take 0.1 s.

        Examples
        --------
        >>> ax = store.plot.array("utt1")
        >>> ax.get_xlabel(), len(ax.lines)
        ('row', 1)
        """
        array = self._read(name)
        fit = plots.drawable_kinds(array)
        if not fit:
            raise self._not_drawn(name, array, "nothing of it can be drawn")
        if kind is not None:
            check_choice("kind", kind, fit, self._path)
        draw = plots.drawing(array, kind or fit[0])
        ax = plots.axes_of(ax)
        draw(ax)
        plots.title(ax, name)
        return ax

    def arrays(self, names: Iterable[str], ax: Axes | None = None) -> Axes:
        """Draw several arrays as lines over each other, each from its row 0 on.

        Parameters
        ----------
        names : iterable of str
            Of arrays with one number a row. Up to 20 are in a legend.
        ax : matplotlib.axes.Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        UnknownNameError
            A `KeyError`: no array has one of the names.
        BadInputError
            If one has not one number a row, or one has dates or durations and another has not.
        ImportError
            Without matplotlib.

        Notes
        -----
        As `array`, but gaps are not shaded.

        Examples
        --------
        >>> ax = store.plot.arrays(["utt1", "utt2"])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['utt1', 'utt2']
        """
        drawn: dict[str, Curves] = {}
        for name in several(names, "plot.arrays"):
            drawn[name] = self._one_line(name)
            first = next(iter(drawn))
            quantities = drawn[first].quantity, drawn[name].quantity
            if quantities[0] != quantities[1]:
                found = tuple(quantity or "numbers" for quantity in quantities)
                raise BadInputError(
                    f"arrays {first!r:.80} and {name!r:.80} of {self._path} have no axis in common, "
                    f"as they are {found[0]} and {found[1]}: draw them on axes of their own",
                    path=self._path,
                    name=name,
                    found=found[1],
                    expected=found[0],
                )
        ax = plots.axes_of(ax)
        plots.draw_lines(ax, drawn)
        return ax

    def growth(self, ax: Axes | None = None) -> Axes:
        """Draw how the rows of all arrays add up, array by array, in the order in which they were committed.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib.axes.Axes
            With rows on the left, and bytes on the right if a row has several.

        Raises
        ------
        ImportError
            Without matplotlib.
        BadInputError
            If `ax` are no axes.

        Notes
        -----
        Stores keep no times, so that this is no axis of time. They keep the order of commits since the last checkpoint; those
        before are taken to have been committed in the order of their rows, as for
        ``store.names.newest``; of several shards, one shard after the other. Arrays that were replaced or deleted are not in it.

        Looks at the pointers of all arrays, some milliseconds a million.

        Examples
        --------
        >>> ax = store.plot.growth()
        >>> ax.lines[0].get_xdata().tolist(), ax.lines[0].get_ydata().tolist()
        ([0, 1, 2, 3], [0, 3, 5, 6])
        """
        opened = self._store._opened
        n_arrays, n_rows = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
        n_all = len(opened.snapshot)
        for store in opened.stores:
            starts, ends = store.columns()
            if len(starts):
                share = max(N_POINTS * len(starts) // n_all, 1)
                counts, added = _added(starts, ends, store.snapshot.committed(), share)
                n_arrays.append(counts)
                n_rows.append(added)
        ax = plots.axes_of(ax)
        x, y = (np.concatenate(parts).cumsum() for parts in (n_arrays, n_rows))
        plots.draw_growth(ax, x, y, UNITS[opened.layout.kind], opened.layout.width)
        return ax

    @property
    def _path(self) -> str:
        return str(self._store._opened.snapshot.directory)

    def _read(self, name: str) -> Array:
        """Return an array, without taking it for one that its caller may change."""
        opened = self._store._opened
        raw = encoded(name)
        address = None if raw is None else opened.snapshot.locate(raw)
        if address is None:
            raise unknown(name, self._path)
        array = opened.array_at(address)
        return array if array.ndim else array.reshape(1)

    def _one_line(self, name: str) -> Curves:
        array = self._read(name)
        kinds = plots.drawable_kinds(array)
        if "line" not in kinds and kinds != ("nothing",):
            raise self._not_drawn(name, array, "only one number a row can be a line")
        return curves(array if array.size else np.zeros(0))

    def _not_drawn(self, name: str, array: Array, why: str) -> BadInputError:
        found = f"{array.dtype!s:.200} of shape {array.shape}"
        fields = array.dtype.names
        advice = f"; of its fields, draw one: ax.plot(store[name][{fields[0]!r}])" if fields else ""
        return BadInputError(
            f"array {name!r:.80} of {self._path} is {found}: {why}{advice}",
            path=self._path,
            name=name,
            found=found,
            expected="numbers",
        )


def _added(
    starts: Int64s, ends: Int64s, order: Int64s | slice, n_points: int
) -> tuple[Int64s, Int64s]:
    """Return how many arrays, and rows, each of some parts has that follow each other."""
    starts, ends = starts[order], ends[order]
    n_points = min(n_points, len(starts))
    edges = np.arange(n_points + 1, dtype=np.int64) * len(starts) // n_points
    firsts = edges[:-1]
    return np.diff(edges), np.add.reduceat(ends, firsts) - np.add.reduceat(starts, firsts)
