"""Damaged and forged stores: right data or a `CorruptStoreError`, whatever was done to the files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.reductions import blocks
from ptrarray.storage.lifecycle import sums
from ptrarray.storage.store import index as index_storage
from tests.support import damage, forging
from tests.support.damage import ACTIONS, DATA, FILES, INDEX, JOURNAL, PLAIN, Sample
from tests.support.disk import materialise
from tests.support.effort import one_in
from tests.support.memory import peak_nbytes
from tests.support.story import NAME

pytestmark = pytest.mark.usefixtures("limits")

CORPUS = Path(__file__).parent / "corpus"
N_FUZZED = max(100, settings().max_examples)  # examples of each fuzzer
N_PARTS = 8  # the bytes of a file are shared out over so many tests
N_ODD_PARTS = 7  # of which each changes each bit, as the bit goes by the position
# Writing takes as long as all reads: one store of so many is then written to; `test_every_bit` writes
# to each.
WRITTEN = 8
# What is forged is shared out over so many tests, of which the normal run has some, others of each field.
N_SHARES = 5
INDEX_KINDS = ("small", "large")


@pytest.fixture(params=INDEX_KINDS)
def index_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Treat the index as a small one, checked when opened, and as a large one: gone through later."""
    if request.param == "large":
        monkeypatch.setattr(index_storage, "CHECKED_NBYTES", -1)
        monkeypatch.setattr(index_storage, "PASSED_NBYTES", 1)
    return str(request.param)


# what happens to files ---------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("action", ACTIONS)
def test_damaged_file(action: str, file: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    materialise(damage.prepared(), root)
    ACTIONS[action](root / NAME / file)
    is_found = damage.check_damaged(root / NAME)
    assert is_found != (action in ("a zero more", "zeros", "junk"))


def test_all_that_is_damaged_is_named_by_one_thread_and_by_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ptrarray.create(tmp_path / "s.ptr", dtype="u1") as writer:
        writer.write({f"a{n:02}": np.full(3, n, "u1") for n in range(40)})
    raw = bytearray((tmp_path / "s.ptr" / DATA).read_bytes())
    for n in (0, 7, 8, 39):
        raw[3 * n] ^= 1
    (tmp_path / "s.ptr" / DATA).write_bytes(raw)
    for block in (1, 7, 1 << 10):
        monkeypatch.setattr(sums, "_BLOCK_NBYTES", block * sums._EACH_NBYTES)
        if block > 40:  # a thread would do no more than this one
            monkeypatch.setattr(blocks, "ThreadPoolExecutor", None)
        with pytest.raises(ptrarray.CorruptStoreError) as caught:
            ptrarray.verify(tmp_path / "s.ptr")
        assert [one.name for one in caught.value.damage] == ["a00", "a07", "a08", "a39"]


@pytest.mark.parametrize("file", FILES)
def test_link_to_a_file_elsewhere(file: str, tmp_path: Path) -> None:
    """It may be read, but never leads writes out of the store."""
    root = tmp_path / "root"
    materialise(damage.prepared(), root)
    outside = tmp_path / "outside"
    (root / NAME / file).rename(outside)
    (root / NAME / file).symlink_to(outside)
    with damage.guarded():
        assert damage.read_in_every_way(root / NAME) == damage.Outcome([], None, 0)
        for call in (damage.write_and_checkpoint, ptrarray.compact):
            refused = pytest.raises(OSError, match=r"symbolic link.*the whole directory")
            with nullcontext() if file == INDEX else refused:  # an index is replaced
                call(root / NAME)
    assert outside.read_bytes() == damage.content(file)


def test_all_files_of_another_store(tmp_path: Path) -> None:
    """Files that fit together are a store, only not the one it was."""
    materialise(damage.prepared(), tmp_path / "root")
    other = damage.other_store(tmp_path)
    for file in FILES:
        shutil.copyfile(other / file, tmp_path / "root" / NAME / file)
    with ptrarray.open(tmp_path / "root" / NAME) as store:
        store.verify()
        assert "j2" not in store


# every byte --------------------------------------------------------------------------------


def positions(file: str) -> list[int]:
    """Return the bytes of a file, less most of what only fills up the journal's header slots."""
    return [
        at
        for at in range(len(damage.content(file)))
        if file != JOURNAL or at % 4096 < 96 or at >= forging.RECORDS_AT or not at % 509
    ]


CHANGES: list[Callable[[int, int], int]] = [
    lambda byte, at: byte ^ (1 << at % 8),
    lambda byte, at: 0xFF if byte != 0xFF else 0xFE,
    lambda byte, at: 0 if byte else 1,
]


def check_byte(root: Path, file: str, at: int, byte: int, *, then_write: bool = True) -> bool:
    raw = bytearray(damage.content(file))
    raw[at] = byte
    path = damage.damaged(root, file, bytes(raw))
    with damage.noted(root, f"byte {at} of {file} was {damage.content(file)[at]}, is {byte}"):
        return damage.check_damaged(path, file, then_write=then_write)


@pytest.mark.parametrize("part", one_in(4, range(N_PARTS), pytest.mark.once))
@pytest.mark.parametrize("file", FILES)
def test_every_byte(file: str, part: int, tmp_path: Path) -> None:
    for at in positions(file)[part::N_PARTS]:
        change = CHANGES[at // N_PARTS % len(CHANGES)]
        byte, then_write = change(damage.content(file)[at], at), (at // N_PARTS + at) % WRITTEN == 0
        check_byte(tmp_path / "root", file, at, byte, then_write=then_write)


@pytest.mark.parametrize("part", one_in(4, range(N_ODD_PARTS)))
def test_every_byte_of_an_index_that_is_not_checked_when_opened(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_storage, "CHECKED_NBYTES", -1)
    n_header = min(start for _, start, *_ in index_columns().values())
    for at in positions(INDEX)[n_header:][part::N_ODD_PARTS]:
        byte = damage.content(INDEX)[at]
        check_byte(tmp_path / "root", INDEX, at, byte ^ (1 << at % 8))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("file", FILES)
def test_every_bit(file: str, index_kind: str, tmp_path: Path) -> None:
    for at in positions(file):
        byte = damage.content(file)[at]
        for other in {*(byte ^ 1 << bit for bit in range(8)), 0, 0xFF} - {byte}:
            check_byte(tmp_path / "root", file, at, other)


def index_columns() -> dict[str, Any]:
    columns: dict[str, Any] = forging.unpack_index(damage.content(INDEX))[0]["columns"]
    return columns


def test_damaged_rows_are_told_by_name(tmp_path: Path) -> None:
    """Each array with a wrong byte is reported, with its rows."""
    materialise(damage.prepared(), tmp_path / "root")
    path = tmp_path / "root" / NAME
    with ptrarray.open(path) as store:
        pointers = dict(store.pointers)
    raw = bytearray((path / DATA).read_bytes())
    for name in ("ä", "j1"):
        raw[pointers[name].start * 4 + 5] ^= 0x40
    (path / DATA).write_bytes(raw)
    with pytest.raises(ptrarray.CorruptStoreError) as caught:
        ptrarray.verify(path)
    found = {item.name: (item.start, item.end) for item in caught.value.damage}
    # The pointed name shares the damaged row of the array it points into.
    assert found == {name: tuple(pointers[name]) for name in ("ä", "j1", "q")}
    assert {item.file for item in caught.value.damage} == {str(path / DATA)}


# forged fields -----------------------------------------------------------------------------


def shares(*fields: Iterable[Any]) -> list[Any]:
    """Return kinds of an index, fields and shares, of which the normal run has a third."""
    return one_in(3, product(INDEX_KINDS, *fields, range(N_SHARES)))


NUMBERS = (0, 1, -1, 2, 7, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    1.5,
    float("nan"),
    "",
    "x",
    "../data.bin",
    b"",
    b"x" * 16,
    [],
    [1],
    {},
    {"x": 1},
)
VALUES = (
    *NUMBERS,
    *OTHERS,
    "O",
    "|O",
    "<f4",
    "f4,f4",
    "<M8[s]",
    [["a", "<f4"]],
    [["a", "|O"]],
    [-1],
)
HEADER_FIELDS: tuple[str, ...] = (
    *("format", "version", "generation", "store_id", "data_file", "dtype", "row_shape"),
    *("n_arrays", "n_rows", "n_reserved", "n_homes", "attrs", "columns"),
)


def repack(header: dict[str, Any], columns: dict[str, bytes]) -> bytes:
    """Pack a forged index; where a value moves the columns, with them moved."""
    try:
        first = min(start for _, start, *_ in index_columns().values())
        raw = forging.pack_index(header, columns)
        if raw[first - 5 : first - 4] == b"\xc6":
            return raw
        return forging.lay_out(header, columns)
    except (TypeError, KeyError, AttributeError):
        return forging.pack_index(header, {})


def check_forged_file(
    root: Path, file: str, raw: bytes, note: object, sample: Sample = PLAIN
) -> bool:
    path = damage.damaged(root, file, raw, sample)
    with damage.noted(root, f"forged {file}: {note!r:.300}"):
        return damage.check_forged(path, sample)


def test_the_encoder_gives_what_the_package_wrote() -> None:
    raw = damage.content(INDEX)
    assert forging.pack_index(*forging.unpack_index(raw)) == raw
    raw = damage.content(JOURNAL)
    assert forging.pack_journal(raw, forging.records(raw)) == raw


@pytest.mark.parametrize(
    ("index_kind", "field", "share"), shares(HEADER_FIELDS), indirect=["index_kind"]
)
def test_forged_header_field(index_kind: str, field: str, share: int, tmp_path: Path) -> None:
    for value in VALUES[share::N_SHARES]:
        header, columns = forging.unpack_index(damage.content(INDEX))
        header[field] = value
        check_forged_file(tmp_path / "root", INDEX, repack(header, columns), (field, value))


@pytest.mark.parametrize("field", HEADER_FIELDS)
def test_missing_header_field(field: str, tmp_path: Path) -> None:
    header, columns = forging.unpack_index(damage.content(INDEX))
    del header[field]
    raw = forging.pack_index(header, columns if field != "columns" else {})
    assert check_forged_file(tmp_path / "root", INDEX, raw, field)


def test_a_list_that_a_header_only_claims_takes_no_memory(tmp_path: Path) -> None:
    raw = b"\x81\xa4list\xdd" + (50_000_000).to_bytes(4, "big")
    path = damage.damaged(tmp_path / "root", INDEX, raw)

    def refuse() -> None:
        with pytest.raises(ptrarray.CorruptStoreError, match="index"):
            ptrarray.open(path)

    assert peak_nbytes(refuse) < 1 << 22


@pytest.mark.parametrize(
    ("index_kind", "name", "at", "share"),
    shares(index_columns(), range(4)),  # its type, where it starts, its size, its checksum
    indirect=["index_kind"],
)
def test_forged_column_entry(
    index_kind: str, name: str, at: int, share: int, tmp_path: Path
) -> None:
    for value in VALUES[share::N_SHARES]:
        header, columns = forging.unpack_index(damage.content(INDEX))
        raw = forging.pack_index(header, columns)
        header["columns"][name][at] = value
        first = min(start for _, start, *_ in index_columns().values())
        forged = forging.pack_index(header, {}).ljust(first - 5, b"\xc0") + raw[first - 5 :]
        check_forged_file(tmp_path / "root", INDEX, forged, (name, at, value))


@pytest.mark.parametrize(
    ("index_kind", "name", "share"), shares(index_columns()), indirect=["index_kind"]
)
def test_forged_column(index_kind: str, name: str, share: int, tmp_path: Path) -> None:
    """Items that make no sense, under checksums that match."""
    kind = np.dtype(index_columns()[name][0])
    for value, at in [*product(NUMBERS, (0, 1, -1))][share::N_SHARES]:
        header, columns = forging.unpack_index(damage.content(INDEX))
        items = np.frombuffer(columns[name], kind).copy()
        items[at] = value % 256**kind.itemsize
        columns[name] = items.tobytes()
        header["columns"][name][3] = crc32(columns[name])
        raw = forging.pack_index(header, columns)
        check_forged_file(tmp_path / "root", INDEX, raw, (name, at, value))


def test_table_without_an_empty_slot(index_kind: str, tmp_path: Path) -> None:
    """A search in it must end all the same."""
    for fill in (b"\0" * 8, b"\xff" * 4 + b"\0" * 4, b"\xff" * 8):
        header, columns = forging.unpack_index(damage.content(INDEX))
        columns["slot"] = fill * (len(columns["slot"]) // 8)
        header["columns"]["slot"][3] = crc32(columns["slot"])
        raw = forging.pack_index(header, columns)
        check_forged_file(tmp_path / "root", INDEX, raw, fill)


@pytest.mark.parametrize(
    ("field", "slots", "share"),
    one_in(4, product(forging.SLOT, [(0,), (1,), (0, 1)], range(N_SHARES))),
    ids=str,
)
def test_forged_journal_header(
    field: str, slots: tuple[int, ...], share: int, tmp_path: Path
) -> None:
    nbytes = forging.SLOT[field][1]
    ends = [forging.RECORDS_AT + n for n in (-1, 0, 1, 5, 9)] + [len(damage.content(JOURNAL)) + 1]
    for value in [n for n in (*NUMBERS, *ends) if n >= 0][share::N_SHARES]:
        forged = value if nbytes == 8 else value.to_bytes(16, "little")
        raw = forging.forge_slots(damage.content(JOURNAL), slots, **{field: forged})
        check_forged_file(tmp_path / "root", JOURNAL, raw, (field, value))


def forged_bodies() -> Iterator[tuple[object, list[Any]]]:
    """Yield records that make no sense, with what was changed in them."""
    original = forging.records(damage.content(JOURNAL))
    for at, body in enumerate(original):
        yield f"{at} nested", [*original[:at], [body], *original[at + 1 :]]
        for field, value in enumerate(body):
            for other in (*VALUES, *other_columns(value)):
                changed = [*body[:field], other, *body[field + 1 :]]
                yield (at, field, other), [*original[:at], changed, *original[at + 1 :]]
            without = body[:field] + body[field + 1 :]
            yield (at, field, "gone"), [*original[:at], without, *original[at + 1 :]]
    wholes: list[Any] = [[], {}, None, 1, "x", b"", [[]] * 3]
    for whole in wholes:
        yield whole, [*original, whole]


def other_columns(value: object) -> list[bytes]:
    """Return columns near to a good one: longer, shorter, with extreme items."""
    if not isinstance(value, bytes):
        return []
    edges = [b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\xff" * 4]
    return [value + b"\0", value[:-1], value * 2, *(e + value[len(e) :] for e in edges)]


# A field has not as many others as would let the same ones of each field fall into a share.
@pytest.mark.parametrize("share", one_in(3, range(N_SHARES)))
def test_forged_records(share: int, tmp_path: Path) -> None:
    for note, bodies in list(forged_bodies())[share::N_SHARES]:
        raw = forging.pack_journal(damage.content(JOURNAL), bodies)
        check_forged_file(tmp_path / "root", JOURNAL, raw, note)


@pytest.mark.parametrize("file", [INDEX, JOURNAL])
@pytest.mark.parametrize(
    "prefix",
    [
        b"\xdf\xff\xff\xff\xff",  # a map of four billion pairs
        b"\xdd\xff\xff\xff\xff",  # an array of as many
        b"\xdb\xff\xff\xff\xff",  # a str of as many bytes
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x05",  # an ext
        b"\xdf\x00\xff\xff\xff",
        b"\x91" * 100_000,  # nested
        b"\x81\xa1x" * 100_000,
        b"\x81\xa6format\xa8ptrarray" + b"\x81" * 100,
        b"\xc0" * 5000,
        b"\x81\xc4\x00\x01",  # a key that is bytes
        b"\x81\xa1\xff\x01",  # no UTF-8
        b"\xc1",
    ],
    ids=lambda prefix: prefix[:5].hex(),
)
def test_forged_msgpack(file: str, prefix: bytes, tmp_path: Path) -> None:
    raw = damage.content(file)
    forged = [prefix, prefix + raw, prefix + raw[len(prefix) :]]
    if file == JOURNAL:  # either header slot is enough
        forged[2] = forged[2][:4096] + prefix + raw[4096 + len(prefix) :]
    for other in forged:
        assert check_forged_file(tmp_path / "root", file, other, prefix[:9])


def test_deeply_nested_record(tmp_path: Path) -> None:
    raw = damage.content(JOURNAL)
    seed = crc32(forging.slot_field(raw, "store_id") + forging.slot_field(raw, "generation"))
    for body in (b"\x93\x03\x00" + b"\x81\xa1x" * 5000, b"\x91" * 10**5, b"\xdd\xff\xff\xff\xff"):
        frame = forging.frame(body, seed)
        end = forging.RECORDS_AT + len(frame)
        forged = raw[: forging.RECORDS_AT] + frame
        forged = forging.forge_slots(forged, (0, 1), committed_end=end, synced_end=end)
        assert check_forged_file(tmp_path / "root", JOURNAL, forged, body[:9])


def test_reserved_past_any_file(tmp_path: Path) -> None:
    """An append says which file cannot be so large; nothing is lost, and compacting mends it."""
    for exponent in (30, 40, 44, 50, 61, 62):
        raw = forging.forge_slots(damage.content(JOURNAL), (0, 1), n_reserved=2**exponent)
        check_forged_file(tmp_path / "root", JOURNAL, raw, exponent)
    path = damage.damaged(tmp_path / "root", JOURNAL, raw)
    with damage.guarded():
        ptrarray.compact(path)
        assert damage.write_and_checkpoint(path)
        outcome = damage.read_in_every_way(path)
    assert outcome.refusal is None
    assert not {"by_name", "taken"} & set(outcome.wrong)  # others see that there is one more


# fuzzing -----------------------------------------------------------------------------------

Mutation = tuple[str, int, bytes]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["put", "insert", "cut", "copy"]),
        st.integers(0, 10_000),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=5,
)


def mutated(raw: bytes, steps: list[Mutation]) -> bytes:
    for kind, at, piece in steps:
        place = at % (len(raw) + 1)
        # Most of a journal is padding: look elsewhere.
        if len(raw) > forging.RECORDS_AT and place % 4096 >= 96 and place < forging.RECORDS_AT:
            place = forging.RECORDS_AT + place % (len(raw) - forging.RECORDS_AT)
        rest = raw[place:]
        if kind == "put":
            raw = raw[:place] + piece + rest[len(piece) :]
        elif kind == "insert":
            raw = raw[:place] + piece + rest
        elif kind == "cut":
            raw = raw[:place] + rest[piece[0] :]
        else:
            raw = raw[:place] + raw[at % 97 : at % 97 + piece[0]] + rest
    return raw


@pytest.mark.parametrize("file", [INDEX, JOURNAL])
@settings(max_examples=N_FUZZED)
@given(steps=mutations)
def test_mutations(file: str, steps: list[Mutation], tmp_path_factory: Any) -> None:
    raw = mutated(damage.content(file), steps)
    root = tmp_path_factory.mktemp("fuzz") / "root"
    path = damage.damaged(root, file, raw)
    damage.check_damaged(path)
    shutil.rmtree(root.parent)


@pytest.mark.parametrize("file", [INDEX, JOURNAL])
@settings(max_examples=N_FUZZED)
@given(steps=mutations)
@example(steps=[("cut", 44, b"+"), ("copy", 13, b".")])  # rows are reserved past any file
def test_mutations_under_good_checksums(
    file: str, steps: list[Mutation], tmp_path_factory: Any
) -> None:
    raw = forging.mended(file, mutated(damage.content(file), steps))
    root = tmp_path_factory.mktemp("fuzz") / "root"
    check_forged_file(root, file, raw, steps)
    shutil.rmtree(root.parent)


def corpus(file: str) -> list[Path]:
    return sorted((CORPUS / file).iterdir())


@pytest.mark.parametrize("file", [INDEX, JOURNAL])
def test_corpus(file: str, index_kind: str, tmp_path: Path) -> None:
    """Files that once did harm, and files that nearly make sense."""
    for entry in corpus(file):
        check_forged_file(tmp_path / "root", file, entry.read_bytes(), entry.name)
    assert len(corpus(file)) >= 10
