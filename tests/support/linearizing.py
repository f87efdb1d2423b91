"""Whether some order of operations, each at one moment between its call and its return, explains all results.

The search is that of Wing and Gong ("Testing and verifying concurrent objects", Journal of Parallel
and Distributed Computing 17, 1993), with the two additions of Lowe ("Testing for linearizability",
Concurrency and Computation 29, 2017): an operation is put into the order *just in time*, when one has
to be there because it returns, and a state is not gone on from twice with the same operations done.
Tools as Knossos and Porcupine search the same way. Horn and Kroening ("Faster linearizability checking
via P-compositionality", FORTE 2015) check each key by itself, which does not hold here: one call
has several names, and is seen whole or not at all.

One addition of our own: what changes nothing, as a read or a call that was refused, takes its
place at the first state that explains it, for the others go on from the same state either way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

Config = tuple[Any, int]  # a state, and the open operations that are in the order, a bit a process


_N_BEFORE = 6  # changes that are told before a counter-example


class Operation(NamedTuple):
    """What one process asked for, and what it was told.

    Attributes
    ----------
    returned : int or None
        None where the process was killed: then it happened, or not.
    """

    process: int
    kind: str
    arguments: Any
    invoked: int
    returned: int | None
    result: Any


class Unexplained(NamedTuple):
    """A counter-example.

    Attributes
    ----------
    culprit : Operation
        The first to return that no order explains.
    states : list
        Those that were possible when it was called; what was open then is done in some of them.
    operations : list of Operation
        What was open while it was, and the last changes before.
    reached : list
        States that some order of these leads to, until it returns.
    """

    culprit: Operation
    states: list[Any]
    operations: list[Operation]
    reached: list[Any]


class Specification(NamedTuple):
    """What operations do.

    Attributes
    ----------
    after : callable
        Gives the states that an operation with this result may lead to from a state; none where
        it cannot have this result there.
    changes_nothing : callable
        Tells whether an operation with this result leaves each state as it is.
    """

    after: Callable[[Any, Operation], Iterable[Hashable]]
    changes_nothing: Callable[[Operation], bool]


def explain(
    operations: Sequence[Operation], state: Hashable, specification: Specification
) -> Unexplained | None:
    """Return None if some order explains all results, beginning with a state; else what does not fit.

    A process has one operation open at a time.
    """
    told = [one for one in operations if one.returned or not specification.changes_nothing(one)]
    configs: set[Config] = {(state, 0)}
    open_now: dict[int, Operation] = {}
    before: dict[int, set[Config]] = {}  # by process, when its operation was called
    for _, returns, _, operation in _events(told):
        if not returns:
            before[operation.process] = configs
            open_now[operation.process] = operation
            continue
        reached = _extended(configs, open_now, operation, specification)
        configs = _without(reached, operation)
        if not configs:
            return Unexplained(
                operation,
                _states(before[operation.process]),
                _around(operation, told, specification),
                _states(reached),
            )
        del open_now[operation.process]
    return None


def minimal(
    operations: Sequence[Operation], state: Hashable, specification: Specification
) -> Unexplained | None:
    """Do as `explain`; a counter-example has none of the reads that it is one without."""
    found = explain(operations, state, specification)
    if found is None:
        return None
    culprit = found.culprit
    left = [one if _is_over(one, culprit) else one._replace(returned=None) for one in operations]
    left = [one for one in left if one.invoked < _end(culprit)]
    for one in filter(specification.changes_nothing, list(left)):
        fewer = [other for other in left if other is not one]
        without = explain(fewer, state, specification)
        if without is not None and without.culprit == culprit:
            left, found = fewer, without
    return found


def _is_over(one: Operation, culprit: Operation) -> bool:
    return one.returned is not None and one.returned <= _end(culprit)


def _end(one: Operation) -> float:
    return inf if one.returned is None else one.returned


def _around(
    culprit: Operation, operations: Sequence[Operation], specification: Specification
) -> list[Operation]:
    """Return what was open while an operation was, and the last changes before, as they were called."""
    changes = [one for one in operations if not specification.changes_nothing(one)]
    earlier = [one for one in changes if _end(one) < culprit.invoked]
    earlier = sorted(earlier, key=_end)[-_N_BEFORE:]
    meeting = [one for one in operations if _meet(one, culprit)]
    return sorted([*earlier, *meeting], key=lambda one: one.invoked)


def _meet(one: Operation, other: Operation) -> bool:
    """Tell whether two operations were open at one moment."""
    return one.invoked <= _end(other) and other.invoked <= _end(one)


def _states(configs: set[Config]) -> list[Any]:
    return list(dict.fromkeys(state for state, _ in configs))


def _events(operations: Sequence[Operation]) -> list[tuple[int, bool, int, Operation]]:
    """Return calls and returns in their order; of one moment, calls come first."""
    calls = [(one.invoked, False, at, one) for at, one in enumerate(operations)]
    returns = [
        (one.returned, True, at, one)
        for at, one in enumerate(operations)
        if one.returned is not None
    ]
    return sorted(calls + returns)


def _extended(
    configs: set[Config],
    open_now: dict[int, Operation],
    operation: Operation,
    specification: Specification,
) -> set[Config]:
    """Put open operations into the order until one is in it; return all that was tried."""
    bit = 1 << operation.process
    seen, left = set(configs), list(configs)
    while left:
        state, done = left.pop()
        if done & bit:
            continue
        for following in _next(state, done, open_now, specification):
            if following not in seen:
                seen.add(following)
                left.append(following)
    return seen


def _next(
    state: Any, done: int, open_now: dict[int, Operation], specification: Specification
) -> Iterable[Config]:
    """Yield what one more operation leads to; only one that changes nothing, if there is one."""
    others = []
    for process, operation in open_now.items():
        if not done >> process & 1:
            if not specification.changes_nothing(operation):
                others.append(operation)
            elif specification.after(state, operation):
                return [(state, done | 1 << process)]
    return [
        (after, done | 1 << operation.process)
        for operation in others
        for after in specification.after(state, operation)
    ]


def _without(configs: set[Config], operation: Operation) -> set[Config]:
    """Return the configurations that an operation is done in, less its mark."""
    bit = 1 << operation.process
    return {(state, done ^ bit) for state, done in configs if done & bit}
