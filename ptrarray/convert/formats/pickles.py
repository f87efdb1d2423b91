"""Pickles: one value a file, or several one after another."""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Unpack

import numpy as np

from ptrarray.convert.export import Store, lost_meta, new_folder, new_member, opened, raise_if_disk
from ptrarray.convert.files import Readable, open_plain
from ptrarray.convert.found import Kind, Member
from ptrarray.convert.report import Failure, Report
from ptrarray.convert.run import Options, run
from ptrarray.convert.sources import Paths
from ptrarray.convert.unpickle.guarded import Guarded
from ptrarray.convert.unpickle.inert import InertUnpickler
from ptrarray.convert.unpickle.large import set_apart
from ptrarray.convert.unpickle.rebuild import Unreadable, rebuild
from ptrarray.errors import BadInputError
from ptrarray.frames.reading import to_pandas
from ptrarray.progress import bar

# What unpicklers raise for input that makes no sense.
DAMAGED = (
    *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError),
    OverflowError,
)
SUFFIXES = (".pkl", ".pickle", ".pck", ".pkl2", ".p")


def from_pickles(
    paths: Paths,
    store: str | os.PathLike[str],
    *,
    trust: bool = False,
    attributes: bool = False,
    load: Callable[[str], Any] | None = None,
    remove_source: bool = False,
    **options: Unpack[Options],
) -> Report:
    """Import pickles: worker processes read them and write for themselves.

    A file may hold an array, a number, a pandas Series or DataFrame, a list
    or dict of those, or several pickles one after another.
    An array of Python objects is taken for a list. A Series is read back by
    ``store.series(name)``, a DataFrame by `to_frame`.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files, folders (all below them with a suffix of a pickle), or patterns
        as of a shell. Compressed with gzip, bzip2, xz or zlib or not.
    store : path-like
        The store. It is created, or appended to if it is there.
    trust : bool
        Whether you trust whoever wrote the files: a pickle can run any code. If
        not, only names on a list are accepted, of numpy, pandas and builtin
        containers, and nothing in a file is called.
    attributes : bool
        Whether an instance of any other class is imported by what it holds: an
        attribute that is an array, number, Series or container of those lies
        under ``NAME/x``, and an empty array under its own name, with metadata:
        the class, text and all else. Nothing in a file is called for that.
        `to_instance` makes an instance of a class that you give of it.
    load : callable, optional
        Called with a path in place of unpickling, say `pandas.read_pickle`.
    remove_source : bool
        Whether to verify, and remove each file that is in the store as it is.
    name : str
        Template of the names, by default ``"{stem}"``; fields are stem, unquoted,
        name, parent, path, index and key. A value that a file has under a key is
        named ``stem/key``; several pickles in a file ``stem/0``, ``stem/1``, ….
    convert : callable, optional
        Called with what a file holds; returns what to write. Must be
        importable in a worker. With `trust`, ``convert=vars`` takes the
        attributes of an instance of your own class.
    keep_index : bool
        Whether the index of Series and DataFrames is kept.
    dtype, row_shape, masked, attrs, shard_size
        As for `ptrarray.create`. By default each array keeps its own dtype and
        shape.
    processes, executor
        As for `ptrarray.fill`; but one process is this one, and one file is read by it.
    progress : bool
        Whether to show a bar.
    resume : bool
        Whether names that are in the store are skipped, as after an interrupt;
        if not, they are failures.
    verify : bool
        Whether to read the files again and compare them with the store.

    Returns
    -------
    Report
        With `converted`, `skipped` and `failures`: what cannot be converted is
        reported there, file by file, and all else is.

    Raises
    ------
    BadInputError
        If there are no files, two would have one name, or the store is of
        another layout; before anything is written.
    TaskError
        As `ptrarray.fill`: a worker died, or the disk is full. What is raised in this
        process is raised as it is.

    Notes
    -----
    Arrays of a file come in one commit. A file is read whole, by one worker.

    Examples
    --------
    >>> import pickle
    >>> with open("speed.pkl", "wb") as file:
    ...     pickle.dump({"mean": 1.5, "all": np.array([1, 2], "i2")}, file)
    >>> print(ptrarray.convert.from_pickles("*.pkl", "pickles.ptr", progress=False))
    2 converted
    >>> dict(ptrarray.open("pickles.ptr"))
    {'speed/mean': array(1.5), 'speed/all': array([1, 2], dtype=int16)}
    """
    check_trust(trust=trust, attributes=attributes)
    read_all = partial(_members, trust, attributes)
    members = partial(_loaded, load) if load is not None else read_all
    return run(Kind(members, SUFFIXES), paths, store, options, remove=remove_source)


def check_trust(*, trust: bool, attributes: bool) -> None:
    """Raise an error where both are given: with trust the classes make what they like."""
    if trust and attributes:
        raise BadInputError(
            "attributes=True (--attributes) reads files without trust: leave out trust=True "
            "(--trust-pickle), or from Python, pass convert=vars in place of attributes=True"
        )


def _loaded(load: Callable[[str], Any], path: str) -> Iterator[Member]:
    yield Member("", lambda: load(path))


def _members(trust: bool, attributes: bool, path: str) -> Iterator[Member]:
    with open_plain(path) as file:
        values, problem = sound(unpickled(file, trust=trust, attributes=attributes))
    if not values:
        raise problem or BadInputError("it is empty")
    is_one = len(values) == 1 and (problem is None or isinstance(problem, _BehindError))
    yield Member("", lambda: first_or_all(values) if is_one else dict(enumerate(values)))
    if problem is not None:
        yield Member("" if is_one else str(len(values)), partial(_fail, problem))


def _fail(problem: Exception) -> Any:
    raise problem


def read(path: str, *, trust: bool) -> Any:
    """Return what is in a file: its value, or by number if it holds several."""
    with open_plain(path) as file:
        return first_or_all(unpickled(file, trust=trust))


def sound(unpickled_values: Iterable[Any]) -> tuple[list[Any], Exception | None]:
    """Return the values up to one that is damaged, and what is wrong with that."""
    values: list[Any] = []
    try:
        values.extend(unpickled_values)
    except Exception as error:  # noqa: BLE001 with trust, a file can raise anything
        return values, error
    return values, None


def first_or_all(unpickled_values: Iterable[Any]) -> Any:
    """Return a value if it is the only one, else all by number, what is damaged as the last.

    Raises
    ------
    BadInputError
        If there is none.
    """
    values, problem = sound(unpickled_values)
    if not values:
        raise problem or BadInputError("it is empty")
    if problem is not None:
        values.append(Unreadable(str(problem)))
    if len(values) > 1:
        return dict(enumerate(values))
    if isinstance(values[0], Unreadable):
        raise BadInputError(values[0].problem)
    return values[0]


class _BehindError(BadInputError):
    """What is behind the last pickle of a file begins like none."""


_OPCODES = frozenset(opcode.code.encode("latin1") for opcode in pickletools.opcodes)


def unpickled(file: Readable, *, trust: bool, attributes: bool = False) -> Iterator[Any]:
    """Yield the values of the pickles in a file.

    Each is read by an unpickler of its own. One for all would be wrong: it
    numbers what it remembers from the first pickle on, and what a later one
    means by a number is something of the first.
    """
    n_values = 0
    strings: Iterator[Any] = iter(())
    if not trust:
        file, strings = set_apart(file)
    while ahead := file.peek(1)[:1]:
        if n_values and ahead not in _OPCODES:
            raise _BehindError(
                f"it has bytes behind the last pickle that are none, the first {ahead!r}"
            )
        n_values += 1
        try:
            yield _trusted(file) if trust else _inert(file, strings, attributes)
        except _DamagedError as error:
            what = f"pickle {n_values} in it" if n_values > 1 else "it"
            raise BadInputError(f"{what} is no pickle, or a damaged one: {error}") from error


class _DamagedError(Exception):
    """What is there is no pickle."""


def _inert(file: Readable, strings: Iterator[Any], attributes: bool) -> Any:
    try:
        value = InertUnpickler(Guarded(file), strings).load()
    except BadInputError:
        raise
    except DAMAGED as error:
        raise _DamagedError(str(error)) from error
    except MemoryError as error:
        raise _DamagedError("it asks for more memory than there is") from error
    try:
        return rebuild(value, attributes=attributes)
    except BadInputError as error:  # there may be others behind it
        return Unreadable(str(error))


def _trusted(file: Readable) -> Any:
    try:
        return with_classes(pickle.Unpickler(file).load)
    except (pickle.UnpicklingError, EOFError) as error:  # others are those of what the file calls
        raise _DamagedError(str(error)) from error


def with_classes(load: Callable[[], Any]) -> Any:
    """Load a file that is trusted; say what to do where a class of it is not to be found."""
    try:
        return load()
    except (AttributeError, ImportError) as error:
        if not str(error).startswith(("Can't get", "No module")):
            raise
        what = "classes of a pickle have to be where they were when it was written, in a module "
        what += "that workers can import: not in the program itself (__main__) or a notebook"
        raise BadInputError(f"{type(error).__name__}: {error}; {what}") from error


def to_pickles(store: Store, out: str | os.PathLike[str], *, progress: bool = True) -> Report:
    """Export a store as a folder of pickles, one for each array, Series or DataFrame.

    Parameters
    ----------
    store, out, progress
        As for `to_npz`; `out` is the folder, its files are named as by `to_npy`.

    Returns
    -------
    Report

    Raises
    ------
    FileExistsError
        If there is something at `out`.

    Examples
    --------
    >>> print(ptrarray.convert.to_pickles("corpus.ptr", "corpus", progress=False))
    3 converted
    """
    with opened(store) as source, new_folder(out) as folder:
        report = Report()
        n_lost = 0
        with bar(progress=progress, total=len(source), unit=" arrays") as shown:
            for name in source:
                try:
                    value = to_pandas(source, name)  # an error leaves no empty file
                    with new_member(folder, name, ".pkl") as file:
                        pickle.dump(_owned(value), file, protocol=5)
                    report.converted += 1
                except (BadInputError, OSError, ImportError) as error:
                    raise_if_disk(error)
                    report.failures.append(Failure(name, str(error)))
                n_lost += bool(source.meta[name].keys() - {"pandas"})
                shown.update(1)
        if n_lost:
            report.notes.append(lost_meta(n_lost, "pickles"))
    return report


def _owned(value: Any) -> Any:
    """Return a value whose pickle has nothing of the store's file in it."""
    return np.array(value, subok=True) if isinstance(value, np.ndarray) else value
