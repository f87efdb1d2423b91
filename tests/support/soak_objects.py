"""Processes of a soak that make objects, packs, tables and joined stores, and that read over HTTP."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import ptrarray
from tests.support.soak_content import Layout, Value, WrongReadError, check, content
from tests.support.soak_role import KEPT, Role, Site

_PLAIN = Layout()
_N_JOINED = 6
PUBLISHED_SECONDS = 5.0


class Objects(Role):
    """Nested objects, packs and tables, each where one of its kind was before."""

    CALLS: ClassVar = {"dump": 4, "load": 8, "pack": 2, "unpack": 1, "publish": 1, "frame": 2}
    TARGETS = ("object.ptr", "object.tar", "object.joblib.gz")

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._number, self._published_at = 0, 0.0
        self._pandas = import_module("pandas")  # here, as no other process needs it
        ptrarray.create(site.path("tables"), mode="a").close()
        self._publish()

    def _value(self, slot: int = 0) -> Value:
        self._number += 1
        return Value(self._number, 10, slot)

    def _dump(self) -> None:
        value = self._value()
        made = {
            "a": [content(value, _PLAIN), {"b": (value.number, "text", None)}],
            **{f"n{n}": content(Value(value.number, 10, n), _PLAIN) for n in range(5)},
        }
        target = self.rng.choice(self.TARGETS)
        with self.timed("dump"):
            ptrarray.dump(made, self.site.stores / target, mode="w")
        with BytesIO() as handle:
            ptrarray.dump(made, handle)
            handle.seek(0)
            self._check(ptrarray.load(handle))

    def _load(self) -> None:
        path = self.site.stores / self.rng.choice(self.TARGETS)
        if path.exists():
            with self.timed("load"):
                found = ptrarray.load(path)
            self._check(found)

    def _check(self, found: Any) -> None:
        number = found["a"][1]["b"][0]
        arrays = {0: found["a"][0]} | {n: found[f"n{n}"] for n in range(5)}
        for n, array in arrays.items():
            if check(f"10/w{n}", array, _PLAIN).number != number:
                raise WrongReadError(f"an object of {number} has an array of another")

    def _pack(self) -> None:
        store = self.rng.choice(("plain", "masked"))
        target = self.site.stores / f"{store}.{self.rng.choice(('tar', 'tar.gz'))}"
        with self.refusable(ptrarray.StoreError), self.timed("pack"):
            ptrarray.pack(self.site.path(store), target, overwrite=True)

    def _unpack(self) -> None:
        store = self.rng.choice(("plain", "masked"))
        pack, directory = self.site.stores / f"{store}.tar", self.site.path("unpacked")
        if not pack.exists():
            return
        shutil.rmtree(directory, ignore_errors=True)
        with self.timed("unpack"):
            ptrarray.unpack(pack, directory)
        ptrarray.verify(directory)
        for path in (directory, pack):
            with ptrarray.open(path) as opened:
                for at in range(min(3, len(opened))):
                    check(opened.names[at], opened.arrays[at], KEPT[store].layout)

    def _publish(self) -> None:
        """Make the store anew that is on the web server, now and then.

        A server's ETag tells times in seconds, so within one a change of the same size is not seen.
        """
        now = time.monotonic()
        if self._published_at and now < self._published_at + PUBLISHED_SECONDS:
            return
        path, self._published_at = self.site.path("published"), now
        values = {f"10/w{slot}": self._value(slot) for slot in range(40)}
        with ptrarray.create(path, dtype="i8", mode="w") as writer:
            writer.write({name: content(value, _PLAIN) for name, value in values.items()})
        with self.timed("publish"):
            ptrarray.publish(path)

    def _frame(self) -> None:
        path, name = self.site.path("tables"), f"t{self.rng.randrange(5)}"
        value = self._value()
        rows = content(value, _PLAIN)
        frame = self._pandas.DataFrame(
            {"a": rows, "b": rows / 2}, index=[f"i{n}" for n in range(len(rows))]
        )
        with ptrarray.append(path) as writer:
            with self.timed("frame"):
                writer.frame(name, frame)
            with ptrarray.open(path) as store:
                self._pandas.testing.assert_frame_equal(store.frame(name), frame)
        if self.rng.random() < 0.2:
            ptrarray.compact(path)


class Joining(Role):
    """Parts that are joined to one store, which begins anew when it has many."""

    CALLS: ClassVar = {"part": 3, "join": 1}

    def __init__(self, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._path, self._number = site.path("joined"), 0
        self._parts: list[str] = []
        self._joined: list[str] = []
        self._begin_anew()

    def _begin_anew(self) -> None:
        for path in (self._path, Path(f"{self._path}.parts")):
            shutil.rmtree(path, ignore_errors=True)
        self._joined, self._parts = [], []

    def _part(self) -> None:
        if len(self._parts) >= _N_JOINED:
            return
        self._number += 1
        names = [f"11/m{self._number}", f"11/p{self._number}"]
        arrays = {name: content(Value(self._number, 11, 0), _PLAIN) for name in names}
        with self.timed("part"), ptrarray.part(self._path, f"k{self._number}", dtype="i8") as part:
            part.write(arrays)
        self._parts += names

    def _join(self) -> None:
        if not self._parts:
            return
        with self.timed("join"):
            ptrarray.join(self._path, progress=False)
        self._joined, self._parts = self._joined + self._parts, []
        with ptrarray.open(self._path) as store:
            if sorted(store) != sorted(self._joined):
                raise WrongReadError(f"{len(store)} of {len(self._joined)} names were joined")
            for name in self._joined:
                check(name, store[name], _PLAIN)
        if len(self._joined) > 4 * _N_JOINED:
            self._begin_anew()


class Remote(Role):
    """A reader of a store on a web server, which is made anew beneath it."""

    CALLS: ClassVar = {"take": 20, "open": 1}

    def __init__(self, url: str, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._url = url
        self._store: Any = None

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None

    def _open(self) -> None:
        self.close()
        changed = ptrarray.StoreChangedError, ptrarray.StoreNotFoundError
        with self.refusable(*changed), self.timed("remote open"):
            self._store = ptrarray.open(self._url)

    def _take(self) -> None:
        store = self._store
        if not store:  # or it was opened before anything was in it
            self._open()
            return
        try:
            names = [store.names[self.rng.randrange(len(store))] for _ in range(5)]
            with self.timed("remote take"):
                batch = store.take(names)
        except ptrarray.StoreChangedError:
            self._open()
            return
        for name, array in zip(names, batch, strict=True):
            check(name, array, _PLAIN)


class Viewing(Role):
    """A browser that looks at a store through ``ptrarray view``."""

    CALLS: ClassVar = {"page": 20, "event": 1}
    ASKED = ("api/store", "api/names", "api/array?name=0/w63", "api/statistics?name=0/w63", "")

    def __init__(self, url: str, site: Site, name: str, seed: int) -> None:
        super().__init__(site, name, seed)
        self._url = url

    def _page(self) -> None:
        with self.timed("viewer"):
            try:
                self._get(self.rng.choice(self.ASKED)).read()
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.NOT_FOUND:  # as an array is that is not written yet
                    raise

    def _event(self) -> None:
        with self.timed("viewer event"), self._get("api/events") as answer:
            while not answer.readline().startswith(b"data"):
                pass

    def _get(self, asked: str) -> Any:
        return urllib.request.urlopen(self._url + asked, timeout=60)
