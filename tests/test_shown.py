"""Stores in notebooks: what is there is shown, never more than a bit of it, and nothing is raised."""

from __future__ import annotations

import fcntl
import gc
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray import Ragged
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.views import facts
from ptrarray.writer import close_leaving
from tests.support.any_layout import KINDS, array_of
from tests.support.backends import here
from tests.support.html import Page, facts_in

ROOT = Path(__file__).parent.parent
EVIL = "<b>&\"'</b><script>alert(1)</script>\x00\x1b[31m\u202e$_^\\"


def page_of(shown: Any) -> Page:
    return Page(shown._repr_html_())


def filled(path: Path, n_arrays: int, **options: Any) -> Path:
    """Make a store of many arrays of 0 to 4 rows, all of them in the index."""
    lengths = np.arange(n_arrays) % 5
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = [f"array{number:06}" for number in range(n_arrays)]
    with ptrarray.create(path, **{"dtype": "i2", **options}) as writer:
        for low in range(0, n_arrays, 1000):
            high = min(low + 1000, n_arrays)
            values = np.arange(offsets[low], offsets[high]) % 1000
            writer.write_ragged(names[low:high], values, offsets[low : high + 1] - offsets[low])
    ptrarray.checkpoint(path)
    return path


# What is shown -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharded", [False, True])
def test_facts_lengths_and_arrays_of_every_layout(
    kind: str, sharded: bool, backend: str, tmp_path: Path
) -> None:
    path, limit = tmp_path / "a.ptr", 4096 if sharded else None
    with ptrarray.create(path, attrs={"unit": "m/s"}, shard_size=limit, **KINDS[kind]) as writer:
        writer.write({f"name{seed}": array_of(kind, seed) for seed in range(12)})
        writer.meta["name3"] = {"speaker": "Ann"}
        del writer["name5"]
        shown = page_of(writer)
    store = ptrarray.open(path)
    page = page_of(store)
    for one in (shown, page):
        told = facts_in(one)
        assert told["arrays"] == "11"
        assert told["row shape" if kind == "wide rows" else "dtype"]
        assert ("masked" in told) == ("masked" in kind)
        assert "m/s" in one.text
        assert ("shards (1)" in one.text) == sharded
        assert "first 8 of 11 arrays" in one.text
        assert all(f"name{seed}\n" in one.text for seed in (0, 1, 8))
    metas = page_of(store.meta)
    assert "{'speaker': 'Ann'}" in metas.text
    assert "name3" in metas.text


def test_holes_are_counted_with_rows_that_are_pointed_at_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i2") as writer:
        writer.write({"a": np.arange(50), "gone": np.arange(30), "b": np.arange(20)})
        writer.point("part", 40, 90)
        del writer["gone"]
        writer.point("again", 0, 50)
        writer.point("inner", 5, 6)
    assert facts_in(page_of(ptrarray.open(path)))["holes"] == "none"
    with ptrarray.append(path) as writer:
        del writer["part"]
    told = facts_in(page_of(ptrarray.open(path)))
    assert told["holes"] == "30 rows, 30.00%"
    assert told["generation"] == "2"


def test_batches_show_their_arrays() -> None:
    masked = np.ma.MaskedArray(np.arange(10.0), np.arange(10) % 3 == 0)
    page = page_of(Ragged(masked, [0, 4, 4, 10]))
    assert "3 arrays, 10 rows of float64" in page.text
    assert "1 without rows" in page.text
    assert len(page.alts) == 4
    assert "no arrays" in page_of(Ragged([], [0])).text
    many = page_of(Ragged(np.zeros(10**6, "u1"), np.arange(10**6 + 1)))
    assert "a sample of" in many.text


def test_parts_are_shown_where_they_are_open(tmp_path: Path) -> None:
    store = ptrarray.open(filled(tmp_path / "a.ptr", 100))
    part = store.partitions(3)[1]
    told = facts_in(page_of(part))
    assert told["arrays"] == f"{len(part)}"
    assert "generation" not in told
    assert part.names[0] in page_of(part).text
    sent = pickle.loads(pickle.dumps(part))
    shutil.rmtree(tmp_path / "a.ptr")
    assert "not opened here yet" in page_of(sent).text
    assert not sent._portion.is_open


def test_pictures_load_neither_matplotlib_nor_masked_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path) as writer:
        writer["line"], writer["image"] = np.arange(900.0), np.zeros((20, 20, 3), "u1")
        writer["text"], writer["ids"] = np.frombuffer(b"a text", "u1"), np.array([3, 1, 2])
    shown = "import sys, ptrarray; print(ptrarray.open(sys.argv[1])._repr_html_().count('<img'))"
    loaded = "print({'matplotlib', 'numpy.ma'} & set(sys.modules))"
    command = [sys.executable, "-c", f"{shown}; {loaded}", str(path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["5", "set()"]


def test_the_notebook_shows_a_page_in_each_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "looking.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        code, _, shown = cell.rpartition("\n")
        exec(code, names)  # noqa: S102 what is in the repository
        assert len(page_of(eval(shown, names)).text) > 100
    assert len(cells) == 5


# Text stays text, and not too much of it ---------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=300), min_size=1, unique=True))
def test_names_and_attrs_are_text(names: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ptr"
        with ptrarray.create(path, dtype="i4") as writer:
            writer.write({name: np.arange(5) for name in names})
            writer.attrs.update({name: name for name in names})
            writer.meta[names[0]] = {name: [name.encode()] for name in names}
            for one in (writer, writer.meta, writer.attrs):
                page_of(one)
        store = ptrarray.open(path)
        assert facts_in(page_of(store))["arrays"] == f"{len(names)}"
        page_of(store.meta)


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "<i>.ptr", dtype="f4") as writer:
        writer.write({EVIL: [1.0, 2.0]}, meta={EVIL: {EVIL: EVIL}})
        writer.attrs[EVIL] = EVIL
        pages = [page_of(writer), page_of(writer.meta), page_of(writer.attrs)]
    store = ptrarray.open(tmp_path / "<i>.ptr")
    for page in (*pages, page_of(store), page_of(store.meta)):
        assert "<script>alert(1)</script>" in page.text
        assert "\x00" not in page.text
        assert "\u202e" not in page.text


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if depth % 2 else {"<b>": value}
    return value


@pytest.mark.parametrize(
    "attrs",
    [
        {f"key{number:05}": "v" * 500 for number in range(2000)},
        {"text": "<&\"'>" * 250_000},
        {"bytes": b"\0" * 1_200_000},
        {"long": list(range(50_000))},
        {"wide": {f"{number}": number for number in range(25_000)}},
        {"lists": deep(101), "dicts": deep(100)},
        {"&" * 100_000: "&" * 100_000},
    ],
    ids=["many", "long text", "long bytes", "long list", "wide dict", "deep", "long key"],
)
def test_attrs_of_any_size_are_cut(attrs: dict[str, Any], tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        writer["a"] = [1.0]
        writer.attrs.update(attrs)
    ptrarray.checkpoint(tmp_path / "a.ptr")
    store = ptrarray.open(tmp_path / "a.ptr")
    assert f"attrs ({len(attrs):,})" in page_of(store).text
    with ptrarray.append(tmp_path / "a.ptr") as writer:
        page_of(writer.attrs)
        writer.meta["a"] = attrs
        store.refresh()
        is_large = len(msgpack.packb(attrs)) > 1 << 16
        assert ("not read: " in page_of(store.meta).text) == is_large


def test_the_longest_names_are_cut(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f4") as writer:
        for letter in "&'\"<>\u65e5\x00\U0001f600\u0301é":
            name = letter * (65_536 // len(letter.encode()))
            writer.write({name: np.random.default_rng(1).normal(size=900)}, meta={name: {"a": 1}})
        page_of(writer.meta)
    store = ptrarray.open(tmp_path / "a.ptr")
    assert len(page_of(store).alts) == 9
    page_of(store.meta)


def test_noise_of_every_kind_fits(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    noise: list[Any] = [
        *(random.integers(0, 255, (64, 64, 4), np.uint8) for _ in range(3)),
        *(random.normal(size=(2000, 300)) for _ in range(3)),
        np.ma.MaskedArray(random.normal(size=10_000), random.random(10_000) < 0.5),
        random.normal(size=(10_000, 6)),
    ]
    with ptrarray.create(tmp_path / "a.ptr", masked=True) as writer:
        writer.update({f"{EVIL}{number}": one for number, one in enumerate(noise)})
    store = ptrarray.open(tmp_path / "a.ptr")
    assert len(page_of(store).alts) == 9
    assert len(store._repr_html_()) < 45_000


def test_dtypes_of_many_fields_and_axes_are_cut(tmp_path: Path) -> None:
    fields = [(f"<field>{number}", "i1") for number in range(1500)]
    with ptrarray.create(tmp_path / "a.ptr", dtype=fields, row_shape=(1,) * 30) as writer:
        writer["a"] = np.zeros((2, *(1,) * 30), fields)
    page_of(ptrarray.open(tmp_path / "a.ptr"))


# Nothing is raised -------------------------------------------------------------------------------


def test_what_is_closed_says_so(tmp_path: Path) -> None:
    writer = ptrarray.create(tmp_path / "<a>.ptr", dtype="f4")
    attrs, meta = writer.attrs, writer.meta
    writer.close()
    store = ptrarray.open(tmp_path / "<a>.ptr")
    metas = store.meta
    store.close()
    for one in (writer, store, attrs, meta):
        assert "closed" in page_of(one).text or one is meta
    assert "no array has metadata" in page_of(metas).text


@here
def test_what_is_gone_is_shown_as_it_was_opened(backend: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", 20)
    store, writer = ptrarray.open(path), ptrarray.append(path)
    before = page_of(store).text
    shutil.rmtree(path)
    assert page_of(store).text == before
    for one in (writer, writer.meta, writer.attrs):
        assert "no store at" in page_of(one).text
    filled(path, 7)
    assert page_of(store).text == before


@pytest.mark.parametrize("step", [29, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", ["index.msgpack", "journal.msgpack", "data.bin"])
def test_damage_of_any_byte_is_said_or_not_seen(file: str, step: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, masked=True, attrs={"a": 1}) as writer:
        writer.write({"a": np.arange(3), "b": np.zeros((4, 5))}, meta={"a": {"b": 1}})
        ptrarray.checkpoint(path)
        writer["c"] = np.arange(9)
        whole = (path / file).read_bytes()
        records = range(8192, len(whole), step)
        for at in (*range(0, min(len(whole), 1500), step), *records):
            (path / file).write_bytes(whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :])
            page_of(writer)
            try:
                store = ptrarray.open(path)
            except ptrarray.StoreError:
                continue
            page_of(store)
            page_of(store.meta)
        (path / file).write_bytes(whole)


def test_parts_of_shards_are_shown(tmp_path: Path) -> None:
    store = ptrarray.open(filled(tmp_path / "a.ptr", 6000, shard_size=4096))
    for part in store.partitions(4):
        page = page_of(part)
        assert facts_in(page)["arrays"] == f"{len(part):,}"
        assert part.names[0] in page.text
        assert "&#9888;" not in part._repr_html_()


@pytest.mark.parametrize("file", ["data.bin", "mask.bin"])
def test_rows_that_were_cut_off_are_not_touched(file: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="f4", masked=True) as writer:
        writer.write({"a": np.zeros(10_000), "b": np.zeros(10_000)})
    store = ptrarray.open(path)
    with (path / file).open("r+b") as rows:
        rows.truncate(4096)
    assert "was cut short since it was opened" in page_of(store).text


def with_end(path: Path, position: int, end: int) -> None:
    """Change where an array ends, in an index that is too large to be compared when opened."""
    snapshot: Any = ptrarray.open(path)._opened.snapshot
    at = snapshot.index.columns["end"].start_byte + 8 * position
    index = bytearray((path / "index.msgpack").read_bytes())
    index[at : at + 8] = end.to_bytes(8, "little")
    (path / "index.msgpack").write_bytes(index)


def test_a_damaged_pointer_is_said_beside_the_other_arrays(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", 40_000)
    with_end(path, 2, 1 << 50)
    page = page_of(ptrarray.open(path))
    assert "array000001" in page.text
    assert "array000003" in page.text
    assert f"{1 << 50}" in page.text


# Nothing is changed, waited for or left open ------------------------------------------------------


def test_no_lock_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "a.ptr", 20)
    store, writer = ptrarray.open(path, "r+"), ptrarray.append(path)
    shown = store, store.meta, writer, writer.meta, writer.attrs

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a lock was taken")

    for name in ("flock", "lockf", "fcntl"):
        monkeypatch.setattr(fcntl, name, refuse)
    for one in shown:
        assert "a lock was taken" not in page_of(one).text


def test_changed_views_are_not_handed_out_and_nothing_is_refreshed(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", 20)
    store = ptrarray.open(path, "r+")
    before = page_of(store).text
    with ptrarray.append(path) as writer:
        writer["later"] = np.arange(3)
    assert page_of(store).text == before
    assert store._handed_out == []
    assert not any(one.values.flags.writeable for one in facts.first(store, 8))  # type: ignore[union-attr]
    assert store["array000003"].flags.writeable


@here
def test_writers_leave_nothing_open(backend: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", 20, shard_size=4096)
    with ptrarray.append(path) as writer:
        page_of(writer)
        before = held(path)
        for _ in range(3):
            page_of(writer)
            page_of(writer.meta)
            page_of(writer.attrs)
        after = held(path)
    assert after[0] <= before[0]
    assert after[1] <= before[1]


def held(path: Path) -> tuple[int, int]:
    """Return how many descriptors this process has, and how many mappings of files of a store."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return len([*Path("/proc/self/fd").iterdir()]), maps.count(str(path))


# Of large stores little is looked at --------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note positions that are asked for; columns of all arrays are an error."""
    positions: list[int] = []
    locate = StoreSnapshot.locate_position

    def noted(self: StoreSnapshot, position: int) -> int:
        positions.append(position)
        return locate(self, position)

    monkeypatch.setattr(StoreSnapshot, "locate_position", noted)
    for name in ("starts", "ends", "name_column", "metas", "infos"):
        monkeypatch.setattr(StoreSnapshot, name, property(lambda self: 1 / 0))
    return positions


def test_of_many_arrays_some_are_asked(tmp_path: Path, asked: list[int]) -> None:
    store = ptrarray.open(filled(tmp_path / "a.ptr", 100_000))
    page = page_of(store)
    page_of(store.meta)
    assert "a sample of 4,096 arrays" in page.text
    assert facts_in(page)["arrays"] == "100,000"
    assert facts_in(page)["holes"] == "none seen"
    assert "division" not in page.text
    assert 4096 <= len(asked) < 4300


def test_of_many_shards_some_are_opened(
    tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "a.ptr", 20_000, shard_size=4096)
    (path / "catalog.msgpack").unlink()
    store = ptrarray.open(path)
    monkeypatch.setattr(facts, "_FEW_STORES", 4)
    monkeypatch.setattr(facts, "_FEW_RUNS", 4)
    page = page_of(store)
    page_of(store.meta)
    assert facts_in(page)["arrays"] == "20,000"
    assert "a sample of 1,024 arrays" in page.text
    assert "shards (20)" in page.text
    assert "division" not in page.text
    snapshot: Any = store._opened.snapshot
    assert sum(part._whole is not None for part in snapshot.parts) < 10


def test_a_long_journal_is_not_put_in_order(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", 30_000)
    writer = ptrarray.append(path)
    names = [f"later{number:06}" for number in range(40_000)]
    writer.write_ragged(names, np.arange(80_000) % 9, np.arange(40_001) * 2)
    writer.delete(f"array{number:06}" for number in range(0, 30_000, 3))
    writer.delete(names[::4])
    assert "what was committed last is no array" in page_of(ptrarray.open(path)).text
    writer.write({f"last{number}": np.arange(3) for number in range(9)})
    writer["last7"] = np.arange(4)
    store = ptrarray.open(path)
    page = page_of(store)
    page_of(store.meta)
    overlay = store._opened.stores[0].snapshot.overlay
    assert not overlay.is_in_order
    about = facts_in(page)["arrays"]
    assert about.startswith("up to 90,010: ")
    assert all("_slots" not in run.__dict__ for run in overlay.laid.parts[0])
    assert "the newest 8 arrays" in page.text
    shown = [line for line in page.text.split("\n") if line.startswith("last")]
    assert shown == ["last7", "last8", *(f"last{number}" for number in (6, 5, 4, 3, 2, 1))]
    assert "a sample of" in page.text
    # Now that it is in order, there is nothing to be guessed.
    assert f"{len(store):,}" == facts_in(page_of(store))["arrays"]
    assert "which are not read for this" in page_of(writer).text
    close_leaving(writer, 1 << 30)


def test_an_array_of_a_tera_is_not_read(tmp_path: Path) -> None:
    # A sparse file: nobody writes so much.
    path = filled(tmp_path / "a.ptr", 40_000, dtype="f4", rows=2**40)
    with_end(path, 1, 2**40)
    page = page_of(ptrarray.open(path))
    assert "1,099,511,627,776" in page.text
    assert "a sample" in page.text
    read = page_of(ptrarray.open(path, backend="pread"))
    assert "a sample" in read.text


def test_large_arrays_that_are_not_mapped_are_not_read(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path) as writer:
        writer.write({"large": np.zeros((300, 1000)), "small": np.arange(4)})
    page = page_of(ptrarray.open(path))
    assert ("not read" in page.text) == (backend != "mmap")
    assert "300 x 1,000" in page.text
    assert "0 to 3" in page.text
