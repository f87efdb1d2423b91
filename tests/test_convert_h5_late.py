"""Exports as HDF5 to a disk that is full: an error, and no file."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptrarray
from ptrarray import convert
from ptrarray.convert.formats.h5_late import Late

pytestmark = pytest.mark.usefixtures("limits")

pytest.importorskip("h5py")


class Disk(io.BytesIO):
    """What takes so many bytes, a few at a time."""

    room = 10

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = super().write(bytes(data)[: min(4, self.room)])
        self.room -= taken
        return taken


def test_errors_wait_and_no_byte_is_forgotten() -> None:
    disk = Disk()
    late: Any = Late(disk)
    assert late.write(b"0123456") == 7
    late.check()
    assert late.write(memoryview(b"789abc")) == 6  # as HDF5 wants to hear
    assert disk.getvalue() == b"0123456789"
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            late.check()
    assert late.write(b"x") == 1
    assert late.truncate(3) == 3
    assert late.seek(0) == 0
    assert late.read() == b"0123456789"


@pytest.mark.parametrize("export", [convert.to_h5, convert.to_netcdf])
def test_there_is_no_file_if_something_was_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Callable[..., Any]
) -> None:
    # All of it is written here, so that HDF5 finds all that it wants.
    if export is convert.to_netcdf:
        pytest.importorskip("h5netcdf")
    with ptrarray.create(tmp_path / "s.ptr", dtype="f4") as writer:
        writer.write({"a": [1, 2], "b": [3]})

    def check(late: Late) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Late, "check", check)
    with pytest.raises(OSError, match="No space left"):
        export(tmp_path / "s.ptr", tmp_path / "x", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["s.ptr"]
