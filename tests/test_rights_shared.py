"""A folder that other users may write to: what they put there is neither written to nor believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import convert
from ptrarray.errors import StoreError
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.lock import try_lock_whole
from ptrarray.storage.system.streams import stream_of
from tests.support.checks import digests, unchanged
from tests.test_remote_cache_folder import Reader, files_of
from tests.test_rights import ANN, BEN, OTHERS, TEAM, as_user, rights, shared

__all__ = ["shared"]  # a fixture

pytestmark = pytest.mark.usefixtures("no_syncs")

SIZE = 20_000
as_ann = partial(as_user, ANN, [OTHERS], 0o022)
as_ben = partial(as_user, BEN, [TEAM], 0)


@pytest.fixture
def private(shared: Path) -> Path:
    """Return a file of Ann's that nobody else may write to."""
    path = shared.parent / "private"
    path.write_bytes(b"precious")
    path.chmod(0o600)
    os.chown(path, ANN, OTHERS)
    return path


def fill(path: Path) -> None:
    with ptrarray.create(path, dtype="i8", masked=True) as writer:
        for n in range(4):
            writer[f"n{n}"] = np.full(SIZE // 16, n)


def problem(call: Callable[[], object], otherwise: str) -> str:
    try:
        call()
    except (OSError, StoreError) as error:
        return str(error)
    return otherwise


def change(path: Path) -> None:
    """Do all that makes files in a store; each either works, or says which file is in the way."""
    with ptrarray.append(path) as writer:
        writer["more"] = np.arange(3)
        del writer["n0"]
    calls: list[Callable[[], object]] = [
        lambda: ptrarray.checkpoint(path),
        lambda: ptrarray.compact(path),
        lambda: ptrarray.publish(path),
        lambda: ptrarray.create(path, dtype="i8", masked=True, mode="w").close(),
        lambda: ptrarray.dump([np.arange(3)], path, mode="w"),
    ]
    for call in calls:
        assert str(path) in problem(call, str(path))
        with ptrarray.open(path) as store:
            store.verify()


NAMES = ("index.msgpack.new", "scratch.new", "data.2.bin", "mask.2.bin", "data.3.bin", "mask.3.bin")


@pytest.mark.parametrize("is_back", [False, True])
@pytest.mark.parametrize("mode", [0o777, 0o1777])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_names_that_can_be_guessed_are_of_no_use(
    shared: Path,
    private: Path,
    kind: str,
    mode: int,
    is_back: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a store that is in the hands of all, and where nobody removes what is another's, too.

    Also where it is there again as soon as it was removed.
    """
    path = shared / "a.ptr"
    as_ann(lambda: fill(path))
    path.chmod(mode)
    if mode == 0o1777:
        os.chown(path, 0, 0)
    puts: dict[str, Callable[[Path], object]] = {
        "file": Path.touch,  # under an umask of 0
        "link": lambda place: place.symlink_to(private),
        "folder": Path.mkdir,
    }
    as_ben(lambda: [puts[kind](path / name) for name in NAMES] and None)
    if is_back:
        real = files.unlink
        monkeypatch.setattr(files, "unlink", lambda path: Path(path).name in NAMES or real(path))
    as_ann(lambda: change(path))
    assert private.read_bytes() == b"precious"
    assert rights(private) == 0o600
    for file in path.iterdir():
        found = file.lstat()
        # What Ben has put there, he has, and nothing was written to it; all else is Ann's.
        assert found.st_uid == ANN or (found.st_uid == BEN and file.name in NAMES)
        assert found.st_uid == ANN or kind != "file" or not found.st_size


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_lies_where_something_is_to_be_made(shared: Path, private: Path, kind: str) -> None:
    store = shared.parent / "source.ptr"
    fill(store)
    store.chmod(0o755)
    shared.chmod(0o1777)
    places = [shared / name for name in ("new", "new.tar", "new.ptr")]
    puts: dict[str, Callable[[Path], object]] = {
        "file": Path.touch,
        "link": lambda place: place.symlink_to(private),
        "folder": Path.mkdir,
    }
    as_ben(lambda: [puts[kind](place) for place in places] and None)

    def make() -> None:
        calls: list[Callable[[], object]] = [
            lambda: convert.to_npy(store, places[0], progress=False),
            lambda: ptrarray.pack(store, places[1]),
            lambda: ptrarray.create(places[2], dtype="i8"),
            lambda: ptrarray.join(places[2], [store], "copy", progress=False),
        ]
        for call in calls:
            with pytest.raises((FileExistsError, StoreError), match=r"/(new|private)"):
                call()

    with unchanged(shared.parent):
        as_ann(make)
    assert {path.lstat().st_uid for path in places} == {BEN}
    assert len([*shared.iterdir()]) == 3


def test_an_export_goes_to_the_file_that_was_made(shared: Path, private: Path) -> None:
    """Wherever its name leads by now."""
    path = shared / "made"
    with File(path, files.MAKE) as file:
        path.unlink()
        path.symlink_to(private)
        with stream_of(file) as stream:
            assert stream.name == str(path)
            stream.write(b"exported")
        assert file.pread(99, 0) == b"exported"
    assert private.read_bytes() == b"precious"


def test_what_others_left_that_looks_like_ours(shared: Path, private: Path) -> None:
    """It is theirs to remove, or goes; what it leads to stays."""
    left = shared / ".new.ptr.0123456789abcdef.new"
    shared.chmod(0o1777)
    as_ben(lambda: left.symlink_to(private))
    as_ann(lambda: fill(shared / "new.ptr"))
    assert left.is_symlink()
    assert private.read_bytes() == b"precious"
    fill(shared / "new")  # as root, who may remove it, at another place
    assert left.is_symlink()
    ptrarray.create(shared / "new.ptr", dtype="i8", masked=True, mode="w").close()
    ptrarray.dump([1], shared / "new.ptr", mode="w")
    assert not left.is_symlink()
    assert private.read_bytes() == b"precious"


def test_an_open_lock_of_another_user_keeps_nobody_from_reading(shared: Path) -> None:
    """Only who writes waits for it: as for a writer of one's own."""
    path = shared / "a.ptr"
    as_ann(lambda: fill(path))
    with File(path / "journal.msgpack") as file:
        assert try_lock_whole(file)

        def read() -> None:
            with ptrarray.open(path) as store:
                store.verify()
            ptrarray.pack(path, shared / "a.tar")
            convert.to_npz(path, shared / "a.npz", progress=False)

        as_ben(read)


# the folder of a cache ----------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return the one file of a cache in which all is kept that a reader asks for."""
    if os.geteuid() != 0:
        pytest.skip("no permission to give files to others")
    assert Reader(tmp_path / "cache").read(0, 1000)
    assert not Reader(tmp_path / "cache").read(0, 1000)
    (file,) = files_of(tmp_path / "cache")
    return file


def test_a_cache_neither_believes_nor_fills_files_of_others(kept: Path) -> None:
    os.chown(kept, BEN, TEAM)
    kept.chmod(0o666)
    kept.parent.chmod(0o777)
    for _ in range(2):
        with unchanged(kept.parent), pytest.warns(RuntimeWarning, match="is another user's"):
            assert Reader(kept.parent).read(0, 1000)
    os.truncate(kept, 0)
    with pytest.warns(RuntimeWarning, match="is another user's"):
        assert Reader(kept.parent).read(0, 1000)
    assert not kept.stat().st_size
    os.chown(kept.parent, BEN, TEAM)  # who can put there what he likes
    assert Reader(kept.parent).read(0, 1000)
    assert not Reader(kept.parent).read(0, 1000)


def test_a_cache_writes_to_no_file_that_is_elsewhere_too(kept: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    kept.unlink()
    kept.hardlink_to(other)
    with pytest.warns(RuntimeWarning, match="has another name elsewhere"):
        assert Reader(kept.parent).read(0, 1000)
    assert other.read_bytes() == b"precious"
    with suppress(FileNotFoundError):
        other.unlink()
    assert Reader(kept.parent).read(0, 1000)
    assert digests(kept.parent)
