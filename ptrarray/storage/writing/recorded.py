"""Names that are looked for in the journal, where only hashes are known: whether they are there."""

from __future__ import annotations

from itertools import islice

from ptrarray.format import journal as journal_format
from ptrarray.format.checksum import crc32
from ptrarray.format.journal import DELETE, JournalHeader
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.writing.recent import FAR, RecentNames

# Of one name in so many a record is read, else all of it, which compares its checksum, too.
_PEEK_NAMES = 64
_MORE = 4  # records of a hash, each time those before told too little


def look_up(
    unknown: dict[int, dict[bytes, int]], recent: RecentNames, log: Journal, header: JournalHeader
) -> dict[int, bool | None]:
    """Look names up in those records of a journal that have a name of their hash.

    Of a long record reads nothing but the names that have one of the hashes: at 5 million names in
    the journal, 100,000 others have 120 of their hashes by chance.

    Parameters
    ----------
    unknown : dict of int to dict of bytes to int
        By hash the names, each with a number. Those are removed that are found.
    recent : RecentNames
        Where hashes were committed.
    log, header
        The journal, as far as that was noted.

    Returns
    -------
    dict of int to bool or None
        Of the names that the journal is about, by number, whether they are there; None where the
        record is not known.
    """
    known: dict[int, bool | None] = {}
    left = {name_hash: iter(recent.records(name_hash)) for name_hash in unknown}
    n_each = 1  # mostly the newest record of a hash says all, and there may be very many before it
    while left:
        queries: dict[tuple[int, int], dict[int, int]] = {}  # by record: hashes by position
        for name_hash, records in [*left.items()]:
            some = list(islice(records, n_each)) if unknown[name_hash] else []
            if not some:
                del left[name_hash]
            elif some[0].record_at == FAR:
                known |= dict.fromkeys(unknown[name_hash].values())
                unknown[name_hash].clear()
            else:
                for record_at, position, n_names in some:
                    queries.setdefault((record_at, n_names), {})[position] = name_hash
        known |= _told(queries, unknown, log, header)
        n_each *= _MORE
    return known


def _told(
    queries: dict[tuple[int, int], dict[int, int]],
    unknown: dict[int, dict[bytes, int]],
    log: Journal,
    header: JournalHeader,
) -> dict[int, bool | None]:
    """Return what some records tell of names, the newest first; removes those from the unknown."""
    known: dict[int, bool | None] = {}
    for record, hashes in sorted(queries.items(), reverse=True):
        wanted = {at: name_hash for at, name_hash in hashes.items() if unknown[name_hash]}
        if wanted:
            kind, names = _names_in(log, header, record, wanted)
            for name_hash, name in zip(wanted.values(), names, strict=True):
                number = unknown[name_hash].pop(name, -1)
                known |= {number: kind != DELETE} if number >= 0 else {}
    return known


def _names_in(
    log: Journal, header: JournalHeader, record: tuple[int, int], hashes: dict[int, int]
) -> tuple[int, list[bytes]]:
    """Return the kind of a record, and some of its names, given their hashes by position."""
    record_at, n_names = record
    if len(hashes) * _PEEK_NAMES < n_names:
        some = log.some_names(record_at, list(hashes))
        if some is not None and list(map(crc32, some[1])) == list(hashes.values()):
            return some
    frame = log.frame_at(header, record_at)
    names = journal_format.decode(frame, log.path).names
    return frame.kind, [names.item(position) for position in hashes]
