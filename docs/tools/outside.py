"""A hook of mkdocs: what documents link to outside docs/ becomes part of the site, too.

A link such as ``../benchmarks/RESULTS.md`` works where the repository is browsed. For the site, the
file gets a page below ``repository/``, and the link leads there. A link to nothing is a warning,
which ends a strict build.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
FOLDER = "repository"
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".sh": "bash"}

log = logging.getLogger("mkdocs.hooks.outside")


def on_files(files: Files, config: Any) -> Files:
    """Add a page, or a plain file, for each file outside docs/ that can be reached by links."""
    found: dict[str, Path] = {}
    for page in files.documentation_pages():
        _follow(DOCS / page.src_uri, found)
    for uri, path in found.items():
        content = path.read_bytes() if _is_plain(path) else _text(path)
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page to where things are on the site."""
    uri = page.file.src_uri
    here = posixpath.dirname(uri)

    def lead(link: re.Match[str]) -> str:
        target = _target(_path(uri), link[1])
        return link[1] if target is None else posixpath.relpath(_uri(target), here or ".")

    return "".join(
        part if part.startswith("```") else LINK.sub(lead, part) for part in FENCE.split(markdown)
    )


def _follow(path: Path, found: dict[str, Path]) -> None:
    """Note what is outside docs/ and reached from a document."""
    for link in _links(path):
        target = _target(path, link)
        if target is None:
            log.warning("%s links to %s, which does not exist", path.relative_to(ROOT), link)
        elif not target.is_relative_to(DOCS) and _uri(target) not in found:
            found[_uri(target)] = target
            _follow(target, found)


def _links(path: Path) -> Iterator[str]:
    if path.suffix == ".md":
        for part in FENCE.split(path.read_text(encoding="utf-8")):
            if not part.startswith("```"):
                yield from LINK.findall(part)


def _target(path: Path, link: str) -> Path | None:
    """Return the file that a link of a document leads to, if it is there."""
    target = Path(os.path.normpath(path.parent / link))
    return target if target.is_file() else None


def _path(uri: str) -> Path:
    """Return the file in the repository that a page of the site is made of."""
    outside = uri.removeprefix(f"{FOLDER}/")
    return DOCS / uri if outside == uri else ROOT / outside


def _uri(path: Path) -> str:
    """Return what stands for a file on the site: a page, unless it is a plain file."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    outside = f"{FOLDER}/{path.relative_to(ROOT).as_posix()}"
    return outside if path.suffix == ".md" or _is_plain(path) else f"{outside}.md"


def _is_plain(path: Path) -> bool:
    return path.suffix in (".svg", ".png")


def _text(path: Path) -> str:
    """Return the page that shows a file."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return f"# {path.name}\n\n```{LANGUAGES.get(path.suffix, '')}\n{path.read_text('utf-8')}```\n"
