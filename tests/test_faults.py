"""The n-th system call fails, once and for ever, n = 1, 2, … until the call passes."""

from __future__ import annotations

import ast
import errno
import gc
import multiprocessing
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import ptrarray
from ptrarray.storage.store.snapshot import open_snapshot
from ptrarray.storage.system import files
from tests.support.disk import materialise, read_tree
from tests.support.faults import CALLS, HARMLESS, SEAM, SHORT, SYNCS, Faults, injected
from tests.support.story import Content, Tree, essence, hidden, look, with_attrs

Array = NDArray[Any]
Writer = ptrarray.PointerArrayWriter
CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EACCES, errno.EINTR, SHORT)
NOBODY = 65534
N_LIMIT = 2000  # a call that fails so often does not pass in the end


def ints(n: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.random.default_rng([n, seed]).integers(1, 2**30, n, np.int32)


A, B, C, D, LARGE = ints(3), ints(40), ints(5), ints(6), ints(20_000)
HIDDEN = hidden((5, 4))
LARGE_HIDDEN = hidden((100, 90), 1)
META = {"speaker": "Ann"}
BEFORE = with_attrs({"a": A.tobytes(), "b": B.tobytes(), "c": C.tobytes()}, {"k": 1})


@cache
def prepared(masked: bool = False) -> Tree:
    """Return the files of a store with an index, a journal and a hole."""
    asked: dict[str, Any] = {"masked": True} if masked else {"dtype": "i4"}
    with TemporaryDirectory() as name:
        path = Path(name) / "store.ptr"
        with ptrarray.create(path, rows=200, attrs={"k": 1}, **asked) as writer:
            writer.write({"a": A, "gone": HIDDEN if masked else B}, meta={"gone": {"k": 1}})
        ptrarray.checkpoint(path)
        writer = ptrarray.append(path)
        writer.write({"b": B, "c": C})
        del writer["gone"]
        return read_tree(Path(name))


# calls that may fail -----------------------------------------------------------------------


class Step(NamedTuple):
    """Calls on a store, and what it holds after; `is_one` if they are all or nothing."""

    call: Callable[[Writer], object]
    after: Content = BEFORE
    is_one: bool = True
    masked: bool = False  # on a mixed store with masks


def allocate(writer: Writer) -> None:
    with writer.allocate("d", len(LARGE)) as rows:
        rows[...] = LARGE


def replace(writer: Writer) -> None:
    ptrarray.create(writer.path, dtype="i4", mode="w").close()


def fill_reserved(writer: Writer) -> None:
    writer.write({"d": D}, start=writer.reserve(10))


def close_another(writer: Writer) -> None:
    """Close a writer whose commits call for a checkpoint."""
    with ptrarray.append(writer.path) as other:
        other.write({f"n{i}": A for i in range(50)}, overwrite=True)


WITH_D = BEFORE | {"d": D.tobytes()}
STEPS = {
    "write": Step(lambda w: w.write({"d": D}), WITH_D),
    "write_large": Step(lambda w: w.write({"d": LARGE}), BEFORE | {"d": LARGE.tobytes()}),
    "replace_array": Step(lambda w: w.update({"a": D}), BEFORE | {"a": D.tobytes()}),
    "delete": Step(lambda w: w.__delitem__("b"), {k: v for k, v in BEFORE.items() if k != "b"}),
    "clear": Step(lambda w: w.clear(), with_attrs({}, {"k": 1})),
    "point": Step(lambda w: w.point("d", 1, 3), BEFORE | {"d": A[1:3].tobytes()}),
    "attrs": Step(lambda w: w.attrs.update(k=2), with_attrs(BEFORE, {"k": 2})),
    "fill_reserved": Step(fill_reserved, WITH_D),
    "planned": Step(lambda w: w.write({"d": D}, start=150), WITH_D),
    "reuse": Step(lambda w: w.write({"d": D}, start=5), WITH_D),
    "allocate": Step(allocate, BEFORE | {"d": LARGE.tobytes()}),
    "flush": Step(lambda w: w.flush()),
    "read": Step(lambda w: w["b"]),
    "checkpoint": Step(lambda w: ptrarray.checkpoint(w.path)),
    "close": Step(close_another, BEFORE | {f"n{i}": A.tobytes() for i in range(50)}, is_one=False),
    "compact": Step(lambda w: ptrarray.compact(w.path)),
    "replace_store": Step(replace, with_attrs({}, {}), is_one=False),
}


def allocate_hidden(writer: Writer) -> None:
    with writer.allocate("d", HIDDEN.shape, dtype="f8") as rows:
        rows[...] = np.ma.MaskedArray(HIDDEN.data, HIDDEN.mask)


def write_hidden(writer: Writer, array: Array, start: int | None = None) -> None:
    writer.write({"d": array}, start=start, meta={"d": META})


def with_d(array: Array) -> Content:
    return BEFORE | {"d": essence(array, META)}


# What goes on beside the data of a masked store; what is as in others, `STEPS` has.
MASKED_STEPS = {
    "write": Step(lambda w: write_hidden(w, HIDDEN), with_d(HIDDEN)),
    "write_large": Step(lambda w: write_hidden(w, LARGE_HIDDEN), with_d(LARGE_HIDDEN)),
    "write_plain": Step(lambda w: write_hidden(w, LARGE), with_d(LARGE)),
    "reuse": Step(lambda w: write_hidden(w, np.zeros(3), 64), with_d(np.zeros(3))),
    "meta": Step(lambda w: w.meta.__setitem__("a", META), BEFORE | {"a": essence(A, META)}),
    "allocate": Step(
        allocate_hidden,
        BEFORE | {"d": essence(np.ma.MaskedArray(HIDDEN.data, HIDDEN.mask), {})},
    ),
    "flush": Step(lambda w: w.flush()),
    "checkpoint": Step(lambda w: ptrarray.checkpoint(w.path)),
    "compact": Step(lambda w: ptrarray.compact(w.path)),
}


@contextmanager
def opened(root: Path, *, masked: bool = False) -> Iterator[Writer]:
    materialise(prepared(masked), root)
    writer = ptrarray.append(root / "store.ptr")
    try:
        yield writer
    finally:
        writer.close()


def check_named(error: OSError, path: str) -> None:
    found = str(error.filename or getattr(error, "path", ""))
    name = Path(path).name
    assert found.startswith(path) or f".{name}." in found, f"{error!r} names {found!r}"


def n_descriptors() -> int:
    gc.collect()
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.exists() else 0


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode.get(code, "short"))
@pytest.mark.parametrize("name", STEPS)
def test_failing_call(name: str, code: int, is_lasting: bool, tmp_path: Path) -> None:
    check_failing(STEPS[name], code, tmp_path, is_lasting=is_lasting)


@pytest.mark.parametrize(
    ("code", "is_lasting"),
    [(errno.EIO, False), (errno.ENOSPC, True), (errno.EMFILE, False), (SHORT, True)],
    ids=["disk", "no room for ever", "descriptors", "short"],
)
@pytest.mark.parametrize("name", MASKED_STEPS)
def test_failing_call_on_masked_arrays(
    name: str, code: int, is_lasting: bool, tmp_path: Path
) -> None:
    check_failing(MASKED_STEPS[name]._replace(masked=True), code, tmp_path, is_lasting=is_lasting)


def check_failing(step: Step, code: int, folder: Path, *, is_lasting: bool) -> None:
    """Let the n-th system call of a step fail, for each n."""
    n_before = n_descriptors()
    for n in range(1, N_LIMIT):
        with injected() as faults, opened(folder / str(n), masked=step.masked) as writer:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(step.call, writer)
            faults.disarm()
            check_after(step, error, faults, writer)
            path = Path(writer.path)
        check_clean(path, step.after)
        if not faults.n_failed:
            break
    assert n < N_LIMIT - 1
    assert n_descriptors() == n_before


def caught(call: Callable[[Any], object], writer: Writer | None) -> OSError | None:
    try:
        call(writer)
    except OSError as error:
        error.__traceback__ = None  # lets go of the files it holds
        error.__context__ = error.__cause__ = None
        return error
    return None


def check_after(step: Step, error: OSError | None, faults: Faults, writer: Writer) -> None:
    """Check a store after a call that may have failed, and let it be made again."""
    found = look(Path(writer.path))
    if error is None:
        assert found == step.after
        return
    assert faults.n_failed
    check_named(error, writer.path)
    may_be_done = faults.has_failed_sync or not step.is_one
    assert found == BEFORE or (may_be_done and found == step.after)
    if found == step.after != BEFORE:
        return
    if faults.has_failed_sync and error_is_final(writer):
        with ptrarray.append(writer.path) as other:
            step.call(other)
    else:
        step.call(writer)
    assert look(Path(writer.path)) == step.after


def error_is_final(writer: Writer) -> bool:
    """Tell whether a writer refuses to go on, as it must when its own sync has failed."""
    try:
        writer.flush()
    except ptrarray.StoreError:
        with pytest.raises(ptrarray.StoreError, match="open it anew"):
            writer["more"] = A
        return True
    return False


def check_clean(path: Path, content: Content) -> None:
    """Check that nothing is left over when the next writer has been there."""
    ptrarray.append(path).close()
    assert look(path) == content
    header = open_snapshot(path).header
    in_use = {header.data_file, header.mask_file} - {None}
    assert {p.name for p in path.iterdir()} == in_use | {"index.msgpack", "journal.msgpack"}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# calls without a writer --------------------------------------------------------------------


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode.get(code, "short"))
def test_failing_create(code: int, is_lasting: bool, tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    for n in range(1, N_LIMIT):
        with injected() as faults:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(lambda _: ptrarray.create(path, dtype="i4", rows=9).close(), None)
            faults.disarm()
        if error is not None:
            check_named(error, str(tmp_path))
        # After the rename, only the syncs and the open that follow can have failed.
        assert look(path) in ((None, with_attrs({}, {})) if error else (with_attrs({}, {}),))
        leftovers = [p for p in tmp_path.iterdir() if p != path]
        assert not leftovers or (is_lasting and error), leftovers
        if not faults.n_failed:
            break
        shutil.rmtree(path, ignore_errors=True)
        for leftover in leftovers:
            shutil.rmtree(leftover)
    assert n < N_LIMIT - 1


def read_all(path: Path) -> dict[str, bytes]:
    with ptrarray.open(path) as store:
        store.refresh()
        store.verify()
        return {name: store[name].tobytes() for name in store}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES, SHORT])
def test_failing_read(code: int, tmp_path: Path) -> None:
    materialise(prepared(), tmp_path / "root")
    path = tmp_path / "root" / "store.ptr"
    found: dict[str, bytes] = {}
    for n in range(1, N_LIMIT):
        with injected() as faults:
            faults.arm(n, code, is_lasting=True)
            error = caught(lambda _: found.update(read_all(path)), None)
            faults.disarm()
        if error is None:
            assert found == {"a": A.tobytes(), "b": B.tobytes(), "c": C.tobytes()}
            break
        check_named(error, str(path))
    assert n < N_LIMIT - 1
    assert n > 3 or code == SHORT


@pytest.mark.parametrize("call", ["open", "append", "verify", "checkpoint", "compact"])
def test_no_descriptor_left(call: str, tmp_path: Path) -> None:
    """Let the system itself refuse one descriptor after another."""
    materialise(prepared(), tmp_path / "root")
    path = tmp_path / "root" / "store.ptr"
    for n_free in range(50):
        with free_descriptors(n_free):
            error = caught(lambda _: getattr(ptrarray, call)(path), None)
        if error is None:
            break
        assert error.errno == errno.EMFILE
        check_named(error, str(path))
    assert 0 < n_free < 49
    assert look(path) == BEFORE


@contextmanager
def free_descriptors(n_free: int) -> Iterator[None]:
    """Let this process open only so many more files."""
    gc.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(n_free):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def test_failed_sync_is_final_for_a_writer(tmp_path: Path) -> None:
    with injected() as faults, opened(tmp_path / "root") as writer:
        faults.arm(1, errno.EIO, is_lasting=False, only=SYNCS)
        with pytest.raises(OSError, match="Input/output"):
            writer.flush()
        faults.disarm()
        # The disk would say yes now, and mean nothing.
        for call in (writer.flush, lambda: writer.write({"d": D}), writer.clear):
            with pytest.raises(ptrarray.StoreError, match="open it anew"):
                call()
    assert look(tmp_path / "root" / "store.ptr") == BEFORE


# full disks --------------------------------------------------------------------------------


def fill_up(path: Path) -> list[str]:
    """Write until there is no room, then a little; return what was acknowledged."""
    there: list[str] = []
    writer = ptrarray.append(path)
    for size in (LARGE, B):
        for n in range(10_000):
            name = f"{len(size)}/{n}"
            try:
                writer[name] = size
            except OSError as error:
                check_named(error, str(path))
                break
            there.append(name)
    for call in (writer.flush, writer.close):
        with suppress(OSError):
            call()
    return there


def check_filled(path: Path, there: list[str]) -> None:
    assert len(there) > 2
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted(there)
        store.verify()
    with ptrarray.append(path) as writer:
        writer["more"] = LARGE
        writer.flush()
    ptrarray.checkpoint(path)
    with ptrarray.open(path) as store:
        assert sorted(store) == sorted([*there, "more"])
        store.verify()


def test_largest_file(tmp_path: Path) -> None:
    path = tmp_path / "store.ptr"
    ptrarray.create(path, dtype="i4").close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        there = fill_up(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_filled(path, there)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount")
    yield place
    gc.collect()
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    path = small_disk / "store.ptr"
    ptrarray.create(path, dtype="i4").close()
    there = fill_up(path)
    for call in (ptrarray.checkpoint, ptrarray.compact):
        with suppress(OSError):
            call(path)
    with pytest.raises(OSError, match="No space"):
        ptrarray.create(small_disk / "other.ptr", dtype="i4", mode="x")
    assert sorted(p.name for p in small_disk.iterdir()) == ["ballast", "store.ptr"]
    ballast.unlink()
    check_filled(path, there)


def test_allocate_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "store.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        with pytest.raises(OSError, match="No space") as caught, writer.allocate("a", 10**6):
            pytest.fail("the block began without room for its rows")
        check_named(caught.value, str(path))
        writer["b"] = B
    assert look(path) == with_attrs({"b": B.tobytes()}, {})


# rights ------------------------------------------------------------------------------------


def run_as_nobody(path: Path, results: Any) -> None:
    """Try everything as somebody who may only read; tell what happened."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: ptrarray.append(path),
        "create": lambda: ptrarray.create(path.with_name("other.ptr"), dtype="i4"),
        "replace": lambda: ptrarray.create(path, dtype="i4", mode="w"),
        "checkpoint": lambda: ptrarray.checkpoint(path),
        "compact": lambda: ptrarray.compact(path),
        "verify": lambda: ptrarray.verify(path),
        "read": lambda: read_all(path),
    }
    for name, call in calls.items():
        try:
            call()
            results.send((name, None))
        except BaseException as error:  # noqa: BLE001 - for the parent to judge
            results.send((name, error))
    results.close()


@pytest.mark.parametrize("rights", ["directory", "files"])
def test_store_that_may_only_be_read(rights: str) -> None:
    """A store of somebody else, and a read-only directory: read it, and write nothing."""
    with TemporaryDirectory() as name:
        root = Path(name) / "root"
        materialise(prepared(), root)
        path = root / "store.ptr"
        for place in (root.parent, root, path):
            place.chmod(0o755 if os.geteuid() == 0 else 0o555)
        for file in path.iterdir():
            file.chmod(0o644 if os.geteuid() == 0 or rights == "directory" else 0o444)
        before = read_tree(root)
        errors = told_by_nobody(path)
        for place in (root.parent, root, path):
            place.chmod(0o755)
        assert read_tree(root) == before
    assert errors.pop("read") is None
    assert errors.pop("verify") is None
    for call, error in errors.items():
        if os.geteuid() == 0 or rights == "files" or call == "create":
            assert isinstance(error, PermissionError), (call, error)
            check_named(error, str(path.with_name("other.ptr") if call == "create" else path))


def told_by_nobody(path: Path) -> dict[str, BaseException | None]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_as_nobody, args=(path, sender))
    process.start()
    sender.close()
    errors = {}
    with suppress(EOFError):
        while True:
            name, error = receiver.recv()
            errors[name] = error
    process.join()
    assert len(errors) == 7
    return errors


# the seam ----------------------------------------------------------------------------------


def test_every_system_call_of_the_seam_can_fail() -> None:
    """A call that is new in the seam must be listed, or no test would fail it."""
    seam = {(Path(str(user.__file__)), name) for user, name in SEAM}
    for path in Path(files.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=call)):
                    if module in ("os", "shutil", "mmap", "fcntl") and call not in HARMLESS:
                        assert (path, module) in seam
                        assert call in CALLS
