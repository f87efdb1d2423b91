"""Coverage-guided fuzzing of the index and the journal.

Run ``python -m tests.fuzz_atheris SECONDS`` with atheris installed. Inputs that break anything
are left in ``tests/corpus/fuzz``, where `tests/test_fuzz.py` tries them again for ever.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from zlib import crc32

import atheris

with atheris.instrument_imports(include=["ptrarray"]):
    import ptrarray  # noqa: F401
    from tests.support.fuzzing import CORPUS, attempt, seeds

_UINT32 = b"\xce"


def with_right_header_crc(raw: bytes) -> bytes:
    """Forge the CRC of an index header, so that what is behind it is reached."""
    at = raw.find(b"\xa3crc\xce")
    if at < 0 or raw[0] & 1:  # a journal
        return raw
    end = at + 4
    return raw[:end] + _UINT32 + crc32(raw[1:end]).to_bytes(4, "big") + raw[end + 5 :]


def main() -> None:
    """Fuzz for so many seconds."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    begin = folder / "seeds"
    begin.mkdir()
    for number, raw in enumerate(seeds()):
        (begin / str(number)).write_bytes(raw)

    def one_input(raw: bytes) -> None:
        forged = with_right_header_crc(raw)
        try:
            attempt(forged, folder / "fuzz.ptr")
        except BaseException:
            CORPUS.mkdir(parents=True, exist_ok=True)
            (CORPUS / hashlib.sha256(forged).hexdigest()[:16]).write_bytes(forged)
            raise

    options = [f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup(
        [sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={folder}/", str(begin)],
        one_input,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
