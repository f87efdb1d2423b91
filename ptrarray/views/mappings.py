"""Names, pointers and attrs of a store as a sequence and mappings."""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from itertools import islice, starmap
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, overload

from ptrarray.errors import StoreError
from ptrarray.format import metadata
from ptrarray.format.names import decode
from ptrarray.rows.pointers import Pointer
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.storage.writing import transactions
from ptrarray.storage.writing.target import Writable
from ptrarray.storage.writing.transactions import unknown

Value = TypeVar("Value")


def encoded(name: object) -> bytes | None:
    """Return a name to look for as UTF-8; None for what cannot be a name."""
    try:
        return name.encode() if isinstance(name, str) else None
    except UnicodeEncodeError:
        return None


def _said(say: Callable[[], str]) -> str:
    """Return a text about what is there, or why nothing is: a notebook that shows it goes on."""
    try:
        return say()
    except (StoreError, OSError) as error:
        return f"<{error}>"


class Contents(Protocol):
    """What names and pointers are asked of: a `Snapshot`, or what a writer sees committed now."""

    directory: Path

    def find(self, name: bytes) -> tuple[int, int] | None:
        """Pointer of a name, or None."""

    def meta(self, name: bytes) -> dict[str, Any] | None:
        """Metadata of a name, or None."""

    def __len__(self) -> int: ...

    def texts(self) -> Iterator[str]:
        """Yield all names in data order."""


class Names(Sequence[str]):
    """The names of a store in data order, decoded when asked for.

    Examples
    --------
    >>> store.names[0], store.names[-1], len(store.names)
    ('utt1', 'utt3', 3)
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __len__(self) -> int:
        return len(self._snapshot)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: Any) -> Any:
        positions = range(len(self))[key]
        if isinstance(positions, int):
            return decode(self._snapshot.name(positions))
        if positions.step == 1:
            return list(self._snapshot.texts(positions.start, positions.stop))
        return [decode(self._snapshot.name(position)) for position in positions]

    def __iter__(self) -> Iterator[str]:
        return self._snapshot.texts()

    def __contains__(self, name: object) -> bool:
        raw = encoded(name)
        return raw is not None and self._snapshot.find(raw) is not None

    def newest(self, n_names: int) -> list[str]:
        """Return the names that were committed last, the newest first.

        The order of commits is known since the last checkpoint; those before
        are taken to have been committed in the order of their rows.

        Examples
        --------
        >>> store.names.newest(2)
        ['utt3', 'utt2']
        """
        return list(map(decode, islice(self._snapshot.newest_names(), n_names)))

    def __repr__(self) -> str:
        return f"<{len(self)} names of {self._snapshot.directory}>"


class ItemsNow(ItemsView[str, Value]):
    """Items of a mapping that others change: all are of the moment when an iteration begins."""

    def __init__(self, mapping: Mapping[str, Value], now: Callable[[], Mapping[str, Value]]):
        super().__init__(mapping)
        self._now = now

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self._now().items())


class ValuesNow(ValuesView[Value]):
    """Values of a mapping that others change, as `ItemsNow`."""

    def __init__(self, mapping: Mapping[str, Value], now: Callable[[], Mapping[str, Value]]):
        super().__init__(mapping)
        self._now = now

    def __iter__(self) -> Iterator[Value]:
        return iter(self._now().values())


class ByName(Mapping[str, Value]):
    """What a store has for each name, in data order.

    Parameters
    ----------
    contents : Contents
        What is asked.
    now : callable, optional
        If others change it: returns the same as it is now, which nobody changes.
    """

    def __init__(
        self, contents: Contents, now: Callable[[], Mapping[str, Value]] | None = None
    ) -> None:
        self._contents = contents
        self._now = now

    def items(self) -> ItemsView[str, Value]:
        """Return pairs of name and value; iterated over, those of one moment."""
        return ItemsNow(self, self._now) if self._now else super().items()

    def values(self) -> ValuesView[Value]:
        """Return the values; iterated over, those of one moment."""
        return ValuesNow(self, self._now) if self._now else super().values()

    def __contains__(self, name: object) -> bool:
        raw = encoded(name)
        return raw is not None and self._contents.find(raw) is not None

    def __len__(self) -> int:
        return len(self._contents)

    def __iter__(self) -> Iterator[str]:
        return self._contents.texts()


class PointerItems(ItemsView[str, Pointer]):
    """Pairs of name and pointer in data order, read without looking up names."""

    def __init__(self, pointers: Mapping[str, Pointer], snapshot: Snapshot) -> None:
        super().__init__(pointers)
        self._snapshot = snapshot

    def __iter__(self) -> Iterator[tuple[str, Pointer]]:
        snapshot = self._snapshot
        addresses = map(snapshot.locate_position, range(len(snapshot)))
        pointers = starmap(Pointer, map(snapshot.pointer_at, addresses))
        return zip(snapshot.texts(), pointers, strict=True)


class Pointers(ByName[Pointer]):
    """Name to `Pointer`, in data order. Pickled, it becomes a dict.

    Examples
    --------
    >>> store.pointers["utt2"]
    Pointer(start=3, end=5)
    """

    def __getitem__(self, name: str) -> Pointer:
        raw = encoded(name)
        found = None if raw is None else self._contents.find(raw)
        if found is None:
            raise unknown(name, str(self._contents.directory))
        return Pointer(*found)

    def items(self) -> ItemsView[str, Pointer]:
        """Return pairs of name and pointer; iterated over, those of one moment."""
        if self._now:
            return super().items()
        return PointerItems(self, cast(Snapshot, self._contents))  # which nobody changes

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self.items()),)

    def __repr__(self) -> str:
        return _said(lambda: f"<{len(self)} pointers of {self._contents.directory}>")


class Meta(ByName[dict[str, Any]]):
    """Name to metadata, in data order.

    Examples
    --------
    >>> store.meta["utt2"]
    {}
    """

    def __getitem__(self, name: str) -> dict[str, Any]:
        raw = encoded(name)
        found = None if raw is None else self._contents.meta(raw)
        if found is None:
            raise unknown(name, str(self._contents.directory))
        return found

    def __repr__(self) -> str:
        return _said(lambda: f"<metadata of {len(self)} arrays of {self._contents.directory}>")

    def _repr_html_(self) -> str:
        """Return the metadata of the first arrays that have any, for notebooks."""
        from ptrarray.views.shown import metas

        return metas(self, cast(Snapshot, self._contents))


class MetaOfWriter(Meta):
    """Name to metadata, as committed now; what is assigned is a commit.

    Examples
    --------
    >>> with ptrarray.append("corpus.ptr") as writer:
    ...     writer.meta["utt1"] = {"speaker": "Ann"}
    ...     writer.meta["utt1"]
    {'speaker': 'Ann'}
    """

    def __init__(
        self,
        contents: Contents,
        now: Callable[[], Mapping[str, dict[str, Any]]],
        session: Callable[[], Writable],
    ) -> None:
        super().__init__(contents, now)
        self._session = session

    def _repr_html_(self) -> str:
        """Return the metadata of the first arrays, as committed now, for notebooks."""
        from ptrarray.views.shown import metas_of_writer

        return metas_of_writer(self, self._contents.directory)

    def __setitem__(self, name: str, meta: Mapping[str, Any]) -> None:
        raw = encoded(name)
        if raw is None:
            raise unknown(name, str(self._contents.directory))
        transactions.set_meta(self._session(), raw, metadata.encode(name, meta))


class Attrs(MutableMapping[str, Any]):
    """The user's attrs of an open writer; each change is a commit."""

    def __init__(self, session: Callable[[], Writable]) -> None:
        self._session = session

    def _now(self) -> dict[str, Any]:
        session = self._session()
        return transactions.asked(session, lambda: session.snapshot().attrs)

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        transactions.change_attrs(self._session(), lambda attrs: attrs.__delitem__(key))

    def update(self, attrs: Any = (), /, **more: Any) -> None:
        """Set several attrs in one commit, as `dict.update`."""
        changes = dict(attrs, **more)
        transactions.change_attrs(self._session(), lambda attrs: attrs.update(changes))

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._now()))

    def items(self) -> ItemsView[str, Any]:
        """Return pairs of key and value; iterated over, those of one moment."""
        return ItemsNow(self, self._now)

    def values(self) -> ValuesView[Any]:
        """Return the values; iterated over, those of one moment."""
        return ValuesNow(self, self._now)

    def __len__(self) -> int:
        return len(self._now())

    def __repr__(self) -> str:
        return _said(lambda: repr(self._now()))

    def _repr_html_(self) -> str:
        """Return the attrs as committed now, for notebooks."""
        from ptrarray.views.shown import attrs_of_writer

        return attrs_of_writer(self, lambda: self._session().directory)
