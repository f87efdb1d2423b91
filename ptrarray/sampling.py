"""Batches of arrays of like length, for training: which arrays, in which order. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ptrarray.errors import BadInputError
from ptrarray.format.checksum import crc32
from ptrarray.intake.numbers import count, integer
from ptrarray.rows.shuffled import hashed, key_of, permuted
from ptrarray.rows.types import Array, Int64s

__all__ = ["LengthBatches"]

# Counted up whenever the same arguments give another order.
_ORDER = 1
# An epoch is cut into windows of at least so many arrays, or of so many batches if that is more.
# Sorting one costs 20 milliseconds, and is all that has to be done before the first batch.
_WINDOW, _WINDOW_BATCHES = 1 << 17, 512
# Lengths are sorted as if they were longer by chance: by less than 2**16 / 2**21, three percent.
_CHANCE_BITS, _WHOLE_BITS = 16, 21
_LONGEST = 1 << 40  # from here on, arrays are of like length
_BLOCK = 1 << 20
# What keys of hashes are for.
_ORDER_OF_ARRAYS, _LENGTHS, _ORDER_OF_BATCHES, _LEFT_OUT = range(4)


class Pointed(Protocol):
    """What has the columns that lengths are the difference of: an open store."""

    @property
    def starts(self) -> Int64s:
        """First row of each array."""

    @property
    def ends(self) -> Int64s:
        """Row after the last one of each array."""


class Measured(Protocol):
    """What says itself how long its arrays are: a `Ragged`, or a data set."""

    @property
    def lengths(self) -> npt.ArrayLike:
        """Length of each array."""


class LengthBatches:
    """Batches of arrays of like length, in another order each epoch: lists of positions.

    For ``DataLoader(..., batch_sampler=batches)`` of torch, or to iterate over.

    Parameters
    ----------
    lengths : array_like of int, shape (n_arrays,), or PointerArray
        Length of each array, kept and not copied: leave them as they are. Of a
        store, the columns of its mapped index are kept, which take no memory of
        this process. Of other things that have ``lengths``, those are taken.
    rows : int, optional
        Bound of each batch: its longest array times the number of its arrays,
        which are the rows that it has when it is padded. Arrays without rows
        count as one row.
    size : int, optional
        Arrays in a batch; together with `rows`, at most so many.
    seed : int
        Not negative, below 2**64.
    rank, world : int
        Of processes that train together, which one this is and how many there
        are. Give all of them the same of everything else.
    drop_last : bool
        Whether to leave out of an epoch what does not come to one more batch of
        `size` for each rank; with `rows`, up to ``world - 1`` batches. By chance,
        so others each epoch.
    shuffle : bool
        False for the same order in each epoch: arrays of some hundred batches in
        data order, the shortest first, then the next.

    Raises
    ------
    BadInputError
        If neither `rows` nor `size` is given, a length is negative, or an array
        is longer than `rows`: which one, and what to do.

    Notes
    -----
    Each position comes once in an epoch over all ranks. Without `drop_last`, some
    batches are cut in two so that all ranks have equally many; where there are
    too few arrays for that, some ranks have one batch fewer than others. In each
    step the batches of all ranks are of like length, so that nobody waits long.

    An epoch is a random order of all arrays, cut into windows of 131,072, or of
    512 batches if that is more. Those of a window are sorted by length, as if
    each were up to 3 percent longer, by chance. So arrays meet others of like
    length each epoch, and padding stays small: a few percent, and more only
    where an epoch has a few dozen batches, or fewer.

    The order depends on `lengths`, the settings and the number of the epoch, and
    on nothing else: no release of numpy, no machine changes it.

    *Epochs.* When an iteration ends, the next one is of the next epoch; `set_epoch`
    goes to another. An iteration that is broken off is begun anew by the next.

    *Resuming.* See `state_dict`.

    *Cost.* 2 ms a million arrays when it is made. The first batch, and one of every
    few hundred, takes some 20 ms, the others some microseconds. Memory: 10 MB. With
    `rows`, `len` and resuming late in an epoch sort all windows before: 0.2 s a
    million arrays.

    Examples
    --------
    >>> from ptrarray.sampling import LengthBatches
    >>> lengths = [3, 90, 31, 3, 33, 92, 8, 9]
    >>> batches = LengthBatches(lengths, size=2)
    >>> list(batches)
    [[2, 4], [6, 7], [0, 3], [1, 5]]
    >>> list(batches)  # the next epoch
    [[1, 5], [2, 4], [6, 7], [0, 3]]

    With a store; each batch is read as one `Ragged`:

    >>> batches = LengthBatches(store, rows=4, shuffle=False)
    >>> [store.arrays[batch] for batch in batches]
    [Ragged(2 arrays, 3 rows of float32), Ragged(1 arrays, 3 rows of float32)]
    """

    def __init__(
        self,
        lengths: npt.ArrayLike | Pointed | Measured,
        *,
        rows: int | None = None,
        size: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        if rows is None and size is None:
            raise BadInputError(
                "neither rows nor size is given: expected a bound of each batch, as "
                "rows=16_000 (padded rows) or size=256 (arrays)",
                expected="rows or size",
            )
        rows, size = (
            None if bound is None else _positive(what, bound)
            for what, bound in (("rows", rows), ("size", size))
        )
        seed, world = _below("seed", seed, 2**64), _positive("world", world)
        self._rank = _below("rank", rank, world)
        known = _Lengths(lengths)
        facts = len(known), *known.check(rows)
        settings = _Settings(
            rows,
            size,
            seed,
            world,
            _flag("drop_last", drop_last),
            _flag("shuffle", shuffle),
            *facts,
            _ORDER,
        )
        self._settings = settings
        self._order = _Order(known, settings, self._rank)
        self._epoch = self._start = 0
        self._run: _Run | None = None

    def __repr__(self) -> str:
        settings = self._settings
        given = ", ".join(f"{name}={value}" for name, value in settings._asdict().items())
        return f"<LengthBatches, rank={self._rank}, {given}>"

    # epochs --------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next iteration is of."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be of an epoch, from its first batch on.

        If it is of that epoch anyway, nothing changes: after `load_state_dict` it goes on where
        it was.

        Examples
        --------
        >>> batches = LengthBatches([5, 3, 4], size=1)
        >>> first = list(batches)
        >>> batches.set_epoch(0)
        >>> list(batches) == first
        True
        """
        epoch = _below("epoch", epoch, 2**64)
        if epoch != self._epoch:
            self._go(epoch, 0)

    def _go(self, epoch: int, start: int) -> None:
        self._epoch, self._start, self._run = epoch, start, None

    def __len__(self) -> int:
        """Return the number of batches that this rank has in the epoch.

        With `rows` it differs a little between epochs, and all windows are sorted for it.
        """
        return self._order.n_batches(self._epoch)

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over the batches of this rank in the epoch, each a list of int, ascending."""
        self._run = None
        return _Run(self)

    # resuming ------------------------------------------------------------------------------

    def state_dict(self, done: int | None = None) -> dict[str, Any]:
        """Return where training is, to go on there later: a few plain numbers.

        Parameters
        ----------
        done : int, optional
            Batches of the running iteration that training is done with, as
            `enumerate` counts them. By default all that were handed out. A
            `DataLoader` with workers takes batches ahead, so give it there; its
            ``StatefulDataLoader`` asks at the right moment itself.

        Returns
        -------
        dict
            The same for all ranks: keep that of one. Takes the same time and
            space for any number of arrays.

        Raises
        ------
        BadInputError
            If `done` is more than were handed out.

        Examples
        --------
        >>> batches = LengthBatches([5, 3, 4, 9], size=1)
        >>> for done, batch in enumerate(batches, 1):
        ...     if done == 3:
        ...         state = batches.state_dict(done)
        >>> state["epoch"], state["position"]
        (0, 3)
        >>> again = LengthBatches([5, 3, 4, 9], size=1)
        >>> again.load_state_dict(state)
        >>> list(again) == [batch]
        True
        """
        run = self._run
        epoch, position, given = self._epoch, self._start, 0
        if run is not None:
            given = run.position - run.start
            if done is not None or not run.over:
                epoch, position = run.epoch, run.position
        if done is not None:
            done = integer("done", done)
            if not 0 <= done <= given:
                raise BadInputError(
                    f"done={done}, but {given} batches were handed out since this iteration began",
                    found=done,
                    expected=f"0 <= done <= {given}",
                )
            position += done - given
        return {"epoch": epoch, "position": position, **self._settings._asdict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where training was: the next iteration begins with the batch after the last one.

        Iterations of that epoch begin there until one has come to its end.

        Parameters
        ----------
        state : dict
            Of `state_dict`, of any rank.

        Raises
        ------
        BadInputError
            If it is of other lengths or settings: which they are. Nothing changes.
        """
        expected = self._settings._asdict()
        asked = ("epoch", "position", *expected)
        given = state if isinstance(state, Mapping) else {}
        missing = [name for name in asked if name not in given]
        if missing:
            raise BadInputError(
                f"this is no state of LengthBatches: it has no {', '.join(missing)}",
                found=list(given),
                expected=list(asked),
            )
        other = [name for name, value in expected.items() if state[name] != value]
        if other:
            found, wanted = (
                ", ".join(f"{name}={facts[name]}" for name in other) for facts in (state, expected)
            )
            raise BadInputError(
                f"this state is of other batches: it has {found}; expected {wanted}. "
                "Use the same lengths and settings, or begin an epoch with set_epoch",
                found={name: state[name] for name in other},
                expected={name: expected[name] for name in other},
            )
        self._go(_below("epoch", state["epoch"], 2**64), count("position", state["position"]))


class _Run(Iterator[list[int]]):
    """One iteration over the batches of an epoch.

    Loaders begin some that they never ask for a batch, so only asking changes the sampler.
    """

    def __init__(self, sampler: LengthBatches) -> None:
        self._sampler = sampler
        self.epoch, self.start = sampler._epoch, sampler._start
        self.position, self.over = self.start, False
        self._batches = sampler._order.batches(self.epoch, self.start)

    def __next__(self) -> list[int]:
        sampler = self._sampler
        # Not where the sampler was sent elsewhere meanwhile.
        is_running = (sampler._epoch, sampler._start) == (self.epoch, self.start) and not self.over
        if is_running:
            sampler._run = self
        try:
            batch = next(self._batches)
        except StopIteration:
            if is_running:
                self.over = True
                sampler._go(self.epoch + 1, 0)
                sampler._run = self
            raise
        self.position += 1
        return batch


class _Settings(NamedTuple):
    """What the order of batches depends on, with the number of the epoch and the rank."""

    rows: int | None
    size: int | None
    seed: int
    world: int
    drop_last: bool
    shuffle: bool
    arrays: int
    total: int
    checksum: int
    order: int


class _Order:
    """The batches of a rank in any epoch, from any of them on."""

    def __init__(self, lengths: _Lengths, settings: _Settings, rank: int) -> None:
        self._lengths, self._settings, self._rank = lengths, settings, rank
        self._n, self._world = settings.arrays, settings.world
        # Windows whose batches are full and go evenly to all ranks; the last is up to twice as
        # long.
        self._unit = (settings.size or 1) * self._world
        n_arrays = max(_WINDOW, _WINDOW_BATCHES * self._n_typical())
        window = -(-n_arrays // self._unit) * self._unit
        self._borders: list[int] = [*range(0, max(self._n - window, 0) + 1, window), self._n]
        self._last = len(self._borders) - 2
        self._counted: tuple[int, int] | None = None

    def _n_typical(self) -> int:
        """Return about how many arrays a batch has."""
        rows, size = self._settings.rows, self._settings.size
        found = self._n if rows is None else rows * self._n // max(self._settings.total, self._n, 1)
        return max(1, min(found, size or found))

    def n_batches(self, epoch: int) -> int:
        """Return how many batches there are in an epoch."""
        if self._counted is None or self._counted[0] != epoch:
            n_batches = sum(self._n_in(epoch, number) for number in range(self._last + 1))
            self._counted = epoch, n_batches
        return self._counted[1]

    def batches(self, epoch: int, start: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch from one of them on."""
        for number in range(self._last + 1):
            n_full = self._n_full(number)
            if n_full is not None and start >= n_full:
                start -= n_full
                continue
            positions, firsts, ends = self._window(epoch, number)
            for first, end in zip(firsts[start:].tolist(), ends[start:].tolist(), strict=True):
                yield np.sort(positions[first:end]).tolist()
            start = max(0, start - len(firsts))

    def _n_full(self, number: int) -> int | None:
        """Return how many batches there are in a window; None where it has to be sorted."""
        if self._settings.rows is not None or number == self._last:
            return None
        return (self._borders[number + 1] - self._borders[number]) // self._unit

    def _n_in(self, epoch: int, number: int) -> int:
        n_full = self._n_full(number)
        return len(self._window(epoch, number)[1]) if n_full is None else n_full

    def _key(self, what: int, epoch: int, window: int = 0) -> int:
        return key_of(self._settings.seed, epoch, what, window)

    def _window(self, epoch: int, number: int) -> tuple[Int64s, Int64s, Int64s]:
        """Sort a window; return its positions, and where each batch of this rank begins and ends."""
        epoch = epoch if self._settings.shuffle else 0
        positions = self._sorted(epoch, number)
        edges = self._edges(self._lengths.at(positions))
        if number < self._last or not self._settings.drop_last:
            edges = _evened(edges, self._world)
        batches = np.arange(len(edges) - 1)
        if number == self._last and self._settings.drop_last:
            # By chance, since the last ones are the longest.
            chance = hashed(batches, self._key(_LEFT_OUT, epoch))
            n_kept = len(batches) // self._world * self._world
            batches = np.sort(np.argsort(chance, kind="stable")[:n_kept])
        mine = batches[self._mine(len(batches), epoch, number)]
        return positions, edges[mine], edges[mine + 1]

    def _sorted(self, epoch: int, number: int) -> Int64s:
        """Return the positions of the arrays of a window, by length, about."""
        settings, (first, last) = self._settings, self._borders[number : number + 2]
        if settings.drop_last and settings.rows is None and number == self._last:
            last -= (last - first) % self._unit  # so that which are left out is chance, too
        if not settings.shuffle:
            positions = np.arange(first, last)
            return positions[np.argsort(self._lengths.at(positions), kind="stable")]
        positions = permuted(first, last, self._n, self._key(_ORDER_OF_ARRAYS, epoch))
        lengths = np.minimum(self._lengths.at(positions), _LONGEST)
        chance = hashed(positions, self._key(_LENGTHS, epoch)) >> np.uint64(64 - _CHANCE_BITS)
        longer = lengths + ((lengths * chance.astype(np.int64)) >> _WHOLE_BITS)
        return positions[np.argsort(longer, kind="stable")]

    def _edges(self, lengths: Int64s) -> Int64s:
        """Cut arrays that are about sorted into batches; return where each begins, and the end."""
        n, rows, size = len(lengths), self._settings.rows, self._settings.size or len(lengths)
        if rows is None:
            return np.append(np.arange(0, n, max(1, size)), n)
        longest = np.maximum(np.maximum.accumulate(lengths), 1)
        fitting = np.minimum(rows // longest, size)
        if n and not fitting[-1]:
            raise BadInputError(
                f"an array has {longest[-1]} rows by now, more than a batch may have with "
                f"rows={rows}: lengths were changed since this was made, so make it anew",
                found=int(longest[-1]),
                expected=f"<= {rows}",
            )
        # A batch [first, end) fits if end - first <= fitting[end - 1]. The largest such end of
        # each first is found in what never falls: end - fitting[end - 1].
        ends = np.searchsorted(np.arange(1, n + 1) - fitting, np.arange(n), side="right")
        edges, next_of = [0], memoryview(ends)
        while edges[-1] < n:
            edges.append(next_of[edges[-1]])
        return np.array(edges, np.int64)

    def _mine(self, n_batches: int, epoch: int, number: int) -> Int64s:
        """Return which batches of a window this rank has, in order.

        In each step all ranks have neighbours, so that they are of like length; which of them
        is whose changes by chance.
        """
        n_steps, n_rest = divmod(n_batches, self._world)
        steps, turns = np.arange(n_steps), np.full(n_steps, self._rank)
        if self._settings.shuffle:
            chance = hashed(steps, self._key(_ORDER_OF_BATCHES, epoch, number))
            steps = np.argsort(chance, kind="stable")
            turns += (chance[steps] % np.uint64(self._world)).astype(np.int64)
        mine = steps * self._world + turns % self._world
        return np.append(mine, n_batches - n_rest + self._rank) if self._rank < n_rest else mine


class _Lengths:
    """Lengths of arrays by position, which may be the difference of two mapped columns."""

    def __init__(self, given: npt.ArrayLike | Pointed | Measured) -> None:
        self._starts: Int64s | None = None
        if hasattr(given, "starts") and hasattr(given, "ends"):
            self._starts, self._ends = given.starts, given.ends
        else:
            self._ends = _integers(getattr(given, "lengths", given))

    def __len__(self) -> int:
        return len(self._ends)

    def at(self, index: Any) -> Int64s:
        """Return some lengths."""
        ends: Int64s = self._ends[index].astype(np.int64, copy=False)
        return ends if self._starts is None else ends - self._starts[index]

    def check(self, rows: int | None) -> tuple[int, int]:
        """Look at each length once; return the sum and a checksum of all."""
        total = checksum = 0
        for first in range(0, len(self), _BLOCK):
            lengths = self.at(slice(first, first + _BLOCK))
            _check_lengths(lengths, first, rows)
            total += int(np.minimum(lengths, _LONGEST).sum())
            checksum = crc32(np.ascontiguousarray(lengths, "<i8"), checksum)
        return total, checksum


def _integers(given: Any) -> Array:
    lengths = np.asarray(given)
    if lengths.shape == (0,):
        return lengths.astype(np.int64)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        found = f"{lengths.dtype} of shape {lengths.shape}"
        raise BadInputError(
            f"lengths are {found}; expected integers along one axis",
            found=found,
            expected="integers of shape (n_arrays,)",
        )
    return lengths


def _check_lengths(lengths: Int64s, first: int, rows: int | None) -> None:
    at = int(lengths.argmin())
    if lengths[at] < 0:
        raise BadInputError(
            f"the length of array {first + at} is {lengths[at]}; expected 0 or more",
            found=int(lengths[at]),
            expected=">= 0",
        )
    at = int(lengths.argmax())
    if rows is not None and lengths[at] > rows:
        raise BadInputError(
            f"array {first + at} has {lengths[at]} rows, more than a batch may have with "
            f"rows={rows}: give a larger number, or leave the array out",
            found=int(lengths[at]),
            expected=f"<= {rows}",
        )


def _evened(edges: Int64s, world: int) -> Int64s:
    """Cut the batches with the most arrays in two until there are equally many for each rank.

    Or until each has one array.
    """
    while missing := -(len(edges) - 1) % world:
        n_arrays = np.diff(edges)
        largest = np.argsort(-n_arrays, kind="stable")[:missing]
        largest = largest[n_arrays[largest] > 1]
        if not len(largest):
            break
        edges = np.sort(np.append(edges, edges[largest] + n_arrays[largest] // 2))
    return edges


def _positive(what: str, value: int) -> int:
    number = integer(what, value)
    if number < 1:
        raise BadInputError(f"{what} must be at least 1: {number}", found=number, expected=">= 1")
    return _below(what, number, 2**63)


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_ | int):  # a text is true, "False" too
        raise BadInputError(
            f"{what} must be True or False, not {value!r:.80}", found=repr(value), expected="bool"
        )
    return bool(value)


def _below(what: str, value: int, limit: int) -> int:
    number = count(what, value)
    if number >= limit:
        raise BadInputError(
            f"{what} must be below {limit}: {number}", found=number, expected=f"< {limit}"
        )
    return number
