"""Stores in notebooks: what `_repr_html_` of readers, writers and what they hand out returns.

None of them raises anything, as a notebook that is run as a whole would end there: what cannot be shown
is said. They take no lock, look at nothing that was committed since the reader was opened or refreshed,
and look at a bounded number of arrays, whatever the store's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from ptrarray.format import metadata
from ptrarray.format.layouts import MIXED, UNITS, Kind
from ptrarray.look import html
from ptrarray.look.histogram import histogram
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.shards.opened import load_any, to_be_read_nbytes
from ptrarray.storage.shards.snapshot import ShardedSnapshot
from ptrarray.storage.store.opened import Opened
from ptrarray.storage.store.snapshot import Snapshot
from ptrarray.views.facts import Lengths, Shown, beginning, facts, first, lengths

_N_ARRAYS = 8
_N_METAS = 10
_N_SHARDS = 20
_N_ATTRS = 40
# Of attrs and metadata, so many bytes are shown, and such as are larger are not unpacked.
_SHOWN_NBYTES = 10_000
_UNPACKED_NBYTES = 1 << 16
# Of journals, so many bytes are read in some ten milliseconds.
_JOURNALS_NBYTES = 1 << 20
# What lies elsewhere is waited for that long.
_WAITS_SECONDS = 1.0


def _part(make: Callable[[], str]) -> str:
    """Return a part of a page, or what is wrong with it."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 the other parts are shown all the same
        return html.fault(error)


# readers -----------------------------------------------------------------------------------------


def reader(store: Any) -> str:
    """Return a `PointerArray` as HTML."""
    if store.closed:
        return html.page("PointerArray", f"{store.path}, closed", [])
    how = f"mode {store.mode!r}, backend {store.backend!r}"

    def make() -> str:
        return html.page("PointerArray", store.path, [html.quiet(how), *_parts(store)])

    if not store._opened.is_compared:
        return html.safely(store, make)
    return _within(_WAITS_SECONDS, store, "PointerArray", store.path, make)


def _within(seconds: float, what: Any, kind: str, about: str, make: Callable[[], str]) -> str:
    """Return a page of what lies elsewhere, or what is known without asking for more."""
    answers: SimpleQueue[str] = SimpleQueue()
    Thread(target=lambda: answers.put(html.safely(what, make)), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except Empty:
        said = html.quiet(f"no answer in {seconds:g} seconds from where it lies: try again")
        return html.page(kind, about, [said])


def partition(part: Any, about: str, *, is_open: bool) -> str:
    """Return a `Partition` as HTML; if it is not open yet, nothing is opened for that."""
    said = html.quiet("not opened here yet: asking for an array does so")

    def make() -> str:
        return html.page("Partition", about, _parts(part) if is_open else [said])

    def in_time() -> str:
        if not is_open or not part._opened.is_compared:
            return make()
        return _within(_WAITS_SECONDS, part, "Partition", about, make)

    return html.safely(part, in_time)


def _parts(store: Shown) -> Iterator[str]:
    """Yield what there is to see of an open store, or of a part of it."""
    opened = store._opened
    found: list[Lengths] = []

    def look() -> str:
        found.append(lengths(store))
        counted = histogram(found[0].rows, n_arrays=_at_least(found[0]))
        return html.bars(counted, UNITS[opened.layout.kind])

    drawn = _part(look)
    table = _part(lambda: html.table(_facts(store, found[0] if found else None)))
    yield html.beside([table, drawn])
    yield _part(lambda: _arrays(store, found[0] if found else None))
    if _is_whole(store):
        yield _part(lambda: _attrs(opened.snapshot.attrs))
    if _is_whole(store) and isinstance(opened.snapshot, ShardedSnapshot):
        yield _part(lambda: _shards(opened))


def _is_whole(store: Shown) -> bool:
    return not hasattr(store, "row_range")  # which a part has


def _at_least(found: Lengths) -> int:
    """Return how many arrays there are, more than were looked at if that is not all of them."""
    return max(found.n_arrays, len(found.rows) + found.is_sample)


def _facts(store: Shown, found: Lengths | None) -> Iterator[tuple[str, str]]:
    """Yield facts and what they are, as HTML."""
    told = facts(store, found.n_arrays if found else None)
    layout, is_whole = store._opened.layout, _is_whole(store)
    yield "arrays", _counted(told["arrays"], found)
    if is_whole and layout.kind != MIXED:  # whose rows are bytes
        yield "rows", f"{told['rows']:,}"
    yield "dtype", html.text("of each array" if layout.kind == MIXED else str(layout.dtype))
    if told["row_shape"]:
        yield "row shape", html.text(html.brief(tuple(told["row_shape"])))
    for key in ("layout", "masked", "sealed", "open_part", "helper_arrays"):
        if key in told:
            yield key.replace("_", " "), html.text(_plainly(told[key]))
    if is_whole:
        yield from _of_files(told, found, layout.kind)


def _counted(n_arrays: int, found: Lengths | None) -> str:
    if found is None or found.is_counted:
        return f"{n_arrays:,}"
    return f"up to {n_arrays:,}: the journal is long, and len(store) was not asked for yet"


def _of_files(told: dict[str, Any], found: Lengths | None, kind: Kind) -> Iterator[tuple[str, str]]:
    yield "size", html.size(told["nbytes"])
    if found is not None and found.n_hole_rows is not None:
        yield "holes", _holes(found, told["rows"], kind)
    yield "generation", f"{told['generation']:,}"
    if "shards" in told:
        in_catalog = told["shards_in_catalog"]
        limit = html.size(told["shard_nbytes"])
        yield "shards", f"{told['shards']:,} of up to {limit}, {in_catalog:,} in the catalog"


def _plainly(value: Any) -> str:
    return "yes" if value is True else f"{value:,}" if isinstance(value, int) else str(value)


def _holes(found: Lengths, n_rows: int, kind: Kind) -> str:
    n_holes = found.n_hole_rows
    if not n_holes:
        return "none seen" if found.is_sample else "none"
    about = "about " if found.is_sample else ""
    return f"{about}{n_holes:,} {UNITS[kind]}, {n_holes / max(n_rows, 1):.2%}"


def _arrays(store: Shown, found: Lengths | None) -> str:
    drawn = [html.Drawn(*one) for one in first(store, _N_ARRAYS)]
    if found is not None and not found.is_counted:
        head = f"the newest {len(drawn)} arrays" if drawn else "what was committed last is no array"
        return html.quiet(head) + html.arrays(drawn)
    n_arrays = found.n_arrays if found else len(drawn)
    return html.first_of(len(drawn), n_arrays) + html.arrays(drawn)


def _attrs(attrs: Mapping[str, Any]) -> str:
    if not attrs:
        return ""
    return html.folded(f"attrs ({len(attrs):,})", html.pairs(attrs, _N_ATTRS, _SHOWN_NBYTES))


def _shards(opened: Opened) -> str:
    snapshot = opened.snapshot
    assert isinstance(snapshot, ShardedSnapshot)
    parts, width = snapshot.parts, opened.layout.width
    rows = [
        (
            html.text(part.directory.name if hasattr(part, "directory") else f"{number}"),
            f"{len(part):,}" if part.is_in_order else "",
            html.size(part.n_rows * width),
        )
        for number, part in enumerate(parts[:_N_SHARDS])
    ]
    n_left = len(parts) - len(rows)
    rest = html.quiet(f"and {n_left:,} more") if n_left else ""
    head = "shard", "arrays", "size"
    return html.folded(f"shards ({len(parts):,})", html.table(rows, head) + rest)


# writers -----------------------------------------------------------------------------------------


class _Peeked:
    """What is committed to a store that this process writes to, as a reader has it."""

    def __init__(self, opened: Opened) -> None:
        self._opened, self._helpers = opened, None


def writer(writer: Any) -> str:
    """Return a `PointerArrayWriter` as HTML: as a reader that is opened now and let go of."""
    if writer.closed:
        return html.page("PointerArrayWriter", f"{writer.path}, closed", [])

    def make(opened: Opened) -> str:
        said = html.quiet("for writing; this is committed now")
        return html.page("PointerArrayWriter", writer.path, [said, *_parts(_Peeked(opened))])

    return peeked(writer, Path(writer.path), make)


def peeked(what: Any, directory: Path, make: Callable[[Opened], str]) -> str:
    """Return a page of what is committed to a store, if it is read in a moment."""

    def opened() -> str:
        n_unread = to_be_read_nbytes(directory)
        if n_unread <= _JOURNALS_NBYTES:
            return make(load_any(directory, "r"))
        much = f"{html.size(n_unread)} were committed since the last checkpoint"
        said = html.quiet(f"{much}, which are not read for this: ptrarray.open does")
        return html.page(type(what).__name__, str(directory), [said])

    return html.safely(what, opened)


# metadata and attrs ------------------------------------------------------------------------------


def metas(meta: Any, snapshot: Snapshot) -> str:
    """Return metadata of arrays as HTML: of the first that have any."""
    if not isinstance(snapshot.directory, RemotePath):
        return html.safely(meta, lambda: _metas_page(snapshot))
    about = str(snapshot.directory)
    return _within(_WAITS_SECONDS, meta, "metadata", about, lambda: _metas_page(snapshot))


def _metas_page(snapshot: Snapshot) -> str:
    return html.page("metadata", str(snapshot.directory), [_metas(snapshot)])


def metas_of_writer(meta: Any, directory: Path) -> str:
    """Return metadata of arrays as HTML, as they are committed now."""
    return peeked(meta, directory, lambda opened: _metas_page(opened.snapshot))


def attrs_of_writer(attrs: Any, directory: Callable[[], Path]) -> str:
    """Return the attrs of a store as HTML, as they are committed now."""

    def make(opened: Opened) -> str:
        found = opened.snapshot.attrs
        shown = html.pairs(found, _N_ATTRS, _SHOWN_NBYTES) if found else html.quiet("no attrs")
        return html.page("attrs", str(opened.snapshot.directory), [shown])

    return html.safely(attrs, lambda: peeked(attrs, directory(), make))


def _metas(snapshot: Snapshot) -> str:
    if not snapshot.has_metas:
        return html.quiet("no array has metadata")
    rows, n_unpacked = [], 0
    looked_at = list(beginning(snapshot, 8 * _N_METAS))
    for raw, address in looked_at:
        packed = snapshot.meta_at(address)
        if not packed:
            continue
        n_unpacked += len(packed)
        if len(packed) > _UNPACKED_NBYTES:
            shown = f"not read: {html.size(len(packed))}"
        else:
            shown = html.brief(metadata.decode(packed), 300)
        rows.append((html.text(raw.decode("utf-8", "backslashreplace")), html.text(shown, 300)))
        if len(rows) == _N_METAS or n_unpacked > 1 << 20:
            break
    if not rows:
        return html.quiet(f"none of the first {len(looked_at):,} arrays has metadata")
    return html.quiet("the first that have any") + html.table(rows)
