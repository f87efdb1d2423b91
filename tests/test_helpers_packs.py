"""Archives with a store of helper arrays in them: what is taken for a pack, and what is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import CorruptStoreError, StoreError

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("no_syncs")

LEVEL = pd.Series([1.5, 2.5, 3.5], index=["x", "y", "z"], name="level")
Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer["a"] = LEVEL
    return tmp_path / "s.ptr"


def archive_of(path: Path, change: Callable[[Members], object]) -> bytes:
    """Pack a store by Python, its members changed."""
    buffer = io.BytesIO()
    ptrarray.pack(path, buffer)
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    change(members)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for member, raw in members:
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return made.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    return member, b""


def without(end: str) -> Callable[[Members], object]:
    def change(members: Members) -> None:
        members[:] = [pair for pair in members if not pair[0].name.endswith(end)]

    return change


def add(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Members], object]:
    return lambda members: members.append(named(name, kind))


def flip(members: Members) -> None:
    at = next(i for i, (member, _) in enumerate(members) if member.name.endswith("rs.ptr/data.bin"))
    member, raw = members[at]
    members[at] = member, bytes([raw[0] ^ 1]) + raw[1:]


def swap(members: Members) -> None:
    """Put what belongs to the helper arrays in the place of what belongs to the store."""
    half = len(members) // 2
    for (one, _), (other, _) in zip(members[:half], members[half:], strict=True):
        one.name, other.name = other.name, one.name


REFUSED: dict[str, Callable[[Members], object]] = {
    "no inner index": without("helpers.ptr/index.msgpack"),
    "no inner journal": without("helpers.ptr/journal.msgpack"),
    "no index": lambda members: members.pop(0),
    "twice": add("s.ptr/helpers.ptr/index.msgpack"),
    "two data files": add("s.ptr/helpers.ptr/data.2.bin"),
    "another file": add("s.ptr/helpers.ptr/more"),
    "deeper": add("s.ptr/helpers.ptr/helpers.ptr/data.bin"),
    "deeper folder": add("s.ptr/helpers.ptr/helpers.ptr", tarfile.DIRTYPE),
    "another folder": add("s.ptr/others.ptr/data.bin"),
    "elsewhere": add("t.ptr/helpers.ptr/mask.bin"),
    "above": add("s.ptr/helpers.ptr/../data.2.bin"),
    "absolute": add("/helpers.ptr/mask.bin"),
    "a link": add("s.ptr/helpers.ptr/mask.bin", tarfile.SYMTYPE),
    "a file of that name": add("s.ptr/helpers.ptr"),
    "its folder too late": add("s.ptr/helpers.ptr", tarfile.DIRTYPE),
    "damaged": flip,
    "swapped": swap,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(path: Path, tmp_path: Path, kind: str) -> None:
    raw = archive_of(path, REFUSED[kind])
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.tar").write_bytes(raw)
    with pytest.raises(CorruptStoreError):
        ptrarray.unpack(folder / "bad.tar", folder / "out.ptr")
    with pytest.raises(StoreError):
        ptrarray.verify(folder / "bad.tar")
    assert [file.name for file in folder.iterdir()] == ["bad.tar"]


def inner_first(members: Members) -> None:
    members.reverse()


def without_folder(members: Members) -> None:
    for member, _ in members:
        member.name = member.name.removeprefix("s.ptr/")


def with_folders(members: Members) -> None:
    members.insert(3, named("s.ptr/helpers.ptr/", tarfile.DIRTYPE))
    members.insert(0, named("s.ptr/", tarfile.DIRTYPE))


@pytest.mark.parametrize("change", [id, inner_first, without_folder, with_folders])
def test_taken(path: Path, tmp_path: Path, change: Callable[[Members], object]) -> None:
    (tmp_path / "s.tar").write_bytes(archive_of(path, change))
    ptrarray.unpack(tmp_path / "s.tar", tmp_path / "out.ptr")
    for place in ("s.tar", "out.ptr"):
        with ptrarray.open(tmp_path / place) as store:
            store.verify()
            pd.testing.assert_series_equal(store.series("a"), LEVEL)


def others_of(kind: str) -> dict[str, Any]:
    """Return Series whose helper arrays are not those of `LEVEL`."""
    index = {
        "flat": pd.Index([7, 8, 9]),
        "nested": pd.MultiIndex.from_product([["p", "q"], list(range(900))]),
    }[kind]
    return {"b": pd.Series(range(len(index)), index=index, dtype="f8")}


@pytest.mark.parametrize("kind", ["flat", "nested"])
@pytest.mark.parametrize("is_first", [False, True])
def test_what_nothing_refers_to_is_not_packed(
    kind: str, is_first: bool, path: Path, tmp_path: Path
) -> None:
    """Neither the bytes nor the names of what was deleted go out of the house."""
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "s.ptr"
    others = others_of(kind)
    with ptrarray.create(other) as writer:
        for some in (others, {"a": LEVEL}) if is_first else ({"a": LEVEL}, others):
            writer.write(some)
        writer.delete(list(others))
    for compression in (None, "gz"):
        files = [path.with_suffix(".one"), other.with_suffix(".two")]
        for store, file in zip((path, other), files, strict=True):
            ptrarray.pack(store, file, compression)
        assert files[0].read_bytes() == files[1].read_bytes()
        ptrarray.unpack(files[1], tmp_path / f"{compression}.ptr")
        with ptrarray.open(tmp_path / f"{compression}.ptr") as store_again:
            pd.testing.assert_series_equal(store_again.series("a"), LEVEL)
        for file in files:
            file.unlink()


def test_what_is_needed_by_what_is_needed_is_packed(tmp_path: Path) -> None:
    others = others_of("nested")
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write(others)
        writer.write({"a": LEVEL})
        del writer["a"]
    ptrarray.pack(tmp_path / "s.ptr", tmp_path / "s.tar")
    with ptrarray.open(tmp_path / "s.tar") as store:
        pd.testing.assert_series_equal(store.series("b"), others["b"])
    ptrarray.verify(tmp_path / "s.tar")
