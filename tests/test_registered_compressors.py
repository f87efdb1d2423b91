"""Compressors of others: registered, they make files and are found again by their first bytes."""

from __future__ import annotations

import bz2
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError
from ptrarray.storage.system import compressors
from tests.support.nested import assert_same

pytestmark = pytest.mark.usefixtures("no_syncs")
VALUE = {"numbers": np.arange(10_000), "text": "ü" * 70_000}


class Prefixed:
    """bz2 with its level in front, as somebody else's library."""

    extension, magic = ".mine", b"MIN3"
    levels, level = range(1, 10), 9

    class compress:
        def __init__(self, level: int) -> None:
            self._head, self._inner = b"MIN3", bz2.BZ2Compressor(level)

        def compress(self, data: Any) -> bytes:
            head, self._head = self._head, b""
            return head + self._inner.compress(data)

        def flush(self) -> bytes:
            return self._head + self._inner.flush()

    class decompress:
        def __init__(self) -> None:
            self._left, self._inner = 4, bz2.BZ2Decompressor()

        def decompress(self, data: bytes) -> bytes:
            cut = data[self._left :]
            self._left -= len(data) - len(cut)
            return self._inner.decompress(cut) if cut else b""

        @property
        def eof(self) -> bool:
            return self._inner.eof

        @property
        def unused_data(self) -> bytes:
            return self._inner.unused_data


def test_register_compressor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressors, "CODECS", dict(compressors.CODECS))
    ptrarray.register_compressor("mine", Prefixed())
    ptrarray.dump(VALUE, tmp_path / "a.mine")
    assert (tmp_path / "a.mine").read_bytes().startswith(b"MIN3BZh9")
    assert_same(VALUE, ptrarray.load(tmp_path / "a.mine"))
    buffer = io.BytesIO()
    ptrarray.dump(VALUE, buffer, compress=("mine", 1))
    ptrarray.dump(2, buffer)
    buffer.seek(0)
    assert_same(VALUE, ptrarray.load(buffer))
    assert ptrarray.load(buffer) == 2
    ptrarray.unpack(tmp_path / "a.mine", tmp_path / "a.ptr")
    with pytest.raises(BadInputError, match="there already"):
        ptrarray.register_compressor("mine", Prefixed())
    ptrarray.register_compressor("mine", Prefixed(), force=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extension": ".gz"}, "the extension"),
        ({"extension": "gz"}, "expected one such"),
        ({"magic": b"BZh9"}, "the first bytes"),
        ({"magic": b"MI"}, "the first bytes"),
        ({"magic": "MIN3"}, "the first bytes"),
        ({"compress": None}, None),
    ],
)
def test_what_cannot_be_registered(changes: dict[str, Any], message: str | None) -> None:
    before = dict(compressors.CODECS)
    changed: Any = type("Changed", (Prefixed,), changes)()
    if message is None:
        changed = object()
    with pytest.raises(BadInputError, match=message):
        ptrarray.register_compressor("other", changed)
    with pytest.raises(BadInputError):
        ptrarray.register_compressor("gzip", Prefixed())
    assert before == compressors.CODECS
