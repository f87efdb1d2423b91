"""Coverage-guided fuzzing of what a reader makes of a file.

Run with atheris installed: ``python -m tests.fuzz_atheris FILE NEW_CORPUS [-max_total_time=1800]``,
where FILE is ``index.msgpack`` or ``journal.msgpack``, and NEW_CORPUS a directory for what it
finds worth keeping on the way. What does harm is written to ``tests/corpus/fuzz``, where the tests
replay it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["ptrarray"]):
    import ptrarray

from tests.support import damage

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    file, new_corpus, *options = sys.argv[1:]
    with TemporaryDirectory() as name:
        root = Path(name) / "root"

        def fuzz(raw: bytes) -> None:
            # Odd ones get checksums that match, or nothing would get past them.
            content = damage.mended(file, raw[1:]) if raw[:1] > b"\x7f" else raw[1:]
            path = damage.damaged(root, file, content)
            with damage.guarded():
                damage.read_in_every_way(path, (TypeError, ptrarray.BadInputError))
            shutil.rmtree(root)

        seeds = Path(name) / "seeds"
        write_seeds(file, seeds)
        artifacts = f"-artifact_prefix={CORPUS / file}/"
        arguments = [sys.argv[0], new_corpus, str(seeds), artifacts, "-max_len=12000", *options]
        atheris.Setup(arguments, fuzz)
        atheris.Fuzz()


def write_seeds(file: str, seeds: Path) -> None:
    seeds.mkdir()
    known = [entry.read_bytes() for entry in (CORPUS / file).iterdir()]
    for number, raw in enumerate([damage.content(file), *known]):
        for kind in (b"\0", b"\xff"):
            (seeds / f"{number}{kind.hex()}").write_bytes(kind + raw)


if __name__ == "__main__":
    main()
