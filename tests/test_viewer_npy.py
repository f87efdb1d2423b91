"""Arrays as npy files in pieces: those that `numpy.load` reads as what was kept; and work for nobody."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ptrarray
from ptrarray import BadInputError, CorruptStoreError, StoreChangedError, UnknownNameError
from ptrarray.look.viewer import npy
from ptrarray.look.viewer.asking import until_gone
from ptrarray.reader import PointerArray
from ptrarray.rows.stopping import is_stopped
from ptrarray.views.awaited import Threads

pytestmark = pytest.mark.usefixtures("limits")

LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dtype": "f4", "row_shape": (3,)},
    "shaped": {"dtype": "f4", "row_shape": None},
    "mixed": {},
}
OPENERS: dict[str, Callable[[Path], PointerArray]] = {
    "mmap": ptrarray.open,
    "pread": lambda path: ptrarray.open(path, backend="pread"),
    "url": lambda path: ptrarray.open(path.as_uri()),
}
OF_ANY_DTYPE: dict[str, Any] = {
    "0-d": np.array(5, "i8"),
    "text": np.array(["", "ä", "日本"]),
    "bytes": np.array([b"", b"ab\0c"]),
    "dates": np.array(["2020-01-01", "NaT"], "M8[ns]"),
    "records": np.array([(1, [2.0, 3.0]), (4, [5.0, 6.0])], [("ä", "i2"), ("b", "f8", 2)]),
    "swapped": np.arange(4, dtype=">i4"),
    "complex": np.array([[1j, 2], [3, 4]]),
    "half": np.arange(3, dtype=ml_dtypes.bfloat16),
    "no rows": np.zeros((0, 4), "f4"),
    "no columns": np.zeros((4, 0), "f4"),
}


def arrays_of(layout: str, *, masked: bool) -> dict[str, Any]:
    """Return arrays that fit a layout: of no rows, of one, of several pieces, in either order."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {f"{n}": random.random((n, 3)).astype("f4") for n in (0, 1, 50, 1000)}
    if layout != "rows":
        arrays["fortran"] = np.asfortranarray(random.random((5, 7, 3)).astype("f4"))
    if masked:
        arrays = {name: np.ma.masked_greater(array, 0.7) for name, array in arrays.items()}
    if layout == "mixed":
        arrays |= OF_ANY_DTYPE
    return arrays


def loaded(file: npy.File) -> Any:
    whole = b"".join(file.pieces())
    assert len(whole) == file.nbytes
    return np.load(io.BytesIO(whole))


def same(found: Any, wanted: Any) -> bool:
    if wanted.dtype.kind == "V" and wanted.dtype.names is None:  # which npy has no name for
        wanted = wanted.view(f"V{wanted.itemsize}")
    return bool(
        (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        and found.tobytes() == wanted.tobytes()
        and (found.ndim < 2 or not found.size or found.flags.fnc == wanted.flags.fnc)
    )


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shards", [{}, {"shard_size": 4000}])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_array_is_loaded_as_it_was_kept(
    tmp_path: Path,
    layout: str,
    shards: dict[str, Any],
    masked: bool,
    opener: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(npy, "_PIECE_NBYTES", 100)
    monkeypatch.setattr(npy, "_REMOTE_PIECE_NBYTES", 1000)
    arrays, path = arrays_of(layout, masked=masked), tmp_path / "a.ptr"
    with ptrarray.create(path, masked=masked, **LAYOUTS[layout], **shards) as writer:
        for name, array in arrays.items():
            writer[name] = array
    with OPENERS[opener](path) as store:
        for name, array in arrays.items():
            assert same(loaded(npy.File(store, name)), np.ma.getdata(array)), name
            if masked:
                mask = loaded(npy.File(store, name, of_mask=True))
                assert same(mask, np.ma.getmaskarray(store[name])), name
                assert np.array_equal(mask, np.ma.getmaskarray(array)), name
            else:
                with pytest.raises(BadInputError, match="keeps no masks"):
                    npy.File(store, name, of_mask=True)
        for name in ("no", "\ud800"):
            with pytest.raises(UnknownNameError):
                npy.File(store, name)


def test_pieces_are_small_and_of_the_mapping(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "a.ptr", dtype="f8", row_shape=(1 << 20,)) as writer:
        writer["a"] = np.zeros((1, 1 << 20))  # one row of 8 MB
    with ptrarray.open(tmp_path / "a.ptr") as store:
        pieces = list(npy.File(store, "a").pieces())
        assert max(map(len, pieces)) == 1 << 20
        for piece in pieces[1:]:
            assert np.shares_memory(np.frombuffer(piece, "u1"), store.rows)


def test_what_changed_meanwhile_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "_REMOTE_PIECE_NBYTES", 1 << 20)
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="u1") as writer:
        writer["a"] = np.zeros(10 << 20, "u1")
    with ptrarray.open(path.as_uri()) as store:
        pieces = npy.File(store, "a").pieces()
        assert [len(next(pieces)) for _ in range(3)] == [128, 0, 1 << 20]
        with ptrarray.create(path, dtype="u1", mode="w") as writer:
            writer["a"] = np.ones(10 << 20, "u1")
        for other in path.glob("data*"):
            other.write_bytes(b"\1" * (10 << 20))
        with pytest.raises(StoreChangedError):
            list(pieces)


def test_what_is_damaged_never_comes_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    with ptrarray.create(path, dtype="u1") as writer:
        writer["a"] = np.zeros(1000, "u1")
    with (path / "data.bin").open("r+b") as file:
        file.write(b"\1")
    with ptrarray.open(path.as_uri()) as store:
        sent = npy.File(store, "a").pieces()
        assert len(next(sent)) == 128
        assert len(next(sent)) == 0  # the last piece is held back
        with pytest.raises(CorruptStoreError):
            next(sent)


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("a", "a.npy"),
        ("", "array.npy"),
        ("..", "array.npy"),
        ("../../etc/passwd", "_.._etc_passwd.npy"),
        ("a\r\nb", "a__b.npy"),
        ('"; x="', "_%3B%20x%3D_.npy"),
        ("x" * 65_536, "x" * 80 + ".npy"),
        ("\u202egnp", "_gnp.npy"),
    ],
)
def test_names_of_files(name: str, saved: str) -> None:
    assert npy.disposition(name, ".npy") == f"attachment; filename*=UTF-8''{saved}"


# work for nobody ------------------------------------------------------------------------------------


def test_who_has_gone_is_not_worked_for() -> None:
    """Of many calls whose clients leave, those that were not begun never are; one that was is told."""
    begun, may_go = threading.Event(), threading.Event()
    made: list[bool] = []

    def call() -> str:
        begun.set()
        may_go.wait()
        made.append(is_stopped())
        return "made"

    async def leave(seen: asyncio.Event) -> dict[str, Any]:
        await seen.wait()
        return {"type": "http.disconnect"}

    async def stay() -> dict[str, Any]:
        await asyncio.sleep(3600)
        raise AssertionError

    async def run() -> None:
        threads, left = Threads(1), asyncio.Event()
        asked = [
            asyncio.create_task(until_gone(lambda: leave(left), threads, call)) for _ in range(100)
        ]
        await asyncio.to_thread(begun.wait)
        left.set()
        assert await asyncio.gather(*asked) == [None] * 100
        may_go.set()
        assert await until_gone(stay, threads, lambda: "later") == "later"
        assert await until_gone(stay, threads, call) == "made"

    asyncio.run(run())
    assert made == [True, False]
