"""Where something is inside an object: for messages, and as the name of its array."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import islice
from typing import Any

_KEY_LIMIT = 60  # characters shown of a key
_SHOWN = 12  # steps shown at each end of a long path
_PLAIN_INT = 10**18
_NAME_LIMIT = 200  # characters in the name of an array, or a few more


class Step:
    """One step down into an object.

    Attributes
    ----------
    at : object
        Key, index or attribute name of where we are at the moment.
    is_attribute : bool
        Whether `at` is an attribute's name; one without a name is passed over.
    """

    __slots__ = ("at", "is_attribute")

    def __init__(self, *, is_attribute: bool = False) -> None:
        self.at: Any = None
        self.is_attribute = is_attribute


def expression(steps: Sequence[Step]) -> str:
    """Return the Python expression that leads to where we are.

    Examples
    --------
    >>> step = Step()
    >>> step.at = "a"
    >>> expression([step])
    "obj['a']"
    """
    if len(steps) <= 2 * _SHOWN:
        return "obj" + "".join(map(_spelled, steps))
    first, last = steps[:_SHOWN], steps[-_SHOWN:]
    left_out = f"…({len(steps) - 2 * _SHOWN} more)…"
    return "obj" + "".join(map(_spelled, first)) + left_out + "".join(map(_spelled, last))


def _spelled(step: Step) -> str:
    if not step.is_attribute:
        return f"[{shown(step.at)}]"
    return f".{step.at}" if step.at else ""


def shown(key: Any) -> str:
    """Return a short repr of a key that may be of any type and size."""
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001 somebody else's code, or an int of too many digits
        return f"<{type(key).__name__}>"
    return text if len(text) <= _KEY_LIMIT else f"{text[:_KEY_LIMIT]}…"


def prefix(steps: Sequence[Step]) -> str:
    """Return the name of what the last step goes down into, as a JSON pointer: ``/a/3``.

    Of a very long path only the end is shown.

    Examples
    --------
    >>> first, second, third = Step(), Step(), Step()
    >>> first.at, second.at = "a/b", 3
    >>> prefix([first, second, third]), prefix([first])
    ('/a~1b/3', '')
    """
    parts: list[str] = []
    length = 0
    for step in islice(reversed(steps), 1, None):
        if step.is_attribute and not step.at:
            continue
        parts.append(f"/{escaped(step.at)}")
        length += len(parts[-1])
        if length > _NAME_LIMIT:
            parts.append("/…")
            break
    return "".join(reversed(parts))


def escaped(key: Any) -> str:
    """Return a key or index as a part of a name."""
    if type(key) is int and -_PLAIN_INT < key < _PLAIN_INT:
        return str(key)
    text = key if type(key) is str else shown(key)
    if len(text) > _KEY_LIMIT:
        text = f"{text[:_KEY_LIMIT]}…"
    # A lone surrogate can be in a key, but not in a name.
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("~", "~0").replace("/", "~1")


class Names:
    """Gives every array a name of its own.

    Examples
    --------
    >>> names = Names()
    >>> names.unique("/a", taken={}), names.unique("/a", taken={"/a"})
    ('/a', '/a#2')
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}  # of names that were asked for again

    def unique(self, name: str, taken: Container[str]) -> str:
        """Return a name that is not taken: this one, or numbered."""
        result = name
        while result in taken:
            count = self._counts[name] = self._counts.get(name, 1) + 1
            result = f"{name}#{count}"
        return result
