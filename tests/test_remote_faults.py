"""A server that goes wrong at its n-th request: what is read is right, or an error says what it was."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.errors import CorruptStoreError, RemoteError, StoreChangedError, StoreNotFoundError
from ptrarray.storage.remote import faults
from tests.support.fault_server import FAULTS, LASTING, PASSING, FaultServer, serving

pytest.importorskip("obstore")

SECRETS = ("user-name", "pass-word", "signature")
STALLS = {"stall", "half, stall"}
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "RemoteError": (RemoteError,),
    "changed": (StoreChangedError, RemoteError, CorruptStoreError),
    "missing": (StoreChangedError, StoreNotFoundError, CorruptStoreError),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    with ptrarray.create(folder / "s.ptr", dtype="i4") as writer:
        writer.write({f"name {n}": np.arange(n) for n in range(50)})
        writer.attrs["rate"] = 16000
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
        [array.tolist() for array in store.take(["name 7", "name 40"])],
        store["name 9"].tolist(),
        int(np.sum(store)),
        dict(store.attrs),
    )


def read(server: FaultServer, fault: str, *, immutable: bool = False) -> Any:
    patience = "0.1s" if fault in STALLS else "30s"
    url = server.url.replace("//", "//user-name:pass-word@") + "/s.ptr?sig=signature"
    client = {"read_timeout": patience}
    with ptrarray.open(url, storage={"client_options": client}, immutable=immutable) as store:
        return contents(store)


def n_requests(server: FaultServer) -> int:
    server.arm(at=0, n_times=0)
    read(server, "")
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


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_once(server: FaultServer, right: Any, fault: str) -> None:
    for at in range(1, n_requests(server) + 1):
        server.arm(FAULTS[fault].fault, at, 1)
        try:
            assert read(server, fault) == right
        except ERRORS[FAULTS[fault].error] as error:
            assert fault in LASTING
            check_error(error, server.url)
        assert len(server.asked) >= at


@pytest.mark.parametrize("fault", FAULTS)
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


def test_faults_that_pass_are_told_from_those_that_do_not() -> None:
    assert not PASSING.keys() & LASTING.keys()
    for number in range(400, 600):
        is_named = f"status {number}" in PASSING
        passes = faults.fault_of_status(number).kind == "passing"
        assert passes == (is_named or (number >= 500 and number not in (501, 505)))
