"""Whether releases before this one read what it writes, where the format's version is the same.

The release that is being made writes stores, of every kind that golden ones are of. An earlier one is
installed, and reads them: ``python -m release.crossing write`` and ``read`` are run by the Pythons of
the two. What they print, sums of all that a store holds, has to be the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import numpy as np

import ptrarray
from release import golden
from release.building import Built
from release.checkout import Listed
from release.running import FailedError, Python, environment, pip, run, say
from release.trying import Trial, beside, installed


def earlier(tests: Path, versions: Iterable[Listed], present: str) -> list[str]:
    """Return the releases before this one that have to read what it writes."""
    formats = {name: entry["format"] for name, entry in golden.entries(tests).items()}
    released = [one.version for one in versions if one.is_released and one.version != present]
    return [name for name in released if formats[name] == formats[present]]


def check(
    names: list[str], built: Built, python: Python, folder: Path, wheels: Path | None
) -> None:
    """Have each of these releases read stores that this one writes."""
    say(f"earlier releases that have to read what this one writes: {', '.join(names) or 'none'}")
    if not names:
        return
    folder.mkdir()
    copy = beside(built.sdist, folder)
    ours = installed(Trial("native", python, False, False), built, copy)
    stores = str(folder / "stores")
    expected = run(ours, "-m", "release.crossing", "write", stores, cwd=copy)
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels.resolve())]
    needed = pip(ours, "freeze", "--exclude", "ptrarray", cwd=copy).splitlines()
    for name in names:
        older = folder / name
        older.mkdir()
        theirs = environment(python.path, older, *needed)
        pip(theirs, "install", "--no-deps", *source, f"ptrarray=={name}", cwd=older)
        found = run(theirs, "-m", "release.crossing", "read", stores, cwd=copy)
        check_same(name, json.loads(found), json.loads(expected))


def check_same(name: str, found: dict[str, str], expected: dict[str, str]) -> None:
    """Refuse a release whose stores an earlier one, of this name, reads otherwise or not at all."""
    wrong = [path for path in expected if found.get(path) != expected[path]]
    if wrong or not expected:
        said = [f"{path}: {found.get(path)}" for path in wrong]
        raise FailedError("\n".join([f"{name} does not read what this release writes", *said]))


def write(folder: Path) -> None:
    """Write the stores, by what writes golden ones; it knows parts that an earlier release has not."""
    from tests.golden.make import GOOD_STORES, SHARDED_STORES, write_store

    folder.mkdir()
    for name, make in {**GOOD_STORES, **SHARDED_STORES}.items():
        write_store(folder / f"{name}.ptr", make)


def sums(folder: Path) -> dict[str, str]:
    """Return for each store a sum of what it holds, or why it is not read."""
    return {path.name: _sum(path) for path in sorted(folder.glob("*.ptr"))}


def _sum(path: Path) -> str:
    total = 0
    try:
        with ptrarray.open(path) as store:
            for name, array in store.items():
                raw = np.ma.getdata(array).tobytes() + np.ma.getmaskarray(array).tobytes()
                said = f"{name!r} {array.dtype.descr} {array.shape} {dict(store.meta[name])}"
                total = crc32(raw, crc32(said.encode(), total))
            store.verify()
            return f"{len(store)} arrays, {dict(store.attrs)}, {total:#010x}"
    except (ptrarray.StoreError, ptrarray.BadInputError) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    what, place = sys.argv[1:]
    if what == "write":
        write(Path(place))
    json.dump(sums(Path(place)), sys.stdout)
