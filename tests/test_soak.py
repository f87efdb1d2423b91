"""The soak: that it runs, that a wrong read ends it, and that whatever creeps is noticed."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import ptrarray
from tests import soak
from tests.support import soak_crew
from tests.support.processes import FORK, TIMEOUT_SECONDS
from tests.support.soak_content import Layout, Ledger, Value, WrongReadError, check, content
from tests.support.soak_counting import Counts, bucket, merged, percentile, sparse
from tests.support.soak_crew import SAMPLES
from tests.support.soak_reading import reading
from tests.support.soak_report import read, report
from tests.support.soak_role import Site, work
from tests.support.soak_watching import (
    MIN_WINDOWS,
    PERCENTILES,
    POOLED,
    RULES,
    YARDSTICKS,
    Room,
    Taken,
    complaints,
    creeping,
    room,
    taken,
)

N = 40  # windows of what is made up
ROOT = Path(__file__).parents[1]


def window(**of: Any) -> dict[str, Any]:
    return {
        "seconds": 1.0, "processes": {}, "rooms": {"all": {"blocks": [1], "files": [1]}}, "calls": {}, "kills": 0, "cpu_seconds": 0.1, "wrong": {}, **of
    }  # fmt: skip


# the whole ----------------------------------------------------------------------------------------


def test_a_few_seconds_of_all(tmp_path: Path) -> None:
    out = tmp_path / "soak.jsonl"
    options = ["--hours=0.0005", "--rate=2", "--kill=0", f"--directory={tmp_path}", f"--out={out}"]
    command = [sys.executable, "-m", "tests.soak", *options]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    windows = read(out)
    calls = {kind for one in windows for kind in one["calls"]}
    assert calls >= {"append", "open", "checkpoint"}
    assert windows[-1]["kills"] == SAMPLES
    assert set(windows[-1]["processes"]) >= {"writer of plain", "viewer", "watch", "forker"}
    assert [*tmp_path.iterdir()] == [out]
    assert ended.stdout == report(windows) + "\n"
    assert "| append |" in ended.stdout


def test_lines_outlive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    path.write_text(json.dumps(window()) + "\n" + json.dumps(window())[:20])
    assert len(read(path)) == 1
    assert "nothing is wrong" in report(read(path))
    path.write_text("")
    assert report(read(path)) == "no window has ended"


class Told:
    """What takes the place of a crew: it tells windows, and what is wrong at the end."""

    def __init__(self, windows: list[dict[str, Any]], wrong: dict[str, str]) -> None:
        self._windows, self._wrong = windows, wrong

    def __call__(self, *_: Any) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def windows(self, *_: Any) -> list[dict[str, Any]]:
        return self._windows

    def end(self) -> dict[str, str]:
        return self._wrong


GROWING = [window(rooms={"all": {"blocks": [1], "files": [n]}}) for n in range(N)]


@pytest.mark.parametrize(
    ("windows", "at_end", "status", "told"),
    [
        ([window()], {}, 0, "nothing is wrong, what creeps is told from 20 windows on"),
        (GROWING, {}, 1, "creeps: files of all"),
        ([window(), window(wrong={"reader": "half"})], {}, 1, "wrong: reader: half"),
        ([window()], {"plain": "damaged"}, 1, "wrong: plain: damaged"),
    ],
)
def test_the_status_tells(
    windows: list[dict[str, Any]],
    at_end: dict[str, str],
    status: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "soak.jsonl"
    monkeypatch.setattr(soak_crew, "Crew", Told(windows, at_end))
    monkeypatch.setattr(sys, "argv", ["soak", f"--directory={tmp_path}", f"--out={out}"])
    assert soak.main() == status
    assert told in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["soak", f"--report={out}"])
    assert soak.main() == 0
    assert told in capsys.readouterr().out


# what is read -------------------------------------------------------------------------------------

LAYOUTS = {"plain": Layout(), "mixed and masked": Layout(mixed=True, masked=True)}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("number", range(6))
def test_an_array_tells_what_it_is(layout: Layout, number: int) -> None:
    value = Value(number, 3, 5)
    array = content(value, layout)
    assert check("3/w5", array, layout) == check("3/m9", array, layout) == value
    other = array.copy()
    other[-1:] += 1
    short, of_another = array[:-1], content(Value(number, 2, 5), layout)
    for wrong in (other, short, array.astype("f4"), of_another, array[:0]):
        with pytest.raises(WrongReadError):
            check("3/w5", wrong, layout)
    with pytest.raises(WrongReadError):
        check("3/w6", array, layout)
    if layout.masked:
        with pytest.raises(WrongReadError):
            check("3/w5", np.ma.MaskedArray(array.data, ~np.ma.getmaskarray(array)), layout)


def of_another_slot(writer: ptrarray.PointerArrayWriter, _: Ledger) -> None:
    writer["0/w1"] = content(Value(1, 0, 2), Layout())


def older_than_was_told(writer: ptrarray.PointerArrayWriter, ledger: Ledger) -> None:
    writer["0/w63"] = content(Value(1, 0, 63), Layout())
    ledger.told[0] = 2


def half_of_an_update(writer: ptrarray.PointerArrayWriter, _: Ledger) -> None:
    writer.attrs.update({"0/a": 1, "0/b": 2})


@pytest.mark.parametrize("fault", [of_another_slot, older_than_was_told, half_of_an_update])
def test_a_wrong_read_is_noticed(fault: Callable[..., None], tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.make()
    with ptrarray.append(site.path("plain")) as writer:
        fault(writer, site.ledger())
    process = FORK.Process(target=work, args=(reading("plain"), site, "reader", 0, 1e6))
    process.start()
    process.join(TIMEOUT_SECONDS)
    assert process.exitcode == 1
    assert "WrongReadError" in site.wrong()["reader"]


# what is counted ----------------------------------------------------------------------------------


def test_percentiles(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "counts")
    for n in range(1, 1001):
        counts.add("write", n * 1000_000)
    found = sparse(Counts(tmp_path / "counts").counted)
    assert [*found] == ["write"]
    for part in (0.5, 0.99, 1):
        assert 1 <= percentile(found["write"], part) / (part * 1e6) < 1.1
    assert sum(merged([found["write"]] * 2).values()) == 2000
    assert math.isnan(percentile({}, 0.5))


# what creeps: made up -----------------------------------------------------------------------------


STEADY = {
    "the same": [100.0] * N,
    "noise": [100.0 + random.Random(n).randrange(4) for n in range(N)],
    "a saw": [100.0 + n % 7 * 50 for n in range(N)],
    "warming up": [min(100.0 * n, 900.0) for n in range(N)],
    "falling": [1e6 - n for n in range(N)],
    "a step that goes again": [1e6 if 25 < n < 30 else 100.0 for n in range(N)],
}


@pytest.mark.parametrize("what", RULES)
@pytest.mark.parametrize("series", STEADY.values(), ids=STEADY)
def test_what_is_steady_does_not_creep(what: str, series: list[float]) -> None:
    assert creeping(series, RULES[what]) is None


@pytest.mark.parametrize("what", [*RULES])
def test_wide_noise_does_not_creep(what: str) -> None:
    for seed in range(50):
        rng = random.Random(seed)
        assert creeping([1e5 * (0.6 + rng.random()) for _ in range(N)], RULES[what]) is None


@pytest.mark.parametrize("what", RULES)
def test_what_rises_on_a_saw_creeps(what: str) -> None:
    slope = 20 * RULES[what].more + 10
    series = [100 + n % 7 * 5 + slope * n for n in range(N)]
    assert creeping(series, RULES[what]) is not None


def test_one_more_descriptor_creeps_and_one_more_thread() -> None:
    for what in ("descriptors", "threads"):
        series = [20.0 + 3 * (n % 9 == 0) + (n > N // 2) for n in range(N)]  # now and then more
        assert creeping(series, RULES[what]) == "20 at the beginning, 21 at the end"


@pytest.mark.parametrize("what", PERCENTILES)
def test_latencies_that_creep(what: str) -> None:
    """The slowest part of all calls takes longer and longer."""
    assert f"{what} of write" in slowed({"write": {what}})


def test_latencies_that_creep_as_those_of_the_machine_do() -> None:
    assert slowed({"write": {*PERCENTILES}, "yardstick sync": {*PERCENTILES}}) == set()
    assert slowed({"yardstick": {*PERCENTILES}}) == set()
    assert slowed({}) == set()


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_latencies_do_not_creep_where_a_yardstick_was_slow_for_a_while(yardstick: str) -> None:
    """As syncs are beside other work: a call that does not wait for them takes as long as ever."""
    assert slowed({}, for_a_while=yardstick) == set()
    assert "p50 of write" in slowed({"write": {"p50"}}, for_a_while=yardstick)


def slowed(what: dict[str, set[str]], for_a_while: str = "") -> set[str]:
    """Return what creeps where parts of the calls of a kind get slower from window to window.

    All calls of another kind are slower in the second quarter.
    """
    shares = {"p50": (9_000, 20), "p99": (970, 2_000), "p99.9": (30, 20_000)}
    windows = []
    for n in range(N):
        calls: dict[str, dict[int, int]] = {}
        for kind in ("write", "yardstick", "yardstick sync"):
            calls[kind] = {}
            for of, (n_calls, microseconds) in shares.items():
                longer = 1 + 100 * n / N if of in what.get(kind, ()) else 1
                longer *= 4 if kind == for_a_while and N // 4 <= n < N // 2 else 1
                calls[kind][bucket(int(1000 * microseconds * longer))] = n_calls
        windows.append(window(calls=calls))
    return {one.partition(":")[0] for one in complaints(windows)}


def test_threads_of_pools_do_not_creep() -> None:
    """They begin when they are needed; one more than all pools have creeps."""

    most = POOLED["viewer"]
    assert told("viewer", 6, most) == []
    assert told("viewer", 6, most + 1)
    assert told("watch", 6, 7)


def told(name: str, early: int, late: int) -> list[str]:
    """Return what creeps where a process has other threads in the second half."""
    windows = []
    for n in range(N):
        life = {"descriptors": [1], "threads": [late if n > N // 2 else early]}
        life |= {"mappings": [1], "anon": [1]}
        windows.append(window(processes={name: {"pid": 1, **life}}))
    return complaints(windows)


# what creeps: real --------------------------------------------------------------------------------

LEAKED: list[Any] = []


def leak_a_descriptor() -> None:
    LEAKED.append(Path("/dev/null").open())  # noqa: SIM115 - that is the fault


def leak_memory() -> None:
    """So much that it is seen beside what the process has of its parent, which may have run many tests."""
    LEAKED.append(np.ones(1_000_000))


def leak_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def leak_a_mapping() -> None:
    LEAKED.append(np.memmap(__file__, np.uint8, "r"))


def leak_nothing() -> None:
    np.ones(250_000).sum()


def leaking(leak: Callable[[], None], asked: Any) -> None:
    """Leak once whenever the parent asks, until it ends this."""
    while True:
        asked.recv()
        leak()
        asked.send(None)


@pytest.mark.parametrize(
    ("leak", "what"),
    [
        (leak_a_descriptor, "descriptors"),
        (leak_memory, "anon"),
        (leak_a_thread, "threads"),
        (leak_a_mapping, "mappings"),
        (leak_nothing, None),
    ],
)
def test_a_process_that_leaks(leak: Callable[[], None], what: str | None) -> None:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=leaking, args=(leak, theirs))
    process.start()
    try:
        windows = []
        for _ in range(N):
            ours.send(None)
            ours.recv()
            one = taken(process.pid or 0)
            assert one is not None
            life = {of: [n] for of, n in one._asdict().items()}
            windows.append(window(processes={"leaking": {"pid": process.pid, **life}}))
    finally:
        process.kill()
        process.join()
    found = complaints(windows)
    if what is None:
        assert found == []
        assert "nothing creeps" in report(windows)
    else:
        assert any(one.startswith(f"{what} of leaking: ") for one in found), found
        assert f"creeps: {what} of leaking" in report(windows)
    assert taken(process.pid or 0) is None


def writes(path: Path, *, masked: bool = False) -> Iterator[None]:
    """Replace an array, large enough to be seen, again and again."""
    array: Any = np.arange(60_000, dtype="i4")
    with ptrarray.create(path, dtype="i4", masked=masked) as writer:
        while True:
            writer["a"] = np.ma.masked_equal(array, 5) if masked else array
            yield


def never_compacted(path: Path) -> Iterator[None]:
    yield from writes(path)


def only_a_mask_file_stays(path: Path) -> Iterator[None]:
    for _ in writes(path, masked=True):
        ptrarray.compact(path)
        with (path / "mask.old").open("ab") as file:
            file.write(bytes(200_000))
        yield


def never_checkpointed(path: Path) -> Iterator[None]:
    with ptrarray.create(path, dtype="i4") as writer:
        writer["a"] = [1]
        while True:
            writer.meta["a"] = {"text": "long" * 50_000}
            yield


def left_over(path: Path) -> Iterator[None]:
    ptrarray.create(path, dtype="i4").close()
    for n in range(N):
        (path / f".left-{n}").touch()
        yield


def kept_in_order(path: Path) -> Iterator[None]:
    for _ in writes(path, masked=True):
        ptrarray.compact(path)
        ptrarray.checkpoint(path)
        yield


@pytest.mark.usefixtures("no_syncs")
@pytest.mark.parametrize(
    ("growing", "what"),
    [
        (never_compacted, "blocks"),
        (only_a_mask_file_stays, "blocks"),
        (never_checkpointed, "blocks"),
        (left_over, "files"),
        (kept_in_order, None),
    ],
)
def test_a_store_that_grows(
    growing: Callable[[Path], Iterator[None]], what: str | None, tmp_path: Path
) -> None:
    path, windows = tmp_path / "store.ptr", []
    for _, _ in zip(range(MIN_WINDOWS), growing(path), strict=False):
        rooms = {of: [n] for of, n in room(tmp_path)._asdict().items()}
        windows.append(window(rooms={"store": rooms}))
    found = complaints(windows)
    assert [one.split(" of ")[0] for one in found] == ([what] if what else []), found


def test_too_few_windows_tell_nothing() -> None:
    rising = [{"descriptors": [n], "threads": [1], "mappings": [1], "anon": [1]} for n in range(N)]
    windows = [window(processes={"one": {"pid": 1, **life}}) for life in rising]
    assert complaints(windows[: MIN_WINDOWS - 1]) == []
    assert len(complaints(windows)) == 1
    # Who took its place is another process, which begins anew.
    windows[N // 2]["processes"]["one"]["pid"] = 2
    assert complaints(windows) == []


def test_what_is_watched_is_judged() -> None:
    assert {*Taken._fields, *Room._fields, *PERCENTILES} == {*RULES}
