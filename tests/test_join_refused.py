"""What is not fit to be joined is refused before anything is done."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.store.content import Content
from tests.support.joined import files_of, held, make

HOWS = ("move", "link", "copy")


def ints(path: Path, **options: Any) -> Path:
    with ptrarray.create(path, **{"dtype": "i4", **options}) as writer:
        writer[f"{path.stem}"] = np.arange(5, dtype=writer.dtype).reshape(
            -1, *(writer.row_shape or ())
        )
    return path


def packed(path: Path) -> Path:
    ptrarray.pack(ints(path.with_name("in.ptr")), path)
    return path


def changed(path: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    ints(path)
    ptrarray.checkpoint(path)
    (path / name).write_bytes(change((path / name).read_bytes()))
    return path


def a_copy(path: Path) -> Path:
    shutil.copytree(path.with_name("good.ptr"), path)
    return path


def an_open_part(path: Path) -> Path:
    writer = ptrarray.part(path.with_name("k.ptr"), "k", dtype="i4")
    writer["k"] = [1]
    del writer  # as if it was killed
    return path.with_name("k.ptr.parts") / "k.ptr"


def with_attrs(path: Path) -> Path:
    return ints(path, attrs={"rate": 2})


UNFIT: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "dtype": (lambda p: ints(p, dtype="i8"), ptrarray.BadInputError, "only stores of one kind"),
    "row shape": (
        lambda p: ints(p, row_shape=5),
        ptrarray.BadInputError,
        "only stores of one kind",
    ),
    "layout": (lambda p: ints(p, row_shape=None), ptrarray.BadInputError, "only stores of one"),
    "mixed": (lambda p: ints(p, dtype=None), ptrarray.BadInputError, "only stores of one kind"),
    "masks": (lambda p: ints(p, masked=True), ptrarray.BadInputError, "only stores of one kind"),
    "attrs": (
        with_attrs,
        ptrarray.BadInputError,
        "other attrs than .*good.ptr, different in 'rate'",
    ),
    "pack": (packed, ptrarray.BadInputError, "is a pack.*unpack"),
    "nothing": (lambda p: p, ptrarray.StoreNotFoundError, "no store at"),
    "twice": (lambda p: p.with_name("good.ptr"), ptrarray.BadInputError, "joined twice"),
    "copy": (a_copy, ptrarray.BadInputError, "one is a copy of the other"),
    "not closed": (an_open_part, ptrarray.StoreError, "part that was not closed"),
    "index": (
        lambda p: changed(p, "index.msgpack", lambda raw: raw[:-9] + b"\xaa" + raw[-8:]),
        ptrarray.CorruptStoreError,
        "index.msgpack",
    ),
    "journal": (
        lambda p: changed(p, "journal.msgpack", lambda raw: bytes(len(raw))),
        ptrarray.CorruptStoreError,
        "journal.msgpack",
    ),
    "data": (
        lambda p: changed(p, "data.bin", lambda raw: raw[:-1]),
        ptrarray.CorruptStoreError,
        "data.bin has 19 bytes",
    ),
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("what", UNFIT)
def test_unfit(what: str, how: str, tmp_path: Path) -> None:
    make_unfit, kind, text = UNFIT[what]
    good = ints(tmp_path / "good.ptr")
    unfit = make_unfit(tmp_path / "unfit.ptr")
    before = files_of(tmp_path)
    with pytest.raises(kind, match=text):
        ptrarray.join(tmp_path / "all.ptr", [good, unfit], how, progress=False)
    assert files_of(tmp_path) == before
    assert held(good).keys() == {"good"}
    # To a store that is there, too.
    path = ints(tmp_path / "all.ptr", shard_size="1MB")
    before = files_of(tmp_path)
    with pytest.raises(kind):
        ptrarray.join(path, [good, unfit], how, progress=False)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("shard_size", [None, "1MB"])
def test_open_for_writing(how: str, shard_size: str | None, tmp_path: Path) -> None:
    other = ints(tmp_path / "x.ptr", shard_size=shard_size)
    with ptrarray.append(other) as writer:
        with pytest.raises(ptrarray.StoreError, match="is open for writing: close its writers"):
            ptrarray.join(tmp_path / "all.ptr", [other], how, progress=False)
        writer["more"] = [1]
    ptrarray.join(tmp_path / "all.ptr", [other], how, progress=False)
    assert held(tmp_path / "all.ptr").keys() == {"x", "more"}


def test_changed_through_views(tmp_path: Path) -> None:
    other = ints(tmp_path / "x.ptr")
    with ptrarray.open(other, "r+") as store:
        view = store["x"]
        with pytest.raises(ptrarray.StoreError, match="may be changed through views"):
            ptrarray.join(tmp_path / "all.ptr", [other], progress=False)
    del view, store
    ptrarray.join(tmp_path / "all.ptr", [other], progress=False)


def test_changed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who came after the look, and went before the lock."""
    stores = [ints(tmp_path / f"{name}.ptr") for name in "xy"]
    real = Content.check_size

    def check_size(self: Content, n_rows: int) -> None:
        real(self, n_rows)
        monkeypatch.setattr(Content, "check_size", real)
        with ptrarray.append(stores[0]) as writer:
            writer["more"] = [1]

    for how in HOWS:
        monkeypatch.setattr(Content, "check_size", check_size)
        with pytest.raises(ptrarray.StoreError, match="changed while it was being joined"):
            ptrarray.join(tmp_path / "all.ptr", stores, how, progress=False)
        with ptrarray.append(stores[0]) as writer:
            del writer["more"]
        assert {p.name for p in tmp_path.iterdir()} == {"x.ptr", "y.ptr"}


def test_what_belongs_to_a_store(tmp_path: Path) -> None:
    path = tmp_path / "x.ptr"
    make(path, "rows", "x", shard_size=1)
    with pytest.raises(ptrarray.BadInputError, match=r"belongs to the store .*x.ptr: join that"):
        ptrarray.join(tmp_path / "all.ptr", [path / "shard-00000.ptr"], progress=False)
    with pytest.raises(ptrarray.BadInputError, match=r"to itself"):
        ptrarray.join(path, [path], "copy", progress=False)


def test_taken_paths(tmp_path: Path) -> None:
    other, plain = ints(tmp_path / "x.ptr"), ints(tmp_path / "all.ptr")
    before = files_of(tmp_path)
    for path in (plain, tmp_path):
        with pytest.raises(ptrarray.StoreExistsError):
            ptrarray.join(path, [other], progress=False)
    assert files_of(tmp_path) == before


def test_in_it_already(tmp_path: Path) -> None:
    path, other = tmp_path / "all.ptr", ints(tmp_path / "x.ptr")
    ptrarray.join(path, [other], "link", progress=False)
    for how in ("link", "copy"):
        with pytest.raises(
            ptrarray.BadInputError, match=r"is in .*all.ptr already, as shard-00000"
        ):
            ptrarray.join(path, [other], how, progress=False)
    shutil.copytree(other, tmp_path / "same.ptr")
    with ptrarray.append(other) as writer:
        writer.rename("x", "new")
    with pytest.raises(ptrarray.BadInputError, match=r"is in .*all.ptr already"):
        ptrarray.join(path, [other], progress=False)
    # One that is as it was joined is all there: moving it is removing it.
    ptrarray.join(path, [tmp_path / "same.ptr"], progress=False)
    assert held(path).keys() == {"x"}
    assert {p.name for p in tmp_path.iterdir()} == {"all.ptr", "x.ptr"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stores": []}, "no stores to be joined"),
        ({"stores": None}, "no parts in .*all.ptr.parts"),
        ({"stores": "x.ptr"}, "several stores, not the one 'x.ptr'"),
        ({"stores": Path("x.ptr")}, "several stores, not the one"),
        ({"stores": 5}, "several stores"),
        ({"how": "steal"}, "how 'steal' is not one of"),
        ({"duplicates": "all"}, "duplicates 'all' is not one of"),
        ({"memory": "much"}, "memory 'much' is not a size"),
        ({"shard_size": 0}, "shard_size must be at least one byte"),
        ({"prefix": ["a", "b"]}, "neither one str nor one for each of 1 stores"),
        ({"prefix": 5}, "neither one str nor one for each"),
        ({"prefix": lambda path: None}, "name"),
        ({"prefix": "\ud800"}, "UTF-8|surrogate|encode"),
    ],
)
def test_bad_arguments(options: dict[str, Any], text: str, tmp_path: Path) -> None:
    options = {"stores": [ints(tmp_path / "x.ptr")], **options}
    before = files_of(tmp_path)
    with pytest.raises(ptrarray.BadInputError, match=text):
        ptrarray.join(tmp_path / "all.ptr", progress=False, **options)
    assert files_of(tmp_path) == before


def test_another_shard_size(tmp_path: Path) -> None:
    path = ints(tmp_path / "all.ptr", shard_size="1MB")
    with pytest.raises(
        ptrarray.BadInputError, match="has shards of 1000000 bytes, and shards of 2"
    ):
        ptrarray.join(path, [ints(tmp_path / "x.ptr")], shard_size="2MB", progress=False)
    ptrarray.join(path, [tmp_path / "x.ptr"], shard_size="1MB", progress=False)


# sealed stores ------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    other = ints(tmp_path / "x.ptr")
    ptrarray.join(tmp_path / "all.ptr", [other], "link", progress=False)
    before = (other / "data.bin").read_bytes()
    yield other
    assert (tmp_path / "all.ptr" / "shard-00000.ptr" / "data.bin").read_bytes() == before
    assert held(tmp_path / "all.ptr").keys() == {"x"}


ADDING: dict[str, Callable[[ptrarray.PointerArrayWriter], object]] = {
    "one": lambda w: w.__setitem__("more", [1]),
    "replacing": lambda w: w.__setitem__("x", [1]),
    "empty": lambda w: w.__setitem__("more", []),
    "several": lambda w: w.write({"more": [1], "other": [2]}),
    "large": lambda w: w.write({"more": np.arange(100_000)}),
    "at rows": lambda w: w.write({"more": [1]}, start=7),
    "ragged": lambda w: w.write_ragged(["more"], np.arange(3), [0, 3]),
    "stream": lambda w: w.update((name, [1]) for name in "pqr"),
    "reserve": lambda w: w.reserve(3),
    "allocate": lambda w: w.allocate("more", 3).__enter__(),
    "nothing": lambda w: w.reserve(0),
}


@pytest.mark.parametrize("what", ADDING)
def test_no_rows_are_added_to_a_sealed_store(what: str, sealed: Path) -> None:
    refused = pytest.raises(ptrarray.BadInputError, match=r"x.ptr is sealed.*compact\(\) gives")
    with ptrarray.append(sealed) as writer, refused:
        ADDING[what](writer)
    assert held(sealed).keys() == {"x"}
    ptrarray.compact(sealed)
    with ptrarray.append(sealed) as writer:
        ADDING[what](writer)


def test_nobody_changes_rows_of_a_sealed_store(sealed: Path) -> None:
    for path in (sealed, sealed.with_name("all.ptr")):
        with pytest.raises(ptrarray.BadInputError, match="is sealed"):
            ptrarray.open(path, "r+")
        with ptrarray.open(path, "c") as store:
            store["x"][0] = 7
    ptrarray.compact(sealed)
    with ptrarray.open(sealed, "r+") as store:
        store["x"][0] = 7


def test_a_sealed_store_changes_otherwise(sealed: Path) -> None:
    with ptrarray.append(sealed) as writer:
        writer.point("y", 1, 3)
        writer.meta["y"] = {"k": 1}
        writer.rename("x", "z")
        writer.attrs["k"] = 1
        del writer["z"]
    ptrarray.checkpoint(sealed)
    assert ptrarray.open(sealed)["y"].tolist() == [1, 2]
    with (
        ptrarray.append(sealed) as writer,
        pytest.raises(ptrarray.BadInputError, match="is sealed"),
    ):
        writer["more"] = [1]
    ptrarray.pack(sealed, sealed.with_suffix(".tar"))
    ptrarray.unpack(sealed.with_suffix(".tar"), sealed.with_name("again.ptr"))
    with ptrarray.append(sealed.with_name("again.ptr")) as writer:
        writer["more"] = [1]


def test_sealed_while_rows_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no locks show who lives, a writer finds out when it commits."""
    other = ints(tmp_path / "x.ptr")
    monkeypatch.setattr("ptrarray.storage.store.content.is_held", lambda *_: None)
    monkeypatch.setattr("ptrarray.storage.shards.sources.is_held", lambda *_: None)
    with ptrarray.append(other) as writer:
        block = writer.allocate("more", 10)
        block.__enter__()[...] = 1
        ptrarray.join(tmp_path / "all.ptr", [other], "link", progress=False)
        with pytest.raises(ptrarray.BadInputError, match="is sealed"):
            block.__exit__(None, None, None)
    assert held(other).keys() == held(tmp_path / "all.ptr").keys() == {"x"}


# parts --------------------------------------------------------------------------------------------


def test_parts(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    for key in ("10", "9", "b", "a"):
        with ptrarray.part(path, key, dtype="i4", attrs={"rate": 1}) as writer:
            writer[key] = [1]
            assert ptrarray.open(writer.path)[key].tolist() == [1]
    assert {p.name for p in tmp_path.iterdir()} == {"all.ptr.parts"}
    ptrarray.join(path, progress=False)
    store = ptrarray.open(path)
    assert (list(store), dict(store.attrs)) == (["9", "10", "a", "b"], {"rate": 1})
    assert {p.name for p in tmp_path.iterdir()} == {"all.ptr"}
    # As the store is by now.
    with ptrarray.part(path, "later") as writer:
        assert (writer.dtype, dict(writer.attrs)) == (np.dtype("i4"), {"rate": 1})
        writer["later"] = [2]
    ptrarray.join(path, progress=False)
    assert len(ptrarray.open(path)) == 5


def test_modes_of_parts(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    with ptrarray.part(path, "k", dtype="i4") as writer:
        writer["a"] = [1]
    with pytest.raises(ptrarray.StoreExistsError):
        ptrarray.part(path, "k", dtype="i4", mode="x")
    with pytest.raises(ptrarray.BadInputError, match="rows of int32"):
        ptrarray.part(path, "k", dtype="i8")
    with ptrarray.part(path, "k", dtype="i4") as writer:
        writer["b"] = [1]
        with pytest.raises(ptrarray.StoreError, match="not closed"):
            ptrarray.join(path, progress=False)
    assert held(Path(writer.path)).keys() == {"a", "b"}
    with ptrarray.part(path, "k", dtype="i8", mode="w") as writer:
        writer["c"] = [1]
    ptrarray.join(path, how="link", progress=False)
    with pytest.raises(ptrarray.BadInputError, match="the file of another store, too"):
        ptrarray.part(path, "k")
    with ptrarray.part(path, "k", mode="w") as writer:
        writer["d"] = [1]
    ptrarray.join(path, progress=False)
    assert held(path).keys() == {"c", "d"}


def test_a_part_that_fails_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    with pytest.raises(ptrarray.BadInputError), ptrarray.part(path, "k", dtype="i4") as writer:
        writer.update({"a": [1], "b": ["text"]})
    with pytest.raises(ptrarray.StoreError, match="not closed"):
        ptrarray.join(path, progress=False)
    with ptrarray.part(path, "k", dtype="i4") as writer:
        assert list(writer) == []
    ptrarray.join(path, progress=False)


@pytest.mark.parametrize("key", ["", ".", "..", ".x", "a/b", "a\0b", "a\nb", 5, None])
def test_bad_keys(key: Any, tmp_path: Path) -> None:
    with pytest.raises(ptrarray.BadInputError, match="cannot be the key of a part"):
        ptrarray.part(tmp_path / "all.ptr", key, dtype="i4")
    assert not [*tmp_path.iterdir()]


def write_and_die(path: Path) -> None:
    writer = ptrarray.part(path, "k", dtype="i4")
    writer["a"] = [1]
    os.kill(os.getpid(), signal.SIGKILL)


def write_a_share(writer: ptrarray.PointerArrayWriter, name: str) -> None:
    with writer:
        writer[name] = [1]


def test_a_killed_part_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    process = get_context("spawn").Process(target=write_and_die, args=(path,))
    process.start()
    process.join()
    with pytest.raises(ptrarray.StoreError, match="not closed"):
        ptrarray.join(path, progress=False)
    with ptrarray.part(path, "k", dtype="i4") as writer:
        assert list(writer) == ["a"]
    ptrarray.join(path, progress=False)
    assert held(path).keys() == {"a"}


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_only_who_opened_a_part_seals_it(method: str, tmp_path: Path) -> None:
    path = tmp_path / "all.ptr"
    with ptrarray.part(path, "k", dtype="i4") as writer:
        process = get_context(method).Process(  # type: ignore[attr-defined]
            target=write_a_share, args=(writer, "a")
        )
        process.start()
        process.join()
        writer["b"] = [1]
    ptrarray.join(path, progress=False)
    assert held(path).keys() == {"a", "b"}
