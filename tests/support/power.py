"""What a power cut may leave of a directory, rebuilt from a recording.

For every prefix of the log, what was not synced is pending: on the disk
it may be there, absent, torn, or garbage, and names made, renamed or removed
may have changed or not. `outcomes` yields the fates, `rebuild` the directory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from tests.support.disk import (
    BLOCK_NBYTES,
    DROPPED,
    KEPT,
    PART,
    SECTOR_NBYTES,
    ZEROS,
    Disk,
    Fate,
    Fates,
    Op,
    Resize,
    Sync,
    Write,
    boundaries_inside,
)
from tests.support.recording import Recording


def pending(log: Sequence[Op], cut: int) -> list[int]:
    """Positions of the operations before `cut` that no sync before `cut` covers."""
    waiting: list[int] = []
    for at, op in enumerate(log[:cut]):
        if isinstance(op, Sync):
            waiting = [other for other in waiting if home(log[other]) != op.node]
        else:
            waiting.append(at)
    return waiting


def home(op: Op) -> int:
    """Whose sync an operation waits for."""
    return op.node if isinstance(op, Write | Resize | Sync) else op.parent


def rebuild(recording: Recording, cut: int, fates: Fates) -> dict[str, bytes | None]:
    """Return the contents of the directory by path; what has no fate is kept."""
    return rebuilt(recording, cut, fates).tree()


def rebuilt(recording: Recording, cut: int, fates: Fates) -> Disk:
    """Return the disk; what has no fate is kept."""
    n_certain = min([cut, *fates])
    disk = _begun(recording, n_certain).copy()
    for at in range(n_certain, cut):
        disk.apply(recording.log[at], fates.get(at, KEPT))
    return disk


@lru_cache(maxsize=1)
def _begun(recording: Recording, cut: int) -> Disk:
    """Return the disk with all before `cut` on it, which is where most outcomes of a cut begin."""
    disk = recording.before.copy()
    for op in recording.log[:cut]:
        disk.apply(op)
    return disk


@dataclass(frozen=True)
class Effort:
    """How many outcomes of one cut are tried.

    Attributes
    ----------
    exhaustive_ops : int
        Up to so many pending operations every subset is tried.
    n_samples : int
        Random outcomes beyond that, and with every kind of fate.
    n_special : int
        Fates of each operation beside kept and dropped.
    n_around : int
        Random surroundings for each of those.
    """

    exhaustive_ops: int
    n_samples: int
    n_special: int
    n_around: int


def outcomes(recording: Recording, cut: int, effort: Effort) -> Iterator[Fates]:
    """Yield legal fates of what is pending when the power is cut after `cut` operations."""
    log, waiting = recording.log, pending(recording.log, cut)
    rng = random.Random(cut)
    yield from _subsets(waiting, effort, rng)
    special = {at: special_fates(log[at], recording.roles, rng) for at in waiting}
    for at, fates in special.items():
        for fate in rng.sample(fates, min(len(fates), effort.n_special)):
            yield {at: fate}
            for _ in range(effort.n_around):
                yield {other: rng.choice((KEPT, DROPPED)) for other in waiting} | {at: fate}
    for _ in range(effort.n_samples if len(waiting) > 1 else 0):
        yield {at: rng.choice((KEPT, DROPPED, *special[at])) for at in waiting}


def outcomes_by_file(recording: Recording, cut: int) -> Iterator[Fates]:
    """Yield the fates in which of each file, or directory, all that is pending is there or nothing.

    These are few, and show whether one file is ahead of another.
    """
    log, waiting = recording.log, pending(recording.log, cut)
    homes = sorted({home(log[at]) for at in waiting})
    n_homes = len(homes)
    for kept in product((True, False), repeat=n_homes):
        if n_homes <= 3 or sum(kept) in (0, 1, n_homes - 1, n_homes):
            of_home = {
                home: KEPT if is_kept else DROPPED
                for home, is_kept in zip(homes, kept, strict=True)
            }
            yield {at: of_home[home(log[at])] for at in waiting}


def _subsets(waiting: list[int], effort: Effort, rng: random.Random) -> Iterator[Fates]:
    """Yield who is kept and who is dropped."""
    if len(waiting) <= effort.exhaustive_ops:
        for chosen in product((KEPT, DROPPED), repeat=len(waiting)):
            yield dict(zip(waiting, chosen, strict=True))
        return
    for n_kept in range(len(waiting) + 1):
        yield dict.fromkeys(waiting[n_kept:], DROPPED)
    for at in waiting:
        yield {at: DROPPED}
        yield dict.fromkeys(waiting, DROPPED) | {at: KEPT}
    for _ in range(effort.n_samples):
        yield {at: rng.choice((KEPT, DROPPED)) for at in waiting}


def special_fates(op: Op, roles: dict[int, str], rng: random.Random) -> list[Fate]:
    """Return how an operation can come out but for kept and dropped."""
    if isinstance(op, Resize):
        return [PART]
    if not isinstance(op, Write):
        return []
    cuts = {len(op.raw) // 2}
    for unit in (SECTOR_NBYTES, BLOCK_NBYTES):
        boundaries = boundaries_inside(op, unit)
        cuts.update((boundaries[0], boundaries[-1]) if boundaries else ())
    fates = [Fate(kind, at) for at in sorted(cuts - {0}) for kind in ("head", "tail")]
    fates += [ZEROS, Fate("garbage", rng.getrandbits(32)), Fate("mixed", rng.getrandbits(32))]
    # The journal's header slots are promised to lie in blocks of their own.
    if roles[op.node].startswith("journal") and op.start + len(op.raw) <= 2 * BLOCK_NBYTES:
        fates.append(Fate("block", rng.getrandbits(32)))
    return fates
