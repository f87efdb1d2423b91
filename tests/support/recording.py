"""What a workload does to a directory, recorded at the seam of I/O.

`record` lets a workload run on a real directory and logs what it does, in order.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from ptrarray.storage.system import files
from ptrarray.storage.system.files import File
from ptrarray.storage.system.rights import Rights
from tests.support.disk import BLOCK_NBYTES, ROOT, Disk, Link, Move, Op, Resize, Sync, Unlink, Write


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


@dataclass(eq=False)  # each is itself, so that what is worked out from it can be kept
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
        Whether it was killed.
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

    @property
    def at(self) -> int:
        """How much has been done."""
        self.note_mapped()
        return len(self.log)

    def kill(self, action: Callable[[], Any], n_more: int) -> bool:
        """Let a process be killed so many operations from now; tell whether it was."""
        self.dies_at = len(self.log) + n_more
        with suppress(KilledError):
            action()
        was_killed, self.dies_at, self.is_dead = self.is_dead, None, False
        gc.collect()  # closes its files
        return was_killed

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
            found = _content(f"{self.root}/{path}", known)
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


def _content(path: str, known: bytes) -> bytes:
    """Return what is in a file; of one that is not there, or no file, what is known."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 # a `Path` takes as long to make
            return file.readall()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return known


def _differences(known: bytes, found: bytes) -> Iterator[tuple[int, int]]:
    """Yield what differs in each block, from its first to its last byte, as far as both reach."""
    if known == found:
        return
    end = min(len(known), len(found))
    for start in range(0, end, BLOCK_NBYTES):
        piece = slice(start, min(start + BLOCK_NBYTES, end))
        if known[piece] != found[piece]:
            pairs = zip(known[piece], found[piece], strict=True)
            changed = [at for at, (one, other) in enumerate(pairs, start) if one != other]
            yield changed[0], changed[-1] + 1


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

    def init(
        self: File, path: str | Path, flags: int = os.O_RDONLY, *like: Any, **mode: Any
    ) -> None:
        recording.note_mapped()
        real(self, path, flags, *like, **mode)
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

    def pwrite(self: Any, raw: Any, start_byte: int, *sizes: Any) -> None:
        recording.note_mapped()
        with _unpatched(File, "pwritev", real_pwritev):  # which takes over after a short write
            real_pwrite(self, raw, start_byte, *sizes)
        raw = raw if isinstance(raw, bytes) else raw.tobytes()  # an array or a memoryview
        recording.add(Write(self.node, start_byte, raw))

    def pwritev(self: Any, buffers: Sequence[Any], start_byte: int, *sizes: Any) -> int:
        recording.note_mapped()
        end = real_pwritev(self, buffers, start_byte, *sizes)
        if end > start_byte:
            raw = b"".join(buffer.tobytes() for buffer in buffers)
            recording.add(Write(self.node, start_byte, raw))
        return end

    def copy_from(self: Any, source: Any, source_start: int, start_byte: int, nbytes: int) -> int:
        raw = source.pread(nbytes, source_start)
        self.pwrite(raw, start_byte)
        return len(raw)

    for double in (pwrite, pwritev, copy_from):
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
    real_make_directory, real_link = files.make_directory, files.link

    def replace(source: str | Path, target: str | Path) -> None:
        recording.note_mapped()
        real_replace(source, target)
        node, parent = recording.node(source), recording.node(Path(target).parent)
        old_parent = recording.node(Path(source).parent)
        name, old_name = Path(target).name, Path(source).name
        if old_parent == parent:
            recording.add(Move(node, parent, name, old_name))
        else:
            recording.add(Link(node, parent, name))
            recording.add(Unlink(node, old_parent, old_name))

    def unlink(path: str | Path) -> None:
        recording.note_mapped()
        real_unlink(path)
        if recording.has(path):
            parent = recording.node(Path(path).parent)
            recording.add(Unlink(recording.node(path), parent, Path(path).name))

    def make_directory(path: str | Path, like: Rights | None = None) -> None:
        recording.note_mapped()
        real_make_directory(path, like)
        recording.link(path, is_directory=True)

    def link(source: str | Path, target: str | Path) -> None:
        recording.note_mapped()
        real_link(source, target)
        node, parent = recording.node(source), recording.node(Path(target).parent)
        recording.add(Link(node, parent, Path(target).name))

    for double in (replace, unlink, make_directory, link):
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
        site = site_of(sys._getframe(2), "" if node in recording.now.names else role.split(".")[0])
        recording.sites[site] = None
        if not omit(site):
            recording.add(Sync(node))

    def sync(self: Any) -> None:
        asked(self.node)

    def sync_directory(path: str | Path) -> None:
        asked(recording.node(path))

    patch.setattr(File, "sync", sync)
    patch.setattr(files, "sync_directory", sync_directory)


def site_of(frame: FrameType | None, file: str) -> Site:
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
