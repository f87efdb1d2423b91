"""Instances of classes that an import does not call: their attributes as arrays, and back.

What is an array lies under the name of the instance with the attribute behind it, ``NAME/x``. Under
the name itself lies an empty array, whose metadata says which class it was and what else it held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ptrarray.convert.unpickle.rebuild import Instance
from ptrarray.errors import BadInputError
from ptrarray.frames.library import is_pandas
from ptrarray.frames.reading import Store, to_pandas

WORD = "instance"  # of the metadata
# Those with a value of their own, that an instance of protocols 0 and 1 is made by.
_BUILTINS = {kind.__name__: kind for kind in (tuple, str, int, float, bytes, set, frozenset)}
_SHORT_NBYTES = 1 << 12  # of text in it

Take = Callable[[Any, str], bool]
Refuse = Callable[[str, str], object]


def describe_instance(instance: Instance, take: Take, refuse: Refuse) -> dict[str, dict[str, Any]]:
    """Return what is noted of an instance, and of those in it, by what their names end in.

    Parameters
    ----------
    instance : Instance
        From a pickle.
    take : callable
        Is given each value that is no text and no container, and what its name ends in. Returns
        False for a list that is no array; raises `BadInputError` for what is no array either.
    refuse : callable
        Is told what is left out: what its name would end in, and why.

    Returns
    -------
    dict
        The last one is of the instance itself; its name ends in nothing more.
    """
    described = _Description(take, refuse)
    described.instance(instance, "")
    return described.abouts


class _Description:
    def __init__(self, take: Take, refuse: Refuse) -> None:
        self.abouts: dict[str, dict[str, Any]] = {}
        self._take = take
        self._refuse = refuse
        self._seen: set[str] = set()
        self._own = ""  # what the name of the instance that is being described ends in

    def instance(self, value: Instance, suffix: str) -> dict[str, Any]:
        outer, self._own = self._own, suffix
        self.abouts[suffix] = self._about(value, suffix)
        self._own = outer
        return {WORD: self._relative(suffix)}

    def _relative(self, suffix: str) -> str:
        return suffix[len(self._own) :]

    def _about(self, value: Instance, suffix: str) -> dict[str, Any]:
        about: dict[str, Any] = {"class": value.name}
        if value.made_by:
            about["made_by"] = value.made_by
        state = value.state
        for word, part in (("args", value.args), ("items", value.items), ("named", value.named)):
            if not _is_nothing(part):
                about[word] = self._part(part, f"{suffix}/{word}")
        if value.pairs:
            about["pairs"] = self._pairs(value.pairs, suffix)
        if isinstance(state, tuple) and [*map(type, state)] in ([dict, dict], [type(None), dict]):
            state, slots = state
            about["slots"] = self._attributes(slots, suffix)
        if isinstance(state, dict):
            about["attributes"] = self._attributes(state, suffix)
        elif state is not None:
            about["state"] = self._part(state, f"{suffix}/state")
        return about

    def _attributes(self, values: dict[Any, Any], suffix: str) -> dict[str, Any]:
        return {str(key): self._inner(value, suffix, key) for key, value in values.items()}

    def _pairs(self, values: dict[Any, Any], suffix: str) -> list[Any]:
        return [
            [key if isinstance(key, str | int) else repr(key)[:80], self._inner(value, suffix, key)]
            for key, value in values.items()
        ]

    def _inner(self, value: Any, suffix: str, key: Any) -> Any:
        """Describe what is in an instance or container under a key."""
        below = f"{suffix}/{key}"
        if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
            return self._refused(
                below, f"the key {key!r:.80} is no name: only text and integers are"
            )
        return self._part(value, below)

    def _part(self, value: Any, suffix: str) -> Any:
        if suffix in self._seen:
            return self._refused(suffix, f"two values are written as {suffix[1:]!r:.80}")
        self._seen.add(suffix)
        try:
            return self._described(value, suffix)
        except BadInputError as error:
            return self._refused(suffix, str(error))

    def _refused(self, suffix: str, problem: str) -> dict[str, str]:
        self._refuse(suffix, problem)
        return {"refused": problem}

    def _described(self, value: Any, suffix: str) -> Any:
        match value:
            case None:
                return None
            case str() | bytes() if not isinstance(value, np.generic):
                return self._text(value, suffix)
            case Instance():
                return self.instance(value, suffix)
            case dict():
                return {"dict": self._pairs(value, suffix)}
            case np.ndarray() if value.dtype.kind == "O":
                items = [self._inner(item, suffix, i) for i, item in enumerate(value.flat)]
                return {"objects": [list(value.shape), items]}
        if self._take(value, suffix):
            return {_word(value): self._relative(suffix)}
        items = [self._inner(item, suffix, i) for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}

    def _text(self, value: str | bytes, suffix: str) -> Any:
        """Return text if it is for metadata; what is long, or not for UTF-8, becomes an array."""
        raw = value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
        is_plain = isinstance(value, bytes) or raw.decode(errors="replace") == value
        if len(raw) <= _SHORT_NBYTES and is_plain:
            return value
        self._take(np.frombuffer(raw, np.uint8), suffix)
        return {"bytes" if isinstance(value, bytes) else "text": self._relative(suffix)}


def _is_nothing(part: Any) -> bool:
    return isinstance(part, list | tuple | dict) and not part


def _word(value: Any) -> str:
    """Return how the array of a value is read, to be what it was."""
    if isinstance(value, np.ndarray):
        return "masked" if isinstance(value, np.ma.MaskedArray) else "array"
    if type(value) in (int, float, bool):
        return "number"
    if isinstance(value, np.generic):
        return "scalar"
    if isinstance(value, tuple):
        return "row"
    if isinstance(value, list):
        return "scalars" if isinstance(value[0], np.generic) else "numbers"
    return "pandas" if is_pandas(value) else "number"


# And back -----------------------------------------------------------------------------------------


def to_instance(store: Store, name: str, cls: type | Mapping[str, type]) -> Any:
    """Return an instance that was imported by its attributes, as one of a class that you give.

    Parameters
    ----------
    store : PointerArray
        An open store.
    name : str
        What the instance is called.
    cls : type or mapping from str to type
        Its class; or the classes by their names in the pickle, as ``"sim.Dummy"``, where there
        are several, one inside another. It need not be the class that was pickled.

    Returns
    -------
    object
        Made as `pickle.load` makes it: by ``cls.__new__``, without ``__init__`` unless the pickle
        asked for a call, and by ``__setstate__`` if the class has one. Its arrays are views of
        the store; numbers, lists, text and Series are again what they were.

    Raises
    ------
    BadInputError
        If `name` is no instance, a class is missing, or a part of it was not imported.

    Examples
    --------
    >>> import pickle
    >>> class Dummy:
    ...     def __init__(self, n):
    ...         self.n, self.x = n, np.arange(n)
    >>> Dummy.__module__, Dummy.__qualname__ = "fractions", "Dummy"  # a module without it
    >>> fractions = __import__("fractions")
    >>> fractions.Dummy = Dummy
    >>> with open("17.pkl", "wb") as file:
    ...     pickle.dump(Dummy(3), file)
    >>> del fractions.Dummy
    >>> from ptrarray import convert
    >>> print(convert.from_pickles("17.pkl", "sims.ptr", attributes=True, progress=False))
    3 converted
    >>> store = ptrarray.open("sims.ptr")
    >>> store["17/x"], store.meta["17"]["instance"]["class"]
    (array([0, 1, 2]), 'fractions.Dummy')
    >>> vars(convert.to_instance(store, "17", Dummy))
    {'n': 3, 'x': array([0, 1, 2])}
    """
    about = _about_of(store, name)
    return _Reader(store, name, cls if isinstance(cls, Mapping) else {about["class"]: cls}).made()


def _about_of(store: Store, name: str) -> Mapping[str, Any]:
    about: Mapping[str, Any] | None = store.meta[name].get(WORD)
    if about is None:
        what = f"{name!r} is no instance that was imported with attributes=True"
        raise BadInputError(what, name=name)
    return about


class _Reader:
    def __init__(self, store: Store, name: str, classes: Mapping[str, type]) -> None:
        self._store = store
        self._name = name
        self._classes = classes

    def made(self) -> Any:
        """Return the instance."""
        about = _about_of(self._store, self._name)
        cls = self._classes.get(about["class"])
        if cls is None:
            raise BadInputError(
                f"{self._name!r} is a {about['class']}: give its class, too, as "
                f"to_instance(store, name, {{{about['class']!r}: ...}})",
                found=about["class"],
                expected=tuple(self._classes),
            )
        args, named = self._part(about.get("args", ())), self._part(about.get("named")) or {}
        made = _made(cls, about.get("made_by", ""), args, named)
        if "items" in about:
            made.extend(self._part(about["items"]))
        for key, part in about.get("pairs", ()):
            made[key] = self._part(part)
        self._set_state(made, about)
        return made

    def _set_state(self, made: Any, about: Mapping[str, Any]) -> None:
        attributes, slots = (
            {key: self._part(part) for key, part in about[word].items()} if word in about else None
            for word in ("attributes", "slots")
        )
        own = getattr(made, "__setstate__", None)
        if own is not None and about.keys() & {"attributes", "slots", "state"}:
            state = attributes if slots is None else (attributes, slots)
            own(self._part(about["state"]) if "state" in about else state)
        elif "state" in about:
            what = f"{self._name!r} has a state of its own, which {type(made).__qualname__} does "
            raise BadInputError(f"{what}not take: it has no __setstate__", name=self._name)
        else:
            _set_attributes(made, attributes or {}, slots or {})

    def _part(self, about: Any) -> Any:
        """Return what a description stands for."""
        if not isinstance(about, Mapping):
            return about
        ((word, content),) = about.items()
        return _READERS[word](self, content)

    def parts(self, abouts: list[Any]) -> list[Any]:
        return [self._part(about) for about in abouts]

    def pairs(self, abouts: list[Any]) -> dict[Any, Any]:
        return {key: self._part(about) for key, about in abouts}

    def instance(self, suffix: str) -> Any:
        return _Reader(self._store, self._name + suffix, self._classes).made()

    def masked(self, suffix: str) -> Any:
        return self._store[self._name + suffix]

    def array(self, suffix: str) -> Any:
        array = self.masked(suffix)
        return array.data if isinstance(array, np.ma.MaskedArray) else array

    def number(self, suffix: str) -> Any:
        return self.array(suffix).reshape(())[()]

    def bytes(self, suffix: str) -> bytes:
        raw: bytes = self.array(suffix).astype("u1").tobytes()
        return raw

    def pandas(self, suffix: str) -> Any:
        return to_pandas(self._store, self._name + suffix)

    def objects(self, content: list[Any]) -> Any:
        shape, abouts = content
        items = np.empty(len(abouts), object)
        for i, item in enumerate(self.parts(abouts)):
            items[i] = item
        return items.reshape(shape)

    def refused(self, problem: str) -> Any:
        raise BadInputError(f"a part of {self._name!r} was not imported: {problem}")


def _made(cls: type, made_by: str, args: Any, named: Any) -> Any:
    """Make an instance as a pickle asks for it."""
    if made_by == "call":
        return cls(*args, **named)
    base: Any = _BUILTINS.get(made_by, cls)
    made = base.__new__(cls, *args, **named)
    if base in (set, frozenset):
        base.__init__(made, *args)
    return made


def _set_attributes(made: Any, attributes: Mapping[str, Any], slots: Mapping[str, Any]) -> None:
    """Set attributes as `pickle.load` does, which asks no property."""
    own = getattr(made, "__dict__", None)
    if own is None:
        slots, attributes = {**attributes, **slots}, {}
    else:
        own.update(attributes)
    for key, value in slots.items():
        object.__setattr__(made, key, value)


_READERS: dict[str, Callable[[_Reader, Any], Any]] = {
    WORD: _Reader.instance,
    "array": _Reader.array,
    "masked": _Reader.masked,
    "scalar": _Reader.number,
    "number": lambda reader, suffix: reader.number(suffix).item(),
    "numbers": lambda reader, suffix: reader.array(suffix).tolist(),
    "row": lambda reader, suffix: tuple(reader.array(suffix).tolist()),
    "scalars": lambda reader, suffix: list(reader.array(suffix)),
    "bytes": _Reader.bytes,
    "text": lambda reader, suffix: reader.bytes(suffix).decode(errors="surrogatepass"),
    "pandas": _Reader.pandas,
    "list": _Reader.parts,
    "tuple": lambda reader, abouts: tuple(reader.parts(abouts)),
    "dict": _Reader.pairs,
    "objects": _Reader.objects,
    "refused": _Reader.refused,
}
