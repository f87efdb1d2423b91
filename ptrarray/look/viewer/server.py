"""A store in a browser: what is served on this machine alone, by whom, until when.

Needs starlette and uvicorn, the extra ``view``.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ptrarray.errors import BadInputError, StoreError, import_extra
from ptrarray.look.viewer import arrays, npy
from ptrarray.look.viewer.asking import until_gone
from ptrarray.look.viewer.current import Current
from ptrarray.look.viewer.events import Events
from ptrarray.look.viewer.failures import as_json, status_of
from ptrarray.look.viewer.guarding import NOT_FOUND, Guarded
from ptrarray.look.viewer.overview import overview
from ptrarray.look.viewer.search import search
from ptrarray.reader import PointerArray
from ptrarray.rows.stopping import is_stopped
from ptrarray.views.awaited import Threads

_MISSING = (
    "a store in a browser needs starlette and uvicorn, which are not installed: "
    "pip install 'ptrarray[view]'"
)
uvicorn = import_extra("uvicorn", _MISSING)
applications = import_extra("starlette.applications", _MISSING)
responses = import_extra("starlette.responses", _MISSING)
routing = import_extra("starlette.routing", _MISSING)

Request = Any  # of starlette, which who checks types need not have
Response = Any

HOST = "127.0.0.1"
TOKEN = "PTRARRAY_VIEW_TOKEN"  # the variable of the environment that has it
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
_BACKLOG = 1024
_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_N_THREADS = 4
_N_WALKING = 2  # threads that read whole arrays, for which pages do not wait
_NAMES_LENGTH = 200_000  # letters of all names in an answer, unless it is one name
_REQUEST_NBYTES = 1 << 18  # a name of 64 KiB, each byte of which takes three
_END_SECONDS = 1  # for answers that are under way


class Viewer:
    """What a browser may ask of one store.

    Parameters
    ----------
    current : Current
        The store.
    title : str
        What it is called: a path, or a URL without anything secret.
    interval : float
        Seconds between looks.
    always : bool
        Whether to look while nobody listens, too.
    """

    def __init__(self, current: Current, title: str, interval: float, *, always: bool) -> None:
        self._current, self._title = current, title
        self._interval, self._always = interval, always
        self._dear, self._quick = Threads(_N_THREADS), Threads(_N_THREADS)
        self._walking = Threads(_N_WALKING)
        self._pages = dict(_pages())
        self.events: Events | None = None

    def app(self) -> Any:
        """Return the application, for paths below the token."""
        paths = {
            "/api/store": self._store,
            "/api/events": self._events,
            "/api/names": self._names,
            "/api/array": self._array,
            "/api/statistics": self._statistics,
            "/api/meta": self._meta,
            "/api/npy": self._npy,
            "/{path:path}": self._page,
        }
        routes = [routing.Route(path, endpoint) for path, endpoint in paths.items()]
        handlers = {Exception: _failed}
        return applications.Starlette(
            routes=routes, lifespan=self._lifespan, exception_handlers=handlers
        )

    @asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        self.events = Events(self._current, self._interval, always=self._always)
        watching = asyncio.create_task(self.events.watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    # what is asked for ----------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        page = self._pages.get(request.path_params["path"] or "index.html")
        if page is None:
            return responses.PlainTextResponse(NOT_FOUND, 404)
        return responses.Response(page[1], media_type=page[0])

    async def _store(self, request: Request) -> Response:
        call = partial(overview, title=self._title)
        return await self._answer(request, self._quick, call)

    async def _events(self, request: Request) -> Response:
        assert self.events is not None
        last = request.headers.get("last-event-id") or request.query_params.get("last", "")
        stream = self.events.stream(last) if request.method == "GET" else ()
        return responses.StreamingResponse(stream, media_type="text/event-stream")

    async def _names(self, request: Request) -> Response:
        asked = request.query_params
        limit = _number(asked, "limit", 50, 1, 1000)
        call = partial(_found, q=asked.get("q", ""), after=asked.get("after"), limit=limit)
        return await self._answer(request, self._quick, call)

    async def _array(self, request: Request) -> Response:
        asked = request.query_params
        how = {
            "view": asked.get("view"),
            "start": _number(asked, "start", None),
            "stop": _number(asked, "stop", None),
            "at": _number(asked, "at", 0),
            "width": _number(asked, "width", 900, 50, 4000),
        }
        name = _name(asked)
        call = partial(_called, arrays.array, name, stopped=is_stopped, **how)
        return await self._answer(request, self._dear, call)

    async def _statistics(self, request: Request) -> Response:
        name = _name(request.query_params)
        call = partial(_called, arrays.statistics, name, stopped=is_stopped)
        return await self._answer(request, self._walking, call)

    async def _meta(self, request: Request) -> Response:
        name = _name(request.query_params)
        return await self._answer(request, self._quick, partial(_called, arrays.metadata, name))

    async def _npy(self, request: Request) -> Response:
        asked = request.query_params
        name, of_mask = _name(asked), asked.get("mask") == "1"
        make = partial(_called, npy.File, name, of_mask=of_mask)
        file = await self._call(request, self._quick, make)
        if not isinstance(file, npy.File):
            return file
        headers = {
            "content-length": str(file.nbytes),
            "content-disposition": npy.disposition(name, ".mask.npy" if of_mask else ".npy"),
        }
        pieces = self._pieces(name, file) if request.method == "GET" else ()
        kind = "application/octet-stream"
        return responses.StreamingResponse(pieces, media_type=kind, headers=headers)

    async def _pieces(self, name: str, file: npy.File) -> AsyncIterator[Any]:
        """Yield a file as it is taken; it breaks off where that is not to be had any more."""
        pieces = file.pieces()
        try:
            # In a thread, as it may wait for the disk. This gives way, too: sending to who has gone
            # returns at once, and whoever only sends is never found out.
            while (piece := await self._quick.wait_for(lambda: next(pieces, None))) is not None:
                yield piece
        except (StoreError, OSError) as error:
            assert self.events is not None
            self.events.note(name, error)
            raise

    async def _answer(
        self, request: Request, threads: Threads, call: Callable[[PointerArray], Any]
    ) -> Response:
        found = await self._call(request, threads, call)
        return found if isinstance(found, responses.Response) else _json(found)

    async def _call(
        self, request: Request, threads: Threads, call: Callable[[PointerArray], Any]
    ) -> Any:
        """Return what a call makes of the store, or an answer that says why it does not."""
        try:
            work = partial(self._current.answer, call)
            found = await until_gone(request.receive, threads, work)
        except (StoreError, OSError, NotImplementedError) as error:
            return _json(as_json(error), status_of(error))
        return responses.Response(status_code=204) if found is None else found


async def _failed(request: Request, error: Exception) -> Response:
    """Answer where something is wrong with this program."""
    return _json(as_json(error), status_of(error))


def _called(function: Callable[..., Any], name: str, store: PointerArray, **how: Any) -> Any:
    return function(store, name, **how)


def _found(store: PointerArray, q: str, after: str | None, limit: int) -> dict[str, Any]:
    found = search(store, q, after or None, limit)
    if limit > 1 and sum(map(len, found.names)) > _NAMES_LENGTH:
        return _found(store, q, after, limit // 2)
    return {
        "names": found.names,
        "after": found.cursor,
        "seen": found.n_seen,
        "done": found.is_done,
        "anew": found.is_anew,
    }


def _name(asked: Any) -> str:
    return str(asked.get("name", ""))


def _number(asked: Any, key: str, default: Any, low: int = 0, high: int = 1 << 62) -> Any:
    """Return a number that was asked for, brought into its bounds; what is none is the default."""
    text = asked.get(key, "")
    if not text.isdecimal() or len(text) > 18:
        return default
    return min(max(int(text), low), high)


def _json(value: Any, status: int = 200) -> Response:
    # In ASCII, as text of a store may hold halves of characters that are none alone.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return responses.Response(text, status, media_type="application/json")


def _pages() -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yield what is served from the package, all of it in memory: a path, a type and bytes."""
    for file in sorted(_STATIC.glob("*")):
        if file.suffix in _TYPES:
            yield file.name, (_TYPES[file.suffix], file.read_bytes())


# serving ------------------------------------------------------------------------------------------


def token(given: str | None) -> str:
    """Return a token: what was given, or random letters.

    Parameters
    ----------
    given : str, optional
        By somebody whose browsers are to find a server again that was ended and started.

    Raises
    ------
    BadInputError
        If it can be guessed, or is no part of a URL. It is not in the message.
    """
    if not given:
        return secrets.token_urlsafe(24)
    if not _TOKEN.fullmatch(given):
        expected = "16 to 200 letters, digits, - and _"
        raise BadInputError(f"{TOKEN} is to be {expected}", expected=expected)
    return given


class _Server(uvicorn.Server):  # type: ignore[misc,name-defined] # of a library that may be missing
    """A server that ends its streams before it waits for them."""

    def __init__(self, config: Any, viewer: Viewer) -> None:
        super().__init__(config)
        self._viewer = viewer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        if self._viewer.events is not None:
            self._viewer.events.end()
        await super().shutdown(sockets)


class Serving:
    """A store that is about to be served.

    Parameters
    ----------
    opener : callable
        Opens the store.
    title : str
        What the page calls it.
    token : str
        What those know who are let in: see `token`.
    port : int
        On which this machine alone is heard; 0 is any that is free.
    interval : float
        Seconds between looks at the store.
    always : bool
        Whether to look while nobody listens, too.

    Attributes
    ----------
    url : str
        Where it is. Who asks before `run` waits for it.

    Raises
    ------
    StoreNotFoundError
        As whatever the opener raises.
    OSError
        If the port is in use, or not for everybody.
    """

    def __init__(
        self,
        opener: Callable[[], PointerArray],
        title: str,
        token: str,
        port: int = 0,
        *,
        interval: float = 1.0,
        always: bool = True,
    ) -> None:
        self._socket = socket.create_server((HOST, port), backlog=_BACKLOG)
        # Inherited by connections; asyncio sets it for sockets that were made with the protocol's number.
        # Without it head and body of an answer are 40 ms apart, for which the browser's system waits.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._current = Current(opener)
        except BaseException:
            self._socket.close()
            raise
        self._viewer = Viewer(self._current, title, interval, always=always)
        self._guarded = Guarded(self._viewer.app(), token)
        self._root = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self.url = f"{self._root}/{token}/"

    def url_for_once(self) -> str:
        """Return a URL that leads there once: others of this machine see a browser's arguments."""
        return f"{self._root}/{self._guarded.ticket()}"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM comes, which is raised again when all streams have ended."""
        config = uvicorn.Config(
            self._guarded,
            http="h11",  # which is always there, and refuses most of what is doubtful
            h11_max_incomplete_event_size=_REQUEST_NBYTES,
            loop="asyncio",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_END_SECONDS,
        )
        try:
            _Server(config, self._viewer).run(sockets=[self._socket])
        finally:
            self._current.close()
            self._socket.close()
