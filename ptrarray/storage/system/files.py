"""Every system call on a store's files goes through here.

Tests put a double of `File` or of the functions below in their place to fail
the n-th call, to record what a power cut could leave, or to count.
"""

from __future__ import annotations

import os
import resource
import shutil
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import (
    EACCES,
    EINVAL,
    ELOOP,
    EMLINK,
    ENOENT,
    ENOSYS,
    ENOTDIR,
    ENXIO,
    EOPNOTSUPP,
    EPERM,
    EXDEV,
)
from fcntl import ioctl
from functools import cache, partial
from itertools import chain, groupby, pairwise
from operator import methodcaller
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple, Self

from ptrarray.errors import CorruptStoreError
from ptrarray.storage.remote.file import RemoteFile
from ptrarray.storage.remote.paths import RemotePath
from ptrarray.storage.system.buffers import CALL_NBYTES, Buffer, bytes_of, first, rest
from ptrarray.storage.system.rights import Rights, first_mode, give_rights, writable

StrPath = str | Path

# How a file is opened: to be read; to be read and changed; the same, made where nothing is. A link
# must not lead writes out of the store.
READ = os.O_RDONLY
CHANGE = os.O_RDWR | os.O_NOFOLLOW
DIRECTORY = READ | os.O_DIRECTORY
MAKE = CHANGE | os.O_CREAT | os.O_EXCL

IOV_MAX = 1024  # buffers in one pwritev, as POSIX systems allow
_ZEROS = bytes(1 << 20)
_COPY_NBYTES = 1 << 24
_BLOCK_NBYTES = 1 << 12  # of which files with holes consist
_CANNOT_ALLOCATE = {EINVAL, ENOSYS, EOPNOTSUPP}
_CANNOT_COPY = {EINVAL, ENOSYS, EOPNOTSUPP, EPERM, EXDEV}  # by itself, from one file to another
_CANNOT_LINK = {EACCES, EINVAL, EMLINK, ENOSYS, EOPNOTSUPP, EPERM, EXDEV}
_BTRFS_FACTS, _BTRFS_FACTS_NBYTES = 0x8400941F, 1024  # what only btrfs answers: BTRFS_IOC_FS_INFO

process_id = os.getpid
random_bytes = os.urandom  # as `secrets` takes them, which imports OpenSSL


class SyncError(OSError):
    """What was written may never reach the disk.

    The system may take it for written from now on, so waiting once more would
    succeed and mean nothing.
    """


class Identity(NamedTuple):
    """What tells a file from all others that there are at the same moment.

    Layers of one overlay file system may give a number twice, so the device belongs to it.
    """

    inode: int
    device: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        """Return that of the file that was asked."""
        return cls(stat.st_ino, stat.st_dev)


class File:
    """An open file, closed when it is forgotten, and in children of a fork.

    One that is made gets the rights of another file, `like`, if that is given; else `mode`, as far as
    the umask lets it.

    A lock belongs to the open file. Were a forked child to keep it open, a
    lock would outlive the process that took it.

    Attributes
    ----------
    as_opened : os.stat_result
        Size, inode and the like when it was opened; not of a directory.
    """

    fd = -1

    def __init__(
        self, path: StrPath, flags: int = READ, like: Rights | None = None, mode: int = 0o666
    ) -> None:
        self.path = self.place = os.fspath(path)
        # Opening a pipe would wait for its other end.
        flags |= os.O_CLOEXEC | os.O_NONBLOCK
        if like is not None:
            mode = first_mode(like, mode)
        numbers: list[int] = []
        try:
            # In one call, as the handler of a signal may raise between opening a file and
            # noting its number.
            numbers.extend(map(os.open, [self.path], [flags], [mode]))
            self.fd = numbers[0]
            if not flags & os.O_DIRECTORY:
                self.as_opened = self.stat()
                if not S_ISREG(self.as_opened.st_mode):
                    raise _not_a_file(self.path)
                if like is not None:
                    give_rights(self.fd, self.as_opened, like)
            reference = _Reference(self, methodcaller("close"))
            close = partial(os.close, self.fd)
        except BaseException as error:
            self.fd = -1
            if numbers:
                os.close(numbers[0])
            elif isinstance(error, OSError):
                _explain(error, self.path)
            raise
        # No calls from here on, so nothing interrupts this.
        reference.close = close
        _OPEN[self.fd] = self._reference = reference
        self.start_byte = 0
        self._nbytes: int | None = None

    def keep_in_child(self) -> None:
        """Stay open in children of a fork: for files that are only read, and never locked."""
        self._reference.stays_in_child = True

    def narrow(self, start_byte: int, nbytes: int) -> None:
        """Be only a part of the file from now on, for reading: bytes count from its start."""
        self.start_byte, self._nbytes = start_byte, nbytes

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers that are others when it is another file, or has been changed, as of its opening."""
        stat = self.as_opened
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    @property
    def nbytes(self) -> int:
        """Size of the file, or of the part of it that this is."""
        return self.stat().st_size if self._nbytes is None else self._nbytes

    @property
    def opened_nbytes(self) -> int:
        """The same as of its opening, which asks nobody."""
        return self.as_opened.st_size if self._nbytes is None else self._nbytes

    @property
    def n_names(self) -> int:
        """How many names the file has, of which other stores may have some."""
        return self.stat().st_nlink

    @property
    def identity(self) -> Identity:
        """Tells the file from the one that replaces it."""
        return Identity.of(self.as_opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.fd >= 0:
            fd, self.fd, self._reference.close = self.fd, -1, bool
            os.close(fd)

    def pread(self, nbytes: int, start_byte: int) -> bytes:
        """Read up to `nbytes`; fewer only at the end of the file."""
        if self._nbytes is not None:
            nbytes = max(0, min(nbytes, self._nbytes - start_byte))
            start_byte += self.start_byte
        try:
            raw = os.pread(self.fd, nbytes, start_byte)
            while len(raw) < nbytes:
                more = os.pread(self.fd, nbytes - len(raw), start_byte + len(raw))
                if not more:
                    break
                raw += more
        except OSError as error:
            raise self.named(error) from error
        return raw

    def preadv(self, buffer: Buffer, start_byte: int) -> int:
        """Read into a buffer of bytes until it is full; less only at the end of the file.

        Returns
        -------
        int
            Bytes read.
        """
        try:
            n_read = n_more = os.preadv(self.fd, [buffer], start_byte)
            while n_more and n_read < len(buffer):  # the system stops at 2 GiB, or at a signal
                n_more = os.preadv(self.fd, [buffer[n_read:]], start_byte + n_read)
                n_read += n_more
        except OSError as error:
            raise self.named(error) from error
        return n_read

    def advise(self, start_byte: int, nbytes: int) -> None:
        """Tell the system that bytes will be read soon; it may begin to, and does not wait."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            with suppress(OSError):  # advice is all it is
                os.posix_fadvise(self.fd, start_byte, nbytes, os.POSIX_FADV_WILLNEED)

    def named(self, error: OSError) -> OSError:
        """Put the path into an error that came from a descriptor."""
        check_system(error)
        return OSError(error.errno, error.strerror, self.path)

    def pwrite(self, raw: Buffer, start_byte: int, nbytes: int | None = None) -> None:
        """Write all of some bytes; of a C-contiguous array if its bytes are counted."""
        try:
            n_written = os.pwrite(self.fd, raw, start_byte)
        except OSError as error:
            raise self.named(error) from error
        if n_written < (len(raw) if nbytes is None else nbytes):
            self.pwritev([bytes_of(raw)[n_written:]], start_byte + n_written)

    def pwritev(
        self, buffers: Sequence[Buffer], start_byte: int, sizes: Sequence[int] | None = None
    ) -> int:
        """Write all of the buffers end to end, straight from where they are.

        Parameters
        ----------
        buffers : sequence of C-contiguous ndarray or memoryview
            Of any type.
        start_byte : int
            Where the first one goes.
        sizes : sequence of int, optional
            Bytes of each `IOV_MAX` buffers together, of a caller who knows.

        Returns
        -------
        int
            Byte where they end.
        """
        if sizes is None:
            nbytes = [buffer.nbytes for buffer in buffers]
            sizes = [sum(nbytes[at : at + IOV_MAX]) for at in range(0, len(buffers), IOV_MAX)]
        try:
            at = 0
            for size in sizes:
                some, end_byte = buffers[at : at + IOV_MAX], start_byte + size
                at += IOV_MAX
                while start_byte < end_byte:
                    # Of what is more than one call gets, that much.
                    room = CALL_NBYTES - start_byte % CALL_NBYTES
                    now = some if end_byte - start_byte <= CALL_NBYTES else first(some, room)
                    n_written = os.pwritev(self.fd, now, start_byte)
                    start_byte += n_written
                    if start_byte < end_byte:
                        some = rest(some, n_written)
        except OSError as error:
            raise self.named(error) from error
        return start_byte

    def pwrite_sparse(self, raw: Buffer, start_byte: int) -> None:
        """Write some bytes to what is a hole; blocks of zeros stay one."""
        raw = memoryview(raw)
        inner = range(_BLOCK_NBYTES - start_byte % _BLOCK_NBYTES, len(raw), _BLOCK_NBYTES)
        blocks = pairwise([0, *inner, len(raw)])
        for is_hole, some in groupby(blocks, lambda ends: _ZEROS.startswith(raw[slice(*ends)])):
            ends = [*chain.from_iterable(some)]
            if not is_hole:
                self.pwrite(raw[ends[0] : ends[-1]], start_byte + ends[0])

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        try:
            getattr(os, "fdatasync", os.fsync)(self.fd)
        except OSError as error:
            check_system(error)
            raise SyncError(error.errno, error.strerror, self.path) from error

    def truncate(self, nbytes: int) -> None:
        """Set the size of the file."""
        try:
            os.ftruncate(self.fd, nbytes)
        except OSError as error:
            raise self.named(error) from error

    def allocate(self, start_byte: int, nbytes: int) -> None:
        """Have the disk set bytes aside, and the file reach at least to their end.

        Never shrinks the file or touches what is in it where system and file
        system have ``posix_fallocate``; elsewhere writes zeros.
        """
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self.fd, start_byte, nbytes)
            except OSError as error:
                if error.errno not in _CANNOT_ALLOCATE:
                    raise self.named(error) from error
            else:
                return
        self.write_zeros(start_byte, nbytes)

    def check_can_be_mapped(self, nbytes: int) -> None:
        """Raise `OSError` where filling a mapping of bytes set aside could find the disk full.

        That ends the process. On most file systems it cannot happen. btrfs writes a page that was
        changed in memory to another part of the disk, and needs room there beside what is set aside.
        """
        try:
            ioctl(self.fd, _BTRFS_FACTS, bytes(_BTRFS_FACTS_NBYTES))
        except OSError:  # another file system
            return
        try:  # what it says is free includes what it has promised
            with File(os.path.dirname(self.path), CHANGE | os.O_TMPFILE) as nameless:
                nameless.allocate(0, nbytes)
        except OSError as error:
            why = (
                f"btrfs needs {nbytes} bytes once more to fill them in place, and write() does not"
            )
            raise OSError(error.errno, f"{error.strerror}: {why}", self.path) from error

    def copy_from(self, source: File, source_start: int, start_byte: int, nbytes: int) -> int:
        """Copy up to `nbytes` of another file; return how many, 0 only at its end.

        The system copies where it can, so that the bytes do not pass through
        this process.
        """
        if hasattr(os, "copy_file_range"):  # macOS has none
            try:
                return os.copy_file_range(source.fd, self.fd, nbytes, source_start, start_byte)
            except OSError as error:
                if error.errno not in _CANNOT_COPY:
                    raise self.named(error) from error
        raw = source.pread(min(nbytes, _COPY_NBYTES), source_start)
        self.pwrite(raw, start_byte)
        return len(raw)

    def data_from(self, start_byte: int, end_byte: int) -> tuple[int, int]:
        """Return the first run of bytes that are no hole; all where the system does not tell."""
        try:
            first = os.lseek(self.fd, start_byte, os.SEEK_DATA)
            last = os.lseek(self.fd, first, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == ENXIO:  # nothing but a hole up to the end
                return end_byte, end_byte
            return start_byte, end_byte
        return min(first, end_byte), min(last, end_byte)

    def write_zeros(self, start_byte: int, nbytes: int) -> None:
        """Write so many zero bytes; none if it is not above zero."""
        for at in range(0, nbytes, len(_ZEROS)):
            self.pwrite(_ZEROS[: nbytes - at], start_byte + at)

    def stat(self) -> os.stat_result:
        """Size, inode and the like."""
        try:
            return os.fstat(self.fd)
        except OSError as error:
            raise self.named(error) from error


class _Reference(weakref.ref[File]):
    """Closes the file that it refers to when that is forgotten.

    Not by code in Python, in which a handler of a signal might raise: what is raised while an
    object goes is dropped, and the file would stay open.
    """

    close: Callable[[], object] = bool
    stays_in_child = False


# By their numbers, so that there are never more than were open at a time.
_OPEN: dict[int, _Reference] = {}


def _close_all_in_child() -> None:
    for reference in list(_OPEN.values()):
        file = reference()
        with suppress(OSError):  # one that cannot be closed must not keep the others open
            if file is not None and not reference.stays_in_child:
                file.close()


os.register_at_fork(after_in_child=_close_all_in_child)


AnyFile = File | RemoteFile  # open for reading
AnyIdentity = tuple[int, int | str | None]  # an `Identity`, or the `Facts` of a file elsewhere


def opened(path: StrPath) -> AnyFile:
    """Open a file for reading, wherever it lies."""
    return path.open_file() if isinstance(path, RemotePath) else File(path)


def head(path: StrPath, nbytes: int) -> bytes:
    """Return the first bytes of a file, which is only open meanwhile: in half the time of a `File`."""
    numbers: list[int] = []
    try:
        numbers.extend(map(os.open, [path], [READ | os.O_CLOEXEC | os.O_NONBLOCK], [0]))
        return os.pread(numbers[0], nbytes, 0)
    finally:
        if numbers:
            os.close(numbers[0])


def replace(source: StrPath, target: StrPath) -> None:
    """Rename a file or directory, atomically taking the target's place."""
    os.replace(source, target)


def link(source: StrPath, target: StrPath) -> None:
    """Give a file one more name, where there is nothing."""
    os.link(source, target)


def link_or_copy(source: StrPath, target: StrPath) -> None:
    """Give a file one more name, where there is nothing; copy it where it cannot have that."""
    if os.path.islink(source):  # one more name of which would be one more link
        copy(source, target)
        return
    try:
        link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        copy(source, target)


def copy(source: StrPath, target: StrPath) -> None:
    """Copy a file to where there is nothing, on the disk, with its rights and its holes.

    Of a file that is read-only, too, the owner may write to the copy.
    """
    with File(source) as old, File(target, MAKE, writable(old.as_opened)) as new:
        at, end_byte = 0, old.nbytes
        while at < end_byte:
            at, last = old.data_from(at, end_byte)
            while at < last:
                n_copied = new.copy_from(old, at, at, last - at)
                if not n_copied:
                    raise CorruptStoreError(f"{source} was cut short meanwhile", path=str(source))
                at += n_copied
        new.truncate(end_byte)
        new.sync()


def unlink(path: StrPath) -> None:
    """Remove a file; one that is gone already is no error."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: StrPath) -> None:
    """Remove a file, or a directory with all that is in it, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # a directory of which something stays
        unlink(path)


def remove_empty(path: StrPath) -> None:
    """Remove a directory, unless there is anything in it."""
    with suppress(OSError):
        os.rmdir(path)


def stat(path: StrPath) -> os.stat_result:
    """Size, inode and the like of the file at a path."""
    try:
        result = os.stat(path)
    except OSError as error:
        _explain(error, path)
        raise
    if not S_ISREG(result.st_mode):
        raise _not_a_file(path)
    return result


def n_bytes(path: StrPath) -> int:
    """Size of the file at a path."""
    return path.identity().nbytes if isinstance(path, RemotePath) else stat(path).st_size


def check_system(error: OSError) -> None:
    """Raise an error that came through a system call, but is none of the system's."""
    if error.errno is None:  # TimeoutError("too late"), say, of the handler of a signal
        raise error


def identity(path: StrPath) -> AnyIdentity:
    """Tell the file that is now at a path from all others."""
    return path.identity() if isinstance(path, RemotePath) else Identity.of(stat(path))


def _explain(error: OSError, path: StrPath) -> None:
    """Raise what an error means that comes from what is no file of a store.

    Others are for the caller to raise again: an error that is its own cause is a cycle, which
    would keep all that its frames hold, stores among them, until the next garbage collection.
    """
    if isinstance(error, IsADirectoryError) or (error.errno == ELOOP and not _mode(path)):
        raise _not_a_file(path) from error
    if error.errno == ELOOP:
        raise _never_written_through(path, "file") from error


def _never_written_through(path: StrPath, kind: str) -> OSError:
    why = (
        f"is a symbolic link, which is read, and never written through: put the {kind} in its place"
    )
    return OSError(ELOOP, f"{why}, or link the whole directory of the store", os.fspath(path))


def no_link(path: Path) -> Path:
    """Return the path of a directory in a store, in which something is to be written.

    Raises `OSError` if it is a symbolic link, which may lead to any other store.
    """
    if os.path.islink(path):
        raise _never_written_through(path, "directory")
    return path


def _not_a_file(path: StrPath) -> CorruptStoreError:
    return CorruptStoreError(f"{path} is not a regular file", path=str(path))


def exists(path: StrPath) -> bool:
    """Tell whether there is anything at a path, be it a link that leads nowhere."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def leads_nowhere(path: StrPath) -> bool:
    """Tell whether there is a link at a path that leads to nothing."""
    return exists(path) and not _mode(path)


def is_file(path: StrPath) -> bool:
    """Tell whether a path leads to a regular file."""
    return path.exists() if isinstance(path, RemotePath) else S_ISREG(_mode(path))


def is_directory(path: StrPath) -> bool:
    """Tell whether a path leads to a directory."""
    return S_ISDIR(_mode(path))


def is_special(path: StrPath) -> bool:
    """Tell whether a path leads to a device, pipe or socket, which no file may take the place of."""
    mode = _mode(path)
    return bool(mode) and not S_ISREG(mode) and not S_ISDIR(mode)


def _mode(path: StrPath) -> int:
    """Return the mode of what a path leads to; 0 if that is nothing."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return 0
        raise


def list_directory(path: StrPath) -> list[str]:
    """Return the names of all that is in a directory."""
    return os.listdir(path)


def size(path: StrPath) -> int:
    """Bytes of a file, or of all files in a directory and below; 0 if there is nothing."""
    if is_directory(path):
        return sum(size(Path(path, name)) for name in list_directory(path))
    return os.stat(path).st_size if is_file(path) else 0


def resolved(path: StrPath) -> Path:
    """Return where a path leads, through all links."""
    return Path(os.path.realpath(path))


def make_directory(path: StrPath, like: Rights | None = None) -> None:
    """Make a new directory, with the rights of another one if that is given."""
    os.mkdir(path, 0o777 if like is None else first_mode(like, 0o777))
    if like is not None:
        give_rights(path, os.stat(path), like)


def rights(path: StrPath) -> Rights | None:
    """Return what tells the rights of what is at a path; None if there is nothing."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def sync_directory(path: StrPath) -> None:
    """Wait until names made, renamed or removed in a directory are on the disk."""
    with File(path, READ | os.O_DIRECTORY) as directory:
        directory.sync()


def descriptor_limit() -> int:
    """Return how many files this process may have open at a time."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def read_ahead_nbytes(path: StrPath) -> int:
    """Bytes that the disk of a path reads ahead by itself; 0 where the system does not tell."""
    device = os.stat(path).st_dev
    device_file = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    try:
        return int(_system_text(device_file)) << 10
    except (OSError, ValueError):
        return 0


@cache
def boot_id() -> bytes:
    """Return sixteen bytes that change when the machine starts anew.

    Where the system does not tell, always the same: then commits that were
    never flushed are trusted after a power cut, too.
    """
    try:
        return bytes.fromhex(_system_text("/proc/sys/kernel/random/boot_id").replace("-", ""))[:16]
    except (OSError, ValueError):
        return bytes(16)


def _system_text(path: str) -> str:
    """Return the line that a file of the system's has.

    Not opened as text, whose encoding may be a module that Python has to import first: that would
    take as long as the rest of opening a store.
    """
    with open(path, "rb", buffering=0) as file:
        return file.read(256).decode()
