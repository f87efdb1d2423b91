"""Stores elsewhere in notebooks: few requests, and no long wait for a server that does not answer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptrarray
from ptrarray.storage.store.snapshot import StoreSnapshot
from ptrarray.views import facts, shown
from tests.support.fault_server import FaultServer, serving
from tests.support.html import facts_in
from tests.test_shown import filled, page_of

pytest.importorskip("obstore")


def test_of_a_store_elsewhere_little_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "_WAITS_SECONDS", 60)  # however busy this machine is
    with ptrarray.create(tmp_path / "a.ptr") as writer:
        writer.write({f"a{number:03}": np.arange(number * 100) for number in range(200)})
        writer.write({"b": np.zeros(3)}, meta={"b": {"c": 1}})
    files = {f"a.ptr/{file.name}": file.read_bytes() for file in (tmp_path / "a.ptr").iterdir()}
    with serving(files) as server:
        store = ptrarray.open(f"{server.url}/a.ptr")
        n_before = n_asked(server)
        page = page_of(store)
        assert n_asked(server) - n_before == 1
        assert len(page.alts) == 9
        assert facts_in(page)["arrays"] == "201"
        page_of(store.meta)
        assert n_asked(server) - n_before == 1


def n_asked(server: FaultServer) -> int:
    """Count requests. Of those by which an open finds that there are no helper arrays, one may still be on its way."""
    helpers = [one.path for one in server.asked if "helpers.ptr" in one.path]
    assert len(helpers) == len(set(helpers))
    return len(server.asked) - len(helpers)


def test_a_server_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "a.ptr", 20)
    store = ptrarray.open((tmp_path / "a.ptr").as_uri())
    answers, lengths = threading.Event(), facts.lengths

    def late(store: Any) -> Any:
        answers.wait(60)
        return lengths(store)

    monkeypatch.setattr(shown, "lengths", late)
    monkeypatch.setattr(shown, "_WAITS_SECONDS", 0.01)
    assert "no answer in 0.01 seconds" in page_of(store).text
    answers.set()
    monkeypatch.setattr(shown, "_WAITS_SECONDS", 60)
    assert facts_in(page_of(store))["arrays"] == "20"


def test_of_a_part_and_of_metadata_no_server_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "a.ptr", 20)
    store = ptrarray.open((tmp_path / "a.ptr").as_uri())
    part, meta = store.partitions(2)[1], store.meta
    assert len(part) == len(list(part.values()))
    answers = threading.Event()
    monkeypatch.setattr(shown, "beginning", lambda *_: answers.wait(9) and ())
    monkeypatch.setattr(facts, "beginning", lambda *_: answers.wait(9) and ())
    monkeypatch.setattr(shown, "_WAITS_SECONDS", 0.01)
    monkeypatch.setattr(StoreSnapshot, "has_metas", True)
    for what in (part, meta):
        assert "no answer in 0.01 seconds" in page_of(what).text
    answers.set()
