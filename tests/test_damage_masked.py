"""Damage and forgery of a store with dtypes, shapes, masks and metadata of each array: as `test_damage`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.format import dtypes, infos, metadata
from ptrarray.format.layouts import KINDS, Layout
from tests.support import damage, forging, strategies
from tests.support.damage import ACTIONS, DATA, INDEX, JOURNAL, MASK, MASKED
from tests.support.disk import materialise
from tests.support.effort import one_in
from tests.support.story import NAME
from tests.test_damage import CORPUS, VALUES, check_forged_file, mutated, mutations, repack

pytestmark = pytest.mark.usefixtures("limits")

# The bytes of a file are shared out over so many tests, of which the normal run has another one of each
# file; an odd number, so that each changes each bit. And what is forged, over so many.
N_BYTE_PARTS = 5
N_PARTS = 9
FILES = (INDEX, JOURNAL, DATA, MASK)
check_forged = partial(check_forged_file, sample=MASKED)


# what happens to files ---------------------------------------------------------------------


@pytest.mark.parametrize("action", sorted(ACTIONS.keys() - {"another store's"}))
def test_damaged_mask_file(action: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    materialise(damage.prepared(MASKED), root)
    ACTIONS[action](root / NAME / MASK)
    is_found = damage.check_damaged(root / NAME, sample=MASKED)
    # Behind the last array's own mask, the room up to the next one means nothing.
    assert is_found != (action in ("a zero more", "zeros", "junk", "less by one byte"))


def positions(file: str) -> list[int]:
    """Return the bytes of a file, less most of what only fills up the journal's header slots."""
    everything = range(len(damage.content(file, MASKED)))
    is_record = forging.RECORDS_AT
    return [at for at in everything if file != JOURNAL or at % 4096 < 96 or at >= is_record]


@pytest.mark.parametrize(("file", "part"), one_in(6, product(FILES, range(N_BYTE_PARTS))))
def test_every_byte(file: str, part: int, tmp_path: Path) -> None:
    """One bit of each; every eighth store is then written to."""
    n_found = 0
    for n, at in enumerate(positions(file)[part::N_BYTE_PARTS]):
        raw = bytearray(damage.content(file, MASKED))
        raw[at] ^= 1 << at % 8
        path = damage.damaged(tmp_path / "root", file, bytes(raw), MASKED)
        n_found += damage.check_damaged(path, sample=MASKED, then_write=n % 8 == 0)
        shutil.rmtree(tmp_path / "root")
    assert n_found


# forged headers ----------------------------------------------------------------------------

FILE_NAMES = (
    *("mask.bin", "mask.1.bin", "mask.99999999999999999999.bin", "mask.999999999999999999999.bin"),
    *("../mask.bin", "/etc/passwd", "mask.bin/../mask.bin", "mask.bin\0", "mask.bin\n", "MASK.BIN"),
    *("mask.\N{ARABIC-INDIC DIGIT ONE}.bin", "data.bin", "index.msgpack", "journal.msgpack", "."),
    *(b"mask.bin", ["mask.bin"]),
)
LAYOUTS = ("rows", "shaped", "mixed", "Mixed", "mixed\0", b"mixed", ["mixed"])


HEADER_FIELDS = ("layout", "mask_file", "packed_masks", "dtype", "row_shape", "n_rows")


@pytest.mark.parametrize(("field", "part"), one_in(2, product(HEADER_FIELDS, range(N_PARTS))))
def test_forged_header_field(field: str, part: int, tmp_path: Path) -> None:
    values: list[Any] = [*VALUES, *(FILE_NAMES if field == "mask_file" else LAYOUTS)]
    for value in values[part::N_PARTS]:
        header, columns = forging.unpack_index(damage.content(INDEX, MASKED))
        header[field] = value
        check_forged(tmp_path / "root", INDEX, repack(header, columns), (field, value))


def test_a_mask_file_elsewhere_is_never_opened(tmp_path: Path) -> None:
    for name in FILE_NAMES[2:]:
        header, columns = forging.unpack_index(damage.content(INDEX, MASKED))
        header["mask_file"] = name
        path = damage.damaged(tmp_path / "root", INDEX, repack(header, columns), MASKED)
        with pytest.raises(ptrarray.CorruptStoreError):
            ptrarray.open(path)
        shutil.rmtree(tmp_path / "root")


def test_a_link_in_the_place_of_the_mask_file_is_not_written_to(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    materialise(damage.prepared(MASKED), root)
    (root / NAME / MASK).rename(outside)
    (root / NAME / MASK).symlink_to(outside)
    with damage.guarded():
        assert damage.read_in_every_way(root / NAME, sample=MASKED).n_refused == 0
        with pytest.raises(OSError, match="symbolic link"):
            ptrarray.append(root / NAME)
    assert outside.read_bytes() == damage.content(MASK, MASKED)


def test_appending_begins_where_an_array_may(tmp_path: Path) -> None:
    """Another program may leave the end of the reserved rows anywhere."""
    raw = forging.forge_slots(damage.content(JOURNAL, MASKED), (0, 1), n_reserved=1001)
    path = damage.damaged(tmp_path / "root", JOURNAL, raw, MASKED)
    with damage.guarded(), ptrarray.append(path) as writer:
        assert writer.write({"new": [1]}) == (1024, 1088)
        assert writer.write({"large": np.ones(10_000)})[0] == 1088
    ptrarray.verify(path)


# forged columns ----------------------------------------------------------------------------

RAGGED = ("info", "meta")


def index_parts() -> tuple[dict[str, Any], dict[str, bytes]]:
    return forging.unpack_index(damage.content(INDEX, MASKED))


@pytest.mark.parametrize("name", [*RAGGED, *(f"{name}_end" for name in RAGGED)])
def test_missing_and_misfitting_columns(name: str, tmp_path: Path) -> None:
    header, columns = index_parts()
    del header["columns"][name]
    raw = forging.pack_index(header, {key: raw for key, raw in columns.items() if key != name})
    assert check_forged(tmp_path / "root", INDEX, raw, f"no {name}")
    for content in (b"", columns[name][:-1], columns[name] + b"\0", columns[name] * 2):
        header, columns = index_parts()
        columns[name] = content
        raw = forging.lay_out(header, columns)
        # What is behind the last item means nothing.
        is_refused = check_forged(tmp_path / "root", INDEX, raw, (name, len(content)))
        assert is_refused or len(content) > len(index_parts()[1][name])


@pytest.mark.parametrize("at", [0, 1, -1])
@pytest.mark.parametrize(
    ("value", "name"),
    one_in(3, product((0, 1, 5, 2**16, 2**31, 2**62, 2**63, 2**64 - 1), RAGGED)),
)
def test_forged_ends(value: int, name: str, at: int, tmp_path: Path) -> None:
    header, columns = index_parts()
    ends = np.frombuffer(columns[f"{name}_end"], "<u8").copy()
    ends[at] = value
    columns[f"{name}_end"] = ends.tobytes()
    header["columns"][f"{name}_end"][3] = crc32(ends.tobytes())
    raw = forging.pack_index(header, columns)
    check_forged(tmp_path / "root", INDEX, raw, (name, value, at))


# forged infos and metadata -----------------------------------------------------------------


def nested(n: int) -> Any:
    descr: Any = "<i2"
    for _ in range(n):
        descr = [["x", descr]]
    return descr


DTYPES: tuple[Any, ...] = (
    *("|O", "O", "<i2,<i2", "(3,)<i2", "<i4", "<f8", "|S12", "|S0", "|V0", "<U999999999", "|u1"),
    *("<M8[s]", "<M8[999999999s]", "<M8[x]", ">c16", "<f16", "|b1", "|T16", "<i3"),
    *([["a", "|O"]], [["a", "<i2", [3]], ["b", "<i2", [3]]], [["a", "<i2", [2**31, 2**31]]]),
    *([["a", "<i2", [-1]]], [["", "|V2"]], [["a", "|u1"], ["b", "|S0"]], [["a", "<i2"]] * 2),
    *(nested(10), nested(17), nested(300), [], {}, 3, None, True, [["a", "<i2", 3]], [["a"]]),
)
SHAPES: tuple[Any, ...] = (
    *([], [0], [6], [12], [2, 3], [3, 2], [2, 2], [2, -3], [-2, -3], [2.0, 3], [True, 6], "23"),
    *([2**63], [2**62, 4], [2**62] * 3, [0, 2**62], [0, 2**62, 2**62], [1] * 62 + [2, 3]),
    *([1] * 63 + [2, 3], [2**62] * 7000, [[2, 3]], {"2": 3}, None, 6, b"\2\3"),
)
OTHERS: tuple[dict[Any, Any], ...] = (
    *({"order": order} for order in ("C", "F", "Q", "", None, 1, ["F"], b"F", "f")),
    *({"fill_value": value} for value in (b"", b"\1", b"\1\2", b"\1\2\3", "ab", None, 7, [1])),
    *({"hard_mask": value} for value in (True, False, None, 1, "true")),
    *({"dtype": "<U3", "fill_value": b"\xff" * 12}, {"dtype": "|b1", "fill_value": b"\7"}),
    *({"more": {"x": [1]}}, {1: 2}, {b"dtype": "<i2"}, {"more": bytes(2**16)}),
)
RAW: tuple[bytes, ...] = (
    *(b"\xc0", b"\x90", b"\xc1", b"\x80\x80", b"\x81", b"\xdf\xff\xff\xff\xff", b"\x91" * 10**5),
    *(b"\x81\xa5shape" * 900, b"\x81\xa5shape" + b"\xdd\x00\x0f\xff\xff" * 100, b"\xc7\x01\x05x"),
    *(
        b"\x81\xa5dtype\xc7\x01\x05x",
        b"\x81\xa5dtype\xd6\xff\0\0\0\0",
        b"\x81\xa5shape\x91\xcb" * 9,
    ),
    *(b"\x81\xa1\xff\x01", bytes(2**24 + 1)),
)


def hostile_infos() -> Iterator[tuple[object, bytes]]:
    good = {"dtype": "<i2", "shape": [2, 3]}
    for dtype in DTYPES:
        with suppress(ValueError):  # deeper than older releases of msgpack go
            yield dtype, msgpack.packb(good | {"dtype": dtype})
    for shape in SHAPES:
        yield shape, msgpack.packb(good | {"shape": shape})
    for other in OTHERS:
        yield other, msgpack.packb({**good, **other})
    for mask_at in (0, 1, -1, 2**63, 2**64 - 1, 1.5, "0", b"0", True, [0]):
        yield mask_at, msgpack.packb({**good, "mask_at": mask_at})
    yield from ((raw[:9], raw) for raw in RAW)


METAS: tuple[Any, ...] = (
    *(None, True, 1, "x", b"x", [], [["a", 1]], {1: 2}, {b"k": 1}, {None: 1}, {"k": {1: 2}}),
    *({"k": msgpack.ExtType(5, b"x")}, {"k": msgpack.Timestamp(1, 2)}, {"k": 2**64 - 1}),
    *({"": 1}, {"k": float("nan")}, {"\0attrs": 1}),
)


@pytest.mark.parametrize(("file", "part"), one_in(4, product([INDEX, JOURNAL], range(N_PARTS))))
def test_hostile_infos(file: str, part: int, tmp_path: Path) -> None:
    for note, info in list(hostile_infos())[part::N_PARTS]:
        raw = forging.with_item(damage.content(file, MASKED), "info", info)
        check_forged(tmp_path / "root", file, raw, note)


@pytest.mark.parametrize(("file", "part"), one_in(2, product([INDEX, JOURNAL], range(N_PARTS))))
def test_hostile_metadata(file: str, part: int, tmp_path: Path) -> None:
    for meta in [*map(msgpack.packb, METAS), *RAW][part::N_PARTS]:
        raw = forging.with_item(damage.content(file, MASKED), "meta", meta)
        is_refused = check_forged(tmp_path / "root", file, raw, meta[:9])
        try:
            found = msgpack.unpackb(meta)
            is_good = isinstance(found, dict) and all(isinstance(key, str) for key in found)
        except ValueError:
            is_good = False
        assert is_refused != is_good, meta[:9]


def test_forged_records(tmp_path: Path) -> None:
    """Columns of infos and metadata that do not fit, in records whose checksums are right."""
    original = forging.records(damage.content(JOURNAL, MASKED))
    at = next(at for at, body in enumerate(original) if len(body) > 8)
    for field in range(8, 12):
        good = original[at][field]
        ends: list[Any] = [b"\xff" * 8 + good[8:], good[:-8] + b"\xff" * 7 + b"\x7f", good[::-1]]
        others: list[Any] = [b"", good + b"\0", good[:-1], good * 2, None, [], "x", 3]
        for other in [*others, *(ends if field % 2 == 0 else [])]:
            body = [*original[at][:field], other, *original[at][field + 1 :]]
            bodies = [*original[:at], body, *original[at + 1 :]]
            raw = forging.pack_journal(damage.content(JOURNAL, MASKED), bodies)
            assert check_forged(tmp_path / "root", JOURNAL, raw, (field, other))
    for n_fields in (7, 8, 9):
        bodies = [*original[:at], original[at][: n_fields + 2], *original[at + 1 :]]
        raw = forging.pack_journal(damage.content(JOURNAL, MASKED), bodies)
        assert check_forged(tmp_path / "root", JOURNAL, raw, n_fields)


def test_unflushed_records_that_name_rows_far_away(tmp_path: Path) -> None:
    """After a power cut each record is compared with its rows: that must not take for ever."""
    raw = damage.content(JOURNAL, MASKED)
    original = forging.records(raw)
    at = next(at for at, body in enumerate(original) if len(body) > 8)
    for start, end in ((0, 2**62), (2**62, 2**63 - 1), (2**63 - 2, 2**63 - 1), (64, 2**40)):
        body = list(original[at])
        starts, ends = (np.frombuffer(body[field], "<i8").copy() for field in (5, 6))
        starts[0], ends[0] = start, end
        body[5:7] = starts.tobytes(), ends.tobytes()
        forged = forging.pack_journal(raw, [*original[:at], body, *original[at + 1 :]])
        fields: dict[str, Any] = {"synced_end": forging.RECORDS_AT, "boot_id": b"another boot id!"}
        forged = forging.forge_slots(forged, (0, 1), **fields)
        path = damage.damaged(tmp_path / "root", JOURNAL, forged, MASKED)
        with damage.guarded(), ptrarray.open(path) as store:
            assert "turned" in store, "what was flushed is there"
            assert "late" not in store
        check_forged(tmp_path / "again", JOURNAL, forged, (start, end))
        shutil.rmtree(tmp_path / "root")


# fuzzing -----------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(0, 12),
    st.sampled_from(["<i2", "|u1", "<f8", "|O", "|S2", "F", "C", "<U1", "<M8[s]"]),
    st.binary(max_size=9),
    st.text(max_size=3),
)
VALUES_OF_INFOS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
INFOS = st.dictionaries(
    st.sampled_from(["dtype", "shape", "order", "fill_value", "hard_mask", "mask_at", "more"]),
    VALUES_OF_INFOS,
    max_size=5,
)
DTYPE = st.sampled_from(strategies.FILL_DTYPES).map(lambda dtype: dtypes.encode(np.dtype(dtype)))


@settings(max_examples=max(150, settings().max_examples))
@given(
    kind=st.sampled_from(KINDS),
    masked=st.booleans(),
    n_rows=st.integers(0, 24),
    info=INFOS,
    dtype=st.none() | DTYPE,
    fill=st.binary(max_size=40),
    packed=st.integers(0, 30),
)
def test_infos_fit_or_are_value_errors(
    kind: Any, masked: bool, n_rows: int, info: dict[str, Any], dtype: Any, fill: bytes, packed: int
) -> None:
    """Whatever they say, nothing outside of the rows and the mask is read."""
    layout = Layout(kind, np.dtype("u1"), (), masked, packed if kind == "mixed" else None)
    if dtype is not None:
        info |= {
            "dtype": dtype,
            "fill_value": fill[: np.dtype(dtypes.decode(dtype)).itemsize],
        }
    raw = msgpack.packb(info)
    rows = np.arange(n_rows, dtype=np.uint8)
    try:
        first, last = infos.mask_span(layout, 0, n_rows, raw)
        assert 0 <= first <= last <= packed + n_rows
        mask = np.zeros(last - first, np.uint8) if masked else None
        found = infos.view(layout, rows, mask, raw)
    except ValueError:
        return
    assert isinstance(found, np.ma.MaskedArray) == masked
    assert len(np.ma.getdata(found).tobytes()) == n_rows
    assert np.ma.getmaskarray(found).shape == found.shape
    if "<U" not in str(found.dtype.descr):  # of which these bytes are none that a str can hold
        repr(found.tolist())


@pytest.mark.parametrize("layout", [{"dtype": "U1", "row_shape": ()}, {}])
def test_text_that_no_str_can_hold(path: Path, layout: dict[str, Any]) -> None:
    """It is numpy's, and comes back as it is; numpy raises a SystemError for a str of it."""
    text = np.array([0x110000, 0xFFFFFFFF, 65], "u4").view("U1")
    array: Any = np.ma.MaskedArray(text, [False, True, False])
    with ptrarray.create(path, masked=True, **layout) as writer:
        writer["a"] = array
        array.fill_value = text[:1].reshape(())
        with pytest.raises(ptrarray.BadInputError, match="fill value that no str can hold"):
            writer["b"] = array
    with ptrarray.open(path) as store:
        store.verify()
        found: Any = store["a"]
        assert found.dtype == text.dtype
        assert found.data.tobytes() == text.tobytes()
        assert found.mask.tolist() == [False, True, False]
    raw = infos.encode(infos.Info(np.dtype("U1"), fill_value=text[:1].tobytes()))
    mask = np.zeros(3, np.uint8)
    found = infos.view(Layout("mixed", np.dtype("u1"), (), True), text.view("u1"), mask, raw)
    assert found._fill_value.tobytes() == text[:1].tobytes()


@settings(max_examples=max(100, settings().max_examples))
@given(st.binary(max_size=40) | st.builds(msgpack.packb, VALUES_OF_INFOS))
def test_metadata_is_a_dict_or_a_value_error(raw: bytes) -> None:
    try:
        found = metadata.decode(raw)
    except ValueError:
        return
    assert all(isinstance(key, str) for key in found)


@pytest.mark.parametrize("file", [INDEX, JOURNAL])
@settings(max_examples=max(40, settings().max_examples))
@given(steps=mutations)
def test_mutations_under_good_checksums(file: str, steps: Any, tmp_path_factory: Any) -> None:
    raw = forging.mended(file, mutated(damage.content(file, MASKED), steps))
    root = tmp_path_factory.mktemp("fuzz") / "root"
    check_forged(root, file, raw, steps)
    shutil.rmtree(root.parent)


@pytest.mark.parametrize("file", [INDEX, JOURNAL])
def test_corpus(file: str, tmp_path: Path) -> None:
    """Files that once did harm, and files that nearly make sense."""
    entries = sorted((CORPUS / "masked" / file).iterdir())
    for entry in entries:
        check_forged(tmp_path / "root", file, entry.read_bytes(), entry.name)
    assert len(entries) >= 10
