"""A server that goes wrong at its n-th request: what is read is right, or an error says what it was."""

from __future__ import annotations

import pickle
import random
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import CorruptStoreError, RemoteError, StoreChangedError, StoreNotFoundError
from ptrarray.storage.remote import faults
from ptrarray.storage.store import probed
from tests.support.effort import one_in
from tests.support.fault_server import (
    FAULTS,
    LASTING,
    PASSING,
    Exchange,
    FaultServer,
    serving,
)

pytestmark = pytest.mark.usefixtures("limits_of_threads")

pytest.importorskip("obstore")

SECRETS = ("user-name", "pass-word", "signature")
STALLS = {"stall", "half, stall"}
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "RemoteError": (RemoteError,),
    "changed": (StoreChangedError, RemoteError, CorruptStoreError),
    "missing": (StoreChangedError, StoreNotFoundError, CorruptStoreError),
}


# The stores that meet each fault, and those that meet some of each sort.
LAYOUTS = ("masked", "mixed", "shards", "pack", "blocks")
SOME = ("half, reset", "status 403", "status 404", "replaced")
MORE = ("status 503", "short", "whole", "gzip", "status 412", "resized")
# Of the requests of a store, the normal run has one in so many go wrong, from another one on for each
# fault; the slow run has each. Shards are asked for alike.
SOME_REQUESTS = [2, pytest.param(1, marks=pytest.mark.slow)]
SHARDS_TIMES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for name, options in (
        ("s.ptr", {"dtype": "i4"}),
        ("masked", {"dtype": "i4", "masked": True}),
        ("mixed", {"dtype": None}),
        ("shards", {"dtype": "i4", "shard_size": 2500}),
        ("blocks", {"dtype": "i4"}),
    ):
        with ptrarray.create(folder / name, **options) as writer:
            writer.write({f"name {n}": np.arange(n, dtype="i4") for n in range(50)})
            writer.attrs["rate"] = 16000
        ptrarray.checkpoint(folder / name)
    ptrarray.pack(folder / "s.ptr", folder / "pack")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[FaultServer]:
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def right(folder: Path) -> Any:
    with ptrarray.open(folder / "s.ptr", backend="pread") as store:
        return contents(store)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "FIRST_PAUSE_SECONDS", 0.0005)


def contents(store: ptrarray.PointerArray) -> Any:
    return (
        {name: array.tolist() for name, array in store.items()},
        [name in store for name in ("name 3", "name 100")],
        [array.tolist() for array in store.take(["name 7", "name 40"])],
        store["name 9"].tolist(),
        int(np.sum(store)),
        dict(store.attrs),
    )


def read(server: FaultServer, fault: str, layout: str = "s.ptr") -> Any:
    patience = "0.1s" if fault in STALLS else "30s"
    url = server.url.replace("//", "//user-name:pass-word@") + f"/{layout}?sig=signature"
    with ptrarray.open(url, storage={"client_options": {"read_timeout": patience}}) as store:
        return contents(store)


def n_requests(server: FaultServer, layout: str = "s.ptr") -> int:
    server.arm(at=0, n_times=0)
    read(server, "", layout)
    return len(server.asked)


def check_error(error: BaseException, url: str) -> None:
    """Check that an error names the file and is whole, and has no trace of anything secret."""
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert url in str(error)
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    chain = error
    while chain := (chain.__cause__ or chain.__context__):  # type: ignore[assignment]
        text += f"{chain} {vars(chain)}"
    assert not any(secret in text for secret in SECRETS)


def requests_of(n: int, fault: str, every: int) -> range:
    """Return which of n requests go wrong."""
    return range(1 + [*FAULTS].index(fault) % every, n + 1, every)


@pytest.mark.parametrize("every", SOME_REQUESTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_once(server: FaultServer, right: Any, fault: str, every: int) -> None:
    for at in requests_of(n_requests(server), fault, every):
        server.arm(FAULTS[fault].fault, at, 1)
        try:
            assert read(server, fault) == right
        except ERRORS[FAULTS[fault].error] as error:
            assert fault in LASTING
            check_error(error, server.url)
        assert len(server.asked) >= at


@pytest.mark.parametrize("fault", one_in(2, FAULTS))
def test_what_goes_wrong_from_then_on(
    server: FaultServer, right: Any, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_there = n_requests(server)
    monkeypatch.setattr(faults, "LIMIT_SECONDS", 0.02)
    monkeypatch.setattr(faults, "FIRST_LIMIT_SECONDS", 0.02)
    kind = FAULTS[fault]
    for at in range(1, n_there + 1):
        server.arm(kind.fault, at)
        with pytest.raises(ERRORS[kind.error]) as caught:
            read(server, fault)
        check_error(caught.value, server.url)
        if kind.error == "RemoteError":
            assert type(caught.value) is RemoteError
            assert caught.value.status == kind.status
            assert caught.value.end > caught.value.start >= 0


@pytest.mark.parametrize("every", SOME_REQUESTS)
@pytest.mark.parametrize(
    "fault", [*SOME, *(pytest.param(fault, marks=pytest.mark.slow) for fault in MORE)]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout(
    server: FaultServer,
    right: Any,
    layout: str,
    fault: str,
    every: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a reader does when requests go wrong, once and for ever."""
    if layout == "blocks":
        monkeypatch.setattr(probed, "WHOLE_NBYTES", 0)
    if layout == "shards" and every > 1:
        every *= SHARDS_TIMES
    requests = requests_of(n_requests(server, layout), fault, every)
    allowed: tuple[type[Exception], ...] = (*ERRORS[FAULTS[fault].error], StoreNotFoundError)
    for n_times in (1, 1 << 60):
        if n_times > 1:
            monkeypatch.setattr(faults, "LIMIT_SECONDS", 0.02)
            monkeypatch.setattr(faults, "FIRST_LIMIT_SECONDS", 0.02)
        for at in requests:
            server.arm(FAULTS[fault].fault, at, n_times)
            try:
                assert read(server, fault, layout) == right
            except allowed as error:
                assert fault in LASTING or n_times > 1
                check_error(error, server.url)
            else:
                assert n_times == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("layout", ["s.ptr", "shards"])
def test_a_server_that_goes_wrong_at_every_other_request(
    server: FaultServer, right: Any, layout: str, seed: int
) -> None:
    chance = random.Random(seed)
    names = [name for name in PASSING if "status" in name or "close" in name or "reset" in name]

    def sometimes(it: Exchange) -> None:
        (FAULTS[chance.choice(names)].fault if chance.random() < 0.5 else server.soundly)(it)

    server.arm(sometimes)
    assert read(server, "", layout) == right


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_pack_on_a_server_that_is_busy_is_not_one_that_is_not_there(
    server: FaultServer, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "LIMIT_SECONDS", 0.02)

    def busy_with_it(it: Exchange) -> None:
        is_pack = it.asked.path.partition("?")[0].endswith("/pack")
        (FAULTS[f"status {status}"].fault if is_pack else server.soundly)(it)

    server.arm(busy_with_it)
    with pytest.raises(RemoteError) as raised:
        read(server, "", "pack")
    assert raised.value.status == status


def test_faults_that_pass_are_told_from_those_that_do_not() -> None:
    assert not PASSING.keys() & LASTING.keys()
    for number in range(400, 600):
        is_named = f"status {number}" in PASSING
        passes = faults.fault_of_status(number).kind == "passing"
        assert passes == (is_named or (number >= 500 and number not in (501, 505)))
