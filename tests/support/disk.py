"""Files and directories as a disk has them, and the operations on them, each with what became of it.

An operation that was not synced may be kept, dropped, torn, or leave zeros or garbage.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ptrarray.storage.system.files import File

SECTOR_NBYTES = 512
BLOCK_NBYTES = 4096
ROOT = 0


# operations ---------------------------------------------------------------------------------------


class Write(NamedTuple):
    """Bytes put into a file."""

    node: int
    start: int
    raw: bytes


class Resize(NamedTuple):
    """A file cut or extended; with `grows_only` extended if it is shorter."""

    node: int
    nbytes: int
    grows_only: bool = False


class Link(NamedTuple):
    """A name for a file or directory that is new, or has another one, too."""

    node: int
    parent: int
    name: str


class Move(NamedTuple):
    """A name given to something else in the same directory; what had it before is gone.

    Between directories it is a `Link` and an `Unlink`, each of which waits for a sync of its own
    directory: btrfs may have such a file in both after a power cut.
    """

    node: int
    parent: int
    name: str
    old_name: str


class Unlink(NamedTuple):
    """A name removed."""

    node: int
    parent: int
    name: str


class Sync(NamedTuple):
    """Everything done before to a file's bytes, or to a directory's names, is on the disk."""

    node: int


Op: TypeAlias = Write | Resize | Link | Move | Unlink | Sync


# what became of them ------------------------------------------------------------------------------


class Fate(NamedTuple):
    """What became of a pending operation."""

    kind: str
    value: int = 0


KEPT, DROPPED, ZEROS = Fate("kept"), Fate("dropped"), Fate("zeros")
# Of a file made longer, only the block in which it ended is there: XFS writes that first.
PART = Fate("part")
Fates: TypeAlias = dict[int, Fate]  # by position in the log


# the disk -----------------------------------------------------------------------------------------


class Disk:
    """Files and directories by number, with the names that lead to them."""

    def __init__(self) -> None:
        self.bytes: dict[int, bytearray] = {}
        self.names: dict[int, dict[str, int]] = {ROOT: {}}

    def copy(self) -> Disk:
        other = Disk()
        other.bytes = {node: bytearray(raw) for node, raw in self.bytes.items()}
        other.names = {node: dict(names) for node, names in self.names.items()}
        return other

    def apply(self, op: Op, fate: Fate = KEPT) -> None:
        if isinstance(op, Write):
            self._write(op, fate)
        elif fate not in (KEPT, PART) or isinstance(op, Sync):
            return
        elif isinstance(op, Resize):
            self._resize(op, fate)
        else:
            self._rename(op)

    def _resize(self, op: Resize, fate: Fate) -> None:
        raw = self.bytes[op.node]
        nbytes = max(op.nbytes, len(raw)) if op.grows_only else op.nbytes
        if fate == PART and nbytes > len(raw):
            nbytes = min(nbytes, -(-len(raw) // BLOCK_NBYTES) * BLOCK_NBYTES)
        raw[nbytes:] = bytes(max(0, nbytes - len(raw)))

    def _rename(self, op: Link | Move | Unlink) -> None:
        names = self.names[op.parent]
        if isinstance(op, Move):
            names.pop(op.old_name, None)
        if isinstance(op, Unlink):
            names.pop(op.name, None)
        else:
            names[op.name] = op.node

    def _write(self, op: Write, fate: Fate) -> None:
        raw = self.bytes[op.node]
        for start, piece in _landed(op, fate):
            raw.extend(bytes(max(0, start - len(raw))))
            raw[start : start + len(piece)] = piece

    def tree(self) -> dict[str, bytes | None]:
        """Contents by path; None for a directory."""
        return dict(self._walk(ROOT, ""))

    def paths(self) -> dict[int, list[str]]:
        """Paths that lead to each file."""
        found: dict[int, list[str]] = {}
        for directory, prefix in self._directories(ROOT, ""):
            for name, node in self.names[directory].items():
                if node in self.bytes:
                    found.setdefault(node, []).append(prefix + name)
        return found

    def _directories(self, directory: int, prefix: str) -> Iterator[tuple[int, str]]:
        yield directory, prefix
        for name, node in self.names[directory].items():
            if node in self.names:
                yield from self._directories(node, f"{prefix}{name}/")

    def _walk(self, directory: int, prefix: str) -> Iterator[tuple[str, bytes | None]]:
        for name, node in sorted(self.names[directory].items()):
            if node in self.names:
                yield prefix + name, None
                yield from self._walk(node, f"{prefix}{name}/")
            else:
                yield prefix + name, bytes(self.bytes[node])


def _landed(op: Write, fate: Fate) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes that reached the disk, and where."""
    raw, nbytes = op.raw, len(op.raw)
    match fate.kind:
        case "kept":
            yield op.start, raw
        case "zeros":
            yield op.start, bytes(nbytes)
        case "garbage":
            yield op.start, random.Random(fate.value).randbytes(nbytes)
        case "head":
            yield op.start, raw[: fate.value]
        case "tail":
            yield op.start + fate.value, raw[fate.value :]
        case "block":  # the whole of the blocks that it touches
            first = op.start // BLOCK_NBYTES * BLOCK_NBYTES
            end = -(-(op.start + nbytes) // BLOCK_NBYTES) * BLOCK_NBYTES
            yield first, random.Random(fate.value).randbytes(end - first)
        case "mixed":
            yield from _mixed(op, random.Random(fate.value))


def _mixed(op: Write, rng: random.Random) -> Iterator[tuple[int, bytes]]:
    """Give each sector of a write a fate of its own."""
    cuts = [0, *boundaries_inside(op, SECTOR_NBYTES), len(op.raw)]
    for start, end in pairwise(cuts):
        kind = rng.choice(("kept", "dropped", "zeros", "garbage"))
        piece = Write(op.node, op.start + start, op.raw[start:end])
        yield from _landed(piece, Fate(kind, rng.getrandbits(32)))


def boundaries_inside(op: Write, unit: int) -> range:
    """Multiples of `unit` inside a write, counted from its first byte."""
    first = (op.start // unit + 1) * unit - op.start
    return range(first, len(op.raw), unit)


# real directories ---------------------------------------------------------------------------------


def read_tree(root: Path) -> dict[str, bytes | None]:
    """Contents of a directory by path; None for a directory."""
    return dict(_entries(str(root), ""))


def _entries(directory: str, prefix: str) -> Iterator[tuple[str, bytes | None]]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield prefix + entry.name, None
            yield from _entries(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            with File(entry.path) as file:
                yield prefix + entry.name, file.pread(file.stat().st_size, 0)


def materialise(tree: dict[str, bytes | None], target: Path) -> None:
    """Write contents by path into a new directory."""
    target.mkdir(parents=True)
    root = f"{target}/"  # making a `Path` takes as long as making a small file
    for path, raw in tree.items():
        if raw is None:
            os.mkdir(root + path)  # noqa: PTH102
        else:
            with open(root + path, "xb", buffering=0) as file:  # noqa: PTH123
                file.write(raw)


def memory_directory() -> str | None:
    """Return a directory in memory, where a sync costs nothing, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
