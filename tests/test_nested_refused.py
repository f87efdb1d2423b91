"""What `dump` does not write to and `load` does not read: the message says what it is."""

from __future__ import annotations

import gzip
import io
import socket
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError
from ptrarray.nested.persistence import FOREIGN_SUFFIXES

pytestmark = pytest.mark.usefixtures("limits")

JUNK = {
    "a byte": b"j",
    "a word": b"junk of some kind",
    "long": b"junk of some kind" * 100,
    "zeros": bytes(100),
    "a zip archive": b"PK\x03\x04" + bytes(range(256)) * 4,
}


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("kind", JUNK)
def test_junk(kind: str, is_compressed: bool, tmp_path: Path) -> None:
    junk = JUNK[kind]
    path = tmp_path / "junk"
    path.write_bytes(gzip.compress(junk) if is_compressed else junk)

    def check(where: str, read: Any, *arguments: Any) -> None:
        with pytest.raises(CorruptStoreError) as caught:
            read(*arguments)
        message = str(caught.value)
        assert message.startswith(where)
        assert " no store" in message
        assert f"begins with {junk[:16]!r}" in message

    check(str(path), ptrarray.load, path)
    check("<BytesIO>", ptrarray.load, io.BytesIO(path.read_bytes()))
    check(str(path), ptrarray.unpack, path, tmp_path / "a.ptr")
    assert [one.name for one in tmp_path.iterdir()] == ["junk"]


def test_what_is_cut_short_may_be_a_store_that_was() -> None:
    buffer = io.BytesIO()
    ptrarray.dump([1, 2], buffer)
    for nbytes in (1, 100, 511):
        with pytest.raises(
            CorruptStoreError, match=f"ends after {nbytes} bytes: it is cut short, or"
        ):
            ptrarray.load(io.BytesIO(buffer.getvalue()[:nbytes]))
    for nbytes in (513, 2000):
        with pytest.raises(CorruptStoreError, match=r"it is cut short$"):
            ptrarray.load(io.BytesIO(buffer.getvalue()[:nbytes]))


def test_a_socket_says_how() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(BadInputError, match=r"not socket: give its makefile\('wb'\)"):
            ptrarray.dump([1], ours)
        with pytest.raises(BadInputError, match=r"not socket: give its makefile\('rb'\)"):
            ptrarray.load(theirs)
        with ours.makefile("wb") as out, theirs.makefile("rb") as back:
            ptrarray.dump([1], out)
            out.flush()
            assert ptrarray.load(back) == [1]


@pytest.mark.parametrize("suffix", [*FOREIGN_SUFFIXES, ".ZIP", ".tar.7z"])
def test_no_directory_is_called_as_a_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    for mode in ("x", "w"):
        with pytest.raises(BadInputError, match=r"a directory, and not what '\..*' promises") as it:
            ptrarray.dump([1], path, mode=mode)
        assert str(path) in str(it.value)
    assert not any(tmp_path.iterdir())


def test_extensions_that_are_kept(tmp_path: Path) -> None:
    for name in ("a", "a.ptr", "a.v2", "zip", "a.zip.ptr"):
        ptrarray.dump([1], tmp_path / name)
        assert (tmp_path / name).is_dir()
    for name in ("a.tar.zst", "a.tgz", "a.pkl"):
        ptrarray.dump([1], tmp_path / name)
        assert (tmp_path / name).is_file()
    ptrarray.dump([1], tmp_path / "chosen.zip", compress="gz")
    assert ptrarray.load(tmp_path / "chosen.zip") == [1]
