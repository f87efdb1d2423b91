"""The n-th system call fails, once and for ever, n = 1, 2, … until the call passes."""

from __future__ import annotations

import ast
import errno
import shutil
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import ptrarray
from ptrarray.storage.system import files
from tests.support.backends import here
from tests.support.disk import materialise
from tests.support.effort import one_in
from tests.support.failing import (
    BEFORE,
    CODES,
    HIDDEN,
    LARGE,
    N_LIMIT,
    A,
    Array,
    B,
    C,
    D,
    Step,
    Writer,
    caught,
    check_failing,
    check_named,
    ints,
    opened,
    prepared,
    read_all,
)
from tests.support.faults import CALLS, HARMLESS, SEAM, SHORT, SYNCS, injected
from tests.support.folding import tiny
from tests.support.story import Content, essence, hidden, look, with_attrs

LARGE_HIDDEN = hidden((100, 90), 1)
META = {"speaker": "Ann"}


# of a writer --------------------------------------------------------------------------------------


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


def renamed(old: str, new: str) -> Content:
    """Return what is there when an array has another name."""
    after = {name: raw for name, raw in BEFORE.items() if name != old}
    return after | {new: BEFORE[old]}


# So many that they are copied to be written in several pieces, by the native core; one is a piece by itself.
MANY = {f"m{i}": ints(35_000 if i == 3 else 30, i) for i in range(7)}
# In two batches, which are written one by one and committed together.
TABLE = pa.concat_tables(
    pa.table({"name": list(some), "values": [MANY[name] for name in some]})
    for some in (["m0", "m1"], ["m2"])
)
WITH_D = BEFORE | {"d": D.tobytes()}
STEPS = {
    "write": Step(lambda w: w.write({"d": D}), WITH_D),
    "write_several": Step(lambda w: w.update({"d": D, "a": A}), WITH_D),
    "write_large": Step(lambda w: w.write({"d": LARGE}), BEFORE | {"d": LARGE.tobytes()}),
    "write_many": Step(lambda w: w.write(MANY), BEFORE | {k: v.tobytes() for k, v in MANY.items()}),
    "write_arrow": Step(
        lambda w: w.write_arrow(TABLE),
        BEFORE | {name: MANY[name].tobytes() for name in ("m0", "m1", "m2")},
    ),
    "replace_array": Step(lambda w: w.update({"a": D}), BEFORE | {"a": D.tobytes()}),
    "delete": Step(lambda w: w.__delitem__("b"), {k: v for k, v in BEFORE.items() if k != "b"}),
    "delete_several": Step(
        lambda w: w.delete(["b", "a"]), {k: v for k, v in BEFORE.items() if k not in "ab"}
    ),
    "rename": Step(lambda w: w.rename("b", "d"), renamed("b", "d")),
    "rename_over": Step(lambda w: w.rename("b", "a", overwrite=True), renamed("b", "a")),
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
    "publish": Step(lambda w: ptrarray.publish(w.path)),
    "replace_store": Step(replace, with_attrs({}, {}), is_one=False),
}


def said(value: str | int) -> str:
    """Say in the name of a test what fails, how, and how often."""
    if isinstance(value, bool):
        return "for ever" if value else "once"
    return value if isinstance(value, str) else errno.errorcode.get(value, "short")


# Of each step some ways in the normal run, and each way at a third of the steps.
@pytest.mark.parametrize(
    ("name", "code", "is_lasting"), one_in(3, product(STEPS, CODES, (False, True))), ids=said
)
def test_failing_call(name: str, code: int, is_lasting: bool, memory: Path) -> None:
    check_failing(STEPS[name], code, memory, is_lasting=is_lasting)


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


# on masked arrays ---------------------------------------------------------------------------------


def allocate_hidden(writer: Writer) -> None:
    with writer.allocate("d", HIDDEN.shape, dtype="f8") as rows:
        rows[...] = np.ma.MaskedArray(HIDDEN.data, HIDDEN.mask)


def write_hidden(writer: Writer, array: Array, start: int | None = None) -> None:
    writer.write({"d": array}, start=start, meta={"d": META})


def in_rounds(call: Callable[..., object]) -> Callable[[Writer], None]:
    """Return what does it with so little memory that all is gone through in several rounds."""

    def step(writer: Writer) -> None:
        with tiny():
            call(writer.path, memory=1)

    return step


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
    "checkpoint_in_rounds": Step(in_rounds(ptrarray.checkpoint)),
    "compact_in_rounds": Step(in_rounds(ptrarray.compact)),
    "publish_in_rounds": Step(in_rounds(ptrarray.publish)),
}


MASKED_WAYS = [(errno.EIO, False), (errno.ENOSPC, True), (errno.EMFILE, False), (SHORT, True)]


@pytest.mark.parametrize(
    ("name", "way"),
    one_in(3, product(MASKED_STEPS, MASKED_WAYS)),
    ids=lambda value: value if isinstance(value, str) else " ".join(map(said, value)),
)
def test_failing_call_on_masked_arrays(name: str, way: tuple[int, bool], memory: Path) -> None:
    code, is_lasting = way
    step = MASKED_STEPS[name]._replace(tree=partial(prepared, masked=True))
    check_failing(step, code, memory, is_lasting=is_lasting)


# without a writer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode.get(code, "short"))
def test_failing_create(code: int, is_lasting: bool, memory: Path) -> None:
    path = memory / "store.ptr"
    for n in range(1, N_LIMIT):
        with injected() as faults:
            faults.arm(n, code, is_lasting=is_lasting)
            error = caught(lambda _: ptrarray.create(path, dtype="i4", rows=9).close(), None)
            faults.disarm()
        if error is not None:
            check_named(error, str(memory))
        # After the rename, only the syncs and the open that follow can have failed.
        assert look(path) in ((None, with_attrs({}, {})) if error else (with_attrs({}, {}),))
        leftovers = [p for p in memory.iterdir() if p != path]
        assert not leftovers or (is_lasting and error), leftovers
        if not faults.n_failed:
            break
        shutil.rmtree(path, ignore_errors=True)
        for leftover in leftovers:
            shutil.rmtree(leftover)
    assert n < N_LIMIT - 1


@here
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


# the seam -----------------------------------------------------------------------------------------


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
