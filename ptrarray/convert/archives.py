"""Archives of tar: their members from front to back, also behind what is damaged."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ptrarray.convert.files import TAR_ERRORS, SoundInfo, plain, read_up_to
from ptrarray.errors import BadInputError

_CHUNK_NBYTES = 1 << 24

SUFFIXES = (".tar", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst")


class _Info(SoundInfo):
    """A member; what cannot be read as one is noted on the archive."""

    @classmethod
    def fromtarfile(cls, archive: Any) -> Any:
        """Read the next header, or raise what lets tarfile go on with the next block."""
        at = archive.fileobj.tell()
        try:
            info = super().fromtarfile(archive)
        except TAR_ERRORS.EmptyHeaderError:
            raise
        except TAR_ERRORS.EOFHeaderError:  # a block of zeros: two are the mark of an end
            archive.end = at if archive.end is None else archive.end
            raise
        except tarfile.HeaderError as error:
            archive.damaged = at if archive.damaged is None else archive.damaged
            raise TAR_ERRORS.InvalidHeaderError(str(error)) from error
        if archive.end is not None and archive.behind is None:
            archive.behind = at
        return info


class Archive(tarfile.TarFile):
    """An archive that is read on behind what is damaged in it.

    Attributes
    ----------
    damaged, behind, end : int or None
        Where the first header is that cannot be read, the first member behind
        an end, and the end itself.
    """

    tarinfo = _Info
    damaged: int | None = None
    behind: int | None = None
    end: int | None = None

    def infos(self) -> Iterator[tarfile.TarInfo]:
        """Yield the members; each can be read until the next one is asked for."""
        seen: list[Any] = vars(self)["members"]
        while (info := self._next_or_cut()) is not None:
            yield info
            seen.clear()  # which it keeps, for looking up by name

    def read(self, info: tarfile.TarInfo) -> bytes | bytearray:
        """Return the bytes of the last member that was yielded.

        Raises
        ------
        BadInputError
            If not all of them are there.
        """
        if info.sparse is not None:
            raise BadInputError("it is kept with holes, as GNU tar does with -S: unpack it first")
        file: Any = self.fileobj
        file.seek(info.offset_data)
        raw: bytes | bytearray = file.read(min(info.size, _CHUNK_NBYTES))
        if len(raw) < info.size:  # which the header says, and may be anything
            raw = bytearray(raw) + read_up_to(file, info.size - len(raw))
        if len(raw) < info.size:
            raise BadInputError(f"it is cut off: {len(raw):,} of {info.size:,} bytes are there")
        return raw

    def _next_or_cut(self) -> tarfile.TarInfo | None:
        try:
            return self.next()
        except (tarfile.TarError, EOFError):
            self.damaged = self.offset if self.damaged is None else self.damaged
            return None

    def problem(self, n_members: int) -> str:
        """Return what is wrong with it, once all was read, or nothing."""
        if self.damaged is not None and not n_members:
            return "it is no tar archive, or a damaged one: no header can be read"
        if self.damaged is not None:
            return f"it is cut off or damaged at byte {self.damaged}: what can be read is imported"
        if self.behind is not None:
            return (
                f"it goes on behind its end, at byte {self.behind}, as archives end to end do: "
                "what can be read is imported"
            )
        return "" if self.end is not None else "it ends without the mark of an end: is it cut off?"


@contextmanager
def opened(path: str) -> Iterator[Archive]:
    """Open an archive, compressed or not, for a ``with`` block.

    Raises
    ------
    BadInputError
        For one of zip.
    tarfile.TarError, EOFError
        For what is no archive; also while it is read.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(open(path, "rb"))  # noqa: PTH123 a path as it was given
        file = stack.enter_context(plain(raw))
        if file.peek(4).startswith(b"PK\3\4"):
            raise BadInputError("it is a zip: unzip it, or import npz if it has .npy files")
        mode: Any = "r:" if file.seekable() else "r|"
        try:
            archive = stack.enter_context(Archive.open(fileobj=file, mode=mode, ignore_zeros=True))
        except (tarfile.TarError, EOFError) as error:
            reason = str(error).split(":", 1)[0]  # and what each compressor says, in lines
            raise BadInputError(f"it is no tar archive, or a damaged one: {reason}") from error
        yield archive
