"""How the rows of a file of bigarray are copied: by the system, with their holes, or not at all."""

from __future__ import annotations

import errno
import marshal
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray import CorruptStoreError
from ptrarray.convert.bigarray import convert as bigarray
from ptrarray.convert.bigarray.convert import from_bigarray, transfer
from ptrarray.storage.system import files
from tests.support.bigarray_files import UNNAMED, file_of, header
from tests.support.checks import check_exactly
from tests.support.faults import injected
from tests.support.memory import peak_nbytes


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "old"


def big_file(path: Path, n_rows: int) -> np.ndarray[Any, Any]:
    """Write a file whose rows lie after a hole of their size."""
    rows = np.random.default_rng(3).integers(0, 2**60, n_rows)
    hollow = file_of(shape=(0,), index={"hole": (0, n_rows), "rows": (n_rows, 2 * n_rows)})
    start, tail = hollow[:504], hollow[504:]
    start = header(marshal.dumps(["int64", (2 * n_rows,)])).ljust(504, b"\0")
    with path.open("wb") as file:
        file.write(start)
        file.seek(504 + 8 * n_rows)
        file.write(rows.tobytes() + tail)
    return rows


def test_rows_do_not_pass_through_python(old: Path, path: Path) -> None:
    rows = big_file(old, 2**20)
    assert peak_nbytes(lambda: from_bigarray(old, path)) < rows.nbytes / 3


def test_holes_stay_holes(old: Path, path: Path) -> None:
    rows = big_file(old, 2**19)
    if old.stat().st_blocks * 512 > 6 * 2**20:
        pytest.skip("this file system has no holes")
    from_bigarray(old, path)
    assert (path / "data.bin").stat().st_blocks * 512 < 6 * 2**20
    check_exactly(path, {"hole": np.zeros(2**19, np.int64), "rows": rows})


def test_a_hole_at_the_end_stays_one(old: Path, path: Path) -> None:
    n_rows = 2**19
    old.write_bytes(header(marshal.dumps(["int64", (n_rows,)])).ljust(504, b"\0") + bytes([7]))
    os.truncate(old, 504 + 8 * n_rows)
    if old.stat().st_blocks * 512 > 2**20:
        pytest.skip("this file system has no holes")
    from_bigarray(old, path)
    assert (path / "data.bin").stat().st_blocks * 512 < 2**20
    check_exactly(path, {UNNAMED: np.array([7] + [0] * (n_rows - 1))})


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, None])
def test_where_the_system_does_not_copy(
    code: int | None, old: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = big_file(old, 1000)

    def refuse(*_: int) -> int:
        assert code is not None
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    if code is None:
        monkeypatch.delattr(os, "copy_file_range")
    from_bigarray(old, path)
    check_exactly(path, {"hole": np.zeros(1000, np.int64), "rows": rows})


def test_where_the_system_does_not_tell_of_holes(
    old: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = big_file(old, 1000)
    monkeypatch.setattr(files.File, "data_from", lambda self, start, end: (start, end))
    from_bigarray(old, path)
    check_exactly(path, {"hole": np.zeros(1000, np.int64), "rows": rows})


def test_a_file_that_is_cut_meanwhile(
    old: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big_file(old, 1000)

    def cut_before(*arguments: Any, **options: Any) -> None:
        os.truncate(old, 10_000)
        transfer(*arguments, **options)

    monkeypatch.setattr(bigarray, "transfer", cut_before)
    with pytest.raises(CorruptStoreError, match="ended at byte 10000 while it was read"):
        from_bigarray(old, path)
    assert list(old.parent.iterdir()) == [old]


# a full disk --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk(is_there: bool, code: int, old: Path, path: Path) -> None:
    converted = {"a": np.zeros(1 << 16, "u1")}
    old.write_bytes(file_of("u1", (1 << 16,), {"a": (0, 1 << 16)}))
    n_failed, at = 1, 0
    while n_failed:
        at += 1
        if is_there:
            ptrarray.create(path, dtype="i4", mode="w").close()
        before = sorted(old.parent.rglob("*"))
        with injected() as faults:
            faults.arm(at, code, is_lasting=False, only=["copy_file_range", "pwrite", "pwritev"])
            with suppress(OSError):
                from_bigarray(old, path, mode="w")
            n_failed = faults.n_failed
        if n_failed and not is_there:
            assert sorted(old.parent.rglob("*")) == before
        elif n_failed:
            ptrarray.append(path).close()  # which removes what was left over
            assert len(list(path.iterdir())) == 3
            check_exactly(path, converted if "a" in ptrarray.open(path) else {})
    assert at > 3
    check_exactly(path, converted)


def test_a_disk_that_is_full_leaves_nothing_beside_the_store(old: Path, path: Path) -> None:
    old.write_bytes(file_of(index={"a": (0, 3)}))
    ptrarray.create(path, dtype="i4").close()
    before = sorted(path.iterdir())
    with injected() as faults:
        faults.arm(1, errno.ENOSPC, is_lasting=True, only=["copy_file_range"])
        with pytest.raises(OSError, match="No space left"):
            from_bigarray(old, path, mode="w")
    assert sorted(path.iterdir()) == before
