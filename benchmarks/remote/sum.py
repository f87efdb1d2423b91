"""All values of a store added up, beside fetching the same bytes by one request of obstore and doing nothing with them.

Read right from nginx, which takes part of the same processors; what it takes is not in "ms of processor".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import obstore
from obstore.store import HTTPStore

import ptrarray
from benchmarks.harness.case import expect
from benchmarks.remote import stores
from benchmarks.remote.servers import served
from benchmarks.report.results import OURS
from benchmarks.users.asking import CLOCK, CPU, Question

N = 1_000_000_000
REPEAT = 7
GET_RANGE = "obstore.get_range"
ADDED = "obstore.get_range, added up"
SHARE = 0.7


def questions(folder: Path, n: int) -> Iterator[Question]:
    """Ask for the sum of `n` bytes, by the clock and in time of processors."""
    with served(folder) as servers:
        title = f"{n}-bytes.ptr"
        stores.kept(folder / "www", title, partial(stores.large, n=n))
        url, nbytes = (
            f"{servers.direct}/{title}",
            (folder / "www" / title / "data.bin").stat().st_size,
        )
        local = ptrarray.open(folder / "www" / title)
        total, n_values = float(np.sum(local)), len(local.rows)
        ways: dict[str, Callable[[], Any]] = {
            OURS: partial(ours_sum, url),
            GET_RANGE: partial(whole, url, nbytes),
            ADDED: partial(added, url, n_values),
        }
        for unit, what in ((CLOCK, "the clock"), (CPU, "processors")):
            yield Question(
                f"sum of {n / 1e9:g} GB, by {what}",
                ways,
                {GET_RANGE: SHARE},
                same=lambda ours, theirs: expect(
                    theirs == nbytes or np.allclose([ours, theirs], total, rtol=1e-4), "a sum"
                ),
                unit=unit,
            )


def ours_sum(url: str) -> float:
    """Open a store, and add up its values."""
    return float(np.sum(ptrarray.open(url)))


def whole(url: str, nbytes: int) -> int:
    """Fetch the data file, and return how long it is."""
    return len(_fetched(url, nbytes))


def added(url: str, n_values: int) -> float:
    """Fetch the data file, and add up its values."""
    return float(np.sum(np.frombuffer(_fetched(url, n_values * 4), np.float32)))


def _fetched(url: str, nbytes: int) -> Any:
    options: Any = {"allow_http": True}
    store = HTTPStore(url, client_options=options)
    return obstore.get_range(store, "data.bin", start=0, length=nbytes)
