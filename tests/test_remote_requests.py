"""What is asked of a server: headers and ranges, what is kept of an answer that broke off."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import BadInputError, CorruptStoreError, RemoteError, StoreChangedError
from ptrarray.reader import remote_path
from ptrarray.storage.remote import faults
from ptrarray.storage.remote.options import Remote
from ptrarray.storage.remote.transfer import Facts
from tests.support.fault_server import FAULTS, Exchange, FaultServer, serving, tag_of

pytest.importorskip("obstore")


@pytest.fixture
def files() -> dict[str, bytes]:
    return {"a/x.bin": bytes(range(256)) * 4096, "a/empty": b"", "a/odd ü%20#?.bin": b"odd"}


@pytest.fixture
def server(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0005)
    with serving(files) as server:
        yield server


def transfer_of(url: str, **options: Any) -> Any:
    return remote_path(url, Remote(**options)).transfer


def whole(server: FaultServer, key: str = "x.bin", **options: Any) -> bytes:
    return bytes(transfer_of(f"{server.url}/a/{key}", **options).read(key, 0, 1 << 40, None).raw)


# What is asked ------------------------------------------------------------------------------------


def test_every_request_after_the_first_has_the_tag(
    server: FaultServer, files: dict[str, bytes]
) -> None:
    transfer = transfer_of(server.url + "/a/x.bin")
    first = transfer.read("x.bin", 0, 10, None)
    assert (first.nbytes, first.tag) == (len(files["a/x.bin"]), tag_of(files["a/x.bin"]))
    transfer.read("x.bin", 20, 30, Facts(first.nbytes, first.tag))
    assert [asked.headers.get("if-match") for asked in server.asked] == [None, first.tag]
    assert [asked.headers["range"] for asked in server.asked] == ["bytes=0-9", "bytes=20-29"]
    assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}
    assert {asked.method for asked in server.asked} == {"GET"}


@pytest.mark.parametrize(("start", "end"), [(5, 5), (1 << 20, 1 << 21), (1 << 50, 1 << 60)])
def test_nothing_is_never_asked_for(server: FaultServer, start: int, end: int) -> None:
    facts = Facts(1 << 20, '"tag"')
    answer = transfer_of(server.url + "/a/x.bin").read("x.bin", start, end, facts)
    assert (bytes(answer.raw), answer.nbytes) == (b"", 1 << 20)
    assert server.asked == []


def test_ranges_end_where_the_file_does(server: FaultServer, files: dict[str, bytes]) -> None:
    nbytes = len(files["a/x.bin"])
    facts = Facts(nbytes, tag_of(files["a/x.bin"]))
    answer = transfer_of(server.url + "/a/x.bin").read("x.bin", nbytes - 3, 1 << 50, facts)
    assert bytes(answer.raw) == files["a/x.bin"][-3:]
    assert server.asked[0].headers["range"] == f"bytes={nbytes - 3}-{nbytes - 1}"


def test_an_empty_file_has_its_tag(server: FaultServer) -> None:
    answer = transfer_of(server.url + "/a/empty").read("empty", 0, 100, None)
    assert (bytes(answer.raw), answer.nbytes, answer.tag) == (b"", 0, tag_of(b""))


def test_a_path_is_decoded_once(server: FaultServer) -> None:
    path = remote_path(server.url + "/a/odd%20%C3%BC%2520%23%3F.bin", Remote())
    assert path.key == path.name == "odd ü%20#?.bin"
    assert str(path) == server.url + "/a/odd%20%C3%BC%2520%23%3F.bin"
    assert bytes(path.transfer.read(path.key, 0, 9, None).raw) == b"odd"


def test_user_and_password_become_a_header(server: FaultServer) -> None:
    url = server.url.replace("//", "//us%40er:pass%3Aword@") + "/a/x.bin"
    path = remote_path(url, Remote())
    path.transfer.read(path.key, 0, 1, None)
    basic = b64encode(b"us@er:pass:word").decode()
    assert server.asked[0].headers["authorization"] == f"Basic {basic}"
    assert str(path) == server.url + "/a/x.bin"


def test_what_is_behind_a_question_mark_goes_with_each_request(server: FaultServer) -> None:
    path = remote_path(server.url + "/a/x.bin?sig=a%2Fb&x=1", Remote())
    path.transfer.read(path.key, 0, 1, None)
    assert server.asked[0].path == "/a/x.bin?sig=a%2Fb&x=1"
    assert str(path) == server.url + "/a/x.bin"


def test_headers_of_the_caller_go_with_each_request(server: FaultServer) -> None:
    headers = {"Authorization": "Bearer secret-token"}
    storage = {"client_options": {"default_headers": headers, "user_agent": "mine"}}
    whole(server, storage=storage)
    assert server.asked[0].headers["authorization"] == "Bearer secret-token"
    assert server.asked[0].headers["user-agent"] == "mine"
    assert server.asked[0].headers["accept-encoding"] == "identity"
    assert list(headers) == ["Authorization"]


def test_keys_do_not_follow_to_another_host(server: FaultServer) -> None:
    with serving({"a/x.bin": b"elsewhere"}) as other:
        location = other.url.replace("127.0.0.1", "localhost") + "/a/x.bin"
        server.arm(lambda it: it.send(302, {"Location": location}))
        url = server.url.replace("//", "//user:password@") + "/a/x.bin"
        assert bytes(transfer_of(url).read("x.bin", 0, 100, None).raw) == b"elsewhere"
        assert "authorization" in server.asked[0].headers
        assert "authorization" not in other.asked[0].headers


def test_secrets_are_in_no_text(server: FaultServer) -> None:
    url = server.url.replace("//", "//user:password@") + "/a/x.bin?sig=signature"
    storage = {"client_options": {"default_headers": {"X-Key": "secret-key"}}}
    remote = Remote(storage=storage)
    path = remote_path(url, remote)
    texts = [str(path), repr(path), repr(remote), str(remote), repr(path.transfer)]
    texts += [str(path / "b"), repr(path.parent), path.transfer.url, f"{path.transfer._here}"]
    for secret in ("password", "signature", "secret-key"):
        assert not any(secret in text for text in texts)


# What comes ---------------------------------------------------------------------------------------


def test_what_came_before_an_answer_broke_off_is_not_asked_for_again(
    server: FaultServer, files: dict[str, bytes]
) -> None:
    server.arm(FAULTS["half, close"].fault, at=1, n_times=3)
    assert whole(server) == files["a/x.bin"]
    starts = [int(asked.headers["range"][6:].partition("-")[0]) for asked in server.asked]
    assert starts == sorted(set(starts))
    assert len(starts) == 4
    assert server.asked[1].headers["if-match"] == tag_of(files["a/x.bin"])


def test_a_connection_that_breaks_off_again_and_again_ends(
    server: FaultServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "LIMIT_SECONDS", 0.3)

    def part(it: Exchange) -> None:
        nbytes = len(it.whole) // 12
        if it.nbytes <= nbytes:
            return it.right()
        it.but(it.body[:nbytes], Content_Length=str(it.nbytes))
        return it.close()

    server.arm(part)
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.05)  # of more than ten
    assert whole(server) == files["a/x.bin"]


def test_nothing_is_kept_of_a_file_that_was_replaced(
    server: FaultServer, files: dict[str, bytes]
) -> None:
    def break_off_and_replace(it: Exchange) -> None:
        it.half()
        it.close()
        files["a/x.bin"] = files["a/x.bin"][::-1]

    server.arm(break_off_and_replace, at=1, n_times=1)
    assert whole(server) == files["a/x.bin"]
    facts = Facts(len(files["a/x.bin"]), tag_of(files["a/x.bin"]))
    server.arm(break_off_and_replace, at=1, n_times=1)
    with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
        transfer_of(server.url + "/a/x.bin").read("x.bin", 0, 1 << 20, facts)


@pytest.mark.parametrize("tag", ['W/"weak"', '"strong"'])
def test_weak_tags_are_compared_here(server: FaultServer, tag: str) -> None:
    server.arm(lambda it: it.but(ETag=tag))
    transfer = transfer_of(server.url + "/a/x.bin")
    first = transfer.read("x.bin", 0, 10, None)
    transfer.read("x.bin", 0, 10, Facts(first.nbytes, tag))
    assert server.asked[1].headers.get("if-match") == (None if tag[0] == "W" else tag)
    with pytest.raises(StoreChangedError):
        transfer.read("x.bin", 0, 10, Facts(first.nbytes, 'W/"other"'))


def test_what_has_no_tag_is_read_if_it_is_known_not_to_change(
    server: FaultServer, files: dict[str, bytes]
) -> None:
    server.arm(lambda it: it.but(ETag=""))
    with pytest.raises(RemoteError, match="immutable=True"):
        whole(server)
    assert whole(server, immutable=True) == files["a/x.bin"]
    transfer = transfer_of(server.url + "/a/x.bin", immutable=True)
    with pytest.raises(StoreChangedError, match="bytes"):
        transfer.read("x.bin", 0, 10, Facts(12345, None))


@pytest.mark.parametrize("fault", ["endless", "whole", "long"])
def test_more_than_was_asked_for_costs_no_memory(
    server: FaultServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = transfer_of(server.url + "/a/x.bin")
    transfer.read("x.bin", 0, 10, None)
    server.arm(FAULTS[fault].fault)
    before = _resident_nbytes()
    with pytest.raises(RemoteError):
        transfer.read("x.bin", 0, 10_000, None)
    assert _resident_nbytes() - before < 64 << 20


def test_a_size_that_is_forged_costs_no_memory(server: FaultServer) -> None:
    server.arm(lambda it: it.but(Content_Range=f"bytes {it.start}-{it.end - 1}/{1 << 62}"))
    tracemalloc.start()
    try:
        answer = transfer_of(server.url + "/a/x.bin").read("x.bin", 0, 1000, None)
        assert (len(answer.raw), answer.nbytes) == (1000, 1 << 62)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def _resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# What has no sense --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "storage", "said"),
    [
        ("ftp://host/s.ptr", None, "ftp"),
        ("s3://bucket/s.ptr?versionId=3", None, "query"),
        ("s3://bucket/s.ptr", {"bogus": "secret"}, "bogus"),
        ("http://host/s.ptr", {"region": "secret"}, "region"),
        ("http://host/s.ptr", {"client_options": {"bogus": "secret"}}, "bogus"),
        ("http://user:secret@ho st/s.ptr?secret", None, "cannot be opened"),
        ("http://host/s.ptr", "secret", "mapping"),
        ("http://host/s.ptr", 3, "mapping"),
    ],
)
def test_what_no_library_takes(url: str, storage: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        ptrarray.open(url, storage=storage)
    assert "secret" not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"


def test_a_host_that_is_not_there_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "FIRST_LIMIT_SECONDS", 0.05)
    for url, said in (
        ("http://127.0.0.1:1/s.ptr", "refused"),
        ("http://no-such-host.invalid/s.ptr", "host"),
    ):
        with pytest.raises(RemoteError, match=said) as caught:
            ptrarray.open(url)
        assert caught.value.status is None


# A store that is replaced --------------------------------------------------------------------------


def test_a_store_replaced_at_any_request_is_never_mixed(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    stores = [_store_files(tmp_path, factor) for factor in (1, -1)]
    with serving(files) as server:
        files.update(stores[0])
        server.arm(at=0, n_times=0)
        for name, array in _read_much(server.url).items():
            assert array == list(range(int(name)))
        for at in range(1, len(server.asked) + 1):
            files.clear()
            files.update(stores[0])

            def replace(it: Exchange) -> None:
                files.clear()
                files.update(stores[1])
                server.soundly(server.exchange(it.connection, it.asked))

            server.arm(replace, at, 1)
            try:
                read = _read_much(server.url)
            except (StoreChangedError, CorruptStoreError):
                continue
            factor = 1 if read["5"][1] > 0 else -1
            assert read == {str(n): [factor * i for i in range(n)] for n in range(30)}


def test_refresh_opens_what_was_put_in_its_place(tmp_path: Path) -> None:
    files = _store_files(tmp_path, 1)
    with serving(files) as server, ptrarray.open(server.url + "/s.ptr") as store:
        files.update(_store_files(tmp_path, -1))
        with pytest.raises(StoreChangedError, match=r"refresh\(\)"):
            [store[name] for name in store]
        store.refresh()
        assert store["5"].tolist() == [0, -1, -2, -3, -4]


def _store_files(folder: Path, factor: int) -> dict[str, bytes]:
    path = folder / f"{factor}.ptr"
    with ptrarray.create(path, dtype="i4") as writer:
        writer.write({str(n): np.arange(n) * factor for n in range(30)})
    ptrarray.checkpoint(path)
    files = path.iterdir()
    return {f"s.ptr/{file.name}": file.read_bytes() for file in files if file.is_file()}


def _read_much(url: str) -> dict[str, list[int]]:
    with ptrarray.open(url + "/s.ptr") as store:
        taken = store.take(["7", "9"])
        read = {name: store[name].tolist() for name in store}
        assert [array.tolist() for array in taken] == [read["7"], read["9"]]
        return read


# Copies ---------------------------------------------------------------------------------------------


def test_a_reader_that_is_pickled_or_copied_reads_with_what_it_was_given(tmp_path: Path) -> None:
    with serving(_store_files(tmp_path, 1)) as server:
        url = server.url.replace("//", "//user:password@") + "/s.ptr?sig=signature"
        with ptrarray.open(url, storage={"client_options": {"user_agent": "mine"}}) as store:
            for again in (pickle.loads(pickle.dumps(store)), copy.copy(store)):
                server.arm()
                again.refresh()
                assert again["5"].tolist() == [0, 1, 2, 3, 4]
                assert all("authorization" in asked.headers for asked in server.asked)
                assert all(asked.headers["user-agent"] == "mine" for asked in server.asked)
                assert all(asked.path.endswith("?sig=signature") for asked in server.asked)
            assert "password" not in f"{store!r}{store}{store.path}{store.shards}"
