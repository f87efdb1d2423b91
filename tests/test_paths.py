"""A path where something else is, or nothing: what is there is left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import (
    BadInputError,
    CorruptStoreError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from tests.support.checks import unchanged
from tests.support.refusals import make


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("precious")


def make_empty_directory(path: Path) -> None:
    path.mkdir()


def make_half_a_store(path: Path) -> None:
    path.mkdir()
    (path / "data.bin").write_text("precious")
    (path / "journal.msgpack").write_text("precious")


def make_broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


PLACES = (
    make_file,
    make_full_directory,
    make_empty_directory,
    make_half_a_store,
    make_broken_link,
)


@pytest.mark.parametrize("mode", ["x", "w", "a"])
@pytest.mark.parametrize("make_place", PLACES)
def test_a_path_that_is_taken_is_left_alone(
    path: Path, make_place: Callable[[Path], None], mode: str
) -> None:
    make_place(path)
    with unchanged(path.parent), pytest.raises(StoreExistsError, match=re.escape(str(path))):
        ptrarray.create(path, dtype="i4", mode=mode)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.is_symlink() == (make_place is make_broken_link)


def test_a_link_that_leads_nowhere_is_called_one(path: Path) -> None:
    ptrarray.create(path.with_name("b.ptr"), dtype="i4").close()
    make_broken_link(path)
    uses: list[Callable[[], object]] = [
        *(partial(ptrarray.create, path, dtype="i4", mode=mode) for mode in "xwa"),
        *(partial(ptrarray.dump, [1], path, mode=mode) for mode in "xw"),
        lambda: ptrarray.repair(path.with_name("b.ptr"), path),
        lambda: ptrarray.append(path),
        lambda: ptrarray.open(path),
    ]
    for use in uses:
        with pytest.raises(StoreError, match="is a link that leads nowhere"):
            use()


@pytest.mark.parametrize("make_place", [*PLACES, None])
@pytest.mark.parametrize(
    "use",
    [ptrarray.open, ptrarray.append, ptrarray.checkpoint, ptrarray.verify],
    ids=lambda use: use.__name__,
)
def test_a_path_that_is_no_store(
    path: Path, make_place: Callable[[Path], None] | None, use: Callable[[Path], object]
) -> None:
    if make_place is not None:
        make_place(path)
    kinds = (StoreNotFoundError, CorruptStoreError)
    with unchanged(path.parent), pytest.raises(kinds, match=re.escape(str(path))) as raised:
        use(path)
    is_half = make_place is make_half_a_store
    assert isinstance(raised.value, CorruptStoreError if is_half else StoreNotFoundError)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "a.ptr"
    with pytest.raises(FileNotFoundError) as raised:
        ptrarray.create(path, dtype="i4")
    assert str(path.parent) in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [5, None, print, "nul\0inside"], ids=repr)
def test_paths_that_are_none(path: Any) -> None:
    for use in (ptrarray.open, ptrarray.append, lambda p: ptrarray.create(p, dtype="i4")):
        with pytest.raises((TypeError, ValueError)):
            use(path)


def test_another_version(path: Path) -> None:
    make(path).close()
    index = path / "index.msgpack"
    raw = index.read_bytes()
    assert raw.count(b"\xa7version\x01") == 1
    index.write_bytes(raw.replace(b"\xa7version\x01", b"\xa7version\x02"))
    with unchanged(path):
        for use in (ptrarray.open, ptrarray.append):
            with pytest.raises(CorruptStoreError, match=r"version 2.* reads version 1"):
                use(path)


@pytest.mark.parametrize("url", ["http://me:secret@host/x.ptr", "s3:/bucket/x", "file:///x"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_url_is_no_path(
    url: str, kind: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = kind(url)
    calls: list[Callable[[], object]] = [
        lambda: ptrarray.create(given, dtype="f4"),
        lambda: ptrarray.append(given),
        lambda: ptrarray.checkpoint(given),
        lambda: ptrarray.compact(given),
        lambda: ptrarray.publish(given),
        lambda: ptrarray.repair(given, "b.ptr"),
        lambda: ptrarray.repair("a.ptr", given),
        lambda: ptrarray.join(given, ["a.ptr"]),
        lambda: ptrarray.part(given, "host"),
        lambda: ptrarray.dump([], given),
        lambda: ptrarray.pack("a.ptr", given),
        lambda: ptrarray.pack(given, "b.tar"),
        lambda: ptrarray.unpack(given, "b.ptr"),
        lambda: ptrarray.unpack("b.tar", given),
        lambda: ptrarray.fill(given, len, {}, progress=False),
        lambda: ptrarray.convert.from_npy([], given),
    ]
    if isinstance(given, Path) or "://" not in given:
        calls += [lambda: ptrarray.open(given), lambda: ptrarray.verify(given)]
        calls += [lambda: ptrarray.load(given)]
        why = r"is a URL, of which pathlib has taken a slash: give it as text"
    else:
        calls += [lambda: ptrarray.open(given, "r+"), lambda: ptrarray.load(given, "r+")]
        why = (
            r"(is a URL, where .*nothing is written: |mode 'r\+' .*)ptrarray.download makes a copy"
        )
    for call in calls:
        with pytest.raises(BadInputError, match=why) as raised:
            call()
        assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / url.partition("/")[0]).mkdir()  # then it is a path like any other
    with pytest.raises((StoreNotFoundError, FileNotFoundError)):
        ptrarray.append(given)
