"""Objects through a file system of fsspec."""

from __future__ import annotations

from typing import Any

from ptrarray.errors import BadInputError
from ptrarray.storage.remote.faults import Fault, fault_of_status
from ptrarray.storage.remote.objects import Coming, shown

# What tells one content of a file from another, by the names that file systems give it.
_TAGS = (
    *("ETag", "etag", "e_tag", "VersionId", "version_id", "generation", "md5Hash", "content_md5"),
    *("mtime", "ino", "LastModified", "last_modified", "updated", "created", "modified"),
)


class FsspecObjects:
    """Objects in a folder of a file system of fsspec, as `Objects`.

    Parameters
    ----------
    files : fsspec.AbstractFileSystem
        That reads them.
    folder : str
        As the file system spells it.

    Notes
    -----
    What came has no tag with it, so the file system is asked for that of the file after each
    range: if it still is the one of before, the bytes are of that content.
    """

    def __init__(self, files: Any, folder: str) -> None:
        if getattr(files, "asynchronous", False):
            what = "a file system of fsspec made with asynchronous=True: one without is needed"
            raise BadInputError(f"storage= is {what}")
        named = folder if "://" in folder else f"{_protocol(files)}://{folder}"
        self.url = shown(named)
        self._files, self._folder = files, folder.rstrip("/")

    def fresh(self) -> FsspecObjects:
        """Return the same with connections of its own."""
        made = type(self._files)(*self._files.storage_args, **self._files.storage_options)
        return FsspecObjects(made, self._folder)

    def named(self, key: str) -> str:
        """Return the URL of a file."""
        return f"{self.url}/{key}" if key else self.url

    def get(self, key: str, start: int, end: int, tag: str | None) -> Coming:
        """Ask once for a range of a file."""
        path = f"{self._folder}/{key}" if key else self._folder
        try:
            before = self._facts(path) if tag is None else None
            if before is not None and start >= before[0]:
                raise Fault("past", "the file ends before")
            # By names: of s3fs the second one is the version.
            raw = self._files.cat_file(path, start=start, end=end)
            nbytes, found = self._facts(path)
        except Fault:
            raise
        except Exception as error:  # noqa: BLE001 each has errors of its own
            fault = _fault(error)
        else:
            if before is None or before == (nbytes, found):
                return Coming(iter((raw,)), start, nbytes, found)
            fault = Fault("changed", "it changed meanwhile")
        raise fault

    def get_empty(self, key: str) -> Coming:
        """Ask once for a file of no bytes."""
        path = f"{self._folder}/{key}" if key else self._folder
        try:
            return Coming(iter(()), 0, *self._facts(path))
        except Fault:
            raise
        except Exception as error:  # noqa: BLE001 each has errors of its own
            fault = _fault(error)
        raise fault

    def _facts(self, path: str) -> tuple[int, str | None]:
        self._files.invalidate_cache(self._files._parent(path))
        info = self._files.info(path)
        if info.get("type") == "directory":
            raise FileNotFoundError
        if info["size"] is None:
            raise Fault("refused", "the file system of storage= does not say how long it is")
        tag = [f"{name}={info[name]}" for name in _TAGS if info.get(name)]
        return int(info["size"]), ", ".join(tag) or None


def _protocol(files: Any) -> str:
    name = files.protocol
    return str(name if isinstance(name, str) else name[0])


def _fault(error: Exception) -> Fault:
    """Return what an error of a file system means; its text may have secrets in it."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and (
        isinstance(cause, OSError) or (isinstance(cause, Exception) and hasattr(cause, "status"))
    ):
        error = cause  # of http, of which the size of a file cannot be had for whatever reason
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return fault_of_status(404)
    if isinstance(error, PermissionError):
        return fault_of_status(403)
    if isinstance(status, int) and 400 <= status < 600:
        return fault_of_status(status)
    what = f"the file system of storage= says {type(error).__name__}"
    is_of_use = isinstance(error, OSError | TimeoutError) or type(error).__module__ != "builtins"
    return Fault("passing" if is_of_use else "refused", what)
