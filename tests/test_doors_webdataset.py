"""Archives of webdataset, written and read by webdataset itself."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ptrarray
from ptrarray.convert import from_webdataset, to_webdataset
from tests.support.command_line import Run

pytestmark = pytest.mark.usefixtures("limits")

webdataset = pytest.importorskip("webdataset")
tariterators = pytest.importorskip("webdataset.tariterators")

ONE = np.arange(3, dtype="f4")


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**given: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **given)
    return file.getvalue()


def pack(path: Path, members: Iterable[tuple[str, Any]], **options: Any) -> Path:
    """Write files of an archive; a type of tar's instead of bytes is a member without any."""
    with tarfile.open(path, "w", **options) as archive:
        for name, raw in members:
            info = tarfile.TarInfo(name)
            if isinstance(raw, np.ndarray):
                raw = npy(raw)
            if isinstance(raw, bytes) and len(raw) != 1:
                info.size = len(raw)
            elif raw in (tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
                info.type, info.linkname = raw, "utt.npy"
            else:
                info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def samples(path: Path) -> list[dict[str, Any]]:
    """Return what webdataset reads, without its way to open files, or to unpickle."""
    with path.open("rb") as file:
        found = tariterators.tar_file_expander([{"url": "x", "stream": file}])
        return [
            {field: value for field, value in sample.items() if field != "__url__"}
            for sample in tariterators.group_by_keys(found)
        ]


def come(path: Any, store: Path, **options: Any) -> Any:
    return from_webdataset(path, store, progress=False, verify=True, **options)


def read(store: Path) -> dict[str, Any]:
    with ptrarray.open(store) as opened:
        return {name: np.array(array) for name, array in opened.items()}


def metas(store: Path) -> dict[str, Any]:
    with ptrarray.open(store) as opened:
        return {name: dict(opened.meta[name]) for name in opened}


def problems(report: Any) -> dict[str, str]:
    return {source.rpartition(":")[2]: problem for source, problem in report.failures}


def same(found: Any, given: Any) -> bool:
    is_same = (found.dtype, found.shape) == (given.dtype, given.shape)
    return is_same and found.tobytes() == given.tobytes()


def test_what_its_writer_writes(tmp_path: Path) -> None:
    given = {
        "c": np.arange(6, dtype="f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype="i2").reshape(2, 3)),
        "big": np.arange(3, dtype=">f8"),
        "number": np.array(1.5),
        "empty": np.zeros((0, 3), "u1"),
        "records": np.zeros(2, "i4,f8"),
        "one row": np.ones((1, 3), "c16"),
        "folder/x": np.array([True, False]),
    }
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as writer:
        for i, (key, array) in enumerate(given.items()):
            writer.write({"__key__": key, "npy": array, "json": {"i": i}, "cls": i, "txt": "é"})
    report = come(tmp_path / "x.tar", tmp_path / "s.ptr")
    assert (report.converted, report.failures, report.notes) == (len(given), [], [])
    found = read(tmp_path / "s.ptr")
    assert [name for name in given if not same(found[name], given[name])] == []
    assert metas(tmp_path / "s.ptr") == {
        key: {"i": i, "cls": i, "txt": "é"} for i, key in enumerate(given)
    }


def test_names_are_those_of_webdataset(tmp_path: Path) -> None:
    # What is before the first dot of the last part is the key, whatever follows a part of the
    # field, in lower case (webdataset 1.0.2, tariterators.py `base_plus_ext`, `group_by_keys`).
    names = ["utt.1.npy", "utt.2.npy", "v1.0/x.y/utt.npy", "./p/q.NPY", "p/.hid.npy", "/a/b.Npy"]
    path = pack(tmp_path / "x.tar", [(name, ONE + i) for i, name in enumerate(names)])
    assert come(path, tmp_path / "s.ptr").ok
    found = read(tmp_path / "s.ptr")
    assert list(found) == ["utt/1", "utt/2", "v1.0/x.y/utt", "./p/q", "p//hid", "/a/b"]
    assert [array[0] for array in found.values()] == [0, 1, 2, 3, 4, 5]
    fields = [(sample.pop("__key__"), [*sample]) for sample in samples(path)]
    assert fields == [
        ("utt", ["1.npy", "2.npy"]),
        ("v1.0/x.y/utt", ["npy"]),
        ("./p/q", ["npy"]),
        ("p/", ["hid.npy"]),
        ("/a/b", ["npy"]),
    ]


def test_what_is_passed_over(tmp_path: Path) -> None:
    # By webdataset without a word (1.0.2, tariterators.py `tar_file_iterator`).
    members = [
        ("noext", b"ab"),
        (".npy", ONE),
        ("__meta__", b"ab"),
        ("__x__/utt.npy", ONE),
        ("folder", tarfile.DIRTYPE),
        ("utt.npy", ONE),
        ("link.npy", tarfile.LNKTYPE),
        ("soft.npy", tarfile.SYMTYPE),
        ("pipe.npy", tarfile.FIFOTYPE),
        ("__meta__.npy", ONE),  # but this is a sample
        ("image.jpg", b"ab"),
        ("alone.json", b"{}"),
        ("bad.__bad__", b"yes"),
        ("bad.npy", ONE),
    ]
    path = pack(tmp_path / "x.tar", members)
    report = come(path, tmp_path / "s.ptr")
    assert (list(read(tmp_path / "s.ptr")), report.failures) == (["utt", "__meta__"], [])
    keys = [sample["__key__"] for sample in samples(path)]
    assert keys == ["utt", "__meta__", "image", "alone"]
    notes = "\n".join(report.notes)
    for about in (
        "folders",
        "3 links",
        "2 files of the archive",
        "2 files are no field",
        "fields .jpg hold no arrays",
        "samples have metadata",
        "samples are marked",
    ):
        assert about in notes, notes


def test_fields_of_metadata(tmp_path: Path) -> None:
    members = [
        ("a.cls", b"7\n"),
        ("a.json", b'\xef\xbb\xbf{"speaker": "x"}'),
        ("a.npy", ONE),
        ("a.pose.npy", ONE),
        ("a.txt", "é".encode()),
        ("b.json", b'[1, "x"]'),
        ("b.npy", ONE),
        ("c.cls", b"1\n"),
        ("c.json", b'{"cls": 2}'),
        ("c.more.json", b"null"),
        ("c.npy", ONE),
        ("d.npy", ONE),
    ]
    assert come(pack(tmp_path / "x.tar", members), tmp_path / "s.ptr").ok
    assert metas(tmp_path / "s.ptr") == {
        "a": {"speaker": "x", "cls": 7, "txt": "é"},
        "a/pose": {"speaker": "x", "cls": 7, "txt": "é"},
        "b": {"json": [1, "x"]},
        "c": {"cls": 1, "json": {"cls": 2}, "more.json": None},
        "d": {},
    }


def test_what_cannot_be_read(tmp_path: Path) -> None:
    members = [
        ("a.npy", npy(np.array([1, "a"], object), allow_pickle=True)),
        ("b.npy", b"junk"),
        ("c.npy", npy(ONE)[:-1]),
        ("d.npy", npy(ONE) + b"x"),
        ("e.pkl", pickle.dumps(ONE)),
        ("e.pyd", pickle.dumps(ONE)),
        ("f.ten", b"~TenBin~"),
        ("g.cls", b"x"),
        ("g.json", b"{"),
        ("g.txt", b"\xff\xfe"),
        ("g.x.json", b"[" * 100_000),
        ("g.npy", ONE),
        ("h.__key__", b"xx"),
        ("i.npz", b"junk"),
        ("j.npy", b"\x93NUMPY\1\0\xff\xff{"),
        ("k.npy", npy(ONE).replace(b"(3,)", b"(9" + b"9" * 15 + b",)")[: len(npy(ONE))]),
        ("z.npy", ONE),
    ]
    report = come(pack(tmp_path / "x.tar", members), tmp_path / "s.ptr")
    assert list(read(tmp_path / "s.ptr")) == ["g", "z"]
    found = problems(report)
    assert [*found] == sorted(found)
    assert "Python objects" in found["a"]
    assert "pickle" in found["e.pkl"]
    assert "pickle" in found["e.pyd"]
    assert "byte order" in found["f.ten"]
    assert found.keys() >= {*"bcdijk", "g.cls", "g.json", "g.txt", "g.x.json", "h.__key__"}


def test_the_same_field_twice(tmp_path: Path) -> None:
    # A ValueError of webdataset's, that ends the archive (1.0.2).
    members = [("a.npy", ONE), ("a.NPY", ONE + 1), ("b.npy", ONE), ("a.npy", ONE + 2)]
    path = pack(tmp_path / "x.tar", members)
    report = come(path, tmp_path / "s.ptr")
    assert (report.converted, sorted(problems(report))) == (2, ["a", "a.NPY"])
    assert read(tmp_path / "s.ptr")["a"][0] == 0
    with pytest.raises(ValueError, match="duplicate file name"):
        samples(path)


def test_npz_and_compressed_fields(tmp_path: Path) -> None:
    members = [
        ("a.npz", npz(x=ONE, y=np.eye(2))),
        ("a.pose.npz", npz(x=ONE)),
        ("b.json.gz", gzip.compress(b'{"k": 1}')),
        ("b.npy.gz", gzip.compress(npy(ONE))),
        ("c.npy.gz", b"junk"),
        ("d.json.gz", gzip.compress(b" " * (1 << 25))),
        ("d.npy", ONE),
    ]
    report = come(pack(tmp_path / "x.tar", members), tmp_path / "s.ptr")
    assert list(read(tmp_path / "s.ptr")) == ["a/x", "a/y", "a/pose/x", "b", "d"]
    assert metas(tmp_path / "s.ptr")["b"] == {"k": 1}
    assert sorted(problems(report)) == ["c", "d.json.gz"]


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz"])
def test_compressed_archives_and_shards(tmp_path: Path, suffix: str) -> None:
    for shard in range(2):
        path = tmp_path / f"{shard:06}.{suffix}"
        mode: Any = f"w:{suffix.rpartition('.')[2]}"
        with tarfile.open(path, mode) as archive:
            for i in range(3):
                (tmp_path / "x.npy").write_bytes(npy(np.full(448, i, "f4")))
                archive.add(tmp_path / "x.npy", f"{shard}{i}.npy")
    report = come(tmp_path / f"*.{suffix}", tmp_path / "s.ptr", name="{key}", processes=2)
    assert (report.converted, report.failures) == (6, [])
    assert sorted(read(tmp_path / "s.ptr")) == ["00", "01", "02", "10", "11", "12"]


def test_archives_end_to_end(tmp_path: Path) -> None:
    # webdataset reads the first, and says nothing of the rest (1.0.2).
    one, two = (
        pack(tmp_path / "1.tar", [("a.npy", ONE)]),
        pack(tmp_path / "2.tar", [("b.npy", ONE)]),
    )
    both = tmp_path / "x.tar"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert [sample["__key__"] for sample in samples(both)] == ["a"]
    report = come(both, tmp_path / "s.ptr")
    assert list(read(tmp_path / "s.ptr")) == ["a", "b"]
    assert "behind its end" in report.failures[0].problem


def test_cut_off_and_flipped(tmp_path: Path) -> None:
    members = [("a.json", b'{"k": 1}'), ("a.npy", ONE), ("b.npy", ONE)]
    raw = pack(tmp_path / "x.tar", members).read_bytes()
    bad = tmp_path / "bad.tar"
    options = {"dtype": "i1", "row_shape": 7}  # takes none, so that no disk is waited for
    for size in range(0, 3700, 41):
        bad.write_bytes(raw[:size])
        report = from_webdataset(bad, tmp_path / "s.ptr", progress=False, **options)  # type: ignore[arg-type]
        assert report.failures, size
    for at in range(0, 3700, 29):
        bad.write_bytes(raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :])
        report = from_webdataset(bad, tmp_path / "s.ptr", progress=False, **options)  # type: ignore[arg-type]
        assert report.failures, at
    bad.write_bytes(raw[:2600])  # in the header of b
    assert come(bad, tmp_path / "s.ptr").converted == 1
    assert metas(tmp_path / "s.ptr") == {"a": {"k": 1}}


@pytest.mark.parametrize(
    ("size", "problem"), [(1 << 40, "cut off"), ((1 << 62) + 5, "no header can be read")]
)
def test_forged_sizes(tmp_path: Path, size: int, problem: str) -> None:
    info = tarfile.TarInfo("a.npy")
    info.size = size
    raw = info.tobuf(tarfile.GNU_FORMAT) + npy(ONE)
    (tmp_path / "x.tar").write_bytes(raw.ljust(10_240, b"\0"))
    report = come(tmp_path / "x.tar", tmp_path / "s.ptr")
    assert report.converted == 0
    assert problem in f"{report.failures}"


def test_again_and_into_rows(tmp_path: Path) -> None:
    given = {f"{i:05}": np.full((i % 9, 4), i, "f4") for i in range(1000)}
    path = pack(tmp_path / "x.tar", [(f"{name}.npy", array) for name, array in given.items()])
    options = {"dtype": "f4", "row_shape": 4}
    assert come(path, tmp_path / "s.ptr", **options).converted == 1000
    again = come(path, tmp_path / "s.ptr", **options)
    assert (again.converted, again.skipped, again.failures) == (0, 1000, [])
    found = read(tmp_path / "s.ptr")
    assert all(same(found[name], given[name]) for name in given)


NAMES = ["utt1", "utt.1", "a/b", "a/b.c", "a.b/c", "__x__/y", "__x__", "x/__y__/z", "100%", "/x",
         "../up", ".", "..", "a//b", "", "a/", ".hidden", "ü" * 60, "x" * 150, "back\\slash", "new\nline",
         "a%2Eb", "__a__.npy", "A", "a", "x.npy", "x"]  # fmt: skip


def test_out_and_read_by_webdataset(tmp_path: Path) -> None:
    given = {name: np.full(i, i, "f4") for i, name in enumerate(NAMES)}
    given |= {
        "fortran": np.asfortranarray(np.eye(3)[:2]),
        "big": ONE.astype(">f4"),
        "0": np.array(3),
    }
    about = {name: {"name": name, "n": [1, None, 0.5]} for name in NAMES[::2]}
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write(given, meta=about)
    out = tmp_path / "x.tar"
    report = to_webdataset(tmp_path / "s.ptr", out, progress=False)
    assert (report.converted, report.failures, report.notes) == (len(given), [], [])
    found = samples(out)
    assert len(found) == len(given)
    for sample, (name, array) in zip(found, given.items(), strict=True):
        key = sample["__key__"]
        assert key == name or "%" in key
        if name in ("utt1", "a/b", "a.b/c", "x/__y__/z", "__x__", "A", "ü" * 60):
            assert key == name
        back = np.lib.format.read_array(io.BytesIO(sample["npy"]), allow_pickle=False)
        assert same(back, array)
        assert json.loads(sample.get("json", "null")) == about.get(name)
    assert come(out, tmp_path / "back.ptr").converted == len(given)
    assert {name: array.tobytes() for name, array in read(tmp_path / "back.ptr").items()} == {
        name: array.tobytes() for name, array in given.items()
    }
    assert metas(tmp_path / "back.ptr") == {name: about.get(name, {}) for name in given}


def test_out_in_shards(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr") as writer:
        writer.write({f"{i:03}": np.full(1000, i, "f4") for i in range(100)})
    report = to_webdataset(tmp_path / "s.ptr", tmp_path / "out", shard_size="100kB", progress=False)
    shards = sorted((tmp_path / "out").iterdir())
    assert (report.converted, shards[0].name, shards[-1].name) == (100, "000000.tar", "000005.tar")
    assert max(shard.stat().st_size for shard in shards) <= 120_000
    keys = [sample["__key__"] for shard in shards for sample in samples(shard)]
    assert keys == [f"{i:03}" for i in range(100)]
    assert come(shards, tmp_path / "back.ptr", name="{key}").converted == 100
    assert to_webdataset(tmp_path / "s.ptr", tmp_path / "one", shard_size=1, progress=False).ok
    assert len([*(tmp_path / "one").iterdir()]) == 100


def test_out_with_masks_and_what_json_cannot_hold(tmp_path: Path) -> None:
    with ptrarray.create(tmp_path / "s.ptr", masked=True) as writer:
        masked = np.ma.array([1, 2], mask=[False, True])
        writer.write({"a": masked, "b": masked[:1]}, meta={"a": {"x": b"raw"}, "b": {"k": 1}})
    report = to_webdataset(tmp_path / "s.ptr", tmp_path / "x.tar", progress=False)
    assert "metadata of 1 array is not kept in JSON" in report.notes
    keys = {sample["__key__"]: sorted(sample)[1:] for sample in samples(tmp_path / "x.tar")}
    assert keys == {"a": ["npy"], "a/%2Emask": ["npy"], "b": ["json", "npy"]}
    assert come(tmp_path / "x.tar", tmp_path / "back.ptr").ok
    assert read(tmp_path / "back.ptr")["a/.mask"].tolist() == [False, True]


def test_on_the_command_line(tmp_path: Path, run: Run) -> None:
    path = pack(tmp_path / "x.tar", [("a.npy", ONE), ("b.npy", ONE)])
    store, out = tmp_path / "s.ptr", tmp_path / "out"
    assert run("import", "webdataset", path, store)[0] == 0
    options = ["--to", "webdataset", "--shard-size", "1kB"]
    assert run("export", store, out, *options)[0] == 0
    assert sorted(shard.name for shard in out.iterdir()) == ["000000.tar", "000001.tar"]
    assert run("export", store, tmp_path / "x.st", "--to", "safetensors")[0] == 0


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.text(st.sampled_from("ab._/%\\A\n\0ü"), max_size=8),
        st.integers(0, 50),
        min_size=1,
        max_size=30,
    )
)
def test_any_name_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("x")
    with ptrarray.create(folder / "s.ptr") as writer:
        writer.write({name: np.full(size, size, "u2") for name, size in given.items()})
    assert to_webdataset(folder / "s.ptr", folder / "x.tar", progress=False).ok
    found = samples(folder / "x.tar")
    assert [sample.keys() - {"__local_path__"} for sample in found] == [{"__key__", "npy"}] * len(
        given
    )
    assert come(folder / "x.tar", folder / "back.ptr").converted == len(given)
    back = {name: len(array) for name, array in read(folder / "back.ptr").items()}
    assert back == given
