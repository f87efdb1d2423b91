"""Names of bytes that are no array, as older stores of any dtype have them."""

from __future__ import annotations

import ptrarray
from ptrarray.format.entries import Entry
from ptrarray.format.journal import POINT
from ptrarray.storage.writing.transactions import _to_commit
from ptrarray.writer import store_of


def point_to_bytes(writer: ptrarray.PointerArrayWriter, name: str, start: int, end: int) -> None:
    """Give bytes of a mixed store a name, which `point` refuses."""
    session = store_of(writer).plannable()
    with session.locked():
        crc = session.content.crc(start, end)
        entry = Entry(name.encode(), start, end, crc, pointed=1)
        session.commit(*_to_commit(session, POINT, [entry]))
