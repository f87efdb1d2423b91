"""Classes of every kind, as tests register and trust them."""

from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple


@dataclass
class Circle:
    radius: Any
    unit: str = "m"


class Point(NamedTuple):
    x: Any
    y: Any = 0


class Color(enum.Enum):
    RED = 1
    ROUGE = 1  # noqa: PIE796 an alias
    BLUE = [2]  # noqa: RUF012 a value without a hash


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Plain:
    def __getattr__(self, name: str) -> Any:  # for type checkers
        raise AttributeError(name)

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any = field(default=0, compare=False)


@dataclass(slots=True)
class Slotted:
    a: int
    b: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Both:
    a: int
    b: Any = None


@dataclass(kw_only=True)
class Computed:
    seen: InitVar[int]
    a: int
    total: int = field(init=False)

    def __post_init__(self, seen: int) -> None:
        self.total = self.a + seen
        self.a += 1
        self.cache = "not a field"


@dataclass
class Pruned:
    a: int
    cache: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"a": self.a, "cache": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class InSlots:
    __slots__ = ("__private", "__weakref__", "a", "unset")

    def __init__(self, a: Any) -> None:
        self.a = self.__private = a

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InSlots) and (self.a, self.__private) == (other.a, other.__private)

    __hash__ = None  # type: ignore[assignment]


class SlotsAndMore(InSlots):
    def __init__(self, a: Any) -> None:
        super().__init__(a)
        self.more = [a]


class Config(dict[str, Any]):
    pass


class Values(list[Any]):
    pass


class Members(set[Any]):
    pass


class Empty:
    """Says that it has items, none, and takes no others."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (), None, iter([])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Empty)

    __hash__ = None  # type: ignore[assignment]


class Text(str):
    __slots__ = ("origin",)


class Failure(ValueError):
    pass


Old = namedtuple("Old", "a b", defaults=[None])


def with_attributes(value: Any, **attributes: Any) -> Any:
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value
