"""Downloads beside which something lies that no download left so: nothing else is changed by them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from tests.support.checks import digests
from tests.support.fault_server import FaultServer, serving
from tests.support.joined import files_of

pytest.importorskip("obstore")
pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A store in a folder of its own."""
    path = tmp_path / "there" / "a.ptr"
    path.parent.mkdir()
    with ptrarray.create(path) as writer:
        writer.write({f"n{i}": np.arange(9.0 * i) for i in range(9)})
    return path


@pytest.fixture
def server(source: Path) -> Iterator[FaultServer]:
    with serving(source.parent) as server:
        yield server


def beside(path: Path) -> list[str]:
    """Return what is left of earlier downloads to a path."""
    return [name.name for name in path.parent.iterdir() if name.name.startswith(f".{path.name}")]


def left_of(url: str, copy: Path) -> Path:
    """Return where a killed download keeps what it has."""
    digest = blake2b(url.encode(), digest_size=8).hexdigest()
    return copy.with_name(f".{copy.name}.{digest}.new")


def _dangling(left: Path, other: Path) -> None:
    left.symlink_to(other / "nothing")


def _elsewhere(left: Path, other: Path) -> None:
    left.symlink_to(other)


def _inside(left: Path, other: Path) -> None:
    left.mkdir()
    (left / "notes").touch()
    (left / "copy.ptr").symlink_to(other)


def _second_name(left: Path, other: Path) -> None:
    (left / "copy.ptr").mkdir(parents=True)
    (left / "copy.ptr" / "data.bin").hardlink_to(other / "precious")


def _of_another_user(left: Path, other: Path) -> None:
    left.mkdir()
    os.chown(left, 12345, 12345)


def _a_file(left: Path, other: Path) -> None:
    left.touch()


def _a_pack(left: Path, other: Path) -> None:
    left.mkdir()
    (left / "copy.ptr").write_bytes(b"what was a pack at this URL")


@pytest.mark.parametrize(
    "put",
    [_dangling, _elsewhere, _inside, _second_name, _of_another_user, _a_file, _a_pack],
)
def test_what_is_in_the_way_leads_nowhere(
    server: FaultServer, source: Path, tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    if put is _of_another_user and os.geteuid():
        pytest.skip("only root can give files to others")
    copy, url, other = tmp_path / "copy.ptr", f"{server.url}/a.ptr", tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("precious")
    put(left_of(url, copy), other)
    ptrarray.download(url, copy)
    assert digests(copy) == digests(source)
    assert not beside(copy)
    assert not copy.is_symlink()
    assert files_of(other) == {"precious": b"precious"}


def test_a_copy_that_got_another_name_stays_as_it_is(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed when the pack has its name leaves the same file beside it, too."""
    pack, copy, before = source.with_name("a.tar"), tmp_path / "copy.tar", tmp_path / "before.tar"
    ptrarray.pack(source, pack)
    with monkeypatch.context() as patch:
        patch.setattr("ptrarray.storage.system.files.remove_tree", lambda path: None)
        ptrarray.download(pack.as_uri(), copy)
    assert beside(copy)
    copy.rename(before)
    raw = before.read_bytes()
    with ptrarray.append(source) as writer:
        writer["more"] = np.ones(3)
    ptrarray.pack(source, pack, overwrite=True)
    ptrarray.download(pack.as_uri(), copy)
    assert before.read_bytes() == raw
    assert copy.read_bytes() == pack.read_bytes() != raw
