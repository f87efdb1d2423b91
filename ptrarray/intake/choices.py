"""One of several words that callers choose from."""

from __future__ import annotations

from collections.abc import Sequence

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
