"""The syncs of the code, each to be left out on a real disk, and who needs them most."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ptrarray.storage.lifecycle import adopting, create, unpacking
from ptrarray.storage.shards import joining, linked
from ptrarray.storage.store.content import Content
from ptrarray.storage.store.journal import Journal
from ptrarray.storage.system import building

_RANDOM = ("random-rows", "random-masked", "random-planned", "random-shards")
_NEW = ("make", "shards-roll_over", "shards-rolled_over", "dump", "pack")
_COMPACT = ("compact", "publish", "masked_compact", "random-rows")
_OVER = ("replace", "dump", "shards-replace_the_store")
_JOIN = (
    "join-plain-move-last",
    "join-elsewhere-move-last",
    "join-there-link-last",
    "join-changed-move-last",
)


class LeftOut(NamedTuple):
    """A sync, or several that serve one end.

    Attributes
    ----------
    name : str
        What is not brought to the disk.
    pattern : str
        Finds it in the description of a sync.
    workloads : tuple of str
        What would be lost without it.
    """

    name: str
    pattern: str
    workloads: tuple[str, ...]


def at(function: Callable[..., Any], number: int | None = None, *, file: str = "") -> str:
    """Return what finds the syncs that a function asks for, or one of them, counted from 0."""
    lines, first = inspect.getsourcelines(inspect.unwrap(function))
    found = [n for n, line in enumerate(lines, first) if re.search(r"\.sync(_directory)?\(", line)]
    module = function.__module__.removeprefix("ptrarray.")
    some = found if number is None else [found[number]]
    which = "|".join(map(str, some))
    return rf"^{file or '[a-z-]+'} {re.escape(f'{module}.{function.__qualname__}')}\S*:({which})\b"


_CONTENT = at(Content.sync).replace("[a-z-]+", "(data|mask)")
LEFT_OUT = [
    LeftOut("everything", "", ("replace", "random-rows")),
    LeftOut("rows and masks, of a flush or a durable commit", f"{_CONTENT}(?!.*(switch_over|_recovered))", _RANDOM),
    LeftOut("masks alone", at(Content.sync, file="mask"), ("random-masked", "masked", "random-shards-masked")),
    LeftOut("rows of what compaction makes", f"{_CONTENT}.*switch_over", _COMPACT),
    LeftOut("rows that only another boot id has met", f"{_CONTENT}.*_recovered", ("another_boot_id",)),
    LeftOut("both syncs of the journal", at(Journal.sync), _RANDOM),
    LeftOut("the journal's first sync", at(Journal.sync, 0), _RANDOM),
    LeftOut("the journal's second sync", at(Journal.sync, 1), _RANDOM),
    LeftOut("a journal that is taken up after a restart", at(Journal.recover), ("another_boot_id", "random-rows")),
    LeftOut("a journal cut back before a commit", at(Journal.append), ("random-rows", "killed_in_delete")),
    LeftOut("a new index", at(building.replacing, 0, file="index"), (*_COMPACT, "checkpoint")),
    LeftOut("the list of shards", at(building.replacing, 0, file="shards"), _JOIN),
    LeftOut("the folder of a new index", at(building.replacing, 1), (*_COMPACT, "checkpoint")),
    LeftOut("the folder of what compaction makes", at(create.switch_over) + " < .*compact", _COMPACT),
    LeftOut("new files of a store that is replaced", at(create.switch_over) + "(?!.*compact)", _OVER),
    LeftOut("the folder of what replaces a store", at(create.place), _OVER),
    LeftOut("a new pack", at(building.new_file, 0), ("pack",)),
    LeftOut("the folder of a new pack", at(building.new_file, 1), ("pack",)),
    LeftOut("the journal of a new store", at(create.make_files), _NEW),
    LeftOut("the folder that a new store comes to", at(building.put_in_place), _NEW),
    LeftOut("what is unpacked", at(unpacking._write_members), ("pack",)),
    LeftOut("the folder that is unpacked to", at(unpacking.unpack_store), ("pack",)),
    LeftOut("rows of a file that becomes a store", at(adopting.adopt_store, 0), ("adopt-link-new", "adopt-move")),
    LeftOut("the journal of such a store", at(adopting._make_journal), ("adopt-link-new", "adopt-move")),
    LeftOut("the folder that such a file leaves", at(adopting.adopt_store, 1), ("adopt-move",)),
    LeftOut("the journals of what is joined", at(linked.bring_to_disk, 0), _JOIN),
    LeftOut("the folders of what is joined", at(linked.bring_to_disk, 1), _JOIN),
    LeftOut("the folder that is joined to", at(joining._put_behind), _JOIN),
    LeftOut("the folders that joined stores leave", at(joining._remove_moved), _JOIN),
]  # fmt: skip
