"""Objects with helper arrays: as what a store keeps of them, and those of an open store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from ptrarray.errors import BadInputError, CorruptStoreError
from ptrarray.format.helpers import KEY, Helper, digest, missing
from ptrarray.format.layouts import MIXED, Layout
from ptrarray.frames.library import is_pandas
from ptrarray.rows.types import Array
from ptrarray.storage.shards.helpers import open_beside
from ptrarray.storage.store.opened import Opened, OpenedStore
from ptrarray.storage.system.mapping import Backend, Mode
from ptrarray.views.arrays import Arrays

if TYPE_CHECKING:
    from ptrarray.views.series import Objects

# What pandas, numpy and we ourselves say to a description that makes no sense.
_UNFIT = (
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError),
    *(RecursionError, AssertionError),
)


class Flat(NamedTuple):
    """Arrays to be written, with what was taken from objects among them.

    Attributes
    ----------
    arrays, metas : dict
        By name.
    helpers : dict from str to Helper
        Helper arrays that have to be there before.
    """

    arrays: dict[str, Any]
    metas: dict[str, Mapping[str, Any]]
    helpers: dict[str, Helper]


def flattened(
    arrays: Mapping[str, npt.ArrayLike], metas: Mapping[str, Mapping[str, Any]] | None
) -> Flat | None:
    """Return the values of each Series and DataFrame in its place; None if there are none.

    Raises
    ------
    BadInputError
        For one that is not kept.
    """
    if not isinstance(arrays, Mapping) or not isinstance(metas, Mapping | None):
        return None
    objects = {name: value for name, value in arrays.items() if is_pandas(value)}
    if not objects:
        return None
    # Whoever writes arrays only does not wait for it.
    from ptrarray.frames.series import describe

    flat = Flat(dict(arrays), dict(metas or {}), {})
    known: dict[int, Any] = {}
    for name, value in objects.items():
        try:
            described = describe(value, known=known)
        except BadInputError as error:
            raise BadInputError(f"array {name!r:.80}: {error}", name=name, **error.facts) from error
        flat.arrays[name] = described.values
        flat.metas[name] = _with(described.about, name, flat.metas.get(name, {}))
        flat.helpers.update(described.helpers)
    return flat


def _with(about: dict[str, Any], name: str, meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return metadata of an array with the description of the object that it belongs to."""
    if not isinstance(meta, Mapping):
        return meta  # which is refused when it is packed
    if KEY in meta:
        what = f"metadata of {name!r:.80} have a {KEY!r}, which describes a Series or DataFrame"
        raise BadInputError(f"{what}: choose another key", name=name, found=KEY)
    return {**meta, KEY: about}


def check_values(flat: Flat, layout: Layout) -> None:
    """Raise `BadInputError` for values that a store of one dtype would change into others.

    Numbers may be cast as those of any array. Codes, moments and text may not.
    """
    for name, meta in flat.metas.items() if layout.kind != MIXED else ():
        about = meta.get(KEY) if isinstance(meta, Mapping) else None
        dtype = getattr(flat.arrays.get(name), "dtype", None)
        is_described = isinstance(about, Mapping) and bool(about.keys() & {"values", ""})
        if is_described and dtype != layout.dtype:
            raise BadInputError(
                f"array {name!r:.80}: its values are kept as {dtype}, and the store has "
                f"{layout.dtype}: keep it in a store without a dtype",
                name=name,
                found=str(dtype),
                expected=str(layout.dtype),
            )


class StoredHelpers:
    """What arrays of an open store refer to, by name: `frames.flat.Helpers`.

    Parameters
    ----------
    path : str
        The store that they belong to, for messages.
    opened : OpenedStore or None
        The store of helper arrays, if there is one.
    objects : dict
        Objects that were made before. What a name stands for never changes, so
        they are good for the store as it is at any time.
    """

    def __init__(
        self, path: str, opened: OpenedStore | None, objects: dict[str, Any] | None = None
    ) -> None:
        self.opened = opened
        self._path = path
        self._objects: dict[str, Any] = {} if objects is None else objects

    def array(self, name: str) -> Array:
        """Return a helper array, a read-only view.

        Raises
        ------
        CorruptStoreError
            If it is not there.
        """
        opened, address = self._located(name)
        return opened.array_at(address)

    def object(self, name: str) -> Any:
        """Return the object that a helper array is part of; the same each time.

        Raises
        ------
        CorruptStoreError
            If it is not there, or makes no sense.
        """
        try:
            return self._objects[name]
        except KeyError:
            pass
        opened, address = self._located(name)
        meta = opened.snapshot.meta(name.encode()) or {}
        try:
            made = _restored(opened.array_at(address), meta, self)
        except CorruptStoreError:
            raise
        except _UNFIT as error:
            path = str(opened.snapshot.directory)
            what = f"{path} has helper array {name!r:.80}, which cannot be read: {error!r:.200}"
            raise CorruptStoreError(what, path=path, name=name) from error
        return self._objects.setdefault(name, made)  # of several threads, the first one's

    def has(self, name: str) -> bool:
        """Tell whether a helper array is there, and is what its name says."""
        try:
            opened, address = self._located(name)
            return digest(opened.array_at(address), opened.snapshot.meta_at(address)) == name
        except CorruptStoreError:
            return False

    def _located(self, name: str) -> tuple[OpenedStore, int]:
        if self.opened is None:
            raise missing(name, self._path)
        address = self.opened.snapshot.locate(name.encode())
        if address is None:
            raise missing(name, self._path)
        return self.opened, address


def _restored(values: Array, meta: Mapping[str, Any], helpers: StoredHelpers) -> Any:
    from ptrarray.frames.flat import restore  # as `flattened`

    return restore(values, meta, helpers)


def with_helpers(
    opened: Opened, mode: Mode, backend: Backend | None, known: StoredHelpers | None = None
) -> tuple[Opened, StoredHelpers]:
    """Return a store as it is by now, and the helper arrays that it refers to."""
    before = None if known is None else known.opened
    opened, beside = open_beside(opened, mode, backend, before)
    objects = None if known is None else known._objects
    return opened, StoredHelpers(str(opened.snapshot.directory), beside, objects)


def objects_with(path: str, helpers: StoredHelpers) -> Callable[[Arrays], Objects]:
    """Return what gives the pandas objects among arrays of a store."""
    # Whoever reads arrays only does not wait for it.
    from ptrarray.frames.reading import Reading
    from ptrarray.views.series import Objects

    return partial(Objects, reading=Reading(path, helpers))
