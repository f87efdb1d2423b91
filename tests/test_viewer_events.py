"""A store in a browser while it changes: events, and streams that go on; whatever becomes of it."""

from __future__ import annotations

import io
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.look.viewer.current import Current
from tests.support.viewing import Event, Stream, Viewed, viewed

QUICK = ("--interval", 0.02)
TOKEN = {"PTRARRAY_VIEW_TOKEN": "a-token-of-the-tests"}


def fill(path: Path) -> None:
    with ptrarray.create(path, dtype="f4") as writer:
        writer["first"] = [1, 2, 3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "lapse.ptr")
    return tmp_path / "lapse.ptr"


@pytest.fixture(scope="module")
def of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Viewed, Path]]:
    path = tmp_path_factory.mktemp("looked-at") / "lapse.ptr"
    fill(path)
    with viewed(path, *QUICK) as server:
        yield server, path


@pytest.fixture
def lapse(of_all: tuple[Viewed, Path]) -> tuple[Viewed, Path, Event]:
    """A server, its store as it was made right now, and the event that says so."""
    server, path = of_all
    before = server.get("store").json.get("commit")
    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    fill(path)
    with server.events() as stream:
        made = stream.until(lambda data: has(1)(data) and data["commit"] != before)
    return server, path, made


def append(path: Path, names: list[str]) -> None:
    with ptrarray.append(path) as writer:
        for name in names:
            writer[name] = np.ones(4, "f4")


def has(n_arrays: int) -> Callable[[dict[str, Any]], bool]:
    return lambda data: bool(data["arrays"] == n_arrays and data["error"] is None)


# streams ------------------------------------------------------------------------------------------


def counted(stream: Stream, n_arrays: int) -> list[int]:
    """Return how many arrays there were, of all points until there are so many."""
    found: list[int] = []
    for event in stream:
        found += [point[1] for point in event.data["history"]]
        if has(n_arrays)(event.data):
            return found
    raise AssertionError(found)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_counts_rise_while_another_process_appends(
    lapse: tuple[Viewed, Path, Event], method: str
) -> None:
    server, path, made = lapse
    names = [f"n{number}" for number in range(300)]
    seen = []
    with server.events(made.id) as stream:
        context: Any = multiprocessing.get_context(method)
        writing = context.Process(target=append, args=(path, names))
        writing.start()
        for event in stream:
            seen.append(event)
            if event.data["arrays"] == 301 and not event.data["rates"]["arrays"]:
                break
        writing.join()
    counts = [event.data["arrays"] for event in seen]
    assert counts == sorted(counts)
    assert seen[-1].data["newest"][:2] == ["n299", "n298"]
    assert seen[-1].data["nbytes"] == (3 + 300 * 4) * 4
    assert any(event.data["rates"]["arrays"] > 0 for event in seen)
    assert len({event.id for event in seen}) == len(seen)
    # Each point of the history comes once, in order.
    points = [tuple(point) for event in seen for point in event.data["history"]]
    assert points == sorted(set(points))
    assert points[-1][1:] == (301, 1203, 4812)


def test_who_comes_back_goes_on(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, first = lapse
    with server.events(first.id) as stream:
        append(path, ["a"])
        second = stream.until(has(2))
        last = stream.until(lambda data: not data["rates"]["arrays"])
    append(path, ["b"])
    with server.events() as stream:
        assert counted(stream, 3)[-3:] == [1, 2, 3]
    # What was not missed does not come again.
    for known, missed in ((first, [2, 3]), (second, [3]), (last, [3])):
        with server.events(known.id) as stream:
            assert counted(stream, 3) == missed
    with server.events(last=last.id) as stream:  # as a script asks, which sets no headers
        assert counted(stream, 3) == [3]
    with server.events("0-x", last=last.id) as stream:  # the header is the newer one
        assert len(counted(stream, 3)) >= 3


def test_nothing_comes_twice(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, _ = lapse
    with server.events() as stream:
        known = stream.until(lambda data: has(1)(data) and not data["rates"]["arrays"])
    with server.events(known.id) as stream:
        append(path, ["a"])
        assert next(iter(stream)).data["arrays"] == 2


def test_any_last_event_is_answered(lapse: tuple[Viewed, Path, Event]) -> None:
    """Anything but a stream would be the end of a browser's attempts."""
    server, _, _ = lapse
    for last in ["", "x", "-", "9" * 40 + "-x", "-5-x", "0", "\xb2-x", "1" * 5000]:
        with server.events(last) as stream, server.events(last=last) as other:
            assert next(iter(stream)).data["arrays"] == 1
            assert next(iter(other)).data["arrays"] == 1


def test_killed_and_restarted(path: Path) -> None:
    with viewed(path, *QUICK, **TOKEN) as server, server.events() as stream:
        known = next(iter(stream))
        server.process.kill()
        server.process.communicate()
        list(stream)
        port = server.port
    append(path, ["a"])
    with viewed(path, *QUICK, "--port", port, **TOKEN) as server:
        assert server.root == "/a-token-of-the-tests/"
        with server.events(known.id) as stream:
            event = next(iter(stream))
            assert event.data["newest"] == ["a", "first"]
            assert [point[1] for point in event.data["history"]] == [2]
        with server.events(event.id) as stream:
            append(path, ["b"])
            assert stream.until(has(3)).data["newest"][0] == "b"


def test_a_hundred_streams_and_those_who_left(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, _ = lapse
    streams = [server.events() for _ in range(100)]
    for stream in streams[::2]:
        stream.connection.close()
    append(path, ["a"])
    for stream in streams[1::2]:
        assert stream.until(has(2)).data["newest"][0] == "a"
        stream.connection.close()


# whatever becomes of the store --------------------------------------------------------------------


def values(server: Viewed, name: str) -> Any:
    answer = server.get("npy", name=name)
    assert answer.status == 200, answer
    return np.load(io.BytesIO(answer.body)).tolist()


def test_names_are_found_before_the_next_look(path: Path) -> None:
    with viewed(path, "--interval", 86_400) as server, server.events() as stream:
        next(iter(stream))
        append(path, ["a"])
        assert values(server, "a") == [1, 1, 1, 1]
        assert server.get("store").json["arrays"] == 2


def test_compacted(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, made = lapse
    append(path, ["a", "b"])
    with server.events(made.id) as stream:
        stream.until(has(3))
        with ptrarray.append(path) as writer:
            del writer["a"]
        ptrarray.compact(path)
        event = stream.until(lambda data: data["nbytes"] == 28)
    assert event.data["arrays"] == 2
    assert values(server, "first") == [1, 2, 3]
    assert server.get("npy", name="a").status == 404


def test_replaced_by_another_layout(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, made = lapse
    with server.events(made.id) as stream:
        with ptrarray.create(path, mode="w", masked=True) as writer:
            writer.write({"text": np.array(["a", "b"]), "first": np.eye(2)})
        event = stream.until(has(2))
        assert event.data["commit"] != made.data["commit"]
        assert server.get("store").json["layout"] == "mixed"
        assert values(server, "first") == np.eye(2).tolist()
        shutil.rmtree(path)
        with ptrarray.create(path, dtype="u1", shard_size=100) as writer:
            for number in range(10):
                writer[f"s{number}"] = np.full(60, number, "u1")
        stream.until(has(10))
        assert server.get("store").json["shards"] == 10
        assert values(server, "s7") == [7] * 60


def test_gone_and_back(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, made = lapse
    with server.events(made.id) as stream:
        shutil.rmtree(path)
        event = stream.until(lambda data: data["error"] is not None)
        assert event.data["error"]["kind"] == "StoreNotFoundError"
        assert event.data["arrays"] == 1  # the last that was known
        for endpoint in ("store", "names", "array", "npy"):
            answer = server.get(endpoint, name="first")
            assert (answer.status, answer.json["error"]["kind"]) == (410, "StoreNotFoundError")
    with server.events(event.id) as stream:
        with ptrarray.create(path, dtype="i2") as writer:
            writer.write({"x": [1], "y": [2]})
        assert stream.until(has(2)).data["newest"] == ["y", "x"]
        assert values(server, "y") == [2]


def test_damaged_and_repaired(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, made = lapse
    index = path / "index.msgpack"
    kept = index.read_bytes()
    with server.events(made.id) as stream:
        index.unlink()
        index.write_bytes(b"\xff" * len(kept))
        event = stream.until(lambda data: data["error"] is not None)
        assert event.data["error"]["status"] == 500
        assert server.get("store").status == 500
        index.unlink()
        index.write_bytes(kept)
        stream.until(has(1))
        assert values(server, "first") == [1, 2, 3]


def test_moved_to_a_pack(lapse: tuple[Viewed, Path, Event]) -> None:
    server, path, made = lapse
    with server.events(made.id) as stream:
        append(path, ["a"])
        ptrarray.pack(path, path.with_suffix(".tar"))
        shutil.rmtree(path)
        path.with_suffix(".tar").rename(path)
        stream.until(has(2))
        assert values(server, "a") == [1, 1, 1, 1]
        path.unlink()
        stream.until(lambda data: data["error"] is not None)
        fill(path.with_suffix(".ptr2"))
        ptrarray.pack(path.with_suffix(".ptr2"), path)
        stream.until(has(1))
        append(path.with_suffix(".ptr2"), ["b"])
        ptrarray.pack(path.with_suffix(".ptr2"), path, overwrite=True)
        stream.until(has(2))
        assert values(server, "b") == [1, 1, 1, 1]
        assert server.get("npy", name="a").status == 404


def test_who_waits_for_a_look_shares_the_next_one(path: Path) -> None:
    """At a URL that does not answer a look takes a minute: they are not in turn."""
    current = Current(lambda: ptrarray.open(path))
    lock, all_wait, looks = threading.Lock(), threading.Event(), list[int]()

    class Counting:
        n_waiting = 0

        def __enter__(self) -> None:
            with lock:
                self.n_waiting += 1
                if self.n_waiting == 10:
                    all_wait.set()
            held.acquire()

        def __exit__(self, *_: object) -> None:
            held.release()

    def refresh(reader: ptrarray.PointerArray) -> None:
        looks.append(1)
        assert all_wait.wait(60)

    held = threading.Lock()
    current._lock = Counting()  # type: ignore[assignment]
    current._reader.refresh = lambda: refresh(current._reader)  # type: ignore[method-assign]
    threads = [threading.Thread(target=current.look) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looks) <= 2
    looks.clear()
    current.look()
    assert len(looks) == 1
    current.close()


def test_a_clock_that_is_set_back_hides_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = Current(lambda: ptrarray.open(path))
    first = current.seen.at
    monkeypatch.setattr("time.time_ns", lambda: (first - 3_600_000) * 1_000_000)
    with ptrarray.append(path) as writer:
        writer["second"] = [4]
    assert current.look().at > first
    assert [point.at > first for point in current.history] == [False, True]
    current.close()


def test_an_answer_that_fails_takes_one_look(path: Path) -> None:
    """At a URL that does not answer each takes a minute."""
    current, looks = Current(lambda: ptrarray.open(path)), list[int]()

    def fail(*_: object) -> None:
        looks.append(1)
        raise OSError("no answer")

    current._reader.refresh = fail  # type: ignore[method-assign]
    for n_looks in (1, 2):
        with pytest.raises(OSError, match="no answer"):
            current.answer(lambda store: (path / "no").read_bytes())
        assert len(looks) == n_looks
    current.close()
