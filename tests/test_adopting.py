"""A file of rows becomes the data file of a store: what a link shares, what a move leaves, any power cut."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, StoreExistsError, convert
from ptrarray.format import numbered as numbers
from ptrarray.format.checksum import crc32
from ptrarray.storage.lifecycle import adopting
from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from tests.support.command_line import Run
from tests.support.disk import materialise, memory_directory, read_tree
from tests.support.failing import caught, check_named, n_descriptors
from tests.support.faults import each_way, injected
from tests.support.megatron_files import sequences, write_pair
from tests.support.power import outcomes, rebuild
from tests.support.recording import Recording, record
from tests.support.story import (
    Content,
    Tree,
    alone,
    booted,
    look,
    repeatable,
    with_attrs,
    without_syncs,
)
from tests.test_crash import NORMAL

ARRAYS = sequences([[3], [0, 40], [7]])
WHOLE = with_attrs({str(i): array.tobytes() for i, array in enumerate(ARRAYS)}, {"k": 1})
N_STATES = 60
each_keep = pytest.mark.parametrize("how", ["link", "move"])


@cache
def prepared() -> Tree:
    """Return a ``.bin`` and its ``.idx``."""
    with TemporaryDirectory() as name:
        write_pair(Path(name) / "x", ARRAYS)
        return read_tree(Path(name))


def adopt(root: Path, how: str) -> None:
    path, store = root / "x.idx", root / "s.ptr"
    assert convert.from_megatron(path, store, how=how, attrs={"k": 1}, progress=False).ok


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(dir=memory_directory()) as name:
        yield Path(name)


@pytest.fixture
def root(place: Path) -> Path:
    """A directory with a ``.bin`` and its ``.idx``."""
    materialise(prepared(), place / "root")
    return place / "root"


# Two names of one file ------------------------------------------------------------------------------


def test_a_link_shares_its_file_and_is_sealed(root: Path) -> None:
    before = (root / "x.bin").read_bytes()
    adopt(root, "link")
    assert (root / "x.bin").samefile(root / "s.ptr" / "data.bin")
    writer = ptrarray.append(root / "s.ptr")
    with pytest.raises(BadInputError, match="is sealed, as one that was closed, joined or linked"):
        writer["more"] = [1]
    writer.rename("0", "first")
    writer.close()
    ptrarray.compact(root / "s.ptr", progress=False)
    with ptrarray.append(root / "s.ptr") as writer:
        writer["more"] = [1]
    assert (root / "x.bin").read_bytes() == before


def test_what_is_changed_in_a_link_shows_in_verify(root: Path) -> None:
    adopt(root, "link")
    with (root / "x.bin").open("r+b") as file:
        file.seek(4)
        file.write(b"changed!")
    with ptrarray.open(root / "s.ptr") as store, pytest.raises(CorruptStoreError, match="'0'"):
        store.verify()


def test_on_the_command_line(run: Run, root: Path) -> None:
    store = root / "s.ptr"
    linked = run("import", "megatron", root / "x.idx", store, "--how", "link", "--by", "document")
    assert linked == (0, f"{store}: 4 converted\n", "")
    out = store / "data.idx"
    code, text, _ = run("export", store, out, "--to", "megatron")
    assert (code, text.splitlines()[-1]) == (0, f"{out}: 4 converted")
    code, _, errors = run(
        "import", "megatron", root / "x.idx", root / "t.ptr", "--origin", "fairseq"
    )
    assert (code, errors) == (0, "")
    again = ("import", "megatron", root / "x.idx", store, "--by", "document", "--how", "move")
    for _ in range(2):  # the second time, the .bin is the data file and nothing else
        assert run(*again) == (0, f"{store}: 0 converted, 4 skipped\n", "")
    assert not (root / "x.bin").exists()


def test_an_idx_goes_beside_the_data_file(run: Run, root: Path) -> None:
    adopt(root, "link")
    store = root / "s.ptr"
    for out in ([], [store], [store / "data"], [store / "data.idx"]):
        code, text, _ = run("export", store, *out, "--to", "megatron")
        assert (code, text.splitlines()[-1]) == (0, f"{[*out, store][0]}: {len(ARRAYS)} converted")
        (store / "data.idx").unlink()
    code, _, errors = run("export", store, root / "out.idx", "--to", "megatron")
    assert (code, f"has to be {store}/data.idx" in errors) == (1, True)


def test_a_moved_file_is_the_store_s_alone(root: Path) -> None:
    adopt(root, "move")
    assert sorted(path.name for path in root.iterdir()) == ["s.ptr", "x.idx"]
    with ptrarray.append(root / "s.ptr") as writer:
        writer["more"] = [1]
    assert look(root / "s.ptr") == WHOLE | {"more": np.int32(1).tobytes()}
    adopt(root, "move")  # which is done, and nothing of what came later is in its way
    assert look(root / "s.ptr") == WHOLE | {"more": np.int32(1).tobytes()}


def test_the_data_file_of_a_store_is_never_moved_out_of_it(root: Path) -> None:
    adopt(root, "move")
    convert.to_megatron(root / "s.ptr")
    for store in (root / "s.ptr", root / "t.ptr"):
        for how in ("link", "move"):
            with pytest.raises(BadInputError, match="is the data file of the store"):
                convert.from_megatron(root / "s.ptr" / "data.idx", store, how=how)
    assert look(root / "s.ptr") == WHOLE
    assert not (root / "t.ptr").exists()


def test_what_a_store_shares_by_a_link_of_its_own_stays(root: Path) -> None:
    adopt(root, "link")
    data = root / "s.ptr" / "data.bin"
    data.unlink()
    data.symlink_to(root / "x.bin")
    with pytest.raises(StoreExistsError, match="is not of"):
        adopt(root, "move")
    assert look(root / "s.ptr") == WHOLE


def test_a_bin_that_is_a_link_is_not_moved(place: Path) -> None:
    materialise(prepared(), place / "real")
    (place / "x.bin").symlink_to("real/x.bin")
    (place / "x.idx").symlink_to("real/x.idx")
    with pytest.raises(BadInputError, match="is a link"):
        adopt(place, "move")
    assert (place / "x.bin").exists()


@each_keep
def test_a_store_that_has_other_arrays_is_not_taken_for_done(how: str, root: Path) -> None:
    adopt(root, "link")
    for other in ({"name": "a/{key}"}, {"resume": False}):
        with pytest.raises(StoreExistsError):
            convert.from_megatron(root / "x.idx", root / "s.ptr", how=how, progress=False, **other)
    with ptrarray.append(root / "s.ptr") as writer:
        del writer["0"]
    with pytest.raises(StoreExistsError, match="is not of"):
        adopt(root, how)
    assert (root / "x.bin").exists()


def test_verify_of_what_was_done_before(root: Path) -> None:
    adopt(root, "link")
    with (root / "x.bin").open("r+b") as file:
        file.write(b"changed!")
    report = convert.from_megatron(
        root / "x.idx", root / "s.ptr", how="link", verify=True, progress=False
    )
    assert "has array '0'" in report.failures[0].problem


def test_a_link_is_packed_and_joined(place: Path) -> None:
    materialise(prepared(), place / "root")
    root = place / "root"
    adopt(root, "link")
    ptrarray.pack(root / "s.ptr", root / "p.ptr", progress=False)
    assert look(root / "p.ptr") == WHOLE
    ptrarray.join(root / "j.ptr", [root / "s.ptr"], prefix=["j/"], progress=False)
    with ptrarray.append(root / "j.ptr") as writer:
        writer["more"] = [1]
    with ptrarray.open(root / "j.ptr") as store:
        assert [store[f"j/{i}"].tolist() for i in range(4)] == [a.tolist() for a in ARRAYS]
        assert store["more"].tolist() == [1]
    with (root / "x.bin").open("r+b") as file:
        file.truncate(4)
    with pytest.raises(CorruptStoreError, match="cut short"):
        look(root / "j.ptr")


def test_a_moved_file_that_has_more_names_is_sealed(root: Path) -> None:
    os.link(root / "x.bin", root / "other.bin")
    adopt(root, "move")
    with (
        ptrarray.append(root / "s.ptr") as writer,
        pytest.raises(BadInputError, match="is sealed"),
    ):
        writer["more"] = [1]


def test_rows_behind_the_last_array_are_kept(place: Path) -> None:
    path = write_pair(place / "x", ARRAYS[:1])
    path.with_suffix(".bin").write_bytes(ARRAYS[0].tobytes() + b"and more of it")
    assert convert.from_megatron(path, place / "s.ptr", how="move", progress=False).ok
    with ptrarray.append(place / "s.ptr") as writer:
        writer["more"] = [1]
    assert (place / "s.ptr" / "data.bin").read_bytes()[12:26] == b"and more of it"


def test_links_of_links(place: Path) -> None:
    materialise(prepared(), place / "real")
    (place / "x.bin").symlink_to("real/x.bin")
    (place / "x.idx").symlink_to("real/x.idx")
    adopt(place, "link")
    assert (place / "s.ptr" / "data.bin").samefile(place / "real" / "x.bin")
    assert not (place / "s.ptr" / "data.bin").is_symlink()


def test_one_that_was_killed_before_the_old_name_went(root: Path) -> None:
    adopt(root, "link")
    report = convert.from_megatron(root / "x.idx", root / "s.ptr", how="move", progress=False)
    assert report.skipped == len(ARRAYS)
    assert not (root / "x.bin").exists()
    assert look(root / "s.ptr") == WHOLE


@pytest.mark.parametrize("template", ["{key}", "a/{key}", "{stem}-{key}.x", "{key}{key}", "é{key}"])
def test_names(template: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several blocks, in which numbers get more digits, names are those of a copy."""
    monkeypatch.setattr(adopting, "_BLOCK_NAMES", 700)
    path = write_pair(place / "x", [np.arange(1, dtype="u1")] * 12_345)
    for how in ("copy", "link"):
        report = convert.from_megatron(
            path, place / f"{how}.ptr", how=how, name=template, progress=False
        )
        assert report.converted == 12_345
    with ptrarray.open(place / "copy.ptr") as copy, ptrarray.open(place / "link.ptr") as link:
        assert list(copy) == list(link)
        link.verify()
        assert all(name in link for name in link.names[::777])


@pytest.mark.parametrize("prefix", [b"", b"x/"])
def test_numbers(prefix: bytes) -> None:
    for first, last in ((0, 0), (0, 12), (9_990, 10_010), (99_999, 100_001), (123_456, 234_567)):
        names, hashes = numbers.numbered(first, last, prefix)
        texts = [b"%s%d" % (prefix, i) for i in range(first, last)]
        assert names.split() == texts
        assert hashes.tolist() == [crc32(text) for text in texts]
    assert numbers.numbered_nbytes(123_456, prefix) == sum(
        len(prefix) + len(str(i)) for i in range(123_456)
    )


# All or nothing -------------------------------------------------------------------------------------


def told(how: str, root: Path) -> Recording:
    materialise(prepared(), root)
    with booted(1), repeatable(), record(root) as recording:
        adopt(root, how)
    return recording


def check_state(tree: Tree, root: Path, how: str, boot: int) -> Content:
    """Check that the store is there whole or not at all, and the rows under one name or both."""
    materialise(tree, root)
    if (root / "x.bin").exists() and (root / "s.ptr" / "data.bin").exists():
        (root / "s.ptr" / "data.bin").unlink()  # a tree knows of no second names
        os.link(root / "x.bin", root / "s.ptr" / "data.bin")
    with booted(boot), without_syncs(), alone():
        found = look(root / "s.ptr")
        assert found in (None, WHOLE)
        is_there = (root / "x.bin").exists()
        assert is_there or (found == WHOLE and how == "move")
        if is_there:  # it can be done again
            assert convert.from_megatron(
                root / "x.idx", root / "s.ptr", how=how, attrs={"k": 1}, progress=False
            ).ok
        assert look(root / "s.ptr") == WHOLE
    shutil.rmtree(root)
    return found


@each_keep
def test_power_cut(how: str, place: Path) -> None:
    recording, rng = told(how, place / "told"), random.Random(1)
    found = set()
    for cut in rng.choices(range(len(recording.log) + 1), k=N_STATES):
        fates = rng.choice(list(outcomes(recording, cut, NORMAL)))
        tree = rebuild(recording, cut, fates)
        found.add(check_state(tree, place / "state", how, boot=9) is None)
    assert found == {False, True}


@each_keep
def test_power_cut_when_all_is_done(how: str, place: Path) -> None:
    recording = told(how, place / "told")
    for fates in outcomes(recording, len(recording.log), NORMAL):
        tree = rebuild(recording, len(recording.log), fates)
        assert ("x.bin" in tree) == (how == "link")
        assert check_state(tree, place / "state", how, boot=9) is not None


@each_keep
def test_rows_that_were_not_on_the_disk(how: str, place: Path) -> None:
    """Who wrote the file may not have waited for the disk; the store has."""
    root = place / "told"
    materialise(prepared(), root)
    raw = (root / "x.bin").read_bytes()
    with booted(1), repeatable(), record(root) as recording:
        files.unlink(root / "x.bin")
        with File(root / "x.bin", files.MAKE) as file:
            file.pwrite(raw, 0)
        adopt(root, how)
    for fates in outcomes(recording, len(recording.log), NORMAL):
        tree = rebuild(recording, len(recording.log), fates)
        assert check_state(tree, place / "state", how, boot=9) is not None


@each_keep
def test_kill(how: str, place: Path) -> None:
    recording = told(how, place / "told")
    for cut in range(len(recording.log) + 1):
        check_state(rebuild(recording, cut, {}), place / "state", how, boot=1)


@each_way
@each_keep
def test_failing_calls(how: str, code: int, is_lasting: bool, place: Path) -> None:
    n_before = n_descriptors()
    for n in range(1, 500):
        root = place / str(n)
        materialise(prepared(), root)
        with repeatable(), injected() as faults:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(lambda _: adopt(root, how), None)  # noqa: B023
            faults.disarm()
        if error is None:
            assert look(root / "s.ptr") == WHOLE
        else:
            check_named(error, str(root))
        check_state(read_tree(root), place / "state", how, boot=1)
        shutil.rmtree(root)
        if not faults.n_failed:
            break
    assert n < 499
    assert n_descriptors() == n_before
