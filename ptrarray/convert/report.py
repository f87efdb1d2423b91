"""What an import or export came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Failure(NamedTuple):
    """What could not be converted.

    Attributes
    ----------
    source : str
        A file, or what is in it behind a colon; or the name of an array.
    problem : str
        Why not.
    """

    source: str
    problem: str


@dataclass
class Report:
    """What an import or export came to.

    Attributes
    ----------
    converted : int
        Arrays that were written. A Series or DataFrame counts once, whether it is
        read from a pickle or written to any format; its index in an array of its
        own does not count.
    skipped : int
        Those that were there from an earlier run.
    removed : int
        Sources that were removed after they were compared with the store.
    failures : list of Failure
        What could not be converted; all else was.
    notes : list of str
        What the target cannot keep, if anything.

    Examples
    --------
    >>> report = Report(converted=2, failures=[Failure("x.pkl", "it is a str")])
    >>> print(report)
    2 converted, 1 failed
    >>> report.ok
    False
    """

    converted: int = 0
    skipped: int = 0
    removed: int = 0
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def note(self, about: str, n: int, first: str) -> None:
        """Note how many there are of something, in the plural, and what the first one is called.

        Of one thing it is said what holds of all of its kind, for texts have no singular.
        """
        self.notes.append(f"{n:,} {about}: {first}, …" if n > 1 else f"{about}: {first}")

    def __str__(self) -> str:
        counts = (
            (self.converted, "converted"),
            (self.skipped, "skipped"),
            (self.removed, "sources removed"),
            (len(self.failures), "failed"),
        )
        return ", ".join(f"{n:,} {what}" for n, what in counts if n or what == "converted")
