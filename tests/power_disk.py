"""Power cuts on real file systems.

Run ``python -m tests.power_disk --fs ext4 --cuts 1000`` as root, on Linux with FUSE and loop
devices. Stores are written to on a file system whose disk is a file that records each write and
each flush. Disks are then rebuilt as a power cut may leave them, and mounted; what is there must be
what was promised. Ends with 1 if anything is lost.

With ``--leave-out SYNC``, syncs that a regular expression describes are not done, to see that this is
noticed; ``--list`` tells which there are. ``--each-sync`` leaves out one after the other.
With ``--measure``, the model of a disk of the crash tests is asked whether it knows what is left.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter as Counts
from collections.abc import Iterator
from pathlib import Path

from tests.support.disk_rounds import (
    Conditions,
    Findings,
    Round,
    cut_through,
    described,
    done,
    prepared,
)
from tests.support.disk_syncs import LEFT_OUT
from tests.support.disk_trials import TRIALS, Trial
from tests.support.file_systems import FILE_SYSTEMS, enter_own_mounts, memory_at, missing
from tests.support.measured import MEASURED
from tests.support.recording import Site

N_TRIALS = 8  # on one disk at a time
N_CUTS = 40  # of one disk, at the most
N_LEFT = 1 << 20  # bytes on a full disk
_SHOWN = 5  # losses of each disk


def main() -> int:
    """Cut the power so often, and print what was found."""
    options = _parser().parse_args()
    reason = missing(FILE_SYSTEMS[options.fs])
    if reason:
        print(f"power cuts on real file systems cannot be tried: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    enter_own_mounts()
    with tempfile.TemporaryDirectory(prefix="ptrarray-power-") as name, memory_at(Path(name)):
        if options.each_sync:
            return _each_sync(options, Path(name))
        total, sites = _all_rounds(options, Path(name))
    if options.list:
        print("\n".join(sorted({described(site) for site in sites})))
    print(_summary(options.fs, total))
    return bool(total.losses)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.power_disk", description=__doc__)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--fs", choices=FILE_SYSTEMS, default="ext4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--workload", choices=TRIALS, metavar="W", action="append", help="only this one, or these"
    )
    parser.add_argument("--leave-out", metavar="SYNC", type=re.compile)
    parser.add_argument("--each-sync", action="store_true", help="leave out one after the other")
    parser.add_argument("--measure", action="store_true", help="measure the model of a disk")
    parser.add_argument("--list", action="store_true", help="print which syncs were asked for")
    return parser


def _all_rounds(options: argparse.Namespace, folder: Path) -> tuple[Findings, dict[Site, None]]:
    total, sites = Findings(), dict[Site, None]()
    seed = options.seed
    while total.n_cuts < options.cuts and not (options.leave_out and total.losses):
        for told in _disks(options, folder, seed):
            sites |= told.sites
            found = _one_disk(options, told, folder, seed, options.cuts - total.n_cuts)
            total.add(found)
            if found.losses or total.n_cuts == options.cuts:
                break
        seed += 1
    return total, sites


def _one_disk(
    options: argparse.Namespace, told: Round, folder: Path, seed: int, n_cuts: int
) -> Findings:
    total, began = Findings(), time.monotonic()
    for found in cut_through(told, min(N_CUTS, n_cuts), folder, seed):
        total.add(found)
        if options.leave_out and found.losses:
            break
    if not options.each_sync:
        for what, some in (("LOST", total.losses), ("REFUSED", total.refused)):
            for one in some[:_SHOWN]:
                print(f"{what} {one}", flush=True)
        seconds = (time.monotonic() - began) / total.n_cuts
        about = f"{options.fs} seed {seed} ({told.conditions}), {len(told.log.records)} records"
        print(f"{about}, {total.n_cuts} cuts, {seconds:.2f} s each", flush=True)
    return total


def _each_sync(options: argparse.Namespace, folder: Path) -> int:
    """Leave out each sync until that is noticed, and print what it took; return how many were not."""
    n_unnoticed = 0
    for what in LEFT_OUT:
        options.leave_out, options.workload = re.compile(what.pattern), list(what.workloads)
        total, sites = _all_rounds(options, folder)
        is_asked = any(options.leave_out.search(described(site)) for site in sites)
        after = (
            f"noticed after {total.n_cuts}" if total.losses else f"not noticed in {total.n_cuts}"
        )
        print(f"{options.fs}: {what.name}: {after if is_asked else 'never asked for'}", flush=True)
        n_unnoticed += not total.losses
    return n_unnoticed


def _disks(options: argparse.Namespace, folder: Path, seed: int) -> Iterator[Round]:
    """Yield a disk on which things were done; then what a power cut left of it, and more was done on."""
    rng = random.Random(seed)
    conditions = _conditions(options, rng)
    trials = _trials(options, conditions, rng)
    base = prepared(conditions, trials, folder)
    yield done(conditions, trials, base, folder, 1, seed)
    more = [trial for trial in trials if trial.goes_on]
    if more and (folder / "cut.img").exists() and conditions.n_left is None:
        # The last cut was judged, and nothing was lost: all goes on from there.
        base = (folder / "cut.img").rename(folder / "base.img")
        yield done(conditions, more, base, folder, 2, seed)


def _conditions(options: argparse.Namespace, rng: random.Random) -> Conditions:
    sector_nbytes = rng.choice((512, 4096))
    old = rng.randbytes(1 << 20) if rng.random() < 0.3 else b""
    fits = not options.measure and all(
        TRIALS[name].fits_full_disk for name in options.workload or ()
    )
    n_left = N_LEFT if fits and rng.random() < 0.2 else None
    fs = FILE_SYSTEMS[options.fs]
    return Conditions(fs, sector_nbytes, old, n_left, options.leave_out)


def _trials(options: argparse.Namespace, conditions: Conditions, rng: random.Random) -> list[Trial]:
    if options.measure:
        return rng.sample([*MEASURED.values()], N_TRIALS)
    if options.workload:
        return [TRIALS[name] for name in options.workload]
    fitting = [t for t in TRIALS.values() if conditions.n_left is None or t.fits_full_disk]
    weights = [6 if trial.goes_on else 1 for trial in fitting]
    return list(dict.fromkeys(rng.choices(fitting, weights, k=N_TRIALS)))


def _summary(fs: str, total: Findings) -> str:
    ways = ", ".join(f"{way} {n}" for way, n in sorted(Counts(total.n_by_way).items()))
    return (
        f"{fs}: {total.n_cuts} cuts ({ways}), {total.n_cached} writes in caches, "
        f"{total.n_judged} stores judged ({total.n_different} different), "
        f"{len(total.refused)} mounts refused, {len(total.losses)} lost"
    )


if __name__ == "__main__":
    sys.exit(main())
