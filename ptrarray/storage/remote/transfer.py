"""Ranges of objects, asked for until they are there: many at once, and each measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ptrarray.storage.remote.faults import Fault, Patience, error_of
from ptrarray.storage.remote.objects import Answer, Coming, Objects
from ptrarray.storage.remote.threads import Threads, can_be_interrupted

if TYPE_CHECKING:
    from ptrarray.storage.remote.cache import Cache

Result = TypeVar("Result")


class Facts(NamedTuple):
    """What is known of an object since it was first asked for: tells its content from any other."""

    nbytes: int
    tag: str | None


class Transfer:
    """Reads ranges of the objects below one URL.

    Parameters
    ----------
    objects : Objects
        Where they lie.
    parallel : int
        Requests that are under way at the most.
    gap_nbytes : int
        Ranges closer together than this are one request.
    immutable : bool
        Whether what lies there is known never to change, so that it may have no tag.
    cache : Cache, optional
        Keeps what is read, of the files that ask for it.
    """

    def __init__(
        self,
        objects: Objects,
        parallel: int,
        gap_nbytes: int,
        *,
        immutable: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self.url, self.cache = objects.url, cache
        self.parallel, self.gap_nbytes, self.immutable = parallel, gap_nbytes, immutable
        self._here = _Here(os.getpid(), objects, Threads(parallel))
        self._ahead: dict[str, Future[Answer]] = {}
        self._has_answered = False

    def read(
        self,
        key: str,
        start: int,
        end: int,
        facts: Facts | None,
        into: memoryview | None = None,
    ) -> Answer:
        """Read a range of an object, which may reach past its end; nothing, if it begins there.

        Parameters
        ----------
        facts : Facts or None
            What the object has to be, if it was read before.
        into : memoryview, optional
            Where the bytes go, which has room for the range; then `raw` is its beginning.

        Raises
        ------
        FileNotFoundError
            If there is no such object, and none was read before.
        StoreChangedError
            If it is another one than it was.
        RemoteError
            If it cannot be read within the time limit.
        """
        if facts is not None:
            end = min(end, facts.nbytes)
            if start >= end:
                return Answer(b"", start, *facts)
        read = partial(self._read, _Range(key, start, end, facts, into))
        if can_be_interrupted():
            return self._wait([self._threads.begin(read, is_urgent=True)])[0]
        return read()

    def named(self, key: str) -> str:
        """Return the URL of an object, without anything secret."""
        return self._here.objects.named(key)

    def ask_ahead(self, key: str, end: int) -> None:
        """Begin to read the first bytes of an object that will be opened next."""
        self._ahead[key] = self.begin(partial(self.read, key, 0, end, None))

    def asked_ahead(self, key: str) -> Future[Answer] | None:
        """Return what was asked ahead of an object, once."""
        return self._ahead.pop(key, None)

    def read_all(self, asked: Sequence[Callable[[], Result]]) -> list[Result]:
        """Do several reads at once; returns when all are there."""
        if len(asked) == 1:
            return [asked[0]()]
        return self._wait([self.begin(one) for one in asked])

    def begin(self, read: Callable[[], Result]) -> Future[Result]:
        """Begin a read, and do not wait for it."""
        return self._threads.begin(read)

    def _wait(self, begun: list[Future[Result]]) -> list[Result]:
        try:
            return [*map(methodcaller("result"), begun)]
        except KeyboardInterrupt:  # what hangs still is in nobody's way from now on
            self._here = self._here._replace(threads=Threads(self.parallel))
            raise
        finally:
            while begun:
                begun.pop().cancel()

    def _read(self, wanted: _Range) -> Answer:
        patience = Patience()
        while True:
            try:
                wanted.ask(self._objects, immutable=self.immutable)
                return wanted.answer()
            except Fault as error:
                fault = error
            finally:
                self._has_answered |= wanted.has_begun
            has_answered = self._has_answered or fault.status is not None
            pause = patience.pause(fault, wanted.n_done, has_answered=has_answered)
            if pause is None:
                break
            time.sleep(pause)
        # Outside of the handler, so that the error has no trace of what a library said, which
        # may have secrets in it.
        raise error_of(
            fault, self.named(wanted.key), wanted.start, wanted.end, is_known=wanted.is_known
        )

    @property
    def _objects(self) -> Objects:
        return self._in_this_process().objects

    @property
    def _threads(self) -> Threads:
        return self._in_this_process().threads

    def _in_this_process(self) -> _Here:
        here = self._here
        if here.pid != os.getpid():  # a child has neither the threads nor the connections
            here = self._here = _Here(os.getpid(), here.objects.fresh(), Threads(self.parallel))
        return here


class _Here(NamedTuple):
    """What a transfer has in one process."""

    pid: int
    objects: Objects
    threads: Threads


class _Range:
    """A range of an object, and what has come of it.

    Attributes
    ----------
    is_known : bool
        Whether the object was read before this range was asked for.
    n_done : int
        Bytes that have come, which are not asked for again if the rest breaks off.
    has_begun : bool
        Whether an answer ever has.
    """

    def __init__(
        self, key: str, start: int, end: int, facts: Facts | None, into: memoryview | None
    ) -> None:
        self.key, self.start, self.end = key, start, end
        self.is_known = facts is not None
        self.n_done, self.has_begun = 0, False
        self._facts, self._room, self._raw = facts, into, memoryview(b"")

    def ask(self, objects: Objects, *, immutable: bool) -> None:
        """Ask once for what has not come yet. Raises `Fault`."""
        try:
            self._ask(objects, immutable=immutable)
        except Fault as fault:
            # What came before an answer broke off is right; nobody knows about any other.
            self.n_done = self.n_done if fault.kind == "passing" else 0
            if fault.kind != "changed" or self.is_known:
                raise
            self._facts, status = None, fault.status
        else:
            return
        raise Fault("wrong", "it changed while it was read for the first time", status)

    def _ask(self, objects: Objects, *, immutable: bool) -> None:
        tag = None if self._facts is None else self._facts.tag
        start = self.start + self.n_done
        try:
            coming = objects.get(self.key, start, self.end, tag)
        except Fault as fault:
            # Of an object of no bytes, a server has no range: it says so, or sends all of it.
            may_be_empty = fault.kind == "past" or fault.status == 200
            if not may_be_empty or start or self.is_known:
                raise
            coming = objects.get_empty(self.key)
            if coming.nbytes:
                raise
        self.has_begun = True
        self._check(coming, start, immutable=immutable)
        self._take(coming)

    def _check(self, coming: Coming, start: int, *, immutable: bool) -> None:
        if coming.tag is None and not immutable:
            what = "its answer has no ETag, so that nobody would notice if it changed"
            raise Fault("wrong", f"{what}: immutable=True says that it never does")
        known = self._facts
        if known is not None and known.nbytes != coming.nbytes:
            raise Fault("changed", f"it has {coming.nbytes} bytes, and had {known.nbytes}")
        if known is not None and coming.tag is not None and known.tag not in (None, coming.tag):
            raise Fault("changed", "its ETag is another one")
        if coming.start != start or coming.nbytes < start:
            raise Fault("wrong", f"bytes from {coming.start} on of {coming.nbytes} came")
        self._facts = known or Facts(coming.nbytes, coming.tag)

    def _take(self, coming: Coming) -> None:
        n_wanted = min(self.end, coming.nbytes) - self.start
        if not self.n_done:
            room = memoryview(bytearray(n_wanted)) if self._room is None else self._room
            self._raw = room[:n_wanted]
        for piece in coming.pieces:
            n_done = self.n_done + len(piece)
            if n_done > n_wanted:  # it may have no end
                raise Fault("wrong", "more bytes than were asked for came")
            self._raw[self.n_done : n_done] = piece
            self.n_done = n_done
        if self.n_done < n_wanted:
            raise Fault("wrong", f"{self.n_done} of {n_wanted} bytes came")

    def answer(self) -> Answer:
        """Return what came."""
        assert self._facts is not None
        return Answer(self._raw, self.start, *self._facts)
