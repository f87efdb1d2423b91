"""The arrays of a store as a data set of torch: the same arrays, by position or by name."""

from __future__ import annotations

import doctest
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptrarray
from tests.support.layouts import LAYOUTS, filled

torch: Any = pytest.importorskip("torch")
pt: Any = pytest.importorskip("ptrarray.torch")

MODES: dict[str, dict[str, Any]] = {
    "r": {},
    "r+": {"mode": "r+"},
    "c": {"mode": "c"},
    "pread": {"backend": "pread"},
}
# Empty ones, of which several begin at one row, among them.
LENGTHS = {"c": 3, "": 0, "größe": 2, "none": 0, "a": 4, "nothing": 0, "b": 1}


def made(n: int, shape: tuple[int, ...] = ()) -> Any:
    return np.arange(n * 10, n * 10 + n * int(np.prod(shape))).reshape(n, *shape).astype("f8")


def arrays(shape: tuple[int, ...] = ()) -> dict[str, Any]:
    return {name: made(n, shape) for name, n in LENGTHS.items()}


@pytest.fixture(params=[*LAYOUTS, "wide", "masked", "shards", "overlaid", "pack"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a store of each kind, and the arrays in it, in data order."""
    kind, path = request.param, tmp_path / "a.ptr"
    wanted = arrays((2,) if kind == "wide" else ())
    if kind in LAYOUTS:
        filled(path, wanted, **LAYOUTS[kind])
    elif kind == "wide":
        filled(path, wanted, dtype="f8", row_shape=(2,))
    elif kind == "masked":
        wanted = {name: np.ma.masked_equal(array, 41.0) for name, array in wanted.items()}
        filled(path, wanted, dtype="f8", masked=True)
    elif kind == "shards":
        with ptrarray.create(path, dtype="f8", shard_size=32) as writer:
            for name, array in wanted.items():
                writer[name] = array
    else:
        filled(path, {"gone": made(5)} | wanted | {"more": made(1)}, dtype="f8")
        with ptrarray.append(path) as writer:
            del writer["gone"]
            writer.write({"more": made(7)}, overwrite=True)
        wanted["more"] = made(7)
    if kind == "pack":
        ptrarray.pack(path, tmp_path / "a.tar")
        path = tmp_path / "a.tar"
    names = list(ptrarray.open(path))
    assert sorted(names) == sorted(wanted)
    return path, {name: wanted[name] for name in names}


def same(found: Any, wanted: Any) -> bool:
    return (
        type(found) is type(wanted)
        and found.dtype == wanted.dtype
        and np.array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(wanted))
        and np.array_equal(np.ma.filled(found, -1), np.ma.filled(wanted, -1))
    )


def is_private(array: Any) -> bool:
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    return bool(array.flags.writeable) and not isinstance(root, np.memmap)


@pytest.mark.parametrize("mode", MODES)
def test_arrays_are_those_of_the_store(written: tuple[Path, dict[str, Any]], mode: str) -> None:
    path, wanted = written
    if mode == "r+" and path.suffix == ".tar":
        pytest.skip("a pack is not written to")
    with ptrarray.open(path, **MODES[mode]) as store:
        data = pt.Arrays(store)
        lengths = store.lengths.tolist()
    # The store is closed by now.
    n = len(wanted)
    assert len(data) == n
    assert data.lengths.tolist() == lengths
    values = list(wanted.values())
    assert all(same(found, array) for found, array in zip(data, values, strict=True))
    assert same(data[-1], values[-1])
    assert all(map(is_private, data))
    order = [*range(n - 1, -1, -1), 1, -1, 1]
    batch = data.__getitems__(order)
    assert all(same(batch[i], values[at]) for i, at in enumerate(order))
    assert is_private(batch.values)
    assert len(data.__getitems__([])) == 0


def test_names_choose_and_order(written: tuple[Path, dict[str, Any]]) -> None:
    path, wanted = written
    names = [*reversed(wanted), "a", "", "größe", "a"]
    data = pt.Arrays(path, names=iter(names))
    assert len(data) == len(names)
    assert all(same(data[i], wanted[name]) for i, name in enumerate(names))
    batch = data.__getitems__(range(len(names)))
    assert all(same(batch[i], wanted[name]) for i, name in enumerate(names))
    pointers = ptrarray.open(path).pointers
    assert data.lengths.tolist() == [int(np.diff(pointers[name])[0]) for name in names]
    assert len(pt.Arrays(path, names=[])) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40), st.data())
def test_names_of_any_store(tmp_path_factory: Any, lengths: list[int], draw: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "a.ptr"
    wanted = {f"n{i}": np.full(n, i) for i, n in enumerate(lengths)}
    cut = draw.draw(st.integers(0, len(wanted)))
    with ptrarray.create(path, dtype="i8") as writer:
        writer.write(dict(list(wanted.items())[:cut]))
        ptrarray.checkpoint(path)
        writer.write(dict(list(wanted.items())[cut:]))
        if wanted and draw.draw(st.booleans()):
            writer.point("part", *writer.pointers[f"n{len(wanted) // 2}"])
            wanted["part"] = wanted[f"n{len(wanted) // 2}"]
    names = draw.draw(st.lists(st.sampled_from([*wanted] or [""]), max_size=60 * bool(wanted)))
    data = pt.Arrays(path, names=names)
    assert [array.tolist() for array in data] == [wanted[name].tolist() for name in names]
    assert data.__getitems__(range(len(names))).values.tolist() == [
        number for name in names for number in wanted[name].tolist()
    ]


def test_many_names_take_little(tmp_path: Path) -> None:
    n = 40_000
    with ptrarray.create(tmp_path / "a.ptr", dtype="u1") as writer:
        writer.write_ragged([f"n{i}" for i in range(n)], np.zeros(n, "u1"), np.arange(n + 1))
    data = pt.Arrays(tmp_path / "a.ptr", names=(f"n{i}" for i in range(n - 1, -1, -1)))
    assert len(data) == n
    assert len(pickle.dumps(data)) < 2 * n + 1000  # two bytes for each
    assert len(pickle.dumps(pt.Arrays(tmp_path / "a.ptr"))) < 1000


def test_what_is_asked_for_wrongly(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", arrays(), dtype="f8")
    for names, missing in ((["a", "x"], "x"), (["nothing", "nil"], "nil"), (["\udc80"], "name")):
        with pytest.raises((ptrarray.UnknownNameError, ptrarray.BadInputError), match=missing):
            pt.Arrays(path, names=names)
    with pytest.raises(ptrarray.BadInputError, match="put it in a list"):
        pt.Arrays(path, names="a")
    with pytest.raises(ptrarray.StoreNotFoundError):
        pt.Arrays(tmp_path / "b.ptr")
    data = pt.Arrays(path, names=["a", "b"])
    for position in (2, -3):
        with pytest.raises(IndexError, match=f"position {position} is out of range for <2 arrays"):
            data[position]
        with pytest.raises(IndexError, match=f"position {position} is out of range"):
            data.__getitems__([0, position])
    for positions in ([0.5], [True, False], ["a"], 1, "a", None, [[0, 1]]):
        with pytest.raises(IndexError, match="expected integers"):
            data.__getitems__(positions)
    with pytest.raises(IndexError, match=r"int64 of shape \(1, 2\) for .*; expected integers"):
        data[[0, 1]]
    with pytest.raises(IndexError, match=f"position {2**64 - 1} is out of range"):
        data[2**64 - 1]  # which is -1 in 64 bits
    assert data.__getitems__(torch.tensor([1, 0]))[1].tolist() == data[0].tolist()
    with pytest.raises(ptrarray.BadInputError, match="prefetch must not be negative"):
        data.batches([[0]], prefetch=-1)


def half(array: Any) -> Any:
    return array[::2]


def test_transform_is_given_copies_and_may_change_lengths(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", arrays(), dtype="f8")
    data = pt.Arrays(path, transform=half)
    wanted = [array[::2].tolist() for array in ptrarray.open(path).values()]
    assert [array.tolist() for array in data] == wanted
    batch = data.__getitems__(range(len(data)))
    assert [array.tolist() for array in batch] == wanted
    assert data.lengths.tolist() == ptrarray.open(path).lengths.tolist()

    def doubled(array: Any) -> Any:
        array *= 2
        return array

    before = ptrarray.open(path).rows.tolist()
    with ptrarray.open(path, "r+") as store:
        assert pt.Arrays(store, transform=doubled)[0].tolist() == (2 * store.arrays[0]).tolist()
    assert ptrarray.open(path).rows.tolist() == before
    with pytest.raises(ptrarray.BadInputError, match=r"laid end to end.*float64 \(\)"):
        pt.Arrays(path, transform=np.sum).__getitems__([0])


def test_arrays_of_any_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.ptr"
    images = {"a": np.zeros((2, 3)), "b": np.ones((4, 5)), "c": np.ones((1, 3))}
    filled(path, images, dtype="f8", row_shape=None)
    data = pt.Arrays(path)
    assert data.lengths.tolist() == [6, 20, 3]
    assert data.__getitems__([0, 2]).values.shape == (3, 3)
    with pytest.raises(ptrarray.BadInputError, match="laid end to end"):
        data.__getitems__([0, 1])
    cropped = pt.Arrays(path, transform=lambda image: image[:1, :2])
    assert cropped.__getitems__([0, 1, 2]).values.tolist() == [[0, 0], [1, 1], [1, 1]]

    class Images(pt.Arrays):  # type: ignore[misc]
        __getitems__ = None

    loader = torch.utils.data.DataLoader(Images(path), batch_size=3, collate_fn=list)
    assert [image.shape for image in next(iter(loader))] == [(2, 3), (4, 5), (1, 3)]


# in other processes, as by pickling -------------------------------------------------------------


def test_pickled_by_path_and_as_it_was(written: tuple[Path, dict[str, Any]]) -> None:
    path, wanted = written
    data = pt.Arrays(path, names=list(wanted)[::-1])
    again = pickle.loads(pickle.dumps(data))
    assert all(same(found, array) for found, array in zip(again, data, strict=True))
    assert len(pickle.dumps(data)) < 2000


def test_what_was_added_meanwhile_is_left_out(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", arrays(), dtype="f8")
    data = pt.Arrays(path)
    kept = pickle.dumps(data)
    with ptrarray.append(path) as writer:
        writer["more"] = made(3)
    again = pickle.loads(kept)
    assert len(again) == len(data) == len(LENGTHS)
    assert [array.tolist() for array in again] == [array.tolist() for array in data]
    assert again.lengths.tolist() == data.lengths.tolist()
    assert again[-1].tolist() == data[-1].tolist()
    assert again.__getitems__([-1, 0]).values.tolist() == data.__getitems__([-1, 0]).values.tolist()
    with pytest.raises(IndexError):
        again.__getitems__([len(LENGTHS)])
    assert len(pt.Arrays(path)) == len(LENGTHS) + 1


def test_what_was_moved_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", arrays(), dtype="f8")
    data = pt.Arrays(path)
    kept = pickle.dumps(data)
    before = [array.tolist() for array in data]
    with ptrarray.append(path) as writer:
        del writer["c"]
        writer["more"] = made(3)
    with pytest.raises(ptrarray.StoreError, match=r"a\.ptr were moved or removed .* make it anew"):
        pickle.loads(kept)
    ptrarray.compact(path)
    with pytest.raises(ptrarray.StoreError, match="moved or removed"):
        pickle.loads(kept)
    # Who has it open keeps what was there.
    assert [array.tolist() for array in data] == before


@pytest.mark.parametrize("kind", ["rows", "shards", "pack"])
def test_others_of_the_same_lengths_are_an_error(tmp_path: Path, kind: str) -> None:
    """Arrays that begin and end where others did, and in another store of as many commits."""
    path, store = tmp_path / "a.ptr", tmp_path / ("of_pack.ptr" if kind == "pack" else "a.ptr")
    shard_size = 80 if kind == "shards" else None

    def made_anew(values: list[int]) -> None:
        with ptrarray.create(store, dtype="f8", mode="w", shard_size=shard_size) as writer:
            writer.write({name: np.full(5, i, "f8") for i, name in zip(values, "abc", strict=True)})
        if kind == "pack":
            ptrarray.pack(store, path, overwrite=True)

    made_anew([0, 1, 2])
    data = pt.Arrays(path)
    kept = pickle.dumps(data)
    with ptrarray.append(store) as writer:
        del writer["a"]
        writer["d"] = np.full(5, 9.0)
    ptrarray.compact(store)
    if kind == "pack":
        ptrarray.pack(store, path, overwrite=True)
    assert pt.Arrays(path).lengths.tolist() == data.lengths.tolist()
    with pytest.raises(ptrarray.StoreError, match=r"a\.ptr were moved or removed"):
        pickle.loads(kept)
    shutil.rmtree(store)
    made_anew([3, 4, 5])
    with pytest.raises(ptrarray.StoreError, match="or the store is another one"):
        pickle.loads(kept)
    assert [array[0] for array in data] == [0, 1, 2]


def test_reading_counts_as_no_change(tmp_path: Path) -> None:
    """In mode "r+" what is handed out writable gets new checksums: not what is copied."""
    path = filled(tmp_path / "a.ptr", arrays(), dtype="f8")
    with ptrarray.open(path, "r+") as store:
        data = pt.Arrays(store, transform=half)
        assert len(data[0]) == len(data.__getitems__([0, 4])) == 2
        again = pickle.loads(pickle.dumps(data))
        assert len(again[0]) == 2
        with (path / "data.bin").open("r+b") as file:
            file.write(b"\1")  # damage
    with pytest.raises(ptrarray.CorruptStoreError, match="has array 'c', rows 0 to 3"):
        ptrarray.verify(path)


def test_a_refresh_of_the_store_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.ptr", arrays(), dtype="f8")
    store = ptrarray.open(path)
    data = pt.Arrays(store)
    before = [array.tolist() for array in data]
    with ptrarray.append(path) as writer:
        del writer["c"]
    store.refresh()
    assert len(store) == len(LENGTHS) - 1
    assert [array.tolist() for array in data] == before


def test_torch_is_an_extra() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport ptrarray, ptrarray.sampling, ptrarray.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: ptrarray.torch needs PyTorch" in done.stderr
    assert "pip install 'ptrarray[torch]'" in done.stderr.splitlines()[-1]


def test_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(Path("corpus.ptr"), {"utt1": [1, 2, 3], "utt2": [4, 5], "utt3": [6]}, dtype="f4")
    done = doctest.testmod(pt, extraglobs={"ptrarray": ptrarray, "np": np})
    assert done.attempted >= 12
    assert done.failed == 0
