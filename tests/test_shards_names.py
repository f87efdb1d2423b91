"""A name is in one shard only, whoever replaces, deletes, points or describes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, DuplicateNameError, PointerArrayWriter, UnknownNameError
from tests.support import forging
from tests.support.checks import check_same, check_store, check_writer
from tests.support.damage import INDEX
from tests.support.shards import Arrays, fill_one_by_one, first_of, ramps, sharded, shards_of

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture
def arrays() -> Arrays:
    return ramps(60)


@pytest.fixture
def writer(path: Path, arrays: Arrays) -> PointerArrayWriter:
    return sharded(path, arrays)


# in older shards ----------------------------------------------------------------------------------


def test_duplicates_are_found_in_any_shard(path: Path, writer: PointerArrayWriter) -> None:
    other = ptrarray.append(path)
    for number in range(len(shards_of(path))):
        name = first_of(path, number)
        for one in (writer, other):
            with pytest.raises(DuplicateNameError) as raised:
                one.write({"new": [1], name: [2]})
            assert raised.value.names == (name,)
            assert raised.value.path == str(path)
            with pytest.raises(DuplicateNameError):
                one.write_ragged(["new", name], [1, 2], [0, 1, 2])
            with pytest.raises(DuplicateNameError), one.allocate(name, 3):
                pass
    assert "new" not in writer


def test_replacing_arrays_of_older_shards(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    store = ptrarray.open(path)
    views = {name: store[name] for name in arrays}
    replaced = {first_of(path, number): np.arange(number + 1, dtype="i4") for number in range(4)}
    writer.update(replaced)
    for name, array in views.items():
        check_same(array, arrays[name])
    store.refresh()
    check_store(store, arrays | replaced)
    check_writer(writer, arrays | replaced)
    check_writer(ptrarray.append(path), arrays | replaced)
    writer.flush()
    check_store(ptrarray.open(path), arrays | replaced)
    for number in range(4):  # each is in one shard only
        name = list(replaced)[number]
        found = [name in ptrarray.open(shard) for shard in ptrarray.open(path).shards]
        assert sum(found) == 1


def test_what_a_dead_writer_replaced_is_there_once(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    """The older copy is deleted later; until then it is not to be seen."""
    writer["n0"] = [7, 8]
    expected = arrays | {"n0": np.array([7, 8], "i4")}
    del writer  # without closing, as if killed
    with ptrarray.open(path) as store:
        assert sum("n0" in ptrarray.open(shard) for shard in store.shards) == 2
        check_store(store, expected)
    with ptrarray.append(path) as other:
        check_writer(other, expected)
        with pytest.raises(DuplicateNameError):
            other.write({"n0": [1]})
        del other["n0"]
        expected.pop("n0")
        check_writer(other, expected)
        check_store(ptrarray.open(path), expected)
        other.write({"n0": [3]})
    with ptrarray.open(path) as store:
        check_store(store, expected | {"n0": np.array([3], "i4")})
        assert sum("n0" in ptrarray.open(shard) for shard in store.shards) == 1


def test_many_replaced_in_one_call(path: Path) -> None:
    arrays = ramps(300)
    with ptrarray.create(path, dtype="i4", shard_size="10kB") as writer:
        fill_one_by_one(writer, arrays)
        replaced = {name: array + 1 for name, array in arrays.items()}
        writer.update(replaced)
        check_store(ptrarray.open(path), replaced)
        # So many were settled at once.
        assert not [name for name in arrays if name in ptrarray.open(path / "shard-00000.ptr")]


def test_deleting_in_any_shard(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    other = ptrarray.append(path)
    for number in range(4):
        name = first_of(path, number)
        del writer[name]
        arrays.pop(name)
        for one in (writer, other):
            check_writer(one, arrays)
            with pytest.raises(UnknownNameError) as raised:
                del one[name]
            assert raised.value.path == str(path)
        other.write({name: [number]})
        arrays[name] = np.array([number], "i4")
        check_writer(writer, arrays)
    check_store(ptrarray.open(path), arrays)
    writer.clear()
    assert len(other) == len(writer) == len(ptrarray.open(path)) == 0
    other.write({"n1": [1]})
    check_store(ptrarray.open(path), {"n1": np.array([1], "i4")})


@pytest.mark.parametrize("n_names", [1, 300])
def test_a_pointer_into_the_next_shard_is_refused(tmp_path: Path, n_names: int) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="i4", shard_size="1kB") as writer:
        for first in range(0, 300, 50):
            writer.write({f"n{n}": [n] for n in range(first, first + 50)})
    ptrarray.checkpoint(path)
    index = path / "shard-00000.ptr" / INDEX
    header, columns = forging.unpack_index(index.read_bytes())
    last = len(columns["end"]) // 8 - 1
    columns["end"] = columns["end"][:-8] + (last + 20).to_bytes(8, "little")
    index.write_bytes(forging.lay_out(header, columns))
    store = ptrarray.open(path)
    assert len(store.shards) > 1
    names = [f"n{n}" for n in [*range(300)][-n_names:]]
    with pytest.raises(ptrarray.CorruptStoreError, match=f"rows {last} to {last + 20} of"):
        store.take([*names, f"n{last}"])


def test_many_names_of_which_one_is_deleted(path: Path, writer: PointerArrayWriter) -> None:
    many = {f"many{n}": np.array([n], "i4") for n in range(300)}
    writer.write(many)
    store = ptrarray.open(path)
    assert store.take(list(many)).values.tolist() == [*range(300)]
    del writer["many7"]
    store.refresh()
    with pytest.raises(UnknownNameError, match="many7"):
        store.take(list(many))
    del many["many7"]
    assert 7 not in store.take(list(many)).values


def test_points_stay_in_the_shard_of_their_rows(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    other = ptrarray.append(path)
    other.write({"seen": [1]})  # it has read the names of older shards
    expected = arrays | {"seen": np.array([1], "i4")}
    for number, (name, length) in enumerate([("n3", 2), ("n50", 5), ("n20", 0)]):
        start, _ = writer.pointers[name]
        writer.point(f"p{number}", start, start + length)
        expected[f"p{number}"] = arrays[name][:length]
        with pytest.raises(DuplicateNameError):
            other.write({f"p{number}": [1]})
    check_store(ptrarray.open(path), expected)
    start, end = writer.pointers["n3"]
    writer.point("n50", start, end, overwrite=True)
    expected["n50"] = arrays["n3"]
    check_store(ptrarray.open(path), expected)
    check_writer(other, expected)
    border = ptrarray.open(path / "shard-00000.ptr").shape[0]
    with pytest.raises(BadInputError, match="not in one shard"):
        writer.point("across", border - 1, border + 1)
    for number, (start, end) in enumerate([(border - 2, border), (border, border + 2)]):
        writer.point(f"border{number}", start, end)
        expected[f"border{number}"] = ptrarray.open(path)[start:end]
    with pytest.raises(BadInputError, match=r"has \d+ rows"):
        writer.point("beyond", 0, 10**6)
    check_writer(writer, expected)


def test_metadata_in_any_shard(path: Path, writer: PointerArrayWriter) -> None:
    writer.meta["n0"] = {"speaker": "Ann"}
    writer.write({"new": [1]}, meta={"new": {"k": 2}})
    store = ptrarray.open(path)
    assert writer.meta["n0"] == store.meta["n0"] == {"speaker": "Ann"}
    assert store.meta["new"] == {"k": 2}
    assert store.meta["n30"] == {}
    writer["n0"] = [1]
    store.refresh()
    assert store.meta["n0"] == writer.meta["n0"] == {}
    with pytest.raises(UnknownNameError):
        writer.meta["absent"] = {}


def test_attrs_are_those_of_the_first_shard(path: Path, writer: PointerArrayWriter) -> None:
    writer.attrs["later"] = [1, 2]
    with ptrarray.append(path) as other:
        other["n0"] = [1]  # which leaves a note in the last shard
        del other.attrs["rate"]
        assert dict(other.attrs) == dict(writer.attrs) == {"later": [1, 2]}
        n_shards = len(shards_of(path))
        while len(shards_of(path)) == n_shards:
            other.write({f"more{len(other)}": np.zeros(90, "i4")})
    assert ptrarray.open(path).attrs == {"later": [1, 2]}
    assert ptrarray.open(path / shards_of(path)[-1]).attrs == {"later": [1, 2]}


# while rows are filled ----------------------------------------------------------------------------


def test_allocated_rows(path: Path, writer: PointerArrayWriter, arrays: Arrays) -> None:
    n_shards = len(shards_of(path))
    with writer.allocate("large", 3000) as rows:
        rows[...] = np.arange(3000)
        writer.write({f"m{n}": np.zeros(90, "i4") for n in range(5)})
        writer.write({f"k{n}": np.zeros(90, "i4") for n in range(7)})
        assert len(shards_of(path)) >= n_shards + 2  # it is not in the last shard any more
        with pytest.raises(DuplicateNameError):
            writer.write({"n0": []})
    for one in (writer, ptrarray.append(path)):
        with pytest.raises(DuplicateNameError):
            one.write({"large": [1]})
    with writer.allocate("n1", 2, overwrite=True) as rows:
        rows[...] = 5
    expected = arrays | {"large": np.arange(3000, dtype="i4"), "n1": np.full(2, 5, "i4")}
    expected |= {f"{k}{n}": np.zeros(90, "i4") for k, m in (("m", 5), ("k", 7)) for n in range(m)}
    check_store(ptrarray.open(path), expected)


@pytest.mark.parametrize("name", ["n0", "late", "new"])
def test_a_name_that_comes_while_rows_are_filled(
    path: Path, writer: PointerArrayWriter, arrays: Arrays, name: str
) -> None:
    """An array that is committed to an older shard replaces what is in the others, or fails."""
    other = ptrarray.append(path)

    def go_on() -> None:
        for n in range(2):
            other.write({f"m{n}": np.zeros(990, "i4")})
        other.write({"late": [1, 2]})
        arrays.update({f"m{n}": np.zeros(990, "i4") for n in range(2)})
        arrays["late"] = np.array([1, 2], "i4")

    with writer.allocate(name, 3, overwrite=True) as rows:
        rows[...] = 9
        go_on()
    expected = arrays | {name: np.full(3, 9, "i4")}
    check_store(ptrarray.open(path), expected)
    check_writer(other, expected)
    check_writer(writer, expected)
    writer.flush()
    check_store(ptrarray.open(path), expected)


def test_an_array_that_was_replaced_comes_back_to_its_shard(path: Path) -> None:
    """Two notes that tell each of the other's array that it is outdated would hide both."""
    with ptrarray.create(path, dtype="i4", shard_size="20kB") as writer:
        other = ptrarray.append(path)
        writer.write({"x": [1]})
        with writer.allocate("x", 3, overwrite=True) as rows:
            rows[...] = 9
            other.write({"m": np.zeros(4990, "i4")})
            other.write({"x": [2]}, overwrite=True)
            check_same(ptrarray.open(path)["x"], np.array([2], "i4"))
        expected = {"m": np.zeros(4990, "i4"), "x": np.full(3, 9, "i4")}
        check_store(ptrarray.open(path), expected)
        check_writer(other, expected)
        with ptrarray.open(path / shards_of(path)[0]) as first:
            check_same(first["x"], expected["x"])
        del other["x"]
        check_store(ptrarray.open(path), {"m": expected["m"]})


def test_a_duplicate_that_comes_while_rows_are_filled(
    path: Path, writer: PointerArrayWriter, arrays: Arrays
) -> None:
    other = ptrarray.append(path)
    with pytest.raises(DuplicateNameError), writer.allocate("late", 3) as rows:  # noqa: PT012
        rows[...] = 9
        other.write({"m": np.zeros(990, "i4")})
        other.write({"late": [1, 2]})
    arrays |= {"m": np.zeros(990, "i4"), "late": np.array([1, 2], "i4")}
    check_store(ptrarray.open(path), arrays)
