"""A file that lies elsewhere as memory: each block is there once it was needed, and asked for once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ptrarray.errors import RemoteError
from ptrarray.storage.remote import sparse
from ptrarray.storage.remote.sparse import SparseBytes


class Numbers:
    """A file that lies elsewhere: of bytes that tell where they are; counts how often each is read."""

    start_byte, gap_nbytes, path = 0, 100, "test://numbers"

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.raw = (np.arange(nbytes) * 7 % 251).astype(np.uint8)
        self.n_read = np.zeros(nbytes, np.int64)
        self.requests: list[tuple[int, int]] = []

    @property
    def n_here(self) -> int:
        return self.nbytes

    def keep(self) -> None:
        pass

    def pread(self, nbytes: int, start_byte: int) -> bytes:
        return self.raw[start_byte : start_byte + nbytes].tobytes()

    def preadv_all(self, asked: Any) -> int:
        for buffer, start in asked:
            buffer[:] = self.raw[start : start + len(buffer)].tobytes()
            self.n_read[start : start + len(buffer)] += 1
            self.requests.append((start, start + len(buffer)))
        return sum(len(buffer) for buffer, _ in asked)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "BLOCK_NBYTES", 64)
    monkeypatch.setattr(sparse, "HEAD_NBYTES", 200)
    monkeypatch.setattr(sparse, "AHEAD_NBYTES", 1024)


def sparse_of(file: Any) -> SparseBytes:
    return SparseBytes(file)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 199, 200, 5000])
def test_blocks_are_there_once_they_were_needed(nbytes: int) -> None:
    rng = np.random.default_rng(nbytes)
    for _ in range(30):
        file = Numbers(nbytes)
        content = sparse_of(file)
        for _ in range(6):
            starts = rng.integers(0, nbytes + 1, 5)
            ends = np.minimum(starts + rng.integers(0, 150, 5), nbytes)
            if rng.random() < 0.5:
                content.need_all(starts, ends)
            else:
                content.need(list(zip(starts.tolist(), ends.tolist(), strict=True)))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                assert bytes(content.memory[start:end]) == file.raw[start:end].tobytes()
        # Only what is between two blocks that were asked for is asked for twice.
        assert file.n_read.max(initial=0) <= 6
        whole = bytes(content[:])
        assert whole == file.raw.tobytes()


@pytest.mark.usefixtures("small")
def test_neighbours_are_one_request() -> None:
    file = Numbers(10_000)
    content = sparse_of(file)
    content.need([(1000, 1010), (1030, 1100), (1190, 1200), (5000, 5001)])
    assert file.requests == [(960, 1216), (4992, 5056)]


@pytest.mark.usefixtures("small")
def test_what_follows_is_asked_for_ahead_and_no_further_than_it_goes() -> None:
    file = Numbers(20_000)
    content = sparse_of(file)
    content.ends = [6000, 20_000]
    for at in range(1024, 6000, 8):
        content.need([(at, at + 8)])
    assert [end - start for start, end in file.requests] == [
        64,
        128,
        256,
        512,
        1024,
        1024,
        1024,
        960,
    ]
    assert file.n_read.max() == 1


@pytest.mark.usefixtures("small")
def test_a_file_that_ends_early() -> None:
    file = Numbers(1000)
    file.preadv_all = lambda asked: 0  # type: ignore[method-assign]
    with pytest.raises(RemoteError, match="0 bytes of 64 came"):
        sparse_of(file).need([(500, 501)])
