"""Words that callers choose, and lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ptrarray.errors import BadInputError


def check_choice(what: str, choice: str, known: Sequence[str], path: str) -> None:
    """Raise `BadInputError` unless a choice is one of those that are known.

    Parameters
    ----------
    what, path : str
        What was chosen, and for which store, for the message.
    """
    if choice not in known:
        raise BadInputError(
            f"{what} {choice!r} is not one of {', '.join(map(repr, known))}",
            path=path,
            found=choice,
            expected=known,
        )


def listed(words: Any) -> list[Any]:
    """Return a word, or several, as a list; whatever else it is, as one that is to be refused.

    Examples
    --------
    >>> listed("a"), listed(iter(["a", "b"])), listed(5)
    (['a'], ['a', 'b'], [5])
    """
    return list(words) if isinstance(words, Iterable) and not isinstance(words, str) else [words]


def several(names: Iterable[str], caller: str) -> Iterable[str]:
    """Return names as they are, after a look that they are several and not one.

    Examples
    --------
    >>> several("utt1", "take")
    Traceback (most recent call last):
    ptrarray.errors.BadInputError: take wants several names, not the one name 'utt1': put it in a list
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise BadInputError(
            f"{caller} wants several names, not the one name {names!r:.80}: put it in a list",
            name=names,
            found=type(names).__name__,
            expected="an iterable of str",
        )
    return names
