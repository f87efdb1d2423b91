"""Calls in threads for those who wait for them: who has gone is not worked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from ptrarray.views.awaited import Threads

Result = TypeVar("Result")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def until_gone(
    receive: Receive, threads: Threads, call: Callable[[], Result]
) -> Result | None:
    """Return what a call in a thread returns; None once the client has gone.

    A call that was not begun by then never is, and one that was is told to stop: see
    `ptrarray.rows.stopping`.

    Parameters
    ----------
    receive : callable
        Of the request, whose body was not asked for.
    threads : Threads
        Which make the call.
    call : callable
        Takes nothing.
    """
    work = asyncio.ensure_future(threads.wait_for(call))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
