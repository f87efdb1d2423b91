"""The command ``python -m release``: ``make release`` runs it."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from release import building, checkout, crossing, inside, running, trying
from release.running import FailedError, say

ROOT = Path(__file__).parent.parent
NEXT = """
dist/ has the release. What remains is by hand:
  git tag --annotate v{0} --message 'ptrarray {0}' {2} && git push origin v{0}
  {1} -m twine upload dist/ptrarray-{0}*
Wheels with the native core for other kinds of machines are built there, from the sdist;
until then the pure wheel is for them."""


def main() -> None:
    """Make a release, or say why not."""
    parser = argparse.ArgumentParser("make release", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run only the core of the tests")
    parser.add_argument("--undated", action="store_true", help="the changelog need not have a date")
    parser.add_argument("--workers", default="auto", help="processes that run tests")
    parser.add_argument("--released", type=Path, help="a folder with wheels of earlier releases")
    try:
        _release(parser.parse_args())
    except FailedError as error:
        sys.exit(f"There is no release: {error}")


def _release(options: argparse.Namespace) -> None:
    _stop_at(checkout.faults(ROOT, undated=options.undated))
    version, commit = checkout.version(ROOT), checkout.git(ROOT, "rev-parse", "HEAD").strip()
    pythons = running.pythons(trying.oldest_python(ROOT))
    if not pythons or pythons[0].minor != trying.oldest_python(ROOT):
        raise FailedError("the oldest Python that is promised is not there")
    with TemporaryDirectory(prefix="release-") as name:
        work = Path(name)
        say(f"building ptrarray {version}")
        tools = building.tools_of(ROOT, work / "tools", pythons[0])
        built = building.build(ROOT, commit, work / "first", tools)
        again = building.build(ROOT, commit, work / "again", tools)
        _stop_at([*_faults(built, version, commit), *building.differences(built, again)])
        for number, trial in enumerate(trying.trials(pythons, quick=options.quick)):
            trying.try_out(trial, built, work / f"trial{number}", options.workers)
        names = crossing.earlier(ROOT / "tests", checkout.changelog(ROOT), version)
        crossing.check(names, built, pythons[-1], work / "crossing", options.released)
        _leave(built, ROOT / "dist")
    say(NEXT.format(version, sys.executable, commit))


def _faults(built: building.Built, version: str, commit: str) -> list[str]:
    listing = checkout.git(ROOT, "ls-tree", "-r", "-z", "--name-only", commit)
    tracked = set(listing.split("\0")) - {""}
    return [
        *inside.faults(built, version, tracked),
        *inside.faults_of_tag(built.native),
        *inside.faults_of_abi(built.native),
        *inside.faults_of_description(built),
    ]


def _stop_at(faults: list[str]) -> None:
    if faults:
        raise FailedError("\n" + "\n".join(faults))


def _leave(built: building.Built, folder: Path) -> None:
    """Put the files into a folder, in the place of those of another release, with their sums."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("ptrarray-*"):
        old.unlink()
    for file in built:
        shutil.copy(file, folder)
    lines = sorted(f"{building.sha256(file)}  {file.name}\n" for file in built)
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    say("".join(lines))


if __name__ == "__main__":
    main()
