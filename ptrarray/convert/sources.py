"""The files to import, and the names that their arrays get."""

from __future__ import annotations

import glob
import os
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ptrarray.convert.escape import MARK, unescape
from ptrarray.errors import BadInputError

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_FIELDS = ("stem", "unquoted", "name", "parent", "path", "index", "key")
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".z", ".lz4", ".zst", ".zip")
# Of files that may be packed alone in an archive of tar.
_ALONE = (".pkl", ".pickle", ".npy", ".joblib")
# What no name of a file or array holds, so it can stand for the key until that is known.
_KEY = "\udfff"


class Source(NamedTuple):
    """A file, and what its arrays are called.

    Attributes
    ----------
    path : str
        The file.
    pattern : str
        Their name, with a lone surrogate for the key of each.
    part : object
        Which part of the file this is; None for all of it.
    """

    path: str
    pattern: str
    part: Any = None

    def label(self, key: str) -> str:
        """Return what messages call what the file has under a key."""
        return f"{self.path}:{key}" if key else self.path

    def name(self, key: str) -> str:
        """Return the name of what the file has under a key; under "" the file is one value.

        Examples
        --------
        >>> Source("a/x.pkl", "x").name("mean"), Source("a/x.npz", chr(0xDFFF)).name("mean")
        ('x/mean', 'mean')
        """
        if _KEY in self.pattern:
            whole = self.pattern.replace(_KEY, key)
            return whole if key else whole.rstrip("/")
        return f"{self.pattern}/{key}" if key else self.pattern

    def names(self, keys: Sequence[str]) -> list[str]:
        """Return the names of what the file has under keys."""
        if self.pattern == _KEY:
            return list(keys)
        if not all(keys) or self.pattern.count(_KEY) > 1:
            return [self.name(key) for key in keys]
        before, found, behind = self.pattern.partition(_KEY)
        before = before if found else f"{before}/"
        return [f"{before}{key}{behind}" for key in keys]

    @property
    def whole(self) -> str:
        """The name if the file is one value."""
        return self.name("")


def find(
    paths: Paths,
    suffixes: tuple[str, ...],
    left_out: Counter[str] | None = None,
    is_one: Callable[[str], bool] | None = None,
) -> list[tuple[str, str]]:
    """Return files, each with its path below the folder that was given.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        Files; folders, for all files below them that have one of the suffixes
        and are not hidden; patterns as of a shell. In this order, those of a
        folder or pattern sorted.
    suffixes : tuple of str
        In lower case.
    left_out : Counter, optional
        Counts what else is there and not hidden: by suffix, and folders that
        are links or match a pattern, which are not looked into.
    is_one : callable, optional
        Given the path of a folder, tells whether it is one source, as a file is.

    Raises
    ------
    BadInputError
        If there are none.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    others = Counter[str]() if left_out is None else left_out
    is_one = is_one or (lambda path: False)
    found = [pair for path in given for pair in _expand(os.fspath(path), suffixes, others, is_one)]
    if not found:
        what = ", ".join(f"*{suffix}" for suffix in suffixes)
        there = f" ({counted(others)} there)" if +others else ""
        raise BadInputError(
            f"no files to import in {', '.join(map(str, given[:3])) or 'no paths'}{there}: expected "
            f"{what}, or name the files or a pattern, as 'folder/*.dat'",
            found=[str(path) for path in given[:3]],
            expected=suffixes,
        )
    return found


def counted(left_out: Counter[str]) -> str:
    """Return what was left out as text.

    Examples
    --------
    >>> counted(Counter({"*.zip": 2, "*.pkl.zst": 3}))
    '3 *.pkl.zst, 2 *.zip'
    """
    return ", ".join(f"{n:,} {what}" for what, n in left_out.most_common() if n)


def _expand(
    path: str,
    suffixes: tuple[str, ...],
    left_out: Counter[str],
    is_one: Callable[[str], bool],
) -> Iterator[tuple[str, str]]:
    if Path(path).is_dir():
        yield from _walk(path, suffixes, left_out, is_one)
    elif glob.has_magic(path) and not Path(path).exists():
        # As a shell takes it, from where we are.
        for match in sorted(glob.glob(path, recursive=True)):  # noqa: PTH207
            if Path(match).is_file() or is_one(match):
                yield match, match
            else:
                left_out["folders"] += 1
    else:
        yield path, path


def _walk(
    path: str,
    suffixes: tuple[str, ...],
    left_out: Counter[str],
    is_one: Callable[[str], bool],
) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(path):
        whole, below = str(Path(folder)), os.path.relpath(folder, path)
        if is_one(whole):
            folders.clear()
            yield whole, Path(whole).name if below == "." else below
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out["links to folders"] += sum(Path(folder, name).is_symlink() for name in folders)
        for file in sorted(name for name in files if not name.startswith(".")):
            if _fits(file, suffixes):
                yield _join(whole, file), _join(below, file)
            else:
                suffix = file.removeprefix(bare(file)).lower()
                left_out[f"*{suffix}" if suffix else "without suffix"] += 1


def _join(folder: str, file: str) -> str:
    return file if folder == "." else os.path.join(folder, file)  # noqa: PTH118


def _fits(file: str, suffixes: tuple[str, ...]) -> bool:
    lower = file.lower()
    if lower.endswith(suffixes):
        return True
    squeezed = next((lower[: -len(end)] for end in _COMPRESSED if lower.endswith(end)), lower)
    alone = squeezed.removesuffix(".tar")
    return any(
        name.endswith(suffixes) for name in (squeezed, alone if alone.endswith(_ALONE) else "")
    )


def bare(path: str) -> str:
    """Return a path without its suffix, and without that of a compressor or archive behind it.

    Examples
    --------
    >>> bare("a.b/x.pkl.gz"), bare("x.pkl.tar.gz"), bare("x")
    ('a.b/x', 'x', 'x')
    """
    root, suffix = os.path.splitext(path)  # noqa: PTH122 that of a Path would normalize it
    if suffix.lower() in _COMPRESSED:
        root, suffix = os.path.splitext(root)  # noqa: PTH122
    if suffix.lower() == ".tar" and root.lower().endswith(_ALONE):
        root, _ = os.path.splitext(root)  # noqa: PTH122
    return root


def default_template(n_files: int, *, many: bool) -> str:
    """Return what files are named by that hold one value each, or many."""
    if many:
        return "{key}" if n_files == 1 else "{stem}/{key}"
    return "{stem}"


def name_all(files: list[tuple[str, str]], template: str) -> list[Source]:
    """Return the files with names from a template.

    Parameters
    ----------
    files : list of pairs
        As from `find`.
    template : str
        Text with fields in braces, formatted as by `str.format`: ``stem`` (the
        file's name without suffixes; where `to_npy` or `to_pickles` wrote it,
        that of the array), ``unquoted`` (that of the array wherever the file
        was moved), ``name`` (with suffixes), ``parent`` (the
        folder's name), ``path`` (below the folder given, without suffixes),
        ``index`` (from 0), ``key`` (of a value in the file; without this field
        it follows behind a slash).

    Raises
    ------
    BadInputError
        For a template with other fields, and for two files of one name.

    Examples
    --------
    >>> name_all([("in/a/x.pkl", "a/x.pkl")], "{parent}-{stem}")
    [Source(path='in/a/x.pkl', pattern='a-x', part=None)]
    """
    _check_fields(template)
    sources = [
        Source(path, _format(template, path, below, index))
        for index, (path, below) in enumerate(files)
    ]
    _check_distinct(sources)
    return sources


def _check_fields(template: str) -> None:
    try:
        fields = [
            field for _, field, _, _ in string.Formatter().parse(template) if field is not None
        ]
    except ValueError as error:
        raise BadInputError(f"name template {template!r}: {error}", found=template) from error
    strangers = [field for field in fields if field not in _FIELDS]
    if strangers:
        raise BadInputError(
            f"name template {template!r} has the field {strangers[0]!r}, expected "
            f"{', '.join(_FIELDS)}",
            found=strangers[0],
            expected=_FIELDS,
        )


def _format(template: str, path: str, below: str, index: int) -> str:
    try:
        return template.format_map(_Fields(path, below, index))
    except (ValueError, KeyError, IndexError) as error:
        raise BadInputError(f"name template {template!r}: {error}", found=template) from error


class _Fields(dict[str, Any]):
    """The fields of a template for one file, each made if the template has it."""

    def __init__(self, path: str, below: str, index: int) -> None:
        super().__init__(index=index, key=_KEY)
        self._path = path
        self._below = below

    def __missing__(self, field: str) -> str:
        path = self._path
        stem = bare(os.path.basename(path))  # noqa: PTH119 there are thousands
        match field:
            case "stem":
                own = unescape(stem)
                return own if own != stem and Path(path).with_name(MARK).exists() else stem
            case "unquoted":
                return unescape(stem)
            case "name":
                return Path(path).name
            case "parent":
                return Path(path).absolute().parent.name
            case "path":
                return Path(bare(self._below)).as_posix()
        raise KeyError(field)


def _check_distinct(sources: list[Source]) -> None:
    """Files of one name would be one array; of those named by their keys nobody knows yet."""
    seen: dict[str, str] = {}
    for source in sources:
        if source.pattern == _KEY:
            continue
        other = seen.setdefault(source.pattern, source.path)
        if other is not source.path:
            shown = source.pattern.replace(_KEY, "KEY")
            raise BadInputError(
                f"both {other} and {source.path} would be named {shown!r}: name them "
                "otherwise, as with name='{parent}/{stem}' or '{path}'",
                name=shown,
                found=(other, source.path),
            )
