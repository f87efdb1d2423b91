"""What a power cut may leave of a directory, rebuilt from a recording of the seam of I/O.

`record` lets a workload run on a real directory and logs what it does, in
order. For every prefix of the log, what was not synced is pending: on the disk
it may be there, absent, torn, or garbage, and names made, renamed or removed
may have changed or not. `outcomes` yields the fates, `rebuild` the directory.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

import pytest

from ptrarray.storage.system import files
from ptrarray.storage.system.files import File

SECTOR_NBYTES = 512
BLOCK_NBYTES = 4096
ROOT = 0

# operations --------------------------------------------------------------------------------


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
    """A new file or directory."""

    node: int
    parent: int
    name: str


class Move(NamedTuple):
    """A name given to something else; what had it before is gone.

    Between directories, with `old_parent`, in both or in none.
    """

    node: int
    parent: int
    name: str
    old_name: str
    old_parent: int | None = None


class Unlink(NamedTuple):
    """A name removed."""

    node: int
    parent: int
    name: str


class Sync(NamedTuple):
    """Everything done before to a file's bytes, or to a directory's names, is on the disk."""

    node: int


Op: TypeAlias = Write | Resize | Link | Move | Unlink | Sync


class Fate(NamedTuple):
    """What became of a pending operation."""

    kind: str
    value: int = 0


KEPT, DROPPED, ZEROS = Fate("kept"), Fate("dropped"), Fate("zeros")
Fates: TypeAlias = dict[int, Fate]  # by position in the log

# the disk ----------------------------------------------------------------------------------


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
        elif fate != KEPT or isinstance(op, Sync):
            return
        elif isinstance(op, Resize):
            self._resize(op)
        else:
            self._rename(op)

    def _resize(self, op: Resize) -> None:
        raw = self.bytes[op.node]
        if not (op.grows_only and op.nbytes <= len(raw)):
            raw[op.nbytes :] = bytes(max(0, op.nbytes - len(raw)))

    def _rename(self, op: Link | Move | Unlink) -> None:
        names = self.names[op.parent]
        if isinstance(op, Move):
            source = names if op.old_parent is None else self.names[op.old_parent]
            source.pop(op.old_name, None)
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
    cuts = [0, *_boundaries(op, SECTOR_NBYTES), len(op.raw)]
    for start, end in pairwise(cuts):
        kind = rng.choice(("kept", "dropped", "zeros", "garbage"))
        piece = Write(op.node, op.start + start, op.raw[start:end])
        yield from _landed(piece, Fate(kind, rng.getrandbits(32)))


def _boundaries(op: Write, unit: int) -> range:
    """Multiples of `unit` inside a write, counted from its first byte."""
    first = (op.start // unit + 1) * unit - op.start
    return range(first, len(op.raw), unit)


# recording ---------------------------------------------------------------------------------


class Site(NamedTuple):
    """Where in the package a sync was asked for, of what, and on behalf of which functions."""

    module: str
    function: str
    line: int
    callers: tuple[str, ...]
    file: str  # "data", "mask", "index", "journal"; nothing for a directory

    def __str__(self) -> str:
        return f"{self.module}.{self.function}:{self.line} < {' < '.join(self.callers)}"


class KilledError(BaseException):
    """The process is killed here: no handler may swallow this."""


@dataclass
class Recording:
    """The log of a workload.

    Attributes
    ----------
    before : Disk
        What was there, all of it on the disk.
    log : list of Op
        What was done, in order.
    roles : dict of int to str
        The name that each file was made with, or found under.
    sites : dict of Site to None
        Who asked for syncs, in order.
    dies_at : int or None
        Length of the log at which the process is killed.
    is_dead : bool
        Whether it was killed; set it to False for the next process.
    """

    root: Path
    before: Disk
    log: list[Op] = field(default_factory=list)
    roles: dict[int, str] = field(default_factory=dict)
    sites: dict[Site, None] = field(default_factory=dict)
    dies_at: int | None = None
    is_dead: bool = False

    def __post_init__(self) -> None:
        self.now = self.before.copy()
        self._n_nodes = 1 + max([*self.before.bytes, *self.before.names])

    def add(self, op: Op) -> None:
        self.log.append(op)
        self.now.apply(op)
        self.is_dead = len(self.log) == self.dies_at
        self.check_alive()

    def check_alive(self) -> None:
        """Do nothing more for a process that was killed, whatever its handlers ask for."""
        if self.is_dead:
            raise KilledError

    def note_mapped(self) -> None:
        """Log as writes what changed through a mapping since the last operation."""
        self.check_alive()
        for path, known in self.now.tree().items():
            if known is None:
                continue
            # The seam is called before or after the system: sizes may differ, mapped bytes not.
            found = (self.root / path).read_bytes() if (self.root / path).is_file() else known
            for start, end in _differences(known, found):
                is_mapped = Path(path).name.startswith(("data", "mask"))
                assert is_mapped, f"{path} was written beside the seam"
                op = Write(self.node(self.root / path), start, found[start:end])
                self.log.append(op)
                self.now.apply(op)

    def node(self, path: str | os.PathLike[str]) -> int:
        """Number of what a path leads to."""
        node = ROOT
        for part in Path(path).relative_to(self.root).parts:
            node = self.now.names[node][part]
        return node

    def has(self, path: str | os.PathLike[str]) -> bool:
        try:
            self.node(path)
        except KeyError:
            return False
        return True

    def link(self, path: str | os.PathLike[str], *, is_directory: bool) -> None:
        node, self._n_nodes = self._n_nodes, self._n_nodes + 1
        for disk in (self.before, self.now):
            if is_directory:
                disk.names[node] = {}
            else:
                disk.bytes[node] = bytearray()
        self.roles[node] = Path(path).name
        self.add(Link(node, self.node(Path(path).parent), Path(path).name))


def _differences(known: bytes, found: bytes) -> Iterator[tuple[int, int]]:
    """Yield the blocks that differ, as far as both reach."""
    if known == found:
        return
    end = min(len(known), len(found))
    for start in range(0, end, BLOCK_NBYTES):
        piece = slice(start, min(start + BLOCK_NBYTES, end))
        if known[piece] != found[piece]:
            yield piece.start, piece.stop


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


def _load(root: Path) -> tuple[Disk, dict[int, str]]:
    """Take what is under `root` as being on the disk."""
    disk, roles, nodes = Disk(), dict[int, str](), {root: ROOT}
    for node, path in enumerate(sorted(root.rglob("*")), start=1):
        if path.is_dir():
            disk.names[node] = {}
        else:
            disk.bytes[node] = bytearray(path.read_bytes())
        nodes[path], roles[node] = node, path.name
        disk.names[nodes[path.parent]][path.name] = node
    return disk, roles


@contextmanager
def record(root: Path, omit: Callable[[Site], bool] = lambda site: False) -> Iterator[Recording]:
    """Log what the package does to the files under `root` during a ``with`` block.

    Syncs are logged, not done; those for whose site `omit` is true are not
    even logged, as if they were not in the code.
    """
    disk, roles = _load(root)
    recording = Recording(root, disk, roles=roles)
    with pytest.MonkeyPatch.context() as patch:
        _patch_file(patch, recording)
        _patch_names(patch, recording)
        _patch_removals(patch, recording)
        _patch_syncs(patch, recording, omit)
        yield recording


def _patch_file(patch: pytest.MonkeyPatch, recording: Recording) -> None:
    real = File.__init__

    def init(self: File, path: str | Path, flags: int = os.O_RDONLY) -> None:
        recording.note_mapped()
        real(self, path, flags)
        if flags & os.O_CREAT and not recording.has(path):
            recording.link(path, is_directory=False)
        if flags & os.O_TRUNC:
            recording.add(Resize(recording.node(path), 0))
        object.__setattr__(self, "node", recording.node(path))

    patch.setattr(File, "__init__", init)
    _patch_writes(patch, recording)
    _patch_sizes(patch, recording)


def _patch_writes(patch: pytest.MonkeyPatch, recording: Recording) -> None:
    real_pwrite, real_pwritev = File.pwrite, File.pwritev

    def pwrite(self: Any, raw: bytes, start_byte: int) -> None:
        recording.note_mapped()
        with _unpatched(File, "pwritev", real_pwritev):  # which takes over after a short write
            real_pwrite(self, raw, start_byte)
        recording.add(Write(self.node, start_byte, bytes(raw)))

    def pwritev(self: Any, buffers: Sequence[Any], start_byte: int, *sizes: Any) -> int:
        recording.note_mapped()
        end = real_pwritev(self, buffers, start_byte, *sizes)
        if end > start_byte:
            raw = b"".join(buffer.tobytes() for buffer in buffers)
            recording.add(Write(self.node, start_byte, raw))
        return end

    for double in (pwrite, pwritev):
        patch.setattr(File, double.__name__, double)


def _patch_sizes(patch: pytest.MonkeyPatch, recording: Recording) -> None:
    real_truncate, real_allocate = File.truncate, File.allocate

    def truncate(self: Any, nbytes: int) -> None:
        recording.note_mapped()
        real_truncate(self, nbytes)
        recording.add(Resize(self.node, nbytes))

    def allocate(self: Any, start_byte: int, nbytes: int) -> None:
        recording.note_mapped()
        real_allocate(self, start_byte, nbytes)
        recording.add(Resize(self.node, start_byte + nbytes, grows_only=True))

    for double in (truncate, allocate):
        patch.setattr(File, double.__name__, double)


@contextmanager
def _unpatched(owner: Any, name: str, real: Any) -> Iterator[None]:
    double = getattr(owner, name)
    setattr(owner, name, real)
    try:
        yield
    finally:
        setattr(owner, name, double)


def _patch_names(patch: pytest.MonkeyPatch, recording: Recording) -> None:
    real_replace, real_unlink = files.replace, files.unlink
    real_make_directory = files.make_directory

    def replace(source: str | Path, target: str | Path) -> None:
        recording.note_mapped()
        real_replace(source, target)
        node, parent = recording.node(source), recording.node(Path(target).parent)
        old_parent = recording.node(Path(source).parent)
        is_same = old_parent == parent
        names = (Path(target).name, Path(source).name)
        recording.add(Move(node, parent, *names, None if is_same else old_parent))

    def unlink(path: str | Path) -> None:
        recording.note_mapped()
        real_unlink(path)
        if recording.has(path):
            parent = recording.node(Path(path).parent)
            recording.add(Unlink(recording.node(path), parent, Path(path).name))

    def make_directory(path: str | Path) -> None:
        recording.note_mapped()
        real_make_directory(path)
        recording.link(path, is_directory=True)

    for double in (replace, unlink, make_directory):
        patch.setattr(files, double.__name__, double)


def _patch_removals(patch: pytest.MonkeyPatch, recording: Recording) -> None:
    def remove_tree(path: str | Path) -> None:
        """Remove one after the other, as the system does."""
        recording.note_mapped()
        for found in (*sorted(Path(path).rglob("*"), reverse=True), Path(path)):
            if found.is_dir():
                found.rmdir()
                recording.add(
                    Unlink(recording.node(found), recording.node(found.parent), found.name)
                )
            else:
                files.unlink(found)

    patch.setattr(files, "remove_tree", remove_tree)


def _patch_syncs(
    patch: pytest.MonkeyPatch, recording: Recording, omit: Callable[[Site], bool]
) -> None:
    def asked(node: int) -> None:
        recording.note_mapped()
        role = recording.roles.get(node, "")
        site = _site(sys._getframe(2), "" if node in recording.now.names else role.split(".")[0])
        recording.sites[site] = None
        if not omit(site):
            recording.add(Sync(node))

    def sync(self: Any) -> None:
        asked(self.node)

    def sync_directory(path: str | Path) -> None:
        asked(recording.node(path))

    patch.setattr(File, "sync", sync)
    patch.setattr(files, "sync_directory", sync_directory)


def _site(frame: FrameType | None, file: str) -> Site:
    """Describe the package's part of a stack."""
    calls = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("ptrarray."):
            calls.append((module.removeprefix("ptrarray."), frame.f_code.co_qualname, frame))
        frame = frame.f_back
    module, function, innermost = calls[0]
    callers = tuple(f"{module}.{name}" for module, name, _ in calls[1:])
    return Site(module, function, innermost.f_lineno, callers, file)


# cutting the power -------------------------------------------------------------------------


def pending(log: Sequence[Op], cut: int) -> list[int]:
    """Positions of the operations before `cut` that no sync before `cut` covers."""
    waiting: list[int] = []
    for at, op in enumerate(log[:cut]):
        if isinstance(op, Sync):
            waiting = [other for other in waiting if _home(log[other]) != op.node]
        else:
            waiting.append(at)
    return waiting


def _home(op: Op) -> int:
    """Whose sync an operation waits for."""
    return op.node if isinstance(op, Write | Resize | Sync) else op.parent


def rebuild(recording: Recording, cut: int, fates: Fates) -> dict[str, bytes | None]:
    """Return the contents of the directory by path; what has no fate is kept."""
    disk = recording.before.copy()
    for at, op in enumerate(recording.log[:cut]):
        disk.apply(op, fates.get(at, KEPT))
    return disk.tree()


@dataclass(frozen=True)
class Effort:
    """How many outcomes of one cut are tried.

    Attributes
    ----------
    exhaustive_ops : int
        Up to so many pending operations every subset is tried.
    n_samples : int
        Random outcomes beyond that, and with every kind of fate.
    n_special : int
        Fates of each operation beside kept and dropped.
    n_around : int
        Random surroundings for each of those.
    """

    exhaustive_ops: int
    n_samples: int
    n_special: int
    n_around: int


def outcomes(recording: Recording, cut: int, effort: Effort) -> Iterator[Fates]:
    """Yield legal fates of what is pending when the power is cut after `cut` operations."""
    log, waiting = recording.log, pending(recording.log, cut)
    rng = random.Random(cut)
    yield from _subsets(waiting, effort, rng)
    special = {at: special_fates(log[at], recording.roles, rng) for at in waiting}
    for at, fates in special.items():
        for fate in rng.sample(fates, min(len(fates), effort.n_special)):
            yield {at: fate}
            for _ in range(effort.n_around):
                yield {other: rng.choice((KEPT, DROPPED)) for other in waiting} | {at: fate}
    for _ in range(effort.n_samples if len(waiting) > 1 else 0):
        yield {at: rng.choice((KEPT, DROPPED, *special[at])) for at in waiting}


def _subsets(waiting: list[int], effort: Effort, rng: random.Random) -> Iterator[Fates]:
    """Yield who is kept and who is dropped."""
    if len(waiting) <= effort.exhaustive_ops:
        for chosen in product((KEPT, DROPPED), repeat=len(waiting)):
            yield dict(zip(waiting, chosen, strict=True))
        return
    for n_kept in range(len(waiting) + 1):
        yield dict.fromkeys(waiting[n_kept:], DROPPED)
    for at in waiting:
        yield {at: DROPPED}
        yield dict.fromkeys(waiting, DROPPED) | {at: KEPT}
    for _ in range(effort.n_samples):
        yield {at: rng.choice((KEPT, DROPPED)) for at in waiting}


def special_fates(op: Op, roles: dict[int, str], rng: random.Random) -> list[Fate]:
    """Return how a write can come out but for kept and dropped."""
    if not isinstance(op, Write):
        return []
    cuts = {len(op.raw) // 2}
    for unit in (SECTOR_NBYTES, BLOCK_NBYTES):
        boundaries = _boundaries(op, unit)
        cuts.update((boundaries[0], boundaries[-1]) if boundaries else ())
    fates = [Fate(kind, at) for at in sorted(cuts - {0}) for kind in ("head", "tail")]
    fates += [ZEROS, Fate("garbage", rng.getrandbits(32)), Fate("mixed", rng.getrandbits(32))]
    # The journal's header slots are promised to lie in blocks of their own.
    if roles[op.node].startswith("journal") and op.start + len(op.raw) <= 2 * BLOCK_NBYTES:
        fates.append(Fate("block", rng.getrandbits(32)))
    return fates


def materialise(tree: dict[str, bytes | None], target: Path) -> None:
    """Write contents by path into a new directory."""
    target.mkdir(parents=True)
    for path, raw in tree.items():
        if raw is None:
            (target / path).mkdir()
        else:
            (target / path).write_bytes(raw)
